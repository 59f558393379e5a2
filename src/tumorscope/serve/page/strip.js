// The answers to a volume's slices come in, a strip with a colour for each goes out; it is a slider.

import { colourOf, make, plainName, sentence } from "./words.js";

/**
 * Returns the strip.
 *
 * @param answers The slices' answers, along the body.
 * @param decided Whether a slice is among those that decided.
 * @param title What the strip is called.
 * @param chosen Told the position when a person moves to another slice.
 */
export function makeStrip(answers, decided, title, chosen) {
  const strip = make("div", {
    class: "strip", role: "slider", tabindex: 0, "aria-label": title, "aria-valuemin": 1,
    "aria-valuemax": answers.length, "aria-orientation": "horizontal",
  });
  const cells = answers.map((answer) => make("i", {
    class: `${answer.verdict} ${decided(answer) ? "decided" : ""}`, "--colour": colourOf(answer.label),
  }));
  strip.append(...cells);
  let current = 0;

  strip.show = (position) => {
    cells[current].classList.remove("current");
    current = Math.min(cells.length - 1, Math.max(0, position));
    cells[current].classList.add("current");
    strip.setAttribute("aria-valuenow", current + 1);
    strip.setAttribute("aria-valuetext", `Slice ${current + 1} of ${cells.length}: ${sentence(answers[current])}`);
  };
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity };
  strip.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    chosen(Math.min(cells.length - 1, Math.max(0, current + steps[event.key])));
  });
  const point = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = strip.getBoundingClientRect();
    const position = Math.floor(((event.clientX - box.left) / box.width) * cells.length);
    chosen(Math.min(cells.length - 1, Math.max(0, position)));
  };
  strip.addEventListener("pointerdown", (event) => {
    strip.setPointerCapture(event.pointerId);
    point(event);
  });
  strip.addEventListener("pointermove", point);
  strip.show(0);
  return strip;
}

/** Returns what the strip's colours mean. */
export function legend(classes) {
  return make(
    "p", { class: "legend" },
    ...classes.map((label) => make("span", { "--colour": colourOf(label) }, plainName(label))),
    make("span", { class: "hatched" }, "uncertain"),
    make("span", { "--colour": "var(--none)" }, "not classified"),
    make("span", { class: "topped" }, "decided"),
  );
}
