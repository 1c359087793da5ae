// `physlm data cfg` and `physlm verify cfg`, through the command's entry.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { CfgParser, cfgFromJson, releasedCfg, sentences } from '@physlm/data/cfg';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { main } from '../src/cli/main.js';
import { LONGEST_LINE, readLines } from '../src/cli/read-lines.js';

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
  sandbox = mkdtempSync(join(tmpdir(), 'physlm-cfg-'));
});
afterEach(() => rmSync(sandbox, { recursive: true, force: true }));

async function physlm(argv: readonly string[], input?: string) {
  const [stdout, stderr] = [new Slow(), new Slow()];
  const stdin = input === undefined ? undefined : Readable.from([Buffer.from(input)]);
  const code = await main(argv, { stdout, stderr, env: {}, ...(stdin && { stdin }) });
  await new Promise<void>((done) => stdout.end(done));
  await new Promise<void>((done) => stderr.end(done));
  const rows = stdout.text.split('\n').slice(0, -1);
  return { code, stderr: stderr.text, rows: rows.map((row) => JSON.parse(row)) };
}

describe('physlm data cfg', () => {
  test('writes the sentences of the source, with trees when asked', async () => {
    const { code, rows } = await physlm(['data', 'cfg', '--grammar', 'cfg3h', '-n', '300', '--seed', '5', '--labels']);
    const source = sentences(releasedCfg('cfg3h'), { seed: 5 });
    expect([code, rows.length]).toEqual([0, 300]);
    for (const i of [0, 17, 299]) {
      const { tokens, text, tree } = source.document(i);
      expect(rows[i]).toMatchObject({ grammar: 'cfg3h', seed: 5, index: i, text, tokens: [...tokens.subarray(1)] });
      expect(rows[i].tree).toHaveLength(6);
      expect(rows[i].tree[5]).toEqual({
        level: 6,
        symbols: [...tree.levels[5]!.symbols],
        starts: [...tree.levels[5]!.starts],
      });
    }
  });

  test('--out: the same rows in a file and nothing beside it; --start goes on', async () => {
    const out = join(sandbox, 'new', 'f.jsonl');
    const argv = ['data', 'cfg', '--grammar', 'cfg3f', '-n', '40'];
    expect(await physlm([...argv, '--out', out])).toEqual({ code: 0, stderr: '', rows: [] });
    const written = readFileSync(out, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(readdirSync(join(sandbox, 'new'))).toEqual(['f.jsonl']);
    expect((await physlm(argv)).rows).toEqual(written);
    expect((await physlm([...argv.slice(0, -1), '3', '--start', '37'])).rows).toEqual(written.slice(37));
  });

  test('Ctrl-C leaves an old file as it was and no part of a new one', async () => {
    const out = join(sandbox, 'f.jsonl');
    writeFileSync(out, 'old');
    setTimeout(() => process.emit('SIGINT', 'SIGINT'), 20);
    const { code, stderr } = await physlm(['data', 'cfg', '--grammar', 'cfg3f', '-n', '10000000', '--out', out]);
    expect(code).toBe(130);
    expect(stderr).toContain(`Stopped: ${out} was not written.`);
    expect([readFileSync(out, 'utf8'), readdirSync(sandbox)]).toEqual(['old', ['f.jsonl']]);
  });

  test('perturbed sentences say so', async () => {
    const argv = ['data', 'cfg', '--grammar', 'cfg3b', '-n', '60', '--perturbation', 't-random', '--gamma', '0.5'];
    const { rows } = await physlm(argv);
    const parser = new CfgParser(releasedCfg('cfg3b'));
    for (const { perturbed, tokens } of rows) expect(parser.accepts(tokens)).toBe(!perturbed);
    expect(rows.some(({ perturbed }) => perturbed) && rows.some(({ perturbed }) => !perturbed)).toBe(true);
  });

  test.each([
    [['--grammar', 'cfg3z'], "did you mean 'cfg3"],
    [[], 'expected either --grammar or --grammar-file, got neither'],
    [['--grammar', 'cfg3b', '--grammar-file', 'x.json'], 'got both'],
    [['--grammar-file', 'no-such.json'], '[no-such.json] expected a file that can be read'],
    [['--grammar', 'cfg3b', '--perturbation', 't-randon'], "did you mean 't-random'?"],
    [['--grammar', 'cfg3b', '--gamma', '3'], 'expected a number in 0 … 1'],
    [['--grammar', 'cfg3b', '--gamma', '0.3'], '[gamma] expected --perturbation beside it, got none'],
    [['--grammar', 'mine.json'], 'A file is given as --grammar-file'],
    [['--grammar', 'cfg3b', '--labls'], "did you mean '--labels'?"],
  ])('%j is bad usage', async (argv, message) => {
    const { code, stderr, rows } = await physlm(['data', 'cfg', ...argv]);
    expect(stderr).toContain(message);
    expect([code, rows]).toEqual([2, []]);
  });

  test('a group without its kind, and an unknown kind', async () => {
    expect((await physlm(['data'])).stderr).toBe(
      'physlm: data needs one of cfg, igsm, knowledge; see physlm data --help\n',
    );
    expect((await physlm(['data', 'cgf'])).stderr).toContain("did you mean 'cfg'?");
    expect((await physlm(['verify'])).code).toBe(2);
  });

  test('--out: a folder is no file, a link stays one, and a pipe is written to, not replaced', async () => {
    const argv = ['data', 'cfg', '--grammar', 'cfg3b/13', '-n', '2'];
    const [folder, file, link, pipe] = ['folder', 'file', 'link', 'pipe'].map((name) => join(sandbox, name)) as [
      string,
      string,
      string,
      string,
    ];
    mkdirSync(folder);
    expect(await physlm([...argv, '--out', folder])).toEqual({
      code: 1,
      stderr: `physlm: [${folder}] cannot be written: it is a folder\n`,
      rows: [],
    });
    expect(readdirSync(sandbox)).toEqual(['folder']);
    writeFileSync(file, 'old');
    symlinkSync(file, link);
    expect((await physlm([...argv, '--out', link])).code).toBe(0);
    expect([lstatSync(link).isSymbolicLink(), readFileSync(file, 'utf8').split('\n').length]).toEqual([true, 3]);
    if (process.platform === 'win32') return;
    spawnSync('mkfifo', [pipe]);
    const reader = spawn('cat', [pipe], { stdio: ['ignore', 'pipe', 'inherit'] });
    let read = '';
    reader.stdout.on('data', (chunk) => {
      read += chunk;
    });
    const ended = once(reader, 'close');
    expect((await physlm([...argv, '--out', pipe])).code).toBe(0);
    await ended;
    expect([lstatSync(pipe).isFIFO(), read]).toEqual([true, readFileSync(file, 'utf8')]);
  });

  test('an unwritable file is named', async () => {
    writeFileSync(join(sandbox, 'file'), '');
    const out = join(sandbox, 'file', 'f.jsonl');
    const { code, stderr } = await physlm(['data', 'cfg', '--grammar', 'cfg3b', '--out', out]);
    expect(code).toBe(1);
    expect(stderr).toContain(join(sandbox, 'file'));
  });
});

describe('physlm verify cfg', () => {
  test('one row for each line: sentences, near misses, other lengths, unreadable lines', async () => {
    const cfg = releasedCfg('cfg3h');
    const terminals = sentences(cfg, { seed: 1 }).document(0).tokens.slice(1);
    const near = terminals.slice();
    near[40] = 1 + (near[40]! % 3);
    const input = [terminals.join(' '), near.join('  '), '1 2 3', '', '1 x 2', '1 4', terminals.join(' ')].join('\n');
    const { code, rows } = await physlm(['verify', 'cfg', '--grammar', 'cfg3h'], input);
    const parses = new CfgParser(cfg).parse(terminals)!;
    const sentence = { valid: true, parses: `${parses.count}`, logProb: parses.logProb, distance: 0 };
    const outside = { valid: false, parses: '0', logProb: null };
    expect(rows).toEqual([
      { line: 1, ...sentence },
      new CfgParser(cfg).accepts(near) ? expect.anything() : { line: 2, ...outside, distance: 1 },
      { line: 3, ...outside, distance: null },
      { line: 4, ...outside, distance: null },
      { line: 5, error: "[terminals.encode, word 2] expected terminals 1 … 3, got 'x'" },
      { line: 6, error: "[terminals.encode, word 2] expected terminals 1 … 3, got '4'" },
      { line: 7, ...sentence },
    ]);
    expect(code).toBe(1);
  });

  test('reads what data cfg writes, and says what is wrong with other objects', async () => {
    const made = await physlm(['data', 'cfg', '--grammar', 'cfg3b/13', '-n', '3', '--labels']);
    const input = [...made.rows.map((row) => JSON.stringify(row)), '{"tokens":[1]}', '{"text":3}', '{"text":"1 2'];
    const { code, rows } = await physlm(['verify', 'cfg', '--grammar', 'cfg3b/13'], input.join('\n'));
    expect(rows.map(({ valid }) => valid)).toEqual([true, true, true, undefined, undefined, undefined]);
    expect(rows[3].error).toBe('[line 4] expected terminals, or an object with a text, got {"tokens":[1]}');
    expect(rows[5].error).toContain('[line 6]');
    expect(code).toBe(1);
  });

  test('a grammar file: exact counts of an ambiguous sentence; every line readable exits with 0', async () => {
    const grammar = {
      levels: [[5], [4], [1]],
      rules: {
        5: [
          [4, 4],
          [4, 4, 4],
        ],
        4: [[1], [1, 1]],
      },
    };
    const file = join(sandbox, 'ones.json');
    writeFileSync(file, JSON.stringify(grammar));
    const { code, rows } = await physlm(['verify', 'cfg', '--grammar-file', file], '1 1 1\n1 1 1 1\r\n');
    // 1 + 2 or 2 + 1 or three ones; two twos or three places for one two.
    expect(rows.map(({ parses }) => parses)).toEqual(['3', '4']);
    expect(Math.exp(rows[0].logProb)).toBeCloseTo(2 / 8 + 1 / 16, 12);
    expect(rows[1].logProb).toBe(new CfgParser(cfgFromJson(grammar)).parse([1, 1, 1, 1])!.logProb);
    expect(code).toBe(0);
  });

  test('a broken grammar file is refused with file and path before anything is read', async () => {
    const file = join(sandbox, 'bad.json');
    writeFileSync(file, '{"levels": [[2], [1]], "rules": {"2": [[1, 3]]}}');
    const { code, stderr } = await physlm(['verify', 'cfg', '--grammar-file', file], '1\n');
    expect(stderr).toContain(`[${file}: rules.2[0][1]] expected a symbol of levels[1] (1), got unknown symbol 3`);
    expect(code).toBe(2);
    writeFileSync(file, '{');
    expect((await physlm(['verify', 'cfg', '--grammar-file', file], '1\n')).stderr).toContain(
      `[${file}] expected a grammar as JSON`,
    );
    expect(existsSync(file)).toBe(true);
  });

  test('lines come out of chunks that are cut anywhere, and a line without end is dropped, not held', async () => {
    const text = 'é1\n\n22\r\nlast';
    const bytes = Buffer.from(text);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const lines: unknown[] = [];
      for await (const line of readLines(Readable.from([bytes.subarray(0, cut), bytes.subarray(cut)])))
        lines.push(line);
      expect(lines).toEqual(['é1', '', '22\r', 'last']);
    }
    const chunk = '1 '.repeat(LONGEST_LINE / 4);
    const lines: unknown[] = [];
    for await (const line of readLines(Readable.from([chunk, chunk, chunk, '\n1', '\n']))) lines.push(line);
    expect(lines).toEqual([undefined, '1']);
    const marked: unknown[] = [];
    for await (const line of readLines(Readable.from([Buffer.from('\uFEFF1 2\n\uFEFF3')]))) marked.push(line);
    expect(marked).toEqual(['1 2', '\uFEFF3']);
  });
});
