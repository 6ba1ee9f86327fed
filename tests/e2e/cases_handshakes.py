# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Handshakes that may not begin, or not go on: limits of a client, what may be said before TLS, ClientHellos that never end."""

import os
import smtplib
import socket
import ssl
import struct
import subprocess
import time

from cases_tls import SecureSink
from certs import make, tls_lab
from lab import HOST4, VIP4, Control, Sink, sh, wait_for, waits
from mail import Raw, quiet, send

MAIL = b"a: b\r\n\r\nc\r\n"
TLS = 'tls = { mode = "%s"; certificates = [ "mail" ]; }; limits = { %s };'


def insecure():
    c = ssl.create_default_context()
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    return c


def client_hello():
    """A whole one, as a client of today sends it."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        insecure().wrap_bio(into, out, server_hostname="mx.lab.example").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def begin(source=None):
    """A client that was told 220 to STARTTLS, and stops there."""
    c = Raw(source=source)
    assert c.ask("EHLO c.example").startswith("250")
    assert c.ask("STARTTLS").startswith("220"), "STARTTLS"
    return c


def held(c, seconds=0.5):
    """Nothing comes for so long."""
    c.s.settimeout(seconds)
    try:
        raise AssertionError("an answer: %r" % c.s.recv(100))
    except TimeoutError:
        c.s.settimeout(20)


def send_tls(body=MAIL, source=None):
    with smtplib.SMTP(VIP4, 25, "client.example", 60, source_address=source and (source, 0)) as s:
        s.starttls(context=insecure())
        s.sendmail("s@example.com", ["r@example.com"], body)


def other_address():
    sh("ip", "addr", "add", "10.77.0.99/24", "dev", "mr0")
    return "10.77.0.99"


def case_starttls_over_a_clients_limit_is_held():
    with tls_lab(TLS % ("starttls-optional", 'tls_handshakes_per_client = 2; tls_queue_timeout = "3s";'), port="af_packet", workers=2) as lab:
        sink = Sink(2525)
        other = other_address()
        first, second = begin(), begin()
        third = Raw()
        third.ask("EHLO c.example")
        third.say("STARTTLS")
        held(third)
        send_tls(source=other)  # the limit is that of one address
        send(MAIL)  # nor is mail without TLS
        assert lab.stats["tls_held"] == 1 and lab.stats["tls_held_client"] == 1
        first.close()
        assert third.reply().startswith("220"), "its turn"
        s = insecure().wrap_socket(third.s, server_hostname="mx.lab.example")
        s.sendall(b"EHLO c.example\r\n")
        assert s.recv(1000).startswith(b"250")  # the handshake is over and counts no more
        fourth = begin()
        # one too many for longer than tls_queue_timeout
        start = time.monotonic()
        fifth = Raw()
        fifth.ask("EHLO c.example")
        answer = fifth.ask("STARTTLS")
        assert answer.startswith("421 4.7.0"), answer
        assert 2.5 < time.monotonic() - start, "held"
        assert fifth.f.read() == b""
        # injected while it is held: refused all the same (S6)
        sixth = Raw()
        sixth.ask("EHLO c.example")
        sixth.say("STARTTLS")
        held(sixth, 0.2)
        sixth.say("MAIL FROM:<a@b.example>")
        second.close()
        answer = sixth.reply()
        assert answer.startswith("554 5.5.0"), answer
        # and one that leaves while it is held
        seventh, eighth = begin(), Raw()
        eighth.ask("EHLO c.example")
        eighth.say("STARTTLS")
        held(eighth, 0.2)
        for c in (fourth, fifth, sixth, seventh, eighth):
            c.close()
        s.close()
        send_tls()
        assert sink.bodies == [MAIL] * 3 and lab.stats["tls_held"] == 0 and lab.stats["smtp_reply_tls_busy"] == 1
        quiet(lab)


def case_starttls_over_a_limit_is_refused_where_told():
    with tls_lab(TLS % ("starttls-optional", 'tls_handshakes_per_client = 1; tls_overflow = "plaintext";'), port="af_packet") as lab:
        sink = Sink(2525)
        first, second = begin(), Raw()
        second.ask("EHLO c.example")
        for _ in range(2):
            assert second.ask("STARTTLS").startswith("454 4.7.0")
        for line, code in (("MAIL FROM:<a@b.example>", "250"), ("RCPT TO:<c@d.example>", "250"), ("DATA", "354"), ("x\r\n.", "250"), ("QUIT", "221")):
            assert second.ask(line).startswith(code), line
        assert sink.bodies == [b"x\r\n"] and lab.stats["smtp_reply_tls_overflow"] == 2 and lab.stats["tls_held"] == 0
        first.close()
        wait_for("the handshake to be given up", lambda: lab.stats["tls_handshakes_now"] == 0)
        send_tls()
        second.close()
        quiet(lab)


def case_a_client_begins_so_many_handshakes_a_second():
    with tls_lab(TLS % ("starttls-optional", "tls_handshakes_per_second = 5;"), port="af_packet", workers=2) as lab:
        sink = Sink(2525)
        other = other_address()
        start = time.monotonic()
        for i in range(16):
            send_tls()
        took = time.monotonic() - start
        print("16 handshakes at 5 a second: %.1f s" % took)
        assert took > 1.9, took  # 5 at once, then no more than 5 a second
        assert lab.stats["tls_held_client"] > 0 and lab.stats["smtp_reply_tls_busy"] == 0
        send_tls(source=other)
        assert len(sink.bodies) == 17
        quiet(lab)


def case_implicit_tls_over_a_limit_waits_then_ends():
    with tls_lab(TLS % ("implicit", 'tls_handshakes_per_client = 1; tls_queue_timeout = "3s";'), port="af_packet") as lab:
        Sink(2525)
        hello = client_hello()
        first, second = (socket.create_connection((VIP4, 25), timeout=20) for _ in range(2))
        first.sendall(hello[:50])
        wait_for("the first", lambda: lab.stats["tls_handshakes_now"] == 1)
        second.sendall(hello)
        assert second.recv(100) == b"", "ended without a word: nothing can be said before TLS"
        assert lab.stats["tls_handshake_held"] == 1
        second.close()
        third = socket.create_connection((VIP4, 25), timeout=20)
        third.sendall(hello)
        wait_for("the third", lambda: lab.stats["tls_held"] == 1)
        first.close()
        assert third.recv(1) == b"\x16", "its turn"
        third.close()
        wait_for("sessions to end", lambda: lab.stats.sessions() == 0, 30)


def case_what_is_said_before_tls_is_bounded():
    for mode, more in (("starttls-optional", b""), ("starttls-required", b"BDAT 999999999999\r\n")):
        with tls_lab(TLS % (mode, ""), port="af_packet") as lab:
            Sink(2525)
            c = Raw()
            said, answer = 0, "250"
            while answer.startswith("250") and said < 200000:
                answer = c.ask(b"NOOP " + b"x" * 400 + b"\r\n")
                said += 407
            assert answer.startswith("421 4.7.0") and 65000 < said < 66000, (answer, said)
            assert c.f.read() == b""
            endless = Raw()
            endless.s.setblocking(True)
            try:  # a line without an end
                for _ in range(50):
                    endless.s.sendall(b"y" * 10000)
            except OSError:
                pass
            else:
                answers = [endless.reply(), endless.reply()]  # 500 as soon as it is too long
                assert answers[1].startswith("421 4.7.0"), answers
            if more:
                b = Raw()
                assert b.ask(more[:-2].decode()).startswith("421 4.7.0"), "octets of a chunk that nobody will have"
                b.close()
            assert lab.stats["smtp_reply_tls_clear"] == (3 if more else 2)
            for x in (c, endless):
                x.close()
            quiet(lab)


def ended(c, seconds):
    """How long until the server ends the connection; what it said before."""
    c.s.settimeout(seconds)
    start, said = time.monotonic(), b""
    while True:
        try:
            data = c.s.recv(4096)
        except ConnectionError:
            data = b""
        if not data:
            return time.monotonic() - start, said
        said += data


@waits
def case_a_context_is_taken_for_a_whole_client_hello_only():
    hello = client_hello()
    with tls_lab(TLS % ("starttls-optional", ""), port="af_packet") as lab:
        Sink(2525)
        # larger than 16 KiB, in as many records: refused as soon as it says so, no context is taken
        huge = begin()
        huge.s.sendall(b"\x16\x03\x01\x40\x00" + b"\x01" + (17000).to_bytes(3, "big") + os.urandom(16380))
        _, said = ended(huge, 20)
        assert said[:1] == b"\x15", said
        # at a byte each second, and never whole: ten seconds
        slow, whole = begin(), begin()
        start = time.monotonic()
        slow.s.sendall(hello[:-1])
        time.sleep(0.5)
        assert lab.stats["tls_contexts"] == 0, "for half a ClientHello"
        # whole, but then no Finished: thirty seconds from STARTTLS on, and a context while it lasts
        whole.s.sendall(hello)
        wait_for("the context", lambda: lab.stats["tls_contexts"] == 1)
        ended(slow, 20)
        assert 9 < time.monotonic() - start < 25, time.monotonic() - start
        assert lab.stats["tls_handshake_timeout"] == 1
        ended(whole, 60)
        assert 29 < time.monotonic() - start < 60, time.monotonic() - start
        assert lab.stats["tls_handshake_timeout"] == 2 and lab.stats["tls_contexts"] == 0
        # ends of clients in the middle: FIN and RST
        for cut in (0, 1, 5, 100, len(hello) - 1, len(hello)):
            for linger in (False, True):
                c = begin()
                c.s.sendall(hello[:cut])
                if linger:
                    c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                c.close()
        for x in (huge, slow, whole):
            x.close()
        quiet(lab)
        assert lab.stats["tls_handshakes_now"] == 0 and lab.stats["tls_contexts"] == 0


def case_handshakes_given_up_before_their_batch_is_done():
    """A hello and the reset behind it, in one turn: the work that waits for a batch is done and let go of, though nobody else waits."""
    hello = client_hello()
    for _ in range(3):
        with tls_lab(TLS % ("starttls-optional", ""), port="af_packet") as lab:
            Sink(2525)
            for _ in range(4):
                c = begin()
                c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                c.s.sendall(hello)
                c.close()
            quiet(lab)
            wait_for("the connections to be missed", lambda: lab.stats["session_client_gone"] == 4)


def tls_session(version, group, name, ciphers=None):
    """A client in TLS, at its EHLO."""
    c = insecure()
    c.minimum_version = c.maximum_version = version
    c.set_ecdh_curve(group)
    if ciphers:
        c.set_ciphers(ciphers)
    raw = begin()
    s = c.wrap_socket(raw.s, server_hostname=name)
    s.sendall(b"EHLO c.example\r\n")
    assert s.recv(1000).startswith(b"250")
    return s


def case_tls_of_both_legs_is_told():
    lab = tls_lab(TLS % ("starttls-optional", ""), port="af_packet", extra='tls = { mode = "implicit"; verify = "none"; name = "ex.lab.example"; };')
    make(lab.dir, "backend")
    with lab, Control(lab) as control:
        SecureSink(2525, lab.dir + "/backend")
        v12, v13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
        ways = ((v13, "X25519", "mx.lab.example", None, ("1.3", "X25519", True)), (v13, "secp384r1", "no.such.name", None, ("1.3", "P-384", False)),
                (v12, "prime256v1", "mx.lab.example", "ECDHE-ECDSA-AES256-GCM-SHA384", ("1.2", "P-256", True)),
                (v12, "prime256v1", None, "ECDHE-ECDSA-CHACHA20-POLY1305", ("1.2", "P-256", False)))
        open_now = []
        for version, group, name, ciphers, told in ways:
            s = tls_session(version, group, name, ciphers)
            port = s.getsockname()[1]
            me = str(next(x["id"] for x in control.json("show", "sessions")["sessions"] if x["client"].endswith(":%d" % port)))
            client, backend = control.json("show", "session", me)["connections"]
            assert (client["tls"], client["tls_group"], client["server_name_known"]) == told, client
            assert client.get("server_name") == name, client
            assert client["tls_suite"] == (s.cipher()[0] if version == v13 else client["tls_suite"]) != "unknown", client
            assert backend["tls"] == "1.3" and backend["server_name"] == "ex.lab.example" and backend["tls_suite"].startswith("TLS_"), backend
            out = control.run("show", "session", me)[1]
            assert client["tls_suite"] in out and "SERVER-NAME" in out, out
            open_now.append(s)
        shaking = begin()
        port = shaking.s.getsockname()[1]
        me = str(next(x["id"] for x in control.json("show", "sessions")["sessions"] if x["client"].endswith(":%d" % port)))
        assert control.json("show", "session", me)["connections"][0]["tls"] == "handshake"
        shaking.close()
        for s in open_now:
            s.sendall(b"QUIT\r\n")
            s.close()
        count = lambda *names: tuple(lab.stats["tls_" + n] for n in names)
        assert count("server_handshakes_1_2", "server_handshakes_1_3") == (2, 2)
        assert count("server_x25519", "server_p256", "server_p384", "server_group_unknown") == (1, 2, 1, 0)
        assert count("sni_known", "sni_unknown", "sni_none") == (2, 1, 1)
        assert sum(count("server_aes_128_gcm", "server_aes_256_gcm", "server_chacha20_poly1305")) == 4
        assert sum(count(*("batches_of_%d" % i for i in range(1, 9)))) > 0
        wait_for("sessions to end", lambda: lab.stats.sessions() == 0, 60)


def case_a_libmbedtls_that_calls_other_functions():
    """Linked so that nothing is redirected: mail with TLS goes on, it is told, and fatal where that is wanted."""
    lab = tls_lab(TLS % ("starttls-optional", ""), port="af_packet")
    lab.binary += "-unhooked"
    with lab:
        sink = Sink(2525)
        assert "TLS engine: builtin: A FASTER ONE FAILED ITS TESTS" in lab.read_log() and lab.stats["tls_engine_degraded"] == 1
        for _ in range(5):
            send_tls()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            tls_session(version, "prime256v1", "mx.lab.example").close()
        assert len(sink.bodies) == 5 and lab.stats["tls_server_group_unknown"] == 7
        quiet(lab, 60)
    lab = tls_lab(TLS % ("starttls-optional", ""))
    lab.write_config(lab.config.replace("dataplane = {", "dataplane = { tls_engine_strict = true;", 1))
    r = subprocess.run([lab.binary + "-unhooked", "-c", lab.dir + "/mailrace.conf"], capture_output=True, text=True, timeout=60, check=False)
    assert r.returncode == 71 and "tls_engine_strict" in r.stderr, (r.returncode, r.stderr)
