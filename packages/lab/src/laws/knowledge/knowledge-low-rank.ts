import type { ScaleName } from '../../recipes/recipe.js';
import type { Law, LawScale } from '../law.js';
import { askedAfterwards, differenceInterval, measured, read, source } from './members.js';

const scale = (name: ScaleName, gap: number): LawScale => ({
  members: {
    lora: askedAfterwards(name, 'multi5+permute', { finetune: 'lora', probes: 'none' }),
    noEmbedding: askedAfterwards(name, 'multi5+permute', { finetune: 'lora', embeddingRank: 0, probes: 'none' }),
    full: askedAfterwards(name, 'multi5+permute', { finetune: 'full', probes: 'none' }),
  },
  expect: [
    {
      measure: 'embeddingGain',
      atLeast: gap,
      tests: 'an update of the embedding lets the model understand the questions',
    },
    { measure: 'overFull', atLeast: 0, tests: 'updates of low rank extract no less than training every weight' },
  ],
});

/** L4. @see arXiv:2309.14316, Section 4 and Appendix D. */
export const knowledgeLowRank: Law = {
  id: 'knowledge-low-rank',
  part: '3.1',
  claim: 'To be asked, a model needs little: updates of low rank, of the embedding above all.',
  source: source('Section 4, Figure 2, Appendix D'),
  paper: {
    text: 'bioS multi5+permute: an update of the embedding of rank 128 is needed, while rank 2 to 32 of query and value is all the same; full finetuning is worse',
    unit: 'whole answers about P_test, with an update of the embedding above without',
  },
  scales: {
    tiny: scale('tiny', 0.02),
    laptop: scale('laptop', 0.05),
    gpu: scale('gpu', 0.1),
    paper: scale('paper', 0.1),
  },
  measure(runs) {
    const exact = (name: string): number => read(runs[name], 'exact.test');
    const embeddingGain = exact('lora') - exact('noEmbedding');
    const measures = {
      embeddingGain,
      overFull: exact('lora') - exact('full'),
      ...Object.fromEntries(Object.keys(runs).map((name) => [`exact.${name}`, exact(name)])),
      ...Object.fromEntries(Object.keys(runs).map((name) => [`biography.${name}`, read(runs[name], 'biography.test')])),
    };
    return measured(embeddingGain, measures, differenceInterval(runs.lora, runs.noEmbedding, 'exact.test'));
  },
};
