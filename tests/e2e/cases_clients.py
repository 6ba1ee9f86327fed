# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Programs of others as clients in every TLS mode, over both families, in TLS 1.2 and 1.3, with every suite, group and kind of
certificate; Exim and Postfix with STARTTLS as backends."""

import concurrent.futures
import contextlib
import itertools
import mailbox
import os
import queue
import smtplib
import ssl
import subprocess
import sys
import threading
import time

import exim
from certs import make, tls_lab
from lab import NET4, VIP4, VIP6, Control, Sink, sh, wait_for
from mail import quiet

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
from postfix import Postfix

HOST = "mx.lab.example"
VERSIONS = ("1.2", "1.3")
GNUTLS = "NONE:+MAC-ALL:+SIGN-ALL:+COMP-NULL:+CTYPE-X509:+ECDHE-ECDSA:+ECDHE-RSA:+VERS-TLS%s:+%s:+GROUP-%s"
CIPHERS = ("AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305")
GROUPS = ("X25519", "SECP256R1", "SECP384R1")
CURVES = {"p256": "SECP256R1", "p384": "SECP384R1"}
KINDS = {
    "p256": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "p384": ("ec", "-pkeyopt", "ec_paramgen_curve:P-384"),
    "rsa2048": ("rsa:2048",),
    "rsa3072": ("rsa:3072",),
    "rsa4096": ("rsa:4096",),
}


class Way:
    """How a mail goes: to which address, with which TLS (None, starttls, implicit), in which version."""

    def __init__(self, lab, host, tls, version):
        self.dir, self.host, self.tls, self.version = lab.dir, host, tls, version
        self.ca = lab.dir + "/mail.pem"


def mail_of(name, way):
    return b"X-Id: %s %s %s %s\r\n\r\n..text\r\n" % (name.encode(), way.host.encode(), str(way.tls).encode(), str(way.version).encode())


def by_smtplib(way, body):
    c = ssl.create_default_context(cafile=way.ca)
    c.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if way.version:
        c.minimum_version = c.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[way.version]
    if way.tls == "implicit":
        c.check_hostname = False  # it can only be asked for by address
    s = (smtplib.SMTP_SSL(way.host, 25, "client.example", timeout=60, context=c) if way.tls == "implicit" else
         smtplib.SMTP(way.host, 25, "client.example", 60))
    with s:
        if way.tls == "starttls":
            s._host = HOST
            s.starttls(context=c)
        s.sendmail("s@example.com", ["r@example.com"], body)


def run(command, body=b"", **kind):
    r = subprocess.run(command, input=body, capture_output=True, timeout=90, check=False, **kind)
    if r.returncode != 0:
        raise OSError("%s: exit status %d: %s" % (command[0], r.returncode, (r.stdout + r.stderr)[-800:].decode("latin1")))
    return r.stdout


def by_curl(way, body):
    tls = {None: [], "starttls": ["--ssl-reqd"], "implicit": []}[way.tls]
    if way.version == "1.2":
        tls += ["--tls-max", "1.2"]
    elif way.version:
        tls += ["--tlsv1.3"]
    scheme = "smtps" if way.tls == "implicit" else "smtp"
    target = "[%s]" % way.host if ":" in way.host else way.host
    run(["curl", "-sS", *tls, "--resolve", HOST + ":25:" + target, "--cacert", way.ca, "--mail-from", "s@example.com", "--mail-rcpt",
         "r@example.com", "-T", "-", "%s://%s:25/client.example" % (scheme, HOST)], body)


def by_swaks(way, body):
    tls = {None: [], "starttls": ["--tls"], "implicit": ["--tls-on-connect"]}[way.tls]
    if way.tls:
        tls += ["--tls-verify-ca", "--tls-ca-path", way.ca, "--tls-sni", HOST]
        if way.version:
            tls += ["--tls-protocol", "tlsv1_" + way.version[2:]]
    head, text = body.split(b"\r\n\r\n", 1)
    run(["swaks", "--server", way.host, "--port", "25", "--ehlo", "client.example", "--from", "s@example.com", "--to", "r@example.com", "--timeout", "60",
         "--data", (head + b"\n\n" + text.removesuffix(b"\r\n").replace(b"\r\n", b"\n")).decode(), *tls])


class Talker:
    """A program that passes lines between its standard streams and a server."""

    def __init__(self, command):
        self.line_end = b"\n" if "-crlf" in command else b"\r\n"
        self.proc = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lines, self.said = queue.Queue(), []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.proc.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def reply(self, good):
        """Waits for the last line of a reply, whatever the program says between."""
        end = time.monotonic() + 60
        while True:
            line = self.lines.get(timeout=max(0.1, end - time.monotonic()))
            if line is None:
                raise OSError("it ended: %s" % b"".join(self.said)[-800:].decode("latin1"))
            self.said.append(line)
            if line[:3].isdigit() and line[3:4] == b" ":
                if line[:1] not in good:
                    raise OSError("told %s" % line)
                return line

    def say(self, data):
        self.proc.stdin.write(data)
        self.proc.stdin.flush()

    def mail(self, body, greeted):
        if not greeted:
            self.reply(b"2")
        stuffed = b"\r\n".join(b"." + l if l.startswith(b".") else l for l in body.split(b"\r\n"))
        for data, good in ((b"EHLO client.example", b"2"), (b"MAIL FROM:<s@example.com>", b"2"), (b"RCPT TO:<r@example.com>", b"2"), (b"DATA", b"3"),
                           (stuffed + b".", b"2"), (b"QUIT", b"2")):
            self.say(data.replace(b"\r\n", self.line_end) + self.line_end)
            self.reply(good)

    def close(self):
        with contextlib.suppress(OSError):
            self.proc.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.proc.wait(20)
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()


def talk(command, body, greeted):
    t = Talker(command)
    try:
        t.mail(body, greeted)
    finally:
        t.close()
    return b"".join(t.said)


def by_s_client(way, body):
    at = "[%s]:25" % way.host if ":" in way.host else way.host + ":25"
    args = (["-starttls", "smtp"] if way.tls == "starttls" else []) + (["-tls1_" + way.version[2:]] if way.version else [])
    talk(["openssl", "s_client", "-connect", at, "-servername", HOST, "-verify_return_error", "-CAfile", way.ca, "-verify_hostname", HOST, "-crlf",
          "-quiet", *args], body, greeted=False)  # with -starttls it shows the last line of the EHLO reply


def gnutls_command(way, priority):
    args = ["--starttls-proto", "smtp"] if way.tls == "starttls" else []
    return ["gnutls-cli", "--port", "25", "--x509cafile", way.ca, "--sni-hostname", HOST, "--verify-hostname", HOST, "--priority", priority,
            *args, way.host]


def by_gnutls(way, body):
    priority = "NORMAL:-VERS-ALL:+VERS-TLS" + way.version if way.version else "NORMAL"
    talk(gnutls_command(way, priority), body, way.tls == "starttls")


def by_exim(way, body):
    name = "%s%s%s" % (way.tls, way.version, ":" in way.host)
    e = exim.Client(way.dir, name, way.host, way.tls, way.ca, HOST, way.version)
    said = e.send(body.replace(b"\r\n", b"\n"))
    assert (" X=TLS" + way.version if way.version else " => ") in said, said


ANY = {"smtplib": by_smtplib, "curl": by_curl, "swaks": by_swaks, "exim": by_exim}
TLS_ONLY = {"s_client": by_s_client, "gnutls-cli": by_gnutls}


def ids(sink):
    return sorted(next(l for l in b.split(b"\r\n") if l.startswith(b"X-Id")) for b in sink.bodies)


def everybody(mode, ways):
    """All programs, each way: every mail comes once, and no backend is told anything but one client's own dialogue."""
    service = 'tls = { mode = "%s"; certificates = [ "mail" ]; };' % mode if mode != "off" else ""
    with tls_lab(service, workers=2, port="af_packet") as lab:
        sink, sent = Sink(2525), []
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            jobs = []
            for tls, version, host in ways:
                way = Way(lab, host, tls, version)
                for name, program in {**ANY, **(TLS_ONLY if tls else {})}.items():
                    sent.append(mail_of(name, way))
                    jobs.append((name, way, pool.submit(program, way, sent[-1])))
            for name, way, job in jobs:
                try:
                    job.result()
                except Exception as e:
                    raise AssertionError("%s to %s, %s %s: %s" % (name, way.host, way.tls, way.version, e)) from e
        assert ids(sink) == sorted(b.split(b"\r\n")[0] for b in sent), "every mail once"
        assert all(b.endswith(b"\r\n\r\n..text\r\n") for b in sink.bodies), sink.bodies
        for verbs in sink.transcripts:
            words = [v.split(" ")[0].upper() for v in verbs]
            assert words.count("EHLO") == 1 and "STARTTLS" not in words and words[0] == "EHLO", verbs
        quiet(lab)


def all_of(tls):
    return list(itertools.product((tls,), VERSIONS, (VIP4, VIP6)))


def case_clients_of_others_without_tls():
    everybody("off", [(None, None, VIP4), (None, None, VIP6)])


def case_clients_of_others_with_starttls_if_they_like():
    everybody("starttls-optional", all_of("starttls") + [(None, None, VIP4), (None, None, VIP6)])


def case_clients_of_others_with_starttls_required():
    everybody("starttls-required", all_of("starttls"))


def case_clients_of_others_in_implicit_tls():
    everybody("implicit", all_of("implicit"))


def case_every_suite_group_and_certificate():
    """GnuTLS, whose handshakes are neither OpenSSL's nor mbedTLS's: the client takes one of each only."""
    lab = tls_lab('tls = { mode = "starttls-required"; certificates = [ "mail" ]; };', port="af_packet")
    for name, kind in KINDS.items():
        make(lab.dir, name, kind=kind)
    template = lab.config
    with lab, Control(lab) as control:
        Sink(2525)

        def one(way, version, cipher, group, kind):
            curve = CURVES.get(kind) if version == "1.2" else None  # RFC 8422 5.1: the certificate's own must be among them
            said = talk_briefly(gnutls_command(way, GNUTLS % (version, cipher, group) + (":+GROUP-" + curve if curve else "")))
            wanted = ["(TLS%s" % version, cipher, "ECDSA" if kind[0] == "p" else "RSA"]
            description = next((l.decode() for l in said.split(b"\n") if l.startswith(b"- Description:")), "")
            assert all(w in description for w in wanted) and any(g in description for g in (group, curve or group)), (wanted, description)

        for kind in KINDS:
            lab.write_config(template.replace("/mail.pem", "/%s.pem" % kind).replace("/mail.key", "/%s.key" % kind))
            before = lab.stats.current_generation()
            assert control.run("reload")[0] == 0
            wait_for("the generation", lambda: lab.stats.current_generation() == before + 1)
            way = Way(lab, VIP4, "starttls", None)
            way.ca = "%s/%s.pem" % (lab.dir, kind)
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                jobs = [pool.submit(one, way, *which, kind) for which in itertools.product(VERSIONS, CIPHERS, GROUPS)]
                for j in jobs:
                    j.result()
        assert lab.stats["tls_server_handshakes_1_2"] == lab.stats["tls_server_handshakes_1_3"] == 9 * len(KINDS)
        quiet(lab)


def talk_briefly(command):
    t = Talker(command)
    try:
        t.said.append(b"")
        t.reply(b"2") if "--starttls-proto" not in command else None
        t.say(b"EHLO client.example\r\n")
        t.reply(b"2")
        t.say(b"QUIT\r\n")
        t.reply(b"2")
    finally:
        t.close()
    return b"".join(t.said)


def case_the_key_that_a_client_can_check_is_chosen():
    """Both kinds at once, and another name's: by signature algorithms and by SNI, in both versions."""
    lab = tls_lab('tls = { mode = "starttls-required"; certificates = [ "mail", "rsa", "other" ]; };', port="af_packet")
    make(lab.dir, "rsa", kind=KINDS["rsa2048"])
    make(lab.dir, "other", host="other.example", kind=KINDS["p384"])
    lab.write_config(lab.config.replace("certificates = { mail", "certificates = { %smail" % "".join(
        '%s = { chain = "%s/%s.pem"; key = "%s/%s.key"; }; ' % (n, lab.dir, n, lab.dir, n) for n in ("rsa", "other")), 1))
    with lab:
        Sink(2525)
        for version, (kind, ca, signs) in itertools.product(VERSIONS, (
                (b"ECDSA", "mail", "-SIGN-ALL:+SIGN-ECDSA-SHA256:+SIGN-ECDSA-SECP256R1-SHA256"),
                (b"RSA", "rsa", "-SIGN-ALL:+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-SHA256"))):
            way = Way(lab, VIP6, "starttls", None)
            way.ca = "%s/%s.pem" % (lab.dir, ca)
            said = talk_briefly(gnutls_command(way, "NORMAL:-VERS-ALL:+VERS-TLS%s:%s" % (version, signs)))
            assert kind in next(l for l in said.split(b"\n") if l.startswith(b"- Description:")), said
        way.ca = lab.dir + "/other.pem"
        command = [a if a != HOST else "other.example" for a in gnutls_command(way, "NORMAL")]
        assert b"CN=other.example" in talk_briefly(command)
        quiet(lab)


def bodies_in(path):
    if not os.path.exists(path):
        return []
    return [m["X-Id"] for m in mailbox.mbox(path)]


def case_exim_and_postfix_with_starttls_as_backends():
    """Verified by a CA and their names; probed through STARTTLS; each mail in one mailbox."""
    names, addresses = ("exim.lab.example", "postfix.lab.example"), (NET4 + "51", NET4 + "52")
    lab = tls_lab(workers=2, port="af_packet", backends=tuple((a, 25) for a in addresses))
    for short, host in zip(("exim", "postfix"), names):
        make(lab.dir, short, host=host)
    with open(lab.dir + "/cas.pem", "wb") as f:
        for n in ("exim", "postfix"):
            with open("%s/%s.pem" % (lab.dir, n), "rb") as part:
                f.write(part.read())
    text = lab.config.replace('"weighted-round-robin";', '"weighted-round-robin"; probe = { interval = "5s"; fall = 1; rise = 1; }; '
                              'tls = { mode = "starttls"; ca = "%s/cas.pem"; };' % lab.dir, 1)
    for i, name in enumerate(names):  # a backend's name is what its certificate must say
        text = text.replace('name = "b%d"' % i, 'name = "%s"' % name)
    lab.write_config(text)
    with lab, Control(lab) as control, contextlib.ExitStack() as stack:
        for address in addresses:
            sh("ip", "addr", "add", address + "/32", "dev", "lo")
        one = exim.Server(lab.dir, "exim", addresses[0], pair=lab.dir + "/exim")
        stack.callback(one.close)
        two = Postfix("postfix", addresses[1], lab.dir, "lab.example", pair=lab.dir + "/postfix")
        two.run("start")
        stack.callback(two.run, "stop", check=False)
        wait_for("both to be up", lambda: all(b["health"] == "up" for b in control.backends().values()), 60)
        sent = []
        for i in range(20):
            way = Way(lab, VIP6 if i % 2 else VIP4, "starttls", VERSIONS[i // 2 % 2])
            sent.append("mail %d" % i)
            c = ssl.create_default_context(cafile=way.ca)
            c.verify_flags &= ~ssl.VERIFY_X509_STRICT
            with smtplib.SMTP(way.host, 25, "client.example", 60) as s:
                s._host = HOST
                s.starttls(context=c)
                s.sendmail("s@example.com", ["r@lab.example"], "X-Id: mail %d\r\n\r\nbody\r\n" % i)
        boxes = [one.dir + "/mail/box", two.dir + "/mail/box"]
        wait_for("the deliveries", lambda: sum(len(bodies_in(b)) for b in boxes) >= len(sent), 60)
        got = [bodies_in(b) for b in boxes]
        assert sorted(got[0] + got[1]) == sorted(sent) and got[0] and got[1], got
        assert "X=TLS1.3" in one.log() or "X=TLS1.2" in one.log(), one.log()[-500:]
        assert lab.stats["leg_starttls_ehlo"] == len(sent)
        assert not any(w in one.log("reject") + one.log("panic") for w in ("rejected", "error")), one.log("reject") + one.log("panic")
        quiet(lab)
