// Every kernel on tensors of exactly their size, for the address, undefined-behaviour and thread sanitizers: reads and
// writes out of place, and races of the pool. Values are checked elsewhere. Built and run by scripts/sanitize.mjs.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "../cpp/dispatch.h"
#include "../cpp/runtime.h"

namespace {

typedef std::vector<int64_t> Shape;

struct Memory {
  physlm_tensor tensor = {};
  std::unique_ptr<char[]> bytes;
};

Memory make(Shape shape, int32_t dtype = PHYSLM_F32) {
  Memory memory;
  int64_t count = 1;
  memory.tensor.dtype = dtype;
  memory.tensor.rank = (int32_t)shape.size();
  for (size_t i = 0; i < shape.size(); i++) count *= memory.tensor.shape[i] = shape[i];
  memory.bytes.reset(new char[count * 4]);
  memory.tensor.data = memory.bytes.get();
  for (int64_t i = 0; i < count; i++) {
    if (dtype == PHYSLM_I32)
      ((int32_t*)memory.tensor.data)[i] = 0;
    else
      ((float*)memory.tensor.data)[i] = (float)(rand() % 1000) / 500 - 1;
  }
  return memory;
}

int g_runs = 0;

/** Puts a decoding step at the end of its caches, which its outputs but the first overwrite. */
void step_in_place(std::vector<physlm_tensor>& tensors, size_t n_in) {
  size_t next = n_in + 1;
  for (size_t i = 0; i < n_in; i++) {
    if (tensors[i].rank == 4) tensors[next++] = tensors[i];
    if (tensors[i].dtype == PHYSLM_I32) ((int32_t*)tensors[i].data)[0] = (int32_t)tensors[n_in + 1].shape[1] - 1;
  }
}

void run(const std::string& name, std::initializer_list<Shape> in, std::initializer_list<Shape> out,
         std::vector<double> attrs = {}, std::initializer_list<int> integers = {}) {
  int32_t n;
  const physlm_kernel_entry* manifest = physlm_manifest(&n);
  for (int32_t k = 0; k < n; k++) {
    if (name + "_cpu" != manifest[k].name) continue;
    std::vector<Memory> memory;
    std::vector<physlm_tensor> tensors;
    for (const Shape& shape : in) {
      bool integer = false;
      for (int i : integers) integer |= i == (int)memory.size();
      memory.push_back(make(shape, integer ? PHYSLM_I32 : PHYSLM_F32));
      tensors.push_back(memory.back().tensor);
    }
    for (const Shape& shape : out) {
      memory.push_back(make(shape));
      tensors.push_back(memory.back().tensor);
    }
    if (name.find("Step_forward") != std::string::npos) step_in_place(tensors, in.size());
    if (name.rfind("positionMix", 0) == 0)
      for (int64_t b = 0; b < tensors[2].shape[0]; b++) ((int32_t*)tensors[2].data)[b] = (int32_t)(1 + 11 * b);
    int32_t status = physlm_check(k, 1, tensors.data(), tensors.data() + in.size());
    if (!status)
      status = manifest[k].run(tensors.data(), (int32_t)in.size(), tensors.data() + in.size(), (int32_t)out.size(),
                               attrs.data(), (int32_t)attrs.size(), nullptr);
    if (status) {
      fprintf(stderr, "%s: %s\n", name.c_str(), physlm_last_error());
      exit(1);
    }
    g_runs++;
    return;
  }
  fprintf(stderr, "no kernel %s\n", name.c_str());
  exit(1);
}

void products(int64_t R, int64_t I, int64_t O) {
  const Shape x = {R, I}, w = {O, I}, y = {R, O}, b = {O};
  run("linear_forward", {x, w}, {y});
  run("linear_backward", {x, w, y}, {x, w});
  run("linearBias_forward", {x, w, b}, {y});
  run("linearBias_backward", {x, w, y}, {x, w, b});
  run("linearBiasGelu_forward", {x, w, b}, {y, y});
  run("linearBiasGelu_backward", {x, w, y, y}, {x, w, b});
  for (int a = 0; a < 4; a++)
    run("matmul_forward", {a & 1 ? Shape{I, R} : x, a & 2 ? w : Shape{I, O}}, {y}, {(double)(a & 1), (double)(a >> 1)});
}

void rows(int64_t R, int64_t D) {
  const Shape x = {R, D}, d = {D}, r = {R};
  run("gelu_forward", {x}, {x});
  run("gelu_backward", {x, x}, {x});
  run("siluGate_forward", {{R, 2 * D}}, {x});
  run("siluGate_backward", {{R, 2 * D}, x}, {{R, 2 * D}});
  run("layerNorm_forward", {x, d, d}, {x, r, r}, {1e-5});
  run("layerNorm_backward", {x, d, r, r, x}, {x, d, d}, {1e-5});
  run("rmsNorm_forward", {x, d}, {x, r}, {1e-5});
  run("rmsNorm_backward", {x, d, r, x}, {x, d}, {1e-5});
  run("embedding_forward", {r, {7, D}}, {x}, {}, {0});
  run("embedding_backward", {r, x}, {{7, D}}, {}, {0});
  run("crossEntropy_forward", {x, r}, {r, r}, {-1}, {1});
  run("crossEntropy_backward", {x, r, r, r}, {x}, {-1}, {1});
  run("add_forward", {x, x}, {x});
  run("fill_forward", {}, {x}, {1});
  run("gradNorm_forward", {x}, {{1}});
  run("sumSlices_forward", {x}, {d});
  run("slice_forward", {{R, 2 * D}}, {x}, {1, (double)(D / 2)});
  run("pad_forward", {x}, {{R, 2 * D}}, {1, (double)(D / 2)});
  run("adamW_forward", {x, x, x, x, {1}, {8}}, {x, x, x}, {(double)(R * D / 2)});
}

void attention(int64_t B, int64_t T, int64_t H, int64_t G, int64_t K) {
  const int64_t P = (H + 2 * G) * K;
  for (int causal = 0; causal < 2; causal++) {
    const std::vector<double> attrs = {(double)H, (double)G, (double)K, 0.3, (double)causal};
    run("attention_forward", {{B, T, P}}, {{B, T, H * K}, {B, H, T}}, attrs);
    run("attention_backward", {{B, T, P}, {B, T, H * K}, {B, H, T}, {B, T, H * K}}, {{B, T, P}}, attrs);
  }
  const Shape cache = {B, T, G, K};
  run("attentionStep_forward", {{B, P}, cache, cache, {1}}, {{B, H * K}, cache, cache}, {(double)H, (double)G, (double)K, 0.3}, {3});
  const int64_t Q = H * K;
  const Shape x = {B, T, Q}, all = {B, T, 3 * Q}, lse = {B, H, T}, whole = {B, T, H, K};
  for (int64_t N : {(int64_t)1, T, 2 * T - 1, 2 * T + 5})
    for (int causal = 0; causal < 2; causal++) {
      if (!causal && N % 2 == 0) continue;
      const std::vector<double> attrs = {(double)H, (double)K, 0.3, (double)causal};
      const Shape table = {N, Q};
      run("relativeAttention_forward", {all, table, table}, {x, lse}, attrs);
      run("relativeAttention_backward", {all, table, table, x, lse, x}, {all, table, table}, attrs);
      if (!causal) continue;
      run("relativeAttentionStep_forward", {{B, 3 * Q}, whole, whole, table, table, {1}}, {{B, Q}, whole, whole}, {0.3}, {5});
      run("positionAttention_forward", {x, {H, N}}, {x, {H, T}});
      run("positionAttention_backward", {x, {H, N}, x, {H, T}, x}, {x, {H, N}});
      run("positionAttentionStep_forward", {{B, Q}, {H, N}, whole, {1}}, {{B, Q}, whole}, {}, {3});
    }
  run("uniformAttention_forward", {x}, {x}, {(double)H});
  run("uniformAttention_backward", {x}, {x}, {(double)H});
  run("uniformAttentionStep_forward", {{B, Q}, whole, {1}}, {{B, Q}, whole}, {}, {2});
  const std::vector<double> rotary = {(double)(H + G), (double)K, (double)(K / 2 * 2), 1e4};
  run("rotary_forward", {{B, T, P}, {T}}, {{B, T, P}}, rotary, {1});
  run("rotary_backward", {{T}, {B, T, P}}, {{B, T, P}}, rotary, {0});
}

void mixing(int64_t B, int64_t T, int64_t H, int64_t K, int64_t C) {
  const Shape p = {T + 3, H, K}, f = {B, T, H, C}, y = {B, T, C}, heads = {H, T, B, C}, lse = {H, T, B};
  for (int reach = -1; reach < 3; reach++) {
    run("positionMix_forward", {p, f, {B}}, {y, heads, lse}, {(double)reach}, {2});
    run("positionMix_backward", {p, f, {B}, heads, lse, y}, {p, f}, {(double)reach}, {2});
  }
}

}  // namespace

int main() {
  for (int i = 0; const char* isa = physlm_isa_at(i); i++)
    for (int threads = 1; threads <= 4; threads++) {
      physlm_set_isa(isa);
      physlm_set_threads(threads);
      for (int64_t R : {1, 3, 15, 17, 65, 130})
        for (int64_t I : {1, 5, 16, 33, 150})
          for (int64_t O : {1, 15, 17, 48, 140}) products(R, I, O);
      products(1100, 17, 31);
      products(300, 90, 700);
      products(40, 1300, 170);
      for (int64_t R : {1, 17, 200})
        for (int64_t D : {1, 5, 16, 33, 130}) rows(R, D);
      for (int64_t T : {1, 2, 7, 64, 65, 130})
        for (int64_t K : {1, 5, 8, 16, 33}) attention(2, T, 4, 2, K);
      attention(1, 300, 2, 1, 20);
      for (int64_t T : {1, 7, 40})
        for (int64_t C : {1, 15, 33}) mixing(5, T, 3, 9, C);
    }
  printf("%d runs\n", g_runs);
  return 0;
}
