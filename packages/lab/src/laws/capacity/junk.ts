// The same people learnt alone, among random junk, among repetitive junk, and marked by a tag: laws about junk share these runs.
import type { LawMember } from '../law.js';
import { capacityRun } from './members.js';

/** Seven eighths of all tokens are about other people. */
const USEFUL_SHARE = 1 / 8;

const runs = (alone: object, among: object, nRepetitive: number) => ({
  alone: capacityRun({ ...alone }),
  random: capacityRun({ ...among, usefulShare: USEFUL_SHARE }),
  repetitive: capacityRun({ ...among, usefulShare: USEFUL_SHARE, junkPeople: nRepetitive }),
  tagged: capacityRun({ ...among, usefulShare: USEFUL_SHARE, tag: true }),
});

/** Small steps, so that there are enough of them without junk too. */
const tiny = { exposures: 200, batchSize: 8, lrPeak: 5e-3 };
const laptop = { nPeople: 1000, exposures: 300, lrPeak: 5e-3 };
/** 100 exposures; 50,000 people in a model with room for all of them. */
const gpu = { dModel: 256, exposures: 100, batchSize: 12, weightDecay: 0.01 };
const paper = { exposures: 100, batchSize: 24, weightDecay: 0.01 };

/** Members by scale. */
export const junkRuns = {
  tiny: runs(tiny, tiny, 20),
  laptop: runs(laptop, laptop, 20),
  gpu: runs(gpu, { ...gpu, lrPeak: 5e-4 }, 1000),
  paper: runs(paper, { ...paper, lrPeak: 5e-4 }, 1000),
} as const satisfies Readonly<Record<string, Readonly<Record<string, LawMember>>>>;

/** The same with three times the exposures, and the larger batches that the paper takes for them. */
export const moreExposures = {
  gpu: runs({ ...gpu, exposures: 300, batchSize: 48 }, { ...gpu, exposures: 300, batchSize: 96, lrPeak: 5e-4 }, 1000),
  paper: runs(
    { ...paper, exposures: 300, batchSize: 96 },
    { ...paper, exposures: 300, batchSize: 192, lrPeak: 5e-4 },
    1000,
  ),
} as const satisfies Readonly<Record<string, Readonly<Record<string, LawMember>>>>;
