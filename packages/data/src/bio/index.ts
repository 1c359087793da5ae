export { type BioD, type BioDOptions, type BioDSizes, bioD } from './bio-d.js';
export { type Biographies, type BiographiesOptions, biographies, type PeopleRange } from './biographies.js';
export { ATTRIBUTES, type Attribute, type BioForm, type Template } from './form.js';
export {
  bioS,
  bioSMini,
  type Person,
  type PersonDraw,
  type Population,
  type PopulationName,
  type PopulationOptions,
} from './population.js';
export { bioSUsedGpt2Tokens, gpt2TokenizerForBioS, wordTokenizerFor } from './vocabulary.js';
