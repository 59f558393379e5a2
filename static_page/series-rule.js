// Turns the probabilities of a series' slices into one answer, as tumorscope/series/rule.py does.

import { decide, OUT_OF_DISTRIBUTION, unsupported } from "./decision.js";

const NEIGHBOURS = 3;
const SHARE = 7;
const TINY = 0.02;

const clip = (value) => Math.min(1 - TINY, Math.max(TINY, value));

/** Returns the mean log odds of a tumour on the most suspicious slices, and which these are. */
function seriesScore(tumour) {
  const odds = tumour.map(clip).map((share) => Math.log(share / (1 - share)));
  const at = (i) => odds[Math.min(odds.length - 1, Math.max(0, i))];
  const smooth = odds.map((value, i) => 0.25 * at(i - 1) + 0.5 * value + 0.25 * at(i + 1));
  const count = Math.min(Math.max(NEIGHBOURS, Math.ceil(smooth.length / SHARE)), smooth.length);
  const order = smooth.map((_, i) => i).sort((a, b) => smooth[b] - smooth[a]);
  const deciding = order.slice(0, count).sort((a, b) => a - b);
  return [deciding.reduce((sum, i) => sum + smooth[i], 0) / count, deciding];
}

/**
 * Gives one answer to neighbouring slices.
 *
 * @param rows The probabilities of the slices' classes, in order along the body.
 * @param noTumour The index of the class without a tumour; -1 for a model that has none.
 * @param rule The model's calibration for series: `slope` and `offset`.
 * @returns `{probabilities, deciding}`.
 */
export function answerStack(rows, noTumour, { slope = 1, offset = 0 } = {}) {
  const tumour = rows.map((row) => (noTumour < 0 ? Math.max(...row) : 1 - row[noTumour]));
  const [score, deciding] = seriesScore(tumour);
  const odds = rows.length >= SHARE ? slope * score + offset : score;
  const suspicion = 1 / (1 + Math.exp(-odds));
  const weights = tumour.map((share) => Math.max(share, TINY)).map((share) => (noTumour < 0 ? share ** 2 : share));
  const kinds = rows[0].map((_, j) => (j === noTumour ? 0 : rows.reduce((sum, row, i) => sum + row[j] * weights[i], 0)));
  const all = kinds.reduce((sum, share) => sum + share, 0) || Number.MIN_VALUE;
  const probabilities = kinds.map((share) => (noTumour < 0 ? share / all : (suspicion * share) / all));
  if (noTumour >= 0) probabilities[noTumour] = 1 - suspicion;
  return { probabilities, deciding };
}

/**
 * Answers a series from the answers to its slices, which stand in their order along the body.
 *
 * @param answers The slices' answers, those that were not classified among them.
 * @param model What the model's file says about itself.
 * @param problem Why the slices have no answer as a whole; empty when they have.
 */
export function answerSeries(answers, model, problem = "") {
  const judged = answers.filter(({ label }) => label);
  const whole = { slices: judged.length, milliseconds: judged.reduce((sum, one) => sum + one.milliseconds, 0), model: model.title, decided_by: [], note: "", answers };
  if (problem) return { ...whole, ...unsupported(problem) };
  if (!judged.length) return { ...whole, ...unsupported(mostFrequent(answers.map(({ reason }) => reason))) };
  const rows = judged.map(({ probabilities }) => model.classes.map((name) => probabilities[name]));
  const { probabilities, deciding } = answerStack(rows, model.classes.indexOf("notumor"), model.series);
  // (Fewer slices are no whole scan, for which the series' own threshold was fitted.)
  const limits = model.series.confident && rows.length >= SHARE ? model.classes.map(() => model.series.confident) : model.confident;
  const decided = decide(probabilities, model.classes, { confident: limits });
  const strange = answers.filter(({ reason }) => reason === OUT_OF_DISTRIBUTION).length;
  if (strange > judged.length) {
    const unlike = `${strange} of ${answers.length} slices are ${OUT_OF_DISTRIBUTION}`;
    Object.assign(decided, { verdict: "uncertain", reason: [decided.reason, unlike].filter(Boolean).join("; ") });
  }
  return { ...whole, ...decided, decided_by: deciding.map((i) => ({ path: judged[i].path, slice: judged[i].slice })) };
}

function mostFrequent(reasons) {
  const counts = new Map();
  for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? "";
}
