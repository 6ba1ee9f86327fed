# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""The dataplane as a process: starts, stops, reloads, what others may read of it."""

import concurrent.futures
import mmap
import os
import pwd
import random
import re
import signal
import struct
import socket
import subprocess
import time

from lab import ABI_MAJOR, HOST4, VIP4, Control, Lab, Sink, Stats, alone, attach, wait_for, waits
from mail import Raw, body_of, quiet, send


def case_reload_moves_services_and_sessions_stay_with_theirs():
    """A session whose leg was lost takes its next one from its own service's pool, wherever that stands in the file."""
    two = """pools = { one = { backends = ( { name = "b"; address = "%s:2525"; } ); }; two = { backends = ( { name = "b"; address = "%s:2526"; } ); }; };
virtual_services = { %s };
"""
    one_service = 'first = { listen = [ "%s:26" ]; pool = "one"; };' % VIP4
    own_service = 'own = { listen = [ "%s:25" ]; pool = "two"; };' % VIP4
    lab = Lab()
    head = lab.config[:lab.config.index("pools =")]
    lab.write_config(head + two % (HOST4, HOST4, one_service + own_service))
    lose = [True]

    def behave(verb, sink):
        if verb == "CUT" and lose:
            lose.clear()
            raise ConnectionError
        return "354 go on" if verb == "DATA" and lose else None
    with lab:
        wrong, right = Sink(2525), Sink(2526, behave=behave)
        for services in (own_service + one_service, one_service + own_service, own_service):
            c = Raw()
            lose.append(True)
            before = lab.stats.current_generation()
            assert c.ask("EHLO me.example").startswith("250")
            for line, code in (("MAIL FROM:<a@b>", "250"), ("RCPT TO:<c@d>", "250"), ("DATA", "354")):
                assert c.ask(line).startswith(code), line
            c.say("CUT")
            wait_for("the leg to be lost", lambda: not lose and lab.stats["session_body_bytes"] > 0)
            time.sleep(0.1)
            assert c.ask(".").startswith("451")
            lab.write_config(head + two % (HOST4, HOST4, services))
            lab.reload()
            wait_for("the generation", lambda: lab.stats.current_generation() > before)
            for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", b"x: y\r\n.\r\n", "QUIT"):
                assert c.ask(line)[0] in "23", line
            c.close()
        assert len(right.bodies) == 3 and not wrong.transcripts, (right.bodies, wrong.transcripts)


def start_fails(config_change, words, status):
    lab = Lab()
    lab.write_config(config_change(lab.config))
    run = subprocess.run([lab.binary, "-c", lab.dir + "/mailrace.conf"], capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == status, (run.returncode, run.stderr)
    assert all(w in run.stderr for w in words), run.stderr
    assert not os.path.exists(lab.socket), "the socket is left"
    return lab


def case_wrong_starts_are_refused_with_reasons():
    start_fails(lambda c: c.replace("workers", "wokers", 1), ["mailrace.conf:2", "dataplane.wokers", "unknown key"], 78)
    start_fails(lambda c: c.replace('pool = "mail"', 'limits = { messages_per_minute = 5; }; pool = "mail"', 1),
                ["inbound.limits.messages_per_minute", "not built yet"], 78)
    start_fails(lambda c: c.replace("net_tap0,iface=mr0", "0000:ff:1f.0"), ["lan"], 66)
    start_fails(lambda c: c.replace('memory = "384M"', 'memory = "32M"'), ["packet buffers", "memory"], 71)
    start_fails(lambda c: c.replace("workers = 1", "workers = 32").replace("net_tap0,iface=mr0", "net_null0"),
                ["packet buffers", "dataplane.buffers must be at least"], 71)
    start_fails(lambda c: c.replace("hostname", 'x = 1; hostname', 1), ["unknown key"], 78)
    lab = start_fails(lambda c: c.replace("dp.sock", "mailrace.conf"), ["not a socket"], 69)
    assert os.path.getsize(lab.dir + "/mailrace.conf") > 0, "a file was taken for a stale socket"
    with Lab() as lab:
        run = subprocess.run([lab.binary, "-c", lab.dir + "/mailrace.conf"], capture_output=True, text=True, timeout=30, check=False)
        assert run.returncode == 69 and "another dataplane" in run.stderr, run.stderr
        Lab.stop.__get__(lab)
        assert lab.proc.poll() is None


def status_of(proc, key):
    with open("/proc/%d/status" % proc.pid, encoding="ascii") as f:
        return re.search(r"(?m)^%s:\s+(.*)$" % key, f.read()).group(1).split()


def case_own_users_without_privileges():
    for port in ("tap", "af_packet"):
        lab = Lab(port)
        lab.config = lab.config.replace("socket = \"%s\"" % lab.socket, 'user = "daemon"; socket = "%s"' % lab.socket, 1)
        lab.config = lab.config.replace("control = {", 'control = { user = "nobody";', 1)
        lab.write_config(lab.config)
        os.chmod(lab.dir, 0o777)
        with lab, Control(lab) as control:
            sink = Sink(2525)
            send(b"a: b\r\n\r\nc\r\n")
            assert len(sink.bodies) == 1 and control.backends()["b0"]["messages_total"] == 1
            for proc, uid in ((lab.proc, pwd.getpwnam("daemon").pw_uid), (control.proc, pwd.getpwnam("nobody").pw_uid)):
                assert status_of(proc, "Uid") == [str(uid)] * 4 and status_of(proc, "NoNewPrivs") == ["1"]
                assert int(status_of(proc, "CapEff")[0], 16) == 0 and int(status_of(proc, "CapPrm")[0], 16) == 0
            lab.write_config(lab.config.replace("weight = 1", "weight = 2"))
            assert control.run("reload")[0] == 0
            seen = control.read_log().count("attached to")
            lab.proc.terminate()  # and again, as these users
            lab.proc.wait(10)
            lab.restart()
            wait_for("control to attach again", lambda: control.read_log().count("attached to") > seen, 10)
            stranger = subprocess.run([lab.build + "/controlplane/mailrace-controlplane", "-c", control.config], capture_output=True,
                                      text=True, timeout=20, check=False, user="games", group="games", extra_groups=[])
            assert stranger.returncode == 69, stranger.stderr
            sink.close()
    start_fails(lambda c: c.replace("dataplane = {", 'dataplane = { user = "nobody-of-this-name";', 1), ["user", "no such user"], 77)


def case_another_version_of_the_shared_memory_is_refused():
    with Lab() as lab:
        for role in (1, 2):
            s, code, fds = attach(lab.socket, role, major=ABI_MAJOR + 1)
            assert code == 2 and not fds, "neither side takes the other for its own"
            s.close()
        for garbage in (b"", b"x", b"\0" * 16, b"\xff" * 400):
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.connect(lab.socket)
            s.send(garbage)
            assert struct.unpack_from("<I", s.recv(64), 8)[0] == 1, garbage
            s.close()
        silent = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(20)]
        for s in silent:  # who asks nothing keeps nobody from it, and is sent away
            s.connect(lab.socket)
            lab.stats = Stats(lab.socket)
        silent[-1].settimeout(5)
        start = time.monotonic()
        assert struct.unpack_from("<I", silent[-1].recv(64), 8)[0] == 1 and time.monotonic() - start < 4
        late = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        late.connect(lab.socket)
        time.sleep(0.5)  # a process that had to wait for its core
        late.send(struct.pack("<IHHII", 0x4B53524D, ABI_MAJOR, 0, 1, 0))
        assert struct.unpack_from("<I", late.recv(64), 8)[0] == 0
        for s in silent + [late]:
            s.close()
    # and the other way round: a dataplane of tomorrow
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as fake:
        path = lab.dir + "/tomorrow.sock"
        fake.bind(path)
        fake.listen()
        viewer = subprocess.Popen([lab.build + "/tools/mailrace-stats", path], stderr=subprocess.PIPE, text=True)
        client, _ = fake.accept()
        client.recv(64)
        client.send(struct.pack("<IHHIIQ", 0x4B53524D, ABI_MAJOR + 1, 0, 0, 0, 1))
        _, err = viewer.communicate(timeout=10)
        assert viewer.returncode == 69 and err, err
        client.close()


@alone
def case_hugepages():
    """Mail on hugepages where the kernel gives some to this test; a clear refusal where it does not."""
    start_fails(lambda c: c.replace('memory = "384M"', 'hugepages = "900G"'),
                ["dataplane.hugepages wants 921600 MiB", "are free", "vm.nr_hugepages"], 71)
    knob = "/proc/sys/vm/nr_hugepages"
    with open(knob, encoding="ascii") as f:
        before = int(f.read())

    def pages(name):
        with open("/proc/meminfo", encoding="ascii") as f:
            return int(re.search(r"HugePages_%s:\s+(\d+)" % name, f.read()).group(1))
    wanted = 128
    try:
        try:
            with open(knob, "w", encoding="ascii") as f:
                f.write("%d" % (before + wanted))
        except OSError as e:
            print("no hugepages to be had here (%s): the refusal alone was tested" % e)
            return
        free = pages("Free")
        if free < wanted:
            print("no hugepages to be had here (%d free): the refusal alone was tested" % free)
            return
        lab = Lab("af_packet", workers=2)
        lab.write_config(lab.config.replace('memory = "384M"', 'hugepages = "%dM"' % (2 * wanted)))
        with lab:
            sink = Sink(2525)
            assert pages("Free") < free, "the memory comes from hugepages"
            for _ in range(20):
                send(b"a: b\r\n\r\n" + b"c" * 70 + b"\r\n")
            assert len(sink.bodies) == 20
            quiet(lab)
        assert pages("Free") == free, "and is given back"
    finally:
        if pages("Total") != before:
            with open(knob, "w", encoding="ascii") as f:
                f.write("%d" % before)


def case_readers_cannot_write_the_statistics():
    with Lab() as lab:
        again = os.open("/proc/self/fd/%d" % lab.stats.fd, os.O_RDWR)  # as the owner; others are kept out by the mode
        assert lab.stats.mode == 0o600, oct(lab.stats.mode)
        for attempt in (lambda: mmap.mmap(again, 0), lambda: os.pwrite(again, b"x" * 8, 80), lambda: os.ftruncate(again, 64)):
            try:
                attempt()
            except PermissionError:
                continue
            raise AssertionError("a reader could change the segment")
        os.close(again)


@waits
def case_an_orderly_stop():
    for port in ("tap", "af_packet"):
        with Lab(port) as lab:
            sink = Sink(2525)
            idle, mailing, stuck = Raw(), Raw(), Raw()
            for c in (idle, mailing, stuck):
                c.ask("EHLO c.example")
            for c in (mailing, stuck):
                c.ask("MAIL FROM:<a@b.example>")
                c.ask("RCPT TO:<c@d.example>")
            assert mailing.ask("DATA").startswith("354")
            start = time.monotonic()
            lab.proc.terminate()
            assert idle.reply().startswith("421 4.3.2"), "an idle session is told so"
            assert idle.f.read() == b""
            assert mailing.ask("a: b\r\n\r\nc\r\n.").startswith("250"), "a mail under way is finished"
            mailing.close()
            try:
                assert stuck.f.read() == b"x", "a session that does not end is reset"
            except ConnectionResetError:
                pass
            assert 4 < time.monotonic() - start < 8
            assert lab.proc.wait(10) == 0
            assert len(sink.bodies) == 1
            sink.close()


def case_a_second_signal_stops_at_once():
    with Lab() as lab:
        sink, stuck = Sink(2525), Raw()
        stuck.ask("EHLO c.example")
        stuck.ask("MAIL FROM:<a@b.example>")
        lab.proc.terminate()
        wait_for("the drain", lambda: "draining" in lab.read_log())
        lab.proc.terminate()
        assert lab.proc.wait(2) == 0
        sink.close()


@alone
def case_sixty_four_workers_start_and_stop():
    lab = Lab(workers=64)
    config = lab.config.replace("net_tap0,iface=mr0", "net_null0").replace('"384M"', '"1024M"')
    lab.write_config(config.replace("buffers = 32768", "buffers = 131072"))
    with open(lab.dir + "/log", "w", encoding="utf-8") as log:
        proc = subprocess.Popen([lab.binary, "-c", lab.dir + "/mailrace.conf"], stderr=log)
    try:
        wait_for("64 workers", lambda: proc.poll() is not None or "ready: 64 workers" in lab.read_log(), 60)
        assert proc.poll() is None, lab.read_log()
        proc.terminate()
        assert proc.wait(30) == 0, lab.read_log()
    finally:
        proc.kill()
        proc.wait()


def case_killed_and_started_again():
    with Lab("af_packet") as lab:
        sink = Sink(2525)
        send(b"a: b\r\n\r\nc\r\n")
        lab.proc.send_signal(signal.SIGKILL)
        lab.proc.wait()
        lab.restart()
        send(b"a: b\r\n\r\nc\r\n")
        assert len(sink.bodies) == 2
        sink.close()


def case_metrics_are_clean_prometheus_text():
    lab = Lab()
    lab.write_config(lab.config + 'exporter = { listen = "127.0.0.1:9825"; user = "nobody"; };\n')
    os.chmod(lab.dir, 0o755)
    with lab:
        sink = Sink(2525)
        send(b"a: b\r\n\r\nc\r\n")
        exporter = subprocess.Popen([lab.build + "/tools/mailrace-exporter", "-c", lab.dir + "/mailrace.conf"])
        try:
            wait_for("the exporter", lambda: subprocess.run(["curl", "-sf", "http://127.0.0.1:9825/metrics"], check=False,
                                                            stdout=subprocess.DEVNULL).returncode == 0)
            text = subprocess.run(["curl", "-sf", "http://127.0.0.1:9825/metrics"], check=True, stdout=subprocess.PIPE).stdout
            assert os.stat("/proc/%d" % exporter.pid).st_uid == 65534, "the exporter keeps its rights"
        finally:
            exporter.kill()
            exporter.wait()
        check = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
        assert check.returncode == 0, check.stdout + check.stderr
        assert b"mailrace_up 1" in text and b"mailrace_session_messages_total 1" in text
        for line in (b'backend_reply_seconds_count{pool="mail",backend="b0",verb="end_of_data"} 1',
                     b'pool_reply_seconds_count{pool="mail",verb="end_of_data"} 1', b'backend_up{pool="mail",backend="b0"} 1',
                     b'pool_reply_seconds_bucket{pool="mail",verb="end_of_data",le="4.95"} 1',
                     b'backend_messages_total{pool="mail",backend="b0"} 1', b'virtual_service_messages_total{virtual_service="inbound"} 1'):
            assert b"\nmailrace_" + line + b"\n" in text, line
        with open("docs/metrics.md", encoding="utf-8") as f:
            documented = set(re.findall(r"`(mailrace_\w+)", f.read()))
        families = set(re.findall(r"^# TYPE (\w+)", text.decode(), flags=re.M))
        assert families <= documented, families - documented
        once = subprocess.run([lab.build + "/tools/mailrace-stats", lab.socket], check=True, stdout=subprocess.PIPE).stdout
        assert b"mailrace_session_messages_total 1" in once
        quiet(lab)
        sink.close()


def case_reload_under_traffic_cuts_nothing():
    rng = random.Random(3)
    with Lab(backends=((HOST4, 2525),)) as lab:
        sink, other = Sink(2525), Sink(2526)
        bodies = [body_of(rng, 3000) for _ in range(300)]
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            jobs = [pool.submit(send, b) for b in bodies]
            for i in range(20):
                good = lab.config.replace(":2525", ":2526") if i % 2 else lab.config
                lab.write_config("garbage {" if i % 5 == 4 else good)
                lab.reload()
                time.sleep(0.1)
            for j in jobs:
                j.result()
        assert sorted(sink.bodies + other.bodies) == sorted(bodies)
        assert lab.stats.current_generation() > 5
        assert "reload refused" in lab.read_log() and "next start only" not in lab.read_log()
        lab.write_config(lab.config.replace("workers = 1", "workers = 2"))
        lab.reload()
        wait_for("a warning", lambda: "dataplane.workers changed in the file: read at the next start only" in lab.read_log())
        quiet(lab)
        sink.close()
        other.close()
