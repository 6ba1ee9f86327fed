# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""What sessions hold: idle ones (gate T7), those that dribble, those whose backend has stopped reading."""

import multiprocessing
import resource
import selectors
import socket
import threading
import time

from lab import HOST4, VIP4, Lab, Sink, alone, wait_for
from mail import Raw, quiet, send

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
        assert each <= 768, "T7"
        ask_all(clients, b"NOOP\r\n", b"250")  # and all are alive
        ask_all(clients, b"QUIT\r\n", b"221")
        for c in clients:
            c.close()
        quiet(lab, 60)
        sink.kill()
        sink.join()


def uploads_begin(count):
    """Clients in the middle of a body."""
    clients = [Raw() for _ in range(count)]
    for line in ("EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA"):
        for c in clients:
            c.say(line)
        for c in clients:
            assert c.reply()[0] in "23"
    return clients


def mails_pass(seconds):
    """Mails one after another; the longest time one took."""
    longest, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        send(b"a: b\r\n\r\nc\r\n", timeout=30)
        longest = max(longest, time.monotonic() - start)
    return longest


def case_a_thousand_dribblers_pin_no_buffers():
    """One octet a segment: each must not hold a buffer of 2 KiB."""
    with Lab() as lab:
        sink = Sink(2525)
        clients = uploads_begin(1000)
        for c in clients:
            c.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before = lab.stats.buffers_in_use()
        for n in range(12):
            for c in clients:
                c.say(b"x" if n % 12 != 11 else b"\r")
            assert lab.stats.buffers_in_use() - before < 6 * 1000
        longest = mails_pass(2)
        print("1,000 dribblers: %d buffers more, a mail in %.2f s at most" % (lab.stats.buffers_in_use() - before, longest))
        for c in clients:
            c.say(b"\n.\r\n")
        for c in clients:
            assert c.reply().startswith("250")
            c.close()
        assert sink.bodies.count(b"x" * 11 + b"\r\n") == 1000
        quiet(lab)


@alone
def case_two_hundred_uploads_to_a_stopped_backend():
    """They fill what they may; the ladder keeps the box alive, other mail goes on, and all comes back."""
    stopped = threading.Event()
    lab = Lab(backends=((HOST4, 2525), (HOST4, 2526)))
    lab.write_config(lab.config.replace("buffers = 32768", "buffers = 6144"))
    with lab:
        sink, other = Sink(2525), Sink(2526)
        for s in (sink, other):
            s.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sink.pause = other.pause = stopped
        clients = uploads_begin(200)
        sink.pause = other.pause = None  # bodies that begin later are read
        for c in clients:
            c.s.setblocking(False)
        highest, block = 0, (b"y" * 70 + b"\r\n") * 200
        for _ in range(16):
            for c in clients:
                try:
                    for _ in range(20):
                        c.s.send(block)
                except OSError:  # full, or reset as the largest
                    pass
            highest = max(highest, lab.stats["tcp_memory_pressure"])
            time.sleep(0.1)
        assert highest >= 1, "windows never stopped growing: the case tests nothing"
        longest = mails_pass(2)
        print("200 uploads: ladder to %d, %d reset, %d SYNs dropped, a mail in %.2f s at most" % (
            highest, lab.stats["tcp_pressure_aborted"], lab.stats["tcp_pressure_syn"], longest))
        stopped.set()
        for c in clients:
            c.close()
        quiet(lab, 100)  # a window update that was lost comes with the kernel's next probe
        wait_for("the ladder to end", lambda: lab.stats["tcp_memory_pressure"] == 0)
        mails_pass(1)
        for body in sink.bodies + other.bodies:
            assert body == b"a: b\r\n\r\nc\r\n", "half a body was stored"
