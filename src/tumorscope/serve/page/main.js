// The page: takes in files, sends them to the models, shows the answers as they come.

import { card, classify } from "./api.js";
import { emptyDetail, showDetail } from "./detail.js";
import { saveCsv, saveReport } from "./export.js";
import { chosen, dropped, folderOf, sentName, toJobs } from "./files.js";
import { makeList } from "./list.js";

const AT_ONCE = 2;
const $ = (id) => document.getElementById(id);

let models = [];
let facts = null;
let scans = [];
let queue = [];
let running = 0;
let numbers = 0;
let round = 0; // Raised by Clear: late answers of the round before are left out.
let count = { done: 0, all: 0 };

const list = makeList($("list"), (scan) => showDetail($("detail"), scan, models));

async function start() {
  const near = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  $("privacy").textContent = near
    ? "Files go to the service on this machine only and are gone after the answer. Their names stay in this page."
    : `Files go to the service at ${location.host} and are gone after the answer. Their names stay in this page.`;
  facts = await card();
  models = facts.models.map(({ id, classes }) => ({ id, title: id, classes }));
  $("models").textContent = models.map(({ title }) => title).join(" and ");
  document.body.dataset.ready = "";
}

function complain(error) {
  $("problem").textContent = `${error.message.charAt(0).toUpperCase()}${error.message.slice(1)}.`.replace(/\.\.$/, ".");
  $("problem").hidden = false;
}

async function take(found) {
  $("problem").hidden = true;
  if (!found.length) return;
  const jobs = await toJobs(found);
  if (!jobs.length) {
    complain(new Error("no JPEG, PNG, DICOM or NIfTI file among these"));
    return;
  }
  document.body.classList.add("full");
  $("bar").hidden = $("results").hidden = false;
  for (const job of jobs) {
    job.scans = waiting(job);
    job.scans.forEach((scan) => {
      scans.push(scan);
      list.add(scan);
    });
    count.all += job.files.length;
    queue.push(job);
  }
  if (!list.current) list.choose(scans[0]);
  report();
  work();
}

/** Returns a job's scans before they are answered. */
function waiting({ kind, files, series }) {
  const scan = (name, file) => ({ number: (numbers += 1), name, kind: kind === "volume" ? "volume" : "slice", file, answers: new Map(), error: "" });
  if (kind === "pictures") return files.map(({ path }) => scan(path, null));
  if (files.length === 1) return [scan(files[0].path, /\.nii(\.gz)?$/i.test(files[0].path) ? files[0].file : null)];
  const name = folderOf(files[0].path) || `${files.length} DICOM files`;
  return [scan(series > 1 ? `${name}, series ${series}` : name, null)];
}

function work() {
  while (running < AT_ONCE && queue.length) {
    running += 1;
    const mine = round;
    const job = queue.shift();
    Promise.all(models.map((model) => ask(job, model, mine))).then(() => {
      if (mine !== round) return;
      running -= 1;
      count.done += job.files.length;
      report();
      work();
    });
  }
}

async function ask(job, model, mine) {
  try {
    const answers = await classify(job, model.id);
    if (mine === round) place(job, model, answers);
  } catch (error) {
    if (mine !== round) return;
    job.scans.forEach((scan) => {
      scan.error ||= error.message;
      scan.unsent = true;
    });
  }
  if (mine === round) job.scans.forEach(refresh);
}

/** Gives the answers to the scans they belong to. */
function place(job, model, answers) {
  if (job.kind === "pictures") {
    const bySentName = new Map(job.files.map(({ path }, number) => [sentName(number, path), job.scans[number]]));
    for (const answer of answers) give(bySentName.get(answer.path), model, answer);
    return;
  }
  const names = new Map(job.files.map(({ path }, number) => [sentName(number, path), path]));
  answers.forEach((answer, i) => {
    const key = answer.error ? names.get(answer.path) : answer.series ?? answer.path;
    job.byKey ??= new Map();
    if (!job.byKey.has(key)) job.byKey.set(key, job.byKey.size ? another(job, answer, i, names) : job.scans[0]);
    if (job.files.length > 1 && answer.error) job.byKey.get(key).name = names.get(answer.path);
    give(job.byKey.get(key), model, answer);
  });
}

/** Returns a further scan of a job: a folder may hold several series. */
function another(job, answer, i, names) {
  const base = folderOf(job.files[0].path) || "DICOM files";
  const name = answer.error ? names.get(answer.path) : `${base}, series ${i + 1}`;
  const scan = { number: (numbers += 1), name, kind: "volume", file: null, answers: new Map(), error: "" };
  job.scans.push(scan);
  scans.push(scan);
  list.add(scan);
  return scan;
}

function give(scan, model, answer) {
  if (answer.error) {
    scan.error = answer.error;
    return;
  }
  // A volume of one slice is shown as what it is; a picture of many frames as a volume.
  const single = answer.answers?.length === 1;
  if (single) scan.kind = "slice";
  scan.answers.set(model.id, single ? answer.answers[0] : answer);
  const known = models.filter(({ id }) => scan.answers.has(id));
  scan.answers = new Map(known.map(({ id }) => [id, scan.answers.get(id)])); // In the models' order.
}

function refresh(scan) {
  list.update(scan);
  if (list.current === scan) showDetail($("detail"), scan, models);
}

function report() {
  const failed = scans.filter(({ error }) => error).length;
  const bad = failed ? `; ${failed} without an answer` : "";
  const left = count.all - count.done;
  $("status").textContent = left
    ? `${count.done} of ${count.all} files answered${bad}`
    : `${count.all} file${count.all === 1 ? "" : "s"} answered${bad}`;
  $("progress").hidden = !left;
  $("progress").max = count.all;
  $("progress").value = count.done;
  $("save-csv").disabled = $("save-report").disabled = Boolean(left);
}

function clear() {
  round += 1;
  [scans, queue, running, count] = [[], [], 0, { done: 0, all: 0 }];
  list.clear();
  emptyDetail($("detail"));
  document.body.classList.remove("full");
  $("bar").hidden = $("results").hidden = $("problem").hidden = true;
  $("files-button").focus();
}

for (const kind of ["files", "folder"]) {
  $(`${kind}-button`).addEventListener("click", () => $(`choose-${kind}`).click());
  $(`choose-${kind}`).addEventListener("change", (event) => {
    const found = chosen(event.target.files);
    event.target.value = "";
    take(found).catch(complain);
  });
}
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  dropped(event.dataTransfer).then(take).catch(complain);
});
$("clear").addEventListener("click", clear);
$("save-csv").addEventListener("click", () => saveCsv(scans, models));
$("save-report").addEventListener("click", () => saveReport(scans, models, facts).catch(complain));

start().catch(complain);
