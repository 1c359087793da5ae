import { packWindows, type Tokenizer, type WindowSource } from '@physlm/data';
import {
  type Biographies,
  biographies,
  bioS,
  bioSMini,
  gpt2TokenizerForBioS,
  type Population,
  wordTokenizerFor,
} from '@physlm/data/bio';

/** Who is learnt, and how text about them is cut into windows. */
export interface CapacityDataConfig {
  readonly population: 'bioS' | 'bioS-mini';
  readonly nPeople: number;
  readonly tokenizer: 'words' | 'gpt2';
  readonly nCtx: number;
  /** Times that training shows each person. */
  readonly exposures: number;
}

/** The people of an experiment, their texts and the windows cut from them. */
export interface CapacityData {
  readonly population: Population;
  readonly tokenizer: Tokenizer;
  readonly source: Biographies;
  readonly windows: WindowSource;
  readonly dVocab: number;
}

/**
 * The data of an experiment: a pure function of its configuration and seed.
 *
 * @throws DataError when there are too few people for the window, or more than there are names.
 */
export function openCapacityData(config: CapacityDataConfig, seed: number): CapacityData {
  const make = config.population === 'bioS' ? bioS : bioSMini;
  const population = make({ nPeople: config.nPeople, seed });
  // Both have only tokens that can occur, so every embedding row counts as parameters, as the paper counts them.
  const tokenizer = config.tokenizer === 'gpt2' ? gpt2TokenizerForBioS() : wordTokenizerFor(population);
  const source = biographies(population, { tokenizer, seed });
  const { eos, dVocab } = tokenizer;
  return { population, tokenizer, source, dVocab, windows: packWindows(source, { nCtx: config.nCtx, eos, dVocab }) };
}
