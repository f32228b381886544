/* Draws every figure of the page from the JSON beside it, in the page's own colours, again when the theme changes. */
const inks = () => {
  const style = getComputedStyle(document.documentElement);
  return { text: style.getPropertyValue("--lk-text").trim(), line: style.getPropertyValue("--lk-hairline").trim() };
};

function figureOf(node) {
  const source = document.getElementById(node.dataset.plot);
  if (!source) return null;
  let figure = JSON.parse(source.textContent);
  if (typeof figure === "string") figure = figure ? JSON.parse(figure) : null;
  return figure;
}

/* Long class names break into lines, so that the bars keep their room. */
const wrapped = (words) =>
  String(words).split(" ").reduce((lines, word) => {
    const last = lines.at(-1);
    if (last && `${last} ${word}`.length <= 15) return [...lines.slice(0, -1), `${last} ${word}`];
    return [...lines, word];
  }, []).join("<br>");

async function draw(node) {
  const figure = figureOf(node);
  if (!figure || !globalThis.Plotly) return;
  const { text, line } = inks();
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, tickcolor: line };
  const layout = {
    ...figure.layout,
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { ...figure.layout?.font, color: text, size: 13, family: getComputedStyle(document.body).fontFamily },
    xaxis: { ...axis, ...figure.layout?.xaxis },
    yaxis: { ...axis, ...figure.layout?.yaxis },
  };
  const rows = figure.data?.[0]?.orientation === "h" ? figure.data[0].y.length : 0;
  if (rows && !figure.layout?.yaxis?.ticktext) {
    const names = figure.data[0].y;
    Object.assign(layout.yaxis, { showgrid: false, tickvals: names, ticktext: names.map(wrapped), tickfont: { size: 12 } });
  }
  if (rows && node.dataset.rowHeight) layout.height = rows * Number(node.dataset.rowHeight) + 34;
  await globalThis.Plotly.newPlot(node, figure.data, layout, { displayModeBar: false, responsive: true, staticPlot: node.dataset.interactive === undefined });
  node.dataset.drawn = "true";
}

const drawAll = (root = document) => root.querySelectorAll?.("[data-plot]").forEach(draw);

document.addEventListener("htmx:beforeCleanupElement", (event) => {
  if (event.target.matches?.("[data-plot][data-drawn]")) globalThis.Plotly?.purge(event.target);
});
document.addEventListener("htmx:afterSwap", (event) => drawAll(event.detail.target));
document.addEventListener("leukoscope:theme", () => drawAll());
drawAll();
