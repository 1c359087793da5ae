import { ConfigError, DataError, Rng } from '@physlm/base';

/** People whose questions are trained on, and people whose questions are tests; no one is both. */
export interface PeopleSplit {
  /** P_train. */
  readonly train: Int32Array;
  /** P_test. */
  readonly test: Int32Array;
}

/**
 * Splits people 0 … nPeople − 1 at random: a half for training and the rest for tests. `nTrain` keeps only so many of the
 * training half, the same first ones whatever `nTrain` is.
 *
 * @throws ConfigError when there are too few people, or nTrain is more than half of them.
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Section 2; arXiv:2309.14402, Section 4 (|P_train|).
 */
export function splitPeople(nPeople: number, seed: number, nTrain?: number): PeopleSplit {
  if (!Number.isInteger(nPeople) || nPeople < 2) {
    throw new ConfigError([{ path: 'nPeople', expected: 'at least two people to split', got: `${nPeople}` }]);
  }
  const half = Math.floor(nPeople / 2);
  if (nTrain !== undefined && (!Number.isInteger(nTrain) || nTrain < 1 || nTrain > half)) {
    const expected = `an integer in 1 … ${half}, half of ${nPeople} people`;
    throw new ConfigError([{ path: 'nTrain', expected, got: `${nTrain}` }]);
  }
  const people = Int32Array.from({ length: nPeople }, (_, i) => i);
  const rng = new Rng(seed).fork('people split');
  for (let i = nPeople - 1; i > 0; i--) {
    const j = rng.below(i + 1);
    const other = people[j]!;
    people[j] = people[i]!;
    people[i] = other;
  }
  return { train: people.slice(0, nTrain ?? half), test: people.slice(half) };
}

/**
 * Refuses a split whose test people are also trained on: what a model then says of them is not extracted but trained.
 *
 * @throws DataError that names the people and both sides.
 */
export function requireApart({
  train,
  test,
}: {
  readonly train: ArrayLike<number>;
  readonly test: ArrayLike<number>;
}): void {
  const trained = new Set<number>();
  for (let i = 0; i < train.length; i++) trained.add(train[i]!);
  const shared: number[] = [];
  for (let i = 0; i < test.length; i++) if (trained.has(test[i]!)) shared.push(test[i]!);
  if (shared.length === 0) return;
  const some = shared.slice(0, 5).join(', ') + (shared.length > 5 ? ', …' : '');
  throw new DataError(
    'split',
    `no one in both the ${train.length} finetuning people and the ${test.length} test people`,
    `${shared.length} in both: ${some}`,
    'Finetune on P_train only, or test on other people.',
  );
}
