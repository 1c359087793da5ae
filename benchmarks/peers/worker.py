"""What the PyTorch workers share: the numbers, the choice of the fastest form, and the protocol. Requests, one a line:

prepare [check] JOB -> {"seconds": one call, "error": worst difference in units of the result's size}
time N              -> {"seconds": N calls}

A call has `forms` (functions that all do its work: the fastest is timed), and `pairs()` of results and what they should be
in double precision."""

import json
import math
import sys
import time

import numpy
import torch

CHUNK = 1 << 20


def values(stream, n):
    """The same numbers as the other contenders: uniform with variance 1."""
    mask = numpy.uint64(0xFFFFFFFF)
    out = numpy.empty(n, dtype=numpy.float32)
    for start in range(0, n, CHUNK):
        i = numpy.arange(start, min(n, start + CHUNK), dtype=numpy.uint64)
        x = (i * numpy.uint64(0x9E3779B1) + numpy.uint64(stream * 0x85EBCA77)) & mask
        x = ((x ^ (x >> numpy.uint64(15))) * numpy.uint64(0x2C1B3C6D)) & mask
        x = ((x ^ (x >> numpy.uint64(12))) * numpy.uint64(0x297A2D39)) & mask
        x = x ^ (x >> numpy.uint64(15))
        out[start : start + CHUNK] = (x / 2.0**32 - 0.5) * math.sqrt(12)
    return out


def seconds_of(run, n):
    start = time.perf_counter()
    for _ in range(n):
        run()
    return time.perf_counter() - start


def fastest(forms):
    def cost(run):
        run()
        return min(seconds_of(run, 1), seconds_of(run, 1))

    return min(forms, key=cost) if len(forms) > 1 else forms[0]


def error(pairs):
    return max(((got - want).abs().max() / want.square().mean().sqrt()).item() for got, want in pairs)


def blas():
    """The libraries that products can come from, by file name."""
    files = {line.split()[-1].rsplit("/", 1)[-1] for line in open("/proc/self/maps") if ".so" in line}
    named = sorted(file for file in files if "blas" in file or "mkl" in file or "dnnl" in file)
    return " + ".join(named) or "its own products"


def serve(prepare):
    """Answers requests until the input ends; `prepare(job)` makes a call of the text of a job."""
    if int(sys.argv[1]):
        torch.set_num_threads(int(sys.argv[1]))
    version = f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {blas()}"
    print(json.dumps({"version": version}), flush=True)
    call = run = None
    for line in sys.stdin:
        word, rest = line.strip().split(" ", 1)
        if word == "time":
            answer = {"seconds": seconds_of(run, int(rest))}
        else:
            check = rest.startswith("check ")
            call = run = None  # Frees the last call's memory before the next one takes its own.
            call = prepare(rest[6:] if check else rest)
            run = fastest(call.forms)
            run()
            answer = {"error": error(call.pairs(run)) if check else 0}
            answer["seconds"] = min(seconds_of(run, 1), seconds_of(run, 1))
        print(json.dumps(answer), flush=True)
