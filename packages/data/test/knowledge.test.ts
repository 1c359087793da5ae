import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ATTRIBUTES, type Attribute, bioS, bioSMini, type PeopleRange, type Person } from '../src/bio/index.js';
import { Gpt2Tokenizer, packWindows, padWindows, type Sample, type Tokenizer, WordTokenizer } from '../src/index.js';
import {
  AUGMENTATIONS,
  entries,
  knowledgeGpt2,
  knowledgeWords,
  luckiness,
  mixDocuments,
  parseAugmentation,
  type Question,
  questions,
  requireApart,
  splitPeople,
  TASKS,
} from '../src/knowledge/index.js';

const mini = bioSMini({ nPeople: 600, seed: 3 });
const full = bioS({ nPeople: 5000, seed: 3 });
const words = knowledgeWords('bioS-mini');
const setups = [
  { name: 'mini, words', population: mini, tokenizer: words as Tokenizer },
  { name: 'bioS, words', population: full, tokenizer: knowledgeWords('bioS') as Tokenizer },
  { name: 'bioS, GPT-2 of knowledge', population: full, tokenizer: knowledgeGpt2() as Tokenizer },
  { name: 'bioS, GPT-2', population: full, tokenizer: new Gpt2Tokenizer() as Tokenizer },
];
const others = ['couple1', 'couple2', 'couple5', 'multi5+reverse1', 'multi5+reverse2', 'multi5+reverse6'];
const everyName = [
  ...AUGMENTATIONS,
  ...others,
  'multi5+permute+reverse6',
  'multi∞+permute',
  'noisy5',
  'noisy5+fullname',
];
const everyTask = TASKS.map(({ name }) => name);
/** For populations whose pools take long to encode: one of each kind. */
const fewNames = ['single', 'multi5+permute+fullname', 'couple2', 'multi5+permute+reverse6', 'noisy5'];
const people = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const orderOf = ({ spans }: Sample): string =>
  spans
    .map(({ label }) => label)
    .filter((l) => ATTRIBUTES.includes(l as Attribute))
    .join();
/** The sentences of a text without their values and subjects. */
const skeleton = ({ text, spans }: Sample): string[] => {
  let bare = text;
  for (const { label, textStart, textEnd } of [...spans].reverse()) {
    if (label !== 'pronoun') bare = `${bare.slice(0, textStart)}{${label}}${bare.slice(textEnd)}`;
  }
  return bare
    .split('. ')
    .map((sentence) => sentence.replace(/^(\{name\}|He|She|The person) /, '').replace(/\.$/, ''))
    .sort();
};

describe('augmentations', () => {
  test('there is the plain data set and fifteen more, each read back as what its name says', () => {
    expect(AUGMENTATIONS.length).toBe(16);
    expect(new Set(AUGMENTATIONS).size).toBe(16);
    expect(parseAugmentation('single')).toEqual({
      name: 'single',
      nEntry: 1,
      style: 'templates',
      sentences: 'kept',
      order: 'fixed',
      names: 'first',
    });
    expect(parseAugmentation('single+permute5+fullname')).toMatchObject({
      nEntry: 5,
      sentences: 'kept',
      order: 'permuted',
      names: 'every',
    });
    expect(parseAugmentation('multi2+permute')).toMatchObject({
      nEntry: 2,
      sentences: 'redrawn',
      order: 'permuted',
      names: 'first',
    });
    expect(parseAugmentation('multi5')).toMatchObject({ nEntry: 5, sentences: 'redrawn', order: 'fixed' });
    expect(parseAugmentation('couple2')).toMatchObject({ nEntry: 2, order: 'couples' });
    expect(parseAugmentation('multi5+reverse6')).toMatchObject({ nEntry: 5, order: 'fixed', names: 'reverse6' });
    expect(parseAugmentation('multi∞+permute').nEntry).toBe(Number.POSITIVE_INFINITY);
    expect(parseAugmentation('noisy3')).toMatchObject({ nEntry: 3, style: 'noisy' });
  });

  test('other names are refused with the nearest one', () => {
    expect(() => parseAugmentation('multi5+permut')).toThrow(/'multi5\+permut'[\s\S]*multi5\+permute/);
    for (const bad of [
      '',
      'multi0',
      'single5',
      'single+permute',
      'multi5+permute5',
      'couple2+permute',
      'bioR',
      'multi5+reverse3',
    ]) {
      expect(() => parseAugmentation(bad)).toThrow(/an augmentation/);
    }
  });
});

describe.each(setups)('entries: $name', ({ population, tokenizer }) => {
  const facts = (person: number): Readonly<Record<string, string>> => {
    const { fullName, ...rest } = population.person(person);
    return { ...(rest as Omit<Person, 'fullName'>), name: fullName } as never;
  };

  test.each(population === mini ? everyName : fewNames)(
    '%s: every span is its fact, every fact has a span, tokens are those of the text',
    (augmentation) => {
      const source = entries(population, { augmentation, tokenizer, seed: 5 });
      const most = Math.min(source.augmentation.nEntry, 7);
      fc.assert(
        fc.property(fc.nat(population.nPeople - 1), fc.nat(most - 1), (person, entry) => {
          const sample = source.entry(person, entry);
          const known = facts(person);
          expect(sample.tokens).toEqual(tokenizer.encode(sample.text));
          expect(sample.tokens.length).toBeGreaterThanOrEqual(source.minTokens!);
          expect(sample.group).toBe(person);
          for (const span of sample.spans) {
            expect([span.label, sample.text.slice(span.textStart, span.textEnd)]).toEqual([
              span.label,
              known[span.label],
            ]);
            expect(tokenizer.decode(sample.tokens.subarray(span.start, span.end)).trimStart()).toBe(known[span.label]);
          }
          for (const label of [...ATTRIBUTES, 'name']) expect(sample.spans.map((span) => span.label)).toContain(label);
          for (const attribute of ATTRIBUTES) {
            expect(sample.spans.filter(({ label }) => label === attribute).length).toBe(1);
          }
        }),
        { numRuns: 25 },
      );
    },
  );
});

describe('entries', () => {
  const make = (augmentation: string, seed = 5) => entries(mini, { augmentation, tokenizer: words, seed });

  test('a data set is static: the same entry is the same text, and M passes show each of M entries once', () => {
    for (const [augmentation, nEntry] of [
      ['single', 1],
      ['multi5+permute', 5],
      ['couple2', 2],
      ['noisy5', 5],
    ] as const) {
      const source = make(augmentation);
      const seen = new Map<string, number>();
      for (let i = 0; i < 2 * nEntry * 600; i++) {
        const { text } = source.document(i);
        seen.set(text, (seen.get(text) ?? 0) + 1);
      }
      const all = new Set(people(600).flatMap((p) => people(nEntry).map((k) => source.entry(p, k).text)));
      expect(new Set(seen.keys())).toEqual(all);
      const again = make(augmentation);
      for (let p = 0; p < 600; p++) {
        const own = new Set(people(nEntry).map((k) => again.entry(p, k).text));
        expect([...own].reduce((sum, text) => sum + seen.get(text)!, 0)).toBe(2 * nEntry);
      }
      expect(() => source.entry(0, nEntry)).toThrow(new RegExp(`0 … ${nEntry - 1}`));
    }
    expect(make('single', 6).entry(3, 0).text).not.toBe(make('single', 5).entry(3, 0).text);
  });

  test('multi∞ shows no text twice', () => {
    const source = make('multi∞+permute');
    const texts = new Set(people(6000).map((i) => source.document(i).text));
    expect(texts.size).toBeGreaterThan(5990);
    expect(make('multi∞+permute').document(3).text).toBe(source.document(3).text);
  });

  test('kept sentences are the same in every entry, redrawn ones are not; permuting changes the order only when asked', () => {
    const count = (augmentation: string): { readonly orders: number; readonly skeletons: number } => {
      const source = make(augmentation);
      let [orders, skeletons] = [0, 0];
      for (let p = 0; p < 200; p++) {
        const own = people(5).map((k) => source.entry(p, k));
        orders += new Set(own.map(orderOf)).size;
        skeletons += new Set(own.map((sample) => skeleton(sample).join('|'))).size;
      }
      return { orders: orders / 200, skeletons: skeletons / 200 };
    };
    // Of 720 orders five differ nearly always; of 8⁶ choices of sentences too; three pairs have 6 orders: 6(1 − (5/6)⁵) = 3.6.
    expect(count('single+permute5')).toEqual({ orders: expect.closeTo(5, 1), skeletons: 1 });
    expect(count('multi5')).toEqual({ orders: 1, skeletons: 5 });
    expect(count('multi5+permute')).toEqual({ orders: expect.closeTo(5, 1), skeletons: 5 });
    const couples = count('couple5');
    expect(Math.abs(couples.orders - 6 * (1 - (5 / 6) ** 5))).toBeLessThan(0.3);
    expect(new Set(people(200).map((p) => orderOf(make('single').entry(p, 0))))).toEqual(new Set([ATTRIBUTES.join()]));
    expect(new Set(people(600).map((p) => orderOf(make('single+permute1').entry(p, 0)))).size).toBeGreaterThan(350);
  });

  test('every template of an attribute is drawn as often as the others', () => {
    const source = entries(bioSMini({ nPeople: 4000, seed: 1 }), { augmentation: 'multi2', tokenizer: words, seed: 2 });
    const counts = new Map<string, number>();
    for (let i = 0; i < 8000; i++) {
      for (const sentence of skeleton(source.document(i))) counts.set(sentence, (counts.get(sentence) ?? 0) + 1);
    }
    expect(counts.size).toBe(48);
    // 1000 each, standard deviation 30.
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });

  test('couples stay together and in their order', () => {
    const source = make('couple5');
    for (let p = 0; p < 200; p++) {
      const order = orderOf(source.entry(p, p % 5)).split(',');
      for (let i = 0; i < 6; i += 2) {
        expect(ATTRIBUTES.indexOf(order[i] as Attribute) % 2).toBe(0);
        expect(ATTRIBUTES.indexOf(order[i + 1] as Attribute)).toBe(ATTRIBUTES.indexOf(order[i] as Attribute) + 1);
      }
    }
  });

  test('names stand where the augmentation says', () => {
    const sentencesWithName = (augmentation: string): string => {
      const { text, spans } = make(augmentation).entry(7, 0);
      const starts = text.split('. ').map((_, i, all) => all.slice(0, i).reduce((sum, s) => sum + s.length + 2, 0));
      const at = (place: number): number => starts.filter((start) => start <= place).length - 1;
      return spans
        .filter(({ label }) => label === 'name')
        .map(({ textStart }) => at(textStart))
        .join();
    };
    expect(sentencesWithName('multi5')).toBe('0');
    expect(sentencesWithName('multi5+fullname')).toBe('0,1,2,3,4,5');
    expect(sentencesWithName('multi5+reverse1')).toBe('1');
    expect(sentencesWithName('multi5+reverse2')).toBe('2');
    expect(sentencesWithName('multi5+permute+reverse6')).toBe('6');
    const { text } = make('multi5+reverse6').entry(7, 0);
    expect(text.startsWith('The person ')).toBe(true);
    expect(text.endsWith(` The name of the person is ${mini.person(7).fullName}.`)).toBe(true);
  });

  test('noisy rewrites merge facts, use parts of names and say things that do not matter', () => {
    const source = make('noisy5');
    let [merged, partial, filler] = [0, 0, 0];
    for (let p = 0; p < 500; p++) {
      const { text } = source.entry(p, 0);
      const sentences = text.split('. ');
      const { fullName, pronoun, birthCity, birthDate } = mini.person(p);
      if (sentences.some((s) => s.includes(birthCity) && s.includes(birthDate))) merged++;
      if (sentences.slice(1).some((s) => !s.startsWith(`${pronoun} `) && !s.startsWith(fullName))) partial++;
      if (/small garden|choir|known to everyone|the quiet\b|many friends|river|old maps|quiet person/.test(text))
        filler++;
    }
    expect(Math.abs(merged / 500 - 0.5)).toBeLessThan(0.1);
    expect(Math.min(partial, filler)).toBeGreaterThan(250);
    expect(Math.max(partial, filler)).toBeLessThan(500);
  });

  test('no window holds two entries of one person', () => {
    const source = make('multi5+permute');
    const starts = new Map<number, number>();
    for (let i = 0; i < 6000; i++) {
      const { group } = source.document(i);
      expect(i - (starts.get(group!) ?? -1e9)).toBeGreaterThanOrEqual(source.groupGap!);
      starts.set(group!, i);
    }
    const few = entries(bioSMini({ nPeople: 6, seed: 1 }), { augmentation: 'multi5', tokenizer: words, seed: 1 });
    expect(() => packWindows(few, { nCtx: 512, eos: words.eos, dVocab: words.dVocab })).toThrow(/at least \d+ groups/);
  });
});

describe('questions', () => {
  const asked = questions(mini, { tokenizer: words, seed: 4, people: people(600), tasks: everyTask, hintShare: 0.5 });

  /** The answer worked out from the words of the question and of the people, without the code under test. */
  function naive({ task, people: [a, b] }: Question): { readonly answer: string; readonly hint?: string } {
    const one = mini.person(a!);
    const two = b === undefined ? undefined : mini.person(b);
    const month = ({ birthDate }: Person): string => birthDate.split(' ')[0]!;
    const day = ({ birthDate }: Person): number => Number.parseInt(birthDate.split(' ')[1]!, 10);
    const monthNumber = (p: Person): number => new Date(`${month(p)} 1, 2000`).getMonth() + 1;
    const luck = ({ major }: Person): number => luckiness(mini.form)[mini.form.majors.indexOf(major)]!;
    if (ATTRIBUTES.includes(task as Attribute)) return { answer: one[task as Attribute] };
    const dual = /^(\w+)\+(\w+)$/.exec(task);
    if (dual !== null) return { answer: `${one[dual[1] as Attribute]} ; ${one[dual[2] as Attribute]}` };
    if (task === 'birthDay') return { answer: `${day(one)},` };
    if (task === 'birthYear') return { answer: one.birthDate.slice(-4) };
    if (task.endsWith('_to_first')) return { answer: one.fullName.split(' ')[0]! };
    if (task.endsWith('_to_full')) return { answer: one.fullName };
    const modulo = /^(month|major)Mod(\d+)$/.exec(task);
    if (modulo !== null) {
      const [value, hint] = modulo[1] === 'month' ? [monthNumber(one), month(one)] : [luck(one), one.major];
      const rest = value % Number(modulo[2]);
      return { answer: modulo[2] === '2' ? (rest === 0 ? 'Yes' : 'No') : String(rest), hint: `${hint}.` };
    }
    const [, what, how] = /^(month|day|major)(Ranking|Subtraction)$/.exec(task)!;
    const score = { month: monthNumber, day, major: luck }[what as 'month' | 'day' | 'major'];
    const say = { month, day: (p: Person) => `${day(p)},`, major: (p: Person) => p.major }[what as 'month'];
    const difference = score(one) - score(two!);
    return {
      answer: how === 'Ranking' ? (difference > 0 ? 'Yes' : 'No') : String(difference),
      hint: `${say(one)} ; ${say(two!)}.`,
    };
  }

  test.each(everyTask)('%s: the answer is right, with its hint and without', (task) => {
    for (let place = 0; place < 150; place++) {
      for (const said of ['hint', 'direct'] as const) {
        const question = asked.ask(task, place, { said, draw: place });
        const { answer, hint } = naive(question);
        expect(question.answer).toBe(answer);
        const [prompt, ...rest] = question.text.split(' Answer: ');
        expect(rest.join()).toBe(said === 'hint' && hint !== undefined ? `${hint} ${answer}` : answer);
        for (const person of question.people) {
          if (!task.includes('_to_')) expect(prompt).toContain(mini.person(person).fullName);
        }
        if (hint !== undefined) expect(prompt!.endsWith(` <|${said}|>`)).toBe(true);
        expect(question.tokens).toEqual(words.encode(question.text));
        const span = question.spans.at(-1)!;
        expect(span.label).toBe('answer');
        expect(span.end).toBe(question.tokens.length);
        expect(words.decode(question.tokens.subarray(span.start, span.end))).toBe(answer);
        expect(words.decode(question.tokens.subarray(0, question.masked![0]!.end))).toBe(`${prompt} Answer:`);
        if (question.people.length === 2) expect(question.people[0]).not.toBe(question.people[1]);
      }
    }
  });

  test('facts in questions and answers have spans that say them', () => {
    for (let i = 0; i < 3000; i++) {
      const {
        text,
        spans,
        people: [a, b],
      } = asked.document(i);
      for (const { label, textStart, textEnd } of spans) {
        const person = mini.person(label.endsWith('2') ? b! : a!);
        const known: Record<string, string> = {
          name: person.fullName,
          ...(person as unknown as Record<string, string>),
        };
        const fact = known[label.replace(/2$/, '')];
        if (fact !== undefined) expect(text.slice(textStart, textEnd)).toBe(fact);
      }
    }
  });

  test('passes ask each person each question once; without hints no question is marked', () => {
    const plain = questions(mini, { tokenizer: words, seed: 4, people: [5, 8, 11, 300, 2], tasks: ['extraction'] });
    const seen = people(30).map((i) => plain.document(i));
    expect(new Set(seen.map(({ task, people: [p] }) => `${task}/${p}`)).size).toBe(30);
    expect(new Set(seen.flatMap((one) => one.people))).toEqual(new Set([5, 8, 11, 300, 2]));
    expect(seen.every(({ text }) => !text.includes('<|'))).toBe(true);
    const everything = questions(mini, {
      tokenizer: words,
      seed: 4,
      people: [5, 8, 11],
      tasks: ['major'],
      answerOnly: false,
    });
    expect(everything.document(0).masked).toBeUndefined();
  });

  test('no question is shorter or longer than promised', () => {
    for (const { population, tokenizer } of [setups[0]!, setups[2]!]) {
      const source = questions(population, {
        tokenizer,
        seed: 4,
        people: people(600),
        tasks: everyTask,
        hintShare: 0.5,
      });
      const lengths = people(6000).map((i) => source.document(i).tokens.length);
      expect(Math.min(...lengths)).toBeGreaterThanOrEqual(source.minTokens!);
      expect(Math.max(...lengths)).toBeLessThanOrEqual(source.maxTokens);
    }
    expect(questions(mini, { tokenizer: words, seed: 1, people: [1], tasks: ['major'] })).toMatchObject({
      minTokens: 9,
      maxTokens: 9,
    });
  });

  test('the share of hints is the one asked for', () => {
    const third = questions(mini, {
      tokenizer: words,
      seed: 1,
      people: people(600),
      tasks: ['monthMod2'],
      hintShare: 1 / 3,
    });
    const hinted = people(6000).filter((i) => third.document(i).text.includes('<|hint|>')).length;
    expect(Math.abs(hinted / 6000 - 1 / 3)).toBeLessThan(0.03);
  });

  test('scores of majors are a permutation, and of both forms their own', () => {
    for (const { form } of [mini, full]) {
      expect([...luckiness(form)].sort((x, y) => x - y)).toEqual(people(form.majors.length));
      expect(luckiness(form)).not.toEqual(people(form.majors.length));
    }
  });

  test('unknown tasks, too few people and wrong places are refused', () => {
    const make = (tasks: string[], who: number[]) => questions(mini, { tokenizer: words, seed: 1, people: who, tasks });
    expect(() => make(['majr', 'birthDate'], [1, 2])).toThrow(/'majr'.*'?major/s);
    expect(() => make([], [1, 2])).toThrow(/at least one task/);
    expect(() => make(['monthRanking'], [1])).toThrow(/at least 2 people/);
    expect(() => make(['major'], [1, 2]).ask('birthCity', 0)).toThrow(/one of major.*'birthCity'/s);
    expect(() => make(['major'], [1, 2]).ask('major', 2)).toThrow(/0 … 1/);
    expect(() =>
      questions(mini, { tokenizer: new WordTokenizer('w', ['a']), seed: 1, people: [1], tasks: ['major'] }),
    ).toThrow(/'Aaron'/);
  });
});

describe('splits', () => {
  test('halves are disjoint, cover everyone, and shrink from the end', () => {
    const { train, test: rest } = splitPeople(601, 5);
    expect([train.length, rest.length]).toEqual([300, 301]);
    expect([...train, ...rest].sort((a, b) => a - b)).toEqual(people(601));
    const smaller = splitPeople(601, 5, 40);
    expect(smaller).toEqual({ train: train.slice(0, 40), test: rest });
    expect(splitPeople(601, 6).train).not.toEqual(train);
    expect(() => splitPeople(601, 5, 301)).toThrow(/1 … 300/);
    expect(() => splitPeople(1, 5)).toThrow(/two people/);
  });

  test('an overlap is refused with both sides and the people', () => {
    expect(() => requireApart({ train: [1, 2, 3], test: [4, 5] })).not.toThrow();
    expect(() => requireApart({ train: [1, 2, 3], test: [3, 4, 2, 9] })).toThrow(
      /3 finetuning people and the 4 test people.*2 in both: 3, 2/s,
    );
  });
});

describe('mixtures', () => {
  const { eos, dVocab } = words;
  const [minority, celebrities] = [
    { first: 0, n: 200 },
    { first: 200, n: 400 },
  ];
  const part = (augmentation: string, people: PeopleRange) =>
    entries(mini, { augmentation, tokenizer: words, seed: 1, people });
  const single = part('single', minority);
  const multi = part('multi5', celebrities);

  test('documents come in exact shares, each series in its own order, people apart', () => {
    const mixed = mixDocuments(
      [
        { source: single, weight: 1 },
        { source: multi, weight: 5 },
      ],
      3,
    );
    const all = people(6000).map((i) => mixed.document(i));
    for (let block = 0; block < 1000; block++) {
      expect(all.slice(6 * block, 6 * block + 6).filter(({ group }) => group! < 200).length).toBe(1);
    }
    expect(all.filter(({ group }) => group! < 200).map(({ text }) => text)).toEqual(
      people(1000).map((i) => single.document(i).text),
    );
    expect(all.filter(({ group }) => group! >= 200).map(({ text }) => text)).toEqual(
      people(5000).map((i) => multi.document(i).text),
    );
    expect(mixed.document(4321).text).toBe(all[4321]!.text);
    expect(mixed.nGroup).toBe(1200);
    expect(mixed.groupGap).toBe(Math.min(single.groupGap!, multi.groupGap!));
    expect(() => mixDocuments([{ source: single, weight: 0.5 }], 1)).toThrow(/positive integer/);
  });

  test('a row is one question with its answer as the only target', () => {
    const asked = questions(mini, { tokenizer: words, seed: 1, people: people(600), tasks: ['extraction'] });
    const rows = padWindows(asked, { nCtx: 20, eos, dVocab });
    const [ids, targets] = [new Int32Array(20), new Int32Array(20)];
    for (let i = 0; i < 200; i++) {
      rows.window(i, ids, targets);
      const { tokens, answer } = asked.document(i);
      expect([...ids]).toEqual([eos, ...tokens, ...new Array<number>(19 - tokens.length).fill(eos)]);
      expect(words.decode(targets.filter((t) => t > 0))).toBe(answer);
      const last = targets.findLastIndex((t) => t >= 0);
      expect([last, targets[last]]).toEqual([tokens.length, eos]);
      targets.forEach((target, t) => {
        if (target > 0) expect(target).toBe(ids[t + 1]);
      });
    }
    expect(() => padWindows(asked, { nCtx: 8, eos, dVocab }).window(0, ids, targets)).toThrow(/Use nCtx/);
  });
});

describe('vocabularies', () => {
  test('hold every text of every augmentation and task, and little else', () => {
    const seen = new Set([words.eos]);
    const everyone = bioSMini({ nPeople: 20_000, seed: 1 });
    for (const augmentation of everyName) {
      const source = entries(everyone, { augmentation, tokenizer: words, seed: 1 });
      for (let i = 0; i < 800; i++) for (const token of source.document(i).tokens) seen.add(token);
    }
    const asked = questions(everyone, {
      tokenizer: words,
      seed: 1,
      people: people(20_000),
      tasks: everyTask,
      hintShare: 0.5,
    });
    for (let i = 0; i < 30_000; i++) for (const token of asked.document(i).tokens) seen.add(token);
    // Rare differences of luckiness may not come up.
    expect(words.dVocab - seen.size).toBeLessThan(12);
    expect(words.dVocab).toBeLessThan(600);
  });
});
