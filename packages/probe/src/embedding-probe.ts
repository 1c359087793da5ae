// The probes of Parts 2 and 3: V-probing (arXiv:2407.20311), P-probing and Q-probing (arXiv:2309.14316). A frozen language model,
// a trainable low-rank update of its input embedding, and a linear head on its states at chosen positions.
//
// A probe and its controls see the same examples in the same order: one learns the labels, one the labels with a freshly
// initialised model in place of the trained one, one the control task (Hewitt and Liang 2019). What is in memory does not depend
// on the number of examples, but for one number a key.
import { DataError, Rng } from '@physlm/base';
import { buildModel, type LanguageModel } from '@physlm/model';
import {
  type Drawn,
  inBatches,
  labelled,
  relabelled,
  testExamples,
  trainingExamples,
} from './embedding-probe-examples.js';
import type { EmbeddingReadout } from './embedding-probe-module.js';
import {
  checkInput,
  checkOptions,
  type EmbeddingControl,
  type EmbeddingProbeExample,
  type EmbeddingProbeOptions,
  type EmbeddingProbeSource,
} from './embedding-probe-options.js';
import { type EmbeddingProbeInput, EmbeddingProgram, isCausal, type ProbeState } from './embedding-probe-program.js';
import { type EmbeddingProbeScore, EmbeddingTally } from './embedding-probe-score.js';
import { type Shared, type TrainedRun, trainOne } from './embedding-probe-training.js';
import { commonestOf, StreamBootstrap } from './probe-score.js';
import type { LabelFamily } from './train-probe.js';

/** Whether a control ran. */
export type ControlState = 'run' | 'left out' | 'no keys';

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
