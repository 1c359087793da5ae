// `physlm data igsm`: grade-school mathematics with exact solutions, as rows of JSON or to be read.
import { once } from 'node:events';
import { ConfigError, type ConfigProblem, nearest } from '@physlm/base';
import {
  type Buckets,
  compactTokenizer,
  drawGraph,
  exists,
  FAMILY_NAMES,
  type FamilyName,
  type Igsm,
  type IgsmSample,
  igsm,
  type Layout,
  LEVELS,
  type LevelName,
  labelsOf,
  parameterName,
  type RetryKind,
  templateFamily,
  VARIANTS,
} from '@physlm/data/igsm';
import { exitCodes } from './exit-codes.js';
import { colours, type Io } from './io.js';
import { type SampleFlags, writeSamples } from './write-samples.js';

/** Options of `physlm data igsm`. */
export interface DataIgsmFlags extends SampleFlags {
  readonly seed: number;
  readonly level: string;
  readonly opMax?: number;
  readonly ipMax?: number;
  readonly op?: number;
  readonly modulus: number;
  readonly family?: readonly string[];
  readonly layout: string;
  readonly buckets: string;
  readonly variant: string;
  readonly reask?: true;
  readonly retry?: string;
  readonly rate?: number;
  readonly labels?: true;
  readonly pretty?: true;
}

/**
 * Writes problems `start` … `start + count − 1` of a seed: a row each, or with `pretty` the texts and the dependency graph.
 *
 * @throws ConfigError about an option. @throws DataError when no such problem exists. @throws OutputError when the file cannot be
 *   written.
 */
export async function dataIgsm(flags: DataIgsmFlags, io: Io): Promise<number> {
  const source = sourceOf(flags);
  if (flags.pretty) return printProblems(source, flags, io);
  return writeSamples(source, flags, { kind: 'igsm', unit: 'problem', rowOf: (sample) => rowOf(sample, flags), io });
}

function sourceOf(flags: DataIgsmFlags): Igsm {
  const { seed, op, modulus, family = ['numbers'], layout, buckets, variant, reask = false, retry, rate } = flags;
  const problems: ConfigProblem[] = [];
  const oneOf = (path: string, value: string, known: readonly string[]): void => {
    if (known.includes(value)) return;
    const expected = `one of ${known.join(', ')}`;
    problems.push({ path, expected, got: `'${value}'`, nearest: nearest(value, known) });
  };
  oneOf('level', flags.level, Object.keys(LEVELS));
  oneOf('layout', layout, ['pq', 'qp']);
  oneOf('buckets', buckets, ['all', 'train', 'test']);
  oneOf('variant', variant, Object.keys(VARIANTS));
  for (const name of family) oneOf('family', name, FAMILY_NAMES);
  if (flags.pretty && flags.out !== undefined) {
    problems.push({ path: 'pretty', expected: 'standard output', got: `--out ${flags.out}` });
  }
  if (flags.pretty && flags.jobs !== undefined) {
    problems.push({ path: 'jobs', expected: 'rows of JSON', got: '--pretty' });
  }
  if (rate !== undefined && retry === undefined) {
    problems.push({ path: 'rate', expected: '--retry beside it', got: 'none' });
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const { opMax, ipMax } = LEVELS[flags.level as LevelName];
  const families = family.map(templateFamily);
  return igsm({
    tokenizer: compactTokenizer(families, modulus),
    seed,
    level: { opMax: flags.opMax ?? opMax, ipMax: flags.ipMax ?? ipMax },
    modulus,
    ...(op !== undefined && { op }),
    reask,
    families: family as readonly FamilyName[],
    layout: layout as Layout,
    buckets: buckets as Buckets,
    variant: VARIANTS[variant as keyof typeof VARIANTS],
    ...(retry !== undefined && { retry: { kind: retry as RetryKind, rate: rate ?? 0.2 } }),
  });
}

/** `prompt` and `solution` are what `physlm verify igsm` reads. */
function rowOf(sample: IgsmSample, { seed, labels }: DataIgsmFlags): object {
  const { index, naming, prompt, solutionText, answer, problem, op, bucket, sentences } = sample;
  const retries = sentences.filter(({ retry }) => retry).length;
  return {
    family: naming.family.name,
    seed,
    index,
    prompt,
    solution: solutionText,
    answer,
    modulus: problem.modulus,
    op,
    bucket,
    ...(retries > 0 && { retries }),
    ...(labels && { parameters: parametersOf(sample) }),
  };
}

function parametersOf({ problem, naming, solution }: IgsmSample): object[] {
  const { parameters, nece } = labelsOf(problem, solution, 'graph');
  const name = (one: number): string => parameterName(problem.index, naming, one);
  return parameters
    .filter((one) => exists(problem, one))
    .map((one) => ({
      name: name(one),
      value: problem.values[one],
      nece: nece[one] === 1,
      parents: problem.parents[one]!.map(name),
    }));
}

async function printProblems(source: Igsm, { count, start }: DataIgsmFlags, io: Io): Promise<number> {
  const c = colours(io, 'stdout');
  for (let i = 0; i < count; i++) {
    const { index, prompt, solutionText, answer, problem, naming, op, bucket } = source.document(start + i);
    const head = c.bold(`problem ${index}`);
    const text = [
      `${head}  ${naming.family.name}, ${op} operations, template bucket ${bucket}, modulo ${problem.modulus}`,
      '',
      sentenceLines(prompt),
      '',
      sentenceLines(solutionText),
      c.bold(`Answer: ${answer}`),
      '',
      drawGraph(problem, naming),
      '',
      '',
    ].join('\n');
    if (!io.stdout.write(text)) await once(io.stdout, 'drain');
  }
  return exitCodes.ok;
}

/** A line for each sentence. */
function sentenceLines(text: string): string {
  return text.trim().replace(/([.?]) /g, '$1\n');
}
