#!/usr/bin/env python3
"""Causal attention in PyTorch as a worker: attention.py THREADS (0: as many as PyTorch likes). Requests, one a line:

prepare [check] attention PASS B H T D -> {"seconds": one call, "error": worst difference in units of the result's size}
time N                                 -> {"seconds": N calls}

PASS is forward or both. Every form that this PyTorch has is tried and the fastest is timed: scores with an added mask,
scale and mask inside one batched product, and scaled_dot_product_attention."""

import json
import math
import sys
import time

import numpy
import torch
import torch.nn.functional as F


def values(stream, n):
    """The same numbers as the other contenders: uniform with variance 1."""
    mask = numpy.uint64(0xFFFFFFFF)
    x = (numpy.arange(n, dtype=numpy.uint64) * numpy.uint64(0x9E3779B1) + numpy.uint64(stream * 0x85EBCA77)) & mask
    x = ((x ^ (x >> numpy.uint64(15))) * numpy.uint64(0x2C1B3C6D)) & mask
    x = ((x ^ (x >> numpy.uint64(12))) * numpy.uint64(0x297A2D39)) & mask
    x = x ^ (x >> numpy.uint64(15))
    return ((x / 2.0**32 - 0.5) * math.sqrt(12)).astype(numpy.float32)


def added_mask(q, k, v, mask):
    return torch.softmax((q @ k.transpose(-2, -1)) * (1 / math.sqrt(q.shape[-1])) + mask, -1) @ v


def one_product(q, k, v, mask):
    batch, heads, length, width = q.shape
    shape = (batch * heads, length, width)
    mask = mask.expand(batch * heads, length, length)
    scores = torch.baddbmm(mask, q.reshape(shape), k.reshape(shape).transpose(1, 2), alpha=1 / math.sqrt(width))
    return torch.bmm(torch.softmax(scores, -1), v.reshape(shape)).view(q.shape)


FORMS = [added_mask, one_product]
if hasattr(F, "scaled_dot_product_attention"):
    FORMS.append(lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, is_causal=True))


class Call:
    def __init__(self, both, batch, heads, length, width):
        packed = values(1, batch * length * 3 * heads * width).reshape(batch, length, 3, heads, width)
        self.heads = [torch.from_numpy(packed[:, :, i].transpose(0, 2, 1, 3).copy()) for i in range(3)]
        for head in self.heads:
            head.requires_grad_(both)
        self.mask = torch.full((length, length), -math.inf).triu(1)
        seed = values(99, batch * length * heads * width).reshape(batch, length, heads, width)
        self.seed = torch.from_numpy(seed.transpose(0, 2, 1, 3).copy())
        self.both = both
        self.form = FORMS[0]

    def run(self):
        if not self.both:
            with torch.no_grad():
                self.out = self.form(*self.heads, self.mask)
            return
        for head in self.heads:
            head.grad = None
        self.out = self.form(*self.heads, self.mask)
        self.out.backward(self.seed)

    def timed(self, n):
        start = time.perf_counter()
        for _ in range(n):
            self.run()
        return time.perf_counter() - start

    def choose(self):
        def cost(form):
            self.form = form
            self.run()
            return min(self.timed(1), self.timed(1))

        self.form = min(FORMS, key=cost)

    def error(self):
        """Against the last head of the last sequence in double precision."""
        self.run()
        exact = [head[-1:, -1:].detach().double().requires_grad_(self.both) for head in self.heads]
        out = added_mask(*exact, self.mask.double())
        pairs = [(self.out[-1:, -1:], out)]
        if self.both:
            out.backward(self.seed[-1:, -1:].double())
            pairs += [(head.grad[-1:, -1:], want.grad) for head, want in zip(self.heads, exact)]
        return max(((got - want).abs().max() / want.square().mean().sqrt()).item() for got, want in pairs)


def prepare(words):
    check = words[0] == "check"
    both, sizes = words[-5] == "both", map(int, words[-4:])
    call = Call(both, *sizes)
    call.choose()
    error = call.error() if check else 0
    return call, {"seconds": min(call.timed(1), call.timed(1)), "error": error}


def main():
    if int(sys.argv[1]):
        torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps({"version": f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"}), flush=True)
    call = None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "prepare":
            call = None  # Frees the last call's memory before the next one takes its own.
            call, answer = prepare(words[1:])
        else:
            answer = {"seconds": call.timed(int(words[1]))}
        print(json.dumps(answer), flush=True)


main()
