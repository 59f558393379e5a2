// Shows what a person reads of an answer: class, bars, verdict and reason.

import { capital, colourOf, make, percent, percentBelow, plainName, thresholdsInWords, verdictWords } from "./words.js";

/**
 * Returns the panel of an answer to a slice or a series.
 *
 * @param thresholds The probability from which the answer is confident, by class.
 * @param more Elements that stand behind the verdict.
 */
export function answerPanel(answer, title, thresholds, ...more) {
  const panel = make("div", { class: "answer" }, make("h3", {}, title));
  if (answer.error) {
    const label = answer.unsent ? "No answer" : "Cannot be read";
    panel.append(make("p", { class: "label" }, label), make("p", {}, capital(answer.error), "."));
    return panel;
  }
  if (answer.label) {
    const share = make("span", { class: "share" }, ` ${percentBelow(answer.probability, thresholds[answer.label])}`);
    panel.append(make("p", { class: "label" }, plainName(answer.label), share));
  } else panel.append(make("p", { class: "label" }, "No answer"));
  panel.append(make("p", { class: `verdict ${answer.verdict}` }, verdictWords(answer.verdict)));
  if (answer.reason) panel.append(make("p", {}, capital(answer.reason), "."));
  if (answer.note) panel.append(make("p", { class: "quiet" }, capital(answer.note), "."));
  panel.append(...more);
  if (answer.probabilities) panel.append(bars(answer, thresholds), make("p", { class: "quiet small tick" }, `Confident from ${thresholdsInWords(thresholds)}.`));
  return panel;
}

function bars(answer, thresholds) {
  const rows = Object.entries(answer.probabilities).map(([label, share]) => {
    const fill = make("div", { class: "fill", "--share": share, "--colour": colourOf(label) });
    const first = label === answer.label ? "first" : "";
    return make(
      "li", {},
      make("span", { class: first }, plainName(label)),
      make("div", { class: "track", "aria-hidden": "true", "--threshold": thresholds[label] }, fill),
      make("span", { class: first }, label === answer.label ? percentBelow(share, thresholds[label]) : percent(share)),
    );
  });
  return make("ul", { class: "bars", "aria-label": "Probabilities" }, ...rows);
}

/** Returns a line when two models do not say the same, else nothing. */
export function differLine(answers) {
  const labels = new Set(answers.map((answer) => answer.label ?? "no answer"));
  if (labels.size < 2) return "";
  return make("p", { class: "differ" }, `The models differ: ${[...labels].map(plainName).join(" or ")}`);
}
