// Draws the tumour probability along a series; it is a slider that chooses the slice.

import { colourOf, make, percent, plainName, sentence, tumourShare } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

/**
 * Returns the curve.
 *
 * @param answers The slices' answers, along the body.
 * @param decided Whether a slice is among those that decided.
 * @param title What the curve is called.
 * @param thresholds The probability from which a slice's answer is confident, by class.
 * @param chosen Told the position when a person moves to another slice.
 */
export function makeCurve(answers, { decided, title, thresholds, chosen }) {
  const curve = make("div", {
    class: "curve", role: "slider", tabindex: 0, "aria-label": title, "aria-valuemin": 1,
    "aria-valuemax": answers.length, "aria-orientation": "horizontal",
  });
  const cells = answers.map((answer) => make("i", {
    class: `${answer.verdict} ${decided(answer) ? "decided" : ""}`, "--colour": colourOf(answer.label), "--share": tumourShare(answer) ?? -1,
  }));
  curve.append(make("div", { class: "cells" }, ...cells), line(answers.map(tumourShare), levels(thresholds)));
  let current = 0;

  curve.show = (position) => {
    cells[current].classList.remove("current");
    current = Math.min(cells.length - 1, Math.max(0, position));
    cells[current].classList.add("current");
    curve.setAttribute("aria-valuenow", current + 1);
    curve.setAttribute("aria-valuetext", `Slice ${current + 1} of ${cells.length}: ${sentence(answers[current])}`);
  };
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity };
  curve.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    chosen(Math.min(cells.length - 1, Math.max(0, current + steps[event.key])));
  });
  const point = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = curve.getBoundingClientRect();
    const position = Math.floor(((event.clientX - box.left) / box.width) * cells.length);
    chosen(Math.min(cells.length - 1, Math.max(0, position)));
  };
  curve.addEventListener("pointerdown", (event) => {
    curve.setPointerCapture(event.pointerId);
    point(event);
  });
  curve.addEventListener("pointermove", point);
  curve.show(0);
  return curve;
}

/** Returns the different thresholds of the tumours, the lowest first. */
function levels(thresholds) {
  const tumours = Object.entries(thresholds).filter(([label, share]) => label !== "notumor" && share < 1);
  return [...new Set(tumours.map(([, share]) => share))].sort();
}

/** Returns the line through the slices' probabilities, and the levels to compare it with. */
function line(shares, thresholds) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${shares.length} 1`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const add = (name, path) => {
    const element = document.createElementNS(SVG, "path");
    element.setAttribute("class", name);
    element.setAttribute("d", path);
    svg.append(element);
  };
  add("even", `M0 .5H${shares.length}`);
  for (const threshold of thresholds) add("threshold", `M0 ${1 - threshold}H${shares.length}`);
  const step = (share, i) => (share === null ? "" : `${i && shares[i - 1] !== null ? "L" : "M"}${i + 0.5} ${(1 - share).toFixed(4)}`);
  add("shares", shares.map(step).join(""));
  return svg;
}

/** Returns what the curve's lines and colours mean. */
export function legend(thresholds) {
  const found = levels(thresholds);
  const from = found.length > 1 ? `${percent(found[0])} to ${percent(found.at(-1))}, class by class` : percent(found[0] ?? 1);
  return make(
    "p", { class: "legend" },
    make("span", { class: "line shares" }, "tumour probability"),
    make("span", { class: "line threshold" }, `confident from ${from}`),
    make("span", { class: "line even" }, "50 %"),
    ...Object.keys(thresholds).map((label) => make("span", { "--colour": colourOf(label) }, plainName(label))),
    make("span", { class: "hatched" }, "uncertain"),
    make("span", { class: "shaded" }, "decided"),
  );
}
