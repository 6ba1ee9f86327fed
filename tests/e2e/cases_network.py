# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Ports, routes and neighbors: two ports with a VLAN tag and gateways, addresses that another station has, services that
move here from another box, neighbors that change. Each peer is the kernel of a namespace of its own."""

import contextlib
import json
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time

import lab as laboratory
from lab import NET4, NET6, VIP4, VIP6, Control, Lab, Sink, sh, wait_for
from mail import Raw, body_of, quiet, send

CLIENT4, CLIENT6, ROUTER_LL = NET4 + "1", NET6 + "1", "fe80::77:1"
OTHER4, OTHER6 = NET4 + "51", NET6 + "51"
SERVER4, SERVER6, SERVER_LL = "10.78.0.1", "fd78::1", "fe80::78:1"
FAR4, FAR6 = "10.99.0.2", "fd99::2"
DEEP6 = "fd88::2"
VLAN = 20
MAIL = b"a: b\r\n\r\nc\r\n"


class Netns:
    """A network namespace; `with` moves the calling thread (and what it starts) into it."""

    def __init__(self, name):
        self.name = "mr-%s-%d" % (name, os.getpid())
        sh("ip", "netns", "add", self.name)
        self.fd = os.open("/run/netns/" + self.name, os.O_RDONLY)
        self.before = []
        with self:
            sh("ip", "link", "set", "lo", "up")

    def __enter__(self):
        self.before.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        os.setns(self.fd, os.CLONE_NEWNET)
        return self

    def __exit__(self, kind, value, trace):
        fd = self.before.pop()
        os.setns(fd, os.CLONE_NEWNET)
        os.close(fd)

    def close(self):
        os.close(self.fd)
        subprocess.run(["ip", "netns", "del", self.name], stderr=subprocess.DEVNULL, check=False, timeout=20)

    def address(self, interface, *addresses):
        with self:
            for a in addresses:
                sh("ip", "addr", "add", a, "dev", interface, *(["nodad"] if ":" in a else []))

    def forward(self):
        with self:
            sh("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")

    def send(self, *args, **kind):
        with self:
            send(*args, **kind)


def plain(*interfaces):
    for i in interfaces:
        sh("ethtool", "-K", i, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off", "sg", "off")
        sh("ip", "link", "set", i, "up")


def veth(a, b, ns_a=None, ns_b=None):
    sh("ip", "link", "add", a, "type", "veth", "peer", "name", b)
    for interface, ns in ((a, ns_a), (b, ns_b)):
        if ns is not None:
            sh("ip", "link", "set", interface, "netns", ns.name)
        with ns or contextlib.nullcontext():
            if ns is None:
                sh("sysctl", "-qw", "net.ipv6.conf.%s.disable_ipv6=1" % interface)
            plain(interface)


class AccessPort(threading.Thread):
    """A switch between a trunk (frames with our tag) and an access port (frames without)."""

    def __init__(self, trunk, access):
        super().__init__(daemon=True)
        self.stop = False
        self.sockets = []
        for interface in (trunk, access):
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            s.bind((interface, 0))
            s.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: the kernel takes tags off
            self.sockets.append(s)
        self.start()

    def run(self):
        trunk, access = self.sockets
        while not self.stop:
            for s in select.select(self.sockets, [], [], 0.1)[0]:
                frame, aux, _, origin = s.recvmsg(65536, 64)
                if origin[2] == socket.PACKET_OUTGOING:
                    continue
                status, tci = struct.unpack_from("<I12xH", aux[0][2], 0)[0], struct.unpack_from("<16xH", aux[0][2], 0)[0]
                with contextlib.suppress(OSError):
                    if s is access:
                        trunk.send(frame[:12] + struct.pack("!HH", 0x8100, VLAN) + frame[12:])
                    elif status & 0x10 and tci & 0xfff == VLAN:  # TP_STATUS_VLAN_VALID
                        access.send(frame)

    def close(self):
        self.stop = True
        self.join(5)
        for s in self.sockets:
            s.close()


class Field(Lab):
    """The box's port `wan` on a bridge with the clients and another station; with two ports, `lan` is tagged and leads to the
    servers. Behind the clients is a network of others, behind the servers one more server."""

    def __init__(self, two=False, wan_gateways=(), lan_gateways=(), backends=((OTHER4, 2525),), vips=(VIP4, VIP6)):
        self.dir = "/run/lab-%d-%d" % (os.getpid(), random.randrange(1 << 30))
        os.mkdir(self.dir)
        self.port, self.proc, self.build = "own", None, laboratory.BUILD
        self.binary = os.path.join(self.build, "dataplane/mailrace-dataplane")
        self.socket = self.dir + "/dp.sock"
        self.stack = contextlib.ExitStack()
        try:
            self.wire(two)
        except BaseException:
            self.stack.close()
            raise
        quote = lambda texts: ", ".join('"%s"' % t for t in texts)
        gateways = lambda texts: "gateways = [ %s ];" % quote(texts) if texts else ""
        port = 'device = "net_af_packet%d,iface=mrbox%d,framecnt=2048,blocksz=65536"; addresses = [ %s ]; %s'
        ports = "wan = { %s };" % (port % (0, 0, quote((NET4 + "10/24", NET6 + "10/64")), gateways(wan_gateways)))
        if two:
            ports += "lan = { vlan = %d; %s };" % (
                VLAN, port % (1, 1, quote(("10.78.0.10/24", "fd78::10/64")), gateways(lan_gateways)))
        listed = lambda a, p: "[%s]:%d" % (a, p) if ":" in a else "%s:%d" % (a, p)
        self.config_of = lambda vips: """hostname = "mx.lab.example";
dataplane = { workers = 1; max_sessions = 1000; memory = "256M"; buffers = 16384; socket = "%s"; };
control = { socket = "%s/control.sock"; };
ports = { %s };
pools = { mail = { scheduler = "weighted-round-robin"; backends = ( %s ); }; };
virtual_services = { inbound = { listen = [ %s ]; pool = "mail"; }; };
""" % (self.socket, self.dir, ports, ", ".join('{ name = "b%d"; address = "%s"; }' % (i, listed(*b)) for i, b in enumerate(backends)),
            quote(listed(v, 25) for v in vips))
        self.config = self.config_of(vips)
        self.write_config(self.config)

    def netns(self, name):
        ns = Netns(name)
        self.stack.callback(ns.close)
        return ns

    def wire(self, two):
        self.clients, self.other = self.netns("clients"), self.netns("other")
        veth("mrbox0", "c0", None, self.clients)
        veth("o0", "c1", self.other, self.clients)
        self.stack.callback(lambda: subprocess.run(["ip", "link", "del", "mrbox0"], stderr=subprocess.DEVNULL, check=False))
        with self.clients:
            sh("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "1", "mcast_querier", "1")
            for i in ("c0", "c1"):
                sh("ip", "link", "set", i, "master", "br0")
            plain("br0")
        self.clients.address("br0", CLIENT4 + "/24", CLIENT6 + "/64", ROUTER_LL + "/64")
        self.other.address("o0", OTHER4 + "/24", OTHER6 + "/64")
        if not two:
            return
        self.servers, self.far, self.deep = self.netns("servers"), self.netns("far"), self.netns("deep")
        veth("mrbox1", "trunk")
        self.stack.callback(lambda: subprocess.run(["ip", "link", "del", "mrbox1"], stderr=subprocess.DEVNULL, check=False))
        veth("access", "s0", None, self.servers)
        veth("s1", "d0", self.servers, self.deep)
        veth("c2", "f0", self.clients, self.far)
        self.servers.address("s0", SERVER4 + "/24", SERVER6 + "/64", SERVER_LL + "/64")
        self.servers.address("s1", "fd88::1/64")
        self.deep.address("d0", DEEP6 + "/64")
        self.clients.address("c2", "10.99.0.1/24", "fd99::1/64")
        self.far.address("f0", FAR4 + "/24", FAR6 + "/64")
        self.servers.forward()
        self.clients.forward()
        with self.far:
            sh("ip", "route", "add", "default", "via", "10.99.0.1")
            sh("ip", "-6", "route", "add", "default", "via", "fd99::1")
        with self.deep:
            sh("ip", "-6", "route", "add", "default", "via", "fd88::1")
        switch = AccessPort("trunk", "access")
        self.stack.callback(switch.close)

    def addresses_set(self):
        pass

    def stop(self):
        status = super().stop()
        self.stack.close()
        return status

    def sink(self, ns, port, addr):
        with ns:
            return Sink(port, addr)

    def box_mac(self):
        return mac_of("mrbox0")


def ip_json(*args):
    return json.loads(subprocess.run(["ip", "-j", *args], capture_output=True, check=True, timeout=20).stdout or b"[]")


def mac_of(interface):
    return ip_json("link", "show", interface)[0]["address"]


def neighbor(ns, addr):
    """The link-layer address by which a namespace knows its neighbor, or None."""
    with ns:
        return next((n.get("lladdr") for n in ip_json("neigh", "show", addr)), None)


def case_two_ports_with_a_tag_and_gateways():
    rng = random.Random(1)
    backends = ((SERVER4, 2525), (SERVER6, 2525), (DEEP6, 2525))
    with Field(two=True, wan_gateways=(CLIENT4,), lan_gateways=(SERVER_LL,), backends=backends) as f:
        sinks = [f.sink(f.servers, 2525, SERVER4), f.sink(f.servers, 2525, SERVER6), f.sink(f.deep, 2525, DEEP6)]
        bodies = [body_of(rng, 20000) for _ in range(18)]
        for i, body in enumerate(bodies):
            if i % 3 == 2:
                f.far.send(body, VIP4)  # several hops away
            else:
                f.clients.send(body, (VIP4, VIP6)[i % 3])
        assert sorted(b for s in sinks for b in s.bodies) == sorted(bodies)
        assert all(len(s.bodies) == 6 for s in sinks), [len(s.bodies) for s in sinks]
        assert set(sinks[0].peers) == {"10.78.0.10"} and set(sinks[1].peers + sinks[2].peers) == {"fd78::10"}
        # frames without the tag, or with another, are not the port's
        before = f.stats["net_eth_vlan"]
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
            s.bind(("trunk", 0))
            for tag in (b"", struct.pack("!HH", 0x8100, VLAN + 1)):
                s.send(b"\xff" * 6 + b"\x02\0\0\0\0\x99" + tag + b"\x08\x06" + bytes(46))
        wait_for("frames of other VLANs to be dropped", lambda: f.stats["net_eth_vlan"] >= before + 2)
        quiet(f)


def case_clients_behind_a_router_over_both_families():
    rng = random.Random(2)
    with Field(two=True, wan_gateways=(CLIENT4, ROUTER_LL), backends=((SERVER4, 2525),)) as f:
        sink = f.sink(f.servers, 2525, SERVER4)
        bodies = [body_of(rng, 100000) for _ in range(4)]
        for i, body in enumerate(bodies):
            f.far.send(body, (VIP4, VIP6)[i % 2])
        assert sorted(sink.bodies) == sorted(bodies) and f.stats["net_no_route"] == f.stats["tcp_no_route"] == 0
        with f.far:
            for host in (VIP4, VIP6):
                sh("ping", "-c", "1", "-W", "5", host)
        quiet(f)


def takes(what, ns, sink, host, seconds=40):
    """Mails from ns to host until the sink has one more: a connection may have gone to where the address was before."""
    count, end = len(sink.bodies), time.monotonic() + seconds
    while len(sink.bodies) == count:
        assert time.monotonic() < end, what
        with contextlib.suppress(OSError):
            ns.send(MAIL, host, timeout=5)


def case_an_address_that_another_station_has():
    f = Field()
    f.other.address("o0", VIP4 + "/24", VIP6 + "/64")
    theirs = [f.sink(f.other, 25, VIP4), f.sink(f.other, 25, VIP6)]
    with f, Control(f) as control:
        ours = f.sink(f.other, 2525, OTHER4)
        wait_for("both addresses to be off", lambda: f.stats["net_addresses_off"] == 2)
        for sink, host in zip(theirs, (VIP4, VIP6)):
            takes("mail to who has the address", f.clients, sink, host)
        assert not ours.bodies and f.read_log().count("is off: ") == 2, f.read_log()
        with f.other:
            mac = mac_of("o0")
        rows = control.json("show", "conflicts")
        assert {r["address"] for r in rows} == {VIP4, VIP6}, rows
        assert all(r["state"] == "off" and r["mac"] == mac for r in rows), rows
        # the other lets go: the box takes its place and says so
        with f.other:
            for a in (VIP4 + "/24", VIP6 + "/64"):
                sh("ip", "addr", "del", a, "dev", "o0")
        wait_for("both addresses to be ours", lambda: f.stats["net_addresses_off"] == 0, 30)
        for host in (VIP4, VIP6):
            wait_for("the client to know", lambda h=host: neighbor(f.clients, h) == f.box_mac())
            takes("mail to the box", f.clients, ours, host)
        assert {r["state"] for r in control.json("show", "conflicts")} == {"over"}
        # now it is ours: the kernel's own detection gives way, and a claim is answered
        with f.other:
            sh("ip", "addr", "add", VIP6 + "/64", "dev", "o0")
            wait_for("the kernel to find its address taken", lambda: any(
                a.get("local") == VIP6 and a.get("dadfailed") for a in ip_json("addr", "show", "dev", "o0")[0]["addr_info"]))
            station = bytes.fromhex(mac.replace(":", ""))
            claim = b"\xff" * 6 + station + struct.pack("!HHHBBH", 0x806, 1, 0x800, 6, 4, 1)
            claim += station + socket.inet_aton(VIP4) + bytes(6) + socket.inet_aton(VIP4)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
                s.bind(("o0", 0))
                for _ in range(5):
                    s.send(claim)
        wait_for("the claims to be counted", lambda: f.stats["net_arp_conflict"] >= 5)
        assert f.stats["net_address_defended"] == 1
        for host in (VIP4, VIP6):
            takes("mail to the box, in spite of claims", f.clients, ours, host)


def case_a_service_that_moves_here_from_another_box():
    moved = (NET4 + "26", NET6 + "26")
    with Field() as f:
        f.other.address("o0", moved[0] + "/24", moved[1] + "/64")
        theirs = [f.sink(f.other, 25, host) for host in moved]
        ours = f.sink(f.other, 2525, OTHER4)
        for sink, host in zip(theirs, moved):
            f.clients.send(MAIL, host)
            assert len(sink.bodies) == 1 and neighbor(f.clients, host) != f.box_mac()
        with f.other:
            for sink, host, bits in zip(theirs, moved, ("/24", "/64")):
                sink.close()
                sh("ip", "addr", "del", host + bits, "dev", "o0")
        f.write_config(f.config_of((VIP4, VIP6, *moved)))
        f.reload()
        for host in moved:  # by our announcements alone: nobody asks
            wait_for("the client to know the box", lambda h=host: neighbor(f.clients, h) == f.box_mac())
            takes("mail to the service here", f.clients, ours, host)
        assert f.stats["net_address_taken"] == 0


def case_neighbors_that_change_in_mid_session():
    with Field() as f:
        sink = f.sink(f.other, 2525, OTHER4)
        with f.other:  # as a server or a gateway that fails over
            sh("sysctl", "-qw", "net.ipv4.conf.o0.arp_notify=1", "net.ipv6.conf.o0.ndisc_notify=1")
        with f.clients:
            sessions = [Raw(VIP4), Raw(VIP6)]
        for s in sessions:
            assert s.ask("EHLO client.example").startswith("250") and s.ask("MAIL FROM:<a@example.com>").startswith("250")
        with f.clients:
            sh("ip", "link", "set", "br0", "address", "02:00:00:00:77:01")
        for s in sessions:
            assert s.ask("RCPT TO:<b@example.com>").startswith("250")
        with f.other:
            sh("ip", "link", "set", "o0", "address", "02:00:00:00:77:02")
        for s in sessions:
            assert s.ask("DATA").startswith("354")
            assert s.ask(MAIL + b".\r\n").startswith("250")
            assert s.ask("QUIT").startswith("221")
            s.close()
        assert sink.bodies == [MAIL, MAIL] and f.stats["net_neighbor_moved"] >= 3
        quiet(f)


def case_a_switch_that_snoops_knows_our_groups():
    with Field() as f:
        def groups():
            with f.clients:
                out = subprocess.run(["bridge", "-j", "mdb", "show"], capture_output=True, check=True, timeout=20).stdout
            return {e["grp"] for table in json.loads(out) for e in table.get("mdb", ()) if e["port"] == "c0"}

        wanted = {"ff02::1:ff00:10", "ff02::1:ff00:25"}
        wait_for("the bridge to list the groups", lambda: wanted <= groups())
        assert f.stats["net_mld_reports"] > 0
        f.write_config(f.config_of((VIP4,)))
        f.reload()
        wait_for("the bridge to forget a group", lambda: "ff02::1:ff00:25" not in groups(), 20)
        assert "ff02::1:ff00:10" in groups()


def case_a_link_that_comes_back():
    with Field() as f:
        sink = f.sink(f.other, 2525, OTHER4)
        takes("mail before", f.clients, sink, VIP4)
        wait_for("the start's announcements", lambda: f.stats["net_address_announcements"] >= 10)
        probes, announced = f.stats["net_address_probes"], f.stats["net_address_announcements"]
        with f.clients:
            sh("ip", "link", "set", "c0", "down")
            time.sleep(1)
            sh("ip", "link", "set", "c0", "up")
        # two IPv4 addresses by two probes, three IPv6 ones by one
        wait_for("probes", lambda: f.stats["net_address_probes"] == probes + 7, 20)
        wait_for("announcements", lambda: f.stats["net_address_announcements"] == announced + 10, 20)
        for host in (VIP4, VIP6):
            takes("mail afterwards", f.clients, sink, host)
