import { DataError, Rng } from '@physlm/base';
import { type PeopleRange, requirePeople } from '../bio/biographies.js';
import { ATTRIBUTES } from '../bio/form.js';
import { FormPieces, type Piece, PieceWriter, pieceOf, type SentencePieces } from '../bio/piece-writer.js';
import type { PersonDraw, Population } from '../bio/population.js';
import { PassOrder } from '../pass-order.js';
import type { DocumentSource, Sample } from '../sample.js';
import type { Tokenizer } from '../tokenizer.js';
import { type Augmentation, parseAugmentation } from './augmentation.js';
import { CLOSING, FILLER_SHARE, FILLERS, MERGED, MERGED_SHARE, NOBODY } from './noisy-form.js';
import { type Phrase, phrase } from './phrases.js';

/** The texts about the people of a data set; see `entries`. */
export interface BiographyEntries extends DocumentSource {
  readonly augmentation: Augmentation;
  readonly population: Population;
  /**
   * Text number `entry` about a person, always the same.
   *
   * @throws DataError when there is no such person or entry.
   */
  entry(person: number, entry: number): Sample;
}

/** What `entries` needs besides people. */
export interface EntriesOptions {
  /** As `multi5+permute`; see `parseAugmentation`. */
  readonly augmentation: string | Augmentation;
  readonly tokenizer: Tokenizer;
  readonly seed: number;
  /** Which people of the population are written about; all when absent. */
  readonly people?: PeopleRange;
}

/** Entries of one person that have numbers of their own. */
const MOST_ENTRIES = 2 ** 20;

/**
 * A static data set of biographies: M entries for each person, entry k a pure function of (seed, person, k). Documents come
 * in passes that show every person once, in a new order each pass; M passes in a row show every entry once. So equal
 * numbers of passes are equal numbers of exposures for each person, whatever M is, and no two entries of one person stand
 * near each other.
 *
 * Labels of spans: `name` wherever the full name stands, `pronoun` (the first one), and the attributes.
 *
 * @throws ConfigError when the augmentation is none.
 * @throws DataError when the tokenizer cannot write the texts.
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Section 2 and Appendix A.
 */
export function entries(population: Population, options: EntriesOptions): BiographyEntries {
  const { first, n: nPeople } = requirePeople(
    'entries',
    options.people ?? { first: 0, n: population.nPeople },
    population,
  );
  const augmentation =
    typeof options.augmentation === 'string' ? parseAugmentation(options.augmentation) : options.augmentation;
  const { nEntry } = augmentation;
  const root = new Rng(options.seed).fork('entries');
  const order = new PassOrder(nPeople, root.fork('order'));
  const writer = new EntryWriter(population, augmentation, options.tokenizer, root);
  const lengths = writer.lengths();
  return {
    name: `${population.name} ${augmentation.name}`,
    augmentation,
    population,
    nGroup: nPeople,
    ...lengths,
    groupGap: order.gap,
    document(index) {
      requireIn('entries.document', index, Number.MAX_SAFE_INTEGER);
      const person = first + order.at(index);
      const pass = Math.floor(index / nPeople);
      return writer.write(index, person, nEntry === Number.POSITIVE_INFINITY ? pass : (pass + person) % nEntry);
    },
    entry(person, entry) {
      requireIn('entries.entry', entry, Math.min(nEntry, MOST_ENTRIES));
      return writer.write(entry, person, entry);
    },
  };
}

function requireIn(where: string, index: number, n: number): void {
  if (Number.isSafeInteger(index) && index >= 0 && index < n) return;
  const expected = n === Number.MAX_SAFE_INTEGER ? 'an integer from 0' : `an integer in 0 … ${n - 1}`;
  throw new DataError(where, expected, `${index}`);
}

const PAIRS = [0, 1, 2] as const;

class EntryWriter {
  readonly #pieces: FormPieces;
  readonly #nobody: Piece | undefined;
  readonly #closing: Piece | undefined;
  readonly #stop: Piece;
  readonly #merged: readonly (readonly Phrase[])[];
  readonly #fillers: readonly Piece[];
  readonly #templates: Rng;
  readonly #orders: Rng;
  readonly #noise: Rng;
  readonly #writer = new PieceWriter();
  readonly #order: number[] = [];
  readonly #pairs: number[] = [];
  /** Where the name comes first: the number of the sentence. */
  readonly #nameAt: number;

  constructor(
    private readonly population: Population,
    private readonly augmentation: Augmentation,
    tokenizer: Tokenizer,
    rng: Rng,
  ) {
    const { names, style } = augmentation;
    const noisy = style === 'noisy';
    this.#pieces = new FormPieces(population.form, tokenizer, { namesInside: noisy || names !== 'first' });
    this.#nameAt = names.startsWith('reverse') ? Number(names.slice('reverse'.length)) : 0;
    this.#nobody = this.#nameAt > 0 ? pieceOf(NOBODY, tokenizer) : undefined;
    this.#closing = this.#nameAt === ATTRIBUTES.length ? pieceOf(CLOSING, tokenizer) : undefined;
    this.#stop = pieceOf('.', tokenizer);
    this.#merged = noisy ? MERGED.map((pool) => pool.map((text) => phrase(text, tokenizer))) : [];
    this.#fillers = noisy ? FILLERS.map((text) => pieceOf(text, tokenizer)) : [];
    this.#templates = rng.fork('templates');
    this.#orders = rng.fork('orders');
    this.#noise = rng.fork('noise');
  }

  write(index: number, person: number, entry: number): Sample {
    const { sentences, order, style } = this.augmentation;
    const draw = this.population.draw(person);
    const item = person * MOST_ENTRIES + entry;
    if (style === 'noisy') {
      this.#writeNoisy(draw, this.#noise.at(item));
      return this.#writer.finish(index, person);
    }
    if (order === 'couples') this.#drawPairs(this.#orders.at(item));
    else {
      for (let i = 0; i < ATTRIBUTES.length; i++) this.#order[i] = i;
      if (order === 'permuted') this.#orders.at(item).shuffle(this.#order);
    }
    const rng = this.#templates.at(sentences === 'kept' ? person * MOST_ENTRIES : item);
    // One draw for each attribute whatever the order, so that entries which keep their sentences keep them in any order.
    const chosen = this.#pieces.sentences.map((pool) => rng.pick(pool));
    let nPronoun = 0;
    for (let i = 0; i < this.#order.length; i++) {
      const attribute = this.#order[i]!;
      if (i === this.#nameAt || this.augmentation.names === 'every') this.#pieces.name(this.#writer, draw);
      else if (i === 0) this.#writer.add(this.#nobody!);
      else this.#pieces.pronoun(this.#writer, draw, nPronoun++ === 0);
      this.#sentence(attribute, draw, chosen[attribute]!);
    }
    if (this.#closing !== undefined) {
      this.#writer.add(this.#closing);
      this.#pieces.name(this.#writer, draw);
      this.#writer.add(this.#stop);
    }
    return this.#writer.finish(index, person);
  }

  #sentence(attribute: number, draw: PersonDraw, sentence: SentencePieces): void {
    this.#writer.add(sentence.before);
    this.#pieces.value(this.#writer, attribute, draw);
    this.#writer.add(sentence.after);
  }

  #drawPairs(rng: Rng): void {
    for (const pair of PAIRS) this.#pairs[pair] = pair;
    rng.shuffle(this.#pairs);
    this.#pairs.forEach((pair, i) => {
      this.#order[2 * i] = 2 * pair;
      this.#order[2 * i + 1] = 2 * pair + 1;
    });
  }

  /** Sentences for one fact or two, in any order, with fillers between them; the full name opens the first. */
  #writeNoisy(draw: PersonDraw, rng: Rng): void {
    const plans: { readonly attribute: number; readonly merged?: Phrase }[] = [];
    for (const pair of PAIRS) {
      if (rng.uniform() < MERGED_SHARE) plans.push({ attribute: 2 * pair, merged: rng.pick(this.#merged[pair]!) });
      else plans.push({ attribute: 2 * pair }, { attribute: 2 * pair + 1 });
    }
    rng.shuffle(plans);
    const state = { nSentence: 0, nPronoun: 0 };
    for (const { attribute, merged } of plans) {
      if (rng.uniform() < FILLER_SHARE) {
        this.#noisySubject(draw, rng, state);
        this.#writer.add(rng.pick(this.#fillers));
      }
      this.#noisySubject(draw, rng, state);
      if (merged === undefined) {
        this.#sentence(attribute, draw, rng.pick(this.#pieces.sentences[attribute]!));
        continue;
      }
      for (const part of merged) {
        if (typeof part !== 'string') this.#writer.add(part);
        else this.#pieces.value(this.#writer, (ATTRIBUTES as readonly string[]).indexOf(part), draw);
      }
    }
  }

  #noisySubject(draw: PersonDraw, rng: Rng, state: { nSentence: number; nPronoun: number }): void {
    const choice = rng.below(4);
    if (state.nSentence++ === 0 || this.augmentation.names === 'every') this.#pieces.name(this.#writer, draw);
    else if (choice === 0) this.#writer.add(this.#pieces.firstInside[draw.first]!);
    else if (choice === 1) this.#writer.add(this.#pieces.last[draw.last]!);
    else this.#pieces.pronoun(this.#writer, draw, state.nPronoun++ === 0);
  }

  /** Tokens of an average entry and of the shortest there can be. */
  lengths(): { readonly meanTokens: number; readonly minTokens: number } {
    const { name, values } = this.#pieces.lengths();
    const least = (parts: readonly number[][]): number => parts.reduce((sum, part) => sum + Math.min(...part), 0);
    // Rewrites have no closed form: an average of as many as make it exact to a fraction of a token.
    const { nPeople } = this.population;
    const n = 1000;
    const nEntry = Math.min(this.augmentation.nEntry, MOST_ENTRIES);
    let total = 0;
    for (let i = 0; i < n; i++) total += this.write(i, i % nPeople, Math.floor(i / nPeople) % nEntry).tokens.length;
    const sentences = this.#pieces.sentences.map((pool) =>
      Math.min(...pool.map(({ before, after }) => before.tokens.length + after.tokens.length)),
    );
    const around = this.#merged.length > 0 ? 0 : sentences.reduce((sum, one) => sum + one, 0);
    return { meanTokens: total / n, minTokens: least(name) + least(values) + around };
  }
}
