// What hints do, for the report of a `knowledge` run.
import { answersFromHints } from '../hinted-answers.js';
import type { TaskScore } from '../knowledge-scores.js';
import type { BarFigure } from '../report/document.js';

/**
 * Answers about people that were not asked about in training: straight from the name, and after a hint that the model writes
 * first, beside what its hints let expect. Empty when no task was asked with hints.
 */
export function hintFigures(test: Readonly<Record<string, TaskScore>>, nameOf: (task: string) => string): BarFigure[] {
  const rate = ({ nRight, n }: TaskScore['exact']): number => nRight / n;
  const hinted = Object.entries(test).flatMap(([task, { exact, majority, hinted: said }]) => {
    if (said === undefined) return [];
    const chance = rate(majority);
    return [
      {
        task: nameOf(task),
        direct: rate(exact),
        withHint: rate(said.answer),
        expected: answersFromHints(rate(said.hint), chance),
        chance,
      },
    ];
  });
  if (hinted.length === 0) return [];
  const values = (of: 'direct' | 'withHint' | 'expected' | 'chance'): number[] => hinted.map((one) => one[of]);
  return [
    {
      kind: 'bar',
      id: 'hints',
      title: 'With a hint and without',
      caption:
        'Whole answers about people that were not asked about in training. With a hint the model states the facts first, right ' +
        'or wrong, and then answers. Expected: every right hint answered rightly, every wrong one by the commonest answer.',
      x: { label: 'right answers', min: 0, max: 1 },
      categories: hinted.map(({ task }) => task),
      series: [
        { name: 'with a hint', values: values('withHint') },
        { name: 'expected of its hints', values: values('expected'), quiet: true },
        { name: 'without', values: values('direct') },
        { name: 'commonest answer', values: values('chance'), quiet: true },
      ],
    },
  ];
}
