// Keeps what was dropped as scans, and gives the answers to those that they belong to.

import { folderOf, sentNames } from "./files.js";

let numbers = 0;

function newScan(name, kind, file, job) {
  return { number: (numbers += 1), name, path: job.files[0].path, kind, file, job, answers: new Map(), error: "", mask: job.mask ?? null };
}

/** Returns a job's scans before they are answered. */
export function waitingScans(job) {
  const { kind, files, series, pair } = job;
  if (kind === "pictures") return files.map(({ path }) => ({ ...newScan(path, "slice", null, job), path }));
  if (files.length === 1 || pair) {
    const [{ path, file }] = files;
    return [newScan(path, "volume", /\.nii(\.gz)?$/i.test(path) ? file : null, job)];
  }
  const name = folderOf(files[0].path) || `${files.length} DICOM files`;
  return [newScan(series > 1 ? `${name}, series ${series}` : name, "volume", null, job)];
}

/**
 * Gives a model's answers to the scans of a job.
 *
 * @param added Told of each further scan: the files of a job may hold several series.
 */
export function placeAnswers(job, model, answers, models, added) {
  const sent = sentNames(job);
  const names = new Map(sent.map((name, number) => [name, job.files[number].path]));
  if (job.kind === "pictures") {
    const scans = new Map(sent.map((name, number) => [name, job.scans[number]]));
    for (const answer of answers) give(scans.get(answer.path), model, named(answer, names), models);
    return;
  }
  answers.forEach((answer, i) => {
    const key = answer.error ? names.get(answer.path) : answer.series ?? answer.path;
    job.byKey ??= new Map();
    if (!job.byKey.has(key)) job.byKey.set(key, job.byKey.size ? further(job, answer, i, names, added) : job.scans[0]);
    const scan = job.byKey.get(key);
    if (job.files.length > 1 && answer.error) scan.name = names.get(answer.path);
    give(scan, model, named(answer, names), models);
  });
}

/** Returns an answer in which files have the names that the person knows. */
function named(answer, names) {
  const own = (one) => ({ ...one, path: names.get(one.path) ?? one.path });
  if (!answer.answers) return own(answer);
  return { ...answer, answers: answer.answers.map(own), decided_by: answer.decided_by.map(own) };
}

function further(job, answer, i, names, added) {
  const base = folderOf(job.files[0].path) || "DICOM files";
  const name = answer.error ? names.get(answer.path) : `${base}, series ${i + 1}`;
  const scan = newScan(name, "volume", null, job);
  job.scans.push(scan);
  added(scan);
  return scan;
}

function give(scan, model, answer, models) {
  if (answer.error) {
    scan.error = answer.error;
    return;
  }
  // A volume of one slice is shown as what it is; a picture of many frames as a volume.
  const single = answer.answers?.length === 1;
  if (single) scan.kind = "slice";
  if (answer.answers && !single) scan.kind = "volume";
  scan.answers.set(model.id, single ? answer.answers[0] : answer);
  const known = models.filter(({ id }) => scan.answers.has(id));
  scan.answers = new Map(known.map(({ id }) => [id, scan.answers.get(id)])); // In the models' order.
}

/** Returns a scan's class in a word: of several models that differ, "differ". */
export function labelOf(scan) {
  if (scan.error) return scan.unsent ? "no answer" : "unreadable";
  const answers = [...scan.answers.values()];
  if (!answers.length) return "waiting";
  if (new Set(answers.map(({ label }) => label)).size > 1) return "models differ";
  return answers[0].label ?? "not classified";
}
