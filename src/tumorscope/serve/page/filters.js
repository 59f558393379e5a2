// Counts the scans by class, and chooses which of them the list shows, in which order.

import { labelOf } from "./scans.js";
import { choice, colourOf, make, plainName } from "./words.js";

const FEW = 4; // Fewer scans need no filter.
const VERDICTS = { "": "any", confident: "confident", uncertain: "uncertain", unsupported: "not classified" };
const NO_CLASS = ["unreadable", "waiting"];
const byName = new Intl.Collator("en", { numeric: true });
const least = (scan) => Math.min(...[...scan.answers.values()].map(({ probability }) => probability ?? -1), 2);
const SORTS = {
  name: ["name", (a, b) => byName.compare(a.name, b.name)],
  label: ["class", (a, b) => byName.compare(labelOf(a), labelOf(b)) || least(b) - least(a)],
  sure: ["least probable first", (a, b) => least(a) - least(b)],
};

const verdictsOf = (scan) => [...scan.answers.values()].map(({ verdict }) => verdict);

/**
 * Makes the controls above the list.
 *
 * @param root The element that they stand in.
 * @param changed Told when another choice is made.
 */
export function makeFilters(root, changed) {
  const wanted = { text: "", label: "", verdict: "", sort: "name" };
  const set = (name) => (value) => {
    wanted[name] = value;
    changed();
  };
  const search = make("input", { type: "search", placeholder: "Search names", "aria-label": "Search names" });
  search.addEventListener("input", () => set("text")(search.value.trim().toLowerCase()));
  const chips = make("div", { class: "chips", role: "group", "aria-label": "Class" });
  const verdict = choice("Verdict", VERDICTS, "", set("verdict"));
  const sort = choice("Sort by", Object.fromEntries(Object.entries(SORTS).map(([name, [text]]) => [name, text])), "name", set("sort"));
  root.replaceChildren(search, chips, make("div", { class: "controls" }, verdict, sort));

  const buttons = new Map();

  /** Writes the counts; buttons stay where they are, so that no click is lost while answers come. */
  function count(labels) {
    for (const [label, number] of labels) {
      if (!buttons.has(label)) {
        buttons.set(label, chip(label));
        chips.append(buttons.get(label));
      }
      const button = buttons.get(label);
      button.lastChild.data = `${label ? plainName(label) : "All"} ${number}`;
      button.setAttribute("aria-pressed", String(wanted.label === label));
      button.hidden = !number;
    }
  }

  function chip(label) {
    const mark = /^\w+$/.test(label) && !NO_CLASS.includes(label) ? [make("i", { "--colour": colourOf(label), "aria-hidden": "true" })] : [];
    const button = make("button", { type: "button", "data-label": label }, ...mark, "");
    button.addEventListener("click", () => set("label")(wanted.label === label ? "" : label));
    return button;
  }

  return {
    /** Returns the scans to be shown, and writes the counts. */
    apply(scans) {
      root.hidden = scans.length < FEW;
      if (root.hidden) return [...scans];
      const counts = new Map([["", scans.length], ...[...buttons.keys()].filter(Boolean).map((label) => [label, 0])]);
      for (const scan of scans) counts.set(labelOf(scan), (counts.get(labelOf(scan)) ?? 0) + 1);
      if (!counts.get(wanted.label)) wanted.label = "";
      count(counts);
      const { text, label, verdict: only, sort: order } = wanted;
      return scans
        .filter((scan) => !text || scan.name.toLowerCase().includes(text))
        .filter((scan) => !label || labelOf(scan) === label)
        .filter((scan) => !only || verdictsOf(scan).includes(only))
        .sort(SORTS[order][1]);
    },
    clear() {
      Object.assign(wanted, { text: "", label: "", verdict: "", sort: "name" });
      search.value = "";
      buttons.clear();
      chips.replaceChildren();
      root.querySelectorAll("select").forEach((select) => {
        select.selectedIndex = 0;
      });
      root.hidden = true;
    },
  };
}
