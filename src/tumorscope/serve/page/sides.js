// Says which side of a picture is which side of the patient, and how large its pixels are.

import { make } from "./words.js";

// (Axes towards right, front and top, as in NIfTI.)
const TOWARDS = ["R", "A", "S"];
const AWAY = ["L", "P", "I"];

const column = (affine, j) => [0, 1, 2].map((i) => affine[i][j]);
const length = (vector) => Math.hypot(...vector);

/** Returns the letters at the left, right, top and bottom of a picture; null where none is known. */
export function sidesOf(affine) {
  if (!affine) return null;
  const [left, right] = ends(column(affine, 0));
  const [top, bottom] = ends(column(affine, 1));
  return { left, right, top, bottom };
}

/** Returns the letters at the beginning and the end of a direction. */
function ends(direction) {
  const sizes = direction.map(Math.abs);
  const axis = sizes.indexOf(Math.max(...sizes));
  return direction[axis] > 0 ? [AWAY[axis], TOWARDS[axis]] : [TOWARDS[axis], AWAY[axis]];
}

/** Returns the letters as elements over a picture. */
export function sideLetters(affine) {
  return Object.entries(sidesOf(affine) ?? {}).map(([side, letter]) => make("b", { class: `side ${side}`, "aria-hidden": "true" }, letter));
}

/** Says how the sides of a picture are to be read. */
export function sidesInWords(affine) {
  const sides = sidesOf(affine);
  if (!sides) return "The file does not say which side is which.";
  if (sides.left === "R" && sides.right === "L") return "The patient's right is on the left.";
  if (sides.left === "L" && sides.right === "R") return "The patient's left is on the left.";
  return "";
}

const THIN = 60; // mm: so short is no head, but a part of one, or a wrong header
const MANY = 16;
const [LEAST, MOST] = [80, 450];
const UNEVEN = 10;

const round = (number) => String(Number(number.toPrecision(3)));

/**
 * Returns the voxel size of a stack of slices in words, and a warning where it is odd.
 *
 * @param stack What `stackOf` returns.
 * @param width Of a picture, in pixels.
 * @param height The same.
 */
export function spacingOf({ affine, depth }, width, height) {
  const spacing = [0, 1, 2].map((j) => length(column(affine, j)));
  const extent = [width, height, depth].map((count, i) => count * spacing[i]);
  const text = `Voxels of ${spacing.map(round).join(" × ")} mm; ${extent.map((size) => size.toFixed(0)).join(" × ")} mm in all.`;
  const [across, down, along] = extent;
  let warning = "";
  if (Math.max(across, down, along) > MOST || Math.max(across, down) < LEAST) {
    warning = "No head is of that size: the spacing in the file is probably wrong, and so are the proportions.";
  } else if (depth >= MANY && along < THIN) {
    warning = `${depth} slices within ${along.toFixed(0)} mm are a thin slab: if they show a whole head, the spacing in the file is wrong, and it is drawn squashed.`;
  } else if (Math.max(...spacing) / Math.min(...spacing) > UNEVEN) {
    warning = "Voxels are more than ten times as long as wide: check the spacing in the file.";
  }
  return { text, warning };
}
