import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  capacity,
  capacityTwoBits,
  type Environment,
  type Law,
  laws,
  recordLaw,
  runFolder,
  scalesOf,
  writeLedgerSite,
} from 'physlm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Browser, chromium } from './headless-chromium.js';

const sandbox = mkdtempSync(join(tmpdir(), 'physlm-site-'));
afterAll(() => rmSync(sandbox, { recursive: true, force: true }));
const site = join(sandbox, 'site');
const [ledger, runs] = [join(sandbox, 'ledger'), join(sandbox, 'runs')];
const text = (name: string): string => readFileSync(join(site, name), 'utf8');

const environment: Environment = {
  physlm: '0.1.0',
  node: '20.19.0',
  os: 'linux x64',
  cpu: 'a <processor> & more',
  cores: 2,
  memoryBytes: 2 ** 33,
  device: 'cpu',
  threads: 2,
  command: 'physlm run capacity --scale tiny --seed 1',
  started: '2025-01-02T00:00:00.000Z',
  seconds: 10,
};

beforeAll(async () => {
  // Two seeds at one scale that hold, one at another that fails; a report of one of the runs is at hand.
  for (const [scale, seed, share] of [
    ['tiny', 1, 0.97],
    ['tiny', 2, 0.95],
    ['small', 1, 0.5],
  ] as const) {
    const experiment = capacity({ scale, seed });
    const measures = { perParameter: share / 3, shareOfCeiling: share };
    const results = { recipe: 'capacity', measures, intervals: { perParameter: { low: share / 4, high: share / 2 } } };
    const command = `physlm run capacity --scale ${scale} --seed ${seed}`;
    recordLaw(ledger, capacityTwoBits, scale, { model: { experiment, results, environment } }, command);
  }
  const run = runFolder(capacity({ scale: 'tiny', seed: 2 }), runs);
  mkdirSync(run, { recursive: true });
  writeFileSync(join(run, 'report.html'), '<!doctype html><title>the run</title>');
  await writeLedgerSite(site, { laws, ledger, runs });
});

describe('the site of the ledger', () => {
  test('has a page for each law with claim, source, paper, every scale and its command', () => {
    for (const law of laws) {
      const html = text(`${law.id}.html`);
      for (const part of [law.claim, law.source.section, law.paper.text]) expect(readable(html)).toContain(part);
      if (law.untested !== undefined) {
        for (const page of [html, text('index.html')]) {
          expect(readable(page).toLowerCase()).toContain(law.untested.toLowerCase());
        }
      }
      for (const scale of scalesOf(law)) {
        expect(html).toContain(`id="${scale}"`);
        for (const { tests } of law.scales[scale]!.expect) expect(readable(html)).toContain(tests);
      }
      expect(text('index.html')).toContain(`href="${law.id}.html"`);
    }
  });

  test('shows verdicts, numbers, seeds and machines as they are recorded, and says what is not run', () => {
    const html = text('capacity-two-bits.html');
    expect(html).toMatch(/Scale tiny <span class="chip holds">/);
    expect(html).toMatch(/Scale small <span class="chip fails">/);
    expect(html).toMatch(/Scale paper <span class="chip not-run">/);
    expect(html).toContain('<td>0.320</td>'); // The mean of 0.97 / 3 and 0.95 / 3.
    expect(html).toContain('a &lt;processor&gt; &amp; more, 2 cores, cpu, 2 threads');
    for (const seed of [1, 2]) expect(html).toContain(`physlm run capacity --scale tiny --seed ${seed}`);
    expect(html).toContain('physlm law capacity-two-bits --scale paper --ledger');
    expect(html.match(/<svg/g)).toHaveLength(1);
  });

  test('draws what a law compares, and leaves it as a file', async () => {
    const law: Law = {
      ...capacityTwoBits,
      compares: {
        title: 'Bits and shares',
        caption: 'Two measures.',
        label: 'share',
        measures: { 'bits each': 'perParameter', 'of the ceiling': 'shareOfCeiling', 'not measured': 'other' },
      },
    };
    const compared = join(sandbox, 'compared');
    await writeLedgerSite(compared, { laws: [law], ledger, runs });
    expect(readdirSync(join(compared, 'figures')).sort()).toEqual([
      'capacity-two-bits-small.svg',
      'capacity-two-bits-tiny.svg',
    ]);
    const html = readFileSync(join(compared, 'capacity-two-bits.html'), 'utf8');
    expect(html.match(/<svg/g)).toHaveLength(3);
    expect(html).toContain('Two measures. Scale tiny, mean of 2 seeds.');
    expect(html).toMatch(/>of the ceiling<\/t.><td[^>]*>0.96</); // The mean of 0.97 and 0.95.
    expect(html).not.toContain('not measured');
  });

  test('takes in the reports of recorded runs that are at hand, and links no other', () => {
    const links = [...text('capacity-two-bits.html').matchAll(/href="(runs\/[^"]+)"/g)].map(([, to]) => to!);
    expect(links).toHaveLength(1);
    expect(text(links[0]!)).toContain('the run');
    expect(readdirSync(join(site, 'runs'))).toHaveLength(1);
  });

  test('needs nothing from elsewhere', () => {
    for (const name of readdirSync(site).filter((one) => one.endsWith('.html'))) {
      expect(text(name)).not.toMatch(/<link|<img|@import|url\((?!#)|src=|https?:/i);
      for (const [, to] of text(name).matchAll(/href="([^"#]+)/g)) expect(existsSync(join(site, to!))).toBe(true);
    }
  });
});

if (chromium === undefined) console.log('The site is not opened in a browser: no Chromium is installed.');

describe.skipIf(chromium === undefined)('in Chromium (skipped where none is installed)', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await Browser.open(chromium!);
  }, 60_000);
  afterAll(() => browser?.close());
  const address = (name: string): string => pathToFileURL(join(site, name)).href;
  const shown = (): Promise<number> =>
    browser.evaluate("[...document.querySelectorAll('.law')].filter((law) => law.offsetParent !== null).length");
  const type = (words: string): Promise<unknown> =>
    browser.evaluate(`(() => { const input = document.querySelector('input[type=search]');
      input.value = ${JSON.stringify(words)}; input.dispatchEvent(new Event('input')); })()`);

  test('every page opens without a complaint and asks for itself alone', async () => {
    for (const name of readdirSync(site).filter((one) => one.endsWith('.html'))) {
      const { requests, messages } = await browser.go(address(name));
      expect([requests, messages]).toEqual([[address(name)], []]);
      for (const width of [360, 1200]) {
        await browser.send('Emulation.setDeviceMetricsOverride', {
          width,
          height: 800,
          deviceScaleFactor: 1,
          mobile: false,
        });
        expect(await browser.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width);
      }
    }
  });

  test('the search keeps the laws that hold every word', async () => {
    await browser.go(address('index.html'));
    expect(await shown()).toBe(laws.length);
    await type('BITS two-bits');
    const some = await shown();
    expect(some).toBeGreaterThan(0);
    await type('bits nosuchword');
    expect(await shown()).toBe(0);
    await type('');
    expect(await shown()).toBe(laws.length);
  });

  test('without JavaScript every law can be read, and no dead search field is shown', async () => {
    await browser.send('Emulation.setScriptExecutionDisabled', { value: true });
    await browser.go(address('index.html'));
    // Evaluation from outside works all the same.
    expect(await shown()).toBe(laws.length);
    expect(await browser.evaluate("document.querySelector('.search').offsetParent === null")).toBe(true);
    await browser.send('Emulation.setScriptExecutionDisabled', { value: false });
  });
});

function readable(html: string): string {
  return html.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&amp;', '&');
}
