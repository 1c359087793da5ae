/**
 * A stretch of a sample with its meaning. `[start, end)` are indices into `Sample.tokens`, `[textStart, textEnd)` are
 * UTF-16 indices into `Sample.text`; both name the same words. A space in front of the words belongs to neither, though a
 * byte-pair token may carry it.
 */
export interface Span {
  readonly label: string;
  readonly start: number;
  readonly end: number;
  readonly textStart: number;
  readonly textEnd: number;
}

/** One document: its text, its tokens without an end-of-text token, and what its parts mean. */
export interface Sample {
  readonly index: number;
  readonly text: string;
  readonly tokens: Int32Array;
  readonly spans: readonly Span[];
  /** What the document is about, as the number of the person; absent when documents are unrelated. */
  readonly group?: number;
  /** Stretches of tokens that are read but not learned; none when absent. */
  readonly masked?: readonly { readonly start: number; readonly end: number }[];
}

/** An endless series of documents. Document i is a pure function of (seed, i), whatever was asked before. */
export interface DocumentSource {
  readonly name: string;
  /** Documents in one pass over every group, as people. */
  readonly nGroup: number;
  /** Tokens of an average document, without the end-of-text token. */
  readonly meanTokens: number;
  /** Tokens that every document has at least; 1 when absent. */
  readonly minTokens?: number;
  /** Two documents of one group are at least this many documents apart; absent when nothing is promised. */
  readonly groupGap?: number;
  document(index: number): Sample;
}
