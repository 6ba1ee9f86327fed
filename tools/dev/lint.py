#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026, the Mailrace authors
"""House rules that a machine can check: lint.py RULE [ROOT]. Rules: includes, circles, budgets, banned, heads, format,
commits, self-test. Prints one line a finding and exits 1 when there is any."""

import os
import re
import subprocess
import sys
import tempfile

# Layers in order: a folder may include itself and what stands in its set. Tests may include all.
EDGES = {
    "common": set(),
    "config": {"common"},
    "tls": {"common", "config"},
    "dataplane/port": {"common", "config"},
    "dataplane/net": {"common", "dataplane/port"},
    "dataplane/tcp": {"common", "dataplane/port", "dataplane/net"},
    "dataplane/smtp": {"common"},
    "dataplane/lb": {"common"},
    "dataplane/tarpit": {"common", "dataplane/smtp"},
    "dataplane/proxy": {"common", "tls", "dataplane/net", "dataplane/tcp", "dataplane/smtp", "dataplane/tarpit", "dataplane/lb"},
    # looks on at all layers, and none of them knows of it
    "dataplane/watch": {"common", "dataplane/port", "dataplane/net", "dataplane/tcp", "dataplane/proxy"},
    "dataplane/ctl": {"common", "config", "tls", "dataplane", "dataplane/port", "dataplane/net", "dataplane/tcp",
                      "dataplane/proxy", "dataplane/lb"},
    "dataplane": {"common", "config", "tls", "dataplane/port", "dataplane/net", "dataplane/tcp", "dataplane/smtp",
                  "dataplane/lb", "dataplane/proxy", "dataplane/watch", "dataplane/ctl"},
    "controlplane": {"common", "config"},
    "tools": {"common", "config"},
    # the generator is a peer on the wire with the product's own stack, and judges the relay: never proxy or smtp
    "tools/bench": {"common", "dataplane/port", "dataplane/net", "dataplane/tcp"},
}
# System headers that only some places may use: pattern -> allowed path prefixes.
SYSTEM = [
    (r"rte_(eal|ethdev|ethdev_.*|bus.*|dev|launch|lcore|cycles)\.h", ["dataplane/port/", "dataplane/lcore.c", "dataplane/main.c", "tests/",
                                                                      "tools/bench/port.c"]),
    (r"rte_ring_elem\.h", ["dataplane/port/", "dataplane/turn.c", "dataplane/worker.c", "dataplane/main.c",
                           "dataplane/ctl/", "tests/"]),
    (r"rte_.*", ["dataplane/port/", "dataplane/net/", "dataplane/tcp/", "dataplane/ctl/", "dataplane/turn.c", "dataplane/worker.c",
                 "dataplane/main.c", "tests/", "tools/bench/"]),
    (r"mbedtls/.*", ["tls/", "tests/", "config/certs_pem.c"]),
    (r"libconfig\.h", ["config/cfg_read.h"]),
    (r"sys/(socket|un)\.h|netinet/.*", ["controlplane/", "tools/", "dataplane/ctl/", "common/abi/attach.c", "common/unix_listen.c", "common/user.c",
                                           "tests/"]),
]
PURE = ("dataplane/net/", "dataplane/tcp/", "dataplane/smtp/", "dataplane/lb/", "dataplane/proxy/", "dataplane/watch/",
        "dataplane/commands.c", "dataplane/turn.c")
BANNED = [
    (r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|alloca|strncpy)\s*\(", ""),
    (r"#\s*if\s+0\b", ""),
    (r"\bTODO\b(?!.*#\d)", ""),
]
BANNED_PURE = [
    (r"\b__thread\b|\b_Thread_local\b", "thread-local state"),
    (r"\brte_lcore_id\s*\(|\brte_rdtsc\w*\s*\(|\brte_get_\w*cycles\s*\(", "lcore or cycle counter"),
    (r"\b(time|gettimeofday|clock_gettime|getrandom|rand|random)\s*\(", "clock or random numbers not passed in"),
    (r"\b(printf|fprintf|puts|LOG)\s*\(", "output"),
    (r"\b(sleep|usleep|open|read|write|ioctl)\s*\(", "system call"),
]
# Memory is taken in these functions only, at start.
ALLOC = re.compile(r"\b(malloc|calloc|realloc|free|strdup|aligned_alloc)\s*\(")
ALLOC_OK = re.compile(r"_(new|free|init|fini|release)$")
MAX_FUNCTION, MAX_C, MAX_H, MAX_PARAMS, MAX_NESTING = 70, 500, 250, 6, 4
# path:function or path -> reason
ALLOW = {
    "tools/exporter.c:answer": "the signature is libmicrohttpd's",
    "controlplane/api.c:answer": "the signature is libmicrohttpd's",
    "tls/hs.c:on_secret": "the signature is mbedTLS's",
    "tls/pk_hooks.c:psa_raw_key_agreement": "the signature is PSA's",
    "tls/hash_hooks.c:psa_mac_compute": "the signature is PSA's",
    "tls/long_hooks.c:mbedtls_pk_verify_restartable": "the signature is mbedTLS's",
    "tls/long_hooks.c:mbedtls_pk_verify_ext": "the signature is mbedTLS's",
    "tls/sign_hooks.c:mbedtls_pk_sign": "the signature is mbedTLS's",
    "tls/sign_hooks.c:mbedtls_pk_sign_ext": "the signature is mbedTLS's",
}
HEAD = ("// SPDX-License-Identifier: BSD-3-Clause", "// Copyright (c) 2026, the Mailrace authors")


def sources(root, exts=(".c", ".h", ".def")):
    for base, dirs, files in os.walk(root):
        dirs[:] = sorted(d for d in dirs if d not in (".git", "build") and not d.startswith("build"))
        for name in sorted(files):
            if name.endswith(exts):
                path = os.path.relpath(os.path.join(base, name), root)
                yield path, open(os.path.join(base, name), encoding="utf-8").read()


def folder(path):
    parts = path.split("/")
    if (parts[0] == "dataplane" or path.startswith("tools/bench/")) and len(parts) > 2:
        return "/".join(parts[:2])
    return parts[0]


def strip(text):
    """Blanks comments and literals, keeps the lines."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def functions(text):
    """(name, first line, lines, parameters, deepest nesting) of each definition: a name and '(' at column 0's declaration
    with the body's brace alone in column 0."""
    clean = strip(text)
    lines = clean.split("\n")
    for i, line in enumerate(lines):
        if line != "{":
            continue
        end = next((k for k in range(i, len(lines)) if lines[k].startswith("}")), None)
        start = i - 1
        while start > 0 and lines[start - 1].strip() and not lines[start - 1].rstrip().endswith((";", "}")) \
                and not lines[start - 1].startswith("#"):
            start -= 1
        sig = " ".join(lines[start:i])
        m = re.search(r"(\w+)\s*\((.*)\)\s*$", sig)
        if end is None or not m or sig.startswith(("struct", "enum", "static const")) and "(" not in sig:
            continue
        depth = deepest = 0
        for c in "\n".join(lines[i:end + 1]):
            depth += {"{": 1, "}": -1}.get(c, 0)
            deepest = max(deepest, depth)
        args = m.group(2).strip()
        nested = flat = 0
        for c in args:
            nested += {"(": 1, ")": -1}.get(c, 0)
            flat += c == "," and nested == 0
        yield m.group(1), start + 1, end - start + 1, 0 if args in ("", "void") else flat + 1, deepest - 1


def check_includes(root):
    for path, text in sources(root):
        where = folder(path)
        for m in re.finditer(r'^#include\s+(["<])([^">]+)[">]', text, flags=re.M):
            line = text[:m.start()].count("\n") + 1
            if m.group(1) == "<":
                for pattern, allowed in SYSTEM:
                    if re.fullmatch(pattern, m.group(2)):
                        if not path.startswith(tuple(allowed)):
                            yield f"{path}:{line}: <{m.group(2)}> is not for this place"
                        break
                continue
            target = folder(m.group(2))
            if "/" not in m.group(2):
                yield f"{path}:{line}: include paths start at the root: {m.group(2)}"
            elif where in EDGES and target != where and target not in EDGES[where]:
                yield f"{path}:{line}: {where} may not include {target}"
            elif m.group(2).endswith("_types.h") and target != where and where != "tests":
                yield f"{path}:{line}: {m.group(2)} is private to its folder"


def check_circles(root):
    graph = {p: [t for t in re.findall(r'^#include\s+"([^"]+)"', text, flags=re.M)] for p, text in sources(root)}
    done = set()
    for start in graph:
        stack = [(start, iter(graph[start]))]
        on = [start]
        while stack and start not in done:
            node, it = stack[-1]
            nxt = next((t for t in it if t in graph and t not in done), None)
            if nxt is None:
                done.add(node)
                stack.pop()
                on.pop()
            elif nxt in on:
                yield "include circle: " + " -> ".join(on[on.index(nxt):] + [nxt])
            else:
                stack.append((nxt, iter(graph[nxt])))
                on.append(nxt)


def check_budgets(root):
    for path, text in sources(root, (".c", ".h")):
        count = text.count("\n")
        limit = MAX_H if path.endswith(".h") else MAX_C
        if count > limit and path not in ALLOW:
            yield f"{path}: {count} lines, at most {limit}"
        for name, line, length, params, nesting in functions(text):
            if f"{path}:{name}" in ALLOW:
                continue
            if length > MAX_FUNCTION:
                yield f"{path}:{line}: {name}: {length} lines, at most {MAX_FUNCTION}"
            if params > MAX_PARAMS:
                yield f"{path}:{line}: {name}: {params} parameters, at most {MAX_PARAMS}"
            if nesting > MAX_NESTING:
                yield f"{path}:{line}: {name}: nesting {nesting}, at most {MAX_NESTING}"


def check_banned(root):
    for path, text in sources(root, (".c", ".h")):
        clean = strip(text)
        rules = list(BANNED)
        if path.startswith(PURE):
            rules += BANNED_PURE
        for pattern, why in rules:
            source = text if "TODO" in pattern else clean
            for m in re.finditer(pattern, source):
                yield f"{path}:{source[:m.start()].count(chr(10)) + 1}: {m.group(0).strip()}: {why or 'banned'}"
        if path.startswith(PURE):
            lines = clean.split("\n")
            for name, first, length, _, _ in functions(text):
                body = "\n".join(lines[first:first + length])
                if not ALLOC_OK.search(name) and ALLOC.search(body):
                    yield f"{path}:{first}: {name}: memory is taken at start only (_new, _init, _free ...)"


def check_heads(root):
    for path, text in sources(root):
        if tuple(text.split("\n")[:2]) != HEAD:
            yield f"{path}:1: the two lines of licence and copyright are missing"
        elif path.endswith(".h") and "#pragma once" not in text:
            yield f"{path}: no #pragma once"
        elif path.endswith((".c", ".h")) and not re.match(r"(//.*\n){2}\n// \S", text):
            yield f"{path}:4: no paragraph that says what the file does"


def check_format(root):
    files = [p for p, _ in sources(root, (".c", ".h"))]
    run = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=root, capture_output=True, text=True)
    for m in re.finditer(r"^(\S+:\d+):\d+: error", run.stderr, flags=re.M):
        yield f"{m.group(1)}: not formatted (clang-format -i)"


def check_commits(root):
    git = ["git", "-c", f"safe.directory={os.path.abspath(root)}", "-C", root]
    run = subprocess.run([*git, "log", "--format=%h%x00%s%x00%b%x01"], capture_output=True, text=True)
    if run.returncode != 0:
        return  # an export without history
    for entry in run.stdout.split("\x01"):
        if not entry.strip():
            continue
        short, subject, body = entry.strip("\n").split("\x00")
        if len(subject) > 60 or not re.match(r"[a-z0-9/_, -]+: [a-z0-9]", subject):
            yield f"{short}: subject: 'area: imperative lower case', at most 60 characters: {subject}"
        if not body.strip():
            yield f"{short}: the body says why"


RULES = {"includes": check_includes, "circles": check_circles, "budgets": check_budgets, "banned": check_banned,
         "heads": check_heads, "format": check_format, "commits": check_commits}


def self_test():
    """Plants one fault a rule and expects each rule to find its own."""
    head = "\n".join(HEAD) + "\n\n// Paragraph.\n\n"
    faults = {
        "includes": {"dataplane/smtp/a.c": head + '#include "dataplane/tcp/tcp.h"\n',
                     "tools/bench/a.c": head + '#include "dataplane/proxy/relay.h"\n',
                     "config/b.c": head + "#include <rte_mbuf.h>\n"},
        "circles": {"common/a.h": head + '#pragma once\n#include "common/b.h"\n', "common/b.h": head + '#pragma once\n#include "common/a.h"\n'},
        "budgets": {"common/a.c": head + "int f(void)\n{\n" + "\t;\n" * 70 + "}\n",
                    "common/b.c": head + "int g(int a, int b, int c, int d, int e, int f, int g)\n{\n}\n"},
        "banned": {"common/a.c": head + "void f(void)\n{\n\tstrcpy(a, b);\n}\n", "dataplane/tcp/a.c": head + "void g(void)\n{\n\tmalloc(1);\n}\n"},
        "heads": {"common/a.c": "int x;\n"},
        "format": {"common/a.c": head + "int  f( void ){return 1;}\n"},
    }
    for rule, files in faults.items():
        with tempfile.TemporaryDirectory() as tmp:
            for path, text in files.items():
                os.makedirs(os.path.join(tmp, os.path.dirname(path)), exist_ok=True)
                open(os.path.join(tmp, path), "w", encoding="utf-8").write(text)
            found = list(RULES[rule](tmp))
            for path in files:
                if not any(path in f for f in found):
                    yield f"self-test: rule {rule} missed the fault in {path}"


def main():
    rule = sys.argv[1]
    root = sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(__file__), "../..")
    found = list(self_test() if rule == "self-test" else RULES[rule](root))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
