// Drives an installed Chromium over its debugging pipe, to see what a page asks for and complains about.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

/** The command of a Chromium that is installed here; undefined when there is none. */
export const chromium: string | undefined = [
  process.env.CHROME_PATH ?? '',
  'chromium',
  'chromium-browser',
  'google-chrome',
].find((name) => name !== '' && spawnSync(name, ['--version']).status === 0);

/** What happened on a page since it was asked for. */
export interface PageLog {
  /** Addresses that were asked for. */
  readonly requests: string[];
  /** Console messages, exceptions and log entries of every kind. */
  readonly messages: string[];
}

type Event = { readonly method: string; readonly params: { readonly request?: { readonly url: string } } };

/** One browser with one page. */
export class Browser {
  readonly #child: ChildProcess;
  readonly #profile: string;
  readonly #pending = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  readonly #listeners = new Set<(event: Event) => void>();
  #session: string | undefined;
  #next = 1;

  private constructor(command: string) {
    this.#profile = mkdtempSync(join(tmpdir(), 'physlm-chromium-'));
    const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe'];
    this.#child = spawn(command, [...flags, `--user-data-dir=${this.#profile}`, 'about:blank'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    });
    let rest = '';
    (this.#child.stdio[4] as Readable).on('data', (chunk) => {
      const parts = (rest + chunk).split('\0');
      rest = parts.pop()!;
      for (const part of parts) this.#receive(JSON.parse(part));
    });
  }

  static async open(command: string): Promise<Browser> {
    const browser = new Browser(command);
    const { targetId } = await browser.send<{ targetId: string }>('Target.createTarget', { url: 'about:blank' });
    const attached = { targetId, flatten: true };
    const { sessionId } = await browser.send<{ sessionId: string }>('Target.attachToTarget', attached);
    browser.#session = sessionId;
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await browser.send(`${domain}.enable`);
    return browser;
  }

  #receive(message: { id?: number; result?: never; error?: { message: string } } & Event): void {
    if (message.id === undefined) {
      for (const listener of this.#listeners) listener(message);
      return;
    }
    const waiting = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if (message.error === undefined) waiting?.resolve(message.result as never);
    else waiting?.reject(new Error(message.error.message));
  }

  /** Gives an order of the DevTools protocol. */
  send<T>(method: string, params: object = {}): Promise<T> {
    const id = this.#next++;
    const message = { id, method, params, ...(this.#session !== undefined && { sessionId: this.#session }) };
    (this.#child.stdio[3] as Writable).write(`${JSON.stringify(message)}\0`);
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  /** Opens a page and waits until it is loaded. */
  async go(url: string): Promise<PageLog> {
    const log: PageLog = { requests: [], messages: [] };
    const loaded = new Promise<void>((resolve) => {
      this.#listeners.clear();
      this.#listeners.add(({ method, params }) => {
        if (method === 'Network.requestWillBeSent') log.requests.push(params.request!.url);
        if (/^(Runtime\.(consoleAPICalled|exceptionThrown)|Log\.entryAdded)$/.test(method)) {
          log.messages.push(JSON.stringify(params));
        }
        if (method === 'Page.loadEventFired') resolve();
      });
    });
    await this.send('Page.navigate', { url });
    await loaded;
    return log;
  }

  /** The value of an expression on the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const order = { expression, returnByValue: true };
    const { result } = await this.send<{ result: { value: T } }>('Runtime.evaluate', order);
    return result.value;
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#session = undefined;
    this.send('Browser.close').catch(() => undefined);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5000);
    await ended;
    clearTimeout(timer);
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}
