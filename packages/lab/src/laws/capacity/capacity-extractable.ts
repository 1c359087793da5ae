import type { Results, ScaleName } from '../../recipes/recipe.js';
import { askedAfterwards, asked as askedInBetween, measured, read, spearman } from '../knowledge/members.js';
import type { Law, LawMember, LawScale } from '../law.js';
import { source } from './members.js';

/** Bounds on extracted over memorised bits: of the widest model, and of every one where that is claimed. */
const scale = (members: LawScale['members'], widest: number, each?: number): LawScale => ({
  members,
  expect: [
    {
      measure: 'share',
      atLeast: widest,
      atMost: 1.1,
      tests: 'nearly all that the widest model holds can be asked for',
    },
    { measure: 'order', atLeast: 0.99, tests: 'the more a model holds, the more it answers' },
    ...(each === undefined
      ? []
      : [{ measure: 'lowest', atLeast: each, tests: 'narrow models answer what they hold, too' }]),
  ],
});

/** Models of several widths that read the same texts, each of them asked about half of the people. */
const widths = (list: readonly number[], asked: (dModel: number) => LawMember): LawScale['members'] =>
  Object.fromEntries(list.map((dModel) => [`width ${dModel}`, asked(dModel)]));

/** On one processor: few people, five texts each, questions among the texts. Narrow models have no room for everyone. */
const inBetween = (list: readonly number[], setting: Readonly<Record<string, unknown>>): LawScale['members'] =>
  widths(list, (dModel) =>
    askedInBetween('multi5+permute', { ...setting, dModel, nLayer: 4, qaShare: 0.6, finetune: 'none', probes: 'none' }),
  );

/** As in the paper: all texts first, then a finetune with updates of low rank on questions. */
const afterwards = (name: ScaleName, list: readonly number[]): LawScale['members'] =>
  widths(list, (dModel) =>
    askedAfterwards(name, 'multi5+permute+fullname', { dModel, finetune: 'lora', probes: 'none' }),
  );

/**
 * Bits of the facts that are asked for (no names, no pronouns), about people whom training never asks about: in their
 * biographies, and in answers about them.
 *
 * Differs from the paper at `tiny` and `laptop`: models of this size carry little over to questions that come after all texts,
 * so that they are asked in between; pools are smaller, and a person has five texts instead of new ones each time. At all scales: bits, where the paper compares accuracies.
 *
 * @see arXiv:2404.05405, Appendix A.2.
 */
export const capacityExtractable: Law = {
  id: 'capacity-extractable',
  part: '3.3',
  claim: 'Almost all that is stored can be asked for: knowledge that questions bring out obeys the same law.',
  source: source('Appendix A.2'),
  paper: {
    text: 'extractable and memorised knowledge agree, but for a factor of 1.2 in accuracy exactly at the limit',
    unit: 'extractable over memorised bits about a person, widest model',
  },
  scales: {
    tiny: scale(inBetween([32, 48, 64], { nPeople: 1000, exposures: 120, nAsked: 500 }), 0.8, 0.5),
    laptop: scale(inBetween([48, 64, 80], { nPeople: 1000, exposures: 150, nAsked: 500 }), 0.85, 0.5),
    gpu: scale(afterwards('gpu', [128, 256, 512]), 0.83, 0.6),
    paper: scale(afterwards('paper', [256, 512, 768]), 0.83, 0.83),
  },
  measure(runs) {
    // Members come from the narrowest to the widest.
    const names = Object.keys(runs);
    const bits = (kind: string, of: Results | undefined): number => read(of, `${kind}.test`);
    const share = (of: Results | undefined): number => read(of, 'extractedShare.test');
    const widest = runs[names.at(-1)!];
    const all = (kind: string): number[] => names.map((name) => bits(kind, runs[name]));
    const measures = {
      share: share(widest),
      order: spearman(all('memorised'), all('extracted')),
      lowest: Math.min(...names.map((name) => share(runs[name]))),
      ...Object.fromEntries(
        names.flatMap((name) => [
          [`share.${name}`, share(runs[name])],
          [`memorised.${name}`, bits('memorised', runs[name])],
          [`extracted.${name}`, bits('extracted', runs[name])],
          [`exact.${name}`, read(runs[name], 'exact.test')],
        ]),
      ),
    };
    return measured(share(widest), measures, widest!.intervals['extractedShare.test']!);
  },
};
