import { invariant } from '@physlm/base';
import type { PositionScheme } from '@physlm/model';
import type { Results } from '../../recipes/recipe.js';
import type { Law, LawMember } from '../law.js';
import { levelsOf, measured, read, source, withPosition } from './members.js';

// cfg3b, which other laws use at this scale, is too easy: its encoders read four levels up nearly as well as a GPT.
const hard = 'cfg3f/16';
const encoder = (position: PositionScheme, rest: Readonly<Record<string, unknown>> = {}): LawMember => ({
  recipe: 'cfg',
  parameters: { encoder: true, position, ...rest },
});
const expecting = (members: Readonly<Record<string, LawMember>>, gap: number, low: number) => ({
  members,
  expect: [
    {
      measure: 'gap',
      atLeast: gap,
      tests:
        'where deep non-terminals end, the states of a GPT say far better which ones they were than those of any encoder',
    },
    { measure: 'encoderLowest', atLeast: low, tests: 'although encoders know the level next to the tokens' },
  ],
});
const whole = { rotary: withPosition('rotary'), deberta: encoder('relative'), rotaryEncoder: encoder('rotary') };

/** P1-9. @see arXiv:2305.13673, Section 4, Figures 5 and 7 (DeBERTa). */
export const cfgEncoders: Law = {
  id: 'cfg-encoders',
  part: '1',
  claim: 'Encoders trained on masked tokens do not learn the deep levels of the tree.',
  source: source('Section 4, Figures 5 and 7'),
  paper: {
    text: 'cfg3f, at the ends of non-terminals, from the tokens up: DeBERTa 100, 99, 78, 69, 80 %; GPT_rel 100, 99, 99, 99, 98 %: 17 points above the lowest level',
    unit: 'accuracy of a GPT above that of the better encoder, mean over all levels but the lowest',
  },
  scales: {
    tiny: expecting(
      {
        rotary: { recipe: 'cfg', parameters: { grammar: hard, position: 'rotary', nAttention: 0 } },
        deberta: encoder('relative', { grammar: hard }),
        rotaryEncoder: encoder('rotary', { grammar: hard }),
      },
      0.1,
      0.85,
    ),
    laptop: expecting(whole, 0.1, 0.9),
    gpu: expecting(whole, 0.1, 0.95),
    paper: expecting(whole, 0.1, 0.98),
  },
  measure({ rotary, ...encoders }) {
    const levels = levelsOf(rotary, 'end');
    const lowest = levels.at(-1);
    invariant(lowest !== undefined && levels.length > 1, 'a grammar with several labelled levels');
    const deep = levels.slice(0, -1);
    const mean = (of: Results | undefined): number =>
      deep.reduce((sum, level) => sum + read(of, `end.${level}`), 0) / deep.length;
    const runs = Object.values(encoders);
    const gap = mean(rotary) - Math.max(...runs.map(mean));
    const encoderLowest = Math.min(...runs.map((one) => read(one, `end.${lowest}`)));
    const byLevel = Object.entries({ rotary, ...encoders }).flatMap(([name, of]) =>
      levels.map((level) => [`${name}.${level}`, read(of, `end.${level}`)] as const),
    );
    return measured(gap, { gap, encoderLowest, ...Object.fromEntries(byLevel) });
  },
};
