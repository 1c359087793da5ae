export type { KernelEntry, KernelLibrary, NativeBinding, NativePlan } from './binding.js';
export { ABI_VERSION, type CudaReport, type LoadReport, loadCuda, loadNative } from './load.js';
