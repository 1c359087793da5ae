import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { philox4x32, Rng } from '../src/index.js';

const hex = (words: Uint32Array): string => [...words].map((w) => w.toString(16).padStart(8, '0')).join(' ');

describe('philox4x32', () => {
  // Known answers published with the Random123 library (philox4x32, 10 rounds).
  it.each([
    [[0, 0, 0, 0, 0, 0], '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    [[0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], '408f276d 41c83b0e a20bc7c6 6d5451fd'],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0], 'd16cfe09 94fdcceb 5001e420 24126ea1'],
  ])('matches the known answer for %j', (words, expected) => {
    const out = new Uint32Array(4);
    const [c0, c1, c2, c3, k0, k1] = words as [number, number, number, number, number, number];
    philox4x32(c0, c1, c2, c3, k0, k1, out);
    expect(hex(out)).toBe(expected);
  });
});

describe('Rng', () => {
  it('gives the same numbers in every release', () => {
    const rng = new Rng(1).fork('data').at(7);
    expect([rng.u32(), rng.u32(), rng.below(1000)]).toMatchInlineSnapshot(`
      [
        4258384681,
        2183621527,
        27,
      ]
    `);
  });

  it('seeks to any position', () => {
    fc.assert(
      fc.property(fc.nat(300), (position) => {
        const walked = new Rng('walk');
        for (let i = 0; i < position; i++) walked.u32();
        expect(new Rng('walk').seek(position).u32()).toBe(walked.u32());
      }),
    );
  });

  it('keeps streams independent of what others draw', () => {
    const quiet = new Rng(3).fork('b').u32();
    const parent = new Rng(3);
    parent.fork('a').uniform();
    parent.u32();
    expect(parent.fork('b').u32()).toBe(quiet);
  });

  it('gives different streams for different names, items and depths', () => {
    const root = new Rng(0);
    const streams = [
      root,
      root.fork(''),
      root.fork('a'),
      root.fork('a').fork('a'),
      root.fork('aa'),
      root.at(0),
      root.at(1),
    ];
    streams.push(root.at(0).fork('a'), root.at(1).fork('a'), root.at(0).at(0), root.at(0).at(1), root.at(1).at(0));
    expect(new Set(streams.map((s) => s.u32())).size).toBe(streams.length);
  });

  it('is uniform below n, and normal with mean 0 and variance 1', () => {
    const rng = new Rng('moments');
    const n = 60_000;
    const counts = new Array<number>(7).fill(0);
    for (let i = 0; i < n; i++) counts[rng.below(7)]!++;
    const chi2 = counts.reduce((sum, c) => sum + (c - n / 7) ** 2 / (n / 7), 0);
    expect(chi2).toBeLessThan(22.5); // 99.9 % of χ² with 6 degrees of freedom
    let [sum, square, fourth] = [0, 0, 0];
    for (let i = 0; i < n; i++) {
      const x = rng.normal();
      sum += x;
      square += x * x;
      fourth += x ** 4;
    }
    expect(Math.abs(sum / n)).toBeLessThan(0.02);
    expect(square / n).toBeCloseTo(1, 1);
    expect(fourth / n).toBeGreaterThan(2.8);
    expect(fourth / n).toBeLessThan(3.2);
  });

  it('shuffles into every order equally often', () => {
    const rng = new Rng('orders');
    const counts = new Map<string, number>();
    for (let i = 0; i < 6000; i++) {
      const order = rng.shuffle(['a', 'b', 'c']).join('');
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(6);
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });
});
