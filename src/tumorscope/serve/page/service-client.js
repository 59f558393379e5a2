// Asks the service for answers. One of two back ends: the static page answers in the browser.

import { sentNames } from "./files.js";

const PATIENCE = 60;
let token = "";

/** Says where the files go. */
export function privacy() {
  const near = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const where = near ? "the service on this machine only" : `the service at ${location.host}`;
  return `Files go to ${where} and are gone after the answer. Their names stay in this page.`;
}

/** Returns what the service says of itself and its models. */
export async function card() {
  return (await request("v1/model")).json();
}

/**
 * Classifies a job's files with a model.
 *
 * @param job `kind` ("pictures" or "volume") and `files`.
 * @param model The model's id.
 * @param signal Aborts it.
 * @returns The array of answers, whose paths are the names that `sentNames` gives.
 */
export async function classify(job, model, signal) {
  const form = () => {
    const data = new FormData();
    const names = sentNames(job);
    job.files.forEach(({ file }, number) => data.append("files", file, names[number]));
    return data;
  };
  const where = job.kind === "volume" ? "v1/classify/volume" : "v1/classify";
  const query = new URLSearchParams({ model, heatmap: "png", picture: "png" });
  return (await request(`${where}?${query}`, form, signal)).json();
}

async function request(address, form, signal) {
  for (let tries = 0; ; tries += 1) {
    const response = await fetch(address, {
      method: form ? "POST" : "GET",
      body: form?.(),
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      signal,
    }).catch((error) => {
      if (signal?.aborted) throw error;
      throw new Error("the service does not answer: it was stopped, or the file has changed since");
    });
    if (response.ok) return response;
    if (response.status === 401) await askForToken();
    else if (response.status === 429 && tries < PATIENCE) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((done) => setTimeout(done, 1000 * seconds));
    } else {
      const { error } = await response.json().catch(() => ({}));
      throw new Error(error ?? `the service answered ${response.status}`);
    }
  }
}

let asking;

function askForToken() {
  asking ??= new Promise((done) => {
    const dialog = document.getElementById("token-dialog");
    const field = document.getElementById("token");
    document.getElementById("token-wrong").hidden = !token;
    field.value = "";
    dialog.addEventListener("close", () => {
      token = field.value;
      asking = undefined;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}
