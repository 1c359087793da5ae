// Products and attention by onnxruntime-node, as a worker: node onnxruntime.mjs THREADS. See worker.mjs for the requests.
// A product is a model of one Gemm whose operands are both inputs, so that nothing is packed before the clock starts; its
// result goes to memory that stays. Attention is the faster of two operators: ONNX's own, and Microsoft's MultiHeadAttention.
import { createRequire } from 'node:module';
import ort from 'onnxruntime-node';
import { attentionError, headsOf, productError, productOf, serve } from './worker.mjs';

const threads = Number(process.argv[2]);

// An ONNX model is a protocol buffer: fields of numbers (wire type 0), of floats (5) and of bytes (2).
const varint = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...varint(Math.floor(n / 128))]);
const number = (field, n) => Buffer.from([...varint(field << 3), ...varint(n)]);
const float = (field, x) =>
  Buffer.concat([Buffer.from(varint((field << 3) | 5)), Buffer.from(Float32Array.of(x).buffer)]);
function bytes(field, ...parts) {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
  return Buffer.concat([Buffer.from([...varint((field << 3) | 2), ...varint(body.length)]), body]);
}

const float32 = 1;

/** A float tensor among a graph's inputs or outputs. */
function tensorInfo(field, name, shape) {
  const dims = shape.map((n) => bytes(1, number(1, n)));
  return bytes(field, bytes(1, name), bytes(2, bytes(1, number(1, float32), bytes(2, ...dims))));
}

/** A model of one operator; attributes are whole numbers, or `{ float }`. */
function modelOf({ op, domain = '', attributes, inputs, outputs }) {
  const attribute = ([name, value]) =>
    bytes(
      5,
      bytes(1, name),
      ...(typeof value === 'number' ? [number(3, value), number(20, 2)] : [float(2, value.float), number(20, 1)]),
    );
  const node = bytes(
    1,
    ...Object.keys(inputs).map((name) => bytes(1, name)),
    ...Object.keys(outputs).map((name) => bytes(2, name)),
    bytes(4, op),
    ...Object.entries(attributes).map(attribute),
    bytes(7, domain),
  );
  const graph = bytes(
    7,
    node,
    bytes(2, 'call'),
    ...Object.entries(inputs).map(([name, { dims }]) => tensorInfo(11, name, dims)),
    ...Object.entries(outputs).map(([name, { dims }]) => tensorInfo(12, name, dims)),
  );
  const opsets = [bytes(8, bytes(1, ''), number(2, 23)), bytes(8, bytes(1, 'com.microsoft'), number(2, 1))];
  return Buffer.concat([number(1, 10), graph, ...opsets]);
}

const tensor = (data, dims) => new ort.Tensor('float32', data, dims);
const empty = (dims) => tensor(new Float32Array(dims.reduce((product, n) => product * n, 1)), dims);

async function callOf(model, error) {
  const session = await ort.InferenceSession.create(modelOf(model), {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
  });
  return {
    run: () => session.run(model.inputs, model.outputs),
    result: () => Object.values(model.outputs)[0].data,
    error,
    free: () => session.release(),
  };
}

function gemm(form, M, N, K) {
  const product = productOf(form, M, N, K);
  const { a, b, shapeA, shapeB, transA, transB } = product;
  const model = {
    op: 'Gemm',
    attributes: { transA: Number(transA), transB: Number(transB) },
    inputs: { a: tensor(a, shapeA), b: tensor(b, shapeB) },
    outputs: { c: empty([M, N]) },
  };
  return callOf(model, (c) => productError(c, product, M, N));
}

/** Heads side by side in a row, as MultiHeadAttention wants them: `[B, H, T, D]` to `[B, T, H·D]`, or back. */
function swapped(data, B, H, T, D) {
  const out = new Float32Array(data.length);
  let at = 0;
  for (let b = 0; b < B; b++)
    for (let t = 0; t < T; t++)
      for (let h = 0; h < H; h++) for (let d = 0; d < D; d++) out[at++] = data[((b * H + h) * T + t) * D + d];
  return out;
}

async function attention(B, H, T, D) {
  const heads = headsOf(B, H, T, D);
  const named = (tensors) => Object.fromEntries(['q', 'k', 'v'].map((name, i) => [name, tensors[i]]));
  const dims = [B, H, T, D];
  const rows = [B, T, H * D];
  const forms = [
    async () =>
      callOf(
        {
          op: 'Attention',
          attributes: { is_causal: 1 },
          inputs: named(heads.map((head) => tensor(head, dims))),
          outputs: { o: empty(dims) },
        },
        (o) => attentionError(o, heads, ...dims),
      ),
    async () =>
      callOf(
        {
          op: 'MultiHeadAttention',
          domain: 'com.microsoft',
          attributes: { num_heads: H, unidirectional: 1 },
          inputs: named(heads.map((head) => tensor(swapped(head, ...dims), rows))),
          outputs: { o: empty(rows) },
        },
        (o) => attentionError(swapped(o, B, T, H, D), heads, ...dims),
      ),
  ];
  let best;
  for (const form of forms) {
    const call = await form();
    await call.run();
    const cost = [];
    for (let i = 0; i < 2; i++) {
      const start = performance.now();
      await call.run();
      cost.push(performance.now() - start);
    }
    call.cost = Math.min(...cost);
    if (best === undefined || call.cost < best.cost) {
      await best?.free();
      best = call;
    } else await call.free();
  }
  return best;
}

const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json');
await serve(`onnxruntime-node ${version}, ${threads} threads, its own choice of instructions`, { gemm, attention });
