// The global norm of a gradient and AdamW, over one flat arena.
import { bandwidth, bandwidthJobs } from './bandwidth.mjs';

export function optimizer(context) {
  const { quick } = context;
  const sizes = [1_000_000, 200_000, 30_000_000].map((N) => [`${N / 1e6}M`, N]);
  const norms = Object.fromEntries(sizes.map(([label, N]) => [label, { N }]));
  const steps = Object.fromEntries(sizes.map(([label, N]) => [label, { N, C: 8 }]));
  const jobs = [
    ...bandwidthJobs('gradNorm', { quick, extra: norms }),
    ...bandwidthJobs('adamW', { quick, extra: steps }),
  ];
  return bandwidth('optimizer', jobs, context);
}
