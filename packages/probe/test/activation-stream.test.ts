import { Rng } from '@physlm/base';
import { buildModel, gpt2, openDevice } from '@physlm/model';
import { expect, it } from 'vitest';
import { collectActivations, modelPoints } from '../src/index.js';

it('refuses an encoder, which would see the padding of a batch', () => {
  const config = gpt2(1, 2, { dModel: 8, dVocab: 5, nCtx: 8, position: 'absolute', causal: false });
  const encoder = buildModel(openDevice('js'), config, new Rng('weights'));
  const source = { nSentence: 1, sentence: () => [1, 2, 3] };
  expect(() => modelPoints(encoder, source, { at: ['blocks.0.residPost'] })).toThrow(
    '[modelPoints.model] expected a causal model, got an encoder (causal: false)',
  );
  const at = { at: 'blocks.0.residPost', positions: () => [0] };
  expect(() => collectActivations(encoder, [[1, 2, 3]], at)).toThrow('an encoder');
});
