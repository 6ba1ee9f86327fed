#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Time and size of the views of the API, of mailracectl and of the metrics with a large configuration. In the private root:
tools/root run tests/bench/views.py [--build DIR] [--services N] [--backends N]."""

import argparse
import http.client
import subprocess
import time

from big import Big, memory_most, request

VIEWS = ("status", "virtual-services", "pools", "backends", "latency", "counters")


def least(what, rounds=3):
    """What is a function that gives seconds and bytes."""
    return min(what() for _ in range(rounds))


def scrape():
    start = time.monotonic()
    c = http.client.HTTPConnection("127.0.0.1", 9826, timeout=60)
    c.request("GET", "/metrics")
    n = len(c.getresponse().read())
    c.close()
    return time.monotonic() - start, n


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", default="build/gcc")
    p.add_argument("--services", type=int, default=1000)
    p.add_argument("--backends", type=int, default=10000)
    a = p.parse_args()
    big = Big(a.build, a.services, a.backends, ("dataplane", "controlplane", "exporter"))
    big.write(big.text + 'exporter = { listen = "127.0.0.1:9826"; };\n')
    with big:
        def view(name):
            seconds, body = request(big.control, "GET", "/v1/" + name)
            return seconds, len(body)

        def command(name):
            start = time.monotonic()
            out = subprocess.run([a.build + "/tools/mailracectl", "-s", big.control, "show", name], check=True, capture_output=True, timeout=60)
            return time.monotonic() - start, len(out.stdout)
        rows = [("GET /v1/" + name, least(lambda name=name: view(name))) for name in VIEWS]
        rows.append(("mailracectl show backends", least(lambda: command("backends"))))
        rows.append(("GET /metrics", least(scrape)))
        print("%d services, %d backends; least of 3" % (a.services, a.backends))
        for name, (seconds, size) in rows:
            print("%-28s %8.1f ms %10d bytes" % (name, seconds * 1e3, size))
        print("most memory: " + ", ".join("%s %d MB" % (name, memory_most(proc) / 1e6) for name, proc in big.proc.items()))


if __name__ == "__main__":
    main()
