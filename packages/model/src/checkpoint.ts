import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CheckpointError, nearest, Rng, writeFileAtomic } from '@physlm/base';
import { buildModel, modelProblems } from './build-model.js';
import type { Device } from './device.js';
import { fromHf, toHf, toHfConfig } from './hf.js';
import type { LanguageModel, ModelConfig } from './language-model.js';
import { mergedParameters } from './low-rank.js';
import type { Module } from './module.js';
import { readSafetensors, type StoredTensor, writeSafetensors } from './safetensors.js';

/**
 * Writes `model.safetensors` and `config.json` into a folder, with the names, layouts and fields of Hugging Face
 * `transformers` (GPTNeoXForCausalLM for rotary positions, GPT2LMHeadModel for absolute ones, LlamaForCausalLM), which loads
 * the folder as it is. Models that it has no class for are written with our names and model_type `physlm_gpt` or `physlm_llama`. The model's
 * own configuration is the field `physlm` of `config.json`. Updates of low rank are merged into the weights.
 *
 * @throws OutputError naming the file that cannot be written.
 */
export function saveModel(folder: string, model: LanguageModel): void {
  const { config, parameters } = mergedParameters(model);
  writeSafetensors(join(folder, 'model.safetensors'), toHf(config, parameters));
  const json = { ...toHfConfig(config), physlm: config };
  writeFileAtomic(join(folder, 'config.json'), `${JSON.stringify(json, null, 2)}\n`);
}

/**
 * Makes the model of a folder written by `saveModel`.
 *
 * @throws CheckpointError naming the file that is missing, broken, or does not fit the other.
 */
export function loadModel(folder: string, device: Device): LanguageModel {
  const model = buildModel(device, readModelConfig(folder), new Rng('overwritten by the checkpoint'));
  loadWeights(join(folder, 'model.safetensors'), model);
  return model;
}

/**
 * What the model in a folder written by `saveModel` is.
 *
 * @throws CheckpointError naming the file that is missing, or does not say.
 */
export function readModelConfig(folder: string): ModelConfig {
  const path = join(folder, 'config.json');
  let config: ModelConfig | undefined;
  try {
    config = (JSON.parse(readFileSync(path, 'utf8')) as { physlm?: ModelConfig }).physlm;
  } catch (error) {
    throw new CheckpointError(path, `cannot be read: ${(error as Error).message}`, { cause: error });
  }
  if (config === undefined || typeof config !== 'object') throw new CheckpointError(path, "has no field 'physlm'");
  const problems = modelProblems(config);
  if (problems.length > 0) {
    throw new CheckpointError(path, problems.map((p) => `${p.path}: expected ${p.expected}, got ${p.got}`).join('; '));
  }
  return config;
}

/**
 * Overwrites a model's parameters with those of a safetensors file. Everything is checked before anything is written.
 *
 * @throws CheckpointError naming the file and the tensor that is missing, unknown or of another shape.
 */
export function loadWeights(file: string, model: LanguageModel): void {
  copyInto(file, fromHf(model.config, readSafetensors(file)), model);
}

function copyInto(file: string, stored: ReadonlyMap<string, StoredTensor>, model: Module): void {
  const parameters = model.parameters();
  for (const [name, tensor] of parameters) {
    const found = stored.get(name);
    if (found === undefined) throw new CheckpointError(file, `has no tensor '${name}'`);
    if (found.shape.length !== tensor.shape.length || found.shape.some((size, i) => size !== tensor.shape[i])) {
      throw new CheckpointError(file, `tensor '${name}': expected shape [${tensor.shape}], got [${found.shape}]`);
    }
  }
  for (const name of stored.keys()) {
    // A tied model may have been saved with its output layer spelt out.
    if (parameters.has(name) || name === 'unembed.weight') continue;
    const meant = nearest(name, parameters.keys());
    throw new CheckpointError(file, `holds an unknown tensor '${name}'; the nearest known is '${meant}'`);
  }
  for (const [name, tensor] of parameters) tensor.values().set(stored.get(name)!.values);
}
