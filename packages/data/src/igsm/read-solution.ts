// One sentence of a solution, taken apart: `Define name as v; t = a + b = 1 + 2 = 3; so v = 4 * t = 4 * 3 = 12`.

/** Kinds of mistakes in solutions. */
export type SolutionFault =
  | 'form'
  | 'unfinished'
  | 'empty'
  | 'unknown parameter'
  | 'duplicate symbol'
  | 'undefined symbol'
  | 'wrong number'
  | 'wrong arithmetic'
  | 'wrong parents'
  | 'wrong rule'
  | 'wrong question'
  | 'wrong answer'
  | 'too few operations';

/** `symbol = left operator right = leftNumber operator rightNumber = result`. Letters are character codes; −1 is a number. */
export interface WrittenStep {
  readonly symbol: number;
  readonly operator: '+' | '-' | '*' | 'copy' | 'constant';
  readonly left: number;
  readonly right: number;
  /** As written; for a letter without a number beside it, −1. */
  readonly leftNumber: number;
  readonly rightNumber: number;
  readonly result: number;
}

/** A sentence without its full stop. */
export class Sentence {
  name = '';
  /** The letter that stands for the parameter. */
  symbol = -1;
  readonly steps: WrittenStep[] = [];
  /** What is wrong with its form; undefined when nothing. */
  readonly fault: string | undefined;
  readonly #text: string;
  #at: number;

  /** Reads text[start, end). */
  constructor(text: string, start: number, end: number) {
    this.#text = text;
    this.#at = start;
    this.fault = this.#read(end);
  }

  #read(end: number): string | undefined {
    const text = this.#text;
    if (!text.startsWith('Define ', this.#at)) return "a sentence begins with 'Define'";
    let semicolon = text.indexOf('; ', this.#at);
    if (semicolon < 0 || semicolon > end) return 'a definition has its computation behind a semicolon';
    this.symbol = text.charCodeAt(semicolon - 1);
    if (!isLetter(this.symbol) || !text.startsWith(' as ', semicolon - 5))
      return "a definition begins 'Define … as' and one letter";
    this.name = text.slice(this.#at + 7, semicolon - 5);
    do {
      this.#at = semicolon + 2;
      semicolon = text.indexOf('; ', this.#at);
      const last = semicolon < 0 || semicolon > end;
      if (text.startsWith('so ', this.#at) !== last) return "the last step, and no other, begins with 'so'";
      if (last) {
        this.#at += 3;
        semicolon = end;
      }
      const step = this.#step(semicolon);
      if (step === undefined)
        return `a step is 'letter = … = number', not '${text.slice(this.#at, semicolon).slice(0, 80)}'`;
      this.steps.push(step);
    } while (semicolon < end);
    return this.steps.at(-1)!.symbol === this.symbol
      ? undefined
      : 'the last step computes another letter than was announced';
  }

  /** Reads text[at, end); undefined when it has another form. Leaves the place on failure. */
  #step(end: number): WrittenStep | undefined {
    const start = this.#at;
    const step = this.#binary(end);
    if (step === undefined || this.#at !== end) {
      this.#at = start;
      return undefined;
    }
    return step;
  }

  #binary(end: number): WrittenStep | undefined {
    const text = this.#text;
    const symbol = this.#letter();
    if (symbol < 0 || !this.#equals()) return undefined;
    const left = this.#letter();
    const first = left < 0 ? this.#number() : -1;
    if (left < 0 && first < 0) return undefined;
    if (this.#at === end) {
      if (left >= 0) return undefined;
      return { symbol, operator: 'constant', left, right: -1, leftNumber: first, rightNumber: -1, result: first };
    }
    const operator = text[this.#at + 1]!;
    if (operator === '=') {
      if (left < 0 || !this.#equals()) return undefined;
      const result = this.#number();
      return result < 0
        ? undefined
        : { symbol, operator: 'copy', left, right: -1, leftNumber: -1, rightNumber: -1, result };
    }
    if ((operator !== '+' && operator !== '-' && operator !== '*') || !this.#sign(operator)) return undefined;
    const right = this.#letter();
    const second = right < 0 ? this.#number() : -1;
    if ((right < 0 && second < 0) || !this.#equals()) return undefined;
    const leftNumber = this.#number();
    if (leftNumber < 0 || !this.#sign(operator)) return undefined;
    const rightNumber = this.#number();
    if (rightNumber < 0 || !this.#equals()) return undefined;
    const result = this.#number();
    if (result < 0 || (left < 0 && first !== leftNumber) || (right < 0 && second !== rightNumber)) return undefined;
    return { symbol, operator, left, right, leftNumber, rightNumber, result };
  }

  /** A letter on its own; −1 when there is none. */
  #letter(): number {
    const code = this.#text.charCodeAt(this.#at);
    if (!isLetter(code)) return -1;
    this.#at++;
    return code;
  }

  /** A number of up to six digits; −1 when there is none. */
  #number(): number {
    let number = 0;
    const start = this.#at;
    for (let code = this.#text.charCodeAt(start); code >= 48 && code <= 57; code = this.#text.charCodeAt(this.#at)) {
      number = number * 10 + code - 48;
      this.#at++;
    }
    return this.#at === start || this.#at > start + 6 ? -1 : number;
  }

  #equals(): boolean {
    return this.#sign('=');
  }

  #sign(sign: string): boolean {
    const text = this.#text;
    const found = text[this.#at] === ' ' && text[this.#at + 1] === sign && text[this.#at + 2] === ' ';
    if (found) this.#at += 3;
    return found;
  }
}

function isLetter(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90);
}
