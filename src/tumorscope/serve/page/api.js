// Files and a model's id come in, the service's answers go out.

import { sentName } from "./files.js";

const PATIENCE = 60;
let token = "";

/** Returns what the service says of itself and its models. */
export async function card() {
  return (await request("v1/model")).json();
}

/** Sends a job's files to a model; returns the array of answers. */
export async function classify(job, model) {
  const form = () => {
    const data = new FormData();
    job.files.forEach(({ file, path }, number) => data.append("files", file, sentName(number, path)));
    return data;
  };
  const where = job.kind === "volume" ? "v1/classify/volume" : "v1/classify";
  const query = new URLSearchParams({ model, heatmap: "png", picture: "png" });
  return (await request(`${where}?${query}`, form)).json();
}

async function request(address, form) {
  for (let tries = 0; ; tries += 1) {
    const response = await fetch(address, {
      method: form ? "POST" : "GET",
      body: form?.(),
      headers: token ? { Authorization: `Bearer ${token}` } : {},
    }).catch(() => {
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
