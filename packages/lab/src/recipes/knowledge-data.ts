// The data of a `knowledge` experiment: people, texts about them, questions, and who is asked about in training and in tests.
import {
  maskWindows,
  mixWindows,
  packWindows,
  padWindows,
  type Tokenizer,
  type WindowSource,
  WordTokenizer,
} from '@physlm/data';
import { bioS, bioSMini, type Population } from '@physlm/data/bio';
import {
  type BiographyEntries,
  entries,
  hideAnswers,
  knowledgeGpt2,
  knowledgeWords,
  mixDocuments,
  type PeopleSplit,
  type Questions,
  questions,
  requireApart,
  splitPeople,
} from '@physlm/data/knowledge';

/** Who is learnt, in which words, and how text is cut into windows. */
export interface KnowledgeDataConfig {
  readonly population: 'bioS' | 'bioS-mini';
  /** People of the data set, without celebrities. */
  readonly nPeople: number;
  readonly tokenizer: 'words' | 'gpt2';
  /** As `multi5+permute`. */
  readonly augmentation: string;
  /** How as many celebrities are written about; entries are drawn from the union. None when absent. */
  readonly celebrity?: string;
  /** Tokens in a window of biographies. */
  readonly nCtx: number;
  /** Times that training shows each person; with celebrities, each of the others. */
  readonly exposures: number;
  /** Share of the tokens of biographies that are hidden and asked for: windows for an encoder. */
  readonly hidden?: number;
  /** What is asked in training: in windows of their own among those of biographies, or in finetuning. */
  readonly questions?: KnowledgeQuestionsConfig;
}

/** What is asked, and about whom. */
export interface KnowledgeQuestionsConfig {
  /** Names of tasks or families. */
  readonly tasks: readonly string[];
  /** People of P_train that are asked about; half of all when absent. */
  readonly nTrain?: number;
  /** Share of the answers that state the facts first; no question is marked when absent. */
  readonly hintShare?: number;
  /** Share of the windows of mixed training that hold questions; absent in finetuning. */
  readonly share?: number;
  /** Tokens in a window of finetuning, which holds one question; absent in mixed training. */
  readonly nCtx?: number;
}

/** The data of an experiment. */
export interface KnowledgeData {
  readonly population: Population;
  readonly tokenizer: Tokenizer;
  /** Tokens of the model: with the one that hides others, the last, for an encoder. */
  readonly dVocab: number;
  /** Texts about the people of the data set. */
  readonly people: BiographyEntries;
  readonly celebrities: BiographyEntries | undefined;
  /** What training reads: biographies, biographies among questions, or questions. */
  readonly windows: WindowSource;
  /** P_train and P_test: halves of the people, or, with celebrities, these and everyone else. */
  readonly split: PeopleSplit;
  /** Questions about the people of one side; `use` names their random stream. */
  questions(side: keyof PeopleSplit, use: 'train' | 'measure', options?: { readonly answerOnly?: boolean }): Questions;
}

/**
 * The data of an experiment: a pure function of its configuration and seed.
 *
 * @throws ConfigError when an augmentation or a task is none.
 * @throws DataError when there are too few people for the window, or more than there are names.
 */
export function openKnowledgeData(config: KnowledgeDataConfig, seed: number): KnowledgeData {
  const { nPeople, augmentation, celebrity, nCtx } = config;
  const make = config.population === 'bioS' ? bioS : bioSMini;
  const population = make({ nPeople: celebrity === undefined ? nPeople : 2 * nPeople, seed });
  const tokenizer = config.tokenizer === 'gpt2' ? knowledgeGpt2() : knowledgeWords(config.population);
  const { eos, dVocab } = tokenizer;
  const people = entries(population, { augmentation, tokenizer, seed, people: { first: 0, n: nPeople } });
  const celebrities =
    celebrity === undefined
      ? undefined
      : entries(population, { augmentation: celebrity, tokenizer, seed, people: { first: nPeople, n: nPeople } });
  const parts = [people, ...(celebrities === undefined ? [] : [celebrities])];
  const source =
    celebrities === undefined
      ? people
      : mixDocuments(
          parts.map((part) => ({ source: part, weight: part.augmentation.nEntry })),
          seed,
        );
  const asked = config.questions;
  const split = splitOf(nPeople, seed, asked?.nTrain, celebrities !== undefined);
  requireApart(split);
  const ask: KnowledgeData['questions'] = (side, use, options = {}) =>
    questions(population, {
      tokenizer,
      // Seeds of training are small numbers; the stream of measurements belongs to none of them.
      seed: use === 'train' ? seed : `${seed}/measure`,
      people: split[side],
      tasks: asked?.tasks ?? ['extraction'],
      ...(asked?.hintShare !== undefined && { hintShare: asked.hintShare }),
      ...options,
    });
  const pack = { eos, dVocab };
  const { hidden } = config;
  const mask = dVocab;
  function windows(): WindowSource {
    if (asked?.nCtx !== undefined) return padWindows(ask('train', 'train'), { ...pack, nCtx: asked.nCtx });
    const biographies = packWindows(source, { ...pack, nCtx });
    const share = asked?.share;
    if (hidden !== undefined) {
      const masked = maskWindows(biographies, {
        seed,
        mask,
        rate: hidden,
        never: [eos],
        startsWord: wordStarts(tokenizer),
      });
      if (share === undefined) return masked;
      const answers = hideAnswers(packWindows(ask('train', 'train'), { ...pack, nCtx }), { mask, eos });
      return mixWindows(masked, answers, { share: 1 - share });
    }
    if (share === undefined) return biographies;
    // Like biographies, questions of mixed training are learnt whole.
    const whole = ask('train', 'train', { answerOnly: false });
    return mixWindows(biographies, packWindows(whole, { ...pack, nCtx }), { share: 1 - share });
  }
  const size = hidden === undefined ? dVocab : mask + 1;
  return { population, tokenizer, dVocab: size, people, celebrities, windows: windows(), split, questions: ask };
}

/** Tokens that begin a word: all but the later parts of words that a byte-pair tokenizer splits. */
function wordStarts(tokenizer: Tokenizer): (ids: Int32Array, t: number) => boolean {
  const inside = Uint8Array.from({ length: tokenizer.dVocab }, (_, token) =>
    tokenizer instanceof WordTokenizer || /^\W/.test(tokenizer.decode([token])) ? 0 : 1,
  );
  return (ids, t) => inside[ids[t]!] !== 1;
}

/** With celebrities they are asked about in training, and everyone else is a test (arXiv:2309.14316, Section 6). */
function splitOf(nPeople: number, seed: number, nTrain: number | undefined, celebrities: boolean): PeopleSplit {
  if (!celebrities) return splitPeople(nPeople, seed, nTrain);
  const range = (first: number, n: number): Int32Array => Int32Array.from({ length: n }, (_, i) => first + i);
  return { train: range(nPeople, nTrain ?? nPeople), test: range(0, nPeople) };
}
