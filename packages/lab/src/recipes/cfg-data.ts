// The data of a `cfg` experiment: a grammar, perhaps hidden behind words or spoiled, and windows cut from its sentences.
import { maskWindows, packWindows, type WindowSource } from '@physlm/data';
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
  /** Share of the tokens that are hidden and asked for: windows for an encoder. */
  readonly masked?: number;
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
  /** Windows cut from clean sentences that training never shows. */
  freshWindows(use: string): WindowSource;
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
  const { perturbation, masked, nCtx } = config;
  const source = sentences(cfg, { seed, ...(perturbation && { perturbation }) });
  const { bos, eos, dVocab } = source.tokenizer;
  const windowsOf = (text: CfgSentences, mistakes: number): WindowSource => {
    const whole = packWindows(text, { nCtx, eos, dVocab });
    if (masked === undefined) return whole;
    // The release reserves |T|+2 for the mask, one more than EOS. Where sentences begin and end is never asked.
    return maskWindows(whole, { seed: mistakes, mask: eos + 1, rate: masked, never: [bos, eos] });
  };
  // Seeds of training are small numbers; these streams belong to none of them.
  const fresh = (use: string): CfgSentences => sentences(cfg, { seed: `${seed}/${use}` });
  return {
    cfg,
    source,
    windows: windowsOf(source, seed),
    bos,
    eos,
    dVocab,
    fresh,
    freshWindows: (use) => windowsOf(fresh(use), seed + 1),
  };
}
