# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Statements about a session that no other case asks for, each against a backend that does as it is told: which line ends a
command, what a broken reply becomes, who hears 421 and 221, what a client that vanishes leaves behind, which octets count."""

import contextlib
import os
import socket
import ssl
import threading
import time

from certs import make, tls_lab
from lab import HOST4, VIP4, Control, Lab, wait_for, waits
from mail import Raw, quiet

ALL = ("PIPELINING", "CHUNKING", "8BITMIME", "SIZE 100000000")
TEXT = b"a: b\r\n\r\nc\r\n"


class Leave(Exception):
    """An answer: these octets, then the end of the connection, by a reset or not."""

    def __init__(self, octets=b"", reset=False):
        super().__init__()
        self.octets, self.reset = octets, reset


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()


class Backend:
    """answer(verb, line, n): octets, None for the usual answer, or Leave; n counts the connections. Verbs are also BANNER, EOD
    and the CHUNK behind each BDAT. What it has of a body when its peer's side ends it keeps in `halves`, as a server that takes that
    for the end of a mail would; `ends` says how each connection ended."""

    def __init__(self, answer=lambda *_: None, keywords=ALL, port=2525):
        self.answer, self.keywords = answer, keywords
        self.seen, self.bodies, self.halves, self.ends = [], [], [], []
        self.server = socket.create_server((HOST4, port), backlog=64)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                s, _ = self.server.accept()
            except OSError:
                return
            self.seen.append([])
            threading.Thread(target=self.connection, args=(s, len(self.seen) - 1), daemon=True).start()

    def connection(self, s, n):
        s.settimeout(90)
        f = s.makefile("rb")
        end = "FIN"
        try:
            self.session(s, f, n)
        except Leave as leave:
            s.sendall(leave.octets)
            end = "left"
            if leave.reset:
                f.close()
                reset(s)
        except ConnectionError:
            end = "RST"
        except (OSError, ValueError):
            end = "late"
        f.close()
        s.close()
        self.ends.append(end)  # now that the FIN or RST is on its way, before anything that a client says next

    def say(self, s, verb, line, n, usual):
        answer = self.answer(verb, line, n)
        if isinstance(answer, Leave):
            raise answer
        s.sendall(usual if answer is None else answer)
        return usual if answer is None else answer

    def session(self, s, f, n):
        body = b""
        self.say(s, "BANNER", b"", n, b"220 x ESMTP\r\n")
        while line := f.readline():
            self.seen[n].append(line)
            verb = line.split()[0].upper().decode("latin1") if line.split() else ""
            if verb == "BDAT":
                body += self.octets(f, int(line.split()[1]), body)
                self.say(s, "CHUNK", line, n, b"250 2.0.0 chunk\r\n")
                if line.upper().rstrip().endswith(b"LAST"):
                    self.bodies.append(body)
                    body = b""
                continue
            keywords = b"".join(b"250-%s\r\n" % k.encode() for k in ("x",) + self.keywords)
            said = self.say(s, verb, line, n, {"EHLO": keywords + b"250 HELP\r\n", "DATA": b"354 go on\r\n",
                                               "QUIT": b"221 2.0.0 bye\r\n"}.get(verb, b"250 2.0.0 ok\r\n"))
            if verb == "DATA" and said.startswith(b"3"):
                self.bodies.append(self.dotted(f))
                self.say(s, "EOD", b"", n, b"250 2.0.0 queued\r\n")
            if verb in ("RSET", "EHLO"):
                body = b""
            if verb == "QUIT":
                return
        if body:
            self.halves.append(body)

    def octets(self, f, count, before):
        got = b""
        while len(got) < count:
            more = f.read1(count - len(got))
            if not more:
                self.halves.append(before + got)
                raise ConnectionAbortedError
            got += more
        return got

    def dotted(self, f):
        body = b""
        while (line := f.readline()) != b".\r\n":
            if not line:
                self.halves.append(body)
                raise ConnectionAbortedError
            body += line[1:] if line.startswith(b".") else line
        return body

    def said(self, n=0):
        return [line.rstrip(b"\r\n").decode("latin1") for line in self.seen[n]]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown(socket.SHUT_RDWR)  # whoever waits in accept holds the port
        self.server.close()


def greeted(*lines):
    c = Raw()
    for line in ("EHLO me",) + lines:
        assert c.ask(line)[0] in "23", line
    return c


MAIL = ("MAIL FROM:<a@b>", "RCPT TO:<c@d>")


def rest(c):
    """Whatever still comes, up to the end of the connection."""
    try:
        return c.f.read()
    except ConnectionError:
        return b"reset"


def case_only_crlf_ends_a_command():
    """C1: bare CR, bare LF and NUL at any place of a command, in any segmentation: one 500 for all up to its CRLF, and neither
    it nor what follows the bare octet is done. Also where the line is too long besides."""
    bad = [command.replace(b"?", octet) + b"\r\n" for octet in (b"\r", b"\n", b"\0") for command in
           (b"VR?FY x", b"?VRFY x", b"VRFY x?y", b"VRFY x?", b"VRFY?x", b"VRFY x?MAIL FROM:<smuggled@x>", b"MAIL FROM:<smuggled@x>??RSET")]
    with Lab() as lab, Backend() as backend:
        c = greeted()
        for line in bad:
            for pieces in ([line], [bytes([b]) for b in line]):
                for piece in pieces:
                    c.say(piece)
                assert c.reply().startswith("500 5.5.2"), line
                assert c.ask("NOOP") == "250 2.0.0 ok", line
        c.say(b"".join(bad) + b"NOOP\r\n")
        assert [c.reply()[:9] for _ in bad] == ["500 5.5.2"] * len(bad) and c.reply().startswith("250"), "in one group"
        for line in (b"VRFY " + b"x" * 3000 + b"\nMAIL FROM:<smuggled@x>\r\n", b"VRFY " + b"x" * 13000 + b"\nMAIL FROM:<smuggled@x>\r\n"):
            assert c.ask(line).startswith("500 5.5.6") and c.ask("NOOP").startswith("250")
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert lab.stats["smtp_reply_bare_in_command"] == 3 * len(bad)
        assert set(backend.said()) == {"EHLO me", "NOOP", "QUIT"} and len(backend.said()) == 2 * len(bad) + 5, backend.said()


def vanishing(how, stage):
    """A client that leaves `how` at a stage of its mail, by DATA or by BDAT: what the backend kept, and how it was left."""
    answered = threading.Event()

    def answer(verb, line, n):
        if verb == stage:
            answered.wait(20)

    with Lab() as lab, Backend(answer) as backend:
        c = greeted(*MAIL)
        if stage == "DATA body":
            assert c.ask("DATA").startswith("354")
            c.say(TEXT)
        elif stage == "chunk":
            c.say(b"BDAT 100\r\n" + TEXT)
        elif stage == "between chunks":
            assert c.ask(b"BDAT 11\r\n" + TEXT).startswith("250")
        elif stage == "EOD":
            assert c.ask("DATA").startswith("354")
            c.say(TEXT + b".\r\n")
        elif stage == "CHUNK":
            c.say(b"BDAT 11 LAST\r\n" + TEXT)
        wait_for("the body to be there", lambda: lab.stats["session_body_bytes"] >= len(TEXT))
        time.sleep(0.2)
        c.f.close()
        if how == "RST":
            reset(c.s)
        else:
            c.s.shutdown(socket.SHUT_RDWR)
            c.s.close()
        if stage in ("EOD", "CHUNK") and how == "RST":
            wait_for("the client to be missed", lambda: lab.stats["session_client_gone"] == 1)
        time.sleep(0.3)
        answered.set()
        quiet(lab)
        wait_for("the backend to notice", lambda: len(backend.ends) == 1)
        figures = {name: lab.stats[name] for name in ("session_client_gone", "session_client_gone_in_body",
                   "session_client_gone_at_end_of_data", "leg_aborted_in_body", "leg_quits", "session_messages")}
        return backend, figures


def case_no_half_mail_of_a_client_that_vanishes():
    """C16: inside a body, between two chunks too, the backend sees a reset, not an end and not a QUIT."""
    for how in ("FIN", "RST"):
        for stage in ("DATA body", "chunk", "between chunks"):
            backend, figures = vanishing(how, stage)
            assert (backend.bodies, backend.halves, backend.ends) == ([], [], ["RST"]), (how, stage, vars(backend))
            assert "QUIT" not in backend.said() and figures["leg_quits"] == 0, backend.said()
            assert figures["session_client_gone_in_body"] == figures["leg_aborted_in_body"] == 1, (how, stage, figures)


def case_a_client_that_vanishes_at_its_end_of_data():
    """Z5: the reply is waited for and the leg left with QUIT. The mail stands, its client will send it again: counted (RFC 1047)."""
    for how in ("FIN", "RST"):
        for stage in ("EOD", "CHUNK"):
            backend, figures = vanishing(how, stage)
            assert backend.bodies == [TEXT] and backend.halves == [] and backend.said()[-1] == "QUIT", (how, stage, vars(backend))
            assert backend.ends == ["FIN"] and figures["leg_quits"] == 1 and figures["session_client_gone_in_body"] == 0, figures
            assert figures["session_messages"] == 1, figures
            # who has only ended its side may still read the reply
            assert figures["session_client_gone_at_end_of_data"] == (how == "RST"), (how, stage, figures)


LONG = b"".join(b"250-%s\r\n" % (b"x" * 90) for _ in range(800))
BROKEN = (b"250-one\r\n251 two\r\n", b"250-one\r\ntwo\r\n", b"250-one\r\n250-two\r\n25 three\r\n", b"250-one\r\n250 two\n", b"hello\r\n", b"250 ok\n",
          b"\r\n", b"250_ok\r\n", b"150 ok\r\n", b"999 ok\r\n", LONG + b"250 end\r\n", b"250 " + b"x" * 3000 + b"\r\n")


def case_a_broken_reply_is_421():
    """C4: changing codes, a line without a code or CRLF, more than 64 KiB: 421, the leg is dropped, and it is counted."""
    for verb in ("EHLO", "MAIL", "VRFY", "DATA", "RSET"):
        with Lab() as lab:
            for i, broken in enumerate(BROKEN):
                with Backend(lambda v, line, n, broken=broken, verb=verb: broken if v == verb else None) as backend:
                    c = greeted(*({"DATA": MAIL}.get(verb, ()) if verb != "EHLO" else ())) if verb != "EHLO" else Raw()
                    c.say({"EHLO": "EHLO me", "MAIL": MAIL[0], "VRFY": "VRFY x"}.get(verb, verb))
                    lines = rest(c).split(b"\r\n")
                    assert lines[-2].startswith(b"421 ") and lines[-1] == b"", (verb, broken[:30], lines[-3:])
                    assert not any(l[3:4] == b" " for l in lines[:-2]), "no reply was finished"
                    c.close()
                    wait_for("the leg to be dropped", lambda: backend.ends == ["RST"])
                    assert lab.stats["leg_malformed_replies"] == lab.stats["smtp_reply_backend_protocol"] == i + 1
            quiet(lab)


def case_a_broken_reply_to_a_mail_is_no_acceptance():
    """The same at the end of data: a client may rely on the code of any line of a reply (RFC 5321 4.2.1), so not even a "250-" may
    reach it before the whole reply is there. Also where the backend goes away in the middle of it."""
    half = (Leave(b"250-one\r\n"), Leave(b"250-one\r\n250-two\r\n", True), Leave(b"250 o"), Leave(b"", True))
    for by, stage in (("DATA", "EOD"), ("BDAT", "CHUNK")):
        with Lab() as lab:
            for i, broken in enumerate(BROKEN + half):
                with Backend(lambda v, line, n, broken=broken, stage=stage: broken if v == stage else None) as backend:
                    c = greeted(*MAIL)
                    if by == "DATA":
                        assert c.ask("DATA").startswith("354")
                        c.say(TEXT + b".\r\n")
                    else:
                        c.say(b"BDAT %d LAST\r\n" % len(TEXT) + TEXT)
                    lines = rest(c).split(b"\r\n")
                    assert len(lines) == 2 and lines[0].startswith(b"421 4."), (by, broken[:40] if isinstance(broken, bytes) else broken, lines[:2])
                    c.close()
                    wait_for("the leg to be gone", lambda: len(backend.ends) == 1)
                    assert lab.stats["leg_malformed_replies"] == min(i + 1, len(BROKEN))
                    assert lab.stats["leg_end_of_data_lost"] == i + 1 and lab.stats["session_messages"] == 0
            quiet(lab)


def case_long_replies_are_relayed_whole():
    """C4: in order and complete, up to 64 KiB, at the end of data too."""
    whole = LONG[:96 * 600] + b"250 end\r\n"
    with Lab() as lab, Backend(lambda v, line, n: whole if v in ("EOD", "CHUNK", "VRFY") else None):
        c = greeted()
        for say in ("VRFY x", MAIL[0], MAIL[1], "DATA", TEXT + b".\r\n", "VRFY y", MAIL[0], MAIL[1], b"BDAT 11 LAST\r\n" + TEXT, "VRFY z"):
            c.say(say)
            if not isinstance(say, bytes) and not say.startswith("VRFY"):
                c.reply()
                continue
            got = b""
            while not got.endswith(b"\r\n250 end\r\n"):
                got += c.f.readline()
            assert got == whole, say
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert lab.stats["session_messages"] == 2


def case_a_broken_greeting_goes_to_the_next_backend():
    broken = (b"220-x\r\n221 y\r\n", b"hello\r\n", b"220-x\r\ny\r\n", LONG.replace(b"250", b"220") + b"220 x\r\n")
    for greeting in broken:
        with Lab(backends=((HOST4, 2525), (HOST4, 2526))) as lab, \
                Backend(lambda v, line, n, greeting=greeting: greeting if v == "BANNER" else None) as bad, Backend(port=2526) as good:
            for _ in range(2):
                c = greeted()
                assert c.ask("QUIT").startswith("221")
                c.close()
            quiet(lab)
            assert len(good.seen) == 2 and len(bad.seen) >= 1 and lab.stats["leg_malformed_replies"] == len(bad.seen), greeting[:20]


def case_a_client_that_vanishes_while_its_next_leg_is_greeted():
    """Z5: the leg of a client that left before the EHLO we said again was answered hears QUIT when it is, not ten minutes later."""
    answered = threading.Event()

    def answer(verb, line, n):
        if verb == "RSET":
            return Leave(b"250 2.0.0 ok\r\n")
        if verb == "EHLO" and n == 1:
            answered.wait(20)
        return None

    with Lab() as lab, Backend(answer) as backend:
        c = greeted("RSET")
        wait_for("the leg to be lost", lambda: backend.ends == ["left"])
        c.say("NOOP")
        wait_for("EHLO to be said again", lambda: len(backend.seen) == 2 and backend.said(1) == ["EHLO me"])
        c.f.close()
        reset(c.s)
        wait_for("the client to be missed", lambda: lab.stats["session_client_gone"] == 1)
        answered.set()
        quiet(lab, 10)
        assert backend.said(1) == ["EHLO me", "QUIT"] and lab.stats["leg_quits"] == 1
    with Lab() as lab, Backend(lambda v, line, n: Leave(b"250 ok\r\n") if v == "RSET" else b"250-x\r\n550 y\r\n" if v == "EHLO" and n else None):
        c = greeted("RSET")
        time.sleep(0.3)
        assert c.ask("NOOP").startswith("421 4.3.0"), "a broken reply to the EHLO that was said again"
        c.close()
        quiet(lab)
        assert lab.stats["leg_malformed_replies"] == 1


def case_a_body_follows_any_3yz():
    """Clients go by the first digit (RFC 5321 4.2.1): what follows is a body, and not a line of it a command."""
    body = b"a: b\r\n\r\nMAIL FROM:<x@y>\r\nRSET\r\nQUIT\r\n"
    for code in (b"354", b"353", b"300"):
        with Lab() as lab, Backend(lambda v, line, n, code=code: code + b" go on\r\n" if v == "DATA" else None) as backend:
            c = greeted(*MAIL)
            assert c.ask("DATA") == code.decode() + " go on"
            assert c.ask(body + b".\r\n").startswith("250")
            assert c.ask("QUIT").startswith("221")
            c.close()
            quiet(lab)
            assert backend.bodies == [body] and backend.said() == ["EHLO me", *MAIL, "DATA", "QUIT"], backend.said()
    with Lab() as lab, Backend(lambda v, line, n: b"353 go on\r\n" if v == "DATA" else None) as backend, Control(lab) as control:
        status, out, err = control.run("send-test", "inbound", "--from", "me@lab.example", "--to", "you@lab.example")
        assert status == 0 and len(backend.bodies) == 1 and b"QUIT" not in backend.bodies[0], (status, out, err)


LIMIT = 100 * 1024


def case_the_octets_of_a_message_are_counted():
    """P9 (RFC 1870 3): with their line ends, without the dots that stuff lines and without the last line. A message of the limit passes,
    one octet more is refused at its true end, and nothing of it is stored. In chunks and in groups, too."""
    head = b"a: b\r\n\r\n" + b".\r\n" * 20000 + b"..x\r\n" * 500
    exact = head + b"x" * (LIMIT - len(head) - 2) + b"\r\n"
    stuffed = lambda body: b"".join(b"." + l if l.startswith(b".") else l for l in body.splitlines(True)) + b".\r\n"
    half = LIMIT // 2
    cut = lambda body: b"BDAT %d\r\n" % half + body[:half] + b"BDAT %d LAST\r\n" % (len(body) - half) + body[half:]
    envelope = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
    with Lab(service='limits = { message_size = "100K"; };') as lab, \
            Backend(lambda v, line, n: time.sleep(0.3) if v == "MAIL" else None) as backend:
        c = greeted()
        for body, end in ((exact, "250"), (b"x" + exact, "552 5.3.4"), (exact, "250")):
            for line in MAIL:
                assert c.ask(line).startswith("250")
            assert c.ask("DATA").startswith("354")
            assert c.ask(stuffed(body)).startswith(end), len(body)
        for body, end in ((exact, "250"), (b"x" + exact, "552"), (exact, "250")):
            c.say(envelope)
            assert [c.reply()[:3] for _ in range(2)] == ["250"] * 2
            c.say(cut(body))
            assert [c.reply()[:3] for _ in range(2)][1] == end, len(body)
        # all in one group, the backend slow to answer MAIL: what comes before that reply counts as well
        for body, end in ((exact, "250"), (b"x" + exact, "552")):
            c.say(envelope + cut(body))
            assert [c.reply()[:3] for _ in range(4)][3] == end, len(body)
        # chunks given up by RSET, and those of a MAIL that was one too many
        c.say(envelope + b"BDAT 1000\r\n" + b"x" * 1000 + b"RSET\r\n" + envelope + cut(exact))
        assert [c.reply()[:3] for _ in range(8)] == ["250"] * 8
        assert c.ask("MAIL FROM:<a@b> SIZE=%d" % (LIMIT + 1)).startswith("552 5.3.4")
        assert c.ask("MAIL FROM:<a@b> SIZE=%d" % LIMIT).startswith("250")
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert backend.bodies == [exact] * 6 and backend.halves == [], [len(b) for b in backend.bodies]
        assert lab.stats["session_messages"] == 6 and lab.stats["smtp_reply_size"] >= 4


def case_quit_is_answered_221_whatever_became_of_the_backend():
    """C7: it has left before QUIT, or at QUIT, by FIN or by RST; and what may be said at any time may be."""
    for cut in (Leave(), Leave(reset=True)):
        for at in ("before", "QUIT"):
            ask = "QUIT" if at == "QUIT" else "RSET"
            with Lab() as lab, Backend(lambda v, line, n, cut=cut, ask=ask: cut if v == ask else None) as backend:
                c = greeted()
                if at == "before":
                    c.say("RSET")  # goes unanswered: 421 says so, and is the end
                    assert c.reply().startswith("421 4.4.2") and rest(c) == b""
                    c.close()
                    c = greeted("NOOP")
                assert c.ask("QUIT").startswith("221"), (cut, at)
                assert rest(c) == b""
                c.close()
                quiet(lab)
                assert lab.stats["smtp_reply_quit"] == (at == "QUIT") and "QUIT" in backend.said(len(backend.seen) - 1)
            leave = Leave(b"250 2.0.0 ok\r\n", cut.reset)
            with Lab() as lab, Backend(lambda v, line, n, leave=leave: leave if v == "NOOP" else None) as backend:
                c = greeted("NOOP")
                wait_for("the backend to have left", lambda: backend.ends == ["left"])
                assert c.ask("QUIT").startswith("221 2.0.0") and rest(c) == b""
                c.close()
                quiet(lab)
                assert len(backend.seen) == 1 and lab.stats["smtp_reply_quit"] == 1, "no other was asked for it"


def case_some_commands_may_be_said_at_any_time():
    """C7: RSET, NOOP, VRFY and HELP before EHLO, in a transaction, between chunks, after a backend has left."""
    def answer(verb, line, n):
        return Leave(b"250 2.0.0 ok\r\n") if line == b"NOOP leave\r\n" else None
    any_time = ("NOOP", "VRFY x", "HELP", "NOOP x")
    with Lab() as lab, Backend(answer) as backend:
        c = Raw()
        said = []

        def ask(*lines):
            for line in lines:
                assert c.ask(line).startswith("250"), line
                said.append(line)
        ask(*any_time, "RSET", "EHLO me", *any_time, "RSET", MAIL[0], *any_time, MAIL[1], *any_time)
        assert c.ask(b"BDAT 4\r\nabcd").startswith("250")
        said.append("BDAT 4")
        ask(*any_time, "RSET", MAIL[0], "RSET", "NOOP leave")
        wait_for("the backend to have left", lambda: backend.ends == ["left"])
        assert backend.said(0) == said
        said = ["EHLO me"]
        ask(*any_time, "RSET")
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert backend.said(1) == said + ["QUIT"]


@waits
def case_421_in_the_middle_of_a_session_is_relayed():
    """C8: as it came, then both ends close; nothing is tried at another backend, and the leg ends by a FIN outside of bodies."""
    for at in ("EHLO", "NOOP", "MAIL", "RCPT", "DATA", "EOD", "CHUNK", "LAST"):
        def answer(verb, line, n, at=at):
            last = verb == "CHUNK" and b"LAST" in line
            return b"421 4.3.2 going down\r\n" if (at == "LAST" and last) or (verb == at and not last) else None
        with Lab(backends=((HOST4, 2525), (HOST4, 2526))) as lab, Backend(answer) as one, Backend(answer, port=2526) as other:
            c = Raw()
            lines = ["EHLO me", "NOOP", *MAIL]
            lines += [b"BDAT 4\r\nabcd", b"BDAT 4 LAST\r\nabcd"] if at in ("CHUNK", "LAST") else ["DATA", TEXT + b".\r\n"]
            for line in lines:
                said = c.ask(line)
                if said.startswith("421"):
                    break
            assert said == "421 4.3.2 going down" and rest(c) == b"", (at, said)
            c.close()
            quiet(lab)
            wait_for("the leg to end", lambda: len(one.ends + other.ends) == 1)
            assert one.ends + other.ends == ["RST" if at == "CHUNK" else "FIN"], (at, one.ends, other.ends)
            assert one.halves == other.halves == [], (at, one.halves)
            assert len(one.seen + other.seen) == 1 and "QUIT" not in (one.said() if one.seen else other.said()), at
            assert lab.stats["leg_retried"] == lab.stats["leg_reopened"] == 0


def case_421_inside_a_body_is_heard_at_its_end():
    """C8, C16: after 354 nothing is tried again; the client hears of it at its true end of data."""
    with Lab() as lab:
        leave = threading.Event()
        conns = []

        class Hasty(Backend):
            def dotted(self, f):
                got = f.readline()
                conns[-1].sendall(b"421 4.3.2 going down\r\n")
                leave.set()
                while line := f.readline():
                    got += line
                self.halves.append(got)  # where it is not a reset
                raise ConnectionAbortedError

            def session(self, s, f, n):
                conns.append(s)
                super().session(s, f, n)
        with Hasty() as backend:
            c = greeted(*MAIL)
            assert c.ask("DATA").startswith("354")
            c.say(b"one\r\n")
            assert leave.wait(10)
            c.say(b"two\r\n")
            time.sleep(0.3)
            assert c.ask(b"three\r\n.\r\n").startswith("451 4.4.2")
            wait_for("the leg to be reset", lambda: backend.ends == ["RST"])
            assert backend.halves == []
        with Backend() as backend:
            for line in MAIL:
                assert c.ask(line).startswith("250")
            assert c.ask("DATA").startswith("354") and c.ask(TEXT + b".\r\n").startswith("250")
            assert c.ask("QUIT").startswith("221")
            c.close()
            quiet(lab)
            assert backend.bodies == [TEXT]


def case_three_backends_are_tried():
    """C9: of five that say 421, by their banner or by a reset, three; nothing of the client reaches them."""
    for refusal in (b"421 4.3.2 down\r\n", Leave(), Leave(reset=True), b"554 5.7.1 not you\r\n", b"220-x\r\n421 x\r\n"):
        ports = range(2525, 2530)
        with Lab(backends=[(HOST4, p) for p in ports]) as lab:
            backends = [Backend(lambda v, line, n, refusal=refusal: refusal if v == "BANNER" else None, port=p) for p in ports]
            c = Raw()
            assert c.ask("EHLO me").startswith("421 mx.lab.example Service not available") and rest(c) == b"", refusal
            c.close()
            quiet(lab)
            assert sorted(len(b.seen) for b in backends) == [0, 0, 1, 1, 1], refusal
            assert all(b.seen[0] == [] for b in backends if b.seen), "nothing was said to any"
            assert lab.stats["leg_retried"] == 2 and lab.stats["smtp_reply_no_backend"] == 1
            for b in backends:
                b.__exit__()


@waits
def case_no_other_backend_is_tried_after_a_minute():
    """C9: "60 s in all". A silent greeting is waited for as long as it may take; when two have been, the third is not asked."""
    ports = range(2525, 2528)
    with Lab(backends=[(HOST4, p) for p in ports], extra='connect_timeout = "1s"; banner_timeout = "31s";') as lab:
        servers = [socket.create_server((HOST4, p)) for p in ports]
        c = Raw()
        c.s.settimeout(100)
        start = time.monotonic()
        assert c.ask("EHLO me").startswith("421 mx.lab.example Service not available")
        assert 60 < time.monotonic() - start < 90 and lab.stats["leg_opened"] == 2 and lab.stats["leg_retried"] == 1
        c.close()
        for s in servers:  # the legs that were given up wait for a greeting
            s.close()
        quiet(lab)


def case_etrn_passes_where_it_is_advertised():
    """C14: and no verb that is not known, whatever a backend advertises."""
    unknown = ("FROB x", "SEND FROM:<a@b>", "TURN", "ATRN x", "XFOO", "MAILX", "QUITT", "ETRNX y", "")
    for keywords, reply in ((ALL + ("ETRN", "XFOO", "ATRN"), "253 5 pending"), (ALL, "500 5.5.1")):
        with Lab() as lab, Backend(lambda v, line, n: b"253 5 pending\r\n" if v == "ETRN" else None, keywords=keywords) as backend:
            c = greeted()
            assert c.ask("etrn Example.COM").startswith(reply)
            for line in unknown:
                assert c.ask(line).startswith("500 5.5.1"), line
            assert c.ask("QUIT").startswith("221")
            c.close()
            c = Raw()
            assert c.ask("ETRN x").startswith("500 5.5.1"), "nothing has been advertised yet"
            assert c.ask("QUIT").startswith("221")
            c.close()
            quiet(lab)
            assert backend.said(0) == ["EHLO me"] + (["etrn Example.COM"] if reply.startswith("253") else []) + ["QUIT"]
            assert backend.said(1) == ["QUIT"]


def case_a_group_without_a_good_recipient():
    """P4 (RFC 2920 3.1): the reply to DATA is the backend's; where that takes a message all the same, it gets the empty one."""
    group = b"MAIL FROM:<a@b>\r\nRCPT TO:<bad@d>\r\nDATA\r\n"
    for said in (b"554 5.5.1 no valid recipients\r\n", b"503 5.5.1 RCPT first\r\n", None):
        def answer(verb, line, n, said=said):
            return b"550 5.1.1 unknown\r\n" if b"bad" in line else said if verb == "DATA" and not good.is_set() else None
        good = threading.Event()
        with Lab() as lab, Backend(answer) as backend:
            c = greeted()
            c.say(group)
            assert c.reply().startswith("250") and c.reply() == "550 5.1.1 unknown"
            if said is None:
                assert c.reply().startswith("354")
                assert c.ask(b".\r\n").startswith("250")
            else:
                assert c.reply() == said.decode().strip()
                assert c.ask("RSET").startswith("250")
            good.set()
            c.say(group.replace(b"bad", b"good"))
            assert [c.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
            assert c.ask(TEXT + b".\r\n").startswith("250") and c.ask("QUIT").startswith("221")
            c.close()
            quiet(lab)
            assert backend.bodies == ([b""] if said is None else []) + [TEXT]


def early(line):
    """A client whose first segment of data is the one that completes the handshake."""
    s = socket.socket()
    s.settimeout(20)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)  # no ACK of its own
    s.connect((VIP4, 25))
    s.sendall(line)
    c = Raw.__new__(Raw)
    c.s, c.f = s, s.makefile("rb")
    return c


def case_early_talkers_by_policy():
    """P5: reject (which is the default) or count, for the service and by rule; each is counted."""
    rules = """networks = { listed = [ "%s" ]; };
pools =""" % (HOST4 + "/32")
    for service, listed, refused in (("", "", True), ('early_talkers = "count";', "", False),
                                     ("", 'rules = ( { from = "listed"; early_talkers = "count"; } );', False),
                                     ('early_talkers = "count";', 'rules = ( { from = "listed"; early_talkers = "reject"; } );', True)):
        lab = Lab(service=service + listed)
        lab.config = lab.config.replace("pools =", rules, 1)
        lab.write_config(lab.config)
        with lab, Backend() as backend:
            for _ in range(3):
                c = early(b"EHLO me\r\n")
                if refused:
                    assert c.reply().startswith("554 mx.lab.example You must wait") and rest(c) in (b"", b"reset")
                else:
                    assert c.reply().startswith("220 mx.lab.example") and c.reply().startswith("250"), "what it said is done"
                    assert c.ask("QUIT").startswith("221")
                c.close()
            c = greeted()
            assert c.ask("QUIT").startswith("221"), "who waits is no early talker"
            c.close()
            quiet(lab)
            assert lab.stats["session_early_talkers"] == 3, (service, listed)
            assert lab.stats["smtp_reply_early_talker"] == (3 if refused else 0) and len(backend.seen) == (1 if refused else 4)


def case_octets_of_refused_chunks_are_swallowed():
    """P8 (RFC 3030 2, 4.2): so many, whatever they look like, of each of a group's; where CHUNKING is not advertised the backend
    hears of none, where it is the refusal is its own."""
    chunk = b"MAIL FROM:<smuggled@x>\r\n.\r\nQUIT\r\nBDAT 5\r\nx"
    chunks = b"BDAT %d\r\n" % len(chunk) + chunk + b"BDAT 0\r\n" + b"bdat %d last\r\n" % len(chunk) + chunk
    for pieces in (lambda b: [b], lambda b: [b[i:i + 1] for i in range(len(b))]):
        with Lab() as lab, Backend(keywords=("PIPELINING", "8BITMIME")) as backend:
            c = greeted(*MAIL)
            for piece in pieces(chunks):
                c.say(piece)
            assert [c.reply()[:9] for _ in range(3)] == ["503 5.5.1"] * 3
            assert c.ask("DATA").startswith("354") and c.ask(TEXT + b".\r\n").startswith("250")
            assert c.ask("QUIT").startswith("221")
            c.close()
            quiet(lab)
            assert backend.said() == ["EHLO me", *MAIL, "DATA", "QUIT"] and backend.bodies == [TEXT]
            assert lab.stats["smtp_reply_bdat_no_chunking"] == 3
        # after a MAIL that was refused
        good = threading.Event()

        def answer(verb, line, n, good=good):
            if verb == "MAIL":
                return b"550 5.7.1 not you\r\n" if b"<bad" in line else None
            return b"503 5.5.1 MAIL first\r\n" if verb == "CHUNK" and not good.is_set() else None
        with Lab() as lab, Backend(answer) as backend:
            c = greeted()
            for piece in pieces(b"MAIL FROM:<bad@b>\r\n" + chunks):
                c.say(piece)
            assert [c.reply()[:3] for _ in range(4)] == ["550", "503", "503", "503"]
            good.set()
            backend.bodies.clear()
            assert c.ask("RSET").startswith("250")
            for line in MAIL:
                assert c.ask(line).startswith("250")
            c.say(chunks)
            assert [c.reply()[:3] for _ in range(3)] == ["250"] * 3
            assert c.ask("QUIT").startswith("221")
            c.close()
            quiet(lab)
            assert backend.bodies == [chunk * 2] and lab.stats["session_messages"] == 1
            assert not any("smuggled" in l for l in backend.said())


def case_octets_of_chunks_that_are_misspelt_are_swallowed():
    """P8: 501, and what the command announced is no command; a server could have read it another way."""
    with Lab() as lab, Backend() as backend:
        c = greeted(*MAIL)
        for line in (b"BDAT 12 FIRST", b"BDAT 12 LAST ", b"BDAT 12LAST", b"BDAT 12 LAST LAST", b"BDAT\t12", b"BDAT 12\tLAST", b"bdat 12, LAST"):
            c.say(line + b"\r\nNOOP\r\nQUIT\r\n")
            assert c.reply().startswith("501 5.5.4") and c.ask("NOOP").startswith("250"), line
        for line in ("BDAT", "BDAT x", "BDAT LAST", "BDAT -1", "BDAT +1", "BDAT 0 x"):
            assert c.ask(line).startswith("501 5.5.4") and c.ask("NOOP").startswith("250"), line
        assert c.ask(b"BDAT 4 LAST\r\nabcd").startswith("250") and c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert backend.bodies == [b"abcd"] and backend.said() == ["EHLO me", *MAIL] + ["NOOP"] * 13 + ["BDAT 4 LAST", "QUIT"], backend.said()


def case_chunks_refused_before_their_octets():
    """P8: a backend that answers BDAT at once, and then reads its octets as it must: none is taken for a command."""
    class Hasty(Backend):
        def octets(self, f, count, before):
            self.conn.sendall(b"503 5.5.1 no\r\n")
            return super().octets(f, count, before)

        def session(self, s, f, n):
            self.conn = s
            super().session(s, f, n)
    with Lab() as lab, Hasty(lambda v, line, n: b"" if v == "CHUNK" else None) as backend:
        c = greeted(MAIL[0])
        c.say(b"BDAT 60\r\n")
        assert c.reply().startswith("503")
        c.say(b"QUIT\r\n" * 5)
        time.sleep(0.2)
        c.say(b"QUIT\r\n" * 5 + b"BDAT 12 LAST\r\n")
        assert c.reply().startswith("503")
        c.say(b"QUIT\r\nQUIT\r\nNOOP\r\n")
        assert c.reply().startswith("250") and c.ask("RSET").startswith("250") and c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert backend.said() == ["EHLO me", MAIL[0], "BDAT 60", "BDAT 12 LAST", "NOOP", "RSET", "QUIT"]


def case_data_and_chunks_do_not_mix():
    """P8: DATA behind BDAT, BDAT behind DATA, DATA for BINARYMIME: the backend's 503 is relayed and the session goes on."""
    def answer(verb, line, n):
        state = states.setdefault(n, set())
        if verb in ("MAIL", "RSET"):
            state.clear()
            state.update({"BINARYMIME"} if b"BINARYMIME" in line else ())
        if verb == "CHUNK":
            state.add("BDAT")
            return b"503 5.5.1 DATA was asked for\r\n" if "DATA" in state else None
        if verb == "DATA":
            if state & {"BDAT", "BINARYMIME"}:
                return b"503 5.5.1 BDAT only\r\n"
            state.add("DATA")
            return b"451 4.3.0 not now\r\n" if refuse.is_set() else None
        return None
    states, refuse = {}, threading.Event()
    with Lab() as lab, Backend(answer, keywords=ALL + ("BINARYMIME",)) as backend:
        c = greeted(*MAIL)
        assert c.ask(b"BDAT 4\r\nabcd").startswith("250") and c.ask("DATA") == "503 5.5.1 BDAT only"
        assert c.ask(b"BDAT 4 LAST\r\nefgh").startswith("250")
        assert c.ask("MAIL FROM:<a@b> BODY=BINARYMIME").startswith("250") and c.ask(MAIL[1]).startswith("250")
        assert c.ask("DATA").startswith("503") and c.ask(b"BDAT 3 LAST\r\n\0\r\n").startswith("250")
        refuse.set()
        for line in MAIL:
            assert c.ask(line).startswith("250")
        assert c.ask("DATA").startswith("451") and c.ask(b"BDAT 4\r\n.\r\n\r").startswith("503") and c.ask("RSET").startswith("250")
        refuse.clear()
        for line in MAIL:
            assert c.ask(line).startswith("250")
        assert c.ask("DATA").startswith("354") and c.ask(TEXT + b".\r\n").startswith("250") and c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert backend.bodies == [b"abcdefgh", b"\0\r\n", TEXT], backend.bodies


def case_chunks_are_opaque():
    """P7: BDAT 0 LAST, alone and behind others; an end of data, commands, NULs and bare line ends inside of a chunk."""
    body = b"a: b\r\n\r\n.\r\nMAIL FROM:<smuggled@x>\r\nRCPT TO:<y@z>\r\nDATA\r\n\r\n.\r\n\n.\n\0\r.\r"
    for pieces in (lambda b: [b], lambda b: [b[i:i + 1] for i in range(len(b))]):
        with Lab() as lab, Backend() as backend:
            c = greeted(*MAIL)
            for piece in pieces(b"BDAT %d\r\n" % len(body) + body + b"BDAT 0 LAST\r\n"):
                c.say(piece)
            assert c.reply().startswith("250") and c.reply().startswith("250")
            for line in MAIL:
                assert c.ask(line).startswith("250")
            assert c.ask("BDAT 0 LAST").startswith("250")
            for line in MAIL:
                assert c.ask(line).startswith("250")
            c.say(b"BDAT 0\r\nBDAT 0\r\nBDAT %d LAST\r\n" % len(body) + body + b"QUIT\r\n")
            assert [c.reply()[:3] for _ in range(4)] == ["250", "250", "250", "221"]
            c.close()
            quiet(lab)
            assert backend.bodies == [body, b"", body] and lab.stats["session_messages"] == 3
            assert not any("smuggled" in l for l in backend.said()) and lab.stats["leg_aborted_in_body"] == 0


PARAMETERS = (  # keyword, what asks for it
    ("8BITMIME", "MAIL FROM:<a@b> BODY=8BITMIME"), ("8BITMIME", "MAIL FROM:<a@b> body=7bit"), ("SMTPUTF8", "MAIL FROM:<a@b> SMTPUTF8"),
    ("DSN", "MAIL FROM:<a@b> RET=HDRS"), ("DSN", "MAIL FROM:<a@b> ENVID=QQ314159"), ("DSN", "RCPT TO:<c@d> NOTIFY=SUCCESS,DELAY"),
    ("DSN", "RCPT TO:<c@d> ORCPT=rfc822;c@d"), ("BINARYMIME", "MAIL FROM:<a@b> BODY=BINARYMIME"), ("SIZE 1000000", "MAIL FROM:<a@b> SIZE=77"),
    ("AUTH PLAIN", "MAIL FROM:<a@b> AUTH=<>"), ("DELIVERBY", "MAIL FROM:<a@b> BY=120;R"), ("MT-PRIORITY", "MAIL FROM:<a@b> MT-PRIORITY=3"),
    ("FUTURERELEASE 100 x", "MAIL FROM:<a@b> HOLDFOR=60"),
)


def case_parameters_need_their_extension():
    """P10: forwarded byte for byte to a leg that advertised the extension, else refused and not said to the backend: never stripped.
    Whatever stands between them, and whatever other parameter stands before."""
    forms = lambda line: (line, line.replace("> ", ">  "), line.replace("> ", ">\t"), line.replace("> ", "> \t "), line.replace("> ", "> X-OWN=1 "),
                          line + " ", line.replace(" FROM:<a@b>", " FROM:<\"a> \"@b>").replace(" TO:<c@d>", " TO: <\"c d\"@e>"))
    with Lab() as lab, Backend(keywords=("PIPELINING", "X-OWN")) as backend:
        c = greeted()
        count = 0
        for _, line in PARAMETERS:
            for form in forms(line):
                assert c.ask(form).startswith("555 5.5.4"), form
                count += 1
        for line in MAIL:
            assert c.ask(line).startswith("250"), "the next is welcome"
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert backend.said() == ["EHLO me", *MAIL, "QUIT"] and lab.stats["smtp_reply_parameter"] == count
    for keyword, line in PARAMETERS:
        keywords = ("PIPELINING", "X-OWN", keyword) + (("8BITMIME", "CHUNKING") if keyword == "BINARYMIME" else ())
        with Lab() as lab, Backend(keywords=keywords) as backend:
            c = greeted()
            for form in forms(line):
                assert c.ask(form).startswith("250"), form
            for other, wanted in PARAMETERS:
                if other not in keywords:
                    assert c.ask(wanted).startswith("555 5.5.4"), (keyword, wanted)
            assert c.ask("QUIT").startswith("221")
            c.close()
            quiet(lab)
            # said() drops line ends only
            assert backend.said() == ["EHLO me", *forms(line), "QUIT"], keyword


def case_limits_shows_the_smaller_number():
    """P14 (RFC 9422): of the backend's RCPTMAX and ours; the other limits are the backend's."""
    for service, theirs, shown in (("", "LIMITS RCPTMAX=50 MAILMAX=20", "LIMITS RCPTMAX=50 MAILMAX=20"),
                                   ("limits = { recipients = 100; };", "LIMITS MAILMAX=20 RCPTMAX=50", "LIMITS MAILMAX=20 RCPTMAX=50"),
                                   ("limits = { recipients = 100; };", "LIMITS RCPTMAX=500 RCPTDOMAINMAX=3", "LIMITS RCPTMAX=100 RCPTDOMAINMAX=3"),
                                   ("limits = { recipients = 100; };", "limits MAILMAX=20", "limits MAILMAX=20 RCPTMAX=100"),
                                   ("limits = { recipients = 100; };", "8BITMIME", None)):
        with Lab(service=service) as lab, Backend(keywords=("PIPELINING", theirs)):
            c = Raw()
            c.say("EHLO me")
            lines = []
            while not lines or lines[-1][3:4] == b"-":
                lines.append(c.f.readline())
            got = [l[4:].strip().decode() for l in lines if l[4:10].upper() == b"LIMITS"]
            assert got == ([shown] if shown else []), (service, theirs, got)
            assert c.ask("QUIT").startswith("221")
            c.close()
            quiet(lab)


def case_recipients_over_the_limit():
    """C13: 452 4.5.3 to each over it, the mail goes on with the others; the count begins anew with each mail."""
    with Lab(service="limits = { recipients = 100; };") as lab, Backend() as backend:
        c = greeted()
        for ends in ("DATA", "RSET", "EHLO me", "DATA"):
            assert c.ask(MAIL[0]).startswith("250")
            for i in range(100):
                assert c.ask("RCPT TO:<r%d@d>" % i).startswith("250"), (ends, i)
            for i in range(3):
                assert c.ask("RCPT TO:<over%d@d>" % i).startswith("452 4.5.3 "), ends
            assert c.ask(ends)[0] in "23"
            if ends == "DATA":
                assert c.ask(TEXT + b".\r\n").startswith("250")
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert backend.bodies == [TEXT] * 2 and lab.stats["smtp_reply_recipients"] == 12 and lab.stats["session_recipients"] == 400
        assert not any("over" in l for l in backend.said())


def case_as_many_sessions_as_there_may_be():
    """A connection over max_sessions is reset at once and counted; the others do not notice, and a room that comes free is taken."""
    with Lab(max_sessions=16) as lab, Backend():
        clients = [greeted() for _ in range(16)]
        for i in range(5):
            with contextlib.suppress(ConnectionResetError), socket.create_connection((VIP4, 25), timeout=20) as s:
                raise AssertionError("not reset: %r" % s.recv(1))
            wait_for("it to be counted", lambda i=i: lab.stats["session_no_slot"] == i + 1)
        assert lab.stats.sessions() == 16
        for c in clients:
            assert c.ask(MAIL[0]).startswith("250"), "the others go on"
        for c in clients[:8]:
            assert c.ask("QUIT").startswith("221")
            c.close()
        wait_for("room", lambda: lab.stats.sessions() == 8)
        reset(clients[8].s)
        clients[8].f.close()
        wait_for("more room", lambda: lab.stats.sessions() <= 7)
        assert clients[9].ask("NOOP").startswith("250")
        clients = clients[9:] + [greeted(*MAIL, "DATA") for _ in range(8)]
        for c in clients[-8:]:
            assert c.ask(TEXT + b".\r\n").startswith("250")
        for c in clients:
            assert c.ask("QUIT").startswith("221")
            c.close()
        quiet(lab)
        assert lab.stats["session_no_slot"] == 5 and lab.stats["session_messages"] == 8


def case_a_reply_before_a_reset_counts():
    """A backend that accepts a mail and resets at once: both come in one burst. Who was told of a loss would send the mail again.
    Where sessions are passed through, too."""
    for mode in ("off", "passthrough"):
        answer = lambda v, line, n: Leave(b"250 2.0.0 queued\r\n", True) if v == "EOD" else None
        with Lab(service='tls = { mode = "%s"; };' % mode) as lab, Backend(answer) as backend:
            said = []
            for _ in range(40):
                c = greeted(*MAIL, "DATA")
                said.append(c.ask(TEXT + b".\r\n")[:3])
                c.close()
            quiet(lab)
            assert said == ["250"] * 40 and len(backend.bodies) == 40, said
            assert lab.stats["leg_end_of_data_lost"] == 0
            assert lab.stats["session_messages"] == 40


def case_quit_is_221_when_the_box_drains_too():
    """C7: a session that finishes its mail while the process ends may say QUIT; anything else is told 421."""
    lab = Lab()
    with lab, Backend() as backend:
        clients = [greeted(*MAIL) for _ in range(2)]
        lab.proc.terminate()
        time.sleep(0.5)
        for c, last, want in zip(clients, ("QUIT", MAIL[0]), ("221 2.0.0 bye", "421 4.3.2 ")):
            assert c.ask("DATA").startswith("354") and c.ask(TEXT + b".\r\n").startswith("250")
            assert c.ask(last).startswith(want) and rest(c) == b"", last
            c.close()
        wait_for("the process to end", lambda: lab.proc.poll() is not None, 20)
        assert backend.bodies == [TEXT] * 2 and [backend.said(n)[-1] for n in range(2)] == ["QUIT"] * 2, backend.seen


def case_a_client_that_is_idle_between_two_chunks():
    """C16: its leg is reset, also where it is the backend's 421 that ends the session, unasked."""
    with Lab(service='idle_timeout = "2s";') as lab, Backend() as backend:
        c = greeted(*MAIL)
        assert c.ask(b"BDAT 4\r\nabcd").startswith("250")
        assert c.reply().startswith("421 4.4.2 mx.lab.example Idle") and rest(c) == b""
        c.close()
        quiet(lab)
        wait_for("the leg to end", lambda: backend.ends == ["RST"])
        assert backend.halves == [] and "QUIT" not in backend.said() and lab.stats["leg_aborted_in_body"] == 1

    unasked = threading.Event()

    class Late(Backend):
        def session(self, s, f, n):
            threading.Thread(target=lambda: unasked.wait(20) and time.sleep(0.3) or s.sendall(b"421 4.3.2 going down\r\n"), daemon=True).start()
            super().session(s, f, n)
    with Lab() as lab, Late(lambda v, line, n: unasked.set() if v == "CHUNK" else None) as backend:
        c = greeted(*MAIL)
        assert c.ask(b"BDAT 4\r\nabcd").startswith("250")
        assert c.reply() == "421 4.3.2 going down" and rest(c) == b""
        c.close()
        quiet(lab)
        wait_for("the leg to end", lambda: backend.ends == ["RST"])
        assert backend.halves == []


def case_only_crlf_ends_a_command_before_tls():
    """C1, S6: where STARTTLS is offered a bare LF hides no STARTTLS, nor anything else."""
    with tls_lab() as lab, Backend() as backend:
        c = Raw()
        for line in (b"NOOP\nSTARTTLS\r\n", b"STARTTLS\nNOOP\r\n", b"EHLO me\nSTARTTLS\r\n", b"STARTTLS\r\r\n", b"START\0TLS\r\n",
                     b"x" * 3000 + b"\nSTARTTLS\r\n"):
            c.say(line)
            assert c.reply().startswith("500 5.5."), line[:20]
            assert c.ask("NOOP").startswith("250 2.0.0"), line[:20]
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert backend.seen == [] and lab.stats["smtp_reply_tls_start"] == 0


class SecureBackend(Backend):
    """Speaks TLS from the first octet. Leaving, it breaks it: behind its last words stands a record that is none."""

    def __init__(self, answer, pair):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pair + ".pem", pair + ".key")
        super().__init__(answer)

    def session(self, s, f, n):
        with self.context.wrap_socket(s, server_side=True) as secure:
            try:
                super().session(secure, secure.makefile("rb"), n)
            except Leave as leave:
                secure.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # in one segment
                secure.sendall(leave.octets)
                os.write(secure.fileno(), b"\x17\x03\x03\0\x20" + b"no record of anybody's..........")
                raise ConnectionAbortedError from leave


def case_a_reply_before_a_broken_record_counts():
    """As before a reset: the records that came before it are read."""
    lab = Lab(extra='tls = { mode = "implicit"; verify = "none"; };')
    make(lab.dir, "backend")
    with lab, SecureBackend(lambda v, line, n: Leave(b"250 2.0.0 queued\r\n") if v == "EOD" else None, lab.dir + "/backend") as backend:
        said = []
        for _ in range(20):
            c = greeted(*MAIL, "DATA")
            said.append(c.ask(TEXT + b".\r\n")[:3])
            c.close()
        quiet(lab)
        assert said == ["250"] * 20 and len(backend.bodies) == lab.stats["session_messages"] == 20, said
        assert lab.stats["tls_bad_record"] == 20 and lab.stats["leg_end_of_data_lost"] == 0
