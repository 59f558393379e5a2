// Offers drawn scans to try the page with; they are phantoms, no patient's.

import { make } from "./words.js";

const EXAMPLES = {
  "A slice with a glioma": ["glioma.png"],
  "A slice without a tumour": ["no-tumour.png"],
  "A series with its tumour mask": ["series.nii.gz", "series-mask.nii.gz"],
};

/** Fills the element with a button for each example; `take` is given its files. */
export function offerExamples(root, take) {
  const buttons = Object.entries(EXAMPLES).map(([title, names]) => {
    const button = make("button", { type: "button", class: "link" }, title);
    button.addEventListener("click", () => take(() => Promise.all(names.map(load))));
    return button;
  });
  root.append(make("span", {}, "Or try a drawn one: "), ...buttons);
}

async function load(name) {
  const response = await fetch(new URL(`./examples/${name}`, import.meta.url));
  if (!response.ok) throw new Error("the example is not there");
  return { file: new File([await response.blob()], name), path: name };
}
