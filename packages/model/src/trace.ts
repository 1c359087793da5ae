import { ConfigError, nearest } from '@physlm/base';
import type { Tensor } from './tensor.js';

/** What to look at, or change, while a model runs: activation paths such as `blocks.3.residPost`; `*` stands for one part. */
export interface TracePlan {
  /** Activations to keep. */
  readonly read?: readonly string[];
  /** Replaces an activation by what the function returns; same shape. */
  readonly edit?: Readonly<Record<string, (x: Tensor, path: string) => Tensor>>;
}

/** Shared by a trace and its parts: the plan and what it met. */
interface TraceLog {
  readonly plan: TracePlan;
  readonly activations: Map<string, Tensor>;
  readonly seen: Set<string>;
}

/**
 * The view of one forward pass from inside a module. `Trace.none` costs nothing: every activation passes through.
 *
 * @example
 * const look = new Trace({ read: ['blocks.*.residPost'] });
 * model.forward(ids, look);
 * look.activations().get('blocks.0.residPost');
 */
export class Trace {
  /** Reads and edits nothing. */
  static readonly none: Trace = new Trace({});
  readonly #log: TraceLog | undefined;
  readonly #path: string;

  constructor(plan: TracePlan);
  constructor(parent: Trace, part: string);
  constructor(planOrParent: TracePlan | Trace, part?: string) {
    if (planOrParent instanceof Trace) {
      this.#log = planOrParent.#log;
      this.#path = `${planOrParent.#path}${part}.`;
      return;
    }
    const { read, edit } = planOrParent;
    this.#log = read || edit ? { plan: planOrParent, activations: new Map(), seen: new Set() } : undefined;
    this.#path = '';
  }

  /** The trace of a part: `trace.in('blocks', 3)` prefixes what it taps with `blocks.3.`. */
  in(...parts: readonly (string | number)[]): Trace {
    return this.#log === undefined ? this : new Trace(this, parts.join('.'));
  }

  /** Names an activation; returns it, or its replacement. */
  tap(point: string, x: Tensor): Tensor {
    const log = this.#log;
    if (log === undefined) return x;
    const path = this.#path + point;
    log.seen.add(path);
    let value = x;
    for (const [pattern, edit] of Object.entries(log.plan.edit ?? {})) {
      if (matches(pattern, path)) value = edit(value, path);
    }
    if (log.plan.read?.some((pattern) => matches(pattern, path))) log.activations.set(path, value);
    return value;
  }

  /**
   * The activations that were asked for, by path, in the order the model computed them.
   *
   * @throws ConfigError naming the nearest paths when a path of the plan matched nothing.
   */
  activations(): ReadonlyMap<string, Tensor> {
    const { plan, seen, activations } = this.#log ?? { plan: {}, seen: new Set<string>(), activations: new Map() };
    const missed = [...(plan.read ?? []), ...Object.keys(plan.edit ?? {})].filter(
      (pattern) => ![...seen].some((path) => matches(pattern, path)),
    );
    if (missed.length > 0) {
      throw new ConfigError(
        missed.map((pattern) => ({
          path: 'trace',
          expected: 'the path of an activation',
          got: `'${pattern}'`,
          nearest: nearest(pattern, seen),
        })),
        missed.map((pattern) => `Nearest to '${pattern}': ${nearestFew(pattern, seen).join(', ')}.`).join('\n'),
      );
    }
    return activations;
  }
}

/** The three paths nearest to a pattern, nearest first. */
function nearestFew(pattern: string, seen: ReadonlySet<string>): string[] {
  const left = new Set(seen);
  const few: string[] = [];
  for (let best = nearest(pattern, left); best !== undefined && few.length < 3; best = nearest(pattern, left)) {
    few.push(best);
    left.delete(best);
  }
  return few;
}

function matches(pattern: string, path: string): boolean {
  const [wanted, parts] = [pattern.split('.'), path.split('.')];
  return wanted.length === parts.length && wanted.every((part, i) => part === '*' || part === parts[i]);
}
