"""Prints what run.sh found: table.py RESULTS_FOLDER"""

import json
import os
import sys

folder = sys.argv[1]


def read(name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    try:
        with open(path) as file:
            return json.load(file)
    except ValueError as problem:
        print(f"{name} cannot be read: {problem}")
        return None


def say_problems(what, report):
    for family in report["families"]:
        if family["problem"]:
            print(f"  {what} {family['family']}: {family['problem']}")


checks, kernels = read("check.json"), read("kernels.json")
if kernels:
    if "cublas_tflops" in kernels:
        print(f"cuBLAS 8192^3 {kernels['cublas_tflops']:.0f} TFLOPS, copy {kernels['copy_tbps']:.2f} TB/s, torch {kernels['torch']}")
    print(f"{'kernel':22s} {'shape':18s} {'ours':>10s} {'torch':>10s} {'torch/ours':>10s} {'rate':>14s}")
    for r in kernels["rows"]:
        if "kernel" not in r:
            print(f"  {r['check']}: {r['problem']}")
            continue
        unit = "TFLOPS" if "TFLOPS" in r else "TBps"
        other = f"{r['torch_us']:8.1f}us {r['ratio']:10.2f}" if "torch_us" in r else f"{'-':>10s} {'-':>10s}"
        print(f"{r['kernel']:22s} {r['shape']:18s} {r['ours_us']:8.1f}us {other} {r[unit]:7.2f} {unit}")
    say_problems("bench", kernels)
for model in ("tiny", "train"):
    ours, torch = read(f"{model}-physlm.json"), read(f"{model}-torch.json")
    if not ours:
        continue
    print(f"\n{model}: physlm {ours['msPerStep']:.2f} ms/step, {ours['tokensPerSec']:.0f} tokens/s")
    if torch:
        print(f"{' ' * len(model)}  torch  {torch['msPerStep']:.2f} ms/step, {torch['tokensPerSec']:.0f} tokens/s; physlm is x{torch['msPerStep'] / ours['msPerStep']:.2f}")
        pairs = list(zip(ours["losses"], torch["losses"]))
        print(f"  losses differ by at most {max(abs(a - b) for a, b in pairs):.4f} over {len(pairs)} steps; last {pairs[-1][0]:.4f} and {pairs[-1][1]:.4f}")
if checks:
    passed = [row for row in checks["rows"] if row["passed"]]
    print(f"\n{checks.get('device', 'no device')}: {len(passed)} of {len(checks['rows'])} checks passed")
    for row in [row for row in checks["rows"] if not row["passed"]][:30]:
        print(f"  FAILED {row['check']}: " + (row.get("problem") or f"error {row.get('error')}, bound {row.get('bound')}, {row}"))
    say_problems("check", checks)
parts = os.path.join(folder, "parts.txt")
if os.path.exists(parts):
    print()
    with open(parts) as file:
        for line in file:
            name, how = line.rstrip("\n").split("\t")
            print(f"{name:18s} {how}")
