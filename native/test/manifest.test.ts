import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { absent, native } from './kernel-runner.js';

/** Tested where their op is: packages/model/test and the conformance test. */
const elsewhere = ['expertMlp', 'balancePenalty'].flatMap((op) => [`${op}_forward_cpu`, `${op}_backward_cpu`]);

it.skipIf(absent)('every kernel of the manifest runs in some test here', () => {
  const folder = new URL('.', import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith('-kernels.test.ts'));
  const source = files.map((name) => readFileSync(new URL(name, folder), 'utf8')).join('');
  const untested = native.manifest().filter((k) => !source.includes(`'${k.name.replace(/_cpu$/, '')}'`));
  expect(untested.map(({ name }) => name)).toEqual(elsewhere);
});
