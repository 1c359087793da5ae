import { describe, expect, it } from 'vitest';
import type { Command } from '../src/command.js';
import { Device } from '../src/device.js';
import { type Dtype, Memory, sizeOf, Tensor } from '../src/tensor.js';
import { groupWeightGradients } from '../src/weight-gradients.js';

class Fake extends Device {
  constructor(private readonly kernels: readonly string[]) {
    super('js', undefined);
  }
  override kernelIndex(kernel: string): number | undefined {
    const index = this.kernels.indexOf(kernel);
    return index < 0 ? undefined : index;
  }
}
const device = new Fake(['linearWeights_backward']);

const planned = (shape: readonly number[], dtype: Dtype = 'bf16'): Tensor =>
  new Tensor(device, new Memory(4 * sizeOf(shape)), 0, dtype, shape);
const [R, I, O] = [64, 32, 16];

/** The backward command of a product whose weight has its gradient in `dw`. */
function product(kernel: string, dw: Tensor, rows: Dtype = 'bf16'): Command {
  const [x, w, dy] = [planned([R, I], rows), planned([O, I]), planned([R, O], rows)];
  const outputs = [planned([R, I]), dw, ...(kernel === 'linearBias' ? [planned([O], 'f32')] : [])];
  return { kernel: `${kernel}_backward`, inputs: [x, w, dy], outputs, attrs: [], native: true };
}
const other = (inputs: readonly Tensor[], outputs: readonly Tensor[]): Command => ({
  kernel: 'add_forward',
  inputs,
  outputs,
  attrs: [],
  native: true,
});
const gradients = (n: number): readonly Tensor[] => {
  const all = device.zeros([n, O, I]);
  return Array.from({ length: n }, (_, i) => new Tensor(device, all.memory, 4 * i * O * I, 'f32', [O, I]));
};
const names = (commands: readonly Command[]): string[] => commands.map(({ kernel }) => kernel.replace(/_.*/, ''));

describe('gradients of weights', () => {
  it('come together at the end, and the rest stays where it was', () => {
    const [a, b] = gradients(2) as [Tensor, Tensor];
    const commands = [product('linear', a), product('linearBias', b)];
    const grouped = groupWeightGradients(device, commands);
    expect(names(grouped)).toEqual(['linear', 'linearBias', 'linearWeights']);
    expect(grouped.slice(0, 2).map(({ outputs }) => outputs)).toEqual(
      commands.map(({ outputs: [dx, , ...rest] }) => [dx, undefined, ...rest]),
    );
    const [{ inputs: first }, { inputs: second }] = commands as [Command, Command];
    expect(grouped[2]).toMatchObject({ inputs: [first[0], first[2], second[0], second[2]], outputs: [a, b] });
  });

  it('come before who reads one, from the same memory under another name too, or writes what they are made of', () => {
    const [a, b] = gradients(2) as [Tensor, Tensor];
    const beside = planned([O, I], 'f32');
    const whole = new Tensor(device, new Memory(8 * O * I, a.memory.place()), 0, 'f32', [2, O, I]);
    const commands = [product('linear', a), other([beside], [b]), other([beside], [beside]), other([whole], [beside])];
    expect(names(groupWeightGradients(device, commands))).toEqual(['linear', 'add', 'add', 'linearWeights', 'add']);
    const written = product('linear', a);
    const dy = written.inputs[2]!;
    expect(names(groupWeightGradients(device, [written, other([beside], [dy])]))).toEqual([
      'linear',
      'linearWeights',
      'add',
    ]);
  });

  it('do not wait for more when they are many', () => {
    const large = [planned([4000, 4000], 'f32'), planned([2000, 3000], 'f32'), planned([10, 10], 'f32')];
    const commands = large.map((dw) => product('linear', dw));
    const expected = ['linear', 'linear', 'linearWeights', 'linear', 'linearWeights'];
    expect(names(groupWeightGradients(device, commands))).toEqual(expected);
  });

  it('stay where they are in f32, without the kernel, and where nobody wants them', () => {
    const [a] = gradients(1) as [Tensor];
    const wide = [product('linear', a, 'f32')];
    expect(groupWeightGradients(device, wide)).toEqual(wide);
    const narrow = [product('linear', a)];
    expect(groupWeightGradients(new Fake([]), narrow)).toBe(narrow);
    const unwanted = narrow.map((command) => ({ ...command, outputs: [command.outputs[0], undefined] }));
    expect(groupWeightGradients(device, unwanted)).toEqual(unwanted);
    const alone = narrow.map((command) => ({ ...command, outputs: [undefined, a] }));
    expect(names(groupWeightGradients(device, alone))).toEqual(['linearWeights']);
  });
});
