import { PhyslmError } from '@physlm/base';
import { gpt2 } from '@physlm/model';
import { z } from 'zod';
import type { Execution, Experiment, Recipe, RecipeOptions, Results, RunContext } from '../src/index.js';

/** What a fake execution does next. */
export type Behaviour = 'finish' | 'abort' | 'diverge' | 'interrupt' | 'terminate';

/** A recipe that trains nothing, counts how often it is executed, and ends as it is told. */
export class FakeRecipe implements Recipe {
  readonly name = 'capacity';
  readonly describe = 'Pretends.';
  readonly source = 'none';
  readonly scales = { tiny: 'nothing', small: 'nothing more' };
  readonly parameters = z.strictObject({ n: z.number().optional().describe('a number') });
  behaviour: Behaviour = 'finish';
  nExecution = 0;
  /** Whether the latest execution was told to resume. */
  resumed: boolean | undefined;
  share = 0.99;

  experiment({ scale, seed, parameters = {} }: RecipeOptions): Experiment {
    return {
      name: `fake-${scale}-s${seed}`,
      recipe: this.name,
      scale,
      source: this.source,
      seed,
      data: { n: 1, ...parameters },
      model: gpt2(1, 1, { dVocab: 8, nCtx: 8 }),
      train: {
        nStep: 10,
        batchSize: 1,
        optimizer: { lrPeak: 1, betas: [0.9, 0.98], eps: 1e-8, weightDecay: 0, clipNorm: 0 },
        schedule: { kind: 'constant', nWarmup: 0, finalFraction: 1 },
        logEvery: 1,
        checkpointEvery: 1,
      },
      evaluate: {},
    };
  }

  execute(_: Experiment, { run, resume, signal, onProgress }: RunContext): Promise<Execution> {
    this.nExecution++;
    this.resumed = resume;
    onProgress?.({ phase: 'train', step: 5, nStep: 10, loss: 1.5, tokensPerSec: 1000, secondsLeft: 5 });
    if (this.behaviour === 'diverge')
      return Promise.reject(new PhyslmError('diverged', '[train.step 5] got NaN\nTry less.'));
    if (this.behaviour === 'interrupt' || this.behaviour === 'terminate') {
      // Only the listener of the command: the test runner has its own.
      const name = this.behaviour === 'interrupt' ? 'SIGINT' : 'SIGTERM';
      process.listeners(name).at(-1)?.(name);
    }
    const checkpoint = run.writeCheckpoint(5, undefined, () => undefined);
    if (this.behaviour === 'abort' || signal?.aborted)
      return Promise.resolve({ stopped: 'aborted', step: 5, checkpoint } as const);
    const results: Results = {
      recipe: this.name,
      measures: { perParameter: 0.25, shareOfCeiling: this.share },
      intervals: { perParameter: { low: 0.2, high: 0.3 } },
    };
    return Promise.resolve({ stopped: 'finished', results } as const);
  }

  report() {
    return {
      title: 'A fake',
      summary: 'Nothing was done.',
      headline: { value: '0.25', unit: 'bits', text: 'A quarter of a bit.' },
      table: { title: 'Numbers', columns: ['', 'this run'], rows: [['bits', '0.25']] },
      figures: [],
      tables: [],
      sources: [],
    };
  }
}
