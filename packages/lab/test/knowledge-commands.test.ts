// `physlm data knowledge`, through the command's entry.

import { describe, expect, test } from 'vitest';
import { main } from '../src/cli/main.js';
import { openKnowledgeData } from '../src/recipes/knowledge-data.js';
import { Captured } from './captured.js';

async function physlm(...argv: string[]) {
  const [stdout, stderr] = [new Captured(), new Captured()];
  const code = await main(['data', 'knowledge', ...argv], { stdout, stderr, env: {} });
  const rows = stdout.text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
  return { code, stderr: stderr.text, rows };
}

const mini = ['--population', 'bioS-mini', '--people', '60', '--seed', '3'];
const config = {
  population: 'bioS-mini',
  nPeople: 60,
  tokenizer: 'words',
  augmentation: 'multi5+permute',
  exposures: 5,
  nCtx: 128,
} as const;

describe('physlm data knowledge', () => {
  test('writes the biographies that a run of the recipe reads, with the place of every fact', async () => {
    const { code, rows } = await physlm(...mini, '--augmentation', 'multi5+permute', '-n', '70');
    const { people, population } = openKnowledgeData(config, 3);
    expect([code, rows.map(({ text }) => text)]).toEqual([
      0,
      Array.from({ length: 70 }, (_, i) => people.document(i).text),
    ]);
    for (const { text, spans, person } of rows) {
      const { employer, birthCity, fullName } = population.person(person);
      const said = new Map(
        spans.map(({ label, start, end }: Record<string, never>) => [label, text.slice(start, end)] as const),
      );
      expect([said.get('employer'), said.get('birthCity'), said.get('name')]).toEqual([employer, birthCity, fullName]);
    }
    expect((await physlm(...mini, '--augmentation', 'multi5+permute', '-n', '5', '--start', '65')).rows).toEqual(
      rows.slice(65),
    );
  });

  test('asks one half of the people what the recipe asks it', async () => {
    const data = openKnowledgeData({ ...config, questions: { tasks: ['extraction', 'monthMod2'] } }, 3);
    for (const side of ['train', 'test'] as const) {
      const { rows } = await physlm(...mini, '--ask', 'extraction,monthMod2', '--side', side, '-n', '40');
      const source = data.questions(side, side === 'train' ? 'train' : 'measure');
      expect(rows.map(({ text }) => text)).toEqual(rows.map((_, i) => source.document(i).text));
      for (const { text, spans, answer, people } of rows) {
        const { label, start, end } = spans.at(-1);
        expect([label, text.slice(start, end), [...data.split[side]].includes(people[0])]).toEqual([
          'answer',
          answer,
          true,
        ]);
      }
    }
  });

  test.each([
    [['--people', '20001', '--population', 'bioS-mini'], 'Full names are unique, and bioS-mini has 20000 of them.'],
    [['--population', 'bioSmini'], "did you mean 'bioS-mini'?"],
    [['--augmentation', 'multi5+permut'], "did you mean 'multi5+permute'?"],
    [['--ask', 'wrkCity'], "did you mean 'workCity'?"],
    [['--ask', 'major', '--side', 'tst'], "did you mean 'test'?"],
    [['--side', 'test'], '[side] expected --ask beside it, got none'],
    [['--ask', 'major', '--augmentation', 'single'], '[augmentation] expected biographies, got --ask major'],
  ])('%j is bad usage', async (argv, message) => {
    const { code, stderr, rows } = await physlm(...argv);
    expect(stderr).toContain(message);
    expect([code, rows]).toEqual([2, []]);
  });
});
