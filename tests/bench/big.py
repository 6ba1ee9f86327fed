# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Processes with a large configuration, on a port without a wire, for the measurements here and for the end-to-end cases."""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time


def config_text(build, folder, services, backends):
    """A configuration of that size whose sockets are in the folder."""
    path = folder + "/big.conf"
    subprocess.run([build + "/tests/bench/bench-reload", "-n", "1", "-s", str(services), "-b", str(backends), "-w", path],
                   check=True, stdout=subprocess.DEVNULL, timeout=60)
    with open(path, encoding="utf-8") as f:
        text = f.read().replace("workers = 2;", 'workers = 2; memory = "384M"; socket = "%s/dp.sock";' % folder)
    return text + 'control = { socket = "%s/control.sock"; state_dir = "%s/state"; };\n' % (folder, folder)


def request(path, method, what):
    """One request to control's API, read whole: (seconds, body)."""
    start = time.monotonic()
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(path)
    s.sendall(b"%s %s HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % (method.encode(), what.encode()))
    parts = []
    while chunk := s.recv(1 << 20):
        parts.append(chunk)
    s.close()
    data = b"".join(parts)
    return time.monotonic() - start, data[data.index(b"\r\n\r\n") + 4:]


def memory_most(proc):
    with open("/proc/%d/status" % proc.pid, encoding="ascii") as f:
        return int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)) * 1024


class Big:
    def __init__(self, build, services=1000, backends=10000, programs=("dataplane", "controlplane")):
        self.build, self.programs, self.proc = build, programs, {}
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = self.temporary.name
        self.config, self.control = self.folder + "/mailrace.conf", self.folder + "/control.sock"
        self.text = config_text(build, self.folder, services, backends)
        self.write(self.text)

    def write(self, text):
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(text)

    def log(self):
        with open(self.folder + "/log", encoding="utf-8") as f:
            return f.read()

    def __enter__(self):
        words = {"dataplane": "ready: ", "controlplane": "attached to"}
        try:
            for name in self.programs:
                folder = name if name in words else "tools"
                with open(self.folder + "/log", "a", encoding="utf-8") as log:
                    self.proc[name] = subprocess.Popen([os.path.join(self.build, folder, "mailrace-" + name), "-c", self.config], stderr=log)
                end = time.monotonic() + 30
                while name in words and words[name] not in self.log():
                    if self.proc[name].poll() is not None or time.monotonic() > end:
                        raise RuntimeError(self.log()[-2000:])
                    time.sleep(0.02)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        for proc in reversed(list(self.proc.values())):
            proc.send_signal(signal.SIGTERM)
            try:
                proc.wait(20)
            except subprocess.TimeoutExpired:
                proc.kill()
                proc.wait()
        self.temporary.cleanup()
