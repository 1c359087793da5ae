// Greedy decoding of a batch over a key/value cache, against eager PyTorch with the same weights and prompts.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { here, ourEnvironment, threadText } from './contender.mjs';
import {
  percent,
  printTable,
  printVersions,
  quartiles,
  removeFolder,
  runOnce,
  temporaryFolder,
  times,
  timeText,
} from './harness.mjs';
import { reportAbsent, torchPeers } from './peers.mjs';
import { sizes } from './sizes.mjs';

const nBatch = 32;
const nPrompt = 16;

/** Share of sequences whose tokens are all the same. Two equal logits may be told apart by rounding, so not always all. */
function agreement(tokens, expected) {
  return tokens.filter((row, b) => row.every((token, t) => token === expected[b][t])).length / expected.length;
}

export async function generate({ quick, isa, threads, withPeers, deadline }) {
  const torch = withPeers ? torchPeers(isa, threads) : { settings: [], absent: [] };
  reportAbsent(torch.absent);
  const size = 'medium';
  const { T, config } = sizes[size];
  const nNew = quick ? 32 : T - nPrompt;
  const counts = [nBatch, nPrompt, nNew, quick ? 1 : 3].map(String);
  const folder = temporaryFolder();
  try {
    writeFileSync(join(folder, 'size.json'), JSON.stringify(sizes[size]));
    const ours = threads.map((nThread) => ({
      name: `physlm, ${threadText(nThread)}`,
      threads: nThread,
      env: ourEnvironment(isa),
      command: [process.execPath, [here('./generate-child.mjs'), size, `${nThread}`, folder, ...counts]],
    }));
    const settings = quick ? torch.settings.slice(-1) : [...torch.settings];
    if (torch.asShipped !== undefined) settings.push(torch.asShipped);
    const files = [join(folder, 'size.json'), join(folder, 'model.safetensors')];
    const peers = settings.map(({ name, threads: nThread, env }) => ({
      name,
      threads: nThread || threads.at(-1),
      env,
      command: [torch.python, [here('../peers/generate.py'), files[0], `${nThread}`, files[1], ...counts]],
    }));
    const field = [...ours, ...peers].map((contender) => ({ ...contender, seconds: [], agreement: 1 }));
    for (let round = 0; round < (quick ? 1 : 3); round++) {
      if (round > 0 && performance.now() > deadline) break;
      for (const contender of field) {
        const result = await runOnce(contender.name, contender.command, contender.env, contender.threads);
        contender.seconds.push(...result.seconds);
        contender.tokens = result.tokens;
        contender.version = result.version;
        contender.waitShare = result.waitShare;
        contender.agreement = agreement(result.tokens, field[0].tokens);
        if (contender.agreement < 0.75) {
          throw new Error(`${contender.name} does other work: ${percent(contender.agreement)} of its sequences agree`);
        }
      }
    }
    const rows = field.map((contender) => {
      const seconds = quartiles(contender.seconds);
      return {
        size,
        contender: contender.name,
        version: contender.version,
        threads: contender.threads,
        nBatch,
        nPrompt,
        nNew,
        seconds,
        tokensPerSec: Math.round((nBatch * nNew) / seconds.median),
        agreement: contender.agreement,
        waitShare: contender.waitShare,
      };
    });
    const isOurs = ({ contender }) => contender.startsWith('physlm');
    for (const row of rows.filter(isOurs)) {
      const same = rows.filter((peer) => !isOurs(peer) && peer.threads === row.threads);
      if (same.length > 0) row.ratio = row.tokensPerSec / Math.max(...same.map(({ tokensPerSec }) => tokensPerSec));
    }
    printTable(
      `greedy decoding, ${isa}, ${size}: ${config.nLayer} layers, d=${config.dModel}, batch ${nBatch}, ${nPrompt} + ${nNew} tokens`,
      [
        ['contender', ({ contender }) => contender],
        ['new tokens/s', ({ tokensPerSec }) => `${tokensPerSec}`],
        ['time', ({ seconds }) => timeText(seconds.median)],
        ['quartiles', ({ seconds }) => `${timeText(seconds.low)} … ${timeText(seconds.high)}`],
        ['tokens / best peer’s', ({ ratio }) => times(ratio)],
        ['same text', (row) => percent(row.agreement)],
        ['waited', ({ waitShare }) => percent(waitShare)],
      ],
      rows,
    );
    printVersions(rows);
    return { rows, absent: torch.absent };
  } finally {
    removeFolder(folder);
  }
}
