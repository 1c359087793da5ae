import { ConfigError, type ConfigProblem, nearest, type Rng } from '@physlm/base';
import type { Device } from './device.js';
import { Gpt, type GptConfig, positionSchemes } from './gpt.js';
import type { LanguageModel, ModelConfig } from './language-model.js';
import { Llama } from './llama.js';

/**
 * Makes a model with fresh weights; each part draws from its own named stream of `rng`.
 *
 * @throws ConfigError with every size that does not fit.
 */
export function buildModel(device: Device, config: ModelConfig, rng: Rng): LanguageModel {
  const problems = modelProblems(config);
  if (problems.length > 0) throw new ConfigError(problems);
  return config.architecture === 'gpt' ? new Gpt(device, config, rng) : new Llama(device, config, rng);
}

/** Everything that keeps a configuration from being a model. */
export function modelProblems(config: ModelConfig): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const check = (ok: boolean, path: string, expected: string, got: unknown): void => {
    if (!ok) problems.push({ path: `model.${path}`, expected, got: String(got) });
  };
  if (config.architecture !== 'gpt' && config.architecture !== 'llama') {
    const { architecture } = config as { architecture: unknown };
    return [{ path: 'model.architecture', expected: "'gpt' or 'llama'", got: `'${architecture}'` }];
  }
  const positive = (x: number): boolean => Number.isInteger(x) && x > 0;
  for (const field of ['nLayer', 'nHead', 'dModel', 'dVocab', 'nCtx', 'dMlp'] as const) {
    if (field === 'dMlp' && config.architecture === 'gpt' && config.dMlp === 0) continue;
    check(positive(config[field]), field, 'a positive integer', config[field]);
  }
  if (problems.length > 0) return problems;
  const dHead = config.dModel / config.nHead;
  check(Number.isInteger(dHead), 'dModel', `a multiple of nHead ${config.nHead}`, config.dModel);
  if (config.architecture === 'gpt') {
    problems.push(...positionProblems(config, dHead), ...expertProblems(config));
  } else {
    check(config.nHead % config.nKvHead === 0, 'nKvHead', `a divisor of nHead ${config.nHead}`, config.nKvHead);
    check(dHead % 2 === 0, 'dModel', 'heads of even width', `heads of ${dHead}`);
  }
  const { documentSeparator: separator } = config;
  if (separator !== undefined) {
    const isToken = Number.isInteger(separator) && separator >= 0 && separator < config.dVocab;
    check(isToken, 'documentSeparator', `a token of the vocabulary, 0 … ${config.dVocab - 1}`, separator);
  }
  check(config.initStd >= 0 && Number.isFinite(config.initStd), 'initStd', 'a number ≥ 0', config.initStd);
  check(config.normEps > 0, 'normEps', 'a number > 0', config.normEps);
  return problems;
}

/** What keeps a GPT's mixture of experts from being built. */
function expertProblems({ nExpert, dMlp, ...config }: GptConfig): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const check = (ok: boolean, path: string, expected: string, got: unknown): void => {
    if (!ok) problems.push({ path: `model.${path}`, expected, got: String(got) });
  };
  for (const field of ['capacityFactor', 'testCapacityFactor', 'balanceWeight'] as const) {
    const value = config[field];
    if (value === undefined) continue;
    check(nExpert !== undefined, field, 'nothing without nExpert', value);
    const least = field === 'balanceWeight' ? 'a number ≥ 0' : 'a number > 0';
    check(value > 0 || (field === 'balanceWeight' && value === 0), field, least, value);
  }
  if (nExpert === undefined) return problems;
  check(Number.isInteger(nExpert) && nExpert > 0, 'nExpert', 'a positive integer', nExpert);
  check(dMlp > 0, 'dMlp', 'a positive integer: the width of an expert', dMlp);
  return problems;
}

/** What keeps a GPT's scheme of positions from being built. */
function positionProblems(config: GptConfig, dHead: number): ConfigProblem[] {
  const { position = 'rotary', causal = true, nDistance, dRotary } = config;
  if (!positionSchemes.includes(position)) {
    const expected = `one of ${positionSchemes.join(', ')}`;
    return [
      { path: 'model.position', expected, got: `'${position}'`, nearest: nearest(String(position), positionSchemes) },
    ];
  }
  const problems: ConfigProblem[] = [];
  const check = (ok: boolean, path: string, expected: string, got: unknown): void => {
    if (!ok) problems.push({ path: `model.${path}`, expected, got: String(got) });
  };
  if (position === 'rotary') {
    const even = Number.isInteger(dRotary / 2) && dRotary >= 0 && dRotary <= dHead;
    check(even, 'dRotary', `an even number up to the head's ${dHead}`, dRotary);
  } else {
    check(dRotary === 0, 'dRotary', `0 with ${position} positions, which turn nothing`, dRotary);
  }
  check(typeof causal === 'boolean', 'causal', 'true or false', causal);
  if (position === 'position' || position === 'uniform') {
    check(causal, 'causal', `true with ${position} attention, which looks back only`, causal);
  }
  if (config.documentSeparator !== undefined) {
    const products = position === 'rotary' || position === 'absolute' || position === 'none';
    const expected = 'nothing but in causal models with rotary, absolute or no positions';
    check(products && causal, 'documentSeparator', expected, config.documentSeparator);
  }
  if (nDistance !== undefined) {
    const used = position === 'relative' || position === 'position';
    check(used, 'nDistance', `nothing with ${position} positions, which know no distances`, nDistance);
    check(Number.isInteger(nDistance) && nDistance > 0, 'nDistance', 'a positive integer', nDistance);
  }
  return problems;
}
