// iGSM as documents: fresh problems with their solutions, labels and loss masks. Document i depends on the seed and i alone.
import { ConfigError, type ConfigProblem, DataError, invariant, nearest, Rng } from '@physlm/base';
import type { DocumentSource, Sample } from '../sample.js';
import type { Tokenizer } from '../tokenizer.js';
import { drawProblem, type ProblemWish, type SolvedProblem } from './draw-problem.js';
import { type FamilyName, type TemplateFamily, templateFamily } from './family.js';
import { drawNaming, type Naming } from './naming.js';
import { drawRetries, RETRY_KINDS, RETRY_MASKS, type Retry } from './retry.js';
import { type Buckets, LETTERS } from './template.js';
import { type Level, type LevelName, levelNamed, VARIANTS, type Variant } from './variant.js';
import { marksOf } from './vocabulary.js';
import { type Layout, ProblemWriter, type SolutionSentence, type Written } from './writer.js';

/** Documents that are written to know how long they are. */
const N_MEASURED = 128;

/** Problems that are thrown away for their length before the limit counts as too low. */
const N_TOO_LONG = 2_000;

/** How a solution chooses the letters of its symbols. */
export const LETTER_ORDERS = ['random', 'successive'] as const;
export type LetterOrder = (typeof LETTER_ORDERS)[number];

/** What problems are wanted; everything but tokenizer and seed has the papers' value when absent. */
export interface IgsmOptions {
  readonly tokenizer: Tokenizer;
  readonly seed: number;
  /** 'med' when absent. */
  readonly level?: LevelName | Pick<Level, 'opMax' | 'ipMax'>;
  /** Arithmetic is modulo this; 23 when absent. */
  readonly modulus?: number;
  /** Operations of every problem, also beyond the level's; natural ones when absent. */
  readonly op?: number;
  /** Ask for another parameter of the finished problem. */
  readonly reask?: boolean;
  /** Template families, one of which is drawn for each document; 'numbers' when absent. */
  readonly families?: readonly (FamilyName | TemplateFamily)[];
  /** Question behind (pq) or before (qp) the problem; pq when absent. */
  readonly layout?: Layout;
  /** Which solution templates may occur; 'all' when absent. */
  readonly buckets?: Buckets;
  /** Which side of each difference between papers and released code; the code's when absent. */
  readonly variant?: Partial<Variant>;
  readonly retry?: Retry;
  /**
   * Letters of a solution: 'random' ones (the papers), or 'successive' ones of the alphabet from a random one on, which leaves a small
   * model less to guess; 'random' when absent.
   */
  readonly letters?: LetterOrder;
  /** What is learned: 'all' (the papers), or the 'solution' and answer only. */
  readonly loss?: 'all' | 'solution';
  /** Problems whose tokens and end of text exceed this are left out; none when absent. */
  readonly nCtx?: number;
}

/** A document with the problem that it states. */
export interface IgsmSample extends Sample {
  /** The problem with its question, as a model reads it. */
  readonly prompt: string;
  readonly solutionText: string;
  readonly answer: number;
  readonly problem: SolvedProblem['problem'];
  readonly naming: Naming;
  /** The shortest solution, without mistakes. */
  readonly solution: SolvedProblem['solution'];
  /** Operations of the solution. */
  readonly op: number;
  /** Bucket of the solution's template. */
  readonly bucket: number;
  /** Sentences of the solution, with its mistakes. */
  readonly sentences: readonly SolutionSentence[];
  /** First token of the solution. */
  readonly solutionStart: number;
}

/** Endless fresh problems; see `igsm`. */
export interface Igsm extends DocumentSource {
  readonly tokenizer: Tokenizer;
  readonly families: readonly TemplateFamily[];
  document(index: number): IgsmSample;
}

/**
 * Endless iGSM problems with their shortest solutions: `mark problem mark solution mark answer`; the text has no marks.
 * Spans: `statement` and `question`, `definition` and `retry` for sentences of the solution, `answer`.
 *
 * One seed gives the same problems with and without retry data.
 *
 * @throws ConfigError when an option is out of range. @throws DataError when no such problem exists.
 * @see Ye et al. 2024, arXiv:2407.20311 and arXiv:2408.16293.
 */
export function igsm(options: IgsmOptions): Igsm {
  const { tokenizer, seed, families: named = ['numbers'], layout = 'pq', retry, loss = 'all', nCtx } = options;
  const order = options.letters ?? 'random';
  const wish = wishOf(options);
  const families = named.map((one) => (typeof one === 'string' ? templateFamily(one) : one));
  checkRetry(retry);
  if (!LETTER_ORDERS.includes(order)) {
    const expected = `one of ${LETTER_ORDERS.join(', ')}`;
    throw new ConfigError([
      { path: 'igsm.letters', expected, got: `'${order}'`, nearest: nearest(order, LETTER_ORDERS) },
    ]);
  }
  if (families.length === 0) throw new ConfigError([{ path: 'igsm.families', expected: 'at least one', got: 'none' }]);

  const writer = new ProblemWriter(tokenizer, marksOf(tokenizer));
  const root = new Rng(seed).fork('igsm');
  const problems = root.fork('problems');
  const mistakes = root.fork('retries');

  function draw(index: number, rng: Rng): { solved: SolvedProblem; naming: Naming; written: Written } {
    for (let tries = 0; tries < N_TOO_LONG; tries++) {
      const solved = drawProblem(rng, wish);
      const { problem, solution } = solved;
      const naming = drawNaming(rng, families.length === 1 ? families[0]! : rng.pick(families), problem.index.widths);
      const letters = drawLetters(rng, solution.op, order);
      const retries = retry && drawRetries(mistakes.at(index), problem, solution, retry, wish.variant.retryWeak);
      const written = writer.write(problem, naming, solution, letters, layout, retries);
      if (nCtx === undefined || written.tokens.length < nCtx) return { solved, naming, written };
    }
    const got = `${N_TOO_LONG} longer ones in a row`;
    throw new DataError('igsm', `problems of up to ${nCtx} tokens`, got, 'Use a larger nCtx or fewer operations.');
  }

  function document(index: number): IgsmSample {
    if (!Number.isSafeInteger(index) || index < 0) {
      throw new DataError('igsm.document', 'an integer from 0', `${index}`);
    }
    const { solved, naming, written } = draw(index, problems.at(index));
    const { problem, solution, bucket } = solved;
    const { tokens, spans, sentences, solutionStart } = written;
    const answer = problem.values[problem.query]!;
    const masked = maskedTokens(sentences, loss === 'solution' ? solutionStart : 0, retry);
    return {
      index,
      text: `${written.prompt}${written.solution} ${answer}`,
      tokens,
      spans,
      ...(masked.length > 0 && { masked }),
      prompt: written.prompt,
      solutionText: written.solution,
      answer,
      problem,
      naming,
      solution,
      op: solution.op,
      bucket,
      sentences,
      solutionStart,
    };
  }

  // The longest problems are the first that may not exist, so they are asked for before any that does.
  if (wish.op === undefined) drawProblem(root.fork('possible'), { ...wish, op: wish.level.opMax });
  let [total, least] = [0, Number.POSITIVE_INFINITY];
  const measured = root.fork('lengths');
  for (let i = 0; i < N_MEASURED; i++) {
    const { length } = draw(i, measured.at(i)).written.tokens;
    total += length;
    least = Math.min(least, length);
  }
  invariant(least > 0, 'documents have tokens');
  const name = `igsm-${families.map((family) => family.name).join('-')}`;
  return { name, tokenizer, families, nGroup: 1, meanTokens: total / N_MEASURED, document };
}

function drawLetters(rng: Rng, n: number, order: LetterOrder): string[] {
  if (order === 'successive') {
    const first = rng.below(LETTERS.length);
    return Array.from({ length: n }, (_, x) => LETTERS[(first + x) % LETTERS.length]!);
  }
  const letters = [...LETTERS];
  for (let x = 0; x < n; x++) {
    const at = x + rng.below(letters.length - x);
    [letters[x], letters[at]] = [letters[at]!, letters[x]!];
  }
  letters.length = n;
  return letters;
}

function maskedTokens(
  sentences: readonly SolutionSentence[],
  promptEnd: number,
  retry: Retry | undefined,
): { start: number; end: number }[] {
  const masked = promptEnd > 0 ? [{ start: 0, end: promptEnd }] : [];
  const mask = retry?.mask ?? 'none';
  if (mask === 'none') return masked;
  for (const { retry: wrong, start, end, nameStart, nameEnd } of sentences) {
    if (!wrong) continue;
    // `BACK` and the full stop stay, however many tokens they are: ` as` is one in every vocabulary.
    invariant(nameEnd + 1 < end, 'a mistake ends in its BACK');
    masked.push(mask === 'name' ? { start: nameStart, end: nameEnd } : { start, end: nameEnd + 1 });
  }
  return masked;
}

/** The level, filled in: windows of own levels are not limited. */
function wishOf(options: IgsmOptions): ProblemWish {
  const { level = 'med', modulus = 23, op, reask = false, buckets = 'all', variant = {} } = options;
  const { opMax, ipMax } = typeof level === 'string' ? levelNamed(level) : level;
  const problems: ConfigProblem[] = [];
  const check = (path: string, value: number, low: number, high: number): void => {
    if (Number.isInteger(value) && value >= low && value <= high) return;
    problems.push({ path: `igsm.${path}`, expected: `an integer in ${low} … ${high}`, got: `${value}` });
  };
  check('opMax', opMax, 1, LETTERS.length);
  check('ipMax', ipMax, 2, 48);
  check('modulus', modulus, 2, 1000);
  if (op !== undefined) check('op', op, 1, LETTERS.length);
  if (options.nCtx !== undefined) check('nCtx', options.nCtx, 1, 2 ** 31);
  if (problems.length > 0) throw new ConfigError(problems);
  return {
    level: { opMax, ipMax, nCtx: 0 },
    modulus,
    ...(op !== undefined && { op }),
    reask,
    buckets,
    variant: { ...VARIANTS.code, ...variant },
  };
}

function checkRetry(retry: Retry | undefined): void {
  if (retry === undefined) return;
  const problems: ConfigProblem[] = [];
  const { kind, rate, mask = 'none' } = retry;
  if (!RETRY_KINDS.includes(kind)) {
    const expected = `one of ${RETRY_KINDS.join(', ')}`;
    problems.push({ path: 'igsm.retry.kind', expected, got: `'${kind}'`, nearest: nearest(kind, RETRY_KINDS) });
  }
  if (!(rate >= 0 && rate <= 1)) {
    problems.push({ path: 'igsm.retry.rate', expected: 'a number in 0 … 1', got: `${rate}` });
  }
  if (!RETRY_MASKS.includes(mask)) {
    const expected = `one of ${RETRY_MASKS.join(', ')}`;
    problems.push({ path: 'igsm.retry.mask', expected, got: `'${mask}'`, nearest: nearest(mask, RETRY_MASKS) });
  }
  if (problems.length > 0) throw new ConfigError(problems);
}
