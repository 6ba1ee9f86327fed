# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Mail under TLS, with clients and backends of others: openssl s_client, curl, Python. How certificates come there is
cases_certificates.py's."""

import concurrent.futures
import os
import random
import smtplib
import socket
import ssl
import subprocess

from certs import make, renew, tls_lab
from lab import VIP4, Control, Sink, wait_for
from mail import body_of, quiet

MAIL = b"a: b\r\n\r\nc\r\n"
HOST = "mx.lab.example"


def service(mode, more=""):
    return 'tls = { mode = "%s"; certificates = [ "mail" ]; %s };' % (mode, more)


def context(lab, name="mail.pem", pair=None, version=None):
    c = ssl.create_default_context(cafile=lab.dir + "/" + name)
    c.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the laboratory's are made in one line
    if pair is not None:
        c.load_cert_chain(pair + ".pem", pair + ".key")
    if version is not None:
        c.minimum_version = c.maximum_version = version
    return c


def send_tls(lab, body, implicit=False, **kind):
    """A mail whose client verifies chain and name: the certificate it was shown (DER), the version."""
    if implicit:
        s = smtplib.SMTP(timeout=30, local_hostname="client.example")
        s.sock = context(lab, **kind).wrap_socket(socket.create_connection((VIP4, 25), timeout=30), server_hostname=HOST)
        s.file = s.sock.makefile("rb")
        assert s.getreply()[0] == 220
    else:
        s = smtplib.SMTP(VIP4, 25, "client.example", 30)
        s.ehlo()
        s._host = HOST  # what starttls asks for by SNI and verifies
        s.starttls(context=context(lab, **kind))
    s.ehlo()
    s.sendmail("s@example.com", ["r@example.com"], body)
    shown, version = s.sock.getpeercert(True), s.sock.version()
    s.quit()
    return shown, version


def der(path):
    with open(path, encoding="ascii") as f:
        return ssl.PEM_cert_to_DER_cert(f.read())


def s_client(*args, say="QUIT\n"):
    r = subprocess.run(["openssl", "s_client", "-connect", VIP4 + ":25", "-servername", HOST, *args], input=say, capture_output=True,
                       text=True, timeout=30, check=False)
    return r.returncode, r.stdout + r.stderr


def case_starttls_with_programs_of_others():
    with tls_lab(workers=2, port="af_packet") as lab:
        sink = Sink(2525)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            shown, got = send_tls(lab, MAIL, version=version)
            assert shown == der(lab.dir + "/mail.pem") and got == {771: "TLSv1.2", 772: "TLSv1.3"}[version]
        for args in (("-tls1_2",), ("-tls1_3",), ("-tls1_3", "-groups", "P-256"), ("-tls1_3", "-groups", "X25519"), ("-tls1_3", "-groups", "P-384"),
                     ("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"), ("-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384")):
            code, out = s_client("-starttls", "smtp", "-verify_return_error", "-CAfile", lab.dir + "/mail.pem", "-verify_hostname", HOST, "-crlf",
                                 "-quiet", *args)
            assert code == 0 and "221" in out, (args, code, out[-600:])
        for args in (("-tls1",), ("-tls1_1",), ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA")):
            assert s_client("-starttls", "smtp", *args)[0] != 0, "an old version or suite was taken"
        for tls in (("--ssl-reqd", "--tlsv1.3"), ("--ssl-reqd", "--tls-max", "1.2")):
            r = subprocess.run(["curl", "-sS", *tls, "--resolve", HOST + ":25:" + VIP4, "--cacert", lab.dir + "/mail.pem", "--mail-from",
                                "s@example.com", "--mail-rcpt", "r@example.com", "-T", "-", "smtp://" + HOST + "/client.example"],
                               input=MAIL, capture_output=True, timeout=60, check=False)
            assert r.returncode == 0, r.stderr
        with smtplib.SMTP(VIP4, 25, "client.example", 30) as plain:  # optional: in clear as well
            plain.sendmail("s@example.com", ["r@example.com"], MAIL)
        assert sink.bodies == [MAIL] * 5, sink.bodies
        for verbs in sink.transcripts:
            assert not any(v.upper().startswith("STARTTLS") for v in verbs), "the backend was asked for TLS"
        quiet(lab)


def case_replies_in_the_fragments_that_were_agreed_on():
    """RFC 6066 4: openssl takes no record longer than it asked for."""
    lines = ["214-" + c * 400 for c in "abcd"] + ["214 end"]
    with tls_lab(port="af_packet") as lab:
        sink = Sink(2525, behave=lambda v, s: "\r\n".join(lines) if v == "HELP" else None)
        for length in ("512", "1024"):
            code, out = s_client("-starttls", "smtp", "-crlf", "-quiet", "-tls1_2", "-maxfraglen", length, say="HELP\nQUIT\n")
            assert code == 0 and "\n".join(lines + ["221"]) in out.replace("\r", ""), (code, out[-600:])
        assert [v[-2:] for v in sink.transcripts] == [["HELP", "QUIT"]] * 2
        quiet(lab)


def case_starttls_required_and_implicit():
    with tls_lab(service("starttls-required"), port="af_packet") as lab, Control(lab) as control:
        sink = Sink(2525)
        s = smtplib.SMTP(VIP4, 25, "client.example", 30)
        s.ehlo()
        assert s.has_extn("starttls") and s.mail("s@example.com")[0] == 530, "RFC 3207: 530 Must issue a STARTTLS command first"
        s.close()
        send_tls(lab, MAIL)
        assert len(sink.bodies) == 1
        lab.write_config(lab.config.replace("starttls-required", "implicit"))
        assert control.run("reload")[0] == 0
        send_tls(lab, MAIL, implicit=True)
        code, out = s_client("-quiet", "-crlf", "-verify_return_error", "-CAfile", lab.dir + "/mail.pem", "-verify_hostname", HOST)
        assert code == 0 and "220 " in out and "221" in out, (code, out[-600:])
        assert len(sink.bodies) == 2
        quiet(lab)


def reload_soon(control):
    """Once the workers have taken over the last one, which takes a while on a busy machine."""
    def done():
        status, out, err = control.run("reload")
        assert status == 0 or "still taking over" in out + err, (status, out, err)
        return status == 0
    wait_for("the reload to be taken", done, 30)


def case_renewed_certificates_are_shown_to_new_clients():
    rng = random.Random(21)
    with tls_lab(workers=2, port="af_packet") as lab, Control(lab) as control:
        sink = Sink(2525)
        old = der(lab.dir + "/mail.pem")
        held = smtplib.SMTP(VIP4, 25, "client.example", 30)
        held._host = HOST
        held.starttls(context=context(lab))
        held.ehlo()
        renew(lab)
        assert control.run("reload")[0] == 0
        wait_for("the generation", lambda: lab.stats.current_generation() == 2)
        assert send_tls(lab, MAIL)[0] == der(lab.dir + "/mail.pem") != old
        held.sendmail("s@example.com", ["r@example.com"], MAIL)  # a session of before goes on
        held.quit()
        with open(lab.dir + "/garbage", "w", encoding="ascii") as f:
            f.write("garbage")
        good = der(lab.dir + "/mail.pem")
        os.rename(lab.dir + "/mail.pem", lab.dir + "/good.pem")
        os.rename(lab.dir + "/garbage", lab.dir + "/mail.pem")
        assert control.run("reload")[0] == 1
        assert send_tls(lab, MAIL, name="good.pem")[0] == good, "the old one stays"
        os.rename(lab.dir + "/good.pem", lab.dir + "/mail.pem")
        # renewals while clients shake hands: every mail arrives, under a certificate that is or was the service's
        bodies = [body_of(rng, 1500) for _ in range(200)]

        def one(body):
            c = ssl.create_default_context()
            c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
            with smtplib.SMTP(VIP4, 25, "client.example", 60) as s:
                s.starttls(context=c)
                s.sendmail("s@example.com", ["r@example.com"], body)

        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            jobs = [pool.submit(one, b) for b in bodies]
            for _ in range(20):
                renew(lab)
                reload_soon(control)
            for j in jobs:
                j.result()
        assert sorted(sink.bodies) == sorted(bodies + [MAIL] * 3)
        quiet(lab)


def case_client_certificates():
    lab = tls_lab(service("starttls-required", 'client_certificates = "require"; ca = "%s/clients.pem";'), port="af_packet")
    make(lab.dir, "clients", host="client.example")
    make(lab.dir, "stranger", host="stranger.example")
    lab.config = lab.config.replace("%s/clients.pem", lab.dir + "/clients.pem")
    lab.write_config(lab.config)
    with lab:
        sink = Sink(2525)
        send_tls(lab, MAIL, pair=lab.dir + "/clients")
        for pair in (None, lab.dir + "/stranger"):
            try:
                send_tls(lab, MAIL, pair=pair)
                raise AssertionError("came in without a good certificate")
            except (OSError, smtplib.SMTPException):
                pass
        assert len(sink.bodies) == 1
        quiet(lab)


def case_the_name_asked_for_chooses_the_certificate():
    lab = tls_lab(service("starttls-optional").replace('"mail"', '"mail", "other", "rsa"'), port="af_packet")
    make(lab.dir, "other", host="other.example")
    make(lab.dir, "rsa", host=HOST, kind=("rsa:2048",))
    more = "".join('%s = { chain = "%s/%s.pem"; key = "%s/%s.key"; }; ' % (n, lab.dir, n, lab.dir, n) for n in ("other", "rsa"))
    lab.config = lab.config.replace("certificates = { mail", "certificates = { %smail" % more, 1)
    lab.write_config(lab.config)

    def shown(*args):
        out = s_client("-starttls", "smtp", *args)[1]
        return [l.split("CN=")[1].strip() for l in out.split("\n") if l.startswith("subject=")], "RSA" in out.split("Peer signature type")[-1][:20].upper()

    with lab:
        Sink(2525)
        ec, rsa = ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256")
        assert shown("-servername", "other.example")[0] == ["other.example"]
        assert shown("-servername", "unknown.example")[0] == [HOST], "the first of the service"
        assert shown(*ec) == ([HOST], False) and shown(*rsa) == ([HOST], True), "both kinds of key at once"
        wait_for("sessions to end", lambda: lab.stats.sessions() == 0, 30)


class SecureSink(Sink):
    """A backend that speaks TLS from its first byte, with a certificate of its own."""

    def __init__(self, port, pair):
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server_context.load_cert_chain(pair + ".pem", pair + ".key")
        super().__init__(port)

    def session(self, h, behave, keywords):
        h.connection = self.server_context.wrap_socket(h.connection, server_side=True)
        h.rfile, h.wfile = h.connection.makefile("rb"), h.connection.makefile("wb", 0)
        super().session(h, behave, keywords)


def case_tls_towards_backends_is_verified():
    pool = 'tls = { mode = "implicit"; %s };'
    lab = tls_lab(service("starttls-optional"), port="af_packet", extra="@TLS@")
    make(lab.dir, "backend", host="ex.lab.example")
    make(lab.dir, "other", host="ex.lab.example")
    template = lab.config
    pin = subprocess.run("openssl x509 -in %s/backend.pem -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum" % lab.dir, shell=True,
                         check=True, capture_output=True, text=True).stdout.split()[0]
    ca = 'ca = "%s/backend.pem";' % lab.dir
    ways = (('verify = "none";', True), ('verify = "ca"; ' + ca, True), ('name = "ex.lab.example"; ' + ca, True), ('name = "no.example"; ' + ca, False),
            ('verify = "ca"; ca = "%s/other.pem";' % lab.dir, False), ('verify = "pin"; pin = "%s";' % pin, True),
            ('verify = "pin"; pin = "%s";' % pin[::-1], False))
    lab.config = template.replace("@TLS@", pool % ways[0][0])
    lab.write_config(lab.config)
    with lab, Control(lab) as control:
        sink = SecureSink(2525, lab.dir + "/backend")
        for way, good in ways:
            lab.write_config(template.replace("@TLS@", pool % way))
            assert control.run("reload")[0] == 0, way
            wait_for("the workers", lambda: control.json("status")["dataplane"]["generation"] == lab.stats.current_generation())
            before = len(sink.bodies)
            try:
                send_tls(lab, MAIL)
                came = True
            except (OSError, smtplib.SMTPException):
                came = False
            assert came == good and len(sink.bodies) == before + good, (way, came)
        wait_for("sessions to end", lambda: lab.stats.sessions() == 0, 30)
