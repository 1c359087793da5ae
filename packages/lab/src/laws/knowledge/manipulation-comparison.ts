import type { Results, ScaleName } from '../../recipes/recipe.js';
import type { Law, LawScale } from '../law.js';
import { forFunctions, HINTED, hintedAnswers, share, source, taught } from './manipulation-members.js';
import { read } from './members.js';

/** Comparing by numbers that no text says takes longer to learn than the scale's finetuning lasts, even from right hints. */
const STEPS: Readonly<Partial<Record<ScaleName, number>>> = { tiny: 5000, laptop: 10_000 };

function members(name: ScaleName, task: 'majorRanking' | 'majorSubtraction', [direct, hinted]: [string, string]) {
  const rest = { ...forFunctions(name), ...(STEPS[name] && { finetuneSteps: STEPS[name] }) };
  return { [direct]: taught(task, rest), [hinted]: taught(task, { ...rest, ...HINTED }) };
}

const scale = (name: ScaleName, subtraction: boolean): LawScale => ({
  members: {
    ...members(name, 'majorRanking', ['direct', 'hinted']),
    ...(subtraction && members(name, 'majorSubtraction', ['directDifference', 'hintedDifference'])),
  },
  expect: [
    { measure: 'aboveChance', atMost: 0.05, tests: 'without a hint it compares no better than by guessing' },
    // A lower bound: one right fact of two already tells more than chance about which is larger.
    { measure: 'abovePredicted', atLeast: -0.05, tests: 'with one it compares as well as both of its facts are right' },
    ...(subtraction
      ? [
          { measure: 'aboveChance.difference', atMost: 0.05, tests: 'nor does it tell the difference' },
          { measure: 'abovePredicted.difference', atLeast: -0.05, tests: 'which it tells with a hint' },
        ]
      : []),
  ],
});

/** M4. @see arXiv:2309.14402, Section 4, Result 3 and footnote 15. */
export const manipulationComparison: Law = {
  id: 'manipulation-comparison',
  part: '3.2',
  claim: 'Two people are compared by their majors no better than by chance, unless both majors are stated first.',
  source: source('Section 4, Result 3, footnote 15'),
  paper: {
    text: 'whose major is luckier? bioS multi5+permute, GPT-2, without hints: 52.2 and 53.9 % after 25,000 and 50,000 people, chance 50.5 %; differences 1.1 %; with hints as h² + (1 − h²) · chance',
    unit: 'whole answers about P_test without a hint, above the commonest answer',
  },
  scales: {
    tiny: scale('tiny', false),
    laptop: scale('laptop', true),
    gpu: scale('gpu', true),
    paper: scale('paper', true),
  },
  measure({ direct, hinted, directDifference, hintedDifference }) {
    const compared = (without: Results | undefined, withHint: Results | undefined, task: string, suffix: string) => {
      const answers = hintedAnswers(withHint, task);
      const exact = read(without, `exact.test.${task}`);
      const chance = read(without, `majority.test.${task}`);
      return Object.fromEntries(
        Object.entries({
          aboveChance: exact - chance,
          abovePredicted: answers.withHint - answers.predicted,
          direct: exact,
          withHint: answers.withHint,
          predicted: answers.predicted,
          bothRight: answers.hint,
          chance,
        }).map(([name, value]) => [`${name}${suffix}`, value]),
      );
    };
    const measures = {
      ...compared(direct, hinted, 'majorRanking', ''),
      ...(directDifference && compared(directDifference, hintedDifference, 'majorSubtraction', '.difference')),
    };
    const [exact, { low, high }] = share(direct, 'exact.test.majorRanking');
    const chance = exact - measures.aboveChance!;
    return { ours: measures.aboveChance!, interval: { low: low - chance, high: high - chance }, measures };
  },
};
