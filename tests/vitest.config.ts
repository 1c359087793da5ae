import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { base } from '../vitest.base.js';

// Without a GPU the CUDA kernels run on the host: `npx nx run native:build-emulated`.
const emulated = fileURLToPath(new URL('../native/build/emulated/libphyslm_cuda_emulated.so', import.meta.url));
if (existsSync(emulated)) process.env.PHYSLM_CUDA_LIB ??= emulated;

export default base;
