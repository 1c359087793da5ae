import { ConfigError } from '@physlm/base';
import { lawNamed, laws, lawsOfPart } from '../laws/index.js';
import type { Law } from '../laws/law.js';
import { lawReports, ledgerFolder } from '../laws/ledger.js';
import { scaleNames } from '../recipes/recipe.js';
import { decimals, duration } from '../report/number-format.js';
import { textTable } from '../report/text-table.js';
import { writeLedgerSite } from '../site/ledger-site.js';
import { colours, type Io, say } from './io.js';

/** Options of `physlm laws`. */
export interface LawsFlags {
  readonly part?: string;
  readonly json?: true;
  /** `true` when given without a folder. */
  readonly html?: true | string;
  readonly runs: string;
}

/**
 * The laws that are named, those of a part, or all.
 *
 * @throws ConfigError when there is no such law, or none of that part.
 */
export function chosenLaws(names: readonly string[], part: string | undefined): readonly Law[] {
  const ofPart = part === undefined ? laws : lawsOfPart(part);
  if (names.length === 0) return ofPart;
  const named = names.map(lawNamed);
  const other = named.find((law) => !ofPart.includes(law));
  if (other === undefined) return named;
  throw new ConfigError([{ path: 'laws', expected: `laws of part ${part}`, got: `${other.id} of part ${other.part}` }]);
}

/**
 * `physlm laws --html`: the ledger as a static site.
 *
 * @throws DataError when a file of the ledger is broken.
 * @throws OutputError when the site cannot be written.
 */
export async function writeLaws(folder: string, chosen: readonly Law[], runs: string, io: Io): Promise<void> {
  const index = await writeLedgerSite(folder, { laws: chosen, ledger: io.ledger ?? ledgerFolder(), runs });
  say(io, `${chosen.length} ${chosen.length === 1 ? 'law' : 'laws'}: ${index}`);
}

const MARKS = { holds: '✓', fails: '✗', 'not run': '·' } as const;

/**
 * `physlm laws`: a line for each law, by part: what was measured at each scale, and whether it holds.
 *
 * @throws DataError when a file of the ledger is broken.
 */
export function printVerdicts(chosen: readonly Law[], io: Io): void {
  const folder = io.ledger ?? ledgerFolder();
  const c = colours(io, 'stdout');
  const scales = scaleNames.filter((scale) => chosen.some((law) => law.scales[scale] !== undefined));
  for (const part of new Set(chosen.map((law) => law.part))) {
    const ofPart = chosen.filter((law) => law.part === part);
    const rows = ofPart.map((law) => {
      const reports = lawReports(law, folder);
      return [
        law.id,
        ...scales.map((scale) => {
          const found = reports.find((report) => report.scale === scale && law.scales[scale] !== undefined);
          return found === undefined
            ? ''
            : `${found.ours === null ? '' : `${decimals(found.ours)} `}${MARKS[found.verdict]}`;
        }),
      ];
    });
    say(io, c.bold(`Part ${part}`));
    say(io, textTable({ columns: ['', ...scales], rows }));
    say(io);
  }
  say(io, '✓ holds, ✗ fails, · not run. Numbers are in the units of their laws: physlm laws <law>, or --part <part>.');
}

/**
 * `physlm laws` of some laws: all that the ledger knows of them at every scale.
 *
 * @throws DataError when a file of the ledger is broken.
 */
export function printLaws(chosen: readonly Law[], json: boolean, io: Io): void {
  const folder = io.ledger ?? ledgerFolder();
  const reports = chosen.map((law) => ({ law, rows: lawReports(law, folder) }));
  if (json) {
    say(
      io,
      JSON.stringify(
        reports.flatMap(({ rows }) => rows),
        null,
        2,
      ),
    );
    return;
  }
  const c = colours(io, 'stdout');
  for (const { law, rows } of reports) {
    say(io, `${c.bold(law.id)}  Part ${law.part}, ${law.source.paper}, ${law.source.section}`);
    say(io, law.claim);
    say(io, `paper: ${law.paper.text}`);
    say(io);
    const table = textTable({
      columns: ['scale', `ours (${law.paper.unit})`, '95 % interval', 'seeds', 'verdict', 'time'],
      rows: rows.map(({ scale, ours, interval, seeds, verdict, seconds }) => [
        scale,
        ours === null ? '' : decimals(ours),
        interval === null ? '' : `${decimals(interval.low)} … ${decimals(interval.high)}`,
        seeds.join(' '),
        verdict,
        seconds === null ? '' : duration(seconds),
      ]),
    });
    say(io, table);
    say(io);
    for (const { scale, verdict, note, machine, command } of rows) {
      say(
        io,
        `${scale.padEnd(8)}${verdict === 'not run' ? '' : `${note}; ${machine}`}${verdict === 'not run' ? note : ''}`,
      );
      if (command !== '') say(io, c.dim(`        ${command}`));
    }
    say(io);
  }
}
