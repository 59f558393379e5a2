// Lays a tumour mask over a volume, and scores the heatmap against it.

import { inverse, product, readNifti } from "./nifti-file.js";
import { grey } from "./pictures.js";
import { make, percent, plainName, plural } from "./words.js";

const NAMED = /(^|[^a-z])(mask|seg|segmentation|label|labels|roi|tumou?r|gt)(?=[^a-z]|$)/i;
const NIFTI = /\.nii(\.gz)?$/i;

const MOST_LABELS = 32;

/** Tells whether a file is a mask: it is called one, and holds no more than a few values. */
export async function isMask({ file, path }) {
  if (!NIFTI.test(path) || !NAMED.test(nameOf(path))) return false;
  try {
    const labels = new Set();
    for (const value of (await readNifti(file)).values) {
      if (labels.add(value).size > MOST_LABELS) return false;
    }
    return true;
  } catch {
    return false; // (Who reads it as a scan says what is wrong.)
  }
}

const nameOf = (path) => path.replace(/^.*\//, "").replace(NIFTI, "");

/**
 * Tells which of several volumes a mask belongs to: one of its folder whose name goes with it.
 *
 * @param path The mask's path.
 * @param others The volumes' paths.
 */
export function volumesOf(path, others) {
  const folder = path.replace(/[^/]*$/, "");
  const beside = others.filter((other) => other.replace(/[^/]*$/, "") === folder);
  if (beside.length < 2) return beside;
  const stem = nameOf(path).replace(NAMED, "").replace(/[^a-z0-9]+$/i, "").toLowerCase();
  return beside.filter((other) => stem && nameOf(other).toLowerCase().startsWith(stem));
}

/** Returns the mask on each of the slices, in their pixels; null where it marks nothing. */
export async function maskOnSlices(file, answers) {
  const { shape, affine, values } = await readNifti(file);
  const back = inverse(affine);
  if (!back) throw new Error("the mask does not say where it lies");
  let inside = false;
  const masks = [];
  for (const answer of answers) {
    const { width, height } = answer.picture ? await grey(answer.picture) : {};
    const placed = answer.affine && width ? onSlice(shape, values, product(back, answer.affine), width, height) : null;
    inside ||= Boolean(placed);
    masks.push(placed?.some ? { width, height, levels: placed.levels } : null);
  }
  if (!inside) throw new Error("the mask lies beside the volume: they are not of one scan");
  return masks;
}

/** Looks up each pixel in the mask; null where the slice lies beside it. */
function onSlice(shape, values, into, width, height) {
  const levels = new Uint8Array(width * height);
  let [met, some] = [false, false];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const [i, j, k] = into.slice(0, 3).map((row) => Math.round(row[0] * x + row[1] * y + row[3]));
      if (i < 0 || j < 0 || k < 0 || i >= shape[0] || j >= shape[1] || k >= shape[2]) continue;
      met = true;
      if (!(values[i + shape[0] * (j + shape[1] * k)] > 0)) continue;
      levels[y * width + x] = 255;
      some = true;
    }
  }
  return met ? { levels, some } : null;
}

/**
 * Scores heatmaps against masks, as `tumorscope evaluate` does.
 *
 * @returns `{marked, found, scored, inside, dice}`: slices that the mask marks; those of them on
 *   which the model sees a tumour; those of them with a heatmap; on how many its highest place
 *   lies in the mask; the mean overlap of the mask and where the heatmap is over half its maximum.
 */
export async function scoreHeat(answers, masks) {
  const score = { marked: 0, found: 0, scored: 0, inside: 0, dice: 0 };
  for (const [i, answer] of answers.entries()) {
    if (!masks[i]) continue;
    score.marked += 1;
    if (!answer.label || answer.label === "notumor") continue;
    score.found += 1;
    const heat = answer.heatmap && (await grey(answer.heatmap));
    if (!heat || heat.levels.length !== masks[i].levels.length) continue;
    score.scored += 1;
    const { inside, dice } = overlap(heat.levels, masks[i].levels, masks[i].width);
    score.inside += inside;
    score.dice += dice;
  }
  if (score.scored) score.dice /= score.scored;
  return score;
}

function overlap(heat, mask, width) {
  let [both, shown, marked, equal, across, down] = [0, 0, 0, 0, 0, 0];
  const highest = heat.reduce((most, level) => Math.max(most, level), 0);
  heat.forEach((level, i) => {
    if (level === highest) {
      equal += 1;
      across += i % width;
      down += Math.floor(i / width);
    }
    both += level > highest / 2 && mask[i] > 0;
    shown += level > highest / 2;
    marked += mask[i] > 0;
  });
  // A picture's 256 levels have a highest place of many pixels: its middle counts.
  const peak = Math.round(down / equal) * width + Math.round(across / equal);
  return { inside: highest > 0 && mask[peak] > 0 ? 1 : 0, dice: (2 * both) / (shown + marked) };
}

/** Returns the scores in words. */
export function scoreInWords(name, { marked, found, scored, inside, dice }) {
  const lines = [`${name} marks ${plural(marked, "slice")}; on ${found} of them the model sees a tumour.`];
  if (scored) lines.push(`The heatmap's peak lies inside the mask on ${inside} of ${scored} (${percent(inside / scored, 0)}); mean Dice ${dice.toFixed(2)}.`);
  else if (marked) lines.push(`There is no heatmap of a tumour to score (the others are of "${plainName("notumor")}").`);
  return make("div", { class: "score" }, make("h3", {}, "Heatmap against the mask"), ...lines.map((line) => make("p", {}, line)));
}
