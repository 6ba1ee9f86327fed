# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""The reasons of slow replies: of real servers that are told to delay, and of one that delays as Exchange does; as mailracectl and
the metrics show them."""

import contextlib
import re
import socket
import subprocess
import threading
import time

import exim
from cases_postfix import Postfix
from lab import HOST4, NET4, Control, Lab, Sink, sh, wait_for, waits
from mail import Raw, quiet, send

MAIL = b"a: b\r\n\r\nc\r\n"
ADDRESS = NET4 + "51"
NOTHING = {"unknown"}  # what a classifier says before it is sure


def metrics(lab, family="backend_tarpit_events_total"):
    """{reason: value} of the only one of its kind."""
    text = subprocess.run([lab.build + "/tools/mailrace-stats", lab.socket], check=True, capture_output=True, text=True, timeout=20).stdout
    return {m[1]: float(m[2]) for m in re.finditer(r'(?m)^mailrace_%s\{.*reason="(\w+)"\} (\S+)$' % family, text)}


@contextlib.contextmanager
def address():
    sh("ip", "addr", "add", ADDRESS + "/32", "dev", "lo")
    try:
        yield ADDRESS
    finally:
        sh("ip", "addr", "del", ADDRESS + "/32", "dev", "lo")


def together(*talks):
    """Runs them at once; none may fail."""
    failed = []

    def run(talk):
        try:
            talk()
        except Exception as e:  # pylint: disable=broad-except
            failed.append(repr(e))

    threads = [threading.Thread(target=run, args=(t,), daemon=True) for t in talks]
    for t in threads:
        t.start()
    for t in threads:
        t.join(100)
        assert not t.is_alive(), "a client hangs"
    assert not failed, failed


def guesses(count):
    """One recipient after another that the server does not relay for; how long each of its replies took."""
    c = Raw()
    took = []
    for line in ["EHLO c.example", "MAIL FROM:<s@example.com>"] + ["RCPT TO:<r@elsewhere.example>"] * count + ["RSET", "QUIT"]:
        start = time.monotonic()
        c.ask(line)
        took.append(time.monotonic() - start)
    c.close()
    return took


@waits
def case_postfix_that_slows_down_errors_is_told_by_its_reason():
    with Lab("af_packet", backends=((ADDRESS, 25),)) as lab, address():
        server = Postfix("mx0", ADDRESS, lab.dir, "lab.example")
        with open(server.dir + "/etc/main.cf", "a", encoding="utf-8") as f:
            f.write("smtpd_error_sleep_time = 1s\nsmtpd_soft_error_limit = 3\nsmtpd_hard_error_limit = 50\n")
        server.run("start")
        try:
            for _ in range(5):
                send(MAIL, recipients=("r@lab.example",))
            assert set(metrics(lab)) <= NOTHING, metrics(lab)
            took = guesses(8)
            assert sum(t > 0.9 for t in took) >= 5, took  # else it does not delay, and nothing is shown
            together(*[lambda: guesses(8)] * 3)
            wait_for("sessions to end", lambda: lab.stats.sessions() == 0)
            seen = metrics(lab)
            assert set(seen) <= NOTHING | {"postfix_soft_error"}, seen
            assert seen["postfix_soft_error"] >= 12, seen
            seconds = metrics(lab, "backend_tarpit_seconds_total")["postfix_soft_error"]
            assert seen["postfix_soft_error"] * 0.9 < seconds < seen["postfix_soft_error"] * 1.6, (seen, seconds)
            assert metrics(lab, "virtual_service_tarpit_events_total") == seen
            assert metrics(lab, "source_tarpit_events_total") == seen
            quiet(lab)
        finally:
            server.run("stop", check=False)


def listens(host):
    try:
        socket.create_connection((host, 25), timeout=10).close()
        return True
    except ConnectionRefusedError:
        return False


def many_mails(count):
    c = Raw()
    c.ask("EHLO c.example")
    took = []
    for _ in range(count):
        start = time.monotonic()
        c.ask("MAIL FROM:<s@example.com>")
        took.append(time.monotonic() - start)
        c.ask("RCPT TO:<r@lab.example>")
        c.ask("DATA")
        assert c.ask(MAIL + b".\r\n").startswith("250")
    c.ask("QUIT")
    c.close()
    return took


@waits
def case_exim_that_limits_the_rate_is_told_by_its_reason():
    limits = "smtp_ratelimit_hosts = *\nsmtp_ratelimit_mail = 2,0.5s,1.2,4m\n"
    with Lab("af_packet", backends=((ADDRESS, 25),)) as lab, address():
        server = exim.Server(lab.dir, "exim", ADDRESS, extra=limits)
        try:
            wait_for("exim to listen", lambda: listens(ADDRESS), 30)
            took = many_mails(11)
            assert sum(t > 0.45 for t in took) >= 8, took
            together(lambda: many_mails(9), lambda: many_mails(9))
            wait_for("sessions to end", lambda: lab.stats.sessions() == 0)
            seen = metrics(lab)
            assert set(seen) <= NOTHING | {"exim_rate_limit"}, seen
            assert seen["exim_rate_limit"] >= 10, seen  # a step that the machine held up is not guessed at
            quiet(lab)
        finally:
            server.close()


def as_exchange(verb, sink):
    """TarpitInterval of 1.5 s for recipients that do not exist."""
    if verb == "RCPT" and sink.transcripts[-1][-1].startswith("RCPT TO:<nobody"):
        time.sleep(1.5)
        return "550 5.1.1 User unknown"
    if verb == "MAIL" and "full" in sink.transcripts[-1][-1]:
        return "452 4.3.1 Insufficient system resources"
    return None


def log_of_exchange(delays):
    """What a server would have written of these: [(seconds since 1970, text)], and lines that are none."""
    lines = ["\ufeff#Software: Microsoft Exchange Server", "#Log-type: SMTP Receive Protocol Log",
             "#Fields: date-time,connector-id,session-id,sequence-number,local-endpoint,remote-endpoint,event,data,context"]
    for i, (at, text) in enumerate(delays):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + ".%03dZ" % (i % 1000)
        for event, data in (("<", "RCPT TO:<nobody@example.com>"), ("*", "Tarpit for '0.00:00:01.500'" + (" due to '%s'" % text if i % 2 else "")),
                            (">", text)):
            lines.append('%s,SRV\\Default,08D892B7A944%04X,%d,10.0.0.1:25,10.0.0.9:5,%s,"%s",' % (stamp, i, i, event, data))
    return "\r\n".join(lines + ["garbage", "2026-13-45T99:99:99Z,a,b,c,d,e,*,Tarpit for 'x',", "x" * 200000, ""])


@waits
def case_tarpits_are_shown_to_the_operator():
    with Lab("af_packet") as lab, Control(lab) as control:
        sink = Sink(2525, HOST4, as_exchange)
        out = control.run("tarpit")[1]
        assert out.startswith("Clients waited for slow replies: 0.0 s in the last hour, 0.0 s in the last day."), out
        send(MAIL)
        c = Raw()
        c.ask("EHLO c.example")
        assert c.ask("MAIL FROM:<full@example.com>").startswith("452")
        c.ask("MAIL FROM:<s@example.com>")
        for _ in range(6):
            assert c.ask("RCPT TO:<nobody@example.com>").startswith("550")
        c.ask("QUIT")
        c.close()
        hour = lambda: sum(r["hour_events"] for r in control.json("tarpit")["reasons"])
        wait_for("the hour's sum", lambda: hour() == 7, 20)
        told = control.json("tarpit")
        lookup = next(r for r in told["reasons"] if r["reason"] == "recipient_lookup")
        assert 4 <= lookup["hour_events"] <= 6 and lookup["hour_events"] == lookup["day_events"] == lookup["now_events"], told
        assert 4 < lookup["hour_seconds"] < 11, told
        assert "TarpitInterval" in lookup["on_the_server"], told
        full = next(r for r in told["reasons"] if r["reason"] == "back_pressure_rejection")
        assert full["hour_events"] == 1, told
        rows = {(r["by"], r["name"]) for r in told["rows"] if r["reason"] == "recipient_lookup"}
        assert {by for by, _ in rows} == {"backend", "virtual-service", "source-address"}, rows
        assert 1.4 < told["intervals"][0]["interval_seconds"] < 1.7, told
        assert any(h["reason"] == "recipient_lookup" for h in told["hours"]), told
        out = control.run("tarpit")[1]
        assert "recipient_lookup: a recipient that does not exist" in out and "on the server: Exchange" in out, out
        assert metrics(lab)["recipient_lookup"] == lookup["hour_events"], metrics(lab)
        assert control.run("tarpit", "nonsense")[0] == 64
        now = time.time()
        with open(lab.dir + "/RECV.LOG", "w", encoding="utf-8") as f:
            f.write(log_of_exchange([(now - 4, "550 5.1.1 User unknown")] * 6 + [(now - 90000, "550 5.1.1 User unknown")]))
        compared = control.json("tarpit", "compare", lab.dir + "/RECV.LOG")
        same = next(r for r in compared["reasons"] if r["reason"] == "recipient_lookup")
        assert (same["server_events"], same["here_events"]) == (6, lookup["hour_events"]), compared
        assert same["agreement_percent"] == round(100 * lookup["hour_events"] / 6), compared
        assert compared["outside"] == 1 and compared["malformed_lines"] == 3 and compared["tarpits"] == 7, compared
        assert control.json("tarpit", "compare", lab.dir + "/RECV.LOG", "mail/other")["reasons"][0]["here_events"] == 0
        out = control.run("tarpit", "compare", lab.dir + "/RECV.LOG", "mail/b0")[1]
        assert "recipient_lookup" in out and "3 of them malformed" in out, out
        assert control.run("tarpit", "compare", lab.dir + "/nothing")[0] == 66
        assert control.run("tarpit", "compare")[0] == 64
        sink.close()
        quiet(lab)


class Dribble:
    """A server whose replies come an octet at a time."""

    def __init__(self, port, pause):
        self.server = socket.create_server((HOST4, port))
        self.pause = pause
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s = self.server.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.talk, args=(s,), daemon=True).start()

    def talk(self, s):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        f = s.makefile("rb")
        try:
            s.sendall(b"220 slow\r\n")
            while True:
                verb = f.readline().split(b" ")[0].strip().upper()
                if verb in (b"EHLO", b""):
                    s.sendall(b"250 slow\r\n")
                for octet in b"221 Bye\r\n" if verb == b"QUIT" else b"451 No\r\n" if verb == b"MAIL" else b"":
                    s.sendall(bytes((octet,)))
                    time.sleep(self.pause)
                if verb in (b"QUIT", b""):
                    s.close()
                    return
        except OSError:
            pass

    def close(self):
        self.server.shutdown(socket.SHUT_RDWR)  # or accept keeps the address
        self.server.close()


def dialogue(*lines):
    c = Raw()
    for line in ("EHLO c.example",) + lines + ("QUIT",):
        c.ask(line)
    c.close()


ENVELOPE = ("MAIL FROM:<s@example.com>", "RCPT TO:<r@example.com>", "RSET")


def reasons_of(server, service, talks, rounds=1):
    with Lab("af_packet", service=service) as lab:
        backend = server()
        for _ in range(rounds):
            together(*talks)
        wait_for("sessions to end", lambda: lab.stats.sessions() == 0)
        seen = metrics(lab)
        quiet(lab)
        backend.close()
        return seen


def after(seconds, *verbs):
    def behave(verb, _):
        if not verbs or verb in verbs:
            time.sleep(seconds)
    return behave


@waits
def case_a_discredited_address_is_told_in_each_mode():
    for service in ("", 'tls = { mode = "passthrough"; };'):
        seen = reasons_of(lambda: Sink(2525, HOST4, after(1.0)), service, [lambda: dialogue(*ENVELOPE)] * 2, 2)
        assert set(seen) == {"ip_discredited"}, (service, seen)
        assert seen["ip_discredited"] == 4 * 6, (service, seen)  # the greeting, EHLO, three, QUIT


@waits
def case_a_held_greeting_is_told_from_a_discredited_address():
    seen = reasons_of(lambda: Sink(2525, HOST4, after(1.3, "BANNER")), "", [lambda: dialogue(*ENVELOPE)] * 2, 3)
    assert set(seen) <= NOTHING | {"greet_pause"} and seen["greet_pause"] >= 3, seen


@waits
def case_a_stuttering_server_is_told():
    for service in ("", 'tls = { mode = "passthrough"; };'):
        seen = reasons_of(lambda: Dribble(2525, 0.25), service, [lambda: dialogue("MAIL FROM:<s@example.com>")] * 2)
        assert set(seen) == {"stutter"} and seen["stutter"] == 4, (service, seen)


def grouped():
    c = Raw()
    c.ask("EHLO c.example")
    c.say(b"MAIL FROM:<s@example.com>\r\nRCPT TO:<r@elsewhere.example>\r\n")
    assert c.reply().startswith("250") and c.reply().startswith("550")
    c.ask("QUIT")
    c.close()


class Grouping(Sink):
    """Holds MAIL's reply with that to the RCPT behind it, as Exchange does."""

    def session(self, h, behave, keywords):
        say = lambda text: h.wfile.write(text.encode() + b"\r\n")
        say("220 sink")
        while True:
            verb = h.rfile.readline().decode().split(" ")[0].strip()
            if verb == "MAIL":
                h.rfile.readline()
                time.sleep(5.0)
                h.wfile.write(b"250 2.1.0 Sender OK\r\n550 5.7.1 Unable to relay\r\n")
            else:
                say({"EHLO": "250-sink\r\n250 PIPELINING", "QUIT": "221 2.0.0 bye"}.get(verb, "500 5.5.1 ?"))
            if verb in ("QUIT", ""):
                return


@waits
def case_a_group_held_for_a_relay_is_one_event():
    def twice():
        dialogue()  # what is usual
        together(*[grouped] * 3)

    seen = reasons_of(lambda: Grouping(2525), "", [twice])
    assert seen == {"unable_to_relay": 3}, seen
