# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Sessions resumed by tickets, with openssl s_client and Python's ssl as clients: on whatever worker they land, over reloads,
restarts and changes of keys; and a full handshake wherever a ticket does not belong."""

import concurrent.futures
import hashlib
import os
import random
import smtplib
import ssl
import struct
import subprocess
import time

from cases_tls import HOST, MAIL, s_client, service
from certs import make, renew, tls_lab
from lab import VIP4, Control, Sink, wait_for, waits
from mail import Raw, body_of, quiet

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
REFUSED = ("unknown_key", "expired", "other_use", "malformed")


def context(lab, version, pair=None):
    c = ssl.create_default_context(cafile=lab.dir + "/mail.pem")
    c.verify_flags &= ~ssl.VERIFY_X509_STRICT
    c.minimum_version = c.maximum_version = version
    if pair is not None:
        c.load_cert_chain(pair + ".pem", pair + ".key")
    return c


def visit(c, session=None, body=None, name=HOST, host=VIP4):
    """One connection: (was the session resumed, the session to come again with)."""
    raw = Raw(host)
    assert raw.ask("EHLO client.example").startswith("250") and raw.ask("STARTTLS").startswith("220")
    s = smtplib.SMTP(timeout=30, local_hostname="client.example")
    s.sock = c.wrap_socket(raw.s, server_hostname=name, session=session)
    s.file = s.sock.makefile("rb")
    s.ehlo()
    if body is not None:
        s.sendmail("s@example.com", ["r@example.com"], body)
    got = s.sock.session_reused, s.sock.session
    s.quit()
    raw.f.close()
    return got


def by_worker(lab, name):
    i = lab.stats.names.index(name)
    _, off, stride = lab.stats.dir[3]
    return [struct.unpack_from("<Q", lab.stats.map, off + w * stride + 8 * i)[0] for w in range(lab.stats.workers)]


def refused(lab):
    return {n: lab.stats["tls_ticket_" + n] for n in REFUSED}


def with_key_file(lab, more="", data=None):
    with open(lab.dir + "/tickets.key", "wb") as f:
        f.write(data or os.urandom(48))
    lab.config = lab.config.replace("pools = {", 'tls_tickets = { key_file = "%s/tickets.key"; %s };\npools = {' % (lab.dir, more), 1)
    lab.write_config(lab.config)


def case_tickets_resume_on_every_worker():
    with tls_lab(workers=2, port="af_packet") as lab:
        sink = Sink(2525)
        for version, name in ((V12, "tls_server_resumed_1_2"), (V13, "tls_server_resumed_1_3")):
            c = context(lab, version)
            reused, session = visit(c)
            assert not reused and session.has_ticket and session.ticket_lifetime_hint == 12 * 3600
            count = 0
            while min(by_worker(lab, name)) < 3 and count < 300:
                reused, again = visit(c, session, MAIL)
                assert reused, "not resumed"
                session = again if version == V13 else session
                count += 1
            assert min(by_worker(lab, name)) >= 3 and lab.stats[name] == count, (count, by_worker(lab, name))
        assert lab.stats["tls_tickets_issued"] == 2 + lab.stats["tls_server_resumed_1_3"], "one a handshake, but for 1.2 resumed"
        assert refused(lab) == dict.fromkeys(REFUSED, 0)
        assert set(sink.bodies) == {MAIL} and len(sink.bodies) == lab.stats["tls_server_resumed_1_2"] + lab.stats["tls_server_resumed_1_3"]
        quiet(lab)


def case_tickets_with_openssl_s_client():
    with tls_lab(workers=2, port="af_packet") as lab:
        Sink(2525)
        for version in ("-tls1_2", "-tls1_3"):
            for more in ((), ("-groups", "P-384:X25519")) if version == "-tls1_3" else ((),):
                path = lab.dir + "/session"
                code, out = s_client("-starttls", "smtp", "-crlf", "-quiet", version, "-sess_out", path)
                assert code == 0 and "221" in out and os.path.getsize(path) > 100, (code, out[-600:])
                text = subprocess.run(["openssl", "sess_id", "-in", path, "-noout", "-text"], check=True, capture_output=True, text=True).stdout
                assert "TLS session ticket:" in text and "lifetime hint: 43200" in text, text
                for _ in range(4):
                    before = lab.stats["tls_server_resumed_1_" + version[-1]]
                    code, out = s_client("-starttls", "smtp", "-crlf", "-ign_eof", version, *more, "-sess_in", path)
                    assert code == 0 and "Reused, TLSv1." in out and "221" in out, (code, out[-900:])
                    assert lab.stats["tls_server_resumed_1_" + version[-1]] == before + 1
                os.remove(path)
        assert refused(lab) == dict.fromkeys(REFUSED, 0)
        quiet(lab)


def case_tickets_outlive_reloads_and_control():
    with tls_lab(workers=2, port="af_packet") as lab:
        Sink(2525)
        kinds = [(context(lab, v), v) for v in (V12, V13)]
        held = [visit(c)[1] for c, _ in kinds]

        def all_reused():
            return [visit(c, s)[0] for (c, _), s in zip(kinds, held)]

        with Control(lab) as control:
            assert all_reused() == [True, True], "after control has attached"
            lab.write_config(lab.config.replace("weighted-round-robin", "weighted-least-connections"))
            assert control.run("reload")[0] == 0
            wait_for("the generation", lambda: lab.stats.current_generation() == 2)
            assert all_reused() == [True, True]
            control.kill()
            assert all_reused() == [True, True]
            control.start()
            lab.write_config(lab.config)
            assert control.run("reload")[0] == 0
            wait_for("the generation", lambda: lab.stats.current_generation() == 3)
            assert all_reused() == [True, True], "after control was restarted"
            assert lab.stats["tls_ticket_keys_changed"] == 1
            # another certificate: whoever resumed would not see it
            renew(lab)
            assert control.run("reload")[0] == 0
            wait_for("the generation", lambda: lab.stats.current_generation() == 4)
            kinds = [(context(lab, v), v) for v in (V12, V13)]
            for version in ("-tls1_2", "-tls1_3"):
                assert s_client("-starttls", "smtp", "-quiet", "-crlf", version)[0] == 0
            # a service whose tickets are turned off: neither given nor taken
            for c, _ in kinds:
                assert visit(c)[1].has_ticket
            lab.write_config(lab.config.replace('certificates = [ "mail" ];', 'certificates = [ "mail" ]; tickets = false;'))
            assert control.run("reload")[0] == 0
            wait_for("the generation", lambda: lab.stats.current_generation() == 5)
            before = lab.stats["tls_tickets_issued"]
            for c, _ in kinds:
                reused, session = visit(c)
                assert not reused and not session.has_ticket
            assert lab.stats["tls_tickets_issued"] == before
        quiet(lab)


@waits
def case_ticket_keys_change_and_the_one_before_still_opens():
    with tls_lab(workers=2, port="af_packet") as lab, Control(lab) as control:
        Sink(2525)
        c = {v: context(lab, v) for v in (V12, V13)}
        held = {v: visit(c[v])[1] for v in c}

        def rotation(text):
            """Another time of keys: the next key at once."""
            changed = lab.stats["tls_ticket_keys_changed"]
            lab.write_config(lab.config.replace("pools = {", 'tls_tickets = { rotation = "%s"; };\npools = {' % text, 1))
            assert control.run("reload")[0] == 0
            wait_for("new keys", lambda: lab.stats["tls_ticket_keys_changed"] == changed + 1)

        rotation("11h")
        for v, session in held.items():
            reused, again = visit(c[v], session, MAIL)
            assert reused
            if v == V13:
                assert again.ticket_lifetime_hint == 11 * 3600, "of the new key"
        rotation("10h")
        assert refused(lab) == dict.fromkeys(REFUSED, 0)
        for v, session in held.items():
            assert not visit(c[v], session, MAIL)[0], "the key before last is gone"
        assert refused(lab) == dict.fromkeys(REFUSED, 0) | {"unknown_key": 2}
        rotation("10s")  # by itself, whether control runs or not
        control.kill()
        changed = lab.stats["tls_ticket_keys_changed"]
        wait_for("two rotations", lambda: lab.stats["tls_ticket_keys_changed"] >= changed + 2, 60)
        control.start()
        quiet(lab)


def case_tickets_of_a_key_file_outlive_the_dataplane():
    lab = tls_lab(workers=2, port="af_packet")
    with_key_file(lab)
    with lab:
        Sink(2525)
        c = {v: context(lab, v) for v in (V12, V13)}
        held = {v: visit(c[v])[1] for v in c}
        lab.proc.terminate()
        lab.proc.wait(20)
        lab.restart()
        assert all(visit(c[v], held[v], MAIL)[0] for v in c), "after a restart of the dataplane"
        with Control(lab) as control:
            assert all(visit(c[v], held[v])[0] for v in c)
            with open(lab.dir + "/tickets.key", "wb") as f:  # another secret: the file alone has changed
                f.write(os.urandom(64))
            assert control.run("reload")[0] == 0
            wait_for("the generation", lambda: lab.stats.current_generation() == 2)
            wait_for("the keys", lambda: lab.stats["tls_ticket_keys_changed"] == 2)
            before = lab.stats["tls_ticket_unknown_key"]
            assert not any(visit(c[v], held[v], MAIL)[0] for v in c)
            assert lab.stats["tls_ticket_unknown_key"] == before + 2
            with open(lab.dir + "/tickets.key", "wb") as f:
                f.write(b"short")
            status, out, err = control.run("reload")
            assert status == 1 and "tls_tickets.key_file" in out + err and "wants 32 or more" in out + err, (out, err)
            os.remove(lab.dir + "/tickets.key")
            status, out, err = control.run("check", "-c", control.config)
            assert status == 1 and "tickets.key: No such file" in err, (status, err)
        quiet(lab)


def case_no_secret_of_tickets_is_seen_outside():
    secret = os.urandom(48)
    lab = tls_lab(workers=2, port="af_packet")
    with_key_file(lab, data=secret)
    with lab, Control(lab) as control:
        Sink(2525)
        visit(context(lab, V13))
        made = hashlib.sha256(secret).digest()
        for name in os.listdir(lab.dir + "/state"):
            with open(lab.dir + "/state/" + name, "rb") as f:
                text = f.read()
            assert secret not in text and made not in text, name
        assert secret not in bytes(lab.stats.map) and made not in bytes(lab.stats.map)
        status, out, err = control.run("-j", "show", "certificates")
        assert status == 0 and made.hex() not in out + err
        quiet(lab)


def two_services(lab, first, second):
    """inbound at the first address, other at the second one."""
    lab.config = lab.config.replace("virtual_services = { inbound = {", 'virtual_services = { other = { listen = [ "10.77.0.26:25" ]; pool = "mail"; '
                                    + second + " }; inbound = {", 1)
    assert first in lab.config
    lab.write_config(lab.config)


def case_a_ticket_of_one_service_opens_no_other():
    ca = 'client_certificates = "require"; ca = "%s/clients.pem";'
    lab = tls_lab(service("starttls-required"), workers=2, port="af_packet")
    make(lab.dir, "clients", host="client.example")
    two_services(lab, service("starttls-required"), service("starttls-required"))
    with lab, Control(lab) as control:
        sink = Sink(2525)
        pair = lab.dir + "/clients"
        for version in (V12, V13):
            c = context(lab, version, pair)
            before = refused(lab)
            session = visit(c)[1]
            reused, _ = visit(c, session, MAIL, host="10.77.0.26")  # the same certificate, another service
            assert not reused and refused(lab)["other_use"] == before["other_use"] + 1
            assert visit(c, session)[0]
        # the same service by another rule: a client certificate is wanted now
        strict = lab.config.replace(service("starttls-required"), service("starttls-required", ca % lab.dir), 2)
        bare = {v: context(lab, v) for v in (V12, V13)}
        held = {v: visit(bare[v])[1] for v in (V12, V13)}
        lab.write_config(strict)
        assert control.run("reload")[0] == 0
        wait_for("the generation", lambda: lab.stats.current_generation() == 2)
        mails = len(sink.bodies)
        for version in (V12, V13):
            before = lab.stats["tls_handshake_verify"]
            try:
                visit(bare[version], held[version], MAIL)
                raise AssertionError("came in by a ticket where a certificate is wanted")
            except (OSError, smtplib.SMTPException):
                pass
            wait_for("the refusal", lambda: lab.stats["tls_handshake_verify"] == before + 1)  # pylint: disable=cell-var-from-loop
            c = context(lab, version, pair)
            reused, session = visit(c, None, MAIL)
            assert not reused and visit(c, session, MAIL)[0], "a verified client comes again by its ticket"
        assert len(sink.bodies) == mails + 4
        quiet(lab)


def case_tickets_of_many_while_keys_and_files_change():
    rng = random.Random(3)
    lab = tls_lab(workers=2, port="af_packet")
    with_key_file(lab, 'rotation = "10s";')
    with lab, Control(lab) as control:
        sink = Sink(2525)
        bodies = [body_of(rng, 1000) for _ in range(240)]
        contexts = {v: context(lab, v) for v in (V12, V13)}
        held = {}

        def one(i):
            v = V12 if i % 2 else V13
            lane = i % 12
            _, session = visit(contexts[v], held.get(lane), bodies[i])
            if session is not None and session.has_ticket:
                held[lane] = session

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(one, i) for i in range(len(bodies))]
            for i in range(10):
                with open(lab.dir + "/tickets.key", "wb") as f:
                    f.write(os.urandom(48))
                assert control.run("reload")[0] == 0
                time.sleep(0.2)
            for j in jobs:
                j.result()
        assert sorted(sink.bodies) == sorted(bodies)
        assert lab.stats["tls_server_resumed_1_2"] + lab.stats["tls_server_resumed_1_3"] > 0
        quiet(lab)
