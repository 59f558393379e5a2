// Sorts what was dropped or chosen into jobs for the models: pictures, volumes, series.

import { isMask, volumesOf } from "./mask.js";

import { unpacked } from "./zip.js";

// Files that may hold many slices; of TIFF and GIF files each page is one.
const VOLUME = /\.(nii(\.gz)?|mg[hz]|nrrd|mha|tiff?|gif|zip)$/i;
const DICOM = /\.(dcm|dicom|ima)$/i;
const PICTURE = /\.(jpe?g|png|bmp|webp)$/i;
const LITTER = /(^|\/)(\._[^/]*|\.DS_Store|Thumbs\.db|ehthumbs\.db|desktop\.ini|__MACOSX\/.*)$/i;
const PICTURES_TOGETHER = 8;
const HEAD = 65536;

/** Returns all files of a drop, those in folders too, as `{file, path}`. */
export async function dropped(transfer) {
  // (The entries must be taken before the first wait: the browser forgets them.)
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return chosen(transfer.files);
  return (await Promise.all(entries.map((entry) => walk(entry)))).flat();
}

/** Returns the files of an input element as `{file, path}`. */
export function chosen(files) {
  return [...files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

async function walk(entry) {
  if (entry.name.startsWith(".")) return [];
  if (entry.isFile) {
    const file = await new Promise((good, bad) => entry.file(good, bad));
    return [{ file, path: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = entry.createReader();
  const inside = [];
  for (;;) {
    // (A reader gives a hundred at a time.)
    const some = await new Promise((good, bad) => reader.readEntries(good, bad));
    if (!some.length) break;
    inside.push(...some);
  }
  return (await Promise.all(inside.map(walk))).flat();
}

/**
 * Sorts files into jobs, each a request.
 *
 * The files in ZIP archives take the archives' place. Volumes go alone, the DICOM files of a series
 * together (or of a folder, where they name none), pictures a few at a time; the first picture goes
 * alone, so that its answer is there at once. What a folder holds beside scans is left out; what was
 * chosen by itself is sent whatever it is. A NIfTI file that is called a mask goes with the volume
 * beside it, as its job's `mask`; without one it comes back in `masks`.
 */
export async function toJobs(found) {
  const jobs = [];
  const series = new Map();
  const pictures = [];
  const masks = [];
  const byName = new Intl.Collator("en", { numeric: true });
  const files = (await Promise.all(found.map(unpacked))).flat();
  for (const one of files.sort((a, b) => byName.compare(a.path, b.path))) {
    if (LITTER.test(one.path)) continue;
    const folder = folderOf(one.path);
    if (isMask(one.path)) masks.push(one);
    else if (VOLUME.test(one.path)) jobs.push({ kind: "volume", files: [one] });
    else if (DICOM.test(one.path) || (!PICTURE.test(one.path) && (await isDicom(one.file)))) {
      if (one.file.name.toUpperCase() === "DICOMDIR") continue;
      const key = (await seriesUid(one.file)) ?? folder;
      if (!series.has(key)) series.set(key, []);
      series.get(key).push(one);
    } else if (!folder || PICTURE.test(one.path)) pictures.push(one);
  }
  const left = masks.filter((mask) => !attach(mask, jobs));
  const inFolder = new Map();
  for (const files of series.values()) {
    const folder = folderOf(files[0].path);
    inFolder.set(folder, (inFolder.get(folder) ?? 0) + 1);
    jobs.push({ kind: "volume", files, series: inFolder.get(folder) });
  }
  const first = pictures.splice(0, 1);
  if (first.length) jobs.unshift({ kind: "pictures", files: first });
  while (pictures.length) {
    jobs.push({ kind: "pictures", files: pictures.splice(0, PICTURES_TOGETHER) });
  }
  return { jobs, masks: left };
}

/** Gives a mask to the volumes that it belongs to; tells whether there are any. */
function attach(mask, jobs) {
  const volumes = volumesOf(mask.path, jobs.map(({ files }) => files[0].path));
  for (const job of jobs) if (volumes.includes(job.files[0].path)) job.mask = mask;
  return volumes.length > 0;
}

/** The folder that a file lies in; empty for a file chosen by itself. */
export const folderOf = (path) => path.replace(/[^/]*$/, "").replace(/\/$/, "");

/** Tells DICOM by its mark, or by a first element of group 2 or 8 where the preamble is missing. */
async function isDicom(file) {
  const start = new TextDecoder("latin1").decode(await file.slice(0, 132).arrayBuffer());
  return start.endsWith("DICM") || /^[\x02\x08]\0[\0\x01\x05\x08\x16\x18]\0(?:[A-Z]{2}|[^]\0\0\0)/.test(start);
}

/** The Series Instance UID (0020,000E) of a DICOM file, so that a series may lie in several folders. */
async function seriesUid(file) {
  const bytes = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
  const text = new TextDecoder("latin1").decode(bytes);
  // The tag, then the length: behind "UI" in two bytes, or without it in four.
  return text.match(/\x20\0\x0e\0(?:UI[^]{2}|[^]\0\0\0)([0-9.]{1,64})/)?.[1];
}

/** The name under which a file is sent: its number and ending; its own name stays here. */
export function sentName(number, path) {
  const ending = path.match(VOLUME) ?? path.match(DICOM) ?? path.match(PICTURE);
  return `${number}${ending ? ending[0].toLowerCase() : ""}`;
}
