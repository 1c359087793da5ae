import { spawnSync } from 'node:child_process';
import { closeSync, constants, existsSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, makeFolder, PhyslmError } from '@physlm/base';

// Named pipes between rank 0 and each other rank of one machine: `up-r` from rank r, `down-r` to it. Everything is synchronous,
// as a training step is. A rank that ends closes its pipes, which the others see: nobody waits for the dead.

/** Time for all ranks to come, in ms. */
const MEETING_MS = 60_000;
/** Time for rank 0 to notice that another one came only to go. */
const GOING_MS = 200;

/** What a rank says first. */
interface Hello {
  readonly worldSize: number;
  readonly digest: string;
}

/** The ends of the pipes that one rank holds. */
export class RankPipes {
  readonly #up: Pipe[] = [];
  readonly #down: Pipe[] = [];

  private constructor(
    readonly rank: number,
    readonly worldSize: number,
  ) {}

  /**
   * Meets the other ranks; all must train the same experiment.
   *
   * @throws PhyslmError 'ranks' when one does not come in time.
   * @throws ConfigError when ranks differ in their experiment or in how many they are.
   */
  static meet(rank: number, worldSize: number, folder: string, digest: string, meetingMs = MEETING_MS): RankPipes {
    const pipes = new RankPipes(rank, worldSize);
    const deadline = performance.now() + meetingMs;
    try {
      if (rank === 0) pipes.#gather(folder, { worldSize, digest }, deadline);
      else pipes.#come(folder, { worldSize, digest }, deadline);
    } catch (error) {
      pipes.close();
      throw error;
    }
    return pipes;
  }

  #gather(folder: string, own: Hello, deadline: number): void {
    makeFolder(folder);
    const others = Array.from({ length: this.worldSize - 1 }, (_, i) => i + 1);
    for (const r of others) {
      for (const name of [`down-${r}`, `up-${r}`]) makePipe(join(folder, name));
    }
    for (const r of others) this.#up.push(new Pipe(join(folder, `up-${r}`), 'read', r, deadline));
    for (const r of others) this.#down.push(new Pipe(join(folder, `down-${r}`), 'write', r, deadline));
    const strangers = this.#up.flatMap((pipe, i) => {
      const hello = JSON.parse(pipe.readText()) as Hello;
      const differs = (what: keyof Hello, path: string) =>
        hello[what] === own[what]
          ? []
          : [{ path, expected: `${own[what]} as rank 0`, got: `${hello[what]} on rank ${i + 1}` }];
      return [...differs('worldSize', 'ranks.worldSize'), ...differs('digest', 'ranks.experiment')];
    });
    const verdict = JSON.stringify(strangers);
    for (const pipe of this.#down) pipe.writeText(verdict);
    if (strangers.length > 0) throw differentRanks(strangers);
    // Both ends of every pipe are held now, so the names are not needed any more.
    for (const r of others) for (const name of [`down-${r}`, `up-${r}`]) rmSync(join(folder, name), { force: true });
  }

  #come(folder: string, own: Hello, deadline: number): void {
    const names = [`down-${this.rank}`, `up-${this.rank}`].map((name) => join(folder, name)) as [string, string];
    while (!names.every((name) => existsSync(name))) waitFor(0, deadline);
    this.#down.push(new Pipe(names[0], 'read', 0, deadline));
    this.#up.push(new Pipe(names[1], 'write', 0, deadline));
    this.#up[0]!.writeText(JSON.stringify(own));
    const strangers = JSON.parse(this.#down[0]!.readText()) as Parameters<typeof differentRanks>[0];
    if (strangers.length > 0) throw differentRanks(strangers);
  }

  /**
   * Every rank gives bytes and gets what `join` makes of them on rank 0, in the order of ranks; all of one length.
   *
   * @throws PhyslmError 'ranks' when a rank has ended; rank 0 tells the others which.
   */
  exchange(bytes: Uint8Array, join: (parts: Iterable<Uint8Array>) => Uint8Array): Uint8Array {
    if (this.rank > 0) {
      this.#up[0]!.write(bytes);
      const [failed] = this.#down[0]!.read(1);
      if (failed === 1) throw new PhyslmError('ranks', this.#down[0]!.readText());
      return this.#down[0]!.read(bytes.length);
    }
    try {
      const up = this.#up;
      const parts = function* (): Generator<Uint8Array> {
        yield bytes;
        for (const pipe of up) yield pipe.read(bytes.length);
      };
      const joined = join(parts());
      for (const pipe of this.#down) {
        pipe.write(Uint8Array.of(0));
        pipe.write(joined);
      }
      return joined;
    } catch (error) {
      this.#tell((error as Error).message);
      throw error;
    }
  }

  /** Lets the others end with the reason; those that are gone hear nothing. */
  #tell(reason: string): void {
    for (const pipe of this.#down) {
      try {
        pipe.write(Uint8Array.of(1));
        pipe.writeText(reason);
      } catch (error) {
        if (!(error instanceof PhyslmError)) throw error; // this one has ended: it is the reason, or ended since
      }
    }
  }

  close(): void {
    for (const pipe of [...this.#up.splice(0), ...this.#down.splice(0)]) pipe.close();
  }
}

function differentRanks(problems: ConstructorParameters<typeof ConfigError>[0]): ConfigError {
  return new ConfigError(problems, 'Start every rank with the same command.');
}

/** Tells rank 0, which waits for this rank in `folder`, that it will not come. Nothing happens where nobody waits. */
export function stayAway(rank: number, folder: string): void {
  try {
    const up = openSync(join(folder, `up-${rank}`), constants.O_WRONLY | constants.O_NONBLOCK);
    const down = openSync(join(folder, `down-${rank}`), constants.O_RDONLY | constants.O_NONBLOCK);
    // Less than a greeting, and then the end; rank 0 opens its own end of `down` before it listens.
    writeSync(up, Uint8Array.of(0));
    sleep(GOING_MS);
    closeSync(down);
    closeSync(up);
  } catch {
    // Rank 0 is gone too, or has not begun to wait: then it waits for the time of meeting.
  }
}

function makePipe(path: string): void {
  rmSync(path, { force: true });
  const { status, error, stderr } = spawnSync('mkfifo', ['-m', '600', path], { encoding: 'utf8' });
  if (status === 0) return;
  const why = error?.message ?? stderr.trim();
  throw new PhyslmError('ranks', `[ranks.folder] no named pipe at ${path}: ${why}\nSeveral ranks need a POSIX system.`);
}

const cell = new Int32Array(new SharedArrayBuffer(4));
const sleep = (ms: number): void => void Atomics.wait(cell, 0, 0, ms);

/** Sleeps a little; throws after `deadline`. */
function waitFor(other: number, deadline: number): void {
  if (performance.now() > deadline) {
    throw new PhyslmError(
      'ranks',
      `[ranks] rank ${other} did not come within the time for meeting\nStart all ranks together.`,
    );
  }
  sleep(2);
}

function ended(rank: number): PhyslmError {
  return new PhyslmError(
    'ranks',
    `[ranks] rank ${rank} ended while others waited for it\nSee what it said, then start all ranks again: the run goes on from its last checkpoint.`,
  );
}

/** Looks without sleeping before this process lets others have the processor. */
const SPINS = 200;

/** One end of a named pipe. */
class Pipe {
  readonly #fd: number;
  /** Before the first byte, an end without a partner means that it has not come yet. */
  #met = false;

  constructor(
    path: string,
    direction: 'read' | 'write',
    private readonly other: number,
    private readonly deadline: number,
  ) {
    this.#fd =
      direction === 'read' ? openSync(path, constants.O_RDONLY | constants.O_NONBLOCK) : this.#openWriter(path);
  }

  #openWriter(path: string): number {
    for (;;) {
      try {
        return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error; // ENXIO: nobody reads yet
        waitFor(this.other, this.deadline);
      }
    }
  }

  read(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let at = 0, idle = 0; at < length; ) {
      const n = this.#try(() => readSync(this.#fd, bytes, at, length - at, null));
      if (n === 0 && this.#met) throw ended(this.other);
      if (n === 0) waitFor(this.other, this.deadline);
      else if (n === undefined) this.#idle(++idle);
      else {
        this.#met = true;
        idle = 0;
        at += n;
      }
    }
    return bytes;
  }

  write(bytes: Uint8Array): void {
    for (let at = 0, idle = 0; at < bytes.length; ) {
      const n = this.#try(() => writeSync(this.#fd, bytes, at, bytes.length - at));
      if (n === undefined) this.#idle(++idle);
      else {
        idle = 0;
        at += n;
      }
    }
  }

  readText(): string {
    const [length] = new Uint32Array(this.read(4).buffer);
    return Buffer.from(this.read(length!)).toString('utf8');
  }

  writeText(text: string): void {
    const bytes = Buffer.from(text, 'utf8');
    this.write(new Uint8Array(Uint32Array.of(bytes.length).buffer));
    this.write(bytes);
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** Undefined when the pipe is empty, or full. */
  #try(call: () => number): number | undefined {
    try {
      return call();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EAGAIN') return undefined;
      if (code === 'EPIPE') throw ended(this.other);
      throw error;
    }
  }

  #idle(count: number): void {
    if (count > SPINS) sleep(count > 10 * SPINS ? 1 : 0.1);
  }
}
