// One probe as it trains: its parameters and its recorded steps.
//
// A probe reads the states of a sentence and says, at each position, a class of every label family. All families of a probe
// share its position weights and its states; each has outputs of its own.
import { invariant, type Rng } from '@physlm/base';
import {
  adamW,
  add,
  backward,
  crossEntropy,
  type Device,
  gradNorm,
  ignoreIndex,
  Linear,
  Module,
  ParameterArena,
  positionMix,
  type Recorded,
  reshape,
  slice,
  Tensor,
} from '@physlm/model';

// Axes: B sentences, T positions, R rows (positions of a batch), D width of a state, H head, C outputs of all families,
// V most positions of a sentence, K width of a position vector in a head.

/** How a probe reads states. */
export type ProbeArchitecture =
  | {
      /**
       * The multi-head linear probe of Part 1: Σ_r Σ_k w[r, i→k]·f_r(E_k), w = softmax over k of ⟨P[i,r], P[k,r]⟩, f affine.
       * Mask 'diagonal' leaves k = i only, where all weights are 1 and the sum over heads is one affine map: it is trained as
       * that map. 'tridiagonal' leaves |k − i| ≤ 1.
       */
      readonly kind: 'position';
      readonly mask: 'full' | 'diagonal' | 'tridiagonal';
      /** H; 16 in the paper. */
      readonly nHead: number;
      /** d′, width of a position's vectors of all heads together; 1024 in the paper. */
      readonly dPosition: number;
    }
  | { readonly kind: 'linear' }
  /** gelu between two affine maps; `dHidden` units. */
  | { readonly kind: 'mlp'; readonly dHidden: number };

/** States and labels of the sentences of a batch. */
export interface ProbeBatch {
  /** [nPosition, D] of each sentence. */
  readonly states: readonly Float32Array[];
  /** Of each sentence, by family: the class at each position, −1 where there is none. */
  readonly labels: readonly (readonly Int32Array[])[];
}

/** Sizes that a program is made for. */
export interface ProgramSizes {
  readonly d: number;
  /** Classes of each family. */
  readonly nClass: readonly number[];
  /** Most positions of a sentence. */
  readonly nPosition: number;
  /** Most sentences of a batch. */
  readonly batchSize: number;
}

/** Lengths are rounded up to a multiple of this, so that few programs serve all batches; numbers of rows to an eighth. */
const POSITION_STEP = 32;
const LEAST_ROW_STEP = 64;
/** Programs kept; each holds its intermediate tensors. */
const MOST_PROGRAMS = 16;
/**
 * ⟨P[i], P[i]⟩ at the start: a position prefers itself a little and still hears the others. Near 0 the gradient of P vanishes
 * with P; from 8 on a position hears itself alone and learns to look elsewhere late or never (measured at H = 4 and 16 on
 * labels one position ahead, three behind and at a fixed place: 2 trains fastest).
 */
const OWN_SCORE = 2;
const BETAS = [0.9, 0.98] as const;
const EPS = 1e-8;
const WEIGHT_DECAY = 0.001;

/** The parameters; `forward` gives logits [R, C]. */
class ProbeModule extends Module {
  readonly say: Linear;
  readonly answer: Linear | undefined;
  readonly position: Tensor | undefined;
  readonly #reach: number;
  readonly #nHead: number;

  constructor(device: Device, architecture: ProbeArchitecture, { d, nClass, nPosition }: ProgramSizes, rng: Rng) {
    super();
    const nOut = nClass.reduce((a, b) => a + b, 0);
    const linear = (nIn: number, n: number, name: string): Linear =>
      new Linear(device, nIn, n, { bias: true, initStd: 1 / Math.sqrt(3 * nIn) }, rng.fork(name));
    const mixes = architecture.kind === 'position' && architecture.mask !== 'diagonal';
    this.#nHead = mixes ? architecture.nHead : 1;
    this.#reach = mixes && architecture.mask === 'tridiagonal' ? 1 : -1;
    const nSay = architecture.kind === 'mlp' ? architecture.dHidden : this.#nHead * nOut;
    this.say = linear(d, nSay, 'say');
    this.answer = architecture.kind === 'mlp' ? linear(nSay, nOut, 'answer') : undefined;
    this.position = undefined;
    if (!mixes) return;
    const shape = [nPosition, this.#nHead, architecture.dPosition / this.#nHead];
    const std = Math.sqrt(OWN_SCORE / shape[2]!);
    const stream = rng.fork('position');
    const size = shape.reduce((a, b) => a * b, 1);
    this.position = device.tensor(
      Float32Array.from({ length: size }, () => std * stream.normal()),
      shape,
    );
    this.position.requiresGrad = true;
  }

  /** x [R, D]; with positions R = B·T, sentence after sentence. */
  forward(x: Tensor, lengths: Tensor): Tensor {
    if (this.answer !== undefined) return this.answer.forward(this.say.forwardGelu(x));
    const said = this.say.forward(x);
    if (this.position === undefined) return said;
    const B = lengths.size;
    const T = x.shape[0]! / B;
    const C = said.shape[1]! / this.#nHead;
    const f = reshape(said, [B, T, this.#nHead, C]);
    const { mixed } = positionMix({ p: this.position, f, lengths }, { reach: this.#reach });
    return reshape(mixed, [B * T, C]);
  }
}

/** The recorded steps for one number of rows. */
interface Step {
  readonly nRow: number;
  /** By family, [R]. */
  readonly targets: readonly Tensor[];
  readonly weight: Tensor;
  readonly train: Recorded<{ loss: Tensor }>;
  readonly predict: Recorded<{ logits: Tensor }>;
}

/**
 * A probe and its optimiser: AdamW (0.9, 0.98), decay 0.001 on matrices, on the mean −ln p over all labelled positions and
 * families of a batch. Steps are recorded, one for each rounded length.
 */
export class ProbeProgram {
  readonly nParameter: number;
  readonly #module: ProbeModule;
  readonly #arena: ParameterArena;
  readonly #m: Tensor;
  readonly #v: Tensor;
  readonly #hyper: Tensor;
  readonly #lengths: Tensor;
  /** States of a batch: [R, D] of the largest step; others see the front of it. */
  readonly #x: Tensor;
  readonly #steps = new Map<number, Step>();
  #nTrained = 0;

  constructor(
    private readonly device: Device,
    architecture: ProbeArchitecture,
    private readonly sizes: ProgramSizes,
    rng: Rng,
  ) {
    this.#module = new ProbeModule(device, architecture, sizes, rng);
    this.nParameter = this.#module.nParameter;
    this.#arena = new ParameterArena(device, this.#module);
    this.#m = this.#arena.like();
    this.#v = this.#arena.like();
    this.#hyper = device.zeros([8]);
    this.#lengths = device.zeros([sizes.batchSize], 'i32');
    const most = roundUpRows(sizes.batchSize * roundUp(sizes.nPosition, POSITION_STEP));
    this.#x = device.zeros([most, sizes.d]);
  }

  /** One optimiser step with learning rate `lr`; the mean −ln p over labelled positions and families, in nats. */
  train(batch: ProbeBatch, lr: number): number {
    const { step, rows } = this.#feed(batch);
    const targets = step.targets.map((tensor) => tensor.values().fill(ignoreIndex));
    let nTarget = 0;
    for (const { sentence, position, row } of rows) {
      for (const [g, labels] of batch.labels[sentence]!.entries()) {
        const label = labels[position]!;
        if (label < 0) continue;
        targets[g]![row] = label;
        nTarget++;
      }
    }
    if (nTarget === 0) return 0;
    step.weight.values().fill(1 / nTarget);
    const correction = (beta: number): number => 1 - beta ** (this.#nTrained + 1);
    const [beta1, beta2] = BETAS;
    this.#hyper.values().set([lr, beta1, beta2, EPS, WEIGHT_DECAY, correction(beta1), correction(beta2), 0]);
    step.train.run();
    this.#nTrained++;
    let total = 0;
    for (const loss of step.train.results.loss.values()) total += loss;
    return total / nTarget;
  }

  /** The likeliest class at each labelled position, by sentence and family; −1 where there is no label. */
  predict(batch: ProbeBatch): Int32Array[][] {
    const { step, rows } = this.#feed(batch);
    const answers = batch.labels.map((families) => families.map((labels) => new Int32Array(labels.length).fill(-1)));
    step.predict.run();
    const logits = step.predict.results.logits.values();
    const { nClass } = this.sizes;
    const nOut = nClass.reduce((a, b) => a + b, 0);
    for (const { sentence, position, row } of rows) {
      let start = row * nOut;
      for (let g = 0; g < nClass.length; g++) {
        const n = nClass[g]!;
        if (batch.labels[sentence]![g]![position]! >= 0) {
          let best = 0;
          for (let c = 1; c < n; c++) if (logits[start + c]! > logits[start + best]!) best = c;
          answers[sentence]![g]![position] = best;
        }
        start += n;
      }
    }
    return answers;
  }

  /** Nanoseconds for each kernel of a training step, on what was fed last. Changes weights as a step does. */
  profile(): ReadonlyMap<string, number> {
    const [last] = [...this.#steps.values()].slice(-1);
    invariant(last !== undefined, 'a profile before the first step');
    return last.train.profile();
  }

  /** Puts the states in place. Probes that look at one position at a time get the labelled ones only. */
  #feed(batch: ProbeBatch): { step: Step; rows: { sentence: number; position: number; row: number }[] } {
    const { d, batchSize, nPosition } = this.sizes;
    const { states, labels } = batch;
    invariant(states.length <= batchSize, `at most ${batchSize} sentences`);
    const lengths = states.map((rows) => rows.length / d);
    const x = this.#x.values();
    const rows: { sentence: number; position: number; row: number }[] = [];
    const labelled = (sentence: number, position: number): boolean =>
      labels[sentence]!.some((family) => family[position]! >= 0);
    if (this.#module.position === undefined) {
      for (const [b, length] of lengths.entries()) {
        for (let i = 0; i < length; i++) {
          if (!labelled(b, i)) continue;
          x.set(states[b]!.subarray(i * d, (i + 1) * d), rows.length * d);
          rows.push({ sentence: b, position: i, row: rows.length });
        }
      }
      return { step: this.#step(roundUpRows(rows.length)), rows };
    }
    const longest = lengths.reduce((a, b) => Math.max(a, b), 1);
    const nCovered = Math.min(nPosition, roundUp(longest, POSITION_STEP));
    this.#lengths.values().fill(0).set(lengths);
    for (const [b, length] of lengths.entries()) {
      const start = b * nCovered;
      x.set(states[b]!, start * d);
      // What an earlier batch left behind the end must be finite: it meets weights of 0.
      x.fill(0, (start + length) * d, (start + nCovered) * d);
      for (let i = 0; i < length; i++) {
        if (labelled(b, i)) rows.push({ sentence: b, position: i, row: start + i });
      }
    }
    return { step: this.#step(batchSize * nCovered), rows };
  }

  #step(nRow: number): Step {
    const known = this.#steps.get(nRow);
    if (known !== undefined) return known;
    const { device, sizes } = this;
    const x = new Tensor(device, this.#x.memory, 0, 'f32', [nRow, sizes.d]);
    const targets = sizes.nClass.map(() => device.zeros([nRow], 'i32'));
    const weight = device.zeros([nRow]);
    const train = device.withGrad(() =>
      device.record(() => {
        const logits = this.#module.forward(x, this.#lengths);
        const losses = targets.map((family, g) => {
          const start = sizes.nClass.slice(0, g).reduce((a, b) => a + b, 0);
          const own = targets.length === 1 ? logits : slice(logits, 1, start, start + sizes.nClass[g]!);
          return crossEntropy({ logits: own, targets: family }, { ignore: ignoreIndex }).loss;
        });
        const loss = losses.reduce((a, b) => add(a, b));
        backward(loss, weight);
        const g = this.#arena.gradients.view([this.#arena.gradients.size]);
        const { norm } = gradNorm({ g }, {});
        const state = { w: this.#arena.weights, g, m: this.#m, v: this.#v, norm, hyper: this.#hyper };
        adamW(state, { nDecay: this.#arena.nDecay });
        return { loss };
      }),
    );
    const predict = device.withoutGrad(() => device.record(() => ({ logits: this.#module.forward(x, this.#lengths) })));
    const step = { nRow, targets, weight, train, predict };
    const [oldest] = this.#steps.keys();
    if (oldest !== undefined && this.#steps.size === MOST_PROGRAMS) this.#steps.delete(oldest);
    this.#steps.set(nRow, step);
    return step;
  }
}

function roundUp(n: number, step: number): number {
  return Math.ceil(n / step) * step;
}

function roundUpRows(n: number): number {
  const least = Math.max(n, 1);
  return roundUp(least, Math.max(LEAST_ROW_STEP, 2 ** Math.floor(Math.log2(least)) / 8));
}
