import { ConfigError, type ConfigProblem, type Rng } from '@physlm/base';
import type { Device } from './device.js';
import { Gpt } from './gpt.js';
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
  for (const field of ['nLayer', 'nHead', 'dModel', 'dVocab', 'nCtx', 'dMlp'] as const) {
    check(Number.isInteger(config[field]) && config[field] > 0, field, 'a positive integer', config[field]);
  }
  if (problems.length > 0) return problems;
  const dHead = config.dModel / config.nHead;
  check(Number.isInteger(dHead), 'dModel', `a multiple of nHead ${config.nHead}`, config.dModel);
  if (config.architecture === 'gpt') {
    const { dRotary } = config;
    const even = Number.isInteger(dRotary / 2) && dRotary >= 0 && dRotary <= dHead;
    check(even, 'dRotary', `an even number up to the head's ${dHead}`, dRotary);
  } else {
    check(config.nHead % config.nKvHead === 0, 'nKvHead', `a divisor of nHead ${config.nHead}`, config.nKvHead);
    check(dHead % 2 === 0, 'dModel', 'heads of even width', `heads of ${dHead}`);
  }
  check(config.initStd >= 0 && Number.isFinite(config.initStd), 'initStd', 'a number ≥ 0', config.initStd);
  check(config.normEps > 0, 'normEps', 'a number > 0', config.normEps);
  return problems;
}
