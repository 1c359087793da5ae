/** What went wrong, as a word that code can test. Stable across releases; messages are not. */
export type ErrorCode =
  | 'shape'
  | 'dtype'
  | 'device'
  | 'config'
  | 'data'
  | 'checkpoint'
  | 'native'
  | 'disposed'
  | 'diverged'
  | 'output'
  | 'ranks'
  | 'bug';

/** Every error this project throws on purpose. Test `code`, never `message`. */
export class PhyslmError extends Error {
  override readonly name: string = 'PhyslmError';
  constructor(
    readonly code: ErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** `[where] expected …, got …`, then the fix on a line of its own. */
export function complaint(where: string, expected: string, got: string, fix?: string): string {
  return `[${where}] expected ${expected}, got ${got}${fix === undefined ? '' : `\n${fix}`}`;
}

/** Bad generator parameters, bad text, or data that does not fit its vocabulary. */
export class DataError extends PhyslmError {
  override readonly name = 'DataError';
  constructor(where: string, expected: string, got: string, fix?: string) {
    super('data', complaint(where, expected, got, fix));
  }
}

/** One thing wrong with a configuration: `path` is dotted, as in `train.nStep`. */
export interface ConfigProblem {
  readonly path: string;
  readonly expected: string;
  readonly got: string;
  /** For an unknown name: the valid name closest to it. */
  readonly nearest?: string | undefined;
}

/** A configuration that cannot be run. Reports every problem at once. */
export class ConfigError extends PhyslmError {
  override readonly name = 'ConfigError';
  constructor(
    readonly problems: readonly ConfigProblem[],
    fix?: string,
  ) {
    const lines = problems.map(
      (p) => complaint(p.path, p.expected, p.got) + (p.nearest === undefined ? '' : `\nDid you mean '${p.nearest}'?`),
    );
    super('config', lines.join('\n') + (fix === undefined ? '' : `\n${fix}`));
  }
}

/** A checkpoint that cannot be read, or does not fit the model. Names the file. */
export class CheckpointError extends PhyslmError {
  override readonly name = 'CheckpointError';
  constructor(
    readonly file: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    super('checkpoint', `[${file}] ${problem}`, options);
  }
}

/** A file or folder that cannot be written. Names the path. */
export class OutputError extends PhyslmError {
  override readonly name = 'OutputError';
  constructor(
    readonly path: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    super('output', `[${path}] ${problem}`, options);
  }
}

/** Checks what must hold if this project's own code is right. */
export function invariant(condition: unknown, text: string): asserts condition {
  if (!condition) throw new PhyslmError('bug', `${text}\nThis is a bug in physlm, please report it.`);
}
