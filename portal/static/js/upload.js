/* Files wait here until the draft exists, then go up one by one, each with its own progress, verdict and second chance. */
const form = document.getElementById("case-form");
const zone = form.querySelector("[data-drop-zone]");
const tiles = form.querySelector("[data-tiles]");
const input = form.querySelector("#id_images");
const notice = form.querySelector("[data-upload-notice]");
const summary = form.querySelector("[data-upload-summary]");
const draftState = form.querySelector("[data-draft-state]");
const atOnce = 3;
const noticeIcons = { info: "bi-info-circle", warning: "bi-exclamation-triangle", error: "bi-exclamation-octagon" };
const entries = [];
const previews = [];
let place = Math.max(0, ...[...tiles.querySelectorAll("[data-image]")].map((tile) => Number(tile.dataset.image)));
let running = 0;
let saving = null;
let refusedFields = "";
let leaving = false;
let submitWithoutRejected = false;
let signedOut = false;

const token = () => form.elements.namedItem("csrfmiddlewaretoken").value;
const waiting = () => entries.filter((entry) => entry.state === "waiting");
const pending = () => entries.filter((entry) => ["waiting", "sending"].includes(entry.state));
const failed = () => entries.filter((entry) => entry.state === "failed");
const rejected = () => tiles.querySelectorAll("[data-rejected]").length;
const stored = () => tiles.querySelectorAll("[data-image]").length;

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

function say(text, tone = "warning", action = null) {
  if (text && notice.querySelector("p")?.textContent === text) return;
  notice.replaceChildren();
  if (!text) return;
  const box = element("div", `notice notice-${tone}`);
  const icon = element("i", `bi ${noticeIcons[tone]}`);
  icon.setAttribute("aria-hidden", "true");
  box.append(icon, element("p", "grow", text));
  if (action) box.append(action);
  notice.append(box);
}

function report() {
  const parts = [];
  const count = stored();
  if (count) parts.push(`${count} stored`);
  if (pending().length) parts.push(form.dataset.uploadUrl ? `${pending().length} on the way` : `${pending().length} waiting for patient and accession number`);
  if (failed().length) parts.push(`${failed().length} not sent`);
  if (rejected()) parts.push(`${rejected()} not accepted`);
  summary.textContent = parts.join(" · ");
  form.querySelector("[data-upload-count]").textContent = count ? String(count) : "";
}

/* Previews are drawn one after another into small canvases, so 200 large files never lie decoded in memory together. */
async function drawPreviews() {
  while (previews.length) {
    const entry = previews[0];
    try {
      const bitmap = await createImageBitmap(entry.file);
      const scale = Math.min(1, 320 / bitmap.width, 240 / bitmap.height);
      const canvas = element("canvas");
      canvas.width = Math.max(1, Math.round(bitmap.width * scale));
      canvas.height = Math.max(1, Math.round(bitmap.height * scale));
      canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      bitmap.close();
      entry.tile.querySelector(".tile-picture")?.replaceChildren(canvas);
    } catch {
      /* TIFF and the like: the server's thumbnail comes with the answer */
    }
    previews.shift();
  }
}

function makeTile(file) {
  const tile = element("li", "tile tile-waiting");
  const picture = element("div", "tile-picture");
  const icon = element("i", "bi bi-image");
  icon.setAttribute("aria-hidden", "true");
  picture.append(icon);
  const name = element("p", "tile-name", file.name);
  name.title = file.name;
  const note = element("p", "tile-note muted");
  const bar = element("progress", "progress-line");
  bar.max = 100;
  bar.value = 0;
  bar.setAttribute("aria-label", `Upload of ${file.name}`);
  tile.append(picture, name, bar, note);
  return tile;
}

function setNote(entry, text, tone = "muted") {
  const note = entry.tile.querySelector(".tile-note");
  note.className = `tile-note ${tone}`;
  note.textContent = text;
}

function add(files) {
  say("");
  const zips = files.filter((file) => /\.(zip|7z|rar|tar|gz)$/i.test(file.name));
  const wanted = files.filter((file) => !zips.includes(file) && !/^(\.|Thumbs\.db$|desktop\.ini$)/i.test(file.name));
  const room = Number(form.dataset.maxImages) - stored() - pending().length - failed().length;
  const taken = wanted.slice(0, Math.max(0, room));
  for (const file of taken) {
    const tile = makeTile(file);
    place += 1;
    const entry = { file, tile, place, state: "waiting" };
    setNote(entry, form.dataset.uploadUrl ? "in line" : "waits for patient and accession number");
    entries.push(entry);
    tiles.append(tile);
    if (previews.push(entry) === 1) drawPreviews();
  }
  const sentences = [];
  if (zips.length) sentences.push(`${zips.map((file) => file.name).join(", ")}: archives are not opened here. Unpack it and drop the folder.`);
  if (taken.length < wanted.length) sentences.push(`A case takes up to ${form.dataset.maxImages} images; ${wanted.length - taken.length} were left out.`);
  if (sentences.length) say(sentences.join(" "));
  proceed();
}

/* --- the draft ---------------------------------------------------------------------------------------------------- */

const value = (name) => form.elements.namedItem(name)?.value?.trim() ?? "";

function fieldsReady() {
  if (!value("mrn") || !value("accession_number")) return false;
  return (
    Boolean(form.querySelector('[data-patient="known"]')) ||
    ["family_name", "given_name", "birth_date"].every((name) => value(name))
  );
}

function fieldsData() {
  const data = new FormData(form);
  data.delete("images");
  return data;
}

const fingerprint = () => JSON.stringify([...fieldsData()].filter(([name]) => name !== "csrfmiddlewaretoken"));

/* One save at a time; `quietly` is our own early attempt, which must not get in the way of somebody typing. */
async function save({ quietly = false } = {}) {
  while (saving) await saving;
  saving = sendFields(quietly).finally(() => { saving = null; });
  return saving;
}

async function sendFields(quietly, renewed = false) {
  if (signedOut) await renew();
  const sent = fingerprint();
  let response;
  try {
    response = await fetch(form.dataset.editUrl || form.action, {
      method: "POST",
      body: fieldsData(),
      headers: { "X-Requested-With": "fetch", Accept: "application/json", "X-CSRFToken": token() },
    });
  } catch {
    say("The server cannot be reached. Your entries and files stay on this page; try again.", "error");
    return false;
  }
  if (response.status === 422) {
    refusedFields = sent;
    showFieldErrors(await response.text(), quietly);
    return false;
  }
  if (response.status === 403 && !renewed && (await renew())) return sendFields(quietly, true);
  if (!response.ok || !response.headers.get("content-type")?.includes("json")) {
    say(response.redirected ? "You are signed out. Sign in in another tab, then try again." : "Saving failed. Try again in a moment.", "error");
    return false;
  }
  const draft = await response.json();
  refusedFields = "";
  const isNew = !form.dataset.editUrl;
  form.dataset.editUrl = draft.edit_url;
  form.dataset.uploadUrl = draft.upload_url;
  form.dataset.submitUrl = draft.submit_url;
  form.dataset.caseUrl = draft.case_url;
  form.action = draft.edit_url;
  if (isNew) history.replaceState(null, "", draft.edit_url);
  const chip = element("span", "chip");
  chip.textContent = "Draft saved";
  draftState.replaceChildren(chip);
  clearFieldErrors();
  return true;
}

/* The server's words go beside the fields as they stand now, so nothing typed meanwhile is lost. */
function showFieldErrors(html, quietly) {
  const answer = new DOMParser().parseFromString(html, "text/html").getElementById("case-fields");
  if (!answer) {
    say("Some fields need another look.", "error");
    return;
  }
  clearFieldErrors();
  const general = answer.querySelector(":scope > .notice-error");
  if (general) document.getElementById("case-fields").prepend(document.adoptNode(general));
  for (const wrong of answer.querySelectorAll(".is-invalid")) {
    const field = document.getElementById(wrong.id);
    if (!field || (quietly && !field.value)) continue;
    field.classList.add("is-invalid");
    const words = wrong.closest("[id^=div_]")?.querySelectorAll(".invalid-feedback") ?? [];
    field.closest("[id^=div_]")?.append(...[...words].map((node) => document.adoptNode(node)));
  }
  if (!quietly) form.querySelector("#case-fields .is-invalid")?.focus();
}

function clearFieldErrors() {
  form.querySelectorAll("#case-fields .is-invalid").forEach((node) => node.classList.remove("is-invalid"));
  form.querySelectorAll("#case-fields .invalid-feedback, #case-fields > .notice-error").forEach((node) => node.remove());
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

async function proceed() {
  report();
  if (!form.dataset.uploadUrl) {
    if (!waiting().length || !fieldsReady() || saving || refusedFields === fingerprint()) return;
    if (!(await save({ quietly: true }))) return;
  }
  if (signedOut && waiting().length) {
    waiting().forEach((entry) => setFailed(entry, "You are signed out."));
    if (!running) sayFailed();
  }
  while (running < atOnce && waiting().length) send(waiting()[0]);
  report();
}

/* Who signs in again in another tab gets another token there: this page takes it from a fresh copy of itself. */
async function renew() {
  const page = await fetch(form.dataset.editUrl || location.href).catch(() => null);
  if (!page?.ok || page.redirected) return false;
  const fresh = new DOMParser().parseFromString(await page.text(), "text/html").querySelector("#case-form [name=csrfmiddlewaretoken]");
  if (!fresh) return false;
  form.elements.namedItem("csrfmiddlewaretoken").value = fresh.value;
  signedOut = false;
  return true;
}

function send(entry) {
  running += 1;
  entry.state = "sending";
  const data = new FormData();
  data.append("position", entry.place);
  data.append("image", entry.file, entry.file.name);
  const request = new XMLHttpRequest();
  request.open("POST", form.dataset.uploadUrl);
  request.setRequestHeader("X-CSRFToken", token());
  request.setRequestHeader("X-Requested-With", "fetch");
  request.upload.addEventListener("progress", (event) => {
    if (!event.lengthComputable) return;
    const percent = Math.floor((event.loaded / event.total) * 100);
    entry.tile.querySelector("progress").value = percent;
    setNote(entry, percent < 100 ? `${percent} %` : "being checked");
  });
  request.addEventListener("load", () => settle(entry, request));
  for (const kind of ["error", "timeout"]) request.addEventListener(kind, () => fail(entry, "The connection broke off."));
  request.send(data);
}

function settle(entry, request) {
  const answer = new DOMParser().parseFromString(`<ul>${request.responseText}</ul>`, "text/html").querySelector("li");
  if (!answer || ![201, 422].includes(request.status)) {
    const led = request.responseURL && new URL(request.responseURL).pathname;
    if (request.status === 403 || (led && led !== form.dataset.uploadUrl)) signedOut = true;
    fail(entry, signedOut ? "You are signed out." : "The server could not take it.");
    return;
  }
  entry.state = request.status === 201 ? "done" : "rejected";
  const known = answer.id && document.getElementById(answer.id);
  if (known) known.remove();
  entry.tile.replaceWith(document.adoptNode(answer));
  release();
}

function fail(entry, sentence) {
  setFailed(entry, sentence);
  release();
}

function setFailed(entry, sentence) {
  entry.state = "failed";
  setNote(entry, sentence, "text-problem");
  const again = element("button", "btn btn-sm", "Try again");
  again.type = "button";
  const out = element("button", "btn btn-sm btn-quiet", "Take out");
  out.type = "button";
  again.addEventListener("click", () => retry([entry]));
  out.addEventListener("click", () => {
    entry.state = "dropped";
    entry.tile.remove();
    report();
    if (!notice.querySelector("[data-not-sent]")) return;
    if (failed().length) sayFailed();
    else say("");
  });
  entry.tile.append(again, out);
}

/* Somebody may click twice: what the other click has renewed and sent meanwhile is not sent again. */
async function retry(chosen) {
  if (signedOut) await renew();
  if (signedOut) {
    sayFailed();
    return;
  }
  say("");
  for (const entry of chosen.filter((each) => each.state === "failed")) {
    entry.tile.querySelectorAll("button").forEach((button) => button.remove());
    entry.state = "waiting";
    setNote(entry, "in line");
  }
  await proceed();
}

function sayFailed() {
  const all = element("button", "btn btn-sm", "Try all again");
  all.type = "button";
  all.dataset.notSent = "";
  all.addEventListener("click", () => retry(failed()));
  const count = failed().length === 1 ? "1 image was not sent" : `${failed().length} images were not sent`;
  say(
    signedOut
      ? `You are signed out, so ${count}. Sign in in another tab, come back here and try again; what was entered and chosen is kept.`
      : `${count}. Try again or take out what is not needed, then submit.`,
    "error",
    all,
  );
}

function release() {
  running -= 1;
  proceed();
  if (pending().length) return;
  if (signedOut || failed().length > 1) sayFailed();
  form.dispatchEvent(new Event("leukoscope:idle"));
}

const idle = () =>
  pending().length ? new Promise((resolve) => form.addEventListener("leukoscope:idle", resolve, { once: true })) : Promise.resolve();

/* --- what the person does ----------------------------------------------------------------------------------------- */

function post(url) {
  const carrier = element("form");
  carrier.method = "post";
  carrier.action = url;
  const hidden = element("input");
  hidden.type = "hidden";
  hidden.name = "csrfmiddlewaretoken";
  hidden.value = token();
  carrier.append(hidden);
  document.body.append(carrier);
  leaving = true;
  carrier.submit();
}

async function submitCase(button) {
  if (!(await save())) return;
  await retry(failed());
  if (pending().length) say("The case is submitted as soon as its last image has arrived.", "info");
  await idle();
  if (failed().length) {
    sayFailed();
    return;
  }
  if (rejected() && !submitWithoutRejected) {
    submitWithoutRejected = true;
    button.textContent = `Submit without ${rejected() === 1 ? "it" : "them"}`;
    say(`${rejected()} file${rejected() === 1 ? " was" : "s were"} not accepted. Add better images, or submit without.`);
    return;
  }
  post(form.dataset.submitUrl);
}

form.addEventListener("submit", async (event) => {
  const button = event.submitter;
  if (button?.hasAttribute("formaction")) {
    event.preventDefault();
    return;
  }
  event.preventDefault();
  form.querySelectorAll(".form-bar button").forEach((node) => { node.disabled = true; });
  if (button?.name === "submit") {
    await submitCase(button);
  } else if (await save()) {
    proceed();
  }
  form.querySelectorAll(".form-bar button").forEach((node) => { node.disabled = false; });
});

tiles.addEventListener("click", async (event) => {
  const dismiss = event.target.closest("[data-dismiss-tile]");
  if (dismiss) {
    dismiss.closest(".tile").remove();
    report();
    return;
  }
  const remove = event.target.closest("[data-remove]");
  if (!remove) return;
  event.preventDefault();
  const response = await fetch(remove.dataset.remove, {
    method: "POST",
    headers: { "X-CSRFToken": token(), "HX-Request": "true" },
  }).catch(() => null);
  if (response?.ok) remove.closest(".tile").remove();
  else say("The image could not be removed. Reload the page and try again.", "error");
  report();
});

for (const kind of ["change", "leukoscope:patient"]) {
  form.addEventListener(kind, (event) => {
    if (event.target !== input) proceed();
  });
}

input.addEventListener("change", () => {
  add([...input.files]);
  input.value = "";
});

zone.addEventListener("dragover", (event) => {
  event.preventDefault();
  zone.classList.add("is-over");
});
zone.addEventListener("dragleave", () => zone.classList.remove("is-over"));
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());

zone.addEventListener("drop", async (event) => {
  event.preventDefault();
  zone.classList.remove("is-over");
  const roots = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = roots.length ? (await Promise.all(roots.map(filesOf))).flat() : [...event.dataTransfer.files];
  add(files);
});

async function filesOf(root) {
  if (root.isFile) return [await new Promise((resolve, reject) => root.file(resolve, reject))];
  const reader = root.createReader();
  const found = [];
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) break;
    found.push(...part);
  }
  found.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  return (await Promise.all(found.map(filesOf))).flat();
}

document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  add(files);
});

addEventListener("beforeunload", (event) => {
  if (!leaving && (pending().length || failed().length)) event.preventDefault();
});

report();
