import type { Law } from '../law.js';
import { levelsOf, measured, read, source, withPosition } from './members.js';

const members = { rotary: withPosition('rotary') };
const scale = {
  members,
  expect: [
    {
      measure: 'violations',
      atMost: 0,
      tests: 'no level is complete in an earlier layer than a level below it in the tree',
    },
    {
      measure: 'firstLayerSpread',
      atLeast: 0.01,
      tests: 'in the first layer, the level nearest to the tokens is further than the one nearest to the root',
    },
  ],
};

/** P1-10. @see arXiv:2305.13673, Appendix C.2 and C.3. */
export const cfgHierarchy: Law = {
  id: 'cfg-hierarchy',
  part: '1',
  claim: 'Levels of the tree are found layer by layer, from the tokens to the root.',
  source: source('Section 4, Appendix C.2'),
  paper: {
    text: 'lower levels reach their accuracy in earlier layers',
    unit: 'accuracy in the first layer, lowest minus highest level',
  },
  scales: { tiny: scale, laptop: scale, gpu: scale, paper: scale },
  measure({ rotary }) {
    const levels = levelsOf(rotary, 'layer1');
    const nLayer = Object.keys(rotary?.measures ?? {}).filter((name) => /^layer\d+\.NT2$/.test(name)).length;
    const at = (layer: number, level: string): number => read(rotary, `layer${layer}.${level}`);
    const layers = Array.from({ length: nLayer }, (_, i) => i + 1);
    // The first layer with 95 % of the last one's accuracy.
    const complete = levels.map((level) => layers.find((layer) => at(layer, level) >= 0.95 * at(nLayer, level))!);
    const violations = complete.filter((layer, i) => i > 0 && layer > complete[i - 1]!).length;
    const spread = at(1, levels.at(-1)!) - at(1, levels[0]!);
    const byLevel = Object.fromEntries(levels.map((level, i) => [`completeAt.${level}`, complete[i]!]));
    return measured(spread, { violations, firstLayerSpread: spread, ...byLevel });
  },
};
