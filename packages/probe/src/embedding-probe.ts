// The probes of Parts 2 and 3: V-probing (arXiv:2407.20311), P-probing and Q-probing (arXiv:2309.14316). A frozen language model,
// a trainable low-rank update of its input embedding, and a linear head on its states at chosen positions.
//
// A probe and its controls see the same examples in the same order: one learns the labels, one the labels with a freshly
// initialised model in place of the trained one, one the control task (Hewitt and Liang 2019). What is in memory does not depend
// on the number of examples, but for one number a key.
import { ConfigError, type ConfigProblem, DataError, nearest, PhyslmError, Rng } from '@physlm/base';
import { buildModel, type LanguageModel } from '@physlm/model';
import { ControlTask } from './control-task.js';
import {
  type EmbeddingProbeInput,
  EmbeddingProgram,
  type EmbeddingReadout,
  isCausal,
  type LabelledInput,
  type ProbeState,
} from './embedding-probe-program.js';
import { type EmbeddingProbeScore, EmbeddingTally } from './embedding-probe-score.js';
import { commonestOf, StreamBootstrap } from './probe-score.js';
import type { LabelFamily } from './train-probe.js';

/** A text, where it is read, and what should be read there. */
export interface EmbeddingProbeExample extends EmbeddingProbeInput {
  /** By task: the class at each of `positions`, −1 where there is none. */
  readonly labels: readonly ArrayLike<number>[];
  /** By grouping, such as distance or position: what each of `positions` is scored under besides the whole. */
  readonly groups?: Readonly<Record<string, readonly (string | number)[]>> | undefined;
  /**
   * The type of each of `positions` that a probe could learn by heart (entity, token), any integers; types should recur across
   * units. The control task labels types at random. Without keys there is no control task.
   */
  readonly keys?: ArrayLike<number> | undefined;
}

/** Examples on demand: unit(i) and example(i) are pure functions of i, in any order. */
export interface EmbeddingProbeSource {
  /** Label families. */
  readonly tasks: readonly LabelFamily[];
  /** At most 2³². */
  readonly nExample: number;
  /** The person, problem or text that example i belongs to, an integer ≥ 0; cheap. Never on both sides of the split. */
  unit(index: number): number;
  example(index: number): EmbeddingProbeExample;
}

/** Controls that can be left out to save time; the result says so. */
export type EmbeddingControl = 'majority' | 'randomModel' | 'controlTask';

/** Whether a control ran. */
export type ControlState = 'run' | 'left out' | 'no keys';

/** How far a probe is. */
export interface EmbeddingProbeProgress {
  /** Tasks of the probe at work. */
  readonly tasks: readonly string[];
  readonly phase: 'train' | 'score';
  /** Optimiser steps done. */
  readonly step: number;
  readonly nStep: number;
  /** Mean −ln p of the last step, nats. */
  readonly loss: number;
}

/** What to train, and how. {@link embeddingProbeSettings} has the papers' settings. */
export interface EmbeddingProbeOptions {
  readonly readout?: EmbeddingReadout | undefined;
  /** Of the update of the input embedding; 8. 0: the embedding stays as it is, but for new tokens. */
  readonly rank?: number | undefined;
  /** Tokens that examples use beside the model's vocabulary: V, V + 1, …, such as [START], [MID] and [END]. 0. */
  readonly nNewToken?: number | undefined;
  /** `own`: each task is a probe of its own, as in the papers. `shared`: one update and norm for all, a head for each. */
  readonly update?: 'own' | 'shared' | undefined;
  /** Share of the units to train on; a half. */
  readonly split?: number | undefined;
  /** Most examples to score in the held-out units, and in each of `tests`; all. */
  readonly nTest?: number | undefined;
  /** Other sources of the same tasks to score on, by name; their units must not occur in training. */
  readonly tests?: Readonly<Record<string, EmbeddingProbeSource>> | undefined;
  /** Optimiser steps. */
  readonly nStep: number;
  /** Examples of a step; 256. */
  readonly batchSize?: number | undefined;
  /** At the first step; falls linearly to 0. 0.002. */
  readonly learningRate?: number | undefined;
  /** Of matrices; 0.01. */
  readonly weightDecay?: number | undefined;
  /** Of AdamW; 1e-8. */
  readonly eps?: number | undefined;
  /** On the state that the head reads, in training only: the models here have no dropout of their own to leave on. 0. */
  readonly dropout?: number | undefined;
  /** Controls to leave out. */
  readonly without?: readonly EmbeddingControl[] | undefined;
  /** Decides the split, initial weights, the untrained model, the control's labels, the order of examples and the resampling. */
  readonly seed: number | string;
  readonly onProgress?: ((progress: EmbeddingProbeProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The papers' settings. Sizes of steps are theirs for models of 124 M parameters. */
export const embeddingProbeSettings = {
  /** arXiv:2407.20311, appendix F.2, iGSM-med; iGSM-hard takes 128 examples a step. */
  vProbe: {
    rank: 8,
    readout: { norm: 'none' },
    nStep: 100_000,
    batchSize: 256,
    learningRate: 0.002,
    weightDecay: 0.01,
  },
  /** arXiv:2309.14316, appendix E. */
  pProbe: {
    rank: 2,
    readout: { norm: 'layer' },
    nStep: 30_000,
    batchSize: 50,
    learningRate: 0.001,
    weightDecay: 0.3,
    eps: 1e-6,
  },
  /** arXiv:2309.14316, appendix F. */
  qProbe: {
    rank: 16,
    readout: { norm: 'batch' },
    nStep: 30_000,
    batchSize: 200,
    learningRate: 0.001,
    weightDecay: 0.3,
    eps: 1e-6,
  },
} as const satisfies Record<string, Partial<EmbeddingProbeOptions>>;

/** What the probes found, with their controls. Plain JSON. */
export interface EmbeddingProbeResult {
  readonly readout: Required<EmbeddingReadout>;
  readonly rank: number;
  readonly update: 'own' | 'shared';
  /** By task: the score on held-out units. */
  readonly tasks: Readonly<Record<string, EmbeddingProbeScore>>;
  /** By test source and task. */
  readonly tests: Readonly<Record<string, Readonly<Record<string, EmbeddingProbeScore>>>>;
  readonly controls: Readonly<Record<EmbeddingControl, ControlState>>;
  readonly nStep: number;
  readonly batchSize: number;
  /** Trained numbers of one probe, unused outputs included. */
  readonly nParameter: number;
}

/** What a probe says at one position. */
export interface ProbeAnswer {
  /** The likeliest class. */
  readonly class: number;
  /** By class. */
  readonly probabilities: Float32Array;
}

/** A trained probe of one task, to ask about other texts. */
export interface TrainedEmbeddingProbe {
  /** Answers by input and position; inputs of an encoder may differ in length. @throws DataError for an input that does not fit. */
  answer(inputs: readonly EmbeddingProbeInput[]): ProbeAnswer[][];
  /** s·A·B of a token: what training added to its row of the embedding; see {@link embeddingProbe}. */
  embeddingUpdate(token: number): Float32Array;
}

/** What `embeddingProbe` gives: the scores, and the probes themselves by task. */
export interface EmbeddingProbeRun {
  readonly result: EmbeddingProbeResult;
  readonly probes: ReadonlyMap<string, TrainedEmbeddingProbe>;
}

/** Training examples that training accuracies are measured on, at most. */
const N_TRAIN_SCORED = 512;
/** Training examples whose labels give the frequencies that the control draws from. */
const N_FREQUENCY = 512;
/** Draws in a row without an example to train on, after which there is none. */
const MOST_REJECTED = 20_000;
/** Longest time between two looks at signals and timers, in ms. */
const YIELD_MS = 50;

/**
 * Asks whether a frozen model's states tell what they are asked, when the question, words the model has never been asked with,
 * may be translated for it: the row of token v in the input embedding E becomes E[v] + s·A[v]·B, A [V, rank] = 0 and
 * B [rank, d] ~ N(0, 1) at the start, s the root mean square of E. New tokens have trained rows of their own. The model's weights
 * stay as they are, bit for bit.
 *
 * Examples may differ in length: for a causal model a step's texts are padded on the right, which changes nothing; an encoder's
 * steps take texts of equal length, collected in the order in which they are drawn. Training draws from the training units with
 * replacement; scores are of units that training never saw. The control task gives each key one random label of each task from
 * the frequencies of the training labels and is scored, like selectivity, on positions whose key occurs in training.
 *
 * Deterministic: the same model, sources and options give the same bits, for any number of threads.
 *
 * @throws ConfigError naming every option out of its range.
 * @throws DataError naming the example that does not fit, and when a task has nothing to train or test on.
 * @throws PhyslmError 'diverged' when the loss stops being a number.
 * @throws the reason of `signal` when it aborts.
 * @see Ye, Xu, Li and Allen-Zhu 2024, arXiv:2407.20311, section 4 and appendix F.2; Allen-Zhu and Li 2023, arXiv:2309.14316,
 * section 5 and appendices E and F. Differs from the papers: dropout is on the state that is read, and off by default.
 */
export async function embeddingProbe(
  model: LanguageModel,
  source: EmbeddingProbeSource,
  options: EmbeddingProbeOptions,
): Promise<EmbeddingProbeRun> {
  checkOptions(source, options);
  const { tasks } = source;
  const { readout = {}, rank = 8, nNewToken = 0, update = 'own', batchSize = 256, tests = {} } = options;
  const { dropout = 0, weightDecay = 0.01, eps = 1e-8, without = [], nStep } = options;
  const rng = new Rng(options.seed).fork('embeddingProbe');
  const all = [...tasks.keys()];
  // Probes of their own run on one program, whose outputs are enough for any of them.
  const probes = update === 'shared' ? [all] : all.map((task) => [task]);
  const widths = update === 'shared' ? tasks.map(({ nClass }) => nClass) : [Math.max(...tasks.map((t) => t.nClass))];
  const sizes = { readout, rank, nNewToken, nClass: widths, batchSize, dropout, weightDecay, eps };
  const program = new EmbeddingProgram(model, sizes, rng.fork('weights'));
  const random = without.includes('randomModel')
    ? undefined
    : new EmbeddingProgram(buildModel(model.device, model.config, rng.fork('randomModel')), sizes, rng.fork('weights'));
  const splitRng = rng.fork('split');
  const pause = pauses(options.signal);
  const shared: Shared = { model, source, options, rng, splitRng, program, random, pause, batchSize };

  const scores: Record<string, EmbeddingProbeScore> = {};
  const testScores = Object.fromEntries(
    Object.keys(tests).map((name): [string, Record<string, EmbeddingProbeScore>] => [name, {}]),
  );
  const trained = new Map<string, TrainedEmbeddingProbe>();
  let hasKeys = false;
  for (const probe of probes) {
    const run = await trainOne(shared, probe);
    hasKeys ||= run.control !== undefined;
    Object.assign(scores, await scoreOne(shared, run, source, 'source'));
    for (const [name, test] of Object.entries(tests)) {
      Object.assign(testScores[name]!, await scoreOne(shared, run, test, `tests.${name}`));
    }
    for (const [slot, task] of probe.entries()) trained.set(tasks[task]!.name, answering(shared, run.task, slot));
  }
  const state = (control: EmbeddingControl): ControlState => (without.includes(control) ? 'left out' : 'run');
  return {
    result: {
      readout: { layer: readout.layer ?? 'norm', norm: readout.norm ?? 'none' },
      rank,
      update,
      tasks: scores,
      tests: testScores,
      controls: {
        majority: state('majority'),
        randomModel: state('randomModel'),
        controlTask: state('controlTask') === 'run' && !hasKeys ? 'no keys' : state('controlTask'),
      },
      nStep,
      batchSize,
      nParameter: program.nParameter,
    },
    probes: trained,
  };
}

/** What all probes of a call have in common. */
interface Shared {
  readonly model: LanguageModel;
  readonly source: EmbeddingProbeSource;
  readonly options: EmbeddingProbeOptions;
  readonly rng: Rng;
  readonly splitRng: Rng;
  readonly program: EmbeddingProgram;
  readonly random: EmbeddingProgram | undefined;
  readonly batchSize: number;
  /** Lets other work run now and then; throws when it is time to stop. */
  pause(): Promise<void>;
}

/** A trained probe, its controls, and what training met of each of its tasks. */
interface TrainedRun {
  /** Indices of its tasks. */
  readonly tasks: readonly number[];
  readonly task: ProbeState;
  readonly random: ProbeState | undefined;
  readonly control: ProbeState | undefined;
  readonly controlTask: ControlTask | undefined;
  readonly met: readonly Met[];
  readonly trainLoss: number;
}

/** How often each label of a task and of its control occurred in training, and with which keys. */
interface Met {
  readonly label: Float64Array;
  readonly control: Float64Array;
  readonly seenKeys: Set<number>;
}

async function trainOne(shared: Shared, tasks: readonly number[]): Promise<TrainedRun> {
  const { source, options, rng, program, random, batchSize } = shared;
  const { nStep, learningRate = 0.002, onProgress } = options;
  const families = tasks.map((task) => source.tasks[task]!);
  const names = families.map(({ name }) => name);
  const nClass = families.map((family) => family.nClass);
  // The same start for the probe and its controls, as they have the same shape.
  const start = (of: EmbeddingProgram): ProbeState => of.fresh(nClass, rng.fork('start').fork(names.join()));
  const first = trainingExamples(shared, tasks).next().value;
  const keyed = first?.example.keys !== undefined && options.without?.includes('controlTask') !== true;
  const controlTask = keyed ? controlTaskOf(shared, tasks) : undefined;
  const task = start(program);
  const control = controlTask && start(program);
  const randomState = random && start(random);
  const met = nClass.map(
    (n): Met => ({ label: new Float64Array(n), control: new Float64Array(n), seenKeys: new Set() }),
  );
  const dropRng = rng.fork('dropout');
  const batches = inBatches(trainingExamples(shared, tasks), batchSize, isCausal(shared.model));
  let [lossSum, nLoss] = [0, 0];
  for (let step = 0; step < nStep; step++) {
    const batch: readonly Drawn[] = batches.next().value!;
    const lr = learningRate * (1 - step / nStep);
    const inputs = batch.map(({ example }) => labelled(example, tasks));
    const loss = program.train(task, inputs, lr, dropRng.at(step));
    if (!Number.isFinite(loss)) {
      throw new PhyslmError(
        'diverged',
        `[embeddingProbe] the loss of '${names.join("', '")}' is no number at step ${step}\nLower learningRate.`,
      );
    }
    if (randomState !== undefined) random!.train(randomState, inputs, lr, dropRng.at(step));
    const controls = controlTask && inputs.map((input, b) => relabelled(input, batch[b]!.example, controlTask));
    if (controls !== undefined) program.train(control!, controls, lr, dropRng.at(step));
    for (const [b, { labels }] of inputs.entries()) {
      for (const [slot, list] of labels.entries()) {
        const { label, control: controlLabel, seenKeys } = met[slot]!;
        for (let i = 0; i < list.length; i++) {
          if (list[i]! < 0) continue;
          label[list[i]!]!++;
          if (controls === undefined) continue;
          controlLabel[controls[b]!.labels[slot]![i]!]!++;
          seenKeys.add(batch[b]!.example.keys![i]!);
        }
      }
    }
    if (step >= 0.9 * nStep - 1) [lossSum, nLoss] = [lossSum + loss, nLoss + 1];
    onProgress?.({ tasks: names, phase: 'train', step: step + 1, nStep, loss });
    await shared.pause();
  }
  for (const [slot, { label }] of met.entries()) {
    if (label.some((n) => n > 0)) continue;
    throw new DataError('embeddingProbe.source', `a label of task '${names[slot]}' to train on`, 'none');
  }
  return { tasks, task, random: randomState, control, controlTask, met, trainLoss: lossSum / nLoss };
}

/** An example, its number, and its unit. */
interface Drawn {
  readonly index: number;
  readonly unit: number;
  readonly example: EmbeddingProbeExample;
}

/** Examples to train the tasks on, for ever: draw k is a function of the seed and k. */
function* trainingExamples(shared: Shared, tasks: readonly number[]): Generator<Drawn, never, void> {
  const { source, options, rng, model } = shared;
  const order = rng.fork('order');
  let rejected = 0;
  for (let k = 0; ; k++) {
    const index = order.at(k).below(source.nExample);
    const unit = source.unit(index);
    const example = isTrainUnit(unit, shared) ? source.example(index) : undefined;
    if (example !== undefined) checkExample(example, index, source, model, options, 'source');
    if (example !== undefined && isLabelled(example, tasks)) {
      rejected = 0;
      yield { index, unit, example };
    } else if (++rejected === MOST_REJECTED) {
      const names = tasks.map((task) => source.tasks[task]!.name).join("', '");
      throw new DataError('embeddingProbe.source', `labels of '${names}' to train on`, `none in ${rejected} draws`);
    }
  }
}

/** Examples with a label of the tasks in the order of their numbers: the held-out ones, or all of a test source. */
function* testExamples(
  shared: Shared,
  source: EmbeddingProbeSource,
  tasks: readonly number[],
  where: string,
): Generator<Drawn, undefined, void> {
  const { options, model } = shared;
  const { nTest = Number.POSITIVE_INFINITY } = options;
  for (let index = 0, n = 0; index < source.nExample && n < nTest; index++) {
    const unit = source.unit(index);
    if (source === shared.source && isTrainUnit(unit, shared)) continue;
    const example = source.example(index);
    checkExample(example, index, source, model, options, where);
    if (!isLabelled(example, tasks)) continue;
    n++;
    yield { index, unit, example };
  }
  return undefined;
}

/** Lists of examples that fit one step: any for a causal model, of one length for an encoder, the first full list first. */
function* inBatches(
  examples: Iterable<Drawn>,
  batchSize: number,
  causal: boolean,
): Generator<readonly Drawn[], undefined, void> {
  const waiting = new Map<number, Drawn[]>();
  for (const drawn of examples) {
    const length = causal ? 0 : drawn.example.ids.length;
    const list = waiting.get(length) ?? [];
    waiting.set(length, list);
    if (list.push(drawn) < batchSize) continue;
    waiting.delete(length);
    yield list;
  }
  yield* waiting.values();
  return undefined;
}

function isTrainUnit(unit: number, { options: { split = 0.5 }, splitRng }: Shared): boolean {
  return splitRng.at(unit).uniform() < split;
}

function isLabelled({ labels }: EmbeddingProbeExample, tasks: readonly number[]): boolean {
  return tasks.some((task) => Array.prototype.some.call(labels[task], (label: number) => label >= 0));
}

function labelled({ ids, positions, labels }: EmbeddingProbeExample, tasks: readonly number[]): LabelledInput {
  return { ids, positions, labels: tasks.map((task) => labels[task]!) };
}

function relabelled(
  input: LabelledInput,
  { keys }: EmbeddingProbeExample,
  controlTask: ControlTask,
): LabelledInput & { readonly labels: readonly Int32Array[] } {
  const labels = input.labels.map((list) => Int32Array.from(list));
  return { ...input, labels: controlTask.labels({ labels, keys: Int32Array.from(keys!) }) };
}

function controlTaskOf(shared: Shared, tasks: readonly number[]): ControlTask {
  const families = tasks.map((task) => shared.source.tasks[task]!);
  const counts = families.map(({ nClass }) => new Float64Array(nClass));
  let n = 0;
  for (const { example } of trainingExamples(shared, tasks)) {
    for (const [slot, list] of labelled(example, tasks).labels.entries()) {
      for (let i = 0; i < list.length; i++) if (list[i]! >= 0) counts[slot]![list[i]!]!++;
    }
    if (++n === N_FREQUENCY) break;
  }
  return new ControlTask(families, counts, shared.rng.fork('control'));
}

/** Scores a trained probe of one or several tasks. */
async function scoreOne(
  shared: Shared,
  run: TrainedRun,
  source: EmbeddingProbeSource,
  where: string,
): Promise<Record<string, EmbeddingProbeScore>> {
  const { program, random, options, rng, batchSize } = shared;
  const families = run.tasks.map((task) => shared.source.tasks[task]!);
  const judge = async (
    examples: Iterable<Drawn>,
    bootstrap: StreamBootstrap | undefined,
  ): Promise<EmbeddingTally[]> => {
    const tallies = run.met.map((met, slot) => {
      const commonest = { label: commonestOf(met.label), control: commonestOf(met.control) };
      return new EmbeddingTally(families[slot]!.nClass, commonest, met.seenKeys, bootstrap, slot, families.length);
    });
    for (const batch of inBatches(examples, batchSize, isCausal(shared.model))) {
      const inputs = batch.map(({ example }) => labelled(example, run.tasks));
      const answers = classesOf(program, run.task, inputs);
      const randomAnswers = run.random && classesOf(random!, run.random, inputs);
      const controls =
        run.controlTask && inputs.map((x, b) => relabelled(x, withKeys(batch[b]!, where), run.controlTask!));
      const controlAnswers = controls && classesOf(program, run.control!, controls);
      for (const [b, { unit, example }] of batch.entries()) {
        const ratios = tallies.map((tally, slot) =>
          tally.add({
            truth: inputs[b]!.labels[slot]!,
            answer: answers[b]![slot]!,
            randomAnswer: randomAnswers?.[b]?.[slot],
            controlTruth: controls?.[b]?.labels[slot],
            controlAnswer: controlAnswers?.[b]?.[slot],
            keys: example.keys,
            groups: example.groups ?? {},
          }),
        );
        bootstrap?.add(unit, interleave(ratios));
      }
      onScored(options, families, run);
      await shared.pause();
    }
    return tallies;
  };
  const train = await judge(take(trainingExamples(shared, run.tasks), N_TRAIN_SCORED), undefined);
  const test = await judge(
    testExamples(shared, source, run.tasks, where),
    new StreamBootstrap(rng.fork('interval').fork(where)),
  );
  return Object.fromEntries(
    families.map(({ name, ceiling }, slot) => {
      if (test[slot]!.nRow === 0) {
        throw new DataError(`embeddingProbe.${where}`, `a label of task '${name}' to test on`, 'none');
      }
      const withMajority = options.without?.includes('majority') !== true;
      const trainLabels = run.met[slot]!.label.reduce((a, b) => a + b, 0);
      const context = { ceiling, withMajority, nTrain: trainLabels, trainLoss: run.trainLoss };
      return [name, test[slot]!.score(train[slot]!, context)];
    }),
  );
}

function onScored(
  { onProgress, nStep }: EmbeddingProbeOptions,
  families: readonly LabelFamily[],
  run: TrainedRun,
): void {
  const tasks = families.map(({ name }) => name);
  onProgress?.({ tasks, phase: 'score', step: nStep, nStep, loss: run.trainLoss });
}

function withKeys({ example, index }: Drawn, where: string): EmbeddingProbeExample {
  if (example.keys !== undefined) return example;
  throw new DataError(`embeddingProbe.${where}.example(${index}).keys`, 'keys, as other examples have', 'none');
}

/** The likeliest class at each position, by input and slot. */
function classesOf(
  program: EmbeddingProgram,
  state: ProbeState,
  inputs: readonly EmbeddingProbeInput[],
): Int32Array[][] {
  return program.logits(state, inputs).map((slots) =>
    slots.map((logits, slot) => {
      const n = state.nClass[slot]!;
      return Int32Array.from({ length: logits.length / n }, (_, i) => likeliest(logits.subarray(i * n, (i + 1) * n)));
    }),
  );
}

function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let c = 1; c < logits.length; c++) if (logits[c]! > logits[best]!) best = c;
  return best;
}

function answering(
  { program, model, options, batchSize }: Shared,
  state: ProbeState,
  slot: number,
): TrainedEmbeddingProbe {
  return {
    answer(inputs) {
      const answers: ProbeAnswer[][] = [];
      for (const [i, input] of inputs.entries()) checkInput(input, `embeddingProbe.answer(${i})`, model, options);
      const drawn = inputs.map(({ ids, positions }, index) => ({
        index,
        unit: 0,
        example: { ids, positions, labels: [] },
      }));
      for (const batch of inBatches(drawn, batchSize, isCausal(model))) {
        const logits = program.logits(
          state,
          batch.map(({ example }) => example),
        );
        for (const [b, { index, example }] of batch.entries()) {
          const n = state.nClass[slot]!;
          answers[index] = example.positions.map((_, i) => {
            const own = logits[b]![slot]!.subarray(i * n, (i + 1) * n);
            const best = likeliest(own);
            const odds = own.map((x) => Math.exp(x - own[best]!));
            const total = odds.reduce((a, x) => a + x, 0);
            return { class: best, probabilities: odds.map((x) => x / total) };
          });
        }
      }
      return answers;
    },
    embeddingUpdate: (token) => program.embeddingUpdate(state)(token),
  };
}

function* take<T>(items: Iterable<T>, n: number): Generator<T, undefined, void> {
  let left = n;
  for (const item of items) {
    yield item;
    if (--left === 0) return undefined;
  }
  return undefined;
}

/** Entry k of list i becomes entry k·n + i: ratios of several tasks in one list, however long each may grow. */
function interleave<T>(lists: readonly (readonly T[])[]): T[] {
  const all: T[] = [];
  for (const [i, list] of lists.entries()) for (const [k, item] of list.entries()) all[k * lists.length + i] = item;
  return all;
}

function pauses(signal: AbortSignal | undefined): () => Promise<void> {
  let last = performance.now();
  return async () => {
    signal?.throwIfAborted();
    if (performance.now() - last < YIELD_MS) return;
    await new Promise((resolve) => setImmediate(resolve));
    last = performance.now();
    signal?.throwIfAborted();
  };
}

function checkInput(
  { ids, positions }: EmbeddingProbeInput,
  where: string,
  { config }: LanguageModel,
  { nNewToken = 0 }: EmbeddingProbeOptions,
): void {
  const reject = (field: string, expected: string, got: unknown): never => {
    throw new DataError(`${where}.${field}`, expected, String(got));
  };
  if (ids.length < 1 || ids.length > config.nCtx)
    reject('ids', `1 … ${config.nCtx} tokens, the model's context`, ids.length);
  const nToken = config.dVocab + nNewToken;
  for (let t = 0; t < ids.length; t++) {
    const id = ids[t]!;
    if (Number.isInteger(id) && id >= 0 && id < nToken) continue;
    const fix = nNewToken === 0 ? '' : ` (${config.dVocab} of the model, ${nNewToken} new)`;
    reject(`ids[${t}]`, `a token 0 … ${nToken - 1}${fix}`, id);
  }
  const bad = positions.find((p) => !(Number.isInteger(p) && p >= 0 && p < ids.length));
  if (bad !== undefined) reject('positions', `whole numbers 0 … ${ids.length - 1}`, bad);
}

function checkExample(
  example: EmbeddingProbeExample,
  index: number,
  { tasks }: EmbeddingProbeSource,
  model: LanguageModel,
  options: EmbeddingProbeOptions,
  source: string,
): void {
  const where = `embeddingProbe.${source}.example(${index})`;
  checkInput(example, where, model, options);
  const { positions, labels, keys, groups = {} } = example;
  const reject = (field: string, expected: string, got: unknown): never => {
    throw new DataError(`${where}.${field}`, expected, String(got));
  };
  if (labels.length !== tasks.length) reject('labels', `labels of ${tasks.length} tasks`, labels.length);
  const lists = {
    ...Object.fromEntries(labels.map((list, i) => [`labels '${tasks[i]!.name}'`, list])),
    keys,
    ...groups,
  };
  for (const [name, list] of Object.entries<ArrayLike<unknown> | undefined>(lists)) {
    if (list !== undefined && list.length !== positions.length) {
      reject(name, `${positions.length} of them, as positions`, list.length);
    }
  }
  for (const [task, list] of labels.entries()) {
    const { name, nClass } = tasks[task]!;
    for (let i = 0; i < list.length; i++) {
      const label = list[i]!;
      if (Number.isInteger(label) && label >= -1 && label < nClass) continue;
      reject(`labels '${name}'[${i}]`, `a class 0 … ${nClass - 1} or −1`, label);
    }
  }
}

const controls: readonly EmbeddingControl[] = ['majority', 'randomModel', 'controlTask'];
const norms = ['none', 'layer', 'batch'];

function checkOptions({ tasks, nExample }: EmbeddingProbeSource, options: EmbeddingProbeOptions): void {
  const { readout = {}, rank = 8, nNewToken = 0, split = 0.5, dropout = 0, batchSize = 256, update = 'own' } = options;
  const { learningRate = 0.002, weightDecay = 0.01, eps = 1e-8, nStep, nTest = 1, tests = {}, without = [] } = options;
  const problems: ConfigProblem[] = [];
  const check = (ok: boolean, name: string, expected: string, got: unknown, near?: string | undefined): void => {
    if (!ok) problems.push({ path: `embeddingProbe.${name}`, expected, got: String(got), nearest: near });
  };
  for (const [name, n] of Object.entries({ batchSize, nStep, nTest })) {
    check(Number.isInteger(n) && n > 0, name, 'a positive integer', n);
  }
  for (const [name, n] of Object.entries({ rank, nNewToken })) {
    check(Number.isInteger(n) && n >= 0, name, 'an integer ≥ 0', n);
  }
  check(split > 0 && split < 1, 'split', 'a share of the units in (0, 1)', split);
  check(dropout >= 0 && dropout < 1, 'dropout', 'a share in [0, 1)', dropout);
  check(learningRate > 0 && Number.isFinite(learningRate), 'learningRate', 'a number > 0', learningRate);
  check(weightDecay >= 0 && Number.isFinite(weightDecay), 'weightDecay', 'a number ≥ 0', weightDecay);
  check(eps > 0 && Number.isFinite(eps), 'eps', 'a number > 0', eps);
  const { norm = 'none' } = readout;
  check(norms.includes(norm), 'readout.norm', `one of ${norms.join(', ')}`, `'${norm}'`, nearest(norm, norms));
  check(update === 'own' || update === 'shared', 'update', "'own' or 'shared'", `'${update}'`);
  for (const name of without) {
    check(controls.includes(name), 'without', `some of ${controls.join(', ')}`, `'${name}'`, nearest(name, controls));
  }
  check(tasks.length > 0, 'source.tasks', 'at least one', 'none');
  const names = tasks.map(({ name }) => name);
  check(new Set(names).size === names.length, 'source.tasks', 'names that differ', names.join(', '));
  for (const { name, nClass } of tasks) {
    check(Number.isInteger(nClass) && nClass > 0, `source.tasks.${name}.nClass`, 'a positive integer', nClass);
  }
  const enough = Number.isInteger(nExample) && nExample > 0 && nExample <= 2 ** 32;
  check(enough, 'source.nExample', 'an integer in 1 … 2^32', nExample);
  const described = (list: readonly LabelFamily[]): string => list.map((t) => `${t.name} (${t.nClass})`).join(', ');
  for (const [name, test] of Object.entries(tests)) {
    const [expected, got] = [described(tasks), described(test.tasks)];
    check(expected === got, `tests.${name}.tasks`, expected, got);
  }
  if (problems.length > 0) throw new ConfigError(problems);
}
