import { DataError, Rng } from '@physlm/base';
import { PassOrder } from '../pass-order.js';
import type { DocumentSource, Sample, Span } from '../sample.js';
import type { Tokenizer } from '../tokenizer.js';
import { ATTRIBUTES, type Attribute, type BioForm, PRONOUNS } from './form.js';
import type { PersonDraw, Population } from './population.js';

/** Endless fresh biographies, in passes over the people; see `biographies`. */
export interface Biographies extends DocumentSource {
  /**
   * Fresh rendering number `draw` of one person, for evaluation: not one of the documents.
   *
   * @throws DataError when the person is not in the population or `draw` is not an integer from 0.
   */
  render(person: number, draw: number): Sample;
}

/** What `biographies` needs besides people. */
export interface BiographiesOptions {
  readonly tokenizer: Tokenizer;
  readonly seed: number;
  /** `fresh` (bioS): templates and order are drawn anew each time. `fixed` (bioS^simple): once for each person. `fresh` when absent. */
  readonly wording?: 'fresh' | 'fixed';
  /** Text in front of every biography, as it must stand before a name; none when absent. */
  readonly tag?: string;
  /** Which people of the population are written about; all when absent. */
  readonly people?: PeopleRange;
  /** Name of the random stream: sources of one seed with different names draw apart. `biographies` when absent. */
  readonly stream?: string;
}

/** People `first` … `first + n − 1` of a population. */
export interface PeopleRange {
  readonly first: number;
  readonly n: number;
}

/** Passes over more people than this are drawn with replacement: an order of all of them would not fit in memory. */
const MOST_ORDERED = 1 << 24;

/** A stretch of text that encodes to the same tokens wherever it stands. */
interface Piece {
  readonly text: string;
  readonly tokens: Int32Array;
}

interface SentencePieces {
  readonly before: Piece;
  readonly after: Piece;
}

/**
 * Online biographies, bioS(N): each document draws anew a template for each of the six sentences and their order
 * ("multi∞+permute"). The full name opens the first sentence, the pronoun the other five. Documents come in passes that
 * show every person once, in a new order each pass; people beyond 2²⁴ are drawn with replacement, without a promised gap.
 *
 * Labels of spans: `name`, `pronoun` (the first one), `birthDate`, `birthCity`, `university`, `major`, `employer`,
 * `workCity`; in the order of the text.
 *
 * @throws DataError when the tokenizer cannot write a name, a value or a template of the population, or the people are not
 * in it.
 * @see Allen-Zhu and Li 2024, arXiv:2404.05405, Definition 2.1 and Section 2.2 (bioS^simple); Section 10 (tag, junk).
 */
export function biographies(population: Population, options: BiographiesOptions): Biographies {
  const { form } = population;
  const { seed, tokenizer, wording = 'fresh', tag = '', stream = 'biographies' } = options;
  const { first, n } = requirePeople(options.people ?? { first: 0, n: population.nPeople }, population);
  const writer = new Writer(form, tokenizer, tag);
  const root = new Rng(seed).fork(stream);
  const documents = root.fork('documents');
  const renderings = root.fork('renderings');
  const fixed = root.fork('fixed');
  const ordered = n <= MOST_ORDERED;
  const order = ordered ? new PassOrder(n, root.fork('order')) : undefined;
  const draws = root.fork('draws');
  const write = (index: number, person: number, rng: Rng): Sample =>
    writer.write(index, person, population.draw(person), wording === 'fixed' ? fixed.at(person) : rng);
  return {
    name: population.name,
    nGroup: n,
    meanTokens: writer.meanTokens,
    minTokens: writer.minTokens,
    ...(order !== undefined && { groupGap: order.gap }),
    document(index) {
      requireCount('document', index);
      const person = first + (order === undefined ? draws.at(index).below(n) : order.at(index));
      return write(index, person, documents.at(index));
    },
    render(person, draw) {
      requireCount('render', draw);
      return write(draw, person, renderings.at(person).at(draw));
    },
  };
}

function requirePeople({ first, n }: PeopleRange, { name, nPeople }: Population): PeopleRange {
  const whole = Number.isInteger(first) && Number.isInteger(n);
  if (whole && first >= 0 && n >= 1 && first + n <= nPeople) return { first, n };
  throw new DataError(`biographies(${name}).people`, `people within 0 … ${nPeople - 1}`, `${n} from ${first}`);
}

function requireCount(where: string, index: number): void {
  if (Number.isSafeInteger(index) && index >= 0) return;
  throw new DataError(`biographies.${where}`, 'an integer from 0', `${index}`);
}

/** Joins pieces that were encoded once: a document costs no more than copying its tokens. */
class Writer {
  readonly meanTokens: number;
  readonly minTokens: number;
  readonly #first: readonly Piece[];
  readonly #middle: readonly Piece[];
  readonly #last: readonly Piece[];
  readonly #pronouns: readonly Piece[];
  readonly #months: readonly Piece[];
  readonly #days: readonly Piece[];
  readonly #years: readonly Piece[];
  readonly #birthCities: readonly Piece[];
  readonly #universities: readonly Piece[];
  readonly #majors: readonly Piece[];
  readonly #employers: readonly Piece[];
  readonly #seats: readonly Piece[];
  readonly #sentences: readonly (readonly SentencePieces[])[];
  readonly #tag: Piece;
  readonly #pieces: Piece[] = [];
  readonly #order: number[] = [];

  constructor(form: BioForm, tokenizer: Tokenizer, tag: string) {
    const piece = (text: string): Piece => ({ text, tokens: tokenizer.encode(text) });
    const inside = (pool: readonly string[]): Piece[] => pool.map((text) => piece(` ${text}`));
    this.#tag = piece(tag);
    this.#first = form.first.map(piece);
    this.#middle = inside(form.middle);
    this.#last = inside(form.last);
    this.#pronouns = inside(PRONOUNS);
    this.#months = inside(form.months);
    this.#days = inside(form.days);
    this.#years = inside(form.years);
    this.#birthCities = inside(form.birthCities);
    this.#universities = inside(form.universities);
    this.#majors = inside(form.majors);
    this.#employers = inside(form.employers);
    this.#seats = inside(form.seats);
    this.#sentences = ATTRIBUTES.map((attribute) =>
      form.templates[attribute].map(({ before, after }) => ({ before: piece(before), after: piece(after) })),
    );
    const lengths = this.#lengths();
    this.meanTokens = lengths.reduce((sum, part) => sum + mean(part), this.#tag.tokens.length);
    this.minTokens = lengths.reduce((sum, part) => sum + Math.min(...part), this.#tag.tokens.length);
  }

  write(index: number, person: number, draw: PersonDraw, rng: Rng): Sample {
    const pieces = this.#pieces;
    const spans: Span[] = [];
    pieces.length = 0;
    let nToken = 0;
    let nText = 0;
    const add = (piece: Piece): void => {
      pieces.push(piece);
      nToken += piece.tokens.length;
      nText += piece.text.length;
    };
    const label = (label: string, start: number, textStart: number): void => {
      spans.push({ label, start, end: nToken, textStart, textEnd: nText });
    };

    this.#shuffleOrder(rng);
    for (let i = 0; i < this.#order.length; i++) {
      const attribute = this.#order[i]!;
      if (i === 0) {
        add(this.#tag);
        const [start, textStart] = [nToken, nText];
        add(this.#first[draw.first]!);
        add(this.#middle[draw.middle]!);
        add(this.#last[draw.last]!);
        label('name', start, textStart);
      } else {
        const [start, textStart] = [nToken, nText + 1];
        add(this.#pronouns[draw.pronoun]!);
        if (i === 1) label('pronoun', start, textStart);
      }
      const sentence = rng.pick(this.#sentences[attribute]!);
      add(sentence.before);
      const [start, textStart] = [nToken, nText + 1];
      this.#addValue(ATTRIBUTES[attribute]!, draw, add);
      label(ATTRIBUTES[attribute]!, start, textStart);
      add(sentence.after);
    }

    const tokens = new Int32Array(nToken);
    let text = '';
    let at = 0;
    for (const piece of pieces) {
      // Pieces have one to a few tokens: a loop beats TypedArray.set.
      for (let i = 0; i < piece.tokens.length; i++) tokens[at++] = piece.tokens[i]!;
      text += piece.text;
    }
    return { index, text, tokens, spans, group: person };
  }

  #addValue(attribute: Attribute, draw: PersonDraw, add: (piece: Piece) => void): void {
    switch (attribute) {
      case 'birthDate':
        add(this.#months[draw.month]!);
        add(this.#days[draw.day]!);
        add(this.#years[draw.year]!);
        break;
      case 'birthCity':
        add(this.#birthCities[draw.birthCity]!);
        break;
      case 'university':
        add(this.#universities[draw.university]!);
        break;
      case 'major':
        add(this.#majors[draw.major]!);
        break;
      case 'employer':
        add(this.#employers[draw.employer]!);
        break;
      case 'workCity':
        add(this.#seats[draw.employer]!);
        break;
    }
  }

  #shuffleOrder(rng: Rng): void {
    const order = this.#order;
    for (let i = 0; i < ATTRIBUTES.length; i++) order[i] = i;
    rng.shuffle(order);
  }

  /** Token counts of the choices for each part of a biography; each choice of a part is as likely as the others. */
  #lengths(): number[][] {
    const count = (pool: readonly Piece[]): number[] => pool.map(({ tokens }) => tokens.length);
    const pronouns = Array.from({ length: ATTRIBUTES.length - 1 }, () => this.#pronouns);
    const names = [this.#first, this.#middle, this.#last];
    const dates = [this.#months, this.#days, this.#years];
    const values = [this.#birthCities, this.#universities, this.#majors, this.#employers, this.#seats];
    return [
      ...[...names, ...pronouns, ...dates, ...values].map(count),
      ...this.#sentences.map((pool) => pool.map(({ before, after }) => before.tokens.length + after.tokens.length)),
    ];
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
