// Shows a volume or series: viewer or pictures, the curve along it, the answers.

import { adjustControls } from "./adjust.js";
import { answerPanel, differLine } from "./answer-panel.js";
import { legend, makeCurve } from "./curve.js";
import { maskOnSlices, scoreHeat, scoreInWords } from "./mask.js";
import { stackOf } from "./nifti.js";
import { grey } from "./pictures.js";
import { decidedTest, explanation } from "./series-answer.js";
import { sidesInWords, spacingOf } from "./sides.js";
import { applyOverlay, overlayControls, sliceFigure } from "./slice-view.js";
import { DRAGS, drawsFast, openViewer, VIEWS } from "./viewer.js";
import { capital, choice, confidentFrom, make } from "./words.js";

let fast = null; // Whether this machine draws volumes fast, once it was asked.
let wants3d = false; // Whether the person chose the viewer although it is slow.

/** Shows the scan; what is returned closes the viewer. */
export function showVolume(root, scan, models) {
  const answered = models.filter(({ id }) => scan.answers.has(id));
  const wholes = answered.map(({ id }) => scan.answers.get(id));
  const shown = { position: firstPosition(wholes[0]), model: 0, viewer: null, closed: false, masks: null };
  const parts = { root, scan, answered, wholes, shown, place: make("div", { class: "viewer" }), now: make("div", { class: "now" }) };
  parts.go = (position) => {
    show(parts, position);
    shown.viewer?.goTo(wholes[0].answers[position]);
  };
  parts.curves = answered.map((model, i) => makeCurve(wholes[i].answers, {
    decided: decidedTest(wholes[i]), title: `Slices, ${model.title}`, thresholds: confidentFrom(model), chosen: parts.go,
  }));
  parts.tools = make("div", { class: "tools" }, controls(parts));
  const ofModel = (title) => (answered.length > 1 ? `, ${title}` : "");
  const whole = answered.map((model, i) => answerPanel(wholes[i], `The whole series${ofModel(model.title)}`, confidentFrom(model, wholes[i]), explanation(wholes[i], parts.go)));
  const named = parts.curves.flatMap((curve, i) => (answered.length > 1 ? [make("h3", {}, answered[i].title), curve] : [curve]));
  parts.beside = make("div", { class: "beside" }, ...whole, parts.now);
  parts.about = make("div", { class: "about" });
  const left = make(
    "div", { class: "browser" }, parts.tools, parts.place, ...named, legend(confidentFrom(answered[0])),
    make("p", { class: "quiet small" }, "Coloured where the network saw the class that it gave to the slice; the line is at half the maximum. ", sidesInWords(wholes[0].answers[0].affine)),
    parts.about,
  );
  root.append(differLine(wholes), make("div", { class: "volume" }, left, parts.beside));
  parts.place.addEventListener("wheel", (event) => turnPage(event, parts), { passive: false });
  show(parts, shown.position);
  tellSpacing(parts);
  start(parts);
  return {
    close() {
      shown.closed = true;
      shown.viewer?.close();
    },
  };
}

/** Returns the middle one of the slices that decided. */
function firstPosition(whole) {
  const decided = decidedTest(whole);
  const places = whole.answers.flatMap((answer, position) => (decided(answer) ? [position] : []));
  return places[Math.floor((places.length - 1) / 2)] ?? Math.floor(whole.answers.length / 2);
}

function show(parts, position) {
  const { scan, answered, wholes, shown, place, now, root } = parts;
  shown.position = position;
  parts.curves.forEach((curve) => curve.show(position));
  const ofModel = (title) => (answered.length > 1 ? `, ${title}` : "");
  now.replaceChildren(...wholes.map(({ answers }, i) => answerPanel(answers[position], `${sliceName(answers, position)}${ofModel(answered[i].title)}`, confidentFrom(answered[i]))));
  if (shown.viewer) return;
  const answer = wholes[shown.model].answers[position];
  place.classList.add("flat");
  place.replaceChildren(answer.picture ? sliceFigure(answer, scan.name, { mask: shown.masks?.[position], root }) : make("p", { class: "quiet" }, "No picture of this slice."));
}

/** Goes to the next slice by the wheel, where pictures are shown. */
function turnPage(event, { shown, wholes, go }) {
  if (shown.viewer || event.ctrlKey || event.defaultPrevented) return;
  event.preventDefault();
  const next = shown.position + Math.sign(event.deltaY);
  if (next >= 0 && next < wholes[0].answers.length) go(next);
}

function sliceName(answers, position) {
  const { slice } = answers[position];
  return slice === null ? `Slice ${position + 1} of ${answers.length}` : `Slice ${slice} (${position + 1} of ${answers.length} classified)`;
}

function controls(parts) {
  const { root, answered, wholes, shown } = parts;
  const element = overlayControls(() => {
    applyOverlay(root);
    shown.viewer?.apply();
  });
  if (answered.length < 2) return element;
  const titles = Object.fromEntries(answered.map(({ title }, i) => [i, title]));
  element.append(choice("Heatmap of", titles, 0, (value) => {
    shown.model = Number(value);
    shown.viewer?.showAnswers(wholes[shown.model].answers);
    show(parts, shown.position);
  }));
  return element;
}

/** Shows masks and the viewer as they get ready. */
async function start(parts) {
  const { root, scan, wholes, shown, tools } = parts;
  if (scan.mask) await showMask(parts);
  fast ??= drawsFast();
  if (shown.closed) return;
  const placed = Boolean(stackOf(wholes[0].answers));
  if (placed && (fast || wants3d)) {
    if (await startViewer(parts)) return;
  }
  const adjust = adjustControls(root);
  tools.append(adjust);
  if (!placed || fast || wants3d) return;
  const button = make("button", { type: "button", title: "Without a graphics processor this is slow" }, "Show in 3-D");
  button.addEventListener("click", () => {
    wants3d = true;
    button.remove();
    adjust.remove();
    startViewer(parts);
  });
  tools.append(button);
}

async function startViewer(parts) {
  const { scan, wholes, shown, place, tools, go } = parts;
  const viewer = await openViewer(place, wholes[0].answers, {
    file: scan.file,
    masks: shown.masks,
    moved: (position) => {
      if (position >= 0 && position !== shown.position) show(parts, position);
    },
  }).catch((error) => {
    console.warn(error); // Slices are shown as pictures then.
    return null;
  });
  if (shown.closed) {
    viewer?.close();
    return false;
  }
  shown.viewer = viewer;
  if (!viewer) {
    show(parts, shown.position);
    return false;
  }
  const views = Object.fromEntries(Object.keys(VIEWS).map((name) => [name, name]));
  const crosshair = make("input", { type: "checkbox", checked: true });
  crosshair.addEventListener("input", () => viewer.crosshair(crosshair.checked));
  tools.append(make(
    "div", { class: "controls" }, choice("View", views, viewer.plane, viewer.view),
    choice("Drag", DRAGS, 8, viewer.drag), make("label", {}, crosshair, "Crosshair"),
  ));
  go(shown.position); // Where the person is by now.
  return true;
}

async function showMask(parts) {
  const { scan, wholes, shown, about, answered } = parts;
  try {
    shown.masks = await maskOnSlices(scan.mask.file, wholes[0].answers);
    for (const [i, whole] of wholes.entries()) {
      const words = scoreInWords(scan.mask.path, await scoreHeat(whole.answers, shown.masks));
      if (answered.length > 1) words.firstChild.append(`, ${answered[i].title}`);
      about.append(words);
    }
  } catch (error) {
    about.append(make("p", { class: "problem" }, `${scan.mask.path}: ${capital(error.message)}.`));
  }
  if (!shown.closed) show(parts, shown.position);
}

async function tellSpacing({ wholes, about }) {
  const stack = stackOf(wholes[0].answers);
  if (!stack) {
    about.prepend(make("p", { class: "quiet small" }, "The files do not say where the slices lie: they are shown as pictures."));
    return;
  }
  const { width, height } = await grey(stack.placed[0].picture);
  const { text, warning } = spacingOf(stack, width, height);
  about.prepend(make("p", { class: "quiet small" }, text));
  if (warning) about.prepend(make("p", { class: "warning", role: "note" }, warning));
}
