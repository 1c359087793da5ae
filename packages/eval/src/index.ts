export { type BitComplexity, bitComplexity, type KnowledgeMeasurement } from './bit-complexity.js';
export { bootstrapInterval, type Interval } from './interval.js';
export { type KnowledgeLosses, knowledgeLosses, type LabelledDocument } from './knowledge-losses.js';
export { sequenceLosses } from './sequence-losses.js';
