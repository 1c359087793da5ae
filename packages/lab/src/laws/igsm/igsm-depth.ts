import type { Law } from '../law.js';
import { accuracy, differenceInterval, measured, part21, read, solving } from './members.js';

/** Models by name as layers and width; in the papers heads are 64 wide. */
const atWidths = (sizes: Readonly<Record<'deep' | 'shallow' | 'wide', readonly [number, number]>>, nHead?: number) =>
  Object.fromEntries(
    Object.entries(sizes).map(([name, [nLayer, dModel]]) => [
      name,
      solving({ nLayer, dModel, nHead: nHead ?? dModel / 64 }),
    ]),
  );
const expect = [
  { measure: 'overShallow', atLeast: 0.02, tests: 'deep beats shallow at equal size' },
  { measure: 'overWide', atLeast: 0, tests: 'and a shallow one of twice the size' },
];

/** P2.1-R7. @see arXiv:2407.20311, Section 6, Result 7, Figure 9. */
export const igsmDepth: Law = {
  id: 'igsm-depth',
  part: '2.1',
  claim: 'Depth matters beyond size: a deep and narrow model solves more than a shallow one of twice its size.',
  source: part21('Section 6, Result 7, Figure 9'),
  paper: {
    text: 'mean over all tests: 4 layers 72.2 %, 20 layers of the same size 94.0 %; 4 layers of twice the size 68.6 %',
    unit: 'share solved at the most operations and beyond, deep minus shallow',
  },
  scales: {
    small: { members: atWidths({ deep: [8, 48], shallow: [2, 96], wide: [2, 136] }, 4), expect },
    laptop: { members: atWidths({ deep: [8, 88], shallow: [2, 176], wide: [2, 248] }, 4), expect },
    gpu: { members: atWidths({ deep: [20, 576], shallow: [4, 1344], wide: [4, 1920] }), expect },
    paper: { members: atWidths({ deep: [20, 576], shallow: [4, 1344], wide: [4, 1920] }), expect },
  },
  measure({ deep, shallow, wide }) {
    const [a, b, c] = [accuracy(deep, 'all'), accuracy(shallow, 'all'), accuracy(wide, 'all')];
    const measures = {
      overShallow: a[0] - b[0],
      overWide: a[0] - c[0],
      deep: a[0],
      shallow: b[0],
      wide: c[0],
      'nParameter.deep': read(deep, 'nParameter'),
      'nParameter.shallow': read(shallow, 'nParameter'),
      'nParameter.wide': read(wide, 'nParameter'),
    };
    return measured(measures.overShallow, measures, differenceInterval(a, b));
  },
};
