// Made-up states and labels for tests of probes.
import { Rng } from '@physlm/base';
import type { ActivationSource, LabelFamily, ProbeLabels, SentenceLabels } from '../src/index.js';

/** Sentence i of a made-up task: what a model would have written at each position, and what is asked. */
export interface MadeUp extends SentenceLabels {
  /** [nPosition, d]. */
  readonly states: Float32Array;
}

/** A source of states and labels from one pure function of (sentence, its stream). */
export function madeUp(
  nSentence: number,
  d: number,
  families: readonly LabelFamily[],
  make: (rng: Rng, sentence: number) => MadeUp,
): { states: ActivationSource; labels: ProbeLabels } {
  const rng = new Rng('made up');
  const sentence = (i: number): MadeUp => make(rng.at(i), i);
  return {
    states: { nSentence, d, read: (sentences) => sentences.map((i) => sentence(i).states) },
    labels: { families, sentence },
  };
}

/** n draws below `limit`. */
export const draws = (rng: Rng, n: number, limit: number): Int32Array =>
  Int32Array.from({ length: n }, () => rng.below(limit));

/** Rows of one-hot codes. */
export function oneHots(codes: Int32Array, d: number): Float32Array {
  const rows = new Float32Array(codes.length * d);
  codes.forEach((code, i) => {
    rows[i * d + code] = 1;
  });
  return rows;
}

/** Standard normal rows, another for each sentence. */
export const noise = (rng: Rng, n: number, d: number): Float32Array =>
  Float32Array.from({ length: n * d }, () => rng.normal());
