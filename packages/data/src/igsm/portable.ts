/**
 * e to the power x for |x| up to some hundreds, from +, × and ÷ alone: Math.exp may differ in the last bit between JavaScript
 * engines, and samples must not.
 */
export function portableExp(x: number): number {
  const z = x / 256;
  let series = 1;
  for (let k = 12; k >= 1; k--) series = 1 + (z * series) / k;
  let power = series;
  for (let i = 0; i < 8; i++) power *= power;
  return power;
}
