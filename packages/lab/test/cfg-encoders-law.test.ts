import { expect, test } from 'vitest';
import { criterion, lawNamed, type Results } from '../src/index.js';

const run = (ends: readonly number[]): Results => ({
  recipe: 'cfg',
  measures: Object.fromEntries([
    ...ends.map((accuracy, i) => [`end.NT${i + 2}`, accuracy] as const),
    // What is measured of other positions is not asked for.
    ['ancestor.NT2', 0.1],
    ['end.NT2.ceiling', 1],
  ]),
  intervals: {},
});

test('cfg-encoders compares all levels but the lowest, with the better encoder', () => {
  const law = lawNamed('cfg-encoders');
  const [rotary, deberta, rotaryEncoder] = [run([0.9, 0.8, 1]), run([0.4, 0.6, 0.97]), run([0.7, 0.1, 0.9])];
  const { ours, measures } = law.measure({ rotary, deberta, rotaryEncoder });
  // Means over NT2 and NT3: 0.85, 0.5 and 0.4.
  expect(ours).toBeCloseTo(0.35, 12);
  expect(measures.encoderLowest).toBe(0.9);
  expect(measures['rotaryEncoder.NT3']).toBe(0.1);
  const { expect: bounds } = law.scales.tiny!;
  expect(criterion(measures, bounds)).toBe('holds');
  // An encoder that reads deep levels as well, and one that reads nothing at all, both break the law.
  expect(criterion(law.measure({ rotary, deberta: rotary, rotaryEncoder }).measures, bounds)).toBe('fails');
  expect(criterion(law.measure({ rotary, deberta, rotaryEncoder: run([0.3, 0.3, 0.5]) }).measures, bounds)).toBe(
    'fails',
  );
});
