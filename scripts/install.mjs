// Installs the dependencies that package-lock.json names, unless they are there already.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { npm, phase } from './child.mjs';
import { root } from './root.mjs';

const lock = join(root, 'package-lock.json');
const modules = join(root, 'node_modules');
const stamp = join(modules, '.physlm-install');
/** npm writes this file last, so an interrupted install has none. */
const npmStamp = join(modules, '.package-lock.json');

function wanted() {
  const hash = createHash('sha256').update(readFileSync(lock)).digest('hex');
  return `${hash} ${process.platform} ${process.arch}\n`;
}

function installed() {
  if (!existsSync(npmStamp) || !existsSync(join(modules, 'nx', 'package.json'))) return false;
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted()) return true;
  // An `npm install` by hand after the last change of the lock file is as good as ours.
  return statSync(npmStamp).mtimeMs >= statSync(lock).mtimeMs;
}

/** Makes node_modules agree with package-lock.json; does nothing, within milliseconds, when it does. */
export async function install() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    console.error(`physlm needs Node.js 20.19 or later; this is ${process.versions.node} (${process.execPath})`);
    process.exit(1);
  }
  if (!installed()) {
    // Not one dependency needs its install script, and newer npm versions block them anyway.
    await phase('install', npm(), ['ci', '--ignore-scripts', '--no-audit', '--no-fund']);
  }
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted()) writeFileSync(stamp, wanted());
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await install();
