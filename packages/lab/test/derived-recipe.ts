import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Execution, Experiment, Recipe, RecipeOptions, RunContext } from '../src/index.js';
import { FakeRecipe } from './fake-recipe.js';

/** A fake whose runs with a parameter `from` start from the run of n = from, and note every execution in a file. */
export class DerivedRecipe extends FakeRecipe implements Recipe {
  override readonly parameters = z.strictObject({
    n: z.number().optional().describe('a number'),
    from: z.number().optional().describe('n of the run to start from'),
  }) as unknown as FakeRecipe['parameters'];
  /** What an execution of a run without `from` does. */
  baseBehaviour: FakeRecipe['behaviour'] = 'finish';
  /** How long such an execution takes, in ms. */
  baseMs = 0;

  constructor(private readonly log: string) {
    super();
  }

  override experiment({ scale, seed, parameters = {} }: RecipeOptions): Experiment {
    const { from, ...rest } = parameters;
    const plain = super.experiment({ scale, seed, parameters: rest });
    if (from === undefined) return plain;
    return { ...plain, start: { experiment: this.experiment({ scale, seed, parameters: { n: from } }) } };
  }

  override async execute(experiment: Experiment, context: RunContext): Promise<Execution> {
    const { n } = experiment.data as { n: number };
    if (experiment.start === undefined) {
      appendFileSync(this.log, `base ${n}\n`);
      await sleep(this.baseMs);
      this.behaviour = this.baseBehaviour;
      return super.execute(experiment, context);
    }
    const base = await context.base();
    if (base.stopped === 'aborted') return base;
    appendFileSync(this.log, `derived ${n} from ${base.finished.run.latestCheckpoint()?.path}\n`);
    this.behaviour = 'finish';
    return super.execute(experiment, context);
  }
}
