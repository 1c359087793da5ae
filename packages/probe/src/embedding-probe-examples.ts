// The examples of an embedding probe: drawn for training, in order for scoring, and in batches that fit one step.
import { DataError, type Rng } from '@physlm/base';
import type { LanguageModel } from '@physlm/model';
import type { ControlTask } from './control-task.js';
import {
  checkExample,
  type EmbeddingProbeExample,
  type EmbeddingProbeOptions,
  type EmbeddingProbeSource,
} from './embedding-probe-options.js';
import type { LabelledInput } from './embedding-probe-program.js';

/** Draws in a row without an example to train on, after which there is none. */
const MOST_REJECTED = 20_000;

/** What decides which examples come, and on which side of the split. */
export interface Drawing {
  readonly model: LanguageModel;
  readonly source: EmbeddingProbeSource;
  readonly options: EmbeddingProbeOptions;
  readonly rng: Rng;
  readonly splitRng: Rng;
}

/** An example, its number, and its unit. */
export interface Drawn {
  readonly index: number;
  readonly unit: number;
  readonly example: EmbeddingProbeExample;
}

/** Examples to train the tasks on, for ever: draw k is a function of the seed and k. */
export function* trainingExamples(drawing: Drawing, tasks: readonly number[]): Generator<Drawn, never, void> {
  const { source, options, rng, model } = drawing;
  const order = rng.fork('order');
  let rejected = 0;
  for (let k = 0; ; k++) {
    const index = order.at(k).below(source.nExample);
    const unit = source.unit(index);
    const example = isTrainUnit(unit, drawing) ? source.example(index) : undefined;
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
export function* testExamples(
  drawing: Drawing,
  source: EmbeddingProbeSource,
  tasks: readonly number[],
  where: string,
): Generator<Drawn, undefined, void> {
  const { options, model } = drawing;
  const { nTest = Number.POSITIVE_INFINITY } = options;
  for (let index = 0, n = 0; index < source.nExample && n < nTest; index++) {
    const unit = source.unit(index);
    if (source === drawing.source && isTrainUnit(unit, drawing)) continue;
    const example = source.example(index);
    checkExample(example, index, source, model, options, where);
    if (!isLabelled(example, tasks)) continue;
    n++;
    yield { index, unit, example };
  }
  return undefined;
}

/** Lists of examples that fit one step: any for a causal model, of one length for an encoder, the first full list first. */
export function* inBatches(
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

function isTrainUnit(unit: number, { options: { split = 0.5 }, splitRng }: Drawing): boolean {
  return splitRng.at(unit).uniform() < split;
}

function isLabelled({ labels }: EmbeddingProbeExample, tasks: readonly number[]): boolean {
  return tasks.some((task) => Array.prototype.some.call(labels[task], (label: number) => label >= 0));
}

/** The example with the labels of some tasks. */
export function labelled({ ids, positions, labels }: EmbeddingProbeExample, tasks: readonly number[]): LabelledInput {
  return { ids, positions, labels: tasks.map((task) => labels[task]!) };
}

/** The input with the labels that the control task gives to its keys. */
export function relabelled(
  input: LabelledInput,
  { keys }: EmbeddingProbeExample,
  controlTask: ControlTask,
): LabelledInput & { readonly labels: readonly Int32Array[] } {
  const labels = input.labels.map((list) => Int32Array.from(list));
  return { ...input, labels: controlTask.labels({ labels, keys: Int32Array.from(keys!) }) };
}
