export { type BoxOptions, type BoxProblem, boxAnswer, boxProblem } from './boxes.js';
export { drawProblem, drawShortestOrder, type ProblemWish, type SolvedProblem } from './draw-problem.js';
export { drawGraph } from './drawing.js';
export {
  FAMILY_NAMES,
  type FamilyName,
  type Patterns,
  type TemplateFamily,
  templateFamily,
  trimWorld,
  type World,
  type WorldLayer,
  withWorlds,
} from './family.js';
export { type Labels, labelsOf, type StateLabels } from './labels.js';
export { drawNaming, type Naming, parameterName } from './naming.js';
export { ParameterIndex } from './parameters.js';
export { ancestors, exists, operations, type Problem, type Rule } from './problem.js';
export { type ReadOptions, type ReadProblem, readProblem } from './read-problem.js';
export type { SolutionFault } from './read-solution.js';
export { RETRY_KINDS, RETRY_MASKS, type Retry, type RetryKind, type RetryMask } from './retry.js';
export { type Definition, type Solution, type Step, solutionOf, symbolValues } from './solution.js';
export { type Igsm, type IgsmOptions, type IgsmSample, igsm, LETTER_ORDERS, type LetterOrder } from './source.js';
export { type Buckets, inBuckets, N_BUCKET, solutionTemplate, templateBucket } from './template.js';
export { type Choice, LEVELS, type Level, type LevelName, VARIANTS, type Variant } from './variant.js';
export { SolutionVerifier, type Verdict, type VerifyOptions, verifySolution } from './verify.js';
export { compactTokenizer, gpt2TokenizerForIgsm, marksOf, nameTokenizer, phraseTokenizer } from './vocabulary.js';
export type { Layout, Marks, SolutionSentence } from './writer.js';
