# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Storms of TLS handshakes: thousands at once, thousands that stop on the way, certificates renewed under them. New sessions
succeed, mail without TLS goes on, and what was taken is given back."""

import concurrent.futures
import json
import multiprocessing
import os
import selectors
import shutil
import smtplib
import socket
import ssl
import statistics
import threading
import time

from cases_handshakes import insecure
from cases_memory import backend
from certs import make, tls_lab
from lab import HOST4, VIP4, Control, alone, measured, sh, wait_for
from mail import quiet
from storm import Client, Stallers, context, many_descriptors, shakers, turn

TLS = 'tls = { mode = "starttls-optional"; certificates = [ "mail" ]; }; limits = { tls_handshakes_per_client = 0; tls_handshakes_per_second = 0; };'


def storm_lab(**kind):
    many_descriptors()
    return tls_lab(TLS, port="af_packet", max_sessions=16000, **kind)


class Backend:
    def __enter__(self):
        listener = socket.create_server((HOST4, 2525), backlog=4096)
        self.proc = multiprocessing.get_context("fork").Process(target=backend, args=(listener,), daemon=True)
        self.proc.start()
        listener.close()
        return self

    def __exit__(self, *_):
        self.proc.kill()
        self.proc.join()


def sources():
    """Addresses of clients: one address has 64,000 ports and its own places in tables."""
    out = []
    for i in range(100, 116):
        sh("ip", "addr", "add", "10.77.0.%d/24" % i, "dev", "mr0")
        out.append("10.77.0.%d" % i)
    return out


def resident_bytes(lab):
    with open("/proc/%d/statm" % lab.proc.pid, encoding="ascii") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class PlainTraffic:
    """Sessions without TLS, one after another: how long each took."""

    def __enter__(self):
        self.took, self.failed, self.over = [], [], threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self):
        while not self.over.is_set():
            start = time.monotonic()
            try:
                with smtplib.SMTP(VIP4, 25, "client.example", 60) as s:
                    assert s.noop()[0] == 250
                self.took.append(time.monotonic() - start)
            except (OSError, smtplib.SMTPException, AssertionError) as e:
                self.failed.append(repr(e))

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(70)

    def tell(self):
        took = sorted(self.took)
        print("beside it %d sessions without TLS: median %.1f ms, 99 %% %.1f ms, longest %.1f ms" % (
            len(took), statistics.median(took) * 1000, took[len(took) * 99 // 100] * 1000, took[-1] * 1000))
        assert not self.failed, self.failed[:3]
        assert took[-1] < 30, "a session without TLS stood still"


def all_given_back(lab, buffers):
    quiet(lab, 90)
    for gauge in ("tls_handshakes_now", "tls_contexts", "tls_held"):
        assert lab.stats[gauge] == 0, gauge
    wait_for("the buffers to come back", lambda: lab.stats.buffers_in_use() <= buffers, 30)


@alone
@measured
def case_two_thousand_handshakes_at_once():
    with storm_lab() as lab, Backend():
        addresses, buffers, resident = sources(), lab.stats.buffers_in_use(), []
        for _ in range(2):
            with PlainTraffic() as plain:
                start = time.monotonic()
                clients = shakers(2000, addresses, at_once=True)
                took = time.monotonic() - start
            bad = [c.failed for c in clients if not c.done]
            assert len(clients) == 2000 and not bad, (len(bad), bad[:5])
            all_given_back(lab, buffers)
            resident.append(resident_bytes(lab) >> 20)
            print("2,000 handshakes at once, in %.1f s; resident %d MiB afterwards" % (took, resident[-1]))
            plain.tell()
        assert lab.stats["tls_server_handshakes_1_3"] == 4000
        assert resident[1] <= resident[0] + 16, "the second storm finds the memory of the first: %s" % resident


def one_session():
    """Seconds, or why it failed."""
    start = time.monotonic()
    try:
        with smtplib.SMTP(VIP4, 25, "client.example", 60) as s:
            s.starttls(context=insecure())
            assert s.ehlo()[0] == 250 and s.noop()[0] == 250
        return time.monotonic() - start
    except (OSError, smtplib.SMTPException, AssertionError) as e:
        return repr(e)


@alone
@measured
def case_ten_thousand_stalled_handshakes():
    with storm_lab() as lab, Backend():
        addresses, buffers, resident = sources(), lab.stats.buffers_in_use(), []
        for _ in range(2):
            with PlainTraffic() as plain:
                stallers = Stallers(10000, addresses)
                wait_for("the stalled", lambda: stallers.stalled() > 9000 and lab.stats["tls_contexts"] > 1500, 60)
                at = (stallers.stalled(), lab.stats["tls_handshakes_now"], lab.stats["tls_contexts"])
                with concurrent.futures.ThreadPoolExecutor(20) as pool:
                    results = list(pool.map(lambda _: one_session(), range(400)))
                stallers.vanish()
            took = sorted(r for r in results if not isinstance(r, str))
            failed = [r for r in results if isinstance(r, str)]
            print("%d stalled clients (%d in a handshake, %d with a context; %d begun, %d of them thrown out for others): %d of 400 sessions with TLS "
                  "succeeded, median %.0f ms, 99 %% %.0f ms" % (*at, stallers.begun(), lab.stats["tls_handshake_stalled"], len(took),
                                                              statistics.median(took) * 1000, took[len(took) * 99 // 100] * 1000))
            assert len(took) >= 396, (len(took), failed[:5])
            plain.tell()
            all_given_back(lab, buffers)
            resident.append(resident_bytes(lab) >> 20)
        print("resident %d, then %d MiB" % tuple(resident))
        assert resident[1] <= resident[0] + 32, "the second flood finds the memory of the first: %s" % resident
        assert one_session() < 60


@alone
@measured
def case_certificates_renewed_as_fast_as_it_goes():
    """Under two thousand handshakes: each is shown one that was the service's, none fails."""
    with storm_lab(workers=2) as lab, Backend(), Control(lab) as control:
        addresses, buffers = sources(), lab.stats.buffers_in_use()
        good = []
        for name in ("x", "y"):
            make(lab.dir, name)
            with open("%s/%s.pem" % (lab.dir, name), encoding="ascii") as f:
                good.append(ssl.PEM_cert_to_DER_cert(f.read()))
        inside, most = [], 0

        def renew(name):
            for kind in ("pem", "key"):
                shutil.copy("%s/%s.%s" % (lab.dir, name, kind), "%s/mail.%s" % (lab.dir, kind))
            status, text = control.api("POST", "/v1/reload")
            assert status == 200, text
            answer = json.loads(text)
            inside.append(answer["read_seconds"] + answer["publish_seconds"])

        with PlainTraffic() as plain:
            renew("x")
            parsed = lab.stats["tls_credentials_parsed"]
            taken, start = lab.stats["tls_credentials_taken"], time.monotonic()
            proc = multiprocessing.get_context("fork").Pool(1)
            job = proc.apply_async(storm_of, (6000, addresses))
            n = 0
            while not job.ready():
                n += 1
                renew("xy"[n % 2])
                most = max(most, lab.stats["tls_handshakes_now"])
            took = time.monotonic() - start
            shown, bad = job.get(1)
            proc.terminate()
        print("%d handshakes, up to %d at once, under %d renewals, one in %.1f ms (%.1f ms of them in control and dataplane, median)" % (
            sum(shown.values()), most, n, took / n * 1000, statistics.median(inside) * 1000))
        assert not bad, (len(bad), bad[:5])
        assert set(shown) == set(good) and sum(shown.values()) == 6000, [len(c) for c in shown]
        assert lab.stats["tls_credentials_taken"] >= taken + n - 1
        assert lab.stats["tls_credentials_parsed"] - parsed <= 2 * n, "one for each worker and renewal"
        plain.tell()
        all_given_back(lab, buffers)


def storm_of(count, addresses):
    """In a process of its own: handshakes by the certificate they were shown, and why some failed."""
    shown, bad = {}, []
    for _ in range(count // 2000):
        for c in shakers(2000, addresses, at_once=True, seconds=100):
            if c.done:
                shown[c.certificate] = shown.get(c.certificate, 0) + 1
            else:
                bad.append(c.failed)
    return shown, bad


CERTIFICATES = (("ECDSA P-256", ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")), ("RSA-2048", ("rsa:2048",)), ("RSA-4096", ("rsa:4096",)))


def turns(lab):
    return lab.stats["worker_turns"] - lab.stats["worker_idle_turns"], lab.stats["worker_long_turns"]


@alone
@measured
def case_no_turn_is_long_for_a_certificate():
    """T13: whatever takes long is done by helper threads. Times are told, what is asserted does not depend on the machine."""
    for threads in (1, 0):
        for name, kind in CERTIFICATES + (("client certificates, RSA-4096", ("rsa:4096",)),):
            clients = name.startswith("client")
            lab = storm_lab()
            make(lab.dir, kind=kind)
            lab.config = lab.config.replace("dataplane = {", "dataplane = { crypto_threads = %d;" % threads, 1)
            if clients:
                make(lab.dir, "client", host="client.example", kind=("rsa:4096",))
                lab.config = lab.config.replace('[ "mail" ];', '[ "mail" ]; client_certificates = "require"; ca = "%s/client.pem";' % lab.dir)
            lab.write_config(lab.config)
            with lab, Backend():
                addresses, before = sources(), turns(lab)
                with PlainTraffic() as plain:
                    start = time.monotonic()
                    ended = shakers(150, addresses, at_once=True, pair=lab.dir + "/client" if clients else None)
                    took = time.monotonic() - start
                bad = [c.failed for c in ended if not c.done]
                assert not bad, (name, threads, len(bad), bad[:3])
                all_turns, long_turns = (b - a for a, b in zip(before, turns(lab)))
                helped, inline = lab.stats["tls_helper_jobs"], lab.stats["tls_long_work_in_turn"]
                print("%s, %d helper threads: 150 handshakes in %.1f s; %d turns that did work, %d of them (%.3f %%) of 1 ms and more, longest %.1f ms; "
                      "%d jobs by helpers, %d in a turn; longest session without TLS %.1f ms" % (
                          name, threads, took, all_turns, long_turns, 100 * long_turns / all_turns, lab.stats.longest_turn_us() / 1000, helped, inline,
                          max(plain.took) * 1000))
                if threads > 0:
                    assert inline == 0, "nothing long in a turn"
                    if name == "RSA-2048" and "TLS engine: crypto_mb" in lab.read_log():  # that engine's own: eight at once in a turn
                        helped += sum(i * lab.stats["tls_batches_of_%d" % i] for i in range(1, 9)) - 150  # less the key shares
                    assert name == "ECDSA P-256" or helped >= 150 * (2 if clients else 1), (name, helped)
                else:
                    assert helped == 0
                all_given_back(lab, lab.stats.buffers_in_use())


IDLE = 10000


@alone
@measured
def case_ten_thousand_idle_tls_sessions():
    """Gate T7 of one TLS leg: handshake done, EHLO answered, leg open, no partial line: at most 1 KiB a session, and no buffer."""
    many_descriptors()
    with tls_lab(TLS, port="af_packet", max_sessions=IDLE) as lab, Backend():
        addresses, before = sources(), lab.stats.buffers_in_use()
        Client.context = context()
        selector, clients = selectors.DefaultSelector(), []
        while len(clients) < IDLE or not all(c.took is not None for c in clients):
            waiting = sum(1 for c in clients[-400:] if c.took is None)
            for _ in range(min(100 - waiting, IDLE - len(clients))):
                clients.append(Client(selector, source=addresses[len(clients) % len(addresses)], stays=True))
            turn(selector)
            bad = [c.failed for c in clients[-400:] if c.failed]
            assert not bad, bad[:3]
        assert lab.stats.sessions() == IDLE and lab.stats["tls_handshakes_now"] == lab.stats["tls_contexts"] == 0
        wait_for("the buffers to come back", lambda: lab.stats.buffers_in_use() <= before, 30)
        each = lab.stats.session_bytes / lab.stats.max_sessions
        print("%d idle sessions with TLS: %d buffers more than with none, %d bytes reserved a session" % (IDLE, lab.stats.buffers_in_use() - before, each))
        assert each <= 1024, "T7"
        for i in range(0, IDLE, 200):  # all are alive
            for c in clients[i:i + 200]:
                c.ask(b"QUIT\r\n")
            while not all(c.closed for c in clients[i:i + 200]):
                turn(selector)
        assert all(c.done for c in clients)
        quiet(lab, 60)
