#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Cases of tests/e2e/run. Each makes its own laboratory; each is bounded in time; the last line counts."""

import argparse
import concurrent.futures
import mmap
import os
import random
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import HOST4, NET4, VIP4, VIP6, Lab, Sink, wait_for

BUILD = "build/gcc"


def body_of(rng, size):
    lines = [b"X-Id: %d" % rng.randrange(1 << 60), b""]
    n = 0
    while n < size:
        line = (b"." * rng.randrange(3)) + bytes(rng.randrange(33, 127) for _ in range(rng.randrange(76)))
        lines.append(line)
        n += len(line) + 2
    return b"\r\n".join(lines) + b"\r\n"


def send(body, host=VIP4, recipients=("r@example.com",), timeout=60):
    with smtplib.SMTP(host, 25, timeout=timeout) as s:
        s.ehlo("client.example")
        s.sendmail("s@example.com", list(recipients), body)


class Raw:
    """A client by hand."""

    def __init__(self, host=VIP4, banner=True):
        self.s = socket.create_connection((host, 25), timeout=20)
        self.f = self.s.makefile("rb")
        if banner:
            assert self.reply().startswith("220"), "banner"

    def say(self, data):
        self.s.sendall(data if isinstance(data, bytes) else data.encode() + b"\r\n")

    def reply(self):
        while True:
            line = self.f.readline().decode("latin1")
            if len(line) < 4 or line[3] != "-":
                return line.strip()

    def ask(self, data):
        self.say(data)
        return self.reply()

    def close(self):
        self.f.close()
        self.s.close()


def quiet(lab, seconds=30):
    """Nothing is left open, and nothing was said to a backend that no client said."""
    wait_for("sessions to end", lambda: lab.stats.sessions() == 0, seconds)
    for name in ("synthetic_ehlo", "synthetic_rset", "synthetic_noop", "leg_desync"):
        assert lab.stats[name] == 0, name


def case_mails_over_both_families(port):
    rng = random.Random(1)
    with Lab(BUILD, port) as lab:
        sink = Sink(2525)
        bodies = [body_of(rng, rng.randrange(5000)) for _ in range(20)]
        for i, body in enumerate(bodies):
            send(body, VIP6 if i % 2 else VIP4)
        assert sorted(sink.bodies) == sorted(bodies)
        assert lab.stats["session_messages"] == 20
        quiet(lab)
        sink.close()


def case_mails_over_both_families_af_packet():
    case_mails_over_both_families("af_packet")


def case_mails_over_both_families_tap():
    case_mails_over_both_families("tap")


def many_sessions(port, workers, count):
    rng = random.Random(2)
    bodies = [body_of(rng, rng.choice((200, 2000, 4000, 20000))) for _ in range(count)]
    with Lab(BUILD, port, workers) as lab:
        sink = Sink(2525)
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            list(pool.map(lambda i: send(bodies[i], VIP6 if i % 3 == 0 else VIP4), range(count)))
        assert sorted(sink.bodies) == sorted(bodies), "%d of %d" % (len(sink.bodies), count)
        quiet(lab)
        sink.close()


def case_two_thousand_sessions_one_worker():
    many_sessions("tap", 1, 2000)


def case_sessions_over_two_workers_and_steering():
    many_sessions("af_packet", 2, 600)


def case_two_workers_on_a_tap():
    many_sessions("tap", 2, 300)


def case_the_backend_sees_only_the_clients_verbs():
    with Lab(BUILD) as lab:
        sink = Sink(2525)
        c = Raw()
        said = ["EHLO me.example", "MAIL FROM:<a@b> SIZE=10", "RCPT TO:<c@d>", "NOOP", "RSET", "VRFY x", "QUIT"]
        for line in said:
            c.ask(line)
        c.close()
        wait_for("the transcript", lambda: sink.transcripts == [said])
        quiet(lab)
        sink.close()


def case_pipelining_and_a_thousand_recipients():
    for keywords in (("PIPELINING", "8BITMIME"), ("8BITMIME", "SIZE 1000000")):
        with Lab(BUILD) as lab:
            sink = Sink(2525, keywords=keywords)
            c = Raw()
            c.ask("EHLO me.example")
            group = ["MAIL FROM:<a@b>"] + ["RCPT TO:<r%d@d>" % i for i in range(1000)] + ["DATA"]
            c.say("\r\n".join(group).encode() + b"\r\n")
            replies = [c.reply()[:3] for _ in group]
            assert replies == ["250"] * 1001 + ["354"], replies[-5:]
            assert c.ask(b"Subject: x\r\n\r\n..dot\r\n.\r\n").startswith("250")
            assert c.ask("QUIT").startswith("221")
            c.close()
            assert sink.bodies == [b"Subject: x\r\n\r\n.dot\r\n"]
            assert sink.transcripts[0] == ["EHLO me.example"] + group + ["QUIT"]
            quiet(lab)
            sink.close()


def case_bdat():
    with Lab(BUILD) as lab:
        sink = Sink(2525)
        c = Raw()
        c.ask("EHLO me.example")
        c.ask("MAIL FROM:<a@b>")
        c.ask("RCPT TO:<c@d>")
        first, last = b"A: b\r\n\r\n.\r\nMAIL FROM:<x>\r\n" * 300, b"\r\n.\r\nend\r\n"
        c.say(b"BDAT %d\r\n" % len(first) + first + b"BDAT %d LAST\r\n" % len(last) + last)
        assert c.reply().startswith("250") and c.reply().startswith("250")
        assert c.ask("BDAT x").startswith("501")
        assert c.ask("QUIT").startswith("221")
        c.close()
        assert sink.bodies == [first + last]
        quiet(lab)
        sink.close()


def case_a_message_of_30_megabytes():
    body = b"Subject: big\r\n\r\n" + (b"x" * 998 + b"\r\n") * 30000
    with Lab(BUILD) as lab:
        sink = Sink(2525)
        send(body, timeout=120)
        assert sink.bodies == [body]
        quiet(lab)
        sink.close()


def case_smuggling_is_refused_and_nothing_is_stored():
    with Lab(BUILD) as lab:
        sink = Sink(2525)
        for end in (b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n"):
            c = Raw()
            for line in ("EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
                c.ask(line)
            for b in b"text" + end + b"MAIL FROM:<smuggled@x>\r\n":
                c.say(bytes([b]))
            assert c.ask(b"\r\n.\r\n").startswith("550 5.5.2"), end
            # the next mail of the session takes a fresh connection
            for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>"):
                assert c.ask(line).startswith("250"), line
            assert c.ask("DATA").startswith("354")
            assert c.ask(b"good\r\n.\r\n").startswith("250")
            c.ask("QUIT")
            c.close()
        assert sink.bodies == [b"good\r\n"] * 7
        assert not any("smuggled" in v for t in sink.transcripts for v in t)
        quiet(lab)
        sink.close()


def case_refusals_of_ours():
    with Lab(BUILD, service='limits = { message_size = "1M"; recipients = 100; };') as lab:
        sink = Sink(2525, keywords=("PIPELINING", "SIZE 100000000"))
        c = Raw()
        c.say("EHLO me")
        lines = []
        while not lines or lines[-1][3] == "-":
            lines.append(c.f.readline().decode().strip())
        assert lines[-1] == "250 SIZE 1048576", lines
        for line, code in (
            ("BLAH", "500 5.5.1"), ("XCLIENT ADDR=1.2.3.4", "500 5.5.1"), ("STARTTLS", "502"), ("NOOP " + "x" * 3000, "500 5.5.6"),
            ("MAIL FROM:<a@b> BODY=8BITMIME", "555"), ("MAIL FROM:<a@b> SIZE=2000000", "552 5.3.4"), (b"NOOP\n", "500 5.5.2"),
            ("NOOP", "250"),
        ):
            assert c.ask(line).startswith(code), line
        c.ask("QUIT")
        c.close()
        quiet(lab)
        sink.close()


def case_backend_killed_and_back():
    with Lab(BUILD, backends=((HOST4, 2525), (HOST4, 2526))) as lab:
        one, two = Sink(2525), Sink(2526)
        for _ in range(10):
            send(b"a: b\r\n\r\nc\r\n")
        assert one.bodies and two.bodies
        one.close()
        before = len(two.bodies)
        for _ in range(10):
            send(b"a: b\r\n\r\nc\r\n")
        assert len(two.bodies) == before + 10
        again = Sink(2525)

        def back():
            send(b"a: b\r\n\r\nc\r\n")
            return len(again.bodies) > 0
        wait_for("the backend to be used again", back, 40)
        two.close()
        again.close()
        c = Raw()
        assert c.reply().startswith("421 mx.lab.example"), "all backends gone"
        c.close()
        quiet(lab)


def case_backend_lost_in_every_state():
    for verb in ("BANNER", "EHLO", "MAIL", "RCPT", "DATA", "EOD", "QUIT"):
        def behave(v, sink, verb=verb):
            if v == verb:
                raise ConnectionError
            return None
        with Lab(BUILD) as lab:
            sink = Sink(2525, behave=behave)
            c = Raw()
            replies = []
            for data in ("EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", b"x\r\n.\r\n", "QUIT"):
                try:
                    replies.append(c.ask(data))
                except OSError:
                    break
                if not replies[-1] or replies[-1][0] not in "23":
                    break
            c.close()
            assert sink.bodies == [] or verb == "QUIT", verb
            assert verb in ("QUIT",) or any(r[:3] in ("421", "451") or r == "" for r in replies), (verb, replies)
            quiet(lab)
            sink.close()


def case_clients_that_vanish_in_every_state():
    steps = ["EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", b"half a body\r\nof two lines", b"\r\n.\r\n"]
    with Lab(BUILD) as lab:
        sink = Sink(2525, behave=lambda v, s: time.sleep(0.05))
        for n in range(len(steps) + 1):
            for reset in (False, True):
                for wait in (False, True):
                    c = Raw()
                    for i, data in enumerate(steps[:n]):
                        last = i == n - 1
                        c.say(data)
                        if data != steps[4] and (wait or not last):
                            c.reply()
                    if reset:
                        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    c.close()
        quiet(lab, 40)
        assert all(b == b"half a body\r\nof two lines\r\n" for b in sink.bodies), sink.bodies
        assert lab.stats["leg_quits"] > 0 and lab.stats["leg_aborted_in_body"] > 0
        for t in sink.transcripts:
            assert all(v.split()[0] in ("EHLO", "MAIL", "RCPT", "DATA", "QUIT") for v in t), t
            assert sum(v.startswith("EHLO") for v in t) <= 1
        sink.close()


def case_reload_under_traffic_cuts_nothing():
    rng = random.Random(3)
    with Lab(BUILD, backends=((HOST4, 2525),)) as lab:
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


def start_fails(config_change, words, status):
    lab = Lab(BUILD)
    lab.write_config(config_change(lab.config))
    run = subprocess.run([lab.binary, "-c", lab.dir + "/mailrace.conf"], capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == status, (run.returncode, run.stderr)
    assert all(w in run.stderr for w in words), run.stderr
    assert not os.path.exists(lab.socket), "the socket is left"
    return lab


def case_wrong_starts_are_refused_with_reasons():
    start_fails(lambda c: c.replace("workers", "wokers", 1), ["mailrace.conf:2", "dataplane.wokers", "unknown key"], 78)
    start_fails(lambda c: c.replace("scheduler =", "slow_start = \"1m\"; scheduler =", 1), ["pools.mail.slow_start", "not built yet"], 78)
    start_fails(lambda c: c.replace("net_tap0,iface=mr0", "0000:ff:1f.0"), ["lan"], 66)
    start_fails(lambda c: c.replace('memory = "384M"', 'memory = "32M"'), ["packet buffers", "memory"], 71)
    start_fails(lambda c: c.replace("workers = 1", "workers = 32").replace("net_tap0,iface=mr0", "net_null0"),
                ["packet buffers", "dataplane.buffers must be at least"], 71)
    start_fails(lambda c: c.replace("hostname", 'x = 1; hostname', 1), ["unknown key"], 78)
    lab = start_fails(lambda c: c.replace("dp.sock", "mailrace.conf"), ["not a socket"], 69)
    assert os.path.getsize(lab.dir + "/mailrace.conf") > 0, "a file was taken for a stale socket"
    with Lab(BUILD) as lab:
        run = subprocess.run([lab.binary, "-c", lab.dir + "/mailrace.conf"], capture_output=True, text=True, timeout=30, check=False)
        assert run.returncode == 69 and "another dataplane" in run.stderr, run.stderr
        Lab.stop.__get__(lab)
        assert lab.proc.poll() is None


def case_readers_cannot_write_the_statistics():
    with Lab(BUILD) as lab:
        again = os.open("/proc/self/fd/%d" % lab.stats.fd, os.O_RDWR)  # as the owner; others are kept out by the mode
        assert lab.stats.mode == 0o600, oct(lab.stats.mode)
        for attempt in (lambda: mmap.mmap(again, 0), lambda: os.pwrite(again, b"x" * 8, 80), lambda: os.ftruncate(again, 64)):
            try:
                attempt()
            except PermissionError:
                continue
            raise AssertionError("a reader could change the segment")
        os.close(again)


def case_stalled_uploads_leave_room_for_others():
    stalled = threading.Event()
    lab = Lab(BUILD)
    lab.write_config(lab.config.replace("buffers = 32768", "buffers = 4096"))  # the least there may be
    with lab:
        sink = Sink(2525)
        sink.server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sink.pause = stalled
        clients = [Raw() for _ in range(60)]
        for c in clients:
            for line in ("EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA"):
                assert c.ask(line)[0] in "23"
            c.s.setblocking(False)
        for _ in range(8):
            for c in clients:
                try:
                    while True:
                        c.s.send((b"y" * 70 + b"\r\n") * 20)
                except BlockingIOError:
                    pass
            time.sleep(0.25)
        start = time.monotonic()
        c = Raw()
        assert c.ask("EHLO c.example").startswith("250") and time.monotonic() - start < 3
        c.close()
        stalled.set()
        for c in clients:
            c.close()
        quiet(lab)
        sink.close()


def case_an_orderly_stop():
    for port in ("tap", "af_packet"):
        with Lab(BUILD, port) as lab:
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
    with Lab(BUILD) as lab:
        sink, stuck = Sink(2525), Raw()
        stuck.ask("EHLO c.example")
        stuck.ask("MAIL FROM:<a@b.example>")
        lab.proc.terminate()
        wait_for("the drain", lambda: "draining" in lab.read_log())
        lab.proc.terminate()
        assert lab.proc.wait(2) == 0
        sink.close()


def case_sixty_four_workers_start_and_stop():
    lab = Lab(BUILD, workers=64)
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
    with Lab(BUILD, "af_packet") as lab:
        sink = Sink(2525)
        send(b"a: b\r\n\r\nc\r\n")
        lab.proc.send_signal(signal.SIGKILL)
        lab.proc.wait()
        lab.proc = subprocess.Popen([lab.binary, "-c", lab.dir + "/mailrace.conf"], stderr=lab.log, stdout=lab.log)
        wait_for("the second start", lambda: lab.read_log().count("ready") == 2, 20)
        send(b"a: b\r\n\r\nc\r\n")
        assert len(sink.bodies) == 2
        sink.close()


def case_passthrough():
    with Lab(BUILD, service='tls = { mode = "passthrough"; };') as lab:
        sink = Sink(2525)
        c = Raw(banner=False)
        assert c.reply() == "220 sink ESMTP"
        assert c.ask("XANYTHING").startswith("250")
        assert c.ask("QUIT").startswith("221")
        c.close()
        assert sink.transcripts == [["XANYTHING", "QUIT"]]
        quiet(lab)
        sink.close()


def case_metrics_are_clean_prometheus_text():
    with Lab(BUILD) as lab:
        sink = Sink(2525)
        send(b"a: b\r\n\r\nc\r\n")
        lab.write_config(lab.config + 'exporter = { listen = "127.0.0.1:9825"; };\n')
        exporter = subprocess.Popen([BUILD + "/tools/mailrace-exporter", "-c", lab.dir + "/mailrace.conf"])
        try:
            wait_for("the exporter", lambda: subprocess.run(["curl", "-sf", "http://127.0.0.1:9825/metrics"], check=False,
                                                            stdout=subprocess.DEVNULL).returncode == 0)
            text = subprocess.run(["curl", "-sf", "http://127.0.0.1:9825/metrics"], check=True, stdout=subprocess.PIPE).stdout
        finally:
            exporter.kill()
            exporter.wait()
        check = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
        assert check.returncode == 0, check.stdout + check.stderr
        assert b"mailrace_up 1" in text and b"mailrace_session_messages_total 1" in text
        assert b'mailrace_backend_reply_seconds_count{slot="1",verb="end_of_data"} 1' in text
        once = subprocess.run([BUILD + "/tools/mailrace-stats", lab.socket], check=True, stdout=subprocess.PIPE).stdout
        assert b"mailrace_session_messages_total 1" in once
        quiet(lab)
        sink.close()


def case_swaks_and_smtp_source():
    with Lab(BUILD) as lab:
        sink = Sink(2525)
        for host in (VIP4, VIP6):
            subprocess.run(["swaks", "--server", host, "--from", "a@b.example", "--to", "c@d.example", "--pipeline"],
                           check=True, stdout=subprocess.DEVNULL, timeout=30)
        subprocess.run(["smtp-source", "-s", "20", "-m", "200", "-l", "4096", "-c", "-f", "a@b.example", "-t", "c@d.example",
                        VIP4 + ":25"], check=True, stdout=subprocess.DEVNULL, timeout=60)
        assert len(sink.bodies) == 202
        quiet(lab)
        sink.close()


def main():
    global BUILD
    p = argparse.ArgumentParser()
    p.add_argument("--build", default=BUILD)
    p.add_argument("--filter", default="")
    a = p.parse_args()
    BUILD = a.build
    passed = failed = 0
    for name, case in list(globals().items()):
        if not name.startswith("case_") or name == "case_mails_over_both_families" or a.filter not in name:
            continue
        start = time.monotonic()
        signal.alarm(180)
        try:
            case()
            passed += 1
            result = "ok"
        except Exception:
            failed += 1
            result = "FAILED"
            traceback.print_exc()
        signal.alarm(0)
        print("%-60s %-6s %5.1f s" % (name[5:].replace("_", " "), result, time.monotonic() - start), flush=True)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
