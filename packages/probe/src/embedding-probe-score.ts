// What an embedding probe reports: accuracies on the whole, by class and by group, each with its interval and its controls.
import type { ProbeInterval, ProbeScore, StreamBootstrap } from './probe-score.js';

/** Accuracy on some of the test rows. */
export interface CellScore {
  readonly accuracy: number;
  /** Of `accuracy`: percentile bootstrap over test units. */
  readonly interval: ProbeInterval;
  /** Rows. */
  readonly n: number;
  /** The same probe with an untrained model. */
  readonly randomModelAccuracy: number | undefined;
}

/** Rows with one true class. */
export interface ClassScore extends CellScore {
  readonly class: number;
}

/** Rows of one group. */
export interface GroupScore extends CellScore {
  readonly group: string | number;
  /** Accuracy here of always answering the commonest training label. */
  readonly majority: number | undefined;
  /** Classes that occur here, if there are at most 32 classes in all. */
  readonly classes: readonly ClassScore[];
}

/** A probe's score. Controls that were left out are undefined. */
export interface EmbeddingProbeScore extends Omit<ProbeScore, 'majority' | 'controlTrainAccuracy'> {
  readonly majority: number | undefined;
  readonly controlTrainAccuracy: number | undefined;
  /** Mean −ln p of the last tenth of the steps, nats; of all tasks that share the update. */
  readonly trainLoss: number;
  /** Classes that occur in the test rows, ascending, if there are at most 32 classes in all. */
  readonly classes: readonly ClassScore[];
  /** By grouping: its groups, numbers ascending before words in the order in which they were met. */
  readonly groups: Readonly<Record<string, readonly GroupScore[]>>;
}

/** Classes have scores of their own up to this number of classes. */
const MOST_CLASSES = 32;
/** What the whole has intervals of, in the order that tallies give it to the bootstrap; cells follow. */
const RATIOS = ['accuracy', 'selectivity', 'random'] as const;

/** What was said about one example and one task. */
export interface ExampleAnswers {
  readonly truth: ArrayLike<number>;
  readonly answer: ArrayLike<number>;
  readonly randomAnswer: ArrayLike<number> | undefined;
  readonly controlTruth: ArrayLike<number> | undefined;
  readonly controlAnswer: ArrayLike<number> | undefined;
  readonly keys: ArrayLike<number> | undefined;
  readonly groups: Readonly<Record<string, readonly (string | number)[]>>;
}

/** What a score takes from elsewhere. */
interface ScoreContext {
  readonly ceiling: number | undefined;
  readonly withMajority: boolean;
  /** Labels trained on. */
  readonly nTrain: number;
  readonly trainLoss: number;
}

/** Rows of one class or group. */
class Cell {
  n = 0;
  hits = 0;
  randomHits = 0;
  isCommonest = 0;
  constructor(
    /** Of its ratio in the bootstrap. */
    readonly ratio: number,
    readonly grouping: string | undefined,
    readonly group: string | number | undefined,
    readonly label: number | undefined,
  ) {}
}

/** Hits of one task, summed over examples. */
export class EmbeddingTally {
  nRow = 0;
  #hits = 0;
  #randomHits = 0;
  #hasRandom = false;
  #isCommonest = 0;
  #controlHits = 0;
  #controlHitsAll = 0;
  #isCommonestControl = 0;
  #nSeen = 0;
  #seenGain = 0;
  #hasControl = false;
  readonly #cells = new Map<string, Cell>();

  /** Ratio k of this task is number k·nSlot + slot of the bootstrap. */
  constructor(
    private readonly nClass: number,
    private readonly commonest: { readonly label: number; readonly control: number },
    private readonly seenKeys: ReadonlySet<number>,
    private readonly bootstrap: StreamBootstrap | undefined,
    private readonly slot: number,
    private readonly nSlot: number,
  ) {}

  /** Adds an example; its [value, n] of each ratio: of the whole, then of every cell. */
  add({
    truth,
    answer,
    randomAnswer,
    controlTruth,
    controlAnswer,
    keys,
    groups,
  }: ExampleAnswers): (readonly [number, number])[] {
    let [n, seen, hits, randomHits, gain] = [0, 0, 0, 0, 0];
    const changes = new Map<Cell, [number, number]>();
    for (let i = 0; i < truth.length; i++) {
      const label = truth[i]!;
      if (label < 0) continue;
      const hit = Number(answer[i] === label);
      const randomHit = Number(randomAnswer?.[i] === label);
      const isCommonest = Number(label === this.commonest.label);
      n++;
      hits += hit;
      randomHits += randomHit;
      this.#isCommonest += isCommonest;
      for (const cell of this.#cellsOf(label, groups, i)) {
        cell.n++;
        cell.hits += hit;
        cell.randomHits += randomHit;
        cell.isCommonest += isCommonest;
        const change = changes.get(cell) ?? [0, 0];
        changes.set(cell, [change[0] + hit, change[1] + 1]);
      }
      if (controlTruth === undefined) continue;
      const controlHit = Number(controlAnswer![i] === controlTruth[i]);
      this.#controlHitsAll += controlHit;
      if (!this.seenKeys.has(keys![i]!)) continue;
      seen++;
      gain += hit - controlHit;
      this.#controlHits += controlHit;
      this.#isCommonestControl += Number(controlTruth[i] === this.commonest.control);
    }
    this.nRow += n;
    this.#hits += hits;
    this.#randomHits += randomHits;
    this.#nSeen += seen;
    this.#seenGain += gain;
    this.#hasRandom = randomAnswer !== undefined;
    this.#hasControl = controlTruth !== undefined;
    const ratios: (readonly [number, number])[] = [
      [hits, n],
      [gain, seen],
      [randomHits, randomAnswer === undefined ? 0 : n],
    ];
    for (const [cell, change] of changes) ratios[cell.ratio] = change;
    return ratios;
  }

  /** The score, with what `train` tallied on training examples. */
  score(train: EmbeddingTally, { ceiling, withMajority, nTrain, trainLoss }: ScoreContext): EmbeddingProbeScore {
    const interval = (k: number): ProbeInterval | undefined => this.bootstrap?.interval(k * this.nSlot + this.slot);
    const ofWhole = (name: (typeof RATIOS)[number]): ProbeInterval | undefined => interval(RATIOS.indexOf(name));
    const hasSeen = this.#nSeen > 0;
    const hasRandom = this.#hasRandom;
    const cells = [...this.#cells.values()];
    const cellScore = (cell: Cell): CellScore => ({
      accuracy: cell.hits / cell.n,
      interval: interval(cell.ratio)!,
      n: cell.n,
      randomModelAccuracy: hasRandom ? cell.randomHits / cell.n : undefined,
    });
    const classes = (grouping: string | undefined, group: string | number | undefined): ClassScore[] =>
      cells
        .filter((cell) => cell.grouping === grouping && cell.group === group && cell.label !== undefined)
        .map((cell) => ({ class: cell.label!, ...cellScore(cell) }))
        .sort((a, b) => a.class - b.class);
    const groups = [...new Set(cells.map(({ grouping }) => grouping))]
      .filter((grouping) => grouping !== undefined)
      .map((grouping): [string, GroupScore[]] => [
        grouping,
        cells
          .filter((cell) => cell.grouping === grouping && cell.label === undefined)
          .map((cell) => ({
            group: cell.group!,
            ...cellScore(cell),
            majority: withMajority ? cell.isCommonest / cell.n : undefined,
            classes: classes(grouping, cell.group),
          }))
          .sort((a, b) => compareGroups(a.group, b.group)),
      ]);
    return {
      accuracy: this.#hits / this.nRow,
      interval: ofWhole('accuracy')!,
      majority: withMajority ? this.#isCommonest / this.nRow : undefined,
      trainAccuracy: train.#hits / train.nRow,
      controlAccuracy: hasSeen ? this.#controlHits / this.#nSeen : undefined,
      controlMajority: hasSeen && withMajority ? this.#isCommonestControl / this.#nSeen : undefined,
      controlTrainAccuracy: train.#hasControl ? train.#controlHitsAll / train.nRow : undefined,
      selectivity: hasSeen ? this.#seenGain / this.#nSeen : undefined,
      selectivityInterval: ofWhole('selectivity'),
      randomModelAccuracy: hasRandom ? this.#randomHits / this.nRow : undefined,
      randomModelInterval: ofWhole('random'),
      ceiling,
      nTrain,
      nTest: this.nRow,
      nTestSeen: this.#nSeen,
      trainLoss,
      classes: classes(undefined, undefined),
      groups: Object.fromEntries(groups),
    };
  }

  /** The cells that a row belongs to: its class, each of its groups, and its class within each. */
  *#cellsOf(label: number, groups: ExampleAnswers['groups'], row: number): Generator<Cell, void, void> {
    const byClass = this.nClass <= MOST_CLASSES;
    if (byClass) yield this.#cell(undefined, undefined, label);
    for (const [grouping, list] of Object.entries(groups)) {
      yield this.#cell(grouping, list[row]!, undefined);
      if (byClass) yield this.#cell(grouping, list[row]!, label);
    }
  }

  #cell(grouping: string | undefined, group: string | number | undefined, label: number | undefined): Cell {
    const key = JSON.stringify([grouping, group, label]);
    const known = this.#cells.get(key);
    if (known !== undefined) return known;
    const cell = new Cell(RATIOS.length + this.#cells.size, grouping, group, label);
    this.#cells.set(key, cell);
    return cell;
  }
}

/** Numbers ascending, then words as they came. */
function compareGroups(a: string | number, b: string | number): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return Number(typeof a === 'string') - Number(typeof b === 'string');
}
