"""The work of train.mjs with PyTorch: train.py tiny|train FOLDER RESULTS.json

The same first weights, windows, optimiser and number of steps; torch.compile, SDPA, bf16 autocast with f32 weights, fused AdamW.
"""

import json
import statistics
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

which, folder, results = sys.argv[1:4]
plan = json.load(open(f"{folder}/{which}-plan.json"))
config = plan["config"]
L, H, D, V, T, B = (plan[k] for k in ("nLayer", "nHead", "dModel", "dVocab", "nCtx", "batchSize"))
GPU = torch.cuda.is_available()  # without one: on the CPU, to try the script itself
DEVICE = "cuda" if GPU else "cpu"
windows = torch.from_numpy(np.fromfile(f"{folder}/{which}-windows.bin", np.int32).reshape(-1, T + 1).astype(np.int64))
flat = np.fromfile(f"{folder}/{which}-weights.bin", np.float32)
torch.set_float32_matmul_precision("high")
P = {}
for slot in plan["slots"]:
    values = flat[slot["start"] : slot["start"] + int(np.prod(slot["shape"]))].copy()
    P[slot["name"]] = torch.nn.Parameter(torch.from_numpy(values).reshape(slot["shape"]).to(DEVICE))
half = config["dRotary"] // 2
rate = config["rotaryBase"] ** (-torch.arange(half).double() / half)
angle = torch.outer(torch.arange(T).double(), rate)
cos, sin = angle.cos().float().to(DEVICE), angle.sin().float().to(DEVICE)


def turn(x):
    """Rotary positions on the first dRotary dimensions of [B, H, T, K]."""
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1).to(x.dtype)


def attend(q, k, v):
    """Causal attention; written out where PyTorch (before 2.0) has no SDPA."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    return scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf).softmax(-1).to(v.dtype) @ v


def forward(ids, targets):
    linear = lambda name, x: F.linear(x, P[name + ".weight"], P[name + ".bias"])
    norm = lambda name, x: F.layer_norm(x, (D,), P[name + ".weight"], P[name + ".bias"], config["normEps"])
    x = F.embedding(ids, P["embed.weight"])
    for i in range(L):
        at = f"blocks.{i}."
        q, k, v = linear(at + "attn.qkv", norm(at + "attnNorm", x)).view(B, T, 3, H, D // H).permute(2, 0, 3, 1, 4)
        z = attend(turn(q), turn(k), v).transpose(1, 2).reshape(B, T, D)
        x = x + linear(at + "attn.out", z)
        up = F.gelu(linear(at + "mlp.up", norm(at + "mlpNorm", x)), approximate="tanh")
        x = x + linear(at + "mlp.down", up)
    logits = F.linear(norm("norm", x), P["embed.weight"])
    return F.cross_entropy(logits.view(-1, V).float(), targets.reshape(-1))


o = plan["optimizer"]
groups = [
    {"params": [p for p in P.values() if p.dim() > 1], "weight_decay": o["weightDecay"]},
    {"params": [p for p in P.values() if p.dim() <= 1], "weight_decay": 0.0},
]
optimizer = torch.optim.AdamW(groups, lr=o["lrPeak"], betas=o["betas"], eps=o["eps"], **({"fused": True} if GPU else {}))
mode = "reduce-overhead" if which == "tiny" else "default"
compiled = torch.compile(forward, mode=mode) if GPU else forward


def step(i):
    rows = [(i * B + b) % len(windows) for b in range(B)]
    batch = windows[rows].to(DEVICE, non_blocking=True)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        loss = compiled(batch[:, :-1].contiguous(), batch[:, 1:].contiguous())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(list(P.values()), o["clipNorm"])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


losses, times = [], []
for i in range(plan["nStep"]):
    start = time.perf_counter()
    losses.append(step(i))
    if GPU:
        torch.cuda.synchronize()
    times.append((time.perf_counter() - start) * 1e3)
ms = statistics.median(times[min(10, len(times) // 2) :])
report = {"model": which, "torch": torch.__version__, "device": DEVICE, "msPerStep": ms, "tokensPerSec": 1000 * B * T / ms, "losses": losses}
json.dump(report, open(results, "w"), indent=1)
print(f"torch {which}: {ms:.2f} ms/step, {1000 * B * T / ms:.0f} tokens/s, loss {losses[0]:.4f} -> {losses[-1]:.4f}")
