# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Clients of the cases: whole mails by smtplib, dialogues by hand."""

import smtplib
import socket

from lab import VIP4, wait_for


def body_of(rng, size):
    lines = [b"X-Id: %d" % rng.randrange(1 << 60), b""]
    n = 0
    while n < size:
        line = (b"." * rng.randrange(3)) + bytes(rng.randrange(33, 127) for _ in range(rng.randrange(76)))
        lines.append(line)
        n += len(line) + 2
    return b"\r\n".join(lines) + b"\r\n"


def send(body, host=VIP4, recipients=("r@example.com",), timeout=60):
    with smtplib.SMTP(host, 25, "client.example", timeout) as s:
        s.ehlo("client.example")
        s.sendmail("s@example.com", list(recipients), body)


class Raw:
    """A client by hand."""

    def __init__(self, host=VIP4, banner=True, source=None):
        self.s = socket.create_connection((host, 25), timeout=20, source_address=source and (source, 0))
        self.f = self.s.makefile("rb")
        if banner:
            assert self.reply().startswith("220"), "banner"

    def say(self, data):
        self.s.sendall(data if isinstance(data, bytes) else data.encode() + b"\r\n")

    def reply(self):
        while True:
            line = self.f.readline().decode("latin1")
            if len(line) < 4 or line[3] != "-":
                return line.strip()

    def ask(self, data):
        self.say(data)
        return self.reply()

    def close(self):
        self.f.close()
        self.s.close()


def quiet(lab, seconds=30):
    """Nothing is left open, and nothing was said to a backend that no client said."""
    wait_for("sessions to end", lambda: lab.stats.sessions() == 0, seconds)
    assert lab.stats["leg_desync"] == 0
    said = sum(lab.stats["synthetic_%s_leg_reopened" % verb] for verb in ("ehlo", "helo"))
    assert said <= lab.stats["leg_reopened"], said
