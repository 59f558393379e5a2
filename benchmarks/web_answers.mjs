// Answers binary PGM slices by a complete file in ONNX Runtime Web, a JSON object a line:
//
//   node benchmarks/web_answers.mjs FOLDER MODEL SLICES
//
// FOLDER is where `npm install onnxruntime-web` was run, SLICES is what `classify.py --raw` writes.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [folder, model, slices] = process.argv.slice(2);
const ort = createRequire(path.join(path.resolve(folder), "here.js"))("onnxruntime-web");
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(model), { executionProviders: ["wasm"] });
const content = readFileSync(slices);
for (let at = 0; at < content.length; ) {
  const header = /^P5\n(\d+) (\d+)\n255\n/.exec(content.toString("latin1", at, at + 40));
  const [width, height] = [Number(header[1]), Number(header[2])];
  at += header[0].length;
  const pixels = Float32Array.from(content.subarray(at, (at += width * height)));
  const outputs = await session.run({ pixels: new ort.Tensor("float32", pixels, [1, height, width]) });
  const said = Object.entries(outputs).filter(([name]) => name !== "heatmap" && name !== "grey");
  console.log(JSON.stringify(Object.fromEntries(said.map(([name, tensor]) => [name, Array.from(tensor.data)]))));
}
