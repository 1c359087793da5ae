// Names of a problem's items and layers, drawn from a world of its template family.
import { invariant, type Rng } from '@physlm/base';
import type { TemplateFamily } from './family.js';
import type { ParameterIndex } from './parameters.js';
import { type Pattern, pattern } from './pattern.js';

/** What the parameters of a problem are called. */
export interface Naming {
  readonly family: TemplateFamily;
  /** By layer: its name, which abstract parameters bear. */
  readonly layers: readonly string[];
  /** By layer and item. */
  readonly items: readonly (readonly string[])[];
}

/**
 * One world, a window of its layers, one sub-category for each layer, and distinct items of it.
 *
 * @see Ye et al. 2024, arXiv:2407.20311, Appendix D.1.1.
 */
export function drawNaming(rng: Rng, family: TemplateFamily, widths: readonly number[]): Naming {
  const world = rng.pick(family.worlds);
  const start = rng.below(world.layers.length - widths.length + 1);
  const layers = world.layers.slice(start, start + widths.length);
  const items = layers.map(({ subCategories }, i) => {
    const pool = rng.pick(subCategories).slice();
    invariant(pool.length >= widths[i]!, 'a sub-category has an item for each place');
    return Array.from({ length: widths[i]! }, (_, x) => {
      const at = x + rng.below(pool.length - x);
      const one = pool[at]!;
      pool[at] = pool[x]!;
      return one;
    });
  });
  return { family, layers: layers.map(({ name }) => name), items };
}

/** Who has what: the two names of a parameter. */
export function ownerAndOwned(index: ParameterIndex, naming: Naming, parameter: number): [string, string] {
  const [i, j, k] = [index.layer[parameter]!, index.item[parameter]!, index.target[parameter]!];
  return [naming.items[i]![j]!, parameter < index.nPair ? naming.items[i + 1]![k]! : naming.layers[k]!];
}

/** The name of a parameter as statements and solutions write it, such as `Calm Fox's Left Rib`. */
export function parameterName(index: ParameterIndex, naming: Naming, parameter: number): string {
  return joinName(parameterPattern(naming.family), ...ownerAndOwned(index, naming, parameter));
}

/** The pattern of names. */
export function parameterPattern(family: TemplateFamily): Pattern {
  const known = patterns.get(family);
  if (known !== undefined) return known;
  const made = pattern(family.patterns.parameter);
  patterns.set(family, made);
  return made;
}

const patterns = new WeakMap<TemplateFamily, Pattern>();

/** The name of an owner's owned. */
export function joinName({ literals, slots }: Pattern, owner: string, owned: string): string {
  const [a, b] = slots[0] === 'owner' ? [owner, owned] : [owned, owner];
  return `${literals[0]}${a}${literals[1]}${b}${literals[2]}`;
}
