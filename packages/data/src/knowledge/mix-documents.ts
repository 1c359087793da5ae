import { ConfigError, DataError, Rng } from '@physlm/base';
import type { DocumentSource } from '../sample.js';

/** A series of documents with how many of a block's documents come from it. */
export interface MixedPart {
  readonly source: DocumentSource;
  readonly weight: number;
}

/**
 * Several series as one: blocks of Σ weight documents, each block in an order of its own, so that the shares are exact in
 * every block and document i is found without those before it. Groups keep their numbers: parts are about different people.
 *
 * @throws ConfigError when a weight is not a positive integer.
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Section 6 (celebrities and minorities: entries drawn from their union).
 */
export function mixDocuments(parts: readonly MixedPart[], seed: number): DocumentSource {
  const wrong = parts.findIndex(({ weight }) => !(Number.isInteger(weight) && weight > 0));
  if (parts.length === 0 || wrong >= 0) {
    const got = parts.length === 0 ? 'no parts' : `${parts[wrong]!.weight}`;
    throw new ConfigError([{ path: `mixDocuments[${wrong}].weight`, expected: 'a positive integer', got }]);
  }
  const slots = parts.flatMap(({ weight }, part) => new Array<number>(weight).fill(part));
  const orders = new Rng(seed).fork('mixed documents');
  const total = slots.length;
  const mean = parts.reduce((sum, { source, weight }) => sum + (source.meanTokens * weight) / total, 0);
  const gaps = parts.map(({ source }) => source.groupGap);
  let known: { readonly block: number; readonly order: readonly number[] } = { block: -1, order: [] };
  return {
    name: parts.map(({ source }) => source.name).join(' with '),
    // A pass over the part that is shown least.
    nGroup: Math.ceil(Math.max(...parts.map(({ source, weight }) => (source.nGroup * total) / weight))),
    meanTokens: mean,
    minTokens: Math.min(...parts.map(({ source }) => source.minTokens ?? 1)),
    ...(gaps.every((gap) => gap !== undefined) && { groupGap: Math.min(...(gaps as number[])) }),
    document(index) {
      if (!Number.isSafeInteger(index) || index < 0) {
        throw new DataError('mixDocuments.document', 'an integer from 0', `${index}`);
      }
      const block = Math.floor(index / total);
      if (known.block !== block) {
        known = { block, order: orders.at(block).shuffle([...slots]) };
      }
      const place = index % total;
      const part = known.order[place]!;
      const before = known.order.slice(0, place).filter((other) => other === part).length;
      const { source, weight } = parts[part]!;
      const sample = source.document(block * weight + before);
      return { ...sample, index };
    },
  };
}
