import { SingleBar } from 'cli-progress';
import type { Io } from './io.js';

/** A bar and a text on one line of standard error that renews itself; for terminals. */
export class TerminalBar {
  readonly #io: Io;
  #bar: SingleBar | undefined;

  constructor(io: Io) {
    this.#io = io;
  }

  /** Draws `done` of `total` with `text` behind it. */
  draw(total: number, done: number, text: string): void {
    if (this.#bar === undefined) {
      this.#bar = new SingleBar({
        stream: this.#io.stderr as NodeJS.WriteStream,
        format: '{bar} {percentage} %  {text}',
        barsize: 24,
        barCompleteChar: '█',
        barIncompleteChar: '░',
        hideCursor: false,
        clearOnComplete: true,
        stopOnComplete: false,
        fps: 8,
        linewrap: false,
      });
      this.#bar.start(total, done, { text });
    }
    this.#bar.update(done, { text });
  }

  /** Ends the line, so that other text can follow. */
  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}
