# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""How backends are judged by what the traffic meets there, and what stands between a bad one and the mail."""

import concurrent.futures
import smtplib
import struct
import subprocess
import threading
import time

from lab import HOST4, NET4, Control, Lab, Sink, sh, wait_for, waits
from mail import Raw, quiet, send

TWO = ((HOST4, 2525), (HOST4, 2526))
NETWORKS = ["10.78.%d.2" % i for i in range(1, 6)]  # of five clients
MAIL = ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", b"x: y\r\n.\r\n")
EJECTED = 'ejection_time = "5s";'
PROBE = 'probe = { interval = "5s"; timeout = "2s"; fall = 2; rise = 1; };'


class Town(Lab):
    """Clients in several networks behind the host's address."""

    def __init__(self, **kind):
        super().__init__(**kind)
        self.config = self.config.replace('addresses = [ "%s10/24"' % NET4, 'gateways = [ "%s1" ]; addresses = [ "%s10/24"' % (NET4, NET4))
        self.write_config(self.config)

    def addresses_set(self):
        super().addresses_set()
        for a in NETWORKS:
            sh("ip", "addr", "replace", a + "/32", "dev", "lo")


def talk(source, lines=MAIL + ("QUIT",)):
    """A session up to the first reply that is no success; returns the replies."""
    replies = []
    try:
        c = Raw(source=source)
        for line in ("EHLO me",) + lines:
            replies.append(c.ask(line))
            if replies[-1][:1] not in ("2", "3"):
                break
        c.close()
    except OSError:
        replies.append("")
    return replies


def until(lab, what, check, seconds=60):
    """Sessions from all networks until check() holds; the replies of all."""
    end, seen = time.monotonic() + seconds, []
    while not check():
        assert time.monotonic() < end, (what, seen[-8:])
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            seen += pool.map(talk, NETWORKS)
    return seen


def bad_at(moods, replies):
    """A backend's behaviour: what moods say of the sink, by verb."""
    return lambda verb, sink: replies.get(verb) if moods.get(sink) == "bad" else None


def case_a_backend_that_fails_in_traffic_is_ejected():
    moods = {}
    behave = bad_at(moods, {"MAIL": "451 4.3.0 queue file write error"})
    with Town(backends=TWO, extra=EJECTED + PROBE) as lab, Control(lab) as control:
        one, two = Sink(2525, behave=behave), Sink(2526, behave=behave)
        wait_for("the first probes", lambda: all(b["health"] == "up" for b in control.backends().values()), 20)
        moods[two] = "bad"
        until(lab, "ejection", lambda: control.backends()["b1"]["health"] == "ejected")
        b = control.backends()["b1"]
        assert b["reason"] == "failing" and b["said"] == "451 4.3.0 queue file write error" and b["signals_total"]["system"] >= 5, b
        assert "gets no sessions for 5 s: failing: 451 4.3.0" in control.read_log()
        assert b["probe"]["result"] == "ok", "probes see nothing of it"
        moods[two] = None
        before = len(one.bodies)
        for source in NETWORKS:
            assert talk(source)[-1].startswith("221")
        assert len(one.bodies) == before + 5
        wait_for("its way back by probe", lambda: control.backends()["b1"]["health"] == "up", 30)
        assert control.backends()["b1"]["weight_permille"] < 1000, "at once with all of its weight"
        until(lab, "mail there again", lambda: two.bodies)
        assert control.backends()["b1"]["ejections_total"] == 1
        wait_for("the end of its slow start", lambda: control.backends()["b1"]["weight_permille"] == 1000, 20)
        quiet(lab)


def case_replies_about_clients_eject_nobody():
    def behave(verb, sink):
        if verb == "RCPT" and sink is one:
            return "450 4.2.0 Greylisted, see you in a minute"
        if verb == "RCPT":
            return "550 5.7.1 Your network is block-listed"
        return None
    with Town(backends=TWO, extra=EJECTED + "bounce_guard = false;") as lab, Control(lab) as control:
        one = two = None
        one, two = Sink(2525, behave=behave), Sink(2526, behave=behave)
        end = time.monotonic() + 7
        seen = until(lab, "time", lambda: time.monotonic() > end)
        assert len(seen) > 50
        for b in control.backends().values():
            assert b["health"] == "unknown" and b["ejections_total"] == 0 and sum(b["signals_total"].values()) == 0, b
            assert b["replies_4xx_total"] + b["replies_5xx_total"] > 20
        quiet(lab)
        assert one.transcripts and two.transcripts


def case_maintenance_by_421():
    moods = {}
    behave = bad_at(moods, {"BANNER": "421 4.3.2 mx2 is being upgraded", "MAIL": "421 4.3.2 mx2 is being upgraded"})
    with Town(backends=TWO, extra=EJECTED + PROBE) as lab, Control(lab) as control:
        one, two = Sink(2525, behave=behave), Sink(2526, behave=behave)
        wait_for("the first probes", lambda: all(b["health"] == "up" for b in control.backends().values()), 20)
        until(lab, "mail at both", lambda: one.bodies and two.bodies)
        moods[two] = "bad"
        until(lab, "maintenance", lambda: control.backends()["b1"]["health"] == "maintenance")
        b = control.backends()["b1"]
        assert b["reason"] == "maintenance" and b["said"] == "421 4.3.2 mx2 is being upgraded", b
        assert b["ejections_total"] == 0
        log = control.read_log()
        assert "backend mail/b1 calls us off: 421 4.3.2 mx2 is being upgraded" in log
        assert "b1 is down" not in log and "gets no sessions" not in log, "an alarm"
        assert "421 4.3.2 mx2" in control.run("show", "backends")[1]
        before = len(two.transcripts)
        for source in NETWORKS:
            assert talk(source)[-1].startswith("221")
        assert len(two.transcripts) <= before + 2, "sessions are given to it"
        moods[two] = None
        wait_for("its way back by probe", lambda: control.backends()["b1"]["health"] == "up", 30)
        count = len(two.bodies)
        until(lab, "mail there again", lambda: len(two.bodies) > count)
        quiet(lab)


def case_exchange_prx_is_a_failure_though_probes_pass():
    moods = {}
    behave = bad_at(moods, {"DATA": "451 4.7.0 Temporary server error. Please try again later. PRX5"})
    with Town(backends=TWO, extra=EJECTED + PROBE) as lab, Control(lab) as control:
        sinks = Sink(2525, behave=behave), Sink(2526, behave=behave)
        moods[sinks[0]] = "bad"
        until(lab, "ejection", lambda: control.backends()["b0"]["health"] == "ejected")
        b = control.backends()["b0"]
        assert b["reason"] == "proxy" and "PRX5" in b["said"] and b["signals_total"]["proxy"] >= 5, b
        quiet(lab)


def case_a_bounce_storm_is_stopped():
    moods = {}
    behave = bad_at(moods, {"RCPT": "550 5.1.1 User unknown"})
    with Town(backends=TWO, extra='ejection_time = "1h";') as lab, Control(lab) as control:
        sinks = Sink(2525, behave=behave), Sink(2526, behave=behave)
        until(lab, "mail at both", lambda: sinks[0].bodies and sinks[1].bodies)
        moods[sinks[1]] = "bad"
        until(lab, "the guard", lambda: control.backends()["b1"]["health"] == "ejected")
        b = control.backends()["b1"]
        assert b["reason"] == "bounces" and b["said"].startswith("5xx to "), b
        assert "gets no sessions for 3600 s: bounces: 5xx to" in control.read_log()
        metrics = lab_metrics(lab)
        assert 'backend_out{pool="mail",backend="b1",reason="bounces"} 1' in metrics
        assert 'backend_up{pool="mail",backend="b1"} 0' in metrics
        moods[sinks[0]] = "bad"  # now all are bad: half the pool at most is out
        until(lab, "a few bounces", lambda: control.backends()["b0"]["rcpt_bounces_total"] >= 20)
        time.sleep(3)
        assert control.backends()["b0"]["health"] == "unknown"
        moods[sinks[0]] = None
        assert talk(NETWORKS[0])[-1].startswith("221")
        quiet(lab)


def lab_metrics(lab):
    return subprocess.run([lab.build + "/tools/mailrace-stats", lab.socket], check=True, capture_output=True, text=True,
                          timeout=20).stdout


@waits
def case_no_panic_and_the_sorry_pool():
    spare = ' soft_bounce = false; }; sorry = { backends = ( { name = "s0"; address = "%s:2599"; } );' % HOST4
    lab = Lab(backends=TWO, extra=PROBE + 'slow_start = "10s";')
    lab.config = lab.config.replace(" ); }; };\nvirtual", " ); %s }; };\nvirtual" % spare)
    lab.write_config(lab.config)
    with lab, Control(lab) as control:
        wait_for("both to be down", lambda: all(control.backends()[n]["health"] == "down" for n in ("b0", "b1")), 30)
        wait_for("the log", lambda: "pool mail: nothing is up: clients are told 421" in control.read_log())
        c = Raw()
        assert c.reply() == "421 mx.lab.example Service not available"
        c.close()
        sorry = Sink(2599)
        lab.write_config(lab.config.replace("pools = { mail = {", 'pools = { mail = { backup = "sorry";'))
        assert control.run("reload")[0] == 0
        for _ in range(3):
            send(b"a: b\r\n\r\nc\r\n")
        assert len(sorry.bodies) == 3 and lab.stats["leg_backup"] >= 3
        pool = control.json("show", "pools")[0]
        assert pool["backup"] == "sorry" and pool["backup_in_use"] is True and pool["usable"] == 0, pool
        one = Sink(2525)
        wait_for("one of its own to be up", lambda: control.backends()["b0"]["health"] == "up", 30)
        assert control.json("show", "pools")[0]["backup_in_use"] is False
        weights = [control.backends()["b0"]["weight_permille"]]
        while weights[-1] < 1000 and len(weights) < 300:
            time.sleep(0.1)
            weights.append(control.backends()["b0"]["weight_permille"])
        assert 100 <= weights[0] < 700 and weights[-1] == 1000 and weights == sorted(weights) and len(set(weights)) > 10, weights
        for _ in range(3):
            send(b"a: b\r\n\r\nc\r\n")
        assert len(one.bodies) == 3 and len(sorry.bodies) == 3, "the backup is used though one is up"
        quiet(lab)


def case_soft_bounce():
    def behave(verb, sink):
        return {"RCPT": "550-5.1.1 User unknown\r\n550 5.1.1 in this place", "EOD": "554 5.6.0 content",
                "MAIL": refuse_mail and "553 5.1.8 no such sender"}.get(verb)
    refuse_mail = None
    with Lab(extra="soft_bounce = true;") as lab:
        sink = Sink(2525, behave=behave)
        c = Raw()
        assert c.ask("EHLO me")[0] == "2" and c.ask("MAIL FROM:<a@b>")[0] == "2"
        c.say("RCPT TO:<c@d>")
        assert c.f.readline() == b"450-4.1.1 User unknown\r\n" and c.f.readline() == b"450 4.1.1 in this place\r\n"
        assert c.ask("DATA")[0] == "3" and c.ask(b"x\r\n.\r\n") == "454 4.6.0 content"
        refuse_mail = True
        assert c.ask("MAIL FROM:<a@b>") == "453 4.1.8 no such sender"
        c.close()
        assert lab.stats["leg_soft_bounced"] == 4 and lab.stats["session_messages_refused"] == 1
        lab.write_config(lab.config.replace("soft_bounce = true", "soft_bounce = false"))
        lab.reload()
        wait_for("the reload", lambda: lab.stats.current_generation() > 1)
        assert talk(None, ("MAIL FROM:<a@b>",))[-1] == "553 5.1.8 no such sender"
        quiet(lab)
        assert sink.transcripts


def case_a_backends_limit_holds_over_all_workers():
    now, most, lock = [0], [0], threading.Lock()

    def session(h, behave, keywords):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        try:
            plain(h, behave, keywords)
        finally:
            with lock:
                now[0] -= 1
    lab = Lab("af_packet", workers=3)
    lab.config = lab.config.replace(":2525\";", ":2525\"; max_connections = 7;")
    lab.write_config(lab.config)
    with lab:
        sink = Sink(2525, behave=lambda v, s: time.sleep(0.02))
        plain, sink.session = sink.session, session
        refused = [0]

        def deliver():
            for _ in range(20):  # as a sender's queue does
                try:
                    return send(b"a: b\r\n\r\nc\r\n")
                except (smtplib.SMTPException, OSError):
                    refused[0] += 1
            raise AssertionError("refused twenty times")
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for j in [pool.submit(deliver) for _ in range(120)]:
                j.result()
        assert most[0] == 7, most
        assert len(sink.bodies) == 120 and lab.stats["leg_waits"] > 0
        assert refused[0] == lab.stats["leg_limit"], "refused for another reason"
        # lowered by a reload while all are in use: nothing opens before enough has closed
        held = [Raw() for _ in range(7)]
        for c in held:
            assert c.ask("EHLO me")[0] == "2"
        lab.write_config(lab.config.replace("max_connections = 7", "max_connections = 2"))
        lab.reload()
        wait_for("the reload", lambda: lab.stats.current_generation() > 1)
        late = Raw()
        late.say("EHLO late")
        for c in held[:5]:
            assert c.ask("QUIT")[0] == "2"
            c.close()
        time.sleep(0.5)
        with lock:
            most[0], open_now = 0, now[0]
        assert open_now == 2, open_now
        assert held[5].ask("QUIT")[0] == "2"
        assert late.reply()[0] == "2", "its turn has come"
        assert most[0] == 2, most
        for c in held[5:] + [late]:
            c.close()
        quiet(lab)


def case_waiting_ends_with_421():
    lab = Lab()
    lab.config = lab.config.replace(":2525\";", ":2525\"; max_connections = 1;")
    lab.write_config(lab.config)
    with lab:
        sink = Sink(2525)
        first = Raw()
        assert first.ask("EHLO me")[0] == "2"
        start = time.monotonic()
        late, gone = Raw(), Raw()
        quitter = Raw()
        gone.close()
        assert quitter.ask("QUIT") == "221 mx.lab.example closing connection"
        quitter.close()
        assert late.ask("EHLO late") == "421 mx.lab.example Service not available"
        assert time.monotonic() - start > 4
        late.close()
        assert first.ask("QUIT")[0] == "2"
        first.close()
        assert lab.stats["leg_limit"] == 1 and lab.stats["leg_waits"] == 3
        send(b"a: b\r\n\r\nc\r\n")
        quiet(lab)
        assert len(sink.bodies) == 1


def case_a_quick_refuser_gains_nothing():
    def behave(verb, sink):
        if sink is two and verb == "MAIL":
            return "550 5.7.1 not me"
        if sink is one and verb == "MAIL":
            time.sleep(0.3)
        return None
    lab = Lab(backends=TWO, extra="bounce_guard = false;")
    lab.config = lab.config.replace('scheduler = "weighted-round-robin";', "")
    lab.write_config(lab.config)
    with lab:
        one = two = None
        one, two = Sink(2525, behave=behave), Sink(2526, behave=behave)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for j in [pool.submit(talk, None) for _ in range(240)]:
                j.result()
        # by connections alone nearly three quarters
        assert len(two.transcripts) <= 140, (len(one.transcripts), len(two.transcripts))
        quiet(lab)


def case_without_control_the_last_view_holds():
    with Town(backends=TWO, extra='ejection_time = "1h";') as lab, Control(lab) as control:
        sinks = Sink(2525), Sink(2526, behave=lambda v, s: "451 4.3.0 disk" if v == "MAIL" else None)
        until(lab, "ejection", lambda: control.backends()["b1"]["health"] == "ejected")
        control.kill()
        before = len(sinks[1].transcripts)
        for source in NETWORKS * 2:
            assert talk(source)[-1].startswith("221"), "the ejected one is used"
        assert len(sinks[1].transcripts) == before
        time.sleep(1)
        age = [l for l in lab_metrics(lab).splitlines() if l.startswith("mailrace_control_heartbeat_age_seconds ")]
        assert float(age[0].split()[1]) >= 1, age
        sinks[0].close()  # our own failures count: the session is told 421, the ejected one stays out
        try:
            replies = talk(NETWORKS[0])
        except AssertionError:
            replies = ["421"]
        assert replies[-1].startswith("421") or replies[-1] == "", replies
        assert lab.stats["leg_refused"] > 0 and len(sinks[1].transcripts) == before
        control.start()
        b = control.backends()["b1"]
        assert b["health"] == "ejected" and b["reason"] == "failing" and b["ejections_total"] == 1, b
        quiet(lab)


def case_a_refused_source_address_is_an_alarm():
    with Lab(backends=TWO) as lab, Control(lab) as control:
        sinks = Sink(2525), Sink(2526, behave=lambda v, s: "554 5.7.1 10.77.0.10 is listed" if v == "BANNER" else None)
        for _ in range(4):
            send(b"a: b\r\n\r\nc\r\n")  # none is lost of it
        assert len(sinks[0].bodies) == 4
        wait_for("the alarm", lambda: "backend mail/b1 refuses our source address" in control.read_log())
        assert "5.7.1 10.77.0.10 is listed" in control.read_log()
        b = control.backends()["b1"]
        assert b["health"] == "unknown" and sum(b["signals_total"].values()) == 0, b
        assert b["source_refused_total"] == lab.stats["leg_source_address_refused"] > 0
        quiet(lab)


@waits
def case_every_signal_is_counted_and_nothing_else():
    mood = {}

    def behave(verb, sink):
        if verb not in mood:
            return None
        if mood[verb] == "drop":
            raise ConnectionError
        if mood[verb] == "sleep":
            time.sleep(2.5)
            return None
        return mood[verb]
    moods = (
        ("malformed", {"MAIL": "what?"}), ("malformed", {"BANNER": "hello"}), ("dropped", {"BANNER": "drop"}),
        ("dropped", {"MAIL": "drop"}), ("dropped", {"EOD": "drop"}), ("timeout", {"BANNER": "sleep"}),
        ("banner_421", {"BANNER": "421 4.3.2 no"}), ("mail_421", {"MAIL": "421 4.3.2 no"}), ("storage", {"MAIL": "452 4.3.1 full"}),
        ("system", {"EOD": "451 4.3.5 wrong"}), ("system", {"BANNER": "451 4.3.0 soon"}),
        ("proxy", {"EOD": "451 4.7.0 later PRX2"}), ("refused", None),
        (None, {"RCPT": "451 4.3.0 lookup"}), (None, {"RCPT": "450 4.2.0 grey"}), (None, {"RCPT": "drop", "MAIL": "550 5.7.1 no"}),
        (None, {"MAIL": "450 4.7.1 not you"}), (None, {"EOD": "550 5.7.1 spam"}), (None, {"BANNER": "554 5.7.1 not you"}),
        (None, {"AUTH": "454 4.7.0 no"}), (None, {"AUTH": "drop"}), (None, {"EHLO": "421 4.7.0 you again"}), (None, {"QUIT": "drop"}),
    )
    with Lab(extra='banner_timeout = "1s"; passive_health = false;') as lab, Control(lab) as control:
        sink = Sink(2525, behave=behave)
        before = control.backends()["b0"]["signals_total"]
        for signal, replies in moods:
            mood.clear()
            mood.update(replies or {})
            if signal == "refused":
                sink.close()
            try:
                talk(None, (("AUTH PLAIN AGEAYg==",) if "AUTH" in mood else ()) + MAIL + ("QUIT",))
            except AssertionError:
                pass  # no greeting
            wait_for("the session to end", lambda: lab.stats.sessions() == 0, 30)
            after = control.backends()["b0"]["signals_total"]
            rose = {k: after[k] - before[k] for k in after if after[k] != before[k]}
            assert rose == ({signal: rose.get(signal)} if signal else {}) and (not signal or rose[signal] >= 1), (signal, replies, rose)
            before = after
            if signal == "refused":
                sink = Sink(2525, behave=behave)
        mood.clear()
        wait_for("no avoidance", lambda: talk(None)[-1].startswith("221"), 40)
        quiet(lab)


@waits
def case_slow_replies_are_told_by_network():
    """What drift is judged by: which client networks waited 10 s and more."""
    with Lab() as lab:
        def slow():
            _, off, stride = lab.stats.dir[13]
            entry = stride // lab.stats.backend_slots  # one block a worker
            at = (off + slot * entry + 144 + 32 * i + 24 for slot in range(lab.stats.backend_slots) for i in range(2))
            return sum(struct.unpack_from("<Q", lab.stats.map, a)[0].bit_count() for a in at)
        delay = {"MAIL": 0}
        sink = Sink(2525, behave=lambda verb, sink: time.sleep(delay.get(verb, 0)))
        send(b"a: b\r\n\r\nc\r\n")
        assert slow() == 0
        delay["MAIL"] = 10.1
        send(b"a: b\r\n\r\nc\r\n")
        assert slow() in (1, 2), slow()  # of one network, by an epoch
        quiet(lab)
        sink.close()
