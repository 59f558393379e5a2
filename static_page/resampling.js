// Resamples grey pictures as Pillow does: bilinear or bicubic, with the same rounding.

const FILTERS = {
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    const t = Math.abs(x);
    if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
    return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
  }],
};

const ONE = 2 ** 22; // Pillow counts in fixed point.

/** Returns for each place of the result which pixels it is made of, and their weights. */
function weightsOf(length, newLength, filter) {
  const [reach, shape] = FILTERS[filter];
  const scale = length / newLength;
  const stretch = Math.max(1, scale);
  return Array.from({ length: newLength }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
    const last = Math.min(length, Math.trunc(centre + reach * stretch + 0.5));
    const weights = Array.from({ length: last - first }, (_, i) => shape((first + i - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((weight) => Math.round((weight / sum) * ONE)) };
  });
}

const toByte = (sum) => Math.min(255, Math.max(0, Math.floor((sum + ONE / 2) / ONE)));

/**
 * Returns a picture in another size.
 *
 * @param picture `{width, height, levels}`, levels from 0 to 255, row by row.
 */
export function resized({ width, height, levels }, newWidth, newHeight, filter = "bilinear") {
  if (width === newWidth && height === newHeight) return { width, height, levels };
  const across = new Uint8Array(newWidth * height);
  weightsOf(width, newWidth, filter).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; y += 1) {
      let sum = 0;
      for (let i = 0; i < weights.length; i += 1) sum += weights[i] * levels[y * width + first + i];
      across[y * newWidth + x] = toByte(sum);
    }
  });
  const result = new Uint8Array(newWidth * newHeight);
  weightsOf(height, newHeight, filter).forEach(({ first, weights }, y) => {
    for (let x = 0; x < newWidth; x += 1) {
      let sum = 0;
      for (let i = 0; i < weights.length; i += 1) sum += weights[i] * across[(first + i) * newWidth + x];
      result[y * newWidth + x] = toByte(sum);
    }
  });
  return { width: newWidth, height: newHeight, levels: result };
}

/** Returns what turns (column, row, 0, 1) of a resampled picture into those of the one before. */
export function resampling(width, height, newWidth, newHeight) {
  const [across, down] = [width / newWidth, height / newHeight];
  return [[across, 0, 0, (across - 1) / 2], [0, down, 0, (down - 1) / 2], [0, 0, 1, 0], [0, 0, 0, 1]];
}
