# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""The guest's root: Mailrace, busybox, the DPDK drivers and kernel modules it needs, all taken from the system that this runs
in. Written as a cpio archive (newc) that the kernel unpacks."""

import glob
import lzma
import os
import re
import stat
import subprocess

LIB = "/usr/lib/x86_64-linux-gnu/"
DRIVERS = ("bus_pci", "bus_vdev", "mempool_ring", "net_e1000", "net_virtio", "net_vmxnet3")
MODULES = ("vfio-pci", "vfio_iommu_type1", "virtio_net", "vmxnet3")
HERE = os.path.dirname(os.path.abspath(__file__))


class Archive:
    """Files by path; folders come by themselves."""

    def __init__(self):
        self.entries = {}

    def folder(self, path):
        while path not in ("", "/"):
            self.entries.setdefault(path, (stat.S_IFDIR | 0o755, b""))
            path = os.path.dirname(path)

    def add(self, path, data, mode=0o755):
        self.folder(os.path.dirname(path))
        self.entries[path] = (stat.S_IFREG | mode, data)

    def link(self, path, target):
        self.folder(os.path.dirname(path))
        self.entries[path] = (stat.S_IFLNK | 0o777, target.encode())

    def copy(self, path, to=None):
        with open(path, "rb") as f:
            self.add(to or path, f.read())

    def write(self, out):
        def record(number, name, mode, data):
            head = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
            text = b"070701" + b"".join(b"%08x" % n for n in head) + name.encode() + b"\0"
            text += b"\0" * (-len(text) % 4)
            return text + data + b"\0" * (-len(data) % 4)

        with open(out, "wb") as f:
            for i, path in enumerate(sorted(self.entries)):
                f.write(record(i + 1, path.lstrip("/"), *self.entries[path]))
            f.write(record(0, "TRAILER!!!", 0, b""))


def libraries(path):
    """Shared objects that a program or driver needs, as the loader finds them here."""
    text = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    found = [w for line in text.splitlines() for w in line.split() if w.startswith("/")]
    # /lib and /lib64 are links
    return [os.path.join(os.path.realpath(os.path.dirname(f)), os.path.basename(f)) for f in found]


def add_program(archive, path, to):
    archive.copy(path, to)
    add_libraries(archive, path)


def add_libraries(archive, path):
    for lib in libraries(path):
        driver = re.fullmatch(r"librte_(\w+)\.so\.[\d.]+", os.path.basename(lib))
        if "/dpdk/pmds-" in os.path.realpath(lib) and driver:
            add_driver(archive, driver[1])
        elif lib not in archive.entries:
            archive.copy(lib)


def add_driver(archive, name):
    """One copy of each, with its links: EAL loads everything in the folder, and a second copy would register twice."""
    for path in glob.glob(LIB + "librte_%s.so*" % name) + glob.glob(LIB + "dpdk/pmds-*/librte_%s.so*" % name):
        if path in archive.entries:
            continue
        if os.path.islink(path):
            archive.link(path, os.readlink(path))
        else:
            archive.copy(path)
            add_libraries(archive, path)


def kernel():
    """(image, folder of its modules)."""
    folders = sorted(glob.glob("/usr/lib/modules/*/modules.dep"))
    folder = os.path.dirname(folders[-1])
    return "/boot/vmlinuz-" + os.path.basename(folder), folder


def add_modules(archive, folder):
    """Each module unpacked, and for each of MODULES the list of what to load, in order."""
    needs = {}
    with open(folder + "/modules.dep", encoding="utf-8") as f:
        for line in f:
            path, _, rest = line.partition(":")
            needs[path] = rest.split()
    name = lambda path: os.path.basename(path).partition(".")[0].replace("-", "_")
    for wanted in MODULES:
        path = [p for p in needs if name(p) == wanted.replace("-", "_")]
        if not path:
            continue  # this kernel does without
        order = list(reversed(needs[path[0]])) + path
        archive.add("/modules/%s.list" % wanted, "\n".join(name(p) for p in order).encode() + b"\n")
        for p in order:
            with open(os.path.join(folder, p), "rb") as f:
                data = f.read()
            archive.add("/modules/%s.ko" % name(p), lzma.decompress(data) if p.endswith(".xz") else data)


def make(build, out):
    """Writes the archive; returns the kernel image to start with it."""
    archive = Archive()
    image, folder = kernel()
    for path in ("/dev", "/proc", "/sys", "/tmp", "/run", "/usr/sbin"):
        archive.folder(path)
    archive.link("/var", "run")  # EAL wants /var/run
    archive.folder("/run/run")
    for path in ("/lib", "/lib64", "/bin", "/sbin"):
        if os.path.islink(path):
            archive.link(path, os.readlink(path))
    archive.add("/etc/passwd", b"root:x:0:0::/:/bin/sh\nmail:x:8:8::/:/bin/sh\n", 0o644)
    archive.copy("/usr/bin/busybox")
    archive.link("/usr/bin/sh", "busybox")
    add_program(archive, build + "/dataplane/mailrace-dataplane", "/usr/sbin/mailrace-dataplane")
    add_program(archive, build + "/tools/mailrace-stats", "/usr/bin/mailrace-stats")
    for driver in DRIVERS:
        add_driver(archive, driver)
    add_modules(archive, folder)
    archive.copy(HERE + "/init.sh", "/init")
    archive.write(out)
    return image
