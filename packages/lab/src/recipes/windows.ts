import type { WindowSource } from '@physlm/data';
import { openCapacityData } from './capacity-data.js';
import { openCfgData } from './cfg-data.js';
import { openIgsmData } from './igsm-data.js';
import { openKnowledgeData } from './knowledge-data.js';
import type { Experiment } from './recipe.js';

/** What decides the windows of a run, as plain data. */
export type WindowOptions = Pick<Experiment, 'recipe' | 'data' | 'seed'>;

const openers: Readonly<Record<string, (data: never, seed: number) => { readonly windows: WindowSource }>> = {
  capacity: openCapacityData,
  cfg: openCfgData,
  knowledge: openKnowledgeData,
  igsm: openIgsmData,
};

/** Whether {@link openWindows} knows a recipe. */
export function hasWindows(recipe: string): boolean {
  return Object.hasOwn(openers, recipe);
}

/** The windows that a run of one of this package's recipes trains on: what a thread opens for itself. */
export function openWindows({ recipe, data, seed }: WindowOptions): WindowSource {
  return openers[recipe]!(data as never, seed).windows;
}
