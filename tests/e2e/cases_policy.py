# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Rules and limits by client, body policies, and how legs are left and had again."""

import time

from lab import HOST4, NET4, NET6, VIP6, Lab, Sink, sh, wait_for, waits
from mail import Raw, quiet, send

MAIL = ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", b"x: y\r\n.\r\n")


def case_sessions_per_client():
    with Lab("af_packet", workers=2, service="limits = { sessions_per_client = 3; };") as lab:
        sink = Sink(2525)
        sh("ip", "addr", "add", NET4 + "2/24", "dev", "mr0")
        for last in ("a", "b"):
            sh("ip", "-6", "addr", "add", NET6 + last + "/64", "dev", "mr0", "nodad")

        def many(count, sources, **kind):
            """Opens sessions one after the other; those that were refused."""
            refused = 0
            for i in range(count):
                c = Raw(banner=False, source=sources[i % len(sources)], **kind)
                greeting = c.reply()
                if greeting.startswith("421"):
                    assert greeting == "421 mx.lab.example Too many sessions from your address", greeting
                    assert c.f.read() == b""
                    c.close()
                    refused += 1
                else:
                    assert greeting.startswith("220")
                    held.append(c)
            return refused
        held = []
        assert many(10, [HOST4]) == 7, "over both workers"
        assert many(3, [NET4 + "2"]) == 0, "another client"
        assert many(6, [NET6 + "a", NET6 + "b"], host=VIP6) == 3, "an IPv6 /64 is one client"
        first = held.pop(0)
        assert first.ask("QUIT").startswith("221")
        first.close()
        assert many(2, [HOST4]) == 1, "an ended session makes room"
        assert lab.stats["smtp_reply_client_limit"] == 11 and lab.stats["session_client_uncounted"] == 0
        for c in held:
            c.close()
        quiet(lab)
        held = []
        assert many(3, [HOST4]) == 0, "clients that vanish make room"
        for c in held:
            c.close()
        quiet(lab)
        sink.close()


def case_source_address_by_rule():
    lab = Lab(service='rules = ( { from = "listed"; source = "relay"; } );', extra='source = "plain";')
    lab.config = lab.config.replace("pools =", """networks = { listed = [ "%s2/32" ]; };
source_addresses = { relay = [ "%s31" ]; plain = [ "%s32", "%s33" ]; };
pools =""" % ((NET4,) * 4), 1)
    lab.write_config(lab.config)
    with lab:
        sink = Sink(2525)
        sh("ip", "addr", "add", NET4 + "2/24", "dev", "mr0")
        for _ in range(12):
            send(b"a: b\r\n\r\nc\r\n")
        assert set(sink.peers) == {NET4 + "32", NET4 + "33"}, sink.peers
        sink.peers.clear()
        for _ in range(3):
            c = Raw(source=NET4 + "2")
            for line in ("EHLO me",) + MAIL + ("QUIT",):
                assert c.ask(line)[0] in "23"
            c.close()
        assert set(sink.peers) == {NET4 + "31"}, sink.peers
        quiet(lab)
        sink.close()


def case_a_fresh_leg_says_the_clients_ehlo():
    """After a body whose leg was lost the next mail goes over a fresh one, greeted as the client greeted."""
    cut = []

    def behave(verb, sink):
        if verb == "CUT" and cut:
            cut.clear()
            raise ConnectionError
        return "354 go on" if verb == "DATA" and cut else None
    name = "nam12-dm6-obe.outbound.protection.outlook.example"
    for greeting in ("EHLO " + name, "EHLO " + "x" * 200, "HELO short.example"):
        with Lab() as lab:
            sink = Sink(2525, behave=behave)
            c = Raw()
            cut.append(True)
            for line in (greeting,) + MAIL[:3]:
                assert c.ask(line)[0] in "23", line
            c.say("CUT")
            wait_for("the leg to be lost", lambda: not cut and lab.stats["session_body_bytes"] > 0)
            time.sleep(0.1)
            assert c.ask(".").startswith("451")
            reply = c.ask(MAIL[0])
            assert reply.startswith("250"), (greeting, reply)
            for line in MAIL[1:] + ("QUIT",):
                assert c.ask(line)[0] in "23", line
            assert sink.transcripts[1] == [greeting] + list(MAIL[:3]) + ["QUIT"], sink.transcripts
            assert sink.bodies == [b"x: y\r\n"]
            c.close()
            quiet(lab)
            sink.close()


@waits
def case_a_greet_pause_is_never_cut_short():
    """A leg given up for its silence is kept until it has greeted, then left with QUIT."""
    def behave(verb, sink):
        if verb == "BANNER":
            time.sleep(4)
        return None
    with Lab(backends=((HOST4, 2525), (HOST4, 2526)), extra='banner_timeout = "1s";') as lab:
        pausing, prompt = Sink(2525, behave=behave), Sink(2526)
        start = time.monotonic()
        for _ in range(2):
            send(b"a: b\r\n\r\nc\r\n")
        assert time.monotonic() - start < 3.5 and len(prompt.bodies) == 2, "the mails went on"
        wait_for("the pause to end", lambda: pausing.transcripts and pausing.transcripts[0] == ["QUIT"], 10)
        assert pausing.transcripts == [["QUIT"]] and lab.stats["leg_orphans"] == 1, pausing.transcripts
        # (a RST may have gone to a TIME_WAIT that an earlier case left at the sink's port)
        assert lab.stats["tcp_resets_out"] <= lab.stats["tcp_bad_ack"], "the leg was reset"
        quiet(lab)
        assert lab.stats["session_accepted"] == lab.stats["session_ended"] == 2
        # a client that leaves during the pause
        c = Raw()
        c2 = Raw()
        c.close()
        c2.close()
        wait_for("both to be left politely", lambda: len(pausing.transcripts) == 2 and pausing.transcripts[1] == ["QUIT"], 10)
        quiet(lab)


def case_given_up_legs_are_at_most_a_quarter_of_a_backends_limit():
    lab = Lab(extra='banner_timeout = "1s";')
    lab.write_config(lab.config.replace(':2525"; }', ':2525"; max_connections = 4; }'))
    with lab:
        sink = Sink(2525, behave=lambda verb, s: time.sleep(3) if verb == "BANNER" else None)
        clients = [Raw() for _ in range(3)]
        for c in clients:
            assert c.ask("EHLO me.example").startswith("421")
            c.close()
        wait_for("the one that was kept", lambda: [t for t in sink.transcripts if t] == [["QUIT"]], 10)
        assert lab.stats["leg_orphans"] == 1 and lab.stats["leg_orphan_limit"] == 2 and lab.stats["tcp_resets_out"] >= 2
        quiet(lab)
        sink.close()


def case_a_late_greeting_is_learned():
    """What a backend's greetings take is learned from the legs that were given up, and waited for from then on."""
    with Lab(extra='banner_timeout = "1s";') as lab:
        sink = Sink(2525, behave=lambda verb, s: time.sleep(2) if verb == "BANNER" else None)
        clients = [Raw() for _ in range(25)]
        for c in clients:
            assert c.ask("EHLO me.example").startswith("421"), "given up after a second"
            c.close()
        wait_for("the greetings", lambda: len(sink.transcripts) == 25 and all(t == ["QUIT"] for t in sink.transcripts), 10)
        send(b"a: b\r\n\r\nc\r\n")
        assert len(sink.bodies) == 1
        quiet(lab)
        sink.close()


def case_bare_line_ends_by_policy():
    body = b"a: b\r\n\r\none\ntwo\rthree\r\n..dots\r\n"
    for policy, stored in (("restuff", b"a: b\r\n\r\none\r\ntwo\r\nthree\r\n.dots\r\n"), ("pass", b"a: b\r\n\r\none\ntwo\rthree\r\n.dots\r\n")):
        with Lab(extra="strict = true;", service='bare_lf = "%s";' % policy) as lab:
            sink = Sink(2525)
            c = Raw()
            for line in ("EHLO me",) + MAIL[:3] + (body + b".\r\n", "QUIT"):
                reply = c.ask(line)
                assert reply[0] in "23", (policy, line, reply)
            c.close()
            assert sink.bodies == [stored], (policy, sink.bodies)
            # an end of data of another kind ends nothing
            # (the sink takes a bare LF for a line's end, as lax servers do: passing is the operator's risk)
            for end in (b"\n.\n", b"\n.\r\n", b"\r.\r\n") if policy == "restuff" else (b"\r.\r\n",):
                c = Raw()
                for line in ("EHLO me",) + MAIL[:3]:
                    assert c.ask(line)[0] in "23"
                count = len(sink.bodies)
                c.say(b"x: y" + end + b"MAIL FROM:<evil@b>\r\n.\r\n")
                assert c.reply()[0] in "25"
                assert c.ask("QUIT").startswith("221"), (policy, end)
                c.close()
                assert len(sink.bodies) <= count + 1
            assert not any(v.startswith("MAIL FROM:<evil") for t in sink.transcripts for v in t), sink.transcripts
            quiet(lab)
            sink.close()


def case_auth_is_relayed():
    def behave(verb, sink):
        if verb == "AUTH":
            return "334 VXNlcm5hbWU6"
        if verb == "DXNLCG==":
            return "334 UGFzc3dvcmQ6"
        if verb == "*":
            return "501 5.7.0 cancelled"
        return "235 2.7.0 welcome" if verb in ("C2VJCMV0", "AHUACA==") else None
    with Lab() as lab:
        sink = Sink(2525, behave=behave, keywords=("PIPELINING", "AUTH PLAIN LOGIN", "8BITMIME"))
        c = Raw()
        c.ask("EHLO me")
        assert c.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        assert c.ask("*") == "501 5.7.0 cancelled"
        assert c.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        assert c.ask("dXNlcg==") == "334 UGFzc3dvcmQ6"
        assert c.ask("c2VjcmV0") == "235 2.7.0 welcome"
        for line in MAIL + ("QUIT",):
            assert c.ask(line)[0] in "23", line
        c.close()
        assert sink.transcripts[0][:6] == ["EHLO me", "AUTH LOGIN", "*", "AUTH LOGIN", "dXNlcg==", "c2VjcmV0"], sink.transcripts
        assert lab.stats["smtp_reply_line_long"] == 0
        quiet(lab)
        sink.close()
