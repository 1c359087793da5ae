import { nearest, PhyslmError } from '@physlm/base';
import { Command, CommanderError, Option } from 'commander';
import { packageVersion } from '../package-root.js';
import { collect, positiveNumber, wholeNumber, wholeNumbers } from './arguments.js';
import { addDataCommands } from './data.js';
import { exitCodes } from './exit-codes.js';
import { colours, type Io, note } from './io.js';
import type { LawFlags } from './law.js';
import type { LawsFlags } from './laws.js';
import type { MemberFlags } from './member.js';
import type { RankFlags } from './ranks.js';
import type { RunFlags } from './run.js';
import type { SweepFlags } from './sweep.js';
import { addVerifyCommands } from './verify.js';

const HELP = `
Examples:
  physlm doctor                              what this machine can run, and why not
  physlm run capacity                        about a minute: bits of knowledge per parameter
  physlm run capacity --scale tiny --seed 2
  physlm run capacity --nPeople 500 --nLayer 4
  physlm run capacity --resume               goes on after Ctrl-C
  physlm laws --json                         what the papers claim, and what was measured
  physlm laws --html                         the same as a site that opens from its folder
  physlm law capacity-two-bits --seeds 1,2   runs what a law needs, and judges it
  physlm data cfg --grammar cfg3f -n 1000 --out f.jsonl
  physlm verify cfg --grammar cfg3f < sentences.txt
  physlm sweep capacity --scale tiny --jobs 2 --grid nPeople=300,900 --grid dModel=16,32
  physlm data igsm --level med -n 5 --pretty
  physlm verify igsm < solutions.jsonl
  physlm data knowledge --augmentation multi5+permute

Runs are plain files under runs/: report.html, results.json, metrics.jsonl, figures/, and checkpoints that Hugging Face
transformers loads as they are. Equal runs give equal files; only another device or instruction set changes bits.

Environment:
  PHYSLM_NATIVE    the native addon: 'auto' (default), 'off', or the path of a .node file
  PHYSLM_CPU_ISA   instruction set of the native kernels: 'avx512', 'avx2' or 'generic'
  NO_COLOR         any value: no colours

Exit codes:
  0    done (with --check: and the law's criterion holds)
  1    failed: the message says what and where
  2    bad usage: an unknown name, a value out of range, a folder that holds another run
  3    --check was given and the law's criterion failed
  130  interrupted; a run saved a checkpoint first (143 when ended by SIGTERM)
A sweep with a member that failed, or whose folder is damaged, ends with 1 when all others are done.
`;

/** Runs the command with arguments `argv` (without node and script); returns its exit code and never throws. */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  let code: number = exitCodes.ok;
  const program = createProgram(io, (result) => {
    code = result;
  });
  if (argv.length === 0) {
    program.outputHelp();
    return exitCodes.ok;
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return code;
  } catch (error) {
    return report(error, program, argv, io);
  }
}

function createProgram(io: Io, done: (code: number) => void): Command {
  const program = new Command('physlm')
    .description('A lab for the physics of language models: run an experiment of the papers, read what it found.')
    .version(packageVersion(), '-v, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .option('--debug', 'print the stack of an error')
    .showSuggestionAfterError(false)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: () => undefined, // errors are printed once, by `report`
    })
    .addHelpText('after', HELP);

  program
    .command('run')
    .summary('run a recipe: train, measure, report')
    .description(
      'Runs a recipe at a scale and leaves everything in a run directory: checkpoints, metrics, figures, report.html.\n' +
        'A finished run prints its table at once. physlm list shows recipes, scales and parameters.',
    )
    .argument('<recipe>', 'what to run, as shown by physlm list')
    .argument('[parameters...]', '--name value for any parameter of the recipe: the same as --set name=value')
    .allowUnknownOption()
    .option('--scale <name>', 'how much of the law to try: tiny, small, laptop, gpu or paper', 'small')
    .option('--seed <n>', 'seed of people, texts and weights', wholeNumber, 1)
    // Without a default of its own, which help would print as [].
    .option('--set <name=value>', "replaces one of the scale's parameters; may be repeated", collect)
    .option('--device <name>', 'where to compute: js, cpu, cuda, or auto (cpu if it can, else js)', 'auto')
    .option('--threads <n>', 'threads of the native kernels; the result does not depend on it', positiveNumber)
    .option('--ranks <n>', 'processes that train together, on cuda one for each GPU (default: 1)', positiveNumber)
    .option(
      '--data-workers <n>',
      'threads that make training data; the result does not depend on it (default: up to 4 on cuda, else none)',
      wholeNumber,
    )
    .option('--out <dir>', 'run directory (default: runs/<name>-<digest of the experiment>)')
    .addOption(new Option('--resume', 'go on with an unfinished run').conflicts('fresh'))
    .option('--fresh', 'throw away what the run directory holds, and start again')
    .option('--check', "exit with 3 when the law's criterion fails")
    .option('--ledger [dir]', 'also write the result into the ledger of laws (default: the one of this package)')
    .action(async (recipe: string, rest: readonly string[], flags: RunFlags, command: Command) => {
      const { run } = await import('./run.js');
      const options = command.options.flatMap(({ long }) => long ?? []);
      done(await run(recipe, { ...flags, rest, options }, io));
    });

  program
    .command('law')
    .summary('run whatever a law needs, and judge it')
    .description(
      'Runs the members of a law that are not finished yet (runs/ keeps them, laws share them) and prints the verdict.\n' +
        'physlm laws lists the laws. Giving the command again after Ctrl-C goes on where it stopped.',
    )
    .argument('<law>', 'which law, as shown by physlm laws')
    .option('--scale <name>', 'how much of the law to try: tiny, small, laptop, gpu or paper', 'tiny')
    .option('--seeds <list>', 'seeds, separated by commas', wholeNumbers, [1])
    .option('--runs <dir>', 'folder of run directories', 'runs')
    .option('--jobs <k>', 'runs at a time, each in a process of its own with --threads (default: 1)', positiveNumber)
    .option('--device <name>', 'where to compute: js, cpu, cuda, or auto (cpu if it can, else js)', 'auto')
    .option('--threads <n>', 'threads of the native kernels; the result does not depend on it', positiveNumber)
    .option('--check', 'exit with 3 when the criterion fails')
    .option('--ledger [dir]', 'also write the result into the ledger of laws (default: the one of this package)')
    .action(async (id: string, flags: LawFlags) => {
      const { runLaw } = await import('./law.js');
      done(await runLaw(id, flags, io));
    });

  program
    .command('sweep')
    .summary('run a recipe over a grid of parameters, and fit what comes out')
    .description(
      'Runs every combination of the grid and the seeds that is not finished yet, several at a time, each in a process of\n' +
        'its own, then shows a table, a figure and power laws with intervals in <runs>/sweep-<digest>/. Giving the command\n' +
        'again, after Ctrl-C or worse, runs what is missing and goes on with what is unfinished.',
    )
    .argument('<recipe>', 'what to run, as shown by physlm list')
    .option('--scale <name>', 'scale that the grid starts from: tiny, small, laptop, gpu or paper', 'tiny')
    .option('--grid <name=v1,v2>', 'values of a parameter; may be repeated (default: a grid of the recipe)', collect)
    .option('--seeds <list>', 'seeds, separated by commas', wholeNumbers, [1])
    .option('--jobs <k>', 'runs at a time (default: 1; with slurm: as many as it lets)', positiveNumber)
    .option('--threads-per-job <n>', 'threads of each run; the result does not depend on it', positiveNumber, 1)
    .option('--device <name>', 'where to compute: js, cpu, cuda, or auto (cpu if it can, else js)', 'auto')
    .option('--runs <dir>', 'folder of run directories', 'runs')
    .option('--fit <y~x>', 'the power law to fit, as in bits~nParameter: measures, or parameters that are numbers')
    .addOption(
      new Option('--launcher <name>', 'where runs go: to processes here, or to a job array of Slurm')
        .choices(['local', 'slurm'])
        .default('local'),
    )
    .option('--slurm <option>', 'an option for sbatch, as in --slurm=--time=01:00:00; may be repeated', collect)
    .option('--dry-run', 'print what would run (with slurm: the sbatch script), and run nothing')
    .action(async (recipe: string, flags: SweepFlags) => {
      const { sweep } = await import('./sweep.js');
      done(await sweep(recipe, flags, io));
    });

  // What sweeps start for each of their runs.
  program
    .command('rank', { hidden: true })
    .summary('train with the rank 0 of a run')
    .argument('<folder>', 'of the run')
    .requiredOption('--device <name>', 'where to compute')
    .option('--threads <n>', 'threads of the native kernels', positiveNumber)
    .option('--data-workers <n>', 'threads that make training data', wholeNumber)
    .action(async (folder: string, flags: RankFlags) => {
      const { runRank } = await import('./ranks.js');
      done(await runRank(folder, flags, io));
    });
  program
    .command('member', { hidden: true })
    .summary('run one member of a manifest')
    .argument('<manifest>', 'manifest.json of a sweep')
    .argument('<index>', 'place of the member in it', wholeNumber)
    .option('--device <name>', 'where to compute', 'auto')
    .option('--threads <n>', 'threads of the native kernels', positiveNumber, 1)
    .action(async (manifest: string, index: number, flags: MemberFlags) => {
      const { runMember } = await import('./member.js');
      done(await runMember(manifest, index, flags, io));
    });

  program
    .command('list')
    .summary('recipes, their scales and parameters')
    .description('Lists every recipe with its scales and the parameters that --set takes.')
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: true }) => {
      const { list } = await import('./list.js');
      list(json === true, io);
    });

  program
    .command('doctor')
    .summary('what this machine can run, and why not')
    .description('Shows devices, kernels, the native addon and the machine, with a remedy for whatever is missing.')
    .option('--json', 'print JSON')
    .action(async ({ json }: { json?: true }) => {
      const { doctor } = await import('./doctor.js');
      doctor(json === true, io);
    });

  program
    .command('report')
    .summary('render the report of a finished run again')
    .description('Writes report.html and figures/ of a finished run again, and prints its table.')
    .argument('<run>', 'run directory')
    .action(async (path: string) => {
      const { report } = await import('./report.js');
      await report(path, io);
    });

  program
    .command('laws')
    .summary("the papers' claims, and what was measured here")
    .description(
      'Prints the ledger: a line for each law with the verdict at each scale. For the laws of one part, or those\nnamed: claim, paper, our numbers, verdicts, and how to repeat them.',
    )
    .argument('[laws...]', 'the laws to show')
    .option('--part <part>', 'the laws of this part of the series, such as 3.3')
    .addOption(new Option('--json', 'print JSON').conflicts('html'))
    .option('--html [dir]', 'write the ledger as a static site (default: laws-html)')
    .option('--runs <dir>', 'folder of run directories: the site takes in the reports of recorded runs', 'runs')
    .action(async (names: readonly string[], { part, json, html, runs }: LawsFlags) => {
      const { chosenLaws, printLaws, printVerdicts, writeLaws } = await import('./laws.js');
      const chosen = chosenLaws(names, part);
      if (html !== undefined) await writeLaws(html === true ? 'laws-html' : html, chosen, runs, io);
      else if (json === true || names.length > 0 || part !== undefined) printLaws(chosen, json === true, io);
      else printVerdicts(chosen, io);
    });

  addDataCommands(program, io, done);
  addVerifyCommands(program, io, done);
  return program;
}

function report(error: unknown, program: Command, argv: readonly string[], io: Io): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitCodes.ok;
    note(io, errorLine(io, usageProblem(error, program, argv)));
    return exitCodes.usage;
  }
  const known = error instanceof PhyslmError;
  note(io, errorLine(io, known ? oneLine(error.message) : String((error as Error)?.message ?? error)));
  if (program.opts<{ debug?: true }>().debug) note(io, String((error as Error)?.stack ?? error));
  else if (!known || error.code === 'bug') note(io, 'Use --debug for the stack of this error.');
  return known && (error.code === 'config' || error.code === 'data') ? exitCodes.usage : exitCodes.failed;
}

function errorLine(io: Io, text: string): string {
  return `${colours(io, 'stderr').red('physlm:')} ${text}`;
}

/** A message and its remedy on one line; several problems keep a line each. */
function oneLine(message: string): string {
  return message
    .replace(/\nDid you mean/g, '; did you mean')
    .replace(/([.:?])?\n(?!\[)/g, (_, end: string | undefined) => `${end ?? '.'} `);
}

/** Commander's complaint with the nearest valid name. */
function usageProblem({ code, message }: CommanderError, program: Command, argv: readonly string[]): string {
  const text = message.replace(/^error: /, '').replace(/\.$/, '');
  const path = commandsOn(argv, program);
  const command = path.at(-1)!;
  const see = ['physlm', ...path.slice(1).map((one) => one.name()), '--help'].join(' ');
  const commands = command.commands.map((one) => one.name());
  const wrong = /'([^']*)'/.exec(text)?.[1] ?? '';
  if (code === 'commander.help') return `${command.name()} needs one of ${commands.join(', ')}; see ${see}`;
  if (code === 'commander.unknownCommand') return `${text}; did you mean '${nearest(wrong, commands)}'?`;
  if (code === 'commander.unknownOption') {
    const options = path.flatMap((one) => one.options).flatMap(({ long }) => long ?? []);
    return `${text}; did you mean '${nearest(wrong.replace(/=.*/, ''), [...options, '--help'])}'?`;
  }
  return `${text}; see ${see}`;
}

/** The program, then the commands that `argv` names, each below the one before. */
function commandsOn(argv: readonly string[], program: Command): Command[] {
  const path = [program];
  for (const word of argv) {
    const next = path.at(-1)!.commands.find((one) => one.name() === word);
    if (next !== undefined) path.push(next);
  }
  return path;
}
