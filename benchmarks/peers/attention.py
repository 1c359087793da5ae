#!/usr/bin/env python3
"""Causal attention in PyTorch as a worker: attention.py THREADS (0: as many as PyTorch likes); worker.py has the protocol.

A job is `attention PASS B H T D`, PASS being forward or both. Every form that this PyTorch has is tried and the fastest is
timed: scores with an added mask, scale and mask inside one batched product, and scaled_dot_product_attention."""

import math

import torch
import torch.nn.functional as F

from worker import serve, values


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


class Attention:
    def __init__(self, both, batch, heads, length, width):
        packed = values(1, batch * length * 3 * heads * width).reshape(batch, length, 3, heads, width)
        self.heads = [torch.from_numpy(packed[:, :, i].transpose(0, 2, 1, 3).copy()) for i in range(3)]
        for head in self.heads:
            head.requires_grad_(both)
        self.mask = torch.full((length, length), -math.inf).triu(1)
        seed = values(99, batch * length * heads * width).reshape(batch, length, heads, width)
        self.seed = torch.from_numpy(seed.transpose(0, 2, 1, 3).copy())
        self.both = both
        self.forms = [lambda form=form: self.run(form) for form in FORMS]

    def run(self, form):
        if not self.both:
            with torch.no_grad():
                self.out = form(*self.heads, self.mask)
            return
        for head in self.heads:
            head.grad = None
        self.out = form(*self.heads, self.mask)
        self.out.backward(self.seed)

    def pairs(self, run):
        """The last head of the last sequence."""
        run()
        exact = [head[-1:, -1:].detach().double().requires_grad_(self.both) for head in self.heads]
        out = added_mask(*exact, self.mask.double())
        pairs = [(self.out[-1:, -1:], out)]
        if self.both:
            out.backward(self.seed[-1:, -1:].double())
            pairs += [(head.grad[-1:, -1:], want.grad) for head, want in zip(self.heads, exact)]
        return pairs


def prepare(job):
    _, direction, *sizes = job.split()
    return Attention(direction == "both", *map(int, sizes))


serve(prepare)
