// Cross-entropy over rows of logits.
import { bandwidth, bandwidthJobs } from './bandwidth.mjs';

export function loss(context) {
  const extra = {
    'tiny, V=446': { R: 2048, V: 446 },
    'small, V=1000': { R: 4096, V: 1000 },
    'large, V=50257': { R: 512, V: 50257 },
  };
  return bandwidth('loss', bandwidthJobs('crossEntropy', { quick: context.quick, extra }), context);
}
