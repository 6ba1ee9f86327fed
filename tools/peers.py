# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""Other proxies in front of a mail server, as Debian ships them, each with a folder of its own for all its files: what the
demo and tools/bench/tarpit compare with."""

import http.server
import os
import socket
import subprocess
import threading
import time

NGINX = """load_module /usr/lib/nginx/modules/ngx_mail_module.so;
daemon off; worker_processes 1; pid {d}/pid; error_log {d}/error.log;
events {{ worker_connections 64; }}
mail {{
    server_name nginx.demo.example;
    auth_http 127.0.0.1:{auth}/;
    timeout 120s;
    server {{
        listen {listen}; protocol smtp; smtp_auth none; xclient {xclient};
        starttls on; ssl_certificate {pair}.pem; ssl_certificate_key {pair}.key;
    }}
}}
"""
HAPROXY = """global
    log stderr local0 warning
defaults
    mode tcp
    timeout connect 5s
    timeout client 120s
    timeout server 120s
listen mail
    bind {listen}{tls}
    server one {backend}
"""


class AuthHttp:
    """What nginx asks which server a mail goes to: always this one."""

    def __init__(self, backend):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                for name, value in (("Auth-Status", "OK"), ("Auth-Server", backend[0]), ("Auth-Port", str(backend[1]))):
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Peer:
    """A program of ours to end; listens at (address, port) when it was made."""

    def __init__(self, command, folder, listen):
        self.log = folder + "/said"
        with open(self.log, "w", encoding="utf-8") as f:
            self.proc = subprocess.Popen(command, stdout=f, stderr=f)
        end = time.monotonic() + 15
        while not self.answers(listen):
            if self.proc.poll() is not None or time.monotonic() > end:
                self.close()
                with open(self.log, encoding="utf-8") as f:
                    raise RuntimeError("%s does not start: %s" % (command[0], f.read()[-600:]))
            time.sleep(0.05)

    @staticmethod
    def answers(listen):
        try:
            socket.create_connection(listen, timeout=2).close()
            return True
        except OSError:
            return False

    def close(self):
        self.proc.terminate()
        try:
            self.proc.wait(10)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()


class Nginx(Peer):
    """Its mail proxy: answers EHLO and STARTTLS itself, goes to the server at RCPT."""

    def __init__(self, parent, listen, backend, pair, xclient=False):
        folder = parent + "/nginx"
        os.makedirs(folder)
        self.auth = AuthHttp(backend)
        with open(folder + "/conf", "w", encoding="utf-8") as f:
            f.write(NGINX.format(d=folder, auth=self.auth.port, listen="%s:%d" % listen, pair=pair, xclient="on" if xclient else "off"))
        try:
            super().__init__(["nginx", "-p", folder, "-e", folder + "/error.log", "-c", folder + "/conf"], folder, listen)
        except RuntimeError:
            self.auth.close()
            raise

    def close(self):
        super().close()
        self.auth.close()


class Haproxy(Peer):
    """TCP passed on; with a certificate it ends implicit TLS (it knows no STARTTLS)."""

    def __init__(self, parent, listen, backend, pair=None):
        folder = parent + ("/haproxy" if pair is None else "/haproxy-tls")
        os.makedirs(folder)
        tls = ""
        if pair is not None:
            with open(folder + "/both.pem", "w", encoding="ascii") as f:
                for end in (".pem", ".key"):
                    with open(pair + end, encoding="ascii") as part:
                        f.write(part.read())
            tls = " ssl crt %s/both.pem" % folder
        with open(folder + "/conf", "w", encoding="utf-8") as f:
            f.write(HAPROXY.format(listen="%s:%d" % listen, tls=tls, backend="%s:%d" % backend))
        super().__init__(["haproxy", "-db", "-f", folder + "/conf"], folder, listen)
