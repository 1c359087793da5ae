import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Absolute path of the repository, without a trailing slash. */
export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/[\\/]$/, '');

/**
 * Every workspace of the root package.json, as `{ dir, path, manifest, name }`: folder relative to the root, absolute
 * folder, parsed package.json, and the short name that Nx and `npm test -- <name>` use.
 */
export function workspaces() {
  const patterns = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).workspaces;
  const dirs = patterns.flatMap((pattern) =>
    pattern.endsWith('/*')
      ? readdirSync(join(root, pattern.slice(0, -2)), { withFileTypes: true })
          .filter((entry) => entry.isDirectory())
          .map((entry) => `${pattern.slice(0, -2)}/${entry.name}`)
      : [pattern],
  );
  return dirs.flatMap((dir) => {
    const path = join(root, dir);
    try {
      const manifest = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
      return [{ dir, path, manifest, name: manifest.nx?.name ?? basename(dir) }];
    } catch (error) {
      // A folder that only holds leftovers of another branch has no package.json.
      if (error.code === 'ENOENT') return [];
      throw error;
    }
  });
}
