# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Reloads, good and bad, and the deaths of processes, under mail: nothing is cut, no counter goes backwards; and what the
dataplane keeps for a start with a broken file."""

import http.client
import os
import pwd
import random
import re
import signal
import struct
import subprocess
import threading
import time

from lab import HOST4, VIP4, Control, Lab, Sink, sh, wait_for
from mail import Raw, body_of, quiet, send

MAIL = b"a: b\r\n\r\nc\r\n"
TWO = ((HOST4, 2525), (HOST4, 2526))
RELOADS, KILLS = 100, 50


class Load:
    """Clients that send mail until told to stop; every mail must be taken, and stored once."""

    def __init__(self, clients=8, seed=1):
        self.stop, self.sent, self.errors, self.lock = threading.Event(), [], [], threading.Lock()
        self.threads = [threading.Thread(target=self.client, args=(random.Random(seed * 1000 + i),)) for i in range(clients)]

    def client(self, rng):
        while not self.stop.is_set():
            body = body_of(rng, 2000)
            try:
                send(body)
            except Exception as e:
                with self.lock:
                    self.errors.append(repr(e))
                return
            with self.lock:
                self.sent.append(body)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stop.set()
        for t in self.threads:
            t.join(90)
        assert kind is not None or not self.errors, self.errors[:5]

    def check(self, sinks):
        got = [b for s in sinks for b in s.bodies]
        assert len(got) == len(self.sent) > 0 and sorted(got) == sorted(self.sent), (len(got), len(self.sent))


def mail_by_hand(c):
    for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", b"x: y\r\n\r\nz\r\n.\r\n", "QUIT"):
        assert c.ask(line)[0] in "23", line
    c.close()


def garbage_of(rng, good):
    """A file that is no configuration, each time another kind."""
    cut = rng.randrange(len(good))
    kinds = (
        lambda: good.replace("pools = {", "pools = { {", 1),
        lambda: good.replace("scheduler", "sheduler", 1),
        lambda: good.replace('pool = "mail"', 'pool = "male"', 1),
        lambda: good.replace("workers = 2", "workers = 2000", 1),
        lambda: good.replace(HOST4 + ":2525", HOST4 + ":99999", 1),
        lambda: good.replace('name = "b1"', 'name = "b0"', 1),
        lambda: good.replace('"weighted-round-robin"', "5", 1),
        lambda: good.replace("virtual_services = {", 'virtual_services = { x = { listen = [ "%s:25" ]; pool = "mail"; };' % VIP4, 1),
        lambda: good[:cut] if cut < good.rindex("virtual_services") else "",
        lambda: "",
        lambda: "\0" * 100 + good,
        lambda: "".join(chr(rng.randrange(32, 127)) for _ in range(3000)),
        lambda: '@include "nothing-of-this-name"\n' + good,
        lambda: good.replace("}; };\nvirtual", "}; ",),
    )
    text = rng.choice(kinds)()
    assert text != good
    return text


def case_a_hundred_reloads_half_of_them_garbage_cut_nothing():
    rng = random.Random(40)
    with Lab(workers=2, port="af_packet", backends=TWO) as lab, Control(lab) as control:
        sinks = Sink(2525), Sink(2526)
        first = lab.stats.current_generation()
        long_ones = [Raw() for _ in range(20)]
        for c in long_ones:
            assert c.ask("EHLO me").startswith("250")
        with Load() as load:
            for i in range(RELOADS // 2):
                lab.write_config(lab.config.replace('2526"; }', '2526"; weight = %d; }' % (i % 7 + 1)))
                status, _, err = control.run("reload")
                assert status == 0, err
                lab.write_config(garbage_of(rng, lab.config))
                status, out, err = control.run("reload")
                assert status == 1 and "refused" in err, (status, out, err)
            assert len(load.sent) > 20, "mail has gone on meanwhile"
        for c in long_ones:
            mail_by_hand(c)
            load.sent.append(b"x: y\r\n\r\nz\r\n")
        load.check(sinks)
        told = control.json("status")["control"]
        assert (told["reloads_total"], told["reloads_refused_total"]) == (50, 50), told
        assert lab.stats.current_generation() == first + RELOADS // 2 and lab.stats["configuration_generations"] == 1 + RELOADS // 2
        assert lab.stats["tcp_resets_in"] == 0 and lab.stats["session_messages"] == len(load.sent)
        quiet(lab)


def scrape(port):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        c.request("GET", "/metrics")
        return c.getresponse().read().decode()
    finally:
        c.close()


class Scraper:
    """Reads the metrics again and again, through the exporter's deaths; remembers every counter's most."""

    def __init__(self, port):
        self.port, self.stop, self.most, self.bad, self.pages = port, threading.Event(), {}, [], 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop.is_set():
            try:
                text = scrape(self.port)
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)  # just killed
                continue
            if not text.endswith("\n") or "mailrace_up 1\n" not in text:
                self.bad.append(text[-200:])
            self.pages += 1
            counters = set(re.findall(r"^# TYPE (\w+) counter$", text, flags=re.M))
            for name, labels, value in re.findall(r"^(\w+)(\{[^}]*\})? (\S+)$", text, flags=re.M):
                if name not in counters and not name.endswith(("_count", "_sum", "_bucket")):
                    continue
                if float(value) < self.most.get(name + labels, 0):
                    self.bad.append((name + labels, value, self.most[name + labels]))
                self.most[name + labels] = float(value)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stop.set()
        self.thread.join(30)
        assert kind is not None or not self.bad, self.bad[:5]


def case_fifty_kills_of_control_exporter_and_cli_cut_nothing():
    rng = random.Random(41)
    lab = Lab(workers=2, port="af_packet", backends=TWO)
    lab.config += 'exporter = { listen = "127.0.0.1:9825"; };\n'
    lab.write_config(lab.config)
    with lab, Control(lab) as control:
        sinks = Sink(2525), Sink(2526)
        start_exporter = lambda: subprocess.Popen([lab.build + "/tools/mailrace-exporter", "-c", control.config])
        exporter = start_exporter()
        tools = []
        try:
            with Load() as load, Scraper(9825) as scraper:
                for i in range(KILLS):
                    asked = subprocess.Popen([lab.build + "/tools/mailracectl", "-s", control.socket, *(
                        ("reload",), ("show", "sessions"), ("show", "backends"))[i % 3]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    tools.append(asked)
                    time.sleep(rng.random() * 0.1)
                    (control.proc, exporter, asked)[i % 3].kill()
                    if i % 3 == 0:
                        control.proc.wait()
                        control.start(wait=i % 2 == 0)
                    elif i % 3 == 1:
                        exporter.wait()
                        exporter = start_exporter()
                pages = scraper.pages
                wait_for("a page of the last exporter", lambda: scraper.pages > pages + 1, 30)
                wait_for("the last control process", lambda: control.run("status")[0] == 0, 20)
        finally:
            for p in [exporter] + tools:
                p.kill()
                p.wait()
        assert scraper.pages > 10 and len(scraper.most) > 100
        load.check(sinks)
        assert lab.stats["session_messages"] == len(load.sent) and lab.stats["tcp_resets_in"] == 0
        quiet(lab)


def kill(lab):
    lab.proc.send_signal(signal.SIGKILL)
    lab.proc.wait()


def kept_now(lab):
    """Generation and port of the first backend in what is kept."""
    try:
        with open(lab.dir + "/state/generation.blob", "rb") as f:
            data = f.read()
    except FileNotFoundError:
        return None, None
    blob = data[data.index(b"\n") + 1:]
    backends, = struct.unpack_from("<I", blob, 24 + 256 + 3 * 8)
    return struct.unpack_from("<Q", blob, 8)[0], struct.unpack_from("<H", blob, backends + 80)[0]


def kept(lab, generation):
    wait_for("generation %d to be kept" % generation, lambda: kept_now(lab)[0] == generation)


def case_a_start_with_a_broken_file_uses_the_last_good_configuration():
    with Lab("af_packet") as lab, Control(lab) as control:
        sink, other = Sink(2525), Sink(2526)
        kept(lab, 1)
        lab.write_config(lab.config.replace(":2525", ":2526"))
        assert control.run("reload")[0] == 0
        kept(lab, 2)
        control.kill()
        loud = 0
        for broken in ("garbage {", "", lab.config.replace("pools", "pulse"), lab.config[:lab.config.index("pools")]):
            lab.write_config(broken)
            kill(lab)
            # where the file cannot say any more where it was kept, the option does
            lab.restart(*(() if "state_dir" in broken else ("-s", lab.dir + "/state")))
            loud += 1
            assert lab.read_log().count("STARTING WITH THE LAST GOOD CONFIGURATION") == loud
            assert lab.stats["configuration_last_good"] == 1 and lab.stats.current_generation() == 2
            before = len(other.bodies)
            send(MAIL)
            assert len(other.bodies) == before + 1 and not sink.bodies, "what the last reload said is in force"
        refused = lab.stats["configuration_bad_file"]
        lab.reload()  # still broken
        wait_for("the refusal", lambda: lab.stats["configuration_bad_file"] == refused + 1)
        assert lab.stats["configuration_last_good"] == 1
        check = subprocess.run([lab.binary, "-t", "-c", control.config], capture_output=True, timeout=20, check=False)
        assert check.returncode == 78, "a check does not take the kept one for the file"
        lab.write_config(lab.config)  # mended, and other than what was kept: the file holds
        lab.reload()
        wait_for("the file to be in force", lambda: lab.stats["configuration_last_good"] == 0)
        send(MAIL)
        assert len(sink.bodies) == 1
        kept(lab, 3)
        control.start()
        quiet(lab)


def case_control_knows_of_a_start_with_the_last_good_configuration():
    with Lab("af_packet") as lab, Control(lab) as control:
        sink = Sink(2525)
        kept(lab, 1)
        lab.write_config(lab.config.replace("pools", "pulse"))
        kill(lab)
        seen = control.read_log().count("attached to")
        lab.restart()
        wait_for("control to attach again", lambda: control.read_log().count("attached to") > seen, 20)
        send(MAIL)
        assert control.json("status")["dataplane"]["last_good_configuration"] and lab.stats["configuration_last_good"] == 1
        assert control.run("reload")[0] == 1 and lab.stats["configuration_last_good"] == 1
        lab.write_config(lab.config)  # as it was: what is in force, and good again
        assert control.run("reload")[0] == 0
        assert not control.json("status")["dataplane"]["last_good_configuration"] and lab.stats["configuration_last_good"] == 0
        wait_for("the generation", lambda: lab.stats.current_generation() == 2)
        assert control.run("reload")[0] == 0 and lab.stats["configuration_generations"] == 2, "nothing has changed"
        send(MAIL)
        assert len(sink.bodies) == 2
        quiet(lab)


def case_killed_while_it_keeps():
    """Whenever it dies, what is kept is whole."""
    rng = random.Random(42)
    with Lab("af_packet") as lab:
        sinks = Sink(2525), Sink(2526)
        for _ in range(6):
            lab.write_config(lab.config)
            if lab.proc.poll() is not None:
                lab.restart()
            kept(lab, 1)
            end = time.monotonic() + 0.1 + rng.random() * 0.3
            turn = 0
            while time.monotonic() < end:
                turn += 1
                lab.write_config(lab.config.replace(":2525", ":2526") if turn % 2 else lab.config)
                lab.reload()
                time.sleep(rng.random() * 0.02)
            kill(lab)
            generation, port = kept_now(lab)
            lab.write_config("garbage")
            lab.restart("-s", lab.dir + "/state")
            assert "generation.blob" not in lab.read_log(), "what was kept was not whole"
            assert lab.stats["configuration_last_good"] == 1 and lab.stats.current_generation() == generation
            counts = [len(s.bodies) for s in sinks]
            send(MAIL)
            counts[port - 2525] += 1
            assert [len(s.bodies) for s in sinks] == counts, (counts, generation, port)
            kill(lab)
        lab.write_config(lab.config)
        lab.restart()
        quiet(lab)


def case_a_start_with_a_good_file_uses_it():
    with Lab("af_packet") as lab, Control(lab) as control:
        sink, other = Sink(2525), Sink(2526)
        kept(lab, 1)
        control.kill()
        lab.write_config(lab.config.replace(":2525", ":2526"))  # never reloaded
        kill(lab)
        lab.restart()
        send(MAIL)
        assert len(other.bodies) == 1 and not sink.bodies and lab.stats["configuration_last_good"] == 0
        kept(lab, 1)
        control.start()
        quiet(lab)


def case_a_full_disk_stops_nothing():
    lab = Lab("af_packet")
    state = lab.dir + "/state"
    os.mkdir(state)
    sh("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", state)
    try:
        with lab:
            sink, other = Sink(2525), Sink(2526)
            kept(lab, 1)
            with open(state + "/filler", "wb", buffering=0) as f:
                try:
                    while f.write(b"x" * 1024):
                        pass
                except OSError:
                    pass  # full
            lab.write_config(lab.config.replace(":2525", ":2526"))
            lab.reload()
            wait_for("the failure to be counted", lambda: lab.stats["configuration_not_kept"] == 1)
            assert "No space left" in lab.read_log() and kept_now(lab) == (1, 2525), "what was kept before is whole"
            send(MAIL)
            assert len(other.bodies) == 1 and not sink.bodies
            os.unlink(state + "/filler")
            lab.write_config(lab.config)
            lab.reload()
            kept(lab, 3)
            assert sorted(os.listdir(state)) == ["generation.blob", "start.conf"], "nothing half-written is left"
            quiet(lab)
    finally:
        sh("umount", state)


def case_a_dataplane_without_privileges_keeps_too():
    lab = Lab("af_packet")
    lab.config = lab.config.replace("dataplane = {", 'dataplane = { user = "daemon";', 1)
    lab.write_config(lab.config)
    os.chmod(lab.dir, 0o777)
    with lab:
        sink, other = Sink(2525), Sink(2526)
        kept(lab, 1)
        lab.write_config(lab.config.replace(":2525", ":2526"))
        lab.reload()
        wait_for("the generation", lambda: lab.stats.current_generation() == 2)
        kept(lab, 2)
        uid = pwd.getpwnam("daemon").pw_uid
        assert os.stat(lab.dir + "/state").st_uid == os.stat(lab.dir + "/state/generation.blob").st_uid == uid
        assert os.stat(lab.dir + "/state/start.conf").st_uid == 0, "devices and users are root's word"
        lab.write_config("garbage")
        kill(lab)
        lab.restart("-s", lab.dir + "/state")
        send(MAIL)
        assert len(other.bodies) == 1 and not sink.bodies and lab.stats["configuration_last_good"] == 1
        assert os.stat("/proc/%d" % lab.proc.pid).st_uid == uid
        quiet(lab)


def case_what_was_kept_is_judged_before_it_is_used():
    with Lab("af_packet") as lab:
        sink, other = Sink(2525), Sink(2526)
        lab.write_config(lab.config.replace(":2525", ":2526"))
        lab.reload()
        wait_for("the generation", lambda: lab.stats.current_generation() == 2)
        kept(lab, 2)
        lab.write_config(lab.config.replace("hostname", "hostmane"))
        blob, start = lab.dir + "/state/generation.blob", lab.dir + "/state/start.conf"
        with open(blob, "rb") as f:
            good = f.read()
        spoilt = bytearray(good)
        spoilt[len(good) // 2] ^= 1
        for bad in (good[:-1], bytes(spoilt), b"", b"\xff" * 5000, None):
            kill(lab)
            os.unlink(blob)
            if bad is not None:
                with open(blob, "wb") as f:
                    f.write(bad)
            lab.restart()  # with the services of the last good start
            assert "with the services of the last good start" in lab.read_log()
            before = len(sink.bodies)
            send(MAIL)
            assert len(sink.bodies) == before + 1 and not other.bodies and lab.stats["configuration_last_good"] == 1
            kept(lab, 1)
        kill(lab)
        for change in (lambda: os.chmod(start, 0o622), lambda: os.chown(start, 1, 1), lambda: os.truncate(start, 300),
                       lambda: os.unlink(start)):
            change()
            run = subprocess.run([lab.binary, "-c", lab.dir + "/mailrace.conf"], capture_output=True, text=True, timeout=30, check=False)
            assert run.returncode == 78 and "start.conf" in run.stderr, run.stderr
            if os.path.exists(start):
                os.chmod(start, 0o600)
                os.chown(start, 0, 0)
        lab.write_config(lab.config)
        os.chmod(lab.dir + "/state", 0o777)
        lab.restart()  # nothing is kept where others may write, and mail goes on
        assert "others may write there" in lab.read_log()
        send(MAIL)
        os.chmod(lab.dir + "/state", 0o500)
        quiet(lab)
