# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""A laboratory in a network namespace of its own (the caller runs under `unshare -n`): Mailrace on a TAP or on a veth by
af_packet, kernel clients and backends on the other side. Everything it starts it stops."""

import http.client
import json
import mmap
import os
import random
import signal
import socket
import socketserver
import struct
import subprocess
import threading
import time

NET4, NET6 = "10.77.0.", "fd77::"
VIP4, VIP6 = NET4 + "25", NET6 + "25"
HOST4, HOST6 = NET4 + "1", NET6 + "1"
BUILD = "build/gcc"
DIRECTORY = 136  # of a segment, after the header's fields


def abi_major():
    with open(os.path.dirname(os.path.abspath(__file__)) + "/../../common/abi/abi.h", encoding="ascii") as f:
        return int(f.read().split("#define MR_ABI_MAJOR ")[1].split()[0])


ABI_MAJOR = abi_major()


def sh(*cmd):
    subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=20)


def wait_for(what, check, seconds=10.0):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


def alone(case):
    """Marks a case that keeps a whole machine busy: no other runs beside it."""
    case.alone = True
    return case


def waits(case):
    """Marks a case that takes long and mostly waits: several run beside those that work."""
    case.waits = True
    return case


def measured(case):
    """Marks a case that is about a figure or a size, which a build with sanitizers does not have."""
    case.measured = True
    return case


def attach(path, role, major=ABI_MAJOR):
    """Asks the dataplane's socket as a reader (1) or as control (2): (connection, answer code, descriptors)."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(5)
    s.connect(path)
    s.send(struct.pack("<IHHII", 0x4B53524D, major, 0, role, 0))
    answer, fds, _, _ = socket.recv_fds(s, 64, 2)
    return s, struct.unpack_from("<I", answer, 8)[0], fds


class Stats:
    """The statistics segment, read as any other process may read it."""

    def __init__(self, path):
        s, code, fds = attach(path, 1)
        assert code == 0 and len(fds) == 1, code
        s.close()
        self.map = mmap.mmap(fds[0], 0, prot=mmap.PROT_READ)
        self.mode = os.fstat(fds[0]).st_mode & 0o777
        self.fd = fds[0]
        self.workers, self.backend_slots, self.service_slots, self.count = struct.unpack_from("<4I", self.map, 88)
        self.max_sessions, self.session_bytes = struct.unpack_from("<QQ", self.map, 104)
        self.dir = {}
        for i in range(32):
            kind, count, off, stride = struct.unpack_from("<IIQQ", self.map, DIRECTORY + 24 * i)
            self.dir[kind] = (count, off, stride)
        _, off, stride = self.dir[1]
        self.names = []
        for i in range(self.count):
            group, name = struct.unpack_from("<16s48s", self.map, off + i * stride)
            self.names.append(group.rstrip(b"\0").decode() + "_" + name.rstrip(b"\0").decode())

    def __getitem__(self, name):
        i = self.names.index(name)
        _, off, stride = self.dir[3]
        return sum(struct.unpack_from("<Q", self.map, off + w * stride + 8 * i)[0] for w in range(self.workers + 1))

    def current_generation(self):
        return struct.unpack_from("<Q", self.map, 80)[0]

    def buffers_in_use(self):
        return struct.unpack_from("<I", self.map, DIRECTORY - 4)[0]

    def longest_turn_us(self):
        _, off, stride = self.dir[2]
        return max(struct.unpack_from("<I", self.map, off + w * stride + 40)[0] for w in range(self.workers))

    def sessions(self):
        _, off, stride = self.dir[2]
        return sum(struct.unpack_from("<I", self.map, off + w * stride + 24)[0] for w in range(self.workers))


class Sink:
    """An SMTP backend that keeps transcripts and whole bodies. behave(verb, session) may return a reply of its own, sleep,
    or raise ConnectionError to cut the connection."""

    open = []
    pause = None  # an Event: bodies are not read before it is set
    leaves_after = None  # a verb, or EOD: the connection is closed once that is answered

    def __init__(self, port, addr=HOST4, behave=None, keywords=("PIPELINING", "CHUNKING", "8BITMIME", "SIZE 100000000")):
        sink = self
        self.transcripts, self.bodies, self.lock = [], [], threading.Lock()
        self.peers = []
        self.born = time.monotonic()

        class Handler(socketserver.StreamRequestHandler):
            rbufsize = 1 << 20

            def handle(self):
                self.connection.settimeout(60)
                try:
                    sink.session(self, behave, keywords)
                except (OSError, ValueError):
                    pass

        class Server(socketserver.ThreadingTCPServer):
            address_family = socket.AF_INET6 if ":" in addr else socket.AF_INET
            allow_reuse_address, daemon_threads, request_queue_size = True, True, 1024

        self.server = Server((addr, port), Handler)
        Sink.open.append(self)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def session(self, h, behave, keywords):
        say = lambda text: h.wfile.write(text.encode() + b"\r\n")
        verbs, chunks = [], b""
        with self.lock:
            self.transcripts.append(verbs)
            self.peers.append(h.client_address[0])
        reply = behave("BANNER", self) if behave else None
        say(reply or "220 sink ESMTP")
        while True:
            line = h.rfile.readline()
            if not line:
                return
            assert line.endswith(b"\r\n"), line
            text = line.decode("latin1").strip()
            verb = text.split(" ")[0].upper()
            verbs.append(text)
            reply = behave(verb, self) if behave else None
            if verb == "BDAT":
                n = int(text.split()[1])
                chunks += h.rfile.read(n)
                if text.upper().endswith("LAST"):
                    self.store(chunks)
                    chunks = b""
                say(reply or "250 2.0.0 %d octets" % n)
            elif reply:
                say(reply)
            elif verb == "EHLO":
                say("\r\n".join(["250-sink"] + ["250-" + k for k in keywords[:-1]] + ["250 " + keywords[-1]]))
            elif verb == "DATA":
                say("354 go on")
                if self.pause is not None:
                    self.pause.wait(60)
                body = []
                while True:
                    line = h.rfile.readline()
                    if not line:
                        return  # cut: nothing is stored
                    if line == b".\r\n":
                        break
                    body.append(line[1:] if line.startswith(b".") else line)
                reply = behave("EOD", self) if behave else None
                self.store(b"".join(body))
                say(reply or "250 2.0.0 queued as %d" % len(self.bodies))
                verb = "EOD"
            elif verb == "QUIT":
                say("221 2.0.0 bye")
                return
            else:
                say("250 2.0.0 ok")
            if verb == self.leaves_after:
                return

    def store(self, body):
        with self.lock:
            self.bodies.append(body)

    def close(self):
        if self in Sink.open:
            Sink.open.remove(self)
            self.server.shutdown()
            self.server.server_close()


class Http(http.client.HTTPConnection):
    """On a UNIX socket."""

    def __init__(self, path):
        super().__init__("control", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Control:
    """The control process of a laboratory."""

    def __init__(self, lab, wait=True):
        self.lab, self.socket, self.config = lab, lab.dir + "/control.sock", lab.dir + "/mailrace.conf"
        self.log = open(lab.dir + "/control.log", "a", encoding="utf-8")
        self.start(wait)

    def start(self, wait=True):
        self.http = None
        before = self.read_log().count("attached to")
        self.proc = subprocess.Popen([self.lab.build + "/controlplane/mailrace-controlplane", "-c", self.config],
                                     stderr=self.log, stdout=self.log)
        if wait:
            wait_for("control to attach", lambda: self.proc.poll() is not None or self.read_log().count("attached to") > before)
            assert self.proc.poll() is None, self.read_log()

    def read_log(self):
        with open(self.lab.dir + "/control.log", encoding="utf-8") as f:
            return f.read()

    def run(self, *args, **kind):
        """mailracectl with these arguments: (exit status, standard output, standard error)."""
        r = subprocess.run([self.lab.build + "/tools/mailracectl", "-s", self.socket, *args], capture_output=True, text=True,
                           timeout=30, check=False, **kind)
        return r.returncode, r.stdout, r.stderr

    def api(self, method, path):
        """A request on a connection that stays open: (status, text)."""
        if self.http is None:
            self.http = Http(self.socket)
        self.http.request(method, path)
        r = self.http.getresponse()
        return r.status, r.read()

    def json(self, *args):
        status, out, err = self.run("-j", *args)
        assert status == 0, (args, status, out, err)
        return json.loads(out)

    def backends(self):
        return {b["name"]: b for b in self.json("show", "backends")}

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.proc.terminate()
        try:
            status = self.proc.wait(10)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            status = self.proc.wait()
        if kind is not None:
            print(self.read_log()[-3000:])
        else:
            assert status == 0, "control: exit status %s: %s" % (status, self.read_log()[-3000:])
            assert not os.path.exists(self.socket), "the API's socket is left"


class Lab:
    def __init__(self, port="tap", workers=1, backends=((HOST4, 2525),), extra="", service="", max_sessions=4000,
                 queues=None):
        self.dir = "/run/lab-%d-%d" % (os.getpid(), random.randrange(1 << 30))
        os.mkdir(self.dir)
        self.port, self.proc = port, None
        self.build = BUILD
        self.binary = os.path.join(BUILD, "dataplane/mailrace-dataplane")
        self.socket = self.dir + "/dp.sock"
        device = "net_tap0,iface=mr0"
        if port == "af_packet":
            sh("ip", "link", "add", "mr0", "type", "veth", "peer", "name", "mrbox")
            for i in ("mr0", "mrbox"):
                sh("ethtool", "-K", i, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off", "sg", "off")
                sh("ip", "link", "set", i, "up")
            sh("sysctl", "-qw", "net.ipv6.conf.mrbox.disable_ipv6=1")
            device = "net_af_packet0,iface=mrbox,framecnt=4096,blocksz=65536,qpairs=%d" % (queues or workers)
        be = ",\n      ".join('{ name = "b%d"; address = "%s:%d"; }' % (i, a, p) for i, (a, p) in enumerate(backends))
        self.config = """hostname = "mx.lab.example";
dataplane = { workers = %d; max_sessions = %d; memory = "384M"; buffers = 32768; socket = "%s"; };
control = { socket = "%s/control.sock"; state_dir = "%s/state"; };
ports = { lan = { device = "%s"; addresses = [ "%s10/24", "%s10/64" ]; %s }; };
pools = { mail = { scheduler = "weighted-round-robin"; %s
    backends = ( %s ); }; };
virtual_services = { inbound = { listen = [ "%s:25", "[%s]:25" ]; pool = "mail"; %s }; };
""" % (workers, max_sessions, self.socket, self.dir, self.dir, device, NET4, NET6, "queues = %d;" % queues if queues else "", extra, be, VIP4, VIP6, service)
        self.write_config(self.config)

    def write_config(self, text):
        with open(self.dir + "/mailrace.conf", "w", encoding="utf-8") as f:
            f.write(text)

    def addresses_set(self):
        sh("ip", "addr", "add", HOST4 + "/24", "dev", "mr0")
        sh("ip", "-6", "addr", "add", HOST6 + "/64", "dev", "mr0", "nodad")
        sh("ip", "link", "set", "mr0", "up")

    def restart(self, *options):
        """Another dataplane, after the first has died: a TAP's interface is made anew."""
        count = self.read_log().count("ready")
        self.proc = subprocess.Popen([self.binary, *options, "-c", self.dir + "/mailrace.conf"], stderr=self.log, stdout=self.log)
        wait_for("the dataplane to be ready again", lambda: self.read_log().count("ready") > count, 60)
        if self.port == "tap":
            self.addresses_set()
        self.stats_open()

    def stats_open(self):
        self.stats = Stats(self.socket)
        wait_for("the workers to have the first generation", lambda: self.stats.current_generation() > 0, 60)

    def start(self):
        self.log = open(self.dir + "/log", "w+", encoding="utf-8")
        self.proc = subprocess.Popen([self.binary, "-c", self.dir + "/mailrace.conf"], stderr=self.log, stdout=self.log)
        try:
            wait_for("the dataplane to be ready", lambda: self.proc.poll() is not None or "ready" in self.read_log(), 60)
            assert self.proc.poll() is None, self.read_log()
            self.addresses_set()
            self.stats_open()
        except BaseException:
            self.stop()
            raise
        return self

    def read_log(self):
        with open(self.dir + "/log", encoding="utf-8") as f:
            return f.read()

    def reload(self):
        self.proc.send_signal(signal.SIGHUP)

    def stop(self):
        status = None
        if self.proc is not None:
            self.proc.terminate()
            try:
                status = self.proc.wait(20)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        if self.port == "af_packet":
            subprocess.run(["ip", "link", "del", "mr0"], stderr=subprocess.DEVNULL, check=False)
        return status

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print(self.read_log()[-3000:])
            print({n: self.stats[n] for n in self.stats.names if self.stats[n]}, self.stats.sessions(), "sessions")
        for sink in list(Sink.open):
            sink.close()
        status = self.stop()
        assert kind is not None or status == 0, "exit status %s: %s" % (status, self.read_log()[-3000:])
