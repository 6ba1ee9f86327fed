# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Thousands of TLS clients in one process with one selector: those that shake hands and leave politely, and those that stop on
the way and are put up again whenever they are thrown out."""

import multiprocessing
import resource
import selectors
import socket
import ssl
import struct
import time

from lab import VIP4

STEPS = ("connected", "greeted", "told 220", "half a ClientHello", "a ClientHello", "half a Finished")  # where one may stop


def many_descriptors():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def context():
    c = ssl.create_default_context()
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.options |= ssl.OP_NO_TICKET
    return c


class Client:
    """One connection. stop: a step at which it goes silent, or None. stays: it says QUIT only when told to. done, failed: how it
    ended; took: seconds to its EHLO in TLS."""

    context = None

    def __init__(self, selector, stop=None, source=None, gate=None, stays=False):
        self.selector, self.stop, self.gate, self.stays = selector, stop, gate, stays
        self.done = self.failed = self.stopped = self.closed = False
        self.text, self.tls, self.took, self.born = b"", None, None, time.monotonic()
        self.certificate = None
        self.step = self.banner
        self.s = socket.socket()
        self.s.setblocking(False)
        if source:
            self.s.bind((source, 0))
        self.s.connect_ex((VIP4, 25))
        selector.register(self.s, selectors.EVENT_READ, self)

    def end(self, why=None):
        if self.closed:
            return
        self.closed = True
        self.failed = why if not self.done else False
        self.selector.unregister(self.s)
        self.s.close()

    def vanish(self):
        """By RST."""
        if not self.closed:
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.end("vanished")

    def stops(self, step):
        self.stopped = self.stop == step
        return self.stopped

    def readable(self):
        try:
            data = self.s.recv(16384)
            if not data:
                self.end("closed in " + self.step.__name__)
            elif self.stopped:
                return
            elif self.tls is None:
                self.text += data
                if self.text.endswith(b"\r\n"):
                    text, self.text = self.text, b""
                    self.step(text)
            else:
                self.into.write(data)
                self.step(b"")
        except (OSError, ssl.SSLError) as e:
            self.end("%s in %s" % (e, self.step.__name__))

    def banner(self, text):
        if self.stops("connected"):
            return
        self.s.sendall(b"EHLO c.example\r\n")
        self.step = self.ehlo

    def ehlo(self, text):
        if b"STARTTLS" not in text:
            self.end("no STARTTLS: %r" % text)
        elif not self.stops("greeted"):
            self.s.sendall(b"STARTTLS\r\n")
            self.step = self.starttls

    def starttls(self, text):
        if not text.startswith(b"220"):
            self.end("%r" % text)
            return
        if self.stops("told 220"):
            return
        if self.gate is not None and self.gate.closed:
            self.gate.waiting.append(self)
            return
        self.hello()

    def hello(self):
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = Client.context.wrap_bio(self.into, self.out, server_hostname="mx.lab.example")
        self.step = self.shake
        self.shake(b"")

    def flush(self, half=False):
        data = self.out.read()
        if data:
            self.s.sendall(data[:len(data) // 2] if half else data)

    def shake(self, text):
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            if self.stop is not None:
                self.flush(self.stop == "half a ClientHello")
                self.stops(self.stop if self.stop != "half a Finished" else None)
                return
            self.flush()
            return
        if self.stop is not None:
            self.stopped = True
            self.flush(True)
            return
        self.certificate = self.tls.getpeercert(True)
        self.tls.write(b"EHLO c.example\r\n")
        self.step = self.ehlo_in_tls
        self.flush()

    def ehlo_in_tls(self, text):
        self.text += self.read()
        if self.text.endswith(b"\r\n"):
            if not self.text.startswith(b"250"):
                self.end("%r" % self.text)
                return
            self.took = time.monotonic() - self.born
            self.text = b""
            self.done = True
            if not self.stays:
                self.ask(b"QUIT\r\n")

    def ask(self, line):
        self.step = self.leave
        self.tls.write(line)
        self.flush()

    def read(self):
        try:
            return self.tls.read(16384)
        except ssl.SSLWantReadError:
            return b""

    def leave(self, text):
        self.text += self.read()
        if self.text.startswith(b"221"):
            self.end()


class Gate:
    """Holds clients that were told 220 until all go at once."""

    def __init__(self):
        self.closed, self.waiting = True, []

    def open(self):
        self.closed = False
        for c in self.waiting:
            if not c.closed:
                c.hello()


def turn(selector, seconds=0.2):
    for key, _ in selector.select(seconds):
        key.data.readable()


def shakers(count, sources, at_once=False, seconds=60, pair=None):
    """So many clients at the same time: all of them, ended. pair: of files, with a certificate to show."""
    many_descriptors()
    Client.context = context()
    if pair is not None:
        Client.context.load_cert_chain(pair + ".pem", pair + ".key")
    selector, gate = selectors.DefaultSelector(), Gate() if at_once else None
    clients = []
    end = time.monotonic() + seconds
    while len(clients) < count or not all(c.closed for c in clients):
        if time.monotonic() > end:
            break
        for _ in range(min(100, count - len(clients))):
            clients.append(Client(selector, source=sources[len(clients) % len(sources)], gate=gate))
        turn(selector)
        if gate is not None and gate.closed and len(gate.waiting) + sum(c.closed for c in clients) == count:
            gate.open()
    for c in clients:
        c.end("not done in %d s" % seconds)
    return clients


class Stallers:
    """Processes that keep so many clients stopped in all steps, until they are told to vanish."""

    def __init__(self, count, sources, processes=4):
        fork = multiprocessing.get_context("fork")
        self.stop, self.now = fork.Event(), [fork.Value("i", 0) for _ in range(processes)]
        self.made = [fork.Value("i", 0) for _ in range(processes)]
        self.proc = [fork.Process(target=self.run, args=(count // processes, sources, i), daemon=True) for i in range(processes)]
        for p in self.proc:
            p.start()

    def run(self, count, sources, index):
        many_descriptors()
        Client.context = context()
        selector, clients, n = selectors.DefaultSelector(), [], 0
        while not self.stop.is_set():
            for _ in range(min(50, count - len(clients))):
                clients.append(Client(selector, stop=STEPS[n % len(STEPS)], source=sources[n % len(sources)]))
                n += 1
            turn(selector, 0.02)
            clients = [c for c in clients if not c.closed]
            self.now[index].value = sum(c.stopped for c in clients)
            self.made[index].value = n
        for i, c in enumerate(clients):  # in every step, by FIN and by RST
            c.vanish() if i // len(STEPS) % 2 else c.end("vanished")
            if i % 20 == 0:
                time.sleep(0.01)  # a RST that is lost is not sent again

    def stalled(self):
        return sum(n.value for n in self.now)

    def begun(self):
        return sum(n.value for n in self.made)

    def vanish(self):
        self.stop.set()
        for p in self.proc:
            p.join(30)
            assert p.exitcode == 0, p.exitcode
