// Writes problems and solutions as text and tokens at once, from pieces that were encoded before.
import type { LiteralTokenizer } from '../literal-tokenizer.js';
import type { Span } from '../sample.js';
import type { Tokenizer } from '../tokenizer.js';
import type { TemplateFamily } from './family.js';
import { type Naming, parameterPattern } from './naming.js';
import { type Pattern, pattern } from './pattern.js';
import type { Problem, Rule } from './problem.js';
import { type Solution, type Step, symbolValues } from './solution.js';

/** Tokens around the parts of a document; they have no text. */
export interface Marks {
  readonly problem: number;
  readonly solution: number;
  readonly answer: number;
}

/** Where the question stands. */
export type Layout = 'pq' | 'qp';

/** A sentence of a solution: a definition or a mistake that is taken back. */
export interface SolutionSentence {
  readonly parameter: number;
  readonly retry: boolean;
  /** Tokens [start, end), with the full stop. */
  readonly start: number;
  readonly end: number;
  /** Tokens of the parameter's name. */
  readonly nameStart: number;
  readonly nameEnd: number;
}

/** A document as it was written. */
export interface Written {
  readonly prompt: string;
  readonly solution: string;
  readonly tokens: Int32Array;
  readonly spans: readonly Span[];
  readonly sentences: readonly SolutionSentence[];
  /** Token behind the mark that begins the solution. */
  readonly solutionStart: number;
}

interface Piece {
  readonly text: string;
  readonly tokens: Int32Array;
}

/** A pattern whose literals are pieces. A slot brings its space along, so a literal in front of one ends without. */
interface PiecePattern {
  readonly literals: readonly Piece[];
  readonly slots: readonly string[];
}

interface FamilyPieces {
  readonly parameter: PiecePattern;
  readonly each: Piece;
  readonly statement: PiecePattern;
  readonly question: PiecePattern;
  readonly more: PiecePattern;
  readonly times: PiecePattern;
  readonly sum: PiecePattern;
  readonly difference: PiecePattern;
}

/** Writes with one tokenizer; pieces are encoded at their first use. */
export class ProblemWriter {
  readonly #tokenizer: Tokenizer;
  readonly #marks: Marks;
  readonly #pieces = new Map<string, Piece>();
  readonly #families = new Map<TemplateFamily, FamilyPieces>();
  readonly #numbers: Piece[] = [];
  /** The token of a text that is one; undefined for tokenizers of pieces of words. */
  readonly #tokenOf: ((literal: string) => number | undefined) | undefined;
  #tokens = new Int32Array(4096);
  #nToken = 0;
  #text = '';
  #spans: Span[] = [];
  #names: FamilyPieces | undefined;
  #items: Piece[][] = [];
  #layers: Piece[] = [];
  #problem!: Problem;

  constructor(tokenizer: Tokenizer, marks: Marks) {
    this.#tokenizer = tokenizer;
    this.#marks = marks;
    const { tokenOf } = tokenizer as Partial<LiteralTokenizer>;
    this.#tokenOf = tokenOf?.bind(tokenizer as LiteralTokenizer);
  }

  /**
   * `mark problem mark solution mark answer`, without an end of text.
   *
   * @param letters by symbol of the solution.
   * @param retries by definition: parameters that are tried in front of it and taken back.
   */
  write(
    problem: Problem,
    naming: Naming,
    solution: Solution,
    letters: readonly string[],
    layout: Layout,
    retries: readonly (readonly number[])[] | undefined,
  ): Written {
    this.#begin(problem, naming);
    this.#mark(this.#marks.problem);
    if (layout === 'qp') this.#question(naming);
    this.#statements();
    if (layout === 'pq') this.#question(naming);
    this.#mark(this.#marks.solution);
    const [promptEnd, solutionStart] = [this.#text.length, this.#nToken];
    const sentences = this.#solution(solution, letters, retries);
    const solutionEnd = this.#text.length;
    this.#mark(this.#marks.answer);
    const [start, textStart] = [this.#nToken, this.#text.length];
    this.#add(this.#number(problem.values[problem.query]!));
    this.#span('answer', start, textStart);
    const text = this.#text;
    return {
      prompt: text.slice(0, promptEnd),
      solution: text.slice(promptEnd, solutionEnd),
      tokens: this.#tokens.slice(0, this.#nToken),
      spans: this.#spans,
      sentences,
      solutionStart,
    };
  }

  #begin(problem: Problem, naming: Naming): void {
    this.#nToken = 0;
    this.#text = '';
    this.#spans = [];
    this.#problem = problem;
    this.#names = this.#familyPieces(naming.family);
    this.#items = naming.items.map((items) => items.map((item) => this.#piece(` ${item}`)));
    this.#layers = naming.layers.map((layer) => this.#piece(` ${layer}`));
  }

  #statements(): void {
    const { literals, slots } = this.#names!.statement;
    const stop = this.#piece('.');
    for (const parameter of this.#problem.statements) {
      const [start, textStart] = [this.#nToken, this.#text.length];
      for (let x = 0; x < slots.length; x++) {
        this.#add(literals[x]!);
        if (slots[x] === 'parameter') this.#name(parameter);
        else this.#rule(this.#problem.rules[parameter]!);
      }
      this.#add(literals[slots.length]!);
      this.#add(stop);
      this.#span('statement', start, textStart);
    }
  }

  #question({ items, layers }: Naming): void {
    const { query, index } = this.#problem;
    const [i, j, k] = [index.layer[query]!, index.item[query]!, index.target[query]!];
    const { literals, slots } = this.#names!.question;
    const [start, textStart] = [this.#nToken, this.#text.length];
    for (let x = 0; x < slots.length; x++) {
      this.#add(literals[x]!);
      const name = slots[x] === 'owner' ? items[i]![j]! : query < index.nPair ? items[i + 1]![k]! : layers[k]!;
      this.#add(this.#piece(` ${name}`));
    }
    this.#add(literals[slots.length]!);
    this.#span('question', start, textStart);
  }

  #rule({ constant, times, difference, operands }: Rule): void {
    const names = this.#names!;
    const rest = (): void => {
      if (operands.length === 1) {
        this.#reference(operands[0]!);
      } else if (difference) {
        const { literals } = names.difference;
        this.#add(literals[0]!);
        this.#reference(operands[0]!);
        this.#add(literals[1]!);
        this.#reference(operands[1]!);
      } else {
        this.#add(names.sum.literals[0]!);
        for (let x = 0; x < operands.length; x++) {
          if (x > 0) this.#add(this.#piece(x === operands.length - 1 ? ' and' : ','));
          this.#reference(operands[x]!);
        }
      }
    };
    if (constant < 0) {
      rest();
    } else if (operands.length === 0) {
      this.#add(this.#number(constant));
    } else {
      const { literals, slots } = times ? names.times : names.more;
      for (let x = 0; x < 2; x++) {
        this.#add(literals[x]!);
        if (slots[x] === 'constant') this.#add(this.#number(constant));
        else rest();
      }
      this.#add(literals[2]!);
    }
  }

  #reference(parameter: number): void {
    this.#add(this.#names!.each);
    this.#name(parameter);
  }

  #name(parameter: number): void {
    const { index } = this.#problem;
    const { literals, slots } = this.#names!.parameter;
    const [i, j, k] = [index.layer[parameter]!, index.item[parameter]!, index.target[parameter]!];
    const owner = this.#items[i]![j]!;
    const owned = parameter < index.nPair ? this.#items[i + 1]![k]! : this.#layers[k]!;
    const [first, second] = slots[0] === 'owner' ? [owner, owned] : [owned, owner];
    const whole = this.#wholeName(first, literals[1]!, second);
    if (whole !== undefined) {
      this.#add(whole);
      return;
    }
    this.#add(literals[0]!);
    this.#add(first);
    this.#add(literals[1]!);
    this.#add(second);
    this.#add(literals[2]!);
  }

  /** The name as one token, where the vocabulary has names. */
  #wholeName(first: Piece, between: Piece, second: Piece): Piece | undefined {
    if (this.#tokenOf === undefined) return undefined;
    const text = `${first.text}${between.text}${second.text}`;
    return this.#tokenOf(text) === undefined ? undefined : this.#piece(text);
  }

  #solution(
    solution: Solution,
    letters: readonly string[],
    retries: readonly (readonly number[])[] | undefined,
  ): SolutionSentence[] {
    const [define, as, stop, semicolon] = [' Define', ' as', '.', ';'].map((text) => this.#piece(text)) as [
      Piece,
      Piece,
      Piece,
      Piece,
    ];
    const back = this.#piece(' BACK');
    const so = this.#piece(' so');
    const symbols = letters.map((letter) => this.#piece(` ${letter}`));
    const values = symbolValues(solution, this.#problem.modulus);
    const sentences: SolutionSentence[] = [];
    const sentence = (parameter: number, retry: boolean, rest: () => void): void => {
      const [start, textStart] = [this.#nToken, this.#text.length];
      this.#add(define);
      const nameStart = this.#nToken;
      this.#name(parameter);
      const nameEnd = this.#nToken;
      this.#add(as);
      rest();
      this.#add(stop);
      this.#span(retry ? 'retry' : 'definition', start, textStart);
      sentences.push({ parameter, retry, start, end: this.#nToken, nameStart, nameEnd });
    };
    for (let t = 0; t < solution.definitions.length; t++) {
      const { parameter, symbol, steps } = solution.definitions[t]!;
      for (const wrong of retries?.[t] ?? []) sentence(wrong, true, () => this.#add(back));
      sentence(parameter, false, () => {
        this.#add(symbols[symbol]!);
        for (let x = 0; x < steps.length; x++) {
          this.#add(semicolon);
          if (x === steps.length - 1) this.#add(so);
          this.#step(steps[x]!, symbols, values);
        }
      });
    }
    return sentences;
  }

  #step({ symbol, operator, left, right }: Step, symbols: readonly Piece[], values: Int32Array): void {
    const equals = this.#piece(' =');
    const name = (operand: number): Piece => (operand < 0 ? this.#number(-1 - operand) : symbols[operand]!);
    const value = (operand: number): Piece => this.#number(operand < 0 ? -1 - operand : values[operand]!);
    this.#add(symbols[symbol]!);
    this.#add(equals);
    if (operator !== 'constant') {
      this.#add(name(left));
      if (operator !== 'copy') {
        const sign = this.#piece(` ${operator}`);
        this.#add(sign);
        this.#add(name(right));
        this.#add(equals);
        this.#add(value(left));
        this.#add(sign);
        this.#add(value(right));
      }
      this.#add(equals);
    }
    this.#add(this.#number(values[symbol]!));
  }

  #mark(token: number): void {
    this.#room(1);
    this.#tokens[this.#nToken++] = token;
  }

  #add({ text, tokens }: Piece): void {
    const n = tokens.length;
    if (n === 0) return;
    this.#room(n);
    // Pieces have one to a few tokens: a loop beats TypedArray.set.
    for (let x = 0; x < n; x++) this.#tokens[this.#nToken + x] = tokens[x]!;
    this.#nToken += n;
    this.#text += text;
  }

  #room(n: number): void {
    if (this.#nToken + n <= this.#tokens.length) return;
    const larger = new Int32Array(2 * this.#tokens.length);
    larger.set(this.#tokens);
    this.#tokens = larger;
  }

  /** Labels what was added since; the space in front belongs to no span. */
  #span(label: string, start: number, textStart: number): void {
    this.#spans.push({ label, start, end: this.#nToken, textStart: textStart + 1, textEnd: this.#text.length });
  }

  #number(value: number): Piece {
    this.#numbers[value] ??= this.#piece(` ${value}`);
    return this.#numbers[value];
  }

  #piece(text: string): Piece {
    const known = this.#pieces.get(text);
    if (known !== undefined) return known;
    const made = { text, tokens: text === '' ? new Int32Array() : this.#tokenizer.encode(text) };
    this.#pieces.set(text, made);
    return made;
  }

  #familyPieces(family: TemplateFamily): FamilyPieces {
    const known = this.#families.get(family);
    if (known !== undefined) return known;
    const { patterns } = family;
    const made: FamilyPieces = {
      parameter: this.#piecePattern(parameterPattern(family)),
      each: this.#piece(spaced(patterns.each)),
      statement: this.#piecePattern(pattern(patterns.statement)),
      question: this.#piecePattern(pattern(patterns.question)),
      more: this.#piecePattern(pattern(patterns.more)),
      times: this.#piecePattern(pattern(patterns.times)),
      sum: this.#piecePattern(pattern(patterns.sum)),
      difference: this.#piecePattern(pattern(patterns.difference)),
    };
    this.#families.set(family, made);
    return made;
  }

  #piecePattern({ literals, slots }: Pattern): PiecePattern {
    return {
      slots,
      literals: literals.map((literal, x) => this.#piece(x === 0 ? spaced(literal) : literal.trimEnd())),
    };
  }
}

/** Words with a space in front instead of behind. */
function spaced(literal: string): string {
  const words = literal.trim();
  return words === '' ? '' : ` ${words}`;
}
