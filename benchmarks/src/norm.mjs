// Norms and the other passes over activations: GELU alone, rotary positions, embedding.
import { bandwidth, bandwidthJobs } from './bandwidth.mjs';

export function norm(context) {
  const { quick } = context;
  const rows = { 'small d=128': { R: 4096, D: 128 }, 'large d=768': { R: 1024, D: 768 } };
  const jobs = [
    ...bandwidthJobs('layerNorm', { quick, extra: rows }),
    ...bandwidthJobs('rmsNorm', { quick, extra: rows }),
    ...bandwidthJobs('gelu', { quick, extra: { 'small mlp': { N: 4096 * 512 } } }),
    ...bandwidthJobs('rotary', { quick }),
    ...bandwidthJobs('embedding', { quick, extra: { 'tiny d=32': { R: 2048, V: 446, D: 32 } } }),
  ];
  return bandwidth('norms and activations', jobs, context);
}
