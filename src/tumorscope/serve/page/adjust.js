// Lets a person change window and level, zoom and place of the pictures, by drag or by sliders.

import { choice, make } from "./words.js";

const WHITE = 255;
const LARGEST = 8;
const start = () => ({ centre: 127.5, width: WHITE, zoom: 1, x: 0, y: 0, drag: "window" });

/** How pictures are shown: one setting for all of them, until another scan is chosen. */
export const adjustment = start();

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Puts everything back as it was. */
export function resetAdjustment(root) {
  Object.assign(adjustment, start());
  applyAdjustment(root);
}

/** Shows the pictures inside an element as the setting says, and the sliders beside them. */
export function applyAdjustment(root) {
  const { centre, width, zoom, x, y } = adjustment;
  const plain = centre === 127.5 && width === WHITE;
  document.querySelectorAll("#window [slope]").forEach((transfer) => {
    transfer.setAttribute("slope", WHITE / width);
    transfer.setAttribute("intercept", 0.5 - centre / width);
  });
  root.querySelectorAll(".scan .layers").forEach((layers) => {
    layers.style.transform = zoom === 1 ? "" : `translate(${x}%, ${y}%) scale(${zoom})`;
    layers.querySelector("img").style.filter = plain ? "" : "url(#window)";
  });
  root.querySelectorAll("[data-adjusts]").forEach((slider) => {
    slider.value = adjustment[slider.dataset.adjusts];
  });
}

/** Changes the setting; a picture cannot be moved off its frame. */
export function adjust(root, changes) {
  Object.assign(adjustment, changes);
  adjustment.centre = clamp(adjustment.centre, 0, WHITE);
  adjustment.width = clamp(adjustment.width, 2, 2 * WHITE);
  adjustment.zoom = clamp(adjustment.zoom, 1, LARGEST);
  const room = 50 * (adjustment.zoom - 1);
  adjustment.x = clamp(adjustment.x, -room, room);
  adjustment.y = clamp(adjustment.y, -room, room);
  applyAdjustment(root);
}

/**
 * Makes a figure follow the mouse: drag for window and level (or to move it), double click to
 * reset, the wheel with Ctrl (or two fingers) to zoom.
 *
 * @param root Holds all figures and sliders.
 */
export function makeAdjustable(figure, root) {
  figure.addEventListener("pointerdown", (event) => {
    if (event.button > 2) return;
    figure.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  figure.addEventListener("pointermove", (event) => {
    if (!event.buttons || !figure.hasPointerCapture(event.pointerId)) return;
    const { centre, width, x, y, drag } = adjustment;
    const box = figure.getBoundingClientRect();
    if (drag === "move" || event.shiftKey || event.buttons !== 1) {
      adjust(root, { x: x + (100 * event.movementX) / box.width, y: y + (100 * event.movementY) / box.height });
    } else adjust(root, { width: width + event.movementX, centre: centre + event.movementY / 2 });
  });
  figure.addEventListener("contextmenu", (event) => event.preventDefault());
  figure.addEventListener("dblclick", () => resetAdjustment(root));
  figure.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    adjust(root, { zoom: adjustment.zoom * Math.exp(-event.deltaY / 300) });
  }, { passive: false });
}

/** Returns the sliders. */
export function adjustControls(root) {
  const slider = (title, name, min, max, step) => {
    const input = make("input", { type: "range", min, max, step, value: adjustment[name], "data-adjusts": name });
    input.addEventListener("input", () => adjust(root, { [name]: Number(input.value) }));
    return make("label", {}, title, input);
  };
  const reset = make("button", { type: "button" }, "Reset");
  reset.addEventListener("click", () => resetAdjustment(root));
  const drag = choice("Drag", { window: "window and level", move: "move" }, adjustment.drag, (value) => {
    adjustment.drag = value;
  });
  return make(
    "details", { class: "adjust" }, make("summary", {}, "Window and zoom"),
    make("div", { class: "controls" }, slider("Level", "centre", 0, WHITE, 1), slider("Window", "width", 2, 2 * WHITE, 1), slider("Zoom", "zoom", 1, LARGEST, 0.1), drag, reset),
  );
}
