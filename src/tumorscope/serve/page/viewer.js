// A volume's slices come in, NiiVue shows them in the patient's space, with heat and outline.
// NiiVue is loaded with the first volume.

import { dot, edges, niftiOf, stackOf } from "./nifti.js";
import { grey } from "./pictures.js";
import { overlay } from "./slice-view.js";
import { make } from "./words.js";

export const VIEWS = { axial: 0, coronal: 1, sagittal: 2, "all planes": 3, "3D": 4 };

const PATIENCE_MS = 20000;

/**
 * Shows a stack of slices.
 *
 * @param place The element to stand in.
 * @param answers A model's answers to the slices.
 * @param file The volume itself, where it is a NIfTI file.
 * @param moved Told the position of the slice that the crosshair reached.
 * @returns The viewer; null when the slices have no place in space or NiiVue cannot start.
 */
export async function openViewer(place, answers, file, moved) {
  const stack = stackOf(answers);
  if (!stack) return null;
  const canvas = make("canvas", { tabindex: 0, "aria-label": "Volume; scroll or use the strip below to move through the slices" });
  if (!canvas.getContext("webgl2")) return null;
  await import("./vendor/niivue/niivue.umd.js"); // It names itself in the global scope.
  const { Niivue, NVImage } = globalThis.niivue;
  const fresh = make("canvas", { tabindex: 0, "aria-label": canvas.getAttribute("aria-label") });
  place.classList.remove("flat");
  place.replaceChildren(fresh);
  const nv = new Niivue({
    dragAndDropEnabled: false, loadingText: "", backColor: [0, 0, 0, 1], crosshairColor: [0.36, 0.95, 0.77, 0.7],
    crosshairWidth: 0.5, show3Dcrosshair: true, isRadiologicalConvention: true, isColorbar: false, isOrientationTextVisible: true, multiplanarForceRender: false,
  });
  await nv.attachToCanvas(fresh);
  const add = async (buffer, name, options) => {
    nv.addVolume(await NVImage.loadFromFile({ file: new File([buffer], name), name, ...options }));
  };
  await addBase(add, stack, file);
  const viewer = { nv, stack, layers: [], plane: planeOf(stack.normal) };
  await setOverlay(viewer, add, answers);
  nv.setSliceType(VIEWS[viewer.plane]);
  nv.onLocationChange = ({ mm }) => moved(answers.indexOf(nearest(stack, mm)));
  viewer.showAnswers = (others) => setOverlay(viewer, add, others);
  viewer.view = (name) => nv.setSliceType(VIEWS[name]);
  viewer.apply = () => applyTo(viewer);
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

/** Puts a model's heat and its outline over the volume. */
async function setOverlay(viewer, add, answers) {
  const { nv, stack } = viewer;
  while (nv.volumes.length > 1) nv.removeVolumeByIndex(1);
  viewer.layers = [];
  const byPlace = new Map(answers.map((answer) => [`${answer.path} ${answer.slice}`, answer]));
  const heats = await Promise.all(stack.placed.map((answer) => {
    const png = byPlace.get(`${answer.path} ${answer.slice}`)?.heatmap;
    return png ? grey(png) : null;
  }));
  if (!heats.some(Boolean)) return;
  await add(niftiOf(stack, heats), "heat.nii", { colormap: "inferno", cal_min: 50, cal_max: 255, opacity: 0 });
  const lines = heats.map((heat) => heat && edges(heat));
  await add(niftiOf(stack, lines), "outline.nii", { colormap: "green", cal_min: 100, cal_max: 255, opacity: 0 });
  viewer.layers = [1, 2];
  applyTo(viewer);
}

function applyTo({ nv, layers }) {
  if (!layers.length) return;
  nv.setOpacity(layers[0], overlay.heat ? overlay.opacity : 0);
  nv.setOpacity(layers[1], overlay.outline ? 1 : 0);
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
