// `physlm data knowledge`: biographies of invented people, or questions about them, as rows of JSON.
import { ConfigError, type ConfigProblem, nearest } from '@physlm/base';
import type { Sample } from '@physlm/data';
import { bioS, bioSMini, type PopulationName } from '@physlm/data/bio';
import { entries, knowledgeWords, type Question, questions, splitPeople } from '@physlm/data/knowledge';
import type { Io } from './io.js';
import { type SampleFlags, writeSamples } from './write-samples.js';

/** Options of `physlm data knowledge`. */
export interface DataKnowledgeFlags extends SampleFlags {
  readonly seed: number;
  readonly population: string;
  readonly people: number;
  readonly augmentation?: string;
  /** Names of tasks or families, with commas. */
  readonly ask?: string;
  readonly side?: string;
  readonly hints?: number;
}

const POPULATIONS: readonly PopulationName[] = ['bioS', 'bioS-mini'];
const SIDES = ['train', 'test'] as const;

/**
 * Writes texts `start` … `start + count − 1` of a seed, a row each: what a run of the recipe `knowledge` with this seed,
 * population and augmentation reads, or with `ask` what it is asked.
 *
 * @throws ConfigError about an option. @throws DataError when there are more people than names. @throws OutputError when the
 *   file cannot be written.
 */
export async function dataKnowledge(flags: DataKnowledgeFlags, io: Io): Promise<number> {
  const { seed, people: nPeople, augmentation = 'single', ask, side, hints } = flags;
  const name = checked(flags);
  const population = (name === 'bioS' ? bioS : bioSMini)({ nPeople, seed });
  const tokenizer = knowledgeWords(name);
  const base = { population: name, seed };
  if (ask === undefined) {
    const source = entries(population, { augmentation, tokenizer, seed });
    const rowOf = (sample: Sample): object => ({ ...base, augmentation, ...textOf(sample), person: sample.group });
    return writeSamples(source, flags, { kind: 'knowledge', unit: 'biography', rowOf, io });
  }
  const source = questions(population, {
    tokenizer,
    // As the recipe: questions that measure are not those that train.
    seed: side === 'test' ? `${seed}/measure` : seed,
    people:
      side === undefined
        ? Int32Array.from({ length: nPeople }, (_, i) => i)
        : splitPeople(nPeople, seed)[side as 'train'],
    tasks: ask.split(',').map((task) => task.trim()),
    ...(hints !== undefined && { hintShare: hints }),
  });
  const rowOf = (sample: Sample): object => {
    const { task, answer, people } = sample as Question;
    return { ...base, ...(side !== undefined && { side }), task, ...textOf(sample), answer, people };
  };
  return writeSamples(source, flags, { kind: 'knowledge', unit: 'question', rowOf, io });
}

/** The population, when all options go together. */
function checked({ population, augmentation, ask, side, hints }: DataKnowledgeFlags): PopulationName {
  const problems: ConfigProblem[] = [];
  const oneOf = (path: string, value: string, known: readonly string[]): void => {
    if (known.includes(value)) return;
    problems.push({ path, expected: `one of ${known.join(', ')}`, got: `'${value}'`, nearest: nearest(value, known) });
  };
  oneOf('population', population, POPULATIONS);
  if (side !== undefined) oneOf('side', side, SIDES);
  if (ask === undefined) {
    for (const [path, value] of Object.entries({ side, hints })) {
      if (value !== undefined) problems.push({ path, expected: '--ask beside it', got: 'none' });
    }
  } else if (augmentation !== undefined) {
    problems.push({ path: 'augmentation', expected: 'biographies', got: `--ask ${ask}` });
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return population as PopulationName;
}

/** Text and where in it, in UTF-16 units, the words of each label stand. */
function textOf({ index, text, spans }: Sample): object {
  return {
    index,
    text,
    spans: spans.map(({ label, textStart, textEnd }) => ({ label, start: textStart, end: textEnd })),
  };
}
