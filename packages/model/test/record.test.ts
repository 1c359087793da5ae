import { Rng } from '@physlm/base';
import { describe, expect, it } from 'vitest';
import {
  add,
  backward,
  buildModel,
  crossEntropy,
  type Device,
  type DeviceName,
  deviceStatus,
  gpt2,
  ignoreIndex,
  llama,
  type ModelConfig,
  openDevice,
  ParameterArena,
  positionSchemes,
  reshape,
  type Tensor,
} from '../src/index.js';

const sizes = { dModel: 16, dVocab: 23, nCtx: 12 };
const configs: Readonly<Record<string, ModelConfig>> = {
  'gpt, tied': gpt2(2, 2, sizes),
  'gpt, untied': gpt2(1, 2, { ...sizes, tied: false }),
  'gpt, experts': gpt2(2, 2, { ...sizes, nExpert: 3 }),
  ...Object.fromEntries(
    positionSchemes
      .filter((position) => position !== 'rotary')
      .map((position) => [`gpt, ${position}`, gpt2(2, 2, { ...sizes, position })]),
  ),
  'gpt encoder, relative': gpt2(1, 2, { ...sizes, position: 'relative', causal: false, nDistance: 5 }),
  'llama, grouped heads': llama(2, 4, { ...sizes, nKvHead: 2, dMlp: 24 }),
};

function batch(device: Device): { ids: Tensor; targets: Tensor } {
  const rng = new Rng('batch');
  const tokens = (low: number): number[] => Array.from({ length: 24 }, () => low + rng.below(23 - low));
  return { ids: device.tensor(tokens(0), [2, 12], 'i32'), targets: device.tensor(tokens(ignoreIndex), [24], 'i32') };
}

/** Loss and all gradients of one batch, eagerly and recorded. */
function gradients(device: Device, config: ModelConfig, recorded: boolean): { loss: number[]; gradients: number[] } {
  const model = buildModel(device, config, new Rng('weights'));
  const arena = new ParameterArena(device, model);
  const { ids, targets } = batch(device);
  const seed = device.tensor(new Float32Array(24).fill(1 / 24), [24]);
  const step = (): { loss: Tensor } => {
    const logits = model.forward(ids);
    const { loss } = crossEntropy({ logits: reshape(logits, [24, 23]), targets }, { ignore: ignoreIndex });
    backward(loss, seed);
    return { loss };
  };
  let loss: Tensor;
  if (recorded) {
    const program = device.record(step);
    program.run();
    program.run(); // A second run must not see leftovers of the first.
    loss = program.results.loss;
  } else {
    loss = step().loss;
  }
  return { loss: loss.toArray(), gradients: arena.gradients.toArray() };
}

describe.each(['js', 'cpu'] as const)('recorded steps on %s', (name: DeviceName) => {
  const status = deviceStatus(name);
  const reason = status.available ? undefined : status.reason;
  it.skipIf(reason).each(Object.entries(configs))(
    `give the bits of eager steps: %s${reason ? ` (${reason})` : ''}`,
    (_, config) => {
      const device = openDevice(name);
      const eager = gradients(device, config, false);
      const recorded = gradients(device, config, true);
      expect(recorded).toEqual(eager);
      expect(eager.gradients.some((g) => g !== 0)).toBe(true);
      const js = gradients(openDevice('js'), config, false);
      for (const [i, g] of eager.gradients.entries()) expect(Math.abs(g - js.gradients[i]!)).toBeLessThan(1e-5);
    },
  );
});

/** Losses and gradients of each window of the batch, by slices on `nLane` lanes; `mixed`: with a TypeScript kernel in between. */
function bySlices(
  device: Device,
  config: ModelConfig,
  nLane: number,
  mixed = false,
): { loss: number[]; gradients: number[] } {
  const model = buildModel(device, config, new Rng('weights'));
  const arena = new ParameterArena(device, model, 2);
  const { ids, targets } = batch(device);
  const seed = device.tensor(new Float32Array(12).fill(1 / 24), [12]);
  const sliced = [ids.view([2, 1, 12]), targets.view([2, 12]), arena.gradients];
  const program = device.recordSlices({ nSlice: 2, nLane, sliced }, (firstIds, firstTargets) => {
    const logits = reshape(model.forward(firstIds!), [12, 23]);
    const { loss } = crossEntropy({ logits, targets: firstTargets! }, { ignore: ignoreIndex });
    backward(loss, seed);
    return mixed ? { loss: addOne(loss) } : { loss };
  });
  program.run();
  program.run();
  expect(program.results.loss.shape).toEqual([2, 12]);
  return { loss: program.results.loss.toArray(), gradients: arena.gradients.toArray() };
}

/** The same, one window after another without recording. */
function byWindows(device: Device, config: ModelConfig): { loss: number[]; gradients: number[] } {
  const all = [0, 1].map((window) => {
    const model = buildModel(device, config, new Rng('weights'));
    const arena = new ParameterArena(device, model);
    const { ids, targets } = batch(device);
    const part = (x: Tensor): number[] => x.toArray().slice(12 * window, 12 * (window + 1));
    const logits = reshape(model.forward(device.tensor(part(ids), [1, 12], 'i32')), [12, 23]);
    const mine = device.tensor(part(targets), [12], 'i32');
    const { loss } = crossEntropy({ logits, targets: mine }, { ignore: ignoreIndex });
    backward(loss, device.tensor(new Float32Array(12).fill(1 / 24), [12]));
    return { loss: loss.toArray(), gradients: arena.gradients.toArray() };
  });
  return { loss: all.flatMap((x) => x.loss), gradients: all.flatMap((x) => x.gradients) };
}

describe.each(['js', 'cpu'] as const)('steps recorded over slices on %s', (name: DeviceName) => {
  const status = deviceStatus(name);
  const reason = status.available ? undefined : status.reason;
  it.skipIf(reason).each(Object.entries(configs))(
    `give each slice the bits of its own eager step, in lanes or in turn: %s${reason ? ` (${reason})` : ''}`,
    (_, config) => {
      const expected = byWindows(openDevice(name), config);
      for (const [nThread, nLane] of [
        [1, 1],
        [2, 1],
        [2, 2],
        [1, 2],
        [3, 2],
      ] as const) {
        const device = openDevice(name, { nThread });
        expect(bySlices(device, config, nLane), `${nThread} threads, ${nLane} lanes`).toEqual(expected);
        const mixed = bySlices(device, config, nLane, true);
        expect(mixed.gradients).toEqual(expected.gradients);
        expect(mixed.loss).toEqual(expected.loss.map((loss) => Math.fround(loss + 1)));
      }
    },
  );
  it.skipIf(reason)('name the command and the first slice that fails', () => {
    const device = openDevice(name, { nThread: 2 });
    const model = buildModel(device, configs['gpt, tied']!, new Rng('weights'));
    const ids = device.zeros([4, 1, 12], 'i32');
    const program = device.withoutGrad(() =>
      device.recordSlices({ nSlice: 4, nLane: 2, sliced: [ids] }, (first) => ({ logits: model.forward(first!) })),
    );
    program.run();
    ids.values().set([99], 24);
    ids.values().set([77], 36);
    expect(() => program.run()).toThrow(/99/);
    ids.values().fill(1);
    program.run();
  });
});

describe('recording', () => {
  it('reuses memory: the arena is smaller than the sum of its tensors, and results stay readable', () => {
    const device = openDevice('js');
    const x = device.tensor([1, 2, 3, 4], [4]);
    const program = device.record(() => {
      let y = x;
      for (let i = 0; i < 50; i++) y = reshape(addOne(y), [4]);
      return { y };
    });
    expect(program.nCommand).toBe(50);
    expect(program.arenaBytes).toBe(128);
    x.values().set([10, 20, 30, 40]);
    program.run();
    expect(program.results.y.toArray()).toEqual([60, 70, 80, 90]);
  });
  it('puts a result where a dying input lies, where the kernel may, and nowhere else', () => {
    const device = openDevice('js');
    const [x, y] = [device.tensor([1, 2], [2]), device.tensor([10, 20], [2])];
    const program = device.record(() => {
      const a = add(x, y);
      const b = add(a, y); // over a, which dies here
      const c = add(b, b); // not over b, which lives on
      return { d: add(c, b), c };
    });
    program.run();
    program.run();
    expect(program.results.c.toArray()).toEqual([42, 84]);
    expect(program.results.d.toArray()).toEqual([63, 126]);
    expect(program.arenaBytes).toBe(2 * 64);
    expect(x.toArray()).toEqual([1, 2]);
  });
  it('drops commands whose results nobody reads', () => {
    const device = openDevice('js');
    const x = device.tensor([1], [1]);
    const program = device.record(() => {
      addOne(addOne(x));
      return { y: addOne(x) };
    });
    expect(program.nCommand).toBe(1);
  });
  it('says so when a value is read before the step has run', () => {
    const device = openDevice('js');
    const x = device.tensor([1], [1]);
    const readsTooEarly = (): { y: Tensor } => ({ y: device.tensor([addOne(x).item()], [1]) });
    expect(() => device.record(readsTooEarly)).toThrow('still being recorded');
  });
});

describe('scopes', () => {
  it('free what was made inside, keep what was kept, and name themselves afterwards', () => {
    const device = openDevice('js');
    const x = device.tensor([1], [1]);
    const scope = device.scope('probe');
    const kept = scope.keep(addOne(x));
    const lost = addOne(x);
    expect(scope.nOwned).toBe(1);
    scope[Symbol.dispose]();
    expect(kept.item()).toBe(2);
    expect(() => lost.item()).toThrow("freed by the scope 'probe'");
    expect(x.item()).toBe(1);
  });
});

function addOne(x: Tensor): Tensor {
  const { device } = x;
  const y = device.empty(x.shape);
  device.execute({ kernel: 'shift_forward', inputs: [x], outputs: [y], attrs: [1], native: false });
  return y;
}
