// Shows a scan large: pictures, answers, controls.

import { adjustControls, resetAdjustment } from "./adjust.js";
import { answerPanel, differLine } from "./answer-panel.js";
import { sidesInWords } from "./sides.js";
import { applyOverlay, overlayControls, sliceFigure } from "./slice-view.js";
import { showVolume } from "./volume-detail.js";
import { confidentFrom, make, plainName } from "./words.js";

let open = { close() {} };

/** Shows a scan in the element; what stood there is let go of. */
export function showDetail(root, scan, models) {
  emptyDetail(root);
  root.append(make("h2", {}, scan.name));
  if (scan.error) root.append(answerPanel(scan, ""));
  else if (!scan.answers.size) root.append(make("p", { class: "quiet" }, "Being classified ..."));
  else if (scan.kind === "volume") open = showVolume(root, scan, models);
  else showSlice(root, scan, models);
}

/** Shows that nothing is chosen. */
export function emptyDetail(root) {
  open.close();
  open = { close() {} };
  root.replaceChildren();
  resetAdjustment(root);
}

function showSlice(root, scan, models) {
  const answered = models.filter(({ id }) => scan.answers.has(id));
  const columns = make("div", { class: "columns" });
  const several = answered.length > 1;
  for (const model of answered) {
    const answer = scan.answers.get(model.id);
    const panel = answerPanel(answer, model.title, confidentFrom(model, answer));
    const parts = answer.picture ? [make("div", { class: "pictured" }, sliceFigure(answer, scan.name, { root }), caption(answer)), panel] : [panel];
    if (several) columns.append(make("div", { class: "compared" }, ...parts));
    else columns.append(...parts);
  }
  root.append(differLine(answered.map(({ id }) => scan.answers.get(id))), columns);
  if (!columns.querySelector(".scan")) return;
  const tools = make("div", { class: "tools" });
  if (answered.some(({ id }) => scan.answers.get(id).heatmap)) tools.append(overlayControls(() => applyOverlay(root)));
  tools.append(adjustControls(root));
  columns.before(tools);
}

function caption(answer) {
  const heat = answer.heatmap ? `Coloured where the network saw "${plainName(answer.label)}"; the line is at half the maximum. ` : "";
  return make("p", { class: "quiet small" }, heat + sidesInWords(answer.affine));
}
