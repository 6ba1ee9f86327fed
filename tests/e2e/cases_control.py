# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""The control process: generations, probes and health, the API and mailracectl, and what its death does not do."""

import concurrent.futures
import json
import mmap
import os
import random
import signal
import socket
import struct
import subprocess
import time

from lab import ABI_MAJOR, BUILD, DIRECTORY, HOST4, HOST6, NET4, NET6, VIP4, Control, Lab, Sink, attach, wait_for, waits
from mail import Raw, body_of, quiet, send

MAIL = b"a: b\r\n\r\nc\r\n"
TWO = ((HOST4, 2525), (HOST4, 2526))
PROBE = 'probe = { interval = "5s"; timeout = "1s"; fall = 2; rise = 1; };'
VIEWS = ("virtual-services", "pools", "backends", "ports", "conflicts", "workers", "sessions", "counters", "latency")


def case_control_reloads_under_traffic():
    rng = random.Random(4)
    with Lab(workers=2, port="af_packet") as lab, Control(lab) as control:
        sink, other = Sink(2525), Sink(2526)
        bodies = [body_of(rng, 3000) for _ in range(300)]
        first = lab.stats.current_generation()
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            jobs = [pool.submit(send, b) for b in bodies]
            for i in range(20):
                lab.write_config(lab.config.replace("}; };\nvirtual", "}; garbage }; };\nvirtual") if i % 2
                                 else lab.config.replace(":2525", ":2526") if i % 4 else lab.config)
                status, out, err = control.run("reload")
                assert status == i % 2, (status, out, err)
                assert status == 0 or "mailrace.conf" in err and "refused" in err, err
            for j in jobs:
                j.result()
        assert sorted(sink.bodies + other.bodies) == sorted(bodies)
        lab.write_config(lab.config.replace(":2525", ":2526"))
        assert "is in force" in control.run("reload")[1]
        assert lab.stats.current_generation() > first
        before = len(other.bodies)
        send(MAIL)
        assert len(other.bodies) == before + 1, "the new backend is used"
        lab.write_config(lab.config.replace("workers = 2", "workers = 3"))
        status, out, err = control.run("reload")
        assert status == 0 and "dataplane.workers" in out and "next start" in out, (out, err)
        lab.proc.send_signal(signal.SIGHUP)
        wait_for("the dataplane to say who reloads", lambda: "control is attached: reload there" in lab.read_log())
        quiet(lab)


def case_control_killed_under_traffic():
    rng = random.Random(5)
    with Lab(workers=2, port="af_packet", backends=TWO, extra=PROBE) as lab, Control(lab) as control:
        sinks = Sink(2525), Sink(2526)
        bodies = [body_of(rng, 2000) for _ in range(400)]
        counted = 0
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            jobs = [pool.submit(send, b) for b in bodies]
            for _ in range(10):
                second = subprocess.run([lab.build + "/controlplane/mailrace-controlplane", "-c", control.config], timeout=20,
                                        capture_output=True, text=True, check=False)
                assert second.returncode == 69 and "another control process" in second.stderr, second.stderr
                control.kill()
                assert lab.stats["session_accepted"] >= counted, "a counter went backwards"
                counted = lab.stats["session_accepted"]
                control.start()
            for j in jobs:
                j.result()
        assert sorted(sinks[0].bodies + sinks[1].bodies) == sorted(bodies)
        assert lab.stats["session_messages"] == 400 and lab.stats["tcp_resets_in"] == 0
        wait_for("both to be up", lambda: all(b["health"] == "up" for b in control.backends().values()))
        quiet(lab)


@waits
def case_health_by_probes():
    moods = {}

    def behave(verb, sink):
        mood = moods.get(sink)
        if mood == "slow" and verb in ("BANNER", "EHLO", "QUIT"):
            time.sleep(0.8)
        if mood == "refuse" and verb == "BANNER":
            return "554 5.3.2 not today"
        if mood == "silent" and verb == "EHLO":
            time.sleep(3)
        if mood == "close" and verb == "EHLO":
            raise ConnectionError
        return None
    with Lab(backends=TWO, extra=PROBE.replace("fall = 2", "fall = 1")) as lab, Control(lab) as control:
        one, two = Sink(2525, behave=behave), Sink(2526, behave=behave)
        moods[two] = "slow"  # slow is not down
        wait_for("the first probes", lambda: all(b["health"] == "up" for b in control.backends().values()), 15)
        for mood, result, stage in (("refuse", "bad_banner", "banner"), ("silent", "timeout", "ehlo"), ("close", "closed", "ehlo")):
            moods[two] = mood
            wait_for(mood, lambda: control.backends()["b1"]["health"] == "down", 25)
            probe = control.backends()["b1"]["probe"]
            assert (probe["result"], probe["stage"]) == (result, stage), probe
            assert mood != "refuse" or probe["reply"] == "554 5.3.2 not today", probe
            before = len(two.transcripts)
            for _ in range(6):
                send(MAIL)  # none of them goes there
            assert len(two.transcripts) <= before + 1, "a session was given to a backend that is down"
            moods[two] = None
            wait_for("back from " + mood, lambda: control.backends()["b1"]["health"] == "up", 15)
        send(MAIL)
        send(MAIL)
        assert two.bodies, "the backend is used again"
        probes = [t for t in one.transcripts if t and t[0] == "EHLO mx.lab.example"]
        assert probes and all(t == ["EHLO mx.lab.example", "QUIT"] for t in probes), probes
        assert len(probes) <= (time.monotonic() - one.born) / 5 + 2, "more than one probe an interval"
        quiet(lab)


@waits
def case_probes_never_leave_while_a_reply_is_owed():
    """A server holds it against an address (Z5): the verdict is told at the time-out, QUIT is said after the late reply."""
    late = {"BANNER": 0, "EHLO": 0, "QUIT": 0}
    refusal = []

    def behave(verb, sink):
        time.sleep(late.get(verb, 0))
        return refusal[0] if verb == "BANNER" and refusal else None
    with Lab(extra=PROBE.replace("fall = 2", "fall = 1")) as lab, Control(lab) as control:
        sink = Sink(2525, behave=behave)

        def health():
            return control.backends()["b0"]["health"]
        wait_for("the first probe", lambda: health() == "up", 20)
        for verb in late:
            late[verb] = 2.5
            wait_for("down at " + verb, lambda: health() == "down", 20)
            late[verb] = 0
            wait_for("up after " + verb, lambda: health() == "up", 20)
        refusal.append("554 5.3.2 not today")
        wait_for("down by a banner", lambda: health() == "down", 20)
        refusal.clear()
        wait_for("up again", lambda: health() == "up", 20)
        wait_for("all of them to end", lambda: all(t and t[-1] == "QUIT" for t in sink.transcripts), 20)
        assert ["QUIT"] in sink.transcripts and all(t in (["QUIT"], ["EHLO mx.lab.example", "QUIT"]) for t in sink.transcripts)
        assert lab.stats["probe_stayed"] >= 4 and lab.stats["probe_left_early"] == 0
        quiet(lab)


def case_probes_come_from_the_backends_family():
    own4, own6 = NET4 + "39", NET6 + "39"
    lab = Lab(backends=((HOST4, 2525), ("[%s]" % HOST6, 2526)), extra=PROBE.replace("fall", 'source = "probes"; fall'))
    lab.write_config(lab.config.replace("pools = {", 'source_addresses = { probes = [ "%s", "%s" ]; };\npools = {' % (own4, own6)))
    with lab, Control(lab) as control:
        sinks = {own4: Sink(2525), own6: Sink(2526, addr=HOST6)}
        wait_for("the first probes", lambda: all(b["health"] == "up" for b in control.backends().values()), 20)
        for own, sink in sinks.items():
            assert set(sink.peers) == {own}, (own, sink.peers)
        quiet(lab)


def case_health_is_kept_over_restarts():
    with Lab(backends=TWO, extra=PROBE) as lab, Control(lab) as control:
        one = Sink(2525)
        wait_for("b1 to be found down", lambda: control.backends()["b1"]["health"] == "down", 20)
        assert control.run("drain", "mail/b0")[0] == 0
        control.kill()
        c = Raw()
        assert c.reply().startswith("421"), "no backend: one is down, one drained, and control is dead"
        c.close()
        control.start()
        b = control.backends()
        assert b["b1"]["health"] == "down" and b["b0"]["admin"] == "drain", b
        assert control.run("enable", "mail/b0")[0] == 0
        send(MAIL)
        # the dataplane dies: control attaches to the next one and tells it what it knows
        lab.proc.send_signal(signal.SIGKILL)
        lab.proc.wait()
        seen = control.read_log().count("attached to")
        lab.restart()
        wait_for("control to attach again", lambda: control.read_log().count("attached to") > seen, 20)
        b = control.backends()
        assert b["b1"]["health"] == "down" and b["b0"]["health"] == "up", b
        send(MAIL)
        assert len(one.bodies) == 2
        quiet(lab)


def case_drain_lets_sessions_end():
    with Lab(backends=TWO) as lab, Control(lab) as control:
        one, two = Sink(2525), Sink(2526)
        kept = [Raw(), Raw()]
        for c in kept:
            c.ask("EHLO me")
        assert control.run("drain", "mail/b0") == (0, "mail/b0: drain\n", "")
        for _ in range(4):
            send(MAIL)
        assert len(two.bodies) == 4 and not one.bodies
        assert control.backends()["b0"]["connections"] == 1, "the open session stays"
        for c in kept:
            for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", b"x\r\n.\r\n", "QUIT"):
                assert c.ask(line)[0] in "23", line
            c.close()
        assert len(one.bodies) == 1
        wait_for("the last session to leave", lambda: control.backends()["b0"]["connections"] == 0)
        assert control.run("reload")[0] == 0 and control.backends()["b0"]["admin"] == "drain", "a reload does not undo it"
        assert control.run("enable", "mail/b0")[0] == 0
        send(MAIL)
        send(MAIL)
        assert len(one.bodies) == 2
        assert control.run("drain", "mail/nobody")[0] == 1 and control.run("drain", "mail")[0] == 64
        quiet(lab)


def case_mailracectl_shows():
    with Lab(workers=2, port="af_packet", backends=TWO) as lab, Control(lab) as control:
        sinks = Sink(2525), Sink(2526)
        for _ in range(5):
            send(MAIL)
        open_ones = [Raw() for _ in range(300)]
        for c in open_ones:
            c.ask("EHLO me")
        for view in VIEWS:
            status, out, err = control.run("show", view)
            assert status == 0 and out.strip(), (view, out, err)
            control.json("show", view)
        service = control.json("show", "virtual-services")[0]
        assert service["name"] == "inbound" and VIP4 + ":25" in service["listen"] and service["messages_total"] == 5, service
        assert service["sessions"] == 300 and control.json("show", "pools")[0]["connections"] == 300
        assert sum(b["messages_total"] for b in control.backends().values()) == 5
        listed = control.json("show", "sessions")
        assert len(listed["sessions"]) == 300 and not listed["truncated"]
        assert len({s["id"] for s in listed["sessions"]}) == 300, "session ids are unique over workers"
        assert {s["client"] for s in listed["sessions"]} == {"%s:%d" % c.s.getsockname() for c in open_ones}
        assert all(s["state"] == "command" and s["leg_state"] == "ready" for s in listed["sessions"])
        assert len(control.json("show", "sessions", "-n", "270")["sessions"]) == 270
        assert control.json("show", "sessions", "-n", "270")["truncated"]
        assert control.run("show", "sessions", "-n", "0")[0] == 1
        port = control.json("show", "ports")[0]
        assert (port["name"], port["link"], port["queues"]) == ("lan", "up", 2), port
        link = subprocess.run(["ip", "-j", "link", "show", "mrbox"], capture_output=True, check=True, timeout=10).stdout
        assert port["mac"] == json.loads(link)[0]["address"], port
        assert port["receive_packets_total"] > 1000 and port["transmit_packets_total"] > 1000 and port["receive_no_buffer_total"] == 0
        latency = control.json("show", "latency")
        eod = [row for row in latency if row["verb"] == "end_of_data"]
        assert sum(row["count"] for row in eod) == 5 and all(0 < row["p50_seconds"] <= row["p99_seconds"] < 1 for row in eod)
        assert control.json("show", "counters")["session_messages"] == 5
        status = control.json("status")
        assert status["dataplane"]["attached"] and status["dataplane"]["sessions"] == 300, status
        for c in open_ones:
            c.close()
        assert control.run("bogus")[0] == 64 and control.run("show", "bogus")[0] == 64
        assert control.run("check", "-c", control.config)[0] == 0
        lab.write_config(lab.config.replace("scheduler", "sheduler"))
        status, out, err = control.run("check", "-c", control.config)
        assert status == 1 and "mailrace.conf:" in err and "pools.mail.sheduler: unknown key" in err, err
        assert json.loads(control.run("-j", "check", "-c", control.config)[1])["good"] is False
        gone = subprocess.run([lab.build + "/tools/mailracectl", "-s", lab.dir + "/nothing", "status"], capture_output=True,
                              text=True, timeout=20, check=False)
        assert gone.returncode == 69 and "no control process" in gone.stderr, gone.stderr
        quiet(lab)
        assert sinks[0].bodies and sinks[1].bodies


def case_the_api_knows_its_users():
    lab = Lab()
    lab.config = lab.config.replace("control = {", 'control = { read_group = "mail"; admin_group = "adm";', 1)
    lab.write_config(lab.config)
    with lab, Control(lab) as control:
        os.chmod(lab.dir, 0o755)
        for groups, show, reload in (([], 77, 77), (["mail"], 0, 77), (["adm"], 0, 0)):
            user = {"user": "nobody", "group": "nogroup", "extra_groups": groups}
            assert control.run("show", "backends", **user)[0] == show, groups
            assert control.run("reload", **user)[0] == reload, groups
            stats = subprocess.run([lab.build + "/tools/mailrace-stats", lab.socket], capture_output=True, timeout=20, check=False, **user)
            assert (stats.returncode == 0) == bool(groups), stats.stderr
        # strangers, however many, are told so at once and take nobody's place
        crowd = """import socket, struct, sys
codes = set()
for _ in range(60):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(5)
    s.connect(sys.argv[1])
    codes.add(struct.unpack_from("<I", s.recv(64), 8)[0])
print(codes)"""
        waiting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        waiting.connect(lab.socket)
        strangers = subprocess.run(["python3", "-c", crowd, lab.socket], capture_output=True, text=True, timeout=20, check=False,
                                   user="games", group="games", extra_groups=[])
        assert strangers.stdout == "{3}\n", strangers
        waiting.send(struct.pack("<IHHII", 0x4B53524D, ABI_MAJOR, 0, 1, 0))
        assert struct.unpack_from("<I", waiting.recv(64), 8)[0] == 0
        waiting.close()
        curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", control.socket]
        for args, code in ((["http://x/v1/nothing"], "404"), (["-X", "DELETE", "http://x/v1/pools"], "405"),
                           (["http://x/v1/sessions?limit=x"], "400"), (["-d", "x" * 100000, "http://x/v1/check"], "000"),
                           (["-d", "x", "http://x/v1/check"], "200"), (["http://x/v1/status"], "200")):
            r = subprocess.run(curl + args, capture_output=True, text=True, timeout=20, check=False)
            assert r.stdout == code, (args[-1][-30:], r.stdout)


def case_a_hostile_control_process_stops_no_mail():
    rng = random.Random(6)
    with Lab(workers=2, port="af_packet") as lab:
        sink = Sink(2525)
        generation = lab.stats.current_generation()
        bodies = [body_of(rng, 2000) for _ in range(200)]
        sections = {}
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            jobs = [pool.submit(send, b) for b in bodies]
            for _ in range(5):
                s, code, fds = attach(lab.socket, 2)
                assert code == 0 and len(fds) == 2
                assert attach(lab.socket, 2)[1] == 4, "one control process at a time"
                for change in (lambda: os.ftruncate(fds[1], 0), lambda: os.ftruncate(fds[1], 1 << 40)):
                    try:
                        change()
                        raise AssertionError("the segment's size could be changed")
                    except PermissionError:
                        pass
                memory = mmap.mmap(fds[1], 0)
                for i in range(32):  # whole again for each one that attaches
                    kind, count, off, stride = struct.unpack_from("<IIQQ", memory, DIRECTORY + 24 * i)
                    sections[kind] = off
                    if kind == 24:  # verdicts, reasons and all
                        memory[off:off + stride * count] = rng.randbytes(stride * count)
                health, state, arena = sections[16], sections[20], sections[19]
                blob = bytearray(memory[arena:arena + 4096])
                memory[8:health] = rng.randbytes(health - 8)  # header and directory
                memory[state:arena] = rng.randbytes(arena - state)  # and the rings; health is its to tell
                for k in range(40):
                    for _ in range(k % 4 + 1):
                        blob[rng.randrange(len(blob))] ^= 1 << rng.randrange(8)
                    memory[arena:arena + len(blob)] = bytes(blob)
                    length = rng.choice((0, 1, 300, 1 << 31, struct.unpack_from("<I", blob, 16)[0]))
                    s.send(struct.pack("<II", 0x4B53524D, length))
                    assert struct.unpack_from("<I", s.recv(256), 4)[0] != 0, "garbage was taken for a generation"
                for fd in fds:
                    os.close(fd)
                s.send(b"garbage")
                s.close()
            for j in jobs:
                j.result()
        assert sorted(sink.bodies) == sorted(bodies)
        assert lab.stats.current_generation() == generation
        assert lab.stats["control_bad_ring"] + lab.stats["control_unknown_commands"] > 0
        with Control(lab) as control:  # an honest one finds it in order
            assert control.run("status")[0] == 0
            send(MAIL)
        quiet(lab)


def case_usage_names_each_view_once():
    r = subprocess.run([BUILD + "/tools/mailracectl"], capture_output=True, text=True, timeout=10, check=False)
    assert r.returncode == 64, r
    views = [v for line in r.stderr.splitlines() if line.startswith("  show ") for v in line.split()[1].split("|")]
    assert len(views) == len(set(views)), views
    assert set(VIEWS) <= set(views) and {"neighbors", "routes", "memory"} <= set(views), views
    with open("docs/man/mailracectl.8", encoding="utf-8") as f:
        page = f.read()
    assert all(v in page for v in views), [v for v in views if v not in page]
