// Turns PNG pictures in base64 into grey levels, coloured heat and outlines.

/** The colours of outlines in pictures, viewer and report: of the heat, and of a mask. */
export const OUTLINE = { outline: "#5cf2c4", mask: "#ffd23f" };

export const source = (png) => `data:image/png;base64,${png}`;

// Six steps of the colour map Inferno (Smith and van der Walt, CC0).
const INFERNO = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];

/** Returns `{width, height, levels}`: grey values 0 to 255, row by row. */
export async function grey(png) {
  const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = pen.getImageData(0, 0, width, height).data;
  const levels = new Uint8Array(width * height);
  for (let i = 0; i < levels.length; i += 1) levels[i] = pixels[4 * i];
  return { width, height, levels };
}

/** Draws heat on a canvas: the higher, the brighter and the less transparent. */
export function drawHeat(canvas, { width, height, levels }) {
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  const pixels = pen.createImageData(width, height);
  const table = Array.from({ length: 256 }, (_, level) => colour(level / 255));
  levels.forEach((level, i) => pixels.data.set(table[level], 4 * i));
  pen.putImageData(pixels, 0, 0);
}

function colour(level) {
  const place = level * (INFERNO.length - 1);
  const step = Math.min(INFERNO.length - 2, Math.floor(place));
  const mix = INFERNO[step].map((low, i) => low + (place - step) * (INFERNO[step + 1][i] - low));
  return [...mix, 255 * Math.min(1, Math.max(0, 1.25 * level - 0.1))];
}

/**
 * Returns the outline of the heat at half its maximum, as an SVG path in pixels.
 *
 * Marching squares: each square between four pixels' middles gives the piece of line that parts
 * those above the level from those below.
 */
export function outline({ width, height, levels }) {
  const half = levels.reduce((most, level) => Math.max(most, level), 0) / 2;
  if (!half) return "";
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : levels[y * width + x]);
  const parts = [];
  for (let y = -1; y < height; y += 1) {
    for (let x = -1; x < width; x += 1) {
      const corners = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
      const above = corners.map((level) => level > half);
      if (above.every(Boolean) || !above.some(Boolean)) continue;
      const crossings = [];
      [[0, 0], [1, 0], [1, 1], [0, 1]].forEach(([dx, dy], i) => {
        const next = (i + 1) % 4;
        if (above[i] === above[next]) return;
        const share = (half - corners[i]) / (corners[next] - corners[i]);
        const [ex, ey] = [[1, 0], [1, 1], [0, 1], [0, 0]][i];
        crossings.push(`${(x + 0.5 + dx + share * (ex - dx)).toFixed(1)} ${(y + 0.5 + dy + share * (ey - dy)).toFixed(1)}`);
      });
      for (let i = 0; i + 1 < crossings.length; i += 2) parts.push(`M${crossings[i]}L${crossings[i + 1]}`);
    }
  }
  return parts.join("");
}
