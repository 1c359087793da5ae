// What a reader knows about worlds: where items and layers of this name stand.
import type { TemplateFamily, World } from './family.js';

/** A layer of a world. */
export interface Place {
  readonly world: World;
  readonly layer: number;
}

/** Places by name. */
export interface WorldKnowledge {
  readonly worlds: readonly World[];
  /** The layer that has an item of this name. */
  itemPlace(item: string): Place | undefined;
  /** The layer of this name. */
  layerPlace(layer: string): Place | undefined;
}

const known = new WeakMap<readonly TemplateFamily[], WorldKnowledge>();

/** What the worlds of these families hold; made once for each list. */
export function knowledgeOf(families: readonly TemplateFamily[]): WorldKnowledge {
  const found = known.get(families);
  if (found !== undefined) return found;
  const worlds = [...new Set(families.flatMap((family) => family.worlds))];
  const items = new Map<string, Place>();
  const layers = new Map<string, Place>();
  for (const world of worlds) {
    world.layers.forEach(({ name, subCategories }, layer) => {
      layers.set(name, { world, layer });
      for (const item of subCategories.flat()) items.set(item, { world, layer });
    });
  }
  const made: WorldKnowledge = {
    worlds,
    itemPlace: (item) => items.get(item),
    layerPlace: (layer) => layers.get(layer),
  };
  known.set(families, made);
  return made;
}
