// `physlm data igsm` and `physlm verify igsm`, through the command's entry.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { main } from '../src/cli/main.js';

/** Takes one chunk at a time, as a slow reader of a pipe does. */
class Slow extends Writable {
  text = '';
  constructor() {
    super({ highWaterMark: 1 });
  }
  override _write(chunk: unknown, _: string, done: () => void): void {
    this.text += String(chunk);
    setImmediate(done);
  }
}

let sandbox: string;
beforeEach(() => {
  sandbox = mkdtempSync(join(tmpdir(), 'physlm-igsm-'));
});
afterEach(() => rmSync(sandbox, { recursive: true, force: true }));

async function physlm(argv: readonly string[], input?: string) {
  const [stdout, stderr] = [new Slow(), new Slow()];
  const stdin = input === undefined ? undefined : Readable.from([Buffer.from(input)]);
  const code = await main(argv, { stdout, stderr, env: {}, ...(stdin && { stdin }) });
  await new Promise<void>((done) => stdout.end(done));
  await new Promise<void>((done) => stderr.end(done));
  return { code, stderr: stderr.text, stdout: stdout.text };
}

const rowsOf = (text: string) =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

describe('physlm data igsm', () => {
  test('what it writes, physlm verify igsm accepts, for every family and with mistakes', async () => {
    const argv = ['data', 'igsm', '-n', '25', '--modulus', '19', '--retry', 'retry', '--rate', '0.4'];
    const families = ['numbers', 'prices', 'distances', 'recipes', 'traits'].flatMap((name) => ['--family', name]);
    const { code, stdout } = await physlm([...argv, ...families]);
    const rows = rowsOf(stdout);
    expect([code, rows.length]).toEqual([0, 25]);
    expect(new Set(rows.map(({ family }) => family)).size).toBeGreaterThan(2);
    expect(rows.some(({ solution }) => solution.includes(' as BACK.'))).toBe(true);
    const verdicts = await physlm(['verify', 'igsm'], stdout);
    expect(verdicts.code).toBe(0);
    expect(rowsOf(verdicts.stdout)).toEqual(
      rows.map(({ op }, i) => ({
        line: i + 1,
        correct: true,
        reason: null,
        step: null,
        necessaryOperations: op,
        unnecessaryParameters: 0,
      })),
    );
  });

  test('--pretty prints problem, solution, answer and a drawn graph', async () => {
    const { code, stdout } = await physlm(['data', 'igsm', '--level', 'med', '-n', '2', '--op', '7', '--pretty']);
    expect(code).toBe(0);
    expect(stdout.match(/^problem \d {2}numbers, 7 operations/gm)).toHaveLength(2);
    expect(stdout.match(/^Answer: \d+$/gm)).toHaveLength(2);
    expect(stdout).toMatch(/^Define .* as \w; .*so \w = .*\.$/m);
    expect(stdout).toMatch(/^└─ .* = \d+/m);
  });

  test('--out: the same rows in a file; --start goes on; --labels names parents', async () => {
    const out = join(sandbox, 'new', 'f.jsonl');
    const argv = ['data', 'igsm', '-n', '30', '--level', 'hard', '--labels', '--seed', '3'];
    expect(await physlm([...argv, '--out', out])).toEqual({ code: 0, stderr: '', stdout: '' });
    const written = readFileSync(out, 'utf8');
    expect(readdirSync(join(sandbox, 'new'))).toEqual(['f.jsonl']);
    expect((await physlm(argv)).stdout).toBe(written);
    argv[3] = '4';
    expect((await physlm([...argv, '--start', '26'])).stdout).toBe(written.split('\n').slice(26).join('\n'));
    for (const { parameters, answer } of rowsOf(written)) {
      const names = parameters.map(({ name }: { name: string }) => name);
      for (const { parents } of parameters) for (const parent of parents) expect(names).toContain(parent);
      expect(parameters.some(({ nece, value }: { nece: boolean; value: number }) => nece && value === answer)).toBe(
        true,
      );
    }
  });

  test.each([
    [['--op', '40', '--ip-max', '5'], 'problems of 40 operations to exist'],
    [['--modulus', '1'], "'1' is invalid. expected an integer in 2 … 1000"],
    [['--level', 'meddium'], "did you mean 'med'?"],
    [['--family', 'price'], "did you mean 'prices'?"],
    [['--retry', 'retry_week'], "did you mean 'retry_weak'?"],
    [['--rate', '2'], 'expected a number in 0 … 1'],
    [['--rate', '0.1'], '[rate] expected --retry beside it, got none'],
    [['--pretty', '--out', 'f'], 'expected standard output, got --out f'],
    [['--modulu', '5'], "did you mean '--modulus'?"],
  ])('%j is bad usage', async (argv, message) => {
    const { code, stderr, stdout } = await physlm(['data', 'igsm', ...argv]);
    expect(stderr).toContain(message);
    expect([code, stdout]).toEqual([2, '']);
  });
});

describe('physlm verify igsm', () => {
  const prompt =
    " The number of each North Quarter's Maple Market equals 4. The number of each North Quarter's Oak Market equals 2 more than each North Quarter's Maple Market. How many Oak Market does North Quarter have?";
  const solution =
    " Define North Quarter's Maple Market as a; so a = 4. Define North Quarter's Oak Market as b; so b = 2 + a = 2 + 4 = 6.";
  const row = (over: object): string => JSON.stringify({ prompt, solution, ...over });

  test('one row for each line, errors for lines that cannot be read, and the rest goes on', async () => {
    const input = [
      row({}),
      'not JSON',
      '{"prompt": "x"}',
      row({ prompt: 'How many?' }),
      row({ modulus: 1 }),
      row({ solution: solution.replace(/\.$/, '') }),
      row({ modulus: 5, solution: solution.replace('= 6', '= 1') }),
      row({ solution: solution.replace('= 6', '= 7') }),
      '[]',
      'null',
      row({}),
    ].join('\n');
    const { code, stdout } = await physlm(['verify', 'igsm'], input);
    const right = { correct: true, reason: null, step: null, necessaryOperations: 2, unnecessaryParameters: 0 };
    expect(rowsOf(stdout)).toEqual([
      { line: 1, ...right },
      { line: 2, error: expect.stringMatching(/expected JSON as .*not valid JSON|expected JSON as/) },
      { line: 3, error: expect.stringContaining('[line.solution] expected a text') },
      { line: 4, error: expect.stringContaining("a question such as 'How many {owned}") },
      { line: 5, error: '[line.modulus] expected an integer in 2 … 1000, got 1' },
      { ...right, line: 6, correct: false, step: 2, reason: expect.stringContaining('does not end') },
      { line: 7, ...right },
      { ...right, line: 8, correct: false, step: 2, reason: '2 + 4 is 6 modulo 23, not 7' },
      { line: 9, error: expect.stringContaining('[line.prompt]') },
      { line: 10, error: expect.stringContaining('[line.prompt]') },
      { line: 11, ...right },
    ]);
    expect(code).toBe(1);
  });

  test('a line without end is refused, and a solution of many sentences is judged', async () => {
    const endless = row({ solution: ' Define x as y'.repeat(100_000) });
    const long = row({ solution: `${' Define Anything as BACK.'.repeat(20_000)}${solution}` });
    const { code, stdout } = await physlm(['verify', 'igsm'], `${endless}\n${long}\n`);
    const [first, second] = rowsOf(stdout);
    expect(first.error).toContain('characters, got more');
    expect(second).toMatchObject({ line: 2, correct: true });
    expect(code).toBe(1);
  });

  test('--released lets pass what the released code cannot see', async () => {
    const zero = prompt.replace('2 more than', '0 times as much as');
    const wrong = solution.replace('so a = 4', 'so a = 5').replace('2 + a = 2 + 4 = 6', '0 * a = 0 * 5 = 0');
    const input = row({ prompt: zero, solution: wrong });
    expect(rowsOf((await physlm(['verify', 'igsm'], input)).stdout)[0]).toMatchObject({ correct: false, step: 1 });
    expect(rowsOf((await physlm(['verify', 'igsm', '--released'], input)).stdout)[0]).toMatchObject({ correct: true });
  });
});
