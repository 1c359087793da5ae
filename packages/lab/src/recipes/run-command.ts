import type { ScaleName } from './recipe.js';

/** A value that a parameter can be given on the command line. */
export type ParameterValue = string | number | boolean;

const booleans: Readonly<Record<string, boolean>> = { true: true, false: false };

/** What `text` stands for after `name=`: a number, `true` or `false`, else the text itself. */
export function parameterValue(text: string): ParameterValue {
  return Number.isNaN(Number(text)) ? (booleans[text] ?? text) : Number(text);
}

/** The command that gives the same run on any machine: without folders, which are this machine's. */
export function runCommand(run: {
  readonly recipe: string;
  readonly scale: string | ScaleName;
  readonly seed: number;
  /** `name=value`. */
  readonly assignments: readonly string[];
  readonly device: string;
  readonly ranks?: number;
}): string {
  const words = ['physlm', 'run', run.recipe, '--scale', run.scale, '--seed', String(run.seed)];
  for (const assignment of run.assignments)
    words.push('--set', /[^\w.=+-]/.test(assignment) ? `'${assignment}'` : assignment);
  if (run.device !== 'auto') words.push('--device', run.device);
  if (run.ranks !== undefined && run.ranks > 1) words.push('--ranks', String(run.ranks));
  return words.join(' ');
}
