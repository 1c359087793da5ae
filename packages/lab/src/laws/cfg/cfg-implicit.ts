import type { Law } from '../law.js';
import { measured, read, scoresOnly, source } from './members.js';

const hidden = (implicit: string, nWord: number) => ({
  recipe: 'cfg',
  parameters: { implicit, nWord, position: 'rotary', ...scoresOnly },
});
const members = (nWord: number) => ({
  disjoint: hidden('disjoint-uniform', nWord),
  overlapping: hidden('overlapping-uniform', nWord),
});
const expect = [
  {
    measure: 'gap.disjoint',
    atLeast: 0.2,
    tests: 'words of one terminal have embeddings alike, words of different ones have not',
  },
  { measure: 'gap.overlapping', atLeast: 0.05, tests: 'and so have words that belong to the same set of terminals' },
];

/** P1-14. @see arXiv:2305.13673, Result 10. */
export const cfgImplicit: Law = {
  id: 'cfg-implicit',
  part: '1',
  claim: 'When terminals hide behind words, embeddings encode which terminals a word belongs to, and nothing else.',
  source: source('Section 6, Result 10'),
  paper: { text: 'a block matrix of 300 words', unit: 'mean cosine within groups minus between groups, disjoint' },
  scales: {
    tiny: { members: members(60), expect },
    laptop: { members: members(300), expect },
    gpu: { members: members(300), expect },
    paper: { members: members(300), expect },
  },
  measure({ disjoint, overlapping }) {
    const measures = Object.fromEntries(
      Object.entries({ disjoint, overlapping }).flatMap(([name, run]) => [
        [`gap.${name}`, read(run, 'words.gap')],
        [`within.${name}`, read(run, 'words.within')],
        [`between.${name}`, read(run, 'words.between')],
        [`kl.${name}`, read(run, 'kl')],
      ]),
    );
    return measured(measures['gap.disjoint']!, measures);
  },
};
