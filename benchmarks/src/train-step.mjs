// Whole training steps (data, forward, backward, clip, AdamW) against PyTorch: same weights, same tokens, same optimiser.
// Contenders run in fresh processes, turn by turn; their losses must agree step by step, or no time is reported.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { here, ourEnvironment, threadText } from './contender.mjs';
import {
  median,
  percent,
  printTable,
  printVersions,
  quartiles,
  removeFolder,
  runOnce,
  temporaryFolder,
  times,
} from './harness.mjs';
import { npmPeers, reportAbsent, torchPeers } from './peers.mjs';
import { optimizer, sizes } from './sizes.mjs';

/** Steps a contender takes in one turn, so that a turn lasts a few seconds. */
const steps = { 'tiny-16': 300, tiny: 150, 'tiny-64': 60, small: 20, medium: 8, large: 4 };
const quickSteps = { tiny: 40, small: 5 };
/** Steps over which the loss curves are laid over each other. */
const overlaySteps = 50;

function contendersOf(isa, threads, { torch, tfjs }, quick) {
  const ours = threads.map((nThread) => ({
    name: `physlm, ${threadText(nThread)}`,
    threads: nThread,
    env: ourEnvironment(isa),
    command: (size, folder, nStep) => [
      process.execPath,
      [here('./train-step-child.mjs'), size, `${nThread}`, `${nStep}`, folder, 'profile'],
    ],
  }));
  const settings = quick ? torch.settings.slice(-1) : [...torch.settings];
  if (torch.asShipped !== undefined) settings.push(torch.asShipped);
  const peers = settings.map(({ name, threads: nThread, env }) => ({
    name,
    threads: nThread || threads.at(-1),
    env,
    command: (_, folder, nStep, seconds) => [
      torch.python,
      [
        here('../peers/train_step.py'),
        join(folder, 'size.json'),
        `${nThread}`,
        `${nStep}`,
        join(folder, 'model.safetensors'),
        `${seconds}`,
      ],
    ],
  }));
  // Of the libraries from npm, one trains; it takes seconds for a step of a model that is not tiny.
  const fromNpm = tfjs.peers.map(({ name, env }) => ({
    name: `${name}, 1 thread`,
    threads: 1,
    env: env(),
    only: (size) => size.startsWith('tiny'),
    command: (_, folder, nStep, seconds) => [
      process.execPath,
      [
        here('../peers/train-step-tfjs.mjs'),
        join(folder, 'size.json'),
        `${nStep}`,
        join(folder, 'model.safetensors'),
        `${Math.min(seconds, 10)}`,
      ],
    ],
  }));
  return [...ours, ...peers, ...fromNpm];
}

const products = /^(linear|matmul|attention)/;

/** Milliseconds of a step in products and attention: what would be left if nothing else cost time. */
function productMs(kernelMs) {
  const entries = Object.entries(kernelMs).filter(([kernel]) => products.test(kernel));
  return entries.reduce((total, [, ms]) => total + ms, 0);
}

/**
 * GFLOP of a step: 6 for each parameter and token, and attention's seven products over the causal half, forward and
 * backward. An untied embedding would be counted although it multiplies nothing; here it is tied to the head.
 */
function workOf({ T, B, config }, nParameter) {
  const byParameters = (6 * nParameter * B * T) / 1e9;
  const attention = (7 * config.nLayer * B * T * (T + 1) * config.dModel) / 1e9;
  return { byParameters, all: byParameters + attention };
}

/** Steps whose losses must agree. Training is chaotic: after hundreds of steps roundings have grown into other losses. */
const comparedSteps = 25;

/** Two roundings of the same sum drift apart slowly; another computation would differ at once. */
function lossDifference(contender, losses, expected) {
  const compared = losses.slice(0, comparedSteps);
  const worst = Math.max(...compared.map((loss, i) => Math.abs(loss - expected[i])));
  if (!(worst < 2e-4)) throw new Error(`${contender} does other work: losses differ by ${worst}`);
  return worst;
}

export async function trainStep({ quick, isa, threads, meter, withPeers, only, deadline }) {
  const torch = withPeers ? torchPeers(isa, threads) : { settings: [], absent: [] };
  const tfjs = withPeers ? npmPeers(['train']) : { peers: [], absent: [] };
  const absent = [...torch.absent, ...tfjs.absent];
  reportAbsent(absent);
  const results = { rows: [], overlays: [], leftOut: [] };
  const everyone = contendersOf(isa, threads, { torch, tfjs }, quick);
  const wrong = only?.find((size) => !(size in sizes));
  if (wrong !== undefined) throw new Error(`no size is called ${wrong}; there are ${Object.keys(sizes).join(', ')}`);
  for (const size of only ?? Object.keys(quick ? quickSteps : sizes)) {
    if (performance.now() > deadline) {
      results.leftOut.push(size);
      continue;
    }
    const { T, B, config } = sizes[size];
    const nStep = (quick ? quickSteps : steps)[size];
    const folder = temporaryFolder();
    try {
      writeFileSync(join(folder, 'size.json'), JSON.stringify({ ...sizes[size], optimizer }));
      const field = everyone
        .filter(({ only }) => only?.(size) ?? true)
        .map((contender) => ({
          ...contender,
          ms: [],
          limits: [],
          waits: [],
          rssMiB: 0,
          shares: [],
        }));
      const turn = (contender, count, seconds) =>
        runOnce(contender.name, contender.command(size, folder, count, seconds), contender.env, contender.threads);
      let nParameter = 0;
      for (let round = 0; round < (quick ? 1 : 3); round++) {
        if (round > 0 && performance.now() > deadline) break;
        for (const contender of field) {
          const before = await meter.fma(isa, contender.threads);
          const result = await turn(contender, nStep, quick ? 3 : 30);
          const after = await meter.fma(isa, contender.threads);
          contender.ms.push(...result.ms);
          contender.losses = result.losses;
          contender.worst = lossDifference(contender.name, result.losses, field[0].losses);
          contender.rssMiB = Math.max(contender.rssMiB, result.rssMiB);
          contender.version = result.version;
          contender.waits.push(result.waitShare);
          contender.kernelMs = result.kernelMs;
          if (before !== undefined) contender.limits.push((before + after) / 2);
          if (result.kernelMs) contender.shares.push(productMs(result.kernelMs) / median(result.ms));
          nParameter = result.nParameter ?? nParameter;
        }
      }
      const peer = field.find(({ name }) => name.startsWith('PyTorch'));
      if (peer !== undefined) {
        // A turn of a small model is long enough; with little time, what there is must do.
        const curve = async (contender) => {
          const enough = quick || performance.now() > deadline || contender.losses.length >= overlaySteps;
          const { losses } = enough ? contender : await turn(contender, overlaySteps, 600);
          return losses.slice(0, overlaySteps);
        };
        const losses = [await curve(field[0]), await curve(peer)];
        const worst = lossDifference(peer.name, losses[1], losses[0]);
        results.overlays.push({ size, contenders: [field[0].name, peer.name], losses, worst });
      }
      const rows = field.map((contender) => {
        const msPerStep = quartiles(contender.ms);
        const limit = contender.limits.length > 0 ? median(contender.limits) : undefined;
        const work = workOf(sizes[size], nParameter);
        const gflops = (work.all / msPerStep.median) * 1000;
        const byParameters = (work.byParameters / msPerStep.median) * 1000;
        return {
          size,
          nLayer: config.nLayer,
          dModel: config.dModel,
          nParameter,
          contender: contender.name,
          version: contender.version,
          threads: contender.threads,
          tokensPerStep: B * T,
          msPerStep,
          tokensPerSec: Math.round((B * T * 1000) / msPerStep.median),
          gflops,
          limit,
          mfu: limit && gflops / limit,
          mfuBy6P: limit && byParameters / limit,
          ofCeiling: contender.shares.length > 0 ? median(contender.shares) : undefined,
          kernelMs: contender.kernelMs,
          worstLossDifference: contender.worst,
          nStep: contender.ms.length,
          waitShare: median(contender.waits),
          rssMiB: Math.round(contender.rssMiB),
        };
      });
      const peers = rows.filter(({ contender }) => !contender.startsWith('physlm'));
      for (const row of rows) {
        const same = peers.filter((peer) => row.contender.startsWith('physlm') && peer.threads === row.threads);
        const [best] = same.toSorted((a, b) => b.tokensPerSec - a.tokensPerSec);
        if (best !== undefined)
          Object.assign(row, { bestPeer: best.contender, ratio: row.tokensPerSec / best.tokensPerSec });
      }
      results.rows.push(...rows);
      printTable(
        `training steps, ${isa}, ${size}: ${config.nLayer} layers, d=${config.dModel}, V=${config.dVocab}, ${B} windows of ${T}, ${nParameter} parameters`,
        [
          ['contender', ({ contender }) => contender],
          ['tokens/s', ({ tokensPerSec }) => `${tokensPerSec}`],
          ['ms/step', ({ msPerStep }) => msPerStep.median.toFixed(2)],
          ['quartiles', ({ msPerStep }) => `${msPerStep.low.toFixed(2)} … ${msPerStep.high.toFixed(2)}`],
          ['MFU', ({ mfu }) => percent(mfu)],
          ['by 6P', ({ mfuBy6P }) => percent(mfuBy6P)],
          ['of ceiling', ({ ofCeiling }) => percent(ofCeiling)],
          ['best peer', ({ bestPeer }) => bestPeer ?? '–'],
          ['its time / ours', ({ ratio }) => times(ratio)],
          ['loss Δ', ({ worstLossDifference }) => worstLossDifference.toExponential(1)],
          ['waited', ({ waitShare }) => percent(waitShare)],
          ['RSS MiB', ({ rssMiB }) => `${rssMiB}`],
        ],
        rows,
      );
      printVersions(rows);
    } finally {
      removeFolder(folder);
    }
  }
  return { ...results, absent };
}
