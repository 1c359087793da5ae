export { type Activations, type CollectOptions, collectActivations } from './collect-activations.js';
export { type LinearProbeOptions, type LinearProbeResult, linearProbe, type ProbeInterval } from './linear-probe.js';
