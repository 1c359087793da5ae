// npm start: installs and builds what is missing, then runs the knowledge-capacity law at its small scale (tiny, where no
// native addon could be built).
// Further arguments go to the command: npm start -- --seed 2
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { nx, phase, run } from './child.mjs';
import { install } from './install.mjs';
import { root } from './root.mjs';

await install();
const log = await phase('build', nx(), ['run-many', '-t', 'build', 'build-native', '--outputStyle=static']);
const native = existsSync(join(root, 'native', 'build', 'Release', 'physlm_native.node'));
if (!native) {
  const reason = /^native: .*$/m.exec(log)?.[0];
  console.error(reason ?? 'native: no addon was built; the TypeScript kernels are used');
  console.error(
    'They are hundreds of times slower, so this is the tiny scale; with a C++ compiler and cmake it is the small one.',
  );
}

const cli = join(root, 'packages', 'lab', 'dist', 'cli.js');
const { code } = await run(process.execPath, [
  cli,
  'run',
  'capacity',
  '--scale',
  native ? 'small' : 'tiny',
  ...process.argv.slice(2),
]);
process.exit(code);
