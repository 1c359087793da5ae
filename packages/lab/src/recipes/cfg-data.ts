// The data of a `cfg` experiment: a grammar, perhaps hidden behind words or spoiled, and windows cut from its sentences.
import { packWindows, type WindowSource } from '@physlm/data';
import {
  Cfg,
  type CfgDefinition,
  type CfgSentences,
  type ImplicitCfgOptions,
  implicitCfg,
  type Perturbation,
  sentences,
} from '@physlm/data/cfg';
import { grammarNamed } from './grammar.js';

/** Which sentences are learnt, and how text is cut into windows. */
export interface CfgDataConfig {
  /** A name that `grammarNamed` knows, or a whole grammar. */
  readonly grammar: string | CfgDefinition;
  /** Decides cfg8, cfg9 and cfg0, which are drawn. */
  readonly grammarSeed: number;
  /** Terminals that show as one of many words (Result 10). */
  readonly implicit?: Omit<ImplicitCfgOptions, 'seed'>;
  /** Mistakes in the sentences that the model is trained on (Results 11 to 13). */
  readonly perturbation?: Perturbation;
  readonly nCtx: number;
}

/** The sentences of an experiment. */
export interface CfgData {
  readonly cfg: Cfg;
  /** Training text. */
  readonly source: CfgSentences;
  readonly windows: WindowSource;
  readonly eos: number;
  readonly bos: number;
  readonly dVocab: number;
  /** Clean sentences that training never shows, for one use of many. */
  fresh(use: string): CfgSentences;
}

/** The grammar of an experiment, hidden behind words if it is to be. */
export function cfgOf({ grammar, grammarSeed, implicit }: CfgDataConfig): Cfg {
  const plain = typeof grammar === 'string' ? grammarNamed(grammar, grammarSeed) : new Cfg(grammar);
  return implicit === undefined ? plain : implicitCfg(plain, { ...implicit, seed: grammarSeed });
}

/**
 * The data of an experiment: a pure function of its configuration and seed.
 *
 * @throws ConfigError when the grammar or the perturbation is none.
 */
export function openCfgData(config: CfgDataConfig, seed: number): CfgData {
  const cfg = cfgOf(config);
  const { perturbation, nCtx } = config;
  const source = sentences(cfg, { seed, ...(perturbation && { perturbation }) });
  const { bos, eos, dVocab } = source.tokenizer;
  return {
    cfg,
    source,
    windows: packWindows(source, { nCtx, eos, dVocab }),
    bos,
    eos,
    dVocab,
    // Seeds of training are small numbers; these streams belong to none of them.
    fresh: (use) => sentences(cfg, { seed: `${seed}/${use}` }),
  };
}
