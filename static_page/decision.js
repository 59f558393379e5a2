// Decides from a network's outputs, as tumorscope/inference/decision.py does: label, verdict, reason.
// Both are held to the same cases, tests/inference/decisions.json.

export const OUT_OF_DISTRIBUTION = "unlike the brain MRI slices that the model learned from";
const NOT_FINITE = "the network's outputs are not numbers (NaN or infinity)";

/** Returns the answer to a slice that the model cannot classify. */
export const unsupported = (reason) => ({ label: null, probability: null, probabilities: null, verdict: "unsupported", reason });

/** Rounds half to even, as Python does. */
export function roundEven(value) {
  const low = Math.floor(value);
  const part = value - low;
  if (part !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

const rounded = (value) => Number(value.toFixed(6));

/** Writes a share in per cent; `toFixed` rounds the exact value, but a half away from zero. */
function percent(share, digits) {
  const value = 100 * share * 10 ** digits;
  return Math.abs(value % 1) === 0.5 ? (roundEven(value) / 10 ** digits).toFixed(digits) : (100 * share).toFixed(digits);
}

const plainName = (label) => (label === "notumor" ? "no tumour" : label);

const RIVAL = 0.1; // From this probability on the second class is named beside the first.

/**
 * Decides what a network's outputs say.
 *
 * @param probabilities The probability of each class, two or more.
 * @param classes The classes' names, in the same order.
 * @param confident From which probability an answer is confident, class by class.
 * @param oodScore How unlike the training pictures the slice is; null where there is no score.
 * @param oodThreshold A slice with a larger score is unsupported; null where there is no limit.
 */
export function decide(probabilities, classes, { confident, oodScore = null, oodThreshold = null }) {
  const values = [...probabilities].map(Number);
  const scores = oodScore === null ? [] : [Number(oodScore)];
  if (![...values, ...scores].every(Number.isFinite)) return unsupported(NOT_FINITE);
  if (oodThreshold !== null && scores.some((score) => score > oodThreshold)) return unsupported(OUT_OF_DISTRIBUTION);
  const [first, second] = values.map((_, i) => i).sort((a, b) => values[b] - values[a]);
  const sure = values[first] >= confident[first];
  return {
    label: classes[first],
    probability: rounded(values[first]),
    probabilities: Object.fromEntries(classes.map((name, i) => [name, rounded(values[i])])),
    verdict: sure ? "confident" : "uncertain",
    reason: sure ? "" : whyUncertain(values, classes, confident[first], [first, second]),
  };
}

function whyUncertain(values, classes, limit, [first, second]) {
  if (values[second] < RIVAL && limit >= 1) return `${plainName(classes[first])} is never called confident`;
  if (values[second] < RIVAL) return `${plainName(classes[first])} is confident from ${percent(limit, 1)} %`;
  return `between ${[first, second].map((i) => `${plainName(classes[i])} (${percent(values[i], 0)} %)`).join(" and ")}`;
}
