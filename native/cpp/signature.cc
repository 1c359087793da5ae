#include "signature.h"

#include <string.h>

namespace {

int64_t element_bytes(const physlm_tensor& t) { return t.dtype == PHYSLM_F64 ? 8 : t.dtype == PHYSLM_BF16 ? 2 : 4; }

int64_t bytes(const physlm_tensor& t) {
  int64_t n = element_bytes(t);
  for (int32_t i = 0; i < t.rank; i++) n *= t.shape[i];
  return n;
}

const char* dtype_name(int32_t dtype) {
  static const char* const names[] = {"f32", "f64", "i32", "bf16"};
  return dtype >= 0 && dtype < 4 ? names[dtype] : "unknown";
}

// Sizes bound so far, one for each capital letter.
struct Binding {
  int64_t size[26];
};

// Checks one tensor against its token; `s` stands behind the dtype letter.
int32_t bind(Binding& binding, const char* role, int index, const char* axes, int n_axes, const physlm_tensor& t) {
  const bool scalar = t.rank == 0 && n_axes == 1;
  if (t.rank < n_axes && !scalar)
    return physlm_fail(PHYSLM_BAD_ARGUMENT, "[%s %d] expected axes %.*s, got rank %d", role, index, n_axes, axes, t.rank);
  const int32_t folded = scalar ? 0 : t.rank - n_axes + 1;
  for (int a = 0; a < n_axes; a++) {
    int64_t size = 1;
    if (a == 0)
      for (int32_t i = 0; i < folded; i++) size *= t.shape[i];
    else
      size = t.shape[folded + a - 1];
    const char letter = axes[a];
    const int64_t want = letter >= 'A' ? binding.size[letter - 'A'] : letter - '0';
    if (want < 0)
      binding.size[letter - 'A'] = size;
    else if (want != size)
      return physlm_fail(PHYSLM_BAD_ARGUMENT, "[%s %d] expected %c=%lld, got %lld", role, index, letter, (long long)want,
                         (long long)size);
  }
  return PHYSLM_OK;
}

// Checks one set of tensors: inputs from `first_in` on, outputs from `first_out` on.
int32_t check_set(const char* axes, const physlm_tensor* in, int first_in, const physlm_tensor* out, int first_out) {
  Binding binding;
  for (int64_t& size : binding.size) size = -1;
  const char* role = "input";
  const physlm_tensor* tensors = in;
  int index = first_in;
  for (const char* s = axes; *s;) {
    if (*s == ' ' || *s == '*') {
      s++;
      continue;
    }
    if (*s == '>') {
      role = "output";
      tensors = out;
      index = first_out;
      s++;
      continue;
    }
    const bool nullable = *s == '?';
    if (nullable) s++;
    const char letter = *s++;
    const int32_t dtype = letter == 'i' ? PHYSLM_I32 : PHYSLM_F32;
    const int n_axes = (int)strcspn(s, " ");
    const physlm_tensor& t = tensors[index];
    if (t.data == nullptr && !nullable)
      return physlm_fail(PHYSLM_BAD_ARGUMENT, "[%s %d] expected memory, got null", role, index);
    if (t.data != nullptr) {
      if (t.dtype != dtype && !(letter == 'h' && t.dtype == PHYSLM_BF16))
        return physlm_fail(PHYSLM_BAD_ARGUMENT, "[%s %d] expected dtype %s, got %s", role, index, dtype_name(dtype),
                           dtype_name(t.dtype));
      const int32_t status = bind(binding, role, index, s, n_axes, t);
      if (status) return status;
    }
    index++;
    s += n_axes;
  }
  return PHYSLM_OK;
}

}  // namespace

physlm_kernel_entry physlm_entry_of(const physlm_signature& signature, physlm_kernel run) {
  physlm_kernel_entry entry = {signature.name, 0, 0, signature.n_attrs, 0, 0, run};
  bool output = false;
  for (const char* s = signature.axes; *s; s++) {
    if (*s == '>') output = true;
    if (*s == '*') entry.repeats = 1;
    if (*s != 'f' && *s != 'h' && *s != 'i') continue;
    if (*s == 'h') entry.bf16 |= 1u << (entry.n_in + entry.n_out);
    (output ? entry.n_out : entry.n_in)++;
  }
  return entry;
}

int32_t physlm_check_signature(const physlm_signature& signature, int32_t n_sets, const physlm_tensor* in,
                               const physlm_tensor* out) {
  const physlm_kernel_entry entry = physlm_entry_of(signature, nullptr);
  for (int32_t set = 0; set < n_sets; set++)
    if (const int32_t status = check_set(signature.axes, in, set * entry.n_in, out, set * entry.n_out)) return status;
  const int n_in = n_sets * entry.n_in, n_out = n_sets * entry.n_out;
  for (int o = 0; o < n_out; o++) {
    if (!out[o].data) continue;
    const char* begin = (const char*)out[o].data;
    const char* end = begin + bytes(out[o]);
    for (int i = 0; i < n_in + o; i++) {
      const physlm_tensor& other = i < n_in ? in[i] : out[i - n_in];
      if (!other.data) continue;
      const char* from = (const char*)other.data;
      const char* to = from + bytes(other);
      if (begin >= to || from >= end) continue;
      if (i < n_in && signature.in_place && begin == from && end == to) continue;
      return physlm_fail(PHYSLM_BAD_ARGUMENT, "[output %d] expected memory of its own, got an overlap with %s %d", o,
                         i < n_in ? "input" : "output", i < n_in ? i : i - n_in);
    }
  }
  return PHYSLM_OK;
}
