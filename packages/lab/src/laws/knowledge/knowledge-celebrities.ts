import { knowledgeScales } from '../../recipes/knowledge.js';
import type { ScaleName } from '../../recipes/recipe.js';
import type { Law, LawScale } from '../law.js';
import { AUGMENTED, asked, differenceInterval, measured, read, source } from './members.js';

/** Celebrities, with five entries each, are shown five times as often as anyone else: training is as long or twice as long. */
const fewer = (name: ScaleName): number => (name === 'gpu' || name === 'paper' ? 5 : 3);

const scale = (name: ScaleName, gain: number): LawScale => {
  const exposures = Math.ceil(knowledgeScales[name].exposures / fewer(name));
  const withCelebrities = (augmentation: string) =>
    asked(augmentation, { celebrity: 'multi5+permute', exposures, probes: 'none' });
  return {
    members: {
      alone: AUGMENTED.permute1,
      celebrities: withCelebrities('single+permute1'),
      mismatch: withCelebrities('single+permute1+fullname'),
    },
    expect: [
      { measure: 'biography', atLeast: 0.9, tests: 'the model has the biographies of the minority by heart' },
      { measure: 'gain', atLeast: gain, tests: 'celebrities in many wordings make facts of the minority extractable' },
      { measure: 'mismatch', atLeast: 0, tests: 'they help less when the minority is written about in another form' },
    ],
  };
};

/** L8. @see arXiv:2309.14316, Section 6, Appendix G. */
export const knowledgeCelebrities: Law = {
  id: 'knowledge-celebrities',
  part: '3.1',
  claim: 'Many texts about celebrities make facts about everyone else extractable.',
  source: source('Section 6, Appendix G'),
  paper: {
    text: 'bioS: the minority has one text each (permute1), and is never asked about in training: 4.4 % alone, 86.8 % beside celebrities with five texts each',
    unit: 'whole answers about the minority, with celebrities above without',
  },
  scales: {
    tiny: scale('tiny', 0.05),
    laptop: scale('laptop', 0.1),
    gpu: scale('gpu', 0.3),
    paper: scale('paper', 0.3),
  },
  compares: {
    title: 'The celebrity effect',
    caption: 'Whole answers about people of one text each, who were never asked about beside celebrities.',
    label: 'right answers about the minority',
    measures: {
      'without celebrities': 'exact.alone',
      'with celebrities': 'exact.celebrities',
      'with celebrities in another form': 'exact.mismatch',
    },
    paper: { 'without celebrities': 0.044, 'with celebrities': 0.868 },
  },
  measure(runs) {
    const exact = (name: string): number => read(runs[name], 'exact.test');
    const gain = exact('celebrities') - exact('alone');
    const measures = {
      gain,
      mismatch: exact('celebrities') - exact('mismatch'),
      biography: read(runs.celebrities, 'biography.test'),
      ...Object.fromEntries(Object.keys(runs).map((name) => [`exact.${name}`, exact(name)])),
    };
    return measured(gain, measures, differenceInterval(runs.celebrities, runs.alone, 'exact.test'));
  },
};
