export {
  AttentionLayer,
  type LayerCache,
  type PatternRows,
  type Projection,
  type ProjectionPlace,
} from './attention-layer.js';
export { attentionPattern, type PatternBlock } from './attention-pattern.js';
export { backward } from './autograd.js';
export { buildModel, modelProblems } from './build-model.js';
export { loadModel, loadWeights, readModelConfig, saveModel } from './checkpoint.js';
export type { Command } from './command.js';
export {
  Device,
  type DeviceName,
  type DeviceStatus,
  deviceNames,
  deviceStatus,
  openDevice,
  type Precision,
  Scope,
} from './device.js';
export { documentStarts } from './document-starts.js';
export { NativeError, ShapeError } from './error.js';
export { type ExpertConfig, ExpertMlp, type ExpertMlpConfig } from './expert-mlp.js';
export { type GenerateOptions, generate } from './generate.js';
export { Gpt, type GptConfig, gpt2, type PositionScheme, positionSchemes } from './gpt.js';
export { fromHf, toHf, toHfConfig } from './hf.js';
export { type KvCache, LanguageModel, type ModelConfig, type TrainingOutput } from './language-model.js';
export { Embedding, LayerNorm, Linear, RmsNorm } from './layers.js';
export { Llama, type LlamaConfig, llama } from './llama.js';
export { addLowRank, hasLowRank, type LowRankConfig, lowRankProblems, mergeLowRank } from './low-rank.js';
export { Module } from './module.js';
export { type AnyOp, type Axes, type Dims, defineOp, type Impl, type Op, type OpSpec, type Tolerance } from './op.js';
export { adamW, gradNorm, sumSlices } from './ops/adam-w.js';
export { attention, attentionStep, documentAttention } from './ops/attention.js';
export { crossEntropy, ignoreIndex } from './ops/cross-entropy.js';
export { embedding } from './ops/embedding.js';
export { balancePenalty, expertMlp } from './ops/experts.js';
export { gelu, siluGate } from './ops/gelu.js';
export { ops } from './ops/index.js';
export { linear, linearBias, linearBiasGelu } from './ops/linear.js';
export { layerNorm, rmsNorm } from './ops/norm.js';
export { positionAttention, positionAttentionStep } from './ops/position-attention.js';
export { positionMix } from './ops/position-mix.js';
export { relativeAttention, relativeAttentionStep } from './ops/relative-attention.js';
export { rotary } from './ops/rotary.js';
export { uniformAttention, uniformAttentionStep } from './ops/uniform-attention.js';
export { ParameterArena, type ParameterSlot } from './parameter-arena.js';
export * from './primitives.js';
export {
  type GptqOptions,
  gptq,
  type HessianRounding,
  roundByHessian,
  roundRows,
  roundToNearest,
  type WeightMatrix,
} from './quantize.js';
export { type Recorded, runSlices, type Slices, type SliceTask } from './record.js';
export { removeLastLayers } from './remove-layers.js';
export { readSafetensors, SafetensorsFile, type StoredTensor, writeSafetensors } from './safetensors.js';
export { type Dtype, Memory, type Shape, sizeOf, Tensor, type Values } from './tensor.js';
export { Trace, type TracePlan } from './trace.js';
