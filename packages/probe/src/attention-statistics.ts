// Where attention goes in sentences whose tree is known: by distance, and, with the effect of distance removed, between the
// ends of non-terminals.
//
// Attention comes row by row from wherever it is computed; two passes over the sentences, sums in double precision, memory
// that depends on the numbers of layers, heads and positions only. Notation of arXiv:2305.13673, section 5: query position j
// looks at key position i ≤ j; b_l(i) = 1 where a level-l node ends at i, p_l(i) is the number of the level-l node that holds
// i, b#(i) the level nearest the root that ends at i.
import { ConfigError, DataError } from '@physlm/base';

/** Rows of one head's attention matrix in one sentence. */
export interface AttentionRows {
  readonly layer: number;
  readonly head: number;
  /** Query position of the first row. */
  readonly row0: number;
  /** [nRow, T] weights, T key positions; what is behind the query's own position is not read. */
  readonly rows: Float32Array;
  /** Tokens of the sentence. */
  readonly T: number;
}

/** A sentence's tree, level by level in the order of `AttentionOptions.levels`. */
export interface NtLabels {
  /** b_l(i), 0 or 1. */
  readonly ends: readonly ArrayLike<number>[];
  /** p_l(i), counting from any number. */
  readonly nodes: readonly ArrayLike<number>[];
}

/** One sentence: its tree and its attention, heads and rows in any order, each row once. */
export interface SentenceAttention {
  readonly labels: NtLabels;
  readonly attention: Iterable<AttentionRows>;
}

/** Sizes of what is looked at. */
export interface AttentionOptions {
  readonly nLayer: number;
  readonly nHead: number;
  /** Most tokens of a sentence. */
  readonly nPosition: number;
  /** Names of the levels, nearest to the root first: [2, 3, 4, 5, 6] in the papers. */
  readonly levels: readonly number[];
  /** Largest r of end → end to keep; 8. */
  readonly nRelative?: number | undefined;
}

/** A mean, or null where there is nothing to average. */
type Mean = number | null;

/** Plain JSON. First indices of everything are layer and head. */
export interface AttentionStatistics {
  readonly levels: readonly number[];
  /** A[layer][head][p]: mean attention over pairs with j − i = p. */
  readonly byDistance: readonly (readonly (readonly Mean[])[])[];
  /** [layer][head][p]: mean over queries of the attention mass within the last p tokens, the query's own included. */
  readonly cumulative: readonly (readonly (readonly Mean[])[])[];
  /** [layer][head][level][d + 2], d = −2 … 2: mean of B over pairs with b#(i + d) = level. B = A − A_p. */
  readonly byEndOffset: readonly (readonly (readonly (readonly Mean[])[])[])[];
  /** [layer][head][level][d1 + 1][d2 + 1]: mean of B over pairs with b_l(i + d1) = 1 and b_l(j + d2) = 1. */
  readonly boundaryToBoundary: readonly (readonly (readonly (readonly (readonly Mean[])[])[])[])[];
  /** [layer][head][l′][l][r]: mean of B over pairs with b#(j) = l′, b#(i) = l, p_l(j) − p_l(i) = r. */
  readonly endToEnd: readonly (readonly (readonly (readonly (readonly Mean[])[])[])[])[];
  /** [l′][l][r]: how many pairs `endToEnd` averages over, of the first head. */
  readonly nEndToEnd: readonly (readonly (readonly number[])[])[];
  readonly nSentence: number;
}

const OFFSETS = [-2, -1, 0, 1, 2] as const;
const NEIGHBOURS = [-1, 0, 1] as const;

/** Sums and counts of one mean for each head and each cell. */
class Means {
  readonly sums: Float64Array;
  readonly counts: Float64Array;
  constructor(
    private readonly nHead: number,
    readonly nCell: number,
  ) {
    this.sums = new Float64Array(nHead * nCell);
    this.counts = new Float64Array(nHead * nCell);
  }
  add(head: number, cell: number, sum: number, count: number): void {
    this.sums[head * this.nCell + cell]! += sum;
    this.counts[head * this.nCell + cell]! += count;
  }
  /** Nested lists of means; the cells have axes `shape`, row-major. */
  nested(nLayer: number, shape: readonly number[]): unknown {
    const means = Array.from(this.sums, (sum, i) => (this.counts[i] === 0 ? null : sum / this.counts[i]!));
    return nest(means, [nLayer, this.nHead / nLayer, ...shape]);
  }
}

function nest(flat: readonly unknown[], shape: readonly number[]): unknown {
  if (shape.length <= 1) return flat;
  const width = flat.length / shape[0]!;
  return Array.from({ length: shape[0]! }, (_, i) => nest(flat.slice(i * width, (i + 1) * width), shape.slice(1)));
}

/**
 * Attention statistics over sentences. `sentences` is called twice and must give the same sentences both times: the first pass
 * averages attention by distance, the second what exceeds that average.
 *
 * @throws ConfigError naming every option out of its range.
 * @throws DataError naming the sentence when a head, row, tree or attention weight does not fit, or the passes differ.
 * @see Allen-Zhu and Li 2023, arXiv:2305.13673, section 5: Results 6, 7 and 8.
 */
export function attentionStatistics(
  sentences: () => Iterable<SentenceAttention>,
  options: AttentionOptions,
): AttentionStatistics {
  checkOptions(options);
  const { nLayer, nPosition, levels, nRelative = 8 } = options;
  const nHead = nLayer * options.nHead;
  const nLevel = levels.length;
  const distance = new Means(nHead, nPosition);
  let nSentence = 0;
  for (const { attention } of sentences()) {
    for (const part of attention) {
      const head = checkRows(part, options, nSentence);
      forEachRow(part, (row, j) => {
        const own = head * nPosition + j;
        let total = 0;
        for (let i = 0; i <= j; i++) {
          total += row[i]!;
          distance.sums[own - i]! += row[i]!;
          distance.counts[own - i]!++;
        }
        if (!Number.isFinite(total)) {
          throw new DataError(`attentionStatistics.rows of sentence ${nSentence}`, 'finite weights', String(total));
        }
      });
    }
    nSentence++;
  }
  const average = distance.sums.map((sum, i) => (distance.counts[i] === 0 ? 0 : sum / distance.counts[i]!));

  const offset = new Means(nHead, nLevel * OFFSETS.length);
  const boundary = new Means(nHead, nLevel * 9);
  const end = new Means(nHead, nLevel * nLevel * (nRelative + 1));
  const excess = new Float64Array(nPosition);
  let nAgain = 0;
  for (const { labels, attention } of sentences()) {
    let tree: Tree | undefined;
    for (const part of attention) {
      const head = checkRows(part, options, nAgain);
      tree ??= new Tree(labels, part.T, nLevel, nAgain);
      const { deepest, ends, endsByDeepest, offsetsAt } = tree;
      if (tree.T !== part.T) throw new DataError(`sentence ${nAgain}`, `${tree.T} tokens in all heads`, `${part.T}`);
      const { nodes } = labels;
      forEachRow(part, (row, j) => {
        for (let i = 0; i <= j; i++) {
          const b = row[i]! - average[head * nPosition + j - i]!;
          excess[i] = b;
          for (const cell of offsetsAt[i]!) offset.add(head, cell, b, 1);
        }
        for (let l = 0; l < nLevel; l++) {
          for (const d2 of NEIGHBOURS) {
            if (j + d2 < 0 || j + d2 >= part.T || labels.ends[l]![j + d2] !== 1) continue;
            for (const d1 of NEIGHBOURS) {
              let [sum, count] = [0, 0];
              for (const e of ends[l]!) {
                const i = e - d1;
                if (i > j) break;
                if (i < 0) continue;
                sum += excess[i]!;
                count++;
              }
              boundary.add(head, l * 9 + (d1 + 1) * 3 + d2 + 1, sum, count);
            }
          }
        }
        const from = deepest[j]!;
        if (from < 0) return;
        for (let l = 0; l < nLevel; l++) {
          const own = nodes[l]![j]!;
          const list = endsByDeepest[l]!;
          for (let e = list.length - 1; e >= 0; e--) {
            const i = list[e]!;
            if (i > j) continue;
            const r = own - nodes[l]![i]!;
            // Node numbers grow with position: what lies before is further away.
            if (r > nRelative) break;
            end.add(head, (from * nLevel + l) * (nRelative + 1) + r, excess[i]!, 1);
          }
        }
      });
    }
    nAgain++;
  }
  if (nAgain !== nSentence) throw new DataError('attentionStatistics', `${nSentence} sentences again`, String(nAgain));

  const cumulative = new Means(nHead, nPosition);
  for (let head = 0; head < nHead; head++) {
    let mass = 0;
    const nRow = distance.counts[head * nPosition]!;
    for (let p = 0; p < nPosition; p++) {
      mass += distance.sums[head * nPosition + p]!;
      cumulative.add(head, p, mass, nRow);
    }
  }
  const relative = nRelative + 1;
  return {
    levels,
    byDistance: distance.nested(nLayer, [nPosition]) as AttentionStatistics['byDistance'],
    cumulative: cumulative.nested(nLayer, [nPosition]) as AttentionStatistics['cumulative'],
    byEndOffset: offset.nested(nLayer, [nLevel, OFFSETS.length]) as AttentionStatistics['byEndOffset'],
    boundaryToBoundary: boundary.nested(nLayer, [nLevel, 3, 3]) as AttentionStatistics['boundaryToBoundary'],
    endToEnd: end.nested(nLayer, [nLevel, nLevel, relative]) as AttentionStatistics['endToEnd'],
    nEndToEnd: nest(Array.from(end.counts.subarray(0, end.nCell)), [nLevel, nLevel, relative]) as number[][][],
    nSentence,
  };
}

/** What the second pass looks up about a sentence. */
class Tree {
  /** Index of b#(i) in the levels; −1 where nothing ends. */
  readonly deepest: Int32Array;
  /** By level: positions where it ends, ascending. */
  readonly ends: readonly (readonly number[])[];
  /** By level: positions where it is b#, ascending. */
  readonly endsByDeepest: readonly (readonly number[])[];
  /** By key position i: the cells [level, d] with b#(i + d) = level. */
  readonly offsetsAt: readonly (readonly number[])[];

  constructor(
    labels: NtLabels,
    readonly T: number,
    nLevel: number,
    sentence: number,
  ) {
    for (const [name, list] of Object.entries({ ends: labels.ends, nodes: labels.nodes })) {
      const where = `attentionStatistics.labels.${name} of sentence ${sentence}`;
      if (list.length !== nLevel) throw new DataError(where, `${nLevel} levels`, String(list.length));
      for (const level of list) {
        if (level.length !== T)
          throw new DataError(where, `${T} positions, as the attention has`, String(level.length));
      }
    }
    const positions = Array.from({ length: T }, (_, i) => i);
    this.deepest = Int32Array.from(positions, (i) => labels.ends.findIndex((level) => level[i] === 1));
    this.ends = labels.ends.map((level) => positions.filter((i) => level[i] === 1));
    this.endsByDeepest = labels.ends.map((_, l) => positions.filter((i) => this.deepest[i] === l));
    this.offsetsAt = positions.map((i) =>
      OFFSETS.flatMap((d, cell) => {
        const level = this.deepest[i + d] ?? -1;
        return level < 0 ? [] : [level * OFFSETS.length + cell];
      }),
    );
  }
}

function forEachRow({ row0, rows, T }: AttentionRows, body: (row: Float32Array, j: number) => void): void {
  for (let r = 0; r < rows.length / T; r++) body(rows.subarray(r * T, (r + 1) * T), row0 + r);
}

/** Index of the head among all heads of all layers. */
function checkRows(part: AttentionRows, { nLayer, nHead, nPosition }: AttentionOptions, sentence: number): number {
  const { layer, head, row0, rows, T } = part;
  const reject = (name: string, expected: string, got: unknown): never => {
    throw new DataError(`attentionStatistics.${name} of sentence ${sentence}`, expected, String(got));
  };
  if (!(layer >= 0 && layer < nLayer)) reject('layer', `0 … ${nLayer - 1}`, layer);
  if (!(head >= 0 && head < nHead)) reject('head', `0 … ${nHead - 1}`, head);
  if (!(T > 0 && T <= nPosition)) reject('T', `1 … ${nPosition} tokens`, T);
  const nRow = rows.length / T;
  if (!(Number.isInteger(nRow) && row0 >= 0 && row0 + nRow <= T))
    reject('rows', `rows within 0 … ${T - 1}`, `${nRow} from ${row0}`);
  return layer * nHead + head;
}

function checkOptions({ nLayer, nHead, nPosition, levels, nRelative }: AttentionOptions): void {
  const problems = Object.entries({ nLayer, nHead, nPosition, nLevel: levels.length, nRelative: nRelative ?? 1 })
    .filter(([name, n]) => !(Number.isInteger(n) && n >= (name === 'nRelative' ? 0 : 1)))
    .map(([name, n]) => ({ path: `attentionStatistics.${name}`, expected: 'a positive integer', got: String(n) }));
  if (problems.length > 0) throw new ConfigError(problems);
}
