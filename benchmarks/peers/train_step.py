#!/usr/bin/env python3
"""The same training step in PyTorch: train_step.py SIZE.json THREADS STEPS WEIGHTS SECONDS. Prints one JSON line.

Takes four steps at least, and no more once SECONDS have passed. THREADS 0 leaves the number of threads to PyTorch. Reads
the first weights from a safetensors file with the names of GPTNeoXForCausalLM (sequential residuals, rotary on
the whole head, gelu_new, tied embeddings)."""

import json
import math
import resource
import struct
import sys
import time

import numpy
import torch
import torch.nn.functional as F

from worker import blas


def read_safetensors(path):
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            flat = numpy.frombuffer(data[start:end], dtype="<f4").copy()
            tensors[name] = torch.from_numpy(flat).reshape(entry["shape"])
    return tensors


def tokens(window, n, vocabulary):
    k = numpy.arange(n, dtype=numpy.uint64)
    mask = numpy.uint64(0xFFFFFFFF)
    x = (numpy.uint64(window * 0x9E3779B1 & 0xFFFFFFFF) + k * numpy.uint64(0x85EBCA77)) & mask
    x = ((x ^ (x >> numpy.uint64(15))) * numpy.uint64(0x2C1B3C6D)) & mask
    x = ((x ^ (x >> numpy.uint64(12))) * numpy.uint64(0x297A2D39)) & mask
    x = x ^ (x >> numpy.uint64(15))
    v = numpy.uint64(vocabulary)
    return numpy.minimum(x % v, (x >> numpy.uint64(11)) % v).astype(numpy.int64)


class Gpt(torch.nn.Module):
    def __init__(self, weights, config, positions):
        super().__init__()
        self.n_layer, self.n_head = config["nLayer"], config["nHead"]
        self.weights = torch.nn.ParameterDict(
            {name.replace(".", "/"): torch.nn.Parameter(value) for name, value in weights.items()}
        )
        width = config["dModel"] // config["nHead"]
        rate = 1.0 / config["rotaryBase"] ** (torch.arange(0, width, 2).float() / width)
        angle = torch.outer(torch.arange(positions).float(), rate)
        self.register_buffer("cos", torch.cat([angle.cos(), angle.cos()], -1))
        self.register_buffer("sin", torch.cat([angle.sin(), angle.sin()], -1))
        self.register_buffer("mask", torch.full((positions, positions), -math.inf).triu(1))

    def of(self, name):
        return self.weights[("gpt_neox." + name).replace(".", "/")]

    def norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.of(name + ".weight"), self.of(name + ".bias"), 1e-5)

    def linear(self, name, x):
        return F.linear(x, self.of(name + ".weight"), self.of(name + ".bias"))

    def turn(self, x):
        half = x.shape[-1] // 2
        return x * self.cos + torch.cat([-x[..., half:], x[..., :half]], -1) * self.sin

    def block(self, i, x):
        layer = f"layers.{i}."
        batch, length, width = x.shape
        head = width // self.n_head
        qkv = self.linear(layer + "attention.query_key_value", self.norm(layer + "input_layernorm", x))
        q, k, v = qkv.view(batch, length, self.n_head, 3, head).permute(3, 0, 2, 1, 4)
        scores = self.turn(q) @ self.turn(k).transpose(-2, -1) / math.sqrt(head) + self.mask
        z = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.linear(layer + "attention.dense", z)
        up = self.linear(layer + "mlp.dense_h_to_4h", self.norm(layer + "post_attention_layernorm", x))
        return x + self.linear(layer + "mlp.dense_4h_to_h", F.gelu(up, approximate="tanh"))

    def forward(self, ids, targets):
        x = F.embedding(ids, self.of("embed_in.weight"))
        for i in range(self.n_layer):
            x = self.block(i, x)
        logits = F.linear(self.norm("final_layer_norm", x), self.of("embed_in.weight"))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def main():
    size, threads, steps, path = json.load(open(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    if threads:
        torch.set_num_threads(threads)
    config, optimizer = size["config"], size["optimizer"]
    model = Gpt(read_safetensors(path), config, size["T"])
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    adam = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": optimizer["weightDecay"]},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=optimizer["lrPeak"],
        betas=optimizer["betas"],
        eps=optimizer["eps"],
        foreach=True,
    )
    ms, losses = [], []
    end = time.perf_counter() + float(sys.argv[5])
    for step in range(steps):
        if step >= 4 and time.perf_counter() > end:
            break
        start = time.perf_counter()
        rows = [tokens(step * size["B"] + b, size["T"] + 1, config["dVocab"]) for b in range(size["B"])]
        batch = torch.from_numpy(numpy.stack(rows))
        adam.zero_grad(set_to_none=True)
        loss = model(batch[:, :-1], batch[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optimizer["clipNorm"])
        adam.step()
        losses.append(loss.item())
        ms.append((time.perf_counter() - start) * 1000)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    version = f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {blas()}"
    print(json.dumps({"ms": ms[1:], "losses": losses, "rssMiB": peak, "version": version}), flush=True)
    sys.stdin.read()  # Stays until its times have been read off.


if __name__ == "__main__":
    main()
