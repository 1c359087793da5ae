import type { GptConfig } from './gpt.js';
import type { ModelConfig } from './language-model.js';
import type { LlamaConfig } from './llama.js';
import type { StoredTensor } from './safetensors.js';

// The only file that knows the names and layouts of Hugging Face `transformers`.
//
// A GPT with rotary positions is GPTNeoXForCausalLM with sequential residuals; its fused query_key_value interleaves the rows
// of query, key and value by head, ours keeps all query heads, then all key heads, then all value heads. A GPT with absolute
// positions is GPT2LMHeadModel, whose Conv1D weights are ours transposed. LlamaForCausalLM keeps query, key and value, and
// gate and up projection, apart; ours are fused in that order. Numbers only change place, they never change.
//
// Other models (relative, position, uniform and no positions, encoders, blocks without an MLP or with experts, document masks) have no class
// there: they keep our names and layouts, model_type is `physlm_gpt` or `physlm_llama`, and the field `physlm` of config.json says what they are.

/** Tensors of a checkpoint by name. */
export type StateDict = ReadonlyMap<string, StoredTensor>;

/** The `config.json` that `transformers` reads. */
export function toHfConfig(config: ModelConfig): Record<string, unknown> {
  const common = {
    torch_dtype: 'float32',
    vocab_size: config.dVocab,
    hidden_size: config.dModel,
    num_hidden_layers: config.nLayer,
    num_attention_heads: config.nHead,
    intermediate_size: config.dMlp,
    max_position_embeddings: config.nCtx,
    initializer_range: config.initStd,
    tie_word_embeddings: config.tied,
    use_cache: true,
  };
  const layout = layoutOf(config);
  if (layout === 'gpt2') return toGpt2Config(config as GptConfig);
  if (layout === 'own') {
    const architectures = [config.architecture === 'gpt' ? 'PhyslmGpt' : 'PhyslmLlama'];
    return { architectures, model_type: `physlm_${config.architecture}`, ...common };
  }
  if (config.architecture === 'gpt') {
    return {
      architectures: ['GPTNeoXForCausalLM'],
      model_type: 'gpt_neox',
      ...common,
      hidden_act: 'gelu_new',
      use_parallel_residual: false,
      attention_bias: true,
      rotary_pct: config.dRotary / (config.dModel / config.nHead),
      rotary_emb_base: config.rotaryBase,
      layer_norm_eps: config.normEps,
      attention_dropout: 0,
      hidden_dropout: 0,
    };
  }
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    ...common,
    num_key_value_heads: config.nKvHead,
    hidden_act: 'silu',
    rope_theta: config.rotaryBase,
    rms_norm_eps: config.normEps,
    attention_bias: false,
    mlp_bias: false,
  };
}

type Layout = 'neox' | 'gpt2' | 'llama' | 'own';

function layoutOf(config: ModelConfig): Layout {
  if (config.documentSeparator !== undefined) return 'own'; // those models know no document masks
  if (config.architecture === 'llama') return 'llama';
  const { position = 'rotary', causal = true, dMlp, nExpert } = config;
  if (!causal || dMlp === 0 || nExpert !== undefined) return 'own';
  return position === 'rotary' ? 'neox' : position === 'absolute' ? 'gpt2' : 'own';
}

interface Conversion {
  toHf(config: ModelConfig, ours: StateDict): Map<string, StoredTensor>;
  fromHf(config: ModelConfig, theirs: StateDict): Map<string, StoredTensor>;
}

const conversions: Readonly<Record<Layout, Conversion>> = {
  neox: {
    toHf: (config, ours) => neoxToHf(config as GptConfig, ours),
    fromHf: (config, theirs) => neoxFromHf(config as GptConfig, theirs),
  },
  gpt2: {
    toHf: (config, ours) => gpt2ToHf(config as GptConfig, ours),
    fromHf: (config, theirs) => gpt2FromHf(config as GptConfig, theirs),
  },
  llama: {
    toHf: (config, ours) => llamaToHf(config as LlamaConfig, ours),
    fromHf: (config, theirs) => llamaFromHf(config as LlamaConfig, theirs),
  },
  own: { toHf: (_, ours) => new Map(ours), fromHf: (_, theirs) => new Map(theirs) },
};

/** Our names and layouts → those of `transformers`, or our own where it has no such model. */
export function toHf(config: ModelConfig, ours: StateDict): Map<string, StoredTensor> {
  return conversions[layoutOf(config)].toHf(config, ours);
}

/** The way back. Names that do not belong to the architecture are kept as they are. */
export function fromHf(config: ModelConfig, theirs: StateDict): Map<string, StoredTensor> {
  return conversions[layoutOf(config)].fromHf(config, theirs);
}

const neoxOutside: readonly (readonly [string, string])[] = [
  ['embed.weight', 'gpt_neox.embed_in.weight'],
  ['norm.weight', 'gpt_neox.final_layer_norm.weight'],
  ['norm.bias', 'gpt_neox.final_layer_norm.bias'],
  ['unembed.weight', 'embed_out.weight'],
];
const neoxInside: readonly (readonly [string, string])[] = [
  ['attnNorm', 'input_layernorm'],
  ['attn.qkv', 'attention.query_key_value'],
  ['attn.out', 'attention.dense'],
  ['mlpNorm', 'post_attention_layernorm'],
  ['mlp.up', 'mlp.dense_h_to_4h'],
  ['mlp.down', 'mlp.dense_4h_to_h'],
];

/** Pairs [our name, their name] of a whole GPT-NeoX. */
function neoxNames({ nLayer }: GptConfig): (readonly [string, string])[] {
  const blocks = Array.from({ length: nLayer }, (_, i) =>
    neoxInside.flatMap(([ours, theirs]) =>
      ['weight', 'bias'].map(
        (kind) => [`blocks.${i}.${ours}.${kind}`, `gpt_neox.layers.${i}.${theirs}.${kind}`] as const,
      ),
    ),
  );
  return [...neoxOutside, ...blocks.flat()];
}

function neoxToHf(config: GptConfig, ours: StateDict): Map<string, StoredTensor> {
  return rename(ours, neoxNames(config), (name, x) => (name.includes('.qkv.') ? regroupRows(x, 3, config.nHead) : x));
}

function neoxFromHf(config: GptConfig, theirs: StateDict): Map<string, StoredTensor> {
  const names = neoxNames(config).map(([a, b]) => [b, a] as const);
  return rename(theirs, names, (name, x) => (name.includes('query_key_value') ? regroupRows(x, config.nHead, 3) : x));
}

function rename(
  from: StateDict,
  names: readonly (readonly [string, string])[],
  convert: (name: string, x: StoredTensor) => StoredTensor,
): Map<string, StoredTensor> {
  const map = new Map(names);
  return new Map([...from].map(([name, x]) => [map.get(name) ?? name, convert(name, x)]));
}

/** Rows as [outer][inner][rest] → [inner][outer][rest]: from "all of part 0, …" to "all parts of head 0, …" and back. */
function regroupRows({ shape, values }: StoredTensor, outer: number, inner: number): StoredTensor {
  const chunk = values.length / (outer * inner);
  const moved = new Float32Array(values.length);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      const from = (o * inner + i) * chunk;
      moved.set(values.subarray(from, from + chunk), (i * outer + o) * chunk);
    }
  }
  return { shape, values: moved };
}

const gpt2Outside: readonly (readonly [string, string])[] = [
  ['embed.weight', 'transformer.wte.weight'],
  ['positions.weight', 'transformer.wpe.weight'],
  ['norm.weight', 'transformer.ln_f.weight'],
  ['norm.bias', 'transformer.ln_f.bias'],
  ['unembed.weight', 'lm_head.weight'],
];
/** Parts of a block; the last field says whether `transformers` keeps the weight as a Conv1D, [in, out]. */
const gpt2Inside: readonly (readonly [string, string, boolean])[] = [
  ['attnNorm', 'ln_1', false],
  ['attn.qkv', 'attn.c_attn', true],
  ['attn.out', 'attn.c_proj', true],
  ['mlpNorm', 'ln_2', false],
  ['mlp.up', 'mlp.c_fc', true],
  ['mlp.down', 'mlp.c_proj', true],
];

/** [our name, their name, transposed] of a whole GPT-2. */
function gpt2Names({ nLayer }: GptConfig): (readonly [string, string, boolean])[] {
  const blocks = Array.from({ length: nLayer }, (_, i) =>
    gpt2Inside.flatMap(([ours, theirs, conv1d]) =>
      ['weight', 'bias'].map(
        (kind) =>
          [`blocks.${i}.${ours}.${kind}`, `transformer.h.${i}.${theirs}.${kind}`, conv1d && kind === 'weight'] as const,
      ),
    ),
  );
  return [...gpt2Outside.map(([ours, theirs]) => [ours, theirs, false] as const), ...blocks.flat()];
}

function gpt2ToHf(config: GptConfig, ours: StateDict): Map<string, StoredTensor> {
  const names = gpt2Names(config);
  const turned = new Set(names.filter(([, , conv1d]) => conv1d).map(([name]) => name));
  return rename(
    ours,
    names.map(([a, b]) => [a, b] as const),
    (name, x) => (turned.has(name) ? transposed(x) : x),
  );
}

function gpt2FromHf(config: GptConfig, theirs: StateDict): Map<string, StoredTensor> {
  const names = gpt2Names(config);
  const turned = new Set(names.filter(([, , conv1d]) => conv1d).map(([, name]) => name));
  return rename(
    theirs,
    names.map(([a, b]) => [b, a] as const),
    (name, x) => (turned.has(name) ? transposed(x) : x),
  );
}

function transposed(x: StoredTensor): StoredTensor {
  const [rows = 0, columns = 0] = x.shape;
  // A tensor of the wrong rank stays as it is: loading reports its shape.
  if (x.shape.length !== 2) return x;
  const values = new Float32Array(x.values.length);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) values[c * rows + r] = x.values[r * columns + c]!;
  }
  return { shape: [columns, rows], values };
}

/** GPT2Config has names of its own for sizes. */
function toGpt2Config(config: GptConfig): Record<string, unknown> {
  return {
    architectures: ['GPT2LMHeadModel'],
    model_type: 'gpt2',
    torch_dtype: 'float32',
    vocab_size: config.dVocab,
    n_embd: config.dModel,
    n_layer: config.nLayer,
    n_head: config.nHead,
    n_inner: config.dMlp,
    n_positions: config.nCtx,
    activation_function: 'gelu_new',
    layer_norm_epsilon: config.normEps,
    initializer_range: config.initStd,
    tie_word_embeddings: config.tied,
    scale_attn_weights: true,
    attn_pdrop: 0,
    embd_pdrop: 0,
    resid_pdrop: 0,
    use_cache: true,
  };
}

const llamaOutside: readonly (readonly [string, string])[] = [
  ['embed.weight', 'model.embed_tokens.weight'],
  ['norm.weight', 'model.norm.weight'],
  ['unembed.weight', 'lm_head.weight'],
];

/** For each of our weights in a block: the weights of theirs that it holds, top to bottom, with their rows. */
function llamaParts({ nHead, nKvHead, dModel, dMlp }: LlamaConfig): [string, (readonly [string, number])[]][] {
  const kvRows = nKvHead * (dModel / nHead);
  return [
    ['attnNorm', [['input_layernorm', dModel]]],
    [
      'attn.qkv',
      [
        ['self_attn.q_proj', dModel],
        ['self_attn.k_proj', kvRows],
        ['self_attn.v_proj', kvRows],
      ],
    ],
    ['attn.out', [['self_attn.o_proj', dModel]]],
    ['mlpNorm', [['post_attention_layernorm', dModel]]],
    [
      'mlp.gateUp',
      [
        ['mlp.gate_proj', dMlp],
        ['mlp.up_proj', dMlp],
      ],
    ],
    ['mlp.down', [['mlp.down_proj', dModel]]],
  ];
}

function llamaToHf(config: LlamaConfig, ours: StateDict): Map<string, StoredTensor> {
  const result = new Map<string, StoredTensor>();
  const rest = new Map(ours);
  const take = (from: string, to: string): void => {
    const x = rest.get(from);
    if (x !== undefined) result.set(to, x);
    rest.delete(from);
  };
  for (const [a, b] of llamaOutside) take(a, b);
  for (let i = 0; i < config.nLayer; i++) {
    for (const [name, parts] of llamaParts(config)) {
      const path = `blocks.${i}.${name}.weight`;
      const x = rest.get(path);
      if (x === undefined) continue;
      rest.delete(path);
      const width = x.shape[1] ?? 1;
      let row = 0;
      for (const [part, rows] of parts) {
        const values = x.values.slice(row * width, (row + rows) * width);
        result.set(`model.layers.${i}.${part}.weight`, { shape: x.shape.with(0, rows), values });
        row += rows;
      }
    }
  }
  return new Map([...result, ...rest]);
}

function llamaFromHf(config: LlamaConfig, theirs: StateDict): Map<string, StoredTensor> {
  const rest = new Map(theirs);
  const result = new Map<string, StoredTensor>();
  for (const [a, b] of llamaOutside) {
    const x = rest.get(b);
    if (x !== undefined) result.set(a, x);
    rest.delete(b);
  }
  for (let i = 0; i < config.nLayer; i++) {
    for (const [name, parts] of llamaParts(config)) {
      const names = parts.map(([part]) => `model.layers.${i}.${part}.weight`);
      const found = names.map((part) => rest.get(part));
      if (found.some((x) => x === undefined)) continue;
      for (const part of names) rest.delete(part);
      const stacked = found as StoredTensor[];
      const values = new Float32Array(stacked.reduce((n, x) => n + x.values.length, 0));
      let at = 0;
      for (const x of stacked) {
        values.set(x.values, at);
        at += x.values.length;
      }
      const rows = stacked.reduce((n, x) => n + (x.shape[0] ?? 0), 0);
      result.set(`blocks.${i}.${name}.weight`, { shape: stacked[0]!.shape.with(0, rows), values });
    }
  }
  return new Map([...result, ...rest]);
}
