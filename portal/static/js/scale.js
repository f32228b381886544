/* The scale bar of the viewer: a round number of micrometres, about a tenth of the window, where the scale is known. */
const bar = document.querySelector("[data-scale-bar]");
const most = 160;
const right = 192;

function roundBelow(microns) {
  const power = 10 ** Math.floor(Math.log10(microns));
  return [5, 2, 1].find((step) => step * power <= microns) * power;
}

document.addEventListener("leukoscope:view", ({ detail: { micronsPerPixel, scale } }) => {
  bar.toggleAttribute("hidden", !micronsPerPixel);
  if (!micronsPerPixel || !(scale > 0)) return;
  const screenPixels = scale / micronsPerPixel;
  const microns = roundBelow(most / screenPixels);
  const line = `M${right - microns * screenPixels} 24H${right}`;
  for (const path of bar.querySelectorAll("path")) path.setAttribute("d", line);
  const text = bar.querySelector("text");
  text.setAttribute("x", right);
  text.setAttribute("y", 15);
  text.textContent = `${Number(microns.toPrecision(1))} µm`;
  bar.setAttribute("aria-label", `Scale bar: ${text.textContent}`);
});
