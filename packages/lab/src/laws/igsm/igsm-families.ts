import type { Law } from '../law.js';
import { accuracy, differenceInterval, measured, part21, readSome, solving } from './members.js';

const trained = 'numbers+prices+recipes';
const unseen = 'traits';
/** Several families need words of their own as tokens: names as one token would say which family they are of. */
const words = { vocabulary: 'words' } as const;
const members = (sizes: { readonly nCtx: number; readonly nCtxTest: number }) => ({
  one: solving({ ...words, ...sizes, families: 'numbers', unseen }),
  several: solving({ ...words, ...sizes, families: trained, unseen }),
});
const expect = [
  {
    measure: 'accuracy.in',
    atLeast: 0.3,
    tests: 'the families of training are learnt, so that there is something to transfer; how much is whatever it is',
  },
];

/** Ours: no paper has more than one family of templates. */
export const igsmFamilies: Law = {
  id: 'igsm-families',
  part: '2.1',
  claim: 'Trained on several template families, a model transfers to the wording of a family that it never saw.',
  source: part21('none: a question of this lab, on the data of Section 2'),
  paper: {
    text: 'not in the papers, which have one family',
    unit: 'share of problems solved in the wording of an unseen family, items of training',
  },
  scales: {
    small: { members: members({ nCtx: 144, nCtxTest: 320 }), expect },
    laptop: { members: members({ nCtx: 144, nCtxTest: 320 }), expect },
    gpu: { members: members({ nCtx: 768, nCtxTest: 768 }), expect },
  },
  measure({ one, several }) {
    const wording = accuracy(several, `wording.${unseen}`);
    const alone = accuracy(one, `wording.${unseen}`);
    const measures = {
      wording: wording[0],
      overOne: wording[0] - alone[0],
      'accuracy.in': accuracy(several, 'in')[0],
      'wording.one': alone[0],
      ...readSome(several, [`accuracy.unseen.${unseen}`, 'accuracy.ood']),
      ...Object.fromEntries(
        Object.entries(readSome(one, ['accuracy.in'])).map(([name, share]) => [`${name}.one`, share]),
      ),
    };
    return measured(wording[0], measures, differenceInterval(wording, [0, undefined]));
  },
};
