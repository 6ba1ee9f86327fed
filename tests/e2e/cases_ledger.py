# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""The ledger: each mail that a backend answered is found by mailracectl mail, with the queue id of the server's own log; and what
becomes of it when control dies, addresses are not to be kept, or nobody reads."""

import base64
import collections
import contextlib
import glob
import json
import mmap
import os
import random
import re
import smtplib
import ssl
import stat
import struct
import sys
import threading
import time

import exim
from certs import tls_lab
from lab import DIRECTORY, HOST4, NET4, VIP4, Control, Lab, Sink, attach, sh, wait_for, waits
from mail import Raw, quiet, send

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
from postfix import Postfix

MAIL = b"a: b\r\n\r\nc\r\n"


def with_ledger(lab, text=""):
    """Before it is started."""
    lab.config += 'ledger = { directory = "%s/mail"; %s };\n' % (lab.dir, text)
    lab.write_config(lab.config)
    return lab


def lines_of(lab):
    """All records, as they stand in the files."""
    out = []
    for path in sorted(glob.glob(lab.dir + "/mail/mail-*.json")):
        with open(path, encoding="utf-8") as f:
            out += [json.loads(line) for line in f if line.endswith("\n")]  # the last may be under way
    return out


def recorded(lab, count, seconds=10):
    wait_for("%d records" % count, lambda: len(lines_of(lab)) >= count, seconds)
    found = lines_of(lab)
    assert len(found) == count, (len(found), count)
    return found


def ids_of_postfix(server):
    return {m: q for q, m in server.queue_ids()}


def ids_of_exim(server):
    return {m: q for q, m in re.findall(r" (\S+) <= .* id=(\S+)", server.log())}


def dialogue(c, lines):
    """Everything at once; the replies."""
    c.say(b"".join(l if isinstance(l, bytes) else l.encode() + b"\r\n" for l in lines))
    return [c.reply() for l in lines if not isinstance(l, bytes)]


def by_hand(number):
    """Pipelined, several recipients of which some are refused, DATA and BDAT, several mails in a session."""
    c = Raw()
    assert c.ask("EHLO hand.example").startswith("250")
    text = lambda i: ("Message-ID: <hand%d.%d@client.example>\r\nSubject: x\r\n\r\nbody\r\n" % (number, i)).encode()
    dialogue(c, ["MAIL FROM:<hand%d.0@client.example> SIZE=100" % number, "RCPT TO:<one@lab.example>", "RCPT TO:<no@elsewhere.example>",
                 'RCPT TO:<two@lab.example>'])
    assert c.ask("DATA").startswith("354")
    first = c.ask(text(0) + b".\r\n")
    # given up, then another: nothing of the first may be told of the second
    dialogue(c, ["MAIL FROM:<given-up@client.example>", "RCPT TO:<never@lab.example>", "RSET",
                 "MAIL FROM:<hand%d.1@client.example>" % number, "RCPT TO:<three@lab.example>"])
    body = text(1)
    c.say(b"BDAT 10\r\n" + body[:10] + b"BDAT %d LAST\r\n" % (len(body) - 10) + body[10:])
    assert c.reply().startswith("250")
    second = c.reply()
    assert first.startswith("250") and second.startswith("250"), (first, second)
    assert c.ask("QUIT").startswith("221")
    c.close()


def by_starttls(lab, number):
    context = ssl.create_default_context(cafile=lab.dir + "/mail.pem")
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with smtplib.SMTP(VIP4, 25, "secure.example", 30) as s:
        s._host = "mx.lab.example"
        s.starttls(context=context)
        for i in range(2):
            s.sendmail("tls%d.%d@client.example" % (number, i), ["r@lab.example"],
                       "Message-ID: <tls%d.%d@client.example>\r\n\r\nbody\r\n" % (number, i))


def case_ledger_has_the_queue_ids_of_postfix_and_exim():
    addresses = (NET4 + "51", NET4 + "52")
    lab = with_ledger(tls_lab(workers=2, port="af_packet", backends=tuple((a, 25) for a in addresses)))
    with lab, Control(lab) as control, contextlib.ExitStack() as stack:
        for address in addresses:
            sh("ip", "addr", "add", address + "/32", "dev", "lo")
        one = exim.Server(lab.dir, "exim", addresses[0])
        stack.callback(one.close)
        two = Postfix("postfix", addresses[1], lab.dir, "lab.example")
        two.run("start")
        stack.callback(two.run, "stop", check=False)
        for address in addresses:
            def up():
                with contextlib.suppress(OSError, smtplib.SMTPException), smtplib.SMTP(address, 25, timeout=5) as s:
                    return s.noop()[0] == 250
            wait_for("the server", up, 60)
        for i in range(6):
            by_hand(i)
            by_starttls(lab, i)
        found = recorded(lab, 24)
        logs = {"mail/b0": ids_of_exim(one), "mail/b1": ids_of_postfix(two)}
        count = collections.Counter(m["backend"] for m in found)
        assert sum(count.values()) == 24 and min(count["mail/b0"], count["mail/b1"]) > 0, count
        for m in found:
            known = logs[m["backend"]][m["from"]]
            assert m["queue_id"] == known, (m, known)
            assert m["client"] == HOST4 and m["code"] == 250 and m["virtual_service"] == "inbound", m
            assert "given-up" not in m["from"] and m["session_seconds"] >= 0 and 0 < m["reply_seconds"] < 60, m
            tls = m["from"].startswith("tls")
            assert m["helo"] == ("secure.example" if tls else "hand.example"), m
            assert (m.get("client_tls"), "client_suite" in m) == (("1.3", True) if tls else (None, False)), m
            if m["from"].endswith(".0@client.example") and not tls:
                codes = [(t["address"], t["code"] // 100) for t in m["to"]]
                refuses = m["backend"] == "mail/b1"
                assert codes == [("one@lab.example", 2), ("no@elsewhere.example", 5 if refuses else 2), ("two@lab.example", 2)], m
                assert (m["recipients"], m["accepted"]) == (3, 2 if refuses else 3), m
            else:
                assert (m["recipients"], m["accepted"], len(m["to"])) == (1, 1, 1) and m["to"][0]["code"] == 250, m
            answer = control.json("mail", "--queue-id", m["queue_id"])
            assert [a["seq"] for a in answer["mails"]] == [m["seq"]] and answer["reaches_back_to"] == found[0]["time"], answer
        finds(control, found)
        files(lab)
        assert lab.stats["ledger_records"] == 24 and lab.stats["ledger_ring_full"] == 0
        quiet(lab)


def finds(control, found):
    def froms(*args):
        answer = control.json("mail", *args)
        return [m["from"] for m in answer["mails"]], answer["truncated"]
    newest = [m["from"] for m in sorted(found, key=lambda m: m["time"], reverse=True)]
    assert froms("--from", "HAND3.1@client.example") == (["hand3.1@client.example"], False)
    assert froms("--to", "two@LAB.example", "-n", "3")[1], "there are six"
    assert len(froms("--to", "@elsewhere.example")[0]) == 6
    assert sorted(froms("--client", NET4 + "0/24", "-n", "100")[0]) == sorted(newest)
    assert froms("--client", NET4 + "77") == ([], False) and froms("--from", "<>") == ([], False)
    for name in ("b1", "mail/b0"):
        assert len(froms("--backend", name, "-n", "100")[0]) == sum(m["backend"].endswith(name) for m in found), name
    assert froms("--from", "@client.example", "--to", "three@lab.example", "--client", HOST4)[0]
    times = sorted(m["time"] for m in found)
    assert len(froms("--since", times[12][:-1], "-n", "100")[0]) == 12 and len(froms("--since", "1h", "-n", "100")[0]) == 24
    assert len(froms("--until", times[11][:-1], "-n", "100")[0]) == 12 and froms("--until", "1h") == ([], False)
    assert froms("--since", times[3][:-1], "--until", times[3][:-1]) == ([m["from"] for m in found if m["time"] == times[3]], False)
    assert froms("-n", "5")[0][0] in newest[:3], "the newest first"
    status, out, _ = control.run("mail", "--from", "hand1.0@client.example")
    assert status == 0 and "one@lab.example +2" in out and "1 found; the ledger reaches back to 2" in out, out
    for bad in (("--since", "yesterday"), ("--client", "here"), ("-n", "0"), ("--from", "")):
        assert control.run("mail", *bad)[0] == 1, bad
    assert control.run("mail", user="games", group="games", extra_groups=[])[0] in (69, 77), "it is not for everybody"


def files(lab):
    folder = os.stat(lab.dir + "/mail")
    assert stat.S_IMODE(folder.st_mode) == 0o2750, oct(folder.st_mode)
    for path in glob.glob(lab.dir + "/mail/*"):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o640, path


@waits
def case_ledger_goes_on_where_a_killed_control_process_was():
    lab = with_ledger(Lab(workers=2, port="af_packet", max_sessions=400))
    with lab, Control(lab) as control:
        Sink(2525, behave=lambda verb, s: "550 5.7.1 no" if verb == "EOD" and len(s.bodies) % 7 == 3 else None)
        stop, sent = threading.Event(), []

        def client():
            while not stop.is_set():
                with contextlib.suppress(smtplib.SMTPException):
                    send(MAIL, timeout=30)
                sent.append(1)
        threads = [threading.Thread(target=client) for _ in range(6)]
        for t in threads:
            t.start()
        try:
            for _ in range(6):
                time.sleep(0.7)
                control.kill()
                time.sleep(0.3)
                control.start()
            time.sleep(0.5)
        finally:
            stop.set()
            for t in threads:
                t.join()
        mails = lab.stats["session_messages"] + lab.stats["session_messages_refused"]
        assert mails == len(sent) > 100, (mails, len(sent))
        found = recorded(lab, mails)
        keys = {(m["boot"], m["worker"], m["seq"]) for m in found}
        assert len(keys) == len(found), "a mail stands there twice"
        assert {m["code"] for m in found} == {250, 550} and all(m["enhanced"] == "5.7.1" for m in found if m["code"] == 550)
        assert lab.stats["ledger_ring_full"] == 0
        # a dataplane that starts anew counts anew, and what the one before left is not lost
        lab.proc.kill()
        lab.proc.wait()
        lab.restart()
        wait_for("control to attach again", lambda: control.read_log().count("attached to") >= 8)
        with contextlib.suppress(smtplib.SMTPDataError):
            send(MAIL)
        found = recorded(lab, mails + 1)
        assert len({m["boot"] for m in found}) == 2 and found[-1]["seq"] == 1
        quiet(lab)


@waits
def case_ledger_that_nobody_reads_stops_no_mail():
    """Its ring is full at some time: counted, and those that are missing are those counted."""
    lab = with_ledger(Lab(port="af_packet", max_sessions=400))
    with lab:
        Sink(2525)
        with Control(lab) as control:
            send(MAIL)
            recorded(lab, 1)
            control.kill()
            head = "x" * 240 + "@"
            with smtplib.SMTP(VIP4, 25, "y" * 60, 30) as s:
                for i in range(1300):
                    assert s.sendmail("%s%d.example" % (head[:200], i), [head[:200] + "%d.example" % k for k in range(6)], MAIL) == {}
            lost = lab.stats["ledger_ring_full"]
            assert lost > 0 and lab.stats["session_messages"] == 1301
            control.start()
            found = recorded(lab, 1301 - lost)
            assert len({m["seq"] for m in found}) == len(found) and "to_cut" in found[-1] and len(found[-1]["to"]) < 6, found[-1]
            assert found[-1]["recipients"] == found[-1]["accepted"] == 6
            send(MAIL)
            assert recorded(lab, 1302 - lost)[-1]["seq"] == 1302
        quiet(lab)


def secret_mail(user, password):
    with smtplib.SMTP(VIP4, 25, "client.example", 30) as s:
        s.ehlo()
        assert s.docmd("AUTH PLAIN " + base64.b64encode(("\0%s\0%s" % (user, password)).encode()).decode())[0] == 235
        assert s.docmd("MAIL FROM:<sender@from.example> AUTH=%s@auth.example SIZE=9" % user)[0] == 250
        s.rcpt("reader@to.example")
        s.data(b"x: y\r\n\r\nz\r\n")


def case_ledger_keeps_of_addresses_what_it_may():
    lab = with_ledger(Lab(port="af_packet"))
    with lab, Control(lab) as control:
        Sink(2525, keywords=("AUTH PLAIN LOGIN", "SIZE 1000000"), behave=lambda verb, s: "235 2.7.0 in" if verb == "AUTH" else None)
        shown = []
        for n, keep in enumerate(("full", "domain", "none", "off")):
            text = lab.config.replace("ledger = {", 'ledger = { addresses = "%s";' % keep)
            lab.write_config(re.sub(r"ledger = .*\n", "", text) if keep == "off" else text)
            generation = lab.stats.current_generation()
            if n > 0:
                assert control.run("reload")[0] == 0
                wait_for("the generation", lambda: lab.stats.current_generation() > generation)
            secret_mail("account77", "secret99")
            if keep != "off":
                recorded(lab, n + 1)
        time.sleep(0.5)
        found = recorded(lab, 3)
        shown = [(m.get("from"), [t["address"] for t in m["to"]] if "to" in m else None, m["recipients"]) for m in found]
        assert shown == [("sender@from.example", ["reader@to.example"], 1), ("@from.example", ["@to.example"], 1), (None, None, 1)], shown
        with open(glob.glob(lab.dir + "/mail/*")[0], encoding="utf-8") as f:
            text = f.read()
        for word in ("account77", "secret99", "auth.example", base64.b64encode(b"\0account77\0secret99").decode()):
            assert word not in text, word
        assert lab.stats["ledger_records"] == 3, "off is off"
        quiet(lab)


def case_ledger_of_a_passthrough_service():
    """While the dialogue is read."""
    lab = with_ledger(Lab(port="af_packet", service='tls = { mode = "passthrough"; };'))
    with lab, Control(lab) as control:
        Sink(2525, behave=lambda verb, s: "250 2.0.0 Ok: queued as 4Xy%dZ" % len(s.bodies) if verb == "EOD" else None)
        for i in range(3):
            send(MAIL, recipients=("a@to.example", "b@to.example"))
        c = Raw()
        for line in ("EHLO x", "MAIL FROM:<", "slow@from.example>", "RCPT TO:<c@to.example>", "DATA"):
            c.say(line.encode() if line.endswith("<") else line)
            if line.endswith("<"):
                time.sleep(0.3)  # in two segments
            else:
                c.reply()
        c.ask(MAIL + b".\r\n")
        assert c.ask("QUIT").startswith("221")
        c.close()
        found = recorded(lab, 4)
        assert [m["queue_id"] for m in found] == ["4Xy0Z", "4Xy1Z", "4Xy2Z", "4Xy3Z"], found
        assert all(m["passthrough"] and m["client"] == HOST4 for m in found)
        for m in found[:3]:
            assert (m["from"], [t["address"] for t in m["to"]], m["accepted"]) == ("s@example.com", ["a@to.example", "b@to.example"], 2), m
        assert found[3]["from_cut"] and found[3]["from"] == "" and found[3]["to"][0]["address"] == "c@to.example", found[3]
        quiet(lab)


def case_ledger_in_the_hands_of_a_hostile_control_process():
    """Whatever stands in the ring's indices: mail goes on, and an honest process finds whole lines again."""
    lab = with_ledger(Lab(port="af_packet"))
    with lab:
        Sink(2525)
        s, code, fds = attach(lab.socket, 2)
        assert code == 0
        memory, rng, ring = mmap.mmap(fds[1], 0), random.Random(3), None
        for i in range(32):
            kind, _, off, stride = struct.unpack_from("<IIQQ", memory, DIRECTORY + 24 * i)
            ring = (off, stride) if kind == 25 else ring
        for i in range(300):
            where = ring[0] + rng.choice((0, 4, 192 - 0, 256, 256 + rng.randrange(4096)))
            struct.pack_into("<I", memory, min(where, ring[0] + ring[1] - 4), rng.choice((0, 1, 0xffffffff, rng.getrandbits(32))))
            send(MAIL)
        for fd in fds:
            os.close(fd)
        s.close()
        assert lab.stats["session_messages"] == 300 and lab.stats["ledger_records"] + lab.stats["ledger_ring_full"] == 300
        with Control(lab):
            time.sleep(1)
            before = lines_of(lab)  # each of them is JSON
            for _ in range(5):
                send(MAIL)
            wait_for("honest records", lambda: [m["seq"] for m in lines_of(lab)][-5:] == [301, 302, 303, 304, 305])
            print("%d lines of %d survived" % (len(before), 300))
        quiet(lab)
