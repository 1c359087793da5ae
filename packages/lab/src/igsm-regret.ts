// Going back: a detector looks at what a model wrote, and from the sentence that it does not believe in the model writes again.
import { Rng } from '@physlm/base';
import type { Igsm, IgsmSample, Marks } from '@physlm/data/igsm';
import { completions } from '@physlm/eval';
import type { LanguageModel } from '@physlm/model';
import { SentenceReader } from './igsm-sentences.js';
import { promptTokens, type Score, scoreSolution } from './igsm-solving.js';

/** A solution as it stands. */
export interface Attempt {
  readonly sample: IgsmSample;
  /** Behind the prompt, without the end of text. */
  readonly tokens: Int32Array;
  readonly score: Score;
  /** Sentences at the beginning that were accepted before. */
  readonly nAccepted: number;
}

/** Says of each attempt which sentence to write again, from 1; null where it believes everything. */
export type Detector = (attempts: readonly Attempt[]) => (number | null)[];

/** The detector that knows: the verifier's first wrong sentence. */
export const perfectDetector: Detector = (attempts) => attempts.map(({ score }) => score.step);

/** How to go back. */
export interface RegretOptions {
  /** Most tokens of a solution. */
  readonly nNew: number;
  /** Times that a solution may go back. */
  readonly nRetry: number;
  readonly detect: Detector;
  /** Decides what is written when a sentence is written again. */
  readonly seed: number | string;
}

/** What going back made of a problem. */
export interface Regretted extends Score {
  readonly sample: IgsmSample;
  /** Times that it went back. */
  readonly nBack: number;
}

/**
 * Solves problems 0 … n − 1: the likeliest token first; then, as long as a detector does not believe a sentence and the problem has
 * tries left, the model goes back to the end of the sentence before and writes on by drawing from its own distribution.
 *
 * @see Ye et al. 2024, arXiv:2408.16293, Section 3 (retry upon regret). Differs from the paper: a solution is written to its end before
 * the detector looks at it, sentence by sentence, which finds the same sentence.
 */
export function retryUponRegret(
  model: LanguageModel,
  source: Igsm,
  marks: Marks,
  n: number,
  { nNew, nRetry, detect, seed }: RegretOptions,
): Regretted[] {
  const { tokenizer, families } = source;
  const { eos } = tokenizer;
  const reader = new SentenceReader(tokenizer);
  const rng = new Rng(seed).fork('regret');
  const samples = Array.from({ length: n }, (_, i) => source.document(i));
  const attempts: Attempt[] = [];
  const nBack = new Array<number>(n).fill(0);
  /** Writes on behind what is kept of some problems. */
  const write = (which: readonly { index: number; kept: Int32Array; nAccepted: number }[], round: number): void => {
    const prompt = (k: number): Int32Array => {
      const { index, kept } = which[k]!;
      return Int32Array.of(...promptTokens(samples[index]!, eos), ...kept);
    };
    const longest = which.reduce(
      (most, { index, kept }) => Math.max(most, samples[index]!.solutionStart + 1 + kept.length),
      0,
    );
    const room = Math.min(nNew, model.config.nCtx - longest);
    const options = { eos, nNew: room, temperature: round === 0 ? 0 : 1, rng: rng.fork(`round ${round}`) };
    for (const { index: k, tokens: more, ended } of completions(model, which.length, prompt, options)) {
      const { index, kept, nAccepted } = which[k]!;
      const tokens = Int32Array.of(...kept, ...more);
      const sample = samples[index]!;
      const score = scoreSolution(sample, tokens, ended, { tokenizer, marks, families });
      attempts[index] = { sample, tokens, score, nAccepted };
    }
  };
  let waiting = samples.map((_, index) => ({ index, kept: new Int32Array(0), nAccepted: 0 }));
  for (let round = 0; waiting.length > 0; round++) {
    write(waiting, round);
    const looked = waiting.map(({ index }) => index);
    const found = detect(looked.map((index) => attempts[index]!));
    waiting = looked.flatMap((index, k) => {
      const step = found[k] ?? null;
      if (step === null || nBack[index]! >= nRetry) return [];
      const { tokens } = attempts[index]!;
      const sentences = reader.sentences(tokens, marks.answer);
      const start = sentences[step - 1]?.start ?? sentences.at(-1)?.start ?? 0;
      nBack[index]!++;
      // What is kept must leave room for a solution.
      if (start >= nNew) return [];
      return [{ index, kept: tokens.slice(0, start), nAccepted: step - 1 }];
    });
  }
  return attempts.map(({ sample, score }, index) => ({ ...score, sample, nBack: nBack[index]! }));
}
