import type { AnyOp } from '../op.js';
import { adamW, gradNorm, sumSlices } from './adam-w.js';
import { attention, attentionStep } from './attention.js';
import { crossEntropy } from './cross-entropy.js';
import { embedding } from './embedding.js';
import { gelu, siluGate } from './gelu.js';
import { linear, linearBias, linearBiasGelu } from './linear.js';
import { layerNorm, rmsNorm } from './norm.js';
import { rotary } from './rotary.js';

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
  crossEntropy,
  sumSlices,
  gradNorm,
  adamW,
];
