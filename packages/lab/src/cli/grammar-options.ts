// The options by which `physlm data cfg` and `physlm verify cfg` choose a grammar.
import { ConfigError } from '@physlm/base';
import { type Cfg, RELEASED_NAMES } from '@physlm/data/cfg';
import type { Command } from 'commander';
import { grammarFromFile, grammarNamed } from '../recipes/grammar.js';
import { wholeNumber } from './arguments.js';

/** What the options of `addGrammarOptions` hold. */
export interface GrammarFlags {
  readonly grammar?: string;
  readonly grammarFile?: string;
  readonly grammarSeed: number;
}

const HELP = `
Grammars of the paper: ${RELEASED_NAMES.join(' ')} as released; cfg8, cfg9 and cfg0
with a letter a … e, as cfg9b, are drawn by their construction rules. A non-terminal
behind a slash, as cfg3f/16, means the language of that symbol: shorter sentences.

A grammar file holds the levels from the root to the terminals, which count from 1, and the rules of each symbol:
  { "levels": [[6], [4, 5], [1, 2, 3]], "rules": { "6": [[4, 5], [5, 5]], "4": [[1, 2], [3]], "5": [[3, 1]] } }
`;

/** Adds --grammar, --grammar-file and --grammar-seed. */
export function addGrammarOptions(command: Command): Command {
  return command
    .option('--grammar <name>', 'a grammar of the paper, such as cfg3f')
    .option('--grammar-file <file>', 'a grammar of your own, as JSON')
    .option('--grammar-seed <n>', 'seed by which cfg8, cfg9 and cfg0 are drawn', wholeNumber, 1)
    .addHelpText('after', HELP);
}

/**
 * The grammar that the options name.
 *
 * @throws ConfigError when they name none or two, with the nearest name, or with what is wrong in the file and where.
 */
export function chosenGrammar({ grammar, grammarFile, grammarSeed }: GrammarFlags): Cfg {
  if ((grammar === undefined) === (grammarFile === undefined)) {
    const got = grammar === undefined ? 'neither' : 'both';
    throw new ConfigError([{ path: 'grammar', expected: 'either --grammar or --grammar-file', got }]);
  }
  return grammarFile !== undefined ? grammarFromFile(grammarFile) : grammarNamed(grammar!, grammarSeed);
}
