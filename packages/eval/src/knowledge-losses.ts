import { complaint, PhyslmError } from '@physlm/base';
import type { LanguageModel } from '@physlm/model';
import { sequenceLosses } from './sequence-losses.js';

/** A text about one person with the places of its name and values: [start, end) in tokens. */
export interface LabelledDocument {
  readonly tokens: Int32Array;
  readonly spans: readonly { readonly label: string; readonly start: number; readonly end: number }[];
}

/** Losses in nats, summed over the tokens of each item. */
export interface KnowledgeLosses {
  /** p₁: mean over people. */
  readonly nameLoss: number;
  /** p₂: mean over people of the sum over items. */
  readonly valueLoss: number;
  /** One for each document. */
  readonly nameLosses: Float64Array;
  readonly valueLosses: Float64Array;
  /** Summed over the further labels that were asked for, one for each document; zeros without any. */
  readonly furtherLosses: Float64Array;
  /** Mean over people for the name and each item. */
  readonly byLabel: Readonly<Record<string, number>>;
}

/** Which spans are scored, and how. */
export interface KnowledgeLossOptions {
  readonly eos: number;
  readonly nameLabel: string;
  readonly valueLabels: readonly string[];
  /** Labels that are scored beside the others and belong to neither p₁ nor p₂: the first strings of bioD. */
  readonly furtherLabels?: readonly string[];
  /** Tokens between EOS and the name: 1 for a domain tag; 0 when absent. */
  readonly nameStart?: number;
  readonly batchSize?: number;
}

/**
 * Reads p₁ and p₂ off one rendering of each person: the loss of the name right after EOS (and tag), and of every value in
 * its place inside the text. Spans with other labels (the work city, which the employer implies) do not count.
 *
 * @throws PhyslmError 'data' when a document lacks one of the labels or its name does not stand at `nameStart`.
 * @see arXiv:2404.05405, Section 3 and Definition 4.3.
 */
export function knowledgeLosses(
  model: LanguageModel,
  documents: readonly LabelledDocument[],
  options: KnowledgeLossOptions,
): KnowledgeLosses {
  const { eos, nameLabel, valueLabels, furtherLabels = [], nameStart = 0 } = options;
  const losses = sequenceLosses(
    model,
    documents.map((document) => document.tokens),
    options.batchSize === undefined ? { first: eos } : { first: eos, batchSize: options.batchSize },
  );
  const labels = [nameLabel, ...valueLabels, ...furtherLabels];
  const further = new Set(furtherLabels);
  const totals = new Map(labels.map((label) => [label, 0]));
  const nameLosses = new Float64Array(documents.length);
  const valueLosses = new Float64Array(documents.length);
  const furtherLosses = new Float64Array(documents.length);
  documents.forEach((document, person) => {
    for (const label of labels) {
      const span = document.spans.find((s) => s.label === label);
      if (span === undefined || (label === nameLabel && span.start !== nameStart)) {
        const start = nameStart === 0 ? 'starts with' : `has after ${nameStart} tokens`;
        const expected = label === nameLabel ? `a document that ${start} its '${label}'` : `a span '${label}'`;
        const got = document.spans.map((s) => `${s.label}@${s.start}`).join(' ') || 'no spans';
        throw new PhyslmError('data', complaint(`knowledgeLosses.documents[${person}]`, expected, got));
      }
      let loss = 0;
      for (let t = span.start; t < span.end; t++) loss += losses[person]![t]!;
      totals.set(label, totals.get(label)! + loss);
      if (label === nameLabel) nameLosses[person] = loss;
      else if (further.has(label)) furtherLosses[person]! += loss;
      else valueLosses[person]! += loss;
    }
  });
  const mean = (total: number): number => total / documents.length;
  const sum = (values: Float64Array): number => values.reduce((a, b) => a + b, 0);
  return {
    nameLoss: mean(sum(nameLosses)),
    valueLoss: mean(sum(valueLosses)),
    nameLosses,
    valueLosses,
    furtherLosses,
    byLabel: Object.fromEntries([...totals].map(([label, total]) => [label, mean(total)])),
  };
}
