// A dependency graph as lines of text: the query on top, below each parameter what it is computed from.
import { type Naming, parameterName } from './naming.js';
import { ancestors, exists, type Problem } from './problem.js';

/**
 * The dependency graph of a problem as a tree of names and values. A parameter that was drawn above is not unfolded again;
 * parameters that the answer does not need follow at the end.
 */
export function drawGraph(problem: Problem, naming: Naming): string {
  const { index, parents, values, query, rules } = problem;
  const necessary = ancestors(parents, query);
  const drawn = new Set<number>();
  const lines: string[] = [];
  const describe = (parameter: number): string => {
    const rule = rules[parameter];
    const how: string[] = [];
    if (parameter >= index.nPair) how.push(parents[parameter]!.length === 0 ? 'nothing inside' : 'in all');
    else if (rule!.operands.length > 1) how.push(rule!.difference ? 'difference' : 'sum');
    if (rule !== undefined && rule.constant >= 0 && rule.operands.length > 0) {
      how.push(rule.times ? `times ${rule.constant}` : `plus ${rule.constant}`);
    }
    const text = `${parameterName(index, naming, parameter)} = ${values[parameter]}`;
    return how.length === 0 ? text : `${text}  (${how.join(', ')})`;
  };
  const draw = (parameter: number, first: string, rest: string): void => {
    const again = drawn.has(parameter) && parents[parameter]!.length > 0;
    lines.push(`${first}${describe(parameter)}${again ? '  …' : ''}`);
    drawn.add(parameter);
    if (again) return;
    const list = parents[parameter]!;
    list.forEach((parent, x) => {
      const last = x === list.length - 1;
      draw(parent, `${rest}${last ? '└─ ' : '├─ '}`, `${rest}${last ? '   ' : '│  '}`);
    });
  };
  draw(query, '', '');
  const others: number[] = [];
  for (let one = 0; one < index.nPair; one++) if (exists(problem, one) && necessary[one] === 0) others.push(one);
  if (others.length > 0) lines.push('not needed:', ...others.map((one) => `   ${describe(one)}`));
  return lines.join('\n');
}
