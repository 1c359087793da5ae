// npm run bench -- [name …] [--quick | --full] [--threads 1,2] [--isa avx2] [--out FILE] [--no-peers] [--max-seconds N]
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';

/** Where each benchmark is; loaded when it runs. */
const benchmarks = {
  gemm: async () => (await import('./gemm.mjs')).gemm,
  attention: async () => (await import('./attention.mjs')).attention,
  norm: async () => (await import('./norm.mjs')).norm,
  loss: async () => (await import('./loss.mjs')).loss,
  optimizer: async () => (await import('./optimizer.mjs')).optimizer,
  'train-step': async () => (await import('./train-step.mjs')).trainStep,
  generate: async () => (await import('./generate.mjs')).generate,
  gptq: async () => (await import('./gptq.mjs')).gptq,
  data: async () => (await import('./data.mjs')).data,
  memory: async () => (await import('./memory.mjs')).memory,
  'side-by-side': async () => (await import('./side-by-side.mjs')).sideBySide,
};

/** Seconds after which a quick benchmark leaves the rest out, so that all together stay under three minutes. */
const quickSeconds = {
  gemm: 30,
  attention: 26,
  norm: 15,
  loss: 8,
  optimizer: 8,
  'train-step': 25,
  generate: 15,
  gptq: 8,
  data: 6,
  memory: 6,
  'side-by-side': 6,
};

const usage = `npm run bench -- [NAME …] [options]
  NAME             ${Object.keys(benchmarks).join(', ')}; all when absent
  report           writes the page of charts from the kept results, and measures nothing
  --quick          a few small shapes, one round: under three minutes for everything; keeps no results
  --full           all shapes, three rounds: what happens without --quick
  --threads LIST   numbers of threads, as 1,2
  --isa NAME       avx512, avx2 or generic: for us, our peers and the measured peak
  --size LIST      sizes of train-step, as medium,large, or layers of gemm, as 4096x256; all when absent
  --out FILE       also writes the results to FILE, and only there
  --no-peers       measures our kernels alone
  --max-seconds N  leaves out the shapes that a benchmark has not reached after N seconds`;

function fail(text) {
  console.error(`${text}\n\n${usage}`);
  process.exit(2);
}

function parsed() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        quick: { type: 'boolean', default: false },
        full: { type: 'boolean', default: false },
        threads: { type: 'string' },
        isa: { type: 'string' },
        size: { type: 'string' },
        out: { type: 'string' },
        'no-peers': { type: 'boolean', default: false },
        'max-seconds': { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    return fail(error.message);
  }
}

const { values: options, positionals } = parsed();
if (options.help) {
  console.log(usage);
  process.exit(0);
}
if (options.quick && options.full) fail('--quick and --full exclude each other');
const unknown = positionals.find((name) => name !== 'report' && !(name in benchmarks));
if (unknown !== undefined) fail(`no benchmark is called ${unknown}`);
if (positionals.includes('report')) {
  if (positionals.length > 1) fail('report stands alone: it draws what earlier runs have kept');
  const { report } = await import('./report.mjs');
  await report();
  process.exit(0);
}

const nCore = availableParallelism();
const threads = (options.threads ?? (nCore > 1 ? '1,2' : '1')).split(',').map(Number);
if (!threads.every((n) => Number.isInteger(n) && n >= 1))
  fail(`--threads wants whole numbers from 1, not ${options.threads}`);
const maxSeconds = options['max-seconds'] === undefined ? undefined : Number(options['max-seconds']);
if (maxSeconds !== undefined && !(maxSeconds > 0))
  fail(`--max-seconds wants a number above 0, not ${options['max-seconds']}`);

// The addon reads these when it is loaded, so they are settled before anything imports it.
if (options.isa !== undefined) process.env.PHYSLM_CPU_ISA = options.isa;
const { machine, machineName, root } = await import('./machine.mjs');
const { Meter } = await import('./harness.mjs');
const { peakProgram } = await import('./peers.mjs');

const facts = machine();
if (facts.isa === 'none') {
  console.error('the native addon is not built: npm run build, then try again');
  process.exit(1);
}
if (options.isa !== undefined && facts.isa !== options.isa) {
  fail(`this machine has no ${options.isa}; it has ${facts.isas.join(', ')}`);
}
const meter = new Meter(peakProgram());
if (!meter.present) console.log('peak: absent (a C++ compiler measures it: apt-get install g++)');
console.log(
  `${facts.cpu}, ${facts.nCore} cores, ${facts.isa}, governor ${facts.governor}, ${facts.memoryGiB} GiB, Node.js ${facts.node}, commit ${facts.commit}${facts.dirty ? ' with changes' : ''}`,
);

const effort = options.quick
  ? { rounds: 1, samples: 3, sampleSeconds: 0.008, pauseMs: 3 }
  : { rounds: 3, samples: 3, sampleSeconds: 0.03, pauseMs: 12 };
const written = [];
const failed = [];

function write(file, record) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(record, null, 1)}\n`);
  console.log(`kept in ${relative(process.cwd(), file)}`);
}

async function measure(name) {
  const started = performance.now();
  const time = new Date().toISOString();
  const peak = [];
  for (const nThread of threads) peak.push({ threads: nThread, fmaGflops: await meter.fma(facts.isa, nThread) });
  const run = await benchmarks[name]();
  const results = await run({
    quick: options.quick,
    isa: facts.isa,
    threads,
    nCore,
    meter,
    effort,
    withPeers: !options['no-peers'],
    only: options.size?.split(','),
    deadline: started + 1000 * (maxSeconds ?? (options.quick ? quickSeconds[name] : Number.POSITIVE_INFINITY)),
  });
  const seconds = Math.round((performance.now() - started) / 1000);
  if (results.leftOut?.length > 0) console.log(`left out for lack of time: ${results.leftOut.length} of the shapes`);
  console.log(`${name}: ${seconds} s`);
  const versions = Object.fromEntries(
    results.rows.filter(({ version }) => version).map(({ contender, version }) => [contender, version]),
  );
  // Where the results go is this machine's affair, and would name its folders.
  const asked = process.argv.slice(2).filter((word, i, all) => !word.startsWith('--out') && all[i - 1] !== '--out');
  const command = `npm run bench -- ${asked.join(' ')}`.trimEnd();
  return {
    what: name,
    command,
    quick: options.quick,
    time,
    seconds,
    machine: facts,
    threads,
    peak,
    versions,
    ...results,
  };
}

const folder = join(root, 'benchmarks', 'results', machineName(facts));
// The widest instruction set goes without saying.
const suffix = [facts.isa === facts.isas[0] ? [] : facts.isa, options.size?.split(',') ?? []]
  .flat()
  .map((word) => `-${word}`)
  .join('');
for (const name of positionals.length > 0 ? positionals : Object.keys(benchmarks)) {
  try {
    const record = await measure(name);
    written.push(record);
    if (options.out === undefined && !options.quick) {
      write(join(folder, `${facts.date}-${record.what}${suffix}.json`), record);
    }
  } catch (error) {
    // The others can still be measured; the run as a whole has failed.
    console.error(`${name} failed: ${error.stack}`);
    failed.push(name);
  }
}
await meter.close();
if (options.out !== undefined && written.length > 0) {
  write(resolve(options.out), positionals.length === 1 ? written[0] : written);
}
if (failed.length > 0) {
  console.error(`failed: ${failed.join(', ')}`);
  process.exit(1);
}
