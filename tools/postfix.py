# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Postfix servers with their own configuration, queue and mailbox, for the demo and the end-to-end tests."""

import os
import re
import subprocess


class Postfix:
    """One instance with its own configuration, queue and mailbox."""

    def __init__(self, name, addr, parent, domain, pair=None, more=""):
        """name: of the host in domain and of the directory under parent; takes all mail of the domain at addr, port 25, and
        relays nothing. Bodies stand in mail/box as mbox. pair: prefix of a certificate for STARTTLS. more: lines of
        main.cf."""
        self.name, self.dir = name, "%s/%s" % (parent, name)
        for d in ("etc", "data", "mail"):
            os.makedirs("%s/%s" % (self.dir, d))
        self.sh("chown postfix: %s/data; chown nobody: %s/mail; mkdir %s/queue" % ((self.dir,) * 3))
        with open(self.dir + "/etc/main.cf", "w", encoding="utf-8") as f:
            f.write("""compatibility_level = 3.9
queue_directory = {d}/queue
data_directory = {d}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
myhostname = {n}.{o}
mydestination =
inet_interfaces = {a}
inet_protocols = ipv4
mynetworks = 127.0.0.1/32
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
virtual_mailbox_domains = {o}
virtual_mailbox_base = {d}/mail
virtual_mailbox_maps = static:box
virtual_mailbox_lock = fcntl
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
maillog_file = {d}/log
maillog_file_prefixes = /run
smtputf8_enable = no
""".format(d=self.dir, n=name, a=addr, o=domain))
            f.write(more)
            if pair is not None:
                f.write("smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s.pem\nsmtpd_tls_key_file = %s.key\n" % (pair, pair))
        with open("/etc/postfix/master.cf.proto", encoding="utf-8") as f:
            lines = f.read()
        # no chroot: the services run as they are
        lines = re.sub(r"(?m)^(smtp\s+inet\s+\S+\s+\S+\s+)y", r"\1n", lines)
        lines = re.sub(r"(?m)^(\w+\s+(?:unix|inet|fifo|pass)\s+\S+\s+\S+\s+)[y-]", r"\1n", lines)
        if "postlog " not in lines:
            lines += "\npostlog unix-dgram n - n - 1 postlogd\n"
        with open(self.dir + "/etc/master.cf", "w", encoding="utf-8") as f:
            f.write(lines)

    @staticmethod
    def sh(cmd, check=True):
        return subprocess.run(cmd, shell=True, check=check, timeout=60, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self, verb, check=True):
        return self.sh("postfix -c %s/etc %s" % (self.dir, verb), check)

    def queue_ids(self):
        try:
            with open(self.dir + "/log", encoding="utf-8") as f:
                return re.findall(r"cleanup\[\d+\]: (\w+): message-id=<(\S+?)>", f.read())
        except FileNotFoundError:
            return []
