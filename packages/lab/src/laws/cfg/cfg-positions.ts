import type { Law } from '../law.js';
import { measured, ratioInterval, read, source, withPosition } from './members.js';

const members = {
  absolute: withPosition('absolute'),
  position: withPosition('position'),
  relative: withPosition('relative'),
  rotary: withPosition('rotary'),
};
const tests = 'with absolute positions the model is further from the law than with any that know distances';
const scale = {
  members,
  expect: ['absoluteToRelative', 'absoluteToRotary', 'absoluteToPosition'].map((measure) => ({
    measure,
    atLeast: 1.2,
    tests,
  })),
};

/** P1-2. @see arXiv:2305.13673, Result 2, Figure 4. */
export const cfgPositions: Law = {
  id: 'cfg-positions',
  part: '1',
  claim: 'Absolute positions fail on hard grammars; relative and rotary ones learn them.',
  source: source('Section 3, Result 2, Figure 4'),
  paper: {
    text: 'cfg3f: divergence 0.00455 with absolute, 0.00043 with relative, 0.00060 with rotary positions, 10.6 to 1; accuracy 57 % against 99 %',
    unit: 'times the divergence of relative positions',
  },
  scales: { tiny: scale, laptop: scale, gpu: scale, paper: scale },
  measure(runs) {
    const kl = (name: string): number => read(runs[name], 'kl');
    const ratio = (name: string): number => kl('absolute') / kl(name);
    const measures = {
      absoluteToRelative: ratio('relative'),
      absoluteToRotary: ratio('rotary'),
      absoluteToPosition: ratio('position'),
      ...Object.fromEntries(Object.keys(members).map((name) => [`kl.${name}`, kl(name)])),
      ...Object.fromEntries(Object.keys(members).map((name) => [`accuracy.${name}`, read(runs[name], 'accuracyCut0')])),
    };
    const interval = ratioInterval(
      [kl('absolute'), runs.absolute?.intervals.kl],
      [kl('relative'), runs.relative?.intervals.kl],
    );
    return measured(measures.absoluteToRelative, measures, interval);
  },
};
