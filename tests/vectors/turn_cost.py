#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Instructions that a plain session costs a worker, counted by callgrind over the simulator's scenario `cost` (worker_turn
without the simulated wire): repeatable where times are not. Fails when they rose by more than 5 % above the figure in
turn_cost.json. After a change that is worth more instructions, or saves some: turn_cost.py --refresh SIM, and say in the
commit what they bought. --profile SIM lists the functions, --packets SIM the turns of a single session in their order."""

import collections
import glob
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
STAGES = {"input": ["net_input_burst"], "events": ["tcp_events_run"], "timers": ["relay_timers_run", "tcp_timers_run", "net_timers"],
          "output": ["tcp_output_run", "net_flush"]}


def callgrind(sim, out, *options, seed=1):
    """Runs the scenario; the instructions collected."""
    run = subprocess.run(
        ["valgrind", "--tool=callgrind", "--toggle-collect=worker_turn", "--toggle-collect=box_rx", "--toggle-collect=box_tx",
         "--callgrind-out-file=" + out, *options, sim, "--scenario", "cost", "--seed", str(seed)],
        # the same routines of the C library on every machine
        env=dict(os.environ, GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-EVEX,-ERMS,-FSRM"),
        capture_output=True, text=True, timeout=600, check=False)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode != 0 or "1 seeds of scenario cost passed" not in run.stdout:
        sys.exit("callgrind failed:\n" + run.stdout + run.stderr[-3000:])
    return int(found.group(1)) if found else 0


def count(sim, profile):
    with tempfile.TemporaryDirectory() as tmp:
        sum_all = callgrind(sim, tmp + "/out")
        if profile:
            subprocess.run(["callgrind_annotate", "--threshold=99", "--auto=no", tmp + "/out"], check=False)
        return sum_all / SESSIONS


def turn_read(path, names):
    """Instructions of one turn by what worker_turn called; names are given once over all files."""
    by_callee, function, callee, called = collections.Counter(), None, None, False
    for line in open(path, encoding="utf-8"):
        m = re.match(r"(c?fn)=\((\d+)\)(?: (\S+))?", line)
        if m:
            names.setdefault(m[2], m[3])
            if m[1] == "fn":
                function = names[m[2]]
            else:
                callee = names[m[2]]
        elif line.startswith("calls="):
            called = True
        elif re.match(r"[-+*\d]\S* \d+", line):
            if called and function == "worker_turn":
                by_callee[callee] += int(line.split()[1])
            called = False
    return by_callee


def packets(sim):
    """The turns in which one session moved on, in order: its packets from SYN to the last FIN."""
    with tempfile.TemporaryDirectory() as tmp:
        callgrind(sim, tmp + "/out", "--dump-after=worker_turn", seed=2)
        files = sorted(glob.glob(tmp + "/out.*"), key=lambda f: int(f.rsplit(".", 1)[1]))
        names = {}
        turns = [turn_read(f, names) for f in files]
    print("turn   " + "".join("%8s" % s for s in STAGES) + "   total")
    for n, turn in enumerate(turns[:len(turns) // 2]):  # the second half is the same again
        parts = [sum(turn[f] for f in functions) for functions in STAGES.values()]
        if sum(parts) > 1000:
            print("%4d   " % n + "".join("%8d" % p for p in parts) + "%8d" % sum(parts))


def main():
    *flags, sim = sys.argv[1:]
    if "--packets" in flags:
        packets(sim)
        return 0
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
