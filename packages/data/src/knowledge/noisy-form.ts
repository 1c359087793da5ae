// What the noisy rewrites say besides the sentences of a form. Places: facts by their names.

/** One sentence for two facts, without its subject, by the place of the pair in (1, 2), (3, 4), (5, 6). */
export const MERGED: readonly (readonly string[])[] = [
  [
    ' was born in {birthCity} on {birthDate}.',
    ' began life on {birthDate} in {birthCity}.',
    ' came from {birthCity} and was born on {birthDate}.',
    ' entered the world in {birthCity} on {birthDate}.',
  ],
  [
    ' studied {major} at {university}.',
    ' went to {university} and chose {major}.',
    ' learned about {major} at {university}.',
    ' took classes about {major} at {university}.',
  ],
  [
    ' worked for {employer} in {workCity}.',
    ' moved to {workCity} and worked for {employer}.',
    ' was hired by {employer} in {workCity}.',
    ' has a job in {workCity} and works for {employer}.',
  ],
];

/** Sentences without a fact. */
export const FILLERS: readonly string[] = [
  ' has a dog and a small garden.',
  ' sings in the choir.',
  ' is known to everyone.',
  ' works hard and likes the quiet.',
  ' has many friends.',
  ' walks to the river in the morning.',
  ' likes old maps and long books.',
  ' is a quiet person.',
];

/** Share of the places between sentences that get a filler. */
export const FILLER_SHARE = 0.35;
/** Share of the pairs that are merged. */
export const MERGED_SHARE = 0.5;

/** Opens a text whose first sentences do not say who it is about. */
export const NOBODY = 'The person';
/** The seventh sentence of `reverse6`, before the name. */
export const CLOSING = ' The name of the person is';
