import type { AnyOp } from '../op.js';
import { adamW, gradNorm, sumSlices } from './adam-w.js';
import { attention, attentionStep, documentAttention } from './attention.js';
import { crossEntropy } from './cross-entropy.js';
import { embedding } from './embedding.js';
import { balancePenalty, expertMlp } from './experts.js';
import { gelu, siluGate } from './gelu.js';
import { linear, linearBias, linearBiasGelu } from './linear.js';
import { layerNorm, rmsNorm } from './norm.js';
import { positionAttention, positionAttentionStep } from './position-attention.js';
import { positionMix } from './position-mix.js';
import { relativeAttention, relativeAttentionStep } from './relative-attention.js';
import { rotary } from './rotary.js';
import { uniformAttention, uniformAttentionStep } from './uniform-attention.js';

/** Every declared op: what the conformance tests, the benchmark and the op table loop over. */
export const ops: readonly AnyOp[] = [
  linear,
  linearBias,
  linearBiasGelu,
  gelu,
  siluGate,
  layerNorm,
  rmsNorm,
  embedding,
  rotary,
  attention,
  attentionStep,
  documentAttention,
  relativeAttention,
  relativeAttentionStep,
  positionAttention,
  positionAttentionStep,
  uniformAttention,
  uniformAttentionStep,
  crossEntropy,
  positionMix,
  expertMlp,
  balancePenalty,
  sumSlices,
  gradNorm,
  adamW,
];
