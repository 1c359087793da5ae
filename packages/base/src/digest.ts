import { createHash } from 'node:crypto';
import { PhyslmError } from './error.js';

/** JSON with object keys sorted at every depth, so that equal values have equal text. `undefined` fields are left out. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, field: unknown) => {
    if (typeof field === 'number' && !Number.isFinite(field)) {
      throw new PhyslmError('config', `[digest] expected finite numbers, got ${field}`);
    }
    if (field === null || typeof field !== 'object' || Array.isArray(field)) return field;
    return Object.fromEntries(Object.entries(field).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

/** SHA-256 of bytes or of a value's canonical JSON, as 64 hexadecimal digits. */
export function digest(value: unknown): string {
  const bytes = value instanceof Uint8Array ? value : canonicalJson(value);
  return createHash('sha256').update(bytes).digest('hex');
}
