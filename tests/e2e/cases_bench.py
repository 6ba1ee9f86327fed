# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""The traffic generator against the dataplane over memif: that it works, that the product passes its judgement in each of its
modes, and that it notices faults. Nothing here is about speed."""

import os
import re
import sys

import lab
from lab import alone, measured, sh, wait_for

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools/bench"))
import bench


def rig(**kind):
    return bench.Rig(lab.BUILD, sessions=4000, idle_sleep=True, **kind)


def check_load(r, sessions, *args):
    """A load that must be without fault: the report."""
    before = r.stats()
    status, report, text = r.load(*args)
    assert status == 0, text
    assert report["sessions"] == report["sessions_ok"] == sessions, text
    books = report["messages"]
    assert books["issued"] == books["accepted"] == books["stored"] and books["lost"] == 0 and not books["failures"], books
    assert report["backends"]["EHLO"] == report["backends"]["sessions"] == report["backends"]["QUIT"] == sessions, report["backends"]
    assert report["backends"]["RSET"] == report["backends"]["NOOP"] == 0
    now = r.stats()
    assert now["half_open"] == 0, "a handshake that is over holds nothing"
    assert now["session_ended_total"] - before["session_ended_total"] == sessions
    assert now["session_messages_total"] - before["session_messages_total"] == books["accepted"]
    return report


def check_drained(r):
    wait_for("the buffers to come back", lambda: r.stats()["buffers_in_use"] == 0, 150)
    assert r.stop() == 0, r.read_log()


@alone
def case_generator_plain_sessions_of_both_families():
    with rig() as r:
        report = check_load(r, 300, "-n", 300, "-c", 16)
        assert report["backends"]["messages"] == 300 and report["latency"]["session"]["count"] == 300
        assert min(report["backends"]["connections"]) == 75, "round robin over all four backends"
        check_drained(r)


@alone
def case_generator_many_messages_recipients_and_sizes():
    with rig() as r:
        report = check_load(r, 60, "-n", 60, "-c", 8, "-m", 4, "-r", 3, "-s", "64-200000")
        assert report["backends"]["RCPT"] == 60 * 4 * 3 and report["backends"]["messages"] == 240
        check_drained(r)


@alone
def case_generator_pipelining_and_chunks():
    with rig() as r:
        for args in (["--pipelining"], ["--bdat"], ["--pipelining", "--bdat"]):
            report = check_load(r, 120, "-n", 120, "-c", 16, "-m", 2, "-s", "64-40000", *args)
            assert report["backends"]["BDAT" if "--bdat" in args else "DATA"] == 240
        check_drained(r)


@alone
def case_generator_starttls_in_waves_and_resumed():
    with rig(key="ecdsa-p256") as r:
        for version in ("12", "13"):
            report = check_load(r, 60, "-n", 60, "-c", 16, "-s", "64-40000", "--tls", version, "--wave", 8)
            assert report["latency"]["handshake"]["count"] == 60 and report["resumed"] == 0, report
            report = check_load(r, 60, "-n", 60, "-c", 16, "--tls", version, "--resume", "--pipelining")
            assert report["resumed"] > 0, "with the tickets of the first"
        check_drained(r)


@alone
def case_generator_idle_sessions_under_load():
    with rig() as r:
        report = check_load(r, 1100, "--hold", 1000, "-n", 100, "-c", 8)
        assert report["backends"]["messages"] == 100
        check_drained(r)


@alone
def case_generator_open_loop_and_slow_backends():
    with rig() as r:
        report = check_load(r, 100, "-n", 100, "--rate", 50, "-c", 100, "--delay", 30)
        assert report["latency"]["mail"]["p50_us"] >= 30000, report["latency"]
        assert report["seconds"] > 1.5, "100 sessions at 50 a second"
        check_drained(r)


@alone
def case_generator_over_a_veth():
    sh("ip", "link", "add", "bench0", "type", "veth", "peer", "name", "bench1")
    try:
        for i in ("bench0", "bench1"):
            sh("ethtool", "-K", i, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off", "sg", "off")
            sh("sysctl", "-qw", "net.ipv6.conf.%s.disable_ipv6=1" % i)
            sh("ip", "link", "set", i, "up")
        device = "net_af_packet0,iface=bench%d,framecnt=4096,blocksz=65536"
        with rig(devices=(device % 0, device % 1)) as r:
            check_load(r, 200, "-n", 200, "-c", 16, "-s", "64-20000")
            check_drained(r)
    finally:
        sh("ip", "link", "del", "bench0")


@alone
def case_generator_notices_faults():
    """A judge that never finds anything would pass all others."""
    with rig(service='limits = { message_size = "10K"; };') as r:
        status, report, text = r.load("-n", 20, "-c", 4, "-s", 20000)
        assert status == 1 and report["messages"]["failures"].get("code:end_of_data:552") == 20, text
        assert report["messages"]["stored"] == 0
        status, report, text = r.load("-n", 10, "-c", 2, targets=["10.99.0.25:26"])
        assert status == 1 and report["messages"]["failures"].get("refused:connect") == 10, text
    with rig(backends=["10.99.0.101:25"]) as r:
        r.backends = ["10.99.0.101:2525"]  # nobody listens where the dataplane calls
        status, report, text = r.load("-n", 10, "-c", 2)
        assert status == 1 and report["sessions_ok"] == 0, text


@alone
@measured
def case_generator_cycles_of_each_stage():
    with rig(cycles=True) as r:
        check_load(r, 200, "-n", 200, "-c", 16)
        assert r.stop() == 0, r.read_log()
        line = re.search(r"worker 0: (\d+) turns .* 200 sessions; cycles a session: (\d+) =(.*)", r.read_log())
        assert line, r.read_log()
        stages = dict(re.findall(r"(\w+) (\d+)", line.group(3)))
        assert list(stages) == ["receive", "input", "rings", "events", "timers", "output", "transmit"]
        for name in ("receive", "input", "events", "output", "transmit"):
            assert int(stages[name]) > 0, line.group(0)
        assert abs(sum(int(n) for n in stages.values()) - int(line.group(2))) < 8, "the sum of its parts"
    with rig() as r:
        check_load(r, 20, "-n", 20, "-c", 4)
        assert r.stop() == 0 and "cycles" not in r.read_log(), "counts only where it was asked for"
