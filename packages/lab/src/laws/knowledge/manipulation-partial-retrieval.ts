import type { Law, LawScale } from '../law.js';
import { differenceInterval, share, source, taught } from './manipulation-members.js';
import { AUGMENTED, read } from './members.js';

const scale = (gap: number): LawScale => ({
  members: { dates: AUGMENTED['multi5+permute'], parts: taught('retrieval') },
  expect: [
    {
      measure: 'gap',
      atLeast: gap,
      tests: 'a model that tells the whole date does not tell the year alone, which comes after month and day',
    },
  ],
});

/** M2. @see arXiv:2309.14402, Section 3, Result 2. */
export const manipulationPartialRetrieval: Law = {
  id: 'manipulation-partial-retrieval',
  part: '3.2',
  claim: 'The end of a stored fact cannot be told without its beginning: the year of birth without month and day.',
  source: source('Section 3, Result 2'),
  paper: {
    text: 'bioS multi5+permute, GPT-2: whole dates nearly perfect, the year, one token, poor',
    unit: 'whole answers about P_test, birth dates above birth years',
  },
  scales: { tiny: scale(0.05), laptop: scale(0.1), gpu: scale(0.3), paper: scale(0.3) },
  measure({ dates, parts }) {
    const [date, year] = [share(dates, 'exact.test.birthDate'), share(parts, 'exact.test.birthYear')];
    const measures = {
      gap: date[0] - year[0],
      date: date[0],
      year: year[0],
      day: read(parts, 'exact.test.birthDay'),
      chanceOfYear: read(parts, 'majority.test.birthYear'),
      yearInTraining: read(parts, 'exact.train.birthYear'),
      biography: read(dates, 'biography.test.birthDate'),
    };
    return { ours: measures.gap, interval: differenceInterval(date, year), measures };
  },
};
