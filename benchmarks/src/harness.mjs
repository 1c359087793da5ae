// The protocol of every timing: contenders in fresh processes, sampled in turns, next to the machine's peak of the moment.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** Settings that change what a library does behind a benchmark's back. A contender gets only those it names. */
const AMBIENT = /^(OMP|GOMP|KMP|OPENBLAS|GOTO|MKL|BLIS|DNNL|ONEDNN|ATEN|MALLOC|PHYSLM)_|^LD_PRELOAD$/;

/** This process's environment without the settings above, plus `env`. */
export function cleanEnvironment(env = {}) {
  const kept = Object.entries(process.env).filter(([name]) => !AMBIENT.test(name));
  return { ...Object.fromEntries(kept), ...env };
}

/** Lower quartile, median and upper quartile, between neighbours by proportion. */
export function quartiles(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (fraction) => {
    const place = fraction * (sorted.length - 1);
    const below = sorted[Math.floor(place)];
    return below + (place % 1) * (sorted[Math.ceil(place)] - below);
  };
  return { low: at(0.25), median: at(0.5), high: at(0.75) };
}

export const median = (values) => quartiles(values).median;

/**
 * The power that `points` of [x, y] grow with: the slope of ln y over ln x by least squares. Undefined for fewer than three
 * points, or where one has no logarithm.
 */
export function growthExponent(points) {
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)]);
  if (logs.length < 3 || !logs.flat().every(Number.isFinite)) return undefined;
  const mean = (of) => logs.reduce((sum, point) => sum + of(point), 0) / logs.length;
  const [x0, y0] = [mean(([x]) => x), mean(([, y]) => y)];
  return mean(([x, y]) => (x - x0) * (y - y0)) / mean(([x]) => (x - x0) ** 2);
}

/** Processes that run and folders that exist; however this process ends, they end with it. */
const running = new Set();
const folders = new Set();
let watching = false;

function watch() {
  if (watching) return;
  watching = true;
  process.on('exit', () => {
    for (const child of running) child.kill('SIGKILL');
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });
  for (const [signal, code] of Object.entries({ SIGHUP: 129, SIGINT: 130, SIGTERM: 143 })) {
    process.on(signal, () => process.exit(code));
  }
}

/** A new folder, gone when this process ends at the latest. */
export function temporaryFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'physlm-bench-'));
  watch();
  folders.add(folder);
  return folder;
}

export function removeFolder(folder) {
  rmSync(folder, { recursive: true, force: true });
  folders.delete(folder);
}

/** A process that answers each line with a line of JSON. */
export class Worker {
  #process;
  #answers = [];
  #waiting = [];
  #complaints = '';
  #ended;

  constructor(name, [file, args], env) {
    this.name = name;
    this.#process = spawn(file, args, { env: cleanEnvironment(env), stdio: ['pipe', 'pipe', 'pipe'] });
    this.pid = this.#process.pid;
    watch();
    running.add(this.#process);
    createInterface({ input: this.#process.stdout }).on('line', (line) => {
      const next = this.#waiting.shift();
      if (next === undefined) this.#answers.push(line);
      else next.resolve(line);
    });
    this.#process.stderr.on('data', (text) => {
      this.#complaints = (this.#complaints + text).slice(-4000);
    });
    // A worker that has died is reported by the request it leaves unanswered.
    this.#process.stdin.on('error', () => {});
    this.#process.on('error', (error) => this.#fail(error.message));
    this.#process.on('close', (code, signal) => this.#fail(`ended with ${signal ?? code}`));
  }

  #fail(reason) {
    running.delete(this.#process);
    this.#ended ??= new Error(`${this.name} ${reason}\n${this.#complaints}`.trim());
    for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
  }

  /** The next line the worker writes, such as its greeting. */
  async hear() {
    const line =
      this.#answers.shift() ??
      (await new Promise((resolve, reject) => {
        if (this.#ended === undefined) this.#waiting.push({ resolve, reject });
        else reject(this.#ended);
      }));
    const answer = JSON.parse(line);
    if (answer.problem !== undefined) throw new Error(`${this.name}: ${answer.problem}`);
    return answer;
  }

  ask(line) {
    if (this.#ended === undefined) this.#process.stdin.write(`${line}\n`);
    return this.hear();
  }

  async close() {
    if (this.#ended !== undefined) return;
    const closed = new Promise((resolve) => this.#process.once('close', resolve));
    this.#process.stdin.end();
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), 5000);
    await closed;
    clearTimeout(timer);
  }
}

/** Seconds that the threads of a process have been ready to run and did not get a core. 0 where Linux does not say. */
function runQueueWait(pid) {
  let seconds = 0;
  try {
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      seconds += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[1]) * 1e-9;
    }
  } catch {
    return seconds; // A thread that ended between the two calls, or a system without schedstat.
  }
  return seconds;
}

/**
 * Runs a program that prints one line of JSON and then waits for the end of its input, in a process of its own. Adds
 * `waitShare`, the share of its time that a thread waited for a core.
 */
export async function runOnce(name, command, env, threads = 1) {
  const worker = new Worker(name, command, env);
  const start = performance.now();
  try {
    const answer = await worker.hear();
    const seconds = (performance.now() - start) / 1000;
    return { ...answer, waitShare: runQueueWait(worker.pid) / seconds / threads };
  } finally {
    await worker.close();
  }
}

/** The machine's own limits, measured by peers/peak.cc; every figure is undefined where that could not be built. */
export class Meter {
  #worker;

  constructor(program) {
    if (program !== undefined) this.#worker = new Worker('peak', [program, []]);
  }

  get present() {
    return this.#worker !== undefined;
  }

  /** GFLOP/s of fused multiply-adds in registers, all threads together. */
  async fma(isa, threads) {
    return this.#worker === undefined ? undefined : (await this.#worker.ask(`fma ${isa} ${threads}`)).gflops;
  }

  /** GB/s of a copy that reads and writes `bytes` in all. */
  async copy(threads, bytes) {
    return this.#worker === undefined ? undefined : (await this.#worker.ask(`copy ${threads} ${bytes}`)).gbs;
  }

  /** The limit that a job runs against. */
  limit(job, isa, threads) {
    return job.unit === 'GB/s' ? this.copy(threads, job.bytes) : this.fma(isa, threads);
  }

  async close() {
    await this.#worker?.close();
  }
}

/**
 * One measured turn of a worker, with the limit before and after it. `work` asks the worker and gives seconds. Idle threads
 * of some libraries spin for a while after their work: `pauseMs` lets them go to sleep before anything else is measured.
 */
async function sample({ meter, job, isa, threads, worker, pauseMs }, work) {
  await sleep(pauseMs);
  const before = await meter.limit(job, isa, threads);
  const waited = runQueueWait(worker.pid);
  const start = performance.now();
  const seconds = await work();
  const wall = (performance.now() - start) / 1000;
  const wait = runQueueWait(worker.pid) - waited;
  await sleep(pauseMs);
  const after = await meter.limit(job, isa, threads);
  return { seconds, limit: before === undefined ? undefined : (before + after) / 2, wait: wait / wall / threads };
}

/** When the next of `parts` equal shares of the time until `deadline` is over. */
export function partOf(deadline, parts) {
  const now = performance.now();
  return now + (deadline - now) / parts;
}

/** A sample counts as undisturbed when its threads waited for a core less than this share of the time. */
const QUIET = 0.03;

/** Medians and quartiles of samples: of the undisturbed ones where there are three, else of all. */
export function summarize(samples) {
  const quiet = samples.filter(({ wait }) => wait < QUIET);
  const used = quiet.length >= 3 ? quiet : samples;
  const seconds = quartiles(used.map((one) => one.seconds));
  const limited = used.every(({ limit }) => limit !== undefined);
  return {
    seconds,
    limit: limited ? median(used.map(({ limit }) => limit)) : undefined,
    nSample: samples.length,
    nQuiet: quiet.length,
    used,
  };
}

/**
 * A difference of this much of a result's root mean square is an error, whoever made it. Our results must also be within
 * their op's tolerance, which is absolute and so says little of gradients that are small everywhere.
 */
const WRONG = 2e-4;

/**
 * Times jobs. Each round starts every contender afresh; inside a round they take turns sample by sample, so that all of
 * them see the same minutes of the machine. The first time a contender meets a job it also checks its result.
 *
 * A job is `{ id, unit: 'GFLOP/s' | 'GB/s', flops, bytes, commands, … }`; `commands` holds what a worker of each kind is
 * asked to prepare, and kinds without one sit the job out. A contender is `{ name, kind, command: (threads) =>
 * [file, args], env: (threads) => {…} }`. Returns a row for each job and contender; fails when a result is wrong.
 */
export async function timeKernels(jobs, contenders, { threads, isa, meter, effort, deadline }) {
  const field = jobs.flatMap((job) =>
    contenders
      .filter(({ kind }) => kind in job.commands)
      .map((contender) => ({ job, contender, samples: [], error: undefined })),
  );
  const versions = {};
  for (let round = 0; round < effort.rounds; round++) {
    const workers = new Map();
    try {
      for (const contender of contenders) {
        const worker = new Worker(contender.name, contender.command(threads), contender.env?.(threads));
        workers.set(contender, worker);
        versions[contender.name] = (await worker.hear()).version;
      }
      for (const job of jobs) {
        if (performance.now() > deadline) break;
        const entries = field.filter((entry) => entry.job === job);
        for (const entry of entries) {
          const worker = workers.get(entry.contender);
          const check = entry.error === undefined;
          const {
            seconds,
            error,
            used = 0,
          } = await worker.ask(`prepare ${check ? 'check ' : ''}${job.commands[entry.contender.kind]}`);
          if (check) entry.error = error;
          if (!(entry.error <= WRONG) || !(used <= 1)) {
            const what = `${entry.error} of the result's size, ${used} of its tolerance`;
            throw new Error(`${entry.contender.name}: ${job.id} is wrong by ${what}`);
          }
          entry.repeat = Math.max(1, Math.round(effort.sampleSeconds / seconds));
        }
        for (let turn = 0; turn < effort.samples; turn++) {
          for (const entry of entries) {
            const worker = workers.get(entry.contender);
            const work = async () => (await worker.ask(`time ${entry.repeat}`)).seconds / entry.repeat;
            entry.samples.push(await sample({ meter, job, isa, threads, worker, pauseMs: effort.pauseMs }, work));
          }
        }
      }
    } finally {
      await Promise.all([...workers.values()].map((worker) => worker.close()));
    }
    if (performance.now() > deadline) break;
  }
  const rows = field
    .filter(({ samples }) => samples.length > 0)
    .map(({ job, contender, samples, error }) => {
      const { seconds, limit, nSample, nQuiet, used } = summarize(samples);
      const work = (job.unit === 'GB/s' ? job.bytes : job.flops) / 1e9;
      const { commands: _, ...facts } = job;
      return {
        ...facts,
        contender: contender.name,
        version: versions[contender.name],
        threads,
        seconds,
        rate: work / seconds.median,
        limit,
        fraction: limit && median(used.map((one) => work / one.seconds / one.limit)),
        error,
        nSample,
        nQuiet,
      };
    });
  return { rows, leftOut: jobs.filter(({ id }) => !rows.some((row) => row.id === id)).map(({ id }) => id) };
}

/** Prints rows under headings; a column is `[heading, row => text]`, and all but the first are set to the right. */
export function printTable(title, columns, rows) {
  const cells = [columns.map(([heading]) => heading), ...rows.map((row) => columns.map(([, text]) => text(row)))];
  const widths = columns.map((_, c) => Math.max(...cells.map((row) => row[c].length)));
  console.log(`\n${title}`);
  for (const row of cells) {
    console.log(`  ${row.map((cell, c) => (c === 0 ? cell.padEnd(widths[c]) : cell.padStart(widths[c]))).join('  ')}`);
  }
}

/** A time in the unit that shows three digits of it. */
export function timeText(seconds) {
  if (seconds < 1e-3) return `${(seconds * 1e6).toPrecision(3)} µs`;
  return seconds < 1 ? `${(seconds * 1e3).toPrecision(3)} ms` : `${seconds.toPrecision(3)} s`;
}

export const percent = (fraction) => (fraction === undefined ? '–' : `${(100 * fraction).toFixed(0)} %`);
export const times = (ratio) => (ratio === undefined ? '–' : `${ratio.toFixed(2)}×`);

/** The columns of every kernel table after the first. */
export const kernelColumns = [
  ['time', ({ seconds }) => timeText(seconds.median)],
  ['quartiles', ({ seconds }) => `${timeText(seconds.low)} … ${timeText(seconds.high)}`],
  ['rate', ({ rate, unit }) => `${rate.toFixed(1)} ${unit}`],
  ['of limit', ({ fraction }) => percent(fraction)],
  ['quiet', ({ nQuiet, nSample }) => `${nQuiet}/${nSample}`],
];

/** Undisturbed samples below which a time says little. */
const ENOUGH = 3;

/** The best peer for each of our rows, by the ratio of its time to ours; undefined where no peer did the job. */
export function againstBestPeer(rows, ours) {
  return rows
    .filter(({ contender }) => contender === ours)
    .map((row) => {
      const peers = rows.filter((one) => one.id === row.id && one.contender !== ours);
      const best = peers.toSorted((a, b) => a.seconds.median - b.seconds.median)[0];
      if (best === undefined) return row;
      const sure = [row, best].every(({ nQuiet }) => nQuiet >= ENOUGH);
      return { ...row, bestPeer: best.contender, ratio: best.seconds.median / row.seconds.median, sure };
    });
}

/** The last columns of a table of {@link againstBestPeer}; a question mark stands where too few samples were quiet. */
export const peerColumns = [
  ['best peer', ({ bestPeer }) => bestPeer ?? '–'],
  ['its time / ours', ({ ratio, sure }) => `${times(ratio)}${ratio === undefined || sure ? '' : ' ?'}`],
];

/** Says which version and settings stand behind each contender's name. */
export function printVersions(rows) {
  const versions = new Map(rows.map(({ contender, version }) => [contender, version]));
  for (const [contender, version] of versions) console.log(`  ${contender}: ${version}`);
}
