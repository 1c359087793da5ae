// Models of equal parameters and other shapes, shown everybody often or seldom: laws about architectures share these runs.
import type { LawMember } from '../law.js';
import { capacityRun } from './members.js';

/** 100 exposures as the paper trains them: small batches, and for gated MLPs the best of three rates. */
const seldom = { exposures: 100, batchSize: 12, weightDecay: 0.01 } as const;

/** A block of 4d² in attention has room for 8d², 2d² or nothing in its MLP: 2, 4 and 6 layers are equally large. */
const shapes = {
  gpt: {},
  gated: { architecture: 'llama', tied: true },
  quarter: { mlpRatio: 0.25, nLayer: 4 },
  without: { mlpRatio: 0, nLayer: 6 },
} as const;

/** A shape, shown everybody 1000 times. */
export const often = (shape: keyof typeof shapes): LawMember => capacityRun({ ...shapes[shape] });

/** The same, shown everybody 100 times, at a learning rate. */
export const seldomAt = (shape: keyof typeof shapes, lrPeak: number): LawMember =>
  capacityRun({ ...shapes[shape], ...seldom, lrPeak });

/** What one processor can train: 900 exposures for 1000, 150 for 100. */
export const tinyGated = {
  'gpt often': capacityRun({ exposures: 900 }),
  'gated often': capacityRun({ ...shapes.gated, exposures: 900 }),
  'gpt seldom': capacityRun({ exposures: 150, batchSize: 8 }),
  'gated seldom, 3e-3': capacityRun({ ...shapes.gated, exposures: 150, batchSize: 8, lrPeak: 3e-3 }),
  'gated seldom, 5e-3': capacityRun({ ...shapes.gated, exposures: 150, batchSize: 8, lrPeak: 5e-3 }),
  'gated seldom, 8e-3': capacityRun({ ...shapes.gated, exposures: 150, batchSize: 8 }),
} as const;

/** GPT at the scale's own learning rate and 100 exposures: the run that every shape is compared with. */
export const seldomGpt: LawMember = capacityRun(seldom);
