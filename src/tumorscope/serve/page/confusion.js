// Compares answers with the classes that the folders' names say: a confusion matrix.

import { make, percent, plainName } from "./words.js";

const NO_TUMOUR = /^(no|non|healthy|normal)$/;

/** Returns the class that a file's folders name, the nearest first; null where none does. */
export function targetOf(path, classes) {
  for (const folder of path.split("/").slice(0, -1).reverse()) {
    const word = folder.toLowerCase().replace(/[^a-z]+/g, "");
    const kind = word.replace(/tumou?rs?$/, "");
    const found = classes.find((name) => [word, kind, kind.replace(/s$/, "")].includes(name) || (name === "notumor" && NO_TUMOUR.test(kind)));
    if (found) return found;
  }
  return null;
}

/**
 * Counts the answers of a model by target and predicted class.
 *
 * @returns `{counts, right, all}`: counts[target][predicted], where predicted may be "none".
 */
export function confusion(scans, model) {
  const counts = {};
  let [right, all] = [0, 0];
  for (const scan of scans) {
    const target = targetOf(scan.path, model.classes);
    const answer = scan.answers.get(model.id);
    if (!target || !answer) continue;
    const predicted = answer.label ?? "none";
    counts[target] ??= {};
    counts[target][predicted] = (counts[target][predicted] ?? 0) + 1;
    right += target === predicted;
    all += 1;
  }
  return { counts, right, all };
}

/** Shows the matrices in a `details` element, or hides it where no folder names a class. */
export function showConfusion(root, scans, models) {
  const tables = models.map((model) => [model, confusion(scans, model)]).filter(([, { all }]) => all);
  root.hidden = !tables.length;
  if (root.hidden) return;
  const [[, first]] = tables;
  const line = tables.length > 1 ? "Compared with the folders' names" : `Compared with the folders' names: ${share(first)}`;
  root.replaceChildren(make("summary", {}, line), ...tables.map(([model, found]) => matrix(model, found, tables.length > 1)));
}

const share = ({ right, all }) => `${right} of ${all} right (${percent(right / all)})`;

function matrix(model, { counts, ...sums }, several) {
  const columns = [...model.classes, ...(Object.values(counts).some(({ none }) => none) ? ["none"] : [])];
  const name = (label) => (label === "none" ? "not classified" : plainName(label));
  const head = make("tr", {}, make("th", { scope: "col" }, "folder \\ answer"), ...columns.map((label) => make("th", { scope: "col" }, name(label))), make("th", { scope: "col" }, "recall"));
  const rows = model.classes.filter((target) => counts[target]).map((target) => {
    const cells = columns.map((label) => make("td", { class: label === target ? "right" : "" }, String(counts[target][label] ?? 0)));
    const sum = Object.values(counts[target]).reduce((a, b) => a + b, 0);
    return make("tr", {}, make("th", { scope: "row" }, plainName(target)), ...cells, make("td", {}, percent((counts[target][target] ?? 0) / sum)));
  });
  const caption = `${several ? `${model.title}: ${share(sums)}. ` : ""}What is not classified counts as wrong.`;
  return make("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": `Confusion matrix, ${model.title}` }, make("table", { class: "matrix" }, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...rows)));
}
