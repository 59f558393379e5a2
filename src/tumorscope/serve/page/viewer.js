// Shows a volume in the patient's space, with heat, outline and mask, by NiiVue.
// NiiVue is loaded with the first volume that it is to show.

import { dot, edges, niftiOf, stackOf } from "./nifti.js";
import { grey, OUTLINE } from "./pictures.js";
import { overlay } from "./slice-view.js";
import { make } from "./words.js";

export const VIEWS = { axial: 0, coronal: 1, sagittal: 2, "all planes": 3, "3D": 4 };

/** What dragging does, by NiiVue's numbers. */
export const DRAGS = { 8: "moves the crosshair", 9: "window and level", 3: "moves and (wheel) zooms" };

/** Tells whether there is a graphics processor: without one NiiVue stops the page for seconds. */
export function drawsFast() {
  const gl = make("canvas").getContext("webgl2");
  if (!gl) return false;
  const facts = gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = facts ? gl.getParameter(facts.UNMASKED_RENDERER_WEBGL) : "";
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer);
}

const PATIENCE_MS = 20000;
const CROSSHAIR = 0.5;
const CONTRAST = 1;

/**
 * Shows a stack of slices.
 *
 * @param place The element to stand in.
 * @param answers A model's answers to the slices.
 * @param file The volume itself, where it is a NIfTI file.
 * @param masks The tumour mask on each slice, or null.
 * @param moved Told the position of the slice that the crosshair reached.
 * @returns The viewer; null when the slices have no place in space or NiiVue cannot start.
 */
export async function openViewer(place, answers, { file, masks, moved }) {
  const stack = stackOf(answers);
  if (!stack) return null;
  const canvas = make("canvas", { tabindex: 0, "aria-label": "Volume; scroll or use the curve below to move through the slices" });
  if (!canvas.getContext("webgl2")) return null;
  await import("./vendor/niivue/niivue.umd.js"); // It names itself in the global scope.
  const { Niivue, NVImage } = globalThis.niivue;
  const fresh = make("canvas", { tabindex: 0, "aria-label": canvas.getAttribute("aria-label") });
  place.classList.remove("flat");
  place.replaceChildren(fresh);
  const nv = new Niivue({
    dragAndDropEnabled: false, loadingText: "", backColor: [0, 0, 0, 1], crosshairColor: [0.36, 0.95, 0.77, 0.7],
    crosshairWidth: CROSSHAIR, show3Dcrosshair: true, isRadiologicalConvention: true, sagittalNoseLeft: true, isColorbar: false, isOrientationTextVisible: true, multiplanarForceRender: false,
  });
  nv.addColormap("heat-outline", oneColour(OUTLINE.outline));
  nv.addColormap("mask-outline", oneColour(OUTLINE.mask));
  await nv.attachToCanvas(fresh);
  const add = async (buffer, name, options) => {
    nv.addVolume(await NVImage.loadFromFile({ file: new File([buffer], name), name, ...options }));
  };
  await addBase(add, stack, file);
  const viewer = { nv, stack, masks, layers: {}, plane: planeOf(stack.normal) };
  await setOverlay(viewer, add, answers);
  nv.setSliceType(VIEWS[viewer.plane]);
  nv.onLocationChange = ({ mm }) => moved(answers.indexOf(nearest(stack, mm)));
  viewer.showAnswers = (others) => setOverlay(viewer, add, others);
  viewer.view = (name) => nv.setSliceType(VIEWS[name]);
  viewer.apply = () => applyTo(viewer);
  viewer.drag = (mode) => setDrag(nv, Number(mode));
  viewer.crosshair = (shown) => nv.setCrosshairWidth(shown ? CROSSHAIR : 0);
  viewer.goTo = (answer) => goTo(viewer, answer);
  viewer.close = () => {
    nv.onLocationChange = () => {};
    nv.cleanup();
    fresh.getContext("webgl2")?.getExtension("WEBGL_lose_context")?.loseContext();
  };
  return viewer;
}

/** Adds the volume as it was dropped; where NiiVue cannot read it, the slices the model saw. */
async function addBase(add, stack, file) {
  const own = file && within(add(file, file.name, {}), PATIENCE_MS).then(() => true, () => false);
  if (await own) return;
  const pictures = await Promise.all(stack.placed.map((answer) => grey(answer.picture)));
  await add(niftiOf(stack, pictures), "slices.nii", { cal_min: 0, cal_max: 255 });
}

const within = (promise, ms) => Promise.race([promise, new Promise((_, bad) => setTimeout(bad, ms))]);

/** Puts a model's heat and its outline over the volume, and the mask. */
async function setOverlay(viewer, add, answers) {
  const { nv, stack, masks } = viewer;
  while (nv.volumes.length > 1) nv.removeVolumeByIndex(1);
  viewer.layers = {};
  const position = new Map(answers.map((answer, i) => [`${answer.path} ${answer.slice}`, i]));
  const places = stack.placed.map((answer) => position.get(`${answer.path} ${answer.slice}`));
  const heats = await Promise.all(places.map((i) => (answers[i]?.heatmap ? grey(answers[i].heatmap) : null)));
  const put = async (name, pictures, options) => {
    if (!pictures.some(Boolean)) return;
    await add(niftiOf(stack, pictures), `${name}.nii`, { cal_max: 255, opacity: 0, ...options });
    viewer.layers[name] = nv.volumes.length - 1;
  };
  await put("heat", heats, { colormap: "inferno", cal_min: 50 });
  await put("outline", heats.map((heat) => heat && edges(heat)), { colormap: "heat-outline", cal_min: 100 });
  await put("mask", places.map((i) => (masks?.[i] ? edges(masks[i]) : null)), { colormap: "mask-outline", cal_min: 100 });
  applyTo(viewer);
}

function applyTo({ nv, layers }) {
  const opacity = { heat: overlay.heat ? overlay.opacity : 0, outline: overlay.outline ? 1 : 0, mask: 1 };
  for (const [name, layer] of Object.entries(layers)) nv.setOpacity(layer, opacity[name]);
}

function setDrag(nv, mode) {
  const buttons = { leftButton: { primary: mode }, rightButton: CONTRAST, centerButton: CONTRAST };
  nv.setMouseEventConfig(buttons);
  nv.setTouchEventConfig({ singleTouch: mode, doubleTouch: 3 });
  nv.opts.dragMode = mode === 3 ? 3 : CONTRAST; // (The wheel zooms where the mode says so.)
}

function oneColour(hex) {
  const [red, green, blue] = [1, 3, 5].map((i) => Number.parseInt(hex.slice(i, i + 2), 16));
  return { R: [0, red, red], G: [0, green, green], B: [0, blue, blue], A: [0, 255, 255], I: [0, 1, 255] };
}

const originOf = (answer) => [0, 1, 2].map((i) => answer.affine[i][3]);

/** Moves the crosshair straight to a slice's plane. */
function goTo({ nv, stack }, answer) {
  if (!answer.affine) return;
  const here = nv.frac2mm(nv.scene.crosshairPos);
  const away = dot(stack.normal, originOf(answer)) - dot(stack.normal, [...here].slice(0, 3));
  nv.scene.crosshairPos = nv.mm2frac(stack.normal.map((value, i) => here[i] + away * value));
  nv.drawScene();
}

function nearest({ placed, normal }, mm) {
  const height = dot(normal, [...mm].slice(0, 3));
  const distance = (answer) => Math.abs(dot(normal, originOf(answer)) - height);
  return placed.reduce((best, answer) => (distance(answer) < distance(best) ? answer : best));
}

function planeOf(normal) {
  const axis = normal.map(Math.abs);
  return ["sagittal", "coronal", "axial"][axis.indexOf(Math.max(...axis))];
}
