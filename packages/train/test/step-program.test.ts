// One optimiser step: the same bits for any number of threads, recorded over slices or run op by op.
import { Rng } from '@physlm/base';
import {
  adamW,
  add,
  backward,
  buildModel,
  crossEntropy,
  deviceStatus,
  gpt2,
  gradNorm,
  ignoreIndex,
  llama,
  type ModelConfig,
  openDevice,
  ParameterArena,
  reshape,
} from '@physlm/model';
import { describe, expect, it } from 'vitest';
import { StepProgram, type TrainingWindows } from '../src/index.js';

const nCtx = 64;
const nBatch = 12;
const optimizer = { lrPeak: 0.01, betas: [0.9, 0.98] as const, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 };
const sizes = { dModel: 32, dVocab: 211, nCtx };
const configs: Readonly<Record<string, ModelConfig>> = {
  gpt: gpt2(2, 2, sizes),
  'gpt, experts': gpt2(2, 2, { ...sizes, nExpert: 3 }),
  llama: llama(2, 4, { ...sizes, nKvHead: 2, dMlp: 48 }),
};

const windows: TrainingWindows = {
  nCtx,
  window(index, ids, targets) {
    const rng = new Rng('step').at(index);
    for (let t = 0; t < nCtx; t++) {
      ids[t] = rng.below(211);
      targets[t] = rng.below(5) === 0 ? ignoreIndex : rng.below(211);
    }
  },
};

interface Outcome {
  readonly losses: number[];
  readonly norms: number[];
  readonly weights: number[];
}

/** Windows that end somewhere, as padded documents do; one of a step is full, and one has no target at all. */
const padded: TrainingWindows = {
  nCtx,
  window(index, ids, targets) {
    windows.window(index, ids, targets);
    const end = index % nBatch === 4 ? nCtx : index % nBatch === 7 ? 0 : new Rng('ends').at(index).below(nCtx);
    ids.fill(0, end);
    targets.fill(ignoreIndex, end);
  },
};

interface RecordedOutcome extends Outcome {
  readonly nSlice: number;
  readonly lengths: readonly number[];
}

function recorded(config: ModelConfig, nThread: number, nAccumulate = 1, of = windows): RecordedOutcome {
  const model = buildModel(openDevice('cpu', { nThread }), config, new Rng('weights'));
  const program = new StepProgram(model, nCtx, nBatch, nAccumulate, optimizer);
  const results = [0, 1, 2].map((step) => program.run(of, step, 0.01));
  return {
    losses: results.map(({ lossSum }) => lossSum),
    norms: results.map((result) => result.gradNorm),
    weights: program.arena.weights.toArray(),
    nSlice: program.nSlice,
    lengths: program.lengths,
  };
}

/** The same steps op by op: each slice eagerly, gradients added in order. */
function eager(config: ModelConfig, nSlice: number, of = windows): Outcome {
  const device = openDevice('cpu', { nThread: 2 });
  const model = buildModel(device, config, new Rng('weights'));
  const arena = new ParameterArena(device, model);
  const [m, v] = [arena.like(), arena.like()];
  const perSlice = nBatch / nSlice;
  const outcome: Outcome = { losses: [], norms: [], weights: [] };
  for (let step = 0; step < 3; step++) {
    const ids = new Int32Array(nBatch * nCtx);
    const targets = new Int32Array(nBatch * nCtx);
    for (let w = 0; w < nBatch; w++) {
      const [from, to] = [w * nCtx, (w + 1) * nCtx];
      of.window(step * nBatch + w, ids.subarray(from, to), targets.subarray(from, to));
    }
    const weight = Math.fround(1 / targets.filter((target) => target !== ignoreIndex).length);
    const total = arena.like();
    let lossSum = 0;
    for (let s = 0; s < nSlice; s++) {
      const [from, to] = [s * perSlice * nCtx, (s + 1) * perSlice * nCtx];
      const window = device.tensor(ids.subarray(from, to), [perSlice, nCtx], 'i32');
      const { logits, penalty } = model.forwardTraining(window);
      const rows = reshape(logits, [perSlice * nCtx, 211]);
      const mine = device.tensor(targets.subarray(from, to), [perSlice * nCtx], 'i32');
      const { loss } = crossEntropy({ logits: rows, targets: mine }, { ignore: ignoreIndex });
      const each = device.tensor(new Float32Array(perSlice * nCtx).fill(weight), [perSlice * nCtx]);
      backward(penalty === undefined ? loss : add(loss, penalty), each);
      add(total, reshape(arena.gradients, [total.size]), total);
      for (const nats of loss.values()) lossSum += nats;
    }
    const { norm } = gradNorm({ g: total }, {});
    const [beta1, beta2] = optimizer.betas;
    const hyper = [0.01, beta1, beta2, 1e-8, 0.1, 1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1), 1];
    adamW({ w: arena.weights, g: total, m, v, norm, hyper: device.tensor(hyper, [8]) }, { nDecay: arena.nDecay });
    outcome.losses.push(lossSum);
    outcome.norms.push(norm.item());
  }
  outcome.weights.push(...arena.weights.toArray());
  return outcome;
}

const status = deviceStatus('cpu');
const reason = status.available ? undefined : status.reason;

describe.skipIf(reason)(`a training step on cpu${reason ? ` (${reason})` : ''}`, () => {
  it.each(Object.entries(configs))('has the same bits on 1, 2 and 3 threads, and op by op: %s', (_, config) => {
    const one = recorded(config, 1);
    expect(one.nSlice).toBeGreaterThan(1);
    expect(recorded(config, 2)).toEqual(one);
    expect(recorded(config, 3)).toEqual(one);
    const { nSlice, lengths, ...outcome } = one;
    expect(lengths).toEqual([nCtx]);
    expect(eager(config, nSlice)).toEqual(outcome);
    const accumulated = recorded(config, 2, 3);
    expect(recorded(config, 1, 3)).toEqual(accumulated);
    expect(Math.abs(accumulated.losses[2]! - one.losses[2]!)).toBeLessThan(1e-3 * one.losses[2]!);
  });

  it.each(Object.entries(configs))('computes padding only where it can matter: %s', (name, config) => {
    const one = recorded(config, 1, 1, padded);
    expect(recorded(config, 2, 1, padded)).toEqual(one);
    expect(recorded(config, 3, 1, padded)).toEqual(one);
    const { nSlice, lengths, ...outcome } = one;
    // Tokens behind the last target take places at experts.
    if (name === 'gpt, experts') expect(lengths).toEqual([nCtx]);
    else expect(lengths.length).toBeGreaterThan(1);
    const whole = eager(config, nSlice, padded);
    for (const key of ['losses', 'norms', 'weights'] as const) {
      outcome[key].forEach((value, i) => {
        expect(Math.abs(value - whole[key][i]!)).toBeLessThan(2e-5 * Math.max(1, Math.abs(value)));
      });
    }
  });

  it('computes all of an encoder, whose tokens see what follows', () => {
    const { lengths } = recorded({ ...configs.gpt!, causal: false } as ModelConfig, 1, 1, padded);
    expect(lengths).toEqual([nCtx]);
  });
});
