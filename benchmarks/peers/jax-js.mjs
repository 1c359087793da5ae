// Products by jax-js, as a worker: node jax-js.mjs. See worker.mjs for the requests. Its WebAssembly backend, compiled
// (`jit`); in Node.js it has one thread.
import { readFileSync } from 'node:fs';
import { blockUntilReady, defaultDevice, init, jit, numpy as np } from '@jax-js/jax';
import { productError, productOf, serve } from './worker.mjs';

await init('wasm');
defaultDevice('wasm');

function gemm(form, M, N, K) {
  const product = productOf(form, M, N, K);
  const { a, b, shapeA, shapeB, transA, transB } = product;
  const left = np.array(a, { shape: shapeA });
  const right = np.array(b, { shape: shapeB });
  const multiply = jit((x, y) => np.matmul(transA ? np.transpose(x) : x, transB ? np.transpose(y) : y));
  const once = async () => {
    const c = multiply(left.ref, right.ref);
    await blockUntilReady(c);
    return c;
  };
  return {
    run: async () => (await once()).dispose(),
    result: async () => (await once()).data(),
    error: (c) => productError(c, product, M, N),
    free: () => {
      left.dispose();
      right.dispose();
      multiply.dispose?.();
    },
  };
}

// The package exports no package.json: it lies beside the folder that holds the entry point.
const manifest = new URL('../package.json', import.meta.resolve('@jax-js/jax'));
const { version } = JSON.parse(readFileSync(manifest, 'utf8'));
await serve(`jax-js ${version}, WebAssembly, 1 thread`, { gemm });
