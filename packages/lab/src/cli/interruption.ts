import { exitCodes } from './exit-codes.js';
import { colours, type Io, note } from './io.js';
import type { ProgressLine } from './progress-line.js';

/** A request to stop, as it comes from the keyboard or the system. */
export interface Interruption {
  readonly signal: AbortSignal;
  exitCode(): number;
  release(): void;
}

/** The first Ctrl-C asks the run to save and stop, the second one ends the process. SIGTERM asks as well. */
export function interruption(io: Io, progress: ProgressLine): Interruption {
  const controller = new AbortController();
  let code: number = exitCodes.interrupted;
  const ask = (name: NodeJS.Signals): void => {
    progress.stop();
    if (controller.signal.aborted) process.exit(exitCodes.interrupted);
    if (name === 'SIGTERM') code = exitCodes.terminated;
    note(io, `${colours(io, 'stderr').yellow('Stopping:')} saving a checkpoint. Ctrl-C again stops without it.`);
    controller.abort();
  };
  process.on('SIGINT', ask);
  process.on('SIGTERM', ask);
  return {
    signal: controller.signal,
    exitCode: () => code,
    release() {
      process.off('SIGINT', ask);
      process.off('SIGTERM', ask);
    },
  };
}
