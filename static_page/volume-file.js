// Cuts NIfTI volumes into grey slices the right way up, as tumorscope/images/nifti.py does.

import { checkSize, headShares, squared, toGrey, whyUnsuitable } from "./grey-slices.js";
import { product, readNifti } from "./nifti-file.js";
import { resampling } from "./resampling.js";

const ENOUGH_HEAD = 0.5;
const THICK = 1.5;
const ACROSS = { sagittal: 0, coronal: 1, axial: 2 };

/**
 * Returns the slices of a volume that show enough head.
 *
 * @returns An array of `{slice, picture, affine, unsupported, note}`.
 */
export async function readVolume(file) {
  const volume = turned(await readNifti(file));
  const { shape, spacing, affine, voxel, volumes } = volume;
  const across = ACROSS[planeOf(shape, spacing)];
  const [columns, rows] = [0, 1, 2].filter((axis) => axis !== across);
  const [width, height, count] = [shape[columns], shape[rows], shape[across]];
  checkSize(width, height);
  const at = (k, y, x) => {
    const place = [0, 0, 0];
    [place[columns], place[rows], place[across]] = [x, y, k];
    return voxel(...place);
  };
  const shares = headShares(count, height, width, at);
  const note = volumes > 1 ? `the first of ${volumes} volumes` : "";
  const slices = shares.flatMap((share, k) => (share >= ENOUGH_HEAD ? [k] : [])).map((k) => {
    const values = new (volume.bytes ? Uint8Array : Float64Array)(width * height);
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) values[y * width + x] = at(k, height - 1 - y, width - 1 - x);
    }
    const grey = { width, height, levels: volume.bytes ? values : toGrey(values) };
    const picture = squared(grey, spacing[rows], spacing[columns]);
    const into = [0, 1, 2].map(() => [0, 0, 0, 0]);
    Object.assign(into[columns], { 0: -1, 3: width - 1 });
    Object.assign(into[rows], { 1: -1, 3: height - 1 });
    Object.assign(into[across], { 2: 1, 3: k });
    const place = product(product(affine, [...into, [0, 0, 0, 1]]), resampling(width, height, picture.width, picture.height));
    return { slice: count > 1 ? k : null, picture, affine: place, unsupported: whyUnsuitable(grey), note };
  });
  if (slices.length) return slices;
  return [{ slice: null, picture: null, affine: null, unsupported: "no head stands out from the background in this volume", note }];
}

/** Turns a volume to the nearest axes towards right, front and top, as `nibabel` does. */
function turned({ shape, affine, values, volumes }) {
  const lengths = [0, 1, 2].map((j) => Math.hypot(...[0, 1, 2].map((i) => affine[i][j])));
  const share = [0, 1, 2].map((i) => [0, 1, 2].map((j) => affine[i][j] / lengths[j]));
  if (!share.flat().every(Number.isFinite)) throw new Error("damaged NIfTI file (its orientation is degenerate)");
  const order = [0, 1, 2].sort((a, b) => Math.max(...share.map((row) => row[b] ** 2)) - Math.max(...share.map((row) => row[a] ** 2)));
  const [from, flip, free] = [[], [], new Set([0, 1, 2])];
  for (const j of order) {
    const i = [...free].sort((a, b) => Math.abs(share[b][j]) - Math.abs(share[a][j]))[0];
    free.delete(i);
    [from[i], flip[i]] = [j, share[i][j] < 0];
  }
  const strides = [1, shape[0], shape[0] * shape[1]];
  const newShape = from.map((j) => shape[j]);
  const back = [0, 1, 2].map(() => [0, 0, 0, 0]);
  from.forEach((j, i) => {
    back[j][i] = flip[i] ? -1 : 1;
    back[j][3] = flip[i] ? shape[j] - 1 : 0;
  });
  const step = from.map((j, i) => (flip[i] ? -strides[j] : strides[j]));
  const start = from.reduce((sum, j, i) => sum + (flip[i] ? (shape[j] - 1) * strides[j] : 0), 0);
  return {
    shape: newShape,
    spacing: from.map((j) => lengths[j]),
    affine: product(affine, [...back, [0, 0, 0, 1]]),
    voxel: (i, j, k) => values[start + i * step[0] + j * step[1] + k * step[2]],
    bytes: values instanceof Uint8Array,
    volumes,
  };
}

/** Returns the plane of a single slice, or of the thickest voxels; axial when they are cubes. */
function planeOf(shape, spacing) {
  const planes = ["sagittal", "coronal", "axial"];
  if (shape.includes(1)) return planes[shape.indexOf(1)];
  const order = [0, 1, 2].sort((a, b) => spacing[a] - spacing[b]);
  return spacing[order[2]] > THICK * spacing[order[1]] ? planes[order[2]] : "axial";
}
