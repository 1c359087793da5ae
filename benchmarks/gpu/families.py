"""Runs parts of a script in processes of their own, so that a crash, a hang or a lost context in one leaves the others alone.

A script calls run_families(__doc__, families): without --family it starts itself once for each family and writes what they found;
with --family NAME it runs that one and hands its rows over. A family is a function that fills the list it gets.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback


WITHOUT = "PHYSLM_CUDA_WITHOUT"


def run_families(about, families, describe, hopper={}):
    """families: {name: (function(part), seconds)}. describe() gives what belongs beside the rows. Exit status 1: a row failed.

    hopper: {name: others}, families of Hopper's own kernels, each checked without the others; one that fails is left to the
    kernels for sm_80 in all that follows, and in `without` of the results.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("library")
    parser.add_argument("results")
    parser.add_argument("--small", action="store_true", help="few small shapes")
    parser.add_argument("--seconds", type=float, default=1e9, help="families that would begin later are left out")
    parser.add_argument("--family", choices=list(families))
    options = parser.parse_args()
    if options.family:
        return one(options, *families[options.family], describe)
    began = time.monotonic()
    found = {"families": []}
    rows = []
    for name, (_, limit) in families.items():
        left = options.seconds - (time.monotonic() - began)
        record = {"family": name, "problem": None}
        found["families"].append(record)
        if left < 10:
            record["problem"] = "left out: no time"
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            part = os.path.join(folder, "part.json")
            command = [sys.executable, sys.argv[0], options.library, part, "--family", name]
            environment = {**os.environ, WITHOUT: hopper[name]} if name in hopper else None
            try:
                done = subprocess.run(command + ["--small"] * options.small, timeout=min(limit, left), env=environment)
                if done.returncode:
                    record["problem"] = f"ended with status {done.returncode}"
            except subprocess.TimeoutExpired:
                record["problem"] = f"did not end within {min(limit, left):.0f} s"
            result = {"rows": []}
            if os.path.exists(part):
                with open(part) as file:
                    result = json.load(file)
                rows += result["rows"]
                record["problem"] = result.pop("problem") or record["problem"]
                found.update({key: value for key, value in result.items() if key != "rows"})
        bad = record["problem"] or not all(row.get("passed", True) for row in result["rows"])
        if bad and name in hopper:
            print(f"{name}: the kernels for sm_80 do its work from here on", flush=True)
            os.environ[WITHOUT] = f"{os.environ.get(WITHOUT, '')} {name}".strip()
        found["without"] = os.environ.get(WITHOUT, "")
        record["seconds"] = round(time.monotonic() - start, 1)
        if record["problem"]:
            print(f"{name}: {record['problem']}", flush=True)
        with open(options.results, "w") as file:
            json.dump({**found, "rows": rows}, file, indent=1)
    failed = [row for row in rows if not row.get("passed", True)]
    problems = [record for record in found["families"] if record["problem"]]
    for row in failed[:40]:
        print(f"  FAILED {row.get('check') or row.get('kernel')}: {row.get('problem') or row}")
    print(f"{len(rows)} rows, {len(failed)} failed; {len(problems)} of {len(families)} families with a problem")
    sys.exit(1 if failed or problems else 0)


class Part:
    """The rows of one family; written after each, so that what came before a crash is kept."""

    def __init__(self, path, small, describe):
        self.path, self.small, self.describe = path, small, describe
        self.rows, self.problem = [], None

    def add(self, row):
        self.rows.append(row)
        self.write()

    def attempt(self, what, work, *arguments):
        """Runs work(part, …); an exception becomes a failed row."""
        try:
            work(self, *arguments)
        except Exception as problem:  # one that fails must not end the others
            traceback.print_exc()
            text = str(problem).strip().splitlines()
            self.add({"check": what, "passed": False, "problem": f"{type(problem).__name__}: {text[0] if text else ''}"})

    def write(self):
        with open(self.path + ".new", "w") as file:
            json.dump({**self.describe(), "rows": self.rows, "problem": self.problem}, file)
        os.replace(self.path + ".new", self.path)


def one(options, function, _, describe):
    part = Part(options.results, options.small, describe)
    part.write()
    try:
        function(part)
    except (Exception, SystemExit) as problem:
        traceback.print_exc()
        part.problem = f"{type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''}"
    part.write()
