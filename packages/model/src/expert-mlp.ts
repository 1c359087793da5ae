import type { Rng } from '@physlm/base';
import type { Device } from './device.js';
import { Linear, normalParameter } from './layers.js';
import { Module } from './module.js';
import { balancePenalty, expertMlp } from './ops/experts.js';
import { reshape } from './primitives.js';
import type { Tensor } from './tensor.js';
import type { Trace } from './trace.js';

// Axes: B batch, T position, R rows (B × T), D dModel, E experts, F hidden width of an expert.

/** How a mixture of experts takes the place of an MLP. */
export interface ExpertConfig {
  /** Experts of each block, each an MLP of its own; every token goes through the one that the router likes best. */
  readonly nExpert: number;
  /**
   * Tokens of a window that an expert takes in training, over nCtx / nExpert: the first that come. Those beyond pass by; 2 when
   * absent.
   */
  readonly capacityFactor?: number;
  /** The same when nothing is trained; 8 when absent. */
  readonly testCapacityFactor?: number;
  /** What training adds to the loss of a token for uneven use of experts, when use is even; 0.01 when absent. */
  readonly balanceWeight?: number;
}

/** Sizes of a mixture of experts. */
export interface ExpertMlpConfig extends ExpertConfig {
  readonly nLayer: number;
  readonly nCtx: number;
  readonly dModel: number;
  /** Hidden width of each expert. */
  readonly dMlp: number;
  readonly initStd: number;
}

/**
 * A mixture of MLPs of which each token takes one, scaled by the router's probability; see `expertMlp`.
 *
 * Tokens compete for an expert within their window, in order, and how many it takes does not depend on how long the text is:
 * what a token gets depends on earlier tokens of its own window only. Decoding takes every token.
 *
 * Differs from the paper: its framework (tutel) counts capacity over all tokens of a batch on one GPU.
 *
 * @see arXiv:2404.05405, Section 9 and Appendix A; Fedus et al. 2021, arXiv:2101.03961 (Switch).
 */
export class ExpertMlp extends Module {
  readonly router: Linear;
  /** [E, F, D]. */
  readonly up: Tensor;
  /** [E·F], flat, so that it counts as biases do: no weight decay. */
  readonly upBias: Tensor;
  /** [E, D, F]. */
  readonly down: Tensor;
  /** [E·D]. */
  readonly downBias: Tensor;
  readonly #sizes: readonly [E: number, F: number, D: number];
  readonly #capacity: { readonly training: number; readonly test: number };
  readonly #balanceWeight: number;

  constructor(device: Device, config: ExpertMlpConfig, rng: Rng) {
    super();
    const { nExpert: E, dMlp: F, dModel: D, nLayer, nCtx, initStd } = config;
    const { capacityFactor = 2, testCapacityFactor = 8, balanceWeight = 0.01 } = config;
    this.router = new Linear(device, D, E, { bias: false, initStd }, rng.fork('router'));
    this.up = normalParameter(device, [E, F, D], initStd, rng.fork('up'));
    this.upBias = normalParameter(device, [E * F], 0, rng);
    this.down = normalParameter(device, [E, D, F], initStd / Math.sqrt(2 * nLayer), rng.fork('down'));
    this.downBias = normalParameter(device, [E * D], 0, rng);
    this.#sizes = [E, F, D];
    const capacity = (factor: number): number => Math.max(1, Math.ceil((factor * nCtx) / E));
    this.#capacity = { training: capacity(capacityFactor), test: capacity(testCapacityFactor) };
    this.#balanceWeight = balanceWeight;
  }

  /** x BTD, or BD for one token of each sequence. */
  forward(x: Tensor, trace: Trace): Tensor {
    const [E, F, D] = this.#sizes;
    const group = x.shape.length === 3 ? x.shape[1]! : 1;
    const rows = reshape(x, [x.size / D, D]);
    const logits = trace.tap('router', this.router.forward(rows));
    // Whoever does not read the penalty does not compute it in a recorded step.
    trace.tap('penalty', balancePenalty({ logits }, { group, weight: this.#balanceWeight }).penalty);
    const { up, down } = this;
    const biases = { upBias: reshape(this.upBias, [E, F]), downBias: reshape(this.downBias, [E, D]) };
    const capacity = x.device.gradEnabled ? this.#capacity.training : this.#capacity.test;
    return reshape(expertMlp({ x: rows, logits, up, down, ...biases }, { group, capacity }).y, x.shape);
  }
}
