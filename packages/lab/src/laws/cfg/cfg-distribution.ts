import type { Law } from '../law.js';
import { measured, read, source, withPosition } from './members.js';

const members = { rotary: withPosition('rotary') };
const atMost = (kl: number) => ({
  members,
  expect: [
    {
      measure: 'kl',
      atMost: kl,
      tests: 'the model knows how likely each next token is, beyond which ones are possible',
    },
  ],
});

/** P1-5. @see arXiv:2305.13673, Section 3 (KL divergence), Figure 4. */
export const cfgDistribution: Law = {
  id: 'cfg-distribution',
  part: '1',
  claim: 'A GPT learns the distribution of the grammar token by token, not only its language.',
  source: source('Section 3, Figure 4'),
  paper: { text: '0.00009 to 0.0006 nats a token (rotary positions, seven grammars)', unit: 'nats a token' },
  scales: { tiny: atMost(0.03), laptop: atMost(0.02), gpu: atMost(0.005), paper: atMost(0.001) },
  measure({ rotary }) {
    const kl = read(rotary, 'kl');
    return measured(kl, { kl, lossFloor: read(rotary, 'lossFloor') }, rotary?.intervals.kl);
  },
};
