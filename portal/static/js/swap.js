/* What must survive an htmx swap, and what to say when one fails. */
const openDetails = new Set();
let pressed = "";

const keyOf = (node) => node.id || node.dataset.keep;

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, target } = event.detail;
  const signIn = document.body.dataset.signIn;
  if (signIn && xhr.responseURL && new URL(xhr.responseURL).pathname === signIn) {
    event.detail.shouldSwap = false;
    location.reload();
    return;
  }
  openDetails.clear();
  target?.querySelectorAll?.("details[open]").forEach((node) => keyOf(node) && openDetails.add(keyOf(node)));
  const used = event.detail.requestConfig?.elt;
  const taken = xhr.status < 400 && used?.closest?.("details[data-once]"); /* what it asked for is said: it folds */
  if (taken) openDetails.delete(keyOf(taken));
  pressed = target?.contains?.(document.activeElement) ? placeOf(document.activeElement) : "";
});

document.addEventListener("htmx:afterSwap", (event) => {
  event.detail.target?.querySelectorAll?.("details").forEach((node) => {
    if (openDetails.has(keyOf(node))) node.open = true;
  });
  rememberFolds();
  document.querySelector("[data-form-errors]:not([data-seen])")?.focus();
  keepFocus(event.detail.target);
  clearNotice();
});

/* Who works by keyboard stays where they were: at what they used, else at the start of what is new. */
function placeOf(node) {
  if (node.id) return `#${CSS.escape(node.id)}`;
  if (node.dataset.key && node.matches("button, a, summary")) return `[data-key="${CSS.escape(node.dataset.key)}"]`;
  const box = node.closest("details[id]");
  return box ? `#${CSS.escape(box.id)} > summary` : "h2";
}

function keepFocus(target) {
  if (!pressed || document.activeElement !== document.body || !target?.querySelector) return;
  const place = target.querySelector(pressed) ?? target.querySelector("h2");
  const folded = place?.matches("summary") ? null : place?.closest("details:not([open])");
  const node = folded?.querySelector("summary") ?? place;
  if (node?.matches("h2")) node.tabIndex = -1;
  node?.focus({ preventScroll: true });
}

/* What somebody has folded away stays folded away. */
const folded = (node) => `leukoscope-folded-${node.id}`;

function rememberFolds() {
  for (const node of document.querySelectorAll("details[data-remember]")) {
    try { node.open = localStorage.getItem(folded(node)) === null; } catch { /* it stays as it came */ }
  }
}

document.addEventListener("click", (event) => {
  const node = event.target.closest?.("details[data-remember] > summary")?.parentElement;
  if (!node) return;
  try {
    if (node.open) localStorage.setItem(folded(node), "yes");
    else localStorage.removeItem(folded(node));
  } catch { /* for this page only */ }
});

rememberFolds();

/* Nobody looks: the poll waits. */
document.addEventListener("htmx:beforeRequest", (event) => {
  const asked = event.detail.elt;
  if (!asked.hasAttribute("data-poll") || event.detail.requestConfig.triggeringEvent?.type === "submit") return;
  if (document.hidden || document.querySelector("dialog[open]")) event.preventDefault();
});

const sentences = {
  403: "You may not do this. If your role has changed, sign in again.",
  404: "This is no longer here. Reload the page.",
  429: "Too many requests. Wait a minute, then try again.",
};

const noticeId = "connection-notice";

function clearNotice() {
  document.getElementById(noticeId)?.remove();
}

function showNotice(text) {
  const region = document.getElementById("messages");
  if (!region) return;
  let notice = document.getElementById(noticeId);
  if (!notice) {
    notice = document.createElement("div");
    notice.id = noticeId;
    notice.className = "notice notice-error";
    const icon = document.createElement("i");
    icon.className = "bi bi-wifi-off";
    icon.setAttribute("aria-hidden", "true");
    const sentence = document.createElement("p");
    sentence.className = "grow";
    notice.append(icon, sentence);
    region.append(notice);
  }
  const sentence = notice.querySelector("p");
  if (sentence.textContent !== text) sentence.textContent = text;
}

document.addEventListener("htmx:sendError", () => {
  showNotice("The server cannot be reached. What you see may be out of date; nothing you sent before is lost.");
});

document.addEventListener("htmx:responseError", (event) => {
  showNotice(sentences[event.detail.xhr.status] ?? "That did not work on our side. Try again in a moment.");
});
