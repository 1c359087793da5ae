import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly private?: boolean;
  readonly bin?: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, unknown>>;
}
interface Published {
  readonly manifest: Manifest;
  /** Import names: the package and its subpaths. */
  readonly entries: readonly string[];
  /** Name of the folder that it is installed in, alone. */
  readonly folder: string;
}

const published: readonly Published[] = [
  'native',
  ...readdirSync(join(root, 'packages')).map((dir) => `packages/${dir}`),
]
  .filter((dir) => existsSync(join(root, dir, 'package.json')))
  .map((dir) => JSON.parse(readFileSync(join(root, dir, 'package.json'), 'utf8')) as Manifest)
  .filter((manifest) => manifest.private !== true)
  .map((manifest) => ({
    manifest,
    entries: Object.keys(manifest.exports)
      .filter((key) => key !== './package.json' && !key.includes('*'))
      .map((key) => manifest.name + key.slice(1)),
    folder: manifest.name.replace(/[@/]/g, '_'),
  }));
const cases = published.map((one) => [one.manifest.name, one] as const);
const addonBuilt = existsSync(join(root, 'native/build/Release/physlm_native.node'));

const sandbox = mkdtempSync(join(tmpdir(), 'physlm-packages-'));
const at = (folder: string, ...path: string[]): string => join(sandbox, folder, ...path);

/** The settings of the npm that runs these tests must not reach the npm that they run. */
const env = {
  ...Object.fromEntries(
    Object.entries(process.env).filter(
      ([key]) => !/^(npm_|PHYSLM_|NODE_OPTIONS|NODE_PATH|VITEST|https?_proxy|all_proxy)/i.test(key),
    ),
  ),
  NO_UPDATE_NOTIFIER: '1',
};

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
function run(file: string, args: readonly string[], cwd: string): Promise<Outcome> {
  return new Promise((done) => {
    execFile(file, [...args], { cwd, env, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      done({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, stdout, stderr });
    });
  });
}

async function install({ manifest, folder }: Published, registry: string): Promise<void> {
  mkdirSync(at(folder), { recursive: true });
  writeFileSync(at(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
  const options = [
    `--registry=${registry}`,
    `--@physlm:registry=${registry}`,
    `--cache=${at('npm-cache')}`,
    `--userconfig=${at('npmrc')}`,
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--fetch-retries=0',
    '--loglevel=error',
  ];
  const { code, stdout, stderr } = await run('npm', ['install', manifest.name, ...options], at(folder));
  if (code !== 0) throw new Error(`npm install ${manifest.name} failed:\n${stdout}${stderr}`);
}

/** The names that `entry` exports when Node loads it as `type`, sorted. */
async function exportsOf(entry: string, folder: string, type: 'module' | 'commonjs'): Promise<string[]> {
  const load = type === 'module' ? `await import('${entry}')` : `require('${entry}')`;
  const script = `console.log(JSON.stringify(Object.keys(${load})))`;
  const { code, stdout, stderr } = await run(process.execPath, [`--input-type=${type}`, '-e', script], at(folder));
  if (code !== 0) throw new Error(`${entry} does not load as ${type}:\n${stderr}`);
  return (JSON.parse(stdout) as string[])
    .filter((name) => !['default', 'module.exports', '__esModule'].includes(name))
    .sort();
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

let registry: ChildProcess | undefined;
let typeErrors: readonly string[] = [];

// Everything is packed once and served by a registry on the loopback address; each package then goes alone into an
// empty folder, next to one consumer for each module system, and all consumers are type-checked by one compiler run.
beforeAll(async () => {
  writeFileSync(at('npmrc'), '');
  const server = spawn(process.execPath, [join(root, 'scripts/registry.mjs'), '--out', at('tarballs')], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  registry = server;
  let complaints = '';
  server.stderr.on('data', (chunk) => {
    complaints += String(chunk);
  });
  const url = await new Promise<string>((found, fail) => {
    createInterface(server.stdout).on('line', (line) => {
      const address = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
      if (address !== undefined) found(address);
    });
    server.once('exit', () => fail(new Error(`nothing could be packed:\n${complaints}`)));
  });
  for (const one of published) {
    await install(one, url);
    const imports = await Promise.all(
      one.entries.map(async (entry, i) => {
        const names = await exportsOf(entry, one.folder, 'module');
        return [
          `import { ${names.map((name) => `${name} as ${name}${i}`).join(', ')} } from '${entry}';`,
          names.map((name) => `${name}${i}`),
        ] as const;
      }),
    );
    const values = imports.flatMap(([, names]) => names).join(', ');
    const lines = imports.map(([line]) => line).join('\n');
    writeFileSync(at(one.folder, 'consumer.ts'), `${lines}\nexport const all: readonly unknown[] = [${values}];\n`);
    const requires = one.entries.map((entry, i) => `import entry${i} = require('${entry}');`).join('\n');
    const entries = one.entries.map((_, i) => `entry${i}`).join(', ');
    writeFileSync(at(one.folder, 'consumer.cts'), `${requires}\nexport const all: readonly object[] = [${entries}];\n`);
  }
  const { stdout } = await run(
    process.execPath,
    [
      join(root, 'node_modules/typescript/bin/tsc'),
      ...['--noEmit', '--strict', '--target', 'es2022', '--lib', 'es2023,esnext.disposable'],
      ...['--module', 'nodenext', '--moduleResolution', 'nodenext', '--pretty', 'false'],
      ...['--types', 'node', '--typeRoots', join(root, 'node_modules/@types')],
      ...published.flatMap(({ folder }) => [`${folder}/consumer.ts`, `${folder}/consumer.cts`]),
    ],
    sandbox,
  );
  typeErrors = stdout.split('\n').filter((line) => line.trim() !== '');
}, 300_000);

afterAll(async () => {
  if (registry !== undefined && registry.exitCode === null) {
    const ended = once(registry, 'exit');
    registry.kill('SIGTERM');
    await ended;
  }
  rmSync(sandbox, { recursive: true, force: true });
});

describe.each(cases)('%s, installed alone from its tarball', (name, { manifest, entries, folder }) => {
  const home = at(folder, 'node_modules', name);

  test.each(entries)('%s exports the same names to import and to require', async (entry) => {
    const names = await exportsOf(entry, folder, 'module');
    expect(names).not.toEqual([]);
    expect(await exportsOf(entry, folder, 'commonjs')).toEqual(names);
  });

  test('type-checks in an ESM and in a CommonJS consumer', () => {
    expect(typeErrors.filter((line) => line.startsWith(`${folder}/`) || !line.includes('/'))).toEqual([]);
  });

  test('carries README, licence and the right version', () => {
    expect(readFileSync(join(home, 'LICENSE'), 'utf8')).toBe(readFileSync(join(root, 'LICENSE'), 'utf8'));
    expect(readFileSync(join(home, 'README.md'), 'utf8')).toContain(`# ${name}`);
    const installed = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as Record<string, unknown>;
    expect(installed.version).toBe(manifest.version);
    expect(Object.keys(installed)).not.toContain('scripts');
  });

  test('holds no path of the machine that built it', () => {
    const leaking = filesUnder(home).filter((file) => readFileSync(file).includes(`${root}/`));
    expect(leaking).toEqual([]);
  });

  test('has one copy of every package of ours', () => {
    const copies = filesUnder(at(folder, 'node_modules'))
      .map((file) => /.*node_modules\/(@physlm\/[^/]+|physlm)\/package\.json$/.exec(file)?.[1])
      .filter((copy) => copy !== undefined);
    expect(copies.length).toBeGreaterThan(0);
    expect(copies.length).toBe(new Set(copies).size);
  });
});

test('@physlm/data brings no native code', () => {
  const files = filesUnder(at('_physlm_data', 'node_modules'));
  expect(files.filter((file) => file.endsWith('.node') || file.endsWith('.so'))).toEqual([]);
  expect(readdirSync(at('_physlm_data', 'node_modules', '@physlm')).sort()).toEqual(['base', 'data']);
});

test.each(cases.filter(([, { manifest }]) => manifest.bin !== undefined))(
  '%s has commands that answer',
  async (_, one) => {
    for (const command of Object.keys(one.manifest.bin!)) {
      const { code, stdout, stderr } = await run(
        at(one.folder, 'node_modules/.bin', command),
        ['--help'],
        at(one.folder),
      );
      expect(code, stderr).toBe(0);
      expect(stdout).toContain(command);
    }
  },
);

test.skipIf(!addonBuilt)('the addon comes from its platform package (skipped where no addon is built)', async () => {
  const script = `const { loadNative } = require('@physlm/native');
    const { binding, from, tried } = loadNative();
    console.log(JSON.stringify({ from, tried, kernels: binding?.manifest().length ?? 0 }));`;
  for (const folder of ['_physlm_native', '_physlm_model', 'physlm']) {
    const { code, stdout, stderr } = await run(process.execPath, ['--input-type=commonjs', '-e', script], at(folder));
    expect(code, stderr).toBe(0);
    const { from, tried, kernels } = JSON.parse(stdout) as { from?: string; tried: unknown; kernels: number };
    expect(from, JSON.stringify(tried)).toContain('@physlm/native-');
    expect(kernels).toBeGreaterThan(0);
  }
});

describe('packing', () => {
  test.each([
    ['linux-arm64-gnu', /is not an addon for this platform/],
    ['darwin-arm64', /is not an addon for this platform/],
    ['amiga-68k', /no platform is called amiga-68k/],
  ])('refuses to pretend that there is an addon for %s', async (platform, message) => {
    // A 64-byte file that begins like a Linux x64 library.
    const stub = Buffer.alloc(64);
    stub.writeUInt32BE(0x7f454c46, 0);
    stub.writeUInt16LE(0x3e, 18);
    mkdirSync(at('binaries', platform), { recursive: true });
    writeFileSync(at('binaries', platform, 'physlm_native.node'), stub);
    const args = ['--out', at('refused'), '--binaries', at('binaries'), '--platform', platform];
    const { code, stderr } = await run(process.execPath, [join(root, 'scripts/pack.mjs'), ...args], sandbox);
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
    expect(existsSync(at('refused'))).toBe(false);
  });
});
