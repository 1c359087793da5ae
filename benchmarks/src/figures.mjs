// The pictures of the report, each drawn from the kept result of a benchmark; the roofline from several.
import { barChart, lineChart, rooflineChart } from './chart.mjs';
import { againstBestPeer, growthExponent, median } from './harness.mjs';

const round = (x, digits = 3) => (x === undefined ? undefined : Number(x.toPrecision(digits)));
const shares = (x) => (x === undefined ? undefined : Math.round(1000 * x) / 10);
const distinct = (list) => [...new Set(list)];

/** Bars: for each row's category, one value for each series name. */
function table(rows, category, series, value) {
  const [categories, names] = [distinct(rows.map(category)), distinct(rows.map(series))];
  const of = (name, label) => rows.find((row) => series(row) === name && category(row) === label);
  return {
    categories,
    series: names.map((name) => ({
      name,
      values: categories.map((label) => {
        const row = of(name, label);
        return row && value(row);
      }),
    })),
  };
}

const threadsOf = ({ threads }) => `${threads} thr.`;
const ours = 'physlm';

/** A line of points, named with the power that its last four (the largest) grow with. */
function growing(name, x, points) {
  const sorted = points.toSorted(([a], [b]) => a - b);
  const exponent = growthExponent(sorted.slice(-4));
  return { name: exponent === undefined ? name : `${name}: ${x}^${exponent.toFixed(2)}`, points: sorted };
}

/** How much longer the best peer takes than we do, call by call. */
function peerChart({ id, title, rows, label }) {
  const counts = distinct(rows.map(({ threads }) => threads));
  const compared = counts.flatMap((count) =>
    againstBestPeer(
      rows.filter(({ threads }) => threads === count),
      ours,
    ).filter(({ ratio }) => ratio !== undefined),
  );
  return barChart({
    id,
    title,
    caption: 'The fastest peer of each call; above 1 we are faster.',
    unit: '× our time',
    ...table(compared, label, threadsOf, ({ ratio }) => round(ratio)),
  });
}

function gemmCharts({ layers, rows, isa }) {
  const measured = layers.filter(({ limit }) => limit);
  const ofPeak = distinct(measured.map(({ threads }) => threads)).map((threads) =>
    barChart({
      id: `gemm-layer-${isa}-${threads}`,
      title: `A layer’s twelve products, share of peak, ${threads === 1 ? '1 thread' : `${threads} threads`} (${isa})`,
      caption:
        'Forward, input gradient and weight gradient of qkv, proj, up and down, as one time. Peak: fused multiply-adds in registers, measured before and after every sample.',
      unit: '% of peak',
      max: 100,
      ...table(
        measured.filter((row) => row.threads === threads),
        ({ d, tokens }) => `d=${d}, M=${tokens}`,
        ({ contender }) => contender,
        ({ fraction }) => shares(fraction),
      ),
    }),
  );
  const most = Math.max(...layers.map(({ threads }) => threads));
  const growth = distinct(layers.map(({ contender, tokens }) => `${contender}, M=${tokens}`)).map((name) => ({
    name,
    points: layers
      .filter((row) => row.threads === most && `${row.contender}, M=${row.tokens}` === name)
      .map(({ d, rate }) => [d, round(rate)]),
  }));
  const cost = distinct(layers.map(({ contender, tokens }) => `${contender}, M=${tokens}`)).map((name) => {
    const own = layers.filter((row) => row.threads === most && `${row.contender}, M=${row.tokens}` === name);
    return growing(
      name,
      'd',
      own.map(({ d, seconds }) => [d, round(seconds * 1000)]),
    );
  });
  const ofOurs = rows.filter(({ contender, threads }) => contender === ours && threads === most);
  const products = table(
    ofOurs.filter(({ form, limit }) => form.length === 2 && limit),
    ({ d, tokens, product }) => `d=${d}, M=${tokens}, ${product}`,
    ({ form }) => form,
    ({ fraction }) => shares(fraction),
  );
  return [
    ...ofPeak,
    lineChart({
      id: `gemm-growth-${isa}`,
      title: `A layer’s products against its width, ${most} threads (${isa})`,
      caption: 'GFLOP/s over the twelve products.',
      x: { name: 'd', log: true },
      y: { name: 'GFLOP/s' },
      series: growth.filter(({ points }) => points.length > 0),
    }),
    lineChart({
      id: `gemm-cost-${isa}`,
      title: `Time of a layer’s products against its width, ${most} threads (${isa})`,
      caption: 'The work grows as d². Exponents are fitted over the four largest widths.',
      x: { name: 'd', log: true },
      y: { name: 'ms', log: true },
      series: cost.filter(({ points }) => points.length > 0),
    }),
    barChart({
      id: `gemm-products-${isa}`,
      title: `Our products one by one, share of peak, ${most} threads (${isa})`,
      caption: 'NT: forward. NN: input gradient. TN: weight gradient.',
      unit: '% of peak',
      max: 100,
      ...products,
    }),
  ];
}

const passText = ({ pass }) => (pass === 'both' ? 'fwd+bwd' : 'fwd');

function attentionCharts({ rows, memory = [], isa }) {
  const most = Math.max(...rows.map(({ threads }) => threads));
  const label = (row) => `${row.B},${row.H},${row.T},${row.D} ${passText(row)}`;
  const sweep = rows.filter(({ B, H, T, D, threads }) => threads === most && D === 64 && H === 4 && B * T === 4096);
  const nameOf = (row) => `${row.contender}, ${passText(row)}`;
  const growth = distinct(sweep.map(nameOf)).map((name) =>
    growing(
      name,
      'T',
      sweep.filter((row) => nameOf(row) === name).map(({ T, seconds }) => [T, round(seconds.median * 1000)]),
    ),
  );
  const held = distinct(memory.map(({ contender }) => contender)).map((name) =>
    growing(
      name,
      'T',
      memory.filter(({ contender }) => contender === name).map(({ T, mib }) => [T, round(mib)]),
    ),
  );
  return [
    barChart({
      id: `attention-share-${isa}`,
      title: `Our attention, share of peak (${isa})`,
      caption: 'Shapes are B, H, T, D. Operations of the causal half only; exponentials are not counted.',
      unit: '% of peak',
      max: 100,
      ...table(
        rows.filter(({ contender, limit }) => contender === ours && limit),
        label,
        threadsOf,
        ({ fraction }) => shares(fraction),
      ),
    }),
    peerChart({ id: `attention-peers-${isa}`, title: `Attention, best peer’s time by ours (${isa})`, rows, label }),
    lineChart({
      id: `attention-growth-${isa}`,
      title: `Attention against sequence length at 4,096 tokens, ${most} threads (${isa})`,
      caption: 'H=4, D=64. At constant tokens the work grows as T. Exponents are fitted over the four longest.',
      x: { name: 'T', log: true },
      y: { name: 'ms', log: true },
      series: growth,
    }),
    lineChart({
      id: `attention-memory-${isa}`,
      title: 'Memory of an attention call against sequence length',
      caption: `One sequence, H=4, D=64, forward and backward: the most that the process held above what it held after a call of 16 positions, inputs and gradients included. Exponents are fitted over the four longest.`,
      x: { name: 'T', log: true },
      y: { name: 'MiB', log: true },
      series: held,
    }),
  ];
}

function bandwidthCharts({ what, rows, isa }) {
  const name = { norm: 'Norms and activations', loss: 'Loss', optimizer: 'Optimiser' }[what];
  const label = ({ id }) => id;
  return [
    barChart({
      id: `${what}-${isa}`,
      title: `${name}, share of copy bandwidth (${isa})`,
      caption:
        'Bytes that the call cannot do without, next to a copy that moves as many. Calls that only read can be faster than a copy.',
      unit: '% of a copy',
      ...table(
        rows.filter(({ contender, limit }) => contender === ours && limit),
        label,
        threadsOf,
        ({ fraction }) => shares(fraction),
      ),
    }),
    peerChart({ id: `${what}-peers-${isa}`, title: `${name}, PyTorch’s time by ours (${isa})`, rows, label }),
  ];
}

function trainCharts({ rows, overlays = [], isa }) {
  const label = ({ size, dModel }) => `${size} (d=${dModel})`;
  const speed = barChart({
    id: `train-step-${isa}`,
    title: `Training steps, tokens/s (${isa})`,
    caption:
      'Data, forward, backward, clipping and AdamW in f32. Every contender starts from the same weights and sees the same tokens; losses agree step by step.',
    unit: 'tokens/s',
    log: true,
    ...table(
      rows,
      label,
      ({ contender }) => contender,
      ({ tokensPerSec }) => tokensPerSec,
    ),
  });
  // Earlier results counted neither attention in the work nor anything but kernels in the ceiling.
  const counted = rows.filter(({ mfu, mfuBy6P }) => mfu && mfuBy6P);
  const bounded = counted.filter(({ ofCeiling }) => ofCeiling !== undefined);
  const costs = distinct(rows.map(({ contender }) => contender)).map((name) =>
    growing(
      name,
      'P',
      rows
        .filter(({ contender }) => contender === name)
        .map(({ nParameter, tokensPerSec }) => [nParameter, round(1e6 / tokensPerSec)]),
    ),
  );
  const charts = [
    speed,
    lineChart({
      id: `train-cost-${isa}`,
      title: `Training steps, time per token against parameters (${isa})`,
      caption: 'Exponents are fitted over the four largest models; the products grow as P.',
      x: { name: 'parameters', log: true, base: 10 },
      y: { name: 'µs per token', log: true },
      series: costs,
    }),
    barChart({
      id: `mfu-${isa}`,
      title: `Training steps, share of peak (${isa})`,
      caption: 'Work: 6·parameters·tokens and the causal half of attention’s products. Nothing else counts as work.',
      unit: '% of peak',
      ...table(
        counted,
        label,
        ({ contender }) => contender,
        ({ mfu }) => shares(mfu),
      ),
    }),
    barChart({
      id: `ceiling-${isa}`,
      title: `Our training steps, share of what products and attention alone would allow (${isa})`,
      caption: 'Time in products and attention ÷ time of the step on the clock.',
      unit: '%',
      ...table(
        bounded,
        label,
        ({ contender }) => contender,
        ({ ofCeiling }) => shares(ofCeiling),
      ),
    }),
  ];
  const kernels = rows.filter(({ kernelMs, contender }) => kernelMs && contender.startsWith('physlm'));
  if (kernels.length > 0) {
    const most = Math.max(...kernels.map(({ threads }) => threads));
    const parts = kernels
      .filter(({ threads }) => threads === most)
      .flatMap(({ kernelMs, ...row }) => {
        const total = Object.values(kernelMs).reduce((a, b) => a + b, 0);
        return Object.entries(kernelMs).map(([kernel, ms]) => ({ ...row, kernel, share: ms / total }));
      })
      .filter(({ share }) => share > 0.01);
    charts.push(
      barChart({
        id: `kernels-${isa}`,
        title: `Where our step’s time goes, ${most} threads (${isa})`,
        caption: 'Kernels above 1 % of the kernels’ time.',
        unit: '%',
        stack: true,
        ...table(
          parts,
          label,
          ({ kernel }) => kernel,
          ({ share }) => shares(share),
        ),
      }),
    );
  }
  for (const { size, contenders, losses, worst } of overlays) {
    charts.push(
      lineChart({
        id: `loss-${size}-${isa}`,
        title: `The same work: losses of ${size}`,
        caption: `Loss in nats by step, one curve over the other; over the first 25 steps they differ by at most ${worst.toExponential(1)}.`,
        x: { name: 'step' },
        y: { name: 'nats', free: true },
        series: contenders.map((name, c) => ({ name, points: losses[c].map((loss, step) => [step, round(loss, 6)]) })),
      }),
    );
  }
  return charts;
}

function generateChart({ rows, isa }) {
  return barChart({
    id: `generate-${isa}`,
    title: `Greedy decoding, new tokens/s (${isa})`,
    caption: `Medium model, batch ${rows[0].nBatch}, prompts of ${rows[0].nPrompt} tokens, ${rows[0].nNew} new ones.`,
    unit: 'tokens/s',
    ...table(
      rows,
      ({ size }) => size,
      ({ contender }) => contender,
      ({ tokensPerSec }) => tokensPerSec,
    ),
  });
}

/** The charts of a kept result, as chart.mjs makes them. */
export function chartsOf(record) {
  if (record.what === 'gemm') return gemmCharts(record);
  if (record.what === 'attention') return attentionCharts(record);
  if (record.what === 'train-step') return trainCharts(record);
  if (record.what === 'generate') return [generateChart(record)];
  return bandwidthCharts(record);
}

const kinds = {
  gemm: 'products',
  attention: 'attention',
  norm: 'norms and activations',
  loss: 'loss',
  optimizer: 'optimiser',
};

/**
 * Our kernels in the plane of operations per byte and operations per second, under what the machine was measured to do: for
 * each instruction set and number of threads, a chart of all kept kernel results.
 */
export function rooflines(records) {
  const rows = records.flatMap(({ what, isa, rows }) =>
    rows.filter(({ contender }) => what in kinds && contender === ours).map((row) => ({ ...row, what, isa })),
  );
  const groups = distinct(rows.map(({ isa, threads }) => `${isa} ${threads}`));
  return groups.flatMap((group) => {
    const own = rows.filter(({ isa, threads, limit }) => `${isa} ${threads}` === group && limit);
    const computing = own.filter(({ unit }) => unit === 'GFLOP/s');
    const moving = own.filter(({ unit }) => unit === 'GB/s');
    if (computing.length === 0 || moving.length === 0) return [];
    const [{ isa, threads }] = own;
    const most = Math.max(...moving.map(({ bytes }) => bytes));
    const series = Object.keys(kinds).map((kind) => ({
      name: kinds[kind],
      points: own
        .filter(({ what, flops }) => what === kind && flops > 0)
        .map(({ id, flops, bytes, seconds }) => [round(flops / bytes), round(flops / seconds.median / 1e9), id]),
    }));
    return [
      rooflineChart({
        id: `roofline-${isa}-${threads}`,
        title: `Our kernels under the machine’s limits, ${threads === 1 ? '1 thread' : `${threads} threads`} (${isa})`,
        caption:
          'Operations and bytes that the definition cannot do without. Peak: fused multiply-adds in registers. Memory: the copy of the largest call; cache: the fastest copy of any call’s bytes. Points above the memory line work on data that a cache holds.',
        peak: median(computing.map(({ limit }) => limit)),
        bandwidths: {
          memory: median(moving.filter(({ bytes }) => bytes === most).map(({ limit }) => limit)),
          cache: Math.max(...moving.map(({ limit }) => limit)),
        },
        series: series.filter(({ points }) => points.length > 0),
      }),
    ];
  });
}
