// The structure graph: which item may hold which item of the next layer.
import type { Rng } from '@physlm/base';
import type { Sizes } from './draw-sizes.js';
import { type ParameterIndex, parameterIndex } from './parameters.js';

/** Items in layers, and edges between neighbouring layers. */
export interface Structure {
  readonly index: ParameterIndex;
  /** By item: the items of the next layer that it has, ascending. */
  readonly children: readonly (readonly number[])[];
  /** The instance parameters that exist, ascending. */
  readonly edges: readonly number[];
}

/**
 * Every item below the first layer gets one parent; the other edges are uniform.
 *
 * @see Ye et al. 2024, arXiv:2407.20311, Algorithm 1.
 */
export function drawStructure(rng: Rng, sizes: Sizes): Structure {
  const index = parameterIndex(drawWidths(rng, sizes));
  const { widths, nLayer, nPair } = index;
  const taken = new Uint8Array(nPair);
  let nEdge = 0;
  for (let i = 1; i < nLayer; i++) {
    for (let k = 0; k < widths[i]!; k++) {
      taken[index.instance(i - 1, rng.below(widths[i - 1]!), k)] = 1;
      nEdge++;
    }
  }
  const free: number[] = [];
  for (let pair = 0; pair < nPair; pair++) if (taken[pair] === 0) free.push(pair);
  for (let left = free.length; nEdge < sizes.e; nEdge++) {
    const at = rng.below(left--);
    taken[free[at]!] = 1;
    free[at] = free[left]!;
  }
  const children: number[][] = Array.from({ length: index.nItem }, () => []);
  const edges: number[] = [];
  for (let pair = 0; pair < nPair; pair++) {
    if (taken[pair] === 0) continue;
    edges.push(pair);
    children[index.itemNumber(index.layer[pair]!, index.item[pair]!)]!.push(index.target[pair]!);
  }
  return { index, children, edges };
}

function drawWidths(rng: Rng, { d, w0, w1, e, p }: Sizes): number[] {
  const widths = new Array<number>(d).fill(w0);
  for (;;) {
    let most = 0;
    let fewest = 0;
    for (let i = 1; i < d; i++) {
      most += widths[i - 1]! * widths[i]!;
      fewest += widths[i]!;
    }
    if (most >= e && (fewest === e || rng.uniform() >= p)) return widths;
    const growing: number[] = [];
    for (let i = 0; i < d; i++) if (widths[i]! < w1) growing.push(i);
    if (growing.length === 0) return widths;
    widths[growing[rng.below(growing.length)]!]!++;
  }
}
