// Shows a slice: the picture, the heat above it, the outlines above that, and the sides.

import { applyAdjustment, makeAdjustable } from "./adjust.js";
import { drawHeat, grey, OUTLINE, outline, source } from "./pictures.js";
import { sideLetters } from "./sides.js";
import { make, plainName, sentence } from "./words.js";

/** How the overlay is shown, wherever it is: one setting for all figures. */
export const overlay = { heat: true, outline: true, opacity: 0.6 };

const SVG = "http://www.w3.org/2000/svg";

/**
 * Returns the figure; its overlay follows once it is decoded.
 *
 * @param mask The tumour by hand, as `{width, height, levels}` in the picture's pixels, or null.
 * @param root Holds all figures that are shown alike.
 */
export function sliceFigure(answer, name, { mask = null, root }) {
  const layers = make("div", { class: "layers" }, make("img", { src: source(answer.picture), alt: `${name}: ${sentence(answer)}`, draggable: "false" }));
  const figure = make("figure", { class: "scan" }, layers, ...sideLetters(answer.affine));
  makeAdjustable(figure, root);
  if (mask) layers.append(outlineOver(mask, "mask"));
  if (answer.heatmap) addHeat(layers, answer);
  applyAdjustment(figure);
  return figure;
}

async function addHeat(layers, answer) {
  const heat = await grey(answer.heatmap);
  const canvas = make("canvas", { class: "heat", role: "img", "aria-label": `Where the network saw ${plainName(answer.label)}` });
  drawHeat(canvas, heat);
  layers.append(canvas, outlineOver(heat, "outline"));
  applyOverlay(layers);
}

function outlineOver(picture, name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${picture.width} ${picture.height}`);
  svg.setAttribute("class", name);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", outline(picture));
  path.setAttribute("stroke", OUTLINE[name]);
  svg.append(path);
  return svg;
}

/** Shows the overlays inside an element as the setting says. */
export function applyOverlay(root) {
  root.querySelectorAll(".heat").forEach((canvas) => {
    canvas.hidden = !overlay.heat;
    canvas.style.opacity = overlay.opacity;
  });
  root.querySelectorAll(".outline").forEach((svg) => svg.toggleAttribute("hidden", !overlay.outline));
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
