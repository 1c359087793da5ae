// Sentences of a grammar as documents: BOS and the terminals, with the generating tree as labels.
import { DataError, Rng } from '@physlm/base';
import type { DocumentSource, Sample, Span } from '../sample.js';
import type { Cfg } from './cfg.js';
import { disturbanceOf, type Perturbation } from './perturbation.js';
import { CfgSampler } from './sampler.js';
import { TerminalTokenizer } from './tokenizer.js';
import type { CfgTree } from './tree.js';

/** What `sentences` needs besides a grammar. */
export interface SentencesOptions {
  readonly seed: number | string;
  /** Mistakes in some of the sentences; none when absent. */
  readonly perturbation?: Perturbation;
}

/** A sentence whose labels are made when they are asked for. */
export interface CfgSample extends Sample {
  /** BOS, then the terminals. */
  readonly tokens: Int32Array;
  /** Terminals with spaces between them. */
  readonly text: string;
  /** Every non-terminal below the root as `NT<level>:<symbol>`; places in `tokens` count BOS. */
  readonly spans: readonly Span[];
  /** The generating tree: compact lists by level, and per-token labels; its positions do not count BOS. */
  readonly tree: CfgTree;
  /** Whether the sentence was perturbed, so that it may lie outside the language. */
  readonly perturbed: boolean;
}

/** Endless fresh sentences; see `sentences`. */
export interface CfgSentences extends DocumentSource {
  readonly cfg: Cfg;
  readonly tokenizer: TerminalTokenizer;
  document(index: number): CfgSample;
}

/**
 * Endless sentences of a grammar. Document i is BOS and terminals; `packWindows` with `eos: tokenizer.eos` puts EOS behind
 * each one, so that windows hold … BOS x EOS BOS x EOS …, beginning and ending where they happen to:
 * `packWindows(source, { nCtx: 512, eos: source.tokenizer.eos, dVocab: source.tokenizer.dVocab })`.
 *
 * A perturbed source draws the same clean sentences and spoils the share γ of them. Terminal mistakes leave the tree as it
 * was above the terminals; the tree of a sentence with non-terminal mistakes holds the symbols that were expanded.
 *
 * @throws ConfigError when the perturbation is not one.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, Section 2; Results 11–13 for perturbed sentences.
 */
export function sentences(cfg: Cfg, { seed, perturbation }: SentencesOptions): CfgSentences {
  const root = new Rng(seed).fork('cfg-sentences');
  const mistakes = root.fork('mistakes');
  const disturbance = perturbation && disturbanceOf(perturbation);
  const gamma = perturbation?.gamma ?? 0;
  const sampler = new CfgSampler(cfg);
  const tokenizer = new TerminalTokenizer(cfg.nTerminal);

  /** Draws sentence `index` into the sampler: its length, and whether it was spoiled. */
  function draw(index: number): { n: number; perturbed: boolean } {
    const disturbing = disturbance && mistakes.at(index);
    if (disturbing === undefined || disturbing.uniform() >= gamma)
      return { n: sampler.draw(root.at(index)), perturbed: false };
    return { n: sampler.draw(root.at(index), disturbance, disturbing), perturbed: true };
  }

  function document(index: number): CfgSample {
    if (!Number.isSafeInteger(index) || index < 0)
      throw new DataError('sentences.document', 'an integer from 0', `${index}`);
    const { n, perturbed } = draw(index);
    const tokens = new Int32Array(n + 1);
    tokens[0] = tokenizer.bos;
    sampler.tokens(tokens, 1);
    let tree: CfgTree | undefined;
    return {
      index,
      tokens,
      perturbed,
      get text() {
        return tokens.subarray(1).join(' ');
      },
      get tree() {
        if (tree === undefined) {
          draw(index);
          tree = sampler.tree();
        }
        return tree;
      },
      get spans() {
        return this.tree.spans(1);
      },
    };
  }

  const { mean, min } = cfg.statistics.length;
  return { name: cfg.name, cfg, tokenizer, nGroup: 1, meanTokens: mean + 1, minTokens: min + 1, document };
}
