# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""The demo's last part: one mail in STARTTLS to a server that makes its clients wait for EHLO and RSET, straight, through
nginx and through Mailrace; what each took and what the server was told."""

import subprocess
import threading
import time

from peers import Nginx
from tarpit import SECONDS, Tarpit, certificate_make

HOST = "mail.demo.example"
VIP = "10.77.0.26"
NGINX = "10.77.0.27"
SERVERS = {"plain": "10.77.0.60", "straight": "10.77.0.61", "nginx": "10.77.0.62", "mailrace": "10.77.0.63"}
WAYS = (("straight", "straight to the server"), ("nginx", "through nginx's mail proxy"), ("mailrace", "through Mailrace"),
        ("plain", "for comparison: straight, in plain text"))
CLIENT_SECONDS = 60
WIDTH = 37


def config(folder):
    """What the demo's configuration has for it: (certificates, pools, virtual services)."""
    return ('certificates = { demo = { chain = "%s/demo.pem"; key = "%s/demo.key"; }; };' % (folder, folder),
            'slow = { backends = ( { name = "slow1"; address = "%s:25"; } ); };' % SERVERS["mailrace"],
            'secure = { listen = [ "%s:25" ]; pool = "slow"; tls = { mode = "starttls-optional"; certificates = [ "demo" ]; }; };' % VIP)


def prepare(folder):
    certificate_make(folder + "/demo", HOST)


class Mail(threading.Thread):
    """One mail by swaks, the same to the octet whichever way it goes."""

    def __init__(self, server, tls):
        super().__init__(daemon=True)
        self.command = ["swaks", "--server", server, "--ehlo", "client.example", "--from", "you@example.org", "--to",
                        "me@demo.example", "--header", "Message-Id: <tarpit@example.org>", "--header",
                        "Date: Thu, 01 Jan 2026 12:00:00 +0000", "--header", "Subject: Hello", "--body", "Hello", "--timeout", str(CLIENT_SECONDS)] + (["--tls"] if tls else [])
        self.seconds, self.accepted, self.said = 0.0, False, ""
        self.start()

    def run(self):
        begin = time.monotonic()
        try:
            done = subprocess.run(self.command, capture_output=True, text=True, timeout=2 * CLIENT_SECONDS, check=False)
            self.accepted, self.said = done.returncode == 0, done.stdout + done.stderr
        except subprocess.TimeoutExpired as e:
            self.said = str(e)
        self.seconds = time.monotonic() - begin


def times_print(mails, seen):
    print("\n  %-42s %-10s %s" % ("", "took", "the server was told"))
    for key, title in WAYS:
        print("  %-42s %4.1f s     %d x EHLO, %d x RSET" % (title, mails[key].seconds, seen[key].count("EHLO"), seen[key].count("RSET")))


def transcripts_print(seen):
    columns = [["%4.1f s  %s" % (at, line[:WIDTH - 9]) for at, line in seen[key].lines] for key, _ in WAYS[:3]]
    print("\n  What the server was told, and when it came (seconds after the connection was made):\n")
    print("  " + " | ".join(title.ljust(WIDTH) for _, title in WAYS[:3]).rstrip())
    print("  " + "-+-".join("-" * WIDTH for _ in columns))
    for row in range(max(len(c) for c in columns)):
        print("  " + " | ".join((c[row] if row < len(c) else "").ljust(WIDTH) for c in columns).rstrip())


def facts_print(seen):
    """Whether the server could not tell Mailrace from the client itself."""
    same = seen["mailrace"].octets == seen["plain"].octets
    ours, direct = seen["mailrace"], seen["straight"]
    print("\n  Straight, STARTTLS makes the client say EHLO twice, and it waits twice. Mailrace ends TLS and passes on the EHLO said"
          "\n  inside it, no other: the server was told %d EHLO instead of %d, and %d RSET. What came to it through Mailrace is"
          "\n  %s what the client itself sends in plain text." % (
              ours.count("EHLO"), direct.count("EHLO"), ours.count("RSET"), "octet for octet" if same else "NOT"))
    return same and ours.count("EHLO") == 1 and ours.count("RSET") == 0


def play(folder, sh):
    """The whole part; True when everything came as it must."""
    for addr in list(SERVERS.values()) + [NGINX]:
        sh("ip addr add %s/32 dev lo" % addr)
    pair = folder + "/demo"
    servers = {key: Tarpit(addr, pair=None if key in ("plain", "mailrace") else pair) for key, addr in SERVERS.items()}
    nginx = None
    try:
        nginx = Nginx(folder, (NGINX, 25), (SERVERS["nginx"], 25), pair)
        to = {"straight": SERVERS["straight"], "nginx": NGINX, "mailrace": VIP, "plain": SERVERS["plain"]}
        mails = {key: Mail(to[key], key != "plain") for key, _ in WAYS}
        for m in mails.values():
            m.join(2 * CLIENT_SECONDS)
        seen = {key: (servers[key].mails() + [None])[0] for key, _ in WAYS}
        for key, title in WAYS:
            if not mails[key].accepted or seen[key] is None:
                print("  %s: NOT ACCEPTED\n%s" % (title, mails[key].said[-600:]))
                return False
        times_print(mails, seen)
        transcripts_print(seen)
        good = facts_print(seen)
        return good and mails["mailrace"].seconds < 2 * SECONDS <= mails["straight"].seconds
    finally:
        if nginx is not None:
            nginx.close()
        for s in servers.values():
            s.close()
