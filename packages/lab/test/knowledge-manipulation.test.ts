// Functions of facts: how answers with hints are scored, who is compared with whom, and what the laws of Part 3.2 make of them.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { digest, Rng } from '@physlm/base';
import { bioS, bioSMini } from '@physlm/data/bio';
import { knowledgeGpt2, knowledgeWords, type Question, questions, TASK_FAMILIES, TASKS } from '@physlm/data/knowledge';
import { buildModel, deviceStatus, gpt2, openDevice } from '@physlm/model';
import { RunDirectory, StepProgram } from '@physlm/train';
import { afterAll, describe, expect, test } from 'vitest';
import { answersFromHints } from '../src/hinted-answers.js';
import {
  criterion,
  type Law,
  lawNamed,
  lawsOfPart,
  membersOf,
  type Results,
  recipeNamed,
  runFolder,
  runRecipe,
  scalesOf,
} from '../src/index.js';
import { questionScores, type TaskScore } from '../src/knowledge-scores.js';
import { knowledge } from '../src/recipes/knowledge.js';
import { openKnowledgeData } from '../src/recipes/knowledge-data.js';
import { hintFigures } from '../src/recipes/knowledge-manipulation-report.js';

const tokenizer = knowledgeWords('bioS-mini');
const { eos, dVocab } = tokenizer;
const device = openDevice(deviceStatus('cpu').available ? 'cpu' : 'js', { nThread: 1 });
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

describe('answers with hints', () => {
  const population = bioSMini({ nPeople: 60, seed: 2 });
  const asked = questions(population, {
    tokenizer,
    seed: 2,
    people: range(8),
    tasks: ['monthMod2', 'major'],
    hintShare: 0.5,
  });

  test('the answer counts whatever the hint, the hint whatever the answer, and the mark decides which is asked for', () => {
    // A model that has learnt by heart what it is to write about each person.
    const word = (text: string): number => tokenizer.encode(` ${text}`)[0]!;
    const [yes, no] = [word('Yes'), word('No')];
    const other = (token: number): number => (token === yes ? no : yes);
    const script = ({ tokens, spans }: Question, place: number, said: 'hint' | 'direct') => {
      const answer = tokens.at(-1)!;
      const prompt = [
        ...tokens.subarray(0, spans.find(({ label }) => label === (said === 'hint' ? said : 'answer'))!.start),
      ];
      if (said === 'direct') return { prompt, written: [place < 5 ? answer : other(answer)] };
      const hint = [...tokens.subarray(prompt.length, -1)];
      const wrong = [hint[0] === word('May') ? word('June') : word('May'), ...hint.slice(1)];
      const kinds = [
        [...hint, answer],
        [...wrong, answer],
        [...hint, other(answer)],
        [answer],
        // More than one answer: the last one counts.
        [...hint, other(answer), answer],
      ];
      return { prompt, written: kinds[place % kinds.length]! };
    };
    const scripts = range(8).flatMap((place) =>
      (['hint', 'direct'] as const).map((said) => script(asked.ask('monthMod2', place, { said }), place, said)),
    );
    const nCtx = 1 + Math.max(...scripts.map(({ prompt, written }) => prompt.length + written.length));
    const windows = {
      nCtx,
      window(index: number, ids: Int32Array, targets: Int32Array): void {
        const { prompt, written } = scripts[index % scripts.length]!;
        ids.fill(eos).set([eos, ...prompt, ...written]);
        targets.fill(-1).set([...written, eos], prompt.length);
      },
    };
    const model = buildModel(device, gpt2(1, 1, { dVocab, nCtx: 48, dModel: 16, initStd: 0.2 }), new Rng('by heart'));
    const program = new StepProgram(model, nCtx, scripts.length, 1, {
      lrPeak: 3e-2,
      betas: [0.9, 0.98],
      eps: 1e-6,
      weightDecay: 0,
      clipNorm: 1,
    });
    for (let step = 0; step < 40; step++) program.run(windows, step, 3e-2);

    const scores = questionScores(model, asked, 8, { eos, hints: true });
    // Places 0 to 7 are kinds 0, 1, 2, 3, 4, 0, 1, 2: wrong answers at 2 and 7, wrong or no hints at 1, 3 and 6.
    expect(scores.monthMod2).toMatchObject({
      first: { nRight: 5, n: 8 },
      exact: { nRight: 5, n: 8 },
      hinted: { answer: { nRight: 6, n: 8 }, hint: { nRight: 5, n: 8 } },
    });
    const even = range(8).filter((place) => asked.ask('monthMod2', place).answer === 'Yes').length;
    expect(scores.monthMod2!.majority).toEqual({ nRight: Math.max(even, 8 - even), n: 8 });
    expect(scores.major!.hinted).toBeUndefined();
    expect(questionScores(model, asked, 8, { eos }).monthMod2!.hinted).toBeUndefined();
  }, 120_000);

  test('a hint with its answer is as short as what the model may write', () => {
    const tasks = TASKS.filter(({ hint }) => hint !== undefined).map(({ name }) => name);
    expect(tasks).toEqual([...TASK_FAMILIES.classification, ...TASK_FAMILIES.comparison].map(({ name }) => name));
    for (const [of, tokens] of [
      [population, tokenizer],
      [bioS({ nPeople: 60, seed: 2 }), knowledgeGpt2()],
    ] as const) {
      const source = questions(of, { tokenizer: tokens, seed: 1, people: range(60), tasks, hintShare: 1 });
      for (let i = 0; i < 2000; i++) {
        const { spans, tokens: all } = source.document(i);
        expect(all.length - spans.find(({ label }) => label === 'hint')!.start).toBeLessThan(24);
      }
    }
  });
});

describe('a run', () => {
  const sandbox = mkdtempSync(join(tmpdir(), 'physlm-hints-'));
  afterAll(() => rmSync(sandbox, { recursive: true, force: true }));

  test.each([0.5, undefined])(
    'is asked for hints when it was taught with some: share %s',
    async (hintShare) => {
      const small = {
        qaShare: 0,
        nPeople: 24,
        exposures: 1,
        nLayer: 1,
        dModel: 16,
        nCtx: 64,
        batchSize: 4,
        finetuneSteps: 1,
      };
      const experiment = knowledge({
        scale: 'tiny',
        seed: 3,
        parameters: { ...small, nAsked: 2, probes: 'none', tasks: 'monthMod2,majorRanking', hintShare },
      });
      const path = runFolder(experiment, sandbox);
      await runRecipe({
        recipe: recipeNamed('knowledge'),
        experiment,
        run: RunDirectory.open(path, experiment, 'resume'),
        device,
        command: 'physlm run knowledge',
        resume: false,
        signal: new AbortController().signal,
        tell: () => {},
        onProgress: () => {},
      });
      const { measures } = JSON.parse(readFileSync(join(path, 'results.json'), 'utf8')) as Results;
      expect('exact.test.monthMod2' in measures).toBe(true);
      expect('hinted.test.monthMod2' in measures).toBe(hintShare !== undefined);
      expect(existsSync(join(path, 'figures', 'hints.svg'))).toBe(hintShare !== undefined);
    },
    120_000,
  );
});

describe('people who are compared', () => {
  test('are of one side, in training and in tests, and every pair of a side comes up', () => {
    const { data, seed } = knowledge({
      scale: 'tiny',
      seed: 5,
      parameters: {
        nPeople: 60,
        nTrain: 7,
        tasks: 'comparison',
        augmentation: 'single',
        dModel: 16,
        nLayer: 1,
        qaShare: 0,
      },
    });
    const { questions: ask, split } = openKnowledgeData(data, seed);
    expect([split.train.length, split.test.length]).toEqual([7, 30]);
    const [train, others] = [new Set(split.train), new Set(split.test)];
    const asked = ask('train', 'train');
    const pairs = new Set<string>();
    for (let i = 0; i < 3000; i++) {
      const { people } = asked.document(i);
      expect(people.every((person) => train.has(person))).toBe(true);
      pairs.add(people.join());
    }
    expect(pairs.size).toBe(7 * 6);
    const measured = ask('test', 'measure');
    for (const { name } of TASK_FAMILIES.comparison) {
      for (let place = 0; place < 30; place++) {
        const { people } = measured.ask(name, place);
        expect(people[0]).toBe(split.test[place]);
        expect(people[0]).not.toBe(people[1]);
        expect(people.every((person) => others.has(person))).toBe(true);
      }
    }
  });

  test('ties are a No: the commonest answer is right in (1 + 1/n) / 2 of all pairs', () => {
    const population = bioSMini({ nPeople: 3000, seed: 1 });
    const tasks = ['monthRanking', 'majorRanking'];
    const source = questions(population, { tokenizer, seed: 1, people: range(3000), tasks });
    for (const [task, n] of [
      ['monthRanking', 12],
      ['majorRanking', population.form.majors.length],
    ] as const) {
      const no = range(3000).filter((place) => source.ask(task, place).answer === 'No').length / 3000;
      expect(Math.abs(no - (1 + 1 / n) / 2)).toBeLessThan(0.03);
    }
  });
});

describe('the figure of hints', () => {
  const tally = (nRight: number) => ({ nRight, n: 100 });
  const plain: TaskScore = { first: tally(60), exact: tally(55), majority: tally(50) };

  test('shows tasks with hints beside what right hints let expect', () => {
    expect(hintFigures({ major: plain }, String)).toEqual([]);
    const [figure, ...others] = hintFigures(
      { major: plain, monthMod2: { ...plain, hinted: { answer: tally(88), hint: tally(80) } } },
      (task) => task.toUpperCase(),
    );
    expect(others).toEqual([]);
    expect(figure!.categories).toEqual(['MONTHMOD2']);
    // 80 % right hints, and half of the rest by chance.
    expect(figure!.series.map(({ values }) => values[0])).toEqual([0.88, 0.9, 0.55, 0.5]);
  });

  test('composition: no hint is chance, every hint is everything', () => {
    expect(answersFromHints(0, 0.3)).toBe(0.3);
    expect(answersFromHints(1, 0.3)).toBe(1);
    // arXiv:2309.14402, footnote 15: 78.1 % right majors, differences by chance in 1 %.
    expect(answersFromHints(0.781 ** 2, 0.01)).toBeCloseTo(0.614, 3);
  });
});

describe('laws of Part 3.2', () => {
  const found = lawsOfPart('3.2');
  const run = (measures: Readonly<Record<string, number>>): Results => ({
    recipe: 'knowledge',
    measures,
    intervals: Object.fromEntries(
      Object.entries(measures).map(([name, value]) => [name, { low: value - 0.03, high: value + 0.03 }]),
    ),
  });
  const verdict = (law: Law, runs: Readonly<Record<string, Results>>) =>
    criterion(law.measure(runs).measures, law.scales.tiny!.expect);

  test('finetunings of one text start from one run, at every scale', () => {
    expect(found.length).toBe(6);
    const starts = new Set<string>();
    const runs = new Set<string>();
    for (const law of found) {
      expect(scalesOf(law)).toEqual(['tiny', 'laptop', 'gpu', 'paper']);
      for (const experiment of Object.values(membersOf(law, 'tiny', 1))) {
        starts.add(digest(experiment.start?.experiment ?? experiment));
        runs.add(digest(experiment));
      }
    }
    // multi5+permute, multi5+fullname; and the two that are asked for names among texts.
    expect(starts.size).toBe(4);
    expect(runs.size).toBe(11);
  });

  test('dual retrieval: the order matters after texts of one order only', () => {
    const law = lawNamed('manipulation-dual-retrieval');
    const both = (employerFirst: number, cityFirst: number) =>
      run({
        'biography.test': 1,
        ...Object.fromEntries(
          ['birthCity+employer', 'employer+birthCity', 'university+major', 'major+university'].map((task) => [
            `exact.test.${task}`,
            0.1,
          ]),
        ),
        'exact.test.employer+workCity': employerFirst,
        'exact.test.workCity+employer': cityFirst,
      });
    const { ours, interval, measures } = law.measure({ fixed: both(0.9, 0.4), permuted: both(0.8, 0.79) });
    expect(ours).toBeCloseTo(0.5, 12);
    expect(interval.high - ours).toBeCloseTo(0.03 * Math.SQRT2, 12);
    expect(measures['permuted.workCity+employer']).toBe(0.79);
    expect(verdict(law, { fixed: both(0.9, 0.4), permuted: both(0.8, 0.79) })).toBe('holds');
    expect(verdict(law, { fixed: both(0.9, 0.4), permuted: both(0.8, 0.5) })).toBe('fails');
    expect(verdict(law, { fixed: both(0.4, 0.4), permuted: both(0.8, 0.8) })).toBe('fails');
  });

  test('partial retrieval: the year against the whole date', () => {
    const law = lawNamed('manipulation-partial-retrieval');
    const dates = run({ 'exact.test.birthDate': 0.9, 'biography.test.birthDate': 1 });
    const parts = (year: number) =>
      run({
        'exact.test.birthYear': year,
        'exact.test.birthDay': 0.8,
        'exact.train.birthYear': 1,
        'majority.test.birthYear': 0.03,
      });
    expect(law.measure({ dates, parts: parts(0.2) }).ours).toBeCloseTo(0.7, 12);
    expect(verdict(law, { dates, parts: parts(0.2) })).toBe('holds');
    expect(verdict(law, { dates, parts: parts(0.9) })).toBe('fails');
  });

  const parity = (exact: number, hinted?: readonly [number, number]): Results =>
    run({
      'exact.test.monthMod2': exact,
      'exact.train.monthMod2': 1,
      'majority.test.monthMod2': 0.5,
      ...(hinted && { 'hinted.test.monthMod2': hinted[0], 'hint.test.monthMod2': hinted[1] }),
    });

  test('classification: with a hint as well as the hint, without one not', () => {
    const law = lawNamed('manipulation-classification');
    const runs = { fewer: parity(0.6), direct: parity(0.75), hinted: parity(0.8, [0.94, 0.9]), more: parity(0.95) };
    const { ours, measures } = law.measure(runs);
    expect(ours).toBeCloseTo(0.19, 12);
    expect(measures.predicted).toBeCloseTo(0.95, 12);
    expect(measures.abovePredicted).toBeCloseTo(-0.01, 12);
    expect(measures.rise).toBeCloseTo(0.35, 12);
    expect(verdict(law, runs)).toBe('holds');
    expect(verdict(law, { ...runs, direct: parity(0.93) })).toBe('fails');
    expect(verdict(law, { ...runs, hinted: parity(0.8, [0.8, 0.9]) })).toBe('fails');
    const { more, ...tiny } = runs;
    expect(law.measure(tiny).measures.rise).toBeUndefined();
  });

  test('taught with hints: no help without them', () => {
    const law = lawNamed('manipulation-taught-with-hints');
    const runs = (without: number) => ({ direct: parity(0.76), hinted: parity(without, [0.94, 0.91]) });
    const { ours, measures } = law.measure(runs(0.8));
    expect(ours).toBeCloseTo(0.04, 12);
    expect(measures.withHint).toBe(0.94);
    expect(verdict(law, runs(0.8))).toBe('holds');
    expect(verdict(law, runs(0.9))).toBe('fails');
  });

  test('comparison: chance without a hint, and with one as both facts are right', () => {
    const law = lawNamed('manipulation-comparison');
    const ranked = (task: string, exact: number, chance: number, hinted?: readonly [number, number]): Results =>
      run({
        [`exact.test.${task}`]: exact,
        [`majority.test.${task}`]: chance,
        ...(hinted && { [`hinted.test.${task}`]: hinted[0], [`hint.test.${task}`]: hinted[1] }),
      });
    const runs = {
      direct: ranked('majorRanking', 0.53, 0.51),
      hinted: ranked('majorRanking', 0.53, 0.51, [0.78, 0.6]),
    };
    const { ours, measures } = law.measure(runs);
    expect(ours).toBeCloseTo(0.02, 12);
    expect(measures.abovePredicted).toBeCloseTo(0.78 - (0.6 + 0.4 * 0.51), 12);
    expect(verdict(law, runs)).toBe('holds');
    expect(verdict(law, { ...runs, direct: ranked('majorRanking', 0.6, 0.51) })).toBe('fails');
    const differences = {
      ...runs,
      directDifference: ranked('majorSubtraction', 0.02, 0.03),
      hintedDifference: ranked('majorSubtraction', 0.02, 0.03, [0.4, 0.6]),
    };
    const more = law.measure(differences).measures;
    expect(criterion(more, law.scales.laptop!.expect)).toBe('fails');
    expect(more['abovePredicted.difference']).toBeCloseTo(0.4 - (0.6 + 0.4 * 0.03), 12);
    expect(criterion(more, law.scales.tiny!.expect)).toBe('holds');
  });

  test('inverse search: chance forward, names after facts that were read before them', () => {
    const law = lawNamed('manipulation-inverse');
    const inverse = (first: number): Results =>
      run({
        ...Object.fromEntries(
          TASK_FAMILIES.inverse.flatMap(({ name }) => [
            [`exact.test.${name}`, 0.01],
            [`majority.test.${name}`, 0.06],
          ]),
        ),
        'exact.test.all_to_first': first,
        'exact.train.all_to_first': 1,
      });
    const runs = { forward: inverse(0.07), forwardMixed: inverse(0.08), reversed: inverse(0.5) };
    const { ours, interval, measures } = law.measure(runs);
    expect(ours).toBeCloseTo(0.01, 12);
    expect(interval.low).toBeCloseTo(-0.02, 12);
    expect(measures.reversed).toBeCloseTo(0.44, 12);
    expect(measures['reversed.three_to_full']).toBe(0.01);
    expect(verdict(law, runs)).toBe('holds');
    expect(verdict(law, { ...runs, forward: inverse(0.4) })).toBe('fails');
    expect(verdict(law, { ...runs, reversed: inverse(0.07) })).toBe('fails');
  });
});
