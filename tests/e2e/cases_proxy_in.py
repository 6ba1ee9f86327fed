# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Other proxies in front of us: their connections begin with a PROXY header, and the client is whom it names (X6)."""

import os
import smtplib
import socket
import ssl
import sys
import tempfile
import time

from cases_identity import WAY
from cases_tls import context
from certs import tls_lab
from headers import HeaderSink, connect, local, tlv, v1, v2
from lab import HOST4, HOST6, NET4, VIP4, VIP6, Control, Lab, Sink, sh, wait_for
from mail import Raw, quiet

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
from peers import Peer

FROM = 'proxy_protocol_from = [ "proxies" ];'
OTHER = NET4 + "7"
CLIENT, CLIENT6 = ("192.0.2.77", 4711), ("2001:db8::77", 4712)
SERVICE, SERVICE6 = ("203.0.113.25", 25), ("2001:db8:25::25", 25)


def front_lab(service=FROM, make=Lab, networks="", **kind):
    lab = make(service=service, **kind)
    lab.config = lab.config.replace("pools = {", 'networks = { proxies = [ "%s/32", "%s/128" ]; %s };\npools = {' % (HOST4, HOST6, networks), 1)
    lab.write_config(lab.config)
    return lab


class Front:
    """A dialogue behind these octets."""

    def __init__(self, first, host=VIP4, banner=True):
        self.s, self.f = connect(host, first)
        if banner:
            assert self.reply().startswith("220")

    def reply(self):
        while (line := self.f.readline().decode("latin1"))[3:4] == "-":
            pass
        return line.strip()

    def ask(self, line):
        self.s.sendall(line.encode() + b"\r\n")
        return self.reply()

    def mail(self):
        assert self.ask("EHLO client.example").startswith("250")
        for line, code in (("MAIL FROM:<a@b.example>", "250"), ("RCPT TO:<c@d.example>", "250"), ("DATA", "354"), ("a: b\r\n\r\nc\r\n.", "250")):
            assert self.ask(line).startswith(code)

    def close(self):
        self.f.close()
        self.s.close()


def case_proxy_in_names_the_client():
    with front_lab(workers=2, port="af_packet", extra=WAY % 2) as lab, Control(lab) as control:
        sink = HeaderSink(2525)
        for header, host, client, service in ((v1(CLIENT, SERVICE), VIP4, CLIENT, SERVICE), (v2(CLIENT, SERVICE), VIP4, CLIENT, SERVICE),
                                              (v1(CLIENT6, SERVICE6), VIP6, CLIENT6, SERVICE6), (v2(CLIENT6, SERVICE6, tlv(0xe0, b"x" * 3000)), VIP4, CLIENT6, SERVICE6),
                                              (v2(CLIENT, SERVICE, checksum=False), VIP6, CLIENT, SERVICE)):
            f = Front(header, host)
            f.mail()
            assert client[0] in control.run("show", "sessions")[1]
            assert f.ask("QUIT").startswith("221")
            f.close()
            assert sink.headers[-1].client == client and sink.headers[-1].local == service, sink.headers[-1].raw
        assert lab.stats["proxy_in_headers_v1"] == 2 and lab.stats["proxy_in_headers_v2"] == 3 and len(sink.bodies) == 5
        quiet(lab)


def case_proxy_in_local_and_unknown_are_the_proxys_own():
    with front_lab(extra=WAY % 1) as lab:
        sink = HeaderSink(2525)
        for header in (local(), local(b"junk"), b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN a b c\r\n"):
            f = Front(header)
            f.mail()
            assert sink.headers[-1].client == f.s.getsockname() and sink.headers[-1].local == (VIP4, 25)
            assert f.ask("QUIT").startswith("221")
            f.close()
        assert lab.stats["proxy_in_headers_own"] == 4
        quiet(lab)


def case_proxy_in_from_octet_to_octet_and_all_at_once():
    with front_lab() as lab:
        sink = Sink(2525)
        for header in (v1(CLIENT, SERVICE), v2(CLIENT, SERVICE)):
            s = socket.create_connection((VIP4, 25), timeout=20)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for i in range(len(header)):
                s.sendall(header[i:i + 1])
                time.sleep(0.005)
            f = s.makefile("rb")
            assert f.readline().startswith(b"220")
            s.sendall(b"QUIT\r\n")
            assert f.readline().startswith(b"221")
            s.close()
        # behind the header it is the client that talks before the banner
        f = Front(v1(CLIENT, SERVICE) + b"EHLO x\r\n", banner=False)
        assert f.reply().startswith("554"), "an early talker"
        f.close()
        assert sink.transcripts is not None and lab.stats["session_early_talkers"] == 1
        quiet(lab)


def ended(f, how):
    """The connection ends by a reset, and nothing was said on it."""
    try:
        got = f.f.read(100)
    except ConnectionResetError:
        got = None
    assert got is None, (how, got)
    f.close()


BAD = ((b"EHLO client.example\r\n", "no_header"), (b"\x16\x03\x01\x02\x00\x01", "no_header"), (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 025\r\n", "malformed"),
       (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\n", "malformed"), (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n", "malformed"),
       (b"PROXY UNKNOWN " + b"x" * 100, "too_long"), (local()[:12] + b"\x21\x11\xff\xff", "too_long"), (local()[:12] + b"\x31\x11\x00\x0c", "malformed"),
       (v2(CLIENT, SERVICE, spoil=1), "checksum"), (v2(CLIENT, SERVICE, tlv(4, b"xyz")[:-1]), "malformed"),
       (local()[:12] + b"\x21\x12\x00\x0c" + bytes(12), "family"))


def case_proxy_in_is_required_and_never_guessed():
    with front_lab(port="af_packet") as lab:
        sink = Sink(2525)
        for octets, why in BAD:
            before = lab.stats["proxy_in_" + why]
            ended(Front(octets, banner=False), (octets, why))
            assert lab.stats["proxy_in_" + why] == before + 1, (octets, why)
        s = socket.create_connection((VIP4, 25), timeout=20)  # leaves in the middle of it
        s.sendall(v2(CLIENT, SERVICE)[:20])
        s.shutdown(socket.SHUT_WR)
        wait_for("it to be noticed", lambda: lab.stats["proxy_in_gone"] == 1)
        s.close()
        start = time.monotonic()
        silent = [Front(b"", banner=False), Front(v1(CLIENT, SERVICE)[:-1], banner=False)]
        for f in silent:
            ended(f, "silence")
        assert 4.5 < time.monotonic() - start < 9 and lab.stats["proxy_in_timeout"] == 2
        assert sink.transcripts == [] and lab.stats["smtp_reply_banner"] == 0, "nothing was said to any of them"
        quiet(lab)


def case_proxy_in_is_a_command_like_any_from_others():
    """From where it is not expected a header is never believed."""
    with front_lab() as lab:
        sh("ip", "addr", "add", OTHER + "/24", "dev", "mr0")
        sink = Sink(2525)
        raw = Raw(source=OTHER)
        assert raw.ask(v1(CLIENT, SERVICE).decode().strip()).startswith("500")
        assert raw.ask("EHLO client.example").startswith("250") and raw.ask("QUIT").startswith("221")
        raw.close()
        raw = Raw(source=OTHER)
        raw.say(v2(CLIENT, SERVICE))
        for _ in range(3):  # its lines, the third of which holds a NUL
            assert raw.reply().startswith("500")
        raw.close()
        assert lab.stats["proxy_in_headers_v1"] + lab.stats["proxy_in_headers_v2"] == 0
        assert not any("PROXY" in line for t in sink.transcripts for line in t)
        quiet(lab)


def case_proxy_in_decides_rules_and_limits():
    lab = front_lab(FROM + ' limits = { sessions_per_client = 2; }; rules = ( { from = "printers"; bare_lf = "restuff"; } );',
                    networks='printers = [ "192.0.2.0/24" ];')
    with lab:
        sink = Sink(2525)
        for client, code in ((("198.51.100.9", 1), "550"), (("192.0.2.9", 1), "250")):
            f = Front(v2(client, SERVICE))
            f.ask("EHLO client.example")
            f.ask("MAIL FROM:<a@b.example>")
            f.ask("RCPT TO:<c@d.example>")
            f.ask("DATA")
            assert f.ask("a: b\r\n\r\nbare\nline\r\n.").startswith(code), client
            assert f.ask("QUIT").startswith("221")
            f.close()
        assert sink.bodies == [b"a: b\r\n\r\nbare\r\nline\r\n"], sink.bodies
        open_ones = [Front(v1(("198.51.100.9", i), SERVICE)) for i in (1, 2)]
        assert Front(v1(("198.51.100.9", 3), SERVICE), banner=False).reply().startswith("421")
        other = Front(v1(("198.51.100.10", 3), SERVICE))  # from the same proxy
        for f in open_ones + [other]:
            assert f.ask("QUIT").startswith("221")
            f.close()
        quiet(lab)


def case_proxy_in_before_tls():
    """Implicit TLS and STARTTLS behind a header, in the segment of the ClientHello too."""
    service = FROM + 'tls = { mode = "%s"; certificates = [ "mail" ]; };'
    with front_lab(service % "implicit", make=tls_lab, port="af_packet", extra=WAY % 2) as lab:
        sink = HeaderSink(2525)
        tls = context(lab)
        rx, tx = ssl.MemoryBIO(), ssl.MemoryBIO()
        shake = tls.wrap_bio(rx, tx, server_hostname="mx.lab.example")
        s = socket.create_connection((VIP4, 25), timeout=20)
        head = v2(CLIENT, SERVICE)

        def on(step):
            """As far as it needs octets of the other side."""
            nonlocal head
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    s.sendall(head + tx.read())
                    head = b""
                    rx.write(s.recv(65536))
        on(shake.do_handshake)
        s.sendall(tx.read())
        said = on(lambda: shake.read(100))
        assert said.startswith(b"220")
        wait_for("the leg", lambda: sink.headers and sink.headers[-1].client == CLIENT)
        shake.write(b"QUIT\r\n")
        s.sendall(tx.read())
        assert sink.headers[-1].tls()[0] == 1
        s.close()
        quiet(lab)
    with front_lab(service % "starttls-required", make=tls_lab, extra=WAY % 2) as lab:
        sink = HeaderSink(2525)
        m = smtplib.SMTP(timeout=30, local_hostname="client.example")
        m.sock = socket.create_connection((VIP4, 25), timeout=30)
        m.sock.sendall(v1(CLIENT6, SERVICE6))
        m.file = m.sock.makefile("rb")
        assert m.getreply()[0] == 220
        m.ehlo()
        m._host = "mx.lab.example"
        m.starttls(context=context(lab))
        m.ehlo()
        m.sendmail("s@example.com", ["r@example.com"], b"a: b\r\n\r\nc\r\n")
        m.quit()
        assert sink.headers[-1].client == CLIENT6 and sink.headers[-1].tls()[0] == 1
        quiet(lab)


def case_proxy_in_then_passthrough():
    with front_lab(FROM + 'tls = { mode = "passthrough"; };', extra=WAY % 1) as lab:
        sink = HeaderSink(2525)
        f = Front(v2(CLIENT, SERVICE))
        assert f.ask("EHLO client.example").startswith("250") and f.ask("QUIT").startswith("221")
        f.close()
        assert sink.headers[-1].client == CLIENT and sink.headers[-1].local == SERVICE
        quiet(lab)


def case_proxy_in_of_more_than_memory_was_taken_for():
    """Brought by a reload, it has room for a sixty-fourth of the sessions: beyond it nobody passes for the proxy."""
    lab = front_lab("", max_sessions=160)
    with lab:
        Sink(2525)
        raw = Raw()
        assert raw.ask("QUIT").startswith("221")
        raw.close()
        generation = lab.stats.current_generation()
        lab.write_config(lab.config.replace('pool = "mail"; ', 'pool = "mail"; ' + FROM))
        lab.reload()
        wait_for("the reload", lambda: lab.stats.current_generation() > generation)
        time.sleep(0.3)
        fronts = [Front(v2(("198.51.100.9", i + 1), SERVICE)) for i in range(3)]
        ended(Front(v2(("198.51.100.9", 99), SERVICE), banner=False), "no room")
        assert lab.stats["proxy_in_no_room"] == 1
        for f in fronts:
            assert f.ask("QUIT").startswith("221")
            f.close()
        wait_for("sessions to end", lambda: lab.stats.sessions() == 0)
        f = Front(v2(("198.51.100.9", 99), SERVICE))
        f.ask("QUIT")
        f.close()
        quiet(lab)


HAPROXY = """global
    log stderr local0 warning
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen front
    bind {front}
    server one {vip}:25 {send}
listen back
    bind {back} accept-proxy
    server one {sink} send-proxy
"""


class Haproxy(Peer):
    def __init__(self, parent, send, sink):
        folder = tempfile.mkdtemp(dir=parent)
        with open(folder + "/conf", "w", encoding="utf-8") as f:
            f.write(HAPROXY.format(front=HOST4 + ":2601", vip=VIP4, send=send, back=HOST4 + ":2602", sink="%s:%d" % sink))
        super().__init__(["haproxy", "-db", "-f", folder + "/conf"], folder, (HOST4, 2602))


def case_proxy_in_and_out_with_haproxy_on_both_sides():
    """HAProxy in front names the client, another behind reads what we tell it (and verifies its checksum), and hands it on."""
    for way, send in ((1, "send-proxy"), (2, "send-proxy-v2"), (2, "send-proxy-v2 proxy-v2-options crc32c,unique-id"), (1, "send-proxy-v2")):
        with front_lab(port="af_packet", backends=((HOST4, 2602),), extra=WAY % way) as lab:
            sh("ip", "addr", "add", OTHER + "/24", "dev", "mr0")
            sink = HeaderSink(2603)
            proxy = Haproxy(lab.dir, send, (HOST4, 2603))
            try:
                s = socket.create_connection((HOST4, 2601), timeout=20, source_address=(OTHER, 0))
                f = s.makefile("rb")
                assert f.readline().startswith(b"220")
                s.sendall(b"EHLO client.example\r\n")
                while (line := f.readline())[3:4] == b"-":
                    pass
                assert line.startswith(b"250"), line
                assert sink.headers[-1].client == s.getsockname() and sink.headers[-1].local == (HOST4, 2601), sink.headers[-1].raw
                s.sendall(b"QUIT\r\n")
                assert f.readline().startswith(b"221")
                s.close()
                quiet(lab)
            finally:
                proxy.close()
