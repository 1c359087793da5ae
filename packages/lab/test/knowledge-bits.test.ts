import { Rng } from '@physlm/base';
import { buildModel, openDevice } from '@physlm/model';
import { describe, expect, test } from 'vitest';
import { knowledgeBits } from '../src/knowledge-bits.js';
import { knowledge } from '../src/recipes/knowledge.js';
import { openKnowledgeData } from '../src/recipes/knowledge-data.js';

const parameters = { nPeople: 60, exposures: 2, nLayer: 1, dModel: 16, nCtx: 64, batchSize: 4, qaShare: 0.5 };

function opened(tasks: string) {
  const {
    data: config,
    model: sizes,
    seed,
  } = knowledge({ scale: 'tiny', seed: 3, parameters: { ...parameters, tasks } });
  const model = buildModel(openDevice('js'), sizes, new Rng(1));
  // Every token is as likely as any other.
  for (const tensor of model.parameters().values()) tensor.values().fill(0);
  return { model, data: openKnowledgeData(config, seed) };
}

describe('bits about people', () => {
  test('of a model that knows nothing: what there is to choose from, less a uniform guess of each token', () => {
    const { model, data } = opened('extraction');
    const { all, byAttribute, share } = knowledgeBits(model, data, data.questions('test', 'measure'), 5);
    // The work city follows from the employer.
    expect(Object.keys(byAttribute).sort()).toEqual(['birthCity', 'birthDate', 'employer', 'major', 'university']);
    const perToken = Math.log2(data.dVocab);
    // A date has three words; pools as in the sizes of bioS-mini.
    expect(byAttribute.birthDate!.possible).toBeCloseTo(Math.log2(12 * 28 * 50), 9);
    expect(byAttribute.birthDate!.memorised).toBeCloseTo(Math.log2(12 * 28 * 50) - 3 * perToken, 4);
    expect(byAttribute.birthDate!.extracted).toBeCloseTo(Math.log2(12 * 28 * 50) - 3 * perToken, 4);
    expect(byAttribute.major!.memorised).toBeCloseTo(Math.log2(30) - perToken, 4);
    const total = (of: 'possible' | 'memorised' | 'extracted'): number =>
      Object.values(byAttribute).reduce((sum, bits) => sum + bits[of], 0);
    for (const of of ['possible', 'memorised', 'extracted'] as const) expect(all[of]).toBeCloseTo(total(of), 9);
    // The same values are scored on both sides, word by word: nothing is gained or lost by asking.
    expect(share.low).toBeCloseTo(1, 4);
    expect(share.high).toBeCloseTo(1, 4);
  });

  test('count the facts that are asked for, and no others', () => {
    const { model, data } = opened('major,monthMod2');
    const { byAttribute, all } = knowledgeBits(model, data, data.questions('train', 'measure'), 4);
    expect(Object.keys(byAttribute)).toEqual(['major']);
    expect(all.possible).toBeCloseTo(Math.log2(30), 9);
  });
});
