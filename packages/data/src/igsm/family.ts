// Template families: genres of questions over the same graphs. A family is a handful of sentence patterns and its own worlds;
// writer and reader are both made from the patterns, so they cannot disagree.
import { ConfigError, nearest } from '@physlm/base';
import {
  DISTANCE_WORLDS,
  itemsOf,
  NUMBER_WORLDS,
  PRICE_WORLDS,
  RECIPE_WORLDS,
  TRAIT_WORLDS,
  type WorldWords,
} from './words.js';

/** Four layers of five sub-categories of items. */
export interface World {
  readonly layers: readonly WorldLayer[];
}

/** A layer: its name, which abstract parameters bear, and its items by sub-category. */
export interface WorldLayer {
  readonly name: string;
  readonly subCategories: readonly (readonly string[])[];
}

/** Sentence patterns. `{owner}` holds `{owned}`; `{parameter}` is a name; all other slots are expressions or numbers. */
export interface Patterns {
  readonly parameter: string;
  /** In front of a name inside a statement. */
  readonly each: string;
  readonly statement: string;
  readonly question: string;
  readonly more: string;
  readonly times: string;
  readonly sum: string;
  readonly difference: string;
}

/** Genre of questions: how statements and questions are worded, and about what. */
export interface TemplateFamily {
  readonly name: FamilyName;
  readonly patterns: Patterns;
  readonly worlds: readonly World[];
}

export const FAMILY_NAMES = ['numbers', 'prices', 'distances', 'recipes', 'traits'] as const;

/** `numbers` is the family of the papers; the others are this project's. */
export type FamilyName = (typeof FAMILY_NAMES)[number];

const PATTERNS: Readonly<Record<FamilyName, Patterns>> = {
  numbers: {
    parameter: "{owner}'s {owned}",
    each: 'each ',
    statement: 'The number of each {parameter} equals {value}',
    question: 'How many {owned} does {owner} have?',
    more: '{constant} more than {rest}',
    times: '{constant} times as much as {rest}',
    sum: 'the sum of {list}',
    difference: 'the difference of {first} and {second}',
  },
  prices: {
    parameter: '{owner} in {owned}',
    each: 'each ',
    statement: 'The price of each {parameter} is {value}',
    question: 'How much is the price of {owner} in {owned}?',
    more: '{constant} more than {rest}',
    times: '{constant} times {rest}',
    sum: 'the total of {list}',
    difference: 'the difference between {first} and {second}',
  },
  distances: {
    parameter: '{owner} to {owned}',
    each: 'each ',
    statement: 'The way of each {parameter} measures {value}',
    question: 'How much does the way of {owner} to {owned} measure?',
    more: '{constant} plus {rest}',
    times: '{constant} times as much as {rest}',
    sum: 'the sum of {list}',
    difference: 'the difference of {first} and {second}',
  },
  recipes: {
    parameter: '{owned} per {owner}',
    each: 'each ',
    statement: 'Take {value} for each {parameter}',
    question: 'How much {owned} per {owner} is there to take?',
    more: '{constant} added to {rest}',
    times: '{constant} times {rest}',
    sum: 'the total of {list}',
    difference: 'the difference between {first} and {second}',
  },
  traits: {
    parameter: '{owned} from {owner}',
    each: 'each ',
    statement: 'The count of each {parameter} equals {value}',
    question: 'What is the count of {owned} from {owner}?',
    more: '{constant} plus {rest}',
    times: '{constant} times as much as {rest}',
    sum: 'the sum of {list}',
    difference: 'the difference of {first} and {second}',
  },
};

const WORLDS: Readonly<Record<FamilyName, readonly WorldWords[]>> = {
  numbers: NUMBER_WORLDS,
  prices: PRICE_WORLDS,
  distances: DISTANCE_WORLDS,
  recipes: RECIPE_WORLDS,
  traits: TRAIT_WORLDS,
};

const families = new Map<FamilyName, TemplateFamily>();

/**
 * The template family of that name.
 *
 * @throws ConfigError with the nearest name when there is none.
 */
export function templateFamily(name: string): TemplateFamily {
  const known = FAMILY_NAMES.find((one) => one === name);
  if (known === undefined) {
    const problem = { path: 'family', expected: `one of ${FAMILY_NAMES.join(', ')}`, got: `'${name}'` };
    throw new ConfigError([{ ...problem, nearest: nearest(name, FAMILY_NAMES) }]);
  }
  const made = families.get(known) ?? { name: known, patterns: PATTERNS[known], worlds: WORLDS[known].map(worldOf) };
  families.set(known, made);
  return made;
}

/** The same patterns with other worlds: tells the effect of wording from that of words. */
export function withWorlds(family: TemplateFamily, worlds: readonly World[]): TemplateFamily {
  return { ...family, worlds };
}

/** The first sub-categories and items of each layer of a world, for a small vocabulary. */
export function trimWorld(world: World, nSubCategory: number, nItem: number): World {
  return {
    layers: world.layers.map(({ name, subCategories }) => ({
      name,
      subCategories: subCategories.slice(0, nSubCategory).map((items) => items.slice(0, nItem)),
    })),
  };
}

function worldOf(words: WorldWords): World {
  return {
    layers: words.map(([name, ...subCategories]) => ({ name, subCategories: subCategories.map(itemsOf) })),
  };
}
