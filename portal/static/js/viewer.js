/* The smear viewer: fit, natural size, zoom at the pointer, pan. Scale is told in image pixels per screen pixel. What
   is drawn over the image hears of every change as leukoscope:view. */
const viewer = document.querySelector("[data-viewer]");
const stage = viewer.querySelector("[data-viewer-stage]");
const image = viewer.querySelector("[data-viewer-image]");
const scaleText = viewer.querySelector("[data-viewer-scale]");
const most = 16;
let asked = "";
let shown = {};

/* On the stage, so that the image can be taken hold of through what is drawn over it. */
const panzoom = globalThis.Panzoom(image, {
  maxScale: 64, minScale: 0.2, step: 0.25, cursor: "grab", animate: false, canvas: true,
});

/* Image pixels to screen pixels when the whole field is in the window. */
function fitScale() {
  if (!image.naturalWidth) return 1;
  return Math.min(stage.clientWidth / image.naturalWidth, stage.clientHeight / image.naturalHeight);
}

function tell() {
  const natural = panzoom.getScale() * fitScale();
  scaleText.textContent = `${Math.round(natural * 100)} %`;
  image.classList.toggle("is-pixels", natural >= 8);
  const { x, y } = panzoom.getPan();
  const scale = panzoom.getScale();
  const left = stage.clientWidth / 2 + scale * x - (natural * image.naturalWidth) / 2;
  const top = stage.clientHeight / 2 + scale * y - (natural * image.naturalHeight) / 2;
  document.dispatchEvent(new CustomEvent("leukoscope:view", { detail: { ...shown, scale: natural, left, top } }));
}

const scaleWords = (micronsPerPixel) => (micronsPerPixel ? [`${Number(micronsPerPixel.toPrecision(3))} µm per pixel`] : []);

function limit() {
  panzoom.setOptions({ maxScale: Math.max(1, most / fitScale()), minScale: Math.min(1, 0.5 / fitScale(), 0.5) });
}

function fit() {
  panzoom.reset({ animate: false });
  tell();
}

function natural() {
  panzoom.zoom(1 / fitScale(), { animate: false });
  tell();
}

async function show({ src, name, cells, micronsPerPixel }) {
  asked = src;
  const next = new Image();
  next.src = src;
  viewer.setAttribute("aria-busy", "true");
  try {
    await next.decode();
  } catch {
    if (asked === src) viewer.querySelector("[data-viewer-name]").textContent = `${name} could not be loaded`;
    return;
  } finally {
    viewer.removeAttribute("aria-busy");
  }
  if (asked !== src) return;
  shown = { cells, micronsPerPixel };
  image.src = src;
  image.alt = `Smear image ${name}`;
  viewer.querySelector("[data-viewer-name]").textContent = [name, `${next.naturalWidth} × ${next.naturalHeight} px`, ...scaleWords(micronsPerPixel)].join(" · ");
  await image.decode().catch(() => {});
  limit();
  fit();
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  panzoom.zoomWithWheel(event);
  tell();
}, { passive: false });

stage.addEventListener("dblclick", () => (panzoom.getScale() > 1.01 ? fit() : natural()));

viewer.addEventListener("click", (event) => {
  const button = event.target.closest("[data-zoom]");
  if (!button) return;
  if (button.dataset.zoom === "in") panzoom.zoomIn();
  else if (button.dataset.zoom === "out") panzoom.zoomOut();
  else if (button.dataset.zoom === "fit") fit();
  else natural();
  tell();
});

image.addEventListener("panzoomchange", () => tell());
new ResizeObserver(() => { limit(); tell(); }).observe(stage);
document.addEventListener("leukoscope:image", (event) => show(event.detail));
document.dispatchEvent(new CustomEvent("leukoscope:viewer-ready"));
