// Turns stored values into grey slices, as tumorscope/images/slices.py and suitability.py do.

import { roundEven } from "./decision.js";
import { resized } from "./resampling.js";

const HEAD_LEVEL = 0.12;
const INNER_RANGE = [0.1, 99.9];
const OUTLYING = 0.5;
const MOST_OBLONG = 20;
const BYTE = 255;
const LARGEST = 1e30;
const BLANK_RANGE = 8;
const MASK_VALUES = 4;
const MINIMUM_SIDE = 32;
const MAXIMUM_PIXELS = 50e6;

/** Refuses a slice that is too small to classify or too large to open. */
export function checkSize(width, height) {
  if (Math.min(width, height) < MINIMUM_SIDE) throw new Error(`${width}x${height} pixels are too few (at least ${MINIMUM_SIDE} a side)`);
  if (width * height > MAXIMUM_PIXELS) throw new Error(`more than ${MAXIMUM_PIXELS / 1e6} million pixels, refused`);
}

/** Returns percentiles of values that are all finite, interpolated linearly as NumPy does. */
export function percentiles(values, shares) {
  const sorted = Float64Array.from(values).sort();
  return shares.map((share) => {
    const place = (share / 100) * (sorted.length - 1);
    const low = Math.floor(place);
    const high = Math.min(sorted.length - 1, low + 1);
    return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
  });
}

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

function bounds(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** Lays 0 to 255 over the range of the values, far outliers left aside. */
export function toGrey(values) {
  const real = Float64Array.from(values, (value) => (Number.isFinite(value) ? Math.min(LARGEST, Math.max(-LARGEST, value)) : Number.NaN));
  const known = real.filter((value) => !Number.isNaN(value));
  const grey = new Uint8Array(real.length);
  if (!known.length) return grey;
  let [low, high] = bounds(known);
  const step = stepOf(known, low, high);
  if (step) return grey.map((_, i) => (Number.isNaN(real[i]) ? 0 : (real[i] - low) / step));
  const [innerLow, innerHigh] = percentiles(known, INNER_RANGE);
  if (innerHigh > innerLow && innerHigh - innerLow < OUTLYING * (high - low)) [low, high] = [innerLow, innerHigh];
  if (high <= low) return grey;
  const scale = BYTE / (high - low);
  return grey.map((_, i) => (Number.isNaN(real[i]) ? 0 : roundEven(Math.min(BYTE, Math.max(0, (real[i] - low) * scale)))));
}

/** Returns the step of an 8-bit picture in other units; 0 where the values are none. */
function stepOf(known, low, high) {
  if (high - low > 2 ** 31) return 0;
  let step = 0;
  for (const value of known) {
    const above = value - low;
    if (!Number.isInteger(above)) return 0;
    step = divisor(above, step);
  }
  if (!step) return 0;
  const levels = Math.floor((high - low) / step);
  return levels > Math.floor(BYTE / 2) && levels <= BYTE ? step : 0;
}

/** Returns a slice with square pixels of the shorter side. */
export function squared(picture, rowSpacing, columnSpacing) {
  const { width, height } = picture;
  if (![rowSpacing, columnSpacing].every((spacing) => Number.isFinite(spacing) && spacing > 0)) return picture;
  const stretch = rowSpacing / columnSpacing;
  if (Math.abs(stretch - 1) < 0.01 || stretch <= 1 / MOST_OBLONG || stretch >= MOST_OBLONG) return picture;
  const [newWidth, newHeight] = stretch > 1 ? [width, roundEven(height * stretch)] : [roundEven(width / stretch), height];
  checkSize(newWidth, newHeight);
  return resized(picture, newWidth, newHeight);
}

/** Returns why there is nothing to classify on a slice; empty when there is. */
export function whyUnsuitable({ levels }) {
  const seen = new Uint8Array(256);
  for (const level of levels) seen[level] = 1;
  if (seen.lastIndexOf(1) - seen.indexOf(1) < BLANK_RANGE) return "a blank slice: nothing stands out from the background";
  const values = seen.reduce((sum, one) => sum + one, 0);
  return values <= MASK_VALUES ? `only ${values} different grey values: a mask or a drawing, not a scan` : "";
}

/**
 * Returns how much head each slice of a volume shows, the fullest being 1.
 *
 * @param at Gives the voxel of a slice at a row and column.
 */
export function headShares(count, rows, columns, at) {
  const [high, wide] = [Math.ceil(rows / 2), Math.ceil(columns / 2)];
  const coarse = new Float32Array(count * high * wide);
  for (let k = 0, i = 0; k < count; k += 1) {
    for (let y = 0; y < rows; y += 2) {
      for (let x = 0; x < columns; x += 2, i += 1) {
        const value = at(k, y, x);
        coarse[i] = Number.isFinite(value) ? value : 0;
      }
    }
  }
  const [dark, bright] = percentiles(coarse, [2, 99]);
  if (bright <= dark) return new Array(count).fill(0);
  const level = dark + HEAD_LEVEL * (bright - dark);
  const areas = Array.from({ length: count }, (_, k) => coarse.subarray(k * high * wide, (k + 1) * high * wide).reduce((sum, value) => sum + (value > level), 0) / (high * wide));
  const most = Math.max(...areas, 1e-9);
  return areas.map((area) => area / most);
}
