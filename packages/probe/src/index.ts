export {
  ActivationStore,
  openActivationStore,
  type StoreIndex,
  type StoreOptions,
  storeActivations,
} from './activation-store.js';
export {
  type ActivationBatch,
  type ActivationSource,
  type ModelActivationsOptions,
  modelActivations,
  modelPoints,
  type SentenceSource,
  type StreamOptions,
  streamActivations,
} from './activation-stream.js';
export {
  type AttentionOptions,
  type AttentionRows,
  type AttentionStatistics,
  attentionStatistics,
  type NtLabels,
  type SentenceAttention,
} from './attention-statistics.js';
export { type Activations, type CollectOptions, collectActivations } from './collect-activations.js';
export { type EditAt, type Replacement, replaceStates } from './edits.js';
export {
  type ControlState,
  type EmbeddingProbeResult,
  type EmbeddingProbeRun,
  embeddingProbe,
  type ProbeAnswer,
  type TrainedEmbeddingProbe,
} from './embedding-probe.js';
export type { EmbeddingReadout } from './embedding-probe-module.js';
export {
  type EmbeddingControl,
  type EmbeddingProbeExample,
  type EmbeddingProbeOptions,
  type EmbeddingProbeProgress,
  type EmbeddingProbeSource,
  embeddingProbeSettings,
} from './embedding-probe-options.js';
export type { EmbeddingProbeInput } from './embedding-probe-program.js';
export type { CellScore, ClassScore, EmbeddingProbeScore, GroupScore } from './embedding-probe-score.js';
export { type LinearProbeOptions, type LinearProbeResult, linearProbe } from './linear-probe.js';
export { type ProbeLayersResult, type ProbeMatrix, probeLayers, probeMatrix } from './probe-matrix.js';
export type { ProbeArchitecture } from './probe-program.js';
export type { ProbeInterval, ProbeScore } from './probe-score.js';
export {
  type LabelFamily,
  type ProbeLabels,
  type SentenceLabels,
  type TrainedProbeResult,
  type TrainProbeOptions,
  trainProbe,
  trainProbes,
} from './train-probe.js';
