import type { GptConfig } from './gpt.js';
import type { ModelConfig } from './language-model.js';
import type { LlamaConfig } from './llama.js';
import type { StoredTensor } from './safetensors.js';

// The only file that knows the names and layouts of Hugging Face `transformers`.
//
// GPT_rot is GPTNeoXForCausalLM with sequential residuals; its fused query_key_value interleaves the rows of query, key and
// value by head, ours keeps all query heads, then all key heads, then all value heads. LlamaForCausalLM keeps query, key
// and value, and gate and up projection, apart; ours are fused in that order. Rows only change place: numbers never change.

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

/** Our names and layouts → those of `transformers`. */
export function toHf(config: ModelConfig, ours: StateDict): Map<string, StoredTensor> {
  return config.architecture === 'gpt' ? gptToHf(config, ours) : llamaToHf(config, ours);
}

/** Those of `transformers` → our names and layouts. Names that do not belong to the architecture are kept as they are. */
export function fromHf(config: ModelConfig, theirs: StateDict): Map<string, StoredTensor> {
  return config.architecture === 'gpt' ? gptFromHf(config, theirs) : llamaFromHf(config, theirs);
}

const gptOutside: readonly (readonly [string, string])[] = [
  ['embed.weight', 'gpt_neox.embed_in.weight'],
  ['norm.weight', 'gpt_neox.final_layer_norm.weight'],
  ['norm.bias', 'gpt_neox.final_layer_norm.bias'],
  ['unembed.weight', 'embed_out.weight'],
];
const gptInside: readonly (readonly [string, string])[] = [
  ['attnNorm', 'input_layernorm'],
  ['attn.qkv', 'attention.query_key_value'],
  ['attn.out', 'attention.dense'],
  ['mlpNorm', 'post_attention_layernorm'],
  ['mlp.up', 'mlp.dense_h_to_4h'],
  ['mlp.down', 'mlp.dense_4h_to_h'],
];

/** Pairs [our name, their name] of a whole GPT. */
function gptNames({ nLayer }: GptConfig): (readonly [string, string])[] {
  const blocks = Array.from({ length: nLayer }, (_, i) =>
    gptInside.flatMap(([ours, theirs]) =>
      ['weight', 'bias'].map(
        (kind) => [`blocks.${i}.${ours}.${kind}`, `gpt_neox.layers.${i}.${theirs}.${kind}`] as const,
      ),
    ),
  );
  return [...gptOutside, ...blocks.flat()];
}

function gptToHf(config: GptConfig, ours: StateDict): Map<string, StoredTensor> {
  return rename(ours, gptNames(config), (name, x) => (name.includes('.qkv.') ? regroupRows(x, 3, config.nHead) : x));
}

function gptFromHf(config: GptConfig, theirs: StateDict): Map<string, StoredTensor> {
  const names = gptNames(config).map(([a, b]) => [b, a] as const);
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
