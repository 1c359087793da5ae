// The command group `physlm verify`: one subcommand for each kind of data, each in a file of its own.
import type { Command } from 'commander';
import { modulus } from './arguments.js';
import { addGrammarOptions, type GrammarFlags } from './grammar-options.js';
import type { Io } from './io.js';
import type { VerifyIgsmFlags } from './verify-igsm.js';

/** Adds the group to the program; `done` takes exit codes. */
export function addVerifyCommands(program: Command, io: Io, done: (code: number) => void): void {
  const group = program
    .command('verify')
    .summary('check text against the rules that it should follow')
    .description('Reads lines from standard input and prints one row of JSON for each.');
  const cfg = group
    .command('cfg')
    .summary('sentences of a context-free grammar')
    .description(
      'Reads sentences, one for each line, as terminals with spaces between them or as a row of physlm data cfg, and prints for each one:\n' +
        '  valid     whether it is a sentence of the grammar\n' +
        '  parses    the exact number of its parses, as text\n' +
        '  logProb   natural logarithm of its probability; null outside the language\n' +
        '  distance  fewest substitutions to a sentence; null when none is this long\n' +
        'A line that cannot be read gets an error instead, and the rest goes on; the exit code is then 1.',
    );
  addGrammarOptions(cfg).action(async (flags: GrammarFlags) => {
    const { verifyCfg } = await import('./verify-cfg.js');
    done(await verifyCfg(flags, io));
  });
  addIgsmCommand(group, io, done);
}

function addIgsmCommand(group: Command, io: Io, done: (code: number) => void): void {
  group
    .command('igsm')
    .summary('solutions of grade-school mathematics')
    .description(
      'Reads rows {"prompt", "solution", "modulus"?}, rebuilds each problem from its prompt alone, and prints for each one:\n' +
        '  correct                whether every step is right and the question is answered\n' +
        '  reason, step           the first mistake and the number of its sentence, 0 when there is none; null when correct\n' +
        '  necessaryOperations    operations of the shortest solution\n' +
        '  unnecessaryParameters  parameters that were computed in vain, up to the first mistake\n' +
        'A line that cannot be read gets an error instead, and the rest goes on; the exit code is then 1.',
    )
    .option('--modulus <p>', 'for rows that name none', modulus, 23)
    .option('--released', 'judge as the released code does: a wrong constant shows in the answer only')
    .action(async (flags: VerifyIgsmFlags) => {
      const { verifyIgsm } = await import('./verify-igsm.js');
      done(await verifyIgsm(flags, io));
    });
}
