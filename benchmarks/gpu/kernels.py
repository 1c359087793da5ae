"""Kernels of libphyslm_cuda.so: kernels.py check|small|family|bench LIBRARY RESULTS.json [FAMILY]

check: every kernel against float64 on the host, on ragged shapes, with poisoned outputs and guard bytes; products of whole
numbers exactly; the same bits over many runs. small: the same on few small shapes, for compute-sanitizer. family: only what
Hopper's own kernels of one family do (gemm, epilogue, attention_forward, attention_backward). bench: times against
PyTorch in this process, on random data that does not fit into L2.
"""

import ctypes
import json
import os
import statistics
import sys
import time

import numpy as np
from library import Array, Library, from_bf16, tensor, to_bf16, BF16, F32, I32

mode, path, results = sys.argv[1:4]
lib = Library(path)
rng = np.random.default_rng(1)
failures = []
rows = []


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def rounded(x):
    return from_bf16(to_bf16(x))


def run(name, ins, outs, attrs=()):
    """ins: (data, kind); outs: (shape, kind) or None. Returns what the kernel wrote, as doubles."""
    inputs = [Array(lib, data.shape, kind, data) for data, kind in ins]
    outputs = [None if out is None else Array(lib, *out) for out in outs]
    empty = tensor(None, F32, [])
    call = lib.call(name, [a.tensor for a in inputs], [empty if o is None else o.tensor for o in outputs], attrs)
    lib.run([call])
    lib.wait()
    for a in inputs:
        a.read()  # looks at the guard bytes
    values = [None if o is None else o.read() for o in outputs]
    for a in inputs + [o for o in outputs if o is not None]:
        a.free()
    return values


def expect(what, got, wanted, bound):
    """Relative distance in the Frobenius norm; NaN never passes."""
    error = float(np.linalg.norm(got - wanted) / max(np.linalg.norm(wanted), 1e-30))
    passed = error <= bound
    rows.append({"check": what, "error": error, "bound": bound, "passed": bool(passed)})
    if not passed:
        failures.append(f"{what}: {error:.2e} > {bound:.0e}")


BOUND = {"f32": 2e-6, "bf16": 3e-3}


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_slope(x):
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x)


def check_linear(R, I, O, kind):
    x, w, b, dy = normal(R, I), normal(O, I) / np.sqrt(I), normal(O), normal(R, O)
    exact = rounded if kind == "bf16" else lambda v: v.astype(np.float64)
    X, W, DY = exact(x), exact(w), exact(dy)
    pre = X @ W.T + b
    label = f"R{R} I{I} O{O} {kind}"
    bound = 2e-5 if kind == "f32" else BOUND["bf16"]
    (y,) = run("linearBias_forward", [(x, kind), (w, kind), (b, "f32")], [((R, O), kind)])
    expect(f"linearBias {label}", y, pre, bound)
    y, kept = run("linearBiasGelu_forward", [(x, kind), (w, kind), (b, "f32")], [((R, O), kind), ((R, O), kind)])
    expect(f"linearBiasGelu {label}", y, gelu(pre), bound)
    expect(f"linearBiasGelu pre {label}", kept, pre, bound)
    ins = [(x, kind), (w, kind), (pre.astype(np.float32), kind), (dy, kind)]
    dx, dw, db = run("linearBiasGelu_backward", ins, [((R, I), kind), ((O, I), "f32"), ((O,), "f32")])
    d = DY * gelu_slope(exact(pre.astype(np.float32)))
    if kind == "bf16":
        d = rounded(d.astype(np.float32))
    expect(f"d linearBiasGelu.x {label}", dx, d @ W, bound)
    expect(f"d linearBiasGelu.w {label}", dw, d.T @ X, bound)
    expect(f"d linearBiasGelu.b {label}", db, d.sum(0), bound)


def check_whole_numbers(M, N, K, ta, tb):
    a, b = rng.integers(-4, 5, (M, K)).astype(np.float32), rng.integers(-4, 5, (K, N)).astype(np.float32)
    ins = [(np.ascontiguousarray(a.T) if ta else a, "bf16"), (np.ascontiguousarray(b.T) if tb else b, "bf16")]
    (c,) = run("matmul_forward", ins, [((M, N), "f32")], [ta, tb])
    expect(f"whole numbers {M}x{N}x{K}{' At' if ta else ''}{' Bt' if tb else ''}", c, a.astype(np.float64) @ b, 0)


def check_tails(R, I, O):
    """What Hopper's products do while they store: residuals, gelu', gates, sums of columns. bf16 in and out."""
    x, w, b, dy = (rounded(v) for v in (normal(R, I), normal(O, I) / np.sqrt(I), normal(O), normal(R, O) / np.sqrt(O)))
    r, pre, gates = rounded(normal(R, O)), rounded(normal(R, I)), rounded(normal(R, 2 * I))
    label, half = f"R{R} I{I} O{O}", lambda *arrays: [(a.astype(np.float32), "bf16") for a in arrays]
    biased = half(x, w) + [(b.astype(np.float32), "f32")] + half(r)
    (y,) = run("linearBiasAdd_forward", biased, [((R, O), "bf16")])
    expect(f"linearBiasAdd {label}", y, x @ w.T + b + r, BOUND["bf16"])
    outs = [((R, I), "bf16"), ((O, I), "f32"), ((O,), "f32"), ((I,), "f32")]
    dpre, dw, db, sums = run("linearBiasOfGelu_backward", half(x, w, dy, pre), outs)
    d = (dy @ w) * gelu_slope(pre)
    expect(f"linearBiasOfGelu dpre {label}", dpre, d, BOUND["bf16"])
    expect(f"linearBiasOfGelu dw {label}", dw, dy.T @ x, 2e-5)
    expect(f"linearBiasOfGelu db {label}", db, dy.sum(0), 2e-5)
    expect(f"linearBiasOfGelu sums {label}", sums, d.sum(0), BOUND["bf16"])
    a, u = gates[:, :I], gates[:, I:]
    s = 1 / (1 + np.exp(-a))
    dgates, dw = run("linearOfSiluGate_backward", half(x, w, dy, gates), [((R, 2 * I), "bf16"), ((O, I), "f32")])
    d = dy @ w
    expect(f"linearOfSiluGate {label}", dgates, np.concatenate([d * u * s * (1 + a * (1 - s)), d * a * s], 1), BOUND["bf16"])
    expect(f"linearOfSiluGate dw {label}", dw, dy.T @ x, 2e-5)
    if O % 2 == 0:
        got, kept = run("linearSiluGate_forward", half(x, w), [((R, O // 2), "bf16"), ((R, O), "bf16")])
        both = x @ w.T
        a, u = both[:, : O // 2], both[:, O // 2 :]
        expect(f"linearSiluGate gates {label}", kept, both, BOUND["bf16"])
        expect(f"linearSiluGate {label}", got, a / (1 + np.exp(-a)) * u, 2 * BOUND["bf16"])  # may round the gates first


def attention(qkv, d, H, G, K, scale):
    """Causal attention and its gradients in doubles; qkv [B, T, (H+2G)K], d [B, T, HK]."""
    B, T, _ = qkv.shape
    heads = qkv.reshape(B, T, H + 2 * G, K).transpose(0, 2, 1, 3)
    q, k, v = heads[:, :H], heads[:, H : H + G].repeat(H // G, 1), heads[:, H + G :].repeat(H // G, 1)
    s = np.where(np.tri(T, dtype=bool), q @ k.transpose(0, 1, 3, 2) * scale, -np.inf)
    top = s.max(-1, keepdims=True)
    p = np.exp(s - top)
    total = p.sum(-1, keepdims=True)
    p /= total
    lse = (top + np.log(total))[..., 0]
    o = p @ v
    g = d.reshape(B, T, H, K).transpose(0, 2, 1, 3)
    dp = g @ v.transpose(0, 1, 3, 2)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True)) * scale
    dq, dk, dv = ds @ k, ds.transpose(0, 1, 3, 2) @ q, p.transpose(0, 1, 3, 2) @ g
    fold = lambda x: x.reshape(B, G, H // G, T, K).sum(2)
    grad = np.concatenate([dq, fold(dk), fold(dv)], 1).transpose(0, 2, 1, 3).reshape(qkv.shape)
    return o.transpose(0, 2, 1, 3).reshape(B, T, H * K), lse, grad


def check_attention(B, T, H, G, K, kind, forward=True, backward=True):
    P, scale = (H + 2 * G) * K, K**-0.5
    qkv, d = normal(B, T, P), normal(B, T, H * K)
    exact = rounded if kind == "bf16" else lambda v: v.astype(np.float64)
    o, lse, grad = attention(exact(qkv), exact(d), H, G, K, scale)
    attrs = [H, G, K, scale, 1]
    label = f"B{B} T{T} H{H} G{G} K{K} {kind}"
    if forward:
        outs = [((B, T, H * K), kind), ((B, H, T), "f32")]
        got, got_lse = run("attention_forward", [(qkv, kind)], outs, attrs)
        expect(f"attention {label}", got, o, 4e-3 if kind == "bf16" else 1e-5)
        expect(f"attention lse {label}", got_lse, lse, 1e-5)
    if backward:
        ins = [(qkv, kind), (o.astype(np.float32), kind), (lse.astype(np.float32), "f32"), (d, kind)]
        (dqkv,) = run("attention_backward", ins, [((B, T, P), kind)], attrs)
        for what, first, last in (("q", 0, H), ("k", H, H + G), ("v", H + G, H + 2 * G)):
            part = slice(first * K, last * K)
            expect(f"d attention.{what} {label}", dqkv[..., part], grad[..., part], 1e-2 if kind == "bf16" else 2e-5)


def check_rows(R, D, kind):
    x, g, b, dy = normal(R, D), normal(D), normal(D), normal(R, D)
    exact = rounded if kind == "bf16" else lambda v: v.astype(np.float64)
    X, DY = exact(x), exact(dy)
    label, bound = f"R{R} D{D} {kind}", 1e-5 if kind == "f32" else BOUND["bf16"]
    mean, rstd = X.mean(1), 1 / np.sqrt(X.var(1) + 1e-5)
    n = (X - mean[:, None]) * rstd[:, None]
    y, m, r = run(
        "layerNorm_forward", [(x, kind), (g, "f32"), (b, "f32")], [((R, D), kind), ((R,), "f32"), ((R,), "f32")], [1e-5]
    )
    expect(f"layerNorm {label}", y, n * g + b, bound)
    w = DY * g
    dx = rstd[:, None] * (w - w.mean(1, keepdims=True) - n * (w * n).mean(1, keepdims=True))
    ins = [(x, kind), (g, "f32"), (m.astype(np.float32), "f32"), (r.astype(np.float32), "f32"), (dy, kind)]
    got = run("layerNorm_backward", ins, [((R, D), kind), ((D,), "f32"), ((D,), "f32")], [1e-5])
    for what, value, wanted in zip("xgb", got, [dx, (DY * n).sum(0), DY.sum(0)]):
        expect(f"d layerNorm.{what} {label}", value, wanted, 1e-4 if D == 1 else max(bound, 2e-5))
    targets = rng.integers(-1, D, R).astype(np.int32)
    lse = np.log(np.exp(X - X.max(1, keepdims=True)).sum(1)) + X.max(1)
    loss, got_lse = run("crossEntropy_forward", [(x, kind), (targets, "i32")], [((R,), "f32"), ((R,), "f32")], [-1])
    wanted = np.where(targets < 0, 0, lse - X[np.arange(R), targets])
    expect(f"crossEntropy {label}", loss, wanted, 1e-5)
    seed = normal(R)
    p = np.exp(X - lse[:, None])
    p[np.arange(R), targets] -= targets >= 0
    ins = [(x, kind), (targets, "i32"), (got_lse.astype(np.float32), "f32"), (seed, "f32")]
    (d,) = run("crossEntropy_backward", ins, [((R, D), kind)], [-1])
    expect(f"d crossEntropy {label}", d, p * (seed * (targets >= 0))[:, None], max(bound, 1e-5))


def check_embedding(R, V, D, kind):
    ids, w, dy = rng.integers(0, V, R).astype(np.int32), normal(V, D), normal(R, D)
    (y,) = run("embedding_forward", [(ids, "i32"), (w, "f32")], [((R, D), "f32")])
    expect(f"embedding R{R} V{V} D{D}", y, w[ids].astype(np.float64), 0)
    wanted = np.zeros((V, D))
    np.add.at(wanted, ids, rounded(dy) if kind == "bf16" else dy.astype(np.float64))
    (dw,) = run("embedding_backward", [(ids, "i32"), (dy, kind)], [((V, D), "f32")])
    expect(f"d embedding R{R} V{V} D{D} {kind}", dw, wanted, 1e-5)


def check_optimizer(N):
    w, g, m, v = normal(N), normal(N), normal(N), np.abs(normal(N))
    (norm,) = run("gradNorm_forward", [(g, "f32")], [((1,), "f32")])
    expect(f"gradNorm N{N}", norm, np.array([np.linalg.norm(g.astype(np.float64))]), 1e-6)
    hyper = np.array([0.01, 0.9, 0.98, 1e-8, 0.1, 0.3, 0.1, 1], np.float32)
    h = hyper.astype(np.float64)
    clip = min(1, h[7] / (norm[0] + 1e-6))
    m1, v1 = h[1] * m + (1 - h[1]) * g * clip, h[2] * v + (1 - h[2]) * (g * clip) ** 2
    w1 = w - h[0] * (m1 / h[5] / (np.sqrt(v1 / h[6]) + h[3]) + h[4] * w * (np.arange(N) < N // 2))
    ins = [(x, "f32") for x in (w, g, m, v, norm.astype(np.float32), hyper)]
    got = run("adamW_forward", ins, [((N,), "f32")] * 3, [N // 2])
    for what, value, wanted in zip("wmv", got, [w1, m1, v1]):
        expect(f"adamW.{what} N{N}", value, wanted, 1e-5)


def check_bits(repeats):
    """Many runs of the kernels whose order of sums could wander."""
    B, T, H, K, R, I, O = 4, 512, 4, 64, 2048, 768, 768
    qkv, d = normal(B, T, 3 * H * K), normal(B, T, H * K)
    o, lse, _ = attention(rounded(qkv), rounded(d), H, H, K, 0.125)
    ids = rng.integers(0, 7, R).astype(np.int32)
    x, dy, w = normal(R, I), normal(R, O), normal(O, I)
    cases = {
        "attention_backward": lambda: run(
            "attention_backward",
            [(qkv, "bf16"), (o.astype(np.float32), "bf16"), (lse.astype(np.float32), "f32"), (d, "bf16")],
            [((B, T, 3 * H * K), "bf16")],
            [H, H, K, 0.125, 1],
        ),
        "linearBias_backward": lambda: run(
            "linearBias_backward",
            [(x, "bf16"), (w, "bf16"), (dy, "bf16")],
            [((R, I), "bf16"), ((O, I), "f32"), ((O,), "f32")],
        ),
        "embedding_backward": lambda: run("embedding_backward", [(ids, "i32"), (dy, "bf16")], [((7, O), "f32")]),
    }
    for name, case in cases.items():
        first = [v.tobytes() for v in case()]
        same = sum([v.tobytes() for v in case()] == first for _ in range(repeats))
        rows.append({"check": f"same bits, {name}", "repeats": repeats, "same": same, "passed": same == repeats})
        if same != repeats:
            failures.append(f"{name}: {repeats - same} of {repeats} runs gave other bits")


HEADS = [
    (1, 1, 1, 1, 32), (2, 33, 4, 2, 16), (1, 64, 2, 2, 64), (1, 65, 2, 2, 128), (2, 512, 12, 12, 64), (1, 513, 4, 2, 64),
    (1, 1024, 2, 2, 128), (1, 100, 2, 2, 40), (1, 40, 1, 1, 160), (3, 200, 4, 4, 32), (2, 700, 4, 1, 128), (44, 260, 12, 12, 64),
    (1, 2500, 2, 2, 64),
]  # fmt: skip
WHOLE = [
    (64, 64, 64), (127, 129, 65), (128, 192, 64), (200, 256, 1000), (1000, 2304, 768), (4096, 768, 3072), (768, 768, 8192),
]  # fmt: skip
TAILS = [(64, 32, 64), (200, 72, 136), (1000, 192, 768), (130, 40, 44), (64, 64, 1104), (4096, 768, 3072), (4096, 3072, 768)]


def check_family(name):
    """What decides whether Hopper's kernels of one family are used: see run.sh."""
    if name == "gemm":
        for shape in WHOLE:
            for turned in ((0, 0), (0, 1), (1, 0), (1, 1)):
                check_whole_numbers(*shape, *turned)
        check_linear(4096, 3072, 768, "bf16")
    if name == "epilogue":
        for shape in TAILS:
            check_tails(*shape)
    if name.startswith("attention"):
        for shape in HEADS:
            check_attention(*shape, "bf16", name == "attention_forward", name == "attention_backward")
    check_bits(20 if "emulated" not in lib.description() else 1)


def check(small):
    kinds = ("f32", "bf16")
    shapes = [(70, 40, 136)] if small else [(1, 1, 1), (3, 5, 17), (257, 96, 200), (1000, 768, 2304), (4096, 3072, 768)]
    for shape in shapes:
        for kind in kinds:
            check_linear(*shape, kind)
    for M, N, K in [(130, 200, 72)] if small else WHOLE:
        for ta in (0, 1):
            for tb in (0, 1):
                check_whole_numbers(M, N, K, ta, tb)
    for shape in [(70, 40, 136), (130, 192, 64)] if small else TAILS:
        check_tails(*shape)
    for shape in [(1, 70, 2, 1, 64), (1, 40, 1, 1, 32), (1, 65, 1, 1, 128)] if small else HEADS:
        for kind in kinds:
            if kind == "bf16" or shape[0] * shape[1] < 4096:
                check_attention(*shape, kind)
    for shape in [(40, 136)] if small else [(1, 1), (3, 17), (300, 64), (5000, 768), (1000, 1001), (256, 50304)]:
        for kind in kinds:
            if shape[1] <= 4096:
                check_rows(*shape, kind)
            else:
                check_loss_only(*shape, kind)
    for shape in [(300, 7, 24)] if small else [(1, 1, 1), (700, 3, 5), (8192, 50304, 768), (20000, 5, 256)]:
        check_embedding(*shape, "bf16")
    for n in [1000] if small else [1, 17, 5000, 3_000_001]:
        check_optimizer(n)
    if not small:
        check_bits(100 if "emulated" not in lib.description() else 1)


def check_loss_only(R, V, kind):
    x = normal(R, V)
    X = rounded(x) if kind == "bf16" else x.astype(np.float64)
    targets = rng.integers(0, V, R).astype(np.int32)
    lse = np.log(np.exp(X).sum(1))
    loss, _ = run("crossEntropy_forward", [(x, kind), (targets, "i32")], [((R,), "f32"), ((R,), "f32")], [-1])
    expect(f"crossEntropy R{R} V{V} {kind}", loss, lse - X[np.arange(R), targets], 1e-5)


def write(extra):
    with open(results, "w") as file:
        without = os.environ.get("PHYSLM_CUDA_WITHOUT", "")
        json.dump({"device": lib.description(), "without": without, **extra}, file, indent=1)


if mode in ("check", "small", "family"):
    if mode == "family":
        check_family(sys.argv[4])
    else:
        check(mode == "small")
    write({"checks": rows})
    print(f"{len(rows)} checks on {lib.description()}, {len(failures)} failed")
    for failure in failures:
        print("  " + failure)
    sys.exit(1 if failures else 0)

# --- bench ---------------------------------------------------------------------------------------------------------------

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

torch.manual_seed(1)
CALLS = 20  # in one graph


def of(t):
    dtype = {torch.bfloat16: BF16, torch.float32: F32, torch.int32: I32}[t.dtype]
    return tensor(t.data_ptr(), dtype, list(t.shape))


def time_ours(calls):
    """Median seconds of one call, from a replayed graph of them."""
    replay = ctypes.c_void_p()
    for _ in range(3):
        lib.run(calls, replay)
    lib.wait()
    samples = []
    for _ in range(9):
        start = time.perf_counter()
        lib.run(calls, replay)
        lib.wait()
        samples.append((time.perf_counter() - start) / len(calls))
    lib.f.drop_replay(replay)
    return statistics.median(samples)


def time_torch(work):
    """Median seconds of work(i), from a captured graph of CALLS of them."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for i in range(3):
            work(i)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(CALLS):
            work(i)
    graph.replay()
    torch.cuda.synchronize()
    samples = []
    for _ in range(9):
        start = time.perf_counter()
        graph.replay()
        torch.cuda.synchronize()
        samples.append((time.perf_counter() - start) / CALLS)
    return statistics.median(samples)


def sets(make, nbytes):
    """Copies of the operands, enough that they do not stay in L2."""
    return [make() for _ in range(max(2, min(8, int(256e6 / nbytes) + 1)))]


def bf(*shape):
    return torch.randn(shape, device="cuda", dtype=torch.bfloat16)


def row(kernel, shape, ours, torch_s, work, unit, note=""):
    rows.append(
        {"kernel": kernel, "shape": shape, "ours_us": ours * 1e6, "torch_us": torch_s * 1e6, "ratio": torch_s / ours,
         unit: work / ours / 1e12, f"torch_{unit}": work / torch_s / 1e12, "note": note}
    )  # fmt: skip
    print(f"{kernel:28s} {shape:24s} {ours * 1e6:9.1f} us {work / ours / 1e12:8.2f} {unit}  torch {torch_s * 1e6:9.1f} us  x{torch_s / ours:.2f}  {note}", flush=True)  # fmt: skip


def bench_product(M, N, K, form):
    """y = x·wT, dx = dy·w, dw = dyT·x, as in training M rows."""
    def make():
        x, w, dy = bf(M, K), bf(N, K) / K**0.5, bf(M, N)
        return x, w, dy, torch.empty(M, N, device="cuda", dtype=torch.bfloat16), torch.empty(M, K, device="cuda", dtype=torch.bfloat16), torch.empty(N, K, device="cuda")  # fmt: skip

    s = sets(make, 2 * (M * N + M * K + N * K))
    at = lambda i: s[i % len(s)]
    bias = torch.randn(N, device="cuda")
    bias_half = bias.bfloat16()
    residual, sums = bf(M, N), torch.empty(K, device="cuda")
    pre = torch.empty(M, N, device="cuda", dtype=torch.bfloat16)
    if form == "forward":
        calls = [lib.call("linearBias_forward", [of(at(i)[0]), of(at(i)[1]), of(bias)], [of(at(i)[3])]) for i in range(CALLS)]
        other = lambda i: torch.addmm(bias_half, at(i)[0], at(i)[1].T, out=at(i)[3])
    elif form == "gelu":
        calls = [lib.call("linearBiasGelu_forward", [of(at(i)[0]), of(at(i)[1]), of(bias)], [of(at(i)[3]), of(pre)]) for i in range(CALLS)]  # fmt: skip
        other = lambda i: F.gelu(torch.addmm(bias_half, at(i)[0], at(i)[1].T, out=pre), approximate="tanh")
    elif form == "add":
        calls = [lib.call("linearBiasAdd_forward", [of(at(i)[0]), of(at(i)[1]), of(bias), of(residual)], [of(at(i)[3])]) for i in range(CALLS)]  # fmt: skip
        other = lambda i: torch.add(torch.addmm(bias_half, at(i)[0], at(i)[1].T), residual, out=at(i)[3])
    elif form == "dx, gelu'":
        # x stands for what went into GELU: M×K like dx. The weight's and the bias's gradients are not asked for.
        empty = tensor(None, F32, [])
        calls = [lib.call("linearBiasOfGelu_backward", [of(at(i)[0]), of(at(i)[1]), of(at(i)[2]), of(at(i)[0])], [of(at(i)[4]), empty, empty, of(sums)]) for i in range(CALLS)]  # fmt: skip
        other = lambda i: torch.ops.aten.gelu_backward(torch.mm(at(i)[2], at(i)[1]), at(i)[0], approximate="tanh").sum(0)
    elif form == "dx":
        calls = [lib.call("matmul_forward", [of(at(i)[2]), of(at(i)[1])], [of(at(i)[4])], [0, 0]) for i in range(CALLS)]
        other = lambda i: torch.mm(at(i)[2], at(i)[1], out=at(i)[4])
    else:
        calls = [lib.call("matmul_forward", [of(at(i)[2]), of(at(i)[0])], [of(at(i)[5])], [1, 0]) for i in range(CALLS)]
        other = lambda i: torch.mm(at(i)[2].T, at(i)[0])
    row(f"product {form}", f"{M}x{N}x{K}", time_ours(calls), time_torch(other), 2.0 * M * N * K, "TFLOPS")


def bench_attention(B, T, H, K):
    P, scale = 3 * H * K, K**-0.5
    s = sets(lambda: (bf(B, T, P), bf(B, T, H * K)), 2 * B * T * P)
    at = lambda i: s[i % len(s)]
    o = torch.empty(B, T, H * K, device="cuda", dtype=torch.bfloat16)
    lse, grad = torch.empty(B, H, T, device="cuda"), torch.empty(B, T, P, device="cuda", dtype=torch.bfloat16)
    attrs = [H, H, K, scale, 1]
    flops = 2.0 * B * H * T * T * K
    forwards = [lib.call("attention_forward", [of(at(i)[0])], [of(o), of(lse)], attrs) for i in range(CALLS)]
    backwards = [lib.call("attention_backward", [of(at(i)[0]), of(o), of(lse), of(at(i)[1])], [of(grad)], attrs) for i in range(CALLS)]  # fmt: skip
    forward, backward = time_ours(forwards), time_ours(backwards)
    without = os.environ.get("PHYSLM_CUDA_WITHOUT", "")
    os.environ["PHYSLM_CUDA_WITHOUT"] = "attention_forward attention_backward"
    older = time_ours(forwards), time_ours(backwards)
    os.environ["PHYSLM_CUDA_WITHOUT"] = without
    best = {}
    for name, backend in {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}.items():
        try:
            with sdpa_kernel(backend):
                split = lambda x: x.view(B, T, 3, H, K).permute(2, 0, 3, 1, 4)
                f = time_torch(lambda i: F.scaled_dot_product_attention(*split(at(i)[0]), is_causal=True))
                x = at(0)[0].clone().requires_grad_()
                y = F.scaled_dot_product_attention(*split(x), is_causal=True)
                d = bf(*y.shape)
                torch.cuda.synchronize()
                start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                for _ in range(3):
                    torch.autograd.grad(y, x, d, retain_graph=True)
                start.record()
                for _ in range(CALLS):
                    torch.autograd.grad(y, x, d, retain_graph=True)
                end.record()
                torch.cuda.synchronize()
                best[name] = (f, start.elapsed_time(end) / CALLS / 1e3)
        except RuntimeError as problem:
            print(f"  SDPA {name}: {str(problem).splitlines()[0]}")
    for what, ours, index, work in (("forward", forward, 0, flops), ("backward", backward, 1, 2.5 * flops)):
        name = min(best, key=lambda n: best[n][index])
        row(f"attention {what}", f"{B}x{T}x{H}x{K}", ours, best[name][index], work, "TFLOPS", f"torch: {name}; mma.sync {older[index] * 1e6:.1f} us")


def bench_memory(R, D, V):
    x, dy, y = bf(R, D), bf(R, D), bf(R, D)
    g, b = torch.randn(D, device="cuda"), torch.randn(D, device="cuda")
    mean, rstd, dg, db = (torch.empty(n, device="cuda") for n in (R, R, D, D))
    norm = torch.nn.LayerNorm(D, device="cuda", dtype=torch.bfloat16)
    ours = time_ours([lib.call("layerNorm_forward", [of(x), of(g), of(b)], [of(y), of(mean), of(rstd)], [1e-5])] * CALLS)
    row("layerNorm forward", f"{R}x{D}", ours, time_torch(lambda i: norm(x)), 4.0 * R * D, "TBps")
    call = lib.call("layerNorm_backward", [of(x), of(g), of(mean), of(rstd), of(dy)], [of(y), of(dg), of(db)], [1e-5])
    z = x.clone().requires_grad_()
    out = norm(z)
    backward = lambda i: torch.autograd.grad(out, (z, norm.weight, norm.bias), dy, retain_graph=True)
    backward(0)
    torch.cuda.synchronize()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for i in range(CALLS):
        backward(i)
    end.record()
    torch.cuda.synchronize()
    row("layerNorm backward", f"{R}x{D}", time_ours([call] * CALLS), start.elapsed_time(end) / CALLS / 1e3, 6.0 * R * D, "TBps")
    rows_ce = 8192
    logits = bf(rows_ce, V)
    targets = torch.randint(0, V, (rows_ce,), device="cuda", dtype=torch.int32)
    loss, lse, seed = (torch.empty(rows_ce, device="cuda") for _ in range(3))
    seed.fill_(1 / rows_ce)
    grad = torch.empty_like(logits)
    calls = [
        lib.call("crossEntropy_forward", [of(logits), of(targets)], [of(loss), of(lse)], [-1]),
        lib.call("crossEntropy_backward", [of(logits), of(targets), of(lse), of(seed)], [of(grad)], [-1]),
    ]
    wide = targets.long()
    fused = torch.compile(lambda l: (l.float().softmax(1) - F.one_hot(wide, V)).bfloat16(), mode="max-autotune-no-cudagraphs")
    ours = time_ours(calls * (CALLS // 2)) * 2
    row("crossEntropy both", f"{rows_ce}x{V}", ours, time_torch(lambda i: fused(logits)), 6.0 * rows_ce * V, "TBps", "torch: compiled softmax - one-hot")  # fmt: skip
    N = 124_000_000
    w, gr, m, v = (torch.rand(N, device="cuda") for _ in range(4))
    hyper = torch.tensor([1e-3, 0.9, 0.98, 1e-8, 0.1, 0.1, 0.02, 1], device="cuda")
    norm1 = torch.empty(1, device="cuda")
    ours = time_ours([lib.call("adamW_forward", [of(t) for t in (w, gr, m, v, norm1, hyper)], [of(w), of(m), of(v)], [N])] * 4)
    parameter = torch.nn.Parameter(w.clone())
    parameter.grad = gr
    optimizer = torch.optim.AdamW([parameter], fused=True, capturable=True)
    row("adamW", f"{N}", ours, time_torch(lambda i: optimizer.step()), 28.0 * N, "TBps", "torch: fused")
    row("gradNorm", f"{N}", time_ours([lib.call("gradNorm_forward", [of(gr)], [of(norm1)])] * 4), time_torch(lambda i: gr.norm()), 4.0 * N, "TBps")  # fmt: skip


big = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
peak = 2 * 8192.0**3 / time_torch(lambda i: big @ big) / 1e12
source = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
goal = torch.empty_like(source)
bandwidth = 2.0 * (1 << 30) / time_torch(lambda i: goal.copy_(source)) / 1e12
print(f"{lib.description()}: cuBLAS 8192^3 {peak:.0f} TFLOPS, copy {bandwidth:.2f} TB/s")
del big, source, goal
for form in ("forward", "gelu", "add", "dx", "dx, gelu'", "dw"):
    for N, K in ((2304, 768), (768, 768), (3072, 768), (768, 3072)):
        if (form != "gelu" or N == 3072) and (form != "add" or N == 768) and (form != "dx, gelu'" or K == 3072):
            bench_product(49152, N, K, form)
bench_product(8192, 8192, 8192, "forward")
for form in ("forward", "dx", "dw"):
    bench_product(4096, 256, 256, form)
bench_product(8192, 50304, 768, "forward")
for shape in ((96, 512, 12, 64), (8, 512, 4, 64), (16, 1024, 12, 64), (8, 2048, 8, 128), (96, 512, 8, 32)):
    bench_attention(*shape)
bench_memory(49152, 768, 50304)
write({"torch": torch.__version__, "cublas_tflops": peak, "copy_tbps": bandwidth, "kernels": rows})
