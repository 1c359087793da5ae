import { type AnyOp, ops } from '@physlm/model';
import { expect, it } from 'vitest';

// docs/ops.md is the declarations, as a table. `npm test -- tests -u` writes it again.

function tensors(axes: Readonly<Record<string, string>>, special: readonly string[] = [], mark = ''): string {
  return Object.entries(axes)
    .map(([name, letters]) => `${name}[${[...letters].join(', ')}]${special.includes(name) ? mark : ''}`)
    .join(', ');
}

function row(op: AnyOp): string {
  const backward =
    op.backward === 'none'
      ? '–'
      : op.backward === 'autodiff'
        ? 'of the reference'
        : `native, saves ${op.backward.saves.join(', ')}`;
  const cells = [
    `\`${op.name}\``,
    op.summary,
    tensors(op.inputs, op.integers, ' i32'),
    tensors(op.outputs, op.auxiliary, '°'),
    Object.keys(op.attrs).join(', ') || '–',
    backward,
    `${op.tolerance.atol} + ${op.tolerance.rtol}·\\|x\\|`,
    op.source,
  ];
  return `| ${cells.map((cell) => cell.replaceAll(/(?<!\\)\|/g, '\\|')).join(' | ')} |`;
}

it('docs/ops.md says what is declared', async () => {
  const text = [
    '# Operations',
    '',
    'Every declared op of `@physlm/model`. On device `js` the reference runs; on `cpu` a native kernel of the same name. Axis letters: B batch,',
    'T position, S key position, R rows (batch × position), I and O features, D width, P packed heads or gates, H query heads, G key/value heads,',
    'K head width, Q = H·K, F mlp width, V vocabulary, N elements or distances. ° marks outputs that no gradient flows through. Tolerance is what the',
    'conformance test allows between a kernel in f32 and the reference in f64. All kernels are deterministic: same inputs, same bits, for any',
    'number of threads.',
    '',
    '| op | computes | inputs | outputs | attributes | backward | tolerance | source |',
    '|---|---|---|---|---|---|---|---|',
    ...ops.map(row),
    '',
  ].join('\n');
  await expect(text).toMatchFileSnapshot('../../docs/ops.md');
});
