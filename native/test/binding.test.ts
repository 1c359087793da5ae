import { execFileSync, spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { NativePlan } from '../ts/index.js';
import { absent, misfit, native, noise, report, runKernel } from './kernel-runner.js';

const here = dirname(fileURLToPath(import.meta.url));
const kernel = (name: string): number => native.manifest().findIndex((k) => k.name === `${name}_cpu`);
/** A tensor of a command: f32 in buffer 0. */
const tensor = (offset: number, ...shape: number[]): number[] => [0, offset, 0, shape.length, ...shape];
const compile = (words: number[], bytes = 1024) => native.compile(Float64Array.from(words), [new ArrayBuffer(bytes)]);

describe.skipIf(absent)('the binding', () => {
  const started = absent ? 1 : native.threads();
  afterEach(() => {
    native.setThreads(started);
    native.setIsa(native.isas()[0] as string);
  });

  it('describes itself', () => {
    expect(native.abiVersion()).toBe(4);
    expect(native.isas().at(-1)).toBe('generic');
    expect(native.isas()).toContain(native.isa());
    expect(native.setIsa('mmx')).toBe(false);
    expect(native.setIsa('generic')).toBe(true);
    expect(native.isa()).toBe('generic');
    const manifest = native.manifest();
    expect(new Set(manifest.map((k) => k.name)).size).toBe(manifest.length);
    expect(manifest[kernel('attention_backward')]).toEqual({
      name: 'attention_backward_cpu',
      nIn: 4,
      nOut: 1,
      nAttr: 5,
      bf16: 0,
      repeats: false,
    });
    expect(manifest[kernel('fill_forward')]).toMatchObject({ name: 'fill_forward_cpu', nIn: 0, nOut: 1, nAttr: 1 });
    native.setThreads(3);
    expect(native.threads()).toBe(3);
    for (const bad of [0, -1, 1.5, Number.NaN, '2' as unknown as number])
      expect(() => native.setThreads(bad)).toThrow(/whole number/);
    const address = native.addressModulo(new ArrayBuffer(256), 64);
    expect(address % 4).toBe(0);
    expect(address).toBeLessThan(64);
  });

  it('runs a list once for each slice, on its own part of memory, and refuses slices that leave it', () => {
    // y[s] = x[s] + x[s] by way of a place that belongs to the lane.
    const n = 16;
    const [x, lane, y] = [new ArrayBuffer(4 * n * 5), new ArrayBuffer(4 * n * 2), new ArrayBuffer(4 * n * 5)];
    new Float32Array(x).forEach((_, i, all) => {
      all[i] = i;
    });
    const at = (buffer: number): number[] => [buffer, 0, 0, 1, n];
    const add = kernel('add_forward');
    const fill = kernel('fill_forward');
    const list = [
      fill,
      0,
      1,
      1,
      ...at(1),
      0,
      add,
      2,
      1,
      0,
      ...at(0),
      ...at(0),
      ...at(1),
      add,
      2,
      1,
      0,
      ...at(1),
      ...at(1),
      ...at(2),
    ];
    const strides = [4 * n, 0, 0, 4 * n, 4 * n, 0];
    const compile = (nSlice: number, nLane: number, all = strides): NativePlan =>
      native.compile(Float64Array.from(list), [x, lane, y], Float64Array.from([nSlice, nLane, ...all]));
    const expected = Array.from({ length: 5 * n }, (_, i) => 4 * i);
    for (const nThread of [1, 2, 3]) {
      native.setThreads(nThread);
      new Float32Array(y).fill(-1);
      native.run(compile(5, 2));
      expect(Array.from(new Float32Array(y))).toEqual(expected);
    }
    new Float32Array(y).fill(-1);
    native.run(compile(5, 2), 3, 1);
    expect(Array.from(new Float32Array(y))).toEqual(expected.map((v, i) => (i >= 3 * n && i < 4 * n ? v : -1)));
    expect(native.profile(compile(5, 2)).length).toBe(3);
    expect(() => compile(6, 2)).toThrow('expected at most 320 bytes in buffer 0');
    expect(() => compile(5, 3)).toThrow('expected at most 128 bytes in buffer 1');
    expect(() => compile(0, 1)).toThrow('expected 1 to 32768 slices');
    expect(() => compile(5, 2, [0, 0])).toThrow('[slices] expected 8 numbers, got 4');
    expect(() => compile(5, 2, [-4, 0, 0, 0, 0, 0])).toThrow('expected strides in bytes');
    expect(() => native.run(compile(5, 2), 4, 2)).toThrow('expected slices within the 5');

    // Slices of several plans at once: each plan has a place of its own for its lanes.
    const others = [lane, new ArrayBuffer(4 * n * 2)].map((own) =>
      native.compile(Float64Array.from(list), [x, own, y], Float64Array.from([5, 2, ...strides])),
    );
    for (const nThread of [1, 2, 3]) {
      native.setThreads(nThread);
      new Float32Array(y).fill(-1);
      native.runEach([others[0]!, others[1]!, others[1]!], [4, 0, 2]);
      const written = [0, 2, 4].map((slice) => [slice * n, (slice + 1) * n] as const);
      expect(Array.from(new Float32Array(y))).toEqual(
        expected.map((v, i) => (written.some(([from, to]) => i >= from && i < to) ? v : -1)),
      );
    }
    expect(() => native.runEach([others[0]!], [5])).toThrow('expected slices within the 5');
    expect(() => native.runEach([others[0]!], [])).toThrow('[runEach] expected as many plans as slices');
    expect(() => native.runEach([], [])).toThrow('[runEach] expected as many plans as slices, at least one');
    expect(() => native.runEach([{} as NativePlan], [0])).toThrow('[plan] expected what compile() returned');
    const whole = native.compile(Float64Array.from(list), [x, lane, y]);
    expect(() => native.runEach([whole], [0])).toThrow('[runEach] expected a plan of slices in task 0');
  });

  it('refuses bad command lists, naming the command', () => {
    const add = kernel('add_forward');
    const linear = kernel('linear_forward');
    const last = native.manifest().length - 1;
    const good = [add, 2, 1, 0, ...tensor(0, 8), ...tensor(32, 8), ...tensor(64, 8)];
    const cases: [number[], string][] = [
      [[999, 0, 0, 0], `[command 0] expected a kernel index from 0 to ${last}, got 999`],
      [[...good, 1.5, 0, 0, 0], `[command 1] expected a kernel index from 0 to ${last}, got 1.5`],
      [[Number.NaN, 0, 0, 0], '[command 0] expected a kernel index'],
      [[add, 3, 1, 0], '[command 0: add_forward_cpu] expected 2 inputs, got 3'],
      [[add, 2, 0, 0], '[command 0: add_forward_cpu] expected 1 outputs, got 0'],
      [[add, 2, 1, 1], '[command 0: add_forward_cpu] expected 0 attributes, got 1'],
      [[add, 2], '[command 0] expected 4 numbers'],
      [[add, 2, 1, 0, ...tensor(0, 8)], '[command 0: add_forward_cpu] expected input 1, got the end of the list'],
      [
        [add, 2, 1, 0, ...tensor(0, 8), ...tensor(32, 8), ...tensor(1000, 8)],
        '[command 0: add_forward_cpu, output 0] expected at most 1024 bytes in buffer 0, got 32 bytes at offset 1000',
      ],
      [
        [add, 2, 1, 0, ...tensor(0, 2 ** 40, 2 ** 40), ...tensor(32, 8), ...tensor(64, 8)],
        'expected at most 1024 bytes',
      ],
      [
        [add, 2, 1, 0, ...tensor(-4, 8), ...tensor(32, 8), ...tensor(64, 8)],
        '[command 0: add_forward_cpu, input 0] expected a byte offset, got -4',
      ],
      [
        [add, 2, 1, 0, ...tensor(2, 8), ...tensor(32, 8), ...tensor(64, 8)],
        '[command 0: add_forward_cpu, input 0] expected an offset aligned to 4 bytes, got 2',
      ],
      [
        [add, 2, 1, 0, 1, 0, 0, 1, 8, ...tensor(32, 8), ...tensor(64, 8)],
        '[command 0: add_forward_cpu, input 0] expected a buffer index from 0 to 0, got 1',
      ],
      [
        [add, 2, 1, 0, -1, 0, 0, 1, 8, ...tensor(32, 8), ...tensor(64, 8)],
        '[command 0: add_forward_cpu, input 0] expected a buffer index from 0 to 0, got -1',
      ],
      [
        [add, 2, 1, 0, ...tensor(0, 8), ...tensor(32, 8), -1, 0, 0, 1, 8],
        '[command 0: add_forward_cpu][output 0] expected memory, got null',
      ],
      [
        [add, 2, 1, 0, ...tensor(0, 8), ...tensor(32, 7), ...tensor(64, 8)],
        '[command 0: add_forward_cpu][input 1] expected N=8, got 7',
      ],
      [
        [add, 2, 1, 0, 0, 0, 2, 1, 8, ...tensor(32, 8), ...tensor(64, 8)],
        '[command 0: add_forward_cpu][input 0] expected dtype f32, got i32',
      ],
      [
        [add, 2, 1, 0, ...tensor(0, 8), ...tensor(32, 8), ...tensor(48, 8)],
        '[command 0: add_forward_cpu][output 0] expected memory of its own, got an overlap with input 1',
      ],
      [
        [linear, 2, 1, 0, ...tensor(0, 4, 4), ...tensor(64, 4, 4), ...tensor(0, 4, 4)],
        '[command 0: linear_forward_cpu][output 0] expected memory of its own, got an overlap with input 0',
      ],
      [
        [linear, 2, 1, 0, ...tensor(0, 4), ...tensor(64, 4, 4), ...tensor(256, 4, 4)],
        '[command 0: linear_forward_cpu][input 0] expected axes RI, got rank 1',
      ],
    ];
    for (const [words, message] of cases) {
      expect(() => compile(words)).toThrow(message);
      expect(() => native.launch(Float64Array.from(words), [new ArrayBuffer(1024)])).toThrow(message);
    }
    expect(() => native.compile([] as unknown as Float64Array, [])).toThrow('[commands] expected a Float64Array');
    expect(() => native.compile(new Float64Array(0), [new SharedArrayBuffer(8) as unknown as ArrayBuffer])).toThrow(
      '[buffers] expected an ArrayBuffer at 0',
    );
    expect(() => native.run({} as never)).toThrow('[plan] expected what compile() returned');
    expect(
      (() => {
        try {
          compile([999, 0, 0, 0]);
        } catch (error) {
          return (error as { code?: string }).code;
        }
      })(),
    ).toBe('native');
  });

  it('never crashes on random numbers', () => {
    const word = fc.oneof(fc.integer({ min: -2, max: 30 }), fc.double(), fc.constantFrom(1e308, -0, 4, 8, 64));
    fc.assert(
      fc.property(fc.array(word, { maxLength: 60 }), (words) => {
        try {
          compile(words);
        } catch (error) {
          expect((error as Error).message).toMatch(/^\[command \d+/);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('replays a plan over several buffers, and notices one that went away', () => {
    const a = new Float32Array([1, 2, 3]);
    const b = new Float32Array([10, 20, 30]);
    const t = (buffer: number): number[] => [buffer, 0, 0, 1, 3];
    const add = [kernel('add_forward'), 2, 1, 0];
    // b += a, then a += b
    const plan = native.compile(
      Float64Array.from([...add, ...t(0), ...t(1), ...t(1), ...add, ...t(0), ...t(1), ...t(0)]),
      [a.buffer, b.buffer],
    );
    native.run(plan);
    native.run(plan);
    expect([...b]).toEqual([23, 46, 69]);
    expect([...a]).toEqual([35, 70, 105]);
    const times = native.profile(plan);
    expect(times).toHaveLength(2);
    expect(times.every((ns) => ns > 0)).toBe(true);
    structuredClone(a.buffer, { transfer: [a.buffer] });
    expect(() => native.run(plan)).toThrow('[plan] expected buffer 0 as it was compiled');
  });

  it('lets go of the memory of plans that are gone, in code that never waits too', () => {
    const add = [kernel('add_forward'), 2, 1, 0, ...tensor(0, 1000), ...tensor(0, 1000), ...tensor(4000, 1000)];
    const [before, bytes, n] = [process.memoryUsage().arrayBuffers, 2 ** 24, 100];
    let most = 0;
    for (let i = 0; i < n; i++) {
      native.run(native.compile(Float64Array.from(add), [new ArrayBuffer(bytes)]));
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
    expect(most).toBeLessThan((n / 2) * bytes);
  });

  it('keeps a plan’s memory alive', () => {
    native.compile(new Float64Array(0), []);
    const values = noise(1000, 1);
    const plan = (() => {
      const buffer = new ArrayBuffer(8000);
      new Float32Array(buffer).set(values);
      return native.compile(
        Float64Array.from([
          kernel('add_forward'),
          2,
          1,
          0,
          ...tensor(0, 1000),
          ...tensor(0, 1000),
          ...tensor(4000, 1000),
        ]),
        [buffer],
      );
    })();
    for (let i = 0; i < 50; i++) new ArrayBuffer(1 << 20);
    native.run(plan);
  });

  it('accepts leading axes where a kernel sees rows', () => {
    const x = noise(2 * 3 * 5, 1);
    const w = noise(4 * 5, 2);
    const flat = runKernel(
      'linear_forward',
      [
        { shape: [6, 5], data: x },
        { shape: [4, 5], data: w },
      ],
      [{ shape: [6, 4] }],
    );
    const deep = runKernel(
      'linear_forward',
      [
        { shape: [2, 3, 5], data: x },
        { shape: [4, 5], data: w },
      ],
      [{ shape: [2, 3, 4] }],
    );
    expect(deep).toEqual(flat);
  });

  it('gives one row of a product the same bits whatever rows surround it', () => {
    for (const [R, I, O] of [
      [200, 48, 40],
      [900, 1100, 20],
      [90, 2000, 300],
    ] as const) {
      const x = noise(R * I, 1);
      const w = noise(O * I, 2);
      const product = (from: number, to: number): Float64Array =>
        runKernel(
          'linear_forward',
          [
            { shape: [to - from, I], data: x.slice(from * I, to * I) },
            { shape: [O, I], data: w },
          ],
          [{ shape: [to - from, O] }],
        )[0] as Float64Array;
      const whole = product(0, R);
      for (const [from, to] of [
        [0, 9],
        [7, 80],
        [R - 31, R],
      ] as const) {
        expect(product(from, to)).toEqual(whole.slice(from * O, to * O));
      }
    }
  });

  it('serves several threads of Node at once', async () => {
    const source = `
      const { parentPort, workerData } = require('node:worker_threads');
      const native = require(workerData.file);
      const kernel = native.manifest().findIndex((k) => k.name === 'matmul_forward_cpu');
      const n = 96;
      const values = new Float32Array(3 * n * n);
      for (let i = 0; i < 2 * n * n; i++) values[i] = ((i * 7919 + workerData.seed) % 100) / 100;
      const t = (at) => [0, 4 * at * n * n, 0, 2, n, n];
      const plan = native.compile(Float64Array.from([kernel, 2, 1, 2, ...t(0), ...t(1), ...t(2), 0, 0]), [values.buffer]);
      let bad = 0;
      for (let run = 0; run < 200; run++) {
        native.run(plan);
        let want = 0;
        for (let k = 0; k < n; k++) want += values[k] * values[n * n + k * n];
        if (!(Math.abs(values[2 * n * n] - want) < 1e-2)) bad++;
      }
      parentPort.postMessage(bad);
    `;
    native.setThreads(3);
    const workers = [1, 2, 3].map(
      (seed) =>
        new Promise<number>((done, failed) => {
          const worker = new Worker(source, { eval: true, workerData: { file: report.from, seed } });
          worker.once('message', done);
          worker.once('error', failed);
        }),
    );
    expect(await Promise.all(workers)).toEqual([0, 0, 0]);
    // The library outlives the workers that loaded it.
    expect(runKernel('fill_forward', [], [{ shape: [3] }], [2])[0]).toEqual(Float64Array.of(2, 2, 2));
  });

  it('lets the process end while its threads wait, also from a worker that alone loaded it', () => {
    const use = `
      const native = require(${JSON.stringify(report.from)});
      native.setThreads(4);
      const k = native.manifest().findIndex((k) => k.name === 'fill_forward_cpu');
      const b = new ArrayBuffer(4e6);
      native.launch(Float64Array.from([k, 0, 1, 1, 0, 0, 0, 1, 1e6, 7]), [b]);
      console.log(String(new Float32Array(b)[999999]));
    `;
    const run = (source: string) => spawnSync(process.execPath, ['-e', source], { encoding: 'utf8', timeout: 20_000 });
    expect(run(use)).toMatchObject({ status: 0, stdout: '7\n' });
    expect(run(`${use}; process.exit(3)`).status).toBe(3);
    const inWorker = `new (require('node:worker_threads').Worker)(${JSON.stringify(use)}, { eval: true }).once('exit', () => setTimeout(() => console.log('end'), 50))`;
    expect(run(inWorker)).toMatchObject({ status: 0, stdout: '7\nend\n' });
  });

  it('needs no newer C library than Node does', (context) => {
    if (process.platform !== 'linux') return context.skip('glibc is a matter of Linux');
    const objdump = spawnSync('objdump', ['-T', report.from as string], { encoding: 'utf8' });
    if (objdump.status !== 0) return context.skip('no objdump here');
    const newest = (prefix: string): number[] =>
      [...objdump.stdout.matchAll(new RegExp(`${prefix}_([0-9.]+)`, 'g'))]
        .map((m) => (m[1] as string).split('.').map(Number))
        .sort((a, b) => (a[0] as number) - (b[0] as number) || (a[1] ?? 0) - (b[1] ?? 0) || (a[2] ?? 0) - (b[2] ?? 0))
        .at(-1) ?? [0, 0];
    expect(newest('GLIBC')[1]).toBeLessThanOrEqual(28);
    expect(newest('GLIBCXX')[2] ?? 0).toBeLessThanOrEqual(21);
  });
});

describe('the loader', () => {
  const load = (wish: string): { found: boolean; tried: { id: string; problem: string }[] } => {
    const source = `
      import { createServer } from 'vite';
      const server = await createServer({ configFile: false, logLevel: 'silent', server: { middlewareMode: true, ws: false, watch: null }, appType: 'custom' });
      const { loadNative } = await server.ssrLoadModule(${JSON.stringify(join(here, '../ts/index.ts'))});
      const report = loadNative();
      console.log(JSON.stringify({ found: report.binding !== undefined, tried: report.tried, same: loadNative() === report }));
      await server.close();
    `;
    const stdout = execFileSync(process.execPath, ['--input-type=module', '-e', source], {
      encoding: 'utf8',
      cwd: join(here, '..'),
      env: { ...process.env, PHYSLM_NATIVE: wish },
    });
    const result = JSON.parse(stdout);
    expect(result.same).toBe(true);
    return result;
  };

  it('can be switched off', () => {
    expect(load('off')).toMatchObject({ found: false, tried: [{ id: 'PHYSLM_NATIVE', problem: 'is off' }] });
  });

  it('reports a path that is not there, or is no addon', () => {
    const missing = load('/nowhere/physlm_native.node');
    expect(missing).toMatchObject({
      found: false,
      tried: [{ id: '/nowhere/physlm_native.node', problem: 'not found' }],
    });
    const wrong = load(join(here, 'binding.test.ts'));
    expect(wrong.found).toBe(false);
    expect(wrong.tried[0]?.problem).not.toBe('');
  });

  it('takes a path, and finds the local build by itself', (context) => {
    if (absent) return context.skip('no addon was built here');
    expect(load('auto').found).toBe(true);
    expect(load(report.from as string)).toMatchObject({ found: true, tried: [] });
  });

  it('measures misfit so that NaN only fits NaN', () => {
    expect(misfit(Float64Array.of(Number.NaN), Float64Array.of(1), 1)).toBe(Number.POSITIVE_INFINITY);
    expect(misfit(Float64Array.of(1), Float64Array.of(Number.NaN), 1)).toBe(Number.POSITIVE_INFINITY);
    expect(misfit(Float64Array.of(Number.NaN, 2), Float64Array.of(Number.NaN, 2), 0)).toBe(0);
  });
});
