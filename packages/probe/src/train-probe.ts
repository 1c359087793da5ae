// Trains a probe on streamed states together with its controls, and scores them side by side.
//
// Three probes of the same architecture see the same sentences in the same order: one learns the labels, one the control
// task (Hewitt and Liang 2019), and one the labels from the states of an untrained model. Sentences 0 … nTrain − 1 of the
// source are for training, the next nTest for testing. What is in memory depends on neither, but for one number a key.
import { ConfigError, type ConfigProblem, DataError, PhyslmError, Rng } from '@physlm/base';
import type { Device } from '@physlm/model';
import type { ActivationSource } from './activation-stream.js';
import { ControlTask } from './control-task.js';
import { type ProbeArchitecture, type ProbeBatch, ProbeProgram } from './probe-program.js';
import { commonestOf, type ProbeInterval, type ProbeScore, StreamBootstrap } from './probe-score.js';

/** Labels of one kind, such as the ancestors of one level. */
export interface LabelFamily {
  readonly name: string;
  readonly nClass: number;
  /** Best possible accuracy given what the model has read, where it is known. */
  readonly ceiling?: number | undefined;
}

/** The labels of a sentence, position by position. */
export interface SentenceLabels {
  /** By family: the class at each position, −1 where the label is not defined or not asked for. */
  readonly labels: readonly Int32Array[];
  /**
   * The type at each position that a memorising probe could key on (token, n-gram), any integers; types should recur across
   * sentences. The control task labels types at random.
   */
  readonly keys: Int32Array;
}

/** Label families and the labels of any sentence; sentence(i) is a pure function of i. */
export interface ProbeLabels {
  readonly families: readonly LabelFamily[];
  sentence(index: number): SentenceLabels;
}

/** What to probe, and how. The defaults are the paper's. */
export interface TrainProbeOptions {
  readonly architecture: ProbeArchitecture;
  readonly states: ActivationSource;
  /** States of the same sentences in a freshly initialised model of the same architecture; `undefined` leaves this control out. */
  readonly randomModel: ActivationSource | undefined;
  readonly labels: ProbeLabels;
  /** Most positions of a sentence; longer ones are refused. */
  readonly nPosition: number;
  /** Sentences to train on: the first ones. With nStep·batchSize of them or more, none is seen twice. */
  readonly nTrain: number;
  /** Sentences to test on: those behind. */
  readonly nTest: number;
  /** Optimiser steps; 30,000. */
  readonly nStep?: number | undefined;
  /** Sentences of a step; 60. */
  readonly batchSize?: number | undefined;
  /** At the first step; falls linearly to 0. 0.003. */
  readonly learningRate?: number | undefined;
  /** Decides initial weights, the control's labels, the order of sentences and the resampling. */
  readonly seed: number | string;
}

/** What a trained probe found, with its controls. Plain JSON. */
export interface TrainedProbeResult {
  readonly architecture: ProbeArchitecture;
  /** By family. */
  readonly families: Readonly<Record<string, ProbeScore>>;
  /** Mean −ln p of the last tenth of the steps, nats for each labelled position and family. */
  readonly trainLoss: number;
  readonly nParameter: number;
  readonly nStep: number;
  /** Sentences. */
  readonly nSentenceTrain: number;
  readonly nSentenceTest: number;
}

/** Training sentences whose labels give the frequencies that the control draws from. */
const N_FREQUENCY = 256;
/** Training sentences that training accuracies are measured on, at most. */
const N_TRAIN_SCORED = 200;

/**
 * Asks whether labels can be read off hidden states by a small probe, and whether the reader could have learnt as much by
 * heart or from an untrained model.
 *
 * The control task gives each key one random label of each family, drawn from the label frequencies of the first training
 * sentences, wherever the family has a label. It is scored, like selectivity, on test positions whose key occurs in training.
 *
 * Deterministic: the same sources, options and device give the same bits.
 *
 * @throws ConfigError naming every option out of its range.
 * @throws DataError naming the sentence when labels do not fit its states or their family, a sentence is too long or its states
 * are not finite, and when a family has no labelled position to train or test on.
 * @throws PhyslmError 'diverged' when the loss is no number although the states are.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, section 4 and appendix; Hewitt and Liang 2019, arXiv:1909.03368.
 */
export function trainProbe(device: Device, options: TrainProbeOptions): TrainedProbeResult {
  return trainProbes(device, { probe: options }).probe;
}

/**
 * Trains several probes side by side, batch by batch in turn; each result is what `trainProbe` gives. Probes with the same
 * numbers of sentences and steps and the same seed meet the same sentences at the same time, so sources that share their work,
 * as `modelPoints` gives them, do it once for all.
 *
 * @throws as {@link trainProbe}.
 */
export function trainProbes<Name extends string>(
  device: Device,
  probes: Readonly<Record<Name, TrainProbeOptions>>,
): Record<Name, TrainedProbeResult> {
  const running = Object.entries<TrainProbeOptions>(probes).map(([name, options]) => {
    checkOptions(options);
    return { name, run: batchesOf(device, options) };
  });
  const results = new Map<string, TrainedProbeResult>();
  for (let left = running; left.length > 0; ) {
    left = left.filter(({ name, run }) => {
      const turn = run.next();
      if (turn.done) results.set(name, turn.value);
      return !turn.done;
    });
  }
  const inOrder = running.map(({ name }) => [name, results.get(name)!]);
  return Object.fromEntries(inOrder) as Record<Name, TrainedProbeResult>;
}

/** Trains and scores one probe; gives way after each batch. */
function* batchesOf(device: Device, options: TrainProbeOptions): Generator<void, TrainedProbeResult> {
  const { architecture, states, randomModel, labels, nPosition, nTrain, nTest, seed } = options;
  const { nStep = 30_000, batchSize = 60, learningRate = 0.003 } = options;
  const { families } = labels;
  const rng = new Rng(seed).fork('trainProbe');
  const sizes = { nClass: families.map(({ nClass }) => nClass), nPosition, batchSize };
  const program = (d: number): ProbeProgram =>
    new ProbeProgram(device, architecture, { ...sizes, d }, rng.fork('weights'));
  const task = program(states.d);
  const control = program(states.d);
  const random = randomModel === undefined ? undefined : program(randomModel.d);
  const controlTask = controlTaskOf(labels, Math.min(nTrain, N_FREQUENCY), rng.fork('control'));
  const counts = families.map(
    ({ nClass }): Trained => ({
      label: new Float64Array(nClass),
      control: new Float64Array(nClass),
      seenKeys: new Set(),
    }),
  );

  const load = (sentences: readonly number[]): Loaded =>
    loadBatch(sentences, states, randomModel, labels, controlTask, nPosition);
  const order = rng.fork('order');
  let lossSum = 0;
  let nLoss = 0;
  for (let step = 0; step < nStep; step++) {
    const size = Math.min(batchSize, nTrain);
    const sentences = Array.from({ length: size }, (_, b) => {
      const drawn = step * size + b;
      return nStep * size <= nTrain ? drawn : order.at(drawn).below(nTrain);
    });
    const { taskBatch, controlBatch, randomBatch, keys } = load(sentences);
    for (const [b, byFamily] of taskBatch.labels.entries()) {
      for (const [g, list] of byFamily.entries()) {
        const { label, control: controls, seenKeys } = counts[g]!;
        for (let i = 0; i < list.length; i++) {
          if (list[i]! < 0) continue;
          label[list[i]!]!++;
          controls[controlBatch.labels[b]![g]![i]!]!++;
          seenKeys.add(keys[b]![i]!);
        }
      }
    }
    const lr = learningRate * (1 - step / nStep);
    const loss = task.train(taskBatch, lr);
    control.train(controlBatch, lr);
    if (randomBatch !== undefined) random!.train(randomBatch, lr);
    if (!Number.isFinite(loss)) diagnose(sentences, taskBatch, step);
    if (step >= 0.9 * nStep - 1) {
      lossSum += loss;
      nLoss++;
    }
    yield;
  }
  for (const [g, { label }] of counts.entries()) {
    if (label.some((n) => n > 0)) continue;
    throw new DataError('trainProbe.labels', `a label of family '${families[g]!.name}' to train on`, 'none');
  }

  function* judge(start: number, end: number, bootstrap?: StreamBootstrap): Generator<void, FamilyTally[]> {
    const tallies = counts.map((trained) => new FamilyTally(trained));
    for (let first = start; first < end; first += batchSize) {
      const sentences = Array.from({ length: Math.min(batchSize, end - first) }, (_, b) => first + b);
      const { taskBatch, controlBatch, randomBatch, keys } = load(sentences);
      const answers = task.predict(taskBatch);
      const controlAnswers = control.predict(controlBatch);
      const randomAnswers = randomBatch && random!.predict(randomBatch);
      for (const [b, sentence] of sentences.entries()) {
        const ratios = tallies.flatMap((tally, g) =>
          tally.add(keys[b]!, {
            truth: taskBatch.labels[b]![g]!,
            answer: answers[b]![g]!,
            controlTruth: controlBatch.labels[b]![g]!,
            controlAnswer: controlAnswers[b]![g]!,
            randomAnswer: randomAnswers === undefined ? undefined : randomAnswers[b]![g]!,
          }),
        );
        bootstrap?.add(sentence, ratios);
      }
      yield;
    }
    return tallies;
  }
  const train = yield* judge(0, Math.min(nTrain, N_TRAIN_SCORED));
  const bootstrap = new StreamBootstrap(rng.fork('interval'));
  const test = yield* judge(nTrain, nTrain + nTest, bootstrap);
  const interval = (g: number, ratio: (typeof RATIOS)[number]): ProbeInterval | undefined =>
    bootstrap.interval(RATIOS.length * g + RATIOS.indexOf(ratio));
  return {
    architecture,
    families: Object.fromEntries(
      families.map(({ name, ceiling }, g) => [
        name,
        scoreOf(name, ceiling, train[g]!, test[g]!, (ratio) => interval(g, ratio)),
      ]),
    ),
    trainLoss: lossSum / nLoss,
    nParameter: task.nParameter,
    nStep,
    nSentenceTrain: nTrain,
    nSentenceTest: nTest,
  };
}

interface Loaded {
  readonly taskBatch: ProbeBatch;
  readonly controlBatch: ProbeBatch;
  readonly randomBatch: ProbeBatch | undefined;
  readonly keys: readonly Int32Array[];
}

/** States, labels, control labels and keys of sentences, checked against each other. */
function loadBatch(
  sentences: readonly number[],
  source: ActivationSource,
  randomModel: ActivationSource | undefined,
  { families, sentence }: ProbeLabels,
  controlTask: ControlTask,
  nPosition: number,
): Loaded {
  const states = source.read(sentences);
  const given = sentences.map((i) => sentence(i));
  for (const [b, i] of sentences.entries()) {
    const n = states[b]!.length / source.d;
    const where = `trainProbe.labels.sentence(${i})`;
    if (n > nPosition) {
      throw new DataError('trainProbe.nPosition', `at least ${n} for sentence ${i}`, String(nPosition));
    }
    const { labels, keys } = given[b]!;
    if (labels.length !== families.length) {
      throw new DataError(where, `labels of ${families.length} families`, String(labels.length));
    }
    if (keys.length !== n) throw new DataError(`${where}.keys`, `${n} positions, as the states have`, `${keys.length}`);
    for (const [g, list] of labels.entries()) {
      const { name, nClass } = families[g]!;
      if (list.length !== n) {
        throw new DataError(`${where} '${name}'`, `${n} positions, as the states have`, `${list.length}`);
      }
      const bad = list.findIndex((label) => label < -1 || label >= nClass);
      if (bad < 0) continue;
      throw new DataError(`${where} '${name}'[${bad}]`, `a class 0 … ${nClass - 1} or −1`, String(list[bad]));
    }
  }
  const labels = given.map((one) => one.labels);
  const randomStates = randomModel?.read(sentences);
  randomStates?.forEach((rows, b) => {
    const n = rows.length / randomModel!.d;
    if (n === given[b]!.keys.length) return;
    throw new DataError(
      'trainProbe.randomModel',
      `${given[b]!.keys.length} rows for sentence ${sentences[b]}`,
      String(n),
    );
  });
  return {
    taskBatch: { states, labels },
    controlBatch: { states, labels: given.map((one) => controlTask.labels(one)) },
    randomBatch: randomStates && { states: randomStates, labels },
    keys: given.map((one) => one.keys),
  };
}

/** The control task of a source of sentences, with the frequencies of its first ones. */
function controlTaskOf({ families, sentence }: ProbeLabels, nSentence: number, rng: Rng): ControlTask {
  const counts = families.map(({ nClass }) => new Float64Array(nClass));
  for (let i = 0; i < nSentence; i++) {
    for (const [g, list] of sentence(i).labels.entries()) {
      // Labels out of range are refused, with their place, when the sentence is trained on.
      for (const label of list) if (label >= 0 && label < (counts[g]?.length ?? 0)) counts[g]![label]!++;
    }
  }
  return new ControlTask(families, counts, rng);
}

/** What three probes said at the labelled positions of a sentence. */
interface Answers {
  readonly truth: Int32Array;
  readonly answer: Int32Array;
  readonly controlTruth: Int32Array;
  readonly controlAnswer: Int32Array;
  readonly randomAnswer: Int32Array | undefined;
}

/** What has an interval, in the order that tallies give it to the bootstrap. */
const RATIOS = ['accuracy', 'selectivity', 'random'] as const;

/** What training met of a family: how often each label and control label, and which keys. */
interface Trained {
  readonly label: Float64Array;
  readonly control: Float64Array;
  readonly seenKeys: Set<number>;
}

/** Hits of one family, summed over sentences. */
class FamilyTally {
  nRow = 0;
  nSeen = 0;
  hits = 0;
  randomHits = 0;
  controlHits = 0;
  /** Control on all rows, seen or not. */
  controlHitsAll = 0;
  seenGain = 0;
  isCommonest = 0;
  isCommonestControl = 0;
  hasRandom = false;
  readonly #commonest: number;
  readonly #commonestControl: number;

  constructor(readonly trained: Trained) {
    this.#commonest = commonestOf(trained.label);
    this.#commonestControl = commonestOf(trained.control);
  }

  /** Adds a sentence; its [value, n] of each of {@link RATIOS}. */
  add(
    keys: Int32Array,
    { truth, answer, controlTruth, controlAnswer, randomAnswer }: Answers,
  ): readonly (readonly [number, number])[] {
    let [n, seen, hits, randomHits, gain] = [0, 0, 0, 0, 0];
    for (let i = 0; i < truth.length; i++) {
      if (truth[i]! < 0) continue;
      const hit = Number(answer[i] === truth[i]);
      const controlHit = Number(controlAnswer[i] === controlTruth[i]);
      n++;
      hits += hit;
      randomHits += Number(randomAnswer?.[i] === truth[i]);
      this.isCommonest += Number(truth[i] === this.#commonest);
      this.controlHitsAll += controlHit;
      if (!this.trained.seenKeys.has(keys[i]!)) continue;
      seen++;
      gain += hit - controlHit;
      this.controlHits += controlHit;
      this.isCommonestControl += Number(controlTruth[i] === this.#commonestControl);
    }
    this.nRow += n;
    this.nSeen += seen;
    this.hits += hits;
    this.randomHits += randomHits;
    this.seenGain += gain;
    this.hasRandom = randomAnswer !== undefined;
    return [
      [hits, n],
      [gain, seen],
      [randomHits, n],
    ];
  }
}

function scoreOf(
  name: string,
  ceiling: number | undefined,
  train: FamilyTally,
  test: FamilyTally,
  intervalOf: (ratio: (typeof RATIOS)[number]) => ProbeInterval | undefined,
): ProbeScore {
  const interval = intervalOf('accuracy');
  if (interval === undefined) {
    throw new DataError('trainProbe.labels', `a label of family '${name}' to test on`, 'none');
  }
  const seen = test.nSeen > 0;
  return {
    accuracy: test.hits / test.nRow,
    interval,
    majority: test.isCommonest / test.nRow,
    trainAccuracy: train.hits / train.nRow,
    controlAccuracy: seen ? test.controlHits / test.nSeen : undefined,
    controlMajority: seen ? test.isCommonestControl / test.nSeen : undefined,
    controlTrainAccuracy: train.controlHitsAll / train.nRow,
    selectivity: seen ? test.seenGain / test.nSeen : undefined,
    selectivityInterval: intervalOf('selectivity'),
    randomModelAccuracy: test.hasRandom ? test.randomHits / test.nRow : undefined,
    randomModelInterval: test.hasRandom ? intervalOf('random') : undefined,
    ceiling,
    nTrain: test.trained.label.reduce((a, b) => a + b, 0),
    nTest: test.nRow,
    nTestSeen: test.nSeen,
  };
}

/** Says why a loss is no number. */
function diagnose(sentences: readonly number[], { states }: ProbeBatch, step: number): never {
  for (const [b, rows] of states.entries()) {
    const bad = rows.findIndex((x) => !Number.isFinite(x));
    if (bad < 0) continue;
    throw new DataError(`trainProbe.states of sentence ${sentences[b]}`, 'finite numbers', String(rows[bad]));
  }
  throw new PhyslmError(
    'diverged',
    `[trainProbe] the loss is no number at step ${step}\nScale the states down, or lower learningRate.`,
  );
}

function checkOptions(options: TrainProbeOptions): void {
  const { architecture, labels, states, randomModel, nTrain, nTest } = options;
  const problems: ConfigProblem[] = [];
  const check = (ok: boolean, name: string, expected: string, got: unknown): void => {
    if (!ok) problems.push({ path: `trainProbe.${name}`, expected, got: String(got) });
  };
  const natural = (name: string, n: number): void => check(Number.isInteger(n) && n > 0, name, 'a positive integer', n);
  natural('nPosition', options.nPosition);
  natural('nTrain', nTrain);
  natural('nTest', nTest);
  natural('nStep', options.nStep ?? 1);
  natural('batchSize', options.batchSize ?? 1);
  const { learningRate = 1 } = options;
  check(learningRate > 0 && Number.isFinite(learningRate), 'learningRate', 'a number > 0', learningRate);
  if (architecture.kind === 'mlp') natural('architecture.dHidden', architecture.dHidden);
  if (architecture.kind === 'position') {
    const { nHead, dPosition } = architecture;
    natural('architecture.nHead', nHead);
    natural('architecture.dPosition', dPosition);
    check(dPosition % nHead === 0, 'architecture.dPosition', `a multiple of nHead = ${nHead}`, dPosition);
  }
  check(labels.families.length > 0, 'labels.families', 'at least one', 'none');
  for (const { name, nClass } of labels.families) natural(`labels.families.${name}.nClass`, nClass);
  const names = labels.families.map(({ name }) => name);
  check(new Set(names).size === names.length, 'labels.families', 'names that differ', names.join(', '));
  for (const [name, source] of Object.entries({ states, randomModel })) {
    const n = source?.nSentence ?? Number.POSITIVE_INFINITY;
    check(n >= nTrain + nTest, `${name}.nSentence`, `nTrain + nTest = ${nTrain + nTest} sentences`, n);
  }
  if (problems.length > 0) throw new ConfigError(problems);
}
