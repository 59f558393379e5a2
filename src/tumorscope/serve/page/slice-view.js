// An answer with its picture comes in, a figure goes out: slice, heat above it, outline above that.

import { drawHeat, grey, outline, source } from "./pictures.js";
import { make, plainName, sentence } from "./words.js";

/** How the overlay is shown, wherever it is: one setting for all figures. */
export const overlay = { heat: true, outline: true, opacity: 0.6 };

const SVG = "http://www.w3.org/2000/svg";

/** Returns the figure; its overlay follows once it is decoded. */
export function sliceFigure(answer, name) {
  const figure = make("figure", { class: "scan" });
  figure.append(make("img", { src: source(answer.picture), alt: `${name}: ${sentence(answer)}` }));
  if (answer.heatmap) addOverlay(figure, answer);
  return figure;
}

async function addOverlay(figure, answer) {
  const heat = await grey(answer.heatmap);
  const canvas = make("canvas", { class: "heat", role: "img", "aria-label": `Where the network saw ${plainName(answer.label)}` });
  drawHeat(canvas, heat);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${heat.width} ${heat.height}`);
  svg.setAttribute("class", "outline");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", outline(heat));
  svg.append(path);
  figure.append(canvas, svg);
  applyOverlay(figure);
}

/** Shows the overlays inside an element as the setting says. */
export function applyOverlay(root) {
  root.querySelectorAll(".scan .heat").forEach((canvas) => {
    canvas.hidden = !overlay.heat;
    canvas.style.opacity = overlay.opacity;
  });
  root.querySelectorAll(".scan .outline").forEach((svg) => svg.toggleAttribute("hidden", !overlay.outline));
}

/** Returns the controls of the overlay; `changed` is told when they are moved. */
export function overlayControls(changed) {
  const heat = make("input", { type: "checkbox", id: "show-heat", checked: overlay.heat });
  const line = make("input", { type: "checkbox", id: "show-outline", checked: overlay.outline });
  const slider = make("input", {
    type: "range", id: "opacity", min: 0, max: 100, value: Math.round(100 * overlay.opacity),
    "aria-label": "Opacity of the heatmap, per cent",
  });
  const set = () => {
    Object.assign(overlay, { heat: heat.checked, outline: line.checked, opacity: slider.value / 100 });
    slider.disabled = !overlay.heat;
    changed();
  };
  [heat, line, slider].forEach((input) => input.addEventListener("input", set));
  slider.disabled = !overlay.heat;
  return make(
    "div", { class: "controls", role: "group", "aria-label": "Overlay" },
    make("label", {}, heat, "Heatmap"), slider,
    make("label", { title: "Where the heatmap is at half its maximum" }, line, "Outline"),
  );
}
