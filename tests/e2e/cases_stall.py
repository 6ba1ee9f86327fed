# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""The tarpit of ours: who waits in it and for what, what a backend sees of that, and what must never wait."""

import time

from cases_delays import metrics
from cases_statements import MAIL, TEXT, Backend, greeted, reset
from lab import HOST4, Lab, wait_for, waits
from mail import Raw, quiet


def tarpit(text, networks=""):
    lab = Lab(service="tarpit = { %s };" % text)
    lab.write_config("networks = { listed = [ \"%s/32\" ]; %s };\n" % (HOST4, networks) + lab.config)
    return lab


def timed(call):
    start = time.monotonic()
    return call(), time.monotonic() - start


@waits
def case_a_listed_client_that_leaves_reaches_no_backend():
    """Its banner waits and no leg is opened meanwhile, for who leaves by FIN, by reset, or speaks early; who stays is served."""
    with tarpit('networks = [ "listed" ]; delay = "2s";') as lab, Backend(lambda verb, *_: b"550 5.1.1 no\r\n" if verb == "VRFY" else None) as backend:
        before = lab.stats.buffers_in_use()
        leaving = [Raw(banner=False) for _ in range(8)]
        wait_for("them to wait", lambda: lab.stats["session_tarpit_sessions"] == 8)
        wait_for("the buffers to come back", lambda: lab.stats.buffers_in_use() <= before)
        talker = Raw(banner=False)
        talker.say("EHLO too soon")
        wait_for("who speaks early to wait", lambda: lab.stats["session_tarpit_sessions"] == 9)
        assert lab.stats["leg_opened"] == 0
        for c in leaving:
            c.close()
        wait_for("them to be gone", lambda: lab.stats["session_tarpit_left"] == 8)
        assert talker.reply().startswith("554"), "it is not asked what a backend thinks of it"
        talker.close()
        wait_for("no session to be left", lambda: lab.stats.sessions() == 0)
        assert lab.stats["leg_opened"] == 0 and not backend.seen
        c, seconds = timed(greeted)
        assert seconds >= 1.9 and lab.stats["leg_opened"] == 1
        said, seconds = timed(lambda: c.ask("VRFY x"))
        assert said == "550 5.1.1 no" and seconds >= 1.9
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert lab.stats["session_tarpit_replies"] == 1 and 5.9e9 <= lab.stats["session_tarpit_nanoseconds"] < 60e9
        assert not any(metrics(lab).values()), "no delay of the backend's"


@waits
def case_errors_make_replies_wait_until_a_mail_is_accepted():
    """From the errors on every reply waits, in its turn; bodies do not, whoever sends them; nor who left, whose leg is ended by
    QUIT; nor who is authenticated or excepted. The backend's own time is not what the client waited for."""
    def answer(verb, line, _):
        return b"550 5.1.1 no\r\n" if b"nobody" in line else b"235 2.7.0 welcome\r\n" if verb == "AUTH" else None
    with tarpit('errors = 2; delay = "1s";') as lab, Backend(answer) as backend:
        c = greeted("MAIL FROM:<a@b>")
        said, seconds = timed(lambda: [c.ask("RCPT TO:<nobody@d>"), c.ask("FROBNICATE")])
        assert [x[:3] for x in said] == ["550", "500"] and seconds < 0.9, "none waits before"
        said, seconds = timed(lambda: [c.ask("RCPT TO:<nobody@d>"), c.ask("FROBNICATE"), c.ask("RCPT TO:<c@d>")])
        assert [x[:3] for x in said] == ["550", "500", "250"] and seconds >= 2.9
        for i in range(3):
            c.say(b"BDAT 5%s\r\n" % (b" LAST" if i == 2 else b"") + b"a: b\n")
        assert [c.reply()[:3] for _ in range(3)] == ["250"] * 3 and backend.bodies == [b"a: b\n" * 3]
        said, seconds = timed(lambda: [c.ask(line)[:3] for line in MAIL + ("DATA",)] + [c.ask(TEXT + b".\r\n")[:3]])
        assert said == ["250", "250", "354", "250"] and seconds < 0.9, "all is forgiven"
        assert backend.bodies[1:] == [TEXT] and c.ask("QUIT").startswith("221")
        c.close()
        c = greeted("MAIL FROM:<a@b>")
        replies = lab.stats["session_tarpit_replies"]
        for _ in range(2):
            c.ask("RCPT TO:<nobody@d>")
        c.say("NOOP")
        wait_for("it to wait", lambda: lab.stats["session_tarpit_replies"] == replies + 1)
        c.f.close()
        reset(c.s)
        wait_for("its leg to leave", lambda: lab.stats.sessions() == 0)
        assert lab.stats["session_tarpit_left"] == 1
        assert backend.said(1)[-2:] == ["NOOP", "QUIT"] and lab.stats["leg_quits"] == 1
        c = greeted("AUTH PLAIN AGEAYg==", "MAIL FROM:<a@b>")
        said, seconds = timed(lambda: [c.ask("RCPT TO:<nobody@d>")[:3] for _ in range(6)])
        assert said == ["550"] * 6 and seconds < 0.9, "never an authenticated session"
        assert c.ask("QUIT").startswith("221")
        c.close()
        quiet(lab)
        assert lab.stats["session_tarpit_replies"] == replies + 1
        assert not any(metrics(lab).values()), "no delay of the backend's"


def case_excepted_networks_never_wait():
    with tarpit('networks = [ "all" ]; except = [ "listed" ]; errors = 1; delay = "20s";', 'all = [ "0.0.0.0/0" ];') as lab, \
            Backend(lambda verb, *_: b"550 5.1.1 no\r\n" if verb == "VRFY" else None):
        c = greeted()
        said, seconds = timed(lambda: [c.ask("VRFY x")[:3] for _ in range(5)] + [c.ask("QUIT")[:3]])
        assert said == ["550"] * 5 + ["221"] and seconds < 10
        c.close()
        quiet(lab)
        assert lab.stats["session_tarpit_sessions"] == 0
