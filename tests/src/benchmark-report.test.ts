// What the benchmarks' numbers go through after they were taken: statistics, the choice of peers and runs, the page.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const load = (file: string) => import(new URL(`../../benchmarks/src/${file}`, import.meta.url).href);
const harness = await load('harness.mjs');
const { latest, page } = await load('report.mjs');

describe('statistics', () => {
  it('puts quartiles between neighbours by proportion', () => {
    expect(harness.quartiles([4, 1, 3, 2, 5])).toEqual({ low: 2, median: 3, high: 4 });
    expect(harness.quartiles([1, 2, 3, 4])).toEqual({ low: 1.75, median: 2.5, high: 3.25 });
    expect(harness.quartiles([7])).toEqual({ low: 7, median: 7, high: 7 });
  });

  it('finds the power of a power law, whatever its factor', () => {
    const positive = fc.double({ min: 1e-6, max: 1e6, noNaN: true });
    fc.assert(
      fc.property(positive, fc.double({ min: -3, max: 3, noNaN: true }), (factor, power) => {
        const points = [16, 64, 100, 4096].map((x) => [x, factor * x ** power]);
        expect(harness.growthExponent(points)).toBeCloseTo(power, 6);
      }),
    );
    expect(
      harness.growthExponent([
        [1, 2],
        [2, 4],
      ]),
    ).toBeUndefined();
    expect(
      harness.growthExponent([
        [1, 2],
        [2, 0],
        [3, 1],
      ]),
    ).toBeUndefined();
  });

  it('uses undisturbed samples where there are three, else all', () => {
    const sample = (seconds: number, wait: number) => ({ seconds, wait, limit: 100 });
    const quiet = [1, 2, 3].map((seconds) => sample(seconds, 0.01));
    const loud = [50, 60, 70].map((seconds) => sample(seconds, 0.5));
    expect(harness.summarize([...quiet, ...loud])).toMatchObject({ seconds: { median: 2 }, nSample: 6, nQuiet: 3 });
    expect(harness.summarize([...quiet.slice(1), ...loud])).toMatchObject({ seconds: { median: 50 }, nQuiet: 2 });
    expect(harness.summarize([{ ...sample(1, 0), limit: undefined }]).limit).toBeUndefined();
  });

  it('compares with the fastest peer of the same call', () => {
    const row = (id: string, contender: string, median: number, nQuiet = 3) => ({
      id,
      contender,
      seconds: { median },
      nQuiet,
    });
    const rows = [
      row('a', 'physlm', 2),
      row('a', 'slow', 9),
      row('a', 'fast', 3, 1),
      row('b', 'fast', 1),
      row('c', 'physlm', 1),
    ];
    const [a, c] = harness.againstBestPeer(rows, 'physlm');
    expect(a).toMatchObject({ bestPeer: 'fast', ratio: 1.5, sure: false });
    expect(c.ratio).toBeUndefined();
  });
});

const at = { cpu: 'A <fast> one', nCore: 2, isa: 'avx2', governor: 'unknown', memoryGiB: 8, os: 'linux', node: 'v20' };
const seconds = { low: 1e-3, median: 1e-3, high: 1e-3 };
const base = (what: string) => ({
  what,
  isa: 'avx2',
  file: `${what}.json`,
  machine: { ...at, commit: 'abc', date: '2026-01-01' },
  threads: [1],
  peak: [{ threads: 1, fmaGflops: 100 }],
  seconds: 1,
});
const kernel = { threads: 1, seconds, nSample: 3, nQuiet: 3, version: 'v' };

describe('the report', () => {
  const product = {
    ...kernel,
    id: 'd=16 M=512 qkv NT',
    contender: 'physlm',
    d: 16,
    tokens: 512,
    product: 'qkv',
    form: 'NT',
  };
  const gemm = {
    ...base('gemm'),
    layers: [16, 32, 64, 128].map((d) => ({
      d,
      tokens: 512,
      contender: 'physlm',
      threads: 1,
      seconds: d ** 2,
      rate: 1,
      limit: 100,
      fraction: 0.5,
    })),
    rows: [{ ...product, unit: 'GFLOP/s', flops: 5e7, bytes: 1e6, rate: 50, limit: 100, fraction: 0.5 }],
  };
  const move = {
    ...kernel,
    id: 'gelu',
    contender: 'physlm',
    unit: 'GB/s',
    flops: 1e6,
    bytes: 4e6,
    rate: 4,
    limit: 8,
    fraction: 0.5,
  };
  const norm = {
    ...base('norm'),
    rows: [move, { ...move, contender: 'PyTorch', seconds: { ...seconds, median: 4e-3 } }],
  };

  it('places a kernel by its operations per byte and per second', () => {
    const { html, charts } = page([gemm, norm]);
    expect(charts.map(({ id }: { id: string }) => id)).toContain('roofline-avx2-1');
    expect(html).toContain('<td>products</td><td>d=16 M=512 qkv NT</td><td>50</td><td>50</td>');
    expect(html).toContain('<td>norms and activations</td><td>gelu</td><td>0.25</td><td>1</td>');
    expect(html).toContain('d^2.00');
    expect(html).toContain('<td>gelu</td><td>4</td>'); // PyTorch takes four times as long.
    expect(html).toContain('A &lt;fast&gt; one');
    expect(html).not.toContain('A <fast>');
    expect(html).not.toMatch(/NaN|undefined|https?:\/\/(?!www\.w3\.org)/);
  });

  it('needs no measured limit', () => {
    const bare = { ...gemm, rows: gemm.rows.map(({ limit, fraction, ...row }) => row), peak: [{ threads: 1 }] };
    const { charts } = page([bare]);
    expect(charts.map(({ id }: { id: string }) => id)).not.toContain('roofline-avx2-1');
  });

  it('takes training sizes that the latest run left out from the runs before it', () => {
    const run = (file: string, tokensPerSec: number, ...sizes: string[]) => ({
      ...base('train-step'),
      file,
      rows: sizes.map((size) => ({ size, tokensPerSec, nParameter: size.length })),
      overlays: sizes.map((size) => ({ size, file })),
    });
    const [merged, ...none] = latest([run('1', 1, 'tiny', 'large'), run('2', 2, 'tiny')]);
    expect(none).toEqual([]);
    expect(merged.file).toBe('1, 2');
    expect(
      merged.rows.map(({ size, tokensPerSec }: { size: string; tokensPerSec: number }) => [size, tokensPerSec]),
    ).toEqual([
      ['tiny', 2],
      ['large', 1],
    ]);
    expect(merged.overlays).toEqual([
      { size: 'large', file: '1' },
      { size: 'tiny', file: '2' },
    ]);
    expect(latest([run('1', 1, 'tiny'), run('2', 2, 'tiny')])[0].file).toBe('2');
  });
});
