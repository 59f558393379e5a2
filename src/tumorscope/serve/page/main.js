// The page: takes in files, has the models answer, shows the answers as they come.

import { showConfusion } from "./confusion.js";
import { emptyDetail, showDetail } from "./detail.js";
import { offerExamples } from "./examples.js";
import { saveCsv, saveReport } from "./export.js";
import { chosen, dropped, toJobs } from "./files.js";
import { makeFilters } from "./filters.js";
import { showLeftOut } from "./left-out.js";
import { makeList } from "./list.js";
import { makeQueue, STOPPED } from "./queue.js";
import { placeAnswers, waitingScans } from "./scans.js";
import { capital, plural } from "./words.js";

const $ = (id) => document.getElementById(id);

// Who answers: the service, or on the static page the browser itself. `service-client.js` says
// what such a module has to offer.
const backEnd = await import(new URL(document.documentElement.dataset.backEnd, import.meta.url));

let models = [];
let facts = null;
let scans = [];
let leftOut = [];
let unsaved = false;
let reporting = 0;
let drawing = false;

const list = makeList($("list"), (scan) => showDetail($("detail"), scan, models));
const filters = makeFilters($("filters"), () => list.arrange(filters.apply(scans)));
const queue = makeQueue(askAll, refreshAll);

async function start() {
  $("privacy").textContent = backEnd.privacy();
  offerExamples($("examples"), (load) => load().then(take).catch(complain));
  facts = await backEnd.card();
  models = facts.models.map((model) => ({ ...model, title: model.id }));
  $("models").textContent = models.map(({ title }) => title).join(" and ");
  document.body.dataset.ready = "";
}

function complain(error) {
  $("problem").textContent = `${capital(error.message)}.`.replace(/\.\.$/, ".");
  $("problem").hidden = false;
}

async function take(found) {
  $("problem").hidden = true;
  const { jobs, masks, leftOut: others } = await toJobs(found);
  leftOut = scans.length ? [...leftOut, ...others] : others;
  showLeftOut($("left-out"), leftOut);
  const current = list.current;
  for (const mask of masks) {
    // A mask that comes later is laid over the volume that is shown.
    if (current?.kind === "volume" && current.answers.size) {
      current.mask = mask;
      refresh(current);
    } else jobs.push({ kind: "volume", files: [mask] });
  }
  if (!jobs.length) {
    if (!masks.length) complain(new Error("no JPEG, PNG, DICOM or NIfTI file among these"));
    return;
  }
  document.body.classList.add("full");
  $("bar").hidden = $("results").hidden = false;
  for (const job of jobs) {
    job.scans = waitingScans(job);
    scans.push(...job.scans);
  }
  unsaved = true;
  list.arrange(filters.apply(scans));
  queue.add(jobs);
  if (!list.current) list.choose(scans[0]);
}

/** Asks all models, as soon as they are there: files may come while the page still loads them. */
async function askAll(job, signal) {
  try {
    await started;
  } catch (error) {
    if (signal.aborted) return;
    giveUp(job.scans, error.message);
    job.scans.forEach(refresh);
  }
  await Promise.all(models.map((model) => ask(job, model, signal)));
}

async function ask(job, model, signal) {
  try {
    const answers = await backEnd.classify(job, model.id, signal);
    if (signal.aborted) return;
    placeAnswers(job, model, answers, models, (scan) => scans.push(scan));
  } catch (error) {
    if (signal.aborted) return;
    giveUp(job.scans, error.message);
  }
  job.scans.forEach(refresh);
}

function giveUp(some, reason) {
  for (const scan of some) {
    scan.error ||= reason;
    scan.unsent = true;
  }
}

function refresh(scan) {
  list.update(scan);
  if (list.current === scan) showDetail($("detail"), scan, models);
}

/** Writes status, buttons, counts and list anew; while answers come, the list once a frame. */
function refreshAll() {
  report();
  if (!queue.counts.left) draw();
  else if (!drawing) {
    drawing = true;
    requestAnimationFrame(draw);
  }
}

function draw() {
  drawing = false;
  list.arrange(filters.apply(scans));
  showConfusion($("confusion"), scans, models);
}

function report() {
  const { done, all, left } = queue.counts;
  const failed = scans.filter(({ error }) => error).length;
  const bad = failed ? `; ${failed} without an answer` : "";
  $("status").textContent = left ? `${done} of ${all} files answered${bad}` : `${plural(all, "file")} answered${bad}`;
  $("progress").hidden = !left;
  Object.assign($("progress"), { max: all || 1, value: done });
  $("save-csv").disabled = $("save-report").disabled = Boolean(left);
  $("stop").hidden = !left;
  const again = scans.filter(({ unsent }) => unsent).length;
  $("retry").hidden = Boolean(left) || !again;
  $("retry").textContent = `Retry (${again})`;
  document.body.classList.toggle("single", scans.length === 1);
}

function stop() {
  queue.stop();
  const open = scans.filter(({ error, answers }) => !error && answers.size < Math.max(models.length, 1));
  giveUp(open, STOPPED);
  open.forEach(refresh);
  refreshAll();
  $($("retry").hidden ? "clear" : "retry").focus(); // (The button that was pressed is gone.)
}

function retry() {
  const again = scans.filter(({ unsent }) => unsent);
  for (const scan of again) Object.assign(scan, { error: "", unsent: false });
  queue.again([...new Set(again.map(({ job }) => job))]);
  again.forEach(refresh);
  $("stop").focus();
}

async function makeReport() {
  const mine = (reporting += 1);
  $("save-report").disabled = true;
  $("progress").hidden = false;
  $("progress").max = scans.length;
  try {
    await saveReport(scans, models, facts, (done) => {
      if (mine !== reporting) throw new Error("given up by Clear");
      $("progress").value = done;
      $("status").textContent = `Report: ${done} of ${plural(scans.length, "scan")}`;
    });
    unsaved = false;
  } catch (error) {
    if (mine === reporting) throw error;
  } finally {
    if (mine === reporting) report();
  }
}

function clear() {
  reporting += 1;
  queue.clear();
  scans = [];
  leftOut = [];
  unsaved = false;
  list.clear();
  filters.clear();
  emptyDetail($("detail"));
  document.body.classList.remove("full", "single");
  $("bar").hidden = $("results").hidden = $("problem").hidden = $("left-out").hidden = $("confusion").hidden = true;
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
addEventListener("beforeunload", (event) => {
  if (unsaved) event.preventDefault();
});
$("stop").addEventListener("click", stop);
$("retry").addEventListener("click", retry);
$("clear").addEventListener("click", clear);
$("save-csv").addEventListener("click", () => {
  saveCsv(scans, models);
  unsaved = false;
});
$("save-report").addEventListener("click", () => makeReport().catch(complain));

const started = start();
started.catch(complain);
