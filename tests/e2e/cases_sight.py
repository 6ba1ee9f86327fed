# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Looking into the traffic: captures and transcripts, pings, tables, test mails."""

import concurrent.futures
import json
import mmap
import os
import random
import re
import signal
import socket
import struct
import subprocess
import time

from lab import DIRECTORY, HOST4, HOST6, NET4, NET6, VIP4, VIP6, Control, Lab, Sink, attach, sh, wait_for
from mail import Raw, body_of, quiet, send

MAIL = b"a: b\r\n\r\nc\r\n"
OTHER4 = NET4 + "77"
OTHER = socket.inet_aton(OTHER4)
TWO = ((HOST4, 2525), (HOST4, 2526))


def blocks(path):
    """The blocks of a pcapng file: (type, body)."""
    with open(path, "rb") as f:
        data = f.read()
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        assert length % 4 == 0 and length >= 12 and at + length <= len(data), (at, length, len(data))
        assert struct.unpack_from("<I", data, at + length - 4)[0] == length
        yield kind, data[at + 8:at + length - 4]
        at += length


def options(body, off):
    found = {}
    while off + 4 <= len(body):
        code, n = struct.unpack_from("<HH", body, off)
        if code == 0:
            break
        found[code] = body[off + 4:off + 4 + n]
        off += 4 + (n + 3) // 4 * 4
    return found


def pcap_frames(path):
    with open(path, "rb") as f:
        data = f.read()
    at = 24
    while at < len(data):
        n = struct.unpack_from("<I", data, at + 8)[0]
        yield data[at + 16:at + 16 + n]
        at += 16 + n


class Capture:
    """A capture file: frames as (interface, time, direction, comment, frame), and what the statistics say."""

    def __init__(self, path):
        self.frames, self.lost, self.delivered, self.names = [], 0, 0, []
        self.ended = False
        for kind, body in blocks(path):
            if kind == 1:
                self.names.append(options(body, 8)[2].decode())
            elif kind == 6:
                port, high, low, n, whole = struct.unpack_from("<5I", body)
                o = options(body, 20 + (n + 3) // 4 * 4)
                self.frames.append((port, high << 32 | low, struct.unpack("<I", o[2])[0], o.get(1, b"").decode(), body[20:20 + n]))
            elif kind == 5:
                o = options(body, 12)
                self.lost += struct.unpack("<Q", o[5])[0]
                self.delivered += struct.unpack("<Q", o[8])[0]
                self.ended = True

    def tuples(self):
        """TCP frames as (source, port, destination, port, flags, payload, sequence number)."""
        out = []
        for _, _, _, _, f in self.frames:
            if f[12:14] != b"\x08\x00" or f[23] != 6:
                continue
            ip = (f[14] & 15) * 4
            tcp = 14 + ip
            sport, dport = struct.unpack_from(">HH", f, tcp)
            end = 14 + struct.unpack_from(">H", f, 16)[0]
            addr = lambda b: ".".join(map(str, b))
            payload = f[tcp + (f[tcp + 12] >> 4) * 4:end]
            out.append((addr(f[26:30]), sport, addr(f[30:34]), dport, f[tcp + 13], payload, f[tcp + 4:tcp + 8]))
        return out


def tcpdump_reads(path, count):
    r = subprocess.run(["tcpdump", "-nvvr", path], capture_output=True, text=True, timeout=30, check=False)
    assert r.returncode == 0 and "truncated" not in r.stderr, r.stderr
    lines = [l for l in r.stdout.split("\n") if "Flags [" in l and "advertisement" not in l]
    assert len(lines) == count, (len(lines), count)
    assert "incorrect" not in r.stdout and "bad cksum" not in r.stdout, r.stdout[:3000]
    assert all("(correct)" in l for l in lines), lines[:3]


class Running:
    """mailracectl capture in the background."""

    def __init__(self, control, *args, file="capture.pcapng"):
        self.control, self.path = control, control.lab.dir + "/" + file
        wait_for("the capture before to end", lambda: control.lab.stats["capture_armed"] == 0)
        self.proc = subprocess.Popen([control.lab.build + "/tools/mailracectl", "-s", control.socket, "capture", *args, "-w", self.path],
                                     stderr=subprocess.PIPE, text=True)
        wait_for("the workers to be armed", lambda: self.proc.poll() is not None or
                 control.lab.stats["capture_armed"] == control.lab.stats.workers)
        assert self.proc.poll() is None, self.proc.communicate()

    def end(self, sign=signal.SIGINT, status=0):
        if sign:
            self.proc.send_signal(sign)
        _, err = self.proc.communicate(timeout=60)
        assert self.proc.returncode == status, (self.proc.returncode, err)
        wait_for("the workers to be disarmed", lambda: self.control.lab.stats["capture_armed"] == 0, 20)
        return Capture(self.path)


def case_capture_of_one_client_holds_both_legs():
    rng = random.Random(7)
    with Lab(workers=2, port="af_packet") as lab, Control(lab) as control:
        sh("ip", "addr", "add", OTHER4 + "/24", "dev", "mr0")
        sink = Sink(2525)
        seen = lab.dir + "/kernel.pcap"  # what the other end of the wire sees
        dump = subprocess.Popen(["tcpdump", "-Z", "root", "-i", "mr0", "-U", "--immediate-mode", "-w", seen, "tcp and host " + OTHER4],
                                stderr=subprocess.PIPE, text=True)
        assert any("listening" in line for line in iter(dump.stderr.readline, "")), "tcpdump"
        running = Running(control, "--client", OTHER4)
        bodies = [body_of(rng, 3000) for _ in range(60)]
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            jobs = [pool.submit(send, b) for b in bodies[:30]]
            mine = [Raw(source=OTHER4) for _ in range(5)]
            for c in mine:
                for line in ("EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
                    assert c.ask(line)[0] in "23", line
                assert c.ask(b"Subject: mine\r\n\r\n" + b"x" * 900 + b"\r\n.\r\n").startswith("250")
                assert c.ask("QUIT").startswith("221")
            ports = {c.s.getsockname()[1] for c in mine}
            for c in mine:
                c.close()
            jobs += [pool.submit(send, b) for b in bodies[30:]]
            for j in jobs:
                j.result()
        quiet(lab)
        time.sleep(1)  # the last ACKs
        got = running.end()
        assert got.ended and got.lost == 0 and got.delivered == len(got.frames), (got.lost, got.delivered, len(got.frames))
        assert got.names == ["lan"]
        assert [f[1] for f in got.frames] == sorted(f[1] for f in got.frames), "ordered by time"
        assert abs(got.frames[-1][1] / 1e9 - time.time()) < 60, "times are of day"
        dump.terminate()
        dump.communicate(timeout=20)
        mine_only = lambda frames: sorted(f for f in frames if f[12:14] == b"\x08\x00" and OTHER in (f[26:30], f[30:34]))
        assert mine_only(pcap_frames(seen)) == mine_only(f[4] for f in got.frames), "octet for octet what was on the wire"
        segments = got.tuples()
        tcpdump_reads(running.path, len(segments))
        client = [s for s in segments if 25 in (s[1], s[3])]
        backend = [s for s in segments if 2525 in (s[1], s[3])]
        assert {s[1] for s in client if s[0] == OTHER4} == ports and {s[3] for s in client if s[2] == OTHER4} == ports
        assert len(client) + len(backend) == len(segments), "nothing else"
        assert {s[0] for s in client} == {OTHER4, VIP4}, "no other client"
        assert len({s[1] for s in backend if s[2] == HOST4}) == 5, "five legs"
        for leg, port in ((client, 25), (backend, 2525)):  # each connection whole: SYNs, FINs and last ACKs
            there = {s for s in leg if s[3] == port}  # a slow machine may have sent one twice
            back = {s for s in leg if s[1] == port}
            assert sum(s[4] & 0x12 == 0x02 for s in there) == 5 and sum(s[4] & 0x12 == 0x12 for s in back) == 5, port
            assert sum(s[4] & 1 for s in there) >= 5 and sum(s[4] & 1 for s in back) >= 5, port
        text = b"".join(s[5] for s in dict.fromkeys(backend) if s[3] == 2525)
        assert text.count(b"Subject: mine") == 5 and text.count(b"EHLO me\r\n") == 5 and text.count(b"QUIT\r\n") == 5
        for f, seg in zip([f for f in got.frames if f[4][12:14] == b"\x08\x00" and f[4][23] == 6], segments):
            legs = ("client",) if 25 in (seg[1], seg[3]) else ("backend",)
            assert not seg[5] or re.fullmatch(r"session \d+ %s" % legs, f[3]), (f[3], seg)
        assert {f[2] for f in got.frames} == {1, 2}
        assert os.stat(running.path).st_mode & 0o777 == 0o600
        assert len(sink.bodies) == 65


def case_capture_filters():
    with Lab(workers=2, port="af_packet", backends=TWO) as lab, Control(lab) as control:
        sinks = Sink(2525), Sink(2526)
        many = [Raw() for _ in range(8)]  # each worker takes its own turns
        for c in many:
            c.ask("EHLO me")
        known = {s["client"]: s for s in control.json("show", "sessions")["sessions"]}
        by = lambda c: known["%s:%d" % c.s.getsockname()]
        first = next(c for c in many if by(c)["backend"] == "mail/b0")
        second = next(c for c in many if by(c)["backend"] == "mail/b1")
        for c in many:
            if c not in (first, second):
                c.ask("QUIT")
                c.close()
        port = first.s.getsockname()[1]
        me = str(by(first)["id"])
        time.sleep(0.3)
        for args, mine in ((("--session", me), True), (("--session", "999999999"), False),
                           (("--virtual-service", "inbound", "--client", NET4 + "0/24"), None),
                           (("--backend", "b0"), None), (("--backend", "mail/b1"), None), (("--backend", HOST4 + ":2526"), None),
                           (("--client", "192.0.2.0/24"), False), (("--client", "::/0", "--backend", "192.0.2.1"), False)):
            running = Running(control, *args)
            for c in (first, second):
                assert c.ask("NOOP").startswith("250")
            time.sleep(0.3)
            segments = running.end().tuples()
            backends = {p for s in segments for p in (s[1], s[3]) if p in (2525, 2526)}
            clients = {p for s in segments for p in (s[1], s[3]) if 25 in (s[1], s[3]) and p != 25}
            if mine is False:
                assert not segments, (args, segments)
            elif mine:
                assert clients == {port} and len(backends) == 1, (args, clients, backends)
            elif args[0] == "--backend":
                want = 2525 if args[1] == "b0" else 2526
                assert backends == {want} and len(clients) == 1, (args, clients, backends)
            else:
                assert len(clients) == 2 and backends == {2525, 2526}, (args, clients, backends)
        six = Raw(host=VIP6)
        running = Running(control, "--client", HOST6)
        for c in (first, second, six):
            assert c.ask("NOOP").startswith("250")
        time.sleep(0.3)
        got = running.end()
        assert sum(f[4][12:14] == b"\x86\xdd" and f[4][20] == 6 for f in got.frames) >= 2, "the client's leg"
        assert {p for s in got.tuples() for p in (s[1], s[3])} & {2525, 2526} and not [s for s in got.tuples() if s[3] == 25], "its own"
        tcpdump_reads(running.path, sum(f[4][{b"\x08\x00": 23, b"\x86\xdd": 20}.get(f[4][12:14], 0)] == 6 and f[4][12:14] != b"\x08\x06" for f in got.frames))
        six.ask("QUIT")
        six.close()
        with open(lab.dir + "/kept", "w", encoding="ascii") as f:
            f.write("kept")
        assert control.run("capture", "--client", "x", "-w", lab.dir + "/kept")[0] == 1
        with open(lab.dir + "/kept", encoding="ascii") as f:
            assert f.read() == "kept", "a capture that is refused destroys nothing"
        for args, text in ((("--client", "x"), "client:"), (("--backend", "nobody"), "backend:"), (("--bytes", "5"), "bytes:"),
                           (("--virtual-service", "x"), "virtual_service:"), (("--session", "x"), "session:"),
                           (("--time", "0"), "seconds:"), (("--snap", "1"), "snap:")):
            status, _, err = control.run("capture", *args, "-w", lab.dir + "/no")
            assert status == 1 and text in err, (args, status, err)
        assert control.run("capture")[0] == 64 and control.run("capture", "-w", lab.dir + "/no/where")[0] == 73
        curl = subprocess.run(["curl", "-s", "-X", "POST", "--unix-socket", control.socket, "http://x/v1/capture?clients=1"],
                              capture_output=True, text=True, timeout=20, check=False)
        assert "no such parameter" in curl.stdout, curl
        for c in (first, second):
            c.ask("QUIT")
            c.close()
        quiet(lab)
        assert lab.stats["capture_bad_filter"] == 0 and not sinks[0].bodies


def case_capture_is_bounded():
    rng = random.Random(8)
    with Lab() as lab, Control(lab) as control:
        sink = Sink(2525)
        start = time.monotonic()
        assert control.run("capture", "--time", "2", "-w", lab.dir + "/timed")[0] == 0
        assert time.monotonic() - start > 1.5 and Capture(lab.dir + "/timed").ended
        running = Running(control, "--bytes", "200000", "--time", "600")
        for _ in range(20):
            send(body_of(rng, 50000))
        got = running.end(sign=None)
        assert got.ended and 150000 < os.path.getsize(running.path) <= 200000, os.path.getsize(running.path)
        running = Running(control, "--snap", "80", "--time", "600")
        send(body_of(rng, 50000))
        got = running.end()
        assert {len(f[4]) for f in got.frames} >= {80} and max(len(f[4]) for f in got.frames) == 80
        status, _, err = control.run("capture", "--time", "1", "-w", lab.dir + "/x")
        assert status == 0, err
        running = Running(control, "--time", "600")
        status, _, err = control.run("capture", "--time", "1", "-w", lab.dir + "/x")
        assert status == 1 and "another capture is running" in err, err
        # a reader that does not read: what is lost is counted, mail goes on
        running.proc.send_signal(signal.SIGSTOP)
        for _ in range(80):
            send(body_of(rng, 100000))
        running.proc.send_signal(signal.SIGCONT)
        time.sleep(0.3)
        got = running.end()
        assert got.lost > 0 and lab.stats["capture_ring_full"] == got.lost, (got.lost, lab.stats["capture_ring_full"])
        assert got.delivered == len(got.frames)
        assert len(sink.bodies) == 101
        quiet(lab)


def case_capture_ends_with_who_asked_for_it():
    with Lab(workers=2, port="af_packet") as lab, Control(lab) as control:
        sink = Sink(2525)
        running = Running(control, "--client", "192.0.2.1", "--time", "600")  # nothing to send: the connection is quiet
        running.end(signal.SIGKILL, -signal.SIGKILL)
        running = Running(control, "--time", "600")
        send(MAIL)
        time.sleep(0.3)
        control.kill()
        running.proc.communicate(timeout=20)
        assert running.proc.returncode == 74, running.proc.returncode
        assert Capture(running.path).frames, "what was there is kept"
        send(MAIL)
        wait_for("the lease to end", lambda: lab.stats["capture_armed"] == 0, 20)
        send(MAIL)
        control.start()
        running = Running(control)
        send(MAIL)
        time.sleep(0.3)
        got = running.end()
        assert any(b"MAIL FROM" in s[5].upper() for s in got.tuples()), (got.frames, got.lost, got.delivered)
        running = Running(control, "--time", "600")
        lab.proc.send_signal(signal.SIGKILL)
        lab.proc.wait()
        running.proc.communicate(timeout=20)
        lab.restart()
        wait_for("control to attach", lambda: control.run("status")[1].count("attached") and "yes" in control.run("status")[1], 20)
        running = Running(control)
        send(MAIL)
        time.sleep(0.3)
        assert running.end().frames
        assert len(sink.bodies) == 5
        quiet(lab)


def case_capture_is_for_administrators():
    lab = Lab()
    lab.config = lab.config.replace("control = {", 'control = { read_group = "mail"; admin_group = "adm";', 1)
    lab.write_config(lab.config)
    with lab, Control(lab) as control:
        os.chmod(lab.dir, 0o777)
        for groups, status in ((["mail"], 77), (["adm"], 0)):
            user = {"user": "nobody", "group": "nogroup", "extra_groups": groups}
            for what in ((), ("--transcript",)):
                got = control.run("capture", *what, "--time", "1", "-w", "%s/%s%d" % (lab.dir, groups[0], len(what)), **user)
                assert got[0] == status, (groups, got)


def case_transcript_without_bodies_and_secrets():
    secrets = ("c2VjcmV0LXBsYWlu", "c2VjcmV0LXVzZXI=", "c2VjcmV0LXBhc3N3b3Jk", "Y2hhbGxlbmdl", "bGF0ZS1zZWNyZXQ=", "hidden-body")

    def behave(verb, sink):
        line = sink.transcripts[-1][-1] if sink.transcripts and sink.transcripts[-1] else ""
        if line.startswith("AUTH LOGIN"):
            return "334 Y2hhbGxlbmdl"
        if line.startswith("AUTH PLAIN"):
            return "535 5.7.8 no: c2VjcmV0LXBsYWlu"
        if line == "c2VjcmV0LXVzZXI=":
            return "334 Y2hhbGxlbmdl"
        return "235 2.7.0 welcome" if line == "c2VjcmV0LXBhc3N3b3Jk" else None
    with Lab() as lab, Control(lab) as control:
        sh("ip", "addr", "add", OTHER4 + "/24", "dev", "mr0")
        sink = Sink(2525, behave=behave, keywords=("PIPELINING", "CHUNKING", "AUTH PLAIN LOGIN", "SIZE 100000000"))
        running = Running(control, "--transcript", "--client", OTHER4, file="transcript")
        send(b"Subject: of another\r\n\r\nx\r\n")
        c = Raw(source=OTHER4)
        assert c.ask("EHLO me.example").startswith("250")
        assert c.ask("AUTH PLAIN c2VjcmV0LXBsYWlu").startswith("535")
        assert c.ask("bGF0ZS1zZWNyZXQ=").startswith("5")
        for line, code in (("AUTH LOGIN", "334"), ("c2VjcmV0LXVzZXI=", "334"), ("c2VjcmV0LXBhc3N3b3Jk", "235"),
                           ("MAIL FROM:<a@b.example>", "250"), ("RCPT TO:<c@d.example>", "250"), ("DATA", "354")):
            assert c.ask(line).startswith(code), line
        assert c.ask(b"Subject: hidden-body\r\n\r\nhidden-body\r\n.\r\n").startswith("250")
        for line in ("MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>"):
            c.ask(line)
        assert c.ask(b"BDAT 13 LAST\r\nhidden-body\r\n").startswith("250")
        assert c.ask(b"NOOP \x1b[31mred\r\n").startswith("250")
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        time.sleep(0.3)
        running.proc.send_signal(signal.SIGINT)
        running.proc.communicate(timeout=30)
        assert running.proc.returncode == 0
        with open(running.path, encoding="ascii") as f:
            text = f.read()
        for secret in secrets + ("of another", "s@example.com", "\x1b"):
            assert secret not in text, (secret, text)
        lines = [re.sub(r"^\S+Z \d+ ", "", line) for line in text.split("\n")]
        told = iter(lines)
        for want in ("ours    < 220 mx.lab.example ESMTP", "client  > EHLO me.example", "backend > EHLO me.example",
                     "backend < 250-sink", "client  < 250-sink", "client  > AUTH PLAIN (not shown)", "backend < 535 5.7.8 (not shown)",
                     "client  < 535 5.7.8 (not shown)", "client  > (no known command)", "ours    < 500 5.5.1", "backend > AUTH LOGIN",
                     "client  < 334 (not shown)", "client  > (SASL data)", "backend > (SASL data)",
                     "client  < 235 2.7.0 (not shown)", "client  > MAIL FROM:<a@b.example>", "backend > DATA", "client  < 354 go on",
                     "(the body, ", "client  < 250 2.0.0 queued as 2", "backend > BDAT 13 LAST", "(a chunk of the body, 13 octets)",
                     "client  > NOOP \\x1b[31mred", "client  > QUIT", "backend > QUIT", "backend < 221 2.0.0 bye", "client  < 221 2.0.0 bye"):
            assert any(want in line for line in told), (want, text)
        assert re.search(r"^# \d+ lines, 0 lost$", text, re.M), text
        assert len(sink.bodies) == 3


def case_ping_from_the_dataplane():
    with Lab(workers=2, port="af_packet") as lab, Control(lab) as control:
        for addr in (HOST4, HOST6):
            got = control.json("ping", addr, "-n", "3")
            assert got["sent"] == got["received"] == 3 and [r["sequence"] for r in got["replies"]] == [1, 2, 3], got
            assert all(r["result"] == "reply" and 0 < r["time_seconds"] < 1 and r["hop_limit"] == 64 for r in got["replies"]), got
        status, out, _ = control.run("ping", NET4 + "99", "-n", "1")  # nobody is there
        assert status == 1 and "timeout" in out and "1 sent, 0 answered" in out, out
        sh("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
        assert json.loads(control.run("-j", "ping", HOST4, "-n", "2")[1])["replies"] == [{"sequence": n, "result": "timeout"} for n in (1, 2)]
        sh("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=0")
        assert "an address of ours" in control.run("ping", VIP4)[1] and "no route" in control.run("ping", "192.0.2.1")[1]
        for args, text in (((), 64), (("x",), 1), ((HOST4, "-n", "0"), 1), ((HOST4, "-n", "21"), 1)):
            assert control.run("ping", *args)[0] == text, args
        # and nobody's reply is taken for an answer
        ignored = lab.stats["net_icmp_ignored"]
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        s.sendto(struct.pack(">BBHHH", 0, 0, 0xffff - 1, 0, 1) + b"\0" * 56, (VIP4, 0))
        s.close()
        wait_for("the reply to be ignored", lambda: lab.stats["net_icmp_ignored"] > ignored)


def case_tables_agree_with_the_kernel():
    lab = Lab(workers=2, port="af_packet")
    lab.write_config(lab.config.replace('addresses = [', 'gateways = [ "%s" ]; addresses = [' % HOST4))
    with lab, Control(lab) as control:
        sink = Sink(2525)
        send(MAIL)
        send(MAIL, host=VIP6)
        link = json.loads(subprocess.run(["ip", "-j", "link", "show", "mr0"], capture_output=True, check=True, timeout=10).stdout)[0]
        neighbors = {n["address"]: n for n in control.json("show", "neighbors")}
        for addr in (HOST4, HOST6):
            n = neighbors[addr]
            assert (n["mac"], n["port"]) == (link["address"], "lan") and n["age_seconds"] < 30, n
            assert n["state"] in ("reachable", "stale"), n  # stale: heard of, not asked yet (RFC 4861, 7.2.3)
        control.run("ping", NET4 + "99", "-n", "1")
        routes = {r["destination"]: r for r in control.json("show", "routes")}
        assert routes[NET4 + "0/24"] == {"destination": NET4 + "0/24", "gateway": "", "port": "lan", "source": NET4 + "10",
                                         "mtu": link["mtu"]}, routes
        assert routes[NET6 + "/64"]["source"] == NET6 + "10" and routes["0.0.0.0/0"]["gateway"] == HOST4, routes
        assert len(routes) == 3
        kept = [Raw() for _ in range(6)]
        for c in kept:
            c.ask("EHLO me")
        memory = control.json("show", "memory")
        total = lambda what, key: sum(r[key] for r in memory if r["what"] == what)
        assert total("sessions", "used") == 6 and total("connections", "used") >= 12, memory
        assert total("sessions", "limit") >= 4000 and total("sessions", "object_bytes") // 2 <= 256
        assert total("neighbors", "used") >= len(neighbors)
        buffers = total("packet-buffers", "used")
        assert 0 < buffers <= total("packet-buffers", "limit")
        assert total("statistics", "bytes") == os.fstat(lab.stats.fd).st_size
        per_session = sum(r["bytes"] for r in memory if r["what"] in ("sessions", "connections", "half-open", "time-wait"))
        assert per_session <= lab.stats.session_bytes, (per_session, lab.stats.session_bytes)
        for view in ("neighbors", "routes", "memory"):
            status, out, err = control.run("show", view)
            assert status == 0 and len(out.split("\n")) > 2, (view, out, err)
        for c in kept:
            c.ask("QUIT")
            c.close()
        quiet(lab)
        assert len(sink.bodies) == 2
        lab.proc.send_signal(signal.SIGSTOP)  # a dataplane that does not answer
        start = time.monotonic()
        status, _, err = control.run("show", "neighbors")
        assert status == 1 and "did not answer" in err and time.monotonic() - start < 20, (status, err)
        lab.proc.send_signal(signal.SIGCONT)


def case_send_test_step_by_step():
    moods = {}

    def behave(verb, sink):
        mood = moods.get(sink)
        if mood == "banner" and verb == "BANNER":
            return "554 5.3.2 not today"
        if mood == "rcpt" and verb == "RCPT":
            return "550 5.1.1 no such user"
        if (mood, verb) in (("silent", "EOD"), ("late", "DATA")):
            time.sleep(4)
        if mood == "close" and verb == "DATA":
            raise ConnectionError
        return None
    with Lab(workers=2, port="af_packet", backends=TWO) as lab, Control(lab) as control:
        one, two = Sink(2525, behave=behave), Sink(2526, behave=behave)
        test = ("send-test", "inbound", "--from", "me@lab.example", "--to", "you+x@lab.example")
        status, out, err = control.run(*test)
        assert status == 0 and out.count("queued as 1") == 2 and "b0 (%s:2525): ok" % HOST4 in out, (status, out, err)
        for sink in (one, two):
            assert sink.transcripts == [["EHLO mx.lab.example", "MAIL FROM:<me@lab.example>", "RCPT TO:<you+x@lab.example>", "DATA", "QUIT"]]
            assert len(sink.bodies) == 1 and b"Subject: Mailrace test mail" in sink.bodies[0] and b"To: <you+x@lab.example>" in sink.bodies[0]
            assert sink.peers == [NET4 + "10"], sink.peers
        got = control.json(*test)
        steps = [[s["step"] for s in b["steps"]] for b in got["backends"]]
        assert steps == [["connect", "banner", "ehlo", "mail", "rcpt", "data", "end_of_data", "quit"]] * 2, steps
        assert all(b["result"] == "ok" and b["reply"] == "250 2.0.0 queued as 2" for b in got["backends"]), got
        assert all(0 < sum(s["time_seconds"] for s in b["steps"]) < 10 for b in got["backends"]), got
        for mood, result, step, last in (("banner", "refused_by_reply", "banner", "554 5.3.2 not today"),
                                         ("rcpt", "refused_by_reply", "rcpt", "550 5.1.1 no such user"),
                                         ("close", "closed", "data", ""), ("late", "timeout", "data", ""),
                                         ("silent", "timeout", "end_of_data", "")):
            moods[two] = mood
            status, out, err = control.run("-j", *test, "--time", "2")
            good, bad = json.loads(out)["backends"]
            assert status == 1 and good["result"] == "ok" and (bad["result"], bad["step"]) == (result, step), (mood, out)
            assert next(s["reply"] for s in bad["steps"] if s["step"] == step) == last, bad
        # a late reply is read, and QUIT said; but inside DATA, when 354 comes late, there is only a reset, and nothing is stored
        wait_for("the late replies", lambda: two.transcripts[-1][-1] == "QUIT", 20)
        assert two.transcripts[-2][-1] == "DATA", two.transcripts[-2]
        assert len(two.bodies) == 3 and lab.stats["probe_stayed"] == 2, (len(two.bodies), lab.stats["probe_stayed"])
        moods.clear()
        two.close()
        bad = json.loads(control.run("-j", *test)[1])["backends"][1]
        assert (bad["result"], bad["step"], len(bad["steps"])) == ("refused", "connect", 1), bad
        assert control.run("send-test", "inbound")[0] == 64
        for args, text in ((("nobody", "--from", "a@b", "--to", "c@d"), "no such virtual service"),
                           (("inbound", "--from", "a@b>", "--to", "c@d"), "brackets"),
                           (("inbound", "--from", "", "--to", "c@d\r\nRSET"), "brackets"),
                           (("inbound", "--from", "x" * 300, "--to", "c@d"), "brackets")):
            status, _, err = control.run("send-test", *args)
            assert status == 1 and text in err, (args, status, err)
        send(MAIL)
        assert lab.stats["session_accepted"] == 1, "test mails are no sessions"
        quiet(lab)


def case_relay_test_asks_and_sends_nothing():
    with Lab(workers=2, port="af_packet", backends=TWO) as lab, Control(lab) as control:
        open_one = Sink(2525)
        two = Sink(2526, behave=lambda verb, _: "550 5.7.1 Unable to relay" if verb == "RCPT" else None)
        status, out, err = control.run("relay-test", "mail")
        assert status == 1 and "b0: RELAYS" in out and "b1: does not relay" in out, (status, out, err)
        for sink in (open_one, two):
            assert sink.transcripts == [["EHLO mx.lab.example", "MAIL FROM:<relay-test@example.com>", "RCPT TO:<relay-test@example.net>", "QUIT"]]
            assert sink.bodies == [] and sink.peers == [NET4 + "10"]
        status, out, _ = control.run("-j", "relay-test", "mail", "--from", "a@b.example", "--to", "c@d.example")
        first, second = json.loads(out)["backends"]
        assert status == 1 and first["relays"] is True and second["relays"] is False and second["reply"] == "550 5.7.1 Unable to relay", out
        assert two.transcripts[-1][1:3] == ["MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>"]
        open_one.close()
        first, second = json.loads(control.run("-j", "relay-test", "mail")[1])["backends"]
        assert "relays" not in first and first["result"] == "refused" and second["relays"] is False
        for args, text in ((("nopool",), "no such pool"), (("mail", "--to", "a@b>"), "brackets")):
            status, _, err = control.run("relay-test", *args)
            assert status == 1 and text in err, (args, status, err)
        assert control.run("relay-test")[0] == 64
        quiet(lab)


def case_hostile_questions_stop_no_mail():
    """A mad control process: well-framed commands with bodies that cannot be, rings that lie, a mail that would smuggle."""
    rng = random.Random(9)
    with Lab(workers=2, port="af_packet") as lab:
        sink = Sink(2525)
        s, code, fds = attach(lab.socket, 2)
        assert code == 0
        memory = mmap.mmap(fds[1], 0)
        sections = {}
        for i in range(32):
            kind, _, off, stride = struct.unpack_from("<IIQQ", memory, DIRECTORY + 24 * i)
            sections[kind] = (off, stride)

        def command(worker, kind, body):
            ring = sections[17][0] + worker * sections[17][1]
            tail = struct.unpack_from("<I", memory, ring)[0]
            message = struct.pack("<HHIQ", kind, 112, rng.randrange(1, 1 << 32), 1) + body.ljust(112, b"\0")
            at = ring + 128 + tail % 1024 * 128
            memory[at:at + 128] = message
            memory[ring:ring + 4] = struct.pack("<I", tail + 1 & 0xffffffff)

        def capture(client_len=0, flags=0, snap=1500, lease=4000, limit=4000):
            return bytes(32) + struct.pack("<BBHIQQIII", client_len, flags, 0, 0, 0, 1 << 40, snap, lease, limit)
        mail, _ = sections[22]
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            bodies = [body_of(rng, 2000) for _ in range(150)]
            jobs = [pool.submit(send, b) for b in bodies]
            for _ in range(300):
                for worker in range(2):
                    command(worker, rng.choice((16, 16, 17, 18, 19, 20)), rng.randbytes(112))
                    command(worker, 16, capture(rng.randrange(256), rng.randrange(4)))
                    ring, stride = sections[21]
                    at = ring + worker * stride
                    memory[at:at + 256] = rng.randbytes(256)  # indices, and what is not its to write
                    # the test mail: a body that ends early, addresses with line ends, lengths beyond everything
                    evil = rng.choice((b".\r\nMAIL FROM:<evil>\r\n", b"x\n.\n", b"\r", rng.randbytes(900)))
                    memory[mail:mail + 256] = rng.choice((b"a@b\r\nRSET", b"x" * 256, b"<a@b>")).ljust(256, b"\0")
                    memory[mail + 256:mail + 512] = b"c@d".ljust(256, b"\0")
                    memory[mail + 512:mail + 516] = struct.pack("<I", rng.choice((0, len(evil), 1025, 1 << 31)))
                    memory[mail + 520:mail + 520 + len(evil)] = evil
                    command(worker, 20, struct.pack("<IIQII", 1, 0, lab.stats.current_generation(), 1, 1000))
                time.sleep(0.005)
            for j in jobs:
                j.result()
        assert sorted(sink.bodies) == sorted(bodies)
        assert lab.stats["capture_bad_filter"] > 0 and lab.stats["probe_test_mails"] == 0
        assert lab.stats["probe_no_resource"] > 0
        for fd in fds:
            os.close(fd)
        s.close()
        with Control(lab) as control:  # an honest one finds it in order, once the leases are over
            wait_for("leases to end", lambda: lab.stats["capture_armed"] == 0, 70)
            running = Running(control)
            send(MAIL)
            time.sleep(0.3)
            assert running.end().frames
        quiet(lab)


def case_one_session_with_its_connections():
    with Lab(workers=2, port="af_packet", backends=((HOST4, 2525),)) as lab, Control(lab) as control:
        sink = Sink(2525)
        many = [Raw() for _ in range(6)]
        for c in many:
            c.ask("EHLO me")
        for s in control.json("show", "sessions")["sessions"]:
            got = control.json("show", "session", str(s["id"]))
            assert got["session"]["client"] == s["client"] and got["session"]["worker"] == s["worker"], (got, s)
            client, backend = got["connections"]
            assert (client["leg"], client["state"], client["remote"]) == ("client", "established", s["client"]), client
            assert (backend["leg"], backend["state"], backend["remote"]) == ("backend", "established", HOST4 + ":2525"), backend
            assert client["mss_bytes"] > 1000 and client["send_window_bytes"] > 0, client
            told = [(e["leg"], e["what"], e["state"]) for e in got["events"]]
            assert ("backend", "state", "syn-sent") in told and ("backend", "state", "established") in told, told
            assert ("client", "state", "established") in told and "retransmit" not in [t[1] for t in told], told
        # what a backend answers gets lost: what is said is said again
        victim = many[0]
        port = victim.s.getsockname()[1]
        me = str(next(s["id"] for s in control.json("show", "sessions")["sessions"] if s["client"].endswith(":%d" % port)))
        sh("ip", "route", "add", "blackhole", NET4 + "10/32")  # the legs' source address
        victim.say("NOOP")
        what = lambda: [e["what"] for e in control.json("show", "session", me)["events"] if e["leg"] == "backend"]
        wait_for("retransmissions", lambda: what().count("retransmit") >= 2 and "timeout" in what(), 20)
        assert control.json("show", "session", me)["connections"][1]["unacknowledged_bytes"] == 6
        status, out, _ = control.run("show", "session", me)
        assert status == 0 and "retransmit" in out and "syn-sent" in out, out
        sh("ip", "route", "del", "blackhole", NET4 + "10/32")
        assert victim.reply().startswith("250")
        assert control.run("show", "session", "999999")[0] == 1 and control.run("show", "session", "x")[0] == 64
        for c in many:
            c.ask("QUIT")
            c.close()
        quiet(lab)
        assert len(sink.transcripts) == 6
