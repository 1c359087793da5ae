// Data work on one thread: node data-child.mjs SECONDS SAMPLES. Prints one JSON line of samples by job, in units a second.
import { Rng } from '@physlm/base';
import { Gpt2Tokenizer, packWindows } from '@physlm/data';
import { biographies, bioS, gpt2TokenizerForBioS, wordTokenizerFor } from '@physlm/data/bio';
import { compactTokenizer, igsm, templateFamily, verifySolution } from '@physlm/data/igsm';
import { entries, knowledgeGpt2, knowledgeWords, questions } from '@physlm/data/knowledge';

const [seconds, nSample] = process.argv.slice(2).map(Number);
const population = bioS({ nPeople: 20_000, seed: 1 });
const tokenizers = {
  words: wordTokenizerFor(population),
  'GPT-2 of bioS': gpt2TokenizerForBioS(),
  'GPT-2': new Gpt2Tokenizer(),
};

/** Counts of what each call of `work` returns, per second, over `seconds`. */
function rates(work) {
  const total = {};
  const start = performance.now();
  let elapsed = 0;
  for (let i = 0; elapsed < seconds; i++) {
    for (const [unit, count] of Object.entries(work(i))) total[unit] = (total[unit] ?? 0) + count;
    elapsed = (performance.now() - start) / 1000;
  }
  return Object.fromEntries(Object.entries(total).map(([unit, count]) => [unit, count / elapsed]));
}

const jobs = {};
const texts = [];
for (const [name, tokenizer] of Object.entries(tokenizers)) {
  const source = biographies(population, { tokenizer, seed: 1 });
  if (texts.length === 0) for (let i = 0; i < 500; i++) texts.push(source.document(i).text);
  const render = (i) => {
    let tokens = 0;
    for (let k = 0; k < 100; k++) tokens += source.document(100 * i + k).tokens.length;
    return { biographies: 100, tokens };
  };
  const encode = (i) => {
    const text = texts[i % texts.length];
    return { 'MB of text': text.length / 1e6, tokens: tokenizer.encode(text).length };
  };
  jobs[`render biographies, ${name}`] = render;
  jobs[`encode text, ${name}`] = encode;
  // What is timed is right: rendered tokens are those of the text, and say the text.
  const { text, tokens } = source.document(7);
  if (tokenizer.decode(tokens) !== text || `${tokenizer.encode(text)}` !== `${tokens}`) {
    throw new Error(`${name}: rendered tokens are not those of the text`);
  }
  if (name === 'GPT-2') continue;
  const nCtx = 512;
  const { eos, dVocab } = tokenizer;
  const windows = packWindows(source, { nCtx, eos, dVocab });
  const [ids, targets] = [new Int32Array(nCtx), new Int32Array(nCtx)];
  jobs[`pack windows of ${nCtx}, ${name}`] = (i) => {
    windows.window(i, ids, targets);
    return { tokens: nCtx };
  };
}
// Static biographies and questions of Part 3.1, with spans; their tokenizers also know the words of questions.
for (const [name, tokenizer] of Object.entries({
  words: knowledgeWords('bioS'),
  'GPT-2 of knowledge': knowledgeGpt2(),
})) {
  const people = Int32Array.from({ length: population.nPeople }, (_, i) => i);
  const sources = {
    'render entries, multi5+permute': entries(population, { augmentation: 'multi5+permute', tokenizer, seed: 1 }),
    'render questions': questions(population, { tokenizer, seed: 1, people, tasks: ['extraction'] }),
  };
  for (const [job, source] of Object.entries(sources)) {
    jobs[`${job}, ${name}`] = (i) => {
      let tokens = 0;
      for (let k = 0; k < 100; k++) tokens += source.document(100 * i + k).tokens.length;
      return { texts: 100, tokens };
    };
    const { text, tokens } = source.document(7);
    if (tokenizer.decode(tokens) !== text || `${tokenizer.encode(text)}` !== `${tokens}`) {
      throw new Error(`${job}, ${name}: tokens are not those of the text`);
    }
  }
}
// Problems of iGSM-med, of any template, and the verifier on their own solutions, text to verdict.
const problems = igsm({ tokenizer: compactTokenizer([templateFamily('numbers')]), seed: 1 });
const solved = Array.from({ length: 500 }, (_, i) => problems.document(i));
for (const { prompt, solutionText } of solved) {
  if (!verifySolution(prompt, solutionText).correct) throw new Error('a generated solution is not right');
}
jobs['draw problems, iGSM-med'] = (i) => {
  let tokens = 0;
  for (let k = 0; k < 20; k++) tokens += problems.document(20 * i + k).tokens.length;
  return { problems: 20, tokens };
};
jobs['verify solutions, iGSM-med'] = (i) => {
  for (let k = 0; k < 20; k++) {
    const { prompt, solutionText } = solved[(20 * i + k) % solved.length];
    verifySolution(prompt, solutionText);
  }
  return { solutions: 20 };
};
const rng = new Rng('benchmark');
const draws = 10_000;
let sink = 0;
for (const kind of ['u32', 'uniform', 'normal']) {
  jobs[`random numbers, ${kind}`] = () => {
    for (let k = 0; k < draws; k++) sink += rng[kind]();
    return { draws };
  };
}
if (Number.isNaN(sink)) throw new Error('a random number is not a number');

for (const work of Object.values(jobs)) rates(work);
const samples = Object.fromEntries(Object.keys(jobs).map((name) => [name, []]));
for (let s = 0; s < nSample; s++) for (const [name, work] of Object.entries(jobs)) samples[name].push(rates(work));
console.log(JSON.stringify({ samples }));
process.stdin.resume();
