// A registry on the loopback address for rehearsing an install: it serves given tarballs, and the installed
// third-party packages of this workspace, so no other network is touched.
//   node scripts/registry.mjs [--port N] [--out DIR]     packs the workspace into DIR and serves it until Ctrl-C
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { root } from './root.mjs';

/** Every copy of every package that this workspace's lock file has installed: `{ name, version, path }`. */
function installedPackages() {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  return Object.entries(packages).flatMap(([path, { version, link }]) => {
    const name = path.split('node_modules/').at(-1);
    const there = path.includes('node_modules/') && !link && existsSync(join(root, path, 'package.json'));
    return there ? [{ name, version, path: join(root, path) }] : [];
  });
}

async function tarballOf(path, target) {
  // npm drops the first folder of a tarball's paths, whatever it is called.
  const args = ['-czf', target, '--exclude', `${basename(path)}/node_modules`, '-C', dirname(path), basename(path)];
  await promisify(execFile)('tar', args);
  return readFileSync(target);
}

/**
 * Serves `packed` (from `pack`) and, on demand, installed third-party packages; answers `{ url, close }`.
 *
 * @param {readonly { name: string, version: string, manifest: object, tarball: string }[]} packed
 * @param {number} [port] 0: any free one.
 */
export async function serve(packed, port = 0) {
  const scratch = mkdtempSync(join(tmpdir(), 'physlm-registry-'));
  const installed = installedPackages();
  const bodies = new Map();
  let made = 0;

  const versionsOf = (name) => [
    ...packed.filter((one) => one.name === name).map((one) => ({ ...one, load: () => readFileSync(one.tarball) })),
    ...installed
      .filter((one) => one.name === name)
      .map((one) => ({
        ...one,
        manifest: JSON.parse(readFileSync(join(one.path, 'package.json'), 'utf8')),
        load: () => tarballOf(one.path, join(scratch, `${made++}.tgz`)),
      })),
  ];
  const bodyOf = (name, version, load) => {
    const key = `${name}@${version}`;
    if (!bodies.has(key)) bodies.set(key, Promise.resolve(load()));
    return bodies.get(key);
  };

  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://loopback').pathname.slice(1));
    const reply = (status, type, body) => response.writeHead(status, { 'content-type': type }).end(body);
    try {
      const [name, version] = path.split('/-/');
      const versions = versionsOf(name);
      if (versions.length === 0) return reply(404, 'application/json', '{"error":"not found"}');
      if (version !== undefined) {
        const one = versions.find((candidate) => `${candidate.version}.tgz` === version);
        if (!one) return reply(404, 'application/json', '{"error":"no such version"}');
        return reply(200, 'application/octet-stream', await bodyOf(name, one.version, one.load));
      }
      const packument = { name, 'dist-tags': { latest: versions[0].version }, versions: {} };
      for (const one of versions) {
        const body = await bodyOf(name, one.version, one.load);
        const integrity = `sha512-${createHash('sha512').update(body).digest('base64')}`;
        const tarball = `${url}/${name}/-/${one.version}.tgz`;
        packument.versions[one.version] = { ...one.manifest, dist: { tarball, integrity } };
      }
      return reply(200, 'application/json', JSON.stringify(packument));
    } catch (error) {
      return reply(500, 'application/json', JSON.stringify({ error: String(error) }));
    }
  });
  await new Promise((done, fail) => server.once('error', fail).listen(port, '127.0.0.1', done));
  const url = `http://127.0.0.1:${server.address().port}`;
  return {
    url,
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
      rmSync(scratch, { recursive: true, force: true });
    },
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({
    options: {
      out: { type: 'string', default: join(root, '.stage', 'tarballs') },
      port: { type: 'string', default: '0' },
    },
  });
  const { pack } = await import('./pack.mjs');
  try {
    const registry = await serve(await pack({ out: resolve(values.out) }), Number(values.port));
    console.log(`npm install physlm --registry ${registry.url}`);
    const stop = () => registry.close().then(() => process.exit(0));
    process.once('SIGINT', stop).once('SIGTERM', stop);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
