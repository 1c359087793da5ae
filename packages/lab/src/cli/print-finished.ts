import { join } from 'node:path';
import { boundText } from '../laws/law.js';
import type { Recipe } from '../recipes/recipe.js';
import { duration } from '../report/number-format.js';
import { textTable } from '../report/text-table.js';
import { type FinishedRun, judge } from '../run-recipe.js';
import { colours, type Io, say } from './io.js';

/** Prints what a run found: number, table, verdict, and where the report is. */
export function printFinished(
  recipe: Recipe,
  { run, experiment, results, environment }: FinishedRun,
  standard: boolean,
  io: Io,
): void {
  const c = colours(io, 'stdout');
  const { headline, table } = recipe.report(experiment, results);
  say(io);
  say(io, `${c.bold(headline.value)} ${headline.unit}`);
  say(io, headline.text);
  say(io);
  say(io, textTable(table));
  if (table.note !== undefined) say(io, c.dim(table.note));
  say(io);
  const judgement = judge(experiment, results);
  if (judgement !== undefined && standard) {
    const { verdict, claim, expect } = judgement;
    say(io, `${verdict === 'holds' ? c.green('✓ holds') : c.red('✗ fails')}  ${claim}`);
    for (const one of expect)
      say(io, `         ${c.dim(`at scale ${experiment.scale}: ${boundText(one)}; ${one.tests}`)}`);
  } else {
    say(io, 'no verdict: a criterion belongs to a scale as it stands, without --set');
  }
  say(io);
  say(io, `time     ${duration(environment.seconds)} on ${environment.device}, ${environment.cpu}`);
  say(io, `report   ${join(run.path, 'report.html')}`);
}
