// A scan with its answers comes in, the large view of it goes out: pictures, answers, controls.

import { answerPanel, differLine } from "./answer-panel.js";
import { applyOverlay, overlayControls, sliceFigure } from "./slice-view.js";
import { legend, makeStrip } from "./strip.js";
import { openViewer, VIEWS } from "./viewer.js";
import { make, plainName } from "./words.js";

let open = { close() {} };

/** Shows a scan in the element; what stood there is let go of. */
export function showDetail(root, scan, models) {
  open.close();
  open = { close() {} };
  root.replaceChildren(make("h2", {}, scan.name));
  if (scan.error) root.append(answerPanel(scan, ""));
  else if (!scan.answers.size) root.append(make("p", { class: "quiet" }, "Being classified ..."));
  else if (scan.kind === "volume") open = showVolume(root, scan, models);
  else showSlice(root, scan, models);
}

/** Shows that nothing is chosen. */
export function emptyDetail(root) {
  open.close();
  open = { close() {} };
  root.replaceChildren();
}

function showSlice(root, scan, models) {
  const answered = models.filter(({ id }) => scan.answers.has(id));
  const columns = make("div", { class: "columns" });
  const several = answered.length > 1;
  for (const { id, title } of answered) {
    const answer = scan.answers.get(id);
    const figure = answer.picture ? [sliceFigure(answer, scan.name), caption(answer)] : [];
    const parts = [make("div", { class: "pictured" }, ...figure), answerPanel(answer, title)];
    if (!figure.length) parts.shift();
    if (several) columns.append(make("div", { class: "compared" }, ...parts));
    else columns.append(...parts);
  }
  root.append(differLine(answered.map(({ id }) => scan.answers.get(id))), columns);
  if (columns.querySelector(".scan") && answered.some(({ id }) => scan.answers.get(id).heatmap)) {
    columns.before(overlayControls(() => applyOverlay(root)));
  }
}

function caption(answer) {
  const words = answer.heatmap ? `Coloured where the network saw "${plainName(answer.label)}"; the line is at half the maximum.` : "";
  return make("p", { class: "quiet small" }, words);
}

function showVolume(root, scan, models) {
  const answered = models.filter(({ id }) => scan.answers.has(id));
  const wholes = answered.map(({ id }) => scan.answers.get(id));
  const first = wholes[0];
  const ofModel = (title) => (answered.length > 1 ? `, ${title}` : "");
  const whole = answered.map(({ title }, i) => answerPanel(wholes[i], `The whole volume${ofModel(title)}`));
  const place = make("div", { class: "viewer" });
  const now = make("div", { class: "now" });
  const shown = { position: 0, model: 0, viewer: null, closed: false };

  const strips = answered.map(({ title }, i) => {
    const deciding = new Set(wholes[i].decided_by.map(({ path, slice }) => `${path} ${slice}`));
    const decided = ({ path, slice }) => deciding.has(`${path} ${slice}`);
    return makeStrip(wholes[i].answers, decided, `Slices, ${title}`, (position) => go(position));
  });
  function show(position) {
    shown.position = position;
    strips.forEach((strip) => strip.show(position));
    const panels = wholes.map(({ answers }, i) => answerPanel(answers[position], `${sliceName(answers, position)}${ofModel(answered[i].title)}`));
    now.replaceChildren(...panels);
    if (!shown.viewer) showPicture(place, wholes[shown.model].answers[position], scan.name);
  }
  function go(position) {
    show(position);
    shown.viewer?.goTo(first.answers[position]);
  }
  const controls = overlayControls(() => {
    applyOverlay(root);
    shown.viewer?.apply();
  });
  if (answered.length > 1) controls.append(modelChoice(answered, shown, () => {
    shown.viewer?.showAnswers(wholes[shown.model].answers);
    show(shown.position);
  }));
  const named = answered.length > 1 ? strips.flatMap((strip, i) => [make("h3", {}, answered[i].title), strip]) : strips;
  const left = make("div", { class: "browser" }, controls, place, ...named, legend(answered[0].classes),
    make("p", { class: "quiet small" }, "Coloured where the network saw the class that it gave to the slice; the line is at half the maximum."));
  root.append(differLine(wholes), make("div", { class: "volume" }, left, make("div", { class: "beside" }, ...whole, now)));
  const start = Math.max(0, first.answers.findIndex(({ path, slice }) => first.decided_by.some((one) => one.path === path && one.slice === slice)));
  const middle = Math.min(first.answers.length - 1, start + (first.decided_by.length > 2 ? 1 : 0));
  show(middle);
  startViewer(place, scan, wholes, shown, show).then((started) => {
    if (!started) return;
    controls.append(viewChoice(shown.viewer));
    go(shown.position); // Where the person is by now.
  });
  return {
    close() {
      shown.closed = true;
      shown.viewer?.close();
    },
  };
}

async function startViewer(place, scan, wholes, shown, show) {
  const viewer = await openViewer(place, wholes[0].answers, scan.file, (position) => {
    if (position >= 0 && position !== shown.position) show(position);
  }).catch((error) => {
    console.warn(error); // Slices are shown as pictures then.
    return null;
  });
  if (shown.closed) {
    viewer?.close();
    return false;
  }
  shown.viewer = viewer;
  if (!viewer) show(shown.position);
  return Boolean(viewer);
}

function showPicture(place, answer, name) {
  place.classList.add("flat");
  place.replaceChildren(answer.picture ? sliceFigure(answer, name) : make("p", { class: "quiet" }, "No picture of this slice."));
}

function sliceName(answers, position) {
  const { slice } = answers[position];
  return slice === null ? `Slice ${position + 1} of ${answers.length}` : `Slice ${slice} (${position + 1} of ${answers.length} classified)`;
}

function viewChoice(viewer) {
  const select = make("select", { "aria-label": "View" }, ...Object.keys(VIEWS).map((name) => make("option", { selected: name === viewer.plane }, name)));
  select.addEventListener("change", () => viewer.view(select.value));
  return make("label", {}, "View", select);
}

function modelChoice(answered, shown, changed) {
  const select = make("select", { "aria-label": "Heatmap of" }, ...answered.map(({ title }, i) => make("option", { value: i }, title)));
  select.addEventListener("change", () => {
    shown.model = Number(select.value);
    changed();
  });
  return make("label", {}, "Heatmap of", select);
}
