// The iGSM verifier: right solutions in every form are accepted, mutated ones rejected at the right sentence, and texts that state
// no problem are refused with a reason.
import { Rng } from '@physlm/base';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ancestors,
  compactTokenizer,
  drawShortestOrder,
  exists,
  FAMILY_NAMES,
  type IgsmSample,
  igsm,
  type Problem,
  parameterName,
  readProblem,
  solutionOf,
  symbolValues,
  templateFamily,
  verifySolution,
} from '../src/igsm/index.js';

const tokenizer = compactTokenizer(FAMILY_NAMES.map(templateFamily));
const sources = FAMILY_NAMES.map((family) => igsm({ tokenizer, seed: 9, families: [family] }));
/** Family and number of a document: short enough to be read in a report. */
const place = fc.tuple(fc.nat(sources.length - 1), fc.nat(2000));
const documentAt = ([family, i]: [number, number]): IgsmSample => sources[family]!.document(i);

const sentencesOf = (solution: string): string[] => solution.trim().slice(0, -1).split('. ');
const textOf = (sentences: readonly string[]): string => ` ${sentences.join('. ')}.`;

/** A solution in words, written from its definition and not by the package's writer; `commute` swaps operands of + and ×. */
function write({ problem, naming }: IgsmSample, order: readonly number[], commute = false): string {
  const letters = 'zyxwvutsrqponmlkjihgfedcbaZYXWVUTSRQPONMLKJIHGFEDCBA';
  const solution = solutionOf(problem, order);
  const values = symbolValues(solution, problem.modulus);
  const name = (operand: number): string => (operand < 0 ? `${-1 - operand}` : letters[operand]!);
  const value = (operand: number): number => (operand < 0 ? -1 - operand : values[operand]!);
  return textOf(
    solution.definitions.map(({ parameter, symbol, steps }) => {
      const parts = steps.map(({ symbol, operator, left, right }, x) => {
        const so = x === steps.length - 1 ? 'so ' : '';
        if (operator === 'constant') return `${so}${letters[symbol]} = ${values[symbol]}`;
        if (operator === 'copy') return `${so}${letters[symbol]} = ${name(left)} = ${values[symbol]}`;
        const [a, b] = commute && operator !== '-' ? [right, left] : [left, right];
        const numbers = `${value(a)} ${operator} ${value(b)}`;
        return `${so}${letters[symbol]} = ${name(a)} ${operator} ${name(b)} = ${numbers} = ${values[symbol]}`;
      });
      return `Define ${parameterName(problem.index, naming, parameter)} as ${letters[symbol]}; ${parts.join('; ')}`;
    }),
  );
}

/** An order of the necessary parameters and of others that do not need the query; the query is last. */
function redundantOrder(problem: Problem, rng: Rng, extra: number): number[] {
  const { parents, query } = problem;
  const chosen = new Set(drawShortestOrder(rng, problem));
  const stated = problem.statements.filter((one) => ancestors(parents, one)[query] === 0);
  for (const one of rng.shuffle(stated).slice(0, extra)) {
    ancestors(parents, one).forEach((marked, parameter) => {
      if (marked === 1) chosen.add(parameter);
    });
  }
  const order: number[] = [];
  const rest = [...chosen].filter((one) => one !== query);
  while (rest.length > 0) {
    const ready = rest.filter((one) => parents[one]!.every((parent) => order.includes(parent)));
    const next = rng.pick(ready);
    rest.splice(rest.indexOf(next), 1);
    order.push(next);
  }
  return [...order, query];
}

describe('right solutions', () => {
  test('are accepted in any order, with commuted operands, with redundant steps and with steps that are taken back', () => {
    fc.assert(
      fc.property(place, fc.nat(), fc.boolean(), fc.nat(3), (at, seed, commute, extra) => {
        const document = documentAt(at);
        const { problem, prompt, op, solution, solutionText } = document;
        const rng = new Rng(seed);
        expect(verifySolution(prompt, solutionText)).toMatchObject({ correct: true, reason: null, step: null });
        const order = redundantOrder(problem, rng, extra);
        const steps = solutionOf(problem, order).op;
        fc.pre(steps <= 52);
        const expected = {
          correct: true,
          necessaryOperations: op,
          operations: steps,
          unnecessaryParameters: order.length - solution.definitions.length,
        };
        const text = write(document, order, commute);
        expect(verifySolution(prompt, text)).toMatchObject({ ...expected, retries: 0 });
        const sentences = sentencesOf(text);
        sentences.splice(rng.below(sentences.length), 0, 'Define Whatever as BACK');
        expect(verifySolution(prompt, textOf(sentences))).toMatchObject({ ...expected, retries: 1 });
      }),
      { numRuns: 150 },
    );
  });

  test('the question is read before or behind the problem, with the same result', () => {
    const options = { tokenizer, seed: 4 };
    const [pq, qp] = [igsm({ ...options, layout: 'pq' }), igsm({ ...options, layout: 'qp' })];
    for (let i = 0; i < 30; i++) {
      const [a, b] = [readProblem(pq.document(i).prompt), readProblem(qp.document(i).prompt)];
      expect([a.layout, b.layout]).toEqual(['pq', 'qp']);
      expect(b.problem).toEqual(a.problem);
    }
  });

  test('a problem is rebuilt with every value and every parent', () => {
    fc.assert(
      fc.property(place, (at) => {
        const { problem, naming, prompt } = documentAt(at);
        const read = readProblem(prompt);
        const names = problem.parents.map((_, one) => parameterName(problem.index, naming, one));
        for (let one = 0; one < names.length; one++) {
          const found = read.parameterOf(names[one]!);
          // Items that have nothing, and are asked for nothing, are not in the text.
          if (found < 0) continue;
          if (!exists(problem, one)) continue;
          expect(read.problem.values[found]).toBe(problem.values[one]);
          const parents = read.problem.parents[found]!.map((parent) =>
            parameterName(read.problem.index, read.naming, parent),
          );
          expect(parents.sort()).toEqual(problem.parents[one]!.map((parent) => names[parent]!).sort());
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe('mutated solutions are rejected at the sentence that is wrong', () => {
  const check = (
    mutate: (sentences: string[], t: number, document: IgsmSample) => { step: number; fault: string } | undefined,
  ) =>
    fc.assert(
      fc.property(place, fc.nat(), (at, pick) => {
        const document = documentAt(at);
        const sentences = sentencesOf(document.solutionText);
        const expected = mutate(sentences, pick % sentences.length, document);
        fc.pre(expected !== undefined);
        const verdict = verifySolution(document.prompt, textOf(sentences));
        expect(verdict).toMatchObject({ correct: false, ...expected });
        expect(verdict.reason).toMatch(/\w{3,}/);
      }),
      { numRuns: 80 },
    );

  test('a wrong result', () =>
    check((sentences, t) => {
      const constant = /so . = \d+$/.test(sentences[t]!);
      sentences[t] = sentences[t]!.replace(/\d+$/, (number) => `${(Number(number) + 1) % 23}`);
      return { step: t + 1, fault: constant ? 'wrong rule' : 'wrong arithmetic' };
    }));

  test('a result that is not reduced', () =>
    check((sentences, t) => {
      sentences[t] = sentences[t]!.replace(/\d+$/, (number) => `${Number(number) + 23}`);
      return { step: t + 1, fault: 'wrong number' };
    }));

  test('another constant, carried through', () =>
    check((sentences, t) => {
      const found = /so (.) = (\d+) \+ (.) = \d+ \+ (\d+) = \d+$/.exec(sentences[t]!);
      if (found === null) return undefined;
      const [, letter, constant, other, number] = found;
      const wrong = (Number(constant) + 5) % 23;
      sentences[t] = sentences[t]!.replace(
        /so .*$/,
        `so ${letter} = ${wrong} + ${other} = ${wrong} + ${number} = ${(wrong + Number(number)) % 23}`,
      );
      return { step: t + 1, fault: 'wrong rule' };
    }));

  test('a parameter that does not exist', () =>
    check((sentences, t) => {
      sentences[t] = sentences[t]!.replace(/^Define .* as /, "Define Old Fox's Tail as ");
      return { step: t + 1, fault: 'unknown parameter' };
    }));

  test('a sentence twice', () =>
    check((sentences, t) => {
      sentences.splice(t, 0, sentences[t]!);
      return { step: t + 2, fault: 'duplicate symbol' };
    }));

  test('a sentence left out', () =>
    check((sentences, t, { problem, solution }) => {
      const { parameter } = solution.definitions[t]!;
      if (parameter === problem.query) return undefined;
      const user = solution.definitions.findIndex((one) => problem.parents[one.parameter]!.includes(parameter));
      sentences.splice(t, 1);
      return { step: user, fault: 'undefined symbol' };
    }));

  test('the last sentence left out', () =>
    check((sentences) => {
      sentences.pop();
      if (sentences.length === 0) return undefined;
      return { step: sentences.length, fault: 'wrong question' };
    }));

  test('a letter that was not announced', () =>
    check((sentences, t) => {
      sentences[t] = sentences[t]!.replace(/ as (.);/, (_, letter: string) => ` as ${letter === 'q' ? 'p' : 'q'};`);
      return { step: t + 1, fault: 'form' };
    }));

  test('a number that its letter does not have', () =>
    check((sentences, t) => {
      const found = / = (.) ([+*-]) (\w+) = (\d+) /.exec(sentences[t]!);
      if (found === null || /\d/.test(found[1]!)) return undefined;
      sentences[t] = sentences[t]!.replace(
        /( = . [+*-] \w+ = )(\d+) /,
        (_, head: string, number: string) => `${head}${(Number(number) + 1) % 23} `,
      );
      return { step: t + 1, fault: 'wrong number' };
    }));

  test('parameters of another sentence', () =>
    check((sentences, t, { problem, solution }) => {
      if (t < 2) return undefined;
      const { parameter } = solution.definitions[t]!;
      const letter = (x: number): string => / as (.);/.exec(sentences[x]!)![1]!;
      const other = solution.definitions.findIndex(
        (one, x) => x < t && !problem.parents[parameter]!.includes(one.parameter),
      );
      if (other < 0) return undefined;
      const value = problem.values[solution.definitions[other]!.parameter]!;
      sentences[t] = sentences[t]!.replace(/; .*$/, `; so ${letter(t)} = ${letter(other)} = ${value}`);
      return { step: t + 1, fault: 'wrong parents' };
    }));

  test('a solution that does not end', () => {
    fc.assert(
      fc.property(place, fc.nat(), (at, cut) => {
        const { prompt, solutionText } = documentAt(at);
        const text = solutionText.slice(0, 1 + (cut % (solutionText.length - 1)));
        const verdict = verifySolution(prompt, text);
        expect(verdict.correct).toBe(false);
        if (text.trim() !== '' && !/\.$/.test(text.trim())) {
          expect(verdict).toMatchObject({ fault: 'unfinished', step: sentencesOf(`${text}.`).length });
        }
      }),
    );
    const { prompt, solutionText } = sources[0]!.document(3);
    expect(verifySolution(prompt, `${solutionText}${solutionText}`).correct).toBe(false);
    expect(verifySolution(prompt, '').fault).toBe('empty');
    expect(verifySolution(prompt, 'Define a.').reason).toMatch(/behind a semicolon/);
  });

  test('any change of one character', () => {
    fc.assert(
      fc.property(place, fc.nat(), fc.constantFrom(...'aZ7 .;=+*-'), (which, pick, character) => {
        const { prompt, solutionText, problem } = documentAt(which);
        const at = 1 + (pick % (solutionText.length - 1));
        const text = `${solutionText.slice(0, at)}${character}${solutionText.slice(at + 1)}`;
        const verdict = verifySolution(prompt, text);
        // What is accepted reads back to the same value for every parameter.
        if (!verdict.correct || text === solutionText) return;
        const last = sentencesOf(text).at(-1)!;
        expect(Number(/\d+$/.exec(last)![0])).toBe(problem.values[problem.query]);
      }),
      { numRuns: 300 },
    );
  });
});

describe('the released check', () => {
  test('lets a wrong constant pass where it cancels, the exact one does not', () => {
    const prompt =
      " The number of each North Quarter's Maple Market equals 4. The number of each North Quarter's Oak Market equals 0 times as much as each North Quarter's Maple Market. How many Oak Market does North Quarter have?";
    const solution = (x: number): string =>
      ` Define North Quarter's Maple Market as a; so a = ${x}. Define North Quarter's Oak Market as b; so b = 0 * a = 0 * ${x} = 0.`;
    expect(verifySolution(prompt, solution(4), { check: 'released' }).correct).toBe(true);
    expect(verifySolution(prompt, solution(5), { check: 'released' }).correct).toBe(true);
    expect(verifySolution(prompt, solution(5))).toMatchObject({ fault: 'wrong rule', step: 1 });
    const sum = solution(4).replace('0 * a = 0 * 4 = 0', 'a - a = 4 - 4 = 0');
    expect(verifySolution(prompt, sum, { check: 'released' }).correct).toBe(true);
  });

  test('a right value by a wrong operation is found', () => {
    const prompt =
      " The number of each North Quarter's Maple Market equals 2. The number of each North Quarter's Oak Market equals 2 more than each North Quarter's Maple Market. How many Oak Market does North Quarter have?";
    const text = (operator: string): string =>
      ` Define North Quarter's Maple Market as a; so a = 2. Define North Quarter's Oak Market as b; so b = 2 ${operator} a = 2 ${operator} 2 = 4.`;
    expect(verifySolution(prompt, text('+')).correct).toBe(true);
    expect(verifySolution(prompt, text('*'))).toMatchObject({ fault: 'wrong rule', step: 2 });
    expect(verifySolution(prompt, text('*')).reason).toMatch(/right value, but not as its statement says/);
  });
});

describe('texts that state no problem', () => {
  const market = (name: string, rest: string): string =>
    `The number of each North Quarter's ${name} Market equals ${rest}.`;
  const question = ' How many Oak Market does North Quarter have?';
  test.each([
    ['', /a question at its end or its beginning/],
    ['What is the matter?', /a question such as 'How many/],
    [question, /at least one statement/],
    [`${market('Oak', '4')}`, /a question at its end/],
    [`${market('Oak', '4')} Nonsense.${question}`, /sentence 2\] expected 'The number of each .*got "Nonsense"/],
    [`${market('Oak', 'four')}${question}`, /sentence 1\] expected a number, a sum.*got "four"/],
    [`${market('Oak', '23')}${question}`, /expected a number in 0 … 22, got 23/],
    [`${market('Oak', '1')} ${market('Oak', '2')}${question}`, /one statement for each parameter, got two/],
    [
      `${market('Oak', "each North Quarter's Elm Market")}${question}`,
      /got "North Quarter's Elm Market"\nA parameter is used that no/,
    ],
    [`${market('Oak', "each North Quarter's Oak Market")}${question}`, /some that need each other/],
    [
      `${market('Elm', "each North Quarter's Supermarket")}${question.replace('Oak Market', 'Elm Market')}`,
      /some that need each other/,
    ],
    [`${market('Oak', '1')} The number of each Oak Market's North Quarter equals 1.${question}`, /items in layers/],
    [`${market('Oak', '1')} The number of each North Quarter equals 1.${question}`, /a name such as/],
  ])('%s', (prompt, message) => {
    expect(() => readProblem(prompt)).toThrow(message);
  });
});
