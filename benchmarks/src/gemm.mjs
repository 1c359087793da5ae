// Matrix products in a transformer's shapes: forward y = x·wᵀ (NT), input gradient dx = dy·w (NN), weight gradient
// dw = dyᵀ·x (TN). A layer has four weights, so twelve products; `head` is the product with the vocabulary.
import { ourKernels, threadText } from './contender.mjs';
import {
  againstBestPeer,
  kernelColumns,
  median,
  partOf,
  peerColumns,
  percent,
  printTable,
  printVersions,
  timeKernels,
  times,
  timeText,
} from './harness.mjs';
import { gemmPeers, npmPeers, reportAbsent } from './peers.mjs';

/** The weights of a layer of width d: [name, input features, output features]. */
const layer = (d) => [
  ['qkv', d, 3 * d],
  ['proj', d, d],
  ['up', d, 4 * d],
  ['down', 4 * d, d],
];

/** Operations beyond which a library of WebAssembly would take seconds a call. */
const mostForWasm = 2e10;

/** The three products with a weight [O, I] over R tokens. */
function productsOf(R, d, product, I, O) {
  const facts = { unit: 'GFLOP/s', flops: 2 * R * I * O, bytes: 4 * (R * I + I * O + R * O), d, tokens: R, product };
  const call = (op, pass, wants) => JSON.stringify({ op, pass, dims: { R, I, O }, attrs: {}, wants });
  const id = (form) => `d=${d} M=${R} ${product} ${form}`;
  const libraries = (...sizes) => {
    const text = `gemm ${sizes.join(' ')}`;
    return { gemm: text, ...(facts.flops <= mostForWasm && { wasm: text }) };
  };
  return [
    {
      ...facts,
      id: id('NT'),
      form: 'NT',
      commands: {
        ours: call('linear', 'forward'),
        fused: call(product === 'up' ? 'linearBiasGelu' : 'linearBias', 'forward'),
        ...libraries('NT', R, O, I),
      },
    },
    {
      ...facts,
      id: id('NN'),
      form: 'NN',
      commands: { ours: call('linear', 'backward', ['x']), ...libraries('NN', R, I, O) },
    },
    {
      ...facts,
      id: id('TN'),
      form: 'TN',
      commands: { ours: call('linear', 'backward', ['w']), ...libraries('TN', O, I, R) },
    },
  ];
}

/** Both gradients of a weight, and the same with what the layer before them needs: bias gradient and dGELU. */
function backwardOf(R, d, I, O) {
  const call = (op) => JSON.stringify({ op, pass: 'backward', dims: { R, I, O }, attrs: {} });
  return {
    id: `d=${d} M=${R} up NN+TN`,
    unit: 'GFLOP/s',
    flops: 4 * R * I * O,
    bytes: 8 * (R * I + I * O + R * O),
    d,
    tokens: R,
    product: 'up',
    form: 'NN+TN',
    commands: { ours: call('linear'), fused: call('linearBiasGelu') },
  };
}

/** `only`: layers to time, as 4096x256 for M = 4096 tokens and d = 256; no heads then. */
function jobsOf(quick, only) {
  const widths = quick ? [64, 256] : [16, 32, 64, 128, 256, 512, 768];
  const layers = (quick ? [512] : [512, 4096]).flatMap((R) => widths.map((d) => [R, d]));
  const names = layers.map(([R, d]) => `${R}x${d}`);
  const wrong = only?.find((name) => !names.includes(name));
  if (wrong !== undefined) throw new Error(`no layer is called ${wrong}; there are ${names.join(', ')}`);
  const jobs = [];
  for (const [R, d] of only === undefined ? layers : only.map((name) => layers[names.indexOf(name)])) {
    for (const [product, I, O] of layer(d)) jobs.push(...productsOf(R, d, product, I, O));
    jobs.push(backwardOf(R, d, d, 4 * d));
  }
  if (only !== undefined) return jobs;
  const heads = quick
    ? [[512, 64, 446]]
    : [
        [2048, 64, 446],
        [4096, 128, 1000],
        [4096, 256, 5000],
        [1024, 768, 50257],
      ];
  for (const [R, d, V] of heads) jobs.push(...productsOf(R, d, `head ${V}`, d, V));
  return jobs;
}

/** Time and share of the peak of a layer's twelve products together, for each contender that did them all. */
function layerRows(rows) {
  const groups = new Map();
  for (const row of rows.filter(({ product, form }) => !product.startsWith('head') && form.length === 2)) {
    const key = `${row.tokens} ${row.d} ${row.contender}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()]
    .filter((group) => group.length === 12)
    .map((group) => {
      const sum = (of) => group.reduce((total, row) => total + of(row), 0);
      const [{ d, tokens, contender, threads }] = group;
      const seconds = sum((row) => row.seconds.median);
      const limit = group.every((row) => row.limit) ? median(group.map((row) => row.limit)) : undefined;
      const rate = sum(({ flops }) => flops) / seconds / 1e9;
      // Weighted by time: what the machine could have done in the minutes that these products took.
      const possible = limit && sum((row) => row.seconds.median * row.limit) / seconds;
      return {
        d,
        tokens,
        contender,
        threads,
        seconds,
        rate,
        limit,
        fraction: possible && rate / possible,
        nSample: sum(({ nSample }) => nSample),
        nQuiet: sum(({ nQuiet }) => nQuiet),
      };
    });
}

const fused = 'physlm, fused';

export async function gemm({ quick, isa, threads, meter, effort, deadline, withPeers, only }) {
  const sources = withPeers ? [gemmPeers(isa), npmPeers(['gemm', 'wasm'])] : [];
  const peers = sources.flatMap((source) => source.peers);
  const absent = sources.flatMap((source) => source.absent);
  reportAbsent(absent);
  const results = { rows: [], layers: [], leftOut: [] };
  for (const [i, nThread] of threads.entries()) {
    const jobs = jobsOf(quick, only);
    const able = peers.filter(({ oneThread }) => nThread === 1 || !oneThread);
    const contenders = [ourKernels(isa), ourKernels(isa, fused, 'fused'), ...able];
    const { rows, leftOut } = await timeKernels(jobs, contenders, {
      threads: nThread,
      isa,
      meter,
      effort,
      deadline: partOf(deadline, threads.length - i),
    });
    const plain = rows.filter(({ contender }) => contender !== fused);
    const epilogue = (row) => {
      const other = rows.find(({ id, contender }) => id === row.id && contender === fused);
      return other && other.seconds.median / row.seconds.median;
    };
    const ours = againstBestPeer(plain, 'physlm').map((row) => ({ ...row, fusedCost: epilogue(row) }));
    printTable(
      `products, ${isa}, ${threadText(nThread)}`,
      [
        ['product', ({ id }) => id],
        ...kernelColumns,
        ['+ epilogue', ({ fusedCost }) => (fusedCost === undefined ? '' : times(fusedCost))],
        ...peerColumns,
      ],
      ours,
    );
    printVersions(rows);
    const layers = layerRows(plain);
    printTable(
      `a layer's twelve products, ${isa}, ${threadText(nThread)}`,
      [
        ['layer', ({ d, tokens }) => `d=${d} M=${tokens}`],
        ['contender', ({ contender }) => contender],
        ['time', ({ seconds }) => timeText(seconds)],
        ['GFLOP/s', ({ rate }) => rate.toFixed(1)],
        ['of peak', ({ fraction }) => percent(fraction)],
        ['quiet', ({ nQuiet, nSample }) => `${nQuiet}/${nSample}`],
      ],
      layers,
    );
    results.rows.push(...rows);
    results.layers.push(...layers);
    results.leftOut.push(...leftOut);
  }
  return { ...results, absent };
}
