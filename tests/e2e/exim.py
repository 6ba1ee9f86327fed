# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Exim with a configuration of its own, as a server and as a client that hands mail on. Its package is only unpacked (it conflicts
with Postfix), so it sees a copy of /etc with its user and its configuration, in a mount namespace of its own."""

import os
import subprocess

PROGRAM = "/opt/exim4-daemon-light/usr/sbin/exim4"
MAIN = """primary_hostname = {name}
exim_user = nobody
exim_group = nogroup
spool_directory = {d}/spool
log_file_path = {d}/log/%s
pid_file_path = {d}/spool/pid
exim_path = {p}
keep_environment =
never_users =
trusted_users = root
timezone = UTC
smtp_accept_queue_per_connection = 0
"""


class Exim:
    def __init__(self, parent, name):
        self.name, self.dir, self.proc = name, "%s/%s" % (parent, name), None
        for d in ("spool", "log", "mail"):
            os.makedirs("%s/%s" % (self.dir, d))
            os.chown("%s/%s" % (self.dir, d), 65534, 65534)
        os.chmod(parent, 0o755)
        subprocess.run(["cp", "-a", "/etc", self.dir + "/etc"], check=True, timeout=60)
        os.makedirs(self.dir + "/etc/exim4")
        for table, row in (("passwd", "Debian-exim:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"), ("group", "Debian-exim:x:65534:\n")):
            with open("%s/etc/%s" % (self.dir, table), "a", encoding="ascii") as f:
                f.write(row)

    def write(self, text):
        with open(self.dir + "/etc/exim4/exim4.conf", "w", encoding="ascii") as f:
            f.write(MAIN.format(name=self.name, d=self.dir, p=PROGRAM) + text)

    def command(self, *args):
        return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0/etc" /etc && exec %s "$@"' % PROGRAM, self.dir, *args]

    def log(self, which="main"):
        try:
            with open("%s/log/%s" % (self.dir, which), encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def close(self):
        if self.proc is not None:
            self.proc.terminate()
            self.proc.wait(20)


class Server(Exim):
    """Takes all mail at addr, port 25, into one mailbox. pair: prefix of a certificate for STARTTLS; extra: lines of its
        configuration."""

    def __init__(self, parent, name, addr, pair=None, extra=""):
        super().__init__(parent, name)
        tls = "tls_advertise_hosts = %s\n" % ("*" if pair else ":")
        if pair:
            self.readable(pair)
            tls += "tls_certificate = %s/cert.pem\ntls_privatekey = %s/cert.key\n" % (self.dir, self.dir)
        self.write(tls + extra + """local_interfaces = {a}
daemon_smtp_ports = 25
acl_smtp_rcpt = accept
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  file = {d}/mail/box
  user = nobody
""".format(a=addr, d=self.dir))
        self.proc = subprocess.Popen(self.command("-bdf"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def readable(self, pair):
        """Its processes are nobody's."""
        for end in (".pem", ".key"):
            with open(pair + end, "rb") as f, open(self.dir + "/cert" + end, "wb") as to:
                to.write(f.read())
            os.chown(self.dir + "/cert" + end, 65534, 65534)


class Client(Exim):
    """Hands mail to one server; tls: None, "starttls" or "implicit", verified by a CA's file."""

    def __init__(self, parent, name, server, tls=None, ca=None, host=None, version=None):
        super().__init__(parent, name)
        ciphers = {"1.2": "NORMAL:-VERS-ALL:+VERS-TLS1.2", "1.3": "NORMAL:-VERS-ALL:+VERS-TLS1.3", None: "NORMAL"}[version]
        lines = {None: "  hosts_avoid_tls = *\n", "starttls": "  hosts_require_tls = *\n", "implicit": "  protocol = smtps\n  hosts_require_tls = *\n"}[tls]
        if tls:
            lines += ("  tls_verify_certificates = %s\n  tls_verify_hosts = *\n  tls_verify_cert_hostnames =\n  tls_sni = %s\n"
                      "  tls_require_ciphers = %s\n" % (ca, host, ciphers))
        self.write("""tls_advertise_hosts = :
begin routers
all:
  driver = manualroute
  transport = out
  route_list = * "</ %s"
  self = send
begin transports
out:
  driver = smtp
  helo_data = client.example
  port = 25
  hosts_try_fastopen =
  hosts_try_prdr =
  hosts_try_dane =
%s""" % (server, lines))

    def send(self, body, sender="s@example.com", to="r@example.com"):
        """One mail, delivered before it returns; what its log says of it."""
        before = len(self.log())
        r = subprocess.run(self.command("-odf", "-oi", "-f", sender, to), input=body, capture_output=True, timeout=60, check=False)
        said = self.log()[before:]
        if r.returncode != 0 or " => " not in said:
            raise OSError("exim: %d %s %s %s" % (r.returncode, r.stderr, said, self.log("panic")))
        return said
