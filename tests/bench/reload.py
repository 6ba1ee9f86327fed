#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Time of a reload with a running dataplane, from the request to the last worker, by stages. In the private root:
tools/root run tests/bench/reload.py [--build DIR] [--services N] [--backends N] [--rounds N]. Uses a port without a wire."""

import argparse
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../e2e"))
from lab import Stats, wait_for

STAGES = ("file to checked model", "blob built, published", "request to answer", "request to all workers")


def post(path, what):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    s.connect(path)
    s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % what.encode())
    data = b""
    while chunk := s.recv(65536):
        data += chunk
    s.close()
    return json.loads(data.split(b"\r\n\r\n", 1)[1])


def seen(stats):
    _, off, stride = stats.dir[2]
    return min(struct.unpack_from("<Q", stats.map, off + w * stride + 8)[0] for w in range(stats.workers))


def rounds_run(a, folder, texts):
    stats, times = Stats(folder + "/dp.sock"), []
    for i in range(a.rounds):
        with open(folder + "/mailrace.conf", "w", encoding="utf-8") as f:
            f.write(texts[(i + 1) % 2])
        start = time.monotonic()
        answer = post(folder + "/control.sock", "/v1/reload")
        answered = time.monotonic()
        assert answer["reloaded"], answer
        while seen(stats) != answer["generation"]:
            assert time.monotonic() < start + 10
            time.sleep(0.0002)
        times.append((answer.get("read_seconds", 0), answer.get("publish_seconds", 0), answered - start, time.monotonic() - start))
        time.sleep(0.1)
    return times


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", default="build/gcc")
    p.add_argument("--services", type=int, default=1000)
    p.add_argument("--backends", type=int, default=10000)
    p.add_argument("--rounds", type=int, default=20)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([a.build + "/tests/bench/bench-reload", "-n", "1", "-s", str(a.services), "-b", str(a.backends), "-w",
                        folder + "/mailrace.conf"], check=True, stdout=subprocess.DEVNULL)
        with open(folder + "/mailrace.conf", encoding="utf-8") as f:
            text = f.read().replace("workers = 2;", 'workers = 2; memory = "384M"; socket = "%s/dp.sock";' % folder)
        text += 'control = { socket = "%s/control.sock"; };\n' % folder
        texts = text, text.replace("weight = 100;", "weight = 200;")
        with open(folder + "/mailrace.conf", "w", encoding="utf-8") as f:
            f.write(text)
        running = []
        try:
            with open(folder + "/log", "w", encoding="utf-8") as log:
                for program, word in (("dataplane/mailrace-dataplane", "ready: "), ("controlplane/mailrace-controlplane", "attached to")):
                    running.append(subprocess.Popen([os.path.join(a.build, program), "-c", folder + "/mailrace.conf"], stderr=log))
                    wait_for(word, lambda word=word: word in open(folder + "/log", encoding="utf-8").read(), 30)
            times = rounds_run(a, folder, texts)
        finally:
            for proc in reversed(running):
                proc.terminate()
                proc.wait(20)
    print("%d services, %d backends, %d reloads; milliseconds" % (a.services, a.backends, a.rounds))
    for name, column in zip(STAGES, zip(*times)):
        print("%-28s least %7.2f  median %7.2f  most %7.2f" % (name, min(column) * 1e3, statistics.median(column) * 1e3, max(column) * 1e3))


if __name__ == "__main__":
    main()
