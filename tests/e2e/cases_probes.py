# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Probes and test mails to backends with TLS: as the pool's legs have it, verified as they are, and what is wrong is told."""

import json
import os
import subprocess
import sys
import time

from certs import make, tls_lab
from lab import HOST4, Control, wait_for
from mail import quiet

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
from tarpit import Tarpit

PROBE = 'probe = { interval = "5s"; timeout = "3s"; fall = 1; rise = 1; }; '
PORTS = tuple(range(2525, 2533))


def lab_of(mode, verify, ports=PORTS):
    lab = tls_lab(port="af_packet", workers=2, backends=tuple((HOST4, p) for p in ports))
    for name, host in (("good", "ex.lab.example"), ("elsewhere", "elsewhere.example")):
        make(lab.dir, name, host=host)
    make(lab.dir, "late", host="ex.lab.example", dates=("20200101000000Z", "20210101000000Z"))
    make(lab.dir, "stranger", host="ex.lab.example")
    cas = b"".join(open("%s/%s.pem" % (lab.dir, n), "rb").read() for n in ("good", "elsewhere", "late"))
    with open(lab.dir + "/cas.pem", "wb") as f:
        f.write(cas)
    lab.config = lab.config.replace('"weighted-round-robin";', '"weighted-round-robin"; %stls = { mode = "%s"; %s };' % (
        PROBE, mode, verify.replace("@DIR@", lab.dir)), 1)
    lab.write_config(lab.config)
    return lab


class Offers(Tarpit):
    """Offers STARTTLS and answers as told, with no TLS behind it."""

    def __init__(self, port, answer):
        self.answer = answer
        super().__init__(HOST4, port, delays={})

    def reply(self, verb, in_tls):
        if verb == "EHLO":
            return b"250-x\r\n250-StartTLS\r\n250 8BITMIME\r\n"
        return self.answer if verb == "STARTTLS" else super().reply(verb, in_tls)


def judged(control, names):
    wait_for("all to be probed", lambda: all(b["probe"].get("result") for b in control.backends().values()), 40)
    seen = control.backends()
    return {n: (seen[n]["health"], seen[n]["probe"]["result"], seen[n]["probe"]["stage"]) for n in names}


def case_probes_by_starttls_say_what_is_wrong():
    with lab_of("starttls", 'name = "ex.lab.example"; ca = "@DIR@/cas.pem";') as lab, Control(lab) as control:
        d = lab.dir + "/"
        backends = [Tarpit(HOST4, PORTS[0], pair=d + "good", delays={}), Tarpit(HOST4, PORTS[1], pair=d + "elsewhere", delays={}),
                    Tarpit(HOST4, PORTS[2], pair=d + "late", delays={}), Tarpit(HOST4, PORTS[3], pair=d + "stranger", delays={}),
                    Tarpit(HOST4, PORTS[4], delays={}), Offers(PORTS[5], b"454 4.7.0 not now\r\n"),
                    Offers(PORTS[6], b"220 go on\r\n250 injected\r\n"), Offers(PORTS[7], b"220 go on\r\n")]
        time.sleep(0.1)
        wait_for("the verdicts", lambda: all(b["health"] == ("up" if n == "b0" else "down") for n, b in control.backends().items()), 40)
        got = judged(control, ["b%d" % i for i in range(8)])
        assert got["b0"] == ("up", "ok", "quit"), got
        for i, (result, stage) in enumerate((("certificate_name", "tls"), ("certificate_expired", "tls"), ("certificate_untrusted", "tls"),
                                             ("no_starttls", "ehlo"), ("no_starttls", "starttls"), ("malformed", "starttls"))):
            assert got["b%d" % (i + 1)] == ("down", result, stage), (i + 1, got)
        assert got["b7"][0] == "down" and got["b7"][2] == "tls" and got["b7"][1] in ("tls_failed", "timeout", "closed"), got
        assert control.backends()["b5"]["probe"]["reply"] == "454 4.7.0 not now"
        assert "certificate_name" in control.run("show", "backends")[1], "the operator reads it in the table"
        assert "backend mail/b2 is down: certificate_expired at tls" in control.read_log()
        times = control.backends()["b0"]["probe"]
        assert times["tls_seconds"] > 0 and times["ehlo_seconds"] > 0, times
        assert lab.stats["leg_starttls_injection"] >= 1
        # what a probe says, and that it waits for the end of it
        wait_for("its connection to end", lambda: backends[0].sessions[0].closed, 20)
        assert backends[0].sessions[0].octets == [b"EHLO mx.lab.example\r\nSTARTTLS\r\n", b"EHLO mx.lab.example\r\nQUIT\r\n"]
        assert backends[4].sessions[0].verbs() == ["EHLO", "QUIT"] and backends[5].sessions[0].verbs() == ["EHLO", "STARTTLS", "QUIT"]
        assert backends[6].sessions[0].verbs() == ["EHLO", "STARTTLS"], "nothing is said behind an injection"
        assert lab.stats["leg_starttls_ehlo"] == 0, "that counts sessions"
        quiet(lab)
        for b in backends:
            b.close()


def case_probes_in_implicit_tls():
    lab = lab_of("implicit", 'verify = "pin"; pin = "@PIN@";', PORTS[:3])
    pin = subprocess.run("openssl x509 -in %s/good.pem -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum" % lab.dir, shell=True,
                         check=True, capture_output=True, text=True).stdout.split()[0]
    lab.config = lab.config.replace("@PIN@", pin)
    lab.write_config(lab.config)
    with lab, Control(lab) as control:
        backends = [Tarpit(HOST4, PORTS[0], pair=lab.dir + "/good", implicit=True, delays={}),
                    Tarpit(HOST4, PORTS[1], pair=lab.dir + "/stranger", implicit=True, delays={}),
                    Tarpit(HOST4, PORTS[2], delays={})]
        wait_for("the verdicts", lambda: [b["health"] for b in control.backends().values()] == ["up", "down", "down"], 40)
        got = judged(control, ("b0", "b1", "b2"))
        assert got["b0"] == ("up", "ok", "quit") and got["b1"] == ("down", "certificate_pin", "tls"), got
        assert got["b2"][1:] == ("tls_failed", "tls"), got
        wait_for("its connection to end", lambda: backends[0].sessions[0].closed, 20)
        assert backends[0].sessions[0].octets == [b"EHLO mx.lab.example\r\nQUIT\r\n"]
        # it comes back with the right certificate
        backends[1].close()
        backends[1] = Tarpit(HOST4, PORTS[1], pair=lab.dir + "/good", implicit=True, delays={})
        wait_for("it to be up", lambda: control.backends()["b1"]["health"] == "up", 40)
        quiet(lab)
        for b in backends:
            b.close()


def case_probes_in_tls_of_a_slow_backend_are_polite():
    """A late reply, before TLS and in it: the verdict is told in time, and QUIT is said when the reply has come; in the middle of a
    handshake nothing can be said."""
    for verb, told in (("EHLO", ["EHLO", "QUIT"]), ("STARTTLS", ["EHLO", "STARTTLS"])):
        with lab_of("starttls", 'verify = "none";', PORTS[:1]) as lab, Control(lab) as control:
            backend = Tarpit(HOST4, PORTS[0], pair=lab.dir + "/good", delays={verb: 4.5})
            wait_for("the verdict", lambda: control.backends()["b0"]["health"] == "down", 40)
            got = judged(control, ("b0",))["b0"]
            assert got[1:] == ("timeout", verb.lower()), got
            wait_for("its connection to end", lambda: backend.sessions[0].closed, 30)
            assert backend.sessions[0].verbs() == told, backend.sessions[0].lines
            wait_for("it to be counted", lambda: lab.stats["probe_stayed"] >= 1)
            backend.close()
            quiet(lab)


def case_send_test_in_tls():
    moods = (("starttls", ["connect", "banner", "ehlo", "starttls", "tls", "ehlo"]), ("implicit", ["connect", "tls", "banner", "ehlo"]))
    for mode, begin in moods:
        with lab_of(mode, 'name = "ex.lab.example"; ca = "@DIR@/cas.pem";', PORTS[:3]) as lab, Control(lab) as control:
            kind = {"implicit": mode == "implicit", "delays": {}}
            backends = [Tarpit(HOST4, PORTS[0], pair=lab.dir + "/good", **kind), Tarpit(HOST4, PORTS[1], pair=lab.dir + "/elsewhere", **kind),
                        Tarpit(HOST4, PORTS[2], delays={})]
            status, out, err = control.run("-j", "send-test", "inbound", "--from", "me@lab.example", "--to", "you@lab.example", "--time", "5")
            good, bad, none = json.loads(out)["backends"]
            assert status == 1 and good["result"] == "ok", (out, err)
            assert [s["step"] for s in good["steps"]] == begin + ["mail", "rcpt", "data", "end_of_data", "quit"], good
            assert (bad["result"], bad["step"]) == ("certificate_name", "tls"), bad
            assert (none["result"], none["step"]) == (("no_starttls", "ehlo") if mode == "starttls" else ("tls_failed", "tls")), none
            assert len(backends[0].bodies) == 1 and backends[1].bodies == backends[2].bodies == []
            assert b"MAIL FROM:<me@lab.example>" in backends[0].mails()[0].octets[-1]
            quiet(lab)
            for b in backends:
                b.close()
