#!/usr/bin/env python3
"""Norms, activations, loss and optimiser in PyTorch as a worker: passes.py THREADS; worker.py has the protocol.

A job is JSON: {"op", "pass": "forward" | "backward", "dims", "attrs"}. Axes: R rows, D width, N elements, V vocabulary,
B batch, T position, P packed heads. Where PyTorch offers several forms of a call, all are tried and the fastest is timed;
each op also has its definition from primitives, which the result is compared with in double precision."""

import json
import math

import numpy
import torch
import torch.nn.functional as F

from worker import serve, values


def numbers(stream, *shape):
    return torch.from_numpy(values(stream, math.prod(shape))).reshape(shape)


def tokens(n, vocabulary):
    x = numpy.floor((values(5, n).astype(numpy.float64) / math.sqrt(12) + 0.5) * vocabulary)
    return torch.from_numpy(x.astype(numpy.int64) % vocabulary)


class Op:
    """A differentiable call: `inputs`, `forms(*inputs)`, `definition(*inputs)`, and the gradient of the output, `seed`."""

    def __init__(self, direction, inputs, forms, definition, seed):
        self.backward, self.inputs, self.definition, self.seed = direction == "backward", inputs, definition, seed
        if self.backward:
            self.leaves = [x.requires_grad_() for x in inputs]
            # The forward pass has been done: only the way back is timed.
            outputs = [form(*self.leaves) for form in forms]
            self.forms = [lambda y=y: torch.autograd.grad(y, self.leaves, seed, retain_graph=True) for y in outputs]
        else:
            self.forms = [lambda form=form: self.forward(form) for form in forms]

    def forward(self, form):
        with torch.no_grad():
            return (form(*self.inputs),)

    def pairs(self, run):
        got = run()
        exact = [x.detach().double().requires_grad_(self.backward) for x in self.inputs]
        y = self.definition(*exact)
        return list(zip(got, torch.autograd.grad(y, exact, self.seed.double()) if self.backward else (y,)))


def layer_norm(direction, dims, attrs):
    R, D, eps = dims["R"], dims["D"], attrs["eps"]

    def definition(x, g, b):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * g + b

    forms = [lambda x, g, b: F.layer_norm(x, (D,), g, b, eps)]
    return Op(direction, [numbers(1, R, D), numbers(2, D), numbers(3, D)], forms, definition, numbers(99, R, D))


def rms_norm(direction, dims, attrs):
    R, D, eps = dims["R"], dims["D"], attrs["eps"]

    def definition(x, g):
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * g

    forms = [lambda x, g: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * g]
    if hasattr(F, "rms_norm"):
        forms.append(lambda x, g: F.rms_norm(x, (D,), g, eps))
    return Op(direction, [numbers(1, R, D), numbers(2, D)], forms, definition, numbers(99, R, D))


def gelu(direction, dims, attrs):
    N = dims["N"]

    def definition(x):
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    forms = [lambda x: F.gelu(x, approximate="tanh")]
    return Op(direction, [numbers(1, N)], forms, definition, numbers(99, N))


def rotary(direction, dims, attrs):
    B, T, P = dims["B"], dims["T"], dims["P"]
    heads, width, turned = attrs["nHead"], attrs["dHead"], attrs["dRotary"]
    half = turned // 2
    rate = attrs["base"] ** (-torch.arange(half).double() * 2 / turned)
    angle = torch.outer(torch.arange(T).double(), rate)
    cos, sin = (torch.cat([f(angle)] * 2, -1).float()[:, None] for f in (torch.cos, torch.sin))

    def turn(x):
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

    def joined(x):
        x = x.view(B, T, -1, width)
        first = torch.cat([turn(x[:, :, :heads, :turned]), x[:, :, :heads, turned:]], -1)
        return torch.cat([first, x[:, :, heads:]], 2).view(B, T, P)

    def written_over(x):
        x = x.view(B, T, -1, width)
        y = x.clone()
        y[:, :, :heads, :turned] = turn(x[:, :, :heads, :turned])
        return y.view(B, T, P)

    def definition(x):
        x = x.view(B, T, -1, width)
        pairs = torch.complex(x[:, :, :heads, :half], x[:, :, :heads, half:turned])
        pairs = pairs * torch.polar(torch.ones_like(angle), angle)[:, None]
        first = torch.cat([pairs.real, pairs.imag, x[:, :, :heads, turned:]], -1)
        return torch.cat([first, x[:, :, heads:]], 2).view(B, T, P)

    return Op(direction, [numbers(1, B, T, P)], [joined, written_over], definition, numbers(99, B, T, P))


def embedding(direction, dims, attrs):
    R, V, D = dims["R"], dims["V"], dims["D"]
    ids = tokens(R, V)
    forms = [lambda w: F.embedding(ids, w)]
    return Op(direction, [numbers(2, V, D)], forms, lambda w: w[ids], numbers(99, R, D))


def cross_entropy(direction, dims, attrs):
    R, V = dims["R"], dims["V"]
    targets = tokens(R, V)

    def definition(logits):
        return logits.logsumexp(-1) - logits.gather(-1, targets[:, None])[:, 0]

    forms = [lambda logits: F.cross_entropy(logits, targets, reduction="none", ignore_index=attrs["ignore"])]
    return Op(direction, [numbers(1, R, V)], forms, definition, numbers(99, R))


class GradNorm:
    def __init__(self, _, dims, __):
        self.g = numbers(1, dims["N"])
        self.forms = [self.g.norm, lambda: self.g.dot(self.g).sqrt()]

    def pairs(self, run):
        return [(run(), self.g.double().square().sum().sqrt())]


class Step:
    """Scales the gradient as clipping does once the norm is known, then takes the tenth step of torch.optim.AdamW."""

    lr, beta1, beta2, eps, decay, norm, max_norm = 1e-6, 0.9, 0.98, 1e-8, 0.1, 3.0, 1.0

    def __init__(self, kind, g, start):
        self.kind, self.g = kind, g
        self.state = [x.clone() for x in start]
        self.w, m, v = self.state
        self.w.requires_grad_()
        self.w.grad = torch.empty_like(g)
        self.adam = torch.optim.AdamW([self.w], self.lr, (self.beta1, self.beta2), self.eps, self.decay, **kind)
        self.adam.state[self.w].update(step=torch.tensor(9.0), exp_avg=m, exp_avg_sq=v)

    def __call__(self):
        torch.mul(self.g, min(1, self.max_norm / self.norm), out=self.w.grad)
        self.adam.step()

    def definition(self, w, m, v, g):
        g = g * min(1, self.max_norm / self.norm)
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * g * g
        update = m / (1 - self.beta1**10) / ((v / (1 - self.beta2**10)).sqrt() + self.eps)
        return w - self.lr * (update + self.decay * w), m, v


class AdamW:
    def __init__(self, _, dims, __):
        n = dims["N"]
        self.g, self.start = numbers(2, n), [numbers(1, n), numbers(3, n), numbers(4, n).abs() + 0.1]
        self.forms = [self.step(foreach=True), self.step(foreach=False)]
        # One pass over memory; on the CPU since PyTorch 2.4.
        if int(torch.__version__.split(".")[0]) >= 2 and "cpu" in fused_devices():
            self.forms.append(self.step(fused=True))

    def step(self, **kind):
        return Step(kind, self.g, self.start)

    def pairs(self, run):
        """The last million elements of a first step."""
        fresh = self.step(**run.kind)
        fresh()
        last = slice(-1_000_000, None)
        exact = run.definition(*(x[last].double() for x in (*self.start, self.g)))
        return [(got.detach()[last], want) for got, want in zip(fresh.state, exact)]


def fused_devices():
    try:
        from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

        return _get_fused_kernels_supported_devices()
    except ImportError:
        return []


OPS = {
    "layerNorm": layer_norm,
    "rmsNorm": rms_norm,
    "gelu": gelu,
    "rotary": rotary,
    "embedding": embedding,
    "crossEntropy": cross_entropy,
    "gradNorm": GradNorm,
    "adamW": AdamW,
}


def prepare(text):
    job = json.loads(text)
    return OPS[job["op"]](job["pass"], job["dims"], job["attrs"])


serve(prepare)
