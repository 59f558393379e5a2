// Answered scans come in, a CSV table or a report of one HTML file goes out, as a download.

import { drawHeat, grey, outline, source } from "./pictures.js";
import { overlay } from "./slice-view.js";
import { make, percent, plainName, verdictWords } from "./words.js";

const SIDE = 240;

/** Saves a table: a row for each slice and model, with the columns of `tumorscope predict --csv`. */
export function saveCsv(scans, models) {
  const classes = [...new Set(models.flatMap((model) => model.classes))];
  const columns = ["path", "slice", "label", "probability", ...classes.map((name) => `probability_${name}`), "verdict", "reason", "model", "milliseconds", "note", "error"];
  const rows = [columns];
  for (const scan of scans) {
    if (scan.error) rows.push(columns.map((name) => ({ path: scan.name, error: scan.error })[name]));
    for (const answer of slicesOf(scan)) {
      const cells = { ...answer, path: scan.name };
      classes.forEach((name) => {
        cells[`probability_${name}`] = answer.probabilities?.[name];
      });
      rows.push(columns.map((name) => cells[name]));
    }
  }
  const text = rows.map((row) => row.map(cell).join(",")).join("\r\n");
  save(new Blob([`${text}\r\n`], { type: "text/csv" }), "tumorscope.csv");
}

function cell(value) {
  let text = String(value ?? "");
  // (Spreadsheets would run a name that begins like a formula.)
  if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function slicesOf(scan) {
  return [...scan.answers.values()].flatMap((answer) => answer.answers ?? [answer]);
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

/** Saves a report that needs nothing else, prints to PDF, and says what it is not. */
export async function saveReport(scans, models, facts) {
  const body = make("body", {}, make("p", { class: "notice" }, facts.notice), make("h1", {}, "Tumorscope report"));
  const when = new Date().toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });
  body.append(make("p", {}, `${when}. ${scans.length} scan${scans.length === 1 ? "" : "s"}, classified by ${models.map(({ title }) => title).join(" and ")}.`));
  for (const scan of scans) body.append(await article(scan, models));
  const cards = facts.models.map((model) => `${model.id}: made ${model.created}, licence ${model.license}, confident from ${model.confident.map(percent).join(", ")} (${model.classes.join(", ")}).`);
  body.append(make("footer", {}, make("p", {}, facts.notice), ...cards.map((line) => make("p", {}, line)), make("p", {}, `Written by tumorscope ${facts.tumorscope}. The coloured overlay shows where the network saw the class it names.`)));
  const head = `<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Tumorscope report</title><style>${STYLE}</style>`;
  const text = `<!doctype html>\n<html lang="en"><head>${head}</head>${body.outerHTML}</html>\n`;
  save(new Blob([text], { type: "text/html" }), "tumorscope-report.html");
}

async function article(scan, models) {
  const part = make("article", {}, make("h2", {}, scan.name));
  if (scan.error) part.append(make("p", {}, `Cannot be read: ${scan.error}`));
  for (const { id, title } of models) {
    const answer = scan.answers.get(id);
    if (!answer) continue;
    const shown = answer.answers ? deciding(answer) : [answer];
    const pictures = await Promise.all(shown.filter(({ picture }) => picture).map(drawn));
    if (pictures.length) part.append(make("div", { class: "pictures" }, ...pictures));
    part.append(words(answer, title));
  }
  return part;
}

const deciding = ({ answers, decided_by: decided }) =>
  answers.filter(({ path, slice }) => decided.some((one) => one.path === path && one.slice === slice));

function words(answer, title) {
  const said = answer.label ? `${plainName(answer.label)}, ${percent(answer.probability)}` : "no answer";
  const part = make("div", {}, make("h3", {}, title), make("p", { class: "said" }, said));
  const reason = answer.reason ? `: ${answer.reason}` : "";
  part.append(make("p", {}, `${verdictWords(answer.verdict)}${reason}.`));
  if (answer.answers) {
    const numbers = answer.decided_by.map(({ slice }) => slice).filter((slice) => slice !== null);
    const which = numbers.length ? ` Shown: slices ${numbers.join(", ")}, which decided.` : " Shown: the slices that decided.";
    part.append(make("p", {}, `${answer.slices} slices classified.${answer.slices ? which : ""}`));
  }
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
      pen.strokeStyle = "#5cf2c4";
      pen.stroke(new Path2D(outline(heat)));
    }
  }
  return make("img", { src: canvas.toDataURL("image/jpeg", 0.9), alt: `Slice with overlay: ${plainName(answer.label ?? "no answer")}` });
}

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
