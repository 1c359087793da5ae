import { afterEach, describe, expect, it } from 'vitest';
import { absent, check, f, native, noise, out, type Want, want } from './kernel-runner.js';
import * as reference from './reference.js';

const isas = absent ? [] : native.isas();
const ROWS = [1, 3, 7, 17, 65];
const WIDTHS = [1, 5, 16, 33, 48];

describe.skipIf(absent).each(isas)('products with weights on %s', (isa) => {
  const started = absent ? 1 : native.threads();
  const use = (): void => {
    expect(native.setIsa(isa)).toBe(true);
  };
  afterEach(() => {
    native.setIsa(isas[0] as string);
    native.setThreads(started);
  });

  it('matmul, all four orders', () => {
    use();
    const shapes = [
      ...ROWS.flatMap((m) => WIDTHS.map((k) => [m, k, 33])),
      [2, 300, 70],
      [130, 700, 40],
      [70, 3, 300],
      [20, 1500, 50],
    ];
    for (const [m, k, n] of shapes as [number, number, number][])
      for (const ta of [0, 1])
        for (const tb of [0, 1]) {
          const a = noise(m * k, 1);
          const b = noise(k * n, 2);
          const c = reference.product(
            m,
            n,
            k,
            (i, x) => a[ta ? x * m + i : i * k + x] as number,
            (x, j) => b[tb ? j * k + x : x * n + j] as number,
          );
          check(
            'matmul_forward',
            [f(ta ? [k, m] : [m, k], a), f(tb ? [n, k] : [k, n], b)],
            [out(m, n)],
            [ta, tb],
            [want(c, 2e-6 * Math.sqrt(k) + 1e-6)],
          );
        }
  });

  it('linear layers forward and backward', () => {
    use();
    const shapes = [
      ...ROWS.flatMap((R) => WIDTHS.flatMap((I) => WIDTHS.map((O) => [R, I, O]))),
      [200, 64, 256],
      [1100, 16, 48], // weight gradient cut along its rows
      [1300, 33, 20],
      [9, 40, 700],
      [65, 800, 20],
      [1700, 3, 620], // the gradient of gelu in a pass of its own
    ];
    for (const [R, I, O] of shapes as [number, number, number][]) {
      const x = noise(R * I, 1);
      const w = noise(O * I, 2, 1 / Math.sqrt(I));
      const b = noise(O, 3);
      const dy = noise(R * O, 4);
      const pre = reference.linear(x, w, R, I, O, b);
      const inputs = [f([R, I], x), f([O, I], w)];
      check('linear_forward', inputs, [out(R, O)], [], [want(reference.linear(x, w, R, I, O), 1e-5)]);
      check('linearBias_forward', [...inputs, f([O], b)], [out(R, O)], [], [want(pre, 1e-5)]);
      const y = want(pre.map(reference.gelu), 1e-5);
      check('linearBiasGelu_forward', [...inputs, f([O], b)], [out(R, O), out(R, O)], [], [y, want(pre, 1e-5)]);
      check('linearBiasGelu_forward', [...inputs, f([O], b)], [out(R, O), { shape: [R, O], absent: true }], [], [y]);

      const gradients = (d: Float64Array): Want[] => {
        const { dx, dw, db } = reference.linearBackward(x, w, d, R, I, O);
        const rounding = 3e-6 * Math.sqrt(R);
        return [want(dx, 1e-5 * Math.sqrt(O / 16 + 1)), want(dw, rounding + 1e-6), want(db, rounding + 1e-6)];
      };
      const grads = [out(R, I), out(O, I), out(O)];
      const plain = gradients(dy);
      check('linear_backward', [...inputs, f([R, O], dy)], grads.slice(0, 2), [], plain.slice(0, 2));
      check('linearBias_backward', [...inputs, f([R, O], dy)], grads, [], plain);
      const pre32 = Float64Array.from(pre, Math.fround);
      check(
        'linearBiasGelu_backward',
        [...inputs, f([R, O], pre32), f([R, O], dy)],
        grads,
        [],
        gradients(dy.map((d, i) => d * reference.geluSlope(pre32[i] as number))),
      );
      for (let skipped = 0; skipped < 3; skipped++) {
        const some = grads.map((g, i) => (i === skipped ? { ...g, absent: true } : g));
        const wanted = plain.map((g, i) => (i === skipped ? undefined : g));
        if (R === 17 && O === 33) check('linearBias_backward', [...inputs, f([R, O], dy)], some, [], wanted);
      }
    }
  }, 240_000);
});
