import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Who may import whom, written here a second time on purpose: the lint configuration must agree with it. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  'packages/base': [],
  'packages/data': ['@physlm/base'],
  native: [],
  'packages/model': ['@physlm/base', '@physlm/native'],
  'packages/train': ['@physlm/base', '@physlm/model'],
  'packages/probe': ['@physlm/base', '@physlm/model'],
  'packages/eval': ['@physlm/base', '@physlm/model'],
  'packages/lab': [
    '@physlm/base',
    '@physlm/data',
    '@physlm/model',
    '@physlm/native',
    '@physlm/train',
    '@physlm/probe',
    '@physlm/eval',
  ],
};
const NAMES = [...ALLOWED['packages/lab']!, 'physlm', '@physlm/tests', '@physlm/benchmarks'];
const nameOf = (folder: string): string =>
  folder === 'packages/lab' ? 'physlm' : `@physlm/${folder.replace('packages/', '')}`;
const sourceOf = (folder: string): string => (folder === 'native' ? 'native/ts' : `${folder}/src`);

interface Finding {
  readonly path: string;
  readonly line: number;
  readonly rule: string;
}

let sandbox = '';
let findings: readonly Finding[] = [];

const at = (path: string, rule: string): number[] =>
  findings
    .filter((found) => found.path === path && found.rule.endsWith(`/${rule}`))
    .map((found) => found.line)
    .sort((a, b) => a - b);

const PROBE = 'probe-subject.ts';
const PATHS = 'paths-subject.ts';
const STYLE = 'style-subject.ts';
const byPath = [
  '../../model/src/index.js',
  '../../../packages/base/src/rng.js',
  '../../../native/ts/index.js',
  '../../../benchmarks/src/run.js',
  '../../../tests/src/lint.test.js',
];

// One sandbox with the repository's own configuration and manifests, linted once.
beforeAll(() => {
  sandbox = mkdtempSync(join(tmpdir(), 'physlm-lint-'));
  copyFileSync(join(root, 'biome.json'), join(sandbox, 'biome.json'));
  for (const folder of Object.keys(ALLOWED)) {
    const source = join(sandbox, sourceOf(folder));
    mkdirSync(source, { recursive: true });
    copyFileSync(join(root, folder, 'package.json'), join(sandbox, folder, 'package.json'));
    const others = NAMES.filter((name) => name !== nameOf(folder));
    writeFileSync(join(source, PROBE), others.map((name) => `import '${name}';\n`).join(''));
    writeFileSync(join(source, PATHS), byPath.map((path) => `import '${path}';\n`).join(''));
    writeFileSync(join(source, STYLE), "console.log('x');\nexport default 1;\nimport { y } from './y.js';\n");
  }
  writeFileSync(join(sandbox, 'packages/lab/src/cli.ts'), "console.log('x');\n");
  const biome = join(root, 'node_modules/@biomejs/biome/bin/biome');
  const args = ['lint', '--vcs-enabled=false', '--reporter=json', '--max-diagnostics=none', '.'];
  const { stdout, stderr } = spawnSync(process.execPath, [biome, ...args], { cwd: sandbox, encoding: 'utf8' });
  expect(stdout, stderr).toMatch(/^\{/);
  const { diagnostics } = JSON.parse(stdout) as {
    diagnostics: { category: string; location: { path: string; start: { line: number } } }[];
  };
  findings = diagnostics.map(({ category, location }) => ({
    path: location.path,
    line: location.start.line,
    rule: category,
  }));
});
afterAll(() => rmSync(sandbox, { recursive: true, force: true }));

describe('dependency direction', () => {
  test.each(Object.entries(ALLOWED))('%s imports exactly what it may', (folder, allowed) => {
    const others = NAMES.filter((name) => name !== nameOf(folder));
    const refused = new Set(at(`${sourceOf(folder)}/${PROBE}`, 'noRestrictedImports'));
    expect(others.filter((_, i) => !refused.has(i + 1))).toEqual(others.filter((name) => allowed.includes(name)));
  });

  test.each(Object.keys(ALLOWED))('%s imports no other package by a path into it', (folder) => {
    expect(at(`${sourceOf(folder)}/${PATHS}`, 'noRestrictedImports')).toEqual(byPath.map((_, i) => i + 1));
  });
});

describe('library sources', () => {
  test.each(Object.keys(ALLOWED))('%s has no console, no default export and no unused import', (folder) => {
    const path = `${sourceOf(folder)}/${STYLE}`;
    expect(at(path, 'noConsole')).toEqual([1]);
    expect(at(path, 'noDefaultExport')).toEqual([2]);
    expect(at(path, 'noUnusedImports')).toEqual([3]);
  });

  test('the command line may print', () => {
    expect(at('packages/lab/src/cli.ts', 'noConsole')).toEqual([]);
  });
});
