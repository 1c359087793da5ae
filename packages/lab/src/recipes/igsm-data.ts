// The data of an `igsm` experiment: problems of template families whose worlds are cut to size, as windows and as tests.
import { documentWindows, padWindows, type Tokenizer, type WindowSource } from '@physlm/data';
import {
  compactTokenizer,
  type FamilyName,
  gpt2TokenizerForIgsm,
  type Igsm,
  type IgsmOptions,
  igsm,
  type Layout,
  type LetterOrder,
  type Marks,
  marksOf,
  nameTokenizer,
  phraseTokenizer,
  type Retry,
  type TemplateFamily,
  templateFamily,
  trimWorld,
  withWorlds,
} from '@physlm/data/igsm';

/** How text becomes tokens: one for each phrase and parameter, each phrase and item, each word and item, or GPT-2's. */
export const VOCABULARIES = ['names', 'phrases', 'words', 'gpt2'] as const;
export type Vocabulary = (typeof VOCABULARIES)[number];

/** How problems come into windows. */
export const PACKINGS = ['fill', 'pad'] as const;
export type Packing = (typeof PACKINGS)[number];

/** Which worlds problems are about: the first so many of each family, cut to so many layers, sub-categories and items. */
export interface WorldSize {
  readonly nWorld: number;
  /** Layers of a world; problems have no more. */
  readonly nLevel: number;
  readonly nSubCategory: number;
  readonly nItem: number;
}

/** Which problems are learnt, and how they are written. */
export interface IgsmDataConfig {
  /** Template families in the training text. */
  readonly families: readonly FamilyName[];
  /** Families that are in the vocabulary and never in the training text. */
  readonly unseen?: readonly FamilyName[];
  /** The whole worlds when absent. */
  readonly worlds?: WorldSize;
  readonly vocabulary: Vocabulary;
  /** Most operations in training. */
  readonly opMax: number;
  /** Most instance parameters, in training and in tests. */
  readonly ipMax: number;
  readonly modulus: number;
  readonly layout: Layout;
  readonly retry?: Retry;
  /** Letters of solutions: at random, or one behind the other. */
  readonly letters: LetterOrder;
  readonly loss: 'all' | 'solution';
  /** Tokens of a training window; problems that do not fit are left out. */
  readonly nCtx: number;
  /** Most tokens of a problem in tests; longer ones are left out. In the papers nCtx. */
  readonly nCtxTest: number;
  /**
   * `fill`: as many problems as fit, as in the papers. `pad`: one problem, so that in a small world, whose few names come back in every
   * problem, none is looked up in another one.
   */
  readonly packing: Packing;
}

/** What a test asks for. */
export type IgsmTest = Pick<IgsmOptions, 'op' | 'reask'> & {
  /** Those of training when absent. */
  readonly families?: readonly TemplateFamily[];
  /** Tells the problems of one use from those of another. */
  readonly use: string;
  /** Templates of training, for probes; those held out when absent. */
  readonly buckets?: 'train' | 'test';
  readonly retry?: Retry;
};

/** The problems of an experiment. */
export interface IgsmData {
  readonly tokenizer: Tokenizer;
  readonly marks: Marks;
  /** Families of the training text. */
  readonly families: readonly TemplateFamily[];
  /** Families that training never shows. */
  readonly unseen: readonly TemplateFamily[];
  /** Training text. */
  readonly source: Igsm;
  readonly windows: WindowSource;
  /** Problems whose solution templates training never shows. */
  test(wanted: IgsmTest): Igsm;
}

/** The families of a configuration, with their worlds cut to size. */
export function familiesOf(names: readonly FamilyName[], worlds: WorldSize | undefined): TemplateFamily[] {
  return names.map((name) => {
    const family = templateFamily(name);
    if (worlds === undefined) return family;
    const { nWorld, nLevel, nSubCategory, nItem } = worlds;
    return withWorlds(
      family,
      family.worlds.slice(0, nWorld).map((world) => ({
        layers: trimWorld(world, nSubCategory, nItem).layers.slice(0, nLevel),
      })),
    );
  });
}

/** The tokenizer of a configuration: it knows the unseen families too. */
export function tokenizerOf({ families, unseen = [], worlds, vocabulary, modulus }: IgsmDataConfig): Tokenizer {
  const all = familiesOf([...families, ...unseen], worlds);
  if (vocabulary === 'gpt2') return gpt2TokenizerForIgsm(all, modulus);
  const closed = { names: nameTokenizer, phrases: phraseTokenizer, words: compactTokenizer };
  return closed[vocabulary](all, modulus);
}

/**
 * The data of an experiment: a pure function of its configuration and seed.
 *
 * @throws ConfigError when a family or a retry is none. @throws DataError when no such problems exist.
 */
export function openIgsmData(config: IgsmDataConfig, seed: number): IgsmData {
  const { worlds, opMax, ipMax, modulus, layout, retry, letters, loss, nCtx, nCtxTest, packing } = config;
  const tokenizer = tokenizerOf(config);
  const families = familiesOf(config.families, worlds);
  const unseen = familiesOf(config.unseen ?? [], worlds);
  const common = { tokenizer, level: { opMax, ipMax }, modulus, layout, letters };
  const source = igsm({ ...common, families, seed, nCtx, buckets: 'train', loss, ...(retry && { retry }) });
  return {
    tokenizer,
    marks: marksOf(tokenizer),
    families,
    unseen,
    source,
    windows: (packing === 'fill' ? documentWindows : padWindows)(source, {
      nCtx,
      eos: tokenizer.eos,
      dVocab: tokenizer.dVocab,
    }),
    test: ({ use, buckets = 'test', ...wanted }) =>
      igsm({ ...common, families, nCtx: nCtxTest, buckets, ...wanted, seed: seedOf(`${seed}/${use}`) }),
  };
}

/**
 * The problems of a source that have at least so many operations, in its order. One and two operations have three solution
 * templates in all to hold out, which say nothing about problems as in training when most of these are so short.
 */
export function longEnough(source: Igsm, least: number): Igsm {
  if (least <= 1) return source;
  const places: number[] = [];
  let next = 0;
  return {
    ...source,
    document(index) {
      while (places.length <= index) {
        if (source.document(next++).op >= least) places.push(next - 1);
      }
      return { ...source.document(places[index]!), index };
    },
  };
}

/** A seed that belongs to a name and to no training run: those are small numbers. */
function seedOf(name: string): number {
  let hash = 0;
  for (const character of name) hash = (Math.imul(hash, 31) + character.codePointAt(0)!) | 0;
  return 2 ** 40 + (hash >>> 0);
}
