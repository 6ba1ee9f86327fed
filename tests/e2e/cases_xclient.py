# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Backends that are told who the client is by XCLIENT (X7-X10)."""

import os
import sys
import time

from cases_identity import address, mail_from, postfix_knows
from cases_tarpit import SPARE, SlowHandshake, Talk, nothing_of_ours, served
from certs import make, tls_lab
from lab import HOST4, NET4, VIP4, VIP6, Control, Lab, Sink, wait_for, waits
from mail import Raw, quiet

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
from postfix import Postfix
from tarpit import KEYWORDS, Tarpit

XCLIENT = 'client_address = "xclient";'
OFFER = "XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT"
OURS = "EHLO mx.lab.example"


def behaving(reply="220 sink ESMTP"):
    return lambda verb, _: reply if verb == "XCLIENT" else None


def sink_of(port=2525, offer=OFFER, reply="220 sink ESMTP"):
    return Sink(port, behave=behaving(reply), keywords=("PIPELINING", "8BITMIME", offer, "SIZE 100000000"))


def told(client, host, more=""):
    six = "IPV6:" if ":" in host else ""
    return "XCLIENT NAME=[UNAVAILABLE] PORT=%d%s DESTADDR=%s%s DESTPORT=25 ADDR=%s%s" % (client[1], more, six, host, six, client[0])


def case_xclient_names_the_client():
    for reply in ("220 sink ESMTP", "250 2.0.0 ok"):
        with Lab(workers=2, port="af_packet", extra=XCLIENT) as lab:
            sink = sink_of(reply=reply)
            for host in (VIP4, VIP6):
                client = mail_from(host)
                t = sink.transcripts[-1]
                assert t[:2] == [OURS, told(client, host)], t
                assert [line[:4].upper() for line in t[2:]] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"], t
            assert lab.stats["identity_ehlo_before_xclient"] == lab.stats["identity_xclient_for_client"] == 2
            nothing_of_ours(lab)
            quiet(lab)


def case_xclient_says_only_what_is_offered():
    for offer, want in (("XCLIENT ADDR", "XCLIENT ADDR=%s"), ("XCLIENT NAME ADDR LOGIN", "XCLIENT NAME=[UNAVAILABLE] ADDR=%s")):
        with Lab(extra=XCLIENT) as lab:
            sink = sink_of(offer=offer)
            client = mail_from(VIP4)
            assert sink.transcripts[0][1] == want % client[0], sink.transcripts
            raw = Raw()
            raw.say("EHLO client.example")
            shown = []
            while not shown or shown[-1][3:4] == b"-":
                shown.append(raw.f.readline())
            assert not any(b"XCLIENT" in line for line in shown), "clients are not shown it"
            assert raw.ask("XCLIENT ADDR=192.0.2.1").startswith("500"), "and may not say it"
            assert raw.ask("QUIT").startswith("221")
            raw.close()
            quiet(lab)


def case_xclient_that_is_not_offered_or_refused():
    """The backend is left, with an alarm; a client never goes under our address."""
    for first, counter in ((dict(offer="DSN"), "no_xclient"), (dict(offer="XCLIENT NAME PORT"), "no_xclient"),
                           (dict(reply="550 5.7.0 Error: insufficient authorization"), "xclient_refused"),
                           (dict(reply="501 5.5.4 Bad"), "xclient_refused")):
        with Lab(backends=((HOST4, 2525), (HOST4, 2526)), extra=XCLIENT) as lab, Control(lab) as control:
            bad, good = sink_of(2525, **first), sink_of(2526)
            for _ in range(4):
                mail_from(VIP4)
            assert len(good.bodies) == 4 and not bad.bodies and lab.stats["identity_" + counter] >= 1, first
            assert all("client.example" not in line for t in bad.transcripts for line in t), "nothing of the client reached it"
            wait_for("the alarm", lambda: "XCLIENT is not offered to us, or refused" in control.read_log())
            quiet(lab)
    with Lab(extra=XCLIENT) as lab:  # and no other
        sink_of(offer="DSN")
        raw = Raw()
        assert raw.ask("EHLO client.example").startswith("421")
        raw.close()
        quiet(lab)


def case_xclient_refused_for_the_client():
    """What the server holds against the client it names is the client's."""
    for text in ("554 5.7.1 client host rejected", "550 5.7.1 client host rejected", "450 4.7.1 come later", "421 4.7.0 too many"):
        with Lab(backends=((HOST4, 2525), (HOST4, 2526)), extra=XCLIENT) as lab:
            sinks = [sink_of(port, reply=text) for port in (2525, 2526)]
            for _ in range(4):
                raw = Raw()
                assert raw.ask("EHLO client.example") == text
                assert raw.f.readline() == b""
                raw.close()
            assert sum(len(s.transcripts) for s in sinks) == 4, "no other backend is asked"
            assert lab.stats["identity_verdicts"] == 4 and lab.stats["leg_retried"] == lab.stats["identity_xclient_refused"] == 0
            quiet(lab)
    with Lab(backends=((HOST4, 2525), (HOST4, 2526)), extra=XCLIENT) as lab:  # before it is told, it knows us only
        Sink(2525, behave=lambda verb, _: "554 5.7.1 not you" if verb == "BANNER" else None)
        good = sink_of(2526)
        for _ in range(4):
            mail_from(VIP4)
        assert len(good.bodies) == 4 and lab.stats["identity_verdicts"] == 0
        quiet(lab)


@waits
def case_xclient_hides_behind_the_clients_handshake():
    """EHLO and XCLIENT of ours are over before the client says the first thing in TLS; with STARTTLS towards the backend too."""
    for mode in (None, "starttls"):
        lab = tls_lab(port="af_packet", extra=XCLIENT + ('tls = { mode = "%s"; verify = "none"; };' % mode if mode else ""))
        make(lab.dir, "backend", host="ex.lab.example")
        with lab:
            behind = XclientTarpit(HOST4, 2525, pair=lab.dir + "/backend" if mode else None, delays={"EHLO": 1.0})
            client = SlowHandshake()
            before = ["EHLO", "XCLIENT"] if mode is None else ["EHLO", "STARTTLS", "EHLO", "XCLIENT"]
            wait_for("the backend to be told", lambda: behind.sessions and behind.sessions[0].verbs() == before, 30)
            client.finish()
            assert client.ask(b"EHLO client.example").startswith(b"250")
            assert client.ask(b"QUIT").startswith(b"221")
            wait_for("the session to end", lambda: behind.sessions[0].closed, 20)
            assert behind.sessions[0].verbs() == before + ["EHLO", "QUIT"]
            client.s.close()
            nothing_of_ours(lab)
            quiet(lab)
            behind.close()


class XclientTarpit(Tarpit):
    def reply(self, verb, in_tls):
        if verb == "EHLO":
            words = KEYWORDS + (OFFER,) + (("STARTTLS",) if self.tls is not None and not in_tls else ())
            return "".join("250-%s\r\n" % w for w in ("tarpit",) + words[:-1]).encode() + b"250 %s\r\n" % words[-1].encode()
        return super().reply(verb, in_tls)


@waits
def case_xclient_before_a_tarpit():
    """E1: behind the reply to XCLIENT octet for octet what a client that comes straight says; and no wait but for the EHLO that it
    costs, which a client in its handshake does not wait for."""
    with tls_lab(port="af_packet", extra=XCLIENT) as lab:
        behind, direct = XclientTarpit(HOST4, 2525), XclientTarpit(HOST4, 2526)
        client, reference = Talk(VIP4, starttls=True), Talk(HOST4, 2526)
        took, least = client.took(), reference.took()
        ours, theirs = served(behind)[0], served(direct)[0]
        head, _, rest = ours.octets[-1].partition(b"\r\nXCLIENT ")
        assert head == b"EHLO mx.lab.example"
        assert rest[rest.index(b"\r\n") + 2:] == theirs.octets[-1], (ours.octets, theirs.octets)
        assert took < least + 5.0 + SPARE, "one EHLO more, and nothing else"
        assert lab.stats["identity_ehlo_before_xclient"] == 1
        nothing_of_ours(lab)
        quiet(lab)
        behind.close()
        direct.close()


def case_xclient_on_a_later_leg_knows_the_name():
    """Where the EHLO was said before the leg opened it goes along: after a body that cost the leg, and without the STARTTLS that was
    offered."""
    with tls_lab(extra=XCLIENT) as lab:
        sink = sink_of()
        for verb, proto in (("EHLO", "ESMTP"), ("HELO", "SMTP")):
            raw = Raw()
            assert raw.ask(verb + " client+one.example").startswith("250")
            raw.ask("MAIL FROM:<a@b.example>")
            raw.ask("RCPT TO:<c@d.example>")
            raw.ask("DATA")
            assert raw.ask(b"bare\nline end\r\n.\r\n").startswith("550")
            assert raw.ask("MAIL FROM:<a@b.example>").startswith("250")
            assert raw.ask("QUIT").startswith("221")
            legs = sink.transcripts[-2:]
            for t in legs:
                assert t[:3] == [OURS, told(raw.s.getsockname(), VIP4, " PROTO=%s HELO=client+2Bone.example" % proto), verb + " client+one.example"], t
            raw.close()
        assert lab.stats["synthetic_ehlo_leg_reopened"] == lab.stats["synthetic_helo_leg_reopened"] == 1
        quiet(lab)


def case_xclient_of_a_client_that_goes():
    """It does not wait for the reply; the leg does, and says QUIT."""
    with Lab(extra=XCLIENT) as lab:
        def behave(verb, _):
            if verb in ("EHLO", "XCLIENT"):
                time.sleep(1.0)
            return "220 sink ESMTP" if verb == "XCLIENT" else None
        sink = Sink(2525, behave=behave, keywords=("PIPELINING", OFFER))
        for wait in (0.5, 1.5):  # in the EHLO, in XCLIENT
            raw = Raw()
            time.sleep(wait)
            raw.close()
        wait_for("both to be left", lambda: len(sink.transcripts) == 2 and all(t[-1:] == ["QUIT"] for t in sink.transcripts), 20)
        assert sink.transcripts[0] == [OURS, "QUIT"] and [line.split(" ")[0] for line in sink.transcripts[1]] == ["EHLO", "XCLIENT", "QUIT"]
        quiet(lab)


def case_postfix_learns_the_client_by_xclient():
    postfix_knows(XCLIENT, "smtpd_authorized_xclient_hosts = %s10\n" % NET4)


def case_postfix_that_does_not_let_us_say_xclient():
    backend = NET4 + "51"
    with Lab(port="af_packet", backends=((backend, 25),), extra=XCLIENT) as lab, address(backend):
        server = Postfix("mx0", backend, lab.dir, "lab.example")
        server.run("start")
        try:
            raw = Raw()
            assert raw.ask("EHLO client.example").startswith("421")
            raw.close()
            assert lab.stats["identity_no_xclient"] >= 1
            quiet(lab)
        finally:
            server.run("stop", check=False)
