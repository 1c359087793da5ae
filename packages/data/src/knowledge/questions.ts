import { DataError, invariant, Rng } from '@physlm/base';
import { ATTRIBUTES } from '../bio/form.js';
import { FormPieces, type Piece, PieceWriter, pieceOf } from '../bio/piece-writer.js';
import type { PersonDraw, Population } from '../bio/population.js';
import { PassOrder } from '../pass-order.js';
import type { DocumentSource, Sample } from '../sample.js';
import type { Tokenizer } from '../tokenizer.js';
import { type Phrase, phrase } from './phrases.js';
import { nPeopleOf, type Task, tasksNamed } from './tasks.js';

/** A question with its answer: text, tokens, and where the answer stands. */
export interface Question extends Sample {
  readonly task: string;
  /** What is right, as text. */
  readonly answer: string;
  /** The people it asks about. */
  readonly people: readonly number[];
}

/** Questions about people; see `questions`. */
export interface Questions extends DocumentSource {
  readonly tasks: readonly Task[];
  /** Tokens of the longest question with its answer. */
  readonly maxTokens: number;
  document(index: number): Question;
  /**
   * A question for evaluation: about person number `place` of the list; with two people, `draw` picks the other one.
   * `said` is what comes before the answer; by default nothing, or, where training shows hints, the mark for none.
   *
   * @throws DataError when the task is not one of `tasks` or there is no such place.
   */
  ask(task: string, place: number, options?: { readonly draw?: number; readonly said?: 'hint' | 'direct' }): Question;
}

/** What is asked about whom. */
export interface QuestionsOptions {
  readonly tokenizer: Tokenizer;
  readonly seed: number | string;
  /** Who is asked about: also the second person of a comparison comes from this list. */
  readonly people: ArrayLike<number>;
  /** Names of tasks or families. */
  readonly tasks: readonly string[];
  /**
   * Share of the answers that first state the facts they follow from. Then every question of a task with a hint carries a
   * mark that says which of the two it wants; without this, none does.
   */
  readonly hintShare?: number;
  /** Whether only the answer, with its hint and the end of the text, is learnt; true when absent. */
  readonly answerOnly?: boolean;
}

/** Marks before `Answer:`; words of their own in a word tokenizer, ordinary text in a byte-pair one. */
export const MARKS = { hint: ' <|hint|>', direct: ' <|direct|>' } as const;
export const ANSWER = ' Answer:';

interface Compiled {
  readonly task: Task;
  readonly question: Phrase;
  readonly hint: Phrase | undefined;
  readonly answer: Phrase | ReadonlyMap<string, Piece>;
}

const LABELS = { first: 'firstName', month: 'month', day: 'day', year: 'year' } as const;

/**
 * Questions with answers, in passes over a list of people: each pass asks one question about each, and as many passes as
 * there are tasks ask all. Question i is a pure function of (seed, i).
 *
 * Labels of spans: `name` and `name2`, every fact that is mentioned (`major`, `major2` of the second person, …), `hint` and
 * `answer`, last. `masked` is what is read but not learnt.
 *
 * @throws ConfigError when a task is none.
 * @throws DataError when there are too few people, or the tokenizer cannot write a question.
 * @see Allen-Zhu and Li 2023, arXiv:2309.14316, Section 2; arXiv:2309.14402, Sections 3 to 5.
 */
export function questions(population: Population, options: QuestionsOptions): Questions {
  const { tokenizer, people, hintShare, answerOnly = true } = options;
  const tasks = tasksNamed(options.tasks);
  const nPeople = people.length;
  const needed = Math.max(...tasks.map(nPeopleOf));
  if (nPeople < needed) {
    throw new DataError('questions.people', `at least ${needed} people to ask about`, `${nPeople}`);
  }
  if (hintShare !== undefined && !(hintShare >= 0 && hintShare <= 1)) {
    throw new DataError('questions.hintShare', 'a share in 0 … 1', `${hintShare}`);
  }
  const root = new Rng(options.seed).fork('questions');
  const order = new PassOrder(nPeople, root.fork('order'));
  const [documents, others] = [root.fork('documents'), root.fork('others')];
  const pieces = new FormPieces(population.form, tokenizer, { namesInside: true });
  const marks = { hint: pieceOf(MARKS.hint, tokenizer), direct: pieceOf(MARKS.direct, tokenizer) };
  const answer = pieceOf(ANSWER, tokenizer);
  const compiled: readonly Compiled[] = tasks.map((task) => ({
    task,
    question: phrase(task.question, tokenizer),
    hint: task.hint === undefined ? undefined : phrase(task.hint, tokenizer),
    answer:
      typeof task.answer === 'string'
        ? phrase(task.answer, tokenizer)
        : new Map(task.words!(population.form).map((word) => [word, pieceOf(` ${word}`, tokenizer)])),
  }));
  const writer = new PieceWriter();

  function fact(place: string, [a, b]: readonly PersonDraw[]): void {
    const [who = '', what] = place.split('.');
    const draw = (who === 'b' ? b : a)!;
    const suffix = who === 'b' ? '2' : '';
    if (what === undefined) {
      pieces.name(writer, draw, `name${suffix}`);
      return;
    }
    const attribute = (ATTRIBUTES as readonly string[]).indexOf(what);
    const { nToken, nText } = writer;
    if (attribute >= 0) {
      pieces.value(writer, attribute, draw, suffix);
      return;
    }
    invariant(what in LABELS, `a task with an unknown place {${place}}`);
    if (what === 'first') writer.add(pieces.firstInside[draw.first]!);
    else if (what === 'month') writer.add(pieces.months[draw.month]!);
    else if (what === 'day') writer.add(pieces.days[draw.day]!);
    else writer.add(pieces.years[draw.year]!);
    writer.label(`${LABELS[what as keyof typeof LABELS]}${suffix}`, nToken, nText + 1);
  }

  function write(parts: Phrase, draws: readonly PersonDraw[]): void {
    for (const part of parts) {
      if (typeof part === 'string') fact(part, draws);
      else writer.add(part);
    }
  }

  function question(
    index: number,
    { task, question, hint, answer: right }: Compiled,
    asked: readonly number[],
    said: 'hint' | 'direct' | undefined,
  ): Question {
    const draws = asked.map((person) => population.draw(person));
    write(question, draws);
    const marked = hint === undefined ? undefined : said;
    if (marked !== undefined) writer.add(marks[marked]);
    writer.add(answer);
    const prompt = writer.nToken;
    if (marked === 'hint') {
      const { nToken, nText } = writer;
      write(hint!, draws);
      writer.label('hint', nToken, nText + 1);
    }
    const { nToken, nText } = writer;
    if (right instanceof Map) {
      const word = (task.answer as Exclude<Task['answer'], string>)(draws[0]!, draws[1] ?? draws[0]!, population.form);
      writer.add(right.get(word)!);
    } else {
      write(right as Phrase, draws);
    }
    writer.label('answer', nToken, nText + 1);
    const sample = writer.finish(index, asked[0]!);
    const { textStart, textEnd } = sample.spans.at(-1)!;
    return {
      ...sample,
      ...(answerOnly && { masked: [{ start: 0, end: prompt }] }),
      task: task.name,
      answer: sample.text.slice(textStart, textEnd),
      people: asked,
    };
  }

  function longest({ question, hint, answer: right }: Compiled): number {
    const lengthOf = (parts: Phrase): number =>
      parts.reduce((sum, part) => sum + (typeof part === 'string' ? mostTokens(pieces, part) : part.tokens.length), 0);
    const unmarked = hint === undefined || hintShare === undefined;
    const marked = unmarked ? 0 : Math.max(lengthOf([marks.hint, ...hint]), marks.direct.tokens.length);
    const words = right instanceof Map ? [...right.values()].map(({ tokens }) => tokens.length) : [];
    const said = words.length > 0 ? Math.max(...words) : lengthOf(right as Phrase);
    return lengthOf(question) + answer.tokens.length + marked + said;
  }

  /** A name has three tokens at least, other facts one. */
  function shortest({ question, answer: right }: Compiled): number {
    const lengthOf = (parts: Phrase): number =>
      parts.reduce(
        (sum, part) => sum + (typeof part === 'string' ? (part.includes('.') ? 1 : 3) : part.tokens.length),
        0,
      );
    return lengthOf(question) + answer.tokens.length + (right instanceof Map ? 1 : lengthOf(right as Phrase));
  }

  /** Anyone of the list but the one at `place`. */
  const another = (place: number, rng: Rng): number => people[(place + 1 + rng.below(nPeople - 1)) % nPeople]!;
  const direct = hintShare === undefined ? undefined : 'direct';

  const lengths = Array.from({ length: Math.min(2000, nPeople * tasks.length) }, (_, i) => at(i).tokens.length);

  function at(index: number): Question {
    const place = order.at(index);
    const pass = Math.floor(index / nPeople);
    const one = compiled[(pass + place) % compiled.length]!;
    const rng = documents.at(index);
    const asked = [people[place]!, ...(nPeopleOf(one.task) === 2 ? [another(place, rng)] : [])];
    const said = hintShare !== undefined && rng.uniform() < hintShare ? 'hint' : direct;
    return question(index, one, asked, said);
  }

  return {
    name: `${population.name} questions`,
    tasks,
    nGroup: nPeople,
    meanTokens: lengths.reduce((sum, length) => sum + length, 0) / lengths.length,
    minTokens: Math.min(...compiled.map(shortest)),
    maxTokens: Math.max(...compiled.map(longest)),
    groupGap: order.gap,
    document(index) {
      if (!Number.isSafeInteger(index) || index < 0) {
        throw new DataError('questions.document', 'an integer from 0', `${index}`);
      }
      return at(index);
    },
    ask(name, place, { draw = 0, said = direct } = {}) {
      const one = compiled.find(({ task }) => task.name === name);
      const known = compiled.map(({ task }) => task.name).join(', ');
      if (one === undefined) throw new DataError('questions.ask', `one of ${known}`, `'${name}'`);
      if (!Number.isInteger(place) || place < 0 || place >= nPeople) {
        throw new DataError('questions.ask', `a place in 0 … ${nPeople - 1}`, `${place}`);
      }
      const second = nPeopleOf(one.task) === 2 ? [another(place, others.at(place).at(draw))] : [];
      return question(place, one, [people[place]!, ...second], said);
    },
  };
}

/** Tokens that a place takes at most. */
function mostTokens(pieces: FormPieces, place: string): number {
  const most = (...pools: (readonly Piece[])[]): number =>
    pools.reduce((sum, pool) => sum + Math.max(...pool.map(({ tokens }) => tokens.length)), 0);
  const what = place.split('.')[1];
  switch (what) {
    case undefined:
      return most(pieces.firstInside, pieces.middle, pieces.last);
    case 'first':
      return most(pieces.firstInside);
    case 'month':
      return most(pieces.months);
    case 'day':
      return most(pieces.days);
    case 'year':
      return most(pieces.years);
    case 'birthDate':
      return most(pieces.months, pieces.days, pieces.years);
    case 'birthCity':
      return most(pieces.birthCities);
    case 'university':
      return most(pieces.universities);
    case 'major':
      return most(pieces.majors);
    case 'employer':
      return most(pieces.employers);
    default:
      return most(pieces.seats);
  }
}
