// Runs the complete model file with ONNX Runtime Web: raw pixels in, the network's outputs out.

import * as ort from "./vendor/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./vendor/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // (More need headers that static hosts seldom send.)

const session = ort.InferenceSession.create(new URL("./model.onnx", import.meta.url).href, { executionProviders: ["wasm"] });

onmessage = async ({ data: { number, picture } }) => {
  try {
    if (!picture) {
      await session;
      postMessage({ number, outputs: {} });
      return;
    }
    const { width, height, levels } = picture;
    const pixels = new ort.Tensor("float32", Float32Array.from(levels), [1, height, width]);
    const start = performance.now();
    const outputs = await (await session).run({ pixels });
    const milliseconds = performance.now() - start;
    const found = Object.fromEntries(Object.entries(outputs).map(([name, { data, dims }]) => [name, { data, dims }]));
    postMessage({ number, outputs: found, milliseconds });
  } catch (error) {
    postMessage({ number, error: String(error.message ?? error) });
  }
};
