# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Mode passthrough: octets as they come, read as long as they can be: what is counted and shown of it, where a line of ours
may stand and where none ever does."""

import contextlib
import random
import signal
import smtplib
import socket
import ssl
import subprocess
import time

import certs
from cases_postfix import BACKENDS, delivered, expected, postfixes
from cases_sight import Running
from lab import HOST4, VIP4, Control, Lab, Sink, wait_for, waits
from mail import Raw, body_of, quiet

PASS = 'tls = { mode = "passthrough"; };'
TWO = ((HOST4, 2525), (HOST4, 2526))


class Peer:
    """A backend by hand: the connections that came, each read to what is asked for."""

    def __init__(self, port=2525):
        self.server = socket.create_server((HOST4, port))
        self.server.settimeout(20)
        self.open = [self.server]

    def accept(self, banner=b"220 peer\r\n"):
        s, _ = self.server.accept()
        s.settimeout(20)
        self.open.append(s)
        s.sendall(banner)
        return s

    def close(self):
        for s in self.open:
            s.close()


def read(s, n):
    got = b""
    while len(got) < n:
        part = s.recv(n - len(got))
        if not part:
            break
        got += part
    return got


def rest(s):
    """What still comes up to the end: (octets, FIN or RST)."""
    got = b""
    while True:
        try:
            part = s.recv(65536)
        except ConnectionResetError:
            return got, "RST"
        if not part:
            return got, "FIN"
        got += part


def reset(c):
    c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    c.f.close()
    c.s.close()


def talk_to(peer, said=()):
    """A client and its connection to the peer, after what was said."""
    c = Raw(banner=False)
    leg = peer.accept()
    assert c.reply() == "220 peer"
    for who, text in said:
        (c.s if who == "C" else leg).sendall(text)
        assert read(leg if who == "C" else c.s, len(text)) == text, (who, text)
    return c, leg


@contextlib.contextmanager
def talk(said=()):
    peer = Peer()
    c, leg = talk_to(peer, said)
    yield c, leg
    c.close()
    peer.close()


def verbs_counted(control):
    rows = control.json("show", "latency")
    return {verb: sum(row["count"] for row in rows if row["verb"] == verb) for verb in {row["verb"] for row in rows}}


@waits
def case_postfix_and_its_own_tls_through_passthrough():
    rng = random.Random(9)
    bodies = [body_of(rng, rng.choice((100, 4000, 60000))) for _ in range(12)]
    lab = Lab(backends=BACKENDS, service=PASS)
    certs.make(lab.dir, "server", "mx.lab.example")
    with lab, Control(lab) as control, postfixes(lab) as servers:
        for s in servers:
            s.sh("postconf -c %s/etc smtpd_tls_security_level=may smtpd_tls_chain_files=%s/server.key,%s/server.pem"
                 % (s.dir, lab.dir, lab.dir))
            s.run("reload")
        time.sleep(1)
        context = ssl.create_default_context(cafile=lab.dir + "/server.pem")
        for i, body in enumerate(bodies):
            with smtplib.SMTP(VIP4, 25, "client.example", 60) as s:
                if i % 3 != 0:
                    s._host = "mx.lab.example"  # the name that is verified
                    s.starttls(context=context)
                s.sendmail("a@b.example", ["c@lab.example"], body)
        out = subprocess.run(["openssl", "s_client", "-starttls", "smtp", "-connect", VIP4 + ":25", "-CAfile", lab.dir + "/server.pem",
                              "-verify_return_error", "-quiet", "-ign_eof"], input="QUIT\r\n", capture_output=True, text=True,
                             timeout=30, check=True)
        assert "221" in out.stdout, out
        wait_for("the deliveries", lambda: sum(len(v) for v in delivered(servers).values()) == len(bodies), 40)
        found = delivered(servers)
        for number, body in expected(bodies).items():
            assert found[number] == [body], number
        quiet(lab)
        assert lab.stats["scan_ended_starttls"] == 9 and lab.stats["scan_ended_over"] == 4
        assert lab.stats["session_messages"] == 4 and lab.stats["session_recipients"] == 4, "those in clear"
        counted = verbs_counted(control)
        assert counted["banner"] == 13 and counted["mail"] == counted["rcpt"] == counted["end_of_data"] == 4, counted
        assert counted["ehlo"] == 13, counted


def case_a_passthrough_dialogue_is_seen():
    with Lab(service=PASS) as lab, Control(lab) as control:
        sink = Sink(2525, behave=lambda v, s: "334 VXNlcm5hbWU6" if v == "AUTH" else "235 2.7.0 ok" if v == "C2VJCMV0" else None,
                    keywords=("PIPELINING", "CHUNKING", "AUTH LOGIN", "SIZE 100000000"))
        running = Running(control, "--transcript", file="transcript")
        state = lambda: [s["state"] for s in control.json("show", "sessions")["sessions"]]
        c = Raw()
        assert c.ask("EHLO me.example").startswith("250") and state() == ["passthrough_command"]
        assert c.ask("AUTH LOGIN").startswith("334") and state() == ["passthrough_auth"]
        assert c.ask("c2VjcmV0").startswith("235")
        c.say(b"MAIL FROM:<a@b>\r\n" + b"".join(b"RCPT TO:<c%d@d>\r\n" % i for i in range(300)) + b"DATA\r\n")
        assert [c.reply()[:3] for _ in range(302)] == ["250"] * 301 + ["354"]
        wait_for("the body to begin", lambda: state() == ["passthrough_data"])
        assert c.ask(b"Subject: hidden\r\n\r\nhidden\r\n.\r\n").startswith("250")
        c.say(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 8 LAST\r\nhid")
        assert [c.reply()[:3] for _ in range(2)] == ["250"] * 2 and state() == ["passthrough_bdat"]
        assert c.ask(b"den\r\n").startswith("250")
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        running.proc.send_signal(signal.SIGINT)
        running.proc.communicate(timeout=30)
        with open(running.path, encoding="ascii") as f:
            text = f.read()
        assert "hidden" not in text and "c2VjcmV0" not in text, text
        for want in ("backend < 220 sink ESMTP", "client  < 220 sink ESMTP", "client  > EHLO me.example", "backend > AUTH LOGIN",
                     "client  > (SASL data)", "client  > RCPT TO:<c17@d>", "(the body, 30 octets)",
                     "client  < 250 2.0.0 queued as 1", "backend > BDAT 8 LAST", "(a chunk of the body, 8 octets)",
                     "client  < 221 2.0.0 bye", "(not read from here on: over)"):
            assert want in text, (want, text[-4000:])
        assert "ours" not in text
        counted = verbs_counted(control)
        assert (counted["banner"], counted["ehlo"], counted["mail"], counted["rcpt"], counted["end_of_data"]) == (1, 1, 2, 301, 2), counted
        assert lab.stats["session_messages"] == 2 and lab.stats["session_recipients"] == 301
        assert len(sink.bodies) == 2
        sink.close()


def case_a_greeting_that_refuses_goes_to_the_next_backend():
    for refusal in ("421 4.3.2 closed", "421-4.3.2 closed\r\n421 4.3.2 for long", "451 4.3.0 no", "554 5.7.1 not you"):
        with Lab(backends=TWO, service=PASS) as lab:
            bad, good = Sink(2525, behave=lambda v, s, r=refusal: r if v == "BANNER" else None), Sink(2526)
            for _ in range(6):
                c = Raw(banner=False)
                assert c.reply() == "220 sink ESMTP"
                assert c.ask("QUIT").startswith("221")
                c.close()
            quiet(lab)
            assert not any(bad.transcripts) and len(good.transcripts) == 6, (bad.transcripts, good.transcripts)
            assert lab.stats["leg_retried"] == lab.stats["leg_refused"] == len(bad.transcripts) > 0
            assert lab.stats["leg_source_address_refused"] == (len(bad.transcripts) if refusal[0] == "5" else 0)
            bad.close()
            good.close()


def case_a_greeting_in_pieces_goes_to_the_next_backend_too():
    with Lab(backends=TWO, service=PASS) as lab:
        bad, good = Peer(2525), Peer(2526)
        for _ in range(2):  # round robin: one of them meets the bad one
            c = Raw(banner=False)
            peer = bad if not lab.stats["leg_retried"] else good
            bad.server.settimeout(1)
            try:
                leg = bad.accept(b"")
                for octet in b"421 4.3.2 clo":
                    leg.sendall(bytes((octet,)))
                    time.sleep(0.03)
                leg.sendall(b"sed\r\n")
            except TimeoutError:
                pass
            leg = good.accept()
            assert c.reply() == "220 peer"
            c.close()
            leg.close()
        wait_for("it to be left", lambda: lab.stats["leg_retried"] >= 1)
        bad.close()
        good.close()


def case_the_last_refusal_passes_as_it_is():
    for refusal in (b"421 4.3.2 words of its own\r\n", b"421-4.3.2 words\r\n421 4.3.2 of its own\r\n", b"554 5.7.1 not you\r\n"):
        with Lab(service=PASS) as lab:
            peer = Peer()
            c = Raw(banner=False)
            leg = peer.accept(refusal)
            assert read(c.s, len(refusal)) == refusal
            leg.close()
            assert rest(c.s) == (b"", "FIN")
            c.close()
            peer.close()
            quiet(lab)
            assert lab.stats["leg_refused"] == 1 and lab.stats["leg_retried"] == 0


def case_one_that_closes_unheard_is_left_for_the_next():
    with Lab(backends=TWO, service=PASS) as lab:
        def behave(verb, sink):
            raise ConnectionError
        bad, good = Sink(2525, behave=behave), Sink(2526)
        for _ in range(4):
            c = Raw()
            assert c.ask("QUIT").startswith("221")
            c.close()
        quiet(lab)
        assert lab.stats["leg_retried"] > 0 and len(good.transcripts) == 4
        bad.close()
        good.close()


def case_a_silent_greeting_is_waited_for_where_there_is_no_other():
    with Lab(extra='banner_timeout = "1s";', service=PASS) as lab:
        sink = Sink(2525, behave=lambda v, s: time.sleep(3) if v == "BANNER" else None)
        c = Raw()
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert len(sink.transcripts) == 1
        sink.close()


def case_garbage_passes_as_it_is():
    rng = random.Random(3)
    with Lab(service=PASS) as lab:
        for i in range(12):
            with talk() as (c, leg):
                for _ in range(30):
                    data = bytes(rng.choice(b"\r\n\0. 2354-") if i % 2 else rng.randrange(256) for _ in range(rng.randrange(1, 3000)))
                    a, b = (c.s, leg) if rng.randrange(2) else (leg, c.s)
                    a.sendall(data)
                    assert read(b, len(data)) == data
                c.s.shutdown(socket.SHUT_WR)
                assert rest(leg) == (b"", "FIN")
                leg.close()
                assert rest(c.s) == (b"", "FIN")
        quiet(lab)
        names = [n for n in lab.stats.names if n.startswith("scan_ended")]
        assert sum(lab.stats[n] for n in names) == 12, {n: lab.stats[n] for n in names}


STARTTLS = (("C", b"EHLO me\r\n"), ("B", b"250-peer\r\n250 STARTTLS\r\n"), ("C", b"STARTTLS\r\n"), ("B", b"220 go\r\n"))
MAIL = (("C", b"MAIL FROM:<a@b>\r\n"), ("B", b"250 ok\r\n"), ("C", b"RCPT TO:<c@d>\r\n"), ("B", b"250 ok\r\n"))
DATA = MAIL + (("C", b"DATA\r\n"), ("B", b"354 go on\r\n"))


def case_a_client_that_vanishes_from_passthrough():
    """(said before, what its backend then says, what it is told of us, how it ends)."""
    quit_said, nothing = b"QUIT\r\n", b""
    with Lab(service=PASS) as lab:
        for said, answer, want, end in (
                ((), None, quit_said, "FIN"),
                ((("C", b"EHLO me\r\n"), ("B", b"250 peer\r\n")), None, quit_said, "FIN"),
                ((("C", b"EHLO me\r\n"),), b"250-peer\r\n250 SIZE\r\n", quit_said, "FIN"),
                ((("C", b"EHLO me\r\n"), ("B", b"250-pe")), b"er\r\n250 SIZE\r\n", quit_said, "FIN"),
                (MAIL + (("C", b"NOOP\r\nRSET\r\n"), ("B", b"250 ok\r\n250")), b" ok\r\n", quit_said, "FIN"),
                ((("C", b"EHLO m"),), None, nothing, "RST"),
                (DATA[:-1], b"354 go on\r\n", nothing, "RST"),
                (DATA, None, nothing, "RST"),
                (DATA + (("C", b"Subject: x\r\n\r\nx\r\n."),), None, nothing, "RST"),
                (DATA + (("C", b"Subject: x\r\n"), ("B", b"552 early\r\n421 bye\r\n")), None, nothing, "RST"),
                (DATA + (("C", b"Subject: x\r\n\r\nx\r\n.\r\n"),), b"250 queued\r\n", quit_said, "FIN"),
                (MAIL + (("C", b"BDAT 10 LAST\r\nabc"),), None, nothing, "RST"),
                ((("C", b"AUTH LOGIN\r\n"), ("B", b"334 \r\n")), None, nothing, "FIN"),
                ((("C", b"AUTH LOGIN\r\n"),), b"334 \r\n", nothing, "FIN"),
                (STARTTLS[:-1], b"220 go\r\n", nothing, "FIN"),
                (STARTTLS, None, nothing, "RST")):
            for leave in (reset, None):
                with talk(said) as (c, leg):
                    gone = lab.stats["session_client_gone"]
                    if leave is not None:
                        leave(c)
                        wait_for("it to be noticed", lambda gone=gone: lab.stats["session_client_gone"] == gone + 1)
                    else:
                        c.s.shutdown(socket.SHUT_WR)
                        time.sleep(0.2)
                    if answer is not None:
                        leg.sendall(answer)
                    got = read(leg, len(want))
                    assert got == want, (said, leave, got)
                    if want:
                        leg.sendall(b"221 bye\r\n")
                        leg.shutdown(socket.SHUT_WR)
                    ended = rest(leg)
                    is_fin = leave is None and (said == STARTTLS or said[-1:] == (("C", b"EHLO m"),) or said == STARTTLS[:-1])
                    assert ended == (b"", "FIN" if is_fin else end), (said, leave, ended)
                    leg.close()
                    c.close()
                    quiet(lab)


def case_drain_ends_passthrough_between_mails_only():
    """(said before, what its client is told, and its backend)."""
    dialogues = (
        ((), b"421", b"QUIT\r\n"),
        ((("C", b"EHLO me\r\n"), ("B", b"250-peer\r\n250 ENHANCEDSTATUSCODES\r\n")), b"421 4.3.2", b"QUIT\r\n"),
        ((("C", b"EHLO me\r\n"),), b"", b""),
        ((("C", b"EHLO m"),), b"", b""),
        ((("C", b"EHLO me\r\n"), ("B", b"250-peer\r\n")), b"", b""),
        (MAIL, b"", b""), (DATA, b"", b""), (STARTTLS, b"", b""),
        ((("C", b"\0\n"),), b"", b""))
    with Lab(service=PASS) as lab:
        peer = Peer()
        pairs = [talk_to(peer, said) for said, _, _ in dialogues]
        lab.proc.send_signal(signal.SIGTERM)
        for (said, told, leg_told), (c, leg) in zip(dialogues, pairs):
            assert read(leg, len(leg_told)) == leg_told, said
            if leg_told:
                leg.sendall(b"221 bye\r\n")
                leg.shutdown(socket.SHUT_WR)
            got = rest(c.s)[0]
            assert got.startswith(told) and bool(got) == bool(told), (said, got)
            assert rest(leg)[0] == b"", said
            c.close()
        peer.close()
        assert lab.proc.wait(20) == 0


def case_a_mail_of_passthrough_ends_before_a_drain():
    with Lab(service=PASS) as lab, talk(DATA) as (c, leg):
        lab.proc.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        for a, b, text in ((c.s, leg, b"Subject: x\r\n\r\nx\r\n.\r\n"), (leg, c.s, b"250 queued\r\n")):
            a.sendall(text)
            assert read(b, len(text)) == text
        c.s.sendall(b"MAIL FROM:<b@b>\r\n")
        assert read(c.s, 3) == b"421"
        assert read(leg, 6) == b"QUIT\r\n"
        leg.sendall(b"221 bye\r\n")
        leg.close()
        assert lab.proc.wait(20) == 0


def case_replies_of_passthrough_are_signals_of_health():
    with Lab(service=PASS) as lab, Control(lab) as control:
        for reply, name in ((b"452 4.3.1 full\r\n", "storage"), (b"451 4.3.0 queue\r\n", "system")):
            with talk((("C", b"MAIL FROM:<a@b>\r\n"), ("B", reply))):
                pass
        with talk((("C", b"RCPT TO:<a@b>\r\n"), ("B", b"452 4.3.1 full\r\n"))):
            pass
        with talk((("C", b"NOOP\r\n"),)) as (c, leg):
            leg.close()  # owes a reply
            assert rest(c.s) == (b"", "FIN")
        quiet(lab)
        signals = control.backends()["b0"]["signals_total"]
        assert {k: v for k, v in signals.items() if v} == {"storage": 1, "system": 1, "dropped": 1}, signals
