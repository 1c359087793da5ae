import type { Progress } from '@physlm/train';
import type { JobProgress } from '../sweep/pool.js';

/** The process that started this one and watches it over a channel. */
export interface ParentProcess {
  /** Aborts when the parent is gone or closes the channel: nobody waits for this process any more. */
  readonly signal: AbortSignal;
  tell(progress: Progress): void;
  release(): void;
}

/** Least time between two messages, in ms. */
const TELL_MS = 500;

/** The parent of this process; undefined when it was started without a channel. */
export function parentProcess(): ParentProcess | undefined {
  if (process.send === undefined) return undefined;
  const controller = new AbortController();
  const gone = (): void => controller.abort();
  process.on('disconnect', gone);
  // It may have died before this line.
  if (!process.connected) gone();
  let told = Number.NEGATIVE_INFINITY;
  return {
    signal: controller.signal,
    tell({ step, nStep }) {
      if (!process.connected || performance.now() - told < TELL_MS) return;
      told = performance.now();
      const message: JobProgress = { step, nStep };
      // A channel that closes meanwhile is not a failure of the run: `disconnect` follows.
      process.send?.(message, undefined, undefined, () => undefined);
    },
    release() {
      process.off('disconnect', gone);
      if (process.connected) process.disconnect();
    },
  };
}
