import { complaint, PhyslmError } from '@physlm/base';

/** Tensors whose axes do not fit together. */
export class ShapeError extends PhyslmError {
  override readonly name = 'ShapeError';
  constructor(where: string, expected: string, got: string) {
    super('shape', complaint(where, expected, got));
  }
}

/** A native kernel was asked for and cannot serve the call; the message holds the reason. */
export class NativeError extends PhyslmError {
  override readonly name = 'NativeError';
  constructor(
    where: string,
    readonly reason: string,
  ) {
    super('native', `[${where}] ${reason}`);
  }
}
