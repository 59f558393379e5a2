// Takes the files out of ZIP archives, so that they are sorted as those of a folder are.

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const LONGEST_END = 22 + 65535;
const MOST_FILES = 20000;
const MOST_BYTES = 4e9;

/** Returns the files in an archive as `{file, path}`; an archive that needs the service, itself. */
export async function unpacked(one) {
  if (!/\.zip$/i.test(one.path)) return [one];
  return filesIn(one).catch(() => [one]);
}

async function filesIn({ file, path }) {
  const tail = await view(file, Math.max(0, file.size - LONGEST_END), file.size);
  let end = tail.byteLength - 22;
  while (tail.getUint32(end, true) !== END) end -= 1; // (Out of range is an error: no archive.)
  const start = tail.getUint32(end + 16, true);
  const entries = await view(file, start, start + tail.getUint32(end + 12, true));
  const count = tail.getUint16(end + 10, true);
  const found = [];
  let unpackedBytes = 0;
  for (let at = 0, number = 0; number < count; number += 1) {
    const [flags, method] = [entries.getUint16(at + 8, true), entries.getUint16(at + 10, true)];
    const [packed, size] = [entries.getUint32(at + 20, true), entries.getUint32(at + 24, true)];
    const length = entries.getUint16(at + 28, true);
    const name = new TextDecoder(flags & 0x800 ? "utf-8" : "latin1").decode(
      new Uint8Array(entries.buffer, at + 46, length),
    );
    unpackedBytes += size;
    // Encrypted ones, other methods, and more than is sensible: the service says what is wrong.
    if (entries.getUint32(at, true) !== ENTRY || flags & 1 || ![0, 8].includes(method)) throw new Error();
    if (count > MOST_FILES || unpackedBytes > MOST_BYTES) throw new Error();
    if (!name.endsWith("/")) found.push({ name, method, packed, size, at: entries.getUint32(at + 42, true) });
    at += 46 + length + entries.getUint16(at + 30, true) + entries.getUint16(at + 32, true);
  }
  const files = [];
  for (const entry of found) {
    files.push({ file: await content(file, entry), path: `${path}/${entry.name}` });
  }
  return files;
}

async function content(file, { name, method, packed, size, at }) {
  const head = await view(file, at, at + 30);
  const start = at + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const stored = file.slice(start, start + packed);
  const inflated = stored.stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const whole = method ? await new Response(inflated).blob() : stored;
  if (whole.size !== size) throw new Error();
  return new File([whole], name.split("/").pop());
}

async function view(file, start, end) {
  return new DataView(await file.slice(start, end).arrayBuffer());
}
