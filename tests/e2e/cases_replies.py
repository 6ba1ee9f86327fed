# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Who is owed which reply: every command has its own, in order, whatever becomes of the backend; no body ends but by its client."""

import contextlib
import socket
import threading
import time

from lab import HOST4, VIP4, Lab, Sink, wait_for
from mail import Raw, quiet

CHUNKS = ("PIPELINING", "CHUNKING", "8BITMIME", "SIZE 100000000")
POOL = 'connect_timeout = "1s"; banner_timeout = "2s"; reply_timeout = "%s"; end_of_data_timeout = "%s";'


def text(n):
    return (b"x" * 62 + b"\r\n") * (n // 64)


def replies(c, count):
    return [c.reply()[:3] for _ in range(count)]


def greeted(lines=("MAIL FROM:<a@b>", "RCPT TO:<c@d>")):
    c = Raw()
    for line in ("EHLO me",) + lines:
        assert c.ask(line)[0] in "23", line
    return c


def case_chunks_over_the_limit_are_answered_each():
    """The reply to the first chunk is still awaited when the second goes over: none may be taken for that of the next mail."""
    with Lab(service='limits = { message_size = "100K"; };') as lab:
        sink = Sink(2525, keywords=CHUNKS, behave=lambda v, s: time.sleep(1) if v == "BDAT" else None)
        c = greeted()
        c.say(b"BDAT 64000\r\n" + text(64000) + b"BDAT 64000\r\n" + text(64000) + b"BDAT 6400 LAST\r\n" + text(6400) +
              b"MAIL FROM:<second@b>\r\n")
        assert replies(c, 4) == ["552", "552", "552", "250"]
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert sink.bodies == [] and lab.stats["session_messages"] == 0
        assert [l.split()[0] for l in sink.transcripts[1]] == ["EHLO", "MAIL", "QUIT"], sink.transcripts
        sink.close()


def case_a_backend_lost_with_replies_outstanding():
    """Commands that went before the chunk get their replies from us, the chunk at its end, further chunks at theirs."""
    with Lab() as lab:
        lost = threading.Event()

        def behave(verb, sink):
            if verb == "MAIL" and not lost.is_set():
                lost.set()
                time.sleep(0.3)
                raise ConnectionError
            return None
        sink = Sink(2525, keywords=CHUNKS, behave=behave)
        c = greeted(())
        c.say(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 6400\r\n" + text(3200))
        assert replies(c, 2) == ["451", "451"]
        c.say(text(3200) + b"BDAT 640 LAST\r\n" + text(640) + b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 640 LAST\r\n" + text(640))
        assert replies(c, 5) == ["451", "451", "250", "250", "250"]
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert sink.bodies == [text(640)] and lab.stats["leg_end_of_data_lost"] == 0
        sink.close()


def case_a_backend_that_leaves_in_a_body_gets_no_end():
    """It says 421 or ends its side in the middle of a body, and goes on reading: a server that takes FIN for the end of a mail
    must see a reset (C16). The client hears of it at its own end, its next mail takes a fresh connection."""
    for leaves in (lambda s: s.sendall(b"421 4.3.2 going down\r\n"), lambda s: s.shutdown(socket.SHUT_WR)):
        for chunk in (False, True):
            with Lab() as lab, contextlib.closing(socket.create_server((HOST4, 2525))) as server:
                seen = []

                def serve():
                    s, _ = server.accept()
                    f = s.makefile("rb")
                    s.sendall(b"220 x\r\n")
                    while (line := f.readline()) and not line.startswith((b"DATA", b"BDAT")):
                        s.sendall(b"250-x\r\n250 CHUNKING\r\n" if line.startswith(b"EHLO") else b"250 ok\r\n")
                    if not chunk:
                        s.sendall(b"354 go on\r\n")
                    f.read(600)
                    leaves(s)
                    try:
                        while f.read(100):
                            pass
                        seen.append("FIN")
                    except ConnectionResetError:
                        seen.append("RST")
                    s.close()
                thread = threading.Thread(target=serve)
                thread.start()
                c = greeted()
                if not chunk:
                    assert c.ask("DATA").startswith("354")
                c.say((b"BDAT 12800 LAST\r\n" if chunk else b"") + text(6400))
                thread.join(20)
                server.close()
                with contextlib.closing(Sink(2525)) as sink:
                    c.say(text(6400) + (b"" if chunk else b".\r\n"))
                    assert c.reply().startswith("451") or chunk, "at its end"
                    if not chunk:
                        assert c.ask("MAIL FROM:<a@b>").startswith("250") and c.ask("QUIT").startswith("221")
                        assert len(sink.transcripts) == 1
                    c.close()
                    quiet(lab)
                assert seen == ["RST"], (seen, chunk)


def case_a_reply_too_many_ends_the_session():
    """The backend answers an end of data twice, as one that saw two messages: the second must not pass for the reply to the
    next MAIL, which the client has already sent (G5)."""
    with Lab() as lab:
        sink = Sink(2525, behave=lambda v, s: "250 2.0.0 one\r\n250 2.0.0 two" if v == "EOD" else None)
        c = greeted(("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"))
        c.say(b"a: b\r\n\r\nc\r\n.\r\nMAIL FROM:<second@b>\r\nRCPT TO:<c@d>\r\n")
        assert c.reply().startswith("250 2.0.0 one")
        assert c.reply() == "", "closed"
        c.close()
        quiet_but_desync(lab)
        assert not any("second" in l for t in sink.transcripts for l in t), sink.transcripts
        sink.close()


def quiet_but_desync(lab):
    wait_for("sessions to end", lambda: lab.stats.sessions() == 0)
    assert lab.stats["leg_desync"] == 1


def case_a_slow_chunk_is_not_a_slow_backend():
    with Lab(extra=POOL % ("1s", "1s"), service='data_timeout = "3s";') as lab:
        sink = Sink(2525, keywords=CHUNKS)
        c = greeted()
        c.say(b"BDAT 640 LAST\r\n")
        for _ in range(10):
            c.say(text(64))
            time.sleep(0.3)
        assert c.reply().startswith("250"), "three seconds, each reply within one"
        c.say(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 640 LAST\r\n" + text(64))
        assert replies(c, 2) == ["250", "250"]
        start = time.monotonic()
        assert c.reply().startswith("421 4.4.2"), "a client that stalls in a chunk"
        assert time.monotonic() - start > 2
        c.close()
        quiet(lab)
        assert len(sink.bodies) == 1 and lab.stats["leg_reply_timeouts"] == 0
        sink.close()


def case_a_silent_backend_is_given_up():
    with Lab(extra=POOL % ("2s", "3s")) as lab:
        sink = Sink(2525, behave=lambda v, s: time.sleep(20) if v == "RCPT" else None)
        c = greeted(("MAIL FROM:<a@b>",))
        start = time.monotonic()
        assert c.ask("RCPT TO:<c@d>").startswith("421 4.4.1") and 1.5 < time.monotonic() - start < 10
        c.close()
        wait_for("it to be counted", lambda: lab.stats["leg_reply_timeouts"] == 1)
        sink.close()


def case_passthrough_may_be_silent_as_long_as_a_reply_may_take():
    with Lab(extra=POOL % ("3s", "4s"), service='tls = { mode = "passthrough"; }; idle_timeout = "1s";') as lab:
        sink = Sink(2525, behave=lambda v, s: time.sleep(2.5) if v == "NOOP" else None)
        c = Raw()
        assert c.ask("NOOP").startswith("250"), "silent for longer than the idle time-out, and owed a reply"
        start = time.monotonic()
        try:
            rest = c.f.read()
        except ConnectionResetError:
            rest = b""
        assert rest == b"" and time.monotonic() - start > 3, "no text of ours into what is not ours"
        c.close()
        quiet(lab)
        assert lab.stats["session_passthrough_idle"] == 1
        sink.close()


def case_authenticated_sessions_stay_with_their_backend():
    def behave(verb, sink):
        return "235 2.7.0 welcome" if verb == "AUTH" else None
    with Lab() as lab:
        sink = Sink(2525, behave=behave, keywords=("PIPELINING", "AUTH PLAIN LOGIN"))
        c = greeted(("AUTH PLAIN AGEAYg==",))
        assert c.ask("EHLO me").startswith("250"), "does not undo it"
        sink.leaves_after = "NOOP"
        assert c.ask("NOOP").startswith("250")
        assert c.reply().startswith("421"), "no other connection knows who this is"
        c.close()
        quiet(lab)
        assert len(sink.transcripts) == 1
        sink.close()


def case_lines_of_an_authentication_are_lines():
    for line in (b"dXNl\rMAIL FROM:<a@b>\r\n", b"dXNlcg==\n", b"dXNl\0cg==\r\n", b"A" * 13000 + b"\r\n"):
        with Lab() as lab:
            sink = Sink(2525, behave=lambda v, s: "334 VXNlcm5hbWU6" if v == "AUTH" else None, keywords=("AUTH LOGIN", "8BITMIME"))
            c = greeted(())
            assert c.ask("AUTH LOGIN").startswith("334")
            assert c.ask(line).startswith("421 4.5.2"), line[:20]
            c.close()
            quiet(lab)
            assert sink.transcripts == [["EHLO me", "AUTH LOGIN"]], sink.transcripts
            sink.close()


def case_a_client_that_vanishes_in_an_authentication_says_nothing_more():
    with Lab() as lab:
        sink = Sink(2525, behave=lambda v, s: "334 VXNlcm5hbWU6" if v == "AUTH" else None, keywords=("AUTH LOGIN", "8BITMIME"))
        c = greeted(())
        assert c.ask("AUTH LOGIN").startswith("334")
        c.close()
        quiet(lab)
        assert sink.transcripts == [["EHLO me", "AUTH LOGIN"]], "QUIT would be taken for a user's name"
        sink.close()


def case_recipients_are_limited_in_a_group_too():
    with Lab(service="limits = { recipients = 100; };") as lab:
        sink = Sink(2525)
        c = greeted(())
        group = b"MAIL FROM:<a@b>\r\n" + b"".join(b"RCPT TO:<c%d@d>\r\n" % i for i in range(109)) + b"DATA\r\n"
        for _ in range(2):
            c.say(group)
            assert replies(c, 111) == ["250"] * 101 + ["452"] * 9 + ["354"]
            assert c.ask(b"a: b\r\n\r\nc\r\n.\r\n").startswith("250")
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert lab.stats["smtp_reply_recipients"] == 18
        sink.close()


def case_a_long_line_without_a_backend():
    with Lab() as lab:
        sink = Sink(2525)
        c = greeted(())
        sink.leaves_after = "RSET"
        assert c.ask("MAIL FROM:<a@b>").startswith("250") and c.ask("EHLO me").startswith("250"), "EHLO ends the transaction (C6)"
        assert c.ask("RSET").startswith("250")
        time.sleep(0.3)
        sink.leaves_after = None
        assert c.ask("NOOP " + "x" * 13000).startswith("500 5.5.6")
        assert c.ask("NOOP").startswith("250") and c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        sink.close()


def case_legs_of_vanished_clients_are_bounded():
    """Clients that reset while the backend makes them wait: at most a quarter of its limit waits on, and a client's own limit
    counts those."""
    lab = Lab(service="limits = { sessions_per_client = 3; };")
    lab.config = lab.config.replace('2525"; }', '2525"; max_connections = 8; }')
    lab.write_config(lab.config)
    reset = lambda c: (c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"), c.close())
    with lab:
        sink = Sink(2525, behave=lambda v, s: time.sleep(4) if v == "MAIL" else None)
        for i in range(8):
            c = greeted(())
            c.say("MAIL FROM:<a@b>")
            time.sleep(0.1)
            reset(c)
            wait_for("it to be noticed", lambda i=i: lab.stats["session_client_gone"] == i + 1)
        assert lab.stats["leg_orphans"] == 2 and lab.stats["leg_orphan_limit"] == 6, "a quarter of eight"
        c = greeted(())
        refused = Raw(banner=False)
        assert refused.reply().startswith("421 mx.lab.example Too many"), "two that wait, one that is here"
        refused.close()
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert sum(t[-1] == "QUIT" for t in sink.transcripts) == 3, sink.transcripts
        sink.close()
