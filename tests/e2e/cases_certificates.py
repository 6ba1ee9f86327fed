# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Certificates from the files to the workers: reloads, refusals, users without privileges, a hostile control process, starts
with the last good configuration. What they do in a handshake is cases_tls.py's."""

import concurrent.futures
import fcntl
import hashlib
import json
import mmap
import os
import pwd
import random
import shutil
import socket
import struct
import subprocess
import time
import zlib

from certs import key_bytes, make, renew, tls_lab
from lab import DIRECTORY, Control, Sink, Stats, alone, attach, wait_for
from mail import body_of, quiet, send

MAIL = b"a: b\r\n\r\nc\r\n"
SEALS = 1 | 2 | 4 | 8  # seal, shrink, grow, write
ADD_SEALS = 1033
BLOB_TLS = 24 + 256 + 7 * 8  # where a blob names its credentials
ARENA = 19


def metric(lab):
    """{certificate: seconds} as the exporter shows it."""
    text = subprocess.run([lab.build + "/tools/mailrace-stats", lab.socket], check=True, capture_output=True, text=True, timeout=20).stdout
    name = "mailrace_tls_certificate_not_after_seconds{certificate=\""
    return {l[len(name):].split('"')[0]: int(l.split()[-1]) for l in text.split("\n") if l.startswith(name)}


def not_after(path):
    out = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-enddate"], check=True, capture_output=True, text=True).stdout
    out = subprocess.run(["date", "-u", "-d", out.strip().split("=")[1], "+%s"], check=True, capture_output=True, text=True).stdout
    return int(out)


def case_certificates_are_shown_and_swapped_by_a_reload():
    with tls_lab(workers=2, port="af_packet") as lab, Control(lab) as control:
        Sink(2525)
        assert "TLS engine: " in lab.read_log()
        first, = control.json("show", "certificates")
        assert (first["name"], first["host_names"], first["used_by"]) == ("mail", ["mx.lab.example"], ["inbound"]), first
        assert first["key"] == "ECDSA P-256" and first["subject"] == "CN=mx.lab.example" and first["expires_in_seconds"] > 59 * 86400
        pin = subprocess.run("openssl x509 -in %s/mail.pem -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum" % lab.dir,
                             shell=True, check=True, capture_output=True, text=True).stdout.split()[0]
        assert first["public_key_sha256"] == pin
        assert metric(lab) == {"mail": not_after(lab.dir + "/mail.pem")}
        status, out, _ = control.run("show", "certificates")
        assert status == 0 and "EXPIRES-IN" in out and "mx.lab.example" in out, out
        status, out, err = control.run("check", "-c", control.config)
        assert status == 0 and "good" in out and not err, (status, out, err)
        status, out, err = control.run("check", "-c", control.config, user="games", group="games", extra_groups=[])
        assert status == 0 and "mail.key: Permission denied: not checked" in err, (status, out, err)
        generation, taken = lab.stats.current_generation(), lab.stats["tls_credentials_taken"]
        assert taken == 1
        assert control.run("reload")[0] == 0
        assert lab.stats.current_generation() == generation, "nothing has changed"
        renew(lab, days=300)
        assert control.run("reload")[0] == 0, "the file is the same, its certificate is not"
        wait_for("the generation", lambda: lab.stats.current_generation() == generation + 1)
        assert lab.stats["tls_credentials_taken"] == taken + 1
        second, = control.json("show", "certificates")
        assert second["fingerprint_sha256"] != first["fingerprint_sha256"] and second["expires_in_seconds"] > 299 * 86400
        assert metric(lab) == {"mail": not_after(lab.dir + "/mail.pem")}
        lab.write_config(lab.config.replace("weighted-round-robin", "weighted-least-connections"))
        assert control.run("reload")[0] == 0
        wait_for("the generation", lambda: lab.stats.current_generation() == generation + 2)
        assert lab.stats["tls_credentials_taken"] == taken + 1, "the same credentials stay with the workers"
        lab.write_config(lab.config.replace("starttls-optional", "off").replace('certificates = [ "mail" ];', ""))
        assert control.run("reload")[0] == 0
        wait_for("the generation", lambda: lab.stats.current_generation() == generation + 3)
        assert metric(lab) == {} and control.json("show", "certificates")[0]["used_by"] == []
        send(MAIL)
        quiet(lab)


def spoilt(lab):
    """Ways to spoil the certificate's files: what is done, and the reason that must be given."""
    make(lab.dir, "other")
    with open(lab.dir + "/garbage", "w", encoding="ascii") as f:
        f.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return (("/other.key", "/mail.key", "is not the key"), ("/garbage", "/mail.pem", "no certificate"), ("/other.pem", "/mail.key", "no private key"),
            (None, "/mail.pem", "No such file"), (None, "/mail.key", "No such file"))


def spoil(lab, source, target):
    if source is None:
        os.remove(lab.dir + target)
    else:
        shutil.copy(lab.dir + source, lab.dir + target)


def case_a_bad_certificate_changes_nothing():
    for with_control in (True, False):
        with tls_lab(port="af_packet") as lab:
            Sink(2525)
            control = Control(lab) if with_control else None
            ways = spoilt(lab)
            good = lab.dir + "/good"
            os.mkdir(good)
            for name in ("mail.pem", "mail.key"):
                shutil.copy(lab.dir + "/" + name, good)
            generation, shown = lab.stats.current_generation(), metric(lab)
            for i, (source, target, reason) in enumerate(ways):
                spoil(lab, source, target)
                if control is not None:
                    check = control.run("check", "-c", control.config)
                    assert check[0] == 1 and reason in check[2], check
                    status, out, err = control.run("reload")
                    assert status == 1 and reason in out + err and "certificates.mail" in out + err, (reason, status, out, err)
                else:
                    lab.reload()
                    wait_for("the refusal", lambda: lab.stats["configuration_bad_file"] == i + 1)
                    assert reason in lab.read_log() and "the configuration in force stays" in lab.read_log()
                assert lab.stats.current_generation() == generation and metric(lab) == shown
                send(MAIL)
                for name in ("mail.pem", "mail.key"):
                    shutil.copy(good + "/" + name, lab.dir)
            # one that has expired is taken, loudly
            renew(lab, dates=("20200101000000Z", "20210101000000Z"))
            if control is not None:
                status, out, err = control.run("reload")
                assert status == 0 and "HAS EXPIRED" in out + err, (status, out, err)
            else:
                lab.reload()
                wait_for("the warning", lambda: "HAS EXPIRED" in lab.read_log())
            wait_for("the metric", lambda: metric(lab) == {"mail": 1609459200})
            quiet(lab)
            if control is not None:
                control.__exit__(None, None, None)


def start_fails(lab, reasons):
    r = subprocess.run([lab.binary, "-c", lab.dir + "/mailrace.conf"], capture_output=True, text=True, timeout=30, check=False)
    assert r.returncode == 78, (r.returncode, r.stderr)
    for reason in reasons:
        assert reason in r.stderr, (reason, r.stderr)
    r = subprocess.run([lab.binary, "-t", "-c", lab.dir + "/mailrace.conf"], capture_output=True, text=True, timeout=30, check=False)
    assert r.returncode == 78, r.stderr
    r = subprocess.run([lab.build + "/controlplane/mailrace-controlplane", "-c", lab.dir + "/mailrace.conf"], capture_output=True, text=True,
                       timeout=30, check=False)
    assert r.returncode == 78 and reasons[0] in r.stderr, (r.returncode, r.stderr)


def case_a_start_with_a_bad_certificate_is_refused():
    lab = tls_lab()
    for source, target, reason in spoilt(lab)[:4]:
        spoil(lab, source, target)
        start_fails(lab, ["certificates.mail", reason])
        make(lab.dir)


def case_a_dataplane_without_privileges_says_what_it_cannot_read():
    lab = tls_lab('tls = { mode = "implicit"; certificates = [ "mail" ]; };', port="af_packet")
    lab.config = lab.config.replace("socket = \"%s\"" % lab.socket, 'user = "daemon"; socket = "%s"' % lab.socket, 1)
    lab.write_config(lab.config)
    os.chmod(lab.dir, 0o755)
    user = pwd.getpwnam("daemon")
    with lab:  # read before the privileges were dropped
        assert os.stat(lab.dir + "/mail.key").st_mode & 0o77 == 0
        assert metric(lab) == {"mail": not_after(lab.dir + "/mail.pem")}
        before = metric(lab)
        assert os.stat("/proc/%d/stat" % lab.proc.pid).st_uid == 0, "a process with keys may be dumped or traced by its user"
        renew(lab, days=200)
        lab.reload()
        wait_for("the refusal", lambda: "mail.key: Permission denied" in lab.read_log())
        assert "reload refused (certificates): the configuration in force stays" in lab.read_log() and metric(lab) == before
        os.chown(lab.dir + "/mail.key", user.pw_uid, user.pw_gid)
        lab.reload()
        wait_for("the new one", lambda: metric(lab) == {"mail": not_after(lab.dir + "/mail.pem")})


def case_keys_stand_in_no_shared_memory_and_on_no_disk():
    with tls_lab(workers=2, port="af_packet") as lab, Control(lab) as control:
        renew(lab)
        assert control.run("reload")[0] == 0
        wait_for("the generation", lambda: os.path.exists(lab.dir + "/state/generation.blob") and lab.stats.current_generation() == 2)
        secrets = key_bytes(lab.dir + "/mail.key")
        for name in os.listdir(lab.dir + "/state"):
            with open(lab.dir + "/state/" + name, "rb") as f:
                text = f.read()
            assert not any(s in text for s in secrets), name
        control.kill()
        s, code, fds = attach(lab.socket, 2)
        assert code == 0
        for fd in fds:
            memory = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
            assert not any(memory.find(x) >= 0 for x in secrets), "a key stands in a shared segment"
            os.close(fd)
        s.close()
        memory = dumped(lab.proc.pid)
        assert secrets[0][::-1] in memory, "the number itself is in use, as mbedTLS keeps it: the search finds what is there"
        assert secrets[1] not in memory and secrets[0] not in memory, "a copy of the key is left in memory"
        control.start()
        assert os.stat("/proc/%d/stat" % control.proc.pid).st_uid == 0
        quiet(lab)


def dumped(pid):
    """The private memory that is written to, as root may read it."""
    found = []
    with open("/proc/%d/maps" % pid, encoding="ascii") as f, open("/proc/%d/mem" % pid, "rb", 0) as memory:
        for line in f:
            area, mode = line.split()[:2]
            begin, end = (int(x, 16) for x in area.split("-"))
            if not mode.startswith("rw-p") or end - begin > 256 << 20:
                continue
            memory.seek(begin)
            try:
                found.append(memory.read(end - begin))
            except OSError:
                pass
    return b"".join(found)


def sealed(data, seals=SEALS):
    fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    fcntl.fcntl(fd, ADD_SEALS, seals)
    return fd


def bundle_of(chain, key):
    """As config/certs.c lays it out: one certificate, one server."""
    chain, key = chain + b"\0", key + b"\0"
    off = 80
    certs, refs, servers = off, off + 88, off + 88 + 8
    texts = servers + 24
    body = struct.pack("<64sqIIII", b"mail", 2000000000, texts, len(chain), texts + len(chain), len(key))
    body += struct.pack("<II", 0, 0) + struct.pack("<IIIIII", 0, 1, 0, 0, 0, 0) + chain + key
    head = struct.pack("<IIII32s8I", 0x44524332, 80 + len(body), 43200, 0, b"", certs, 1, refs, 1, servers, 1, texts, 0)
    return head + body


class Hostile:
    """A control process that means harm."""

    def __init__(self, lab):
        self.lab = lab
        self.s, code, fds = attach(lab.socket, 2)
        assert code == 0 and len(fds) == 2
        self.memory = mmap.mmap(fds[1], 0)
        for fd in fds:
            os.close(fd)
        for i in range(32):
            kind, _, off, _ = struct.unpack_from("<IIQQ", self.memory, DIRECTORY + 24 * i)
            if kind == ARENA:
                self.arena = off
        length, = struct.unpack_from("<I", self.memory, self.arena + 16)
        self.blob = self.memory[self.arena:self.arena + length]

    def ask(self, fds, bundle=b""):
        """A publication of the generation in force as the next one, with a bundle's digest and these descriptors: the answer's
        code and reason; None: sent away. Again while the one before is still being taken over."""
        answer, end = b"    \4", time.monotonic() + 20
        while answer[4:5] == b"\4" and time.monotonic() < end:
            blob = bytearray(self.blob)
            struct.pack_into("<Q", blob, 8, self.lab.stats.current_generation() + 1)
            blob[BLOB_TLS + 8:BLOB_TLS + 40] = hashlib.sha256(bundle).digest()
            struct.pack_into("<I", blob, 20, 0)
            struct.pack_into("<I", blob, 20, zlib.crc32(blob))
            self.memory[self.arena:self.arena + len(blob)] = bytes(blob)
            socket.send_fds(self.s, [struct.pack("<II", 0x4B53524D, len(blob))], fds)
            answer = self.s.recv(256)
            time.sleep(0.01 if answer[4:5] == b"\4" else 0)
        for fd in fds:
            os.close(fd)
        return (struct.unpack_from("<I", answer, 4)[0], answer[16:128].split(b"\0")[0].decode()) if answer else None

    def close(self):
        self.memory.close()
        self.s.close()


def nasty(rng, good):
    """(descriptors, what the digest is of, a word of the reason)"""
    huge = os.memfd_create("huge", os.MFD_ALLOW_SEALING)
    os.ftruncate(huge, 1 << 40)
    fcntl.fcntl(huge, ADD_SEALS, SEALS)
    ends = socket.socketpair()
    yield [], good, "did not come"
    yield [sealed(b"x" * 4000)], good, "not those of the generation"
    yield [sealed(good)], b"another", "not those of the generation"
    yield [sealed(b"x" * 4000)], b"x" * 4000, "magic or length"
    yield [sealed(b"")], b"", "length"
    yield [sealed(good[:39])], good[:39], "length"
    yield [sealed(good[:-1])], good[:-1], "magic or length"
    yield [huge], b"", "length"
    for seals in (0, 2 | 4, 2 | 8, 4 | 8):
        yield [sealed(good, seals)], good, "no sealed memory"
    yield [os.dup(ends[0].fileno())], good, "no sealed memory"
    yield [os.pipe()[0]], good, "no sealed memory"
    yield [os.open("/dev/zero", os.O_RDONLY)], good, "no sealed memory"
    yield [os.open("/etc/passwd", os.O_RDONLY)], good, "no sealed memory"
    yield [os.open("/", os.O_RDONLY)], good, "no sealed memory"
    for _ in range(60):  # with a right digest: the check itself, and TLS behind it, must refuse or bear it
        spoilt_one = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            spoilt_one[rng.choice((rng.randrange(200), rng.randrange(len(good))))] ^= 1 << rng.randrange(8)
        yield [sealed(spoilt_one)], bytes(spoilt_one), None
    for end in ends:
        end.close()


def case_a_hostile_control_process_with_credentials_stops_no_mail():
    rng = random.Random(12)
    with tls_lab(workers=2, port="af_packet") as lab:
        sink = Sink(2525)
        with open(lab.dir + "/mail.pem", "rb") as chain, open(lab.dir + "/mail.key", "rb") as key:
            good = bundle_of(chain.read(), key.read())
        bodies = [body_of(rng, 2000) for _ in range(150)]
        open_before = len(os.listdir("/proc/%d/fd" % lab.proc.pid))
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            jobs = [pool.submit(send, b) for b in bodies]
            evil = Hostile(lab)
            refused = 0
            for fds, digest_of, reason in nasty(rng, good):
                code, told = evil.ask(fds, digest_of)
                assert code == 5 and (reason is None or reason in told) or code == 0 and reason is None, (code, told, reason)
                refused += code == 5
            assert refused > 40, refused
            assert lab.stats["tls_bad_credentials"] > 40
            for many in (2, 4, 5, 200):  # more descriptors than one: sent away, and none of them stays open
                assert evil.ask([os.open("/dev/null", os.O_RDONLY) for _ in range(many)], good) is None
                evil.close()
                evil = Hostile(lab)
            code, told = evil.ask([sealed(good)], good)
            assert code == 0, told  # it can be done right, too
            evil.close()
            for j in jobs:
                j.result()
        assert sorted(sink.bodies) == sorted(bodies)
        wait_for("descriptors to be closed", lambda: len(os.listdir("/proc/%d/fd" % lab.proc.pid)) <= open_before)
        with Control(lab) as control:
            assert control.run("status")[0] == 0 and control.json("show", "certificates")
            send(MAIL)
        quiet(lab)


def case_a_dataplane_without_tls_says_so():
    lab = tls_lab('tls = { mode = "off"; };', port="af_packet")
    tls = lab.config.replace('tls = { mode = "off"; };', 'tls = { mode = "starttls-optional"; certificates = [ "mail" ]; };')
    with lab, Control(lab) as control:
        Sink(2525)
        assert "TLS engine" not in lab.read_log()
        lab.write_config(tls)
        status, out, err = control.run("reload")
        assert status == 1 and "started without TLS" in out + err and "restart it" in out + err, (out, err)
        send(MAIL)
        quiet(lab)
    # room kept for it: then a reload brings it
    lab = tls_lab('tls = { mode = "off"; };', port="af_packet")
    lab.config = lab.config.replace("dataplane = {", "dataplane = { max_tls_connections = 100;", 1)
    lab.write_config(lab.config)
    with lab, Control(lab) as control:
        Sink(2525)
        assert "TLS engine" in lab.read_log()
        lab.write_config(lab.config.replace('tls = { mode = "off"; };', 'tls = { mode = "starttls-optional"; certificates = [ "mail" ]; };'))
        assert control.run("reload")[0] == 0
        wait_for("the certificate", lambda: "mail" in metric(lab))
        send(MAIL)
        quiet(lab)


def case_certificates_of_a_start_with_the_last_good_configuration():
    with tls_lab(port="af_packet") as lab:
        sink, other = Sink(2525), Sink(2526)
        lab.write_config(lab.config.replace(":2525", ":2526"))
        lab.reload()
        wait_for("the generation to be kept", lambda: lab.stats.current_generation() == 2)
        lab.proc.terminate()
        lab.proc.wait(20)
        lab.write_config("garbage")
        renew(lab, days=111)  # meanwhile: the files are read again
        lab.restart("-s", lab.dir + "/state")
        assert "STARTING WITH THE LAST GOOD CONFIGURATION" in lab.read_log() and "generation.blob" not in lab.read_log()
        wait_for("the certificate", lambda: metric(lab) == {"mail": not_after(lab.dir + "/mail.pem")})
        send(MAIL)
        assert len(other.bodies) == 1 and not sink.bodies, "the generation in force"
        # other settings of TLS than at the last good start: its services come up, and it is said
        lab.write_config(lab.config.replace(":2525", ":2526").replace('"starttls-optional"; cert', '"implicit"; client_certificates = "request"; ca = "%s/mail.pem"; cert' % lab.dir))
        lab.reload()
        wait_for("the generation", lambda: lab.stats.current_generation() == 3)
        lab.proc.terminate()
        lab.proc.wait(20)
        lab.write_config("garbage")
        lab.restart("-s", lab.dir + "/state")
        assert "generation.blob names other certificates or TLS settings than the last good start" in lab.read_log()
        send(MAIL)
        assert len(sink.bodies) == 1, "the services of the last good start"
        lab.proc.terminate()
        lab.proc.wait(20)
        # no key, no TLS: and no downgrade either
        os.remove(lab.dir + "/mail.key")
        r = subprocess.run([lab.binary, "-s", lab.dir + "/state", "-c", lab.dir + "/mailrace.conf"], capture_output=True, text=True, timeout=30,
                           check=False)
        assert r.returncode == 78 and "mail.key: No such file" in r.stderr and "cannot be used either" in r.stderr, (r.returncode, r.stderr)
        make(lab.dir)
        lab.write_config(lab.config)
        lab.restart()
        quiet(lab)


def case_renewals_under_traffic_cut_nothing():
    rng = random.Random(13)
    with tls_lab(workers=2, port="af_packet") as lab, Control(lab) as control:
        sink = Sink(2525)
        bodies = [body_of(rng, 2000) for _ in range(300)]
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            jobs = [pool.submit(send, b) for b in bodies]
            for i in range(30):
                renew(lab)
                if i % 3 == 2:
                    make(lab.dir, "other")
                    shutil.copy(lab.dir + "/other.key", lab.dir + "/mail.key")
                assert control.run("reload")[0] == (1 if i % 3 == 2 else 0)
            for j in jobs:
                j.result()
        assert sorted(sink.bodies) == sorted(bodies)
        wait_for("the last one", lambda: lab.stats["tls_credentials_taken"] == 21)
        quiet(lab)


def case_only_what_has_changed_is_parsed_again():
    lab = tls_lab(workers=2, port="af_packet")
    names = ["c%d" % i for i in range(4)]
    for name in names:
        make(lab.dir, name, host=name + ".example")
    certificates = " ".join('%s = { chain = "%s/%s.pem"; key = "%s/%s.key"; };' % (n, lab.dir, n, lab.dir, n) for n in names)
    lab.config = lab.config.replace("certificates = { mail", "certificates = { %s mail" % certificates, 1)
    lab.config = lab.config.replace('[ "mail" ];', '[ "mail", %s ]; client_certificates = "request"; ca = "%s/c0.pem";' % (
        ", ".join('"%s"' % n for n in names), lab.dir), 1)
    lab.write_config(lab.config)
    with lab, Control(lab) as control:
        Sink(2525)
        assert lab.stats["tls_credentials_parsed"] == 2 * 6, "five certificates and a CA, for each worker"

        def parsed_of(change):
            before = lab.stats["tls_credentials_parsed"]
            generation = lab.stats.current_generation()
            change()
            assert control.run("reload")[0] == 0
            wait_for("the generation", lambda: lab.stats.current_generation() > generation)
            return lab.stats["tls_credentials_parsed"] - before

        assert parsed_of(lambda: make(lab.dir, "c3", host="c3.example", days=200)) == 2
        assert metric(lab)["c3"] == not_after(lab.dir + "/c3.pem")
        assert parsed_of(lambda: make(lab.dir, "c0", host="c0.example", days=100)) == 4, "it is the CA, too"
        lab.config = lab.config.replace('"mail", "c0"', '"c0", "mail"', 1)
        assert parsed_of(lambda: lab.write_config(lab.config)) == 0, "another order"
        lab.config = lab.config.replace(' "c2",', "", 1)
        assert parsed_of(lambda: lab.write_config(lab.config)) == 0, "one less"
        send(MAIL)
        quiet(lab)


@alone
def case_sixteen_workers_take_certificates():
    lab = tls_lab(workers=16)
    names = ["c%d" % i for i in range(4)]
    for name in names:
        make(lab.dir, name, host=name + ".example")
    certificates = " ".join('%s = { chain = "%s/%s.pem"; key = "%s/%s.key"; };' % (n, lab.dir, n, lab.dir, n) for n in names)
    lab.config = lab.config.replace("certificates = { mail", "certificates = { %s mail" % certificates, 1)
    lab.config = lab.config.replace('[ "mail" ]', '[ "mail", %s ]' % ", ".join('"%s"' % n for n in names), 1)
    lab.config = lab.config.replace("net_tap0,iface=mr0", "net_null0,no-rx=1").replace('"384M"', '"1024M"').replace("buffers = 32768", "buffers = 131072")
    lab.write_config(lab.config)
    lab.log = open(lab.dir + "/log", "w+", encoding="utf-8")
    lab.proc = subprocess.Popen([lab.binary, "-c", lab.dir + "/mailrace.conf"], stderr=lab.log)
    try:
        wait_for("the workers", lambda: lab.proc.poll() is not None or "ready: 16 workers" in lab.read_log(), 60)
        assert lab.proc.poll() is None, lab.read_log()
        lab.stats = Stats(lab.socket)
        assert len(metric(lab)) == 5
        with Control(lab) as control:
            make(lab.dir, "c3", host="c3.example", days=200)
            status, out, err = control.run("-j", "reload")
            assert status == 0, (out, err)
            print("16 workers, 5 certificates: %.3f s until they were parsed" % json.loads(out)["publish_seconds"])
            wait_for("all workers", lambda: lab.stats.current_generation() == 2, 60)
            assert metric(lab)["c3"] == not_after(lab.dir + "/c3.pem")
        lab.proc.terminate()
        assert lab.proc.wait(60) == 0, lab.read_log()
    finally:
        lab.proc.kill()
        lab.proc.wait()
