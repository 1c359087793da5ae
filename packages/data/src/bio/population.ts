import { DataError, Rng } from '@physlm/base';
import { Permutation } from '../permutation.js';
import { BIO_S_FORM } from './bio-s-form.js';
import { type BioForm, PRONOUNS } from './form.js';
import { MINI_FORM } from './mini-form.js';

/** The two kinds of population. */
export type PopulationName = 'bioS' | 'bioS-mini';

/** A person and the six facts about them, as they stand in the text. */
export interface Person {
  readonly index: number;
  /** First, middle and last name; no other person of the population has the same three. */
  readonly fullName: string;
  readonly pronoun: 'He' | 'She';
  readonly birthDate: string;
  readonly birthCity: string;
  readonly university: string;
  readonly major: string;
  readonly employer: string;
  /** The city of the employer: a function of it. */
  readonly workCity: string;
}

/** The choices that make a person, as positions in the pools of a form. */
export interface PersonDraw {
  first: number;
  middle: number;
  last: number;
  pronoun: number;
  month: number;
  day: number;
  year: number;
  birthCity: number;
  university: number;
  major: number;
  employer: number;
}

/** People whose facts are drawn uniformly and independently. Person i is a pure function of (seed, i); none is stored. */
export interface Population {
  readonly name: PopulationName;
  readonly nPeople: number;
  /** @throws DataError when i is not in 0 … nPeople − 1. */
  person(i: number): Person;
  /** N0: how many full names there are to choose from. */
  readonly nNames: number;
  /** Choices of each scored fact. The work city is implied by the employer and not in it. */
  readonly choices: Readonly<Record<string, number>>;
  readonly form: BioForm;
  /**
   * Person i as positions in the pools of `form`.
   *
   * @throws DataError when i is not in 0 … nPeople − 1.
   */
  draw(i: number): PersonDraw;
}

/** Size and seed of a population. */
export interface PopulationOptions {
  readonly nPeople: number;
  readonly seed: number;
}

/**
 * bioS(N): 400 × 400 × 1000 names, 12 × 28 × 200 birth dates, 200 birth cities, 300 universities, 100 majors, 263
 * employers, 2 pronouns: 47.592 bits of facts for each person. The pools are this project's own.
 *
 * @throws DataError when nPeople is not in 1 … 160,000,000.
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Appendix A.1; 2024, arXiv:2404.05405, Section 2.1.
 */
export function bioS(options: PopulationOptions): Population {
  return population('bioS', options);
}

/**
 * A small bioS for one processor: 20 × 20 × 50 names, 12 × 28 × 50 birth dates, 60 birth cities, 60 universities, 30
 * majors, 60 employers, 2 pronouns: 37.67 bits of facts for each person, in about 40 words.
 *
 * Differs from the paper: pools and templates are smaller, and the word before a value always tells which value follows.
 *
 * @throws DataError when nPeople is not in 1 … 20,000.
 */
export function bioSMini(options: PopulationOptions): Population {
  return population('bioS-mini', options);
}

/** The pools and templates of a kind of population. */
export function formOf(name: PopulationName): BioForm {
  return name === 'bioS' ? BIO_S_FORM : MINI_FORM;
}

function population(name: PopulationName, { nPeople, seed }: PopulationOptions): Population {
  const form = formOf(name);
  const nNames = form.first.length * form.middle.length * form.last.length;
  if (!Number.isInteger(nPeople) || nPeople < 1 || nPeople > nNames) {
    throw new DataError(
      name,
      `nPeople in 1 … ${nNames}`,
      `${nPeople}`,
      `Full names are unique, and ${name} has ${nNames} of them.`,
    );
  }
  const root = new Rng(seed).fork(name);
  const facts = root.fork('facts');
  const names = new Permutation(form.first.length * form.middle.length, form.last.length, root.fork('names'));

  function draw(i: number): PersonDraw {
    if (!Number.isInteger(i) || i < 0 || i >= nPeople) {
      throw new DataError(`${name}.person`, `a person in 0 … ${nPeople - 1}`, `${i}`);
    }
    const fullName = names.at(i);
    const firstMiddle = Math.floor(fullName / form.last.length);
    const rng = facts.at(i);
    return {
      first: Math.floor(firstMiddle / form.middle.length),
      middle: firstMiddle % form.middle.length,
      last: fullName % form.last.length,
      pronoun: rng.below(PRONOUNS.length),
      month: rng.below(form.months.length),
      day: rng.below(form.days.length),
      year: rng.below(form.years.length),
      birthCity: rng.below(form.birthCities.length),
      university: rng.below(form.universities.length),
      major: rng.below(form.majors.length),
      employer: rng.below(form.employers.length),
    };
  }

  return {
    name,
    nPeople,
    nNames,
    form,
    choices: {
      birthDate: form.months.length * form.days.length * form.years.length,
      birthCity: form.birthCities.length,
      university: form.universities.length,
      major: form.majors.length,
      employer: form.employers.length,
      pronoun: PRONOUNS.length,
    },
    draw,
    person(i) {
      const d = draw(i);
      return {
        index: i,
        fullName: `${form.first[d.first]} ${form.middle[d.middle]} ${form.last[d.last]}`,
        pronoun: PRONOUNS[d.pronoun]!,
        birthDate: `${form.months[d.month]} ${form.days[d.day]} ${form.years[d.year]}`,
        birthCity: form.birthCities[d.birthCity]!,
        university: form.universities[d.university]!,
        major: form.majors[d.major]!,
        employer: form.employers[d.employer]!,
        workCity: form.seats[d.employer]!,
      };
    },
  };
}
