import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Gpt2Tokenizer, tokenizerFromJson, WordTokenizer } from '../src/index.js';

describe('WordTokenizer', () => {
  const tokenizer = new WordTokenizer('toy', ['Anna', 'lives', 'in', 'Austin,', 'TX', 'in']);

  test('splits at spaces and at full stops', () => {
    expect([...tokenizer.encode('Anna lives in Austin, TX. Anna lives.')]).toEqual([2, 3, 4, 5, 6, 1, 2, 3, 1]);
    expect(tokenizer.dVocab).toBe(7);
    expect([...tokenizer.usedTokens]).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect([...tokenizer.encode('')]).toEqual([]);
  });

  test('gives back any tokens that it can write', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 2, max: 6 })), fc.array(fc.nat(9)), (words, stops) => {
        const tokens = words.flatMap((word, i) => (stops.includes(i) ? [word, 1] : [word]));
        expect([...tokenizer.encode(tokenizer.decode(tokens))]).toEqual(tokens);
      }),
    );
    expect(tokenizer.decode([0, 2, 3, 1, 0])).toBe('<|endoftext|> Anna lives. <|endoftext|>');
    expect([...tokenizer.encode('<|endoftext|> Anna lives. <|endoftext|>')]).toEqual([0, 2, 3, 1, 0]);
  });

  test('names an unknown word and the nearest known one', () => {
    expect(() => tokenizer.encode('Ana lives')).toThrow(/'Ana'\nDid you mean 'Anna'\?/);
    expect(() => tokenizer.decode([7])).toThrow(/0 … 6/);
    expect(() => new WordTokenizer('toy', ['two words'])).toThrow(/two words/);
    expect(() => new WordTokenizer('toy', ['stop.'])).toThrow(/stop\./);
    expect(() => new WordTokenizer('toy', [''])).toThrow(/''/);
  });
});

describe('Gpt2Tokenizer', () => {
  const gpt2 = new Gpt2Tokenizer();

  test('gives the tokens of GPT-2', () => {
    expect([...gpt2.encode('Hello world, 1234!')]).toEqual([15496, 995, 11, 1105, 2682, 0]);
    expect([gpt2.dVocab, gpt2.eos, gpt2.usedTokens.length]).toEqual([50257, 50256, 50257]);
    expect(gpt2.decode([50256])).toBe('<|endoftext|>');
    expect([...gpt2.encode('Hello<|endoftext|>Hello')]).toEqual([15496, 50256, 15496]);
  });

  test('gives any text back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(gpt2.decode(gpt2.encode(text))).toBe(text);
      }),
    );
  });

  test('restrict renumbers tokens densely in their order', () => {
    const small = Gpt2Tokenizer.restrict([2682, 995, 15496, 11, 1105, 995]);
    expect([small.dVocab, small.eos]).toEqual([6, 5]);
    expect([...small.encode('Hello world, 1234')]).toEqual([4, 1, 0, 2, 3]);
    expect(small.decode([4, 1, 0, 2, 3, 5])).toBe('Hello world, 1234<|endoftext|>');
    expect([...small.usedTokens]).toEqual([0, 1, 2, 3, 4, 5]);
    expect(() => small.encode('Hello world!')).toThrow(/"!" \(token 0\)/);
    expect(() => small.decode([6])).toThrow(/0 … 5/);
    expect(() => Gpt2Tokenizer.restrict([50257])).toThrow(/50257/);
  });
});

describe('tokenizerFromJson', () => {
  test('rebuilds each tokenizer', () => {
    const text = 'Hello world, 1234';
    const words = new WordTokenizer('toy', text.split(' '));
    for (const tokenizer of [words, new Gpt2Tokenizer(), Gpt2Tokenizer.restrict(new Gpt2Tokenizer().encode(text))]) {
      const again = tokenizerFromJson(JSON.parse(JSON.stringify(tokenizer)));
      expect([again.name, again.dVocab, again.eos]).toEqual([tokenizer.name, tokenizer.dVocab, tokenizer.eos]);
      expect([...again.encode(text)]).toEqual([...tokenizer.encode(text)]);
      expect(again.toJSON()).toEqual(tokenizer.toJSON());
    }
  });

  test('refuses anything else', () => {
    for (const value of [
      undefined,
      null,
      3,
      {},
      { kind: 'word' },
      { kind: 'gpt2', gpt2Tokens: ['a'] },
      { kind: 'terminals' },
    ]) {
      expect(() => tokenizerFromJson(value)).toThrow(/kind 'word', 'literal', 'gpt2' or 'terminals'/);
    }
  });
});
