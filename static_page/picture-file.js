// Reads pictures that browsers decode (JPEG, PNG, BMP, WebP) into grey slices.

import { checkSize } from "./grey-slices.js";

const ascii = (bytes, start, end) => String.fromCharCode(...bytes.slice(start, end));

/** Returns why the browser would read a picture in another way than tumorscope; empty otherwise. */
function whyNot(bytes) {
  const start = ascii(bytes, 0, 4);
  if (/^(II\*|MM\0)/.test(start)) return "TIFF";
  if (start.startsWith("GIF8")) return "GIF";
  if (bytes[0] === 0x89 && bytes[24] === 16) return "PNG of 16 bits";
  if (start === "RIFF" && ascii(bytes, 8, 12) === "WEBP" && ascii(bytes, 12, 16) === "VP8X" && bytes[20] & 2) return "WebP of several pictures";
  return "";
}

/** Tells pictures by how they begin. */
export const isPicture = (bytes) =>
  /^(\xff\xd8\xff|\x89PNG|BM|GIF8|II\*|MM\0\*)/.test(ascii(bytes, 0, 4)) || (ascii(bytes, 0, 4) === "RIFF" && ascii(bytes, 8, 12) === "WEBP");

/** Reads a picture; colour becomes luminance (ITU-R 601-2), transparent pixels become black. */
export async function readPicture(blob) {
  const why = whyNot(new Uint8Array(await blob.slice(0, 32).arrayBuffer()));
  if (why) throw new Error(`${why}, which is not read in the browser: save it as PNG of 8 bits, or use tumorscope serve`);
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch(() => {
    throw new Error("damaged picture, its data is broken");
  });
  const { width, height } = bitmap;
  checkSize(width, height);
  const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  pen.fillRect(0, 0, width, height);
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = pen.getImageData(0, 0, width, height).data;
  const levels = new Uint8Array(width * height);
  for (let i = 0, j = 0; i < levels.length; i += 1, j += 4) {
    levels[i] = (pixels[j] * 19595 + pixels[j + 1] * 38470 + pixels[j + 2] * 7471 + 0x8000) >> 16;
  }
  return { width, height, levels };
}
