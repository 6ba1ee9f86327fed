# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Backends that are told who the client is by a PROXY header, before anything else on the leg (X1, X2, X4, E1); what they say to
their greeting is said of the client ("Who is refused")."""

import contextlib
import os
import re
import smtplib
import socket
import ssl
import sys
import threading
import time

from cases_tarpit import SPARE, SlowHandshake, Talk, nothing_of_ours, served
from cases_tls import context
from certs import make, tls_lab
from headers import AUTHORITY, UNIQUE_ID, HeaderSink, HeaderTarpit
from lab import HOST4, HOST6, NET4, VIP4, VIP6, Control, Lab, Sink, sh, wait_for, waits
from mail import Raw, quiet

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
from postfix import Postfix
from tarpit import Tarpit

WAY = 'client_address = "proxy-v%d";'
MAIL = b"a: b\r\n\r\nc\r\n"


def mail_from(host):
    """Sends one; its client's own address and port, as the header must have them."""
    with smtplib.SMTP(host, 25, "client.example", 30) as s:
        s.ehlo("client.example")
        s.sendmail("s@example.com", ["r@example.com"], MAIL)
        return s.sock.getsockname()[:2]


@waits
def case_proxy_header_names_client_and_service():
    for version in (1, 2):
        with Lab(workers=2, port="af_packet", extra=WAY % version) as lab:
            sink = HeaderSink(2525)
            for host in (VIP4, VIP6, VIP4):
                client = mail_from(host)
                header = sink.headers[-1]
                assert header.version == version and header.client == client and header.local == (host, 25), (header.raw, client)
                assert header.tls() is None and AUTHORITY not in header.tlvs
            assert version == 1 or len({h.tlvs[UNIQUE_ID] for h in sink.headers}) == 3, "each session has its own"
            assert [t[0].upper() for t in sink.transcripts] == ["EHLO CLIENT.EXAMPLE"] * 3 and len(sink.bodies) == 3
            assert lab.stats["identity_proxy_v%d" % version] == 3 and lab.stats["identity_proxy_v%d" % (3 - version)] == 0
            nothing_of_ours(lab)
            quiet(lab)


def case_proxy_header_on_each_leg_of_a_session():
    """A message cut short takes the leg with it; the next mail's leg is told the same client."""
    with Lab(extra=WAY % 2) as lab:
        sink = HeaderSink(2525)
        raw = Raw()
        assert raw.ask("EHLO client.example").startswith("250")
        raw.ask("MAIL FROM:<a@b.example>")
        raw.ask("RCPT TO:<c@d.example>")
        raw.ask("DATA")
        assert raw.ask(b"bare\nline end\r\n.\r\n").startswith("550")  # its leg was reset
        assert raw.ask("MAIL FROM:<a@b.example>").startswith("250")
        assert raw.ask("QUIT").startswith("221")
        assert len(sink.headers) == 2
        assert sink.headers[0].client == sink.headers[1].client == raw.s.getsockname()
        raw.close()
        quiet(lab)


def probe_lab(version, backends):
    return Lab(backends=backends, extra=WAY % version + 'probe = { interval = "5s"; fall = 1; rise = 1; };')


def case_proxy_header_of_probes_and_test_mails_names_nobody():
    for version in (1, 2):
        with probe_lab(version, ((HOST4, 2525), ("[%s]" % HOST6, 2526))) as lab, Control(lab) as control:
            sinks = [HeaderSink(2525), HeaderSink(2526, addr=HOST6)]
            wait_for("both to be up", lambda: all(b["health"] == "up" and b["probe"]["result"] == "ok"
                                                  for b in control.backends().values()), 30)
            status, out, err = control.run("send-test", "inbound", "--from", "me@lab.example", "--to", "you@lab.example")
            assert status == 0, (out, err)
            assert [len(s.bodies) for s in sinks] == [1, 1]
            assert lab.stats["identity_proxy_local"] >= 3 and lab.stats["identity_proxy_v1"] + lab.stats["identity_proxy_v2"] == 0
            for sink, host, own in ((sinks[0], (HOST4, 2525), NET4 + "10"), (sinks[1], (HOST6, 2526), None)):
                for h in sink.headers:
                    assert h.version == version
                    if version == 2:
                        assert h.client is None and len(h.raw) == 16
                    else:  # some servers take no UNKNOWN
                        assert h.local == host and (own is None or h.client[0] == own), h.raw
            quiet(lab)


def case_proxy_header_tells_of_tls():
    """Sent when the handshake is over, so that what it says is so; of clients in plain text it says nothing of TLS."""
    lab = tls_lab('tls = { mode = "starttls-optional"; certificates = [ "mail" ]; client_certificates = "request"; ca = "%s/clients.pem"; };',
                  port="af_packet", extra=WAY % 2)
    for name in ("clients", "strangers"):
        make(lab.dir, name, host="client.example")
    lab.config = lab.config.replace("%s/clients.pem", lab.dir + "/clients.pem")
    lab.write_config(lab.config)
    with lab:
        sink = HeaderSink(2525)
        mail_from(VIP4)
        assert sink.headers[-1].tls() is None
        for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            for pair, flags, verify in ((None, 1, 1), ("strangers", 7, 1), ("clients", 7, 0)):
                s = smtplib.SMTP(VIP4, 25, "client.example", 30)
                s.ehlo()
                s._host = "mx.lab.example"
                s.starttls(context=context(lab, pair=pair and lab.dir + "/" + pair, version=version))
                s.ehlo()
                s.sendmail("s@example.com", ["r@example.com"], MAIL)
                cipher, client = s.sock.cipher()[0], s.sock.getsockname()
                s.quit()
                h = sink.headers[-1]
                assert h.client == client and h.local == (VIP4, 25)
                assert h.tls() == (flags, verify, name, cipher), (h.tls(), flags, verify, name, cipher)
                assert h.tlvs[AUTHORITY] == b"mx.lab.example"
        assert all([line[:4].upper() for line in t] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"] for t in sink.transcripts), sink.transcripts
        assert lab.stats["identity_proxy_v2"] == 7
        nothing_of_ours(lab)
        quiet(lab)


def case_proxy_header_of_a_session_resumed():
    """The certificate was shown where the TLS session began, not on this connection."""
    lab = tls_lab('tls = { mode = "implicit"; certificates = [ "mail" ]; client_certificates = "require"; ca = "%s/clients.pem"; };',
                  port="af_packet", extra=WAY % 2)
    make(lab.dir, "clients", host="client.example")
    lab.config = lab.config.replace("%s/clients.pem", lab.dir + "/clients.pem")
    lab.write_config(lab.config)
    with lab:
        sink, session = HeaderSink(2525), None
        c = context(lab, pair=lab.dir + "/clients", version=ssl.TLSVersion.TLSv1_2)
        for flags in (7, 5):
            s = c.wrap_socket(socket.create_connection((VIP4, 25), timeout=30), server_hostname="mx.lab.example", session=session)
            f = s.makefile("rb")
            assert f.readline().startswith(b"220") and s.session_reused == (flags == 5)
            session = s.session
            s.sendall(b"EHLO client.example\r\n")
            while f.readline()[3:4] == b"-":
                pass
            s.sendall(b"QUIT\r\n")
            assert f.readline().startswith(b"221")
            assert sink.headers[-1].tls()[:2] == (flags, 0), sink.headers[-1].tls()
            f.close()
            s.close()
        quiet(lab)


@waits
def case_proxy_header_v1_hides_behind_the_handshake():
    """It tells nothing of TLS, so its leg opens with the handshake; that of version 2 when it is over."""
    for version in (1, 2):
        with tls_lab(port="af_packet", extra=WAY % version) as lab:
            sink = HeaderSink(2525)
            client = SlowHandshake()
            if version == 1:
                wait_for("the leg in the client's handshake", lambda: len(sink.headers) == 1)
            else:
                time.sleep(1.0)
                assert lab.stats["leg_opened"] == 0, "nothing is known of its TLS yet"
            client.finish()
            assert client.ask(b"EHLO client.example").startswith(b"250")
            assert client.ask(b"QUIT").startswith(b"221")
            assert len(sink.headers) == 1 and (sink.headers[0].tls() is None) == (version == 1)
            assert sink.transcripts == [["EHLO client.example", "QUIT"]]
            client.s.close()
            nothing_of_ours(lab)
            quiet(lab)


@waits
def case_proxy_header_before_a_tarpit_adds_nothing():
    """E1: behind the header octet for octet what a client that comes straight says with the leg's own security, and no delay
    more."""
    for version, mode, port in ((1, None, 2525), (2, None, 2527), (2, "starttls", 2529), (2, "implicit", 2531)):
        extra = WAY % version + ('tls = { mode = "%s"; verify = "none"; };' % mode if mode else "")
        lab = tls_lab(port="af_packet", backends=((HOST4, port),), extra=extra)
        make(lab.dir, "backend", host="ex.lab.example")
        with lab:
            kind = {"pair": lab.dir + "/backend", "implicit": mode == "implicit"} if mode else {}
            behind, direct = HeaderTarpit(HOST4, port, **kind), Tarpit(HOST4, port + 1, **kind)
            clients = [Talk(host, starttls=True) for host in (VIP4, VIP6)]
            reference = Talk(HOST4, port + 1, starttls=mode == "starttls", implicit=mode == "implicit")
            took, least = [c.took() for c in clients], reference.took()
            theirs = served(direct)[0]
            for seconds, ours in zip(took, served(behind, 2)):
                assert seconds < least + SPARE, (version, mode, took, least)
                assert ours.octets[-1] == theirs.octets[-1] and ours.verbs() == theirs.verbs(), (ours.lines, theirs.lines)
                if mode == "starttls":
                    assert ours.octets[0] == b"EHLO mx.lab.example\r\nSTARTTLS\r\n"
            assert sorted(h.local[0] for h in behind.headers) == [VIP4, VIP6]
            nothing_of_ours(lab)
            quiet(lab)
            behind.close()
            direct.close()


def refusing(text):
    """Says this to whom it knows for a client."""
    return lambda verb, _: text if verb == "BANNER" else None


@waits
def case_a_backend_that_knows_the_client_refuses_it():
    """Relayed in place of the reply to EHLO, then the end; nobody else is asked, and nothing is held against the backend."""
    for text in ("554 5.7.1 mail from you is not wanted", "421 4.7.0 come later",
                 "550-5.7.1 you are listed\r\n550-5.7.1 see elsewhere\r\n550 5.7.1 good bye"):
        with Lab(backends=((HOST4, 2525), (HOST4, 2526)), extra=WAY % 2) as lab, Control(lab) as control:
            sinks = [HeaderSink(port, behave=refusing(text)) for port in (2525, 2526)]
            for i in range(6):
                raw = Raw()
                raw.say("EHLO client.example")
                said = [raw.f.readline().decode().rstrip("\r\n") for _ in text.split("\r\n")]
                assert said == text.split("\r\n"), said
                assert raw.f.readline() == b"", "it ends then"
                raw.close()
            assert len(sinks[0].headers) + len(sinks[1].headers) == 6, "one backend for each client"
            wait_for("sessions to end", lambda: lab.stats.sessions() == 0)
            assert all(t == ([] if text.startswith("421") else ["QUIT"]) for s in sinks for t in s.transcripts), [s.transcripts for s in sinks]
            assert lab.stats["identity_verdicts"] == 6 and lab.stats["identity_verdicts_cut"] == 0
            assert lab.stats["leg_refused"] == lab.stats["leg_retried"] == lab.stats["leg_source_address_refused"] == 0
            time.sleep(2.5)  # control judges once a second
            assert all(b["health"] != "down" for b in control.backends().values()), control.backends()
            quiet(lab)


def case_a_verdict_waits_for_the_clients_command():
    """QUIT still gets its 221, and one that comes before the verdict has its reply in the verdict."""
    with Lab(extra=WAY % 1) as lab:
        go = threading.Event()

        def behave(verb, _):
            if verb == "BANNER":
                go.wait(20)
                return "554 5.7.1 not you"
            return None
        sink = HeaderSink(2525, behave=behave)
        early, late = Raw(), Raw()
        early.say("EHLO client.example")
        wait_for("both legs", lambda: len(sink.headers) == 2)
        go.set()
        assert early.reply() == "554 5.7.1 not you"
        wait_for("the verdicts", lambda: lab.stats["identity_verdicts"] == 2)
        assert late.ask("QUIT").startswith("221")
        for raw in (early, late):
            raw.close()
        quiet(lab)


def case_a_refusal_too_long_to_be_kept_is_cut():
    with Lab(extra=WAY % 2) as lab:
        lines = ["554-5.7.1 " + "x" * 90] * 20 + ["554 5.7.1 end"]
        HeaderSink(2525, behave=refusing("\r\n".join(lines)))
        raw = Raw()
        raw.say("EHLO client.example")
        got = [raw.f.readline().decode().rstrip("\r\n") for _ in range(2)]
        assert got == [lines[0], "554 " + lines[0][4:]] and raw.f.readline() == b"", got
        raw.close()
        assert lab.stats["identity_verdicts_cut"] == 1
        quiet(lab)


def case_a_backend_refuses_the_ehlo_said_for_a_client():
    """STARTTLS was offered and not used: the EHLO is ours to say, and its refusal answers the pending verb."""
    with tls_lab(extra=WAY % 2) as lab:
        sink = HeaderSink(2525, behave=lambda verb, _: "550 5.7.1 not under that name" if verb == "EHLO" else None)
        raw = Raw()
        assert raw.ask("EHLO client.example").startswith("250")
        assert raw.ask("MAIL FROM:<a@b.example>") == "550 5.7.1 not under that name"
        assert raw.f.readline() == b""
        raw.close()
        quiet(lab)
        assert sink.transcripts == [["EHLO client.example", "QUIT"]], sink.transcripts


def case_an_unknown_clients_refusal_goes_to_the_next_backend():
    """With an address of ours it is ours that is refused: as before."""
    with Lab(backends=((HOST4, 2525), (HOST4, 2526))) as lab:
        Sink(2525, behave=refusing("554 5.7.1 not you"))
        sink = Sink(2526)
        for _ in range(4):
            mail_from(VIP4)
        assert len(sink.bodies) == 4 and lab.stats["identity_verdicts"] == 0 and lab.stats["leg_source_address_refused"] > 0
        quiet(lab)


def case_proxy_header_in_passthrough():
    """The header, then the two ends' own octets; a refusal passes as it comes."""
    for version in (1, 2):
        with Lab(backends=((HOST4, 2525),), extra=WAY % version, service='tls = { mode = "passthrough"; };') as lab:
            sink = HeaderSink(2525)
            client = mail_from(VIP4)
            h = sink.headers[-1]
            assert (h.version, h.client, h.local) == (version, client, (VIP4, 25))
            assert sink.transcripts[0][0].upper() == "EHLO CLIENT.EXAMPLE"
            quiet(lab)
    with Lab(backends=((HOST4, 2525), (HOST4, 2526)), extra=WAY % 2, service='tls = { mode = "passthrough"; };') as lab:
        for port in (2525, 2526):
            HeaderSink(port, behave=refusing("554 5.7.1 not you"))
        for _ in range(4):
            raw = Raw(banner=False)
            assert raw.reply() == "554 5.7.1 not you"
            assert raw.ask("QUIT").startswith("221")
            raw.close()
        assert lab.stats["leg_retried"] == 0 and lab.stats["leg_source_address_refused"] == 0 and lab.stats["identity_verdicts"] == 4
        quiet(lab)


def case_a_rule_has_its_own_way_to_name_clients():
    """Of the same backend one listener wants a header: told apart by the source address."""
    lab = Lab(extra=WAY % 1, service='rules = ( { from = "printers"; client_address = "proxy-v2"; } );')
    lab.config = lab.config.replace("pools = {", 'networks = { printers = [ "%s7/32" ]; };\npools = {' % NET4, 1)
    lab.write_config(lab.config)
    with lab:
        sh("ip", "addr", "add", NET4 + "7/24", "dev", "mr0")
        sink = HeaderSink(2525)
        for source, version in ((NET4 + "7", 2), (HOST4, 1)):
            raw = Raw(source=source)
            assert raw.ask("EHLO client.example").startswith("250") and raw.ask("QUIT").startswith("221")
            assert sink.headers[-1].version == version and sink.headers[-1].client[0] == source
            raw.close()
        quiet(lab)


@contextlib.contextmanager
def address(addr):
    sh("ip", "addr", "add", addr + "/32", "dev", "lo")
    try:
        yield addr
    finally:
        sh("ip", "addr", "del", addr + "/32", "dev", "lo")


def log_of(server):
    try:
        with open(server.dir + "/log", encoding="utf-8") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def postfix_knows(way, more, service="", make_lab=Lab):
    """A real Postfix logs the client's own address and port, takes its mail, and refuses the client by its own address."""
    backend = NET4 + "51"
    with make_lab(port="af_packet", backends=((backend, 25),), extra=way + 'probe = { interval = "5s"; fall = 1; rise = 1; };', service=service) as lab, \
            Control(lab) as control, address(backend):
        sh("ip", "addr", "add", NET4 + "7/24", "dev", "mr0")
        server = Postfix("mx0", backend, lab.dir, "lab.example", more=more + """smtpd_client_port_logging = yes
smtpd_delay_reject = no
smtpd_client_restrictions = check_client_access inline:{ { %s7 = 554 5.7.1 your host is not wanted } }
smtpd_client_connection_count_limit = 0
""" % NET4)
        server.run("start")
        try:
            wait_for("the probe", lambda: control.backends()["b0"]["health"] == "up" and control.backends()["b0"]["probe"]["result"] == "ok", 40)
            with smtplib.SMTP(VIP4, 25, "client.example", 30) as s:
                if service:
                    s.ehlo()
                    s._host = "mx.lab.example"
                    s.starttls(context=context(lab))
                s.ehlo()
                s.sendmail("s@example.com", ["r@lab.example"], b"Subject: x\r\n\r\nbody\r\n")
                port = s.sock.getsockname()[1]
            wait_for("the log", lambda: re.search(r"client=unknown\[%s\]:%d" % (re.escape(HOST4), port), log_of(server)), 20)
            wait_for("the mail", lambda: os.path.exists(server.dir + "/mail/box"), 20)
            with open(server.dir + "/mail/box", encoding="utf-8") as f:
                assert re.search(r"Received: from client.example \(unknown \[%s\]\)" % re.escape(HOST4), f.read()), "its Received names the client"
            raw = Raw(source=NET4 + "7")
            if service:
                raw.close()
            else:
                said = raw.ask("EHLO client.example")
                assert said.startswith("554 5.7.1") and "your host is not wanted" in said, said
                assert raw.f.readline() == b""
                raw.close()
                assert lab.stats["identity_verdicts"] == 1
            status, out, err = control.run("send-test", "inbound", "--from", "me@lab.example", "--to", "you@lab.example")
            assert status == 0, (out, err)
            nothing_of_ours(lab)
            quiet(lab)
            assert "lost connection" not in log_of(server) and "timeout" not in log_of(server), log_of(server)
        finally:
            server.run("stop", check=False)


def case_postfix_learns_the_client_by_proxy_v1():
    postfix_knows(WAY % 1, "smtpd_upstream_proxy_protocol = haproxy\n")


def case_postfix_learns_the_client_by_proxy_v2():
    postfix_knows(WAY % 2, "smtpd_upstream_proxy_protocol = haproxy\n")


def case_postfix_learns_the_client_by_proxy_v2_behind_starttls():
    postfix_knows(WAY % 2, "smtpd_upstream_proxy_protocol = haproxy\n", 'tls = { mode = "starttls-required"; certificates = [ "mail" ]; };', tls_lab)
