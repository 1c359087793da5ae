// The same training step in TensorFlow.js: node train-step-tfjs.mjs SIZE.json STEPS WEIGHTS SECONDS. Prints one JSON line.
// Its WebAssembly backend, one thread. That backend cannot add up rows by token, so the embedding is a product with one-hot
// rows; and its products are many times faster after a transposition than with its `transpose` set, in gradients too.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs';

const [sizeFile, stepText, weightFile, secondText] = process.argv.slice(2);
const { T, B, config, optimizer } = JSON.parse(readFileSync(sizeFile, 'utf8'));
const { nLayer, nHead, dModel, dVocab, rotaryBase } = config;
const dHead = dModel / nHead;
await tf.setBackend('wasm');
await tf.ready();

function readSafetensors(path) {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, start));
  delete header.__metadata__;
  return Object.entries(header).map(
    ([
      name,
      {
        shape,
        data_offsets: [from, to],
      },
    ]) => {
      const bytes = file.buffer.slice(file.byteOffset + start + from, file.byteOffset + start + to);
      return [name, tf.variable(tf.tensor(new Float32Array(bytes), shape), true, name)];
    },
  );
}

/** Token k of window i, as every contender makes it. */
function token(window, k) {
  let x = (Math.imul(window, 0x9e3779b1) + Math.imul(k, 0x85ebca77)) >>> 0;
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) >>> 0;
  x = Math.imul(x ^ (x >>> 12), 0x297a2d39) >>> 0;
  x = (x ^ (x >>> 15)) >>> 0;
  return Math.min(x % dVocab, (x >>> 11) % dVocab);
}

const weights = readSafetensors(weightFile);
const named = new Map(weights);
const of = (name) => named.get(`gpt_neox.${name}`);

/** Last two axes exchanged. */
const turned = (x) =>
  tf.transpose(
    x,
    [...x.shape.keys()].map((axis, _, { length }) => (axis < length - 2 ? axis : 2 * length - 3 - axis)),
  );

/** a·b over the last two axes, without the library's slow transposed forms on the way back. */
const product = tf.customGrad((a, b, save) => {
  save([a, b]);
  const gradFunc = (dy, [x, y]) => [tf.matMul(dy, turned(y)), tf.matMul(turned(x), dy)];
  return { value: tf.matMul(a, b), gradFunc };
});

const linear = (name, x) => tf.add(product(x, turned(of(`${name}.weight`))), of(`${name}.bias`));

function norm(name, x) {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const scale = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), 1e-5));
  return tf.add(tf.mul(tf.mul(centred, scale), of(`${name}.weight`)), of(`${name}.bias`));
}

const angles = tf.tidy(() => {
  const half = Float32Array.from(
    { length: T * dHead },
    (_, i) => Math.floor(i / dHead) * rotaryBase ** ((-2 * ((i % dHead) % (dHead / 2))) / dHead),
  );
  const angle = tf.tensor(half, [1, T, dHead]);
  return { cos: tf.keep(tf.cos(angle)), sin: tf.keep(tf.sin(angle)) };
});
const mask = tf.tensor(
  Float32Array.from({ length: T * T }, (_, i) => (i % T > Math.floor(i / T) ? -1e30 : 0)),
  [1, T, T],
);

function rotated(x) {
  const [a, b] = tf.split(x, 2, -1);
  return tf.add(tf.mul(x, angles.cos), tf.mul(tf.concat([tf.neg(b), a], -1), angles.sin));
}

const gelu = (x) => {
  const inner = tf.mul(tf.add(x, tf.mul(tf.mul(tf.mul(x, x), x), 0.044715)), Math.sqrt(2 / Math.PI));
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
};

/** ln Σ exp over the last axis, kept as an axis of 1. The peak is a constant for the gradient. */
function logSumExp(x) {
  const peak = tf.customGrad((y) => ({ value: tf.max(y, -1, true), gradFunc: () => tf.zerosLike(y) }))(x);
  return tf.add(tf.log(tf.sum(tf.exp(tf.sub(x, peak)), -1, true)), peak);
}

function block(i, x) {
  const layer = `layers.${i}.`;
  const qkv = linear(`${layer}attention.query_key_value`, norm(`${layer}input_layernorm`, x));
  const heads = tf.transpose(tf.reshape(qkv, [B, T, nHead, 3, dHead]), [3, 0, 2, 1, 4]);
  const [q, k, v] = tf.split(heads, 3, 0).map((part) => tf.reshape(part, [B * nHead, T, dHead]));
  const scores = tf.add(tf.mul(product(rotated(q), turned(rotated(k))), 1 / Math.sqrt(dHead)), mask);
  const pattern = tf.exp(tf.sub(scores, logSumExp(scores)));
  const z = tf.reshape(tf.transpose(tf.reshape(product(pattern, v), [B, nHead, T, dHead]), [0, 2, 1, 3]), [
    B * T,
    dModel,
  ]);
  const mid = tf.add(x, linear(`${layer}attention.dense`, z));
  const up = linear(`${layer}mlp.dense_h_to_4h`, norm(`${layer}post_attention_layernorm`, mid));
  return tf.add(mid, linear(`${layer}mlp.dense_4h_to_h`, gelu(up)));
}

function lossOf(ids, targets) {
  const [inputs, wanted] = [ids, targets].map((list) =>
    tf.cast(tf.oneHot(tf.tensor1d(list, 'int32'), dVocab), 'float32'),
  );
  let x = product(inputs, of('embed_in.weight'));
  for (let i = 0; i < nLayer; i++) x = block(i, x);
  const logits = product(norm('final_layer_norm', x), turned(of('embed_in.weight')));
  const right = tf.sum(tf.mul(logits, wanted), -1, true);
  return tf.mean(tf.sub(logSumExp(logits), right));
}

const moments = weights.map(([, weight]) => [0, 1].map(() => tf.variable(tf.zerosLike(weight), false)));

function step(count, ids, targets) {
  return tf.tidy(() => {
    const { value, grads } = tf.variableGrads(
      () => lossOf(ids, targets),
      weights.map(([, weight]) => weight),
    );
    const squares = weights.map(([name]) => tf.sum(tf.square(grads[name])).dataSync()[0]);
    const length = Math.sqrt(squares.reduce((a, b) => a + b));
    const clip = Math.min(1, optimizer.clipNorm / (length + 1e-6));
    const [beta1, beta2] = optimizer.betas;
    const [scale1, scale2] = [1 / (1 - beta1 ** count), 1 / (1 - beta2 ** count)];
    for (const [i, [name, weight]] of weights.entries()) {
      const [m, v] = moments[i];
      const g = tf.mul(grads[name], clip);
      m.assign(tf.add(tf.mul(m, beta1), tf.mul(g, 1 - beta1)));
      v.assign(tf.add(tf.mul(v, beta2), tf.mul(tf.square(g), 1 - beta2)));
      const update = tf.div(tf.mul(m, scale1), tf.add(tf.sqrt(tf.mul(v, scale2)), optimizer.eps));
      const kept = weight.rank > 1 ? tf.mul(weight, 1 - optimizer.lrPeak * optimizer.weightDecay) : weight;
      weight.assign(tf.sub(kept, tf.mul(update, optimizer.lrPeak)));
    }
    return value.dataSync()[0];
  });
}

const ms = [];
const losses = [];
const end = performance.now() + 1000 * Number(secondText);
for (let s = 0; s < Number(stepText) && (s < 4 || performance.now() < end); s++) {
  const start = performance.now();
  const ids = Int32Array.from({ length: B * T }, (_, i) => token(s * B + Math.floor(i / T), i % T));
  const targets = Int32Array.from({ length: B * T }, (_, i) => token(s * B + Math.floor(i / T), (i % T) + 1));
  losses.push(step(s + 1, ids, targets));
  ms.push(performance.now() - start);
}
const { version } = createRequire(import.meta.url)('@tensorflow/tfjs/package.json');
const rssMiB = process.memoryUsage().rss / 2 ** 20;
console.log(
  JSON.stringify({ ms: ms.slice(1), losses, rssMiB, version: `TensorFlow.js ${version}, WebAssembly, 1 thread` }),
);
process.stdin.resume();
