# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""A control process that means harm (scribbler.py): what it may not do stops no mail, whatever it does breaks nothing."""

import json
import os
import subprocess
import sys
import threading
import time

from cases_reload import Load
from lab import HOST4, Control, Lab, Sink, wait_for
from mail import quiet, send

MAIL = b"a: b\r\n\r\nc\r\n"
TWO = ((HOST4, 2525), (HOST4, 2526))
SCRIBBLER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scribbler.py")


def scribble(lab, phase, seconds, seed=1):
    run = subprocess.run([sys.executable, SCRIBBLER, lab.socket, phase, str(seconds), str(seed)], capture_output=True, text=True,
                         timeout=60 + seconds, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert lab.proc.poll() is None, "the dataplane has died"
    return json.loads(run.stdout)


def taken_again(lab, control, sinks):
    """An honest control process finds everything in order."""
    control.start()
    assert control.run("reload")[0] == 0
    assert all(b["health"] in ("up", "unknown") and b["admin"] == "enabled" for b in control.backends().values())
    before = sum(len(s.bodies) for s in sinks)
    for _ in range(10):
        send(MAIL)
    assert sum(len(s.bodies) for s in sinks) == before + 10
    quiet(lab)


def case_a_scribbling_control_process_stops_no_mail():
    with Lab(workers=2, port="af_packet", backends=TWO) as lab, Control(lab) as control:
        sinks = Sink(2525), Sink(2526)
        control.kill()
        with Load(6) as load:
            for phase, seconds in (("memory", 4), ("commands", 3), ("race", 4), ("socket", 1), ("memory", 2)):
                before = len(load.sent)
                did = scribble(lab, phase, seconds)
                wait_for("mail to go on", lambda: len(load.sent) > before + 5 or load.errors, 60)
                assert sum(did.values()) > 10, did
                print(phase, did, "%d mails" % (len(load.sent) - before))
        load.check(sinks)
        for counter in ("control_bad_ring", "control_unknown_commands", "control_bad_request", "probe_no_resource",
                        "configuration_bad_blob", "probe_sent"):
            assert lab.stats[counter] > 0, counter
        assert lab.stats["session_messages"] == len(load.sent)
        assert lab.read_log().count("generation of control refused") < 60, "one line a second is enough"
        taken_again(lab, control, sinks)


def case_a_control_process_out_of_its_mind_breaks_nothing():
    """Verdicts and configurations are control's to give, also senseless ones: clients are told 4xx or nothing, and when an
    honest process comes back all is well."""
    with Lab(workers=2, port="af_packet", backends=TWO) as lab, Control(lab) as control:
        sinks = Sink(2525), Sink(2526)
        control.kill()
        stop = threading.Event()

        def client():
            while not stop.is_set():
                try:
                    send(MAIL, timeout=3)
                except Exception:
                    time.sleep(0.02)
        threads = [threading.Thread(target=client) for _ in range(6)]
        for t in threads:
            t.start()
        try:
            for seed in range(2):
                for phase in ("verdicts", "blobs"):
                    taken = refused = 0
                    for again in range(8):  # on a busy machine the workers take a generation later
                        did = scribble(lab, phase, 3, seed + 2 * again)
                        print(phase, did)
                        taken, refused = taken + did.get("taken", 0), refused + did.get("refused", 0)
                        if phase != "blobs" or taken > 5 and refused > 5:
                            break
                    else:
                        raise AssertionError("%d taken, %d refused" % (taken, refused))
        finally:
            stop.set()
            for t in threads:
                t.join(60)
        assert lab.stats["configuration_bad_blob"] > 0
        taken_again(lab, control, sinks)
