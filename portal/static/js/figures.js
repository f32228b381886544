/* Figures on paper: as wide as the page, in black, whatever the window and the theme; and back again afterwards. */
const PAPER_WIDTH = 680;
const drawn = () => document.querySelectorAll("[data-plot][data-drawn]");

addEventListener("beforeprint", () => {
  for (const node of drawn()) {
    globalThis.Plotly.relayout(node, {
      autosize: false,
      width: PAPER_WIDTH,
      "font.color": "#000",
      "xaxis.gridcolor": "#ccc",
      "yaxis.gridcolor": "#ccc",
    });
  }
});

addEventListener("afterprint", () => {
  for (const node of drawn()) globalThis.Plotly.relayout(node, { autosize: true, width: null });
  document.dispatchEvent(new Event("leukoscope:theme"));
});
