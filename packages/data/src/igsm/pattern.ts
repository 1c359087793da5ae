// Sentence patterns taken apart: `The number of each {parameter} equals {value}` as literals and slots.

/** A pattern as literals around slots: literals[0] slots[0] literals[1] … literals[slots.length]. */
export interface Pattern {
  readonly literals: readonly string[];
  readonly slots: readonly string[];
}

/** Literals keep their spaces, so that text can be compared with them as it is. */
export function pattern(text: string): Pattern {
  const pieces = text.split(/\{(\w+)\}/);
  return { literals: pieces.filter((_, x) => x % 2 === 0), slots: pieces.filter((_, x) => x % 2 === 1) };
}

/** What the slots hold if `text` has this form: each literal is looked for behind the one before; undefined when one is missing. */
export function matchPattern({ literals, slots }: Pattern, text: string): Record<string, string> | undefined {
  if (!text.startsWith(literals[0]!)) return undefined;
  const found: Record<string, string> = {};
  let at = literals[0]!.length;
  for (let x = 0; x < slots.length; x++) {
    const next = literals[x + 1]!;
    const last = x === slots.length - 1;
    const end = last ? text.length - next.length : text.indexOf(next, at);
    if (end < at || (last && !text.endsWith(next))) return undefined;
    found[slots[x]!] = text.slice(at, end);
    at = end + next.length;
  }
  return found;
}
