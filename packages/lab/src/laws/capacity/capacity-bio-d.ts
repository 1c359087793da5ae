import type { Law, LawMember } from '../law.js';
import { capacityRun, measuredRatio, perParameter, read, source } from './members.js';

const bioD = (sizes: object): LawMember => capacityRun({ dataset: 'bioD', ...sizes });

/** Many short values, one long value, long lists of strings that are hard to write: corners of the paper's ranges. */
const members = (common: object) => ({
  'many attributes': bioD({ ...common }),
  'many chunks': bioD({ ...common, nAttribute: 1, nChunk: 6, stringLength: 1, nSymbol: 60 }),
  'many strings': bioD({ ...common, nAttribute: 3, nString: 900, stringLength: 2, nSymbol: 60 }),
  'long strings': bioD({ ...common, nAttribute: 2, nString: 60, stringLength: 8, nSymbol: 20 }),
});
const limit = (atLeast: number, tests: string) => [
  { measure: 'least', atLeast, tests },
  { measure: 'most', atMost: 2.5, tests: 'none stores more than about 2 bits per parameter' },
];

/** C11. @see arXiv:2404.05405, Result 3, Figure 2. */
export const capacityBioD: Law = {
  id: 'capacity-bio-d',
  part: '3.3',
  claim: 'About 2 bits per parameter hold for random attributes too, however many, long, or varied their values are.',
  source: source('Section 4, Result 3, Figure 2, Definitions 2.2 and 4.1'),
  paper: {
    text: '2 bits per parameter or more at the peak for every K, C, D, L and T that was tried',
    unit: 'least bits per parameter',
  },
  scales: {
    tiny: {
      members: members({}),
      expect: [
        {
          measure: 'leastShare',
          atLeast: 0.9,
          tests: 'names, values and strings are stored together by models with room for them',
        },
      ],
    },
    laptop: {
      members: members({ nPeople: 1500 }),
      expect: limit(1.1, 'models this small come near the limit, whatever the values are made of'),
    },
    gpu: {
      members: members({ nPeople: 60_000, lrPeak: 5e-4, weightDecay: 0.01, batchSize: 192 }),
      expect: limit(1.5, 'the limit is about 2 bits per parameter, whatever the values are made of'),
    },
    paper: {
      members: members({ lrPeak: 5e-4, weightDecay: 0.01 }),
      expect: limit(1.7, 'the limit is about 2 bits per parameter, whatever the values are made of'),
    },
  },
  measure(runs) {
    const [R, shares] = ['perParameter', 'shareOfCeiling'].map((name) =>
      Object.values(runs).map((one) => read(one, name)),
    ) as [number[], number[]];
    const least = Object.values(runs).reduce((least, one) => (perParameter(one) < perParameter(least) ? one : least));
    const interval = least.intervals.perParameter ?? { low: Math.min(...R), high: Math.min(...R) };
    const parts = Object.entries(runs).flatMap(([name, one]) =>
      ['bitsName', 'bitsValue', 'bitsDiversity'].map((part) => [`${part}.${name}`, read(one, part)] as const),
    );
    return measuredRatio(
      'least',
      runs,
      { ours: Math.min(...R), interval },
      {
        most: Math.max(...R),
        leastShare: Math.min(...shares),
        ...Object.fromEntries(parts),
      },
    );
  },
};
