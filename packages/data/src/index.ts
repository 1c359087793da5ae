export { Gpt2Tokenizer } from './gpt2-tokenizer.js';
export { type MaskOptions, maskWindows } from './masking.js';
export { type PackOptions, packWindows, type WindowSource } from './packing.js';
export { PassOrder } from './pass-order.js';
export { Permutation } from './permutation.js';
export type { DocumentSource, Sample, Span } from './sample.js';
export type { Tokenizer } from './tokenizer.js';
export { tokenizerFromJson } from './tokenizer-json.js';
export { WordTokenizer } from './word-tokenizer.js';
