# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""What a capture costs the worker: the load of tools/bench/run without one, with one that matches nobody, with the dialogue of
all sessions and with all their packets, in turns, several times over. Sessions are the same; the file goes to /dev/null."""

import argparse
import signal
import statistics
import subprocess
import time

import bench

WAYS = {
    "no capture": None,
    "of a client that is not there": ["--client", "192.0.2.1"],
    "every session, 128 octets a packet": ["--snap", "128"],
    "every session, whole packets": [],
    "transcript of every session": ["--transcript"],
}
SECONDS = 3600  # of the capture: it is interrupted
BYTES = 1 << 40


def wait(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("waited in vain for " + what)
        time.sleep(0.05)


class Control:
    def __init__(self, rig):
        self.rig, self.socket = rig, rig.dir + "/control.sock"

    def __enter__(self):
        self.log = open(self.rig.dir + "/control.log", "w", encoding="utf-8")
        self.proc = subprocess.Popen([self.rig.build + "/controlplane/mailrace-controlplane", "-c", self.rig.dir + "/conf"],
                                     stdout=self.log, stderr=self.log)
        ctl = [self.rig.build + "/tools/mailracectl", "-s", self.socket, "show", "pools"]
        wait("the control process", lambda: subprocess.run(ctl, capture_output=True, check=False).returncode == 0)
        return self

    def __exit__(self, *_):
        self.proc.terminate()
        self.proc.wait(30)
        self.log.close()

    def capture(self, args):
        proc = subprocess.Popen([self.rig.build + "/tools/mailracectl", "-s", self.socket, "capture", *args, "--time", str(SECONDS),
                                 "--bytes", str(BYTES), "-w", "/dev/null"], stderr=subprocess.PIPE, text=True)
        wait("the worker to copy", lambda: proc.poll() is not None or self.rig.stats()["capture_armed"] > 0)
        if proc.poll() is not None:
            raise RuntimeError("no capture: " + proc.communicate()[1])
        return proc


def measure(a, way):
    """One load of its own dataplane: DPDK's memif can fault under a polling worker when its peer goes and another comes."""
    with bench.Rig(a.build, sessions=100000) as rig, Control(rig) as control:
        proc = None if way is None else control.capture(way)
        try:
            samples, _, _, _ = bench.measure(rig, a.seconds, ["-c", a.c, *a.options])
            lost = sum(n for name, n in rig.stats().items() if name.startswith("capture_ring_full"))
        finally:
            if proc is not None:
                proc.send_signal(signal.SIGINT)
                proc.communicate(timeout=60)
        return [s["busy_us"] for s in samples], lost


def main():
    p = argparse.ArgumentParser(prog="tools/bench/capture", description="What a capture costs a worker.")
    p.add_argument("--build", default="build/gcc")
    p.add_argument("--seconds", type=int, default=4, help="of each run")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("-c", type=int, default=256, help="sessions at a time")
    p.add_argument("options", nargs="*", help="after --: further options of mailrace-bench")
    a = p.parse_args()
    busy, lost = {name: [] for name in WAYS}, dict.fromkeys(WAYS, 0)
    for _ in range(a.rounds):
        for name, way in WAYS.items():
            more, less = measure(a, way)
            busy[name] += more
            lost[name] += less
    plain = min(busy["no capture"]), statistics.median(busy["no capture"])
    print("busy us a session: best, median; over no capture; packets not taken")
    for name, found in busy.items():
        best, median = min(found), statistics.median(found)
        print("%-36s %7.2f %7.2f   %+5.1f %% %+5.1f %%   %d" % (name, best, median, 100 * (best / plain[0] - 1),
                                                             100 * (median / plain[1] - 1), lost[name]))


if __name__ == "__main__":
    main()
