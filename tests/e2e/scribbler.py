# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""A control process that means harm, in a process of its own: scribbler.py SOCKET PHASE SECONDS SEED. It attaches as control
does, does its worst for some seconds, puts back what control may rightly say (health, drains, the generation), prints what
it did as JSON and leaves. Phases:
  memory    random bytes and words in every section, rings, indices and arena, but no verdict on a backend
  commands  rings full of commands, right and wrong
  race      publications while the arena is being changed
  blobs     publications with a right checksum and wrong contents
  verdicts  random health, drains and weights
  socket    requests that are none"""

import json
import mmap
import os
import random
import struct
import sys
import threading
import time
import zlib

from lab import DIRECTORY, attach

MAGIC = 0x4B53524D
BACKEND_CTL, COMMANDS, EVENTS, ARENA, STATE = 16, 17, 18, 19, 20
CTL_BYTES = 8       # of a backend: health, admin, changes (2), weight (4)
RING_HEAD = 128     # indices stand in lines of their own before the messages
MSG, SLOTS = 128, 1024
HEADER = 336        # of a blob
NOT_DOWN = [0, 1] + list(range(4, 256))
NOT_DRAINED = [0] + list(range(2, 256))


class Scribbler:
    def __init__(self, path, seconds, seed):
        self.path, self.rng, self.end = path, random.Random(seed), time.monotonic() + seconds
        self.did = {}
        self.attach()
        for fd in self.fds:
            self.sizes_refuse(fd)
        self.statistics_refuse(self.fds[0])
        self.blob = bytes(self.memory[self.at(ARENA):self.at(ARENA) + self.blob_length()])
        off, stride, count = self.section[BACKEND_CTL]
        self.health = bytes(self.memory[off:off + stride * count])

    def attach(self):
        for _ in range(100):
            self.s, code, self.fds = attach(self.path, 2)
            if code == 0:
                break
            self.s.close()
            time.sleep(0.02)  # the one before is still being missed
        assert code == 0, code
        self.memory = mmap.mmap(self.fds[1], 0)
        self.section = {}
        for i in range(5):
            kind, count, off, stride = struct.unpack_from("<IIQQ", self.memory, DIRECTORY + 24 * i)
            self.section[kind] = off, stride, count

    def at(self, kind, i=0):
        off, stride, _ = self.section[kind]
        return off + i * stride

    def blob_length(self):
        return struct.unpack_from("<I", self.memory, self.at(ARENA) + 16)[0]

    def count(self, what):
        self.did[what] = self.did.get(what, 0) + 1

    def refused(self, what):
        try:
            what()
        except (OSError, ValueError):
            return
        raise AssertionError("a seal gave way")

    def sizes_refuse(self, fd):
        size = os.fstat(fd).st_size
        for change in (lambda: os.ftruncate(fd, 0), lambda: os.ftruncate(fd, size - 4096), lambda: os.ftruncate(fd, size * 2),
                       lambda: os.posix_fallocate(fd, size, 1 << 20)):
            self.refused(change)
        assert os.fstat(fd).st_size == size

    def statistics_refuse(self, fd):
        self.refused(lambda: mmap.mmap(fd, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE))
        self.refused(lambda: os.pwrite(fd, b"x" * 8, 80))
        readable = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        try:
            readable[80] = 1
            raise AssertionError("statistics were written")
        except TypeError:
            pass

    def go_on(self):
        return time.monotonic() < self.end

    def restore(self):
        off, stride, count = self.section[BACKEND_CTL]
        self.memory[off:off + stride * count] = self.health

    def ask(self, length):
        """One publication: the answer's code and the generation in force."""
        self.s.send(struct.pack("<II", MAGIC, length))
        answer = self.s.recv(256)
        return struct.unpack_from("<I", answer, 4)[0], struct.unpack_from("<Q", answer, 8)[0]

    def sealed(self, blob, generation):
        """With this generation and a right checksum."""
        blob = bytearray(blob)
        struct.pack_into("<Q", blob, 8, generation)
        struct.pack_into("<II", blob, 16, len(blob), 0)
        struct.pack_into("<I", blob, 20, zlib.crc32(blob))
        return bytes(blob)

    def put_back(self):
        """The generation that was in force, as a later one."""
        for _ in range(200):
            code, generation = self.ask(0)
            good = self.sealed(self.blob, generation + 1)
            self.memory[self.at(ARENA):self.at(ARENA) + len(good)] = good
            if self.ask(len(good))[0] == 0:
                return
            time.sleep(0.02)
        raise AssertionError("the good generation is refused")

    def memory_phase(self):
        rng, size = self.rng, len(self.memory)
        off, stride, count = self.section[BACKEND_CTL]
        targets = [(8, off)] + [(self.at(k, i), self.at(k, i) + RING_HEAD) for k in (COMMANDS, EVENTS) for i in range(self.section[k][2])] \
            + [(self.at(k, 0), self.at(k, self.section[k][2])) for k in (COMMANDS, EVENTS, STATE)] + [(off, off + stride * count), (8, size - 8)]
        while self.go_on():
            for _ in range(200):
                low, high = rng.choice(targets)
                at = rng.randrange(low, max(low + 1, high - 8))
                if off - 8 <= at < off + stride * count:  # one byte that is no verdict, or both
                    at = off + (at - off) // CTL_BYTES * CTL_BYTES if at >= off else off
                    self.memory[at + 2:at + 8] = rng.randbytes(6)
                    self.memory[at] = rng.choice(NOT_DOWN)
                    self.memory[at + 1] = rng.choice(NOT_DRAINED)
                elif rng.random() < 0.5:
                    self.memory[at] = rng.randrange(256)
                else:
                    value = rng.choice((0, 1, 0xFFFFFFFF, 0x80000000, SLOTS, SLOTS + 1, rng.randrange(1 << 32)))
                    self.memory[at:at + 4] = struct.pack("<I", value)
                self.count("writes")
        self.restore()

    def commands_phase(self):
        rng = self.rng
        blob = self.blob
        generation = struct.unpack_from("<Q", blob, 8)[0]
        backends, n = struct.unpack_from("<II", blob, 24 + 256 + 3 * 8)
        slots = [struct.unpack_from("<I", blob, backends + 104 * i + 84)[0] for i in range(n)]
        while self.go_on():
            for worker in range(self.section[COMMANDS][2]):
                base = self.at(COMMANDS, worker)
                tail, = struct.unpack_from("<I", self.memory, base + 64)  # the consumer's
                for _ in range(64):
                    i = rng.randrange(n)
                    kind = rng.choice((1, 1, 2, 3, 0, 65535))
                    body = rng.randbytes(112)
                    if kind == 1 and rng.random() < 0.1:
                        right = rng.random() < 0.2
                        body = struct.pack("<IIQII16s", slots[i], i if right else rng.randrange(1 << 32), generation, 1000, 1000,
                                           bytes(16)).ljust(112, b"\0")
                    elif kind == 2:
                        body = struct.pack("<II", rng.choice((0, 1, rng.randrange(5000), 0xFFFFFFFF)), rng.choice((1, 1000, 0xFFFFFFFF)))
                        body = body.ljust(112, b"\0")
                    at = base + RING_HEAD + tail % SLOTS * MSG
                    self.memory[at:at + MSG] = struct.pack("<HHIQ", kind, 112, rng.randrange(1 << 32), generation) + body
                    tail = (tail + 1) % (1 << 32)
                    self.count("commands")
                self.memory[base:base + 4] = struct.pack("<I", tail)
            time.sleep(0.002)

    def race_phase(self):
        stop, arena, length = threading.Event(), self.at(ARENA), len(self.blob)

        def flip():
            rng = random.Random(self.rng.random())
            while not stop.is_set():
                for _ in range(50):
                    at = arena + rng.randrange(length)
                    old = self.memory[at]
                    self.memory[at] = old ^ 1 << rng.randrange(8)
                    self.memory[at] = old
        threads = [threading.Thread(target=flip) for _ in range(2)]
        for t in threads:
            t.start()
        generation = struct.unpack_from("<Q", self.blob, 8)[0]
        while self.go_on():
            good = self.sealed(self.blob, generation + 1)
            self.memory[arena:arena + length] = good
            code, generation = self.ask(self.rng.choice((length, length, length, 0, length - 8, 1 << 31, 0xFFFFFFFF)))
            self.count("taken" if code == 0 else "busy" if code == 4 else "refused")
        stop.set()
        for t in threads:
            t.join()
        self.put_back()

    def blobs_phase(self):
        rng, arena = self.rng, self.at(ARENA)
        generation = struct.unpack_from("<Q", self.blob, 8)[0]
        while self.go_on():
            blob = bytearray(self.blob)
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(24 + 256, len(blob) - 4) & ~3 if rng.random() < 0.8 else rng.randrange(24, len(blob) - 4)
                struct.pack_into("<I", blob, at, rng.choice((0, 1, 2, 255, 0xFFFF, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF, rng.randrange(1 << 32))))
            if rng.random() < 0.2:
                del blob[rng.randrange(HEADER, len(blob)) & ~7:]
            step = rng.choice((1, 1, 1, 0, -1, 1 << 20, 1 << 62))
            blob = self.sealed(blob, max(0, generation + step) % (1 << 64))
            self.memory[arena:arena + len(blob)] = blob
            code, generation = self.ask(len(blob))
            self.count("taken" if code == 0 else "busy" if code == 4 else "refused")
            if code == 0:
                time.sleep(0.03)  # it is used for a while
        self.put_back()

    def verdicts_phase(self):
        off, stride, count = self.section[BACKEND_CTL]
        while self.go_on():
            self.memory[off:off + stride * count] = self.rng.randbytes(stride * count)
            self.count("verdicts")
            time.sleep(0.001)
        self.restore()

    def socket_phase(self):
        while self.go_on():
            kind = self.rng.randrange(3)
            self.s.send((b"garbage", self.rng.randbytes(4000), struct.pack("<II", MAGIC ^ 1, 400))[kind])
            self.s.close()
            for fd in self.fds:
                os.close(fd)
            self.memory.close()
            self.attach()
            self.count("requests")


def main():
    path, phase, seconds, seed = sys.argv[1:5]
    s = Scribbler(path, float(seconds), seed)
    getattr(s, phase + "_phase")()
    print(json.dumps(s.did))


if __name__ == "__main__":
    main()
