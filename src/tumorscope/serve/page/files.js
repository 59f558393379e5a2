// Sorts what was dropped or chosen into jobs for the models: pictures, volumes, series.

import { isMask, volumesOf } from "./mask.js";

import { unpacked } from "./zip.js";

// Files that may hold many slices; of TIFF and GIF files each page is one.
const VOLUME = /\.(nii(\.gz)?|mg[hz]|nrrd|mha|tiff?|gif|zip)$/i;
const DICOM = /\.(dcm|dicom|ima)$/i;
const PICTURE = /\.(jpe?g|png|bmp|webp)$/i;
const LITTER = /(^|\/)(\._[^/]*|\.DS_Store|Thumbs\.db|ehthumbs\.db|desktop\.ini|__MACOSX(\/.*)?)$/i;
const HIDDEN = /(^|\/)\.[^/]+/;
const HEADER = /\.(mhd|nhdr)$/i;
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
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.name.startsWith(".")) return [{ file: null, path }];
  if (entry.isFile) return [{ file: await new Promise((good, bad) => entry.file(good, bad)), path }];
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
 * alone, so that its answer is there at once. A `.hdr` file goes with the `.img` file beside it. What
 * a folder holds beside scans comes back in `leftOut`, as `{path, why}`; what was chosen by itself is
 * sent whatever it is. A NIfTI file that is a mask goes with the volume beside it, as its job's
 * `mask`; without one it comes back in `masks`.
 */
export async function toJobs(found) {
  const jobs = [];
  const series = new Map();
  const pictures = [];
  const masks = [];
  const leftOut = [];
  const byName = new Intl.Collator("en", { numeric: true });
  const files = (await Promise.all(found.map(unpacked))).flat();
  const byPath = new Map(files.map((one) => [one.path.toLowerCase(), one]));
  for (const one of files.sort((a, b) => byName.compare(a.path, b.path))) {
    const folder = folderOf(one.path);
    const beside = (ending, other) => ending.test(one.path) && byPath.get(one.path.toLowerCase().replace(ending, other));
    const voxels = beside(/\.hdr$/i, ".img");
    const leave = (why) => leftOut.push({ path: one.path, why });
    if (LITTER.test(one.path)) leave("metadata of the operating system");
    else if (!one.file || (folder && HIDDEN.test(one.path))) leave("hidden file or folder");
    else if (/(^|\/)DICOMDIR$/i.test(one.path)) leave("index of a DICOM medium");
    else if (voxels) jobs.push({ kind: "volume", files: [one, voxels], pair: true });
    else if (beside(/\.img$/i, ".hdr")) continue; // (It went with its header.)
    else if (await isMask(one)) masks.push(one);
    else if (VOLUME.test(one.path)) jobs.push({ kind: "volume", files: [one] });
    else if (DICOM.test(one.path) || (!PICTURE.test(one.path) && (await isDicom(one.file)))) {
      const key = (await seriesUid(one.file)) ?? folder;
      if (!series.has(key)) series.set(key, []);
      series.get(key).push(one);
    } else if (!folder || PICTURE.test(one.path)) pictures.push(one);
    else leave(HEADER.test(one.path) ? "header whose voxels lie in another file: tumorscope predict reads both" : "of no kind that is read");
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
  return { jobs, masks: left, leftOut };
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
  // A tag, then the length: behind "UI" in two bytes, or without it in four. Before the file's own
  // stands the Study Instance UID where there is one; before those of series that it refers to, not.
  const study = /\x20\0\x0d\0(?:UI[^]{2}|[^]\0\0\0)[0-9.]{0,64}\0?/;
  const own = /\x20\0\x0e\0(?:UI[^]{2}|[^]\0\0\0)([0-9.]{1,64})/;
  return (text.match(new RegExp(study.source + own.source)) ?? text.match(own))?.[1];
}

/** The names under which a job's files are sent: number and ending; their own names stay here. */
export function sentNames({ files, pair }) {
  return files.map(({ path }, number) => {
    if (pair) return `0${path.slice(-4).toLowerCase()}`;
    const ending = path.match(VOLUME) ?? path.match(DICOM) ?? path.match(PICTURE);
    return `${number}${ending ? ending[0].toLowerCase() : ""}`;
  });
}
