import type { JsKernel } from './js-kernels.js';
import type { Tensor } from './tensor.js';

/**
 * Where the document of each token of ids [B, T] begins: the last position up to it that holds `separator`, or 0 before the
 * first; i32 [B, T]. What document masks are made of.
 */
export function documentStarts(ids: Tensor, separator: number): Tensor {
  const { device } = ids;
  const kernel = 'documentStarts_forward';
  const starts = device.empty(ids.shape, 'i32');
  const native = device.kernelIndex(kernel) !== undefined;
  device.execute({ kernel, inputs: [ids], outputs: [starts], attrs: [separator], native });
  return starts;
}

/** The definition of {@link documentStarts}. */
export const documentStartsKernel: JsKernel = ([ids], [starts], [separator]) => {
  const T = ids!.shape.at(-1)!;
  let start = 0;
  for (let i = 0; i < ids!.values.length; i++) {
    if (i % T === 0) start = 0;
    if (ids!.values[i] === separator) start = i % T;
    starts!.values[i] = start;
  }
};
