import { Tensor } from './tensor.js';

/**
 * A part of a model. Its public fields are its structure: tensors are parameters, modules and arrays of modules are parts;
 * parameter names, checkpoint keys and activation paths follow from field names. A parameter that requires a gradient is
 * trained; the others are frozen: no gradient of theirs is computed, and no optimiser sees them.
 */
export abstract class Module {
  /** Every parameter by path (`blocks.0.attn.qkv.weight`), in declaration order; a tensor shared by two parts comes once. */
  parameters(): ReadonlyMap<string, Tensor> {
    const found = new Map<string, Tensor>();
    const seen = new Set<Tensor>();
    for (const [path, tensor] of walk(this, '')) {
      if (seen.has(tensor)) continue;
      seen.add(tensor);
      found.set(path, tensor);
    }
    return found;
  }

  /** The parameters that require a gradient, by path. */
  trainable(): ReadonlyMap<string, Tensor> {
    return new Map([...this.parameters()].filter(([, tensor]) => tensor.requiresGrad));
  }

  /** Freezes every parameter; whoever trains some of them says which by setting their `requiresGrad` again. */
  freeze(): void {
    for (const tensor of this.parameters().values()) tensor.requiresGrad = false;
  }

  /** Number of parameters, frozen ones too; shared ones count once. */
  get nParameter(): number {
    let total = 0;
    for (const tensor of this.parameters().values()) total += tensor.size;
    return total;
  }
}

function* walk(part: Module, prefix: string): Generator<[string, Tensor]> {
  for (const [name, field] of Object.entries(part)) {
    const path = prefix + name;
    if (field instanceof Tensor) yield [path, field];
    else if (field instanceof Module) yield* walk(field, `${path}.`);
    else if (Array.isArray(field)) {
      for (const [i, element] of field.entries()) if (element instanceof Module) yield* walk(element, `${path}.${i}.`);
    }
  }
}
