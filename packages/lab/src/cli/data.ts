// The command group `physlm data`: one subcommand for each kind of data, each in a file of its own.
import type { Command } from 'commander';
import { collect, modulus, positiveNumber, share, wholeNumber } from './arguments.js';
import type { DataCfgFlags } from './data-cfg.js';
import type { DataIgsmFlags } from './data-igsm.js';
import type { DataKnowledgeFlags } from './data-knowledge.js';
import { addGrammarOptions } from './grammar-options.js';
import type { Io } from './io.js';

const JOBS = 'processes that make rows; they are the same for any number (default: 1)';

/** Adds the group to the program; `done` takes exit codes. */
export function addDataCommands(program: Command, io: Io, done: (code: number) => void): void {
  const group = program
    .command('data')
    .summary('write synthetic data with its labels')
    .description('Writes synthetic data as rows of JSON. Row i depends on the seed and i alone.');
  const cfg = group
    .command('cfg')
    .summary('sentences of a context-free grammar')
    .description('Writes sentences of a context-free grammar: text, tokens (terminals), and with --labels their trees.')
    .option('-n, --count <n>', 'sentences', positiveNumber, 10)
    .option('--seed <n>', 'seed of the sentences', wholeNumber, 1)
    .option('--start <i>', 'number of the first sentence', wholeNumber, 0)
    .option('--labels', 'also the generating tree: symbols and first tokens of the nodes of each level')
    .option('--perturbation <kind>', 'spoil sentences: t-random, nt-random or nt-permutation')
    .option('--rate <r>', "the chance of each symbol to be spoiled (default: the paper's)", share)
    .option('--gamma <g>', 'the share of sentences that are spoiled (default: 1)', share)
    .option('--jobs <k>', JOBS, positiveNumber)
    .option('--out <file>', 'JSON-lines file, written whole or not at all (default: standard output)');
  addGrammarOptions(cfg).action(async (flags: DataCfgFlags) => {
    const { dataCfg } = await import('./data-cfg.js');
    done(await dataCfg(flags, io));
  });
  addIgsmCommand(group, io, done);
  addKnowledgeCommand(group, io, done);
  program
    .command('data-part', { hidden: true })
    .summary('make some rows of a data command with --jobs')
    .argument('<json>', 'what that command tells its processes')
    .action(async (json: string) => {
      const { runDataPart } = await import('./data-part.js');
      done(await runDataPart(json, io));
    });
}

function addIgsmCommand(group: Command, io: Io, done: (code: number) => void): void {
  group
    .command('igsm')
    .summary('grade-school mathematics with exact solutions')
    .description(
      'Writes problems of iGSM with their shortest solutions; physlm verify igsm judges such rows.\n' +
        'Natural problems have 1 to 15 operations (med) or 1 to 21 (hard); --op asks for one number, also a larger one.',
    )
    .option('-n, --count <n>', 'problems', positiveNumber, 10)
    .option('--seed <n>', 'seed of the problems', wholeNumber, 1)
    .option('--start <i>', 'number of the first problem', wholeNumber, 0)
    .option('--level <name>', 'how large problems are: med or hard', 'med')
    .option('--op-max <n>', "most operations of natural problems (default: the level's)", positiveNumber)
    .option('--ip-max <n>', "most instance parameters, which is statements (default: the level's)", positiveNumber)
    .option('--op <n>', 'operations of every problem', positiveNumber)
    .option('--modulus <p>', 'arithmetic is modulo p', modulus, 23)
    // Without a default of its own, which help would print as [].
    .option(
      '--family <name>',
      'genre of questions: numbers (default), prices, distances, recipes or traits; may be repeated',
      collect,
    )
    .option('--layout <order>', 'question behind (pq) or before (qp) the problem', 'pq')
    .option('--buckets <part>', 'solution templates: all, train or test', 'all')
    .option('--variant <which>', "where papers and released code differ: code's or paper's side", 'code')
    .option('--reask', 'ask for another parameter of the finished problem')
    .option('--retry <kind>', 'insert mistakes that are taken back: retry, retry_weak or retry_miss')
    .option('--rate <r>', 'the chance of a mistake before each sentence (default: 0.2)', share)
    .option('--labels', 'also every parameter: its value, its parents, and whether the answer needs it')
    .option('--pretty', 'print problems, solutions and dependency graphs to be read')
    .option('--jobs <k>', JOBS, positiveNumber)
    .option('--out <file>', 'JSON-lines file, written whole or not at all (default: standard output)')
    .action(async (flags: DataIgsmFlags) => {
      const { dataIgsm } = await import('./data-igsm.js');
      done(await dataIgsm(flags, io));
    });
}

function addKnowledgeCommand(group: Command, io: Io, done: (code: number) => void): void {
  group
    .command('knowledge')
    .summary('biographies of invented people, and questions about them')
    .description(
      'Writes biographies, or with --ask questions, and where in the text each name, fact and answer stands.\n' +
        'They are those of physlm run knowledge with the same seed, people, population and augmentation.',
    )
    .option('-n, --count <n>', 'texts; a pass over all people is as many as there are', positiveNumber, 10)
    .option('--seed <n>', 'seed of people and texts', wholeNumber, 1)
    .option('--start <i>', 'number of the first text', wholeNumber, 0)
    .option('--population <name>', 'bioS, or bioS-mini with fewer names, places and wordings', 'bioS')
    .option('--people <n>', 'people whose facts are told', positiveNumber, 1000)
    .option('--augmentation <name>', 'texts about a person: single (default), multi5+permute, couple2, …')
    .option('--ask <tasks>', 'questions: tasks or families with commas, as extraction or monthMod2')
    .option('--side <name>', 'ask about one half of the people: train or test (default: all people)')
    .option('--hints <r>', 'share of the answers that state the facts first, with a mark in every question', share)
    .option('--jobs <k>', JOBS, positiveNumber)
    .option('--out <file>', 'JSON-lines file, written whole or not at all (default: standard output)')
    .action(async (flags: DataKnowledgeFlags) => {
      const { dataKnowledge } = await import('./data-knowledge.js');
      done(await dataKnowledge(flags, io));
    });
}
