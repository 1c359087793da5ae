import { complaint, PhyslmError, type Rng } from '@physlm/base';
import type { Device } from './device.js';
import type { LanguageModel } from './language-model.js';
import { nextTokens, type Script } from './next-tokens.js';
import type { Tensor } from './tensor.js';

/** How to continue prompts. */
export interface GenerateOptions {
  /** Most tokens to add to each prompt. */
  readonly nNew: number;
  /** Stops a sequence; not part of the result. */
  readonly eos?: number;
  /** 0: always the likeliest token (ties: the smallest). Otherwise logits are divided by it before sampling. */
  readonly temperature?: number;
  /** Sample among this many likeliest tokens only. */
  readonly topK?: number;
  /** Needed for sampling: sequence b draws from `rng.at(firstIndex + b)`, so results do not depend on batch-mates. */
  readonly rng?: Rng;
  /** Index of the first prompt in a longer list that is continued batch by batch. */
  readonly firstIndex?: number;
}

/**
 * Continues each prompt, all in one batch over a key/value cache. Every sequence starts at position 0 and all advance
 * together; while a prompt lasts its own tokens are fed, so prompts of different lengths need no padding.
 *
 * @returns the new tokens of each sequence, without `eos`.
 * @throws PhyslmError 'config' when a prompt is empty or prompt and new tokens exceed the model's context.
 */
export function generate(
  model: LanguageModel,
  prompts: readonly ArrayLike<number>[],
  options: GenerateOptions,
): Int32Array[] {
  const { nNew, eos, temperature = 0, topK, rng, firstIndex = 0 } = options;
  const longest = Math.max(0, ...prompts.map((prompt) => prompt.length));
  const nCtx = longest + nNew - 1;
  if (prompts.some((prompt) => prompt.length === 0)) {
    throw new PhyslmError('config', complaint('generate.prompts', 'at least one token each', 'an empty prompt'));
  }
  if (nCtx > model.config.nCtx) {
    const got = `${longest} + ${nNew} tokens`;
    throw new PhyslmError('config', complaint('generate', `prompt and new tokens within ${model.config.nCtx}`, got));
  }
  checkDocuments(model, prompts, eos);
  if (temperature > 0 && rng === undefined) {
    throw new PhyslmError('config', complaint('generate.rng', 'a random stream for a temperature above 0', 'none'));
  }
  if (prompts.length === 0 || nNew === 0) return prompts.map(() => new Int32Array(0));

  const { device } = model;
  const nBatch = prompts.length;
  const cache = model.cache(nBatch, nCtx);
  const script = writeScript(device, prompts, nCtx + 1, cache.position, (b) => rng?.at(firstIndex + b));
  const choice = { temperature, topK: topK ?? model.config.dVocab };
  const step = device.withoutGrad(() =>
    device.record(() => {
      nextTokens(model.step(script.ids, cache), script, choice);
      return {};
    }),
  );
  // A look at what was chosen waits for the device.
  const stepsPerLook = device.native?.synchronize === undefined ? 1 : STEPS_PER_LOOK;
  for (let t = 0; t < nCtx; t++) {
    step.run();
    if (eos === undefined || t < longest || t % stepsPerLook > 0) continue;
    const tokens = script.tokens.values();
    if (prompts.every(({ length }, b) => newTokens(tokens, b, nCtx + 1, length, t + 2, eos).ended)) break;
  }
  const tokens = script.tokens.values();
  return prompts.map(({ length }, b) => {
    const end = Math.min(length + nNew, nCtx + 1);
    return Int32Array.from(newTokens(tokens, b, nCtx + 1, length, end, eos).tokens);
  });
}

/** A cache is one document: in a model that tells them apart, prompts must be, and sequences must end with theirs. */
function checkDocuments({ config }: LanguageModel, prompts: readonly ArrayLike<number>[], eos?: number): void {
  const { documentSeparator: separator } = config;
  if (separator === undefined) return;
  const long = prompts.findIndex((prompt) => Array.from(prompt).indexOf(separator, 1) > 0);
  if (long >= 0) {
    const expected = `prompts of one document, with ${separator} at their beginning only: documents do not see each other`;
    throw new PhyslmError('config', complaint(`generate.prompts[${long}]`, expected, `${separator} further on`));
  }
  if (eos !== separator) {
    const expected = `${separator}, the separator of documents, which do not see each other`;
    throw new PhyslmError('config', complaint('generate.eos', expected, `${eos ?? 'none'}`));
  }
}

/** Steps between looks at which sequences have ended, on a device that runs ahead of the host. */
const STEPS_PER_LOOK = 16;
/** The largest f32 below 1. */
const BELOW_ONE = 1 - 2 ** -24;

/** Prompts, and a random number for every token behind them. */
function writeScript(
  device: Device,
  prompts: readonly ArrayLike<number>[],
  nPosition: number,
  position: Tensor,
  streamOf: (b: number) => Rng | undefined,
): Script {
  const tokens = new Int32Array(prompts.length * nPosition).fill(-1);
  const draws = new Float32Array(prompts.length * nPosition);
  prompts.forEach((prompt, b) => {
    tokens.set(Array.from(prompt), b * nPosition);
    const stream = streamOf(b);
    for (let at = prompt.length; at < nPosition && stream !== undefined; at++)
      draws[b * nPosition + at] = Math.min(BELOW_ONE, stream.uniform());
  });
  position.values()[0] = 0;
  const shape = [prompts.length, nPosition];
  return {
    tokens: device.tensor(tokens, shape, 'i32'),
    draws: device.tensor(draws, shape),
    ids: device.tensor(
      prompts.map((prompt) => prompt[0]!),
      [prompts.length],
      'i32',
    ),
    position,
  };
}

/** What sequence b has at positions [from, to) before `eos`. */
function newTokens(
  all: ArrayLike<number>,
  b: number,
  nPosition: number,
  from: number,
  to: number,
  eos: number | undefined,
): { readonly tokens: number[]; readonly ended: boolean } {
  const tokens: number[] = [];
  for (let at = from; at < to; at++) {
    const token = all[b * nPosition + at]!;
    if (token === eos) return { tokens, ended: true };
    if (token < 0) return { tokens, ended: false };
    tokens.push(token);
  }
  return { tokens, ended: false };
}
