import { laws, lawsOfPart } from '../laws/index.js';
import { lawReports, ledgerFolder } from '../laws/ledger.js';
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
 * `physlm laws --html`: the ledger as a static site.
 *
 * @throws ConfigError when no law is of that part.
 * @throws DataError when a file of the ledger is broken.
 * @throws OutputError when the site cannot be written.
 */
export async function writeLaws(folder: string, part: string | undefined, runs: string, io: Io): Promise<void> {
  const chosen = part === undefined ? laws : lawsOfPart(part);
  const index = await writeLedgerSite(folder, { laws: chosen, ledger: io.ledger ?? ledgerFolder(), runs });
  say(io, `${chosen.length} ${chosen.length === 1 ? 'law' : 'laws'}: ${index}`);
}

/**
 * `physlm laws`: every law at every scale, with what the ledger knows.
 *
 * @throws ConfigError when no law is of that part.
 * @throws DataError when a file of the ledger is broken.
 */
export function printLaws(part: string | undefined, json: boolean, io: Io): void {
  const chosen = part === undefined ? laws : lawsOfPart(part);
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
