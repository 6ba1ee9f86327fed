#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Time of a reload with a running dataplane, from the request to the last worker, by stages. In the private root:
tools/root run tests/bench/reload.py [--build DIR] [--services N] [--backends N] [--rounds N] [--rename]."""

import argparse
import json
import os
import statistics
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from big import Big, request
from lab import Stats

STAGES = ("file to checked model", "blob built, published", "request to answer", "request to all workers")


def seen(stats):
    _, off, stride = stats.dir[2]
    return min(struct.unpack_from("<Q", stats.map, off + w * stride + 8)[0] for w in range(stats.workers))


def text_of(big, i, rename):
    """Another weight each time, or another name for every backend."""
    if rename:
        return big.text.replace('name = "mx', 'name = "n%dmx' % i)
    return big.text.replace("weight = 100;", "weight = %d;" % (100 + i % 2))


def rounds_run(big, rounds, rename):
    stats, times = Stats(big.folder + "/dp.sock"), []
    for i in range(rounds):
        big.write(text_of(big, i + 1, rename))
        start = time.monotonic()
        answered, body = request(big.control, "POST", "/v1/reload")
        answer = json.loads(body)
        assert answer["reloaded"], answer
        while seen(stats) != answer["generation"]:
            assert time.monotonic() < start + 10
            time.sleep(0.0002)
        times.append((answer.get("read_seconds", 0), answer.get("publish_seconds", 0), answered, time.monotonic() - start))
        time.sleep(0.1)
    return times


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", default="build/gcc")
    p.add_argument("--services", type=int, default=1000)
    p.add_argument("--backends", type=int, default=10000)
    p.add_argument("--rounds", type=int, default=20)
    p.add_argument("--rename", action="store_true", help="all backends have other names each time")
    a = p.parse_args()
    with Big(a.build, a.services, a.backends) as big:
        times = rounds_run(big, a.rounds, a.rename)
    print("%d services, %d backends, %d reloads; milliseconds" % (a.services, a.backends, a.rounds))
    for name, column in zip(STAGES, zip(*times)):
        print("%-28s least %7.2f  median %7.2f  most %7.2f" % (name, min(column) * 1e3, statistics.median(column) * 1e3, max(column) * 1e3))


if __name__ == "__main__":
    main()
