// What every probe reports, and how intervals over sentences are computed in a stream.
import type { Rng } from '@physlm/base';

/** An interval that holds the true value in 95 of 100 repetitions. */
export interface ProbeInterval {
  readonly low: number;
  readonly high: number;
}

/** What a probe found, beside what it would have found without knowledge. Accuracies are shares of rows; plain JSON. */
export interface ProbeScore {
  /** On test rows. */
  readonly accuracy: number;
  /** Of `accuracy`: percentile bootstrap over test groups (sentences). */
  readonly interval: ProbeInterval;
  /** Test accuracy of always answering the commonest training label. */
  readonly majority: number;
  /** On training rows. */
  readonly trainAccuracy: number;
  /** Control task on test rows whose key occurs in training; undefined when there are none. */
  readonly controlAccuracy: number | undefined;
  /** What `majority` is to `accuracy`, for the control: with few keys its label frequencies are not the task's. */
  readonly controlMajority: number | undefined;
  /** Control task on training rows: what the probe can learn by heart, whatever the keys. */
  readonly controlTrainAccuracy: number;
  /** Task accuracy minus control accuracy, both on test rows whose key occurs in training; undefined when there are none. */
  readonly selectivity: number | undefined;
  /** Of `selectivity`: paired bootstrap over test groups. */
  readonly selectivityInterval: ProbeInterval | undefined;
  /** The same probe on states of an untrained model; undefined when the caller gave none. */
  readonly randomModelAccuracy: number | undefined;
  readonly randomModelInterval: ProbeInterval | undefined;
  /** Best possible accuracy given what the model has read, where the caller knows it. */
  readonly ceiling: number | undefined;
  /** Rows. */
  readonly nTrain: number;
  readonly nTest: number;
  /** Test rows whose key occurs in training. */
  readonly nTestSeen: number;
}

const N_RESAMPLE = 1000;
/** Cumulative probabilities of Poisson(1) in units of 2⁻³²; a word above the last gives its index + 1. */
const POISSON = poissonThresholds();

function poissonThresholds(): readonly number[] {
  const thresholds: number[] = [];
  let term = Math.exp(-1);
  let total = 0;
  for (let k = 1; k <= 12; k++) {
    total += term;
    thresholds.push(total * 2 ** 32);
    term /= k;
  }
  return thresholds;
}

/** The commonest label; of equals the smallest. */
export function commonestOf(counts: Float64Array): number {
  return counts.indexOf(counts.reduce((a, b) => Math.max(a, b)));
}

/**
 * 95 % percentile intervals of ratios Σ value / Σ n over groups that come one by one: each resample counts a group a
 * Poisson(1)-distributed number of times, so nothing but the resampled sums is kept. All ratios share the resamples, and a
 * group's counts depend on its number only, not on its turn.
 *
 * @see Chamandy et al. 2012, "Estimating Uncertainty for Massive Data Streams", section 3: the Poisson bootstrap.
 */
export class StreamBootstrap {
  readonly #values: Float64Array[] = [];
  readonly #counts: Float64Array[] = [];
  readonly #times = new Uint8Array(N_RESAMPLE);

  constructor(private readonly rng: Rng) {}

  /** A group, or a part of one: its [value, n] in each ratio; a hole, or n = 0, where it has none. */
  add(group: number, ratios: readonly (readonly [number, number] | undefined)[]): void {
    const stream = this.rng.at(group);
    for (let j = 0; j < N_RESAMPLE; j++) {
      const word = stream.u32();
      let times = 0;
      while (times < POISSON.length && word >= POISSON[times]!) times++;
      this.#times[j] = times;
    }
    for (const [i, ratio] of ratios.entries()) {
      if (ratio === undefined || ratio[1] === 0) continue;
      const [value, n] = ratio;
      this.#values[i] ??= new Float64Array(N_RESAMPLE);
      this.#counts[i] ??= new Float64Array(N_RESAMPLE);
      const [values, counts] = [this.#values[i], this.#counts[i]];
      for (let j = 0; j < N_RESAMPLE; j++) {
        values[j]! += this.#times[j]! * value;
        counts[j]! += this.#times[j]! * n;
      }
    }
  }

  /** Of a ratio; undefined when no resample has any n. */
  interval(ratio: number): ProbeInterval | undefined {
    const [values, counts] = [this.#values[ratio], this.#counts[ratio]];
    if (values === undefined || counts === undefined) return undefined;
    const means = values.map((value, j) => value / counts[j]!).filter((mean) => Number.isFinite(mean));
    if (means.length === 0) return undefined;
    means.sort();
    return {
      low: means[Math.floor(0.025 * means.length)]!,
      high: means[Math.max(0, Math.ceil(0.975 * means.length) - 1)]!,
    };
  }
}
