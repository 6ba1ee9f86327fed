# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Certificates for a laboratory, made by openssl, and a laboratory that uses them."""

import os
import subprocess

from lab import Lab

SERVICE = 'tls = { mode = "starttls-optional"; certificates = [ "mail" ]; };'


def make(folder, name="mail", host="mx.lab.example", days=60, dates=None, kind=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
    """A self-signed certificate and its key: NAME.pem and NAME.key."""
    span = ["-not_before", dates[0], "-not_after", dates[1]] if dates else ["-days", str(days)]
    subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-keyout", "%s/%s.key" % (folder, name), "-out",
                    "%s/%s.pem" % (folder, name), "-subj", "/CN=" + host, "-addext", "subjectAltName=DNS:" + host, *span],
                   check=True, capture_output=True, timeout=60)


def key_bytes(path):
    """What nobody else may see of a key: the private number itself, and a line of the file."""
    text = subprocess.run(["openssl", "pkey", "-in", path, "-outform", "DER"], check=True, capture_output=True, timeout=20).stdout
    with open(path, "rb") as f:
        lines = f.read().split(b"\n")
    at = text.index(b"\x02\x01\x01\x04\x20") + 5  # RFC 5915: version 1, then an octet string of 32
    return [text[at:at + 32], lines[1]]


def tls_lab(service=SERVICE, **kind):
    """A laboratory, not started yet, whose service has a certificate."""
    lab = Lab(service=service, **kind)
    make(lab.dir)
    lab.config = lab.config.replace("pools = {", 'certificates = { mail = { chain = "%s/mail.pem"; key = "%s/mail.key"; }; };\npools = {'
                                    % (lab.dir, lab.dir), 1)
    lab.write_config(lab.config)
    return lab


def renew(lab, **kind):
    """As a renewal does it: beside, then over the old one."""
    make(lab.dir, "new", **kind)
    os.rename(lab.dir + "/new.pem", lab.dir + "/mail.pem")
    os.rename(lab.dir + "/new.key", lab.dir + "/mail.key")
