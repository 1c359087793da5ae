import type { Tensor } from './tensor.js';

/** Indices [output, input] of two tensors of one command that may share their memory. */
export type Reuse = readonly [output: number, input: number];

/** One kernel call: the unit that devices run and recordings hold. */
export interface Command {
  /** `<op>_forward` or `<op>_backward`. */
  readonly kernel: string;
  readonly inputs: readonly Tensor[];
  /** An undefined output is one that nobody wants. */
  readonly outputs: readonly (Tensor | undefined)[];
  readonly attrs: readonly number[];
  /** Pairs [output, input]: the kernel may write this output over that input. */
  readonly reuses?: readonly Reuse[] | undefined;
  /** Whether the device's own kernel serves this call; otherwise the TypeScript kernel of the same name does. */
  readonly native: boolean;
}

const dtypeCode = { f32: 0, f64: 1, i32: 2, bf16: 3 } as const;

/** The flat form that native code reads: see `native/cpp/abi.h` and `NativeBinding.compile`. */
export function encodeCommands(
  commands: readonly Command[],
  kernelIndex: (kernel: string) => number,
): { readonly code: Float64Array; readonly buffers: ArrayBuffer[] } {
  const code: number[] = [];
  const buffers = new Map<ArrayBuffer, number>();
  const pushTensor = (tensor: Tensor | undefined): void => {
    if (tensor === undefined) {
      code.push(-1, 0, 0, 0);
      return;
    }
    const { buffer, start } = tensor.memory.place();
    let index = buffers.get(buffer);
    if (index === undefined) {
      index = buffers.size;
      buffers.set(buffer, index);
    }
    code.push(index, start + tensor.byteOffset, dtypeCode[tensor.dtype], tensor.shape.length, ...tensor.shape);
  };
  for (const { kernel, inputs, outputs, attrs } of commands) {
    code.push(kernelIndex(kernel), inputs.length, outputs.length, attrs.length);
    inputs.forEach(pushTensor);
    outputs.forEach(pushTensor);
    code.push(...attrs);
  }
  return { code: Float64Array.from(code), buffers: [...buffers.keys()] };
}
