# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Ports: fewer queues than workers, frames that come to the wrong worker, links that flap."""

import concurrent.futures
import random
import socket
import subprocess
import time

from lab import HOST4, VIP4, VIP6, Control, Lab, Sink, alone, sh, wait_for
from mail import Raw, body_of, quiet, send

ETH_P_ALL = 0x0003


def mails(lab, count, seed):
    """Sessions of one mail each over both families; every body must arrive once and whole."""
    rng = random.Random(seed)
    bodies = [body_of(rng, rng.choice((200, 2000, 4000, 20000))) for _ in range(count)]
    sink = Sink(2525)
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        list(pool.map(lambda i: send(bodies[i], VIP6 if i % 3 == 0 else VIP4), range(count)))
    assert sorted(sink.bodies) == sorted(bodies), "%d of %d" % (len(sink.bodies), count)
    quiet(lab)
    sink.close()


def workers_over_queues(port, workers, queues, count):
    with Lab(port, workers, queues=queues) as lab:
        assert "queues %d, workers %d" % (queues, workers) in lab.read_log()
        mails(lab, count, queues)
        if queues < workers:
            assert lab.stats["worker_sent_for_others_packets"] > count
        assert lab.stats["worker_wrong_queue_segments"] > 0
        wait_for("all to arrive", lambda: lab.stats["worker_steered_in_packets"] == lab.stats["worker_steered_out_packets"])
        for name in ("worker_steer_ring_full", "net_steered_wrong", "net_tx_full"):
            assert lab.stats[name] == 0, name


@alone
def case_three_workers_on_a_tap_of_one_queue():
    workers_over_queues("tap", 3, 1, 2000)


def case_three_workers_on_a_tap_of_two_queues():
    workers_over_queues("tap", 3, 2, 300)


def case_two_workers_on_a_veth_of_one_queue():
    workers_over_queues("af_packet", 2, 1, 300)


def case_a_switch_that_hands_to_the_wrong_worker():
    """The kernel's fanout spreads over four sockets by a hash of its own: three in four frames come to the wrong worker."""
    with Lab("af_packet", 4) as lab:
        mails(lab, 400, 4)
        wrong, steered = lab.stats["worker_wrong_queue_segments"], lab.stats["worker_steered_in_packets"]
        segments = lab.stats["tcp_segments_in"]
        assert wrong > segments / 2, (wrong, segments)
        assert steered >= wrong, (steered, wrong)
        assert lab.stats["net_steered_wrong"] == 0


def case_two_ports_of_one_queue_each():
    """Each worker owns the queue of one port, and sends on the other by its owner: clients on one port, backends behind both."""
    lab = Lab("af_packet", 2, queues=1, backends=((HOST4, 2525), ("10.78.0.1", 2525)))
    sh("ip", "link", "add", "mr1", "type", "veth", "peer", "name", "mrbox1")
    try:
        for i in ("mr1", "mrbox1"):
            sh("ethtool", "-K", i, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off", "sg", "off")
            sh("ip", "link", "set", i, "up")
        sh("ip", "addr", "add", "10.78.0.1/24", "dev", "mr1")
        device = "net_af_packet1,iface=mrbox1,framecnt=4096,blocksz=65536"
        lab.write_config(lab.config.replace("ports = {", 'ports = { be = { device = "%s"; addresses = [ "10.78.0.10/24" ]; };'
                                            % device))
        with lab:
            rng = random.Random(5)
            bodies = [body_of(rng, rng.choice((200, 4000, 20000))) for _ in range(200)]
            sinks = [Sink(2525), Sink(2525, "10.78.0.1")]
            with concurrent.futures.ThreadPoolExecutor(50) as pool:
                list(pool.map(send, bodies))
            assert sorted(sinks[0].bodies + sinks[1].bodies) == sorted(bodies)
            assert all(len(s.bodies) > 50 for s in sinks), [len(s.bodies) for s in sinks]
            assert lab.stats["worker_sent_for_others_packets"] > 200
            quiet(lab)
    finally:
        sh("ip", "link", "del", "mr1")


def case_resets_leave_by_the_owners_queue_at_the_end():
    """A dataplane that is stopped twice resets what is open, whichever worker has it."""
    with Lab("af_packet", 3, queues=1) as lab:
        sink = Sink(2525)
        clients = [half_a_mail(i) for i in range(30)]
        lab.proc.terminate()
        wait_for("the drain", lambda: "draining" in lab.read_log())
        lab.proc.terminate()
        assert lab.proc.wait(20) == 0
        for c in clients:
            c.s.settimeout(5)
            try:
                c.s.recv(100)
                raise AssertionError("not reset")
            except ConnectionResetError:
                c.close()
        assert sink.bodies == []
        sink.close()


def case_more_queues_than_workers_are_refused():
    lab = Lab("af_packet", 1)
    with open(lab.dir + "/mailrace.conf", "r+", encoding="utf-8") as f:
        text = f.read().replace("qpairs=1", "qpairs=2")
        f.seek(0)
        f.write(text)
    r = subprocess.run([lab.binary, "-c", lab.dir + "/mailrace.conf"], capture_output=True, text=True, timeout=30, check=False)
    lab.stop()
    assert r.returncode == 66 and "more queues (qpairs) than there are workers" in r.stderr, (r.returncode, r.stderr)


def half_a_mail(i):
    c = Raw(VIP6 if i % 2 else VIP4)
    for line in ("EHLO me.example", "MAIL FROM:<a@b>", "RCPT TO:<c@d>"):
        assert c.ask(line).startswith("250"), line
    assert c.ask("DATA").startswith("354")
    c.say(b"Subject: %d\r\n" % i)
    return c


def announced(listener, seconds=10):
    """Gratuitous ARP and an unsolicited advertisement of the virtual services' addresses, seen on the wire."""
    listener.settimeout(0.2)
    want = {"arp": socket.inet_aton(VIP4), "na": socket.inet_pton(socket.AF_INET6, VIP6)}
    end = time.monotonic() + seconds
    while want and time.monotonic() < end:
        try:
            f = listener.recv(2048)
        except OSError:  # nothing yet, or the link's going down
            continue
        if f[12:14] == b"\x08\x06" and f[28:32] == f[38:42] == want.get("arp"):
            del want["arp"]
        elif f[12:14] == b"\x86\xdd" and f[20] == 58 and f[54] == 136 and f[62:78] == want.get("na"):
            del want["na"]
    return want


def a_link_flaps(end, queues):
    """Either end of the wire goes down in the middle of mails, for longer than a retransmission takes."""
    with Lab("af_packet", 2, queues=queues) as lab, Control(lab) as control:
        sink = Sink(2525)
        sh("sysctl", "-qw", "net.ipv6.conf.mr0.keep_addr_on_down=1")
        clients = [half_a_mail(i) for i in range(40)]
        for flap in range(2):
            port = lambda: control.json("show", "ports")[0]
            sh("ip", "link", "set", end, "down")
            wait_for("the link to be seen down", lambda: port()["link"] == "down", 10)
            for i, c in enumerate(clients):
                c.say(b"flap %d of %d\r\n" % (flap, i) * 20)
            time.sleep(1.5)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as listener:
                listener.bind(("mr0", 0))
                sh("ip", "link", "set", end, "up")
                assert announced(listener) == {}
            wait_for("the link to be seen up", lambda: port()["link"] == "up", 10)
            assert port()["link_changes_total"] == 2 * flap + 2, port()
        assert port()["spread"] == "software" and port()["queues"] == queues, port()
        for c in clients:
            assert c.ask(b".\r\n").startswith("250")
            assert c.ask("QUIT").startswith("221")
            c.close()
        want = [b"Subject: %d\r\n" % i + b"".join(b"flap %d of %d\r\n" % (f, i) * 20 for f in range(2)) for i in range(40)]
        assert sorted(sink.bodies) == sorted(want)
        assert lab.stats["session_messages"] == 40
        assert lab.stats["leg_opened"] == 40
        for name in ("tcp_timeouts", "tcp_resets_in", "session_client_gone", "leg_aborted_in_body"):
            assert lab.stats[name] == 0, name
        quiet(lab)
        sink.close()


def case_a_link_flap_at_the_peer_loses_no_session():
    a_link_flaps("mr0", 2)


def case_a_link_flap_at_the_box_loses_no_session():
    a_link_flaps("mrbox", 1)
