// npm start: installs and builds what is missing, then runs the knowledge-capacity law at its small scale.
// Further arguments go to the command: npm start -- --seed 2
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { nx, phase, run } from './child.mjs';
import { install } from './install.mjs';
import { root } from './root.mjs';

await install();
const log = await phase('build', nx(), ['run-many', '-t', 'build', 'build-native', '--outputStyle=static']);
if (!existsSync(join(root, 'native', 'build', 'Release', 'physlm_native.node'))) {
  const reason = /^native: .*$/m.exec(log)?.[0];
  console.error(reason ?? 'native: no addon was built; the TypeScript kernels are used');
}

const cli = join(root, 'packages', 'lab', 'dist', 'cli.js');
const { code } = await run(process.execPath, [cli, 'run', 'capacity', '--scale', 'small', ...process.argv.slice(2)]);
process.exit(code);
