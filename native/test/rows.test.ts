import { describe, expect, it } from 'vitest';
import { absent, native, runKernel } from './kernel-runner.js';

// Products of 9 to 64 rows run on their side, larger ones do not: the bits of a row must not tell.

describe.skipIf(absent)('x·wᵀ + b', () => {
  it.each(absent ? [] : native.isas())('gives a row the same bits in any company of more than 8 rows on %s', (isa) => {
    const before = native.isa();
    native.setIsa(isa);
    try {
      for (const [I, O] of [
        [48, 130],
        [5, 160],
        [700, 257],
      ] as const) {
        const number = (i: number): number => Math.fround(Math.sin(i * 12.9898) * 2);
        const many = 200;
        const x = Float32Array.from({ length: many * I }, (_, i) => number(i));
        const w = { shape: [O, I], data: Float32Array.from({ length: O * I }, (_, i) => number(i + 7919)) };
        const b = { shape: [O], data: Float32Array.from({ length: O }, (_, i) => number(i + 104_729)) };
        const run = (R: number, kernel: string): Float64Array[] =>
          runKernel(
            kernel,
            [{ shape: [R, I], data: x.slice(0, R * I) }, w, b],
            kernel === 'linearBias_forward' ? [{ shape: [R, O] }] : [{ shape: [R, O] }, { shape: [R, O] }],
          );
        for (const kernel of ['linearBias_forward', 'linearBiasGelu_forward']) {
          const whole = run(many, kernel);
          for (const R of [9, 14, 17, 32, 33, 64, 65]) {
            run(R, kernel).forEach((y, i) => {
              expect(y, `${kernel} output ${i}, ${R} rows`).toEqual(whole[i]!.slice(0, R * O));
            });
          }
        }
      }
    } finally {
      native.setIsa(before);
    }
  });
});
