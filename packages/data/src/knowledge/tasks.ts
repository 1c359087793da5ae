import { ConfigError, nearest, Rng } from '@physlm/base';
import type { BioForm } from '../bio/form.js';
import type { PersonDraw } from '../bio/population.js';

/** A kind of question about one person or two: what is asked, what may be said first, and what is right. */
export interface Task {
  readonly name: string;
  /** Places: `{a}` and `{b}` are full names, `{a.major}` a fact, `{a.month}`, `{a.day}`, `{a.year}`, `{a.first}` parts. */
  readonly question: string;
  /** The facts that the answer follows from, said before it. */
  readonly hint?: string;
  /** Places too, or a word that is computed. */
  readonly answer: string | ((a: PersonDraw, b: PersonDraw, form: BioForm) => string);
  /** Every word that can be computed. */
  readonly words?: (form: BioForm) => readonly string[];
}

/** Number of people that a task asks about. */
export function nPeopleOf({ question }: Task): 1 | 2 {
  return question.includes('{b') ? 2 : 1;
}

/**
 * Luckiness of each major of a form: a shuffle of 0 … n − 1 that does not change.
 *
 * @see Allen-Zhu and Li 2023, arXiv:2309.14402, Section 4.
 */
export function luckiness(form: BioForm): readonly number[] {
  return new Rng('luckiness').shuffle(form.majors.map((_, i) => i));
}

const scores = new WeakMap<BioForm, readonly number[]>();

function luckOf(form: BioForm, draw: PersonDraw): number {
  const known = scores.get(form) ?? luckiness(form);
  scores.set(form, known);
  return known[draw.major]!;
}

const month = (draw: PersonDraw): number => draw.month + 1;
const day = (draw: PersonDraw): number => draw.day + 1;
const yes = (is: boolean): string => (is ? 'Yes' : 'No');
const yesNo = (): readonly string[] => ['Yes', 'No'];
const integers = (low: number, high: number): string[] =>
  Array.from({ length: high - low + 1 }, (_, i) => `${low + i}`);

const one = (name: string, question: string, answer: string): Task => ({ name, question, answer });

/** The six questions of Part 3.1. */
const EXTRACTION: readonly Task[] = [
  one('birthDate', 'On which date was {a} born?', '{a.birthDate}'),
  one('birthCity', 'In which city was {a} born?', '{a.birthCity}'),
  one('university', 'Which university did {a} attend?', '{a.university}'),
  one('major', 'Which subject did {a} study?', '{a.major}'),
  one('employer', 'Which company did {a} work for?', '{a.employer}'),
  one('workCity', 'In which city did {a} work?', '{a.workCity}'),
];

const both = (x: string, y: string, first: string, second: string): Task =>
  one(`${x}+${y}`, `What are the ${first} and the ${second} of {a} ?`, `{a.${x}} ; {a.${y}}`);

/** Partial and dual retrieval. */
const RETRIEVAL: readonly Task[] = [
  one('birthDay', 'On which day of the month was {a} born?', '{a.day}'),
  one('birthYear', 'In which year was {a} born?', '{a.year}'),
  both('birthCity', 'employer', 'birth city', 'company'),
  both('employer', 'birthCity', 'company', 'birth city'),
  both('university', 'major', 'university', 'major'),
  both('major', 'university', 'major', 'university'),
  both('workCity', 'employer', 'work city', 'company'),
  both('employer', 'workCity', 'company', 'work city'),
];

const monthModulo = (n: number): Task => ({
  name: `monthMod${n}`,
  question: n === 2 ? 'Was {a} born in an even month?' : `What is the birth month of {a} modulo ${n} ?`,
  hint: '{a.month}.',
  answer: n === 2 ? (a) => yes(month(a) % 2 === 0) : (a) => `${month(a) % n}`,
  words: n === 2 ? yesNo : () => integers(0, n - 1),
});

const majorModulo = (n: number): Task => ({
  name: `majorMod${n}`,
  question: `How lucky is the major of {a} modulo ${n} ?`,
  hint: '{a.major}.',
  answer: (a, _, form) => `${luckOf(form, a) % n}`,
  words: (form) => integers(0, Math.min(n, form.majors.length) - 1),
});

/** One person: a function of the birth month or of the major. */
const CLASSIFICATION: readonly Task[] = [...[2, 6, 12].map(monthModulo), ...[5, 20, 100].map(majorModulo)];

const compared = (
  what: 'month' | 'day' | 'major',
  ranking: string,
  subtraction: string,
  score: (draw: PersonDraw, form: BioForm) => number,
  most: (form: BioForm) => number,
): Task[] => [
  {
    name: `${what}Ranking`,
    question: ranking,
    hint: `{a.${what}} ; {b.${what}}.`,
    answer: (a, b, form) => yes(score(a, form) > score(b, form)),
    words: yesNo,
  },
  {
    name: `${what}Subtraction`,
    question: subtraction,
    hint: `{a.${what}} ; {b.${what}}.`,
    answer: (a, b, form) => `${score(a, form) - score(b, form)}`,
    words: (form) => integers(-most(form), most(form)),
  },
];

/** Two people: whether one comes after the other (a tie is a No), and by how much. */
const COMPARISON: readonly Task[] = [
  ...compared(
    'month',
    'Was {a} born in a later month than {b} ?',
    'What is the birth month of {a} minus that of {b} ?',
    month,
    () => 11,
  ),
  ...compared(
    'day',
    'Was {a} born on a later day of the month than {b} ?',
    'What is the birth day of {a} minus that of {b} ?',
    day,
    (form) => form.days.length - 1,
  ),
  ...compared(
    'major',
    'Is the major of {a} more lucky than that of {b} ?',
    'How lucky is the major of {a} minus that of {b} ?',
    (draw, form) => luckOf(form, draw),
    (form) => form.majors.length - 1,
  ),
];

const FACTS = {
  bdate: 'birth date {a.birthDate}',
  birth: 'birth date {a.birthDate} and birth city {a.birthCity}',
  three: 'major {a.major} and university {a.university} and company {a.employer}',
  four: 'birth city {a.birthCity} and major {a.major} and university {a.university} and company {a.employer}',
  all:
    'birth date {a.birthDate} and birth city {a.birthCity} and university {a.university} and major {a.major} and ' +
    'company {a.employer} and work city {a.workCity}',
} as const;

/** From facts to the name. */
const INVERSE: readonly Task[] = Object.entries(FACTS).flatMap(([facts, text]) => [
  one(`${facts}_to_first`, `What is the first name of the person with ${text} ?`, '{a.first}'),
  one(`${facts}_to_full`, `What is the full name of the person with ${text} ?`, '{a}'),
]);

/** Tasks by what they try. */
export const TASK_FAMILIES = {
  extraction: EXTRACTION,
  retrieval: RETRIEVAL,
  classification: CLASSIFICATION,
  comparison: COMPARISON,
  inverse: INVERSE,
} as const satisfies Readonly<Record<string, readonly Task[]>>;

/** Every task: the six questions of Part 3.1, then those of Part 3.2. */
export const TASKS: readonly Task[] = Object.values(TASK_FAMILIES).flat();

const byName = new Map(TASKS.map((task) => [task.name, task]));

/**
 * The tasks of a list of names; a family's name stands for all of its tasks.
 *
 * @throws ConfigError with every name that is none, and the nearest one.
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Section 2 (extraction); arXiv:2309.14402, Sections 3 to 5 (all others).
 */
export function tasksNamed(names: readonly string[]): readonly Task[] {
  const families: Readonly<Record<string, readonly Task[]>> = TASK_FAMILIES;
  const known = [...Object.keys(families), ...byName.keys()];
  const problems = names
    .filter((name) => !known.includes(name))
    .map((name) => ({
      path: 'tasks',
      expected: `tasks or families (${Object.keys(families).join(', ')})`,
      got: `'${name}'`,
      nearest: nearest(name, known),
    }));
  if (names.length === 0)
    problems.push({ path: 'tasks', expected: 'at least one task', got: 'none', nearest: undefined });
  if (problems.length > 0) throw new ConfigError(problems);
  return [...new Set(names.flatMap((name) => families[name] ?? [byName.get(name)!]))];
}
