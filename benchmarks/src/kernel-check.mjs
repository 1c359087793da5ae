// Is a kernel's result right? Against the op's reference in f64, on the same inputs: on the whole call where that is
// small, else on slices of an axis along which the op works independently.
import { backward, openDevice } from '@physlm/model';
import { inputsOf, shapeOf, value } from './kernel-job.mjs';

const js = openDevice('js');

/** Elements a reference may work on, by the size of its largest tensor or the number of its multiplications. */
const BUDGET = 2e7;

/** `count` indices spread over 0 … size − 1, first and last among them. */
function spread(size, count) {
  const n = Math.max(1, Math.min(size, Math.floor(count)));
  return [
    ...new Set(Array.from({ length: n }, (_, i) => (n === 1 ? size - 1 : Math.round((i * (size - 1)) / (n - 1))))),
  ];
}

const range = (start, length) => Array.from({ length }, (_, i) => start + i);

/** One head of one sequence of packed queries, keys and values: the last of each. */
function oneHead({ dims, attrs }) {
  const { nHead, nKvHead, dHead } = attrs;
  const columns = (head) => range(head * dHead, dHead);
  const P = [nHead - 1, nHead + nKvHead - 1, nHead + 2 * nKvHead - 1].flatMap(columns);
  return {
    picks: { B: [dims.B - 1], P, Q: columns(nHead - 1), H: [nHead - 1] },
    attrs: { ...attrs, nHead: 1, nKvHead: 1 },
  };
}

/** Which indices of which axes give a call that shows the result of `axes` right: `{ picks, attrs }`. */
function sliceFor(job, axes) {
  const { op, dims, attrs } = job;
  const along = (axis, cost) => ({ picks: { [axis]: spread(dims[axis], BUDGET / cost) }, attrs });
  if (op === 'attention') return oneHead(job);
  if (op.startsWith('linear')) {
    const axis = axes.includes('R') ? 'R' : 'O';
    return along(axis, (dims.R * dims.I * dims.O) / dims[axis]);
  }
  if (op === 'crossEntropy') return along('R', 10 * dims.V);
  if (op === 'embedding') return axes.includes('R') ? along('R', dims.D * 4) : along('D', dims.R * 4 + dims.V * 4);
  if (op === 'adamW') {
    const slice = along('N', 20);
    return { ...slice, attrs: { nDecay: slice.picks.N.filter((i) => i < attrs.nDecay).length } };
  }
  if (op === 'gelu') return along('N', 20);
  if (op === 'rotary') return along('B', dims.T * dims.P * 10);
  if (op === 'attentionStep') return along('B', dims.S * dims.G * dims.K * 10);
  return axes.includes('R') && 'R' in dims ? along('R', dims.D * 20) : { picks: {}, attrs };
}

/** The elements of an array whose index along each picked axis is one of the picks. */
function gather(values, axes, dims, picks) {
  const letters = [...axes];
  const shape = shapeOf(axes, dims);
  const lists = letters.map((axis, a) => picks[axis] ?? range(0, shape[a]));
  const out = new Float64Array(lists.reduce((product, { length }) => product * length, 1));
  const visit = (a, base, at) => {
    if (a === lists.length) {
      out[at] = values[base];
      return at + 1;
    }
    let next = at;
    for (const index of lists[a]) next = visit(a + 1, base * shape[a] + index, next);
    return next;
  };
  visit(0, 0, 0);
  return out;
}

/**
 * Worst difference, in units of the expected values' root mean square, and the most that an element uses of what the op's
 * declaration allows it: as in the conformance test, an element is as exact as the terms it is made of.
 */
function compare(got, expected, { atol, rtol }) {
  let squares = 0;
  for (const one of expected) squares += one ** 2;
  const rms = Math.sqrt(squares / expected.length);
  let difference = 0;
  let used = 0;
  for (let i = 0; i < expected.length; i++) {
    const one = Math.abs(got[i] - expected[i]);
    const share = one / (atol * Math.max(1, rms) + rtol * Math.abs(expected[i]));
    if (!(one <= difference)) difference = one;
    if (!(share <= used)) used = share;
  }
  return { error: difference / (rms || 1), used };
}

/** The largest error among the results of a call that has just run, and of the shares of the tolerance it uses. */
export function differences(job, { op, results }) {
  const { dims, attrs } = job;
  const fullDims = { ...dims, ...op.outputDims?.(dims, attrs) };
  const groups = new Map();
  for (const name of Object.keys(results)) {
    const axes = name.startsWith('d ') ? op.inputs[name.slice(2)] : op.outputs[name];
    const slice = sliceFor(job, axes);
    const key = Object.keys(slice.picks).join();
    if (!groups.has(key)) groups.set(key, { ...slice, names: [] });
    groups.get(key).names.push({ name, axes });
  }
  const full = inputsOf(op, dims);
  const worst = { error: 0, used: 0 };
  for (const { picks, attrs: slicedAttrs, names } of groups.values()) {
    const sized = (all) => Object.fromEntries(Object.entries(all).map(([axis, n]) => [axis, picks[axis]?.length ?? n]));
    const slicedDims = sized(dims);
    const inputs = Object.fromEntries(
      Object.entries(op.inputs).map(([name, axes]) => {
        const integer = op.integers?.includes(name) === true;
        const values = gather(full[name].values, axes, dims, picks);
        const tensor = js.tensor(values, shapeOf(axes, slicedDims), integer ? 'i32' : 'f64');
        tensor.requiresGrad = !integer && job.pass !== 'forward';
        return [name, tensor];
      }),
    );
    const outputs = op(inputs, slicedAttrs, { impl: 'reference' });
    const expected = { ...outputs };
    if (job.pass !== 'forward') {
      for (const output of Object.keys(op.outputs).filter((one) => !op.auxiliary?.includes(one))) {
        const axes = op.outputs[output];
        const size = shapeOf(axes, fullDims).reduce((product, n) => product * n, 1);
        const seed = Float32Array.from({ length: size }, (_, i) => value(99, i));
        backward(outputs[output], js.tensor(gather(seed, axes, fullDims, picks), outputs[output].shape, 'f64'));
      }
      for (const [name, tensor] of Object.entries(inputs)) if (tensor.grad) expected[`d ${name}`] = tensor.grad;
    }
    for (const { name, axes } of names) {
      const got = gather(results[name].values(), axes, fullDims, picks);
      const { error, used } = compare(got, expected[name].values(), op.tolerance);
      worst.error = Math.max(worst.error, error);
      worst.used = Math.max(worst.used, used);
      if (Number.isNaN(worst.used)) throw new Error(`${op.name}.${name} is not a number`);
    }
  }
  return worst;
}
