import { defineConfig } from 'tsup';
import { base } from '../../tsup.base.js';

export default defineConfig(
  base({
    entry: {
      index: 'src/index.ts',
      bio: 'src/bio/index.ts',
      cfg: 'src/cfg/index.ts',
      igsm: 'src/igsm/index.ts',
      knowledge: 'src/knowledge/index.ts',
    },
    shims: true,
  }),
);
