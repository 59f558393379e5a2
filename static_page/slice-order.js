// Puts the slices of a DICOM series in their order along the body, and tells what is no single stack.

import { roundEven } from "./decision.js";
import { dot } from "./nifti.js";

const SAME_PLACE = 0.05; // mm
const SAME_PLANE = 0.9995;
const FEWEST = 4;
const NEARLY = 0.15;
const ELSEWHERE = "tumorscope serve tells them apart";

/** Returns a slice's normal, towards the side where its longest part is positive. */
function normalOf([a, b, c, d, e, f]) {
  const normal = [b * f - c * e, c * d - a * f, a * e - b * d];
  const longest = normal.reduce((most, part) => (Math.abs(part) > Math.abs(most) ? part : most));
  return longest > 0 ? normal : normal.map((part) => -part);
}

/**
 * Orders slices.
 *
 * @param read Slices with a `header`.
 * @returns `{slices, problem, note}`: why they have no answer as a whole, or nothing; what to know.
 */
export function inOrder(read) {
  const placed = read.every(({ header }) => header.position && header.orientation);
  if (!placed) {
    const number = ({ header }) => header.instance ?? Infinity;
    return { slices: [...read].sort((a, b) => number(a) - number(b) || 0), problem: "", note: "in the order of their numbers: the files do not say where they lie" };
  }
  const normal = normalOf(read[0].header.orientation);
  const height = ({ header }) => dot(normal, header.position);
  const slices = [...read].sort((a, b) => height(a) - height(b));
  if (!read.every(({ header }) => Math.abs(dot(normal, normalOf(header.orientation))) > SAME_PLANE)) {
    return { slices, problem: `the files hold slices of several planes: ${ELSEWHERE}`, note: "" };
  }
  if (slices.some((slice, i) => i && height(slice) - height(slices[i - 1]) < SAME_PLACE)) {
    return { slices, problem: `the files hold several slices at one place (echoes, time points, copies): ${ELSEWHERE}`, note: "" };
  }
  return { slices, problem: "", note: "" };
}

/**
 * Tells which slices a series seems to lack, in words; empty when it seems whole.
 *
 * As tumorscope/series/completeness.py does: by instance numbers that are left out, and by gaps that
 * are multiples of the usual spacing.
 */
export function missingSlices(headers) {
  const places = emptyPlaces(headers);
  const empty = places ? `between the others ${places === 1 ? "a place is" : `${places} places are`} empty` : "";
  return [missingNumbers(headers), empty].filter(Boolean).join(" and ");
}

function missingNumbers(headers) {
  const given = headers.map(({ instance }) => instance).filter(Number.isFinite);
  const numbers = [...new Set(given)].sort((a, b) => a - b);
  if (!numbers.length) return "";
  const steps = numbers.slice(1).map((number, i) => number - numbers[i]);
  const step = numbers.length < FEWEST ? 1 : steps.reduce(commonDivisor);
  // (Some series begin at a number far from 1: then nothing is known of their beginning.)
  const late = step === 1 && numbers[0] > 1 && numbers[0] <= numbers.length + 1;
  const ends = late ? [0, ...numbers] : numbers;
  const ranges = ends.slice(1).map((after, i) => [ends[i] + step, after - step]).filter(([first, last]) => first <= last);
  const words = ranges.map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`));
  if (!words.length) return "";
  const single = ranges.length === 1 && ranges[0][0] === ranges[0][1];
  return single ? `instance number ${words[0]} is missing` : `instance numbers ${words.join(", ")} are missing`;
}

const commonDivisor = (a, b) => (b ? commonDivisor(b, a % b) : a);

function emptyPlaces(headers) {
  const placed = headers.filter(({ position, orientation }) => position && orientation);
  if (placed.length < FEWEST) return 0;
  const normal = normalOf(placed[0].orientation);
  const heights = placed.map(({ position }) => dot(normal, position)).sort((a, b) => a - b);
  const steps = heights.slice(1).map((height, i) => height - heights[i]);
  const ordered = [...steps].sort((a, b) => a - b);
  const median = (ordered[Math.floor((ordered.length - 1) / 2)] + ordered[Math.ceil((ordered.length - 1) / 2)]) / 2;
  const ratios = steps.map((length) => length / Math.max(median, 1e-3));
  return ratios.reduce((sum, ratio) => {
    const whole = roundEven(ratio);
    return sum + (whole >= 2 && Math.abs(ratio - whole) <= NEARLY * whole ? whole - 1 : 0);
  }, 0);
}
