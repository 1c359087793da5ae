"""Kernels of a library timed against PyTorch in one process: bench.py LIBRARY RESULTS.json [--small] [--seconds N] [--family NAME]

Random data that does not fit into L2, replayed graphs of many calls, medians. Without a GPU (and with the library for the host)
everything runs on the CPU at tiny sizes, to try the script itself: the times mean nothing then. Families run in processes of
their own: see families.py.
"""

import ctypes
import os
import statistics
import sys
import time

from families import run_families
from library import BF16, F32, I32, Library, tensor

import torch
import torch.nn.functional as F

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
CALLS = 20 if GPU else 2  # in one graph
SAMPLES = 9 if GPU else 1
STREAM = torch.cuda.Stream() if GPU else None  # of all that PyTorch does here
lib = None  # loaded by the process of a family
part = None


def of(t):
    dtype = {torch.bfloat16: BF16, torch.float32: F32, torch.int32: I32}[t.dtype]
    return tensor(t.data_ptr(), dtype, list(t.shape))


def time_ours(calls):
    """Median seconds of one call, from a replayed graph of them."""
    settle()
    replay = ctypes.c_void_p()
    for _ in range(3):
        lib.run(calls, replay)
    lib.wait()
    samples = []
    for _ in range(SAMPLES):
        start = time.perf_counter()
        lib.run(calls, replay)
        lib.wait()
        samples.append((time.perf_counter() - start) / len(calls))
    lib.f.drop_replay(replay)
    return statistics.median(samples)


def settle():
    """What PyTorch has begun must be done before the library's own stream reads it."""
    if GPU:
        torch.cuda.synchronize()


def on_stream():
    return torch.cuda.stream(STREAM) if GPU else nothing()


class nothing:
    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


def time_torch(work):
    """Median seconds of work(i), from a captured graph of CALLS of them."""
    settle()
    with on_stream():
        for i in range(3):
            work(i)
    settle()
    if GPU:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=STREAM):
            for i in range(CALLS):
                work(i)
        replay = graph.replay
    else:
        replay = lambda: [work(i) for i in range(CALLS)]
    replay()
    settle()
    samples = []
    for _ in range(SAMPLES):
        start = time.perf_counter()
        replay()
        settle()
        samples.append((time.perf_counter() - start) / CALLS)
    return statistics.median(samples)


def time_gradient(forward, inputs, seed):
    """Median seconds of the backward pass of forward(), which runs on the stream that is captured."""
    with on_stream():
        y = forward()
    return time_torch(lambda i: torch.autograd.grad(y, inputs, seed, retain_graph=True))


def sets(make, nbytes):
    """Copies of the operands, enough that they do not stay in L2."""
    return [make() for _ in range(max(2, min(8, int(256e6 / nbytes) + 1)))]


def bf(*shape):
    return torch.randn(shape, device=DEVICE, dtype=torch.bfloat16)


def row(kernel, shape, ours, torch_s, work, unit, note=""):
    """torch_s may be None: PyTorch could not do it."""
    result = {"kernel": kernel, "shape": shape, "ours_us": ours * 1e6, unit: work / ours / 1e12, "note": note}
    text = f"{kernel:28s} {shape:24s} {ours * 1e6:9.1f} us {work / ours / 1e12:8.2f} {unit}"
    if torch_s is not None:
        result |= {"torch_us": torch_s * 1e6, "ratio": torch_s / ours, f"torch_{unit}": work / torch_s / 1e12}
        text += f"  torch {torch_s * 1e6:9.1f} us  x{torch_s / ours:.2f}"
    part.add(result)
    print(f"{text}  {note}", flush=True)


def by_torch(work, *arguments):
    """The time, or None and why not."""
    try:
        return work(*arguments), ""
    except Exception as problem:
        settle()
        text = str(problem).strip().splitlines()
        return None, f"torch: {type(problem).__name__} {text[0][:60] if text else ''}"


def bench_product(M, N, K, form):
    """y = x·wT, dx = dy·w, dw = dyT·x, as in training M rows."""
    def make():
        x, w, dy = bf(M, K), bf(N, K) / K**0.5, bf(M, N)
        return x, w, dy, torch.empty(M, N, device=DEVICE, dtype=torch.bfloat16), torch.empty(M, K, device=DEVICE, dtype=torch.bfloat16), torch.empty(N, K, device=DEVICE)  # fmt: skip

    s = sets(make, 2 * (M * N + M * K + N * K))
    at = lambda i: s[i % len(s)]
    bias = torch.randn(N, device=DEVICE)
    bias_half = bias.bfloat16()
    residual, sums = bf(M, N), torch.empty(K, device=DEVICE)
    pre = torch.empty(M, N, device=DEVICE, dtype=torch.bfloat16)
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
    seconds, note = by_torch(time_torch, other)
    row(f"product {form}", f"{M}x{N}x{K}", time_ours(calls), seconds, 2.0 * M * N * K, "TFLOPS", note)


def bench_weights(M, d, layers):
    """The gradients of all weights of a few layers from M rows: ours in one call, PyTorch's one by one."""
    shapes = [(3 * d, d), (d, d), (4 * d, d), (d, 4 * d)] * layers
    rows = [(bf(M, K), bf(M, N), torch.empty(N, K, device=DEVICE)) for N, K in shapes]
    ins, outs = [of(t) for x, dy, _ in rows for t in (x, dy)], [of(dw) for _, _, dw in rows]
    calls = [lib.call("linearWeights_backward", ins, outs) for _ in range(CALLS)]
    seconds, note = by_torch(time_torch, lambda _: [torch.mm(dy.T, x) for x, dy, _ in rows])
    row(f"weights of {layers} layers", f"{M}x{d}", time_ours(calls), seconds, 24.0 * M * d * d * layers, "TFLOPS", note)


def bench_attention(B, T, H, K):
    P, scale = 3 * H * K, K**-0.5
    s = sets(lambda: (bf(B, T, P), bf(B, T, H * K)), 2 * B * T * P)
    at = lambda i: s[i % len(s)]
    o = torch.empty(B, T, H * K, device=DEVICE, dtype=torch.bfloat16)
    lse, grad = torch.empty(B, H, T, device=DEVICE), torch.empty(B, T, P, device=DEVICE, dtype=torch.bfloat16)
    attrs = [H, H, K, scale, 1]
    flops = 2.0 * B * H * T * T * K
    forwards = [lib.call("attention_forward", [of(at(i)[0])], [of(o), of(lse)], attrs) for i in range(CALLS)]
    backwards = [lib.call("attention_backward", [of(at(i)[0]), of(o), of(lse), of(at(i)[1])], [of(grad)], attrs) for i in range(CALLS)]  # fmt: skip
    forward, backward = time_ours(forwards), time_ours(backwards)
    without = os.environ.get("PHYSLM_CUDA_WITHOUT", "")
    os.environ["PHYSLM_CUDA_WITHOUT"] = "attention_forward attention_backward"
    older = time_ours(forwards), time_ours(backwards)
    os.environ["PHYSLM_CUDA_WITHOUT"] = without
    best, problems = [{}, {}], []
    for name, backend in backends().items():
        with backend:
            split = lambda x: x.view(B, T, 3, H, K).permute(2, 0, 3, 1, 4).unbind(0)
            seconds, why = by_torch(time_torch, lambda i: F.scaled_dot_product_attention(*split(at(i)[0]), is_causal=True))
            if seconds:
                best[0][name] = seconds
            x = at(0)[0].clone().requires_grad_()
            attend = lambda: F.scaled_dot_product_attention(*split(x), is_causal=True)
            seed = bf(B, H, T, K)
            settle()
            seconds, why_not = by_torch(time_gradient, attend, x, seed)
            if seconds:
                best[1][name] = seconds
            problems += [f"{name}: {text}" for text in (why, why_not) if text]
    parts = (("forward", forward, older[0], best[0], flops), ("backward", backward, older[1], best[1], 2.5 * flops))
    for what, ours, before, times, work in parts:
        name = min(times, key=times.get) if times else None
        note = f"mma.sync {before * 1e6:.1f} us; "
        note += f"torch: {name}" if name else "; ".join(problems)[:120] or "torch: no SDPA"
        row(f"attention {what}", f"{B}x{T}x{H}x{K}", ours, times.get(name), work, "TFLOPS", note)


def backends():
    """SDPA by name, as contexts that choose it."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # PyTorch before 2.3
        return {}
    if not GPU:
        return {"math": sdpa_kernel(SDPBackend.MATH)}
    return {"flash": sdpa_kernel(SDPBackend.FLASH_ATTENTION), "cudnn": sdpa_kernel(SDPBackend.CUDNN_ATTENTION)}


def bench_norms(R, D):
    x, dy, y = bf(R, D), bf(R, D), bf(R, D)
    g, b = torch.randn(D, device=DEVICE), torch.randn(D, device=DEVICE)
    mean, rstd, dg, db = (torch.empty(n, device=DEVICE) for n in (R, R, D, D))
    norm = torch.nn.LayerNorm(D, device=DEVICE, dtype=torch.bfloat16)
    ours = time_ours([lib.call("layerNorm_forward", [of(x), of(g), of(b)], [of(y), of(mean), of(rstd)], [1e-5])] * CALLS)
    seconds, note = by_torch(time_torch, lambda i: norm(x))
    row("layerNorm forward", f"{R}x{D}", ours, seconds, 4.0 * R * D, "TBps", note)
    call = lib.call("layerNorm_backward", [of(x), of(g), of(mean), of(rstd), of(dy)], [of(y), of(dg), of(db)], [1e-5])
    z = x.clone().requires_grad_()
    seconds, note = by_torch(time_gradient, lambda: norm(z), (z, norm.weight, norm.bias), dy)
    row("layerNorm backward", f"{R}x{D}", time_ours([call] * CALLS), seconds, 6.0 * R * D, "TBps", note)


def bench_loss(R, V):
    logits = bf(R, V)
    targets = torch.randint(0, V, (R,), device=DEVICE, dtype=torch.int32)
    loss, lse, seed = (torch.empty(R, device=DEVICE) for _ in range(3))
    seed.fill_(1 / R)
    grad = torch.empty_like(logits)
    wide, columns = targets.long(), torch.arange(V, device=DEVICE)

    def both(x):
        x = x.float()
        total = torch.logsumexp(x, 1, keepdim=True)
        p = torch.exp(x - total)
        own = total[:, 0] - x.gather(1, wide[:, None])[:, 0]
        return own, (torch.where(columns == wide[:, None], p - 1, p) * seed[:, None]).bfloat16()

    fused = torch.compile(both) if hasattr(torch, "compile") and GPU else both
    seconds, note = by_torch(time_torch, lambda i: fused(logits))
    note = note or "torch: compiled loss and gradient"
    one = lib.call("crossEntropyGradient_forward", [of(logits), of(targets), of(seed)], [of(loss), of(lse), of(grad)], [-1])
    row("crossEntropy once", f"{R}x{V}", time_ours([one] * CALLS), seconds, 4.0 * R * V, "TBps", note)
    calls = [
        lib.call("crossEntropy_forward", [of(logits), of(targets)], [of(loss), of(lse)], [-1]),
        lib.call("crossEntropy_backward", [of(logits), of(targets), of(lse), of(seed)], [of(grad)], [-1]),
    ]
    row("crossEntropy twice", f"{R}x{V}", time_ours(calls * (CALLS // 2)) * 2, seconds, 6.0 * R * V, "TBps", note)


def bench_optimizer(N):
    w, gr, m, v = (torch.rand(N, device=DEVICE) for _ in range(4))
    hyper = torch.tensor([1e-3, 0.9, 0.98, 1e-8, 0.1, 0.1, 0.02, 1], device=DEVICE)
    norm = torch.empty(1, device=DEVICE)
    call = lib.call("gradNorm_forward", [of(gr)], [of(norm)])
    seconds, note = by_torch(time_torch, lambda i: gr.norm())
    row("gradNorm", f"{N}", time_ours([call] * 4), seconds, 4.0 * N, "TBps", note)
    parameter = torch.nn.Parameter(w.clone())
    parameter.grad = gr
    options = {"fused": True, "capturable": True} if GPU else {}
    optimizer = torch.optim.AdamW([parameter], **options)
    seconds, note = by_torch(time_torch, lambda i: optimizer.step())
    call = lib.call("adamW_forward", [of(t) for t in (w, gr, m, v, norm, hyper)], [of(w), of(m), of(v)], [N])
    row("adamW", f"{N}", time_ours([call] * 4), seconds, 28.0 * N, "TBps", note or "torch: fused")


def bench_positions(B, T, H, K):
    """Kernels on ordinary cores; PyTorch has no such op."""
    Q, scale = H * K, (3 * K) ** -0.5
    x, d, o, grad = bf(B, T, 3 * Q), bf(B, T, Q), bf(B, T, Q), bf(B, T, 3 * Q)
    kp, qp, dkp, dqp = bf(T, Q), bf(T, Q), bf(T, Q), bf(T, Q)
    lse, attrs, shape = torch.empty(B, H, T, device=DEVICE), [H, K, scale, 1], f"{B}x{T}x{H}x{K}"
    flops = 4.0 * B * H * T * T * K  # four products over the lower triangle
    forward = lib.call("relativeAttention_forward", [of(x), of(kp), of(qp)], [of(o), of(lse)], attrs)
    row("relative forward", shape, time_ours([forward]), None, flops, "TFLOPS")
    ins, outs = [of(x), of(kp), of(qp), of(o), of(lse), of(d)], [of(grad), of(dkp), of(dqp)]
    row("relative backward", shape, time_ours([lib.call("relativeAttention_backward", ins, outs, attrs)]), None, 3 * flops, "TFLOPS")
    v, table, dtable, totals = bf(B, T, Q), *(torch.randn(H, T, device=DEVICE) for _ in range(3))
    forward = lib.call("positionAttention_forward", [of(v), of(table)], [of(o), of(totals)])
    row("position forward", shape, time_ours([forward]), None, flops / 4, "TFLOPS")
    ins = [of(v), of(table), of(o), of(totals), of(d)]
    dv = bf(B, T, Q)
    backward = lib.call("positionAttention_backward", ins, [of(dv), of(dtable)])
    row("position backward", shape, time_ours([backward]), None, flops / 2, "TFLOPS")
    row("uniform forward", shape, time_ours([lib.call("uniformAttention_forward", [of(v)], [of(o)], [H])]), None, 4.0 * B * T * Q, "TBps")


def bench_decoding(B, S, H, K, V):
    qkv, o = torch.randn(B, 3 * H * K, device=DEVICE), torch.empty(B, H * K, device=DEVICE)
    k, v = (torch.randn(B, S, H, K, device=DEVICE) for _ in range(2))
    at = torch.tensor([S - 1], device=DEVICE, dtype=torch.int32)
    call = lib.call("attentionStep_forward", [of(qkv), of(k), of(v), of(at)], [of(o), of(k), of(v)], [H, H, K, K**-0.5])
    row("decode attention", f"{B}x{S}x{H}x{K}", time_ours([call] * CALLS), None, 8.0 * B * S * H * K, "TBps", "f32 cache")
    logits, script = torch.randn(B, V, device=DEVICE), torch.full((B, 1000), -1, device=DEVICE, dtype=torch.int32)
    draws, ids = torch.rand(B, 1000, device=DEVICE), torch.zeros(B, device=DEVICE, dtype=torch.int32)
    for name, attrs in (("greedy", [0, V]), ("temperature", [1, V]), ("topK 50", [1, 50])):
        at = torch.zeros(1, device=DEVICE, dtype=torch.int32)
        call = lib.call("nextTokens_forward", [of(logits), of(script), of(draws), of(at)], [of(ids), of(script), of(at)], attrs)
        row(f"choose tokens, {name}", f"{B}x{V}", time_ours([call] * CALLS), None, 4.0 * B * V, "TBps")


def ceilings():
    n = 8192 if GPU else 64
    big = torch.randn(n, n, device=DEVICE, dtype=torch.bfloat16)
    peak = 2 * float(n) ** 3 / time_torch(lambda i: big @ big) / 1e12
    source = torch.empty(1 << (30 if GPU else 16), device=DEVICE, dtype=torch.uint8)
    goal = torch.empty_like(source)
    bandwidth = 2.0 * source.numel() / time_torch(lambda i: goal.copy_(source)) / 1e12
    part.ceilings = {"torch": torch.__version__, "cublas_tflops": peak, "copy_tbps": bandwidth}
    print(f"{lib.description()}: cuBLAS {n}^3 {peak:.0f} TFLOPS, copy {bandwidth:.2f} TB/s", flush=True)


def each(bench, cases, tiny):
    for case in cases if GPU and not part.small else tiny:
        part.attempt(f"{bench.__name__} {case}", lambda _: bench(*case))
        if GPU:
            torch.cuda.empty_cache()


def products():
    sizes = ((2304, 768), (768, 768), (3072, 768), (768, 3072))
    forms = ("forward", "gelu", "add", "dx", "dx, gelu'", "dw")
    fits = {"gelu": lambda N, K: N == 3072, "add": lambda N, K: N == 768, "dx, gelu'": lambda N, K: K == 3072}
    cases = [(49152, N, K, form) for form in forms for N, K in sizes if form not in fits or fits[form](N, K)]
    cases += [(8192, 8192, 8192, "forward"), *((4096, 256, 256, form) for form in ("forward", "dx", "dw")), (8192, 50304, 768, "forward")]
    each(bench_product, cases, [(64, 32, 16, form) for form in forms])
    each(bench_weights, [(49152, 768, 3), (4096, 256, 4)], [(64, 32, 2)])


def heads():
    shapes = [(96, 512, 12, 64), (8, 512, 4, 64), (16, 1024, 12, 64), (8, 2048, 8, 128), (96, 512, 8, 32)]
    each(bench_attention, shapes, [(1, 32, 2, 32)])


def memory():
    each(bench_norms, [(49152, 768)], [(16, 64)])
    each(bench_loss, [(8192, 50304), (49152, 512)], [(4, 64)])
    each(bench_optimizer, [(124_000_000,)], [(1000,)])


def positions():
    each(bench_positions, [(96, 512, 12, 64)], [(1, 16, 2, 8)])


def decoding():
    each(bench_decoding, [(32, 1024, 12, 64, 50304), (1, 1024, 12, 64, 50304)], [(2, 20, 2, 8, 40)])


def family(work):
    def run_one(given):
        global lib, part
        part, lib = given, Library(sys.argv[1])
        work()

    return run_one


def describe():
    return {"device": lib.description(), **getattr(part, "ceilings", {})} if lib else {}


if __name__ == "__main__":
    works = [ceilings, products, heads, memory, decoding, positions]
    run_families(__doc__, {work.__name__: (family(work), 100) for work in works}, describe)
