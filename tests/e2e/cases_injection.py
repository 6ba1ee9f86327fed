# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Commands put behind a client's STARTTLS in clear, replies put behind a backend's answer to it, and what else a man in the middle
or a hostile end may try there (S5-S7, S9, S11, S12, G5): none is ever taken for something said in TLS, or said at all."""

import contextlib
import os
import smtplib
import socket
import ssl
import sys
import threading
import time

from certs import make, tls_lab
from lab import HOST4, VIP4, Control, Lab, Sink, wait_for, waits
from mail import Raw, quiet

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
from tarpit import Tarpit

MAIL = b"a: b\r\n\r\nc\r\n"
GAP = 0.003  # between segments of one octet


def anybody():
    c = ssl.create_default_context()
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    return c


def client_hello():
    rx, tx = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = anybody().wrap_bio(rx, tx)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return tx.read()


BEHIND = (  # STARTTLS, in clear
    b"NOOP injected\r\n", b"RSET\r\n", b"QUIT\r\n", b"EHLO injected\r\n", b"HELO injected\r\n", b"VRFY injected\r\n",
    b"MAIL FROM:<injected@evil.example>\r\n", b"MAIL FROM:<injected@evil.example>\r\nRCPT TO:<injected@evil.example>\r\nDATA\r\n",
    b"AUTH PLAIN AGluamVjdGVk\r\n", b"STARTTLS\r\n", b"BDAT 8 LAST\r\ninjected", b"XCLIENT NAME=injected\r\n",
    b"NO", b"E", b"\r\n", b"\n", b"\0", b" ", b"NOOP injected\n", b"\x16", b"\x16\x03\x01", b"\x15\x03\x01\x00\x02\x01\x00",
)


class Client:
    """One that says what it likes and keeps all it is told."""

    def __init__(self):
        self.s = socket.create_connection((VIP4, 25), timeout=30)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.told = b""
        self.line()
        self.s.sendall(b"EHLO before.example\r\n")
        while self.line()[3:4] != b" ":
            pass
        self.told = b""

    def line(self):
        """An octet at a time, so that nothing of a handshake is read; empty: the connection has ended."""
        line = b""
        while not line.endswith(b"\n"):
            try:
                part = self.s.recv(1)
            except ConnectionResetError:
                part = b""
            if not part:
                return b""
            line += part
        self.told += line
        return line

    def say(self, *segments):
        for i, part in enumerate(segments):
            if i > 0:
                time.sleep(GAP)
            try:
                self.s.sendall(part)
            except (ConnectionResetError, BrokenPipeError):
                return

    def handshake(self):
        try:
            return anybody().wrap_socket(self.s)
        except (OSError, ssl.SSLError):
            return None

    def close(self):
        self.s.close()


def outcome(first, tries_tls=True):
    """What the server makes of these segments: its answers in clear, then whether TLS comes about and what is answered there to one
    NOOP."""
    c = Client()
    try:
        c.say(*first)
        while (line := c.line()) and not line.startswith((b"220", b"554")):
            pass
        if not line.startswith(b"220") or not tries_tls:
            return c.told, line[:3], c.line() if line[:3] != b"220" else b"", None
        tls = c.handshake()
        if tls is None:
            return c.told, b"220", b"", None
        tls.sendall(b"NOOP\r\n")
        answers = tls.recv(4096)
        tls.settimeout(0.2)
        with contextlib.suppress(TimeoutError, ssl.SSLError, OSError):
            answers += tls.recv(4096)
        tls.close()
        return c.told, b"220", b"", answers
    finally:
        c.close()


def nothing_injected(sink):
    said = "\n".join("\n".join(t) for t in sink.transcripts)
    assert "injected" not in said and "AUTH" not in said and "XCLIENT" not in said, sink.transcripts
    assert sink.bodies == []


def each_mode(case):
    for mode in ("starttls-optional", "starttls-required"):
        with tls_lab('tls = { mode = "%s"; certificates = [ "mail" ]; };' % mode, port="af_packet") as lab:
            sink = Sink(2525)
            case(lab, sink)
            nothing_injected(sink)
            quiet(lab)
            sink.close()


def case_commands_behind_starttls_in_one_segment():
    def check(lab, sink):
        for behind in BEHIND + (client_hello(),):
            told, code, after, tls = outcome([b"STARTTLS\r\n" + behind])
            assert (code, after, tls) == (b"554", b"", None) and told.count(b"\n") == 1, (behind, told, after)
            told, code, after, tls = outcome([b"NOOP\r\nSTARTTLS\r\n" + behind])  # in a group
            assert (code, after, tls) == (b"554", b"", None) and told.count(b"\n") == 2, (behind, told)
        assert lab.stats["smtp_reply_tls_pipelined"] == 2 * (len(BEHIND) + 1)
        assert lab.stats["leg_opened"] == 0, "no backend hears of it"
    each_mode(check)


def case_commands_behind_starttls_in_other_segments():
    """A segment of their own, at once or an octet at a time: whether they come before 220 is queued or after it, no answer is ever
    given to them, neither in clear nor in a TLS that the client begins afterwards."""
    def check(lab, sink):
        for behind in BEHIND + (client_hello(),):
            for first in ([b"STARTTLS\r\n", behind], [b"STARTTLS\r", b"\n" + behind], [b"START", b"TLS\r\n", behind],
                          [bytes([o]) for o in b"STARTTLS\r\n" + behind[:24]]):
                told, code, after, tls = outcome(first)
                assert code in (b"220", b"554") and after == b"" and told.count(b"\n") == 1, (first, told, after)
                assert tls is None or (behind.startswith(b"\x15") and tls.startswith(b"250") and tls.count(b"\n") == 1), (first, tls)
    each_mode(check)


def case_lines_that_are_nearly_starttls_begin_no_tls():
    def check(lab, sink):
        for line, code in ((b"STARTTLS\nNOOP injected\r\n", b"500"), (b"STARTTLS\r\r\n", b"500"), (b"STARTTLS\0\r\n", b"500"), (b"STARTTLS x\r\n", b"501"),
                           (b"STARTTLS x\r\nNOOP\r\n", b"501"), (b"\nSTARTTLS\r\n", b"500")):
            c = Client()
            c.say(line + b"QUIT\r\n")
            first = c.line()
            assert first.startswith(code), (line, first)
            rest = b""
            while part := c.line():
                rest += part
            assert b"220" not in rest or line.startswith(b"\n"), (line, rest)
            assert b"injected" not in rest
            c.close()
    each_mode(check)


def case_what_was_said_in_clear_is_forgotten():
    """EHLO and all else before TLS: MAIL needs another EHLO, STARTTLS is gone, and the backend hears the one said in TLS only."""
    def check(lab, sink):
        c = Client()
        c.say(b"EHLO injected.example\r\n")
        while c.line()[3:4] != b" ":
            pass
        c.say(b"STARTTLS\r\n")
        assert c.line().startswith(b"220")
        f = c.handshake().makefile("rwb", 0)

        def ask(line):
            f.write(line + b"\r\n")
            while (answer := f.readline())[3:4] == b"-":
                assert b"STARTTLS" not in answer
            return answer
        for line in (b"MAIL FROM:<s@example.com>", b"RCPT TO:<r@example.com>", b"DATA", b"STARTTLS"):
            assert ask(line).startswith(b"503"), line
        assert ask(b"EHLO client.example").startswith(b"250")
        assert ask(b"STARTTLS").startswith(b"503"), "never twice"
        assert ask(b"MAIL FROM:<s@example.com>").startswith(b"250") and ask(b"RSET").startswith(b"250") and ask(b"QUIT").startswith(b"221")
        c.close()
        wait_for("the backend", lambda: len(sink.transcripts) == 1 and sink.transcripts[0][-1] == "QUIT")
        assert sink.transcripts[0] == ["EHLO client.example", "MAIL FROM:<s@example.com>", "RSET", "QUIT"], sink.transcripts
    each_mode(check)


def case_a_failed_handshake_is_the_end():
    def check(lab, sink):
        for rubbish in (b"EHLO injected\r\nMAIL FROM:<injected@evil.example>\r\n", b"\x16\x03\x01\x00\x05hello", b"\x80\x2e\x01\x00\x02" + b"\0" * 44,
                        b"\x17\x03\x03\x00\x05hello", client_hello()[:-3] + b"\xff\xff\xff\xff\xff\xff"):
            c = Client()
            c.say(b"STARTTLS\r\n")
            assert c.line().startswith(b"220")
            c.say(rubbish, b"NOOP injected\r\nQUIT\r\n")
            rest = b""
            with contextlib.suppress(OSError):
                c.s.shutdown(socket.SHUT_WR)
                while part := c.s.recv(4096):
                    rest += part
            assert b"250" not in rest and b"221" not in rest and b"500" not in rest, (rubbish, rest)
            c.close()
    each_mode(check)


def case_a_body_cut_in_tls_is_no_body():
    """The client's side ends in the middle of a message, with close_notify or without: no backend may take that for its end."""
    with tls_lab(port="af_packet") as lab:
        sink = Sink(2525)
        for notify in (False, True):
            for part in (b"a: b\r\n\r\nhalf", b"a: b\r\n\r\nhalf\r\n", b"a: b\r\n\r\nhalf\r\n.", b"a: b\r\n\r\nhalf\r\n.\r"):
                c = smtplib.SMTP(VIP4, 25, "client.example", 30)
                c.starttls(context=anybody())
                c.ehlo()
                assert c.mail("s@example.com")[0] == 250 and c.rcpt("r@example.com")[0] == 250 and c.docmd("DATA")[0] == 354
                c.sock.sendall(part)
                raw = c.sock.detach() if not notify else None
                if notify:
                    with contextlib.suppress(OSError, ssl.SSLError):
                        c.sock.unwrap()
                    c.close()
                else:
                    with socket.socket(fileno=raw) as s:
                        s.shutdown(socket.SHUT_WR)
                        with contextlib.suppress(OSError):
                            while s.recv(4096):
                                pass
        quiet(lab)
        assert sink.bodies == [] and lab.stats["session_messages"] == 0, sink.bodies
        assert lab.stats["leg_aborted_in_body"] == 8 and lab.stats["tls_truncated"] >= 4
        for verbs in sink.transcripts:
            assert verbs[-1] == "DATA", verbs
        sink.close()


class Hostile:
    """A backend whose answers to EHLO and STARTTLS are given, segment by segment; keeps what it is told then."""

    def __init__(self, port):
        self.server = socket.create_server((HOST4, port))
        self.ehlo, self.starttls, self.heard = (), (), []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    @staticmethod
    def send(s, segments):
        for part in segments:
            s.sendall(part)
            time.sleep(GAP)

    def serve(self, s):
        heard = []
        self.heard.append(heard)
        s.settimeout(30)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with s:
                f = s.makefile("rb")
                s.sendall(b"220 hostile\r\n")
                while line := f.readline():
                    heard.append(line)
                    if line.startswith(b"EHLO"):
                        self.send(s, self.ehlo)
                    elif line.startswith(b"STARTTLS"):
                        self.send(s, self.starttls)
        except OSError:
            pass

    def close(self):
        self.server.close()


OFFER = b"250-hostile\r\n250 STARTTLS\r\n"
GO = b"220 go on\r\n"


def hostile_answers():
    """(EHLO's segments, STARTTLS's, whether it is certain that they are seen before the handshake)"""
    behind = (b"250 injected\r\n", b"250-injected\r\n", b"2", b"\r\n", b"\0", b"220 injected\r\n", b"354 injected\r\n", b"\x16\x03\x03\x00\x02hi",
              b"250 injected\r\n" * 400)
    for b in behind:
        yield (OFFER,), (GO + b,), True
        yield (OFFER,), (GO, b), False
        yield (OFFER,), (GO[:-1], GO[-1:] + b), True
        yield (OFFER,), tuple(bytes([o]) for o in (GO + b)[:40]), False
        yield (OFFER,), (b"220-go on\r\n" + GO + b,), True
        yield (OFFER + GO + b,), (), True  # before it was asked
    yield (OFFER + GO,), (), True
    yield (OFFER + b"250 injected\r\n",), (GO,), True


def secure_pool(ports):
    lab = tls_lab(port="af_packet", backends=tuple((HOST4, p) for p in ports),
                  extra='banner_timeout = "2s"; tls = { mode = "starttls"; verify = "none"; };')
    make(lab.dir, "backend", host="ex.lab.example")
    return lab


@waits
def case_replies_behind_a_backends_starttls():
    """The leg is left before anything of the client has reached it, the client is told 421 and nothing else, and the log names the
    backend."""
    with secure_pool((2525,)) as lab, Control(lab) as control:
        hostile, certain, before = Hostile(2525), 0, 0
        for hostile.ehlo, hostile.starttls, seen in hostile_answers():
            c = smtplib.SMTP(VIP4, 25, "client.example", 60)
            assert c.starttls(context=anybody())[0] == 220
            try:
                code, told = c.ehlo()
            except smtplib.SMTPServerDisconnected:
                code, told = -1, b""
            assert code in (421, -1) and b"injected" not in told, (hostile.starttls, code, told)
            c.close()
            certain += seen
            assert lab.stats["leg_starttls_injection"] >= certain, (hostile.ehlo, hostile.starttls, certain)
            assert len(hostile.heard) > before
            for heard in hostile.heard[before:]:
                assert heard[:1] == [b"EHLO mx.lab.example\r\n"] and heard[1:2] in ([], [b"STARTTLS\r\n"]), heard
                assert not any(h.startswith((b"EHLO client", b"MAIL", b"RCPT", b"QUIT")) for h in heard), heard
            before = len(hostile.heard)
        wait_for("the log", lambda: "backend mail/b0: injection" in control.read_log())
        assert "injected" not in control.read_log()
        wait_for("sessions to end", lambda: lab.stats.sessions() == 0, 30)
        hostile.close()


def case_mail_goes_past_a_backend_with_injected_replies():
    with secure_pool((2525, 2526)) as lab:
        hostile, good = Hostile(2525), Tarpit(HOST4, 2526, pair=lab.dir + "/backend", delays={})
        hostile.ehlo, hostile.starttls = (OFFER,), (GO + b"250 injected\r\n",)
        for _ in range(4):
            with smtplib.SMTP(VIP4, 25, "client.example", 60) as c:
                c.starttls(context=anybody())
                assert c.sendmail("s@example.com", ["r@example.com"], MAIL) == {}
                assert b"injected" not in c.noop()[1]
        assert good.bodies == [MAIL] * 4 and lab.stats["leg_starttls_injection"] >= 1
        quiet(lab)
        hostile.close()
        good.close()


def case_a_desync_is_logged_once_with_backend_and_session():
    with Lab(workers=2, port="af_packet") as lab, Control(lab) as control:
        sink = Sink(2525, behave=lambda v, s: "250 2.0.0 one\r\n250 2.0.0 two \x1b[31m" if v == "EOD" else None)
        for i in range(4):
            c = Raw()
            for line in ("EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
                assert c.ask(line)[0] in "23"
            session = max(s["id"] for s in control.json("show", "sessions")["sessions"]) if i == 0 else session
            c.say(b"a: b\r\n\r\nc\r\n.\r\n")
            assert c.reply() == "250 2.0.0 one" and c.reply() == "", "closed behind the reply that was owed"
            c.close()
            if i == 0:  # those of two workers come in any order
                wait_for("the log", lambda: "desync" in control.read_log())
        wait_for("all to be counted", lambda: lab.stats["leg_desync"] == 4)
        lines = [l for l in control.read_log().split("\n") if "desync" in l]
        assert len(lines) == 1, "once in ten seconds"
        assert "backend mail/b0: desync" in lines[0] and "(session %d of %s," % (session, HOST4) in lines[0], (session, lines)
        assert lines[0].endswith(": 250 2.0.0 two ?[31m"), lines
        assert control.backends()["b0"]["desync_total"] == 4
        wait_for("sessions to end", lambda: lab.stats.sessions() == 0)
        sink.close()
