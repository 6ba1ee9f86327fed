#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""The demo proper, run by tools/demo inside the private root and a network namespace of its own."""

import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import demo_tarpit
from postfix import Postfix

BUILD = "build/demo"
DIR = "/run/mailrace-demo"
MX = {"mx1": "10.77.0.51", "mx2": "10.77.0.52"}
VIP = ("10.77.0.25", "fd77::25")
TARPIT = demo_tarpit.config(DIR)
CONFIG = """hostname = "mail.demo.example";
dataplane = { workers = 1; max_sessions = 1000; memory = "256M"; socket = "%s/dataplane.sock"; };
control = { socket = "%s/control.sock"; state_dir = "%s/state"; };
exporter = { listen = "127.0.0.1:9825"; };
ports = { lan = { device = "net_tap0,iface=mr0"; addresses = [ "10.77.0.10/24", "fd77::10/64" ]; }; };
%s
pools = { mail = { scheduler = "weighted-round-robin"; probe = { interval = "5s"; fall = 1; rise = 1; };
    backends = ( { name = "mx1"; address = "%s:25"; }, { name = "mx2"; address = "%s:25"; } ); };
    %s };
virtual_services = { inbound = { listen = [ "%s:25", "[%s]:25" ]; pool = "mail"; };
    %s };
""" % (DIR, DIR, DIR, TARPIT[0], MX["mx1"], MX["mx2"], TARPIT[1], *VIP, TARPIT[2])


def say(text):
    print("\n== " + text, flush=True)


def sh(cmd, check=True, quiet=True):
    return subprocess.run(cmd, shell=True, check=check, timeout=60, text=True,
                          stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT if quiet else None)


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


def show(*what):
    print("  $ mailracectl " + " ".join(what))
    run = sh("%s/tools/mailracectl -s %s/control.sock %s" % (BUILD, DIR, " ".join(what)), check=False)
    for line in run.stdout.splitlines():
        print("    " + line)
    return run.stdout


def metrics(words):
    for line in sh("curl -sf http://127.0.0.1:9825/metrics").stdout.splitlines():
        if line.startswith(words):
            print("    " + line)


def wait_for(check, seconds):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def health(name):
    run = sh("%s/tools/mailracectl -j -s %s/control.sock show backends" % (BUILD, DIR), check=False)
    try:
        return next(b["health"] for b in json.loads(run.stdout) if b["name"] == name)
    except (ValueError, StopIteration):
        return None


def start(started, program):
    log = open("%s/%s.log" % (DIR, os.path.basename(program)), "w", encoding="utf-8")
    started.append(subprocess.Popen([BUILD + "/" + program, "-c", DIR + "/mailrace.conf"], stdout=log, stderr=log))
    return log.name


def is_in(path, words):
    with open(path, encoding="utf-8") as f:
        return words in f.read()


def play(keep, servers, started):
    say("Starting two Postfix servers (%s) and Mailrace on a TAP" % ", ".join("%s %s" % i for i in MX.items()))
    with open(DIR + "/mailrace.conf", "w", encoding="utf-8") as f:
        f.write(CONFIG)
    demo_tarpit.prepare(DIR)
    log = start(started, "dataplane/mailrace-dataplane")
    if not wait_for(lambda: is_in(log, "ready"), 10):
        print(open(log, encoding="utf-8").read())
        return 1
    sh("ip addr add 10.77.0.1/24 dev mr0; ip -6 addr add fd77::1/64 dev mr0 nodad; ip link set mr0 up")
    for name, addr in MX.items():
        sh("ip addr add %s/32 dev lo" % addr)
        servers.append(Postfix(name, addr, DIR, "demo.example"))
        servers[-1].run("start")
    start(started, "controlplane/mailrace-controlplane")
    start(started, "tools/mailrace-exporter")
    say("The control process probes the servers: connect, banner, EHLO, QUIT, through the dataplane's own path")
    if not wait_for(lambda: health("mx1") == health("mx2") == "up", 20):
        print("  the probes found no server up")
    show("show", "virtual-services")

    say("20 mails by swaks to %s and %s; each says which Postfix took it, with its queue id" % VIP)
    ok = mails(0, 20, servers)
    say("The servers do not trust the balancer: relaying to a foreign domain is refused, through it as without it")
    accepted, replies, _ = send(100, "somebody@elsewhere.example")
    relay = next((r for r in replies if "454" in r or "554" in r), replies[-1])
    print("  " + relay)
    say("mx1 is stopped; mail goes on")
    servers[0].run("stop", check=False)
    ok += mails(20, 6, servers[1:])
    found = wait_for(lambda: health("mx1") == "down", 15)
    show("show", "backends")
    say("How long the servers took, by command")
    show("show", "latency")
    say("A few of the exporter's metrics")
    metrics(("mailrace_session_messages", "mailrace_backend_messages", "mailrace_backend_up", "mailrace_leg_retried",
             "mailrace_backend_synthetic"))
    print("\n  backend_synthetic_commands counts what we had to add, by cause; 0: the servers saw the clients' own commands,"
          " one EHLO each.")
    say("A server that makes clients wait %d s before it answers EHLO, HELO or RSET (a tarpit). The same mail in STARTTLS,"
        " three ways at once" % demo_tarpit.SECONDS)
    quick = demo_tarpit.play(DIR, sh)
    bad = ok != 26 or accepted or not found or not quick
    say("%d of 26 mails accepted%s" % (ok, "" if not bad else ": SOMETHING IS WRONG"))
    if keep:
        print("""
Left running; this shell ends it. To try:
  swaks --server 10.77.0.25 --from you@example.org --to me@demo.example
  {b}/tools/mailracectl -s {d}/control.sock show backends      (and: status, show sessions, drain mail/mx2, reload)
  curl -s http://127.0.0.1:9825/metrics | less
  postfix -c {d}/mx1/etc start; tail {d}/mx2/log; cat {d}/mailrace.conf""".format(b=BUILD, d=DIR))
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
        for p in reversed(started):
            p.terminate()
            p.wait()


if __name__ == "__main__":
    sys.exit(main())
