import type { Law } from '../law.js';
import { trainedWithMistakes } from './cfg-robustness.js';
import { measured, read, source } from './members.js';

const members = { half: trainedWithMistakes(0.5) };

/** P1-16. @see arXiv:2305.13673, Result 13. */
export const cfgModeSwitch: Law = {
  id: 'cfg-mode-switch',
  part: '1',
  claim:
    'A model trained on sentences with mistakes switches modes: it goes on rightly after a right prefix, and wrongly after a spoiled one.',
  source: source('Section 6, Result 13'),
  paper: {
    text: 'right after a clean prefix, wrong after a spoiled one, and between without one',
    unit: 'accuracy after clean minus after spoiled prefixes, temperature 1',
  },
  scales: {
    tiny: {
      members,
      expect: [
        {
          measure: 'switch',
          atLeast: 0.2,
          tests: 'what it writes is right far more often after a clean prefix than after a spoiled one',
        },
      ],
    },
    laptop: {
      members,
      expect: [
        {
          measure: 'switch',
          atLeast: 0.3,
          tests: 'what it writes is right far more often after a clean prefix than after a spoiled one',
        },
      ],
    },
  },
  measure({ half }) {
    const measures = {
      switch: read(half, 'accuracyCut') - read(half, 'robustAt1'),
      clean: read(half, 'accuracyCut'),
      spoiled: read(half, 'robustAt1'),
      nothing: read(half, 'accuracyCut0'),
    };
    return measured(measures.switch, measures);
  },
};
