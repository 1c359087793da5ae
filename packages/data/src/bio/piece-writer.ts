import type { Sample, Span } from '../sample.js';
import type { Tokenizer } from '../tokenizer.js';
import { ATTRIBUTES, type BioForm, PRONOUNS } from './form.js';
import type { PersonDraw } from './population.js';

/** A stretch of text that encodes to the same tokens wherever it stands. */
export interface Piece {
  readonly text: string;
  readonly tokens: Int32Array;
}

/** `text` as a piece. It opens a document, or starts with a space or a punctuation mark. */
export function pieceOf(text: string, tokenizer: Tokenizer): Piece {
  return { text, tokens: tokenizer.encode(text) };
}

/** A sentence around its value. */
export interface SentencePieces {
  readonly before: Piece;
  readonly after: Piece;
}

/** Joins pieces that were encoded once into a sample: a document costs no more than copying its tokens. */
export class PieceWriter {
  nToken = 0;
  nText = 0;
  readonly #pieces: Piece[] = [];
  #spans: Span[] = [];

  add(piece: Piece): void {
    this.#pieces.push(piece);
    this.nToken += piece.tokens.length;
    this.nText += piece.text.length;
  }

  /** Labels everything since these places. */
  label(label: string, start: number, textStart: number): void {
    this.#spans.push({ label, start, end: this.nToken, textStart, textEnd: this.nText });
  }

  /** The sample written so far; the writer starts a new one. */
  finish(index: number, group: number): Sample {
    const tokens = new Int32Array(this.nToken);
    let text = '';
    let at = 0;
    for (const piece of this.#pieces) {
      // Pieces have one to a few tokens: a loop beats TypedArray.set.
      for (let i = 0; i < piece.tokens.length; i++) tokens[at++] = piece.tokens[i]!;
      text += piece.text;
    }
    const spans = this.#spans;
    this.#pieces.length = 0;
    this.#spans = [];
    this.nToken = 0;
    this.nText = 0;
    return { index, text, tokens, spans, group };
  }
}

/** The names, values and sentences of a form, encoded. */
export class FormPieces {
  /** Without a space: names that open a text. */
  readonly first: readonly Piece[];
  /** With a space: names inside a text, if there are any. */
  readonly firstInside: readonly Piece[];
  readonly middle: readonly Piece[];
  readonly last: readonly Piece[];
  readonly pronouns: readonly Piece[];
  readonly months: readonly Piece[];
  readonly days: readonly Piece[];
  readonly years: readonly Piece[];
  readonly birthCities: readonly Piece[];
  readonly universities: readonly Piece[];
  readonly majors: readonly Piece[];
  readonly employers: readonly Piece[];
  readonly seats: readonly Piece[];
  /** By attribute, in the order of `ATTRIBUTES`. */
  readonly sentences: readonly (readonly SentencePieces[])[];

  /**
   * `namesInside`: whether full names also stand inside a text, as tokens that begin with a space.
   *
   * @throws DataError when the tokenizer cannot write a name, a value or a template of the form.
   */
  constructor(form: BioForm, tokenizer: Tokenizer, { namesInside }: { readonly namesInside: boolean }) {
    const piece = (text: string): Piece => pieceOf(text, tokenizer);
    const inside = (pool: readonly string[]): Piece[] => pool.map((text) => piece(` ${text}`));
    this.first = form.first.map(piece);
    this.firstInside = namesInside ? inside(form.first) : [];
    this.middle = inside(form.middle);
    this.last = inside(form.last);
    this.pronouns = inside(PRONOUNS);
    this.months = inside(form.months);
    this.days = inside(form.days);
    this.years = inside(form.years);
    this.birthCities = inside(form.birthCities);
    this.universities = inside(form.universities);
    this.majors = inside(form.majors);
    this.employers = inside(form.employers);
    this.seats = inside(form.seats);
    this.sentences = ATTRIBUTES.map((attribute) =>
      form.templates[attribute].map(({ before, after }) => ({ before: piece(before), after: piece(after) })),
    );
  }

  /** Writes the full name and labels it `label`. It opens the text, or, with `namesInside`, stands anywhere. */
  name(writer: PieceWriter, draw: PersonDraw, label = 'name'): void {
    const { nToken, nText } = writer;
    const inside = nText > 0 && this.firstInside.length > 0;
    writer.add((inside ? this.firstInside : this.first)[draw.first]!);
    writer.add(this.middle[draw.middle]!);
    writer.add(this.last[draw.last]!);
    writer.label(label, nToken, inside ? nText + 1 : nText);
  }

  /** Writes the pronoun, and labels it `pronoun` if `labelled`. */
  pronoun(writer: PieceWriter, draw: PersonDraw, labelled: boolean): void {
    const { nToken, nText } = writer;
    writer.add(this.pronouns[draw.pronoun]!);
    if (labelled) writer.label('pronoun', nToken, nText + 1);
  }

  /** Writes the value of an attribute, given by its place in `ATTRIBUTES`, and labels it with its name and `suffix`. */
  value(writer: PieceWriter, attribute: number, draw: PersonDraw, suffix = ''): void {
    const { nToken, nText } = writer;
    switch (attribute) {
      case 0:
        writer.add(this.months[draw.month]!);
        writer.add(this.days[draw.day]!);
        writer.add(this.years[draw.year]!);
        break;
      case 1:
        writer.add(this.birthCities[draw.birthCity]!);
        break;
      case 2:
        writer.add(this.universities[draw.university]!);
        break;
      case 3:
        writer.add(this.majors[draw.major]!);
        break;
      case 4:
        writer.add(this.employers[draw.employer]!);
        break;
      case 5:
        writer.add(this.seats[draw.employer]!);
        break;
    }
    writer.label(ATTRIBUTES[attribute]! + suffix, nToken, nText + 1);
  }

  /** Token counts of the choices for each part of a name and of all values; each choice of a part is as likely as the others. */
  lengths(): { readonly name: readonly number[][]; readonly values: readonly number[][] } {
    const count = (pool: readonly Piece[]): number[] => pool.map(({ tokens }) => tokens.length);
    return {
      name: [this.first, this.middle, this.last].map(count),
      values: [
        this.months,
        this.days,
        this.years,
        this.birthCities,
        this.universities,
        this.majors,
        this.employers,
        this.seats,
      ].map(count),
    };
  }
}
