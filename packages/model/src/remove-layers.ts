import { ConfigError, Rng } from '@physlm/base';
import { buildModel } from './build-model.js';
import type { LanguageModel } from './language-model.js';

/**
 * A copy of the model without its last `n` blocks: what they read goes to the final norm and the output layer.
 *
 * @throws ConfigError when that leaves no block.
 */
export function removeLastLayers(model: LanguageModel, n: number): LanguageModel {
  const { nLayer } = model.config;
  if (!(Number.isInteger(n) && n >= 0 && n < nLayer)) {
    const expected = `an integer in 0 … ${nLayer - 1}: the model has ${nLayer} layers`;
    throw new ConfigError([{ path: 'removeLastLayers', expected, got: `${n}` }]);
  }
  const shorter = buildModel(model.device, { ...model.config, nLayer: nLayer - n }, new Rng('overwritten by the copy'));
  const weights = model.parameters();
  for (const [name, tensor] of shorter.parameters()) tensor.values().set(weights.get(name)!.values());
  return shorter;
}
