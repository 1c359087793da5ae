// Packs what gets published: every public workspace, and one package with the addon for each platform built.
//   npm run pack                                       into .stage/tarballs, with this machine's addon if it was built
//   npm run pack -- --out DIR                          the tarballs go to DIR
//   npm run pack -- --binaries DIR --platform NAME…    release: DIR/NAME/physlm_native.node must exist for every NAME
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { npm, run } from './child.mjs';
import { root, workspaces } from './root.mjs';

const ADDON = 'physlm_native.node';

/** What npm needs to know to install a platform's package there only, and how the file of the addon begins there. */
const PLATFORMS = {
  'linux-x64-gnu': { os: ['linux'], cpu: ['x64'], libc: ['glibc'], starts: elf(0x3e) },
  'linux-arm64-gnu': { os: ['linux'], cpu: ['arm64'], libc: ['glibc'], starts: elf(0xb7) },
  'linux-x64-musl': { os: ['linux'], cpu: ['x64'], libc: ['musl'], starts: elf(0x3e) },
  'linux-arm64-musl': { os: ['linux'], cpu: ['arm64'], libc: ['musl'], starts: elf(0xb7) },
  'darwin-x64': { os: ['darwin'], cpu: ['x64'], starts: machO(0x01000007) },
  'darwin-arm64': { os: ['darwin'], cpu: ['arm64'], starts: machO(0x0100000c) },
  'win32-x64': { os: ['win32'], cpu: ['x64'], starts: (bytes) => bytes.toString('latin1', 0, 2) === 'MZ' },
};

function elf(machine) {
  return (bytes) => bytes.readUInt32BE(0) === 0x7f454c46 && bytes.readUInt16LE(18) === machine;
}
function machO(cpu) {
  return (bytes) => bytes.readUInt32LE(0) === 0xfeedfacf && bytes.readUInt32LE(4) === cpu;
}

/** The name of this machine's platform, as in `@physlm/native-<name>`. */
export function thisPlatform() {
  const { platform, arch } = process;
  if (platform !== 'linux') return `${platform}-${arch}`;
  return `${platform}-${arch}-${process.report.getReport().header.glibcVersionRuntime ? 'gnu' : 'musl'}`;
}

/** The workspaces that are published. */
export function published() {
  return workspaces().filter(({ manifest }) => manifest.private !== true);
}

/** Every file that a manifest promises: its entry points, types and commands. */
function promised({ main, module, types, bin, exports }) {
  const leaves = (value) => (typeof value === 'string' ? [value] : Object.values(value ?? {}).flatMap(leaves));
  return [...new Set([main, module, types, bin, exports].flatMap(leaves))].filter((path) => !path.includes('*'));
}

const writeJson = (path, value) => writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);

function stageWorkspace({ path, dir, manifest }, target, platforms) {
  mkdirSync(target, { recursive: true });
  for (const entry of [...manifest.files, 'README.md']) {
    if (!existsSync(join(path, entry))) throw new Error(`${dir}: ${entry} is missing; run npm run build first`);
    cpSync(join(path, entry), join(target, entry), { recursive: true });
  }
  cpSync(join(root, 'LICENSE'), join(target, 'LICENSE'));
  const { devDependencies, scripts, nx, ...staged } = manifest;
  if (manifest.name === '@physlm/native' && platforms.length > 0) {
    // Only here: the committed manifest must not name packages that no registry has yet.
    staged.optionalDependencies = Object.fromEntries(
      platforms.map((platform) => [`@physlm/native-${platform}`, manifest.version]),
    );
  }
  writeJson(join(target, 'package.json'), staged);
  for (const file of promised(staged)) {
    if (!existsSync(join(target, file))) throw new Error(`${dir}: package.json promises ${file}, which is not built`);
  }
}

function stagePlatform(platform, binary, target, native) {
  const { starts, ...selection } = PLATFORMS[platform];
  if (!existsSync(binary))
    throw new Error(`${platform}: there is no ${binary}; an addon that was not built is not packed`);
  const bytes = readFileSync(binary);
  if (bytes.length < 64 || !starts(bytes)) throw new Error(`${platform}: ${binary} is not an addon for this platform`);
  mkdirSync(target, { recursive: true });
  writeFileSync(join(target, ADDON), bytes);
  cpSync(join(root, 'LICENSE'), join(target, 'LICENSE'));
  const name = `@physlm/native-${platform}`;
  const { version, license, repository, engines, publishConfig } = native;
  writeFileSync(
    join(target, 'README.md'),
    `# ${name}\n\nThe compiled kernels of [\`@physlm/native\`](https://www.npmjs.com/package/@physlm/native) for ${platform}. ` +
      'npm installs it by itself where it fits; there is no reason to name it.\n',
  );
  writeJson(join(target, 'package.json'), {
    name,
    version,
    description: `The compiled kernels of @physlm/native for ${platform}.`,
    license,
    repository,
    ...selection,
    main: ADDON,
    files: [ADDON],
    preferUnplugged: true,
    engines,
    publishConfig,
  });
}

/**
 * Stages and packs everything; answers `[{ name, version, manifest, tarball }]`.
 *
 * @param {{ out: string, platforms?: readonly string[], binaries?: string }} options without `platforms`, this
 * machine's platform is packed when its addon is in native/build/Release, and none otherwise.
 * @throws Error when a promised file is missing, or an addon is missing or belongs to another platform.
 */
export async function pack({ out, platforms, binaries }) {
  const local = join(root, 'native', 'build', 'Release', ADDON);
  const here = thisPlatform();
  const chosen = platforms ?? (existsSync(local) && here in PLATFORMS ? [here] : []);
  for (const platform of chosen) {
    if (!(platform in PLATFORMS)) {
      throw new Error(`no platform is called ${platform}; there are ${Object.keys(PLATFORMS).join(', ')}`);
    }
  }
  mkdirSync(join(root, '.stage'), { recursive: true });
  const stage = mkdtempSync(join(root, '.stage', 'packing-'));
  try {
    const targets = [];
    for (const workspace of published()) {
      targets.push(join(stage, workspace.name));
      stageWorkspace(workspace, targets.at(-1), chosen);
    }
    const native = published().find(({ manifest }) => manifest.name === '@physlm/native').manifest;
    for (const platform of chosen) {
      targets.push(join(stage, `native-${platform}`));
      stagePlatform(platform, binaries ? join(binaries, platform, ADDON) : local, targets.at(-1), native);
    }
    mkdirSync(out, { recursive: true });
    for (const old of readdirSync(out)) if (old.endsWith('.tgz')) rmSync(join(out, old));
    const [file, ...leading] = npm();
    const args = ['pack', ...targets, '--json', '--ignore-scripts', '--pack-destination', out];
    const { code, output } = await run(file, [...leading, ...args], { quiet: true });
    if (code !== 0) throw new Error(`npm pack failed:\n${output}`);
    return targets.map((target) => {
      const manifest = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8'));
      const { name, version } = manifest;
      const tarball = join(out, `${name.replace('@', '').replace('/', '-')}-${version}.tgz`);
      if (!existsSync(tarball)) throw new Error(`npm pack wrote no ${tarball}`);
      return { name, version, manifest, tarball };
    });
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({
    options: {
      out: { type: 'string', default: join(root, '.stage', 'tarballs') },
      binaries: { type: 'string' },
      platform: { type: 'string', multiple: true },
    },
  });
  try {
    const packed = await pack({
      out: resolve(values.out),
      ...(values.platform && { platforms: values.platform }),
      ...(values.binaries && { binaries: resolve(values.binaries) }),
    });
    for (const { tarball } of packed) console.log(tarball);
    if (!packed.some(({ name }) => name.startsWith('@physlm/native-'))) {
      console.log('native: no addon is built, so no platform package was packed');
    }
    console.log(`${packed.length} tarballs in ${dirname(packed[0].tarball)}`);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
