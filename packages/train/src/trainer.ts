import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as yieldToEvents } from 'node:timers/promises';
import { CheckpointError, PhyslmError, writeFileAtomic } from '@physlm/base';
import {
  type LanguageModel,
  loadWeights,
  readSafetensors,
  saveModel,
  type Tensor,
  writeSafetensors,
} from '@physlm/model';
import { type Ranks, soleRank } from './ranks.js';
import type { MetricsRecord, RunDirectory } from './run-directory.js';
import { learningRateFraction } from './schedule.js';
import { StepProgram, type TrainingWindows } from './step-program.js';
import { checkTrainConfig, type TrainConfig } from './train-config.js';

/** Where a run is. */
export interface Progress {
  /** `measure`: all steps are done, and what came of them is being measured. */
  readonly phase: 'train' | 'evaluate' | 'checkpoint' | 'measure';
  /** What is being measured. */
  readonly part?: string;
  /** Completed steps. */
  readonly step: number;
  readonly nStep: number;
  /** Nats per target token of the latest step; NaN before the first. */
  readonly loss: number;
  /** Over the last seconds, this process only. */
  readonly tokensPerSec: number;
  readonly secondsLeft: number;
}

export interface TrainOptions {
  readonly model: LanguageModel;
  readonly windows: TrainingWindows;
  readonly config: TrainConfig;
  readonly run: RunDirectory;
  /** Goes on from the latest checkpoint of the run, if it has one. */
  readonly resume: boolean;
  /** Metrics of the live model after `step` completed steps; called at `config.evaluateAt`. */
  readonly evaluate?: ((step: number) => Readonly<Record<string, number>>) | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Aborting ends the run after the current step, with a checkpoint. */
  readonly signal?: AbortSignal | undefined;
  /** The processes that train this model together; this one alone when absent. Those behind the first follow its run directory. */
  readonly ranks?: Ranks | undefined;
  /** Text files to put beside every checkpoint, by name: the tokenizer. */
  readonly files?: Readonly<Record<string, string>> | undefined;
}

export interface TrainResult {
  readonly stopped: 'finished' | 'aborted';
  /** Completed steps. */
  readonly step: number;
  /** Folder of the last checkpoint. */
  readonly checkpoint: string;
}

/** What, beside weights and moments, the next step depends on. */
interface TrainState {
  readonly step: number;
  /** Loss since the last training record, in nats, and its target tokens. */
  readonly lossSum: number;
  readonly nTarget: number;
  /** Digest of the frozen weights; absent when every weight is trained. */
  readonly frozen?: string;
}

/** Longest time between two looks at signals and timers, in ms. */
const YIELD_MS = 50;

/**
 * Trains a model and leaves everything in its run directory. Step i reads windows i·batchSize …, so a run that was killed
 * and resumed has the same weights, moments and metrics, bit for bit, as one that was not.
 *
 * Frozen parameters are read and never written. A checkpoint of a model with frozen parameters has its trainable ones also
 * in `trainable.safetensors`: resuming needs a model with the same frozen weights, as its start gives it again, while
 * `model.safetensors` is the whole model with updates of low rank merged.
 *
 * Of several ranks each computes its share of every step and all make the same update; rank 0 writes the files.
 *
 * @throws ConfigError for a configuration that cannot be trained.
 * @throws PhyslmError 'ranks' when another rank has ended.
 * @throws PhyslmError 'diverged' when loss or gradient stop being finite; the last checkpoint stays as it was.
 * @throws OutputError when the disk is full or cannot be written; earlier checkpoints stay as they were.
 * @throws CheckpointError when the checkpoint to resume from is damaged, of another model, or on other frozen weights.
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  const { model, windows, config, run, evaluate, onProgress, signal } = options;
  const { ranks = soleRank } = options;
  checkTrainConfig(config, ranks.worldSize);
  const nAccumulate = config.nAccumulate ?? 1;
  const program = new StepProgram(model, windows.nCtx, config.batchSize, nAccumulate, config.optimizer, ranks);
  const frozen = frozenDigest(model);
  // Weights and two moments, for the checkpoints that stay and the one being written.
  const trainableBytes = program.arena.weights.byteLength;
  const checkpointBytes = 3 * trainableBytes + (frozen === undefined ? 0 : 4 * model.nParameter);
  run.requireSpace(checkpointBytes * ((config.keepCheckpoints ?? 2) + 1));

  let state: TrainState = { step: 0, lossSum: 0, nTarget: 0, ...(frozen && { frozen }) };
  const latest = options.resume ? run.latestCheckpoint() : undefined;
  if (latest !== undefined) state = readCheckpoint(latest.path, latest.step, model, program, frozen);
  const done = run.truncateMetrics(state.step);
  const evaluated = new Set(done.filter((record) => record.loss === undefined).map((record) => record.step));
  const log = (record: MetricsRecord): void => run.appendMetrics(record);
  const evaluateIfDue = (loss: number): void => {
    if (evaluate === undefined || run.follows || !config.evaluateAt?.includes(state.step) || evaluated.has(state.step))
      return;
    onProgress?.({ phase: 'evaluate', step: state.step, nStep: config.nStep, loss, ...speed.now(state.step) });
    log({ step: state.step, ...evaluate(state.step) });
  };
  const checkpoint = (loss: number): string => {
    onProgress?.({ phase: 'checkpoint', step: state.step, nStep: config.nStep, loss, ...speed.now(state.step) });
    const folder = run.writeCheckpoint(state.step, config.keepCheckpoints, (temporary) => {
      writeCheckpoint(temporary, model, program, state, options.files ?? {});
    });
    ranks.sumNumbers([]); // it is there for all of them
    return folder;
  };

  const speed = new Speedometer(config.batchSize * windows.nCtx, config.nStep, state.step);
  let saved = latest?.path;
  let loss = Number.NaN;
  let yielded = performance.now();
  evaluateIfDue(loss);
  while (state.step < config.nStep) {
    const lr = config.optimizer.lrPeak * learningRateFraction(config.schedule, state.step, config.nStep);
    if (windows.prepare !== undefined) {
      const { first, count } = program.windowsOf(state.step);
      await windows.prepare(first, count);
    }
    const result = program.run(windows, state.step, lr);
    if (!Number.isFinite(result.lossSum) || !Number.isFinite(result.gradNorm)) {
      throw diverged(state.step + 1, result.lossSum, result.gradNorm, lr, run.latestCheckpoint()?.path);
    }
    loss = result.lossSum / Math.max(1, result.nTarget);
    state = {
      ...state,
      step: state.step + 1,
      lossSum: state.lossSum + result.lossSum,
      nTarget: state.nTarget + result.nTarget,
    };
    if (state.step % config.logEvery === 0 || state.step === config.nStep) {
      const mean = state.lossSum / Math.max(1, state.nTarget);
      log({ step: state.step, loss: mean, lr, gradNorm: result.gradNorm });
      state = { ...state, lossSum: 0, nTarget: 0 };
    }
    evaluateIfDue(loss);
    // Whichever rank is asked to stop, all stop behind the same step.
    const [wishes] = ranks.sumNumbers([Number(signal?.aborted === true)]);
    const aborted = wishes! > 0;
    const ending = aborted || state.step === config.nStep;
    if (ending || state.step % config.checkpointEvery === 0) saved = checkpoint(loss);
    if (performance.now() - yielded > YIELD_MS) {
      onProgress?.({ phase: 'train', step: state.step, nStep: config.nStep, loss, ...speed.now(state.step) });
      await yieldToEvents();
      yielded = performance.now();
    }
    if (aborted && state.step < config.nStep) {
      return { stopped: 'aborted', step: state.step, checkpoint: saved ?? checkpoint(loss) };
    }
  }
  return { stopped: 'finished', step: state.step, checkpoint: saved ?? checkpoint(loss) };
}

function diverged(step: number, lossSum: number, norm: number, lr: number, kept: string | undefined): PhyslmError {
  const what = Number.isFinite(lossSum) ? `a gradient norm of ${norm}` : `a loss of ${lossSum}`;
  const where = kept === undefined ? 'No checkpoint had been written.' : `The last good checkpoint is ${kept}.`;
  return new PhyslmError(
    'diverged',
    `[train.step ${step}] expected finite numbers, got ${what} at learning rate ${lr.toPrecision(3)}\n${where} ` +
      'Lower train.optimizer.lrPeak or lengthen train.schedule.nWarmup.',
  );
}

/** SHA-256 of the parameters that are not trained, with their names; undefined when there are none. */
function frozenDigest(model: LanguageModel): string | undefined {
  const frozen = [...model.parameters()].filter(([, tensor]) => !tensor.requiresGrad);
  if (frozen.length === 0) return undefined;
  const hash = createHash('sha256');
  for (const [name, tensor] of frozen) hash.update(`${name}[${tensor.shape}]`).update(tensor.values());
  return hash.digest('hex');
}

/** The named slices of a flat arena tensor. */
function slices(
  program: StepProgram,
  prefix: string,
  flat: Tensor,
): [string, { shape: readonly number[]; values: Float32Array }][] {
  const values = flat.values() as Float32Array;
  return program.arena.slots.map(({ name, start, tensor }) => [
    `${prefix}${name}`,
    { shape: tensor.shape, values: values.subarray(start, start + tensor.size) },
  ]);
}

function writeCheckpoint(
  folder: string,
  model: LanguageModel,
  program: StepProgram,
  state: TrainState,
  files: Readonly<Record<string, string>>,
): void {
  saveModel(folder, model);
  const { m, v } = program.moments;
  writeSafetensors(
    join(folder, 'optimizer.safetensors'),
    new Map([...slices(program, 'm.', m), ...slices(program, 'v.', v)]),
  );
  if (state.frozen !== undefined) {
    writeSafetensors(join(folder, 'trainable.safetensors'), new Map(slices(program, '', program.arena.weights)));
  }
  for (const [name, text] of Object.entries(files)) writeFileAtomic(join(folder, name), text);
  writeFileAtomic(join(folder, 'state.json'), `${JSON.stringify(state)}\n`);
}

function readCheckpoint(
  folder: string,
  step: number,
  model: LanguageModel,
  program: StepProgram,
  frozen: string | undefined,
): TrainState {
  const file = join(folder, 'state.json');
  let state: TrainState;
  try {
    state = JSON.parse(readFileSync(file, 'utf8')) as TrainState;
  } catch (error) {
    throw new CheckpointError(file, `cannot be read: ${(error as Error).message}`, { cause: error });
  }
  const { lossSum, nTarget } = state;
  if (state.step !== step || !Number.isFinite(lossSum) || !Number.isInteger(nTarget)) {
    throw new CheckpointError(
      file,
      `does not hold the state after step ${step}: ${JSON.stringify(state).slice(0, 100)}`,
    );
  }
  if (state.frozen !== frozen) {
    const show = (value: string | undefined): string =>
      value === undefined ? 'none' : `those of digest ${value.slice(0, 12)}`;
    throw new CheckpointError(
      file,
      `belongs to a model with other frozen weights: expected ${show(frozen)}, got ${show(state.frozen)}`,
    );
  }
  const { arena, moments } = program;
  const restore = [
    readSlices(join(folder, 'optimizer.safetensors'), [
      ...slices(program, 'm.', moments.m),
      ...slices(program, 'v.', moments.v),
    ]),
  ];
  if (frozen === undefined) loadWeights(join(folder, 'model.safetensors'), model);
  else restore.push(readSlices(join(folder, 'trainable.safetensors'), slices(program, '', arena.weights)));
  for (const write of restore) write();
  return state;
}

/** Reads the tensors of a file that belong to `wanted`, and gives the function that writes them there. */
function readSlices(file: string, wanted: readonly [string, { readonly values: Float32Array }][]): () => void {
  const stored = readSafetensors(file);
  for (const [name, { values }] of wanted) {
    const found = stored.get(name);
    if (found === undefined) throw new CheckpointError(file, `has no tensor '${name}'`);
    if (found.values.length !== values.length) {
      throw new CheckpointError(file, `tensor '${name}': expected ${values.length} values, got ${found.values.length}`);
    }
  }
  return () => {
    for (const [name, { values }] of wanted) values.set(stored.get(name)!.values);
  };
}

/** Tokens per second over the last few seconds. */
class Speedometer {
  readonly #marks: { readonly time: number; readonly step: number }[];
  constructor(
    private readonly tokensPerStep: number,
    private readonly nStep: number,
    step: number,
  ) {
    this.#marks = [{ time: performance.now(), step }];
  }
  now(step: number): { tokensPerSec: number; secondsLeft: number } {
    const time = performance.now();
    this.#marks.push({ time, step });
    while (this.#marks.length > 2 && time - this.#marks[1]!.time > 5000) this.#marks.shift();
    const first = this.#marks[0]!;
    const stepsPerSec = ((step - first.step) / (time - first.time)) * 1000;
    return {
      tokensPerSec: stepsPerSec * this.tokensPerStep || 0,
      secondsLeft: stepsPerSec > 0 ? (this.nStep - step) / stepsPerSec : Number.POSITIVE_INFINITY,
    };
  }
}
