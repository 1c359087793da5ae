import { mixWindows, packWindows, type Tokenizer, type WindowSource } from '@physlm/data';
import {
  type BioDSizes,
  type Biographies,
  bioD,
  biographies,
  bioS,
  bioSMini,
  gpt2TokenizerForBioS,
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
  /** bioS^simple: one text for each person, always the same. */
  readonly wording?: 'fixed';
  /** bioD: what takes the place of the six facts; the population gives names only. */
  readonly bioD?: Omit<BioDSizes, 'nPeople'>;
  /** Text about other people that training shows among the useful text. */
  readonly junk?: {
    /** Share of the windows that are useful. */
    readonly usefulShare: number;
    /** N′: other people. Few are shown over and over; of many, each hardly comes back. */
    readonly nPeople: number;
  };
  /** A token in front of every useful biography. */
  readonly tag?: true;
}

/** The people of an experiment, their texts and the windows cut from them. */
export interface CapacityData {
  readonly people: CapacityPeople;
  readonly tokenizer: Tokenizer;
  readonly source: Biographies;
  readonly windows: WindowSource;
  readonly dVocab: number;
  /** Embedding rows whose tokens never occur, and which do not count as parameters. */
  readonly nUnusedToken: number;
  /** Tokens between the end of a text and the name that opens the next. */
  readonly nameStart: number;
}

/** What there is to know about the people of an experiment. */
export interface CapacityPeople {
  readonly nPeople: number;
  /** N₀: how many full names there are to choose from. */
  readonly nNames: number;
  /** Choices of each scored fact, by the label of its spans. */
  readonly choices: Readonly<Record<string, number>>;
  /** bioD: labels of the first strings of values, and the sizes of the sets they are from. */
  readonly strings?: { readonly firstLabels: readonly string[]; readonly sizes: BioDSizes };
}

/** The mark of useful text: one token that no biography has. */
const TAG = '#';

/**
 * The data of an experiment: a pure function of its configuration and seed. Junk is about people behind the useful ones in
 * the same population: their names are others, their facts are as random.
 *
 * @throws ConfigError when sizes of bioD do not fit.
 * @throws DataError when there are too few people for the window, or more than there are names.
 */
export function openCapacityData(config: CapacityDataConfig, seed: number): CapacityData {
  const { nPeople, nCtx, junk } = config;
  if (config.bioD !== undefined) return openBioD(config, config.bioD, seed);
  const make = config.population === 'bioS' ? bioS : bioSMini;
  const population = make({ nPeople: nPeople + (junk?.nPeople ?? 0), seed });
  const more = config.tag === true ? [TAG] : [];
  // Both have only tokens that can occur, so every embedding row counts as parameters, as the paper counts them.
  const words = config.tokenizer === 'words';
  const tokenizer = words ? wordTokenizerFor(population, more) : gpt2TokenizerForBioS(more);
  const { eos, dVocab } = tokenizer;
  const source = biographies(population, {
    tokenizer,
    seed,
    people: { first: 0, n: nPeople },
    ...(config.wording !== undefined && { wording: config.wording }),
    ...(config.tag === true && { tag: words ? `${TAG} ` : TAG }),
  });
  const useful = packWindows(source, { nCtx, eos, dVocab });
  return {
    people: { nPeople, nNames: population.nNames, choices: population.choices },
    tokenizer,
    source,
    dVocab,
    nUnusedToken: 0,
    nameStart: more.length,
    windows: junk === undefined ? useful : mixWindows(useful, junkWindows(), { share: junk.usefulShare }),
  };

  function junkWindows(): WindowSource {
    const people = { first: nPeople, n: junk!.nPeople };
    // Few people come back within a window, and may: nobody asks what is learnt about them.
    return packWindows(biographies(population, { tokenizer, seed, people, stream: 'junk' }), {
      nCtx,
      eos,
      dVocab,
      allowRepeats: true,
    });
  }
}

function openBioD(
  { nPeople, nCtx, population }: CapacityDataConfig,
  sizes: Omit<BioDSizes, 'nPeople'>,
  seed: number,
): CapacityData {
  const { source, tokenizer, nNames, choices, firstLabels, nUsedToken } = bioD({
    ...sizes,
    nPeople,
    seed,
    names: population,
  });
  const { eos, dVocab } = tokenizer;
  return {
    people: { nPeople, nNames, choices, strings: { firstLabels, sizes: { ...sizes, nPeople } } },
    tokenizer,
    source,
    dVocab,
    nUnusedToken: dVocab - nUsedToken,
    nameStart: 0,
    windows: packWindows(source, { nCtx, eos, dVocab }),
  };
}
