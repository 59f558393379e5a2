// A model's answer comes in, what a person reads of it goes out: class, bars, verdict and reason.

import { colourOf, make, percent, plainName, verdictWords } from "./words.js";

/** Returns the panel of an answer to a slice or a volume. */
export function answerPanel(answer, title) {
  const panel = make("div", { class: "answer" }, make("h3", {}, title));
  if (answer.error) {
    const label = answer.unsent ? "No answer" : "Cannot be read";
    panel.append(make("p", { class: "label" }, label), make("p", {}, capital(answer.error), "."));
    return panel;
  }
  if (answer.label) {
    const share = make("span", { class: "share" }, ` ${percent(answer.probability)}`);
    panel.append(make("p", { class: "label" }, plainName(answer.label), share));
  } else panel.append(make("p", { class: "label" }, "No answer"));
  panel.append(make("p", { class: `verdict ${answer.verdict}` }, verdictWords(answer.verdict)));
  if (answer.reason) panel.append(make("p", {}, capital(answer.reason), "."));
  if (answer.note) panel.append(make("p", { class: "quiet" }, capital(answer.note), "."));
  if (answer.probabilities) panel.append(bars(answer));
  return panel;
}

function bars(answer) {
  const rows = Object.entries(answer.probabilities).map(([label, share]) => {
    const fill = make("div", { class: "fill", "--share": share, "--colour": colourOf(label) });
    const first = label === answer.label ? "first" : "";
    return make(
      "li", {},
      make("span", { class: first }, plainName(label)),
      make("div", { class: "track", "aria-hidden": "true" }, fill),
      make("span", { class: first }, percent(share)),
    );
  });
  return make("ul", { class: "bars", "aria-label": "Probabilities" }, ...rows);
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Returns a line when two models do not say the same, else nothing. */
export function differLine(answers) {
  const labels = new Set(answers.map((answer) => answer.label ?? "no answer"));
  if (labels.size < 2) return "";
  return make("p", { class: "differ" }, `The models differ: ${[...labels].map(plainName).join(" or ")}`);
}
