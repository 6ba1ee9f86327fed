#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Instructions that a plain session costs a worker, counted by callgrind over the simulator's scenario `cost` (worker_turn
without the simulated wire): repeatable where times are not. Fails when they rose by more than 5 % above the figure in
turn_cost.json. After a change that is worth more instructions, or saves some: turn_cost.py --refresh SIM, and say in the
commit what they bought. --profile SIM lists the functions."""

import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
STORED = HERE + "/turn_cost.json"
SESSIONS = 2 * 64  # the simulator runs a seed twice
RISE = 1.05


def count(sim, profile):
    with tempfile.TemporaryDirectory() as tmp:
        run = subprocess.run(
            ["valgrind", "--tool=callgrind", "--toggle-collect=worker_turn", "--toggle-collect=box_rx", "--toggle-collect=box_tx",
             "--callgrind-out-file=" + tmp + "/out", sim, "--scenario", "cost", "--seed", "1"],
            # the same routines of the C library on every machine
            env=dict(os.environ, GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-EVEX,-ERMS,-FSRM"),
            capture_output=True, text=True, timeout=600, check=False)
        found = re.search(r"Collected : (\d+)", run.stderr)
        if run.returncode != 0 or "1 seeds of scenario cost passed" not in run.stdout or not found:
            sys.exit("callgrind failed:\n" + run.stdout + run.stderr[-3000:])
        if profile:
            subprocess.run(["callgrind_annotate", "--threshold=99", "--auto=no", tmp + "/out"], check=False)
        return int(found.group(1)) / SESSIONS


def main():
    *flags, sim = sys.argv[1:]
    now = count(sim, "--profile" in flags)
    if "--refresh" in flags:
        with open(STORED, "w", encoding="utf-8") as f:
            json.dump({"instructions_a_session": round(now)}, f)
            f.write("\n")
    with open(STORED, encoding="utf-8") as f:
        stored = json.load(f)["instructions_a_session"]
    print("%.0f instructions a session, %d stored: %+.1f %%" % (now, stored, 100 * (now / stored - 1)))
    if now > stored * RISE:
        print("more than 5 %% above: make it cheaper, or refresh the figure and say why (%s --refresh %s)" % (sys.argv[0], sim))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
