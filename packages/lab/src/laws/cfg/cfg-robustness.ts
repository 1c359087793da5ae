import type { Law } from '../law.js';
import { measured, read, scoresOnly, source } from './members.js';

/** Trained on sentences of which a share γ has mistakes in its terminals; completions of spoiled prefixes are scored. */
export const trainedWithMistakes = (gamma: number) => ({
  recipe: 'cfg',
  parameters: {
    position: 'rotary',
    robust: true,
    ...scoresOnly,
    ...(gamma > 0 && { perturbation: 't-random', gamma }),
  },
});
const members = { clean: trainedWithMistakes(0), tenth: trainedWithMistakes(0.1), half: trainedWithMistakes(0.5) };
const scale = {
  members,
  expect: [
    {
      measure: 'gain.tenth',
      atLeast: 0.05,
      tests: 'a tenth of spoiled sentences makes the model better at going on after a spoiled prefix',
    },
    { measure: 'gain.half', atLeast: 0.05, tests: 'and so does a half' },
  ],
};

/** P1-15. @see arXiv:2305.13673, Results 11 and 12. */
export const cfgRobustness: Law = {
  id: 'cfg-robustness',
  part: '1',
  claim:
    'Training on clean sentences alone is brittle; a tenth of sentences with mistakes cures it, at low temperature.',
  source: source('Section 6, Results 11 and 12'),
  paper: {
    text: 'a large gap; its numbers were not recovered',
    unit: 'robust accuracy at temperature 0.1, a tenth spoiled minus clean',
  },
  scales: { tiny: scale, laptop: scale, gpu: scale, paper: scale },
  measure({ clean, tenth, half }) {
    const robust = (run: typeof clean): number => read(run, 'robustAt0.1');
    const measures = {
      'gain.tenth': robust(tenth) - robust(clean),
      'gain.half': robust(half) - robust(clean),
      'robust.clean': robust(clean),
      'robust.tenth': robust(tenth),
      'robust.half': robust(half),
    };
    return measured(measures['gain.tenth'], measures);
  },
};
