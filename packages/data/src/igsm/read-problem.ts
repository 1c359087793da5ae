// Rebuilds a problem from its text alone: items and layers from the statements, abstract parameters from the names of layers.
import { DataError } from '@physlm/base';
import { finishProblem } from './draw-problem.js';
import { FAMILY_NAMES, type TemplateFamily, templateFamily } from './family.js';
import { type Naming, parameterPattern } from './naming.js';
import { parameterIndex } from './parameters.js';
import type { Pattern } from './pattern.js';
import type { Problem, Rule } from './problem.js';
import { type NamedProblem, quoted, readSentences } from './read-sentences.js';
import { knowledgeOf, type Place } from './world-knowledge.js';
import type { Layout } from './writer.js';

/** How to read. */
export interface ReadOptions {
  /** 23 when absent. */
  readonly modulus?: number;
  /** Families whose patterns and worlds may occur; all of this package when absent. */
  readonly families?: readonly TemplateFamily[];
}

/** A problem that was read. */
export interface ReadProblem {
  readonly problem: Problem;
  readonly naming: Naming;
  readonly layout: Layout;
  /** The parameter of that name, also one that the text does not mention; −1 when there is none. */
  parameterOf(name: string): number;
}

const WHERE = 'igsm.prompt';

/** Items of one layer that a text may have. */
const N_ITEM_MAX = 100;

/**
 * The problem that a text states, without knowing how it was made.
 *
 * Layers follow from who has what. Which layer an abstract parameter counts follows from the items when a world has them; items of
 * no known world are taken as the names of layers allow, the earliest window first.
 *
 * @throws DataError when the text states no problem: names the sentence, and what is missing or contradicts.
 */
export function readProblem(prompt: string, options: ReadOptions = {}): ReadProblem {
  return readingsOf(prompt, options)[0]!;
}

/** All problems that a text can state: one, unless it is about items of no known world. */
export function readingsOf(
  prompt: string,
  { modulus = 23, families = allFamilies() }: ReadOptions = {},
): ReadProblem[] {
  const named = readSentences(prompt, families, modulus);
  const graph = new NamedGraph(named);
  const places = placesOf(graph, families);
  const readings: ReadProblem[] = [];
  let first: DataError | undefined;
  for (const place of places) {
    try {
      readings.push(reading(graph, place, modulus));
    } catch (error) {
      // Only windows that the names rule out: another one may fit.
      if (!(error instanceof DataError)) throw error;
      first ??= error;
    }
  }
  if (readings.length === 0) throw first!;
  return readings;
}

let everyFamily: readonly TemplateFamily[] | undefined;

function allFamilies(): readonly TemplateFamily[] {
  everyFamily ??= FAMILY_NAMES.map(templateFamily);
  return everyFamily;
}

/** Where the first layer of the text may stand in a world. */
function placesOf(graph: NamedGraph, families: readonly TemplateFamily[]): Place[] {
  const knowledge = knowledgeOf(families);
  for (const [item, layer] of graph.layerOf) {
    const place = knowledge.itemPlace(item);
    if (place !== undefined && place.layer >= layer) return [{ world: place.world, layer: place.layer - layer }];
  }
  const { nLayer } = graph;
  const fits = ({ world, layer }: Place): boolean => layer + nLayer <= world.layers.length;
  const all = knowledge.worlds.flatMap((world) => world.layers.map((_, layer) => ({ world, layer }))).filter(fits);
  if (all.length === 0) {
    throw new DataError(WHERE, 'at most four layers of items that have items', `${nLayer}`);
  }
  const counted = graph.abstractNames.flatMap((name) => splits(graph.pattern, name).map(({ owned }) => owned));
  const worlds = new Set(counted.map((owned) => knowledge.layerPlace(owned)?.world));
  worlds.delete(undefined);
  return worlds.size === 0 ? all : all.filter(({ world }) => worlds.has(world));
}

/** Items in layers, from the names of statements. */
class NamedGraph {
  readonly named: NamedProblem;
  readonly pattern: Pattern;
  /** By statement. */
  readonly pairs: { readonly owner: string; readonly owned: string }[] = [];
  /** By item, in the order of the text. */
  readonly layerOf = new Map<string, number>();
  readonly nLayer: number;
  /** Names that no statement is about. */
  readonly abstractNames: readonly string[];

  constructor(named: NamedProblem) {
    this.named = named;
    this.pattern = parameterPattern(named.family);
    if (named.statements.length === 0) throw new DataError(WHERE, 'at least one statement', 'only a question');
    const stated = new Set<string>();
    for (const { name } of named.statements) {
      if (stated.has(name)) throw new DataError(WHERE, 'one statement for each parameter', `two about '${name}'`);
      stated.add(name);
    }
    this.#splitNames();
    this.nLayer = this.#placeItems();
    const abstract = new Set<string>();
    for (const { rule } of named.statements) for (const one of rule.operands) if (!stated.has(one)) abstract.add(one);
    if (!stated.has(named.query.name)) abstract.add(named.query.name);
    this.abstractNames = [...abstract];
  }

  /** A name such as `Sam's Club's Rice` has several splits; the one whose parts occur most often elsewhere is right. */
  #splitNames(): void {
    const candidates = this.named.statements.map(({ name }) => splits(this.pattern, name));
    const counts = new Map<string, number>();
    if (candidates.some((one) => one.length > 1)) {
      // Questions keep owner and owned apart.
      for (const { owner, owned } of [...candidates.flat(), this.named.query]) {
        counts.set(owner, (counts.get(owner) ?? 0) + 1);
        counts.set(owned, (counts.get(owned) ?? 0) + 1);
      }
    }
    for (let x = 0; x < candidates.length; x++) {
      const [first, ...others] = candidates[x]!;
      if (first === undefined) {
        const name = this.named.statements[x]!.name;
        throw new DataError(WHERE, `a name such as '${this.named.family.patterns.parameter}'`, quoted(name));
      }
      const count = (pair: typeof first): number => counts.get(pair.owner)! * counts.get(pair.owned)!;
      this.pairs.push(others.reduce((best, one) => (count(one) > count(best) ? one : best), first));
    }
  }

  #placeItems(): number {
    const { pairs, layerOf } = this;
    const owned = new Set(pairs.map((pair) => pair.owned));
    const ownedBy = new Map<string, string[]>();
    for (const pair of pairs) {
      const list = ownedBy.get(pair.owner);
      if (list === undefined) ownedBy.set(pair.owner, [pair.owned]);
      else list.push(pair.owned);
    }
    let layer = [...ownedBy.keys()].filter((item) => !owned.has(item));
    let depth = 0;
    for (; layer.length > 0; depth++) {
      const next = new Set<string>();
      for (const item of layer) {
        layerOf.set(item, depth);
        for (const one of ownedBy.get(item) ?? []) next.add(one);
      }
      if (depth > owned.size) break;
      layer = [...next];
    }
    for (const { owner, owned } of pairs) {
      if (layerOf.get(owned) !== layerOf.get(owner)! + 1 || !layerOf.has(owner)) {
        throw new DataError(WHERE, 'items in layers, each having items of the next', `'${owner}' having '${owned}'`);
      }
    }
    return depth;
  }
}

/** Every way to see a name as an owner and what it has. */
function splits({ literals, slots }: Pattern, name: string): { owner: string; owned: string }[] {
  const found: { owner: string; owned: string }[] = [];
  const joint = literals[1]!;
  for (let at = name.indexOf(joint, 1); at > 0; at = name.indexOf(joint, at + 1)) {
    const [a, b] = [name.slice(0, at), name.slice(at + joint.length)];
    if (b !== '') found.push(slots[0] === 'owner' ? { owner: a, owned: b } : { owner: b, owned: a });
  }
  return found;
}

function reading(graph: NamedGraph, place: Place, modulus: number): ReadProblem {
  const { named, pattern, pairs, layerOf } = graph;
  const layers = place.world.layers.slice(place.layer, place.layer + graph.nLayer).map(({ name }) => name);
  const items: string[][] = layers.map(() => []);
  for (const [item, layer] of layerOf) items[layer]!.push(item);

  const layerNumber = (owned: string): number => layers.indexOf(owned);
  // An item of the first layer that has nothing occurs in names of abstract parameters only.
  const owners = new Map<string, string>();
  for (const name of graph.abstractNames) {
    const fitting = splits(pattern, name).filter(({ owner, owned }) => layerNumber(owned) > (layerOf.get(owner) ?? 0));
    const split = fitting.find(({ owner }) => layerOf.has(owner)) ?? fitting[0];
    if (split === undefined) {
      const expected = `an item's own, or what it has of ${layers.slice(1).join(', ')} below it`;
      throw new DataError(WHERE, expected, quoted(name), 'A parameter is used that no statement is about.');
    }
    owners.set(name, split.owner);
    if (!layerOf.has(split.owner) && !items[0]!.includes(split.owner)) items[0]!.push(split.owner);
  }
  if (items.some((list) => list.length > N_ITEM_MAX)) {
    throw new DataError(
      WHERE,
      `up to ${N_ITEM_MAX} items in a layer`,
      `${Math.max(...items.map((list) => list.length))}`,
    );
  }

  const index = parameterIndex(items.map((list) => list.length));
  const placeOf = new Map<string, readonly [number, number]>();
  items.forEach((list, i) => {
    list.forEach((item, j) => {
      placeOf.set(item, [i, j]);
    });
  });
  const children: number[][] = Array.from({ length: index.nItem }, () => []);
  const numberOf = new Map<string, number>();
  const statements: number[] = [];
  for (let x = 0; x < pairs.length; x++) {
    const { owner, owned } = pairs[x]!;
    const [[i, j], [, k]] = [placeOf.get(owner)!, placeOf.get(owned)!];
    const parameter = index.instance(i, j, k);
    children[index.itemNumber(i, j)]!.push(k);
    statements.push(parameter);
    numberOf.set(named.statements[x]!.name, parameter);
  }
  for (const list of children) list.sort((a, b) => a - b);
  for (const [name, owner] of owners) {
    const [i, j] = placeOf.get(owner)!;
    const owned = splits(pattern, name).find((split) => split.owner === owner)!.owned;
    numberOf.set(name, index.abstract(i, j, layerNumber(owned)));
  }

  const rules: (Rule | undefined)[] = new Array(index.nPair).fill(undefined);
  for (let x = 0; x < statements.length; x++) {
    const { rule } = named.statements[x]!;
    rules[statements[x]!] = { ...rule, operands: rule.operands.map((one) => numberOf.get(one)!) };
  }
  const query = numberOf.get(named.query.name)!;
  const problem = finishProblem({ modulus, index, rules, children, statements, query });
  if (problem === undefined) {
    throw new DataError(WHERE, 'parameters that can be computed one after the other', 'some that need each other');
  }

  return {
    problem,
    naming: { family: named.family, layers, items },
    layout: named.layout,
    parameterOf(name) {
      const known = numberOf.get(name);
      if (known !== undefined) return known;
      let found = -1;
      for (const { owner, owned } of splits(pattern, name)) {
        const at = placeOf.get(owner);
        const k = layerNumber(owned);
        if (at !== undefined && k > at[0]) found = index.abstract(at[0], at[1], k);
        // The text need not mention an item that has nothing; it adds a parameter that is 0 and that nothing needs.
      }
      numberOf.set(name, found);
      return found;
    },
  };
}
