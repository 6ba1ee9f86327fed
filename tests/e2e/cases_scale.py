# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Large configurations and tables: what must stay bounded, stays so. Times are printed, not judged (tests/bench measures)."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time

import lab as laboratory
from lab import alone, wait_for

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../bench"))
from big import Big, memory_most, request

SERVICES, BACKENDS = 1000, 10000
PAGE_MAX = 50e6
SLOW_READERS = 40


def scrape(port):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        c.request("GET", "/metrics")
        r = c.getresponse()
        return r.status, r.read()
    finally:
        c.close()


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@alone
def case_ten_thousand_backends_are_read_shown_and_counted():
    big = Big(laboratory.BUILD, SERVICES, BACKENDS, ("dataplane", "controlplane", "exporter"))
    exporter = 'exporter = { listen = "127.0.0.1:9826"; };\n'
    big.write(big.text + exporter)
    with big:
        wait_for("the exporter", lambda: listens(9826), 30)
        half = socket.socket(socket.AF_UNIX)  # a reader that stops in the middle
        half.connect(big.control)
        half.sendall(b"GET /v1/backends HTTP/1.0\r\n\r\n")
        half.recv(1000)
        generation = json.loads(request(big.control, "GET", "/v1/status")[1])["dataplane"]["generation"]
        big.write(big.text.replace("weight = 100;", "weight = 200;") + exporter)
        seconds, body = request(big.control, "POST", "/v1/reload")
        answer = json.loads(body)
        assert answer["reloaded"] and answer["generation"] == generation + 1, answer
        print("reload: %.0f ms, of which reading %.0f, publishing %.0f" % (
            seconds * 1e3, answer["read_seconds"] * 1e3, answer["publish_seconds"] * 1e3))
        half.settimeout(30)
        while half.recv(1 << 20):
            pass
        half.close()
        seconds, body = request(big.control, "GET", "/v1/backends")
        shown = json.loads(body)
        assert len({(b["pool"], b["name"]) for b in shown}) == len(shown) == BACKENDS and all(b["weight"] == 200 for b in shown)
        assert json.loads(request(big.control, "GET", "/v1/latency")[1]) == []
        table = subprocess.run([laboratory.BUILD + "/tools/mailracectl", "-s", big.control, "show", "backends"], check=True,
                               capture_output=True, timeout=60).stdout
        assert len(table.splitlines()) == BACKENDS + 1
        start = time.monotonic()
        status, page = scrape(9826)
        print("show: %.0f ms, %d bytes; scrape: %.0f ms, %d bytes" % (seconds * 1e3, len(body), (time.monotonic() - start) * 1e3, len(page)))
        assert status == 200 and len(page) < PAGE_MAX and page.count(b"\nmailrace_backend_up{") == BACKENDS
        assert page.count(b"\nmailrace_virtual_service_sessions{") == SERVICES
        slow = []
        for _ in range(SLOW_READERS):
            s = socket.create_connection(("127.0.0.1", 9826), timeout=30)
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            slow.append((s, s.recv(12)))
        codes = {head for _, head in slow}
        assert codes == {b"HTTP/1.1 200", b"HTTP/1.1 503"}, codes
        assert memory_most(big.proc["exporter"]) < 700e6, "pages that nobody reads are bounded"
        for s, _ in slow:
            s.close()
        wait_for("the exporter to be free again", lambda: scrape(9826)[0] == 200, 30)
        for proc in big.proc.values():
            assert proc.poll() is None


def reserved_at_start(sessions):
    big = Big(laboratory.BUILD, 2, 4, ("dataplane",))
    big.write(big.text.replace("workers = 2;", "workers = 2; max_sessions = %d;" % sessions))
    start = time.monotonic()
    with big:
        ready = [line for line in big.log().splitlines() if "ready: " in line][0]
        each = int(ready.split(", ")[2].split()[0])
        print("%.1f s to: %s; %.0f MB resident" % (time.monotonic() - start, ready, memory_most(big.proc["dataplane"]) / 1e6))
        assert "%d sessions" % sessions in ready and each <= 768, ready  # T7
        # what is reserved and the buffers, nothing that grows beside them
        assert memory_most(big.proc["dataplane"]) < each * sessions + 600e6


def case_a_million_sessions_are_reserved_at_start():
    reserved_at_start(1000000)


def case_fewer_sessions_reserve_no_more_each():
    for sessions in (10000, 100000):
        reserved_at_start(sessions)
