#!/bin/sh
# Builds the CUDA library, checks every kernel (Hopper's own family by family), times kernels and training against PyTorch,
# writes JSON and prints a table.
#   benchmarks/gpu/run.sh [part…]     parts: build check sanitize bench train tiny (default: all, about eight minutes)
# Needs CUDA (nvcc), a C++ compiler and python3 with numpy and PyTorch; for the training parts also Node and this repository
# built (`npm run build`; only dist/ and native/build/Release/physlm_native.node are read). Node is $NODE, or node or node.xz
# beside this script, or the one in PATH. PHYSLM_CUDA_WITHOUT leaves families of kernels out from the start. Results go to
# $OUT, or benchmarks/results/<device>.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
parts=${*:-build check sanitize bench tiny train}
work=$here/.run
mkdir -p "$work"
wants() { case " $parts " in *" $1 "*) return 0 ;; esac; return 1; }
say() { printf '\n== %s (%s s)\n' "$1" "$(($(date +%s) - began))"; }
began=$(date +%s)

if [ -z "${NODE:-}" ]; then
  if [ -f "$here/node.xz" ] && [ ! -x "$work/node" ]; then
    python3 -c "import lzma,shutil;shutil.copyfileobj(lzma.open('$here/node.xz'),open('$work/node','wb'))"
    chmod +x "$work/node"
  fi
  NODE=$work/node
  [ -x "$NODE" ] || NODE=$here/node
  [ -x "$NODE" ] || NODE=$(command -v node || true)
fi
device=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1 | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-')
OUT=${OUT:-$root/benchmarks/results/${device:-no-gpu}}
mkdir -p "$OUT"
library=${PHYSLM_CUDA_LIB:-$root/native/build/Release/libphyslm_cuda.so}

if wants build; then
  say build
  mkdir -p "$work/objects" "$(dirname "$library")"
  rm -f "$work/objects"/*
  (cd "$root/native/cuda" && ls ./*.cu | xargs -P "$(nproc)" -I{} nvcc -std=c++17 -O3 \
    -gencode=arch=compute_80,code=[sm_80,compute_80] -gencode=arch=compute_90a,code=sm_90a \
    -Xcompiler=-fPIC,-fvisibility=hidden -w -c {} -o "$work/objects/{}.o")
  c++ -std=c++17 -O2 -fPIC -fvisibility=hidden -c "$root/native/cpp/signature.cc" -o "$work/objects/signature.o"
  nvcc -shared -cudart static -Xlinker=--exclude-libs,ALL -o "$library" "$work/objects"/*.o
  ls -l "$library"
fi

# Hopper's own kernels come in families, each checked by itself: one that fails, crashes or hangs is left to the kernels for sm_80
# (PHYSLM_CUDA_WITHOUT) in all that follows, so that it does not stand in the way of the others.
if wants check; then
  say "check: Hopper's kernels, family by family"
  left_out=${PHYSLM_CUDA_WITHOUT:-}
  for family in gemm epilogue attention_forward attention_backward; do
    case $family in
    gemm) others='epilogue attention_forward attention_backward' ;;
    epilogue) others='attention_forward attention_backward' ;;
    attention_forward) others='gemm epilogue attention_backward' ;;
    *) others='gemm epilogue attention_forward' ;;
    esac
    if PHYSLM_CUDA_WITHOUT=$others timeout 150 python3 "$here/kernels.py" family "$library" "$OUT/check-$family.json" $family; then
      echo "$family: passed"
    else
      echo "$family: FAILED (status $?), the kernels for sm_80 do its work from here on"
      left_out="$left_out $family"
    fi
  done
  PHYSLM_CUDA_WITHOUT=$left_out
  export PHYSLM_CUDA_WITHOUT
  say 'check: every kernel against float64, whole numbers exactly, the same bits every time'
  python3 "$here/kernels.py" check "$library" "$OUT/check.json"
fi

if wants sanitize; then
  say 'sanitize'
  if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck synccheck; do
      compute-sanitizer --tool $tool --error-exitcode 9 python3 "$here/kernels.py" small "$library" "$OUT/sanitize.json" | tail -3
    done
  else
    echo 'skipped: compute-sanitizer is not installed here'
  fi
fi

if wants bench; then
  say 'bench: kernels against PyTorch (cuBLAS, cuDNN, FlashAttention) in one process'
  python3 "$here/kernels.py" bench "$library" "$OUT/kernels.json"
fi

modules=$work/node_modules/@physlm
if wants tiny || wants train; then
  mkdir -p "$modules"
  for package in base model train; do ln -sfn "$root/packages/$package" "$modules/$package"; done
  ln -sfn "$root/native" "$modules/native"
  cp "$here/train.mjs" "$work/train.mjs"
fi
for model in tiny train; do
  wants $model || continue
  say "$model: through the addon and the TypeScript loop, then torch.compile on the same weights and windows"
  PHYSLM_CUDA_LIB=$library "$NODE" "$work/train.mjs" $model "$work" "$OUT/$model-physlm.json"
  python3 "$here/train.py" $model "$work" "$OUT/$model-torch.json"
done

say table
python3 "$here/table.py" "$OUT"
