import type { Law } from '../law.js';
import { measured, ratioInterval, read, scoresOnly, source } from './members.js';

const on = (grammar: string) => ({ recipe: 'cfg', parameters: { grammar, position: 'absolute', ...scoresOnly } });
const expect = [
  {
    measure: 'fewToMany',
    atLeast: 1.5,
    tests: 'the grammar of more symbols leaves less to learn after as many tokens',
  },
];
const members = { few: on('cfg3f/16'), many: on('cfg3e1/148') };
const whole = { few: on('cfg3f'), many: on('cfg3e1') };

/** P1-6. @see arXiv:2305.13673, Figure 4 (cfg3e1 and cfg3e2). */
export const cfgSymbols: Law = {
  id: 'cfg-symbols',
  part: '1',
  claim: 'Grammars with more symbols are easier to learn than grammars with few, at the same depth.',
  source: source('Section 3, Figure 4'),
  paper: {
    text: 'absolute positions: 57 % right on cfg3f, 98 % on cfg3e1; divergence 0.00455 against 0.00019',
    unit: 'share of the loss above the floor, cfg3f over cfg3e1',
  },
  scales: {
    tiny: { members, expect },
    laptop: { members, expect },
    gpu: { members: whole, expect },
    paper: { members: whole, expect },
  },
  measure({ few, many }) {
    // Grammars differ in how much of the next token is unknowable, so divergences are compared in shares of it.
    const relative = (of: typeof few): number => read(of, 'kl') / read(of, 'lossFloor');
    const ours = relative(few) / relative(many);
    const interval = ratioInterval([read(few, 'kl'), few?.intervals.kl], [read(many, 'kl'), many?.intervals.kl]);
    const scale = ours / (read(few, 'kl') / read(many, 'kl'));
    const measures = {
      fewToMany: ours,
      'kl.few': read(few, 'kl'),
      'kl.many': read(many, 'kl'),
      'accuracy.few': read(few, 'accuracyCut0'),
      'accuracy.many': read(many, 'accuracyCut0'),
    };
    return measured(ours, measures, { low: interval.low * scale, high: interval.high * scale });
  },
};
