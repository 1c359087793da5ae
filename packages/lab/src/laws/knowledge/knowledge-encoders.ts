import type { Law, LawScale } from '../law.js';
import { asked, mean, measured, read, source } from './members.js';

/** Facts whose words do not depend on each other, and facts whose do. */
const FREE = ['birthDate', 'major'] as const;
const BOUND = ['birthCity', 'university', 'employer', 'workCity'] as const;

const scale = (gap: number, rest: Readonly<Record<string, unknown>> = {}): LawScale => ({
  members: {
    encoder: asked('multi5+permute', { encoder: true, qaShare: 0.8, probes: 'none', ...rest }),
  },
  expect: [
    { measure: 'biography', atLeast: 0.9, tests: 'the encoder fills in facts in biographies' },
    { measure: 'gap', atLeast: gap, tests: 'it can be asked for dates and majors far better than for the other facts' },
  ],
});

/**
 * L9. The populations for one processor have employers and majors of one word each, so that only cities and universities are
 * of dependent words: the law is tried where values are as in the paper.
 *
 * @see arXiv:2309.14316, Section 7, Appendix H (GBERT).
 */
export const knowledgeEncoders: Law = {
  id: 'knowledge-encoders',
  part: '3.1',
  claim: 'Encoders trained on hidden words can be asked only for facts whose words do not depend on each other.',
  source: source('Section 7, Appendix H'),
  paper: {
    text: 'bioS, GBERT: birth date and major can be asked for; cities, university and employer cannot, whatever the augmentation',
    unit: 'whole answers about P_test for birth date and major above those for other facts',
  },
  scales: { gpu: scale(0.3), paper: scale(0.3) },
  measure({ encoder }) {
    const exact = (facts: readonly string[]): number => mean(facts.map((fact) => read(encoder, `exact.test.${fact}`)));
    const gap = exact(FREE) - exact(BOUND);
    const half = (facts: readonly string[]): number =>
      Math.hypot(
        ...facts.map((fact) => {
          const { low, high } = encoder!.intervals[`exact.test.${fact}`]!;
          return (high - low) / 2 / facts.length;
        }),
      );
    const width = Math.hypot(half(FREE), half(BOUND));
    const measures = {
      gap,
      biography: read(encoder, 'biography.test'),
      ...Object.fromEntries([...FREE, ...BOUND].map((fact) => [`exact.${fact}`, read(encoder, `exact.test.${fact}`)])),
    };
    return measured(gap, measures, { low: gap - width, high: gap + width });
  },
};
