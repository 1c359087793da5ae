import type { Progress } from '@physlm/train';
import { count, duration } from '../report/number-format.js';
import type { Io } from './io.js';
import { TerminalBar } from './terminal-bar.js';

/** Without a terminal: seconds, and percent of the steps, after which there is something new to say. */
const [QUIET_SECONDS, QUIET_PERCENT] = [5, 10];

/** Shows how far a training, or another long loop, is: one line that renews itself on a terminal, now and then a line elsewhere. */
export class ProgressLine {
  readonly #io: Io;
  readonly #bar: TerminalBar;
  #saidAt = Number.NEGATIVE_INFINITY;
  #saidPercent = Number.NEGATIVE_INFINITY;

  /** @param unit what is counted. */
  constructor(
    io: Io,
    readonly unit = 'step',
  ) {
    this.#io = io;
    this.#bar = new TerminalBar(io);
  }

  update(progress: Progress): void {
    if (this.#io.stderr.isTTY === true) this.#bar.draw(progress.nStep, progress.step, describe(progress, this.unit));
    else this.#say(progress);
  }

  /** Ends the line, so that other text can follow. */
  stop(): void {
    this.#bar.stop();
  }

  #say(progress: Progress): void {
    const percent = (100 * progress.step) / progress.nStep;
    const now = performance.now() / 1000;
    const quiet = now - this.#saidAt < QUIET_SECONDS && percent - this.#saidPercent < QUIET_PERCENT;
    if (quiet && progress.phase !== 'measure') return;
    [this.#saidAt, this.#saidPercent] = [now, percent];
    this.#io.stderr.write(`${percent.toFixed(0).padStart(3)} %  ${describe(progress, this.unit)}\n`);
  }
}

function describe({ phase, part, step, nStep, loss, tokensPerSec, secondsLeft }: Progress, unit: string): string {
  const parts = [`${unit} ${count(step)} of ${count(nStep)}`];
  if (tokensPerSec > 0) parts.push(`${count(tokensPerSec)} tokens/s`);
  if (Number.isFinite(loss)) parts.push(`loss ${loss.toFixed(3)}`);
  if (phase === 'evaluate') parts.push('evaluating');
  else if (phase === 'checkpoint') parts.push('saving');
  else if (phase === 'measure') parts.push(`measuring ${part}`);
  else if (Number.isFinite(secondsLeft)) parts.push(`${duration(secondsLeft)} left`);
  return parts.join('  ');
}
