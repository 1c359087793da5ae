// Causal attention, forward and forward with backward, over packed heads; PyTorch gets separate, contiguous heads.
import { attentionMemory } from './attention-memory.mjs';
import { ourKernels, threadText } from './contender.mjs';
import {
  againstBestPeer,
  kernelColumns,
  partOf,
  peerColumns,
  printTable,
  printVersions,
  timeKernels,
} from './harness.mjs';
import { npmPeers, reportAbsent, torchPeers, torchWorkers } from './peers.mjs';

/** Causal attention over B sequences of T positions with H heads of D. */
function jobFor([B, H, T, D], pass) {
  return {
    id: `B=${B} H=${H} T=${T} D=${D} ${pass === 'both' ? 'fwd+bwd' : 'fwd'}`,
    unit: 'GFLOP/s',
    // Two products over the causal half forward, five more backward.
    flops: (pass === 'both' ? 3.5 : 1) * 2 * B * H * T * (T + 1) * D,
    bytes: (pass === 'both' ? 3 : 1) * 16 * B * T * H * D,
    B,
    H,
    T,
    D,
    pass,
    commands: {
      ours: JSON.stringify({
        op: 'attention',
        pass,
        dims: { B, T, P: 3 * H * D },
        attrs: { nHead: H, nKvHead: H, dHead: D, scale: 1 / Math.sqrt(D), causal: true },
      }),
      torch: `attention ${pass} ${B} ${H} ${T} ${D}`,
      ...(pass === 'forward' && { attention: `attention forward ${B} ${H} ${T} ${D}` }),
    },
  };
}

function jobsOf(quick) {
  // B, H, T, D: shapes that others have published times for, then D at constant tokens, then T at constant tokens.
  const known = [
    [16, 8, 128, 32],
    [8, 4, 256, 64],
    [4, 12, 512, 64],
    [1, 12, 1024, 64],
  ];
  const widths = [16, 32, 64, 128].map((D) => [8, 4, 256, D]);
  const lengths = [64, 128, 256, 512, 1024, 2048].map((T) => [4096 / T, 4, T, 64]);
  const tiny = [[16, 2, 128, 16]];
  const shapes = quick
    ? [
        [16, 2, 128, 16],
        [8, 4, 256, 64],
        [2, 4, 512, 64],
      ]
    : [...known, ...tiny, ...widths, ...lengths];
  const unique = new Map(shapes.map((shape) => [shape.join(), shape]));
  return [...unique.values()].flatMap((shape) => ['forward', 'both'].map((pass) => jobFor(shape, pass)));
}

export async function attention({ quick, isa, threads, meter, effort, deadline, withPeers }) {
  const torch = withPeers ? torchPeers(isa, threads) : { settings: [], absent: [] };
  const npm = withPeers ? npmPeers(['attention']) : { peers: [], absent: [] };
  const absent = [...torch.absent, ...npm.absent];
  reportAbsent(absent);
  const results = { rows: [], leftOut: [], memory: await attentionMemory({ quick, isa, torch, jobFor, deadline }) };
  for (const [i, nThread] of threads.entries()) {
    const asShipped = !quick && nThread === threads.at(-1);
    const pytorch = torchWorkers(torch, 'attention.py', { threads: nThread, asShipped, products: true });
    const contenders = [ourKernels(isa), ...pytorch, ...npm.peers];
    const timed = await timeKernels(jobsOf(quick), contenders, {
      threads: nThread,
      isa,
      meter,
      effort,
      deadline: partOf(deadline, threads.length - i),
    });
    printTable(
      `attention, causal, ${isa}, ${threadText(nThread)}`,
      [['shape', ({ id }) => id], ...kernelColumns, ...peerColumns],
      againstBestPeer(timed.rows, 'physlm'),
    );
    printVersions(timed.rows);
    results.rows.push(...timed.rows);
    results.leftOut.push(...timed.leftOut);
  }
  return { ...results, absent };
}
