# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Mail through the box: families, ports, workers, extensions, refusals."""

import concurrent.futures
import random
import subprocess

from lab import VIP4, VIP6, Lab, Sink, alone, wait_for
from mail import Raw, body_of, quiet, send


def mails_over_both_families(port):
    rng = random.Random(1)
    with Lab(port) as lab:
        sink = Sink(2525)
        bodies = [body_of(rng, rng.randrange(5000)) for _ in range(20)]
        for i, body in enumerate(bodies):
            send(body, VIP6 if i % 2 else VIP4)
        assert sorted(sink.bodies) == sorted(bodies)
        assert lab.stats["session_messages"] == 20
        quiet(lab)
        sink.close()


def case_mails_over_both_families_af_packet():
    mails_over_both_families("af_packet")


def case_mails_over_both_families_tap():
    mails_over_both_families("tap")


def many_sessions(port, workers, count):
    rng = random.Random(2)
    bodies = [body_of(rng, rng.choice((200, 2000, 4000, 20000))) for _ in range(count)]
    with Lab(port, workers) as lab:
        sink = Sink(2525)
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            list(pool.map(lambda i: send(bodies[i], VIP6 if i % 3 == 0 else VIP4), range(count)))
        assert sorted(sink.bodies) == sorted(bodies), "%d of %d" % (len(sink.bodies), count)
        quiet(lab)
        sink.close()


@alone
def case_two_thousand_sessions_one_worker():
    many_sessions("tap", 1, 2000)


def case_sessions_over_two_workers_and_steering():
    many_sessions("af_packet", 2, 600)


def case_two_workers_on_a_tap():
    many_sessions("tap", 2, 300)


def case_the_backend_sees_only_the_clients_verbs():
    with Lab() as lab:
        sink = Sink(2525)
        c = Raw()
        said = ["EHLO me.example", "MAIL FROM:<a@b> SIZE=10", "RCPT TO:<c@d>", "NOOP", "RSET", "VRFY x", "QUIT"]
        for line in said:
            c.ask(line)
        c.close()
        wait_for("the transcript", lambda: sink.transcripts == [said])
        quiet(lab)
        sink.close()


def case_pipelining_and_a_thousand_recipients():
    for keywords in (("PIPELINING", "8BITMIME"), ("8BITMIME", "SIZE 1000000")):
        with Lab() as lab:
            sink = Sink(2525, keywords=keywords)
            c = Raw()
            c.ask("EHLO me.example")
            group = ["MAIL FROM:<a@b>"] + ["RCPT TO:<r%d@d>" % i for i in range(1000)] + ["DATA"]
            c.say("\r\n".join(group).encode() + b"\r\n")
            replies = [c.reply()[:3] for _ in group]
            assert replies == ["250"] * 1001 + ["354"], replies[-5:]
            assert c.ask(b"Subject: x\r\n\r\n..dot\r\n.\r\n").startswith("250")
            assert c.ask("QUIT").startswith("221")
            c.close()
            assert sink.bodies == [b"Subject: x\r\n\r\n.dot\r\n"]
            assert sink.transcripts[0] == ["EHLO me.example"] + group + ["QUIT"]
            quiet(lab)
            sink.close()


def case_bdat():
    with Lab() as lab:
        sink = Sink(2525)
        c = Raw()
        c.ask("EHLO me.example")
        c.ask("MAIL FROM:<a@b>")
        c.ask("RCPT TO:<c@d>")
        first, last = b"A: b\r\n\r\n.\r\nMAIL FROM:<x>\r\n" * 300, b"\r\n.\r\nend\r\n"
        c.say(b"BDAT %d\r\n" % len(first) + first + b"BDAT %d LAST\r\n" % len(last) + last)
        assert c.reply().startswith("250") and c.reply().startswith("250")
        assert c.ask("BDAT x").startswith("501")
        assert c.ask("QUIT").startswith("221")
        c.close()
        assert sink.bodies == [first + last]
        quiet(lab)
        sink.close()


def case_a_message_of_30_megabytes():
    body = b"Subject: big\r\n\r\n" + (b"x" * 998 + b"\r\n") * 30000
    with Lab() as lab:
        sink = Sink(2525)
        send(body, timeout=120)
        assert sink.bodies == [body]
        quiet(lab)
        sink.close()


# What some server took for the end of a body (statement G2); those with NULs, too: who drops NULs would see it.
SMUGGLED_ENDS = (
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n",
    b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\r\n\x00\x00.\r\n", b"\r\n\x00.\x00\r\n", b"\r\x00\n.\r\n", b"\r\n.\r\x00\n", b"\x00\n.\n",
)


def smuggling(one_by_one):
    with Lab() as lab:
        sink = Sink(2525)
        for end in SMUGGLED_ENDS:
            c = Raw()
            for line in ("EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
                c.ask(line)
            smuggled = b"text" + end + b"MAIL FROM:<smuggled@x>\r\n"
            for piece in [bytes([b]) for b in smuggled] if one_by_one else [smuggled]:
                c.say(piece)
            assert c.ask(b"\r\n.\r\n").startswith("550 5.5.2"), end
            # the next mail of the session takes a fresh connection
            for line in ("MAIL FROM:<a@b>", "RCPT TO:<c@d>"):
                assert c.ask(line).startswith("250"), line
            assert c.ask("DATA").startswith("354")
            assert c.ask(b"good\r\n.\r\n").startswith("250")
            c.ask("QUIT")
            c.close()
        assert sink.bodies == [b"good\r\n"] * len(SMUGGLED_ENDS)
        assert not any("smuggled" in v for t in sink.transcripts for v in t)
        quiet(lab)
        sink.close()


def case_smuggling_is_refused_and_nothing_is_stored():
    smuggling(one_by_one=True)


def case_smuggling_in_one_segment_is_refused():
    smuggling(one_by_one=False)


def case_smuggled_ends_are_repaired_for_trusted_networks():
    with Lab(service='bare_lf = "restuff";') as lab:
        sink = Sink(2525)
        for end in SMUGGLED_ENDS:
            c = Raw()
            for line in ("EHLO me", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"):
                c.ask(line)
            assert c.ask(b"text" + end + b"MAIL FROM:<smuggled@x>\r\n.\r\n").startswith("250"), end
            c.ask("QUIT")
            c.close()
        # each is one mail that holds what was meant to be a command, and nothing a server could take for an end
        assert len(sink.bodies) == len(SMUGGLED_ENDS)
        for body in sink.bodies:
            assert body.startswith(b"text") and body.endswith(b"MAIL FROM:<smuggled@x>\r\n"), body
            assert body.count(b"\n") == body.count(b"\r") == body.count(b"\r\n"), body
            # what begins with a dot here was stuffed
            assert all(line[:1] == b"." or line.strip(b"\x00") != b"." for line in body.split(b"\r\n")), body
        assert not any("smuggled" in v for t in sink.transcripts for v in t)
        quiet(lab)
        sink.close()


def case_refusals_of_ours():
    with Lab(service='limits = { message_size = "1M"; recipients = 100; };') as lab:
        sink = Sink(2525, keywords=("PIPELINING", "SIZE 100000000"))
        c = Raw()
        c.say("EHLO me")
        lines = []
        while not lines or lines[-1][3] == "-":
            lines.append(c.f.readline().decode().strip())
        assert lines[-1] == "250 SIZE 1048576", lines
        for line, code in (
            ("BLAH", "500 5.5.1"), ("XCLIENT ADDR=1.2.3.4", "500 5.5.1"), ("STARTTLS", "502"), ("NOOP " + "x" * 3000, "500 5.5.6"),
            ("MAIL FROM:<a@b> BODY=8BITMIME", "555"), ("MAIL FROM:<a@b> SIZE=2000000", "552 5.3.4"), (b"NOOP\nNOOP\r\n", "500 5.5.2"),
            ("NOOP", "250"),
        ):
            assert c.ask(line).startswith(code), line
        c.ask("QUIT")
        c.close()
        quiet(lab)
        sink.close()


def case_passthrough():
    with Lab(service='tls = { mode = "passthrough"; };') as lab:
        sink = Sink(2525)
        c = Raw(banner=False)
        assert c.reply() == "220 sink ESMTP"
        assert c.ask("XANYTHING").startswith("250")
        assert c.ask("QUIT").startswith("221")
        c.close()
        assert sink.transcripts == [["XANYTHING", "QUIT"]]
        quiet(lab)
        sink.close()


def case_swaks_and_smtp_source():
    with Lab() as lab:
        sink = Sink(2525)
        for host in (VIP4, VIP6):
            subprocess.run(["swaks", "--server", host, "--from", "a@b.example", "--to", "c@d.example", "--pipeline"],
                           check=True, stdout=subprocess.DEVNULL, timeout=30)
        subprocess.run(["smtp-source", "-s", "20", "-m", "200", "-l", "4096", "-c", "-f", "a@b.example", "-t", "c@d.example",
                        VIP4 + ":25"], check=True, stdout=subprocess.DEVNULL, timeout=60)
        assert len(sink.bodies) == 202
        quiet(lab)
        sink.close()
