# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Headers of the PROXY protocol, read and written by its document, and backends that want one."""

import ipaddress
import os
import socket
import struct
import sys

from lab import Sink

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
from tarpit import Tarpit

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CRC32C, AUTHORITY, UNIQUE_ID, SSL = 3, 2, 5, 0x20


def crc32c(data):
    crc = 0xffffffff
    for b in data:
        crc ^= b
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def tlvs(data):
    found = {}
    while data:
        kind, n = struct.unpack_from(">BH", data)
        assert len(data) >= 3 + n and kind not in found, data
        found[kind] = data[3:3 + n]
        data = data[3 + n:]
    return found


class Header:
    """One that came: version, client and local as (address, port), None for LOCAL; tlvs by type."""

    def __init__(self, raw):
        self.raw, self.client, self.local, self.tlvs = raw, None, None, {}
        if raw.startswith(b"PROXY "):
            self.version = 1
            _, family, client, local, sport, dport = raw.decode("ascii").rstrip("\r\n").split(" ")
            assert raw == ("PROXY %s %s %s %d %d\r\n" % (family, client, local, int(sport), int(dport))).encode() and len(raw) <= 107
            assert ipaddress.ip_address(client).version == int(family[3]), raw
            self.client, self.local = (client, int(sport)), (local, int(dport))
            return
        self.version = 2
        assert raw.startswith(SIGNATURE), raw
        command, family, n = struct.unpack_from(">BBH", raw, 12)
        assert len(raw) == 16 + n
        if command == 0x20:
            return
        assert command == 0x21 and family in (0x11, 0x21), raw
        size = 4 if family == 0x11 else 16
        at = 16 + 2 * size
        name = lambda i: str(ipaddress.ip_address(raw[16 + i * size:16 + (i + 1) * size]))
        sport, dport = struct.unpack_from(">HH", raw, at)
        self.client, self.local = (name(0), sport), (name(1), dport)
        self.tlvs = tlvs(raw[at + 4:])
        place = raw.index(b"\x03\x00\x04" + self.tlvs[CRC32C], at + 4) + 3
        assert crc32c(raw[:place] + bytes(4) + raw[place + 4:]) == struct.unpack(">I", self.tlvs[CRC32C])[0], "its checksum is wrong"

    def tls(self):
        """None, or (flags, verify, version, cipher)."""
        if SSL not in self.tlvs:
            return None
        flags, verify = struct.unpack_from(">BI", self.tlvs[SSL])
        inner = tlvs(self.tlvs[SSL][5:])
        return flags, verify, inner[0x21].decode(), inner[0x23].decode()


def header_read(read):
    """read(n): exactly n octets, or fewer at the end. None: the connection ended before a header."""
    raw = read(16)
    if not raw:
        return None
    if raw.startswith(SIGNATURE):
        return Header(raw + read(struct.unpack_from(">H", raw, 14)[0]))
    while not raw.endswith(b"\n"):
        octet = read(1)
        assert octet, raw
        raw += octet
    return Header(raw)


class HeaderSink(Sink):
    """Wants a header before it greets."""

    def __init__(self, port, **kind):
        self.headers = []
        super().__init__(port, **kind)

    def session(self, h, behave, keywords):
        header = header_read(h.rfile.read)
        if header is not None:
            with self.lock:
                self.headers.append(header)
            super().session(h, behave, keywords)


class HeaderTarpit(Tarpit):
    """Likewise."""

    def __init__(self, addr, port, **kind):
        self.headers = []
        super().__init__(addr, port, **kind)

    def serve(self, conn, session):
        def read(n):
            got = b""
            while len(got) < n and (part := conn.recv(n - len(got))):
                got += part
            return got
        header = header_read(read)
        if header is not None:
            with self.lock:
                self.headers.append(header)
            super().serve(conn, session)


def v1(client, local):
    """A header for (address, port) pairs."""
    return ("PROXY TCP%d %s %s %d %d\r\n" % (ipaddress.ip_address(client[0]).version, client[0], local[0], client[1], local[1])).encode()


def tlv(kind, value):
    return struct.pack(">BH", kind, len(value)) + value


def v2(client, local, extra=b"", checksum=True, spoil=0):
    """The same of version 2. spoil: added to its checksum."""
    one, other = ipaddress.ip_address(client[0]), ipaddress.ip_address(local[0])
    body = one.packed + other.packed + struct.pack(">HH", client[1], local[1])
    body += tlv(CRC32C, bytes(4)) if checksum else b""
    place = 16 + len(body) - 4
    raw = SIGNATURE + struct.pack(">BBH", 0x21, 0x11 if one.version == 4 else 0x21, len(body + extra)) + body + extra
    if checksum:
        raw = raw[:place] + struct.pack(">I", (crc32c(raw) + spoil) & 0xffffffff) + raw[place + 4:]
    return raw


def local(extra=b""):
    return SIGNATURE + struct.pack(">BBH", 0x20, 0, len(extra)) + extra


def connect(host, first, port=25, source=None):
    """A connection that begins with these octets: socket and file."""
    s = socket.create_connection((host, port), timeout=20, source_address=source and (source, 0))
    s.sendall(first)
    return s, s.makefile("rb")
