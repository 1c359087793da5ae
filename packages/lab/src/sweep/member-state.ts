import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { digest, PhyslmError } from '@physlm/base';
import { z } from 'zod';
import type { Experiment } from '../recipes/recipe.js';
import { type FinishedRun, openFinishedRun } from '../run-recipe.js';

/** What a run directory says about a run. */
export type MemberState =
  | { readonly state: 'new' }
  | { readonly state: 'unfinished' }
  | { readonly state: 'finished'; readonly finished: FinishedRun }
  | { readonly state: 'damaged'; readonly problem: string };

const number = z.number().nullable();
const results = z.object({
  recipe: z.string(),
  measures: z.record(z.string(), number),
  intervals: z.record(z.string(), z.object({ low: number, high: number })),
});
const environment = z.object({ seconds: z.number(), device: z.string(), cpu: z.string() });

/** Reads the state of a run off its folder, which stays as it is. Never throws for what it finds there. */
export function memberState(path: string, experiment: Experiment): MemberState {
  const file = join(path, 'experiment.json');
  if (existsSync(path) && !statSync(path).isDirectory()) return damaged(path, 'is not a folder');
  if (!existsSync(file)) return existsSync(join(path, 'results.json')) ? damaged(file, 'is missing') : { state: 'new' };
  let before: unknown;
  try {
    before = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    return damaged(file, (error as Error).message);
  }
  if (digest(before) !== digest(experiment)) return damaged(file, 'holds another experiment');
  if (!existsSync(join(path, 'results.json'))) return { state: 'unfinished' };
  try {
    const finished = openFinishedRun(path);
    for (const [name, schema, value] of [
      ['results.json', results, finished.results],
      ['environment.json', environment, finished.environment],
    ] as const) {
      const issue = schema.safeParse(value).error?.issues[0];
      if (issue === undefined) continue;
      const at = issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
      return damaged(join(path, name), `${at}${issue.message}`);
    }
    return { state: 'finished', finished };
  } catch (error) {
    if (!(error instanceof PhyslmError)) throw error;
    return { state: 'damaged', problem: error.message.split('\n')[0]! };
  }
}

function damaged(file: string, problem: string): MemberState {
  return { state: 'damaged', problem: `[${file}] ${problem}` };
}
