// What the laws of Part 3.2 share: their runs, and how they read numbers off them.
import { answersFromHints } from '../../hinted-answers.js';
import { knowledgeScales } from '../../recipes/knowledge.js';
import type { Interval, Results, ScaleName } from '../../recipes/recipe.js';
import type { Law, LawMember } from '../law.js';
import { asked, read } from './members.js';

type Parameters = Readonly<Record<string, unknown>>;

/**
 * A model that can be asked for facts and is then taught one kind of task; by default it has read texts that store facts with the
 * name. What is taught on equal texts shares the training that reads them.
 */
export const taught = (tasks: string, { augmentation = 'multi5+permute', ...rest }: Parameters = {}): LawMember =>
  asked(String(augmentation), { tasks, finetune: 'lora', ...rest });

/**
 * Finetuning for functions of facts, where the paper differs from its finetuning for facts. Small models are taught them with all
 * weights, gently and briefly, lest they forget the facts.
 */
export const forFunctions = (scale: ScaleName): Parameters =>
  scale === 'gpu' || scale === 'paper'
    ? { rank: 16, finetuneLr: 1e-3 }
    : { finetune: 'full', finetuneLr: 1e-4, finetuneSteps: 1500 };

/** Half of the answers of training state the facts first. */
export const HINTED = { hintShare: 0.5 } as const;

/** This share of P_train is asked about. */
export const asking = (scale: ScaleName, share: number): Parameters =>
  share === 1 ? {} : { nTrain: Math.max(2, Math.round(share * Math.floor(knowledgeScales[scale].nPeople / 2))) };

export const source = (section: string): Law['source'] => ({ paper: 'arXiv:2309.14402', section });

/** A share with its interval; without width when it has none. */
export type Share = readonly [number, Interval];

export function share(results: Results | undefined, name: string): Share {
  const value = read(results, name);
  return [value, results?.intervals[name] ?? { low: value, high: value }];
}

/** The interval of a − b, independent shares. */
export function differenceInterval([a, aInterval]: Share, [b, bInterval]: Share): Interval {
  const half = ({ low, high }: Interval): number => (high - low) / 2;
  const width = Math.hypot(half(aInterval), half(bInterval));
  return { low: a - b - width, high: a - b + width };
}

/** How a model that was taught a task with hints answers about P_test. */
export interface HintedAnswers {
  /** When it states the facts first, and when it does not. */
  readonly withHint: number;
  readonly without: number;
  /** Whole hints that are right, and the answers that they let expect. */
  readonly hint: number;
  readonly predicted: number;
  readonly chance: number;
}

export function hintedAnswers(results: Results | undefined, task: string): HintedAnswers {
  const hint = read(results, `hint.test.${task}`);
  const chance = read(results, `majority.test.${task}`);
  return {
    withHint: read(results, `hinted.test.${task}`),
    without: read(results, `exact.test.${task}`),
    hint,
    predicted: answersFromHints(hint, chance),
    chance,
  };
}
