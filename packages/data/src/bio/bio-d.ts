import { ConfigError, type ConfigProblem, DataError, Rng } from '@physlm/base';
import { PassOrder } from '../pass-order.js';
import type { Sample, Span } from '../sample.js';
import { WordTokenizer } from '../word-tokenizer.js';
import type { Biographies } from './biographies.js';
import { bioS, bioSMini, formOf, type PopulationName } from './population.js';

/** The sizes of bioD(N, K, C, D, L, T), with the letters of arXiv:2404.05405, Definition 2.2. */
export interface BioDSizes {
  /** N. */
  readonly nPeople: number;
  /** K: attributes of each person. */
  readonly nAttribute: number;
  /** C: chunks that make the value of an attribute. */
  readonly nChunk: number;
  /** D: strings that an attribute's chunks are drawn from. */
  readonly nString: number;
  /** L: symbols in a string. */
  readonly stringLength: number;
  /** T: symbols to write strings with. */
  readonly nSymbol: number;
}

/** What `bioD` needs. */
export interface BioDOptions extends BioDSizes {
  readonly seed: number;
  /** Whose pools full names come from: 400 × 400 × 1000 of them, or 20 × 20 × 50. */
  readonly names: PopulationName;
}

/** People with random attributes, and endless texts about them. */
export interface BioD {
  readonly sizes: BioDSizes;
  /** N₀: how many full names there are to choose from. */
  readonly nNames: number;
  /** D^C for each attribute, by the label of its spans: `ID 1` … `ID K`. */
  readonly choices: Readonly<Record<string, number>>;
  /** Labels of the first chunks: `ID 1, first` … */
  readonly firstLabels: readonly string[];
  readonly tokenizer: WordTokenizer;
  /** Tokens that can occur in a text: the embedding rows that count as parameters. Strings may leave symbols out. */
  readonly nUsedToken: number;
  readonly source: Biographies;
  /** The D strings of attribute a, each as its symbols 0 … T − 1; no two are equal. */
  strings(attribute: number): readonly Int32Array[];
  /** The chunks of a person's attribute, as indices into its strings. */
  value(person: number, attribute: number): Int32Array;
}

/** Attempts at a string that is not taken; past a quarter of all strings they are listed and shuffled instead. */
const SPARSE = 4;

/**
 * bioD(N, K, C, D, L, T): N names without repeats; for each of K attributes a set of D distinct strings out of all T^L,
 * drawn without replacement; each value is C strings of its set, uniform and independent. A text has one sentence for each
 * attribute, in a new random order each time, from one template:
 *
 * `Rosa Indigo Farrow 's ID 3 is s17 s2 , s5 s5. Their ID 1 is s0 s9 , s2 s17.`
 *
 * Spaces stand where tokens part, so that the text is its tokens. Labels of spans: `name`; for each attribute `ID a`, the
 * whole value with its commas, and `ID a, first`, its first chunk.
 *
 * Differs from the paper: symbols are words of their own instead of tokens of GPT-2, and the possessive is "their", so that
 * no pronoun has to be known.
 *
 * @throws ConfigError with every size that is out of range.
 * @see Allen-Zhu and Li 2024, arXiv:2404.05405, Definition 2.2.
 */
export function bioD(options: BioDOptions): BioD {
  const { nPeople, nAttribute, nChunk, nString, stringLength, nSymbol, seed, names } = options;
  const sizes: BioDSizes = { nPeople, nAttribute, nChunk, nString, stringLength, nSymbol };
  requireSizes(sizes);
  const people = (names === 'bioS' ? bioS : bioSMini)({ nPeople, seed });
  const tokenizer = tokenizerOf(names, sizes);
  const root = new Rng(seed).fork('bioD');
  const sets = root.fork('strings');
  const strings = Array.from({ length: nAttribute }, (_, a) => drawStrings(sizes, sets.at(a)));
  const facts = root.fork('facts');
  const documents = root.fork('documents');
  const renderings = root.fork('renderings');
  const order = new PassOrder(nPeople, root.fork('order'));

  /** All chunks of a person, attribute by attribute. */
  function chunks(person: number): Int32Array {
    const rng = facts.at(person);
    return Int32Array.from({ length: nAttribute * nChunk }, () => rng.below(nString));
  }

  function write(index: number, person: number, rng: Rng): Sample {
    const name = people.person(person).fullName;
    const values = chunks(person);
    const words: string[] = [];
    const spans: Span[] = [];
    let nText = 0;
    const add = (...added: string[]): void => {
      for (const word of added) {
        nText += word.length + (words.length > 0 && word !== '.' ? 1 : 0);
        words.push(word);
      }
    };
    /** Labels the words that `body` adds. */
    const label = (text: string, body: () => void): void => {
      const [start, textStart, at] = [words.length, nText + (words.length > 0 ? 1 : 0), spans.length];
      body();
      spans.splice(at, 0, { label: text, start, end: words.length, textStart, textEnd: nText });
    };

    const attributes = Array.from({ length: nAttribute }, (_, a) => a);
    rng.shuffle(attributes);
    attributes.forEach((a, i) => {
      if (i === 0) label('name', () => add(...name.split(' ')));
      add(i === 0 ? "'s" : 'Their', 'ID', `${a + 1}`, 'is');
      const chunk = (c: number): void =>
        add(...Array.from(strings[a]![values[a * nChunk + c]!]!, (symbol) => `s${symbol}`));
      label(`ID ${a + 1}`, () => {
        label(`ID ${a + 1}, first`, () => chunk(0));
        for (let c = 1; c < nChunk; c++) {
          add(',');
          chunk(c);
        }
      });
      add('.');
    });
    const text = words.reduce(
      (joined, word) => (joined === '' || word === '.' ? joined + word : `${joined} ${word}`),
      '',
    );
    return { index, text, tokens: tokenizer.encode(text), spans, group: person };
  }

  const nToken = 3 + nAttribute * (5 + nChunk * stringLength + nChunk - 1);
  const used = new Set(strings.flatMap((set) => set.flatMap((string) => [...string])));
  return {
    sizes,
    nNames: people.nNames,
    choices: Object.fromEntries(Array.from({ length: nAttribute }, (_, a) => [`ID ${a + 1}`, nString ** nChunk])),
    firstLabels: Array.from({ length: nAttribute }, (_, a) => `ID ${a + 1}, first`),
    tokenizer,
    nUsedToken: tokenizer.dVocab - nSymbol + used.size,
    source: {
      name: 'bioD',
      nGroup: nPeople,
      meanTokens: nToken,
      minTokens: nToken,
      groupGap: order.gap,
      document(index) {
        if (!Number.isSafeInteger(index) || index < 0) {
          throw new DataError('bioD.document', 'an integer from 0', `${index}`);
        }
        return write(index, order.at(index), documents.at(index));
      },
      render(person, draw) {
        if (!Number.isSafeInteger(draw) || draw < 0) throw new DataError('bioD.render', 'an integer from 0', `${draw}`);
        return write(draw, person, renderings.at(person).at(draw));
      },
    },
    strings: (attribute) => strings[attribute]!,
    value: (person, attribute) => chunks(person).slice(attribute * nChunk, (attribute + 1) * nChunk),
  };
}

function requireSizes({ nPeople: _, ...sizes }: BioDSizes): void {
  const problems: ConfigProblem[] = [];
  for (const [name, n] of Object.entries(sizes)) {
    if (Number.isInteger(n) && n >= 1) continue;
    problems.push({ path: `bioD.${name}`, expected: 'an integer from 1', got: `${n}` });
  }
  const { nString, stringLength, nSymbol } = sizes;
  if (problems.length === 0 && Math.log(nString) > stringLength * Math.log(nSymbol) + 1e-9) {
    const most = nSymbol ** stringLength;
    const expected = `up to nSymbol^stringLength = ${most}: strings are distinct`;
    problems.push({ path: 'bioD.nString', expected, got: `${nString}` });
  }
  if (problems.length > 0) throw new ConfigError(problems);
}

/** D of the T^L strings, uniformly without replacement. */
function drawStrings({ nString, stringLength, nSymbol }: BioDSizes, rng: Rng): Int32Array[] {
  const nAll = nSymbol ** stringLength;
  if (nAll <= SPARSE * nString) {
    const all = Array.from({ length: nAll }, (_, i) => i);
    rng.shuffle(all);
    return all.slice(0, nString).map((code) => digits(code, stringLength, nSymbol));
  }
  const drawn = new Map<string, Int32Array>();
  while (drawn.size < nString) {
    const string = Int32Array.from({ length: stringLength }, () => rng.below(nSymbol));
    drawn.set(string.join(), string);
  }
  return [...drawn.values()];
}

function digits(code: number, length: number, base: number): Int32Array {
  const result = new Int32Array(length);
  for (let i = length - 1, rest = code; i >= 0; i--, rest = Math.floor(rest / base)) result[i] = rest % base;
  return result;
}

function tokenizerOf(names: PopulationName, { nAttribute, nSymbol }: BioDSizes): WordTokenizer {
  const { first, middle, last } = formOf(names);
  const numbers = Array.from({ length: nAttribute }, (_, a) => `${a + 1}`);
  const symbols = Array.from({ length: nSymbol }, (_, symbol) => `s${symbol}`);
  return new WordTokenizer('bioD-words', [
    ...first,
    ...middle,
    ...last,
    "'s",
    'Their',
    'ID',
    'is',
    ',',
    ...numbers,
    ...symbols,
  ]);
}
