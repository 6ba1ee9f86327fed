# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""One session (a mail, RSET, QUIT) to a server that delays EHLO, HELO and RSET by 5 s, each way to a server of its own and all at
once: what it took, and what the server was told."""

import os
import shutil
import smtplib
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from peers import Haproxy, Nginx
from tarpit import Tarpit, certificate_make

NET = "10.98.0."
MAIL = b"a: b\r\n\r\nc\r\n"
# name, TLS of the client, TLS of the server
WAYS = (
    ("straight", "none", "none"),
    ("straight", "STARTTLS", "STARTTLS"),
    ("nginx", "STARTTLS", "none"),
    ("nginx, xclient on", "STARTTLS", "none"),
    ("HAProxy, TCP", "STARTTLS", "STARTTLS"),
    ("HAProxy", "implicit", "none"),
    ("Mailrace", "none", "none"),
    ("Mailrace", "STARTTLS", "none"),
    ("Mailrace", "implicit", "none"),
    ("Mailrace", "STARTTLS", "STARTTLS"),
    ("Mailrace, passthrough", "STARTTLS", "STARTTLS"),
)
MODES = {("none", "none"): "off", ("STARTTLS", "none"): "starttls-required", ("implicit", "none"): "implicit",
         ("STARTTLS", "STARTTLS"): "starttls-required"}


def server_of(i):
    return NET + str(100 + i)


def proxy_of(i):
    return NET + str(150 + i)


def config(folder):
    pools, services = [], []
    for i, (name, client, server) in enumerate(WAYS):
        if not name.startswith("Mailrace"):
            continue
        through = name.endswith("passthrough")
        mode = "passthrough" if through else MODES[client, server]
        tls = 'tls = { mode = "starttls"; verify = "none"; }; ' if server != "none" and not through else ""
        pools.append('p%d = { %sbackends = ( { name = "b%d"; address = "%s:25"; } ); };' % (i, tls, i, server_of(i)))
        certificates = 'certificates = [ "mail" ]; ' if mode not in ("off", "passthrough") else ""
        services.append('s%d = { listen = [ "%s:25" ]; pool = "p%d"; tls = { mode = "%s"; %s}; };' % (i, proxy_of(i), i, mode, certificates))
    return """hostname = "mx.bench.example";
dataplane = { workers = 1; max_sessions = 1000; memory = "256M"; socket = "%s/dp.sock"; };
ports = { lan = { device = "net_tap0,iface=mr0"; addresses = [ "%s10/24" ]; }; };
certificates = { mail = { chain = "%s/mail.pem"; key = "%s/mail.key"; }; };
pools = { %s };
virtual_services = { %s };
""" % (folder, NET, folder, folder, " ".join(pools), " ".join(services))


def anybody():
    c = ssl.create_default_context()
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    return c


class Client(threading.Thread):
    def __init__(self, host, tls):
        super().__init__(daemon=True)
        self.host, self.tls, self.seconds, self.fault = host, tls, 0.0, None
        self.start()

    def run(self):
        begin = time.monotonic()
        try:
            s = (smtplib.SMTP_SSL(self.host, 25, "client.example", timeout=120, context=anybody()) if self.tls == "implicit" else
                 smtplib.SMTP(self.host, 25, "client.example", 120))
            s.ehlo()
            if self.tls == "STARTTLS":
                s.starttls(context=anybody())
                s.ehlo()
            s.sendmail("s@example.com", ["r@example.com"], MAIL)
            s.rset()
            s.quit()
        except (OSError, smtplib.SMTPException) as e:
            self.fault = str(e)
        self.seconds = time.monotonic() - begin


class Dataplane:
    def __init__(self, folder):
        with open(folder + "/conf", "w", encoding="utf-8") as f:
            f.write(config(folder))
        self.log = folder + "/log"
        with open(self.log, "w", encoding="utf-8") as f:
            self.proc = subprocess.Popen(["build/gcc/dataplane/mailrace-dataplane", "-c", folder + "/conf"], stdout=f, stderr=f)
        end = time.monotonic() + 60
        while "ready" not in self.said():
            if self.proc.poll() is not None or time.monotonic() > end:
                self.close()
                raise RuntimeError(self.said())
            time.sleep(0.05)

    def said(self):
        with open(self.log, encoding="utf-8") as f:
            return f.read()

    def close(self):
        self.proc.terminate()
        self.proc.wait(20)


def peer_start(folder, i, way, pair):
    """Through which address the way goes, and what is to be closed."""
    name, client, _ = way
    listen, backend = (proxy_of(i), 25), (server_of(i), 25)
    if name == "straight":
        return backend[0], None
    if name.startswith("Mailrace"):
        return listen[0], None
    home = "%s/%d" % (folder, i)
    os.mkdir(home)
    if name.startswith("nginx"):
        return listen[0], Nginx(home, listen, backend, pair, xclient=name.endswith("on"))
    return listen[0], Haproxy(home, listen, backend, pair if client == "implicit" else None)


def measure(folder, opened):
    certificate_make(folder + "/mail", "mx.bench.example")
    opened.append(Dataplane(folder))
    for command in ("ip addr add %s1/24 dev mr0" % NET, "ip link set mr0 up"):
        subprocess.run(command.split(), check=True, timeout=20)
    targets, servers = [], []
    for i, way in enumerate(WAYS):
        for address in (server_of(i),) + (() if way[0].startswith("Mailrace") else (proxy_of(i),)):
            subprocess.run(["ip", "addr", "add", address + "/32", "dev", "lo"], check=True, timeout=20)
        servers.append(Tarpit(server_of(i), pair=folder + "/mail" if way[2] != "none" else None))
        opened.append(servers[-1])
        target, peer = peer_start(folder, i, way, folder + "/mail")
        targets.append(target)
        if peer is not None:
            opened.append(peer)
    clients = [Client(t, way[1]) for t, way in zip(targets, WAYS)]
    for c in clients:
        c.join(150)
    return clients, servers


def report(clients, servers):
    print("| way | client's TLS | server's TLS | session | the server was told |")
    print("|---|---|---|---:|---|")
    for way, c, s in zip(WAYS, clients, servers):
        mails = s.mails()
        told = mails[0].verbs() if mails else []
        words = ", ".join(v for v in told if v not in ("MAIL", "RCPT", "DATA"))
        print("| %s | %s | %s | %.1f s | %s |" % (*way, c.seconds, words if c.fault is None else "FAILED: " + c.fault))
    return 1 if any(c.fault for c in clients) else 0


def main():
    folder, opened = tempfile.mkdtemp(prefix="tarpit-", dir="/run"), []
    os.chmod(folder, 0o755)
    try:
        return report(*measure(folder, opened))
    except KeyboardInterrupt:
        return 130
    finally:
        for o in reversed(opened):
            o.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
