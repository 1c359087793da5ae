// GPTQ of a model in a process of its own: node gptq-child.mjs SIZE THREADS WINDOWS. Prints one JSON line: seconds on the clock
// and of processor time, and how far outputs on other text move, with GPTQ and with rounding to nearest.
import { Rng } from '@physlm/base';
import { buildModel, gptq, openDevice, roundToNearest } from '@physlm/model';
import { gptqSizes, token } from './sizes.mjs';

const [size, threads, count] = process.argv.slice(2);
const { T, config } = gptqSizes[size];
const bits = 4;
const device = openDevice('cpu', { nThread: Number(threads) });
const fresh = () => buildModel(device, config, new Rng('benchmark'));
const window = (i) => Int32Array.from({ length: T }, (_, k) => token(i, k, config.dVocab));

const model = fresh();
const windows = Array.from({ length: Number(count) }, (_, i) => window(i));
const before = process.cpuUsage();
const start = performance.now();
gptq(model, { bits, windows });
const seconds = (performance.now() - start) / 1000;
const { user, system } = process.cpuUsage(before);

const other = device.tensor(window(windows.length), [1, T], 'i32');
const outputs = (of) => device.withoutGrad(() => Float64Array.from(of.forward(other).values()));
const exact = outputs(fresh());
const change = (of) => Math.sqrt(outputs(of).reduce((sum, x, i) => sum + (x - exact[i]) ** 2, 0) / exact.length);
const nearest = fresh();
roundToNearest(nearest, { bits });
const { nParameter } = model;
const result = { nParameter, seconds, processorSeconds: (user + system) / 1e6 };
const version = `physlm, ${device.native.isa()}, ${device.nThread} threads`;
console.log(JSON.stringify({ ...result, change: change(model), nearestChange: change(nearest), version }));
process.stdin.resume();
