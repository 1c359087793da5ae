import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CheckpointError, ConfigError, type ConfigProblem, canonicalJson, digest, PhyslmError } from '@physlm/base';
import { type Tokenizer, tokenizerFromJson } from '@physlm/data';
import {
  type Device,
  type LanguageModel,
  loadModel,
  loadWeights,
  type ModelConfig,
  readModelConfig,
} from '@physlm/model';
import { RunDirectory } from '@physlm/train';

/** A trained model, with the tokenizer of the text that it was trained on. */
export interface Checkpoint {
  /** The checkpoint's own folder. */
  readonly path: string;
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
}

/** What data ask of a model. */
export interface CheckpointUse {
  readonly tokenizer: Tokenizer;
  /** Tokens in a window. */
  readonly nCtx: number;
}

/**
 * Loads a checkpoint folder, or the last checkpoint of a run directory. With `use`, what it is to be used for, it is checked
 * that tokens mean the same on both sides and that windows fit.
 *
 * @throws CheckpointError naming the file that is missing or damaged.
 * @throws ConfigError naming both sides where data and model do not fit.
 */
export function openCheckpoint(folder: string, device: Device, use?: CheckpointUse): Checkpoint {
  const path = existsSync(join(folder, 'experiment.json')) ? lastCheckpoint(folder) : folder;
  const tokenizer = readTokenizer(join(path, 'tokenizer.json'));
  const model = loadModel(path, device);
  const problems = use === undefined ? [] : misfits(path, model.config, tokenizer, use);
  if (problems.length > 0) throw new ConfigError(problems);
  return { path, model, tokenizer };
}

/** A checkpoint that an experiment begins with: where it is, and which. */
export interface CheckpointStart {
  readonly path: string;
  /** SHA-256 of its weights. */
  readonly weights: string;
}

/**
 * What an experiment may begin with: a checkpoint folder, or the last checkpoint of a run directory, that fits `use`.
 *
 * @throws CheckpointError naming the file that is missing or damaged; ConfigError where data and model do not fit.
 */
export function checkpointStart(
  folder: string,
  use: CheckpointUse,
): { readonly start: CheckpointStart; readonly config: ModelConfig } {
  if (!existsSync(folder)) throw new CheckpointError(folder, 'there is no such folder');
  const path = resolve(existsSync(join(folder, 'experiment.json')) ? lastCheckpoint(folder) : folder);
  const tokenizer = readTokenizer(join(path, 'tokenizer.json'));
  const config = readModelConfig(path);
  const problems = misfits(path, config, tokenizer, use);
  if (problems.length > 0) throw new ConfigError(problems);
  return { start: { path, weights: digestOfWeights(path) }, config };
}

/** @throws CheckpointError when the weights are not there any more, or others. */
export function loadStart({ path, weights }: CheckpointStart, model: LanguageModel): void {
  if (digestOfWeights(path) !== weights)
    throw new CheckpointError(weightsOf(path), 'holds other weights than when this experiment was set up');
  loadWeights(weightsOf(path), model);
}

const weightsOf = (path: string): string => join(path, 'model.safetensors');

function digestOfWeights(path: string): string {
  try {
    return digest(readFileSync(weightsOf(path)));
  } catch (error) {
    throw new CheckpointError(weightsOf(path), `cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

function lastCheckpoint(folder: string): string {
  const run = RunDirectory.open(folder, JSON.parse(readFileSync(join(folder, 'experiment.json'), 'utf8')), 'resume');
  const latest = run.latestCheckpoint();
  if (latest === undefined) throw new CheckpointError(join(folder, 'checkpoints'), 'holds no checkpoint');
  return latest.path;
}

function readTokenizer(file: string): Tokenizer {
  try {
    return tokenizerFromJson(JSON.parse(readFileSync(file, 'utf8')));
  } catch (error) {
    if (!(error instanceof PhyslmError || error instanceof SyntaxError || (error as NodeJS.ErrnoException).code))
      throw error;
    throw new CheckpointError(file, `cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

function misfits(path: string, config: ModelConfig, tokenizer: Tokenizer, use: CheckpointUse): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const difference = firstDifference(tokenizer, use.tokenizer);
  if (difference !== undefined) {
    const show = ({ name, dVocab }: Tokenizer): string => `'${name}' of ${dVocab} tokens`;
    const expected = `the tokens of ${show(tokenizer)}, as in ${path}`;
    problems.push({ path: 'data.tokenizer', expected, got: `${show(use.tokenizer)}: ${difference}` });
  }
  if (use.nCtx > config.nCtx) {
    const expected = `at most ${config.nCtx}, the nCtx of the model in ${path}`;
    problems.push({ path: 'data.nCtx', expected, got: `${use.nCtx}` });
  }
  return problems;
}

/** Where a token of `data` is not the same token of `known`; undefined when all are. */
function firstDifference(known: Tokenizer, data: Tokenizer): string | undefined {
  if (data.eos !== known.eos) return `its end of text is token ${data.eos}, not ${known.eos}`;
  if (canonicalJson(data.toJSON()) === canonicalJson(known.toJSON())) return undefined;
  for (let token = 0; token < data.dVocab; token++) {
    const ours = data.decode([token]);
    if (token >= known.dVocab) return `token ${token}, '${ours}', is new`;
    const theirs = known.decode([token]);
    if (ours !== theirs) return `token ${token} is '${ours}', not '${theirs}'`;
  }
  return undefined;
}
