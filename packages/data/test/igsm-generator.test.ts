// iGSM problems: purity, tokens, labels against the text itself, retry data, and the errors of impossible wishes.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  boxAnswer,
  boxProblem,
  compactTokenizer,
  drawGraph,
  exists,
  FAMILY_NAMES,
  gpt2TokenizerForIgsm,
  type IgsmOptions,
  type IgsmSample,
  igsm,
  inBuckets,
  LEVELS,
  labelsOf,
  marksOf,
  nameTokenizer,
  operations,
  parameterName,
  phraseTokenizer,
  type RetryKind,
  readProblem,
  templateBucket,
  templateFamily,
  trimWorld,
  VARIANTS,
  verifySolution,
  withWorlds,
} from '../src/igsm/index.js';
import {
  Gpt2Tokenizer,
  LiteralTokenizer,
  packWindows,
  type Tokenizer,
  tokenizerFromJson,
  WordTokenizer,
} from '../src/index.js';

const families = FAMILY_NAMES.map(templateFamily);
const tokenizer = compactTokenizer(families);
const source = (options: Partial<IgsmOptions> = {}) => igsm({ tokenizer, seed: 1, ...options });

describe('words', () => {
  test('names of items and layers are unique, and can be read back', () => {
    const worlds = families.flatMap((family) => family.worlds);
    const names = worlds.flatMap(({ layers }) =>
      layers.flatMap(({ name, subCategories }) => [name, ...subCategories.flat()]),
    );
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^[A-Z][a-z]+( [A-Z][a-z]+)?$/);
    const [numbers] = families;
    expect(numbers!.worlds.map(({ layers }) => layers.map(({ name }) => name).join(' > '))).toEqual([
      'District > Supermarket > Product > Ingredient',
      'Zoo > Enclosure > Animal > Bone',
      'School > Classroom > Backpack > Stationery',
      'Ecosystems > Creatures > Organs > Cells',
    ]);
    for (const { layers } of worlds) {
      for (const { subCategories } of layers)
        expect(subCategories.map((items) => items.length)).toEqual([20, 20, 20, 20, 20]);
    }
  });
});

describe('template hash', () => {
  test.each([
    [' Define Inst as a. so a = 0.', 10],
    [' Define Inter as a. so a = 0.', 20],
    [' Define Inst as a. so a = 0. Define Inst as b. so b = a = 0.', 1],
    [' Define Inst as a. so a = 0. Define Inter as b. so b = a = 0.', 0],
    [' Define Inst as a. so a = 0. Define Inst as b. so b = 0 + a = 0 + 0 = 0.', 16],
    [' Define Inst as a. so a = 0. Define Inst as b. so b = 0 * a = 0 * 0 = 0.', 17],
    [' Define Inter as a. so a = 0. Define Inst as b. so b = 0 + a = 0 + 0 = 0.', 7],
  ])('%s is in bucket %d', (template, bucket) => {
    expect(templateBucket(template)).toBe(bucket);
  });

  test('training and test templates do not overlap, and the 17th bucket is where paper and code differ', () => {
    for (let bucket = 0; bucket < 23; bucket++) {
      for (const split of ['code', 'paper'] as const) {
        expect(inBuckets(bucket, 'train', split)).toBe(!inBuckets(bucket, 'test', split));
      }
      expect(inBuckets(bucket, 'train', 'code') === inBuckets(bucket, 'train', 'paper')).toBe(bucket !== 16);
    }
    for (const buckets of ['train', 'test'] as const) {
      const documents = source({ buckets });
      for (let i = 0; i < 100; i++) {
        const { bucket, prompt, solutionText } = documents.document(i);
        expect(inBuckets(bucket, buckets, 'code')).toBe(true);
        expect(verifySolution(prompt, solutionText).correct).toBe(true);
      }
    }
  });
});

describe('documents', () => {
  test('depend on seed and index alone', () => {
    const [a, b] = [source(), source()];
    const later = a.document(7).text;
    a.document(3);
    expect([b.document(3).text, b.document(7).text, a.document(7).text]).toEqual([a.document(3).text, later, later]);
    expect(source({ seed: 2 }).document(7).text).not.toBe(later);
  });

  test('every family tells the same graph in its own words', () => {
    const graphs = FAMILY_NAMES.map((family) => source({ families: [family] }).document(11));
    expect(new Set(graphs.map(({ text }) => text)).size).toBe(FAMILY_NAMES.length);
    for (const { problem, bucket, answer } of graphs) {
      expect([problem.values, bucket, answer]).toEqual([
        graphs[0]!.problem.values,
        graphs[0]!.bucket,
        graphs[0]!.answer,
      ]);
    }
  });

  test.each([
    ['GPT-2', new Gpt2Tokenizer()],
    ['GPT-2 cut to what occurs', gpt2TokenizerForIgsm(families)],
    ['compact', tokenizer],
  ])('tokens are those of the text, with marks: %s', (_, one) => {
    const marks = marksOf(one);
    for (const family of FAMILY_NAMES) {
      const documents = source({ tokenizer: one, families: [family], retry: { kind: 'retry', rate: 0.2 } });
      for (let i = 0; i < 20; i++) {
        const { tokens, prompt, solutionText, answer, solutionStart, spans, text } = documents.document(i);
        const [p, s, a] = [prompt, solutionText, ` ${answer}`].map((part) => [...one.encode(part)]);
        expect([...tokens]).toEqual([marks.problem, ...p!, marks.solution, ...s!, marks.answer, ...a!]);
        expect(solutionStart).toBe(p!.length + 2);
        expect(text).toBe(`${prompt}${solutionText} ${answer}`);
        for (const { start, end, textStart, textEnd } of spans) {
          expect(one.decode(tokens.subarray(start, end))).toBe(text.slice(textStart - 1, textEnd));
        }
      }
    }
    expect(tokenizerFromJson(JSON.parse(JSON.stringify(one))).encode(' Define')).toEqual(one.encode(' Define'));
  });

  test('marks of GPT-2 are those of the release', () => {
    expect(marksOf(new Gpt2Tokenizer())).toEqual({ problem: 222, solution: 223, answer: 224 });
    expect(() => source({ tokenizer: new WordTokenizer('toy', ['a']) })).toThrow(/vocabulary with marks.*'toy'/);
  });

  test('spans are the sentences of the text', () => {
    const { text, spans, problem, sentences, solution } = source({ layout: 'qp' }).document(5);
    const of = (label: string) => spans.filter((span) => span.label === label);
    expect(of('statement')).toHaveLength(problem.statements.length);
    expect(of('definition')).toHaveLength(solution.definitions.length);
    expect(of('question')[0]!.textStart).toBe(1);
    for (const { label, textStart, textEnd } of spans) {
      const words = text.slice(textStart, textEnd);
      if (label === 'statement') expect(words).toMatch(/^The number of each .*\.$/);
      if (label === 'definition') expect(words).toMatch(/^Define .*; so . = .*\.$/);
      if (label === 'question') expect(words).toMatch(/^How many .*\?$/);
      if (label === 'answer') expect(words).toMatch(/^\d+$/);
    }
    expect(sentences.map(({ start, end }) => [start, end])).toEqual(
      of('definition').map(({ start, end }) => [start, end]),
    );
  });

  test('operations are those that were asked for, also beyond training', () => {
    for (const [level, ops] of [
      ['med', [1, 15, 20, 23]],
      ['hard', [28, 32]],
    ] as const) {
      for (const op of ops) {
        const documents = source({ level, op });
        for (let i = 0; i < 15; i++) {
          const { problem, solution, solutionText, op: counted } = documents.document(i);
          expect(counted).toBe(op);
          expect(solutionText.match(/;/g)).toHaveLength(op);
          const sum = solution.definitions.reduce((so, { parameter }) => so + operations(problem, parameter), 0);
          expect(sum).toBe(op);
          expect(problem.statements.length).toBeLessThanOrEqual(LEVELS[level].ipMax);
        }
      }
    }
  });

  test('windows do not learn what is masked', () => {
    const plain = source({ loss: 'all' });
    const masked = source({ loss: 'solution' });
    const options = { nCtx: 64, eos: tokenizer.eos, dVocab: tokenizer.dVocab, windowsPerBlock: 32 };
    const [all, solution] = [packWindows(plain, options), packWindows(masked, options)];
    const read = (windows: typeof all, w: number) => {
      const [ids, targets] = [new Int32Array(64), new Int32Array(64)];
      windows.window(w, ids, targets);
      return { ids, targets };
    };
    const targets: number[] = [];
    const kept: number[] = [];
    for (let w = 0; w < 32; w++) {
      const [a, b] = [read(all, w), read(solution, w)];
      expect(b.ids).toEqual(a.ids);
      b.targets.forEach((target, t) => {
        expect([a.targets[t], -1]).toContain(target);
      });
      targets.push(...a.targets);
      kept.push(...b.targets);
    }
    // In the stream, only what stands between a solution's mark and the end of text is learned.
    const { solution: begin, problem: start } = marksOf(tokenizer);
    let inSolution = true;
    targets.forEach((target, t) => {
      if (target === start) inSolution = false;
      expect(kept[t]).toBe(inSolution ? target : -1);
      if (target === begin) inSolution = true;
    });
  });

  test('nCtx leaves out what is longer', () => {
    const documents = source({ nCtx: 150 });
    for (let i = 0; i < 50; i++) expect(documents.document(i).tokens.length).toBeLessThan(150);
    expect(() => source({ nCtx: 20 })).toThrow(/up to 20 tokens.*\n.*larger nCtx/);
  });

  test('small worlds, other worlds and other moduli', () => {
    const [numbers, prices] = families;
    const small = withWorlds(
      numbers!,
      prices!.worlds.map((world) => trimWorld(world, 1, 4)),
    );
    const words = compactTokenizer([small], 7);
    expect(words.dVocab).toBeLessThan(150);
    const documents = igsm({ tokenizer: words, seed: 4, families: [small], modulus: 7 });
    for (let i = 0; i < 50; i++) {
      const { prompt, solutionText, answer } = documents.document(i);
      expect(answer).toBeLessThan(7);
      expect(verifySolution(prompt, solutionText, { modulus: 7, families: [small] }).correct).toBe(true);
    }
  });
});

describe('labels', () => {
  test('agree with an oracle that knows the text only', () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.constantFrom(...FAMILY_NAMES), fc.boolean(), (i, family, reask) => {
        const { prompt, problem, naming, solution } = source({
          families: [family],
          reask,
          ...(reask && { op: 12 }),
        }).document(i);
        const read = readProblem(prompt);
        // Whatever needs what, by name, closed by brute force.
        const names = problem.parents.map((_, one) => parameterName(problem.index, naming, one));
        const real = names.filter((_, one) => exists(problem, one) && read.parameterOf(names[one]!) >= 0);
        const needs = new Map(
          real.map((name) => {
            const { parents, index } = read.problem;
            const direct = parents[read.parameterOf(name)]!;
            return [name, new Set(direct.map((one) => parameterName(index, read.naming, one)))];
          }),
        );
        const direct = new Map([...needs].map(([name, set]) => [name, [...set]]));
        for (let round = 0; round < real.length; round++) {
          for (const set of needs.values())
            for (const one of [...set]) for (const deep of needs.get(one)!) set.add(deep);
        }
        const number = new Map(names.map((name, one) => [name, one]));
        const query = names[problem.query]!;
        const labels = labelsOf(problem, solution);
        for (const a of real) {
          expect(labels.nece[number.get(a)!]).toBe(a === query || needs.get(query)!.has(a) ? 1 : 0);
          for (const b of real) expect(labels.dep(number.get(a)!, number.get(b)!)).toBe(needs.get(a)!.has(b));
        }
        const said = new Set<string>();
        for (let t = 0; t <= solution.definitions.length; t++) {
          const { known, value, canNext, neceNext } = labels.after(t);
          for (const a of real) {
            const one = number.get(a)!;
            const can = !said.has(a) && direct.get(a)!.every((parent) => said.has(parent));
            expect([known[one], canNext[one], neceNext[one]]).toEqual([
              +said.has(a),
              +can,
              +(can && labels.nece[one] === 1),
            ]);
            expect(value[one]).toBe(said.has(a) ? read.problem.values[read.parameterOf(a)] : 23);
          }
          if (t < solution.definitions.length) said.add(names[solution.definitions[t]!.parameter]!);
        }
      }),
      { numRuns: 40 },
    );
  });

  test('pairs without an edge are parameters of `all`, and nothing of them is ever true but can_next', () => {
    const { problem, solution } = source({ op: 9 }).document(3);
    const all = labelsOf(problem, solution);
    const isolated = all.parameters.filter((one) => !exists(problem, one));
    expect(isolated.length).toBeGreaterThan(0);
    const { known, canNext } = all.after(solution.definitions.length);
    for (const one of isolated) expect([all.nece[one], known[one], canNext[one]]).toEqual([0, 0, 1]);
    expect(labelsOf(problem, solution, 'graph').parameters.some((one) => isolated.includes(one))).toBe(false);
  });
});

describe('retry data', () => {
  const at = (kind: RetryKind, rate: number, more: Partial<IgsmOptions> = {}) =>
    source({ op: 12, retry: { kind, rate }, ...more });

  test('has the same problems, mistakes of its kind, and as many as the rate says', () => {
    const plain = source({ op: 12 });
    for (const kind of ['retry', 'retry_weak', 'retry_miss'] as const) {
      const documents = at(kind, 0.3);
      let [mistakes, steps] = [0, 0];
      for (let i = 0; i < 250; i++) {
        const { prompt, problem, solution, solutionText, sentences } = documents.document(i);
        if (i < 10) expect(prompt).toBe(plain.document(i).prompt);
        expect(verifySolution(prompt, solutionText).correct).toBe(true);
        const order = solution.definitions.map(({ parameter }) => parameter);
        let t = 0;
        let here: number[] = [];
        for (const { parameter, retry } of sentences) {
          if (!retry) {
            t++;
            here = [];
            continue;
          }
          expect(here).not.toContain(parameter);
          here.push(parameter);
          const done = order.slice(0, t);
          if (kind === 'retry') expect(problem.parents[parameter]!.some((one) => !done.includes(one))).toBe(true);
          if (kind === 'retry_weak') expect(order.indexOf(parameter)).toBeGreaterThanOrEqual(t);
          if (kind === 'retry_miss') expect(problem.statements).toContain(parameter);
          expect(done).not.toContain(parameter);
          mistakes++;
        }
        steps += t;
      }
      // k mistakes follow each other with probability rate^k, as long as there are candidates.
      const expected = 0.3 / 0.7;
      expect(Math.abs(mistakes / steps - expected)).toBeLessThan(0.06);
    }
  });

  test("the paper's retry_weak leaves the very next parameter out", () => {
    const next = (variant: Partial<typeof VARIANTS.code>): number => {
      let count = 0;
      const documents = at('retry_weak', 0.5, { variant });
      for (let i = 0; i < 60; i++) {
        const { sentences, solution } = documents.document(i);
        let t = 0;
        for (const { parameter, retry } of sentences) {
          if (!retry) t++;
          else if (parameter === solution.definitions[t]!.parameter) count++;
        }
      }
      return count;
    };
    expect(next({ retryWeak: 'paper' })).toBe(0);
    expect(next({ retryWeak: 'code' })).toBeGreaterThan(20);
  });

  test.each(['name', 'define'] as const)('mask %s covers just that of mistakes', (mask) => {
    const documents = source({ op: 8, retry: { kind: 'retry', rate: 0.5, mask } });
    const seen = [...Array(20).keys()].flatMap((i) => {
      const { masked = [], tokens, text } = documents.document(i);
      expect(masked.length).toBe(text.split('BACK').length - 1);
      return masked.map(({ start, end }) => tokenizer.decode(tokens.subarray(start, end)));
    });
    expect(seen.length).toBeGreaterThan(30);
    for (const words of seen)
      expect(words).toMatch(mask === 'name' ? /^ [A-Z]\w+ \w+'s \w+( \w+)?$/ : /^ Define .*'s .* as$/);
  });

  test('rate 0 and rate 1', () => {
    expect(at('retry', 0).document(0).text).not.toContain('BACK');
    const { problem, sentences } = at('retry_miss', 1).document(0);
    expect(sentences.filter(({ retry }) => retry).slice(0, problem.statements.length)).toHaveLength(
      problem.statements.length,
    );
  });
});

describe('variants and reask', () => {
  test.each(Object.keys(VARIANTS.code) as (keyof typeof VARIANTS.code)[])(
    '%s of the paper gives right problems',
    (name) => {
      const documents = source({ variant: { [name]: 'paper' } });
      for (let i = 0; i < 60; i++) {
        const { prompt, solutionText, op } = documents.document(i);
        expect(verifySolution(prompt, solutionText)).toMatchObject({ correct: true, necessaryOperations: op });
      }
    },
  );

  test('the paper draws the random number only if the coin says so', () => {
    // Position by position, the code's pool holds it once more.
    const share = (choice: 'code' | 'paper'): number => {
      const documents = source({ op: 12, variant: { randomParent: choice } });
      let [fed, all] = [0, 0];
      for (let i = 0; i < 400; i++) {
        const { problem, solution } = documents.document(i);
        for (const { parameter } of solution.definitions) {
          if (parameter >= problem.index.nPair) continue;
          all++;
          if (problem.rules[parameter]!.constant >= 0) fed++;
        }
      }
      return fed / all;
    };
    expect(share('code') - share('paper')).toBeGreaterThan(0.02);
  });

  test('reask asks the same kind of problem for any parameter', () => {
    const documents = source({ op: 20, reask: true });
    const ops = [...Array(400).keys()].map((i) => {
      const { prompt, solutionText, op } = documents.document(i);
      expect(verifySolution(prompt, solutionText)).toMatchObject({
        correct: true,
        necessaryOperations: op,
        unnecessaryParameters: 0,
      });
      return op;
    });
    ops.sort((a, b) => a - b);
    // Mean 10.1 and quartiles 3, 7.5, 16 of the released code.
    expect(Math.abs(ops.reduce((a, b) => a + b) / 400 - 10.1)).toBeLessThan(1.6);
    expect(ops[100]).toBeGreaterThanOrEqual(2);
    expect(ops[100]).toBeLessThanOrEqual(4);
    expect(ops[300]).toBeGreaterThanOrEqual(13);
    expect(ops[300]).toBeLessThanOrEqual(18);
  });
});

describe('impossible wishes', () => {
  test.each([
    [{ op: 40, level: { opMax: 40, ipMax: 5 } }, /problems of 40 operations to exist, got none .* at most 5 instance/],
    [{ modulus: 1 }, /igsm\.modulus\] expected an integer in 2 … 1000, got 1/],
    [{ op: 53 }, /igsm\.op\] expected an integer in 1 … 52, got 53/],
    [{ level: 'easy' as 'med' }, /level\] expected one of med, hard, got 'easy'/],
    [{ families: ['recipe' as 'recipes'] }, /Did you mean 'recipes'/],
    [{ families: [] }, /at least one, got none/],
    [
      { retry: { kind: 'retry_week' as 'retry_weak', rate: 2 } },
      /'retry_weak'\?\n\[igsm\.retry\.rate\] expected a number in 0 … 1, got 2/,
    ],
  ])('%j', (options, message) => {
    expect(() => source(options)).toThrow(message);
  });

  test('documents count from 0', () => {
    expect(() => source().document(-1)).toThrow(/an integer from 0, got -1/);
  });
});

describe('LiteralTokenizer', () => {
  const toy = new LiteralTokenizer('toy', [' a', ' as', ' Red Fox', ' Red', "'s", '.', ' 1', ' 12']);

  test('takes the longest literal, but never a part of a word', () => {
    expect(toy.decode(toy.encode(" Red Fox's a as 12 1."))).toBe(" Red Fox's a as 12 1.");
    expect(toy.encode(" Red Fox's")).toHaveLength(2);
    expect(() => toy.encode(' Red Foxes')).toThrow(/character 4\] .* got " Foxes"/);
    expect(() => toy.encode(' ax')).toThrow(/character 0/);
    expect(() => toy.decode([99])).toThrow(/0 … 8, got 99/);
    expect(() => new LiteralTokenizer('toy', [''])).toThrow(/at least one character/);
    expect(toy.decode([toy.eos])).toBe('<|endoftext|>');
  });
});

describe('boxes and drawings', () => {
  test('the answer follows from the text', () => {
    for (let i = 0; i < 40; i++) {
      const { prompt, answer } = boxProblem({ seed: 3 }, i);
      expect(boxAnswer(prompt)).toBe(answer);
      expect(prompt.match(/weighs/g)).toHaveLength(26);
    }
    const circle =
      'Each box A weighs 1 pounds on its own. Each box A has a box A inside it. How many pounds does each box A weigh in all?';
    expect(() => boxAnswer(circle)).toThrow(/A inside itself/);
    expect(() => boxAnswer('Each box A weighs 1 pounds on its own.')).toThrow(/a question about one box/);
    expect(() => boxProblem({ seed: 1, nBox: 1 }, 0)).toThrow(/2 … 26, got 1/);
  });

  test('a drawing has the query first and every parameter of the problem', () => {
    const { problem, naming } = source({ op: 6 }).document(1);
    const drawing = drawGraph(problem, naming);
    const name = (one: number): string => parameterName(problem.index, naming, one);
    expect(drawing.split('\n')[0]).toContain(`${name(problem.query)} = ${problem.values[problem.query]}`);
    for (const one of problem.statements) expect(drawing).toContain(`${name(one)} = ${problem.values[one]}`);
  });
});

test('successive letters: the same problems, with each letter behind the one before', () => {
  const [random, successive] = [source(), source({ letters: 'successive' })];
  const alphabet = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
  const first = new Set<string>();
  for (let i = 0; i < 60; i++) {
    const { solutionText, prompt, op } = successive.document(i);
    expect(prompt).toBe(random.document(i).prompt);
    const letters = [...solutionText.matchAll(/(?<=; |; so | as )([a-zA-Z])(?= =|;)/g)].map(([letter]) => letter);
    const distinct = [...new Set(letters)];
    expect(distinct).toHaveLength(op);
    for (const [k, letter] of distinct.entries()) {
      expect(letter).toBe(alphabet[(alphabet.indexOf(distinct[0]!) + k) % 52]);
    }
    expect(verifySolution(prompt, solutionText).correct).toBe(true);
    first.add(letters[0]!);
  }
  expect(first.size).toBeGreaterThan(20);
  expect(() => source({ letters: 'sucessive' as 'random' })).toThrow("Did you mean 'successive'?");
});

describe('vocabularies of a small world', () => {
  const whole = templateFamily('numbers');
  const family = withWorlds(whole, [trimWorld(whole.worlds[1]!, 1, 4)]);
  const text = (tokenizer: Tokenizer, i: number): IgsmSample =>
    igsm({ tokenizer, seed: 7, level: { opMax: 5, ipMax: 6 }, modulus: 5, families: [family] }).document(i);
  const marked = (tokenizer: Tokenizer, { tokens }: IgsmSample): number[] => {
    const marks = Object.values(marksOf(tokenizer));
    return [...tokens].filter((token) => !marks.includes(token));
  };

  test.each([
    ['phrases', phraseTokenizer([family], 5)],
    ['names', nameTokenizer([family], 5)],
  ])('%s: the same problems in fewer tokens, which are those of their text', (_, tokenizer) => {
    const words = compactTokenizer([family], 5);
    for (let i = 0; i < 30; i++) {
      const [ours, theirs] = [text(tokenizer, i), text(words, i)];
      expect(ours.text).toBe(theirs.text);
      expect(ours.tokens.length).toBeLessThan(theirs.tokens.length);
      expect(marked(tokenizer, ours)).toEqual([...tokenizer.encode(ours.text)]);
    }
  });

  test('names: each name in a solution is one token', () => {
    const tokenizer = nameTokenizer([family], 5);
    for (let i = 0; i < 30; i++) {
      const { sentences, tokens, problem, naming } = text(tokenizer, i);
      for (const { nameStart, nameEnd, parameter } of sentences) {
        expect(nameEnd - nameStart).toBe(1);
        const name = parameterName(problem.index, naming, parameter);
        expect(tokenizer.decode(tokens.subarray(nameStart, nameEnd))).toBe(` ${name}`);
      }
    }
  });
});
