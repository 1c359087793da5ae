import { exitCodes } from './exit-codes.js';
import { colours, type Io, note } from './io.js';

/** A request to stop, as it comes from the keyboard or the system. */
export interface Interruption {
  readonly signal: AbortSignal;
  exitCode(): number;
  release(): void;
}

/**
 * The first Ctrl-C asks the run to save and stop, the second one ends the process. SIGTERM asks as well, and so does
 * `parent`, the signal of a process that this one works for.
 */
export function interruption(
  io: Io,
  progress: { stop(): void },
  parent?: AbortSignal,
  doing = 'saving a checkpoint. Ctrl-C again stops without it.',
): Interruption {
  const controller = new AbortController();
  let code: number = exitCodes.interrupted;
  const ask = (name: NodeJS.Signals): void => {
    progress.stop();
    if (controller.signal.aborted) process.exit(exitCodes.interrupted);
    if (name === 'SIGTERM') code = exitCodes.terminated;
    note(io, `${colours(io, 'stderr').yellow('Stopping:')} ${doing}`);
    controller.abort();
  };
  const abandon = (): void => {
    if (controller.signal.aborted) return;
    code = exitCodes.terminated;
    note(
      io,
      `${colours(io, 'stderr').yellow('Stopping:')} the process that started this one ended or asks for it; saving.`,
    );
    controller.abort();
  };
  if (parent?.aborted) abandon();
  parent?.addEventListener('abort', abandon);
  process.on('SIGINT', ask);
  process.on('SIGTERM', ask);
  return {
    signal: controller.signal,
    exitCode: () => code,
    release() {
      parent?.removeEventListener('abort', abandon);
      process.off('SIGINT', ask);
      process.off('SIGTERM', ask);
    },
  };
}
