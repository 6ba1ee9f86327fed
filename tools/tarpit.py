# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""A mail server that makes its clients wait before some of its replies, and writes down what it was told and when. For the
demo, the end-to-end tests and tools/bench/tarpit."""

import socket
import socketserver
import ssl
import subprocess
import threading
import time

SECONDS = 5.0
DELAYS = {"EHLO": SECONDS, "HELO": SECONDS, "RSET": SECONDS}
KEYWORDS = ("PIPELINING", "SIZE 10000000", "8BITMIME", "ENHANCEDSTATUSCODES")


def certificate_make(prefix, host, kind=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
    """A self-signed one and its key: PREFIX.pem and PREFIX.key."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "30", "-keyout", prefix + ".key", "-out",
                    prefix + ".pem", "-subj", "/CN=" + host, "-addext", "subjectAltName=DNS:" + host], check=True,
                   capture_output=True, timeout=60)


class Session:
    """What one connection said: (seconds since it was made, line), and all its octets, those of each TLS state apart."""

    def __init__(self):
        self.born = time.monotonic()
        self.lines, self.octets, self.closed = [], [b""], False

    def note(self, text):
        self.lines.append((time.monotonic() - self.born, text))

    def count(self, verb):
        return sum(line.split(" ")[0].upper() == verb for _, line in self.lines)

    def verbs(self):
        return [line.split(" ")[0].upper() for _, line in self.lines if not line.startswith("(")]


class Tarpit:
    """Serves until close(). pair: prefix of a certificate, offers STARTTLS with it; implicit: TLS from the first octet."""

    def __init__(self, addr, port=25, pair=None, implicit=False, delays=None, connect_delay=0.0):
        tarpit = self
        self.delays = DELAYS if delays is None else delays
        self.implicit, self.connect_delay, self.tls = implicit, connect_delay, None
        if pair is not None:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(pair + ".pem", pair + ".key")
        self.sessions, self.bodies, self.lock = [], [], threading.Lock()

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.settimeout(120)
                session = Session()
                with tarpit.lock:
                    tarpit.sessions.append(session)
                try:
                    tarpit.serve(self.request, session)
                except (OSError, ValueError):
                    pass
                session.closed = True

        class Server(socketserver.ThreadingTCPServer):
            address_family = socket.AF_INET6 if ":" in addr else socket.AF_INET
            allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

        self.server = Server((addr, port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def serve(self, conn, session):
        if self.implicit:
            conn = self.tls.wrap_socket(conn, server_side=True)
        time.sleep(self.connect_delay)
        lines = conn.makefile("rb")
        conn.sendall(b"220 tarpit ESMTP\r\n")
        while line := self.line_read(lines, session):
            verb = line.split(b" ")[0].upper().decode("latin1")
            session.note(line.decode("latin1"))
            time.sleep(self.delays.get(verb, 0))
            if verb == "STARTTLS" and self.tls is not None and not self.implicit and not isinstance(conn, ssl.SSLSocket):
                conn.sendall(b"220 2.0.0 go ahead\r\n")
                conn = self.tls.wrap_socket(conn, server_side=True)
                lines = conn.makefile("rb")
                session.octets.append(b"")
                session.note("(TLS handshake)")
            elif verb == "DATA":
                conn.sendall(b"354 go on\r\n")
                if not self.body_read(lines, session):
                    return
                conn.sendall(b"250 2.0.0 queued\r\n")
            else:
                conn.sendall(self.reply(verb, isinstance(conn, ssl.SSLSocket)))
            if verb == "QUIT":
                conn.close()
                return

    def line_read(self, lines, session):
        line = lines.readline()
        session.octets[-1] += line
        return line[:-2] if line.endswith(b"\r\n") else b""

    def body_read(self, lines, session):
        body, raw = b"", b""
        while (line := lines.readline()) != b".\r\n":
            if not line:
                return False
            raw += line
            body += line[1:] if line.startswith(b".") else line
        session.octets[-1] += raw + b".\r\n"
        session.note("(%d octets of mail)" % len(body))
        with self.lock:
            self.bodies.append(body)
        return True

    def reply(self, verb, in_tls):
        if verb == "EHLO":
            words = KEYWORDS + (("STARTTLS",) if self.tls is not None and not in_tls else ())
            return "".join("250-%s\r\n" % w for w in ("tarpit",) + words[:-1]).encode() + b"250 %s\r\n" % words[-1].encode()
        if verb == "QUIT":
            return b"221 2.0.0 bye\r\n"
        if verb == "XCLIENT":
            return b"220 tarpit ESMTP\r\n"
        if verb in ("HELO", "MAIL", "RCPT", "RSET", "NOOP"):
            return b"250 2.0.0 ok\r\n"
        return b"502 5.5.1 not here\r\n"

    def mails(self):
        """The sessions that brought mail."""
        with self.lock:
            return [s for s in self.sessions if s.count("MAIL") > 0]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
