// What an embedding probe is asked: examples with their labels, options with the papers' settings, and the checks of both.
import { ConfigError, type ConfigProblem, DataError, nearest } from '@physlm/base';
import type { LanguageModel } from '@physlm/model';
import type { EmbeddingReadout } from './embedding-probe-module.js';
import type { EmbeddingProbeInput } from './embedding-probe-program.js';
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

export function checkInput(
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

export function checkExample(
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

export function checkOptions({ tasks, nExample }: EmbeddingProbeSource, options: EmbeddingProbeOptions): void {
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
