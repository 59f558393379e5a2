// Saves the answers as a CSV table, or as a report of one HTML file.

import { targetOf } from "./confusion.js";
import { drawHeat, grey, OUTLINE, outline, source } from "./pictures.js";
import { decidedTest, explain } from "./series-answer.js";
import { sidesInWords, sidesOf } from "./sides.js";
import { overlay } from "./slice-view.js";
import { confidentFrom, make, percent, percentBelow, plainName, sliceNumber, thresholdsInWords, verdictWords } from "./words.js";

const SIDE = 240;

/**
 * Saves a table with the columns of `tumorscope predict --csv`: of each model a row for a series,
 * which says how many slices it has and which decided, then a row for each slice of it.
 */
export function saveCsv(scans, models) {
  const classes = [...new Set(models.flatMap((model) => model.classes))];
  const columns = ["path", "series", "slice", "slices", "label", "probability", ...classes.map((name) => `probability_${name}`), "verdict", "reason", "model", "milliseconds", "decided_by", "note", "target", "error"];
  const rows = [columns];
  const add = (answer, more) => {
    const cells = { ...answer, ...more };
    for (const name of classes) cells[`probability_${name}`] = answer.probabilities?.[name];
    rows.push(columns.map((name) => cells[name]));
  };
  for (const scan of scans) {
    const target = targetOf(scan.path, classes);
    if (scan.error) add({}, { path: scan.name, target, error: scan.error });
    for (const answer of scan.answers.values()) {
      if (!answer.answers) add(answer, { target });
      else addSeries(answer, scan, target, add);
    }
  }
  const text = rows.map((row) => row.map(cell).join(",")).join("\r\n");
  save(new Blob([`${text}\r\n`], { type: "text/csv" }), "tumorscope.csv");
}

function addSeries(whole, scan, target, add) {
  const decided = whole.decided_by.map(({ path, slice }) => (slice === null ? path : `${path} [${slice}]`));
  add(whole, { path: scan.name, series: scan.name, decided_by: decided.join("; "), target });
  for (const answer of whole.answers) add(answer, { series: scan.name, target });
}

function cell(value) {
  let text = String(value ?? "");
  // (Spreadsheets would run a name that begins like a formula.)
  if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const STYLE = `
body { margin: 2rem auto; padding: 0 1rem; max-width: 60rem; color: #22262b; background: #fff; font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
.notice { padding: .4rem .8rem; background: #fff1d6; color: #5e3c00; font-weight: 600; border-radius: .3rem }
article { display: grid; grid-template-columns: max-content 1fr; gap: .4rem 1.2rem; padding: .9rem 0; border-bottom: 1px solid #d9dee4; break-inside: avoid }
article h2 { grid-column: 1 / -1; margin: 0; font-size: 1rem; overflow-wrap: anywhere }
.pictures { display: flex; flex-wrap: wrap; gap: .4rem; max-width: 32rem }
img { width: ${SIDE / 16}rem; height: auto; background: #000; border-radius: .3rem }
h3 { margin: 0 0 .2rem; font-size: .85rem; color: #58616a }
.said { font-size: 1.15rem; font-weight: 650 } p { margin: 0 0 .3rem }
td, th { padding: 0 1rem 0 0; text-align: left; font-weight: 400 } td { text-align: right; font-variant-numeric: tabular-nums }
footer { margin-top: 1.5rem; color: #58616a; font-size: .85rem }
@media print { body { margin: 0 } .notice { border: 1px solid #5e3c00 } }
@media (max-width: 40rem) { article { grid-template-columns: 1fr } }`;

/**
 * Saves a report that needs nothing else, prints to PDF, and says what it is not.
 *
 * @param progress Told how many scans are in it so far.
 */
export async function saveReport(scans, models, facts, progress) {
  const body = make("body", {}, make("p", { class: "notice" }, facts.notice), make("h1", {}, "Tumorscope report"));
  const when = new Date().toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });
  body.append(make("p", {}, `${when}. ${scans.length} scan${scans.length === 1 ? "" : "s"}, classified by ${models.map(({ title }) => title).join(" and ")}.`));
  for (const [done, scan] of scans.entries()) {
    progress(done);
    body.append(await article(scan, models));
    await new Promise((next) => setTimeout(next)); // (The page shows how far it is.)
  }
  const cards = facts.models.map((model) => `${model.id}: made ${model.created}, licence ${model.license}, confident from ${thresholdsInWords(confidentFrom(model))}.`);
  body.append(make("footer", {}, make("p", {}, facts.notice), ...cards.map((line) => make("p", {}, line)), make("p", {}, `Written by tumorscope ${facts.tumorscope}. The coloured overlay shows where the network saw the class it names; letters name the patient's sides (R right, L left, A front, P back, S top, I bottom).`)));
  const head = `<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Tumorscope report</title><style>${STYLE}</style>`;
  const text = `<!doctype html>\n<html lang="en"><head>${head}</head>${body.outerHTML}</html>\n`;
  save(new Blob([text], { type: "text/html" }), "tumorscope-report.html");
}

async function article(scan, models) {
  const part = make("article", {}, make("h2", {}, scan.name));
  if (scan.error) part.append(make("p", {}, `Cannot be read: ${scan.error}`));
  for (const model of models) {
    const answer = scan.answers.get(model.id);
    if (!answer) continue;
    const shown = answer.answers ? answer.answers.filter(decidedTest(answer)) : [answer];
    const pictures = await Promise.all(shown.filter(({ picture }) => picture).map(drawn));
    if (pictures.length) part.append(make("div", { class: "pictures" }, ...pictures));
    part.append(words(answer, model, shown[0]?.affine));
  }
  return part;
}

function words(answer, model, affine) {
  const thresholds = confidentFrom(model, answer);
  const said = answer.label ? `${plainName(answer.label)}, ${percentBelow(answer.probability, thresholds[answer.label])}` : "no answer";
  const part = make("div", {}, make("h3", {}, model.title), make("p", { class: "said" }, said));
  const reason = answer.reason ? `: ${answer.reason}` : "";
  const from = reason.includes("confident from") ? "" : ` Answers are confident from ${thresholdsInWords(thresholds)}.`;
  part.append(make("p", {}, `${verdictWords(answer.verdict)}${reason}.${from}`));
  if (answer.answers) {
    const decided = decidedTest(answer);
    const numbers = answer.answers.flatMap((one, i) => (decided(one) ? [sliceNumber(answer.answers, i)] : []));
    for (const line of explain(answer)) part.append(make("p", {}, line));
    if (numbers.length) part.append(make("p", {}, `Shown: slices ${numbers.join(", ")}, which decided.`));
  }
  part.append(make("p", {}, sidesInWords(affine)));
  if (answer.note) part.append(make("p", {}, `Note: ${answer.note}.`));
  const rows = Object.entries(answer.probabilities ?? {}).map(([label, share]) => make("tr", {}, make("th", {}, plainName(label)), make("td", {}, percent(share))));
  part.append(make("table", {}, make("tbody", {}, ...rows)));
  return part;
}

/** Returns the slice with its overlay as it is set now, as an image element. */
async function drawn(answer) {
  const slice = await grey(answer.picture);
  const scale = (2 * SIDE) / slice.width;
  const canvas = make("canvas", { width: 2 * SIDE, height: Math.round(scale * slice.height) });
  const pen = canvas.getContext("2d");
  const image = new Image();
  image.src = source(answer.picture);
  await image.decode();
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  if (answer.heatmap) {
    const heat = await grey(answer.heatmap);
    const coloured = make("canvas");
    drawHeat(coloured, heat);
    pen.globalAlpha = overlay.heat ? overlay.opacity : 0;
    pen.drawImage(coloured, 0, 0, canvas.width, canvas.height);
    pen.globalAlpha = 1;
    if (overlay.outline) {
      pen.scale(canvas.width / heat.width, canvas.height / heat.height);
      pen.lineWidth = (2 * heat.width) / canvas.width;
      pen.strokeStyle = OUTLINE.outline;
      pen.stroke(new Path2D(outline(heat)));
      pen.resetTransform();
    }
  }
  drawSides(pen, canvas, sidesOf(answer.affine));
  return make("img", { src: canvas.toDataURL("image/jpeg", 0.9), alt: `Slice with overlay: ${plainName(answer.label ?? "no answer")}` });
}

function drawSides(pen, { width, height }, sides) {
  if (!sides) return;
  Object.assign(pen, { font: "600 22px system-ui, sans-serif", fillStyle: "#fff", textAlign: "center", textBaseline: "middle", shadowColor: "#000", shadowBlur: 4 });
  const places = { left: [16, height / 2], right: [width - 16, height / 2], top: [width / 2, 18], bottom: [width / 2, height - 16] };
  for (const [side, place] of Object.entries(places)) pen.fillText(sides[side], ...place);
}

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
