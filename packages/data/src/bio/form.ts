/** What a biography says about a person, in the order of the papers; each has one sentence. */
export const ATTRIBUTES = ['birthDate', 'birthCity', 'university', 'major', 'employer', 'workCity'] as const;

/** One of the six facts of a biography. */
export type Attribute = (typeof ATTRIBUTES)[number];

/** The two pronouns; which one a person has is one bit of knowledge. */
export const PRONOUNS = ['He', 'She'] as const;

/** A sentence without its subject and value: subject + `before` + value + `after`. Both parts are ready to be joined. */
export interface Template {
  /** Starts with a space. */
  readonly before: string;
  /** Ends the sentence: `.` or a space, words and `.`. */
  readonly after: string;
}

/** The names, values and sentences that a kind of biography draws from. */
export interface BioForm {
  readonly first: readonly string[];
  readonly middle: readonly string[];
  readonly last: readonly string[];
  readonly months: readonly string[];
  /** With the comma that follows a day, as in `2,`. */
  readonly days: readonly string[];
  readonly years: readonly string[];
  readonly birthCities: readonly string[];
  readonly universities: readonly string[];
  readonly majors: readonly string[];
  readonly employers: readonly string[];
  /** Where employer i has its seat: the work city of its people. */
  readonly seats: readonly string[];
  readonly templates: Readonly<Record<Attribute, readonly Template[]>>;
}

/** Reads templates written as `was born on {} exactly`, one a line: no subject, no full stop. */
export function templates(text: string): readonly Template[] {
  return lines(text).map((line) => {
    const [before = '', after = ''] = line.split('{}');
    return { before: ` ${before.trimEnd()}`, after: `${after.trimEnd()}.` };
  });
}

/** The entries of a pool written one a line. */
export function lines(text: string): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

/** The entries of a pool of single words. */
export function words(text: string): readonly string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

/** The twelve months in English. */
export const MONTHS: readonly string[] = words(
  'January February March April May June July August September October November December',
);

/** Days 1 to 28, which every month has, with the comma that follows. */
export const DAYS: readonly string[] = Array.from({ length: 28 }, (_, i) => `${i + 1},`);

/** `n` years from `first`. */
export function years(first: number, n: number): readonly string[] {
  return Array.from({ length: n }, (_, i) => `${first + i}`);
}
