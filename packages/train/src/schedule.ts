/** How the learning rate moves from step to step. */
export interface ScheduleConfig {
  /** What follows the warm-up: nothing, a straight line, or half a cosine. */
  readonly kind: 'constant' | 'linear' | 'cosine';
  /** Steps of a linear rise from 0 to the peak. */
  readonly nWarmup: number;
  /** Where it ends, as a fraction of the peak; the papers' cosine ends at 0.1. */
  readonly finalFraction: number;
}

/** Fraction of the peak learning rate at a step: `step` counts from 0, `nStep` is the whole run. */
export function learningRateFraction(
  { kind, nWarmup, finalFraction }: ScheduleConfig,
  step: number,
  nStep: number,
): number {
  if (step < nWarmup) return (step + 1) / nWarmup;
  if (kind === 'constant') return 1;
  const done = Math.min(1, (step - nWarmup) / Math.max(1, nStep - nWarmup));
  const left = kind === 'linear' ? 1 - done : 0.5 * (1 + Math.cos(Math.PI * done));
  return finalFraction + (1 - finalFraction) * left;
}
