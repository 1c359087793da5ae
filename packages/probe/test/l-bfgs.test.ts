import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { minimise } from '../src/l-bfgs.js';

const options = { nStep: 500, tolerance: 1e-8, precision: Number.EPSILON };

describe('minimise', () => {
  it('finds the minimum of an ill-conditioned quadratic and says so', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.double({ min: 1e-2, max: 1e2, noNaN: true }), fc.integer({ min: -50, max: 50 })), {
          minLength: 1,
          maxLength: 30,
        }),
        (terms) => {
          const evaluate = (x: Float64Array) => ({
            value: terms.reduce((sum, [a, c], i) => sum + (a / 2) * (x[i]! - c) ** 2, 0),
            gradient: x.map((value, i) => terms[i]![0] * (value - terms[i]![1])),
          });
          const { x, converged } = minimise(evaluate, new Float64Array(terms.length), options);
          expect(converged).toBe(true);
          const scale = Math.max(...terms.map(([a, c]) => Math.abs(a * c)));
          for (const [i, [a, c]] of terms.entries()) {
            expect(Math.abs(a * (x[i]! - c))).toBeLessThanOrEqual(1e-7 * scale * terms.length);
          }
        },
      ),
    );
  });
  it('walks the curved valley of Rosenbrock', () => {
    const rosenbrock = ([a, b]: Float64Array) => ({
      value: (1 - a!) ** 2 + 100 * (b! - a! ** 2) ** 2,
      gradient: Float64Array.of(-2 * (1 - a!) - 400 * a! * (b! - a! ** 2), 200 * (b! - a! ** 2)),
    });
    const { x, nStep } = minimise(rosenbrock, Float64Array.of(-1.2, 1), options);
    expect([...x]).toEqual([expect.closeTo(1, 6), expect.closeTo(1, 6)]);
    expect(nStep).toBeLessThan(100);
  });
  it('says when the steps ran out, and takes none from a minimum', () => {
    const bowl = (x: Float64Array) => ({
      value: Math.log(Math.cosh(x[0]! - 9)),
      gradient: x.map((v) => Math.tanh(v - 9)),
    });
    expect(minimise(bowl, Float64Array.of(0), { ...options, nStep: 2 })).toMatchObject({ nStep: 2, converged: false });
    expect(minimise(bowl, Float64Array.of(9), options)).toMatchObject({ nStep: 0, converged: true });
  });
});
