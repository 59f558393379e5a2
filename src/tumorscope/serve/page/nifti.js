// Builds one NIfTI volume of slices with their places in the patient, for NiiVue.

const HEADER = 352;
const TOLERANCE = 0.1;

/**
 * Returns the geometry of a stack, or null when the slices do not lie one behind the other.
 *
 * @param answers Answers with `affine`: (column, row, slice, 1) to mm.
 */
export function stackOf(answers) {
  const placed = answers.filter((answer) => answer.affine && answer.picture);
  if (placed.length < 2 || placed.length < answers.length / 2) return null;
  const column = (matrix, j) => [0, 1, 2].map((i) => matrix[i][j]);
  const first = placed[0].affine;
  const normal = unit(cross(column(first, 0), column(first, 1)));
  const places = placed.map((answer) => dot(normal, column(answer.affine, 3)));
  const gaps = places.slice(1).map((place, i) => place - places[i]);
  const step = gaps.reduce((least, gap) => (Math.abs(gap) < Math.abs(least) ? gap : least));
  const even = gaps.every((gap) => Math.round(gap / step) >= 1 && Math.abs(gap / step - Math.round(gap / step)) < TOLERANCE);
  if (!step || !even) return null;
  const positions = places.map((place) => Math.round((place - places[0]) / step));
  const last = column(placed.at(-1).affine, 3);
  const along = column(first, 3).map((start, i) => (last[i] - start) / positions.at(-1));
  const affine = [0, 1, 2].map((i) => [first[i][0], first[i][1], along[i], first[i][3]]);
  return { placed, positions, affine, normal, depth: positions.at(-1) + 1 };
}

/** Returns the bytes of a NIfTI file of grey levels; slices of another size stay empty. */
export function niftiOf({ positions, affine, depth }, pictures) {
  const { width, height } = pictures.find(Boolean);
  const bytes = new Uint8Array(HEADER + width * height * depth);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, 348, true);
  [3, width, height, depth, 1, 1, 1, 1].forEach((size, i) => view.setInt16(40 + 2 * i, size, true));
  view.setInt16(70, 2, true); // unsigned bytes
  view.setInt16(72, 8, true);
  const length = (j) => Math.hypot(...affine.map((row) => row[j]));
  [1, length(0), length(1), length(2)].forEach((size, i) => view.setFloat32(76 + 4 * i, size, true));
  view.setFloat32(108, HEADER, true);
  view.setFloat32(112, 1, true);
  view.setUint8(123, 2); // mm
  view.setInt16(254, 1, true); // sform: scanner
  affine.flat().forEach((value, i) => view.setFloat32(280 + 4 * i, value, true));
  bytes.set([0x6e, 0x2b, 0x31, 0], 344);
  pictures.forEach((picture, i) => {
    if (picture?.width !== width || picture.height !== height) return;
    bytes.set(picture.levels, HEADER + width * height * positions[i]);
  });
  return bytes.buffer;
}

/** Marks the pixels along the line where a picture is at half of 255. */
export function edges({ width, height, levels }) {
  const high = (i) => levels[i] >= 128;
  const marked = new Uint8Array(levels.length);
  for (let i = 0; i < levels.length; i += 1) {
    if (!high(i)) continue;
    const x = i % width;
    const inner = x > 0 && x < width - 1 && i >= width && i < levels.length - width
      && high(i - 1) && high(i + 1) && high(i - width) && high(i + width);
    if (!inner) marked[i] = 255;
  }
  return { width, height, levels: marked };
}

export const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const unit = (a) => a.map((value) => value / Math.hypot(...a));
