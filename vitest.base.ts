import { fileURLToPath } from 'node:url';
import type { ViteUserConfig } from 'vitest/config';

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Unit tests read the sources of sibling packages, so a test run needs no build. */
export const base: ViteUserConfig = {
  resolve: {
    alias: [
      { find: /^@physlm\/native$/, replacement: source('./native/ts/index.ts') },
      { find: /^@physlm\/(base|data|model|train|probe|eval)$/, replacement: source('./packages/$1/src/index.ts') },
      { find: /^@physlm\/data\/(.*)$/, replacement: source('./packages/data/src/$1/index.ts') },
      { find: /^physlm$/, replacement: source('./packages/lab/src/index.ts') },
    ],
  },
  test: { testTimeout: 60_000, hookTimeout: 120_000, maxWorkers: 2 },
};
