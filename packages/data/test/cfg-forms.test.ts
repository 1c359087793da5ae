import { expect, test } from 'vitest';
import { cfgFromJson, formsOf, releasedCfg, sentences } from '../src/cfg/index.js';

const codes = (form: string): number[] => [...form].map((letter) => letter.charCodeAt(0));

test('forms by hand', () => {
  const cfg = cfgFromJson({
    levels: [[9], [7, 8], [1, 2]],
    rules: { 9: [[7, 8, 7]], 7: [[1, 1], [2]], 8: [[2, 1]] },
  });
  const source = sentences(cfg, { seed: 1 });
  const of = (text: string) => {
    for (let i = 0; ; i++) if (source.document(i).text === text) return formsOf(source.document(i).tree);
  };
  const found = of('2 2 1 1 1').map(({ form, ...rest }) => ({ ...rest, form: codes(form) }));
  expect(found).toEqual([
    { symbol: 9, from: 1, to: 2, form: [7, 8, 7] },
    { symbol: 9, from: 1, to: 3, form: [2, 2, 1, 1, 1] },
    // The first 7, not the last one.
    { symbol: 7, from: 2, to: 3, form: [2] },
    { symbol: 8, from: 2, to: 3, form: [2, 1] },
  ]);
});

test('of each symbol: what the tokens under its first node have as ancestors', () => {
  const source = sentences(releasedCfg('cfg3h'), { seed: 2 });
  for (let i = 0; i < 5; i++) {
    const { tree } = source.document(i);
    const forms = formsOf(tree);
    expect(forms.filter(({ from }) => from === 1).map(({ to }) => to)).toEqual([2, 3, 4, 5, 6, 7]);
    for (const { symbol, from, to, form } of forms) {
      const first = tree.ntAncestor(from).indexOf(symbol);
      const node = tree.ntIndex(from)[first]!;
      const under = [...tree.ntIndex(from).keys()].filter((t) => tree.ntIndex(from)[t] === node);
      const below = new Map(under.map((t) => [tree.ntIndex(to)[t]!, tree.ntAncestor(to)[t]!]));
      expect(codes(form)).toEqual([...below.values()]);
    }
  }
});
