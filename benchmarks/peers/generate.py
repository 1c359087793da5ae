#!/usr/bin/env python3
"""Greedy decoding in eager PyTorch: generate.py SIZE.json THREADS WEIGHTS BATCH PROMPT NEW REPEATS. Prints one JSON line.

The prompts go through the model in one pass; then every sequence of the batch grows by a token a step, over a cache of
keys and values that was allocated at its full size."""

import json
import math
import sys
import time

import numpy
import torch
import torch.nn.functional as F

from train_step import Gpt, read_safetensors, tokens
from worker import blas


class Decoder:
    def __init__(self, model, batch, positions):
        self.model = model
        width = model.of("embed_in.weight").shape[1]
        shape = (batch, model.n_head, positions, width // model.n_head)
        self.caches = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(model.n_layer)]
        self.at = 0

    def turn(self, x, start, end):
        half = x.shape[-1] // 2
        turned = torch.cat([-x[..., half:], x[..., :half]], -1)
        return x * self.model.cos[start:end] + turned * self.model.sin[start:end]

    def block(self, i, x, start, end):
        model, layer = self.model, f"layers.{i}."
        batch, length, width = x.shape
        head = width // model.n_head
        qkv = model.linear(layer + "attention.query_key_value", model.norm(layer + "input_layernorm", x))
        q, k, v = qkv.view(batch, length, model.n_head, 3, head).permute(3, 0, 2, 1, 4)
        keys, values = self.caches[i]
        keys[:, :, start:end] = self.turn(k, start, end)
        values[:, :, start:end] = v
        scores = self.turn(q, start, end) @ keys[:, :, :end].transpose(-2, -1) / math.sqrt(head)
        if length > 1:
            scores = scores + model.mask[start:end, :end]
        z = (torch.softmax(scores, -1) @ values[:, :, :end]).transpose(1, 2).reshape(batch, length, width)
        x = x + model.linear(layer + "attention.dense", z)
        up = model.linear(layer + "mlp.dense_h_to_4h", model.norm(layer + "post_attention_layernorm", x))
        return x + model.linear(layer + "mlp.dense_4h_to_h", F.gelu(up, approximate="tanh"))

    def next(self, ids):
        """The likeliest token after ids [B, T], which stand at the next T positions."""
        start, end = self.at, self.at + ids.shape[1]
        self.at = end
        x = F.embedding(ids, self.model.of("embed_in.weight"))
        for i in range(self.model.n_layer):
            x = self.block(i, x, start, end)
        x = self.model.norm("final_layer_norm", x[:, -1])
        return F.linear(x, self.model.of("embed_in.weight")).argmax(-1)


def generate(model, prompts, new):
    decoder = Decoder(model, prompts.shape[0], prompts.shape[1] + new)
    added = [decoder.next(prompts)]
    for _ in range(new - 1):
        added.append(decoder.next(added[-1][:, None]))
    return torch.stack(added, 1)


def main():
    size, path = json.load(open(sys.argv[1])), sys.argv[3]
    threads, batch, prompt, new, repeats = (int(sys.argv[i]) for i in (2, 4, 5, 6, 7))
    if threads:
        torch.set_num_threads(threads)
    model = Gpt(read_safetensors(path), size["config"], size["T"])
    rows = [tokens(b, prompt, size["config"]["dVocab"]) for b in range(batch)]
    prompts = torch.from_numpy(numpy.stack(rows))
    seconds = []
    with torch.inference_mode():
        generate(model, prompts, min(new, 4))
        for _ in range(repeats):
            start = time.perf_counter()
            added = generate(model, prompts, new)
            seconds.append(time.perf_counter() - start)
    version = f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {blas()}"
    print(json.dumps({"seconds": seconds, "tokens": added.tolist(), "version": version}), flush=True)
    sys.stdin.read()


main()
