// V-probing: what a frozen model's states tell of a problem when they are asked about one of its parameters.
import { Rng } from '@physlm/base';
import type { Tokenizer } from '@physlm/data';
import { ancestors, exists, type Igsm, type IgsmSample, type Layout, labelsOf, parameterName } from '@physlm/data/igsm';
import type { EmbeddingProbeExample, EmbeddingProbeSource, LabelFamily } from '@physlm/probe';
import { SentenceReader } from './igsm-sentences.js';

/** What is asked of a text that ends before its question or its solution: of one parameter, or of a pair. */
export type PlanTask = 'nece' | 'dep';

/** Questions about one parameter between two sentences of a solution. */
export const stateTasks = ['known', 'value', 'can_next', 'nece_next'] as const;
export type StateTask = (typeof stateTasks)[number];

/** Most questions about one problem. @see arXiv:2407.20311, Appendix F.2. */
const DRAWS = 10;

/** Tokens that probes add to the vocabulary: before a name, between two, behind the last. */
export const N_NEW_TOKEN = 3;

/** Writes questions about texts of one vocabulary. */
export class Questions {
  readonly reader: SentenceReader;
  readonly #tokenizer: Tokenizer;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
    this.reader = new SentenceReader(tokenizer);
  }

  /** The text behind the end of the one before, then the name of each parameter; read at the last token. */
  about(
    sample: IgsmSample,
    text: ArrayLike<number>,
    parameters: readonly number[],
  ): Pick<EmbeddingProbeExample, 'ids' | 'positions'> {
    const { dVocab, eos } = this.#tokenizer;
    const ids = [eos, ...Array.from(text)];
    for (const [i, parameter] of parameters.entries())
      ids.push(dVocab + Math.min(i, 1), ...this.#name(sample, parameter));
    ids.push(dVocab + 2);
    return { ids, positions: [ids.length - 1] };
  }

  /** The text, then `Define name as` of a parameter; read at the last token. */
  beginning(
    sample: IgsmSample,
    text: ArrayLike<number>,
    parameter: number,
  ): Pick<EmbeddingProbeExample, 'ids' | 'positions'> {
    const ids = [this.#tokenizer.eos, ...Array.from(text), ...this.reader.beginning(this.#name(sample, parameter))];
    return { ids, positions: [ids.length - 1] };
  }

  #name({ problem, naming }: IgsmSample, parameter: number): number[] {
    return [...this.#tokenizer.encode(` ${parameterName(problem.index, naming, parameter)}`)];
  }
}

/** Tokens of a problem without its question (pq), or with it when that stands in front (qp). */
export function problemTokens({ tokens, spans, solutionStart }: IgsmSample, layout: Layout): Int32Array {
  const question = spans.find(({ label }) => label === 'question')!;
  return tokens.slice(0, layout === 'pq' ? question.start : solutionStart - 1);
}

/** Tokens of a problem with its question, without the mark of the solution. */
export function questionTokens({ tokens, solutionStart }: IgsmSample): Int32Array {
  return tokens.slice(0, solutionStart - 1);
}

/** Tokens up to the end of sentence t of the solution; with no sentence, up to the mark that begins it. */
function solvedTokens({ tokens, solutionStart, sentences }: IgsmSample, t: number): Int32Array {
  return tokens.slice(0, t === 0 ? solutionStart : sentences[t - 1]!.end);
}

/** Whether the answer needs a parameter; −1 for pairs of items without an edge. */
function need(sample: IgsmSample, parameter: number): string {
  if (!exists(sample.problem, parameter)) return 'no edge';
  return ancestors(sample.problem.parents, sample.problem.query)[parameter] === 1 ? 'necessary' : 'unnecessary';
}

/** Fewest steps from the query to a parameter that it is computed from; 0 for the query, −1 for others. */
export function distanceToQuery({ problem: { parents, query } }: IgsmSample, parameter: number): number {
  const distance = new Int32Array(parents.length).fill(-1);
  distance[query] = 0;
  const line = [query];
  for (let k = 0; k < line.length; k++) {
    for (const parent of parents[line[k]!]!) {
      if (distance[parent]! >= 0) continue;
      distance[parent] = distance[line[k]!]! + 1;
      line.push(parent);
    }
  }
  return distance[parameter]!;
}

/** How many problems a source of questions is about. */
interface Size {
  readonly nProblem: number;
}

const binary = (name: string): LabelFamily => ({ name, nClass: 2 });

/** A source whose example i is question i % 10 about problem i / 10: `ask` makes it with draws of its own. */
function source(
  tasks: readonly LabelFamily[],
  { nProblem }: Size,
  problems: Igsm,
  use: string,
  ask: (sample: IgsmSample, rng: Rng, draw: number) => EmbeddingProbeExample,
): EmbeddingProbeSource {
  const rng = new Rng(`questions/${use}`);
  let last: IgsmSample | undefined;
  return {
    tasks,
    nExample: nProblem * DRAWS,
    unit: (index) => Math.floor(index / DRAWS),
    example(index) {
      const problem = Math.floor(index / DRAWS);
      if (last?.index !== problem) last = problems.document(problem);
      return ask(last, rng.at(problem), index % DRAWS);
    },
  };
}

/** The k-th of n choices in an order of their own, each once; from the start again when there are fewer. */
function choose(rng: Rng, n: number, k: number): number {
  const order = rng.shuffle(Array.from({ length: n }, (_, x) => x));
  return order[k % n]!;
}

/** Whether the answer needs a parameter, asked behind the question. By its distance to the query. */
export function neceQuestions(problems: Igsm, size: Size, questions: Questions): EmbeddingProbeSource {
  return source([binary('nece')], size, problems, 'nece', (sample, rng, draw) => {
    const { parameters, nece } = labelsOf(sample.problem, sample.solution);
    const parameter = parameters[choose(rng, parameters.length, draw)]!;
    return {
      ...questions.about(sample, questionTokens(sample), [parameter]),
      labels: [[nece[parameter]!]],
      groups: { distance: [distanceToQuery(sample, parameter)], need: [need(sample, parameter)] },
    };
  });
}

/** Whether one parameter is computed from another, asked before the question. By whether the answer needs the first. */
export function depQuestions(problems: Igsm, size: Size, questions: Questions, layout: Layout): EmbeddingProbeSource {
  return source([binary('dep')], size, problems, 'dep', (sample, rng, draw) => {
    const { parameters, dep } = labelsOf(sample.problem, sample.solution);
    const n = parameters.length;
    const pair = choose(rng, n * (n - 1), draw);
    const a = parameters[Math.floor(pair / (n - 1))]!;
    const rest = pair % (n - 1);
    const b = parameters[rest + Number(rest >= Math.floor(pair / (n - 1)))]!;
    return {
      ...questions.about(sample, problemTokens(sample, layout), [a, b]),
      labels: [[Number(dep(a, b))]],
      groups: { need: [need(sample, a)] },
    };
  });
}

/** What is known, and what can be computed next, between two sentences of the solution. */
export function stateQuestions(
  problems: Igsm,
  size: Size,
  questions: Questions,
  modulus: number,
): EmbeddingProbeSource {
  const tasks = stateTasks.map((name) => ({ name, nClass: name === 'value' ? modulus + 1 : 2 }));
  return source(tasks, size, problems, 'state', (sample, rng, draw) => {
    const { text, parameter, state } = between(sample, rng, draw);
    const { known, value, canNext, neceNext } = state;
    return {
      ...questions.about(sample, text, [parameter]),
      labels: [[known[parameter]!], [value[parameter]!], [canNext[parameter]!], [neceNext[parameter]!]],
      groups: { need: [need(sample, parameter)] },
    };
  });
}

/** Whether a parameter can be computed next, read right behind `Define name as` (Part 2.2). */
export function regretQuestions(problems: Igsm, size: Size, questions: Questions): EmbeddingProbeSource {
  return source([binary('can_next')], size, problems, 'regret', (sample, rng, draw) => {
    const { text, parameter, state } = between(sample, rng, draw);
    return { ...questions.beginning(sample, text, parameter), labels: [[state.canNext[parameter]!]] };
  });
}

/** A place in the solution and a parameter, uniformly. */
function between(
  sample: IgsmSample,
  rng: Rng,
  draw: number,
): { text: Int32Array; parameter: number; state: ReturnType<ReturnType<typeof labelsOf>['after']> } {
  const { parameters, after } = labelsOf(sample.problem, sample.solution);
  const nPlace = sample.solution.definitions.length + 1;
  const chosen = choose(rng, nPlace * parameters.length, draw);
  const t = chosen % nPlace;
  return {
    text: solvedTokens(sample, t),
    parameter: parameters[Math.floor(chosen / nPlace)]!,
    state: after(t),
  };
}
