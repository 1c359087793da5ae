// Speed of the kernels on this machine: products and attention of every kind next to a measured peak, in the same minute.
// node bench/kernels.mjs [filter]. Build the addon first (npm run build-native); PHYSLM_NATIVE names another one.
import { createRequire } from 'node:module';

const native = createRequire(import.meta.url)(process.env.PHYSLM_NATIVE ?? '../build/Release/physlm_native.node');
const filter = process.argv[2] ?? '';
const manifest = native.manifest();

/** Best time of one run of `plan`, in milliseconds: the machine has neighbours, so the least disturbed run counts. */
function time(plan, budgetMs = 250) {
  native.run(plan);
  let best = Number.POSITIVE_INFINITY;
  const end = performance.now() + budgetMs;
  while (performance.now() < end) {
    const start = performance.now();
    native.run(plan);
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

/** A plan of one command, over one buffer of small random numbers with 64-byte aligned tensors. */
function plan(name, inputs, outputs, attrs = [], fill = {}) {
  const count = (shape) => shape.reduce((a, b) => a * b, 1);
  const all = [...inputs, ...outputs];
  const offsets = [];
  let at = 16;
  for (const shape of all) {
    offsets.push(at);
    at += Math.ceil((count(shape) + 32) / 16) * 16;
  }
  const buffer = new ArrayBuffer(4 * at);
  const shift = (64 - native.addressModulo(buffer, 64)) % 64;
  const values = new Float32Array(buffer);
  for (let i = 0; i < at; i++) values[i] = ((i * 7919) % 1000) / 1000 - 0.5;
  const words = [manifest.findIndex((k) => k.name === `${name}_cpu`), inputs.length, outputs.length, attrs.length];
  all.forEach((shape, i) => {
    const integer = fill[i] !== undefined;
    const byte = 4 * (offsets[i] - 16) + shift;
    if (integer)
      new Int32Array(buffer, byte, count(shape)).set(Array.from({ length: count(shape) }, (_, r) => fill[i](r)));
    words.push(0, byte, integer ? 2 : 0, shape.length, ...shape);
  });
  return native.compile(Float64Array.from([...words, ...attrs]), [buffer]);
}

/** What a product reaches from the first-level cache: the measured peak. */
function peak(threads) {
  native.setThreads(threads);
  const [m, n, k] = [112 * threads, 32, 256];
  return (
    (2 * m * n * k) /
    time(
      plan(
        'matmul_forward',
        [
          [m, k],
          [k, n],
        ],
        [[m, n]],
        [0, 0],
      ),
      100,
    ) /
    1e6
  );
}

const rows = [];
function measure(label, flops, one) {
  if (!label.includes(filter)) return;
  const cells = [label.padEnd(46)];
  for (const threads of [1, 2]) {
    native.setThreads(threads);
    const ms = time(one);
    cells.push(`${(ms * 1000).toFixed(0).padStart(8)} µs ${(flops / ms / 1e6).toFixed(1).padStart(7)}`);
  }
  rows.push(cells.join(' '));
  console.log(rows.at(-1));
}

console.log(
  `${native.isa()}; a small product in cache: ${peak(1).toFixed(0)} GFLOP/s on one thread, ${peak(2).toFixed(0)} on two`,
);
console.log(`${'kernel'.padEnd(46)} ${'1 thread, GFLOP/s'.padStart(19)} ${'2 threads, GFLOP/s'.padStart(19)}`);
const layers = [];
for (const [R, D] of [
  [2048, 16],
  [2048, 32],
  [2048, 64],
  [4096, 128],
  [4096, 256],
  [1024, 768],
]) {
  layers.push([R, D, 3 * D, 'qkv'], [R, D, D, 'proj'], [R, D, 4 * D, 'up'], [R, 4 * D, D, 'down']);
}
layers.push([2048, 64, 460, 'head'], [1024, 768, 50257, 'head'], [1, 768, 3072, 'decode']);
for (const [R, I, O, what] of layers) {
  const flops = 2 * R * I * O;
  const name = `${what} R=${R} I=${I} O=${O}`;
  measure(
    `linear ${name}`,
    flops,
    plan(
      'linear_forward',
      [
        [R, I],
        [O, I],
      ],
      [[R, O]],
    ),
  );
  if (R === 1) continue;
  measure(
    `dx     ${name}`,
    flops,
    plan(
      'matmul_forward',
      [
        [R, O],
        [O, I],
      ],
      [[R, I]],
      [0, 0],
    ),
  );
  measure(
    `dw     ${name}`,
    flops,
    plan(
      'matmul_forward',
      [
        [R, O],
        [R, I],
      ],
      [[O, I]],
      [1, 0],
    ),
  );
  if (what === 'up') {
    measure(
      `gelu   ${name}`,
      flops,
      plan(
        'linearBiasGelu_forward',
        [[R, I], [O, I], [O]],
        [
          [R, O],
          [R, O],
        ],
      ),
    );
    measure(
      `dgelu  ${name}`,
      2 * flops,
      plan(
        'linearBiasGelu_backward',
        [
          [R, I],
          [O, I],
          [R, O],
          [R, O],
        ],
        [[R, I], [O, I], [O]],
      ),
    );
  }
}
for (const [B, H, T, K] of [
  [16, 2, 128, 8],
  [16, 4, 128, 16],
  [16, 2, 128, 32],
  [16, 4, 256, 32],
  [8, 4, 256, 64],
  [4, 12, 512, 64],
  [1, 12, 1024, 64],
]) {
  const P = 3 * H * K;
  const attrs = [H, H, K, 1 / Math.sqrt(K), 1];
  const name = `B=${B} H=${H} T=${T} K=${K}`;
  const [x, o, lse] = [
    [B, T, P],
    [B, T, H * K],
    [B, H, T],
  ];
  measure(`attention forward  ${name}`, 2 * B * H * T * T * K, plan('attention_forward', [x], [o, lse], attrs));
  measure(`attention backward ${name}`, 5 * B * H * T * T * K, plan('attention_backward', [x, o, lse, o], [x], attrs));
  // By position: relative and GPT_pos; their flops are those of their products under the diagonal.
  const [tables, scores] = [
    [T, H * K],
    [H, T],
  ];
  const flops = B * H * T * T * K;
  const relative = [H, K, 1 / Math.sqrt(3 * K), 1];
  measure(
    `relative forward   ${name}`,
    4 * flops,
    plan('relativeAttention_forward', [x, tables, tables], [o, lse], relative),
  );
  measure(
    `relative backward  ${name}`,
    11 * flops,
    plan('relativeAttention_backward', [x, tables, tables, o, lse, o], [x, tables, tables], relative),
  );
  measure(`position forward   ${name}`, flops, plan('positionAttention_forward', [o, scores], [o, scores]));
  measure(
    `position backward  ${name}`,
    2 * flops,
    plan('positionAttention_backward', [o, scores, o, scores, o], [o, scores]),
  );
  measure(`uniform forward    ${name}`, 3 * B * T * H * K, plan('uniformAttention_forward', [o], [o], [H]));
  measure(`uniform backward   ${name}`, 3 * B * T * H * K, plan('uniformAttention_backward', [o], [o], [H]));
}
for (const [R, D] of [
  [2048, 64],
  [4096, 256],
]) {
  const name = `R=${R} D=${D}`;
  measure(
    `layerNorm forward  ${name}`,
    8 * R * D,
    plan('layerNorm_forward', [[R, D], [D], [D]], [[R, D], [R], [R]], [1e-5]),
  );
  measure(
    `layerNorm backward ${name}`,
    14 * R * D,
    plan('layerNorm_backward', [[R, D], [D], [R], [R], [R, D]], [[R, D], [D], [D]], [1e-5]),
  );
  measure(`gelu ${name}`, 20 * R * D, plan('gelu_forward', [[R, D]], [[R, D]]));
  const rotary = plan('rotary_forward', [[R / 128, 128, 3 * D], [128]], [[R / 128, 128, 3 * D]], [D / 8, 16, 16, 1e4], {
    1: (r) => r,
  });
  measure(`rotary ${name}`, 6 * R * D, rotary);
}
const targets = { 1: (r) => r % 460 };
measure(
  'crossEntropy forward  R=2048 V=460',
  20 * 2048 * 460,
  plan('crossEntropy_forward', [[2048, 460], [2048]], [[2048], [2048]], [-1], targets),
);
measure(
  'crossEntropy backward R=2048 V=460',
  20 * 2048 * 460,
  plan('crossEntropy_backward', [[2048, 460], [2048], [2048], [2048]], [[2048, 460]], [-1], targets),
);
const N = 200_000;
measure('gradNorm N=200000', 2 * N, plan('gradNorm_forward', [[N]], [[1]]));
measure('adamW N=200000', 12 * N, plan('adamW_forward', [[N], [N], [N], [N], [1], [8]], [[N], [N], [N]], [N]));
