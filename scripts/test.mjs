// npm test: installs and builds what is missing, runs the tests of every project through Nx (unchanged ones come back
// from its cache), and ends with one line of totals.
//   npm test                              every project
//   npm test -- model train               two projects
//   npm test -- model -t attention        one project; the rest goes to vitest
//   npm test -- --no-cache                everything again
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { nx, run } from './child.mjs';
import { install } from './install.mjs';
import { workspaces } from './root.mjs';

const args = process.argv.slice(2);
const testable = workspaces().filter(({ manifest }) => manifest.scripts?.test);
const find = (word) => testable.find(({ name, manifest, dir }) => [name, manifest.name, dir].includes(word));

const chosen = [];
while (args.length > 0 && find(args[0])) chosen.push(find(args.shift()));
if (chosen.length === 0 && args.length > 0 && !args[0].startsWith('-')) {
  console.error(`no project is called ${args[0]}; there are ${testable.map(({ name }) => name).join(', ')}`);
  console.log('0 passed, 0 failed, 0 skipped');
  process.exit(1);
}
const noCache = args.includes('--no-cache');
const forVitest = args.filter((arg) => arg !== '--no-cache');
const projects = chosen.length > 0 ? chosen : testable;

await install();

const reportOf = (project) => join(project.path, '.vitest', 'report.json');
// Without its old report, a project that could not run cannot be counted as passed. Nx puts cached ones back.
for (const project of projects) rmSync(reportOf(project), { force: true });

const [file, ...leading] = nx();
const { code, interrupted } = await run(file, [
  ...leading,
  'run-many',
  '-t',
  'test',
  '-p',
  projects.map(({ name }) => name).join(','),
  '--outputStyle=static',
  ...(noCache ? ['--skipNxCache'] : []),
  ...(forVitest.length > 0 ? ['--', ...forVitest] : []),
]);

const total = { passed: 0, failed: 0, skipped: 0 };
const notes = [];
console.log('');
for (const project of projects) {
  if (!existsSync(reportOf(project))) {
    total.failed += 1;
    console.log(`${project.name}: no report; its build or its tests did not run to the end (see above)`);
    continue;
  }
  const report = JSON.parse(readFileSync(reportOf(project), 'utf8'));
  const count = { passed: 0, failed: 0, skipped: 0 };
  for (const suite of report.testResults) {
    // A file that throws while it is loaded has no test to blame.
    if (suite.status === 'failed' && suite.assertionResults.length === 0) count.failed += 1;
    for (const test of suite.assertionResults) {
      const kind = test.status === 'passed' || test.status === 'failed' ? test.status : 'skipped';
      count[kind] += 1;
      if (kind !== 'passed' && forVitest.length === 0) notes.push(`${kind}: ${project.name} > ${test.fullName}`);
    }
  }
  // An error outside any test (an unhandled rejection) fails the run although every test passed.
  if (!report.success && count.failed === 0 && count.passed + count.skipped > 0) count.failed += 1;
  console.log(`${project.name}: ${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
  for (const kind of Object.keys(total)) total[kind] += count[kind];
}
const shown = 40;
for (const note of notes.slice(0, shown)) console.log(note);
if (notes.length > shown) console.log(`and ${notes.length - shown} more`);
if (total.failed === 0 && code !== 0) total.failed = 1;

// The last line is for whoever counts: nothing may follow it.
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
// Nx's own code says little: it is 130 when a task was left out because another one failed.
process.exitCode = interrupted || (total.failed > 0 || total.passed === 0 ? 1 : 0);
