// Our kernels as a worker: node kernel-child.mjs THREADS. Requests, one a line:
//   prepare [check] JOB -> {"seconds": one call, and if checked, "error": worst difference in units of the result's size,
//                           "used": the most of its op's tolerance that an element uses; above 1 is wrong}
//   time N              -> {"seconds": N calls}
// JOB is JSON: {op, pass: 'forward' | 'backward' | 'both', dims, attrs, wants}. `wants` names the gradients that backward computes
// (all when absent). Only kernels are timed: a call that none covers is an error, never the reference.
import { createInterface } from 'node:readline';
import { openDevice } from '@physlm/model';
import { differences } from './kernel-check.mjs';
import { inputsOf, opOf, shapeOf, value } from './kernel-job.mjs';

const device = openDevice('cpu', { nThread: Number(process.argv[2]) });

/** The call as a recorded program, with the tensors it reads and writes. */
function programOf(job) {
  const op = opOf(job);
  const { dims, attrs } = job;
  const allDims = { ...dims, ...op.outputDims?.(dims, attrs) };
  const floats = Object.keys(op.inputs).filter((name) => !op.integers?.includes(name));
  const differentiable = Object.keys(op.outputs).filter((name) => !op.auxiliary?.includes(name));
  const tensors = {};
  for (const [name, { values, shape }] of Object.entries(inputsOf(op, dims))) {
    tensors[name] = device.tensor(values, shape, op.integers?.includes(name) ? 'i32' : 'f32');
  }
  // A recorded step may not run the reference, and an op that no kernel covers says why: this call throws.
  const outputs = device.withoutGrad(() => op(tensors, attrs, { impl: 'native' }));
  const results = { ...outputs };
  const forward = {
    kernel: `${op.name}_forward`,
    inputs: Object.keys(op.inputs).map((name) => tensors[name]),
    outputs: Object.keys(op.outputs).map((name) => outputs[name]),
    attrs: Object.keys(op.attrs).map((name) => Number(attrs[name])),
    native: true,
  };
  const commands = job.pass === 'backward' ? [] : [forward];
  const seeds = {};
  if (job.pass !== 'forward') {
    for (const name of differentiable) {
      const shape = shapeOf(op.outputs[name], allDims);
      const size = shape.reduce((product, n) => product * n, 1);
      seeds[name] = device.tensor(
        Float32Array.from({ length: size }, (_, i) => value(99, i)),
        shape,
      );
    }
    const wanted = floats.filter((name) => job.wants === undefined || job.wants.includes(name));
    for (const name of wanted) results[`d ${name}`] = device.zeros(tensors[name].shape);
    commands.push({
      ...forward,
      kernel: `${op.name}_backward`,
      inputs: [...op.backward.saves.map((name) => tensors[name] ?? outputs[name]), ...Object.values(seeds)],
      outputs: floats.map((name) => results[`d ${name}`]),
    });
  }
  for (const { kernel } of commands) {
    if (device.kernelIndex(kernel) === undefined) throw new Error(`the addon holds no kernel ${kernel}_cpu`);
  }
  const program = device.record(() => {
    for (const command of commands) device.execute(command);
    return {};
  });
  return { op, program, tensors, results, seeds };
}

let program;

function timed(n) {
  const start = performance.now();
  for (let i = 0; i < n; i++) program.run();
  return (performance.now() - start) / 1000;
}

function prepare(text) {
  const check = text.startsWith('check ');
  const job = JSON.parse(check ? text.slice(6) : text);
  const made = programOf(job);
  program = made.program;
  // An op that works in place has run once by now: it is checked on that run, before its inputs change again.
  if (made.op.inPlace === undefined) timed(1);
  const found = check ? differences(job, made) : {};
  globalThis.gc?.(); // Where memory is measured, the numbers that the inputs were made of must not count.
  timed(1);
  return { seconds: Math.min(timed(1), timed(1)), ...found };
}

console.log(JSON.stringify({ version: `physlm, ${device.native.isa()}, ${device.nThread} threads` }));
for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    if (line.startsWith('prepare ')) answer = prepare(line.slice(8));
    else answer = { seconds: timed(Number(line.slice(5))) };
  } catch (error) {
    answer = { problem: error.message };
  }
  console.log(JSON.stringify(answer));
}
