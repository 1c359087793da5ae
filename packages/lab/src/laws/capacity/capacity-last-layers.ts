import type { Law } from '../law.js';
import { capacityRun, read, source } from './members.js';

const members = { whole: capacityRun(), shorter: capacityRun({ removeLayers: 1 }) };
const scale = {
  members,
  expect: [
    {
      measure: 'lostOverShare',
      atLeast: 1.5,
      tests: 'without its last layer a model loses far more than the share of knowledge that one layer would have',
    },
  ],
};

/** Nothing is trained: the same checkpoint without its last block. @see arXiv:2404.05405, remarks of Section 4. */
export const capacityLastLayers: Law = {
  id: 'capacity-last-layers',
  part: '3.3',
  claim: 'Knowledge does not lie layer by layer: taking off the last of L layers loses far more than one part in L.',
  source: source('Section 4, remark on layers'),
  paper: { text: 'much more than 1/L (no figure)', unit: 'share of knowledge lost, times L' },
  scales: { tiny: scale, small: scale, laptop: scale, gpu: scale, paper: scale },
  measure({ whole, shorter }) {
    const lost = 1 - read(shorter, 'bits') / read(whole, 'bits');
    const nLayer = read(shorter, 'nLayer') + 1;
    const lostOverShare = lost * nLayer;
    return {
      ours: lostOverShare,
      interval: { low: lostOverShare, high: lostOverShare },
      measures: { lostOverShare, lost, nLayer },
    };
  },
};
