/* The cells found in a field, drawn over the image: asked for only when somebody wants to see them. */
const layer = document.querySelector("[data-viewer-cells] > g");
const space = "http://www.w3.org/2000/svg";
const letter = 13;
const answers = new Map();
let wanted = false;
let view = null;
let drawn = "";

function element(name, attributes, text = "") {
  const node = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

function cellNode({ box: [x, y, width, height], title, mark, colour }) {
  const group = element("g", {});
  const box = element("rect", { class: "box", x, y, width, height, stroke: colour });
  box.append(element("title", {}, title));
  group.append(
    element("rect", { class: "under", x, y, width, height }),
    box,
    element("text", { x, y, dx: "0.15em", dy: "-0.25em" }, mark),
  );
  return group;
}

async function cellsAt(address) {
  if (!answers.has(address)) {
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    if (!answer.ok) return [];
    answers.set(address, (await answer.json()).cells);
  }
  return answers.get(address);
}

/* Boxes in image pixels move with the image; letters and lines keep their size on the screen. */
function place() {
  if (!view) return;
  const { left, top, scale } = view;
  layer.setAttribute("transform", `translate(${left} ${top}) scale(${scale})`);
  layer.setAttribute("font-size", letter / scale);
  layer.setAttribute("stroke-width", 3 / scale);
}

async function draw() {
  const address = wanted ? view?.cells?.() ?? "" : "";
  if (address === drawn) return;
  drawn = address;
  layer.replaceChildren();
  if (!address) return;
  const cells = await cellsAt(address).catch(() => []);
  if (drawn === address) layer.replaceChildren(...cells.map(cellNode));
}

const toggle = () => document.querySelector("[data-cells-toggle]");

function paint() {
  toggle()?.setAttribute("aria-pressed", String(wanted));
  draw();
}

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-cells-toggle]")) return;
  wanted = !wanted;
  paint();
});

document.addEventListener("leukoscope:view", (event) => {
  view = event.detail;
  place();
  draw();
});

for (const name of ["htmx:afterSwap", "htmx:oobAfterSwap"]) document.addEventListener(name, paint);
