// Answers in the browser, without a server: the static page's back end.
// It offers what `service-client.js` does, whose comments say what that is.

import { decide, unsupported } from "./decision.js";
import { isDicom, readDicom } from "./dicom-file.js";
import { sentNames } from "./files.js";
import { isPicture, readPicture } from "./picture-file.js";
import { answerSeries } from "./series-rule.js";
import { inOrder, missingSlices } from "./slice-order.js";
import { heatOf, viewOf } from "./views.js";
import { readVolume } from "./volume-file.js";
import { whyUnsuitable } from "./grey-slices.js";

const NIFTI = /\.nii(\.gz)?$/i;
const worker = new Worker(new URL("./inference-worker.js", import.meta.url), { type: "module" });
const asked = new Map();
let model = null;

worker.onmessage = ({ data: { number, ...answer } }) => {
  const { good, bad } = asked.get(number);
  asked.delete(number);
  if (answer.error) bad(new Error(`the model does not run in this browser (${answer.error})`));
  else good(answer);
};

worker.onerror = () => {
  for (const { bad } of asked.values()) bad(new Error("the model cannot be loaded in this browser"));
  asked.clear();
};

/** Returns the outputs of the network for a slice; without one, resolves once the model is ready. */
function outputsOf(picture) {
  return new Promise((good, bad) => {
    const number = `${asked.size}-${Math.random()}`;
    asked.set(number, { good, bad });
    worker.postMessage({ number, picture });
  });
}

export const privacy = () => "Files stay in this browser: the model came with the page, and nothing is sent.";

export async function card() {
  const card = await (await fetch(new URL("./card.json", import.meta.url))).json();
  [model] = card.models;
  await outputsOf(null);
  if ("serviceWorker" in navigator) navigator.serviceWorker.register(new URL("./service-worker.js", import.meta.url));
  return card;
}

export async function classify(job, _, signal) {
  const names = sentNames(job);
  const files = job.files.map(({ file }, number) => ({ file, path: names[number] }));
  if (job.kind === "pictures") {
    const answers = [];
    for (const one of files) answers.push(await orError(one, () => answerPicture(one, signal)));
    return answers;
  }
  const [{ file, path }] = files;
  if (files.length === 1 && NIFTI.test(path)) return [await orError(files[0], () => answerVolume(file, path, signal))];
  return answerDicom(files, signal);
}

/** Returns an answer, or the error that stands in its place. */
async function orError({ path }, answer) {
  try {
    return await answer();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return { path, error: error.message };
  }
}

async function answerPicture({ file, path }, signal) {
  const start = new Uint8Array(await file.slice(0, 132).arrayBuffer());
  if (!isPicture(start)) throw new Error("not a file of a kind that is read in the browser (JPEG, PNG, BMP, WebP, DICOM, NIfTI); tumorscope serve reads more");
  const picture = await readPicture(file);
  return answerSlice({ path, slice: null, picture, affine: null, unsupported: whyUnsuitable(picture) }, signal);
}

async function answerVolume(file, path, signal) {
  const answers = [];
  for (const slice of await readVolume(file)) answers.push(await answerSlice({ path, ...slice }, signal));
  return { path, series: null, ...answerSeries(answers, model), note: answers[0].note ?? "" };
}

/** Answers the DICOM files of a series as one; what cannot be read has its error beside it. */
async function answerDicom(files, signal) {
  const [read, errors, unreadable] = [[], [], []];
  for (const one of files) {
    const start = new Uint8Array(await one.file.slice(0, 132).arrayBuffer());
    if (!isDicom(start)) {
      errors.push({ path: one.path, error: "not read in the browser (JPEG, PNG, BMP, WebP, DICOM and NIfTI are); tumorscope serve reads more" });
      continue;
    }
    try {
      read.push({ path: one.path, slice: null, ...(await readDicom(one.file)) });
    } catch (error) {
      errors.push({ path: one.path, error: error.message });
      unreadable.push(error.header ?? {});
    }
  }
  if (!read.length) return errors;
  const { slices, problem, note } = inOrder(read);
  const answers = [];
  for (const slice of slices) answers.push(await answerSlice(slice, signal));
  return [{ path: files[0].path, series: read[0].header.series || "series", ...lacking(answerSeries(answers, model, problem), read, unreadable), note }, ...errors];
}

/** Takes the confidence from an answer to a series that lacks slices. */
function lacking(answer, read, unreadable) {
  const missing = [missingSlices([...read.map(({ header }) => header), ...unreadable])];
  if (unreadable.length) missing.push(`${unreadable.length} image${unreadable.length === 1 ? "" : "s"} cannot be read`);
  const words = missing.filter(Boolean).join("; ");
  if (!words) return answer;
  const reason = [answer.reason, `the series is incomplete (${words})`].filter(Boolean).join("; ");
  return { ...answer, verdict: answer.label ? "uncertain" : "unsupported", reason };
}

async function answerSlice({ path, slice, picture, affine, unsupported: why, note }, signal) {
  signal.throwIfAborted();
  const view = picture ? await viewOf(picture, affine) : { picture: null, affine: null };
  const answer = { path, slice, ...unsupported(why), model: model.title, milliseconds: 0, heatmap: null, picture: view.picture, affine: view.affine, ...(note ? { note } : {}) };
  if (why || !picture) return answer;
  const { outputs, milliseconds } = await outputsOf(picture);
  const { probabilities, heatmap, ood_score: score, box } = outputs;
  Object.assign(answer, { milliseconds }, decide(probabilities.data, model.classes, {
    confident: model.confident, oodScore: score ? score.data[0] : null, oodThreshold: model.ood_threshold,
  }));
  if (answer.label && heatmap) {
    const [, , height, width] = heatmap.dims;
    const first = model.classes.indexOf(answer.label) * width * height;
    const map = { data: heatmap.data.subarray(first, first + width * height), width, height };
    answer.heatmap = await heatOf(map, box.data, picture, view.size);
  }
  return answer;
}
