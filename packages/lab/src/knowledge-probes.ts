// P-probing and Q-probing of a frozen model: what its states tell about a person inside a biography, and from the name alone.
import { invariant } from '@physlm/base';
import type { Sample } from '@physlm/data';
import { ATTRIBUTES, type Attribute, type PersonDraw } from '@physlm/data/bio';
import type { LanguageModel } from '@physlm/model';
import {
  type EmbeddingProbeOptions,
  type EmbeddingProbeScore,
  type EmbeddingProbeSource,
  embeddingProbe,
  embeddingProbeSettings,
} from '@physlm/probe';
import type { KnowledgeData } from './recipes/knowledge-data.js';

/** How long probes are trained, and whether each has an embedding update of its own, as in the paper. */
export interface KnowledgeProbeConfig {
  readonly nStep: number;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly update: 'own' | 'shared';
  /** Of the embedding update; the paper's when left out, 0 for none. */
  readonly rank?: number;
}

/** What a probe reads at one place. */
export interface ProbeCell {
  readonly accuracy: number;
  readonly low: number;
  readonly high: number;
  /** Always answering the commonest training label. */
  readonly majority: number;
  /** The same probe of an untrained model; null when it was left out. */
  readonly randomModel: number | null;
  readonly n: number;
}

/** Scores of one attribute: the first token of its value (of a birth date: the month), and the whole value. */
export interface AttributeProbes<T> {
  readonly first: T;
  /** Null for birth dates: too many classes. */
  readonly whole: T | null;
}

/** By attribute, cells by place: just before the first, second, …, sixth fact of a biography, in the order of the text. */
export type PProbeResults = Readonly<
  Record<Attribute, AttributeProbes<{ readonly places: readonly ProbeCell[]; readonly pairs: PairCells | null }>>
>;

/** Places where a fact has not been told yet, by whether its partner of a pair has. */
export interface PairCells {
  readonly partnerTold: ProbeCell | null;
  readonly partnerUntold: ProbeCell | null;
}

/** By attribute, from the name alone. */
export type QProbeResults = Readonly<Record<Attribute, AttributeProbes<ProbeCell>>>;

interface Task {
  readonly name: string;
  readonly attribute: Attribute;
  readonly kind: 'first' | 'whole';
  readonly nClass: number;
  readonly classOf: (draw: PersonDraw) => number;
}

/** The eleven tasks: six first tokens and five whole values (arXiv:2309.14316, Section 5.1). */
function tasksOf({ population: { form }, tokenizer }: KnowledgeData): Task[] {
  const pools: Readonly<
    Record<Attribute, { readonly pool: readonly string[]; readonly of: (d: PersonDraw) => number }>
  > = {
    birthDate: { pool: form.months, of: (d) => d.month },
    birthCity: { pool: form.birthCities, of: (d) => d.birthCity },
    university: { pool: form.universities, of: (d) => d.university },
    major: { pool: form.majors, of: (d) => d.major },
    employer: { pool: form.employers, of: (d) => d.employer },
    workCity: { pool: form.seats, of: (d) => d.employer },
  };
  const numbered = (values: readonly (string | number)[]): { readonly n: number; readonly ids: readonly number[] } => {
    const known = new Map([...new Set(values)].map((value, i) => [value, i]));
    return { n: known.size, ids: values.map((value) => known.get(value)!) };
  };
  return ATTRIBUTES.flatMap((attribute): Task[] => {
    const { pool, of } = pools[attribute];
    const first = numbered(pool.map((text) => tokenizer.encode(` ${text}`)[0]!));
    const whole = numbered(pool);
    const task = (kind: Task['kind'], { n, ids }: typeof first): Task => ({
      name: `${attribute}.${kind}`,
      attribute,
      kind,
      nClass: n,
      classOf: (draw) => ids[of(draw)]!,
    });
    return [task('first', first), ...(attribute === 'birthDate' ? [] : [task('whole', whole)])];
  });
}

/**
 * Probes of every fact just before each fact of a biography: entries of all people, half of them to train on, the others to
 * test on.
 *
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Section 5.1 and Appendix E; "closer P-probing" for pairs.
 */
export async function pProbe(
  model: LanguageModel,
  data: KnowledgeData,
  config: KnowledgeProbeConfig,
  seed: number,
): Promise<PProbeResults> {
  const { people, tokenizer } = data;
  const tasks = tasksOf(data);
  const nEntry = Math.min(people.augmentation.nEntry, 10);
  const personOf = (index: number): number => index % people.nGroup;
  const source: EmbeddingProbeSource = {
    tasks: tasks.map(({ name, nClass }) => ({ name, nClass })),
    nExample: people.nGroup * nEntry,
    unit: personOf,
    example(index) {
      const person = personOf(index);
      const { tokens, spans } = people.entry(person, Math.floor(index / people.nGroup));
      const facts = factsOf(spans);
      const draw = data.population.draw(person);
      return {
        ids: Int32Array.of(tokenizer.eos, ...tokens),
        // The end-of-text token is in front, so the state before a fact's first token has that token's number.
        positions: facts.map(({ start }) => start),
        labels: tasks.map(({ classOf }) => new Int32Array(facts.length).fill(classOf(draw))),
        groups: {
          place: facts.map((_, k) => k),
          told: facts.map((_, k) =>
            facts.slice(0, k).reduce((mask, { label }) => mask + 2 ** ATTRIBUTES.indexOf(label as Attribute), 0),
          ),
        },
      };
    },
  };
  const { result } = await embeddingProbe(model, source, options('pProbe', config, seed));
  return byAttribute(tasks, result.tasks, (attribute, score) => ({
    places: score.groups.place!.map(cellOf),
    pairs: pairCells(attribute, score),
  }));
}

/** Spans of facts in the order of the text. */
function factsOf(spans: Sample['spans']): Sample['spans'] {
  return spans.filter(({ label }) => ATTRIBUTES.includes(label as Attribute));
}

/** Places where `attribute` is still to come, apart by whether its partner is. */
function pairCells(attribute: Attribute, { groups }: EmbeddingProbeScore): PairCells {
  const own = ATTRIBUTES.indexOf(attribute);
  const partner = own % 2 === 0 ? own + 1 : own - 1;
  const has = (mask: number, bit: number): boolean => Math.floor(mask / 2 ** bit) % 2 === 1;
  const told = groups
    .told!.map((cell) => ({ ...cell, mask: Number(cell.group) }))
    .filter(({ mask }) => !has(mask, own));
  const merged = (cells: typeof told): ProbeCell | null => {
    const n = cells.reduce((sum, cell) => sum + cell.n, 0);
    if (n === 0) return null;
    const mean = (value: (cell: (typeof told)[number]) => number): number =>
      cells.reduce((sum, cell) => sum + value(cell) * cell.n, 0) / n;
    const accuracy = mean((cell) => cell.accuracy);
    return {
      accuracy,
      // Intervals of disjoint places, weighted: exact for places that are read together, too wide for others.
      low: mean(({ interval }) => interval.low),
      high: mean(({ interval }) => interval.high),
      majority: mean(({ majority }) => majority ?? 0),
      randomModel: cells.some((cell) => cell.randomModelAccuracy === undefined)
        ? null
        : mean((cell) => cell.randomModelAccuracy!),
      n,
    };
  };
  return {
    partnerTold: merged(told.filter(({ mask }) => has(mask, partner))),
    partnerUntold: merged(told.filter(({ mask }) => !has(mask, partner))),
  };
}

/**
 * Probes of every fact from the full name alone, between the end-of-text token and a new token that ends it.
 *
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Section 5.2 and Appendix F. Differs from the paper: the starting token is the
 * one that stands between documents.
 */
export async function qProbe(
  model: LanguageModel,
  data: KnowledgeData,
  config: KnowledgeProbeConfig,
  seed: number,
): Promise<QProbeResults> {
  const { people, population, tokenizer, dVocab } = data;
  const tasks = tasksOf(data);
  const source: EmbeddingProbeSource = {
    tasks: tasks.map(({ name, nClass }) => ({ name, nClass })),
    nExample: people.nGroup,
    unit: (index) => index,
    example(person) {
      const name = tokenizer.encode(population.person(person).fullName);
      const draw = population.draw(person);
      const end = Math.max(dVocab, model.config.dVocab);
      return {
        ids: Int32Array.of(tokenizer.eos, ...name, end),
        positions: [name.length + 1],
        labels: tasks.map(({ classOf }) => [classOf(draw)]),
      };
    },
  };
  const settings = { ...options('qProbe', config, seed), nNewToken: 1 };
  const { result } = await embeddingProbe(model, source, settings);
  return byAttribute(tasks, result.tasks, (_, score) => cellOf(score));
}

/** The paper's probe with this project's size of training. */
function options(kind: 'pProbe' | 'qProbe', config: KnowledgeProbeConfig, seed: number): EmbeddingProbeOptions {
  // Without keys there is no control task: people do not recur between the halves.
  return { ...embeddingProbeSettings[kind], ...config, seed };
}

function cellOf(score: {
  readonly accuracy: number;
  readonly interval: { readonly low: number; readonly high: number };
  readonly majority: number | undefined;
  readonly randomModelAccuracy: number | undefined;
  readonly n?: number;
  readonly nTest?: number;
}): ProbeCell {
  const { accuracy, interval, majority, randomModelAccuracy } = score;
  return {
    accuracy,
    low: interval.low,
    high: interval.high,
    majority: majority ?? 0,
    randomModel: randomModelAccuracy ?? null,
    n: score.n ?? score.nTest ?? 0,
  };
}

function byAttribute<T>(
  tasks: readonly Task[],
  scores: Readonly<Record<string, EmbeddingProbeScore>>,
  read: (attribute: Attribute, score: EmbeddingProbeScore) => T,
): Readonly<Record<Attribute, AttributeProbes<T>>> {
  const of = (attribute: Attribute, kind: Task['kind']): T | null => {
    const task = tasks.find((one) => one.attribute === attribute && one.kind === kind);
    return task === undefined ? null : read(attribute, scores[task.name]!);
  };
  return Object.fromEntries(
    ATTRIBUTES.map((attribute) => {
      const first = of(attribute, 'first');
      invariant(first !== null, `no probe of the first token of ${attribute}`);
      return [attribute, { first, whole: of(attribute, 'whole') }];
    }),
  ) as Record<Attribute, AttributeProbes<T>>;
}
