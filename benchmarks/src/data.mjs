// Rendering, tokenizing and packing text, problems with their verifier, and random numbers: one process, one thread.
import { here, ourEnvironment } from './contender.mjs';
import { percent, printTable, quartiles, runOnce } from './harness.mjs';

function countText(n) {
  if (n >= 1e6) return `${(n / 1e6).toPrecision(3)} M`;
  return n >= 1e3 ? `${(n / 1e3).toPrecision(3)} k` : n.toPrecision(3);
}

export async function data({ quick, isa }) {
  const effort = quick ? ['0.08', '3'] : ['0.4', '7'];
  const command = [process.execPath, [here('./data-child.mjs'), ...effort]];
  const { samples, waitShare } = await runOnce('data', command, ourEnvironment(isa));
  const rows = Object.entries(samples).flatMap(([job, list]) =>
    Object.keys(list[0]).map((unit) => ({ job, unit, perSecond: quartiles(list.map((one) => one[unit])) })),
  );
  printTable(
    `data, one thread (${percent(waitShare)} of the time spent waiting for a core)`,
    [
      ['job', ({ job }) => job],
      ['per second', ({ perSecond, unit }) => `${countText(perSecond.median)} ${unit}`],
      ['quartiles', ({ perSecond }) => `${countText(perSecond.low)} … ${countText(perSecond.high)}`],
    ],
    rows,
  );
  return { rows, waitShare };
}
