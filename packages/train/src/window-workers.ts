// Windows made ahead of time by other threads, for devices that train faster than one thread makes data. Window i is a pure function of
// i, so a run reads the same windows whoever makes them.
import { Worker } from 'node:worker_threads';
import { type ErrorCode, PhyslmError } from '@physlm/base';
import type { TrainingWindows } from './step-program.js';

/** How a thread opens the windows for itself: `exported` of the module at `url`, called with `options`, plain data. */
export interface WindowOpener {
  readonly url: string;
  readonly exported: string;
  readonly options: unknown;
}

/** Windows of a job: as many as data are packed in one go by default, so that no two threads pack the same documents. */
const WINDOWS_PER_JOB = 64;
/** Steps that are made before they are asked for. */
const STEPS_AHEAD = 2;

/** What a thread runs; CommonJS, so that it needs no file of its own. */
const THREAD = `
const { parentPort, workerData } = require('node:worker_threads');
const { url, exported, options } = workerData;
const opened = import(url).then((module) => module[exported](options));
parentPort.on('message', ({ job, first, count }) => {
  opened.then((windows) => {
    const { nCtx } = windows;
    const ids = new Int32Array(count * nCtx), targets = new Int32Array(count * nCtx).fill(-1);
    for (let w = 0; w < count; w++) {
      const at = w * nCtx;
      windows.window(first + w, ids.subarray(at, at + nCtx), targets.subarray(at, at + nCtx));
    }
    parentPort.postMessage({ job, ids, targets }, [ids.buffer, targets.buffer]);
  }).catch((error) => parentPort.postMessage({ job, error: error.message, code: error.code }));
});
`;

interface Answer {
  readonly job: number;
  readonly ids?: Int32Array;
  readonly targets?: Int32Array;
  readonly error?: string;
  readonly code?: ErrorCode;
}

interface Job {
  readonly made: Promise<void>;
  readonly finish: (error?: Error) => void;
  ids?: Int32Array;
  targets?: Int32Array;
}

/** The windows of `windows`, made by threads that open them for themselves; what they have not made is made here. */
export class WindowWorkers implements TrainingWindows {
  readonly nCtx: number;
  readonly #windows: TrainingWindows;
  readonly #workers: readonly Worker[];
  /** By number: job j holds windows j·64 … j·64 + 63. */
  readonly #jobs = new Map<number, Job>();
  #failure: Error | undefined;

  /** @param opener must give windows equal to `windows`. */
  constructor(windows: TrainingWindows, opener: WindowOpener, nWorker: number) {
    this.nCtx = windows.nCtx;
    this.#windows = windows;
    this.#workers = Array.from({ length: nWorker }, () => {
      const worker = new Worker(THREAD, { eval: true, workerData: opener });
      worker.on('message', (answer: Answer) => this.#take(answer));
      worker.on('error', (error) => this.#fail(error));
      worker.on('exit', (code) => this.#fail(new Error(`exit code ${code}`)));
      // A run that ends elsewhere must not wait for threads that nobody will ask again.
      worker.unref();
      return worker;
    });
  }

  /**
   * Resolves when windows first … first + count − 1 are there; those of the next steps are begun, earlier ones forgotten.
   *
   * @throws PhyslmError with the message of the thread that failed.
   */
  async prepare(first: number, count: number): Promise<void> {
    const jobOf = (window: number): number => Math.floor(window / WINDOWS_PER_JOB);
    const [from, to] = [jobOf(first), jobOf(first + count - 1)];
    for (const job of this.#jobs.keys()) if (job < from) this.#jobs.delete(job);
    for (let job = from; job <= jobOf(first + (1 + STEPS_AHEAD) * count - 1); job++) this.#begin(job);
    const needed = Array.from({ length: to - from + 1 }, (_, i) => this.#jobs.get(from + i)!.made);
    // A thread that answers keeps the process alive only while somebody waits for it.
    for (const worker of this.#workers) worker.ref();
    try {
      await Promise.all(needed);
    } finally {
      for (const worker of this.#workers) worker.unref();
    }
  }

  window(index: number, ids: Int32Array, targets: Int32Array): void {
    const job = Math.floor(index / WINDOWS_PER_JOB);
    const made = this.#jobs.get(job);
    if (made?.ids === undefined || made.targets === undefined) {
      this.#windows.window(index, ids, targets);
      return;
    }
    const at = (index - job * WINDOWS_PER_JOB) * this.nCtx;
    ids.set(made.ids.subarray(at, at + this.nCtx));
    targets.set(made.targets.subarray(at, at + this.nCtx));
  }

  /** Ends the threads. */
  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #begin(job: number): void {
    if (this.#jobs.has(job)) return;
    let finish!: (error?: Error) => void;
    const made = new Promise<void>((resolve, reject) => {
      finish = (error) => (error === undefined ? resolve() : reject(error));
    });
    // Whoever waits for it hears of it.
    made.catch(() => undefined);
    this.#jobs.set(job, { made, finish });
    if (this.#failure !== undefined) finish(this.#failure);
    const worker = this.#workers[job % this.#workers.length]!;
    worker.postMessage({ job, first: job * WINDOWS_PER_JOB, count: WINDOWS_PER_JOB });
  }

  #take({ job, ids, targets, error, code = 'data' }: Answer): void {
    const asked = this.#jobs.get(job);
    if (asked === undefined) return;
    if (ids !== undefined && targets !== undefined) {
      Object.assign(asked, { ids, targets });
      asked.finish();
      return;
    }
    asked.finish(new PhyslmError(code, error ?? 'a thread that makes windows failed'));
  }

  #fail(cause: Error): void {
    this.#failure ??= new PhyslmError('data', `a thread that makes windows ended: ${cause.message}`, { cause });
    for (const { finish } of this.#jobs.values()) finish(this.#failure);
  }
}
