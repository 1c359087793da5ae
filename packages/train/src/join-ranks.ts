import { invariant, PhyslmError } from '@physlm/base';
import type { Device, Tensor } from '@physlm/model';
import { RankPipes } from './rank-pipes.js';
import { checkRankPlan, type RankPlan, type Ranks, soleRank } from './ranks.js';

/**
 * Joins the other ranks of a run; `digest` names what is trained, and must be the same everywhere.
 *
 * Numbers go over pipes between the processes of one machine, and so do tensors, unless they lie on GPUs: those add through NCCL,
 * in the same order.
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
  #grouped = false;

  constructor(private readonly pipes: RankPipes) {}

  get rank(): number {
    return this.pipes.rank;
  }

  get worldSize(): number {
    return this.pipes.worldSize;
  }

  sum(x: Tensor): void {
    invariant(x.dtype === 'f32', 'ranks sum f32 tensors');
    const { native } = x.device;
    if (native?.groupSum !== undefined) {
      this.#group(native);
      const { buffer, start } = x.memory.place();
      native.groupSum(buffer, start + x.byteOffset, x.size);
      return;
    }
    const values = x.values() as Float32Array;
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    const total = this.pipes.exchange(bytes, (parts) => asBytes(addInOrder(parts, Float32Array)));
    bytes.set(total);
  }

  /** Makes one group of the ranks' devices. All of them must be able to, or all end: one alone would wait for ever. */
  #group(native: NonNullable<Device['native']>): void {
    if (this.#grouped) return;
    const reason = native.groupUnavailable!();
    const [unable] = this.sumNumbers([Number(reason !== undefined)]) as [number];
    if (reason !== undefined) throw new PhyslmError('ranks', `[ranks] ${reason}`);
    if (unable > 0)
      throw new PhyslmError('ranks', `[ranks] ${unable} other ranks cannot join their GPUs to this one's`);
    const own = this.rank === 0 ? [...native.groupId!()] : new Array<number>(GROUP_ID_BYTES).fill(0);
    native.groupJoin!(Uint8Array.from(this.sumNumbers(own)), this.rank, this.worldSize);
    this.#grouped = true;
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

const GROUP_ID_BYTES = 128;

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
