// Beam search over a key/value cache: the likeliest completion that a beam of hypotheses finds.
import { complaint, PhyslmError, type Rng } from '@physlm/base';
import type { KvCache, LanguageModel } from '@physlm/model';
import type { Completion, CompletionOptions } from './completions.js';

/** How to search. */
export interface BeamOptions extends Pick<CompletionOptions, 'eos' | 'nNew' | 'batchSize' | 'from'> {
  /** Hypotheses that are kept of each prompt; 1 is greedy generation. */
  readonly nBeam: number;
  /**
   * Draws the next hypotheses by their probabilities, without replacement, instead of taking the likeliest; prompt i draws from
   * `rng.at(i)`.
   */
  readonly rng?: Rng;
}

/** What a beam found. */
export interface BeamCompletion extends Completion {
  /** Log-probability of the completion, in nats, with its EOS if it ended. */
  readonly logProbability: number;
}

/** Products of fewer rows than this may round differently from larger ones. */
const LEAST_ROWS = 16;

/**
 * Completes prompts 0 … n − 1 in order, batch by batch. The best hypothesis that has ended wins as soon as no other can overtake
 * it; log-probabilities are summed and not divided by lengths. Ties go to the earlier hypothesis, then to the smaller token.
 *
 * @throws PhyslmError 'config' when a prompt is empty, or does not leave room for nNew tokens in the model's context.
 * @see Ye et al. 2024, arXiv:2408.16293, Section 3 (beam search against going back).
 */
export function* beamSearch(
  model: LanguageModel,
  n: number,
  prompt: (index: number) => ArrayLike<number>,
  options: BeamOptions,
): Generator<BeamCompletion> {
  const { nBeam, nNew, batchSize = 64, from = 0 } = options;
  const check = (path: string, value: number): void => {
    if (Number.isInteger(value) && value > 0) return;
    throw new PhyslmError('config', complaint(`beamSearch.${path}`, 'a positive integer', String(value)));
  };
  check('nBeam', nBeam);
  check('nNew', nNew);
  check('batchSize', batchSize);
  for (let start = from; start < n; start += batchSize) {
    const prompts = Array.from({ length: Math.min(batchSize, n - start) }, (_, b) => prompt(start + b));
    yield* searchBatch(model, prompts, start, options);
  }
}

interface Hypothesis {
  /** Of this prompt's rows in the cache. */
  readonly row: number;
  readonly tokens: readonly number[];
  readonly score: number;
}

function searchBatch(
  model: LanguageModel,
  prompts: readonly ArrayLike<number>[],
  firstIndex: number,
  { nBeam, nNew, eos, rng }: BeamOptions,
): BeamCompletion[] {
  const longest = Math.max(...prompts.map((one) => one.length));
  const nCtx = longest + nNew;
  if (prompts.some((one) => one.length === 0)) {
    throw new PhyslmError('config', complaint('beamSearch.prompt', 'at least one token each', 'an empty prompt'));
  }
  if (nCtx > model.config.nCtx) {
    const got = `${longest} + ${nNew} tokens`;
    throw new PhyslmError('config', complaint('beamSearch', `prompt and new tokens within ${model.config.nCtx}`, got));
  }
  const { device } = model;
  const { dVocab } = model.config;
  const nRow = Math.max(LEAST_ROWS, prompts.length * nBeam);
  const cache = model.cache(nRow, nCtx);
  const ids = device.zeros([nRow], 'i32', 'host');
  const step = device.withoutGrad(() => device.record(() => ({ logits: model.step(ids, cache) })));
  const idValues = ids.values();
  const searches = prompts.map((one, b) => new Search(one, nBeam, nNew, eos, rng?.at(firstIndex + b)));
  for (let t = 0; t < nCtx && searches.some((search) => !search.done); t++) {
    searches.forEach((search, b) => {
      for (let row = 0; row < nBeam; row++) idValues[b * nBeam + row] = search.token(t, row);
    });
    cache.position.values()[0] = t;
    step.run();
    const logits = step.results.logits.values() as Float32Array;
    searches.forEach((search, b) => {
      if (search.done || t < prompts[b]!.length - 1) return;
      const rows = (row: number): Float32Array =>
        logits.subarray((b * nBeam + row) * dVocab, (b * nBeam + row + 1) * dVocab);
      moveRows(cache, b * nBeam, t + 1, search.advance(rows));
    });
  }
  return searches.map((search, b) => ({ index: firstIndex + b, ...search.best() }));
}

/** The hypotheses of one prompt. */
class Search {
  done = false;
  readonly #prompt: ArrayLike<number>;
  readonly #nBeam: number;
  readonly #nNew: number;
  readonly #eos: number;
  readonly #rng: Rng | undefined;
  #live: Hypothesis[] = [{ row: 0, tokens: [], score: 0 }];
  #ended: Hypothesis | undefined;

  constructor(prompt: ArrayLike<number>, nBeam: number, nNew: number, eos: number, rng: Rng | undefined) {
    this.#prompt = prompt;
    this.#nBeam = nBeam;
    this.#nNew = nNew;
    this.#eos = eos;
    this.#rng = rng;
  }

  /** What row `row` reads at position t. */
  token(t: number, row: number): number {
    if (t < this.#prompt.length) return this.#prompt[t]!;
    return this.#live[row]?.tokens[t - this.#prompt.length] ?? this.#prompt[0]!;
  }

  /** Goes on by one token; returns the row that each row of the cache is to be copied from. */
  advance(logits: (row: number) => Float32Array): number[] {
    const candidates: Candidate[] = [];
    this.#live.forEach(({ row, score }, from) => {
      const logProbabilities = logSoftmax(logits(row));
      for (let token = 0; token < logProbabilities.length; token++) {
        const total = score + logProbabilities[token]!;
        // Adding Gumbel noise and taking the largest draws without replacement.
        const order = this.#rng === undefined ? total : total - Math.log(-Math.log(1 - this.#rng.uniform()));
        keepBest(candidates, { from, token, score: total, order }, 2 * this.#nBeam);
      }
    });
    const next: Hypothesis[] = [];
    const sources: number[] = [];
    candidates.forEach(({ from, token, score }, rank) => {
      const { tokens, row } = this.#live[from]!;
      if (token === this.#eos) {
        // An end that others of this step are likelier than would not have been kept as a hypothesis.
        if (rank >= this.#nBeam) return;
        if (this.#ended === undefined || score > this.#ended.score) this.#ended = { row: -1, tokens, score };
      } else if (next.length < this.#nBeam) {
        sources.push(row);
        next.push({ row: next.length, tokens: [...tokens, token], score });
      }
    });
    this.#live = next;
    const best = Math.max(...next.map(({ score }) => score));
    const overtaken = this.#ended !== undefined && this.#ended.score >= best;
    this.done = next.length === 0 || overtaken || next[0]!.tokens.length > this.#nNew;
    return sources;
  }

  best(): Omit<BeamCompletion, 'index'> {
    const ended = this.#ended !== undefined;
    const live = this.#live.reduce<Hypothesis | undefined>(
      (a, b) => (a === undefined || b.score > a.score ? b : a),
      undefined,
    );
    const { tokens, score } = this.#ended ?? live!;
    return { tokens: Int32Array.from(tokens.slice(0, this.#nNew)), ended, logProbability: score };
  }
}

interface Candidate {
  readonly from: number;
  readonly token: number;
  readonly score: number;
  readonly order: number;
}

/** Puts a candidate behind those that come before it, and drops the last of more than n. */
function keepBest(best: Candidate[], one: Candidate, n: number): void {
  if (best.length === n && one.order <= best[n - 1]!.order) return;
  let at = best.length;
  while (at > 0 && best[at - 1]!.order < one.order) at--;
  best.splice(at, 0, one);
  if (best.length > n) best.pop();
}

function logSoftmax(row: Float32Array): Float64Array {
  const peak = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const rest = Math.log(row.reduce((sum, x) => sum + Math.exp(x - peak), 0));
  return Float64Array.from(row, (x) => x - peak - rest);
}

/** Row `first + i` of the cache becomes what row `first + sources[i]` was, up to position nFilled. */
function moveRows(cache: KvCache, first: number, nFilled: number, sources: readonly number[]): void {
  const moved = sources.flatMap((source, to) => (source === to ? [] : [{ source, to }]));
  if (moved.length === 0) return;
  for (const layer of cache.layers) {
    // Keys and values stand by sequence; what else a layer keeps belongs to its weights.
    for (const tensor of [layer.k, layer.v]) {
      if (tensor === undefined) continue;
      const [nRow, nCtx] = tensor.shape as [number, number];
      const values = tensor.values();
      const size = values.length / nRow;
      const filled = (size / nCtx) * nFilled;
      const kept = moved.map(({ source }) => values.slice((first + source) * size, (first + source) * size + filled));
      for (const [i, { to }] of moved.entries()) values.set(kept[i]! as never, (first + to) * size);
    }
  }
}
