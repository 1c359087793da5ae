import type { BarFigure, Table } from '../report/document.js';
import { count, decimals } from '../report/number-format.js';
import type { CapacityResults } from '../run-capacity.js';

/** The source of what capacity runs measure, and of the paper's points in their figures. */
export const CAPACITY_SOURCE =
  'Allen-Zhu and Li 2024, Physics of Language Models: Part 3.3, Knowledge Capacity Scaling Laws, arXiv:2404.05405: ' +
  'the definition of stored bits (Definition 4.3), the law and its Figure 1(a), whose points are read off the figure.';

const ITEM_NAMES: Readonly<Record<string, string>> = {
  name: 'name',
  birthDate: 'birth date',
  birthCity: 'birth city',
  university: 'university',
  major: 'major',
  employer: 'employer',
  pronoun: 'pronoun',
};

/** What is left to know of each item, beside a guess. */
export function lossesFigure(nPeople: number, { items }: CapacityResults): BarFigure {
  return {
    kind: 'bar',
    id: 'losses-by-item',
    title: 'What is left to know, by item',
    caption:
      `Nats that the model still needs for each item, summed over its tokens, beside a uniform guess. A perfect model ` +
      `needs ln ${count(nPeople)} = ${decimals(Math.log(nPeople))} nats for a name (whose turn it is cannot be known) and 0 for a fact.`,
    x: { label: 'nats', min: 0 },
    categories: items.map(({ item }) => ITEM_NAMES[item] ?? item),
    series: [
      { name: 'uniform guess', values: items.map(({ uniform }) => uniform), quiet: true },
      { name: 'this model', values: items.map(({ loss }) => loss) },
    ],
  };
}

/** The numbers of {@link lossesFigure}, and the bits that they are. */
export function lossesTable({ items }: CapacityResults): Table {
  return {
    title: 'Losses by item',
    note: 'Nats, summed over the tokens of the item, mean over people.',
    columns: ['item', 'choices', 'uniform guess', 'perfect', 'this model', 'bits known'],
    rows: items.map(({ item, choices, uniform, perfect, loss }) => [
      ITEM_NAMES[item] ?? item,
      count(choices),
      decimals(uniform),
      decimals(perfect),
      decimals(loss),
      `${decimals((uniform - loss) / Math.LN2)} of ${decimals((uniform - perfect) / Math.LN2)}`,
    ]),
  };
}
