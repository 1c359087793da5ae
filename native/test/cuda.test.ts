import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { loadNative } from '../ts/load.js';
import { attention, distance } from './attention-reference.js';
import { absentCuda, cuda, emulatedPath, type Kind, type Operand, runCuda, toBf16 } from './cuda-runner.js';
import { noise } from './kernel-runner.js';

const skipped = absentCuda === '' ? '' : ` (skipped: ${absentCuda})`;
const addon = loadNative().from as string;

/** Whole numbers from −4 to 4: exact in bf16, and so are their sums in f32, in any order. */
const whole = (n: number, seed: number): Float64Array =>
  Float64Array.from({ length: n }, (_, i) => (((i + 7) * 2654435761 + seed * 40503) >>> 7) % 9).map((x) => x - 4);

/** c[m][n] = Σ_k A·B with operands turned or not, in doubles. */
function product(M: number, N: number, K: number, a: Float64Array, b: Float64Array, ta: boolean, tb: boolean) {
  const c = new Float64Array(M * N);
  for (let m = 0; m < M; m++)
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += a[ta ? k * M + m : m * K + k]! * b[tb ? n * K + k : k * N + n]!;
      c[m * N + n] = sum;
    }
  return c;
}

/** Where two arrays differ first, as a sentence; undefined when they do not. */
function difference(got: Float64Array | undefined, expected: Float64Array): string | undefined {
  if (got?.length !== expected.length) return `${got?.length} elements, expected ${expected.length}`;
  const at = expected.findIndex((x, i) => !Object.is(x + 0, got[i]! + 0));
  return at < 0 ? undefined : `[${at}] is ${got[at]}, expected ${expected[at]}`;
}

const kinds: readonly Kind[] = ['f32', 'bf16'];
const sizes = fc.constantFrom(1, 2, 7, 8, 9, 16, 31, 63, 64, 65, 127, 128, 129, 136, 200);

afterEach(() => {
  delete process.env.PHYSLM_EMULATE_ORDER;
  delete process.env.PHYSLM_EMULATE_SM;
});

describe.skipIf(skipped !== '')(`CUDA kernels${skipped}`, () => {
  it('multiply whole numbers exactly, whatever the shape, layout, type and alignment', () => {
    const one = fc.record({
      M: sizes,
      N: sizes,
      K: fc.oneof(sizes, fc.constant(1100)),
      ta: fc.boolean(),
      tb: fc.boolean(),
      kinds: fc.tuple(fc.constantFrom(...kinds), fc.constantFrom(...kinds)),
      shift: fc.constantFrom(0, 0, 1, 4),
    });
    fc.assert(
      fc.property(one, ({ M, N, K, ta, tb, kinds: [kindA, kindB], shift }) => {
        const [a, b] = [whole(M * K, 1), whole(K * N, 2)];
        const [c] = runCuda(
          'matmul_forward',
          [
            { shape: ta ? [K, M] : [M, K], kind: kindA, data: a },
            { shape: tb ? [N, K] : [K, N], kind: kindB, data: b },
          ],
          [{ shape: [M, N] }],
          [Number(ta), Number(tb)],
          shift,
        );
        expect(difference(c, product(M, N, K, a, b, ta, tb))).toBeUndefined();
      }),
      { numRuns: 40 },
    );
  });

  // Shapes that Hopper's kernel takes: both tile widths, ragged edges, several tiles a block, sums that are split.
  it.each([
    [64, 192, 64],
    [136, 40, 24],
    [200, 384, 72],
    [392, 136, 136],
    [128, 64, 2200],
    [520, 200, 16],
  ] as const)('multiply whole numbers exactly on every generation: %i×%i×%i', (M, N, K) => {
    const [a, b] = [whole(M * K, 1), whole(K * N, 2)];
    for (const [ta, tb] of [
      [false, true],
      [false, false],
      [true, false],
      [true, true],
    ] as const) {
      const expected = product(M, N, K, a, b, ta, tb);
      for (const sm of ['80', '90']) {
        process.env.PHYSLM_EMULATE_SM = sm;
        const operands: Operand[] = [
          { shape: ta ? [K, M] : [M, K], kind: 'bf16', data: a },
          { shape: tb ? [N, K] : [K, N], kind: 'bf16', data: b },
        ];
        const [c] = runCuda('matmul_forward', operands, [{ shape: [M, N] }], [Number(ta), Number(tb)]);
        expect(difference(c, expected), `sm_${sm}, A${ta ? ' turned' : ''}, B${tb ? '' : ' turned'}`).toBeUndefined();
      }
    }
  });

  it('add bias, keep what goes into GELU and round once', () => {
    const [R, I, O] = [270, 40, 200];
    const [x, w, bias] = [noise(R * I, 1), noise(O * I, 2), noise(O, 3)];
    const rounded = (v: ArrayLike<number>) => Float64Array.from(v as ArrayLike<number>, toBf16);
    const pre = product(R, O, I, rounded(x), rounded(w), false, true).map((v, i) => v + Math.fround(bias[i % O]!));
    const gelu = (v: number): number => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));
    const [y, kept] = runCuda(
      'linearBiasGelu_forward',
      [
        { shape: [R, I], kind: 'bf16', data: x },
        { shape: [O, I], kind: 'bf16', data: w },
        { shape: [O], data: bias },
      ],
      [{ shape: [R, O] }, { shape: [R, O], kind: 'bf16' }],
    );
    expect(kept!.every((v, i) => Math.abs(v - pre[i]!) <= 2 ** -8 * Math.abs(pre[i]!) + 1e-5)).toBe(true);
    expect(y!.every((v, i) => Math.abs(v - gelu(pre[i]!)) <= 1e-5)).toBe(true);
  });

  /** Softmax attention in doubles over packed rows, one (batch, head) at a time, with all gradients. */
  it.each([
    [1, 1, 1, 1, 32, true],
    [2, 33, 4, 2, 16, true],
    [1, 130, 2, 1, 64, true],
    [1, 65, 2, 2, 128, true],
    [1, 90, 2, 2, 40, false],
    [1, 70, 1, 1, 13, true],
    [1, 35, 1, 1, 160, true],
  ] as const)('attend in bf16: B%i T%i H%i G%i K%i causal %s', (B, T, H, G, K, causal) => {
    const P = (H + 2 * G) * K;
    const qkv = Float64Array.from(noise(B * T * P, 1), toBf16);
    const d = Float64Array.from(noise(B * T * H * K, 2), toBf16);
    const expected = attention(qkv, d, B, T, H, G, K, causal);
    const attrs = [H, G, K, 1 / Math.sqrt(K), Number(causal)];
    const packed: Operand = { shape: [B, T, P], kind: 'bf16', data: qkv };
    const [o, lse] = runCuda(
      'attention_forward',
      [packed],
      [{ shape: [B, T, H * K], kind: 'bf16' }, { shape: [B, H, T] }],
      attrs,
    );
    expect(distance(o!, expected.o)).toBeLessThan(4e-3);
    for (let i = 0; i < lse!.length; i++) expect(Math.abs(lse![i]! - expected.lse[i]!)).toBeLessThan(2e-5);
    const [grad] = runCuda(
      'attention_backward',
      [
        packed,
        { shape: [B, T, H * K], kind: 'bf16', data: expected.o },
        { shape: [B, H, T], data: expected.lse },
        { shape: [B, T, H * K], kind: 'bf16', data: d },
      ],
      [{ shape: [B, T, P] }],
      attrs,
    );
    expect(distance(grad!, expected.grad)).toBeLessThan(T === 1 ? 5e-3 : 8e-3);
  });

  it('sum the gradients of a table in order of rows, for few and for many tokens', () => {
    for (const [R, V, D] of [
      [1, 1, 1],
      [700, 3, 5],
      [300, 1000, 8],
      [64, 70_000, 3],
    ] as const) {
      const ids = Float64Array.from({ length: R }, (_, i) => ((i * 2654435761) >>> 5) % V);
      const dy = whole(R * D, 3);
      const expected = new Float64Array(V * D);
      ids.forEach((id, r) => {
        for (let i = 0; i < D; i++) expected[id * D + i]! += dy[r * D + i]!;
      });
      const inputs: Operand[] = [
        { shape: [R], kind: 'i32', data: ids },
        { shape: [R, D], kind: 'bf16', data: dy },
      ];
      expect(difference(runCuda('embedding_backward', inputs, [{ shape: [V, D] }])[0], expected)).toBeUndefined();
    }
  });

  it('add the rows of a token by tiles of 32 in order, to the bit', () => {
    const [R, V, D] = [500, 7, 3];
    const ids = Float64Array.from({ length: R }, (_, i) => (i % 5 === 0 ? 3 : (i * 31) % V)); // token 3 crosses several tiles
    const dy = noise(R * D, 1);
    const order = Array.from({ length: R }, (_, r) => r).sort((a, b) => ids[a]! - ids[b]! || a - b);
    const expected = new Float64Array(V * D);
    for (let token = 0; token < V; token++)
      for (let i = 0; i < D; i++) {
        const tiles = new Map<number, number>();
        order.forEach((r, at) => {
          const tile = Math.floor(at / 32);
          if (ids[r] === token) tiles.set(tile, Math.fround((tiles.get(tile) ?? 0) + dy[r * D + i]!));
        });
        expected[token * D + i] = [...tiles.values()].reduce((a, b) => Math.fround(a + b));
      }
    const inputs: Operand[] = [
      { shape: [R], kind: 'i32', data: ids },
      { shape: [R, D], data: dy },
    ];
    expect(difference(runCuda('embedding_backward', inputs, [{ shape: [V, D] }])[0], expected)).toBeUndefined();
  });

  it.each([
    [3, 1, 'f32'],
    [5, 17, 'f32'],
    [9, 456, 'bf16'],
    [3, 9001, 'f32'], // wide rows have more threads
    [2, 9008, 'bf16'],
    [2, 26_000, 'f32'], // more than an older card's block can keep
  ] as const)('give loss and gradient in one reading with the bits of two: R%i V%i %s', (R, V, kind) => {
    const logits: Operand = { shape: [R, V], kind, data: noise(R * V, 1, 4) };
    const targets: Operand = { shape: [R], kind: 'i32', data: Array.from({ length: R }, (_, r) => (r * 7) % V) };
    (targets.data as number[])[1] = -1;
    const dloss: Operand = { shape: [R], data: noise(R, 3) };
    for (const sm of ['90', '80']) {
      process.env.PHYSLM_EMULATE_SM = sm;
      const [loss, lse] = runCuda('crossEntropy_forward', [logits, targets], [{ shape: [R] }, { shape: [R] }], [-1]);
      const [dlogits] = runCuda(
        'crossEntropy_backward',
        [logits, targets, { shape: [R], data: lse! }, dloss],
        [{ shape: [R, V], kind }],
        [-1],
      );
      const outputs: Operand[] = [{ shape: [R] }, { shape: [R] }, { shape: [R, V], kind }];
      const both = runCuda('crossEntropyGradient_forward', [logits, targets, dloss], outputs, [-1]);
      expect(both, `sm_${sm}`).toEqual([loss, lse, dlogits]);
      expect(loss![1]).toBe(0);
      expect(dlogits!.subarray(V, 2 * V).every((d) => d === 0)).toBe(true);
    }
    (targets.data as number[])[0] = V;
    expect(() =>
      runCuda(
        'crossEntropyGradient_forward',
        [logits, targets, dloss],
        [{ shape: [R] }, undefined, { shape: [R, V], kind }],
        [-1],
      ),
    ).toThrow(`expected a token of the vocabulary or the ignored one, got ${V} in row 0`);
  });

  it('give the same bits in whatever order threads and blocks run', (context) => {
    if (cuda.description() !== 'emulated on the host') return context.skip('a GPU has its own order');
    const [B, T, H, K, V, R] = [1, 80, 2, 32, 130, 150];
    const P = 3 * H * K;
    const qkv: Operand = { shape: [B, T, P], kind: 'bf16', data: noise(B * T * P, 1) };
    const ids: Operand = { shape: [R], kind: 'i32', data: Float64Array.from({ length: R }, (_, i) => (i * 17) % 11) };
    const rows: Operand = { shape: [R, V], data: noise(R * V, 2) };
    const ones = (n: number): Operand => ({ shape: [n], data: noise(n, 4) });
    const all = () => [
      runCuda('attention_forward', [qkv], [{ shape: [B, T, H * K] }, { shape: [B, H, T] }], [H, H, K, 0.2, 1]),
      runCuda(
        'attention_backward',
        [
          qkv,
          { shape: [B, T, H * K], data: noise(B * T * H * K, 5) },
          { shape: [B, H, T], data: noise(T * H, 6) },
          { shape: [B, T, H * K], data: noise(B * T * H * K, 7) },
        ],
        [{ shape: [B, T, P] }],
        [H, H, K, 0.2, 1],
      ),
      runCuda(
        'layerNorm_forward',
        [rows, ones(V), ones(V)],
        [{ shape: [R, V] }, { shape: [R] }, { shape: [R] }],
        [1e-5],
      ),
      runCuda(
        'layerNorm_backward',
        [rows, ones(V), ones(R), ones(R), rows],
        [{ shape: [R, V] }, { shape: [V] }, { shape: [V] }],
        [1e-5],
      ),
      runCuda('crossEntropy_forward', [rows, ids], [{ shape: [R] }, { shape: [R] }], [-1]),
      runCuda('embedding_backward', [ids, rows], [{ shape: [11, V] }]),
      runCuda('gradNorm_forward', [{ shape: [R * V], data: rows.data! }], [{ shape: [1] }]),
      runCuda(
        'linearBias_backward',
        [rows, { shape: [9, V], kind: 'bf16', data: noise(9 * V, 8) }, { shape: [R, 9], data: noise(R * 9, 9) }],
        [{ shape: [R, V] }, { shape: [9, V] }, { shape: [9] }],
      ),
    ];
    const wide = () =>
      runCuda(
        'matmul_forward',
        [
          { shape: [400, 200], kind: 'bf16', data: noise(80_000, 10) },
          { shape: [256, 200], kind: 'bf16', data: noise(51_200, 11) },
        ],
        [{ shape: [400, 256], kind: 'bf16' }],
        [0, 1],
      );
    const forward = all();
    const forwardProduct = wide();
    for (const order of ['backward', '1', '2']) {
      process.env.PHYSLM_EMULATE_ORDER = order;
      expect(all(), order).toEqual(forward);
      expect(wide(), order).toEqual(forwardProduct);
    }
  });

  it('refuse memory that the device cannot reach', () => {
    const fill = cuda.manifest().findIndex(({ name }) => name === 'fill_forward_cuda');
    const words = Float64Array.from([fill, 0, 1, 1, 0, 0, 0, 1, 4, 1]);
    expect(() => cuda.launch(words, [new ArrayBuffer(16)])).toThrow(
      '[buffers] expected memory of device cuda at 0, got another ArrayBuffer\nMake it with allocate().',
    );
    expect(() => cuda.allocate!(0, false)).toThrow('[allocate] expected a number of bytes from 1 on');
    expect(() => cuda.allocate!(1e15, true)).toThrow('[allocate] no memory for 1000000000000000 bytes on device cuda');
  });

  it('finish in order: what a run wrote is there after synchronize, and a plan replays', () => {
    const buffer = cuda.allocate!(64, true);
    const values = new Float32Array(buffer);
    const add = cuda.manifest().findIndex(({ name }) => name === 'add_forward_cuda');
    const t = (at: number): number[] => [0, at * 4, 0, 1, 4];
    const plan = cuda.compile(Float64Array.from([add, 2, 1, 0, ...t(0), ...t(4), ...t(4)]), [buffer]);
    values.set([1, 2, 3, 4]);
    for (let i = 0; i < 4; i++) cuda.run(plan);
    cuda.synchronize!();
    expect([...values.subarray(4, 8)]).toEqual([4, 8, 12, 16]);
    expect(cuda.profile(plan)[0]).toBeGreaterThan(0);
    expect([...values.subarray(4, 8)]).toEqual([5, 10, 15, 20]);
  });
});

/** Runs a script in a process of its own; `native` is the addon. */
function child(source: string, env: Record<string, string> = {}): { status: number | null; out: string } {
  const script = `const native = require(${JSON.stringify(addon)}); const path = ${JSON.stringify(emulatedPath)}; ${source}`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', script], {
    encoding: 'utf8',
    timeout: 30_000,
    env: { ...process.env, FORCE_COLOR: '0', ...env }, // numbers without colours, whatever the terminal
  });
  return { status, out: (stdout + stderr).trim() };
}

describe.skipIf(skipped !== '' || addon === undefined)(`loading CUDA kernels${skipped}`, () => {
  const tries = (path: string): string =>
    `try { native.openLibrary(${path}); console.log('loaded') } catch (e) { console.log(e.message) }`;

  it('gives a reason without a driver, and goes on', () => {
    const answer = child(`${tries('path')}; ${tries('path')}; console.log(native.threads() > 0)`, {
      PHYSLM_EMULATE_ABSENT: '1',
    });
    const reason = 'no NVIDIA driver is installed (emulated)';
    expect(answer).toEqual({ status: 0, out: `${reason}\n${reason}\ntrue` });
  });

  it('gives the same reason with the real library on a machine without a GPU', (context) => {
    const real = fileURLToPath(new URL('../build/Release/libphyslm_cuda.so', import.meta.url));
    if (!existsSync(real)) return context.skip('libphyslm_cuda.so was not built here');
    const { status, out } = child(tries(JSON.stringify(real)));
    expect(status).toBe(0);
    expect(out).toMatch(/^(loaded|no NVIDIA driver is installed .*|the NVIDIA driver offers no GPU: .*)$/);
  });

  it('refuses what is no library of kernels', () => {
    const folder = mkdtempSync(join(tmpdir(), 'physlm-cuda-'));
    const text = join(folder, 'text.so');
    writeFileSync(text, 'no library');
    expect(child(tries(JSON.stringify(text))).out).toMatch(/file too short|invalid ELF header/);
    expect(child(tries(JSON.stringify(join(folder, 'none.so')))).out).toMatch(/cannot open shared object file/);
    expect(child(tries(JSON.stringify(addon))).out).toBe(
      'it is not a library of physlm kernels (no physlm_cuda_library)',
    );
  });

  it('refuses another ABI version', (context) => {
    const folder = mkdtempSync(join(tmpdir(), 'physlm-cuda-'));
    const [source, other] = [join(folder, 'other.c'), join(folder, 'other.so')];
    writeFileSync(source, 'static const int v[64] = {1}; const void* physlm_cuda_library(void) { return v; }');
    const { status } = spawnSync('cc', ['-shared', '-fPIC', '-o', other, source]);
    if (status !== 0) return context.skip('no C compiler here');
    expect(child(tries(JSON.stringify(other))).out).toBe('it has ABI version 1, expected 4; build it again');
  });

  it('loads twice, in several threads, and lets the process end', () => {
    const use = `
      const cuda = native.openLibrary(path);
      const again = native.openLibrary(path);
      const fill = cuda.manifest().findIndex((k) => k.name === 'fill_forward_cuda');
      const b = cuda.allocate(400, false);
      for (let i = 0; i < 20; i++) again.launch(Float64Array.from([fill, 0, 1, 1, 0, 0, 0, 1, 100, 7]), [b]);
      cuda.synchronize();
      console.log(new Float32Array(b)[99]);`;
    expect(child(use)).toEqual({ status: 0, out: '7' });
    expect(child(`${use} process.exit(3)`)).toEqual({ status: 3, out: '7' });
    const worker = `const native = require(${JSON.stringify(addon)}); const path = ${JSON.stringify(emulatedPath)}; ${use}`;
    const workers = `
      const { Worker } = require('node:worker_threads');
      ${use}
      for (let i = 0; i < 3; i++) new Worker(${JSON.stringify(worker)}, { eval: true });`;
    expect(child(workers)).toEqual({ status: 0, out: '7\n7\n7\n7' });
    // Work still in the queue, memory still held: the end comes all the same.
    expect(
      child(
        `${use.replace('cuda.synchronize();', '')} again.launch(Float64Array.from([fill, 0, 1, 1, 0, 0, 0, 1, 100, 7]), [b]);`,
      ).status,
    ).toBe(0);
  });

  it('takes a copy in another place as a library of its own', () => {
    const copy = join(mkdtempSync(join(tmpdir(), 'physlm-cuda-')), 'libphyslm_cuda.so');
    copyFileSync(emulatedPath, copy);
    expect(child(tries(JSON.stringify(copy)))).toEqual({ status: 0, out: 'loaded' });
  });
});
