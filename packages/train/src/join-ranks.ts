import { invariant } from '@physlm/base';
import type { Tensor } from '@physlm/model';
import { RankPipes } from './rank-pipes.js';
import { checkRankPlan, type RankPlan, type Ranks, soleRank } from './ranks.js';

/**
 * Joins the other ranks of a run; `digest` names what is trained, and must be the same everywhere.
 *
 * Numbers, and tensors that the host reaches, go over pipes between the processes of one machine.
 *
 * @throws ConfigError when the plan makes no sense, or ranks differ in the experiment.
 * @throws PhyslmError 'ranks' when a rank does not come.
 */
export function joinRanks(
  plan: RankPlan,
  digest: string,
  options: { /** Time for all ranks to come, in ms. */ readonly meetingMs?: number } = {},
): Ranks {
  checkRankPlan(plan);
  if (plan.worldSize === 1) return soleRank;
  return new PipeRanks(RankPipes.meet(plan.rank, plan.worldSize, plan.folder!, digest, options.meetingMs));
}

class PipeRanks implements Ranks {
  constructor(private readonly pipes: RankPipes) {}

  get rank(): number {
    return this.pipes.rank;
  }

  get worldSize(): number {
    return this.pipes.worldSize;
  }

  sum(x: Tensor): void {
    invariant(x.dtype === 'f32', 'ranks sum f32 tensors');
    const values = x.values() as Float32Array;
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const total = this.pipes.exchange(bytes, (parts) => asBytes(addInOrder(parts, Float32Array)));
    bytes.set(total);
  }

  sumNumbers(values: readonly number[]): number[] {
    const total = this.pipes.exchange(asBytes(Float64Array.from(values)), (parts) =>
      asBytes(addInOrder(parts, Float64Array)),
    );
    return Array.from(new Float64Array(total.buffer, total.byteOffset, values.length));
  }

  close(): void {
    this.pipes.close();
  }
}

type Floats = Float32Array | Float64Array;

/** Σ of the parts from +0 on, each addition rounded to the type of the numbers. */
function addInOrder(parts: Iterable<Uint8Array>, type: new (buffer: ArrayBufferLike) => Floats): Floats {
  let total: Floats | undefined;
  for (const part of parts) {
    const values = new type(part.slice().buffer);
    if (total === undefined) total = values.map((x) => x + 0) as Floats;
    else for (let i = 0; i < total.length; i++) total[i]! += values[i]!;
  }
  invariant(total !== undefined, 'a sum over no ranks');
  return total;
}

const asBytes = ({ buffer, byteOffset, byteLength }: Floats): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);
