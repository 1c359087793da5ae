// The command group `physlm data`: one subcommand for each kind of data, each in a file of its own.
import type { Command } from 'commander';
import { positiveNumber, share, wholeNumber } from './arguments.js';
import type { DataCfgFlags } from './data-cfg.js';
import { addGrammarOptions } from './grammar-options.js';
import type { Io } from './io.js';

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
    .option('--gamma <g>', 'the share of sentences that are spoiled', share, 1)
    .option('--out <file>', 'JSON-lines file, written whole or not at all (default: standard output)');
  addGrammarOptions(cfg).action(async (flags: DataCfgFlags) => {
    const { dataCfg } = await import('./data-cfg.js');
    done(await dataCfg(flags, io));
  });
}
