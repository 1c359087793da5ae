"""Prints what run.sh found: table.py RESULTS_FOLDER"""

import json
import os
import sys

folder = sys.argv[1]


def read(name):
    path = os.path.join(folder, name)
    return json.load(open(path)) if os.path.exists(path) else None


checks, kernels = read("check.json"), read("kernels.json")
if checks:
    passed = sum(row["passed"] for row in checks["checks"])
    print(f"{checks['device']}: {passed} of {len(checks['checks'])} checks passed")
if kernels:
    print(f"\ncuBLAS 8192^3 {kernels['cublas_tflops']:.0f} TFLOPS, copy {kernels['copy_tbps']:.2f} TB/s, torch {kernels['torch']}")
    print(f"{'kernel':22s} {'shape':20s} {'ours':>10s} {'torch':>10s} {'torch/ours':>10s} {'rate':>12s}")
    for r in kernels["kernels"]:
        unit = "TFLOPS" if "TFLOPS" in r else "TBps"
        print(f"{r['kernel']:22s} {r['shape']:20s} {r['ours_us']:8.1f}us {r['torch_us']:8.1f}us {r['ratio']:10.2f} {r[unit]:7.2f} {unit}")
for model in ("tiny", "train"):
    ours, torch = read(f"{model}-physlm.json"), read(f"{model}-torch.json")
    if not ours:
        continue
    print(f"\n{model}: physlm {ours['msPerStep']:.2f} ms/step, {ours['tokensPerSec']:.0f} tokens/s")
    if torch:
        print(f"{' ' * len(model)}  torch  {torch['msPerStep']:.2f} ms/step, {torch['tokensPerSec']:.0f} tokens/s; physlm is x{torch['msPerStep'] / ours['msPerStep']:.2f}")
        pairs = list(zip(ours["losses"], torch["losses"]))
        print(f"  losses differ by at most {max(abs(a - b) for a, b in pairs):.4f} over {len(pairs)} steps; last {pairs[-1][0]:.4f} and {pairs[-1][1]:.4f}")
