import { describe, expect, it } from 'vitest';
import { figureData, type HeatFigure, probeHeat, renderSvg } from '../src/index.js';

const figure: HeatFigure = {
  kind: 'heat',
  id: 'p-probe',
  title: 'Where a biography tells its values',
  caption: 'Accuracy on held-out people.',
  x: { label: 'task', names: ['birth date', 'birth city', 'work city'] },
  y: { label: 'position', names: ['P0', 'P1'] },
  value: { label: 'accuracy', min: 0, max: 1 },
  values: [
    [0.031, 0.5, 1],
    [0.994, undefined, 2],
  ],
};

describe('a heat map', () => {
  it('has a rectangle with its number for each value, a gap where there is none, and a scale', async () => {
    const svg = await renderSvg(figure);
    const numbers = [...svg.matchAll(/<text [^>]*>([^<]*)<\/text>/g)].map((match) => match[1]!);
    for (const name of [...figure.x.names, ...figure.y.names, 'task', 'position', 'accuracy']) {
      expect(numbers).toContain(name);
    }
    expect(numbers.filter((text) => text === '0.031' || text === '0.994')).toHaveLength(2);
    const opacities = [...svg.matchAll(/fill="#1f6feb" fill-opacity="([\d.]+)"/g)].map((match) => Number(match[1]));
    // Five values, and the five steps of the scale: the greatest is as strong as what lies beyond the scale.
    expect(opacities).toHaveLength(10);
    expect(opacities.filter((x) => x === 0.62)).toHaveLength(3);
    expect(Math.min(...opacities)).toBe(0.04);
    expect(svg).toContain('<title>Where a biography tells its values</title>');
  });
  it('draws the same bytes again, whatever was drawn before', async () => {
    const first = await renderSvg(figure);
    await renderSvg({
      ...figure,
      id: 'other',
      values: [
        [0, 0, 0],
        [1, 1, 1],
      ],
    });
    expect(await renderSvg(figure)).toBe(first);
  });
  it('gives its numbers as a table', () => {
    expect(figureData(figure)).toEqual({
      columns: ['position \\ task', 'birth date', 'birth city', 'work city'],
      rows: [
        ['P0', 0.031, 0.5, 1],
        ['P1', 0.994, '', 2],
      ],
    });
  });
  it('lays out what a probe found', () => {
    const interval = { low: 0.2, high: 0.3 };
    const cell = { group: 1, accuracy: 0.25, interval, n: 8, randomModelAccuracy: 0.1, majority: 0.2, classes: [] };
    const matrix = {
      rows: [1, 2],
      columns: ['blocks.0', 'blocks.1'],
      cells: [
        [cell, undefined],
        [cell, cell],
      ],
    };
    const words = { id: 'nece', title: 'Planning', caption: '', rowLabel: 'distance', columnLabel: 'layer' };
    expect(probeHeat(matrix, words)).toMatchObject({
      kind: 'heat',
      id: 'nece',
      x: { label: 'layer', names: ['blocks.0', 'blocks.1'] },
      y: { label: 'distance', names: ['1', '2'] },
      values: [
        [0.25, undefined],
        [0.25, 0.25],
      ],
    });
  });
});
