# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Real Postfix servers as backends: every mail arrives once and whole, also when one of them is killed."""

import concurrent.futures
import contextlib
import glob
import mailbox
import os
import random
import re
import signal
import subprocess
import sys
import time

from lab import NET4, VIP4, VIP6, Control, Lab, sh, wait_for, waits
from mail import body_of, quiet, send

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
from postfix import Postfix

ADDRESSES = (NET4 + "51", NET4 + "52")
BACKENDS = tuple((a, 25) for a in ADDRESSES)
PROBE = 'probe = { interval = "5s"; fall = 1; rise = 1; };'


@contextlib.contextmanager
def postfixes(lab):
    servers = []
    try:
        for i, address in enumerate(ADDRESSES):
            sh("ip", "addr", "add", address + "/32", "dev", "lo")
            servers.append(Postfix("mx%d" % i, address, lab.dir, "lab.example"))
            servers[-1].run("start")
        yield servers
    finally:
        for s in servers:
            s.run("stop", check=False)
        for address in ADDRESSES:
            sh("ip", "addr", "del", address + "/32", "dev", "lo")


def delivered(servers):
    """Bodies by X-Id, over all mailboxes: {id: [body, ...]}."""
    found = {}
    for s in servers:
        for message in mailbox.mbox(s.dir + "/mail/box"):
            body = message.get_payload()
            found.setdefault(message["X-Id"], []).append(re.sub(r"(?m)^>From ", "From ", body).strip("\n"))
    return found


def accepted(servers):
    """The queue ids by X-Id: a mail of one id that stands twice in a mailbox was delivered twice by a server that was killed."""
    found = {}
    for s in servers:
        for message in mailbox.mbox(s.dir + "/mail/box"):
            found.setdefault(message["X-Id"], set()).add(re.search(r"\bid ([0-9A-Za-z]+)", message["Received"])[1])
    return found


def expected(bodies):
    out = {}
    for b in bodies:
        head, text = b.split(b"\r\n\r\n", 1)
        out[head.split(b": ")[1].decode()] = re.sub(r"(?m)^>From ", "From ", text.decode().replace("\r\n", "\n")).strip("\n")
    return out


def mails_to_postfix(port):
    rng = random.Random(7)
    bodies = [body_of(rng, rng.choice((100, 4000, 60000))) for _ in range(100)]
    with Lab(port, backends=BACKENDS) as lab, postfixes(lab) as servers:
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda i: send(bodies[i], VIP6 if i % 2 else VIP4, ("r@lab.example",)), range(len(bodies))))
        for host in (VIP4, VIP6):
            subprocess.run(["swaks", "--server", host, "--from", "a@b.example", "--to", "c@lab.example", "--header", "X-Id: s",
                            "--body", "swaks"], check=True, stdout=subprocess.DEVNULL, timeout=30)
        subprocess.run(["smtp-source", "-s", "100", "-m", "300", "-l", "4096", "-f", "a@b.example", "-t", "c@lab.example", VIP4 + ":25"],
                       check=True, stdout=subprocess.DEVNULL, timeout=60)
        wait_for("the deliveries", lambda: sum(len(v) for v in delivered(servers).values()) == 402, 40)
        found = delivered(servers)
        for number, body in expected(bodies).items():
            assert found[number] == [body], "mail %s: %d times, %s" % (number, len(found.get(number, ())), found.get(number))
        refused = subprocess.run(["swaks", "--server", VIP4, "--from", "a@b.example", "--to", "c@elsewhere.example"],
                                 capture_output=True, text=True, timeout=30, check=False)
        assert refused.returncode != 0 and "Relay access denied" in refused.stdout, "the servers do not trust the balancer"
        quiet(lab)


def case_postfix_servers_behind_a_tap():
    mails_to_postfix("tap")


def case_postfix_servers_behind_af_packet():
    mails_to_postfix("af_packet")


def kill_all(server):
    """SIGKILL to the master and to whatever speaks SMTP or takes mail in. Delivery agents are left to end by themselves: one
    killed while it writes a mailbox breaks or doubles a mail, which would be Postfix's doing and not ours."""
    with open(server.dir + "/queue/pid/master.pid", encoding="ascii") as f:
        master = int(f.read())
    children = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="ascii", errors="replace") as f:
                pid, rest = f.read().split(" ", 1)
            name, fields = rest[1:].rsplit(") ", 1)
            if int(fields.split()[1]) == master and name in ("smtpd", "cleanup"):
                children.append(int(pid))
        except OSError:
            continue
    for pid in [master] + children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@waits
def case_a_postfix_server_killed_under_traffic_and_back():
    rng = random.Random(8)
    bodies = [body_of(rng, 3000) for _ in range(300)]
    with Lab(backends=BACKENDS, extra=PROBE) as lab, Control(lab) as control, postfixes(lab) as servers:
        tries = {}

        def deliver(i):
            for n in range(10):  # as a sending server would: again after a temporary failure
                tries[i] = n + 1
                try:
                    return send(bodies[i], recipients=("r@lab.example",))
                except OSError:
                    time.sleep(0.3)
            raise AssertionError("mail %d was never accepted" % i)
        wait_for("both to be up", lambda: all(b["health"] == "up" for b in control.backends().values()), 20)
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            jobs = [pool.submit(deliver, i) for i in range(200)]
            wait_for("traffic", lambda: lab.stats["session_messages"] > 50)
            kill_all(servers[0])
            for j in jobs:
                j.result()
            wait_for("the probe to find it down", lambda: control.backends()["b0"]["health"] == "down", 20)
            before = control.backends()["b0"]["sessions_total"]
            servers[0].run("start")
            wait_for("the probe to find it up", lambda: control.backends()["b0"]["health"] == "up", 20)
            list(pool.map(deliver, range(200, 300)))
        assert control.backends()["b0"]["sessions_total"] > before, "it is used again"

        def all_delivered():
            if set(delivered(servers)) >= set(expected(bodies)):
                return True
            servers[0].run("flush", check=False)  # what the kill left in its queue
            time.sleep(1)
            return False
        wait_for("the deliveries", all_delivered, 40)
        lost = lab.stats["leg_end_of_data_lost"]
        twice = [k for k, v in accepted(servers).items() if len(v) > 1]
        assert all(set(v) == {expected(bodies)[k]} for k, v in delivered(servers).items()), "a body was changed"
        assert len(twice) <= lost, "%d doubled, %d replies lost after the end of data (RFC 1047)" % (len(twice), lost)
        quiet(lab)
