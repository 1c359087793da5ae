import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  ConfigError,
  canonicalJson,
  digest,
  makeFolder,
  nearest,
  OutputError,
  readJsonLines,
  replaceablePath,
  toJsonLines,
  writeFileAtomic,
} from '../src/index.js';

const folder = (): string => mkdtempSync(join(tmpdir(), 'physlm-base-'));

describe('digest', () => {
  it('does not depend on key order or undefined fields', () => {
    expect(digest({ a: 1, b: { c: [1, 2], d: undefined } })).toBe(digest({ b: { c: [1, 2] }, a: 1 }));
    expect(digest({ a: 1 })).not.toBe(digest({ a: 2 }));
    expect(digest(new TextEncoder().encode('abc'))).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
  });
  it('refuses numbers that JSON cannot hold', () => {
    expect(() => canonicalJson({ lr: Number.NaN })).toThrow(/finite/);
  });
});

describe('files', () => {
  it('round-trips JSON lines and drops a torn last line', () => {
    const path = join(folder(), 'm.jsonl');
    writeFileSync(path, `${toJsonLines([{ a: 1 }, [2]])}{"torn":`);
    expect(readJsonLines(path)).toEqual([{ a: 1 }, [2]]);
  });
  it('names file and line of a bad line', () => {
    const path = join(folder(), 'm.jsonl');
    writeFileSync(path, '{}\nnot json\n');
    expect(() => readJsonLines(path)).toThrow(`${path}:2`);
  });
  it('replaces a file whole, and names a path that cannot be written', () => {
    const path = join(folder(), 'deep', 'x.txt');
    writeFileAtomic(path, 'one');
    writeFileAtomic(path, [new Uint8Array([116, 119]), new Uint8Array([111])]);
    expect(readFileSync(path, 'utf8')).toBe('two');
    expect(() => writeFileAtomic(join(path, 'below-a-file'), 'x')).toThrow(OutputError);
    makeFolder(join(path, '..', 'a', 'b'));
    makeFolder(join(path, '..', 'a', 'b'));
    expect(() => makeFolder(join(path, 'below-a-file'))).toThrow(/cannot be created/);
  });
  it('replaces what a symbolic link points at, never a folder and never a device', () => {
    const at = folder();
    const [file, link] = [join(at, 'f'), join(at, 'link')];
    writeFileSync(file, 'old');
    symlinkSync(file, link);
    writeFileAtomic(link, 'new');
    expect([readFileSync(file, 'utf8'), lstatSync(link).isSymbolicLink()]).toEqual(['new', true]);
    expect(() => writeFileAtomic(at, 'x')).toThrow(`[${at}] cannot be written: it is a folder`);
    expect(() => writeFileAtomic('', 'x')).toThrow(OutputError);
    expect(readdirSync(at).sort()).toEqual(['f', 'link']);
    expect(replaceablePath(join(file, 'below'))).toBe(join(file, 'below'));
    if (existsSync('/dev/null')) expect(replaceablePath('/dev/null')).toBeUndefined();
  });
  it.skipIf(!existsSync('/proc/self'))('gives up on a file system without folders (Linux: /proc)', () => {
    expect(() => makeFolder('/proc/physlm/run')).toThrow('/proc/physlm');
  });
});

describe('errors', () => {
  it('offer the nearest name', () => {
    expect(nearest('capcity', ['capacity', 'copy', 'cfg'])).toBe('capacity');
    expect(nearest('x', [])).toBeUndefined();
    expect(nearest('lr', ['tag', 'lrPeak', 'nLayer'])).toBe('lrPeak');
    expect(nearest('cfg', ['cfg3b', 'cfg'])).toBe('cfg');
  });
  it('report every problem of a configuration at once', () => {
    const error = new ConfigError([
      { path: 'train.nStep', expected: 'a positive integer', got: '-1' },
      { path: 'train.lrPeek', expected: 'a known field', got: 'lrPeek', nearest: 'lrPeak' },
    ]);
    expect(error.message).toContain('[train.nStep] expected a positive integer, got -1');
    expect(error.message).toContain("Did you mean 'lrPeak'?");
  });
});
