#!/bin/sh
# Builds the CUDA library, checks every kernel, times kernels and training against PyTorch, writes JSON and prints a table.
#   benchmarks/gpu/run.sh [part…]     parts: build check sanitize bench tiny train (default: build check bench tiny train)
# A part that fails, hangs or runs out of time is written down and the next begins; the table comes last in any case. All parts
# together stay under $SECONDS_LEFT seconds (540). Exit status 1: something failed.
# Needs CUDA (nvcc), a C++ compiler and python3 with numpy and PyTorch; for the training parts also Node and this repository
# built (`npm run build`; only dist/ and native/build/Release/physlm_native.node are read). Node is $NODE, or node or node.xz
# beside this script, or the one in PATH. Results go to $OUT, or benchmarks/results/<device>. PHYSLM_CUDA_WITHOUT leaves families
# of Hopper's kernels out from the start; one whose checks fail is left out in all that follows.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
parts=${*:-build check bench tiny train}
for part in $parts; do
  case $part in
    build | check | sanitize | bench | tiny | train) ;;
    *) echo "run.sh: expected build, check, sanitize, bench, tiny or train, got $part" >&2; exit 2 ;;
  esac
done
began=$(date +%s)
budget=${SECONDS_LEFT:-540}
work=$here/.run
mkdir -p "$work"
device=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1 | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-')
OUT=${OUT:-$root/benchmarks/results/${device:-no-gpu}}
mkdir -p "$OUT"
small=${SMALL:+--small} # few small shapes: to try this script without a GPU, on the library for the host
library=${PHYSLM_CUDA_LIB:-$root/native/build/Release/libphyslm_cuda.so}
python=${PYTHON:-python3}
rm -f "$OUT/parts.txt"
failed=0
export PYTHONUNBUFFERED=1

wants() { case " $parts " in *" $1 "*) return 0 ;; esac; return 1; }
left() { echo $((budget - ($(date +%s) - began))); }
note() { printf '%s\t%s\n' "$1" "$2" >> "$OUT/parts.txt"; }
# stage NAME SECONDS COMMAND…: runs it within the time that is left, and writes down how it ended. One that is killed takes its
# processes with it.
stage() {
  name=$1 limit=$2
  shift 2
  [ "$(left)" -lt "$limit" ] && limit=$(left)
  if [ "$limit" -lt 10 ]; then
    echo "$name: left out, no time"
    note "$name" 'left out: no time'
    failed=1
    return 1
  fi
  printf '\n== %s (at %s s, up to %s s)\n' "$name" "$(($(date +%s) - began))" "$limit"
  start=$(date +%s)
  timeout -k 5 "$limit" "$@"
  status=$?
  took=$(($(date +%s) - start))
  case $status in
    0) note "$name" "ok, $took s" ;;
    124 | 137) note "$name" "did not end within $limit s" ;;
    *) note "$name" "failed with status $status after $took s" ;;
  esac
  [ $status -eq 0 ] || failed=1
  return $status
}

if wants build; then
  rm -f "$library" # an old one must not pass for a new one
  stage build 200 sh "$here/build.sh" "$root" "$work/objects" "$library"
fi
if [ ! -f "$library" ]; then
  echo "there is no $library: nothing can run"
  note library "missing: $library"
  failed=1
else
  # What the results are of: the table leaves out those of earlier runs.
  wants check && rm -f "$OUT/check.json" && stage check 180 "$python" "$here/check.py" "$library" "$OUT/check.json" --seconds 170 $small
  if wants check; then
    PHYSLM_CUDA_WITHOUT=$("$python" -c "import json,sys;print(json.load(open(sys.argv[1])).get('without',''))" "$OUT/check.json" 2>/dev/null || true)
    export PHYSLM_CUDA_WITHOUT
    [ -z "$PHYSLM_CUDA_WITHOUT" ] || note 'left out' "$PHYSLM_CUDA_WITHOUT: the kernels for sm_80 do their work"
  fi
  if wants sanitize; then
    if command -v compute-sanitizer > /dev/null; then
      for tool in memcheck racecheck synccheck; do
        stage "sanitize $tool" 100 compute-sanitizer --target-processes all --tool $tool --error-exitcode 9 \
          "$python" "$here/check.py" "$library" "$OUT/sanitize.json" --small
      done
    else
      echo 'sanitize: left out, compute-sanitizer is not installed here'
      note sanitize 'left out: compute-sanitizer is not installed here'
    fi
  fi
  wants bench && rm -f "$OUT/kernels.json" && stage bench 200 "$python" "$here/bench.py" "$library" "$OUT/kernels.json" --seconds 190 $small

  if wants tiny || wants train; then
    if [ -z "${NODE:-}" ]; then
      if [ -f "$here/node.xz" ] && [ ! -x "$work/node" ]; then
        "$python" -c "import lzma,shutil;shutil.copyfileobj(lzma.open('$here/node.xz'),open('$work/node','wb'))"
        chmod +x "$work/node"
      fi
      NODE=$work/node
      [ -x "$NODE" ] || NODE=$here/node
      [ -x "$NODE" ] || NODE=$(command -v node || true)
    fi
    modules=$work/node_modules/@physlm
    mkdir -p "$modules"
    for package in base model train; do ln -sfn "$root/packages/$package" "$modules/$package"; done
    ln -sfn "$root/native" "$modules/native"
    cp "$here/train.mjs" "$work/train.mjs"
    for model in tiny train; do
      wants $model || continue
      rm -f "$OUT/$model-physlm.json" "$OUT/$model-torch.json"
      if [ -z "$NODE" ]; then
        echo "$model: left out, there is no Node here"
        note "$model" 'left out: there is no Node here'
        failed=1
        continue
      fi
      # The addon and the TypeScript loop, then torch.compile on the same weights and windows.
      stage "$model" 120 env PHYSLM_CUDA_LIB="$library" "$NODE" "$work/train.mjs" $model "$work" "$OUT/$model-physlm.json" &&
        stage "$model torch" 150 "$python" "$here/train.py" $model "$work" "$OUT/$model-torch.json"
    done
  fi
fi

printf '\n== table (at %s s)\n' "$(($(date +%s) - began))"
"$python" "$here/table.py" "$OUT" || failed=1
exit $failed
