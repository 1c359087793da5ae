export { type BeamCompletion, type BeamOptions, beamSearch } from './beam-search.js';
export {
  type BitComplexity,
  bitComplexity,
  type DiversityMeasurement,
  type KnowledgeMeasurement,
} from './bit-complexity.js';
export { type Completion, type CompletionOptions, completions } from './completions.js';
export { type Distinctness, distinctness } from './distinctness.js';
export { greedyMatches } from './greedy-matches.js';
export { bootstrapInterval, type Interval } from './interval.js';
export {
  type KnowledgeLosses,
  type KnowledgeLossOptions,
  knowledgeLosses,
  type LabelledDocument,
} from './knowledge-losses.js';
export { sequenceLosses } from './sequence-losses.js';
export { type KnownSentence, type SentenceKl, tokenKl } from './token-kl.js';
export { wilsonInterval } from './wilson.js';
export { type LossWindows, type WindowLoss, windowLosses } from './window-loss.js';
