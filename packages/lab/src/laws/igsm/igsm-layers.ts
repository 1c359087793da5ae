import type { Law } from '../law.js';
import { measured, part21, plain, read, readSome } from './members.js';

const scale = {
  members: { run: plain },
  expect: [
    { measure: 'far', atLeast: 0.1, tests: 'deep layers know of far parameters what shallow ones do not' },
    { measure: 'more', atLeast: 0.05, tests: 'more so than of near ones' },
  ],
};

/** P2.1-R8. @see arXiv:2407.20311, Section 6, Result 8, Figure 10. */
export const igsmLayers: Law = {
  id: 'igsm-layers',
  part: '2.1',
  claim:
    'The model plans layer by layer: the further a parameter is from the question, the deeper the layer that knows it is needed.',
  source: part21('Section 6, Result 8, Figure 10'),
  paper: {
    text: 'curves without numbers: shallow layers are good for small distances only, the top layers for all',
    unit: 'accuracy of nece at the top layer minus the first, on the furthest parameters',
  },
  scales: { laptop: scale, gpu: scale, paper: scale },
  measure({ run }) {
    const layers = Object.keys(run?.measures ?? {}).flatMap((name) => {
      const found = /^layer(\d+)\.nece\.all$/.exec(name);
      return found === null ? [] : [Number(found[1])];
    });
    const top = Math.max(...layers);
    const names = Object.keys(run?.measures ?? {}).filter((name) => /^layer\d+\.nece\./.test(name));
    const at = (layer: number, distance: number): number => read(run, `layer${layer}.nece.${distance}`);
    const distances = names.flatMap((name) => Number(/^layer1\.nece\.(\d+)$/.exec(name)?.[1] ?? []));
    const far = Math.min(4, Math.max(...distances));
    const measures = {
      far: at(top, far) - at(1, far),
      near: at(top, 0) - at(1, 0),
      more: at(top, far) - at(1, far) - (at(top, 0) - at(1, 0)),
      ...readSome(run, names),
    };
    return measured(measures.far, measures);
  },
};
