import { duration } from '../report/number-format.js';
import type { PoolProgress } from '../sweep/pool.js';
import { colours, type Io, note } from './io.js';
import { TerminalBar } from './terminal-bar.js';

/** Without a terminal: seconds after which there is something new to say although no run ended. */
const QUIET_SECONDS = 30;

/** Shows how far a pool is: a line for each run that ends, and under it, on a terminal, one that renews itself. */
export class PoolLine {
  readonly #io: Io;
  readonly #bar: TerminalBar;
  #saidAt = performance.now() / 1000;

  constructor(io: Io) {
    this.#io = io;
    this.#bar = new TerminalBar(io);
  }

  update(progress: PoolProgress): void {
    const { latest } = progress;
    if (latest !== undefined) {
      const c = colours(this.#io, 'stderr');
      const { end, label } = latest;
      const mark = end.ended === 'finished' ? c.green('✓') : end.ended === 'failed' ? c.red('✗') : c.yellow('–');
      this.stop();
      note(this.#io, `${mark} ${label}${end.ended === 'failed' ? `: ${end.problem}` : ''}`);
    }
    if (this.#io.stderr.isTTY === true) this.#bar.draw(1000, Math.floor(1000 * progress.fraction), describe(progress));
    else this.#say(progress, latest !== undefined);
  }

  /** Ends the line, so that other text can follow. */
  stop(): void {
    this.#bar.stop();
  }

  #say(progress: PoolProgress, ended: boolean): void {
    const now = performance.now() / 1000;
    if (!ended && now - this.#saidAt < QUIET_SECONDS) return;
    this.#saidAt = now;
    note(this.#io, `${(100 * progress.fraction).toFixed(0).padStart(3)} %  ${describe(progress)}`);
  }
}

function describe({ nJob, nFinished, nFailed, running, secondsLeft }: PoolProgress): string {
  const parts = [`${nFinished} of ${nJob} runs done`];
  if (nFailed > 0) parts.push(`${nFailed} failed`);
  parts.push(`${running.length} running`);
  if (Number.isFinite(secondsLeft) && secondsLeft > 0) parts.push(`${duration(secondsLeft)} left`);
  return parts.join('  ');
}
