// Memory of one attention call against the sequence length T: the most that a process holds while it runs forward and
// backward, above what it held after a call of sixteen positions. Linear memory grows as T¹, a stored T×T pattern as T².
import { readFileSync, writeFileSync } from 'node:fs';
import { ourKernels } from './contender.mjs';
import { growthExponent, printTable, Worker } from './harness.mjs';
import { torchWorkers } from './peers.mjs';

/** One sequence, four heads of 64. */
const [B, H, D] = [1, 4, 64];

/** A line of /proc/PID/status in MiB: VmRSS, what a process holds, or VmHWM, the most it has held. */
function memoryOf(pid, line) {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(text.match(new RegExp(`${line}:\\s+(\\d+) kB`))[1]) / 1024;
}

async function peakMiB({ name, command, env }, first, measured) {
  const worker = new Worker(name, command(1), env?.(1));
  try {
    await worker.hear();
    await worker.ask(`prepare ${first}`);
    const before = memoryOf(worker.pid, 'VmRSS');
    await worker.ask(`prepare ${measured}`);
    // Choosing among forms may have held more than the chosen one needs: the peak starts anew.
    writeFileSync(`/proc/${worker.pid}/clear_refs`, '5');
    await worker.ask('time 1');
    return memoryOf(worker.pid, 'VmHWM') - before;
  } finally {
    await worker.close();
  }
}

/** The exponent over the longest four sequences, where what does not grow weighs least. */
export function memoryGrowth(rows, name) {
  const points = rows.filter(({ contender }) => contender === name).map(({ T, mib }) => [T, mib]);
  return growthExponent(points.toSorted(([a], [b]) => a - b).slice(-4));
}

/** Rows `{ contender, B, H, T, D, mib }`; none where the system does not say what a process holds. */
export async function attentionMemory({ quick, isa, torch, jobFor, deadline }) {
  if (process.platform !== 'linux') return [];
  const shipped = torchWorkers({ ...torch, settings: [] }, 'attention.py', { asShipped: true });
  const ours = ourKernels(isa);
  const command = (threads) => {
    const [file, args] = ours.command(threads);
    return [file, ['--expose-gc', ...args]];
  };
  const contenders = [{ ...ours, command }, ...(quick ? [] : shipped)];
  const rows = [];
  for (const T of quick ? [256, 512, 1024, 2048] : [256, 512, 1024, 2048, 4096]) {
    const [first, measured] = [16, T].map((length) => jobFor([B, H, length, D], 'both').commands);
    for (const contender of contenders) {
      if (performance.now() > deadline) return rows;
      const { name, kind } = contender;
      rows.push({ contender: name, B, H, T, D, mib: await peakMiB(contender, first[kind], measured[kind]) });
    }
  }
  const names = contenders.map(({ name }) => name);
  const text = (row, digits) => row?.toFixed(digits) ?? '–';
  printTable(
    `memory of a call, forward and backward, B=${B} H=${H} D=${D}, MiB`,
    [
      ['T', ({ T }) => `${T}`],
      ...names.map((name) => [
        name,
        ({ T }) => text(rows.find((row) => row.T === T && row.contender === name)?.mib, 1),
      ]),
    ],
    rows.filter(({ contender }) => contender === names[0]),
  );
  for (const name of names) console.log(`  ${name}: grows as T^${text(memoryGrowth(rows, name), 2)}`);
  return rows;
}
