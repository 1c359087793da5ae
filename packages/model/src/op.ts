import { invariant } from '@physlm/base';
import { backward, recordNode } from './autograd.js';
import type { Reuse } from './command.js';
import { type Device, type DeviceName, deviceStatus } from './device.js';
import { NativeError, ShapeError } from './error.js';
import { copyInto } from './primitives.js';
import type { Dtype, Tensor } from './tensor.js';

/** Axis letters of each tensor, row-major: `{ q: 'BTHK' }`. One letter has one size per call. */
export type Axes = Readonly<Record<string, string>>;
type AttrKinds = Readonly<Record<string, 'f64' | 'i32' | 'bool'>>;
type Attrs<A extends AttrKinds> = { readonly [N in keyof A]: A[N] extends 'bool' ? boolean : number };
type Tensors<X> = { readonly [N in keyof X]: Tensor };
/** Sizes by axis letter. */
export type Dims = Readonly<Record<string, number>>;
/** |got − expected| ≤ atol + rtol · |expected|. */
export interface Tolerance {
  readonly atol: number;
  readonly rtol: number;
}
/** `auto`: the device's kernel if it covers the call, else the reference. `native`: the kernel, or an error that says why not. */
export type Impl = 'auto' | 'native' | 'reference';

/** Everything there is to know about an operation; types, checks, dispatch, backward, tests, benchmark and docs follow. */
export interface OpSpec<I extends Axes, O extends Axes, A extends AttrKinds> {
  readonly name: string;
  /** One sentence for the op table, with the formula. */
  readonly summary: string;
  /** Paper and equation or algorithm number. */
  readonly source: string;
  readonly inputs: I;
  /** Inputs that hold tokens or positions (i32); the others are floats of one dtype. */
  readonly integers?: readonly (keyof I & string)[];
  readonly outputs: O;
  /** Outputs that only the backward pass or a caller's bookkeeping reads; no gradient flows through them. */
  readonly auxiliary?: readonly (keyof O & string)[];
  /** Outputs that overwrite an input: `{ wNext: 'w' }`. */
  readonly inPlace?: Readonly<Partial<Record<keyof O & string, keyof I & string>>>;
  readonly attrs: A;
  /** Which results a kernel may write over which of its inputs, once nobody else reads them; indices of the kernel call. */
  readonly reuses?: { readonly forward?: readonly Reuse[]; readonly backward?: readonly Reuse[] };
  /** Sizes of axis letters that occur in outputs only. */
  readonly outputDims?: (dims: Dims, attrs: Attrs<A>) => Dims;
  /** Constraints the axis letters cannot say; returns the complaint, or undefined. */
  readonly invalid?: (dims: Dims, attrs: Attrs<A>) => string | undefined;
  /** The definition, in differentiable primitives only. Oracle for forward and backward. */
  readonly reference: (x: Tensors<I>, attrs: Attrs<A>) => Tensors<O>;
  /**
   * `{ saves }`: kernel `<name>_backward_<device>` reads these inputs and outputs, then the gradients of the outputs.
   * `'autodiff'`: differentiate `reference`. `'none'`: no gradient.
   */
  readonly backward: { readonly saves: readonly (keyof (I & O) & string)[] } | 'autodiff' | 'none';
  readonly tolerance: Tolerance;
  /** Why no kernel covers such a call on `device`, or undefined when one does. */
  readonly uncovered?: (device: DeviceName, dims: Dims, attrs: Attrs<A>) => string | undefined;
  /** Work per call: floating-point operations and bytes moved, forward only. */
  readonly cost: (dims: Dims, attrs: Attrs<A>) => { readonly flops: number; readonly bytes: number };
  /** Shapes and attributes every device is tested on: odd, ragged and minimal ones first. */
  readonly cases: readonly { readonly dims: Dims; readonly attrs: Attrs<A> }[];
  /** Calls the benchmark times, by name. */
  readonly bench: Readonly<Record<string, { readonly dims: Dims; readonly attrs: Attrs<A> }>>;
}

/** A declared operation, ready to call. */
export interface Op<I extends Axes, O extends Axes, A extends AttrKinds> extends OpSpec<I, O, A> {
  (inputs: Tensors<I>, attrs: Attrs<A>, options?: { readonly impl?: Impl }): Tensors<O>;
}

/** An operation whose exact types do not matter: for loops over all of them. */
// biome-ignore lint/suspicious/noExplicitAny: a table of ops of different types has no narrower element type.
export type AnyOp = Op<any, any, any>;

/** Turns one declaration into a callable, differentiable, dispatched operation. */
export function defineOp<const I extends Axes, const O extends Axes, const A extends AttrKinds>(
  spec: OpSpec<I, O, A>,
): Op<I, O, A> {
  const call = (inputs: Tensors<I>, attrs: Attrs<A>, { impl = 'auto' }: { impl?: Impl } = {}): Tensors<O> => {
    const { dims, device, dtype } = bind(spec, inputs);
    const complaint = spec.invalid?.(dims, attrs);
    if (complaint !== undefined) throw new ShapeError(spec.name, complaint, showDims(dims));
    const reason =
      impl === 'reference' ? 'the reference was asked for' : uncoveredReason(spec, device, dims, attrs, dtype);
    if (impl === 'native' && reason !== undefined) throw new NativeError(spec.name, reason);
    return reason === undefined
      ? launch(spec, device, dtype, dims, inputs, attrs)
      : updateInPlace(spec, inputs, spec.reference(inputs, attrs));
  };
  const { name, ...rest } = Object.getOwnPropertyDescriptors(spec);
  Object.defineProperty(call, 'name', { ...name, configurable: true });
  return Object.defineProperties(call, rest) as unknown as Op<I, O, A>;
}

/** Why a call would run the reference instead of a kernel; undefined when a kernel covers it. */
export function uncoveredReason<I extends Axes, O extends Axes, A extends AttrKinds>(
  spec: OpSpec<I, O, A>,
  device: Device,
  dims: Dims,
  attrs: Attrs<A>,
  dtype: Dtype,
): string | undefined {
  const status = deviceStatus(device.name);
  if (!status.available) return status.reason;
  if (device.native === undefined) return `device ${device.name} has no fused kernels`;
  if (dtype !== 'f32') return `kernels on ${device.name} compute in f32, not ${dtype}`;
  const kernels = spec.backward === 'none' || spec.backward === 'autodiff' ? ['forward'] : ['forward', 'backward'];
  for (const direction of kernels) {
    const kernel = `${spec.name}_${direction}`;
    if (device.kernelIndex(kernel) === undefined) return `the addon holds no kernel ${kernel}_${device.name}`;
  }
  return spec.uncovered?.(device.name, dims, attrs);
}

function launch<I extends Axes, O extends Axes, A extends AttrKinds>(
  spec: OpSpec<I, O, A>,
  device: Device,
  dtype: Dtype,
  inputDims: Dims,
  inputs: Tensors<I>,
  attrs: Attrs<A>,
): Tensors<O> {
  const dims = { ...inputDims, ...spec.outputDims?.(inputDims, attrs) };
  const attrValues = Object.keys(spec.attrs).map((name) => Number(attrs[name]));
  const inputList = Object.keys(spec.inputs).map((name) => inputs[name]!);
  const outputs = Object.fromEntries(
    Object.entries(spec.outputs).map(([name, axes]) => {
      const target = spec.inPlace?.[name];
      return [name, target === undefined ? device.empty(sizes(axes, dims), dtype) : inputs[target]!];
    }),
  );
  const command = { inputs: inputList, outputs: Object.values(outputs), attrs: attrValues, native: true };
  device.execute({ ...command, kernel: `${spec.name}_forward`, reuses: spec.reuses?.forward });
  if (spec.backward !== 'none') {
    const differentiable = Object.keys(spec.outputs).filter((name) => !spec.auxiliary?.includes(name));
    recordNode(
      device,
      inputList,
      differentiable.map((name) => outputs[name]!),
      spec.backward === 'autodiff'
        ? (gradOutputs) => autodiff(spec, inputs, attrs, differentiable, gradOutputs)
        : nativeBackward(spec, spec.backward.saves, inputs, outputs, differentiable, attrValues),
    );
  }
  return outputs as Tensors<O>;
}

type BackwardRule = Parameters<typeof recordNode>[3];

/** Launches `<name>_backward`: saved tensors and output gradients in, gradients of the float inputs out. */
function nativeBackward<I extends Axes, O extends Axes, A extends AttrKinds>(
  spec: OpSpec<I, O, A>,
  saves: readonly string[],
  inputs: Tensors<I>,
  outputs: Readonly<Record<string, Tensor>>,
  differentiable: readonly string[],
  attrs: readonly number[],
): BackwardRule {
  const names = Object.keys(spec.inputs);
  const saved = saves.map((name) => (inputs as Record<string, Tensor>)[name] ?? outputs[name]!);
  return (gradOutputs, place) => {
    const given = gradOutputs.map((dy, i) => {
      invariant(dy !== undefined, `${spec.name}: no gradient for ${differentiable[i]}`);
      return dy;
    });
    const results = names.map((name, i) => (spec.integers?.includes(name) ? undefined : place(i)));
    const floats = results.filter((_, i) => !spec.integers?.includes(names[i]!));
    const { device } = given[0]!;
    device.execute({
      kernel: `${spec.name}_backward`,
      inputs: [...saved, ...given],
      outputs: floats,
      attrs,
      native: true,
      reuses: spec.reuses?.backward,
    });
    return results;
  };
}

/** Runs the reference again on detached inputs and differentiates it. */
function autodiff<I extends Axes, O extends Axes, A extends AttrKinds>(
  spec: OpSpec<I, O, A>,
  inputs: Tensors<I>,
  attrs: Attrs<A>,
  differentiable: readonly string[],
  gradOutputs: readonly (Tensor | undefined)[],
): readonly (Tensor | undefined)[] {
  const names = Object.keys(spec.inputs);
  const copies = Object.fromEntries(
    names.map((name) => {
      const copy = inputs[name]!.view(inputs[name]!.shape);
      copy.requiresGrad = inputs[name]!.requiresGrad;
      return [name, copy];
    }),
  );
  const { device } = inputs[names[0]!]!;
  const results = device.withGrad(() => spec.reference(copies as Tensors<I>, attrs));
  differentiable.forEach((name, i) => {
    const dy = gradOutputs[i];
    if (dy !== undefined) backward(results[name]!, dy);
  });
  return names.map((name) => copies[name]!.grad);
}

/** Copies the results of an in-place op's reference over the inputs they replace. */
function updateInPlace<I extends Axes, O extends Axes, A extends AttrKinds>(
  spec: OpSpec<I, O, A>,
  inputs: Tensors<I>,
  results: Tensors<O>,
): Tensors<O> {
  if (spec.inPlace === undefined) return results;
  return Object.fromEntries(
    Object.entries(results as Record<string, Tensor>).map(([name, result]) => {
      const target = spec.inPlace?.[name];
      if (target === undefined) return [name, result];
      copyInto(result, inputs[target]!);
      return [name, inputs[target]!];
    }),
  ) as Tensors<O>;
}

/** Reads axis sizes off the inputs; throws {@link ShapeError} on a rank, size, dtype or device clash. */
function bind<I extends Axes, O extends Axes, A extends AttrKinds>(
  spec: OpSpec<I, O, A>,
  inputs: Tensors<I>,
): { dims: Dims; device: Device; dtype: Dtype } {
  const dims: Record<string, number> = {};
  let device: Device | undefined;
  let dtype: Dtype | undefined;
  for (const [name, axes] of Object.entries(spec.inputs)) {
    const x = inputs[name]!;
    const where = `${spec.name}.${name}`;
    if (x.shape.length !== axes.length) throw new ShapeError(where, `axes ${axes}`, `shape [${x.shape}]`);
    [...axes].forEach((axis, i) => {
      if (axis !== '1') dims[axis] ??= x.shape[i]!;
      const size = axis === '1' ? 1 : dims[axis];
      if (size !== x.shape[i]) throw new ShapeError(where, `${axis}=${size}`, `${x.shape[i]}`);
    });
    if (device !== undefined && x.device !== device)
      throw new ShapeError(where, `device ${device.name}`, x.device.name);
    device = x.device;
    if (spec.integers?.includes(name)) {
      if (x.dtype !== 'i32') throw new ShapeError(where, 'i32', x.dtype);
    } else {
      dtype ??= x.dtype;
      if (x.dtype !== dtype || dtype === 'i32')
        throw new ShapeError(where, dtype === 'i32' ? 'floats' : dtype, x.dtype);
    }
  }
  invariant(device !== undefined && dtype !== undefined, `${spec.name} has no float input`);
  return { dims, device, dtype };
}

function sizes(axes: string, dims: Dims): number[] {
  return [...axes].map((axis) => (axis === '1' ? 1 : dims[axis]!));
}

function showDims(dims: Dims): string {
  return Object.entries(dims)
    .map(([axis, size]) => `${axis}=${size}`)
    .join(' ');
}
