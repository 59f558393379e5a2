// Reads DICOM files of one uncompressed or JPEG baseline frame into grey slices.
// What it does not read in the way that tumorscope/images/dicom.py does, it refuses.

import dicomParser from "./vendor/dicom-parser.js";
import { checkSize, percentiles, squared, toGrey, whyUnsuitable } from "./grey-slices.js";
import { roundEven } from "./decision.js";
import { product } from "./nifti-file.js";
import { readPicture } from "./picture-file.js";
import { resampling } from "./resampling.js";

const NATIVE = { "1.2.840.10008.1.2": true, "1.2.840.10008.1.2.1": true, "1.2.840.10008.1.2.2": false };
const JPEG_BASELINE = "1.2.840.10008.1.2.4.50";
const KINDS = { CR: "an X-ray picture", CT: "a CT scan", DX: "an X-ray picture", MG: "a mammogram", NM: "a nuclear medicine scan", OT: "a picture of unstated kind", PT: "a PET scan", RF: "an X-ray picture", SC: "a screen capture", US: "an ultrasound scan", XA: "an X-ray angiogram" };
const OTHER_PARTS = new Set("ABDOMEN ANKLE ARM BLADDER BREAST CHEST CSPINE ELBOW EXTREMITY FOOT HAND HEART HIP KIDNEY KNEE LEG LIVER LSPINE PELVIS PROSTATE SHOULDER SPINE SSPINE TSPINE THIGH UTERUS WHOLEBODY WRIST".split(" "));
const COMPONENTS = { P: "phase", PHASE: "phase", PHASE_MAP: "phase", PHASE_DIFFERENCE: "phase", FIELD_MAP: "field map", FIELDMAP: "field map", B0: "field map", B0_MAP: "field map", VELOCITY: "velocity", VELOCITY_MAP: "velocity", I: "imaginary part", IMAGINARY: "imaginary part" };
const SEEN_SHARE = 0.6;
const ELSEWHERE = "tumorscope serve reads it";

/** Tells DICOM by its mark. */
export const isDicom = (bytes) => String.fromCharCode(...bytes.slice(128, 132)) === "DICM";

/**
 * Reads a file.
 *
 * @returns `{picture, affine, unsupported, header}`; the header says where the slice belongs.
 * @throws An error, with the header as far as that could be read.
 */
export async function readDicom(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (!isDicom(bytes)) throw new Error(`a DICOM file without its preamble, which is not read in the browser: ${ELSEWHERE}`);
  let elements;
  try {
    elements = dicomParser.parseDicom(bytes);
  } catch (error) {
    throw new Error(`damaged DICOM file (${String(error.exception ?? error.message ?? error).slice(0, 80)})`);
  }
  const header = headerOf(elements);
  try {
    return { ...(await sliceOf(elements, bytes)), header };
  } catch (error) {
    throw Object.assign(error, { header });
  }
}

async function sliceOf(elements, bytes) {
  const unsupported = whyUnsupported(elements);
  if (unsupported) return { picture: null, affine: null, unsupported };
  if (!elements.elements.x7fe00010) throw new Error("a DICOM file without a picture (no pixels)");
  const grey = await shown(elements, bytes);
  const spacing = numbers(elements, "x00280030");
  const picture = spacing.length === 2 ? squared(grey, ...spacing) : grey;
  const place = placeInPatient(elements, spacing);
  const affine = place && product(place, resampling(grey.width, grey.height, picture.width, picture.height));
  return { picture, affine, unsupported: component(elements) || whyUnsuitable(grey) };
}

const text = (elements, tag) => (elements.string(tag) ?? "").trim();
const numbers = (elements, tag) => text(elements, tag).split("\\").filter((part) => part.trim()).map(Number).filter(Number.isFinite);

function headerOf(elements) {
  const [instance] = numbers(elements, "x00200013");
  const [position, orientation] = [numbers(elements, "x00200032"), numbers(elements, "x00200037")];
  return {
    series: text(elements, "x0020000e"),
    instance: instance ?? null,
    position: position.length === 3 ? position : null,
    orientation: orientation.length === 6 ? orientation : null,
  };
}

function whyUnsupported(elements) {
  const modality = text(elements, "x00080060").toUpperCase() || "MR";
  if (modality !== "MR") return `${KINDS[modality] ?? "a picture of another kind"} (modality ${modality}); the model classifies MR slices only`;
  const part = text(elements, "x00180015").replaceAll(" ", "").toUpperCase();
  return OTHER_PARTS.has(part) ? `a scan of another part of the body (${part.toLowerCase()})` : "";
}

function component(elements) {
  const words = text(elements, "x00080008").toUpperCase().split("\\").slice(2).map((word) => word.trim().replaceAll(" ", "_"));
  const found = [...words, text(elements, "x00089208").toUpperCase()].find((word) => word in COMPONENTS);
  return found ? `${COMPONENTS[found]}, not the magnitude of the signal` : "";
}

/** Returns the slice as it is meant to be seen, or why it shows none. */
async function shown(elements, bytes) {
  const number = (tag, usual) => elements.uint16(tag) ?? usual;
  const [height, width] = [number("x00280010", 0), number("x00280011", 0)];
  if (!height || !width) throw new Error("a DICOM file that does not say its size (Rows, Columns)");
  checkSize(width, height);
  const frames = numbers(elements, "x00280008")[0] ?? 1;
  if (frames > 1) throw new Error(`a DICOM file of ${frames} frames: ${ELSEWHERE}`);
  const photometric = text(elements, "x00280004") || "MONOCHROME2";
  if (number("x00280002", 1) !== 1 || photometric === "PALETTE COLOR") {
    throw new Error(`a DICOM file that stores colours: ${ELSEWHERE} where they are grey`);
  }
  if (elements.elements.x00283000 || elements.elements.x00283010) throw new Error(`a DICOM file with a table of grey values: ${ELSEWHERE}`);
  const stored = await pixels(elements, bytes, width, height, number);
  const inverted = photometric === "MONOCHROME1";
  const values = rescaled(elements, stored, inverted);
  const plain = stored instanceof Uint8Array && values === stored;
  const levels = windowed(elements, values) ?? (plain ? stored : toGrey(values));
  return { width, height, levels: inverted ? levels.map((level) => 255 - level) : levels };
}

async function pixels(elements, bytes, width, height, number) {
  const syntax = text(elements, "x00020010") || "1.2.840.10008.1.2";
  const element = elements.elements.x7fe00010;
  if (syntax === JPEG_BASELINE) {
    const parts = element.fragments.map(({ position, length }) => bytes.subarray(position, position + length));
    const picture = await readPicture(new Blob(parts, { type: "image/jpeg" }));
    if (picture.width !== width || picture.height !== height) throw new Error("damaged DICOM file (its picture is of another size)");
    return picture.levels;
  }
  if (!(syntax in NATIVE)) throw new Error(`its compression (${syntax}) is not read in the browser: save it uncompressed, or use tumorscope serve`);
  const bits = number("x00280100", 16);
  const signed = number("x00280103", 0) === 1;
  if (![8, 16, 32].includes(bits)) throw new Error(`a DICOM file of ${bits} bits a pixel: ${ELSEWHERE}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset + element.dataOffset, element.length);
  const count = width * height;
  if (view.byteLength < (count * bits) / 8) throw new Error("damaged DICOM file (its pixels end too early)");
  const method = `get${signed ? "Int" : "Uint"}${bits}`;
  const values = new (bits === 8 && !signed ? Uint8Array : Float64Array)(count);
  // (Above the bits of the value some files keep an overlay.)
  const above = Math.max(0, 32 - number("x00280101", bits));
  const bare = (value) => (signed ? (value << above) >> above : (value << above) >>> above);
  for (let i = 0; i < count; i += 1) values[i] = bare(view[method]((i * bits) / 8, NATIVE[syntax]));
  return values;
}

/** Returns real values; what only fills up the frame gets the darkest of the others. */
function rescaled(elements, stored, inverted) {
  const slope = numbers(elements, "x00281053")[0] || 1;
  const intercept = numbers(elements, "x00281052")[0] || 0;
  const scaled = elements.elements.x00281053 || elements.elements.x00281052;
  const values = scaled ? Float64Array.from(stored, (value) => value * slope + intercept) : stored;
  const ends = ["x00280120", "x00280121"].filter((tag) => elements.elements[tag]).map((tag) => (elements.uint16("x00280103") ? elements.int16(tag) : elements.uint16(tag)));
  if (!elements.elements.x00280120) return values;
  const fills = (i) => stored[i] >= Math.min(...ends) && stored[i] <= Math.max(...ends);
  let [edge, some, all] = [inverted ? -Infinity : Infinity, false, true];
  for (let i = 0; i < stored.length; i += 1) {
    if (fills(i)) some = true;
    else {
      all = false;
      edge = inverted ? Math.max(edge, values[i]) : Math.min(edge, values[i]);
    }
  }
  return some && !all ? values.map((value, i) => (fills(i) ? edge : value)) : values;
}

/** Returns grey values by the file's own window; null when it has no sensible one. */
function windowed(elements, values) {
  const [centre] = numbers(elements, "x00281050");
  const [width] = numbers(elements, "x00281051");
  if (centre === undefined || width === undefined) return null;
  const kind = text(elements, "x00281056").toUpperCase() || "LINEAR";
  const curve = curveOf(kind, centre, width);
  if (!curve) return null;
  const shares = Float64Array.from(values, curve);
  const [low, high] = percentiles(values, [1, 99]);
  const level = low + 0.12 * (high - low);
  let [darkest, brightest] = [Infinity, -Infinity];
  for (const share of shares) {
    darkest = Math.min(darkest, share);
    brightest = Math.max(brightest, share);
  }
  let [head, inside] = [0, 0];
  shares.forEach((share, i) => {
    if (values[i] <= level) return;
    head += 1;
    inside += share > darkest && share < brightest;
  });
  if (!head || inside / head < SEEN_SHARE) return null;
  return Uint8Array.from(shares, (share) => roundEven(255 * share));
}

/** Returns the window as a function to 0 ... 1 (DICOM PS3.3, C.11.2.1.2). */
function curveOf(kind, centre, width) {
  const clip = (value) => Math.min(1, Math.max(0, value));
  if (kind === "LINEAR" && width > 1) return (value) => clip((value - (centre - 0.5)) / (width - 1) + 0.5);
  if (kind === "LINEAR_EXACT" && width > 0) return (value) => clip((value - centre) / width + 0.5);
  if (kind === "SIGMOID" && width > 0) return (value) => 1 / (1 + Math.exp((-4 * (value - centre)) / width));
  return null;
}

/** Returns what turns a pixel into mm towards right, front and top; null where it is not said. */
function placeInPatient(elements, spacing) {
  const { position, orientation } = headerOf(elements);
  if (!position || !orientation || spacing.length !== 2) return null;
  const [row, column] = [orientation.slice(0, 3), orientation.slice(3)];
  const normal = [row[1] * column[2] - row[2] * column[1], row[2] * column[0] - row[0] * column[2], row[0] * column[1] - row[1] * column[0]];
  const step = numbers(elements, "x00180088")[0] || numbers(elements, "x00180050")[0] || 1;
  // DICOM counts towards left and back.
  const rows = [-1, -1, 1].map((sign, i) => [row[i] * spacing[1], column[i] * spacing[0], normal[i] * step, position[i]].map((value) => sign * value));
  return [...rows, [0, 0, 0, 1]];
}
