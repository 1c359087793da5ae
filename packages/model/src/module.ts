import { Tensor } from './tensor.js';

/**
 * A part of a model. Its public fields are its structure: tensors that require a gradient are parameters, modules and
 * arrays of modules are parts; parameter names, checkpoint keys and activation paths follow from field names.
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

  /** Number of parameters; shared ones count once. */
  get nParameter(): number {
    let total = 0;
    for (const tensor of this.parameters().values()) total += tensor.size;
    return total;
  }
}

function* walk(part: Module, prefix: string): Generator<[string, Tensor]> {
  for (const [name, field] of Object.entries(part)) {
    const path = prefix + name;
    if (field instanceof Tensor && field.requiresGrad) yield [path, field];
    else if (field instanceof Module) yield* walk(field, `${path}.`);
    else if (Array.isArray(field)) {
      for (const [i, element] of field.entries()) if (element instanceof Module) yield* walk(element, `${path}.${i}.`);
    }
  }
}
