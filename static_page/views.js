// Draws what the page shows of a slice: PNG pictures in base64, as tumorscope/serve/views.py does.

import { product } from "./nifti-file.js";
import { resampling, resized } from "./resampling.js";

const LONGEST_SIDE = 768;

/** Returns the slice as a PNG, and where its pixels lie. */
export async function viewOf(picture, affine) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map((length) => Math.max(1, Math.round(length * scale)));
  const shown = resized(picture, width, height);
  const place = affine && product(affine, resampling(picture.width, picture.height, width, height));
  return { picture: await png(shown), affine: place, size: { width, height } };
}

/**
 * Returns the heat over the whole slice as a PNG, 255 where it is highest.
 *
 * @param map A class map, `{data, width, height}`; what is not above 0 counts as 0.
 * @param box Top, bottom, left and right of the head in pixels: what the map covers.
 * @param picture The slice.
 * @param size Of the result.
 */
export function heatOf({ data, width, height }, box, picture, size) {
  const heat = Float64Array.from(data, (value) => (Number.isFinite(value) ? Math.max(0, value) : 0));
  const most = Math.max(heat.reduce((a, b) => Math.max(a, b), 0), 1e-9);
  const [across, down] = [size.width / picture.width, size.height / picture.height];
  const [top, bottom, left, right] = box;
  const [x0, y0, x1, y1] = [left * across, top * down, right * across, bottom * down].map(Math.round);
  const levels = Uint8Array.from(heat, (value) => (255 * value) / most);
  const smooth = resized({ width, height, levels }, Math.max(1, x1 - x0), Math.max(1, y1 - y0), "bicubic");
  const placed = new Uint8Array(size.width * size.height);
  for (let y = Math.max(0, y0); y < Math.min(size.height, y0 + smooth.height); y += 1) {
    for (let x = Math.max(0, x0); x < Math.min(size.width, x0 + smooth.width); x += 1) {
      placed[y * size.width + x] = smooth.levels[(y - y0) * smooth.width + x - x0];
    }
  }
  return png({ ...size, levels: placed });
}

async function png({ width, height, levels }) {
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d");
  const pixels = pen.createImageData(width, height);
  levels.forEach((level, i) => pixels.data.set([level, level, level, 255], 4 * i));
  pen.putImageData(pixels, 0, 0);
  const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}
