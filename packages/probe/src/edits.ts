// Edits of activations for `TracePlan.edit`: ablation, and patching from another run. A plan is a value: what it changes, it
// changes in the forward pass that it is given to, and nowhere else.
import { ConfigError, DataError } from '@physlm/base';
import { add, mul, scale, sumTo, type Tensor } from '@physlm/model';

// Axes: B sequences, T positions; what follows (D, or heads) is called the state here.

/** What takes the place of a state. */
export type Replacement =
  /** Zeros. */
  | 'zero'
  /** The mean state of this activation over the batch and all its positions. */
  | 'mean'
  /** A tensor of the activation's own shape, as from a run on other tokens; or one state for all places. */
  | Tensor;

/** Where states are replaced. */
export interface EditAt {
  /** Positions of each sequence: one list for all, or one for each sequence of the batch. Everywhere when left out. */
  readonly positions?: readonly number[] | readonly (readonly number[])[] | undefined;
  /** Elements of the state, from 0 (flattened): a head of `attn.z` is dHead of them. All when left out. */
  readonly elements?: { readonly start: number; readonly end: number } | undefined;
}

/**
 * An edit that replaces states at chosen positions and leaves every other number as it is, bit for bit.
 *
 * @throws ConfigError or DataError, when the model runs, if a position or element is outside the activation, there are not as
 * many lists of positions as sequences, or the replacement has another shape.
 * @example
 * const edit = { 'blocks.3.residPost': replaceStates('zero', { positions: [4] }) };
 * model.forward(ids, new Trace({ read: ['blocks.5.residPost'], edit }));
 */
export function replaceStates(by: Replacement, at: EditAt = {}): (x: Tensor, path: string) => Tensor {
  return (x, path) => {
    const where = `replaceStates at '${path}'`;
    const [B, T] = x.shape as [number, number];
    const d = x.size / (B * T);
    const chosen = choose(where, at, B, T, d);
    const { device, dtype, shape } = x;
    const mask = device.tensor(chosen, shape, dtype);
    // Products with 0 and 1 keep what is kept exactly, unless it is not finite.
    const kept = mul(
      x,
      device.tensor(
        chosen.map((picked) => 1 - picked),
        shape,
        dtype,
      ),
    );
    if (by === 'zero') return kept;
    const wide = [1, 1, ...shape.slice(2)];
    if (by === 'mean') return add(kept, mul(mask, scale(sumTo(x, wide), 1 / (B * T))));
    if (by.size === x.size && by.shape.every((size, axis) => size === shape[axis])) return add(kept, mul(mask, by));
    if (by.size !== d) {
      throw new ConfigError([
        { path: where, expected: `a replacement of shape [${shape}] or one state of ${d}`, got: `[${by.shape}]` },
      ]);
    }
    return add(kept, mul(mask, by.view(wide)));
  };
}

/** 1 where states are replaced, 0 elsewhere. */
function choose(where: string, { positions, elements }: EditAt, B: number, T: number, d: number): Float32Array {
  const { start, end } = elements ?? { start: 0, end: d };
  if (!(Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start < end && end <= d)) {
    throw new ConfigError([
      { path: `${where}.elements`, expected: `0 ≤ start < end ≤ ${d}`, got: `${start} … ${end}` },
    ]);
  }
  const everywhere = Array.from({ length: T }, (_, t) => t);
  const perSequence = positions !== undefined && positions.length > 0 && typeof positions[0] !== 'number';
  if (perSequence && positions.length !== B) {
    throw new DataError(`${where}.positions`, `${B} lists, one for each sequence`, String(positions.length));
  }
  const mask = new Float32Array(B * T * d);
  for (let b = 0; b < B; b++) {
    const list = perSequence
      ? (positions as readonly (readonly number[])[])[b]!
      : ((positions as readonly number[]) ?? everywhere);
    for (const t of list) {
      if (!(Number.isInteger(t) && t >= 0 && t < T)) {
        throw new DataError(`${where}.positions`, `whole numbers 0 … ${T - 1}`, String(t));
      }
      mask.fill(1, (b * T + t) * d + start, (b * T + t) * d + end);
    }
  }
  return mask;
}
