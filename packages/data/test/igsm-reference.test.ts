// Against rows of the released generator and its verifier, and against the statistics of its problems.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import {
  ancestors,
  compactTokenizer,
  igsm,
  ParameterIndex,
  type Problem,
  type Rule,
  readProblem,
  type Solution,
  solutionOf,
  solutionTemplate,
  templateBucket,
  templateFamily,
  verifySolution,
} from '../src/igsm/index.js';

const reference =
  process.env.PHYSLM_REFERENCE ?? fileURLToPath(new URL('../../../../shared/reference', import.meta.url));
const skip = existsSync(join(reference, 'igsm_samples.jsonl')) ? '' : ` (no reference data at ${reference})`;

const rows = <T>(file: string): T[] =>
  readFileSync(join(reference, file), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

interface SampleRow {
  readonly id: number;
  readonly prompt: string;
  readonly solution: string;
  readonly answer: number;
  readonly n_op: number;
  readonly p_format: 'pq' | 'qp';
  readonly sketch_sol: string;
  readonly hash23_sol: number;
  readonly names: Readonly<Record<string, string>>;
  readonly whole_parents: Readonly<Record<string, readonly string[]>>;
  readonly values: Readonly<Record<string, number>>;
  readonly topo: readonly string[];
  readonly layers: readonly number[];
  readonly edges: readonly (readonly [number, number, number])[];
  readonly 'sol_retry_0.2': string;
  readonly 'sol_retry_0.5': string;
  readonly 'sol_retry_weak_0.2': string;
  readonly 'sol_retry_weak_0.5': string;
}

/** The row's solution with its items in the row's order, which no text tells. */
function solutionInOrder(row: SampleRow, problem: Problem, parameterOf: (name: string) => number): Solution {
  const index = new ParameterIndex(row.layers);
  const numberOf = (key: string): number => {
    const [kind, i, j, k] = key.split(',').map(Number) as [number, number, number, number];
    return kind === 0 ? index.instance(i, j, k) : index.abstract(i, j, k);
  };
  const ours = new Map(Object.entries(row.names).map(([key, name]) => [parameterOf(name), numberOf(key)]));
  const rules: (Rule | undefined)[] = new Array(index.nPair).fill(undefined);
  problem.rules.forEach((rule, one) => {
    if (rule !== undefined)
      rules[ours.get(one)!] = { ...rule, operands: rule.operands.map((operand) => ours.get(operand)!) };
  });
  const children: number[][] = Array.from({ length: index.nItem }, () => []);
  for (const [i, j, k] of row.edges) children[index.itemNumber(i, j)]!.push(k);
  return solutionOf({ index, children, rules }, row.topo.map(numberOf));
}

/** The one row whose template holds a piece of a name, since one item's name ends in another's. */
const ACCIDENTS = [194];

describe('rows of the released generator', () => {
  test.skipIf(skip !== '')(`every problem is rebuilt, every solution verifies, every hash matches${skip}`, () => {
    for (const row of rows<SampleRow>('igsm_samples.jsonl')) {
      const { problem, layout, parameterOf } = readProblem(row.prompt);
      expect(layout).toBe(row.p_format);
      expect(problem.values[problem.query]).toBe(row.answer);
      for (const [key, value] of Object.entries(row.values)) {
        const parameter = parameterOf(row.names[key]!);
        expect([key, problem.values[parameter]]).toEqual([key, value]);
        const parents = row.whole_parents[key]!.filter((one) => !one.startsWith('-1'));
        expect([...problem.parents[parameter]!].sort()).toEqual(
          parents.map((one) => parameterOf(row.names[one]!)).sort(),
        );
      }
      const template = solutionTemplate(
        solutionInOrder(row, problem, parameterOf),
        new ParameterIndex(row.layers).nPair,
      );
      if (!ACCIDENTS.includes(row.id)) expect(template).toBe(row.sketch_sol);
      expect(templateBucket(row.sketch_sol)).toBe(row.hash23_sol);
      for (const solution of [
        row.solution,
        row['sol_retry_0.2'],
        row['sol_retry_0.5'],
        row['sol_retry_weak_0.2'],
        row['sol_retry_weak_0.5'],
      ]) {
        expect(verifySolution(row.prompt, solution)).toMatchObject({
          correct: true,
          necessaryOperations: row.n_op,
          operations: row.n_op,
          unnecessaryParameters: 0,
          retries: solution.split(' BACK').length - 1,
        });
      }
    }
  });

  test.skipIf(skip !== '')(`every verdict is reproduced by both checks${skip}`, () => {
    for (const { prompt, solution, verdict, mutation } of rows<Record<string, string>>('igsm_verifier_cases.jsonl')) {
      for (const check of ['exact', 'released'] as const) {
        const { correct } = verifySolution(prompt!, solution!, { check });
        expect([mutation, check, correct]).toEqual([mutation, check, verdict]);
      }
    }
  });
});

/** What the released generator gave for many problems. */
interface Expected {
  /** Mean and standard deviation of the number of edges. */
  readonly edges: readonly [number, number];
  readonly items: number;
  readonly sentences: number;
  readonly abstract: number;
  /** Shares of 2, 3 and 4 layers. */
  readonly layers: readonly [number, number, number];
  readonly queryAbstract: number;
  readonly zero: number;
  /** Shares of 1, 2, 3 and 4 parents of necessary instance parameters. */
  readonly indegree: readonly number[];
  readonly fed: number;
  readonly empty: number;
}

const STATISTICS: readonly [string, number, Parameters<typeof igsm>[0]['level'], number | undefined, Expected][] = [
  [
    'med natural',
    4000,
    'med',
    undefined,
    {
      edges: [9.09, 4.01],
      items: 8.12,
      sentences: 4.68,
      abstract: 1.18,
      layers: [0.37, 0.36, 0.28],
      queryAbstract: 0.398,
      zero: 0.126,
      indegree: [0.57, 0.29, 0.1, 0.04],
      fed: 0.65,
      empty: 0.095,
    },
  ],
  [
    'med 15',
    600,
    'med',
    15,
    {
      edges: [10.59, 3.48],
      items: 9.61,
      sentences: 11.32,
      abstract: 3.43,
      layers: [0.23, 0.37, 0.41],
      queryAbstract: 0.552,
      zero: 0.12,
      indegree: [0.44, 0.33, 0.16, 0.07],
      fed: 0.58,
      empty: 0.225,
    },
  ],
  [
    'med 23',
    200,
    'med',
    23,
    {
      edges: [11.72, 2.99],
      items: 10.73,
      sentences: 15.67,
      abstract: 5.17,
      layers: [0.16, 0.29, 0.56],
      queryAbstract: 0.58,
      zero: 0.125,
      indegree: [0.38, 0.3, 0.2, 0.11],
      fed: 0.56,
      empty: 0.38,
    },
  ],
  [
    'hard natural',
    3000,
    'hard',
    undefined,
    {
      edges: [11.06, 5.34],
      items: 8.54,
      sentences: 6.04,
      abstract: 1.44,
      layers: [0.35, 0.36, 0.29],
      queryAbstract: 0.394,
      zero: 0.11,
      indegree: [0.51, 0.31, 0.13, 0.05],
      fed: 0.63,
      empty: 0.094,
    },
  ],
  [
    'hard 28',
    200,
    'hard',
    28,
    {
      edges: [14.69, 4.89],
      items: 11.05,
      sentences: 17.93,
      abstract: 5.48,
      layers: [0.12, 0.32, 0.57],
      queryAbstract: 0.555,
      zero: 0.115,
      indegree: [0.36, 0.28, 0.21, 0.14],
      fed: 0.57,
      empty: 0.31,
    },
  ],
  [
    'hard 32',
    150,
    'hard',
    32,
    {
      edges: [14.53, 4.28],
      items: 11.49,
      sentences: 20.18,
      abstract: 6.83,
      layers: [0.07, 0.28, 0.65],
      queryAbstract: 0.64,
      zero: 0.107,
      indegree: [0.37, 0.29, 0.2, 0.14],
      fed: 0.55,
      empty: 0.427,
    },
  ],
];

/** More problems, for a sharper comparison: the table's own noise stays. */
const factor = Number(process.env.PHYSLM_STATISTICS ?? 1);

describe('statistics of the released generator', () => {
  const tokenizer = compactTokenizer([templateFamily('numbers')]);

  test.each(STATISTICS)('%s, of %d problems', (_, nTable, level, op, expected) => {
    const n = Math.round(factor * (op === undefined ? 2500 : 600));
    const documents = igsm({ tokenizer, seed: 20, level: level!, ...(op !== undefined && { op }) });
    const sums = new Map<string, number[]>();
    const add = (key: string, value: number): void => {
      const list = sums.get(key) ?? [];
      list.push(value);
      sums.set(key, list);
    };
    for (let i = 0; i < n; i++) {
      const { problem, solution, answer } = documents.document(i);
      const { index, children } = problem;
      const order = solution.definitions.map(({ parameter }) => parameter);
      add('edges', problem.statements.length);
      add('items', index.nItem);
      add('sentences', order.length);
      add('abstract', order.filter((one) => one >= index.nPair).length);
      for (const d of [2, 3, 4]) add(`layers ${d}`, +(index.nLayer === d));
      add('queryAbstract', +(problem.query >= index.nPair));
      add('zero', +(answer === 0));
      const empty = order.some(
        (one) => one >= index.nPair && children[index.itemNumber(index.layer[one]!, index.item[one]!)]!.length === 0,
      );
      add('empty', +empty);
      for (const one of order) {
        if (one >= index.nPair) continue;
        const { constant, operands } = problem.rules[one]!;
        const degree = operands.length + (constant >= 0 ? 1 : 0);
        for (const k of [1, 2, 3, 4]) add(`indegree ${k}`, +(degree === k));
        add('fed', +(constant >= 0));
      }
      expect(order.length).toBe(necessary(problem));
    }
    const compare = (key: string, mean: number, clusters = 1): void => {
      const list = sums.get(key)!;
      const ours = list.reduce((a, b) => a + b) / list.length;
      const variance = list.reduce((so, x) => so + (x - ours) ** 2, 0) / list.length;
      // The table's mean has the same spread over its own problems, and is rounded; parameters of one problem are alike.
      const perProblem = list.length / n;
      const error = Math.sqrt((clusters * variance) / list.length + (clusters * variance) / (nTable * perProblem));
      expect.soft(Math.abs(ours - mean), `${key}: ${ours.toFixed(4)} for ${mean}`).toBeLessThan(4 * error + 0.006);
    };
    compare('edges', expected.edges[0]);
    compare('items', expected.items);
    compare('sentences', expected.sentences);
    compare('abstract', expected.abstract);
    expected.layers.forEach((share, x) => {
      compare(`layers ${x + 2}`, share);
    });
    compare('queryAbstract', expected.queryAbstract);
    compare('zero', expected.zero);
    compare('empty', expected.empty);
    expected.indegree.forEach((share, x) => {
      compare(`indegree ${x + 1}`, share, 2);
    });
    compare('fed', expected.fed, 2);
  });

  test('operations of natural problems fall as the minimum of two uniform numbers', () => {
    const n = Math.round(factor * 2500);
    const documents = igsm({ tokenizer, seed: 21 });
    const counts = new Array(16).fill(0) as number[];
    for (let i = 0; i < n; i++) counts[documents.document(i).op]!++;
    let chiSquare = 0;
    for (let op = 1; op <= 15; op++) {
      const expected = (n * (2 * (15 - op) + 1)) / 225;
      chiSquare += (counts[op]! - expected) ** 2 / expected;
    }
    // 14 degrees of freedom: one in a thousand lies above.
    expect(chiSquare).toBeLessThan(36.12);
  });
});

function necessary({ parents, query }: Problem): number {
  return ancestors(parents, query).reduce((sum, one) => sum + one, 0);
}
