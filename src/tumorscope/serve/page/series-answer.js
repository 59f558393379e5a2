// Says what the slices of a series answer by themselves, and how the series' answer came of them.

import { capital, make, plainName, plural, sliceNumber } from "./words.js";

/** Tells whether a slice is among those that decided whether there is a tumour. */
export function decidedTest(whole) {
  const deciding = new Set(whole.decided_by.map(({ path, slice }) => `${path} ${slice}`));
  return ({ path, slice }) => deciding.has(`${path} ${slice}`);
}

/** Returns how many slices answer what, the most frequent first; null counts those not classified. */
export function countLabels(answers) {
  const counts = new Map();
  for (const { label } of answers) counts.set(label ?? null, (counts.get(label ?? null) ?? 0) + 1);
  return [...counts].sort((a, b) => (a[0] === null) - (b[0] === null) || b[1] - a[1]);
}

/** Returns the sentences of `explanation` as text, for the report. */
export function explain(whole) {
  if (!whole.label) return [];
  const counts = countLabels(whole.answers);
  const said = counts.map(([label, count]) => `${count} ${label === null ? "not classified" : plainName(label)}`);
  const lines = [`The ${plural(whole.answers.length, "slice")} by themselves: ${said.join(", ")}.`];
  const most = counts.find(([label]) => label !== null)?.[0];
  if (most && most !== whole.label) {
    lines.push(whole.label === "notumor"
      ? "Most slices see a tumour, none of them clearly enough."
      : `${capital(plainName(most))} is the most frequent, and yet ${plainName(whole.label)} is the answer: a tumour shows on few slices, and the clearest count most.`);
  }
  const few = whole.decided_by.length;
  lines.push(`Whether there is a tumour: the ${few === 1 ? "most suspicious slice decides" : `${few} most suspicious slices decide, each seen with its neighbours`}.`);
  if (whole.label !== "notumor") lines.push("Which kind: told from all slices that show the tumour, the clearest count most.");
  return lines;
}

/** Returns the explanation; its slices are buttons that lead there. */
export function explanation(whole, go) {
  if (!whole.label) return "";
  const decided = decidedTest(whole);
  const places = whole.answers.flatMap((answer, position) => (decided(answer) ? [position] : []));
  const buttons = places.map((position) => {
    const number = sliceNumber(whole.answers, position);
    const button = make("button", { type: "button", "aria-label": `Show slice ${number}` }, String(number));
    button.addEventListener("click", () => go(position));
    return button;
  });
  const lines = explain(whole).map((line) => make("p", {}, line));
  return make("div", { class: "explained" }, ...lines, make("p", { class: "jumps" }, make("span", { class: "quiet" }, "Deciding slices: "), ...buttons));
}
