// What the npm peers share: numbers, the question whether a result is right, and the protocol of a worker.
// Requests, one a line, answered with a line of JSON each:
//   prepare [check] gemm FORM M N K            -> {"seconds": one call, "error": worst difference in units of the result's size}
//   prepare [check] attention forward B H T D  -> the same
//   time N                                     -> {"seconds": N calls}
// C[M,N] = op(A)·op(B), all row-major. FORM is NN (A[M,K], B[K,N]), NT (A[M,K], B[N,K]) or TN (A[K,M], B[K,N]).
import { createInterface } from 'node:readline';

/** `n` numbers of input `stream`, the same ones as every contender's: uniform with mean 0 and variance 1. */
export function values(stream, n) {
  return Float32Array.from({ length: n }, (_, i) => {
    let x = (Math.imul(i, 0x9e3779b1) + Math.imul(stream, 0x85ebca77)) >>> 0;
    x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) >>> 0;
    x = Math.imul(x ^ (x >>> 12), 0x297a2d39) >>> 0;
    x = (x ^ (x >>> 15)) >>> 0;
    return (x / 2 ** 32 - 0.5) * Math.sqrt(12);
  });
}

/** The operands of a product, and its result at `[i, j]` in double precision. */
export function productOf(form, M, N, K) {
  const [a, b] = [values(1, M * K), values(2, K * N)];
  const [transA, transB] = [form[0] === 'T', form[1] === 'T'];
  const exact = (i, j) => {
    let sum = 0;
    for (let p = 0; p < K; p++) sum += a[transA ? p * M + i : i * K + p] * b[transB ? j * K + p : p * N + j];
    return sum;
  };
  return { a, b, transA, transB, shapeA: transA ? [K, M] : [M, K], shapeB: transB ? [N, K] : [K, N], exact };
}

/** Worst difference over 256 elements of a product, relative to their root mean square. */
export function productError(c, { exact }, M, N) {
  let [worst, squares] = [0, 0];
  const count = 256;
  for (let s = 0; s < count; s++) {
    const [i, j] = [Math.floor(((M - 1) * s) / (count - 1)), (s * 7919) % N];
    const want = exact(i, j);
    const difference = Math.abs(c[i * N + j] - want);
    if (!(difference <= worst)) worst = difference;
    squares += want ** 2;
  }
  return worst / Math.sqrt(squares / count);
}

/** Queries, keys and values of a batch as `[q, k, v]`, each of `[B, H, T, D]`: those that every contender packs by position. */
export function headsOf(B, H, T, D) {
  const packed = values(1, B * T * 3 * H * D);
  return [0, 1, 2].map((part) => {
    const out = new Float32Array(B * H * T * D);
    let at = 0;
    for (let b = 0; b < B; b++)
      for (let h = 0; h < H; h++)
        for (let t = 0; t < T; t++)
          for (let d = 0; d < D; d++) out[at++] = packed[(((b * T + t) * 3 + part) * H + h) * D + d];
    return out;
  });
}

/** Worst difference of causal attention `[B, H, T, D]` in its last head, relative to that head's root mean square. */
export function attentionError(out, [q, k, v], B, H, T, D) {
  const base = (B * H - 1) * T * D;
  let [worst, squares] = [0, 0];
  for (let t = 0; t < T; t++) {
    const scores = Array.from({ length: t + 1 }, (_, s) => {
      let sum = 0;
      for (let d = 0; d < D; d++) sum += q[base + t * D + d] * k[base + s * D + d];
      return sum / Math.sqrt(D);
    });
    const peak = scores.reduce((a, b) => Math.max(a, b));
    const weights = scores.map((score) => Math.exp(score - peak));
    const total = weights.reduce((a, b) => a + b);
    for (let d = 0; d < D; d++) {
      const want = weights.reduce((sum, weight, s) => sum + weight * v[base + s * D + d], 0) / total;
      const difference = Math.abs(out[base + t * D + d] - want);
      if (!(difference <= worst)) worst = difference;
      squares += want ** 2;
    }
  }
  return worst / Math.sqrt(squares / (T * D));
}

/**
 * Answers requests until the input ends. `prepare.gemm(form, M, N, K)` and `prepare.attention(B, H, T, D)` give a call:
 * `run()` does it and waits until it is done, `result()` reads what it wrote, `error(result)` says how wrong that is,
 * `free()` gives its memory back.
 */
export async function serve(version, prepare) {
  let call;
  const timed = async (n) => {
    const start = performance.now();
    for (let i = 0; i < n; i++) await call.run();
    return (performance.now() - start) / 1000;
  };
  const prepared = async (words) => {
    const check = words[0] === 'check';
    const [kind, ...rest] = check ? words.slice(1) : words;
    await call?.free?.();
    const sizes = rest.filter((word) => /^\d+$/.test(word)).map(Number);
    call = await (kind === 'gemm' ? prepare.gemm(rest[0], ...sizes) : prepare.attention(...sizes));
    await timed(1);
    const error = check ? call.error(await call.result()) : 0;
    await timed(1);
    return { seconds: Math.min(await timed(1), await timed(1)), error };
  };
  console.log(JSON.stringify({ version }));
  for await (const line of createInterface({ input: process.stdin })) {
    const [word, ...rest] = line.split(' ');
    let answer;
    try {
      answer = word === 'prepare' ? await prepared(rest) : { seconds: await timed(Number(rest[0])) };
    } catch (error) {
      answer = { problem: error.message };
    }
    console.log(JSON.stringify(answer));
  }
  process.exit(0); // Libraries with threads of their own would keep the process.
}
