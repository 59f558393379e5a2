// Reads NIfTI files in the browser: sizes, voxels, and where they lie in the patient.

const READERS = {
  2: ["getUint8", 1], 4: ["getInt16", 2], 8: ["getInt32", 4], 16: ["getFloat32", 4], 64: ["getFloat64", 8],
  256: ["getInt8", 1], 512: ["getUint16", 2], 768: ["getUint32", 4],
};
const MOST_VOXELS = 80e6;

/**
 * Reads the first volume of a file.
 *
 * @param file A `.nii` or `.nii.gz` file.
 * @returns `{shape, affine, values, volumes}`: three sizes; what turns (i, j, k, 1) into mm
 *   towards right, front and top; the voxels in real units, first axis fastest; how many volumes.
 */
export async function readNifti(file) {
  const view = new DataView(await unpacked(file));
  const little = [348, 540].includes(view.byteLength > 540 ? view.getInt32(0, true) : 0);
  const size = view.byteLength > 348 ? view.getInt32(0, little) : 0;
  if (size !== 348) throw new Error(size === 540 ? "NIfTI-2, which this page does not read" : "not a NIfTI file");
  const dimensions = Array.from({ length: 8 }, (_, i) => view.getInt16(40 + 2 * i, little));
  const shape = [1, 2, 3].map((i) => (i <= dimensions[0] ? dimensions[i] : 1));
  const [method, bytes] = READERS[view.getInt16(70, little)] ?? [];
  if (!method) throw new Error("voxels of colours or complex numbers, not a scan");
  const count = shape[0] * shape[1] * shape[2];
  if (!(Math.min(...shape) > 0) || count > MOST_VOXELS) throw new Error(`a file of shape ${shape.join(" x ")}`);
  const offset = view.getFloat32(108, little);
  if (!(offset >= 0) || offset + count * bytes > view.byteLength) throw new Error("damaged NIfTI file (its voxels end too early)");
  const slope = view.getFloat32(112, little);
  const intercept = view.getFloat32(116, little);
  const scaled = Number.isFinite(slope) && slope !== 0 && (slope !== 1 || intercept !== 0);
  const integers = bytes === 1 && !scaled && method === "getUint8";
  const values = integers ? new Uint8Array(count) : new Float64Array(count);
  for (let i = 0; i < count; i += 1) {
    const value = view[method](offset + i * bytes, little);
    values[i] = scaled ? value * slope + intercept : value;
  }
  const volumes = dimensions.slice(4, dimensions[0] + 1).reduce((product, length) => product * Math.max(1, length), 1);
  return { shape, affine: affineOf(view, little, shape), values, volumes };
}

async function unpacked(file) {
  const start = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  if (start[0] !== 0x1f || start[1] !== 0x8b) return file.arrayBuffer();
  try {
    return await new Response(file.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  } catch {
    throw new Error("damaged NIfTI file (its compression is broken)");
  }
}

/** Returns the affine matrix as nibabel does: sform, else qform, else sizes alone. */
function affineOf(view, little, shape) {
  const number = (place) => view.getFloat32(place, little);
  if (view.getInt16(254, little) > 0) {
    return [...[0, 1, 2].map((i) => [0, 1, 2, 3].map((j) => number(280 + 16 * i + 4 * j))), [0, 0, 0, 1]];
  }
  const sizes = [1, 2, 3].map((i) => Math.abs(number(76 + 4 * i)) || 1);
  if (view.getInt16(252, little) <= 0) {
    const centre = shape.map((length, i) => ((length - 1) / 2) * sizes[i]);
    return [[-sizes[0], 0, 0, centre[0]], [0, sizes[1], 0, -centre[1]], [0, 0, sizes[2], -centre[2]], [0, 0, 0, 1]];
  }
  const [b, c, d] = [256, 260, 264].map(number);
  const a = Math.sqrt(Math.max(0, 1 - b * b - c * c - d * d));
  const flip = number(76) < 0 ? -1 : 1;
  const turn = [
    [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
    [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
    [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
  ];
  const rows = turn.map((row, i) => [row[0] * sizes[0], row[1] * sizes[1], row[2] * sizes[2] * flip, number(268 + 4 * i)]);
  return [...rows, [0, 0, 0, 1]];
}

/** Returns the inverse of an affine matrix; null where there is none. */
export function inverse(m) {
  const [[a, b, c, x], [d, e, f, y], [g, h, i, z]] = m;
  const whole = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  if (!Number.isFinite(whole) || Math.abs(whole) < 1e-12) return null;
  const rows = [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((value) => value / whole));
  return [...rows.map((row) => [...row, -(row[0] * x + row[1] * y + row[2] * z)]), [0, 0, 0, 1]];
}

/** Returns the product of two affine matrices. */
export const product = (m, n) => m.map((row) => [0, 1, 2, 3].map((j) => row.reduce((sum, value, i) => sum + value * n[i][j], 0)));
