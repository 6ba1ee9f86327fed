# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Backends that die and clients that vanish."""

import socket
import threading
import time

from lab import HOST4, Lab, Sink, wait_for
from mail import Raw, quiet, send


def case_backend_killed_and_back():
    with Lab(backends=((HOST4, 2525), (HOST4, 2526))) as lab:
        one, two = Sink(2525), Sink(2526)
        for _ in range(10):
            send(b"a: b\r\n\r\nc\r\n")
        assert one.bodies and two.bodies
        one.close()
        before = len(two.bodies)
        for _ in range(10):
            send(b"a: b\r\n\r\nc\r\n")
        assert len(two.bodies) == before + 10
        again = Sink(2525)

        def back():
            send(b"a: b\r\n\r\nc\r\n")
            return len(again.bodies) > 0
        wait_for("the backend to be used again", back, 40)
        two.close()
        again.close()
        c = Raw()
        assert c.reply().startswith("421 mx.lab.example"), "all backends gone"
        c.close()
        quiet(lab)


def case_backend_lost_in_every_state():
    for verb in ("BANNER", "EHLO", "MAIL", "RCPT", "DATA", "EOD", "QUIT"):
        def behave(v, sink, verb=verb):
            if v == verb:
                raise ConnectionError
            return None
        with Lab() as lab:
            sink = Sink(2525, behave=behave)
            c = Raw()
            replies = []
            for data in ("EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", b"x\r\n.\r\n", "QUIT"):
                try:
                    replies.append(c.ask(data))
                except OSError:
                    break
                if not replies[-1] or replies[-1][0] not in "23":
                    break
            c.close()
            assert sink.bodies == [] or verb == "QUIT", verb
            assert verb in ("QUIT",) or any(r[:3] in ("421", "451") or r == "" for r in replies), (verb, replies)
            quiet(lab)
            sink.close()


def case_backend_lost_between_two_mails():
    """The next mail takes a fresh leg and QUIT gets 221 (C7): nothing that was accepted looks refused. An open transaction or an
    authenticated client cannot go on elsewhere: 421."""
    mail = ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", b"x\r\n.\r\n")
    for first, leaves, then, replies, transcripts in (
            (mail, "EOD", ("QUIT",), ["221"], [["EHLO", "MAIL", "RCPT", "DATA"]]),
            (mail, "EOD", ("MAIL FROM:<a@b>", "RSET", "QUIT"), ["250", "250", "221"],
             [["EHLO", "MAIL", "RCPT", "DATA"], ["EHLO", "MAIL", "RSET", "QUIT"]]),
            (("RSET",), "RSET", ("NOOP", "QUIT"), ["250", "221"], [["EHLO", "RSET"], ["EHLO", "NOOP", "QUIT"]]),
            (("MAIL FROM:<a@b>",), "MAIL", (), ["421"], [["EHLO", "MAIL"]]),
            (("AUTH PLAIN AGEAYg==", "NOOP"), "NOOP", (), ["421"], [["EHLO", "AUTH", "NOOP"]])):
        with Lab() as lab:
            sink = Sink(2525, keywords=("PIPELINING", "AUTH PLAIN"), behave=lambda v, s: "235 2.7.0 ok" if v == "AUTH" else None)
            c = Raw()
            sink.leaves_after = leaves
            assert [c.ask(l)[0] in "23" for l in ("EHLO me",) + first] == [True] * (1 + len(first)), first
            time.sleep(0.3)
            sink.leaves_after = None
            got = [c.ask(l)[:3] for l in then] if then else [c.reply()[:3]]
            assert got == replies, (leaves, got)
            c.close()
            quiet(lab)
            assert [[l.split()[0] for l in t] for t in sink.transcripts] == transcripts, (leaves, sink.transcripts)
            assert lab.stats["leg_reopened"] == lab.stats["synthetic_ehlo_leg_reopened"] == len(transcripts) - 1
            sink.close()


def case_clients_that_vanish_in_every_state():
    steps = ["EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", b"half a body\r\nof two lines", b"\r\n.\r\n"]
    with Lab() as lab:
        sink = Sink(2525, behave=lambda v, s: time.sleep(0.05))
        for n in range(len(steps) + 1):
            for reset in (False, True):
                for wait in (False, True):
                    c = Raw()
                    for i, data in enumerate(steps[:n]):
                        last = i == n - 1
                        c.say(data)
                        if data != steps[4] and (wait or not last):
                            c.reply()
                    if reset:
                        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    c.close()
        quiet(lab, 40)
        assert all(b == b"half a body\r\nof two lines\r\n" for b in sink.bodies), sink.bodies
        assert lab.stats["leg_quits"] > 0 and lab.stats["leg_aborted_in_body"] > 0
        for t in sink.transcripts:
            assert all(v.split()[0] in ("EHLO", "MAIL", "RCPT", "DATA", "QUIT") for v in t), t
            assert sum(v.startswith("EHLO") for v in t) <= 1
        sink.close()


def case_stalled_uploads_leave_room_for_others():
    stalled = threading.Event()
    lab = Lab()
    lab.write_config(lab.config.replace("buffers = 32768", "buffers = 4096"))  # the least there may be
    with lab:
        sink = Sink(2525)
        sink.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sink.pause = stalled
        clients = [Raw() for _ in range(60)]
        for c in clients:
            for line in ("EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA"):
                assert c.ask(line)[0] in "23"
            c.s.setblocking(False)
        for _ in range(8):
            for c in clients:
                try:
                    while True:
                        c.s.send((b"y" * 70 + b"\r\n") * 20)
                except BlockingIOError:
                    pass
            time.sleep(0.25)
        start = time.monotonic()
        c = Raw()
        assert c.ask("EHLO c.example").startswith("250") and time.monotonic() - start < 3
        c.close()
        stalled.set()
        for c in clients:
            c.close()
        quiet(lab)
        sink.close()
