// Trains an embedding probe together with its controls: the same examples in the same order, with the labels for the probe, the
// labels and an untrained model, and the labels of the control task.
import { DataError, PhyslmError } from '@physlm/base';
import { ControlTask } from './control-task.js';
import {
  type Drawing,
  type Drawn,
  inBatches,
  labelled,
  relabelled,
  trainingExamples,
} from './embedding-probe-examples.js';
import { type EmbeddingProgram, isCausal, type ProbeState } from './embedding-probe-program.js';

/** Training examples whose labels give the frequencies that the control draws from. */
const N_FREQUENCY = 512;

/** What all probes of a call have in common. */
export interface Shared extends Drawing {
  readonly program: EmbeddingProgram;
  readonly random: EmbeddingProgram | undefined;
  readonly batchSize: number;
  /** Lets other work run now and then; throws when it is time to stop. */
  pause(): Promise<void>;
}

/** A trained probe, its controls, and what training met of each of its tasks. */
export interface TrainedRun {
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

/** Trains a probe of one or several tasks, and its controls. */
export async function trainOne(shared: Shared, tasks: readonly number[]): Promise<TrainedRun> {
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
