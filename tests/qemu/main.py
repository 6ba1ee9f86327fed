# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Mail through the drivers of real NICs: a guest is booted with Mailrace inside, its NIC is given to vfio-pci, mails of kernel
clients go through it to kernel backends, the cable is pulled in the middle, and the NIC is given back."""

import argparse
import concurrent.futures
import os
import random
import signal
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e")]
from guest import NICS, Guest
from lab import BUILD, HOST4, NET4, NET6, VIP4, VIP6, Sink, wait_for
from mail import Raw, body_of, send

NIC_SECONDS = 240
SESSIONS = 600
FLAPPED = 20
CONFIG = """hostname = "mx.lab.example";
dataplane = { workers = %d; max_sessions = 2000; hugepages = "128M"; buffers = 8192; user = "mail";
              socket = "/run/mailrace/dp.sock"; };
ports = { lan = { device = "%s"; addresses = [ "%s10/24", "%s10/64" ]; }; };
pools = { mail = { scheduler = "weighted-round-robin"; backends = ( { name = "b0"; address = "%s:2525"; } ); }; };
virtual_services = { inbound = { listen = [ "%s:25", "[%s]:25" ]; pool = "mail"; }; };
"""


def per_worker(metrics, name):
    return [int(v) for (n, labels), v in sorted(metrics.items()) if n == name and "worker=" in labels]


def total(metrics, name):
    return int(sum(v for (n, _), v in metrics.items() if n == name))


def port(guest, name):
    return int(guest.metrics()["port_" + name, 'port="lan"'])


def interface_is_there(guest, address):
    return guest.run("ls -d /sys/bus/pci/devices/%s/net/* || ls -d /sys/bus/pci/devices/%s/virtio*/net/*" % (address, address))[0] == 0


def nic_take(guest):
    """As docs/operations.md says: IOMMU, hugepages, vfio-pci. Returns the NIC's address."""
    address = guest.must("nic")
    guest.must("ls -d /sys/kernel/iommu_groups/0")
    if guest.nic["module"]:
        guest.must("module " + guest.nic["module"])
        wait_for("the kernel's interface", lambda: interface_is_there(guest, address), 20)
        assert guest.must("nic_driver " + address) == guest.nic["driver"]
    guest.must("module vfio_iommu_type1 && module vfio-pci")
    guest.must("nic_bind " + address)
    guest.must("ls /dev/vfio/[0-9]*")
    guest.must("echo 80 >/proc/sys/vm/nr_hugepages")
    return address


def nic_give_back(guest, address):
    guest.must("nic_release " + address)
    if guest.nic["module"]:
        assert guest.must("nic_driver " + address) == guest.nic["driver"]
        wait_for("the kernel's interface", lambda: interface_is_there(guest, address), 20)
    assert guest.run("ls /dev/vfio/[0-9]*")[0] != 0, "the group is still held"
    guest.must("echo 0 >/proc/sys/vm/nr_hugepages")
    assert guest.must("grep HugePages_Total /proc/meminfo").split()[1] == "0"


def dataplane_start(guest, address):
    guest.write("/etc.conf", CONFIG % (guest.workers, address, NET4, NET6, HOST4, VIP4, VIP6))
    guest.must("mailrace-dataplane -t -c /etc.conf")
    guest.must("mailrace-dataplane -c /etc.conf >/log 2>&1 & echo $! >/pid")

    def ready():
        text = guest.must("cat /log")
        assert guest.run("kill -0 $(cat /pid)")[0] == 0, text
        return "ready:" in text

    wait_for("the dataplane", ready, 60)
    print(guest.must("grep -e port -e ready /log"))
    guest.addresses_set(NET4, NET6)
    wait_for("the link", lambda: port(guest, "up") == 1, 30)


def dataplane_stop(guest):
    guest.must("kill $(cat /pid)")
    wait_for("the dataplane to end", lambda: guest.run("kill -0 $(cat /pid)")[0] != 0, 30)
    assert "stopping" in guest.must("cat /log")


def mails(guest):
    rng = random.Random(7)
    bodies = [body_of(rng, rng.choice((200, 3000, 20000))) for _ in range(SESSIONS)]
    sink = Sink(2525)
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: send(bodies[i], VIP6 if i % 2 else VIP4), range(SESSIONS)))
    seconds = time.monotonic() - start
    assert sorted(sink.bodies) == sorted(bodies), "%d of %d" % (len(sink.bodies), SESSIONS)
    sink.close()
    return seconds


def half_a_mail(i):
    c = Raw(VIP6 if i % 2 else VIP4)
    for line in ("EHLO me.example", "MAIL FROM:<a@b>", "RCPT TO:<c@d>"):
        assert c.ask(line).startswith("250"), line
    assert c.ask("DATA").startswith("354")
    c.say(b"Subject: %d\r\n" % i)
    return c


def link_flap(guest):
    """The cable is pulled in the middle of mails; all of them arrive."""
    sink = Sink(2525)
    clients = [half_a_mail(i) for i in range(FLAPPED)]
    sessions = per_worker(guest.metrics(), "sessions")
    assert len(sessions) == guest.workers and min(sessions) > 0 and sum(sessions) == FLAPPED, sessions
    before = port(guest, "link_changes_total")
    guest.link(False)
    wait_for("the link to be seen down", lambda: port(guest, "up") == 0, 20)
    for i, c in enumerate(clients):
        c.say(b"while it was down %d\r\n" % i)
    time.sleep(1)
    guest.link(True)
    wait_for("the link to be seen up", lambda: port(guest, "up") == 1, 20)
    for c in clients:
        assert c.ask(b".\r\n").startswith("250")
        assert c.ask("QUIT").startswith("221")
        c.close()
    assert sorted(sink.bodies) == sorted(b"Subject: %d\r\nwhile it was down %d\r\n" % (i, i) for i in range(FLAPPED))
    assert port(guest, "link_changes_total") == before + 2
    sink.close()


def check(guest):
    """Every frame counted: those that RSS brought to the wrong worker, those handed over, nothing dropped."""
    m = guest.metrics()
    wrong, others = total(m, "worker_wrong_queue_segments_total"), total(m, "worker_sent_for_others_packets_total")
    print("segments %d, at the wrong worker %d, sent for others %d, retransmissions %d, sessions %d, legs %d, rss %d" % (
        total(m, "tcp_segments_in_total"), wrong, others, total(m, "tcp_retransmits_total"), total(m, "tcp_accepts_total"),
        total(m, "tcp_connects_total"), port(guest, "rss")))
    assert total(m, "tcp_accepts_total") == total(m, "tcp_connects_total") == SESSIONS + FLAPPED
    few = guest.nic["queues"] < guest.workers
    assert port(guest, "rss") == guest.nic["rss"]
    for reason in ("tcp_checksum", "ip4_checksum", "steered_wrong", "no_buffer"):
        assert m["net_drops_total", 'reason="%s"' % reason] == 0, reason
    assert m["worker_drops_total", 'reason="steer_ring_full"'] == 0
    assert (wrong > 0) == (few or not guest.nic["rss"]), wrong
    assert (others > 0) == few, others
    for name in ("tcp_timeouts_total", "tcp_resets_in_total"):
        assert total(m, name) == 0, name


def nic_case(name, build, workers):
    with tempfile.TemporaryDirectory(prefix="mailrace-qemu-", dir="/run") as folder:
        start = time.monotonic()
        with Guest(name, build, folder) as guest:
            guest.workers = workers
            try:
                address = nic_take(guest)
                dataplane_start(guest, address)
                bound = time.monotonic() - start
                seconds = mails(guest)
                link_flap(guest)
                check(guest)
                dataplane_stop(guest)
                nic_give_back(guest, address)
            except BaseException:
                print(guest.run("cat /log; dmesg | tail -20")[1])
                raise
            finally:
                for sink in list(Sink.open):
                    sink.close()
        size = os.path.getsize(folder + "/initrd") / 1e6
        print("%s: initrd %.1f MB in %.1f s, shell after %.1f s, first mail after %.1f s, %d mails in %.1f s" % (
            name, size, guest.made, guest.booted, bound, SESSIONS, seconds))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", default=BUILD)
    p.add_argument("--nic", action="append", choices=sorted(NICS))
    p.add_argument("--workers", type=int, default=2)
    a = p.parse_args()
    passed = failed = 0
    for name in a.nic or ("e1000e", "virtio"):
        start = time.monotonic()
        signal.alarm(NIC_SECONDS)
        try:
            nic_case(name, a.build, a.workers)
            passed += 1
            result = "ok"
        except Exception:
            failed += 1
            result = "FAILED"
            traceback.print_exc(file=sys.stdout)
        signal.alarm(0)
        print("%-60s %-6s %5.1f s" % ("mail through " + name, result, time.monotonic() - start), flush=True)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
