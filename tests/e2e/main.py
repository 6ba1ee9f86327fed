# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Runs the cases of cases_*.py. Each makes its own laboratory; each is bounded in time; the last line counts."""

import argparse
import glob
import importlib
import os
import signal
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import lab

CASE_SECONDS = 180


def cases(words):
    for path in sorted(glob.glob(HERE + "/cases_*.py")):
        module = importlib.import_module(os.path.basename(path)[:-3])
        for name, case in list(vars(module).items()):
            if name.startswith("case_") and words.replace(" ", "_") in name:
                yield name[5:].replace("_", " "), case


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", default=lab.BUILD)
    p.add_argument("--filter", default="", metavar="WORDS")
    a = p.parse_args()
    lab.BUILD = a.build
    passed = failed = 0
    for name, case in cases(a.filter):
        start = time.monotonic()
        signal.alarm(CASE_SECONDS)
        try:
            case()
            passed += 1
            result = "ok"
        except Exception:
            failed += 1
            result = "FAILED"
            traceback.print_exc()
        signal.alarm(0)
        print("%-60s %-6s %5.1f s" % (name, result, time.monotonic() - start), flush=True)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
