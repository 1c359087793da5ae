// Bits that a model holds about people, as its biographies tell them and as its answers do.
import { invariant } from '@physlm/base';
import type { Sample } from '@physlm/data';
import type { Question, Questions } from '@physlm/data/knowledge';
import { bootstrapInterval, type Interval, sequenceLosses } from '@physlm/eval';
import type { LanguageModel } from '@physlm/model';
import type { KnowledgeData } from './recipes/knowledge-data.js';

/** Bits about one person, means over people. Not clipped: a model worse than a uniform guess has negative bits. */
export interface BitsHeld {
  /** log₂ of the choices that there are. */
  readonly possible: number;
  /** log₂ choices − loss/ln 2 of the value where it stands in a biography. */
  readonly memorised: number;
  /** The same of the value as the answer to a question. */
  readonly extracted: number;
}

/** What a model holds about some people. */
export interface KnowledgeBits {
  /** All facts that are asked for together, without those that follow from others. */
  readonly all: BitsHeld;
  readonly byAttribute: Readonly<Record<string, BitsHeld>>;
  /** Extracted over memorised bits: 95 % bootstrap interval over people, the memorised bits taken as they are. */
  readonly share: Interval;
}

/** Texts in memory at once. */
const TEXTS_AT_ONCE = 4096;

/**
 * Bits about the first `n` people of `asked`: in entry 0 of their biographies, and in answers to questions about each of their
 * facts. Values are scored in place, after the true tokens before them; the end of an answer is not counted.
 *
 * @see arXiv:2404.05405, Definition 4.3 and Appendix A.2. Differs from the paper: names and pronouns, which nobody is asked for,
 * are left out on both sides.
 */
export function knowledgeBits(
  model: LanguageModel,
  { population, people, celebrities, tokenizer }: KnowledgeData,
  asked: Questions,
  n: number,
): KnowledgeBits {
  const attributes = asked.tasks.map(({ name }) => name).filter((name) => name in population.choices);
  invariant(attributes.length > 0, 'bits of facts that nobody is asked for');
  const size = Math.min(n, asked.nGroup);
  const questions = attributes.map((name) =>
    Array.from({ length: size }, (_, place): Question => asked.ask(name, place)),
  );
  const documents = questions[0]!.map(({ people: [person] }): Sample => {
    return (person! < people.nGroup ? people : celebrities!).entry(person!, 0);
  });
  const { eos } = tokenizer;
  const inBiographies = attributes.map((attribute) => labelled(documents, attribute));
  const lossesOfBiographies = lossesOf(model, documents, inBiographies, eos);
  const lossesOfAnswers = questions.map((some) => lossesOf(model, some, [labelled(some, 'answer')], eos)[0]!);

  const byAttribute: Record<string, BitsHeld> = {};
  const [memorised, extracted] = [new Float64Array(size), new Float64Array(size)];
  for (const [a, attribute] of attributes.entries()) {
    const possible = Math.log2(population.choices[attribute]!);
    const [told, answered] = [lossesOfBiographies[a]!, lossesOfAnswers[a]!].map((losses) =>
      losses.map((loss) => possible - loss / Math.LN2),
    ) as [Float64Array, Float64Array];
    byAttribute[attribute] = { possible, memorised: mean(told), extracted: mean(answered) };
    for (let i = 0; i < size; i++) {
      memorised[i]! += told[i]!;
      extracted[i]! += answered[i]!;
    }
  }
  const possible = Object.values(byAttribute).reduce((sum, bits) => sum + bits.possible, 0);
  const all = { possible, memorised: mean(memorised), extracted: mean(extracted) };
  const share = all.extracted / all.memorised;
  const { low, high } = bootstrapInterval(extracted.map((bits, i) => (bits - share * memorised[i]!) / all.memorised));
  return { all, byAttribute, share: { low: share + low, high: share + high } };
}

const mean = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;

interface Stretch {
  readonly start: number;
  readonly end: number;
}

/** Where each text has its span of that label. */
function labelled(texts: readonly Sample[], label: string): Stretch[] {
  return texts.map(({ spans }) => {
    const found = spans.findLast((span) => span.label === label);
    invariant(found !== undefined, `a text without ${label}`);
    return found;
  });
}

/** For each list of stretches, one in each text, the summed losses of their tokens in nats. */
function lossesOf(
  model: LanguageModel,
  texts: readonly Sample[],
  lists: readonly (readonly Stretch[])[],
  eos: number,
): Float64Array[] {
  const sums = lists.map(() => new Float64Array(texts.length));
  for (let from = 0; from < texts.length; from += TEXTS_AT_ONCE) {
    const part = texts.slice(from, from + TEXTS_AT_ONCE).map(({ tokens }) => tokens);
    for (const [i, losses] of sequenceLosses(model, part, { first: eos }).entries()) {
      for (const [l, stretches] of lists.entries()) {
        const { start, end } = stretches[from + i]!;
        for (let t = start; t < end; t++) sums[l]![from + i]! += losses[t]!;
      }
    }
  }
  return sums;
}
