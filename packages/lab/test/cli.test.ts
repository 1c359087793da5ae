import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { main } from '../src/cli/main.js';
import { lawNamed, laws, lawsOfPart, scalesOf } from '../src/index.js';
import { Captured } from './captured.js';
import { FakeRecipe } from './fake-recipe.js';

let sandbox: string;
let fake: FakeRecipe;
beforeEach(() => {
  sandbox = mkdtempSync(join(tmpdir(), 'physlm-cli-'));
  fake = new FakeRecipe();
});
afterEach(() => rmSync(sandbox, { recursive: true, force: true }));

async function physlm(argv: readonly string[], { real = false, env = {} as Record<string, string> } = {}) {
  const [stdout, stderr] = [new Captured(), new Captured()];
  const ledger = join(sandbox, 'ledger');
  const code = await main(argv, {
    stdout,
    stderr,
    env,
    ledger,
    ...(!real && { recipes: new Map([['capacity', fake]]) }),
  });
  return { code, stdout: stdout.text, stderr: stderr.text };
}
const out = (): string => join(sandbox, 'run');
const runFake = (...flags: string[]) =>
  physlm(['run', 'capacity', '--scale', 'tiny', '--device', 'js', '--out', out(), ...flags]);

describe('bad usage: one line that names the nearest valid word, exit code 2', () => {
  test.each([
    [['rnu'], "'run'"],
    [['run', 'capcity'], "'capacity'"],
    [['run', 'capacity', '--sead', '2'], "'--seed'"],
    [['laws', '--jsno'], "'--json'"],
    [['run', 'capacity', '--scale', 'tinny'], "'tiny'"],
    [['run', 'capacity', '--device', 'cpux'], "'cpu'"],
    [['run', 'capacity', '--set', 'nPeopel=3'], "'nPeople'"],
    [['run', 'capacity', '--nPeopel', '3'], "'--nPeople'"],
    [['run', 'capacity', '--nPeopel=3'], "'--nPeople'"],
    [['laws', '--part', '3.33'], "'3.3'"],
    [['law', 'capacity-two-bit'], "'capacity-two-bits'"],
    [['law', 'capacity-two-bits', '--scale', 'smal'], "'small'"],
  ])('%j', async (argv, meant) => {
    const { code, stdout, stderr } = await physlm(argv, { real: true });
    expect(stderr).toContain(`did you mean ${meant}?`);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(stderr).not.toContain('    at ');
    expect([code, stdout]).toEqual([2, '']);
  });

  test.each([
    [['run'], 'recipe'],
    [['run', 'capacity', '--seed', 'x'], '--seed'],
    [['run', 'capacity', '--threads', '0'], '--threads'],
    [['run', 'capacity', '--resume', '--fresh'], '--fresh'],
    [['run', 'capacity', '--set', 'nPeople'], 'name=value'],
    [['run', 'capacity', '--set', 'nPeople=many'], 'nPeople'],
    [['run', 'capacity', '--scale', 'tiny', '--set', 'nLayer=1', '--check'], 'check'],
    [['report', 'no-such-folder'], 'no-such-folder'],
    [['sweep', 'capacity', '--slurm=--time=1', '--dry-run'], 'expected --launcher slurm beside it'],
    [['verify', 'igsm', '--modulus', '1'], 'expected an integer in 2 … 1000'],
  ])('%j', async (argv, named) => {
    const { code, stderr } = await physlm(argv, { real: true });
    expect(stderr).toContain(named);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(code).toBe(2);
  });

  test('--debug adds the stack', async () => {
    const { stderr } = await physlm(['run', 'capcity', '--debug'], { real: true });
    expect(stderr).toContain('    at ');
  });
});

describe('help', () => {
  test('shows examples, environment variables and exit codes', async () => {
    const { code, stdout } = await physlm(['--help']);
    expect(code).toBe(0);
    for (const word of ['Examples:', 'PHYSLM_NATIVE', 'PHYSLM_CPU_ISA', 'NO_COLOR', '130', 'doctor']) {
      expect(stdout).toContain(word);
    }
    expect((await physlm([])).stdout).toBe(stdout);
    expect((await physlm(['run', '--help'])).stdout).toContain('--resume');
  });

  test('--version prints the version of the package', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
      version: string;
    };
    expect((await physlm(['--version'])).stdout).toBe(`${version}\n`);
  });
});

describe('JSON', () => {
  test('list: scales and documented parameters', async () => {
    const [capacity] = JSON.parse((await physlm(['list', '--json'], { real: true })).stdout);
    expect(capacity.name).toBe('capacity');
    expect(Object.keys(capacity.scales)).toEqual(['tiny', 'small', 'laptop', 'gpu', 'paper']);
    for (const { description } of Object.values<{ description: string }>(capacity.parameters)) {
      expect(description).toBeTypeOf('string');
    }
  });

  test('doctor: every device with a reason and a remedy when it is missing', async () => {
    const found = JSON.parse((await physlm(['doctor', '--json'])).stdout);
    expect(found.devices.js).toEqual({ available: true });
    for (const device of [found.devices.cpu, found.devices.cuda]) {
      if (device.available) continue;
      expect(device.reason).toMatch(/\w/);
      expect(device.fix).toMatch(/\w/);
    }
    expect(
      found.kernels.js.every(({ uses, reason }: { uses: string; reason?: string }) => uses === 'reference' && reason),
    ).toBe(true);
    const text = (await physlm(['doctor'])).stdout;
    for (const name of ['js', 'cpu', 'cuda', found.node]) expect(text).toContain(name);
  });

  test('laws: a line for each, or all about the named ones', async () => {
    const { stdout } = await physlm(['laws']);
    for (const law of laws) expect(stdout.split('\n').filter((line) => line.split(' ')[0] === law.id)).toHaveLength(1);
    const one = (await physlm(['laws', 'cfg-ends'])).stdout;
    expect(one).toContain(lawNamed('cfg-ends').claim);
    expect(one).not.toContain('cfg-hierarchy');
    const [unknown, elsewhere] = [
      await physlm(['laws', 'cfg-end']),
      await physlm(['laws', 'cfg-ends', '--part', '3.3']),
    ];
    expect([unknown.code, elsewhere.code]).toEqual([2, 2]);
    expect(unknown.stderr).toContain("did you mean 'cfg-ends'?");
    expect(elsewhere.stderr).toContain('expected laws of part 3.3, got cfg-ends of part 1');
  });

  test('laws: every law at every scale, not run where nothing is recorded', async () => {
    const rows = JSON.parse((await physlm(['laws', '--json', '--part', '3.3'])).stdout);
    const listed = rows.map(({ id, scale }: { id: string; scale: string }) => `${id} ${scale}`);
    const known = lawsOfPart('3.3').map((law) => ({ law, scales: scalesOf(law) }));
    const withoutRuns = known.filter(({ scales }) => scales.length === 0).map(({ law }) => `${law.id} paper`);
    expect(listed.sort()).toEqual(
      [...known.flatMap(({ law, scales }) => scales.map((scale) => `${law.id} ${scale}`)), ...withoutRuns].sort(),
    );
    for (const row of rows) {
      expect(Object.keys(row)).toEqual(
        expect.arrayContaining([
          'id',
          'part',
          'claim',
          'source',
          'paper',
          'ours',
          'interval',
          'seeds',
          'machine',
          'seconds',
        ]),
      );
      expect([row.verdict, row.ours, row.seeds]).toEqual(['not run', null, []]);
      const untested = withoutRuns.includes(`${row.id} ${row.scale}`);
      expect(row.command).toBe(untested ? '' : `physlm law ${row.id} --scale ${row.scale} --ledger`);
    }
  });
});

describe('a run directory', () => {
  test('a finished run is shown again, not trained again, until --fresh', async () => {
    const first = await runFake();
    expect(first.code).toBe(0);
    expect(first.stdout).toContain('✓ holds');
    expect(existsSync(join(out(), 'report.html'))).toBe(true);
    const again = await runFake();
    expect(fake.nExecution).toBe(1);
    expect(again.stdout).toBe(first.stdout);
    expect(again.stderr).toContain('--fresh');
    await runFake('--fresh');
    expect(fake.nExecution).toBe(2);
  });

  test('an unfinished run names --resume and --fresh, and resumes', async () => {
    fake.behaviour = 'abort';
    const stopped = await runFake();
    expect(stopped.code).toBe(130);
    expect(stopped.stderr).toContain('--resume');
    fake.behaviour = 'finish';
    const refused = await runFake();
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/--resume.*from step 5.*--fresh/);
    expect(fake.nExecution).toBe(1);
    expect((await runFake('--resume')).code).toBe(0);
    expect([fake.nExecution, fake.resumed]).toEqual([2, true]);
  });

  test('a run is not continued on another device', async () => {
    fake.behaviour = 'abort';
    await runFake();
    const environment = JSON.parse(readFileSync(join(out(), 'environment.json'), 'utf8')) as object;
    writeFileSync(join(out(), 'environment.json'), JSON.stringify({ ...environment, device: 'cpu' }));
    const { code, stderr } = await runFake('--resume');
    expect(code).toBe(2);
    expect(stderr).toContain("expected 'cpu', on which this run was started, got 'js'");
    expect(fake.nExecution).toBe(1);
  });

  test('another experiment in the folder is refused, field by field', async () => {
    await runFake();
    const { code, stderr } = await runFake('--set', 'n=2');
    expect(code).toBe(2);
    expect(stderr).toContain('data.n');
  });

  test('a folder that cannot be written is found before training', async () => {
    writeFileSync(join(sandbox, 'file'), '');
    const argv = ['run', 'capacity', '--scale', 'tiny', '--device', 'js', '--out', join(sandbox, 'file', 'below')];
    const { code, stderr } = await physlm(argv);
    expect(code).toBe(1);
    expect(stderr).toContain(join(sandbox, 'file', 'below'));
    expect(fake.nExecution).toBe(0);
  });

  test('environment.json names neither user nor host nor folder', async () => {
    await runFake();
    const text = readFileSync(join(out(), 'environment.json'), 'utf8');
    expect(JSON.parse(text)).toMatchObject({
      device: 'js',
      command: 'physlm run capacity --scale tiny --seed 1 --device js',
    });
    expect(text).not.toContain(sandbox);
  });

  test('report renders a finished run again and refuses an unfinished one', async () => {
    await runFake();
    rmSync(join(out(), 'report.html'));
    expect((await physlm(['report', out()])).code).toBe(0);
    expect(existsSync(join(out(), 'report.html'))).toBe(true);
    rmSync(join(out(), 'results.json'));
    expect((await physlm(['report', out()])).code).toBe(2);
  });
});

describe('law', () => {
  const law = (...flags: string[]) =>
    physlm(['law', 'capacity-two-bits', '--device', 'js', '--runs', join(sandbox, 'runs'), ...flags]);

  test('runs what is missing, once, and records each seed', async () => {
    const first = await law('--seeds', '1,2', '--ledger');
    expect([first.code, fake.nExecution]).toEqual([0, 2]);
    expect(first.stdout).toContain('✓ holds');
    expect(first.stdout).toMatch(/shareOfCeiling +0\.99\d* +0\.99/);
    const row = JSON.parse(readFileSync(join(sandbox, 'ledger', 'capacity-two-bits-tiny.json'), 'utf8'));
    expect(row.runs.map((run: { seed: number }) => run.seed)).toEqual([1, 2]);
    await law('--seeds', '1,2,3');
    expect(fake.nExecution).toBe(3);
  });

  test('goes on where Ctrl-C stopped it', async () => {
    fake.behaviour = 'interrupt';
    const stopped = await law('--seeds', '1,2');
    expect([stopped.code, fake.nExecution]).toEqual([130, 1]);
    fake.behaviour = 'finish';
    const done = await law('--seeds', '1,2');
    expect([done.code, fake.nExecution, fake.resumed]).toEqual([0, 3, false]);
  });

  test('a failed criterion ends with 3 under --check', async () => {
    fake.share = 0.5;
    expect((await law()).code).toBe(0);
    const { code, stdout } = await law('--check');
    expect([code, stdout.includes('✗ fails')]).toEqual([3, true]);
  });

  test('refuses a seed given twice', async () => {
    expect(await law('--seeds', '1,1')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('different numbers'),
    });
  });
});

describe('exit codes', () => {
  test('a failed criterion ends with 0, and with 3 under --check, also for a finished run', async () => {
    fake.share = 0.5;
    const plain = await runFake();
    expect(plain.code).toBe(0);
    expect(plain.stdout).toContain('✗ fails');
    expect((await runFake('--check')).code).toBe(3);
    expect((await runFake('--check', '--fresh')).code).toBe(3);
  });

  test('a parameter may be an option of its own, and means the same as --set', async () => {
    const { code, stderr } = await runFake('--n', '3');
    expect([code, fake.nExecution]).toEqual([0, 1]);
    expect(stderr).toContain('with n=3');
    const { code: same, stderr: said } = await runFake('--set', 'n=3');
    expect([same, fake.nExecution]).toEqual([0, 1]);
    expect(said).toContain('This run is finished');
    expect(await runFake('--n')).toMatchObject({ code: 2, stderr: expect.stringContaining('a value, as in --n 1') });
  });

  test('a run without the standard parameters gets no verdict', async () => {
    const { code, stdout } = await runFake('--set', 'n=3');
    expect(code).toBe(0);
    expect(stdout).toContain('No verdict');
    expect(readFileSync(join(out(), 'report.html'), 'utf8')).toContain('No verdict');
  });

  test.each([
    ['interrupt', 130],
    ['terminate', 143],
  ] as const)(
    'a signal (%s) asks the run to save and stop, and leaves no listener behind',
    async (behaviour, expected) => {
      const before = process.listenerCount('SIGINT') + process.listenerCount('SIGTERM');
      fake.behaviour = behaviour;
      const { code, stderr } = await runFake();
      expect(code).toBe(expected);
      expect(stderr).toContain('saving a checkpoint');
      expect(stderr).toContain('Stopped after step 5');
      expect(process.listenerCount('SIGINT') + process.listenerCount('SIGTERM')).toBe(before);
    },
  );

  test('a diverged run ends with 1 and its remedy', async () => {
    fake.behaviour = 'diverge';
    const { code, stderr } = await runFake();
    expect(code).toBe(1);
    expect(stderr).toContain('got NaN. Try less.');
    expect(stderr).not.toContain('    at ');
  });
});

describe('colours', () => {
  const escapeCode = '\u001b[';
  test('none without a terminal, some on demand, none with NO_COLOR', async () => {
    expect((await physlm(['doctor'])).stdout).not.toContain(escapeCode);
    expect((await physlm(['doctor'], { env: { FORCE_COLOR: '1' } })).stdout).toContain(escapeCode);
    expect((await physlm(['doctor'], { env: { FORCE_COLOR: '1', NO_COLOR: '1' } })).stdout).not.toContain(escapeCode);
  });
});
