import { join } from 'node:path';
import { boundText } from '../laws/law.js';
import type { Recipe } from '../recipes/recipe.js';
import { NO_VERDICT } from '../report/html.js';
import { duration } from '../report/number-format.js';
import { textTable } from '../report/text-table.js';
import { type FinishedRun, judge } from '../run-recipe.js';
import { colours, type Io, say } from './io.js';

/** Prints what a run found: number, table, verdict, and where the report is. */
export function printFinished(recipe: Recipe, { run, experiment, results, environment }: FinishedRun, io: Io): void {
  const c = colours(io, 'stdout');
  const { headline, table } = recipe.report(experiment, results);
  say(io);
  say(io, `${c.bold(headline.value)} ${headline.unit}`);
  say(io, headline.text);
  say(io);
  say(io, textTable(table));
  if (table.note !== undefined) say(io, c.dim(table.note));
  say(io);
  const judgements = judge(recipe, experiment, results);
  for (const { verdict, claim, expect } of judgements) {
    say(io, `${verdict === 'holds' ? c.green('✓ holds') : c.red('✗ fails')}  ${claim}`);
    for (const one of expect)
      say(io, `         ${c.dim(`at scale ${experiment.scale}: ${boundText(one)}; ${one.tests}`)}`);
  }
  if (judgements.length === 0) say(io, NO_VERDICT);
  say(io);
  say(io, `time     ${duration(environment.seconds)} on ${environment.device}, ${environment.cpu}`);
  say(io, `report   ${join(run.path, 'report.html')}`);
}
