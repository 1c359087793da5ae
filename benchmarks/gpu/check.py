"""Every kernel of a library against float64 on the host: check.py LIBRARY RESULTS.json [--small] [--seconds N] [--family NAME]

Ragged shapes, poisoned outputs, guard bytes; products of whole numbers exactly; the same bits over many runs. --small: few small
shapes, for compute-sanitizer. Families run in processes of their own: see families.py.
"""

import sys

import numpy as np
from families import run_families
from library import F32, Array, Library, from_bf16, tensor, to_bf16

rng = np.random.default_rng(1)
lib = None  # loaded by the process of a family
part = None


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


def expect(what, got, wanted, bound, least=1e-30):
    """Distance in the Frobenius norm, relative to `wanted` or, where that is smaller, to `least`; NaN never passes."""
    error = float(np.linalg.norm(got - wanted) / max(np.linalg.norm(wanted), least))
    part.add({"check": what, "error": error if np.isfinite(error) else str(error), "bound": bound, "passed": bool(error <= bound)})


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


def check_weights(*layers):
    """Gradients of several weights in one call, of normal numbers and exactly of whole ones. A layer is R, I, O."""
    label = " ".join(f"{R}x{I}x{O}" for R, I, O in layers)
    for whole in (False, True):
        draw = (lambda *shape: rng.integers(-4, 5, shape).astype(np.float32)) if whole else normal
        pairs = [(draw(R, I), draw(R, O)) for R, I, O in layers]
        ins = [(rows, "bf16") for pair in pairs for rows in pair]
        results = run("linearWeights_backward", ins, [((O, I), "f32") for _, I, O in layers])
        for i, ((x, dy), dw) in enumerate(zip(pairs, results)):
            what = f"linearWeights {i} of {label}{' in whole numbers' if whole else ''}"
            expect(what, dw, rounded(dy).T @ rounded(x), 0 if whole else 2e-5)


def turned(x, positions, heads, K, D, base, direction):
    """Rotary positions in doubles: x [B, T, P], the first `heads` heads of K, pairs (i, i + D/2)."""
    y, half = x.copy(), D // 2
    angle = positions[:, None] * base ** (-np.arange(half) / half)
    c, s = np.cos(angle), direction * np.sin(angle)
    for h in range(heads):
        a, b = x[..., h * K : h * K + half], x[..., h * K + half : h * K + D]
        y[..., h * K : h * K + half], y[..., h * K + half : h * K + D] = a * c - b * s, b * c + a * s
    return y


def check_rotary(B, T, H, G, K, D):
    """Rotary positions in the product before attention, and turned back in its gradients."""
    I, P, base = 72, (H + 2 * G) * K, 10000.0
    positions = np.arange(T, dtype=np.int32) + 3
    x, w, b = rounded(normal(B * T, I)), rounded(normal(P, I) / np.sqrt(I)), rounded(normal(P))
    half = lambda *arrays: [(a.astype(np.float32), "bf16") for a in arrays]
    label = f"B{B} T{T} H{H} G{G} K{K} D{D}"
    ins = half(x, w) + [(b.astype(np.float32), "f32"), (positions, "i32")]
    (y,) = run("linearBiasRotary_forward", ins, [((B * T, P), "bf16")], [H + G, K, D, base])
    wanted = turned((x @ w.T + b).reshape(B, T, P), positions, H + G, K, D, base, 1)
    expect(f"linearBiasRotary {label}", y, wanted.reshape(B * T, P), 2 * BOUND["bf16"])
    qkv, d = rounded(normal(B, T, P)), rounded(normal(B, T, H * K))
    o, lse, grad = attention(qkv, d, H, G, K, K**-0.5)
    ins = half(qkv, o) + [(lse.astype(np.float32), "f32")] + half(d) + [(positions, "i32")]
    (dqkv,) = run("attentionOfRotary_backward", ins, [((B, T, P), "bf16")], [H, G, K, K**-0.5, 1, D, base])
    expect(f"attentionOfRotary {label}", dqkv, turned(grad, positions, H + G, K, D, base, -1), 1e-2)
    starts = random_starts(B, T)
    o, lse, grad = attention(qkv, d, H, G, K, K**-0.5, starts)
    ins = half(qkv) + [(starts, "i32")] + half(o) + [(lse.astype(np.float32), "f32")] + half(d) + [(positions, "i32")]
    (dqkv,) = run("documentAttentionOfRotary_backward", ins, [((B, T, P), "bf16")], [H, G, K, K**-0.5, D, base])
    expect(f"documentAttentionOfRotary {label}", dqkv, turned(grad, positions, H + G, K, D, base, -1), 1e-2)


def random_starts(B, T):
    """Where the document of each position begins: in each sequence documents of another mean length, in the last one alone."""
    mean = 2.0 ** rng.integers(1, 9, (B, 1))
    begins = (rng.random((B, T)) < 1 / mean) & (np.arange(B) < max(B - 1, 1))[:, None]
    return np.maximum.accumulate(np.where(begins, np.arange(T), 0), 1).astype(np.int32)


def attention(qkv, d, H, G, K, scale, starts=None):
    """Causal attention, within documents or not, and its gradients in doubles; qkv [B, T, (H+2G)K], d [B, T, HK]."""
    B, T, _ = qkv.shape
    seen = np.tri(T, dtype=bool)
    if starts is not None:
        seen = seen & (np.arange(T) >= starts[:, None, :, None])
    heads = qkv.reshape(B, T, H + 2 * G, K).transpose(0, 2, 1, 3)
    q, k, v = heads[:, :H], heads[:, H : H + G].repeat(H // G, 1), heads[:, H + G :].repeat(H // G, 1)
    s = np.where(seen, q @ k.transpose(0, 1, 3, 2) * scale, -np.inf)
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


def check_attention(B, T, H, G, K, kind, forward=True, backward=True, documents=False):
    P, scale = (H + 2 * G) * K, K**-0.5
    qkv, d = normal(B, T, P), normal(B, T, H * K)
    exact = rounded if kind == "bf16" else lambda v: v.astype(np.float64)
    starts = random_starts(B, T) if documents else None
    o, lse, grad = attention(exact(qkv), exact(d), H, G, K, scale, starts)
    op, attrs = ("documentAttention", [H, G, K, scale]) if documents else ("attention", [H, G, K, scale, 1])
    rows = [(qkv, kind), (starts, "i32")] if documents else [(qkv, kind)]
    label = f"B{B} T{T} H{H} G{G} K{K} {kind}"
    if forward:
        outs = [((B, T, H * K), kind), ((B, H, T), "f32")]
        got, got_lse = run(f"{op}_forward", rows, outs, attrs)
        expect(f"{op} {label}", got, o, 4e-3 if kind == "bf16" else 1e-5)
        expect(f"{op} lse {label}", got_lse, lse, 1e-5)
    if backward:
        ins = rows + [(o.astype(np.float32), kind), (lse.astype(np.float32), "f32"), (d, kind)]
        (dqkv,) = run(f"{op}_backward", ins, [((B, T, P), kind)], attrs)
        bound, least = 1e-2 if kind == "bf16" else 2e-5, np.linalg.norm(grad) / 4  # one key alone has no gradient but rounding
        for what, first, last in (("q", 0, H), ("k", H, H + G), ("v", H + G, H + 2 * G)):
            columns = slice(first * K, last * K)
            expect(f"d {op}.{what} {label}", dqkv[..., columns], grad[..., columns], bound, least)


def check_starts(B, T):
    ids = rng.integers(0, 50, (B, T)).astype(np.int32)
    (starts,) = run("documentStarts_forward", [(ids, "i32")], [((B, T), "i32")], [7])
    expect(f"documentStarts B{B} T{T}", starts, np.maximum.accumulate(np.where(ids == 7, np.arange(T), 0), 1), 0)


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
    starts = random_starts(B, T)
    own_o, own_lse, _ = attention(rounded(qkv), rounded(d), H, H, K, 0.125, starts)
    ids = rng.integers(0, 7, R).astype(np.int32)
    x, dy, w = normal(R, I), normal(R, O), normal(O, I)
    cases = {
        "attention_backward": lambda: run(
            "attention_backward",
            [(qkv, "bf16"), (o.astype(np.float32), "bf16"), (lse.astype(np.float32), "f32"), (d, "bf16")],
            [((B, T, 3 * H * K), "bf16")],
            [H, H, K, 0.125, 1],
        ),
        "documentAttention_backward": lambda: run(
            "documentAttention_backward",
            [(qkv, "bf16"), (starts, "i32"), (own_o.astype(np.float32), "bf16"), (own_lse.astype(np.float32), "f32"), (d, "bf16")],
            [((B, T, 3 * H * K), "bf16")],
            [H, H, K, 0.125],
        ),
        "linearBias_backward": lambda: run(
            "linearBias_backward",
            [(x, "bf16"), (w, "bf16"), (dy, "bf16")],
            [((R, I), "bf16"), ((O, I), "f32"), ((O,), "f32")],
        ),
        "linearWeights_backward": lambda: run(
            "linearWeights_backward", [(x, "bf16"), (dy, "bf16"), (dy, "bf16"), (x, "bf16")], [((O, I), "f32"), ((I, O), "f32")]
        ),
        "embedding_backward": lambda: run("embedding_backward", [(ids, "i32"), (dy, "bf16")], [((7, O), "f32")]),
    }
    for name, case in cases.items():
        first = [v.tobytes() for v in case()]
        same = sum([v.tobytes() for v in case()] == first for _ in range(repeats))
        part.add({"check": f"same bits, {name}", "repeats": repeats, "same": same, "passed": same == repeats})


def position_attention(scores, v, d):
    """softmax(scores)·v and dL/dscores, dL/dv for scores [B or 1, H, T, T] and v, d [B, H, T, K], in doubles."""
    top = scores.max(-1, keepdims=True)
    p = np.exp(scores - top)
    total = p.sum(-1, keepdims=True)
    p /= total
    o = p @ v
    dp = d @ v.transpose(0, 1, 3, 2)
    return o, (top + np.log(total))[..., 0], p * (dp - (dp * p).sum(-1, keepdims=True)), p.transpose(0, 1, 3, 2) @ d


def heads_of(x, H):
    B, T, Q = x.shape
    return x.reshape(B, T, H, Q // H).transpose(0, 2, 1, 3)


def rows_of(x):
    B, H, T, K = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, H * K)


def check_relative(B, T, H, K, N, kind):
    Q, scale = H * K, (3 * K) ** -0.5
    x, d, kp, qp = normal(B, T, 3 * Q), normal(B, T, Q), normal(N, Q), normal(N, Q)
    exact = rounded if kind == "bf16" else lambda a: a.astype(np.float64)
    X, D, KP, QP = exact(x), exact(d), exact(kp), exact(qp)
    q, k, v, g = (heads_of(a, H) for a in (*np.split(X, 3, -1), D))
    row = np.clip(np.arange(T)[:, None] - np.arange(T)[None, :], 0, N - 1)
    tables = [a.reshape(N, H, K).transpose(1, 0, 2)[:, row] for a in (KP, QP)]  # [H, T, T, K]
    scores = q @ k.transpose(0, 1, 3, 2)
    scores += np.einsum("bhtk,htsk->bhts", q, tables[0]) + np.einsum("bhsk,htsk->bhts", k, tables[1])
    o, lse, ds, dv = position_attention(np.where(np.tri(T, dtype=bool), scores * scale, -np.inf), v, g)
    ds = np.where(np.tri(T, dtype=bool), ds, 0) * scale
    dq = ds @ k + np.einsum("bhts,htsk->bhtk", ds, tables[0])
    dk = ds.transpose(0, 1, 3, 2) @ q + np.einsum("bhts,htsk->bhsk", ds, tables[1])
    gradients = []
    for other in ("bhts,bhtk->htsk", q), ("bhts,bhsk->htsk", k):
        full = np.einsum(other[0], ds, other[1])
        table = np.zeros((H, N, K))
        np.add.at(table, (slice(None), row), full)
        gradients.append(table.transpose(1, 0, 2).reshape(N, Q))
    label, attrs = f"B{B} T{T} H{H} K{K} N{N} {kind}", [H, K, scale, 1]
    ins = [(x, kind), (kp, kind), (qp, kind)]
    got, got_lse = run("relativeAttention_forward", ins, [((B, T, Q), kind), ((B, H, T), "f32")], attrs)
    expect(f"relativeAttention {label}", got, rows_of(o), 4e-3 if kind == "bf16" else 1e-5)
    expect(f"relativeAttention lse {label}", got_lse, lse, 1e-5)
    ins += [(rows_of(o).astype(np.float32), kind), (lse.astype(np.float32), "f32"), (d, kind)]
    got = run("relativeAttention_backward", ins, [((B, T, 3 * Q), kind), ((N, Q), kind), ((N, Q), kind)], attrs)
    wanted = [np.concatenate([rows_of(dq), rows_of(dk), rows_of(dv)], -1), *gradients]
    for what, value, want in zip(("qkv", "keyPositions", "queryPositions"), got, wanted):
        expect(f"d relativeAttention.{what} {label}", value, want, 1e-2 if kind == "bf16" else 3e-5)


def check_position(B, T, H, K, N, kind):
    Q = H * K
    x, d, table = normal(B, T, Q), normal(B, T, Q), normal(H, N)
    exact = rounded if kind == "bf16" else lambda a: a.astype(np.float64)
    distance = np.arange(T)[:, None] - np.arange(T)[None, :]
    row = np.clip(distance, 0, N - 1)
    scores = np.where(distance >= 0, table.astype(np.float64)[:, row], -np.inf)[None]
    o, lse, ds, dv = position_attention(scores, heads_of(exact(x), H), heads_of(exact(d), H))
    dtable = np.zeros((H, N))
    np.add.at(dtable, (slice(None), row), np.where(distance >= 0, ds, 0).sum(0))
    label = f"B{B} T{T} H{H} K{K} N{N} {kind}"
    got, got_lse = run("positionAttention_forward", [(x, kind), (table, "f32")], [((B, T, Q), kind), ((H, T), "f32")])
    expect(f"positionAttention {label}", got, rows_of(o), 4e-3 if kind == "bf16" else 1e-5)
    ins = [(x, kind), (table, "f32"), (rows_of(o).astype(np.float32), kind), (lse[0].astype(np.float32), "f32"), (d, kind)]
    got = run("positionAttention_backward", ins, [((B, T, Q), kind), ((H, N), "f32")])
    expect(f"d positionAttention.v {label}", got[0], rows_of(dv), 1e-2 if kind == "bf16" else 3e-5)
    expect(f"d positionAttention.table {label}", got[1], dtable, 1e-2 if kind == "bf16" else 3e-5)
    width = np.array([2 ** (h + 1) - 1 for h in range(H)])[:, None, None]
    seen = np.where((distance >= 0) & (distance < width), 0, -np.inf)[None]
    o, _, _, dv = position_attention(seen, heads_of(exact(x), H), heads_of(exact(d), H))
    (got,) = run("uniformAttention_forward", [(x, kind)], [((B, T, Q), kind)], [H])
    expect(f"uniformAttention {label}", got, rows_of(o), BOUND["bf16"] if kind == "bf16" else 1e-5)
    (got,) = run("uniformAttention_backward", [(d, kind)], [((B, T, Q), kind)], [H])
    expect(f"d uniformAttention {label}", got, rows_of(dv), BOUND["bf16"] if kind == "bf16" else 1e-5)


def check_decode(B, S, H, G, K, position):
    P = (H + 2 * G) * K
    row, k, v = normal(B, P), normal(B, S, G, K), normal(B, S, G, K)
    keys, values = k.copy(), v.copy()
    keys[:, position] = row[:, H * K : (H + G) * K].reshape(B, G, K)
    values[:, position] = row[:, (H + G) * K :].reshape(B, G, K)
    q = row[:, : H * K].reshape(B, H, K).astype(np.float64)
    of = lambda x: x[:, : position + 1].astype(np.float64).repeat(H // G, 2).transpose(0, 2, 1, 3)
    s = np.einsum("bhk,bhsk->bhs", q, of(keys)) * K**-0.5
    p = np.exp(s - s.max(-1, keepdims=True))
    wanted = np.einsum("bhs,bhsk->bhk", p / p.sum(-1, keepdims=True), of(values)).reshape(B, H * K)
    ins = [(row, "f32"), (k, "f32"), (v, "f32"), (np.array([position], np.int32), "i32")]
    cache = ((B, S, G, K), "f32")
    got = run("attentionStep_forward", ins, [((B, H * K), "f32"), cache, cache], [H, G, K, K**-0.5])
    label = f"B{B} S{S} H{H} G{G} K{K} at {position}"
    for what, value, want in zip(("o", "kNext", "vNext"), got, (wanted, keys, values)):
        expect(f"attentionStep.{what} {label}", value, want, 1e-5 if what == "o" else 0)


def check_choice(B, V, temperature, top_k):
    """Tokens chosen from logits on a coarse grid, so that many are equal, against the definition."""
    logits = np.round(normal(B, V) * 8).astype(np.float32) / 4
    draws = rng.random((B, 3)).astype(np.float32)
    script = np.full((B, 3), -1, np.int32)
    script[:, 0] = 1
    outs = [((B,), "i32"), ((B, 3), "i32"), ((1,), "i32")]
    ins = [(logits, "f32"), (script, "i32"), (draws, "f32"), (np.array([0], np.int32), "i32")]
    ids, after, position = run("nextTokens_forward", ins, outs, [temperature, top_k])
    wanted = []
    for b in range(B):
        order = np.lexsort((np.arange(V), -logits[b]))
        if temperature == 0:
            wanted.append(order[0])
            continue
        chosen = np.sort(order[:top_k])
        weights = np.exp((logits[b][chosen].astype(np.float64) - logits[b].max()) / temperature).cumsum()
        wanted.append(chosen[np.searchsorted(weights, draws[b, 1] * weights[-1], side="right")])
    label = f"B{B} V{V} temperature {temperature} of {top_k}"
    same = int((ids == np.array(wanted)).sum())
    # f32 weights may move a boundary past a draw once in a great while.
    part.add({"check": f"nextTokens {label}", "same": same, "of": B, "passed": bool(same >= B - B // 100 and position[0] == 1)})
    expect(f"nextTokens script {label}", after, np.stack([script[:, 0], ids, script[:, 2]], 1), 0)


def check_mix(B, T, H, C, K, reach):
    p, f, d = normal(T + 1, H, K), normal(B, T, H, C), normal(B, T, C)
    lengths = rng.integers(0, T + 1, B).astype(np.int32)
    near = np.abs(np.arange(T)[:, None] - np.arange(T)[None, :]) <= (reach if reach >= 0 else T)
    P = p[:T].astype(np.float64).transpose(1, 0, 2)
    inside = np.arange(T)[None, :] < lengths[:, None]
    scores = np.where(near & inside[:, None, None, :], (P @ P.transpose(0, 2, 1))[None], -1e30)
    open_rows = inside[:, None, :, None]
    w = np.exp(scores - scores.max(-1, keepdims=True))
    w = np.where(open_rows & (scores > -1e29), w, 0)
    total = w.sum(-1, keepdims=True)
    lse = np.where(inside[:, None], np.log(np.where(total > 0, total, 1))[..., 0] + scores.max(-1), 0)
    w = w / np.where(total > 0, total, 1)
    F = f.astype(np.float64).transpose(0, 2, 1, 3)
    heads = w @ F
    D = np.broadcast_to(d.astype(np.float64)[:, None], heads.shape)
    dw = D @ F.transpose(0, 1, 3, 2)
    slopes = (w * (dw - (D * heads).sum(-1, keepdims=True))).sum(0)
    dp = np.zeros((T + 1, H, K))
    dp[:T] = ((slopes + slopes.transpose(0, 2, 1)) @ P).transpose(1, 0, 2)
    label = f"B{B} T{T} H{H} C{C} K{K} reach {reach}"
    ins = [(p, "f32"), (f, "f32"), (lengths, "i32")]
    kept = [np.ascontiguousarray(heads.transpose(1, 2, 0, 3)), np.ascontiguousarray(lse.transpose(1, 2, 0))]
    got = run("positionMix_forward", ins, [((B, T, C), "f32"), ((H, T, B, C), "f32"), ((H, T, B), "f32")], [reach])
    for what, value, want in zip(("mixed", "heads", "lse"), got, (heads.sum(1), *kept)):
        expect(f"positionMix.{what} {label}", value, want, 1e-5)
    ins += [(x.astype(np.float32), "f32") for x in kept] + [(d, "f32")]
    got = run("positionMix_backward", ins, [((T + 1, H, K), "f32"), ((B, T, H, C), "f32")], [reach])
    df = (w.transpose(0, 1, 3, 2) @ D).transpose(0, 2, 1, 3)
    for what, value, want in zip(("p", "f"), got, (dp, df)):
        expect(f"d positionMix.{what} {label}", value, want, 3e-5)


def check_loss_gradient(R, V, kind):
    """Loss and gradient in one kernel: the bits of the two."""
    logits, seed = normal(R, V), normal(R)
    targets = rng.integers(-1, V, R).astype(np.int32)
    loss, lse = run("crossEntropy_forward", [(logits, kind), (targets, "i32")], [((R,), "f32"), ((R,), "f32")], [-1])
    ins = [(logits, kind), (targets, "i32"), (lse.astype(np.float32), "f32"), (seed, "f32")]
    (d,) = run("crossEntropy_backward", ins, [((R, V), kind)], [-1])
    outs = [((R,), "f32"), ((R,), "f32"), ((R, V), kind)]
    got = run("crossEntropyGradient_forward", [(logits, kind), (targets, "i32"), (seed, "f32")], outs, [-1])
    for what, value, want in zip(("loss", "lse", "logits"), got, (loss, lse, d)):
        expect(f"crossEntropyGradient.{what} R{R} V{V} {kind}", value, want, 0)


def check_loss_only(R, V, kind):
    x = normal(R, V)
    X = rounded(x) if kind == "bf16" else x.astype(np.float64)
    targets = rng.integers(0, V, R).astype(np.int32)
    lse = np.log(np.exp(X).sum(1))
    loss, _ = run("crossEntropy_forward", [(x, kind), (targets, "i32")], [((R,), "f32"), ((R,), "f32")], [-1])
    expect(f"crossEntropy R{R} V{V} {kind}", loss, lse - X[np.arange(R), targets], 1e-5)


HEADS = [
    (1, 1, 1, 1, 32), (2, 33, 4, 2, 16), (1, 64, 2, 2, 64), (1, 65, 2, 2, 128), (2, 512, 12, 12, 64), (1, 513, 4, 2, 64),
    (1, 1024, 2, 2, 128), (1, 100, 2, 2, 40), (1, 40, 1, 1, 160), (3, 200, 4, 4, 32), (2, 700, 4, 1, 128), (44, 260, 12, 12, 64),
    (1, 2500, 2, 2, 64),
]  # fmt: skip
WHOLE = [
    (64, 64, 64), (127, 129, 65), (128, 192, 64), (200, 256, 1000), (1000, 2304, 768), (4096, 768, 3072), (768, 768, 8192),
]  # fmt: skip
TURNS = [(2, 50, 2, 2, 64, 16), (1, 70, 4, 2, 32, 32), (1, 65, 2, 1, 64, 64), (4, 512, 12, 12, 64, 16)]
TAILS = [(64, 32, 64), (200, 72, 136), (1000, 192, 768), (130, 40, 44), (64, 64, 1104), (4096, 768, 3072), (4096, 3072, 768)]

KINDS = ("f32", "bf16")


def each(check, cases, kinds=None):
    for case in cases:
        for kind in kinds or (None,):
            arguments = (*case, kind) if kind else case
            part.attempt(f"{check.__name__} {arguments}", lambda _: check(*arguments))


def linear():
    shapes = [(1, 1, 1), (3, 5, 17), (257, 96, 200), (1000, 768, 2304), (4096, 3072, 768)]
    each(check_linear, [(70, 40, 136)] if part.small else shapes, KINDS)


def whole_numbers():
    each(check_whole_numbers, [(*s, a, b) for s in ([(130, 200, 72)] if part.small else WHOLE) for a in (0, 1) for b in (0, 1)])


def gemm():
    whole_numbers()
    each(check_linear, [(70, 40, 136)] if part.small else [(4096, 3072, 768)], ("bf16",))


def epilogue():
    each(check_tails, [(70, 40, 136), (130, 192, 64)] if part.small else TAILS)
    each(check_rotary, TURNS[:1] if part.small else TURNS)


def weights():
    few = [(130, 64, 72), (70, 40, 136), (65, 12, 64)]
    many = [few, [(1100, 192, 128), (1030, 192, 200), (600, 192, 128)], [(64, 32, 64)] * 35]
    gpt2 = [(4096, 768, 2304), (4096, 768, 768), (4096, 768, 3072), (4096, 3072, 768)]
    each(check_weights, [few] if part.small else [*many, gpt2])


def epilogue_again():
    """With all families that passed."""
    epilogue()
    whole_numbers()


SMALL_HEADS = [(1, 70, 2, 1, 64), (1, 40, 1, 1, 32), (1, 65, 1, 1, 128)]


def attention_forward():
    shapes = SMALL_HEADS if part.small else HEADS
    each(check_attention, [(*s, "bf16", True, False, documents) for s in shapes for documents in (False, True)])


def attention_backward():
    shapes = SMALL_HEADS if part.small else HEADS
    each(check_attention, [(*s, "bf16", False, True, documents) for s in shapes for documents in (False, True)])


def heads():
    """In f32, and in bf16 with the kernels that are left."""
    shapes = SMALL_HEADS if part.small else HEADS
    cases = [(*s, kind) for s in shapes for kind in KINDS if kind == "bf16" or s[0] * s[1] < 4096]
    each(check_attention, [(*case, True, True, documents) for case in cases for documents in (False, True)])
    each(check_starts, [(2, 70)] if part.small else [(1, 1), (3, 33), (96, 512), (2, 5000)])


def positions():
    shapes = [(1, 1, 1, 8, 1), (2, 33, 3, 16, 7), (2, 256, 4, 64, 256), (1, 200, 2, 100, 90)]
    for check in (check_relative, check_position):
        each(check, [(1, 40, 2, 16, 9)] if part.small else shapes, KINDS)
    each(check_mix, [(2, 20, 2, 5, 4, 1)] if part.small else [(3, 40, 2, 17, 5, -1), (8, 256, 16, 15, 64, -1), (4, 70, 3, 70, 8, 2)])


def decoding():
    shapes = [(1, 4, 1, 1, 8, 3), (3, 300, 4, 2, 16, 128), (32, 1024, 12, 12, 64, 1000), (1, 4096, 8, 8, 128, 4095)]
    each(check_decode, [(1, 140, 2, 1, 16, 130)] if part.small else shapes)
    choices = [(16, 50304, 0, 50304), (400, 300, 1.0, 300), (200, 5000, 0.8, 40), (64, 50304, 1.2, 50)]
    each(check_choice, [(4, 300, 1.0, 20)] if part.small else choices)


def rows():
    shapes = [(1, 1), (3, 17), (300, 64), (5000, 768), (1000, 1001)]
    each(check_rows, [(40, 136)] if part.small else shapes, KINDS)


def losses():
    each(check_loss_gradient, [(5, 136)] if part.small else [(3, 17), (300, 1001), (256, 50304), (64, 100000)], KINDS)
    if not part.small:
        each(check_loss_only, [(256, 50304)], KINDS)


def embeddings():
    shapes = [(1, 1, 1), (700, 3, 5), (8192, 50304, 768), (20000, 5, 256)]
    each(check_embedding, [(300, 7, 24)] if part.small else shapes, ("bf16",))


def optimizer():
    each(check_optimizer, [(1000,)] if part.small else [(1,), (17,), (5000,), (3_000_001,)])


def bits():
    if not part.small:
        each(check_bits, [(100 if "emulated" not in lib.description() else 1,)])


def family(work):
    def run_one(given):
        global lib, part
        part, lib = given, Library(sys.argv[1])
        work()

    return run_one


def describe():
    return {"device": lib.description()} if lib else {}


if __name__ == "__main__":
    hopper = [gemm, epilogue, weights, attention_forward, attention_backward]
    names = [work.__name__ for work in hopper]
    # The epilogues and the gradients of weights are those of the same products.
    same = (("epilogue", "gemm"), ("weights", "gemm"))
    others = {name: " ".join(n for n in names if n != name and (name, n) not in same) for name in names}
    works = [*hopper, linear, epilogue_again, heads, rows, losses, embeddings, optimizer, bits, positions, decoding]
    run_families(__doc__, {work.__name__: (family(work), 90) for work in works}, describe, others)
