import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ATTRIBUTES,
  type BioForm,
  biographies,
  bioS,
  bioSMini,
  bioSUsedGpt2Tokens,
  gpt2TokenizerForBioS,
  type Population,
  wordTokenizerFor,
} from '../src/bio/index.js';
import { MINI_FORM } from '../src/bio/mini-form.js';
import { Gpt2Tokenizer, type Sample, type Tokenizer } from '../src/index.js';

const kinds = { bioS, 'bioS-mini': bioSMini } as const;
const names = ['bioS', 'bioS-mini'] as const;
const firstWords = (pool: readonly string[]): number => new Set(pool.map((text) => text.split(' ')[0])).size;
const oneWord = (pool: readonly string[]): number => pool.filter((text) => !text.includes(' ')).length;
const formOf = (name: (typeof names)[number]): BioForm => kinds[name]({ nPeople: 1, seed: 1 }).form;
const bits = ({ choices }: Population): number => Object.values(choices).reduce((sum, n) => sum + Math.log2(n), 0);
const seatCounts = (form: BioForm): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const seat of form.seats) counts.set(seat, (counts.get(seat) ?? 0) + 1);
  return counts;
};

const gpt2 = new Gpt2Tokenizer();
const tokenizers: [Population['name'], Tokenizer][] = [
  ['bioS', wordTokenizerFor('bioS')],
  ['bioS', gpt2],
  ['bioS', gpt2TokenizerForBioS()],
  ['bioS-mini', wordTokenizerFor('bioS-mini')],
  ['bioS-mini', gpt2],
];

describe('pools', () => {
  test.each(names)('%s: entries of a pool are distinct, and none starts like another', (name) => {
    const { templates, seats: _, ...pools } = formOf(name);
    for (const pool of Object.values(pools)) {
      expect(new Set(pool).size).toBe(pool.length);
      const longer = (value: string): string[] =>
        pool.filter((other) => other.startsWith(`${value} `) || other.startsWith(`${value},`));
      expect(pool.flatMap(longer)).toEqual([]);
    }
    for (const pool of Object.values(templates)) {
      expect(new Set(pool.map(({ before, after }) => before + after)).size).toBe(pool.length);
    }
  });

  test('bioS has the sizes of the papers', () => {
    const form = formOf('bioS');
    expect([form.first.length, form.middle.length, form.last.length]).toEqual([400, 400, 1000]);
    expect([form.months.length, form.days.length, form.years.length]).toEqual([12, 28, 200]);
    expect([form.years[0], form.years.at(-1)]).toEqual(['1900', '2099']);
    const population = bioS({ nPeople: 1, seed: 1 });
    expect(population.choices).toEqual({
      birthDate: 67_200,
      birthCity: 200,
      university: 300,
      major: 100,
      employer: 263,
      pronoun: 2,
    });
    expect(population.nNames).toBe(160_000_000);
    expect(bits(population)).toBeCloseTo(47.592, 3);
  });

  test('bioS values mostly differ in their first word', () => {
    const form = formOf('bioS');
    expect(firstWords(form.birthCities)).toBeGreaterThanOrEqual(180);
    expect(new Set(form.birthCities.map((city) => city.slice(-2))).size).toBe(42);
    expect(firstWords(form.universities)).toBe(150);
    expect(form.universities.filter((university) => university.startsWith('University ')).length).toBe(111);
    expect(firstWords(form.majors)).toBeGreaterThanOrEqual(80);
    expect(Math.abs(oneWord(form.majors) - 50)).toBeLessThan(5);
    expect(firstWords(form.employers)).toBeGreaterThanOrEqual(250);
    expect(Math.abs(oneWord(form.employers) - 133)).toBeLessThan(10);
  });

  test('about one employer in seven has its seat in the same city', () => {
    const form = formOf('bioS');
    expect(form.seats.length).toBe(263);
    expect(seatCounts(form).size).toBe(133);
    expect(Math.max(...seatCounts(form).values())).toBe(36);
    const mini = formOf('bioS-mini');
    expect(Math.max(...seatCounts(mini).values())).toBe(9);
    expect(seatCounts(mini).size).toBe(30);
    for (const seat of mini.seats) expect(mini.birthCities).toContain(seat);
  });

  test('mini has its sizes and a small vocabulary', () => {
    const population = bioSMini({ nPeople: 1, seed: 1 });
    expect(population.choices).toEqual({
      birthDate: 12 * 28 * 50,
      birthCity: 60,
      university: 60,
      major: 30,
      employer: 60,
      pronoun: 2,
    });
    expect(population.nNames).toBe(20_000);
    expect(bits(population)).toBeCloseTo(37.66, 2);
    const { dVocab } = wordTokenizerFor(population);
    expect(dVocab).toBeGreaterThanOrEqual(440);
    expect(dVocab).toBeLessThanOrEqual(460);
    expect(new Set(population.form.birthCities.map((city) => city.split(' ')[1])).size).toBe(15);
    expect(firstWords(population.form.universities)).toBe(10);
    for (const attribute of ATTRIBUTES) {
      expect(population.form.templates[attribute].length).toBe(8);
      for (const { before, after } of population.form.templates[attribute]) {
        expect(before.trim().split(' ').length).toBeGreaterThanOrEqual(2);
        expect(before.trim().split(' ').length).toBeLessThanOrEqual(4);
        expect(after.trim().split(' ').length).toBe(1);
      }
    }
  });

  test('mini: the word before a value belongs to one attribute and stands nowhere else', () => {
    const last = new Map<string, string>();
    const others = new Set<string>();
    for (const attribute of ATTRIBUTES) {
      for (const { before, after } of MINI_FORM.templates[attribute]) {
        const words = before.trim().split(' ');
        const trigger = words.pop()!;
        expect(last.get(trigger) ?? attribute).toBe(attribute);
        last.set(trigger, attribute);
        for (const word of [...words, ...after.replace('.', '').trim().split(' ')]) others.add(word);
      }
    }
    for (const trigger of last.keys()) expect(others).not.toContain(trigger);
    expect(last.size).toBe(8);
  });

  test.each(names)('%s: what stands before a value tells that it comes now and which', (name) => {
    const befores = ATTRIBUTES.flatMap((attribute) =>
      formOf(name).templates[attribute].map(({ before }) => ({ attribute, before })),
    );
    const clashes = befores.flatMap(({ attribute, before }) =>
      befores.filter(
        (other) => other.before.startsWith(`${before} `) || (other.before === before && other.attribute !== attribute),
      ),
    );
    expect(clashes).toEqual([]);
  });

  test('bioS has 50 templates for each attribute; some go on after the value; none tells the gender', () => {
    const { templates } = formOf('bioS');
    for (const attribute of ATTRIBUTES) {
      expect([attribute, templates[attribute].length]).toEqual([attribute, 50]);
      const goingOn = templates[attribute].filter(({ after }) => after !== '.').length;
      expect(goingOn).toBeLessThanOrEqual(15);
      expect(goingOn).toBeGreaterThanOrEqual(2);
      for (const { before, after } of templates[attribute]) {
        expect(before).toMatch(/^( [a-z]+)+$/);
        expect(after).toMatch(/^( [a-z]+)*\.$/);
        expect(`${before}${after}`).not.toMatch(/\b(he|she|his|her|him|hers)\b/);
      }
    }
  });
});

describe('populations', () => {
  test.each(names)('%s: person i depends on seed and i only', (name) => {
    const small = kinds[name]({ nPeople: 10, seed: 5 });
    const large = kinds[name]({ nPeople: 20_000, seed: 5 });
    large.person(19_999);
    for (let i = 0; i < 10; i++) expect(small.person(i)).toEqual(large.person(i));
    const other = kinds[name]({ nPeople: 10, seed: 6 });
    expect(other.person(3)).not.toEqual(small.person(3));
    const shared = Array.from({ length: 10 }, (_, i) => i).filter(
      (i) => other.person(i).fullName === small.person(i).fullName,
    );
    expect(shared.length).toBeLessThan(3);
  });

  test('full names are unique, up to every name there is', () => {
    const large = bioS({ nPeople: 160_000_000, seed: 3 });
    expect(new Set(Array.from({ length: 100_000 }, (_, i) => large.person(i * 1600).fullName)).size).toBe(100_000);
    const all = bioSMini({ nPeople: 20_000, seed: 3 });
    expect(new Set(Array.from({ length: 20_000 }, (_, i) => all.person(i).fullName)).size).toBe(20_000);
  });

  test('more people than names are refused with the number of names', () => {
    expect(() => bioS({ nPeople: 160_000_001, seed: 1 })).toThrow(/160000000/);
    expect(() => bioSMini({ nPeople: 20_001, seed: 1 })).toThrow(/20000/);
    for (const nPeople of [0, -1, 1.5, Number.NaN]) expect(() => bioSMini({ nPeople, seed: 1 })).toThrow(/nPeople/);
    expect(() => bioSMini({ nPeople: 5, seed: 1 }).person(5)).toThrow(/0 … 4/);
  });

  test.each(names)('%s: every choice is as likely as the others', (name) => {
    const nPeople = 20_000;
    const population = kinds[name]({ nPeople, seed: 8 });
    const { form } = population;
    const size = {
      first: form.first.length,
      middle: form.middle.length,
      last: form.last.length,
      pronoun: 2,
      month: 12,
      day: 28,
      year: form.years.length,
      birthCity: form.birthCities.length,
      university: form.universities.length,
      major: form.majors.length,
      employer: form.employers.length,
    };
    const draws = Array.from({ length: nPeople }, (_, i) => population.draw(i));
    for (const [part, n] of Object.entries(size) as [keyof typeof size, number][]) {
      const counts = new Array<number>(n).fill(0);
      for (const draw of draws) counts[draw[part]]!++;
      const expected = nPeople / n;
      const chi2 = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
      // Five standard deviations of chi² with n − 1 degrees of freedom.
      expect([part, chi2 < n - 1 + 5 * Math.sqrt(2 * (n - 1))]).toEqual([part, true]);
    }
  });

  test.each(names)('%s: facts are independent of each other and of the name', (name) => {
    const nPeople = 20_000;
    const population = kinds[name]({ nPeople, seed: 21 });
    const parts = [
      'first',
      'middle',
      'last',
      'pronoun',
      'month',
      'birthCity',
      'university',
      'major',
      'employer',
    ] as const;
    const draws = Array.from({ length: nPeople }, (_, i) => population.draw(i));
    for (const a of parts) {
      for (const b of parts) {
        if (a >= b) continue;
        const counts = [0, 0, 0, 0];
        for (const draw of draws) counts[2 * (draw[a] % 2) + (draw[b] % 2)]!++;
        const [n00, n01, n10, n11] = counts as [number, number, number, number];
        const phi = (n00 * n11 - n01 * n10) / Math.sqrt((n00 + n01) * (n10 + n11) * (n00 + n10) * (n01 + n11));
        expect([a, b, Math.abs(phi) < 5 / Math.sqrt(nPeople)]).toEqual([a, b, true]);
      }
    }
  });

  test('the work city is that of the employer', () => {
    const population = bioS({ nPeople: 3000, seed: 2 });
    let inNewYork = 0;
    for (let i = 0; i < 3000; i++) {
      const { employer, workCity } = population.person(i);
      expect(workCity).toBe(population.form.seats[population.form.employers.indexOf(employer)]);
      if (workCity === 'New York, NY') inNewYork++;
    }
    expect(Math.abs(inNewYork / 3000 - 36 / 263)).toBeLessThan(0.03);
  });
});

describe('biographies', () => {
  const people = { bioS: bioS({ nPeople: 5000, seed: 4 }), 'bioS-mini': bioSMini({ nPeople: 5000, seed: 4 }) };
  const sources = tokenizers.map(([name, tokenizer]) => ({
    tokenizer,
    population: people[name],
    source: biographies(people[name], { tokenizer, seed: 11 }),
  }));

  test.each(sources)('$population.name, $tokenizer.name: spans are exact in tokens and text', (it) => {
    const { tokenizer, population, source } = it;
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 4999 }), fc.nat(1000), fc.boolean(), (person, draw, asDocument) => {
        const sample = asDocument ? source.document(person * 1000 + draw) : source.render(person, draw);
        const facts = population.person(sample.group!);
        if (!asDocument) expect(sample.group).toBe(person);
        const expected: Record<string, string> = {
          name: facts.fullName,
          pronoun: facts.pronoun,
          ...Object.fromEntries(ATTRIBUTES.map((attribute) => [attribute, facts[attribute]])),
        };
        expect(new Set(sample.spans.map(({ label }) => label))).toEqual(new Set(Object.keys(expected)));
        let end = 0;
        for (const span of sample.spans) {
          expect(sample.text.slice(span.textStart, span.textEnd)).toBe(expected[span.label]);
          expect(tokenizer.decode(sample.tokens.subarray(span.start, span.end)).trimStart()).toBe(expected[span.label]);
          expect(span.start).toBeGreaterThanOrEqual(end);
          end = span.end;
        }
      }),
      { numRuns: 200 },
    );
  });

  test.each(sources)('$population.name, $tokenizer.name: joined pieces equal the encoding of the whole text', (it) => {
    for (let i = 0; i < 1500; i++) {
      const { text, tokens } = it.source.document(i);
      expect(tokens).toEqual(it.tokenizer.encode(text));
      expect(it.tokenizer.decode(tokens)).toBe(text);
    }
  });

  test.each(sources)('$population.name, $tokenizer.name: mean and least length hold', ({ source }) => {
    const lengths = Array.from({ length: 4000 }, (_, i) => source.document(i).tokens.length);
    expect(lengths.reduce((sum, length) => sum + length, 0) / 4000).toBeCloseTo(source.meanTokens, -0.2);
    expect(Math.min(...lengths)).toBeGreaterThanOrEqual(source.minTokens!);
  });

  test('the full name opens the text and stands there only; five sentences start with the pronoun', () => {
    const { source, population } = sources[0]!;
    for (let i = 0; i < 500; i++) {
      const { text, group, spans } = source.document(i);
      const { fullName, pronoun } = population.person(group!);
      expect(text.startsWith(`${fullName} `)).toBe(true);
      expect(text.lastIndexOf(fullName)).toBe(0);
      const sentences = text.split('. ');
      expect(sentences.length).toBe(6);
      for (const sentence of sentences.slice(1)) expect(sentence.startsWith(`${pronoun} `)).toBe(true);
      expect(spans[0]!.label).toBe('name');
      const pronouns = spans.filter(({ label }) => label === 'pronoun');
      expect(pronouns.map(({ textStart }) => textStart)).toEqual([text.indexOf('. ') + 2]);
    }
  });

  test('a document does not depend on what was rendered before it', () => {
    const plain = (sample: Sample): unknown => ({ ...sample, tokens: [...sample.tokens] });
    for (const { population, tokenizer, source } of sources) {
      for (const i of [0, 4999, 5000, 31_337]) {
        const fresh = biographies(population, { tokenizer, seed: 11 });
        expect(plain(fresh.document(i))).toEqual(plain(source.document(i)));
        expect(plain(fresh.render(i % 5000, i))).toEqual(plain(source.render(i % 5000, i)));
      }
    }
  });

  test('orders and templates are drawn anew for each document, uniformly', () => {
    const { source } = sources[3]!;
    const orders = new Map<string, number>();
    const nDocument = 36_000;
    for (let i = 0; i < nDocument; i++) {
      const order = source.document(i).spans.filter(({ label }) => label !== 'pronoun' && label !== 'name');
      const key = order.map(({ label }) => label).join();
      orders.set(key, (orders.get(key) ?? 0) + 1);
    }
    expect(orders.size).toBe(720);
    const expected = nDocument / 720;
    const chi2 = [...orders.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    expect(chi2).toBeLessThan(719 + 5 * Math.sqrt(2 * 719));
    expect(new Set(Array.from({ length: 100 }, (_, k) => source.render(7, k).text)).size).toBe(100);
  });

  test('each pass shows each person once', () => {
    const small = biographies(bioSMini({ nPeople: 37, seed: 1 }), {
      tokenizer: wordTokenizerFor('bioS-mini'),
      seed: 1,
    });
    for (let pass = 0; pass < 5; pass++) {
      const shown = Array.from({ length: 37 }, (_, i) => small.document(pass * 37 + i).group!);
      expect(shown.sort((a, b) => a - b)).toEqual([...Array(37).keys()]);
    }
  });

  test('a tokenizer without the words of the population is refused at once, with the word', () => {
    const population = bioS({ nPeople: 5, seed: 1 });
    const tokenizer = wordTokenizerFor('bioS-mini');
    expect(() => biographies(population, { tokenizer, seed: 1 })).toThrow(/'Abigail'/);
    expect(() => sources[0]!.source.document(-1)).toThrow(/integer from 0/);
    expect(() => sources[0]!.source.render(5000, 0)).toThrow(/0 … 4999/);
  });
});

describe('vocabularies', () => {
  test('the word vocabulary holds what biographies use and nothing else', () => {
    for (const name of names) {
      const population = kinds[name]({ nPeople: 20_000, seed: 1 });
      const tokenizer = wordTokenizerFor(name);
      expect(tokenizer.toJSON()).toEqual(wordTokenizerFor(population).toJSON());
      const source = biographies(population, { tokenizer, seed: 1 });
      const seen = new Set([tokenizer.eos]);
      for (let i = 0; i < 40_000; i++) for (const token of source.document(i).tokens) seen.add(token);
      expect(seen.size).toBe(tokenizer.dVocab);
    }
  });

  test('the GPT-2 tokens of bioS are those that biographies use', () => {
    const source = biographies(bioS({ nPeople: 20_000, seed: 1 }), { tokenizer: gpt2, seed: 1 });
    const seen = new Set([gpt2.eos]);
    for (let i = 0; i < 40_000; i++) for (const token of source.document(i).tokens) seen.add(token);
    expect([...seen].sort((a, b) => a - b)).toEqual([...bioSUsedGpt2Tokens()]);
  });
});
