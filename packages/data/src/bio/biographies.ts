import { DataError, Rng } from '@physlm/base';
import { PassOrder } from '../pass-order.js';
import type { DocumentSource, Sample } from '../sample.js';
import type { Tokenizer } from '../tokenizer.js';
import { ATTRIBUTES, type BioForm } from './form.js';
import { FormPieces, type Piece, PieceWriter, pieceOf } from './piece-writer.js';
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
  const { first, n } = requirePeople('biographies', options.people ?? { first: 0, n: population.nPeople }, population);
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

/** @throws DataError when the people are not in the population. */
export function requirePeople(where: string, { first, n }: PeopleRange, { name, nPeople }: Population): PeopleRange {
  const whole = Number.isInteger(first) && Number.isInteger(n);
  if (whole && first >= 0 && n >= 1 && first + n <= nPeople) return { first, n };
  throw new DataError(`${where}(${name}).people`, `people within 0 … ${nPeople - 1}`, `${n} from ${first}`);
}

function requireCount(where: string, index: number): void {
  if (Number.isSafeInteger(index) && index >= 0) return;
  throw new DataError(`biographies.${where}`, 'an integer from 0', `${index}`);
}

/** Writes biographies of one form. */
class Writer {
  readonly meanTokens: number;
  readonly minTokens: number;
  readonly #tag: Piece;
  readonly #pieces: FormPieces;
  readonly #writer = new PieceWriter();
  readonly #order: number[] = [];

  constructor(form: BioForm, tokenizer: Tokenizer, tag: string) {
    this.#tag = pieceOf(tag, tokenizer);
    this.#pieces = new FormPieces(form, tokenizer, { namesInside: false });
    const lengths = this.#lengths();
    this.meanTokens = lengths.reduce((sum, part) => sum + mean(part), this.#tag.tokens.length);
    this.minTokens = lengths.reduce((sum, part) => sum + Math.min(...part), this.#tag.tokens.length);
  }

  write(index: number, person: number, draw: PersonDraw, rng: Rng): Sample {
    const pieces = this.#pieces;
    const writer = this.#writer;
    this.#shuffleOrder(rng);
    for (let i = 0; i < this.#order.length; i++) {
      const attribute = this.#order[i]!;
      if (i === 0) {
        writer.add(this.#tag);
        pieces.name(writer, draw);
      } else {
        pieces.pronoun(writer, draw, i === 1);
      }
      const sentence = rng.pick(pieces.sentences[attribute]!);
      writer.add(sentence.before);
      pieces.value(writer, attribute, draw);
      writer.add(sentence.after);
    }
    return writer.finish(index, person);
  }

  #shuffleOrder(rng: Rng): void {
    const order = this.#order;
    for (let i = 0; i < ATTRIBUTES.length; i++) order[i] = i;
    rng.shuffle(order);
  }

  /** Token counts of the choices for each part of a biography; each choice of a part is as likely as the others. */
  #lengths(): number[][] {
    const { pronouns, sentences } = this.#pieces;
    const { name, values } = this.#pieces.lengths();
    return [
      ...name,
      ...values,
      ...Array.from({ length: ATTRIBUTES.length - 1 }, () => pronouns.map(({ tokens }) => tokens.length)),
      ...sentences.map((pool) => pool.map(({ before, after }) => before.tokens.length + after.tokens.length)),
    ];
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
