// Models of several sizes that learn the same people, from far too small to roomy: laws about size share these runs.
import type { LawMember } from '../law.js';
import { capacityRun } from './members.js';

const sizes = (
  common: Readonly<Record<string, unknown>>,
  each: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
): Readonly<Record<string, LawMember>> =>
  Object.fromEntries(Object.entries(each).map(([name, own]) => [name, capacityRun({ ...common, ...own })]));

/** Members by scale. Each has models that are shown more than 2.5 bits per parameter, and one that is shown less than 1. */
export const modelsOfSizes = {
  tiny: {
    ...sizes({ nPeople: 2700 }, { 'width 16': { dModel: 16 }, '1 layer': { nLayer: 1 }, 'width 32': {} }),
    roomy: capacityRun(),
  },
  laptop: {
    ...sizes(
      {},
      {
        'width 16': { dModel: 16 },
        '4 layers': { dModel: 16, nLayer: 4 },
        'width 24': { dModel: 24, dHead: 12 },
        'width 32': {},
      },
    ),
    roomy: capacityRun({ nPeople: 500 }),
  },
  gpu: {
    ...sizes(
      { nPeople: 100_000, batchSize: 192 },
      {
        'width 128': { dModel: 128 },
        '4 layers': { dModel: 128, nLayer: 4 },
        'width 192': {},
        'width 256': { dModel: 256 },
      },
    ),
    roomy: capacityRun({ dModel: 320 }),
  },
  paper: {
    ...sizes(
      { nPeople: 200_000 },
      { 'width 192': { dModel: 192 }, 'width 256': {}, '3 layers': { nLayer: 3 }, 'width 384': { dModel: 384 } },
    ),
    roomy: capacityRun({ nLayer: 6, dModel: 384 }),
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, LawMember>>>>;
