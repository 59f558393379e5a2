// The list of scans to choose from: a listbox for mouse, touch and keyboard.

import { source } from "./pictures.js";
import { labelOf } from "./scans.js";
import { make, percent, plainName } from "./words.js";

/**
 * Makes an element the list of scans.
 *
 * @param root A `ul` with the role listbox.
 * @param chosen Told the scan that a person moved to.
 */
export function makeList(root, chosen) {
  const rows = new Map();
  let shown = [];
  let current = null;

  function choose(scan) {
    if (current) rows.get(current)?.setAttribute("aria-selected", "false");
    current = scan;
    const row = rows.get(scan);
    row.setAttribute("aria-selected", "true");
    root.setAttribute("aria-activedescendant", row.id);
    scrollTo(row);
    chosen(scan);
  }
  /** Scrolls the list, and nothing around it. */
  function scrollTo(row) {
    const above = row.offsetTop - root.scrollTop;
    if (above < 0) root.scrollTop = row.offsetTop;
    else if (above + row.offsetHeight > root.clientHeight) root.scrollTop = row.offsetTop + row.offsetHeight - root.clientHeight;
  }
  root.addEventListener("keydown", (event) => {
    const here = shown.indexOf(current);
    const page = Math.max(1, Math.floor(root.clientHeight / (root.firstElementChild?.offsetHeight || 64)) - 1);
    const next = { ArrowDown: here + 1, ArrowUp: here - 1, PageDown: here + page, PageUp: here - page, Home: 0, End: shown.length - 1 }[event.key];
    if (next === undefined || !shown.length) return;
    event.preventDefault();
    choose(shown[Math.min(shown.length - 1, Math.max(0, next))]);
    rows.get(current).scrollIntoView({ block: "nearest" });
  });

  return {
    get current() {
      return current;
    },
    choose,
    /** Shows these scans in this order; the others are kept. */
    arrange(scans) {
      if (scans.length === shown.length && scans.every((scan, i) => scan === shown[i])) return;
      shown = scans;
      for (const scan of scans) if (!rows.has(scan)) rows.set(scan, newRow(scan, choose));
      root.replaceChildren(...scans.map((scan) => rows.get(scan)));
      // (What is chosen but filtered out stays in the detail view; the keys go on from the first.)
      if (rows.get(current)?.isConnected) scrollTo(rows.get(current));
      else root.removeAttribute("aria-activedescendant");
    },
    /** Writes a scan's row anew. */
    update(scan) {
      rows.get(scan)?.replaceChildren(...content(scan));
    },
    clear() {
      rows.clear();
      shown = [];
      root.replaceChildren();
      root.removeAttribute("aria-activedescendant");
      current = null;
    },
  };
}

function newRow(scan, choose) {
  const row = make("li", { role: "option", id: `scan-${scan.number}`, "aria-selected": "false" }, ...content(scan));
  row.addEventListener("click", () => choose(scan));
  return row;
}

function content(scan) {
  const picture = thumbnail(scan);
  const image = picture
    ? make("img", { class: "thumb", src: source(picture), alt: "" })
    : make("span", { class: "thumb empty" });
  return [image, make("span", { class: "name", title: scan.name }, make("bdi", {}, scan.name)), said(scan)];
}

function said(scan) {
  const label = labelOf(scan);
  if (label === "waiting") return make("span", { class: "said" }, "...");
  const [answer] = scan.answers.values();
  if (scan.error || !answer?.label || label !== answer.label) return make("span", { class: "said" }, label === "unreadable" ? "cannot be read" : label);
  return make("span", { class: "said" }, make("span", { class: "label" }, plainName(label)), ` ${percent(answer.probability)}, ${answer.verdict}`);
}

function thumbnail(scan) {
  const [answer] = scan.answers.values();
  if (!answer?.answers) return answer?.picture;
  const [{ path, slice } = answer.answers[Math.floor(answer.answers.length / 2)]] = answer.decided_by;
  return answer.answers.find((one) => one.path === path && one.slice === slice)?.picture;
}
