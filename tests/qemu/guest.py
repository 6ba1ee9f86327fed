# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""A virtual machine with one NIC on a TAP of this network namespace: QEMU's own processor (no KVM needed), a shell on its second
serial line, the monitor for the link."""

import os
import re
import socket
import subprocess
import time

import initrd
from lab import sh, wait_for

# queues: what the NIC has; rss: it knows our hash; module: of the kernel, None: the guest's kernel has none; driver: its name
# on the PCI bus
NICS = {
    "e1000e": {"device": "e1000e", "queues": 1, "rss": False, "module": None},
    "virtio": {
        "device": "virtio-net-pci,iommu_platform=on,disable-legacy=on,mq=on,vectors=8,rss=on,hash=on",
        "queues": 2,
        "rss": True,
        "module": "virtio_net",
        "driver": "virtio-pci",
    },
    "vmxnet3": {"device": "vmxnet3", "queues": 2, "rss": False, "module": "vmxnet3", "driver": "vmxnet3"},
    "igb": {"device": "igb,bus=port0", "queues": 2, "rss": True, "module": None, "bus": True},
}


class Guest:
    def __init__(self, nic, build, folder, interface="mr0"):
        self.nic, self.dir, self.interface = NICS[nic], folder, interface
        start = time.monotonic()
        image = initrd.make(build, folder + "/initrd")
        self.made = time.monotonic() - start
        tap = "tap,id=n0,ifname=%s,script=no,downscript=no,vhost=off" % interface
        if nic == "virtio":
            tap += ",queues=%d" % self.nic["queues"]
        else:
            tap += ",vnet_hdr=off"  # whole checksums on the wire, so that the kernel checks what the NIC made of ours
        self.command = [
            "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "640",
            "-nodefaults", "-display", "none", "-no-reboot", "-kernel", image, "-initrd", folder + "/initrd",
            "-device", "intel-iommu,intremap=off,caching-mode=on,device-iotlb=on",
            *(["-device", "pcie-root-port,id=port0,chassis=1,slot=1"] if self.nic.get("bus") else []),
            "-netdev", tap, "-device", self.nic["device"] + ",netdev=n0,id=nic0,mac=02:00:00:00:0a:01,romfile=",
            "-serial", "file:" + folder + "/console",
            "-chardev", "socket,id=shell,path=%s/shell,server=on,wait=off" % folder, "-serial", "chardev:shell",
            "-chardev", "socket,id=mon,path=%s/monitor,server=on,wait=off" % folder, "-mon", "chardev=mon,mode=readline",
            "-append", "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off intel_iommu=on iommu=pt",
        ]

    def __enter__(self):
        self.log = open(self.dir + "/qemu", "w+", encoding="utf-8")
        start = time.monotonic()
        self.proc = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            self.shell = self.connect("shell")
            self.monitor = self.connect("monitor")
            self.seen = b""
            status, _ = self.answer(120)
            assert status == 0, status
        except BaseException:
            self.__exit__(Exception, None, None)
            raise
        self.booted = time.monotonic() - start
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            for name in ("qemu", "console"):
                if os.path.exists(self.dir + "/" + name):
                    with open(self.dir + "/" + name, encoding="utf-8", errors="replace") as f:
                        print("%s: %s" % (name, f.read()[-3000:]))
        self.proc.terminate()
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()

    def connect(self, name):
        s = socket.socket(socket.AF_UNIX)
        path = self.dir + "/" + name

        def there():
            assert self.proc.poll() is None, "QEMU has ended with status %s" % self.proc.returncode
            return os.path.exists(path)

        wait_for("QEMU's socket " + name, there, 30)
        s.connect(path)
        return s

    def answer(self, seconds):
        self.shell.settimeout(1)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            m = re.search(rb"==(\d+)==\r?\n", self.seen)
            if m:
                text = self.seen[:m.start()].decode("latin1").replace("\r", "")
                self.seen = self.seen[m.end():]
                return int(m[1]), text
            assert self.proc.poll() is None, "the guest is gone"
            try:
                self.seen += self.shell.recv(65536)
            except TimeoutError:
                pass
        raise TimeoutError("the guest's shell: %r" % self.seen[-300:])

    def run(self, command, seconds=30):
        """(exit status, output) of a command in the guest."""
        self.shell.sendall(command.encode() + b"\n")
        return self.answer(seconds)

    def must(self, command, seconds=30):
        status, text = self.run(command, seconds)
        assert status == 0, (command, status, text)
        return text.strip()

    def write(self, path, text):
        self.must(": >" + path)
        for line in text.splitlines():
            self.must("echo '%s' >>%s" % (line, path))

    def link(self, up):
        """Pulls the cable, or puts it back."""
        self.monitor.sendall(b"set_link nic0 %s\n" % (b"on" if up else b"off"))

    def addresses_set(self, net4, net6):
        sh("ip", "addr", "add", net4 + "1/24", "dev", self.interface)
        sh("ip", "-6", "addr", "add", net6 + "1/64", "dev", self.interface, "nodad")
        sh("ip", "link", "set", self.interface, "up")

    def metrics(self):
        """What mailrace-stats says, as a dictionary of metric with its labels to number, sums over workers under the bare name."""
        found = {}
        for line in self.must("mailrace-stats /run/mailrace/dp.sock").splitlines():
            m = re.fullmatch(r"mailrace_(\w+)(?:\{(.*)\})? ([\d.e+-]+)", line)
            if m:
                found[m[1], m[2] or ""] = float(m[3])
        return found
