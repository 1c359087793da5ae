// From the text of a problem to names: which statements there are, what each says, and what is asked.
import { DataError } from '@physlm/base';
import type { TemplateFamily } from './family.js';
import { joinName, parameterPattern } from './naming.js';
import { matchPattern, type Pattern, pattern } from './pattern.js';
import type { Layout } from './writer.js';

/** `constant (+ or ×) (sum or difference of operands)`, with names. */
export interface NamedRule {
  readonly constant: number;
  readonly times: boolean;
  readonly difference: boolean;
  readonly operands: readonly string[];
}

/** A problem as its sentences name things. */
export interface NamedProblem {
  readonly family: TemplateFamily;
  readonly layout: Layout;
  readonly statements: readonly { readonly name: string; readonly rule: NamedRule }[];
  readonly query: { readonly owner: string; readonly owned: string; readonly name: string };
}

const WHERE = 'igsm.prompt';

/** @throws DataError naming the sentence that has no known form. */
export function readSentences(prompt: string, families: readonly TemplateFamily[], modulus: number): NamedProblem {
  const text = prompt.trim();
  const { question, body, layout } = cut(text);
  for (const family of families) {
    const reader = readerOf(family);
    const asked = matchPattern(reader.question, question);
    if (asked === undefined) continue;
    const [owner, owned] = [asked.owner!, asked.owned!];
    const query = { owner, owned, name: joinName(reader.parameter, owner, owned) };
    const sentences = body === '' ? [] : body.slice(0, -1).split('. ');
    return { family, layout, query, statements: sentences.map((one, x) => readStatement(reader, one, x, modulus)) };
  }
  throw new DataError(WHERE, `a question such as '${families[0]!.patterns.question}'`, quoted(question));
}

function cut(text: string): { question: string; body: string; layout: Layout } {
  if (text.endsWith('?')) {
    const at = text.lastIndexOf('. ');
    return at < 0
      ? { question: text, body: '', layout: 'pq' }
      : { question: text.slice(at + 2), body: text.slice(0, at + 1), layout: 'pq' };
  }
  const at = text.indexOf('? ');
  if (at < 0) throw new DataError(WHERE, 'a question at its end or its beginning', quoted(text.slice(-60)));
  if (!text.endsWith('.')) throw new DataError(WHERE, 'a full stop at its end', quoted(text.slice(-60)));
  return { question: text.slice(0, at + 1), body: text.slice(at + 2), layout: 'qp' };
}

function readStatement(
  reader: Reader,
  sentence: string,
  x: number,
  modulus: number,
): NamedProblem['statements'][number] {
  const found = matchPattern(reader.statement, sentence);
  const where = `${WHERE}, sentence ${x + 1}`;
  if (found === undefined) throw new DataError(where, `'${reader.family.patterns.statement}'`, quoted(sentence));
  const rule = readRule(reader, found.value!);
  if (rule === undefined) {
    throw new DataError(where, 'a number, a sum, a difference, or a number more or times one', quoted(found.value!));
  }
  if (rule.constant >= modulus) throw new DataError(where, `a number in 0 … ${modulus - 1}`, `${rule.constant}`);
  return { name: found.parameter!, rule };
}

function readRule(reader: Reader, text: string): NamedRule | undefined {
  if (isNumber(text)) return { constant: Number(text), times: false, difference: false, operands: [] };
  for (const form of [reader.more, reader.times]) {
    // Most expressions have no constant: a look at the first character tells.
    if (form.slots[0] === 'constant' && form.literals[0] === '' && !isNumber(text.slice(0, 1))) continue;
    const found = matchPattern(form, text);
    if (found === undefined || !isNumber(found.constant!)) continue;
    const rest = readRest(reader, found.rest!);
    return rest && { ...rest, constant: Number(found.constant), times: form === reader.times };
  }
  return readRest(reader, text);
}

function readRest(reader: Reader, text: string): NamedRule | undefined {
  const plain = { constant: -1, times: false, difference: false };
  if (text.startsWith(reader.sum)) {
    const operands: string[] = [];
    const list = text.slice(reader.sum.length);
    const last = list.lastIndexOf(reader.and);
    if (last < 0) return undefined;
    operands.push(...list.slice(0, last).split(reader.comma), list.slice(last + reader.and.length));
    return operands.length <= 4 ? { ...plain, operands } : undefined;
  }
  const found = matchPattern(reader.difference, text);
  if (found !== undefined) return { ...plain, difference: true, operands: [found.first!, found.second!] };
  return text.startsWith(reader.each) ? { ...plain, operands: [text.slice(reader.each.length)] } : undefined;
}

/** The patterns of a family as a reader needs them: with `each` in front of every name. */
interface Reader {
  readonly family: TemplateFamily;
  readonly parameter: Pattern;
  readonly question: Pattern;
  readonly statement: Pattern;
  readonly more: Pattern;
  readonly times: Pattern;
  readonly difference: Pattern;
  readonly sum: string;
  readonly each: string;
  readonly and: string;
  readonly comma: string;
}

const readers = new WeakMap<TemplateFamily, Reader>();

function readerOf(family: TemplateFamily): Reader {
  const known = readers.get(family);
  if (known !== undefined) return known;
  const { each, question, statement, more, times, difference, sum } = family.patterns;
  const made: Reader = {
    family,
    parameter: parameterPattern(family),
    question: pattern(question),
    statement: pattern(statement),
    more: pattern(more),
    times: pattern(times),
    difference: pattern(difference.replace('{first}', `${each}{first}`).replace('{second}', `${each}{second}`)),
    sum: pattern(sum).literals[0]! + each,
    each,
    and: ` and ${each}`,
    comma: `, ${each}`,
  };
  readers.set(family, made);
  return made;
}

function isNumber(text: string): boolean {
  if (text.length === 0 || text.length > 9) return false;
  for (let x = 0; x < text.length; x++) {
    const code = text.charCodeAt(x);
    if (code < 48 || code > 57) return false;
  }
  return true;
}

/** Text for a message. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 117)}…` : text);
}
