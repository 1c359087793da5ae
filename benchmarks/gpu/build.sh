#!/bin/sh
# Compiles and links the CUDA library with nvcc alone: build.sh ROOT OBJECTS LIBRARY
set -eu
root=$1 objects=$2 library=$3
mkdir -p "$objects" "$(dirname "$library")"
rm -f "$objects"/*
cd "$root/native/cuda"
ls *.cu | xargs -P "$(nproc)" -I{} nvcc -std=c++17 -O3 -gencode=arch=compute_80,code=[sm_80,compute_80] \
  -gencode=arch=compute_90a,code=sm_90a -Xcompiler=-fPIC,-fvisibility=hidden -w -c {} -o "$objects/{}.o"
c++ -std=c++17 -O2 -fPIC -fvisibility=hidden -c "$root/native/cpp/signature.cc" -o "$objects/signature.o"
nvcc -shared -cudart static -Xlinker=--exclude-libs,ALL -o "$library" "$objects"/*.o -ldl
ls -l "$library"
