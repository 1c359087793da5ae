export { canonicalJson, digest } from './digest.js';
export {
  CheckpointError,
  ConfigError,
  type ConfigProblem,
  complaint,
  DataError,
  type ErrorCode,
  invariant,
  OutputError,
  PhyslmError,
} from './error.js';
export { makeFolder, readJsonLines, replaceablePath, toJsonLines, writeFileAtomic } from './files.js';
export { nearest } from './nearest.js';
export { philox4x32 } from './philox.js';
export { Rng } from './rng.js';
