# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""A backend that delays EHLO and RSET by five seconds: a client's STARTTLS costs it no command and no delay beyond those of a
client that comes straight with the leg's own security (Z1, Z2, E1, T9)."""

import os
import smtplib
import socket
import ssl
import sys
import threading
import time

from certs import make, tls_lab
from lab import HOST4, HOST6, VIP4, VIP6, wait_for, waits
from mail import quiet

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
from tarpit import SECONDS, Tarpit

MAIL = b"a: b\r\n\r\n..c\r\n"
SPARE = SECONDS - 1.0  # a machine that is busy, but not one delay more
POOL = 'tls = { mode = "%s"; verify = "none"; };'


def anybody():
    c = ssl.create_default_context()
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    return c


def talk(host, port=25, starttls=False, implicit=False):
    """Two mails with RSET between them; how long the client waited, in all."""
    start = time.monotonic()
    s = smtplib.SMTP_SSL(host, port, "client.example", timeout=60, context=anybody()) if implicit else smtplib.SMTP(
        host, port, "client.example", 60)
    if starttls:
        assert s.ehlo()[0] == 250
        assert s.starttls(context=anybody())[0] == 220
    assert s.ehlo()[0] == 250
    s.sendmail("s@example.com", ["r@example.com"], MAIL)
    assert s.rset()[0] == 250
    s.sendmail("s@example.com", ["r@example.com"], MAIL)
    assert s.quit()[0] == 221
    return time.monotonic() - start


class Talk(threading.Thread):
    """The same at the same time as others."""

    def __init__(self, *args, **kind):
        super().__init__(daemon=True)
        self.args, self.kind, self.seconds = args, kind, None
        self.start()

    def run(self):
        self.seconds = talk(*self.args, **self.kind)

    def took(self):
        self.join(100)
        assert self.seconds is not None, "the client failed"
        return self.seconds


def nothing_of_ours(lab):
    for name in lab.stats.names:
        if name.startswith("synthetic_"):
            assert lab.stats[name] == 0, name


def served(tarpit, count=1):
    wait_for("sessions at the backend", lambda: len(tarpit.mails()) == count and all(s.closed for s in tarpit.mails()), 20)
    return tarpit.mails()


def service_of(mode):
    return 'tls = { mode = "%s"; certificates = [ "mail" ]; };' % mode


@waits
def case_starttls_before_a_tarpit_adds_nothing():
    with tls_lab(port="af_packet", backends=((HOST4, 2525),)) as lab:
        behind, direct = Tarpit(HOST4, 2525), Tarpit(HOST4, 2526)
        clients = [Talk(host, starttls=True) for host in (VIP4, VIP6)]
        reference = Talk(HOST4, 2526)
        took, least = [c.took() for c in clients], reference.took()
        took.append(talk(VIP4))  # in clear: is told by now what the backend can do, and says the same
        assert least > 2 * SECONDS, "EHLO and RSET"
        assert all(t < least + SPARE for t in took), (took, least)
        for session in served(behind, 3):
            assert session.octets == served(direct)[0].octets, session.lines
            assert session.verbs() == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA", "QUIT"]
        assert behind.bodies == [MAIL] * 6
        nothing_of_ours(lab)
        assert lab.stats["leg_starttls_ehlo"] == 0
        quiet(lab)
        behind.close()
        direct.close()


@waits
def case_required_and_implicit_tls_before_a_tarpit_add_nothing():
    for mode in ("starttls-required", "implicit"):
        with tls_lab(service_of(mode), port="af_packet", backends=(("[%s]" % HOST6, 2525),)) as lab:
            behind, direct = Tarpit(HOST6, 2525), Tarpit(HOST6, 2526)
            client = Talk(VIP6, starttls=mode != "implicit", implicit=mode == "implicit")
            reference = Talk(HOST6, 2526)
            took, least = client.took(), reference.took()
            assert took < least + SPARE, (mode, took, least)
            assert served(behind)[0].octets == served(direct)[0].octets
            nothing_of_ours(lab)
            quiet(lab)
            behind.close()
            direct.close()


@waits
def case_starttls_towards_a_tarpit_costs_its_own_ehlo_only():
    """EHLO, STARTTLS, EHLO as of any client in STARTTLS, no more; the first of them with our name, since what the client said
    before its own TLS is forgotten (RFC 3207 4.2). From TLS on, octet for octet what a client that comes straight says."""
    for mode, port in (("starttls", 2525), ("implicit", 2527)):
        lab = tls_lab(port="af_packet", backends=((HOST4, port),), extra=POOL % mode)
        make(lab.dir, "backend", host="ex.lab.example")
        with lab:
            kind = {"pair": lab.dir + "/backend", "implicit": mode == "implicit"}
            behind, direct = Tarpit(HOST4, port, **kind), Tarpit(HOST4, port + 1, **kind)
            client = Talk(VIP4, starttls=True)
            reference = Talk(HOST4, port + 1, starttls=mode == "starttls", implicit=mode == "implicit")
            took, least = client.took(), reference.took()
            assert took < least + SPARE, (mode, took, least)
            ours, theirs = served(behind)[0], served(direct)[0]
            assert ours.verbs() == theirs.verbs() and ours.count("EHLO") == (2 if mode == "starttls" else 1), ours.lines
            assert ours.octets[-1] == theirs.octets[-1], (ours.octets, theirs.octets)
            if mode == "starttls":
                assert ours.octets[0] == b"EHLO mx.lab.example\r\nSTARTTLS\r\n"
                assert theirs.octets[0].upper() == b"EHLO CLIENT.EXAMPLE\r\nSTARTTLS\r\n"
            assert lab.stats["leg_starttls_ehlo"] == (1 if mode == "starttls" else 0)
            nothing_of_ours(lab)
            quiet(lab)
            behind.close()
            direct.close()


class SlowHandshake:
    """A client that stops in its handshake, after its ClientHello went, for as long as wanted."""

    def __init__(self):
        self.s = socket.create_connection((VIP4, 25), timeout=60)
        self.f = self.s.makefile("rb")
        for line, good in ((None, b"220"), (b"EHLO before.example\r\n", b"250"), (b"STARTTLS\r\n", b"220")):
            if line is not None:
                self.s.sendall(line)
            while (answer := self.f.readline())[3:4] == b"-":
                pass
            assert answer.startswith(good), answer
        self.rx, self.tx = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = anybody().wrap_bio(self.rx, self.tx, server_hostname="mx.lab.example")
        self.step(self.tls.do_handshake)
        self.s.sendall(self.tx.read())

    def step(self, what):
        try:
            return what()
        except ssl.SSLWantReadError:
            return None

    def finish(self):
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.rx.write(self.s.recv(65536))
        self.s.sendall(self.tx.read())

    def ask(self, line):
        """The last line of the reply."""
        self.tls.write(line + b"\r\n")
        self.s.sendall(self.tx.read())
        said = b""
        while True:
            part = self.step(lambda: self.tls.read(65536))
            if part is None:
                self.rx.write(self.s.recv(65536))
                continue
            said += part
            last = said.split(b"\r\n")[-2] if said.endswith(b"\r\n") else b""
            if last[3:4] == b" ":
                return last


@waits
def case_connecting_and_greeting_hide_behind_the_handshake():
    """What a backend takes until it greets, and with STARTTLS towards it our EHLO too, is over before the client says the first
    thing in TLS, when its handshake takes as long (Z1)."""
    for mode in (None, "starttls"):
        lab = tls_lab(port="af_packet", extra=POOL % mode if mode else "")
        make(lab.dir, "backend", host="ex.lab.example")
        with lab:
            behind = Tarpit(HOST4, 2525, pair=lab.dir + "/backend" if mode else None, connect_delay=1.0, delays={"EHLO": 2.0})
            client = SlowHandshake()
            before = [] if mode is None else ["EHLO", "STARTTLS"]
            wait_for("the backend to be as far as it can be without the client",
                     lambda: len(behind.sessions) == 1 and behind.sessions[0].verbs() == before and
                     (lab.stats["leg_opened"] == 1 if mode is None else len(behind.sessions[0].octets) == 2), 30)
            if mode is None:
                wait_for("the greeting", lambda: time.monotonic() - behind.sessions[0].born > 1.5)
            client.finish()
            assert client.ask(b"EHLO client.example").startswith(b"250")
            assert client.ask(b"QUIT").startswith(b"221")
            lines = served_any(behind).lines
            assert [l for _, l in lines if not l.startswith("(")] == (["EHLO mx.lab.example", "STARTTLS"] if mode else []) + [
                "EHLO client.example", "QUIT"], lines
            client.s.close()
            nothing_of_ours(lab)
            quiet(lab)
            behind.close()


def served_any(tarpit):
    wait_for("the session to end", lambda: tarpit.sessions[0].closed, 20)
    return tarpit.sessions[0]
