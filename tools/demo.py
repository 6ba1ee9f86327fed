#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""The demo proper, run by tools/demo inside the private root and a network namespace of its own."""

import os
import re
import signal
import subprocess
import sys
import time

BUILD = "build/demo"
DIR = "/run/mailrace-demo"
MX = {"mx1": "10.77.0.51", "mx2": "10.77.0.52"}
VIP = ("10.77.0.25", "fd77::25")
CONFIG = """hostname = "mail.demo.example";
dataplane = { workers = 1; max_sessions = 1000; memory = "256M"; socket = "%s/dataplane.sock"; };
ports = { lan = { device = "net_tap0,iface=mr0"; addresses = [ "10.77.0.10/24", "fd77::10/64" ]; }; };
pools = { mail = { scheduler = "weighted-round-robin";
    backends = ( { name = "mx1"; address = "%s:25"; }, { name = "mx2"; address = "%s:25"; } ); }; };
virtual_services = { inbound = { listen = [ "%s:25", "[%s]:25" ]; pool = "mail"; }; };
""" % (DIR, MX["mx1"], MX["mx2"], *VIP)


def say(text):
    print("\n== " + text, flush=True)


def sh(cmd, check=True, quiet=True):
    return subprocess.run(cmd, shell=True, check=check, timeout=60, text=True,
                          stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT if quiet else None)


class Postfix:
    """One instance with its own configuration, queue and mailbox."""

    def __init__(self, name, addr):
        self.name, self.dir = name, "%s/%s" % (DIR, name)
        for d in ("etc", "data", "mail"):
            os.makedirs("%s/%s" % (self.dir, d))
        sh("chown postfix: %s/data; chown nobody: %s/mail; mkdir %s/queue" % ((self.dir,) * 3))
        with open(self.dir + "/etc/main.cf", "w", encoding="utf-8") as f:
            f.write("""compatibility_level = 3.9
queue_directory = {d}/queue
data_directory = {d}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
myhostname = {n}.demo.example
mydestination =
inet_interfaces = {a}
inet_protocols = ipv4
mynetworks = 127.0.0.1/32
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
virtual_mailbox_domains = demo.example
virtual_mailbox_base = {d}/mail
virtual_mailbox_maps = static:box
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
maillog_file = {d}/log
maillog_file_prefixes = /run
smtputf8_enable = no
""".format(d=self.dir, n=name, a=addr))
        with open("/etc/postfix/master.cf.proto", encoding="utf-8") as f:
            lines = f.read()
        # no chroot: the services run as they are
        lines = re.sub(r"(?m)^(smtp\s+inet\s+\S+\s+\S+\s+)y", r"\1n", lines)
        lines = re.sub(r"(?m)^(\w+\s+(?:unix|inet|fifo|pass)\s+\S+\s+\S+\s+)[y-]", r"\1n", lines)
        if "postlog " not in lines:
            lines += "\npostlog unix-dgram n - n - 1 postlogd\n"
        with open(self.dir + "/etc/master.cf", "w", encoding="utf-8") as f:
            f.write(lines)

    def run(self, verb, check=True):
        return sh("postfix -c %s/etc %s" % (self.dir, verb), check)

    def queue_ids(self):
        try:
            with open(self.dir + "/log", encoding="utf-8") as f:
                return re.findall(r"cleanup\[\d+\]: (\w+): message-id=<(\S+?)>", f.read())
        except FileNotFoundError:
            return []


def send(number, to="someone@demo.example"):
    """One mail by swaks; (accepted, what the server said)."""
    host = VIP[number % 2]
    run = sh("swaks --server %s --from sender@example.org --to %s --header 'Message-Id: <demo-%d@example.org>' "
             "--body 'Mail number %d' --timeout 20 --hide-informational" % (host, to, number, number), check=False)
    replies = [l for l in run.stdout.splitlines() if l.startswith(("<-", "<*"))]
    return run.returncode == 0, replies, run.stdout


def mails(first, count, servers):
    ok = 0
    for n in range(first, first + count):
        accepted, replies, out = send(n)
        ok += accepted
        where = [(s.name, q) for s in servers for q, mid in s.queue_ids() if mid == "demo-%d@example.org" % n]
        print("  mail %2d over %s: %s  %s" % (n, "IPv6" if n % 2 else "IPv4", "accepted" if accepted else "REFUSED",
                                            "by %s as %s" % where[0] if where else replies[-1] if replies else out[-200:]))
    return ok


def show(words):
    run = sh("%s/tools/mailrace-stats %s/dataplane.sock" % (BUILD, DIR))
    for line in run.stdout.splitlines():
        if line.startswith(words):
            print("  " + line)


def play(keep, servers, started):
    say("Starting two Postfix servers (%s) and Mailrace on a TAP" % ", ".join("%s %s" % i for i in MX.items()))
    with open(DIR + "/mailrace.conf", "w", encoding="utf-8") as f:
        f.write(CONFIG)
    log = open(DIR + "/log", "w+", encoding="utf-8")
    started.append(subprocess.Popen([BUILD + "/dataplane/mailrace-dataplane", "-c", DIR + "/mailrace.conf"], stdout=log, stderr=log))
    for _ in range(200):
        if "ready" in open(DIR + "/log", encoding="utf-8").read():
            break
        time.sleep(0.05)
    else:
        print(open(DIR + "/log", encoding="utf-8").read())
        return 1
    sh("ip addr add 10.77.0.1/24 dev mr0; ip -6 addr add fd77::1/64 dev mr0 nodad; ip link set mr0 up")
    for name, addr in MX.items():
        sh("ip addr add %s/32 dev lo" % addr)
        servers.append(Postfix(name, addr))
        servers[-1].run("start")
    time.sleep(1)

    say("20 mails by swaks to %s and %s; each says which Postfix took it, with its queue id" % VIP)
    ok = mails(0, 20, servers)
    say("The servers do not trust the balancer: relaying to a foreign domain is refused, through it as without it")
    accepted, replies, _ = send(100, "somebody@elsewhere.example")
    relay = next((r for r in replies if "454" in r or "554" in r), replies[-1])
    print("  " + relay)
    say("mx1 is stopped; mail goes on")
    servers[0].run("stop", check=False)
    ok += mails(20, 6, servers[1:])
    say("What the balancer counted (a few of its metrics)")
    show(("mailrace_session_messages", "mailrace_session_accepted", "mailrace_leg_refused", "mailrace_leg_retried",
          "mailrace_synthetic", "mailrace_backend_reply_seconds_sum", "mailrace_backend_reply_seconds_count", "mailrace_tcp_accepts"))
    print("\n  synthetic_* are 0: the servers saw the clients' own commands, one EHLO each, and nothing of ours.")
    bad = ok != 26 or accepted
    say("%d of 26 mails accepted%s" % (ok, "" if not bad else ": SOMETHING IS WRONG"))
    if keep:
        print("""
Left running; this shell ends it. To try:
  swaks --server 10.77.0.25 --from you@example.org --to me@demo.example
  tools/../%s/tools/mailrace-stats %s/dataplane.sock | less
  tail %s/mx2/log; cat %s/mailrace.conf; kill -HUP %d     (reload)""" % (BUILD, DIR, DIR, DIR, started[0].pid))
        subprocess.call(["bash"])
    else:
        print("Go on by hand with: tools/demo --keep")
    return 1 if bad else 0


def main():
    servers, started = [], []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.makedirs(DIR)
    try:
        return play("--keep" in sys.argv, servers, started)
    except KeyboardInterrupt:
        return 130
    finally:
        for s in servers:
            s.run("stop", check=False)
        for p in started:
            p.terminate()
            p.wait()


if __name__ == "__main__":
    sys.exit(main())
