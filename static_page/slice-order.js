// Puts the slices of a DICOM series in their order along the body, and tells what is no single stack.

import { dot } from "./nifti.js";

const SAME_PLACE = 0.05; // mm
const SAME_PLANE = 0.9995;
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
