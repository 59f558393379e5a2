// Answers come in, the words and colours for people go out.

export const plainName = (label) => (label === "notumor" ? "no tumour" : label);

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

export const colourOf = (label) => `var(--${label ?? "none"}, var(--accent))`;

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
