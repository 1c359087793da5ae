// `physlm data cfg`: sentences of a grammar as rows of JSON.
import { ConfigError } from '@physlm/base';
import { type CfgSample, type Perturbation, type PerturbationKind, sentences } from '@physlm/data/cfg';
import { chosenGrammar, type GrammarFlags } from './grammar-options.js';
import type { Io } from './io.js';
import { type SampleFlags, writeSamples } from './write-samples.js';

/** Options of `physlm data cfg`. */
export interface DataCfgFlags extends GrammarFlags, SampleFlags {
  readonly seed: number;
  readonly labels?: true;
  readonly perturbation?: string;
  readonly rate?: number;
  readonly gamma?: number;
}

/**
 * Writes sentences `start` … `start + count − 1` of a seed, one row each.
 *
 * @throws ConfigError about the grammar or the perturbation. @throws OutputError when the file cannot be written.
 */
export async function dataCfg(flags: DataCfgFlags, io: Io): Promise<number> {
  const { seed, perturbation: kind, rate, gamma = 1 } = flags;
  const idle = kind === undefined ? (['rate', 'gamma'] as const).filter((name) => flags[name] !== undefined) : [];
  if (idle.length > 0) {
    throw new ConfigError(idle.map((path) => ({ path, expected: '--perturbation beside it', got: 'none' })));
  }
  const cfg = chosenGrammar(flags);
  const perturbation: Perturbation | undefined =
    kind === undefined ? undefined : { kind: kind as PerturbationKind, gamma, ...(rate !== undefined && { rate }) };
  const source = sentences(cfg, { seed, ...(perturbation && { perturbation }) });
  return writeSamples(source, flags, {
    kind: 'cfg',
    unit: 'sentence',
    rowOf: (sample) => rowOf(sample, cfg.name, flags),
    io,
  });
}

/** Tokens are terminals, without BOS; the tree goes from the root's level to that above the tokens. */
function rowOf({ index, text, tokens, tree, perturbed }: CfgSample, grammar: string, flags: DataCfgFlags): object {
  const levels = flags.labels ? tree.levels.slice(0, -1) : [];
  return {
    grammar,
    seed: flags.seed,
    index,
    text,
    tokens: [...tokens.subarray(1)],
    ...(flags.perturbation !== undefined && { perturbed }),
    ...(flags.labels && {
      tree: levels.map(({ symbols, starts }, l) => ({ level: l + 1, symbols: [...symbols], starts: [...starts] })),
    }),
  };
}
