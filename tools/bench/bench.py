# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""A dataplane with one worker and the traffic generator, each on its core, joined by memif: what a session costs.

The cost is given twice: busy time of the worker (turns that did work, from its own counters) for each session, and wall-clock
time of its core for each session when it is saturated. Samples are taken twice a second and the median and the best are
printed: on a machine that others use, the best is what no one disturbed."""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

CONFIG = """hostname = "mx.bench.example";
dataplane = { workers = 1; max_sessions = %(sessions)d; %(memory)s; buffers = %(buffers)d; socket = "%(dir)s/dp.sock"; idle_sleep = %(sleep)s; };
control = { socket = "%(dir)s/control.sock"; state_dir = "%(dir)s/state"; };
ports = { lan = { device = "%(device)s"; addresses = [ "10.99.0.10/24", "fd99::10/64" ];
                  gateways = [ "10.99.0.1", "fd99::1" ]; }; };
%(certificates)s
pools = { mail = { scheduler = "weighted-round-robin"; backends = ( %(backends)s ); }; };
virtual_services = { inbound = { listen = [ "10.99.0.25:25", "[fd99::25]:25" ]; pool = "mail"; %(service)s }; };
"""
TARGETS = ["10.99.0.25:25", "[fd99::25]:25"]
KEYS = {"ecdsa-p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa-2048": ["rsa:2048"]}
BACKENDS = ["10.99.0.101:25", "10.99.0.102:25", "10.99.0.103:25", "[fd99::104]:25"]
STEP = 0.5
ASK_AGAIN = 5


class Rig:
    """The two processes; a context that ends both. Generator options are those of mailrace-bench."""

    def __init__(self, build, sessions=400000, idle_sleep=False, cycles=False, hugepages=None, service="", buffers=32768,
                 backends=BACKENDS, cpus=None, devices=None, key=None, engine=None):
        self.build, self.idle_sleep, self.backends = build, idle_sleep, backends
        self.dir = tempfile.mkdtemp(prefix="bench-", dir="/run")
        self.name = os.path.basename(self.dir)  # an abstract socket of this namespace: nothing stale can be in the way
        # the dataplane's, and the generator's
        self.devices = devices or ("net_memif0,role=server,socket=" + self.name, "net_memif0,role=client,socket=" + self.name)
        self.binary = build + "/dataplane/mailrace-dataplane" + ("-cycles" if cycles else "")
        self.key, self.engine, self.control = key, engine, None
        certificates = ""
        if key:
            certificates = 'certificates = { mail = { chain = "%s/mail.pem"; key = "%s/mail.key"; }; };' % (self.dir, self.dir)
            service += ' tls = { mode = "starttls-optional"; certificates = [ "mail" ]; };'
        allowed = sorted(cpus or os.sched_getaffinity(0))
        self.cpu_generator, self.cpu_worker = allowed[0], allowed[1 % len(allowed)]
        with open(self.dir + "/conf", "w", encoding="utf-8") as f:
            f.write(CONFIG % {
                "sessions": sessions, "dir": self.dir, "device": self.devices[0], "buffers": buffers, "service": service,
                "certificates": certificates,
                "sleep": "true" if idle_sleep else "false",
                "memory": 'hugepages = "%s"' % hugepages if hugepages else 'memory = "512M"',
                "backends": ", ".join('{ name = "b%d"; address = "%s"; }' % b for b in enumerate(backends))})
        self.hugepages = hugepages
        self.proc = self.log = self.load_proc = None

    def read_log(self):
        with open(self.dir + "/log", encoding="utf-8") as f:
            return f.read()

    def __enter__(self):
        self.log = open(self.dir + "/log", "w", encoding="utf-8")
        if self.key:
            subprocess.run(["openssl", "req", "-x509", "-newkey", *KEYS[self.key], "-nodes", "-days", "60", "-keyout", self.dir + "/mail.key",
                            "-out", self.dir + "/mail.pem", "-subj", "/CN=mx.bench.example", "-addext",
                            "subjectAltName=DNS:mx.bench.example"], check=True, capture_output=True, timeout=60)
        env = dict(os.environ, **{"LD_PRELOAD": os.path.abspath(self.build + "/tools/bench/no-crypto-mb.so")}
                   if self.engine == "libcrypto" else {})
        self.proc = subprocess.Popen([self.binary, "-c", self.dir + "/conf"], stdout=self.log, stderr=self.log, env=env,
                                     preexec_fn=lambda: os.sched_setaffinity(0, {self.cpu_generator, self.cpu_worker}))
        end = time.monotonic() + 60
        while "ready" not in self.read_log():
            if self.proc.poll() is not None or time.monotonic() > end:
                text = self.read_log()
                self.__exit__(None, None, None)
                raise RuntimeError("the dataplane does not start: " + text)
            time.sleep(0.05)
        if self.key:
            self.certify()
        return self

    def certify(self):
        """Starts the control process, which hands the certificate to the dataplane."""
        self.control = subprocess.Popen([self.build + "/controlplane/mailrace-controlplane", "-c", self.dir + "/conf"],
                                        stdout=self.log, stderr=self.log,
                                        preexec_fn=lambda: os.sched_setaffinity(0, {self.cpu_generator}))
        end = time.monotonic() + 20
        while self.read_log().count("attached to") == 0:
            if self.control.poll() is not None or time.monotonic() > end:
                text = self.read_log()
                self.__exit__(None, None, None)
                raise RuntimeError("the control process does not start: " + text)
            time.sleep(0.05)

    def stop(self):
        """Ends the dataplane; its exit status."""
        if self.control is not None and self.control.poll() is None:
            self.control.terminate()
            self.control.wait(20)
        if self.proc is not None and self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(30)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        return self.proc.returncode

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print(self.read_log()[-3000:])
        if self.load_proc is not None and self.load_proc.poll() is None:
            self.load_proc.kill()
            self.load_proc.wait()
        self.stop()
        self.log.close()
        shutil.rmtree(self.dir)

    def stats(self):
        """What mailrace-stats prints, by name; rows with labels summed."""
        for again in range(ASK_AGAIN, -1, -1):  # the main thread that answers may find both cores taken
            run = subprocess.run([self.build + "/tools/mailrace-stats", self.dir + "/dp.sock"], capture_output=True, text=True,
                                 timeout=20, check=False)
            if run.returncode == 0:
                break
            if again == 0:
                raise RuntimeError("the dataplane does not answer: " + run.stderr)
        out = run.stdout
        found = {"at": time.monotonic(), "helper_seconds": self.helper_seconds()}
        for name, value in re.findall(r"^(mailrace_\w+)(?:\{[^}]*\})? (\S+)$", out, re.M):
            found[name[9:]] = found.get(name[9:], 0) + float(value)
        return found

    def helper_seconds(self):
        """CPU time of the dataplane's threads that sign and verify what takes long."""
        ticks = 0
        for task in os.scandir("/proc/%d/task" % self.proc.pid):
            with open(task.path + "/stat", encoding="ascii") as f:
                name, rest = f.read().rsplit(")", 1)
            if "crypto-" in name:
                ticks += sum(int(x) for x in rest.split()[11:13])
        return ticks / os.sysconf("SC_CLK_TCK")

    def generator(self, *args, targets=TARGETS):
        command = [self.build + "/tools/bench/mailrace-bench", "--vdev", self.devices[1],
                   "--cpu", str(self.cpu_generator), "-o", self.dir + "/report.json"]
        for t in targets:
            command += ["--target", t]
        for b in self.backends:
            command += ["--backend", b]
        if self.idle_sleep:
            command.append("--idle-sleep")
        if self.hugepages:
            command.append("--hugepages")
        self.load_proc = subprocess.Popen(command + [str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return self.load_proc

    def load(self, *args, timeout=120, **kind):
        """Runs the generator to its end: (exit status, report, text)."""
        proc = self.generator(*args, **kind)
        try:
            out, err = proc.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            proc.kill()
            out, err = proc.communicate()
            raise TimeoutError("the generator does not end: " + out + err) from None
        try:
            with open(self.dir + "/report.json", encoding="utf-8") as f:
                report = json.load(f)
        except FileNotFoundError:
            report = None
        return proc.returncode, report, out + err


def sample(before, now):
    """What a session cost between two readings; None when there were hardly any."""
    sessions = now["session_ended_total"] - before["session_ended_total"]
    if sessions < 50:
        return None
    wall, busy = now["at"] - before["at"], now["worker_busy_seconds_total"] - before["worker_busy_seconds_total"]
    batches = [now[b] - before[b] for b in ("tls_batches_of_%d_total" % i for i in range(1, 9))]
    return {"rate": sessions / wall, "busy_us": busy / sessions * 1e6, "core_us": wall / sessions * 1e6, "share": busy / wall,
            "helper_us": (now["helper_seconds"] - before["helper_seconds"]) / sessions * 1e6,
            "fill": sum(i * n for i, n in enumerate(batches, 1)) / max(1, sum(batches)),
            "packets": (now["net_rx_packets_total"] + now["net_tx_packets_total"] - before["net_rx_packets_total"] -
                        before["net_tx_packets_total"]) / sessions}


def measure(rig, seconds, args):
    """The samples of a load of so many seconds, one of the whole load, and the generator's report."""
    before_all, before = rig.stats(), None
    proc = rig.generator("-t", seconds, *args)
    samples = []
    while proc.poll() is None:
        time.sleep(STEP)
        now = rig.stats()
        if before is not None:
            samples.append(sample(before, now))
        before = now
    text = "".join(proc.communicate())
    if proc.returncode != 0:
        raise RuntimeError("the generator found faults:\n" + text)
    with open(rig.dir + "/report.json", encoding="utf-8") as f:
        samples = [s for s in samples if s is not None][1:-1] or [s for s in samples if s]
        return samples, sample(before_all, rig.stats()), json.load(f), text


def measure_load(rig, a, args):
    samples, whole, report, text = measure(rig, a.seconds, ["-c", a.c, *args])
    print(text.strip())
    if not samples:
        raise RuntimeError("too short to take samples")
    hz = report["tsc_hz"]
    busy = sorted(s["busy_us"] for s in samples)
    best = max(samples, key=lambda s: s["rate"])
    saturated = best["share"] > 0.9
    result = {
        "sessions_per_second": best["rate"], "busy_us_median": statistics.median(busy), "busy_us_best": busy[0],
        "cycles_best": busy[0] * hz / 1e6, "packets": best["packets"], "core_us": best["core_us"], "saturated": saturated,
        "share": best["share"], "whole": whole, "report": report}
    print("dataplane, one worker (%d samples): %.0f sessions/s; busy us a session: median %.2f, best %.2f (%.0f cycles of %.2f GHz, "
          "%.1f packets, %.0f cycles a packet)" % (
              len(samples), best["rate"], result["busy_us_median"], busy[0], result["cycles_best"], hz / 1e9, best["packets"],
              result["cycles_best"] / best["packets"]))
    if "--tls" in args:
        print("of the whole load: busy %.2f us a session, helper thread %.2f; engine %s, fill of its batches %.1f of 8, %d of %d "
              "sessions resumed" % (whole["busy_us"], whole["helper_us"], rig.engine or "as the processor has it", whole["fill"],
                                    report["resumed"], report["sessions"]))
    print("wall-clock core time a session: %.2f us (worker busy %.0f %%%s)" % (
        best["core_us"], 100 * best["share"], "" if saturated else ": not saturated, the generator is the limit"))
    return result


def measure_hold(rig, a):
    before = rig.stats()
    proc = rig.generator("--hold", a.hold, "-c", 0, "-t", 3600)
    os.set_blocking(proc.stderr.fileno(), True)
    line = proc.stderr.readline()
    while line and not line.startswith("holding"):
        line = proc.stderr.readline()
    if not line:
        raise RuntimeError("the generator ended: " + proc.communicate()[0])
    time.sleep(1)
    now = rig.stats()
    proc.send_signal(signal.SIGINT)
    out, err = proc.communicate(timeout=600)
    if proc.returncode != 0:
        raise RuntimeError("the generator found faults:\n" + out + err)
    reserved = float(re.search(r"(\d+) bytes a session", rig.read_log()).group(1))
    result = {"held": int(line.split()[1]), "reserved_bytes": reserved,
              "buffers": now["buffers_in_use"] - before["buffers_in_use"]}
    print("%d idle sessions: %d bytes reserved a session, %d packet buffers more in use than with none" % (
        result["held"], result["reserved_bytes"], result["buffers"]))
    return result


def hurry():
    """Before other work of the machine: scheduling is by session first, then by process."""
    os.setsid() if os.getpid() != os.getsid(0) else None
    try:
        with open("/proc/self/autogroup", "w", encoding="utf-8") as f:
            f.write("-20")
    except OSError:
        pass
    os.nice(-20)


def main():
    p = argparse.ArgumentParser(prog="tools/bench/run", description="What a session costs one worker.")
    p.add_argument("--build", default="build/gcc")
    p.add_argument("--seconds", type=int, default=5)
    p.add_argument("-c", type=int, default=256, help="sessions at a time")
    p.add_argument("--key", choices=sorted(KEYS), help="STARTTLS (1.3 unless --tls 12 is among the options) with such a certificate")
    p.add_argument("--engine", choices=["libcrypto"], help="the TLS engine of a processor without AVX512-IFMA")
    p.add_argument("--hold", type=int, default=0, help="instead: memory of so many idle sessions")
    p.add_argument("--sessions", type=int, default=400000, help="dataplane.max_sessions")
    p.add_argument("--hugepages", help='such as "1G"; else ordinary memory, whose 4 KiB pages cost misses of the TLB')
    p.add_argument("--cycles", action="store_true", help="the dataplane that counts the cycles of each stage")
    p.add_argument("--hurry", action="store_true", help="before all other work of the machine")
    p.add_argument("--json", metavar="FILE")
    p.add_argument("options", nargs="*", help="after --: further options of mailrace-bench (-s, -m, --pipelining, --bdat ...)")
    a = p.parse_args()
    if a.hurry and a.key == "rsa-2048":
        p.error("--hurry leaves the dataplane's helper thread, which signs with RSA, no time of either core")
    if a.hurry:
        hurry()
    if a.key:  # a generator is slower than a worker: waves, so that as many handshakes meet as on a busy service
        a.options = ["--tls", "13", "--wave", str(a.c // 2), *a.options]
    with Rig(a.build, sessions=max(a.sessions, a.hold), cycles=a.cycles, hugepages=a.hugepages, key=a.key, engine=a.engine) as rig:
        try:
            result = measure_hold(rig, a) if a.hold else measure_load(rig, a, a.options)
        except RuntimeError as e:
            print(e, file=sys.stderr)
            return 1
        status = rig.stop()
        if a.cycles:
            print("\n".join(re.findall(r"worker \d+: (.*)", rig.read_log())))
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=2)
    return 0 if status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
