# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Runs the cases of cases_*.py, several at a time, each in a process and a network namespace of its own, with its own
laboratory and bounded in time. Cases that wait (lab.waits) run beside the others, those that load a machine (lab.alone) after
them, one by one. What a case printed follows its line when it failed; the last line counts."""

import argparse
import glob
import importlib
import os
import signal
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import lab

CASE_SECONDS = 180
GRACE_SECONDS = 30  # for a case to clean up after itself, before its processes are killed


def cases(words):
    for path in sorted(glob.glob(HERE + "/cases_*.py")):
        module = importlib.import_module(os.path.basename(path)[:-3])
        for name, case in list(vars(module).items()):
            if name.startswith("case_") and words.replace(" ", "_") in name:
                yield name[5:].replace("_", " "), case


def late(*_):
    raise TimeoutError("not done in %d s" % CASE_SECONDS)


def run_case(case):
    """In the case's own process: its exit status."""
    signal.signal(signal.SIGALRM, late)
    signal.alarm(CASE_SECONDS)
    try:
        os.unshare(os.CLONE_NEWNET)
        lab.sh("ip", "link", "set", "lo", "up")
        case()
        return 0
    except BaseException:
        traceback.print_exc()
        return 1


class Running:
    def __init__(self, name, case, waits):
        self.name, self.waits, self.start, self.said = name, waits, time.monotonic(), tempfile.TemporaryFile("w+")
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up
            os.dup2(self.said.fileno(), 1)
            os.dup2(self.said.fileno(), 2)
            status = run_case(case)
            sys.stdout.flush()
            os._exit(status)

    def ended(self, status, used):
        """Whether it passed; prints its line."""
        ok = os.waitstatus_to_exitcode(status) == 0
        print("%-60s %-6s %5.1f s, CPU %5.1f s" % (self.name, "ok" if ok else "FAILED", time.monotonic() - self.start,
                                                   used.ru_utime + used.ru_stime), flush=True)
        if not ok:
            self.said.seek(0)
            print(self.said.read(), flush=True)
        self.said.close()
        return ok

    def kill_late(self):
        if time.monotonic() - self.start > CASE_SECONDS + GRACE_SECONDS:
            os.killpg(self.pid, signal.SIGKILL)


def run_all(todo, jobs, waiting=()):
    """How many passed and failed; of those that wait as many more at a time."""
    running, results = {}, []
    waiting = list(waiting)
    try:
        while todo or waiting or running:
            for queue, waits in ((waiting, True), (todo, False)):
                while queue and sum(r.waits == waits for r in running.values()) < jobs:
                    r = Running(*queue.pop(0), waits)
                    running[r.pid] = r
            pid, status, used = os.wait4(-1, os.WNOHANG)
            if pid in running:
                results.append(running.pop(pid).ended(status, used))
            for r in running.values():
                r.kill_late()
            time.sleep(0.02)
    finally:
        for pid in running:  # a signal: each cleans up
            os.kill(pid, signal.SIGTERM)
        for pid in running:
            os.waitpid(pid, 0)
    return results.count(True), results.count(False)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", default=lab.BUILD)
    p.add_argument("--filter", default="", metavar="WORDS")
    p.add_argument("--jobs", default=4, type=int, metavar="N")
    p.add_argument("--no-measured", action="store_true", help="leave out cases about figures and sizes (lab.measured)")
    a = p.parse_args()
    lab.BUILD = a.build
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found = [c for c in cases(a.filter) if not (a.no_measured and getattr(c[1], "measured", False))]
    alone, waiting = ([c for c in found if getattr(c[1], mark, False)] for mark in ("alone", "waits"))
    together = run_all([c for c in found if c not in alone + waiting], a.jobs, waiting)
    one_by_one = run_all(alone, 1)
    passed, failed = together[0] + one_by_one[0], together[1] + one_by_one[1]
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
