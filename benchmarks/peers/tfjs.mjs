// Products by TensorFlow.js, as a worker: node tfjs.mjs. See worker.mjs for the requests. Its WebAssembly backend, which has
// one thread in Node.js. With `transpose` set its product is many times slower than after a transposition, and slower the
// larger it is: the faster of the two forms is timed, and large products are not even tried in the first.
import { createRequire } from 'node:module';
import '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs';
import { productError, productOf, serve } from './worker.mjs';

await tf.setBackend('wasm');
await tf.ready();

function gemm(form, M, N, K) {
  const product = productOf(form, M, N, K);
  const { transA, transB } = product;
  const a = tf.tensor2d(product.a, product.shapeA);
  const b = tf.tensor2d(product.b, product.shapeB);
  const turned = (x, transposed) => (transposed ? tf.transpose(x) : x);
  const forms = [() => tf.tidy(() => tf.matMul(turned(a, transA), turned(b, transB)))];
  if ((transA || transB) && M * N * K < 1e7) forms.push(() => tf.matMul(a, b, transA, transB));
  const cost = (multiply) => {
    multiply().dispose();
    const start = performance.now();
    multiply().dispose();
    return performance.now() - start;
  };
  const [multiply] = forms
    .map((form) => ({ form, ms: cost(form) }))
    .toSorted((x, y) => x.ms - y.ms)
    .map(({ form }) => form);
  return {
    run: () => multiply().dispose(), // The call has done its work when it returns.
    result: () => {
      const c = multiply();
      const data = c.dataSync();
      c.dispose();
      return data;
    },
    error: (c) => productError(c, product, M, N),
    free: () => tf.dispose([a, b]),
  };
}

const { version } = createRequire(import.meta.url)('@tensorflow/tfjs/package.json');
const simd = (await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT')) ? 'WebAssembly with SIMD' : 'WebAssembly';
await serve(`TensorFlow.js ${version}, ${simd}, 1 thread`, { gemm });
