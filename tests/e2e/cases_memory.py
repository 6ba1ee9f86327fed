# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""What idle sessions hold (gate T7)."""

import multiprocessing
import resource
import selectors
import socket
import time

from lab import HOST4, VIP4, Lab, wait_for
from mail import quiet

SESSIONS = 10000
BATCH = 200
REPLIES = {b"EHLO": b"250 sink\r\n", b"NOOP": b"250 ok\r\n", b"QUIT": b"221 bye\r\n"}


def backend(listener):
    """Many sessions in one process of its own (descriptors are limited by process), with one selector."""
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                accept(listener, selector)
                continue
            try:
                data = key.fileobj.recv(4096)
                for line in data.split(b"\r\n")[:-1]:
                    key.fileobj.sendall(REPLIES.get(line[:4].upper(), b"500 what\r\n"))
            except OSError:
                data = b""
            if not data or b"QUIT" in data:
                selector.unregister(key.fileobj)
                key.fileobj.close()


def accept(listener, selector):
    try:
        while True:
            s, _ = listener.accept()
            s.sendall(b"220 sink\r\n")
            selector.register(s, selectors.EVENT_READ)
    except BlockingIOError:
        pass


def ask_all(clients, line, code):
    for i in range(0, len(clients), BATCH):
        if line:
            for c in clients[i:i + BATCH]:
                c.sendall(line)
        for c in clients[i:i + BATCH]:
            reply = b""
            while not reply.endswith(b"\r\n"):
                reply += c.recv(1000)
            assert reply.startswith(code), reply


def case_ten_thousand_idle_sessions_hold_no_buffers():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with Lab("af_packet", max_sessions=SESSIONS) as lab:
        listener = socket.create_server((HOST4, 2525), backlog=4096)
        sink = multiprocessing.get_context("fork").Process(target=backend, args=(listener,), daemon=True)
        sink.start()
        listener.close()
        time.sleep(0.5)
        before = lab.stats.buffers_in_use()
        clients = []
        for _ in range(SESSIONS // BATCH):
            some = [socket.create_connection((VIP4, 25), timeout=20) for _ in range(BATCH)]
            ask_all(some, None, b"220")
            clients += some
        ask_all(clients, b"EHLO me.example\r\n", b"250")
        assert lab.stats.sessions() == SESSIONS
        wait_for("the buffers to come back", lambda: lab.stats.buffers_in_use() <= before, 20)
        each = lab.stats.session_bytes / lab.stats.max_sessions
        print("%d idle sessions: %d buffers more than with none, %d bytes reserved a session" % (
            SESSIONS, lab.stats.buffers_in_use() - before, each))
        assert each < 1024, "a KiB a session"
        ask_all(clients, b"NOOP\r\n", b"250")  # and all are alive
        ask_all(clients, b"QUIT\r\n", b"221")
        for c in clients:
            c.close()
        quiet(lab, 60)
        sink.kill()
        sink.join()
