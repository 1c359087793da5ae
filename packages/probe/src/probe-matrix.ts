import { ConfigError, nearest } from '@physlm/base';
import type { LanguageModel } from '@physlm/model';
import { type EmbeddingProbeResult, embeddingProbe } from './embedding-probe.js';
import type { EmbeddingProbeOptions, EmbeddingProbeSource } from './embedding-probe-options.js';
import type { EmbeddingProbeScore, GroupScore } from './embedding-probe-score.js';

/** Accuracies over two axes: plain JSON, and what a heat map is drawn from. */
export interface ProbeMatrix {
  /** Groups, such as positions or distances: see {@link probeMatrix}. */
  readonly rows: readonly (string | number)[];
  /** Tasks, or layers. */
  readonly columns: readonly string[];
  /** cells[row][column]; undefined where the column has no test rows of the group. */
  readonly cells: readonly (readonly (GroupScore | undefined)[])[];
}

/**
 * Lays scores side by side: a column for each score, a row for each group of one grouping, in the order in which the scores have
 * them. The scores of P-probing by position make its matrix of positions × tasks, those of several layers by distance the one of
 * {@link probeLayers}.
 *
 * @throws ConfigError when no score has the grouping, naming the nearest.
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Figure 5.
 */
export function probeMatrix(scores: Readonly<Record<string, EmbeddingProbeScore>>, grouping: string): ProbeMatrix {
  const columns = Object.keys(scores);
  const found = columns.map((name) => scores[name]!.groups[grouping] ?? []);
  const rows = [...new Set(found.flatMap((groups) => groups.map(({ group }) => group)))];
  if (rows.length === 0) {
    const known = [...new Set(Object.values(scores).flatMap(({ groups }) => Object.keys(groups)))];
    const expected = known.length === 0 ? 'scores with groups' : `one of ${known.join(', ')}`;
    const got = `'${grouping}'`;
    throw new ConfigError([{ path: 'probeMatrix.grouping', expected, got, nearest: nearest(grouping, known) }]);
  }
  if (rows.every((row) => typeof row === 'number')) rows.sort((a, b) => Number(a) - Number(b));
  return { rows, columns, cells: rows.map((row) => found.map((list) => list.find(({ group }) => group === row))) };
}

/** What `probeLayers` found. Plain JSON. */
export interface ProbeLayersResult {
  /** By layer. */
  readonly layers: Readonly<Record<string, EmbeddingProbeResult>>;
  /** By task: groups × layers. */
  readonly matrices: Readonly<Record<string, ProbeMatrix>>;
}

/**
 * Trains the same probes on several layers, each with an update of its own, and lays their accuracies side by side by group: the
 * necessity of a parameter by layer and by its distance to the query.
 *
 * @throws as `embeddingProbe`, and ConfigError when no example has the grouping.
 * @see Ye, Xu, Li and Allen-Zhu 2024, arXiv:2407.20311, Figures 10 and 14.
 */
export async function probeLayers(
  model: LanguageModel,
  source: EmbeddingProbeSource,
  {
    layers,
    grouping,
    ...options
  }: EmbeddingProbeOptions & {
    /** Paths of activations, such as `blocks.0.residPost`. */
    readonly layers: readonly string[];
    /** A grouping of the examples, such as distance. */
    readonly grouping: string;
  },
): Promise<ProbeLayersResult> {
  const results: Record<string, EmbeddingProbeResult> = {};
  for (const layer of layers) {
    const { result } = await embeddingProbe(model, source, { ...options, readout: { ...options.readout, layer } });
    results[layer] = result;
  }
  const matrixOf = (task: string): ProbeMatrix => {
    const scores = layers.map((layer) => [layer, results[layer]!.tasks[task]!] as const);
    return probeMatrix(Object.fromEntries(scores), grouping);
  };
  return { layers: results, matrices: Object.fromEntries(source.tasks.map(({ name }) => [name, matrixOf(name)])) };
}
