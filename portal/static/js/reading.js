/* The reading station: which image is in view, and readings of it. The server says what may be seen; this only shows it. */
const strip = document.getElementById("filmstrip");
const panel = document.getElementById("panel");
let current = "";
let openedByHand = false;

const films = () => [...strip.querySelectorAll("[data-film]")];
const film = () => strip.querySelector(`[data-film="${current}"]`);

function select(id, { scroll = true } = {}) {
  const chosen = strip.querySelector(`[data-film="${id}"]`) ?? films()[0];
  if (!chosen) return;
  const changed = chosen.dataset.film !== current;
  current = chosen.dataset.film;
  paint();
  if (!changed) return;
  if (scroll) chosen.scrollIntoView({ block: "nearest", inline: "nearest" });
  document.getElementById("image-more")?.removeAttribute("open");
  document.dispatchEvent(
    new CustomEvent("leukoscope:image", {
      detail: {
        src: chosen.dataset.src,
        name: chosen.dataset.name,
        cells: () => film()?.dataset.cells,
        micronsPerPixel: Number(chosen.dataset.scale) || null,
      },
    }),
  );
}

/* Bring strip and panel in line with the current image. */
function paint() {
  for (const node of films()) node.setAttribute("aria-current", String(node.dataset.film === current));
  for (const node of panel.querySelectorAll("[data-image-panel]")) node.hidden = node.dataset.imagePanel !== current;
  const chosen = film();
  const name = panel.querySelector("[data-image-name]");
  if (name && chosen) name.textContent = chosen.dataset.name;
  for (const button of panel.querySelectorAll("[data-image-form] button.finding")) {
    button.setAttribute("aria-pressed", String(button.value === chosen?.dataset.finding));
    button.classList.toggle("is-suggested", Boolean(chosen?.dataset.suggested) && button.value === chosen.dataset.suggested);
  }
}

function step(by) {
  const all = films();
  const place = all.findIndex((node) => node.dataset.film === current);
  const next = all[Math.min(all.length - 1, Math.max(0, place + by))];
  if (next) select(next.dataset.film);
}

/* Differing from a prediction needs a reason: ask for it before anything is sent. */
function askReason(finding) {
  const more = document.getElementById("image-more");
  const reason = more?.querySelector("[name=reason]");
  if (!reason) return false;
  more.open = true;
  more.querySelector("[name=finding]").value = finding;
  reason.required = true;
  reason.focus();
  return true;
}

strip.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-film]");
  if (chosen) select(chosen.dataset.film, { scroll: false });
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-step]");
  if (button) step(Number(button.dataset.step));
});

panel.addEventListener("click", (event) => {
  const button = event.target.closest("[data-image-form] button.finding");
  const suggested = film()?.dataset.suggested;
  if (!button || !suggested || button.value === suggested) return;
  if (askReason(button.value)) event.preventDefault();
});

panel.addEventListener("change", (event) => {
  if (!event.target.matches("#image-finding")) return;
  const reason = document.getElementById("image-reason");
  const suggested = film()?.dataset.suggested;
  if (reason) reason.required = Boolean(suggested) && event.target.value !== suggested;
});

panel.addEventListener("toggle", (event) => {
  const box = event.target;
  if (!box.open) return;
  if (box.id === "image-more") {
    const finding = box.querySelector("[name=finding]");
    if (!finding.value) finding.value = film()?.dataset.finding ?? "";
  }
  if (box.id === "conclude-more" && openedByHand) box.querySelector("select")?.focus({ preventScroll: false });
  openedByHand = false;
}, true);

/* A box that came open with the page must not take the keys away. */
panel.addEventListener("click", (event) => {
  openedByHand = event.target.closest("#conclude-more > summary") !== null;
});

document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.elt.closest("[data-image-form]") && film()) event.detail.path = film().dataset.readingUrl;
});

for (const name of ["htmx:afterSwap", "htmx:oobAfterSwap"]) document.addEventListener(name, paint);

const start = () => films()[0] && !current && select(films()[0].dataset.film);
document.addEventListener("leukoscope:viewer-ready", start);
start();
