// Lets a model solve problems, and judges what it wrote: every step must be right.
import { Rng } from '@physlm/base';
import type { Tokenizer } from '@physlm/data';
import { type Igsm, type IgsmSample, type Marks, type SolutionFault, verifySolution } from '@physlm/data/igsm';
import { beamSearch, completions } from '@physlm/eval';
import type { LanguageModel } from '@physlm/model';

/** Kinds of failures: those of a verifier, and of the form of an answer. */
export type Failure = SolutionFault | 'no end' | 'no answer' | 'wrong final answer';

/** What one solution is worth. */
export interface Score {
  readonly correct: boolean;
  /** Null when correct. */
  readonly failure: Failure | null;
  /** A sentence about the first mistake; null when correct. */
  readonly reason: string | null;
  /** Sentence with the first mistake, from 1; null when correct or when it is in no sentence. */
  readonly step: number | null;
  /** Parameters that the answer does not need, and operations beyond the fewest, up to the first mistake. */
  readonly unnecessaryParameters: number;
  readonly unnecessaryOperations: number;
  /** Sentences that were taken back. */
  readonly retries: number;
  /** The solution as text, as far as it goes. */
  readonly solution: string;
  /** The answer as text; null when there is none. */
  readonly answer: string | null;
}

/** A problem's tokens up to the mark that begins its solution, behind the end of the text before. */
export function promptTokens({ tokens, solutionStart }: IgsmSample, eos: number): Int32Array {
  return Int32Array.of(eos, ...tokens.subarray(0, solutionStart));
}

/**
 * Judges what was written behind a problem: a solution, the mark of the answer, the answer. Pure.
 *
 * @param written without the end of text. @param ended whether that came.
 * @see Ye et al. 2024, arXiv:2407.20311, Section 3: every step and the answer must be right.
 */
export function scoreSolution(
  sample: IgsmSample,
  written: ArrayLike<number>,
  ended: boolean,
  { tokenizer, marks, families }: { readonly tokenizer: Tokenizer; readonly marks: Marks } & Pick<Igsm, 'families'>,
): Score {
  const tokens = Array.from(written);
  const at = tokens.indexOf(marks.answer);
  const solution = tokenizer.decode(at < 0 ? tokens : tokens.slice(0, at));
  const answer = at < 0 ? null : tokenizer.decode(tokens.slice(at + 1));
  const verdict = verifySolution(sample.prompt, solution, { modulus: sample.problem.modulus, families });
  const form = !ended
    ? ({ failure: 'no end', reason: 'the solution never ends' } as const)
    : answer === null
      ? ({ failure: 'no answer', reason: 'the solution has no answer behind it' } as const)
      : answer !== ` ${sample.answer}`
        ? ({ failure: 'wrong final answer', reason: `the answer is${answer}, not ${sample.answer}` } as const)
        : undefined;
  // A mistake in a sentence comes before one behind the last.
  const late = verdict.fault === null || verdict.fault === 'unfinished' ? form : undefined;
  return {
    correct: verdict.correct && form === undefined,
    failure: late?.failure ?? verdict.fault,
    reason: late?.reason ?? verdict.reason,
    step: verdict.step,
    unnecessaryParameters: verdict.unnecessaryParameters,
    unnecessaryOperations: Math.max(0, verdict.operations - verdict.necessaryOperations),
    retries: verdict.retries,
    solution,
    answer,
  };
}

/** A problem with what a model made of it. */
export interface Solved extends Score {
  readonly sample: IgsmSample;
  /** What the model wrote behind the prompt, without the end of text. */
  readonly tokens: Int32Array;
}

/** How problems are solved. */
export interface SolveOptions {
  /** Most tokens of a solution. */
  readonly nNew: number;
  /** Hypotheses of a beam, drawn by their probabilities as in the papers; the likeliest token each time when absent. */
  readonly nBeam?: number;
  /** Problems that are solved at once; no result depends on it. */
  readonly batchSize?: number;
}

/** Lets a model solve problems 0 … n − 1 of a source, batch by batch: memory does not grow with n. */
export function* solve(
  model: LanguageModel,
  source: Igsm,
  marks: Marks,
  n: number,
  { nNew, nBeam, batchSize = 128 }: SolveOptions,
): Generator<Solved> {
  const { tokenizer, families } = source;
  const waiting = new Map<number, IgsmSample>();
  const prompt = (index: number): Int32Array => {
    const sample = source.document(index);
    waiting.set(index, sample);
    return promptTokens(sample, tokenizer.eos);
  };
  const options = { eos: tokenizer.eos, nNew, rng: new Rng('solve') };
  const written =
    nBeam === undefined
      ? completions(model, n, prompt, { ...options, temperature: 0, batchSize })
      : beamSearch(model, n, prompt, { ...options, nBeam, batchSize: Math.max(1, Math.floor(batchSize / nBeam)) });
  for (const { index, tokens, ended } of written) {
    const sample = waiting.get(index)!;
    waiting.delete(index);
    yield { sample, tokens, ...scoreSolution(sample, tokens, ended, { tokenizer, marks, families }) };
  }
}

/** What many solutions have in common. */
export interface Tally {
  readonly n: number;
  readonly nRight: number;
  /** Failures by kind, the commonest first. */
  readonly failures: Readonly<Partial<Record<Failure, number>>>;
  /** Means over correct solutions; 0 when there are none. */
  readonly unnecessaryParameters: number;
  readonly unnecessaryOperations: number;
  readonly retries: number;
  /** Mean over wrong solutions, up to the first mistake. */
  readonly retriesWrong: number;
}

/** Counts scores. Pure. */
export function tally(scores: Iterable<Score>): Tally {
  const failures = new Map<Failure, number>();
  const [right, wrong] = [
    { n: 0, parameters: 0, operations: 0, retries: 0 },
    { n: 0, parameters: 0, operations: 0, retries: 0 },
  ];
  for (const { correct, failure, unnecessaryParameters, unnecessaryOperations, retries } of scores) {
    const side = correct ? right : wrong;
    side.n++;
    side.parameters += unnecessaryParameters;
    side.operations += unnecessaryOperations;
    side.retries += retries;
    if (failure !== null) failures.set(failure, (failures.get(failure) ?? 0) + 1);
  }
  const each = (sum: number, n: number): number => (n === 0 ? 0 : sum / n);
  return {
    n: right.n + wrong.n,
    nRight: right.n,
    failures: Object.fromEntries([...failures].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]))),
    unnecessaryParameters: each(right.parameters, right.n),
    unnecessaryOperations: each(right.operations, right.n),
    retries: each(right.retries, right.n),
    retriesWrong: each(wrong.retries, wrong.n),
  };
}
