export type { KernelEntry, NativeBinding, NativePlan } from './binding.js';
export { ABI_VERSION, type LoadReport, loadNative } from './load.js';
