// Says answers in words and colours for people.

export const plainName = (label) => (label === "notumor" ? "no tumour" : label);

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

/** A probability below a threshold, with so many digits that it does not look like the threshold. */
export function percentBelow(share, threshold) {
  let digits = 1;
  while (share < threshold && digits < 4 && percent(share, digits) === percent(threshold, digits)) digits += 1;
  return percent(share, digits);
}

export const colourOf = (label) => `var(--${label ?? "none"}, var(--accent))`;

/** The probability of any tumour; of a model that knows nothing else, that of its class. */
export function tumourShare({ probabilities }) {
  if (!probabilities) return null;
  return "notumor" in probabilities ? 1 - probabilities.notumor : Math.max(...Object.values(probabilities));
}

/** Fewer slices are no whole scan, for which the series' own threshold was fitted. */
const WHOLE_SCAN = 7;

/** From which probability an answer is confident, by class: to a slice, or to a series. */
export function confidentFrom(model, answer = {}) {
  const whole = answer.answers && answer.slices >= WHOLE_SCAN && model.series?.confident;
  return Object.fromEntries(model.classes.map((name, i) => [name, whole || model.confident[i]]));
}

/** Says the thresholds in one number where all are alike, else class by class. */
export function thresholdsInWords(thresholds) {
  const all = Object.entries(thresholds).map(([label, share]) => [plainName(label), share < 1 ? percent(share) : "never"]);
  if (new Set(all.map(([, share]) => share)).size === 1) return all[0][1];
  return all.map((pair) => pair.join(" ")).join(", ");
}

/** What the verdict means, in a few words. */
export function verdictWords(verdict) {
  return {
    confident: "Confident",
    uncertain: "Uncertain, a person should look",
    unsupported: "Not classified",
  }[verdict];
}

/** An answer as a sentence, for screen readers and tooltips. */
export function sentence(answer) {
  if (answer.error) return `cannot be read: ${answer.error}`;
  if (!answer.label) return `not classified: ${answer.reason}`;
  const reason = answer.reason ? `, ${answer.reason}` : "";
  return `${plainName(answer.label)} ${percent(answer.probability)}, ${answer.verdict}${reason}`;
}

/** Names a slice of a series: its number in the file, else its place. */
export function sliceNumber(answers, position) {
  const { slice } = answers[position];
  return slice === null ? position + 1 : slice;
}

/** Makes an element; children may be text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (name === "class") element.className = value;
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Makes a select with a label; `changed` is told its value. */
export function choice(title, names, chosen, changed) {
  const options = Object.entries(names).map(([value, text]) => make("option", { value, selected: value === String(chosen) }, text));
  const select = make("select", {}, ...options);
  select.addEventListener("change", () => changed(select.value));
  return make("label", {}, title, select);
}
