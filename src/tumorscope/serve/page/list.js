// Scans come in, the list to choose from goes out: a listbox for mouse, touch and keyboard.

import { source } from "./pictures.js";
import { make, percent, plainName } from "./words.js";

/**
 * Makes an element the list of scans.
 *
 * @param root A `ul` with the role listbox.
 * @param chosen Told the scan that a person moved to.
 */
export function makeList(root, chosen) {
  const rows = new Map();
  let current = null;

  function choose(scan) {
    if (current) rows.get(current)?.setAttribute("aria-selected", "false");
    current = scan;
    const row = rows.get(scan);
    row.setAttribute("aria-selected", "true");
    root.setAttribute("aria-activedescendant", row.id);
    row.scrollIntoView({ block: "nearest" });
    chosen(scan);
  }
  root.addEventListener("keydown", (event) => {
    const scans = [...rows.keys()];
    const here = scans.indexOf(current);
    const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: scans.length - 1 }[event.key];
    if (next === undefined || !scans.length) return;
    event.preventDefault();
    choose(scans[Math.min(scans.length - 1, Math.max(0, next))]);
  });

  return {
    get current() {
      return current;
    },
    choose,
    /** Puts a scan at the end, or before another. */
    add(scan, before = null) {
      const row = make("li", { role: "option", id: `scan-${scan.number}`, "aria-selected": "false" });
      row.addEventListener("click", () => choose(scan));
      rows.set(scan, row);
      root.insertBefore(row, before && rows.get(before));
      this.update(scan);
    },
    /** Takes a scan out. */
    remove(scan) {
      rows.get(scan)?.remove();
      rows.delete(scan);
      if (current === scan) current = null;
    },
    /** Writes a scan's row anew. */
    update(scan) {
      rows.get(scan)?.replaceChildren(...row(scan));
    },
    clear() {
      rows.clear();
      root.replaceChildren();
      root.removeAttribute("aria-activedescendant");
      current = null;
    },
  };
}

function row(scan) {
  const picture = thumbnail(scan);
  const image = picture
    ? make("img", { class: "thumb", src: source(picture), alt: "" })
    : make("span", { class: "thumb empty" });
  return [image, make("span", { class: "name", title: scan.name }, scan.name), said(scan)];
}

function said(scan) {
  const line = make("span", { class: "said" });
  const answers = [...scan.answers.values()];
  if (scan.error) line.append(scan.unsent ? "no answer" : "cannot be read");
  else if (!answers.length) line.append("...");
  else if (new Set(answers.map(({ label }) => label)).size > 1) {
    line.append(make("span", { class: "label" }, "models differ"));
  } else if (!answers[0].label) line.append("not classified");
  else {
    const { label, probability, verdict } = answers[0];
    line.append(make("span", { class: "label" }, plainName(label)), ` ${percent(probability)}, ${verdict}`);
  }
  return line;
}

function thumbnail(scan) {
  const [answer] = scan.answers.values();
  if (!answer?.answers) return answer?.picture;
  const [{ path, slice } = answer.answers[Math.floor(answer.answers.length / 2)]] = answer.decided_by;
  return answer.answers.find((one) => one.path === path && one.slice === slice)?.picture;
}
