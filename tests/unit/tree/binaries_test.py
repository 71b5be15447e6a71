#!/usr/bin/env python3
"""A program links only what it needs: looks into the binaries that were built.

    binaries_test.py BUILD_ROOT
"""
import json
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap

BUILD = os.path.abspath(sys.argv[1])
DAEMONS = ["parent", "gateway", "registrar", "keeper", "storer", "runner", "jailer", "courier"]


def exe(name):
    if name == "worker":
        return os.path.join(BUILD, "src/worker/sequester-worker")
    return os.path.join(BUILD, "src/daemon/%s/sequester-%s" % (name, name))


def symbols(name, defined=True):
    args = ["nm", "--defined-only"] if defined else ["nm", "-u"]
    out = subprocess.run(args + [exe(name)], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1].split("@")[0] for line in out.splitlines() if line.strip()}


def needed(name):
    out = subprocess.run(["readelf", "-d", exe(name)], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[(lib[\w+-]+)\.so", out))


def wrong(name, pattern):
    return ["sequester-%s holds %s" % (name, s) for s in sorted(symbols(name)) if re.search(pattern, s)]


with tap.case("gateway holds sealing and no opening of objects, no SQL, no formats") as bad:
    own = symbols("gateway")
    if not any(s.startswith("sq_vault_seal") for s in own):
        bad.append("no sq_vault_seal*: is this the right file?")
    bad += wrong("gateway", r"^sq_vault_open|^sq_unzip|^sq_db_|^sq_store_|^sq_jwt|^bcf_|^hts_")

with tap.case("worker holds no keys: nothing of crypt, vault, http, db") as bad:
    bad += wrong("worker", r"^sq_(crypt|key|gcm|hkdf|vault|zip|http|db|store|jwt|audit)_|^EVP_|^sqlite3_|^MHD_|^gnutls_|^argon2")
    if "sq_engine_impute" not in symbols("worker"):
        bad.append("no engine: is this the right file?")

with tap.case("only registrar links SQLite, only gateway links TLS and HTTP") as bad:
    for name in DAEMONS:
        libs = needed(name)
        for lib, owner in (("libsqlite3", "registrar"), ("libmicrohttpd", "gateway"), ("libgnutls", "gateway"), ("libcurl-gnutls", "courier")):
            if (lib in libs) != (name == owner):
                bad.append("sequester-%s %s %s" % (name, "links" if lib in libs else "doesn't link", lib))

with tap.case("parent and jailer link no cryptography at all") as bad:
    for name in ("parent", "jailer"):
        bad += ["sequester-%s links %s" % (name, lib) for lib in needed(name) if lib.startswith(("libcrypto", "libssl", "libargon2"))]

with tap.case("genotype formats are read in the worker alone") as bad:
    for name in DAEMONS:
        bad += wrong(name, r"^(bcf|vcf|hts|bgzf|tbx)_|^sq_genotypes|^sq_panel_|^sq_engine_|^sq_gmap")
        bad += ["sequester-%s links %s" % (name, lib) for lib in needed(name) if lib.startswith("libhts")]

with tap.case("the worker is one file: it needs no library and no loader") as bad:
    out = subprocess.run(["readelf", "-ld", exe("worker")], check=True, capture_output=True, text=True).stdout
    if "(NEEDED)" in out or "program interpreter" in out:
        if "asan" in " ".join(symbols("worker", defined=False)):
            print("# a sanitizer build links dynamically")
        else:
            bad.append("sequester-worker is linked dynamically")

with tap.case("every program: PIE, RELRO, bind now, no executable stack") as bad:
    for name in DAEMONS + ["worker"]:
        out = subprocess.run(["readelf", "-Wlhd", exe(name)], check=True, capture_output=True, text=True).stdout
        for what, is_there in (("PIE", re.search(r"Type:\s+DYN", out)), ("RELRO", "GNU_RELRO" in out),
                               ("bind now", re.search(r"BIND_NOW|FLAGS_1.*NOW", out) or name == "worker"),
                               ("a stack without X", re.search(r"GNU_STACK.*RW\s", out))):
            if not is_there:
                bad.append("sequester-%s lacks %s" % (name, what))

PROGRAMS = DAEMONS + ["worker", "cli"]


def program(name):
    return os.path.join(BUILD, "src/cli/sequester") if name == "cli" else exe(name)


with tap.case("every file of src is compiled with what hardens it") as bad:
    flags = ["-fstack-protector-strong", "-fstack-clash-protection", "-fPIE|-fPIC", "-D_FORTIFY_SOURCE=3", "-ftrivial-auto-var-init=zero"]
    if os.uname().machine == "x86_64":
        flags.append("-fcf-protection=full")
    commands = [c for c in json.load(open(os.path.join(BUILD, "compile_commands.json"))) if "../src/" in c["file"]]
    for c in commands:
        missing = [f for f in flags if not any(one in c["command"] for one in f.split("|"))]
        if missing and not (missing == ["-D_FORTIFY_SOURCE=3"] and "-fsanitize" in c["command"]):
            bad.append("%s: without %s" % (c["file"], " ".join(missing)))
    if not commands:
        bad.append("no compile_commands.json of src")

with tap.case("every program: canaries, and a landing mark at the start of each function of ours") as bad:
    for name in PROGRAMS:
        names = subprocess.run(["nm", program(name)], check=True, capture_output=True, text=True).stdout
        if "__stack_chk_fail" not in names:
            bad.append("sequester-%s: no function checks a canary" % name)
        if os.uname().machine != "x86_64":
            continue
        code = subprocess.run(["objdump", "-d", "--no-show-raw-insn", program(name)], check=True, capture_output=True, text=True).stdout
        first = dict(re.findall(r"^[0-9a-f]+ <((?:sq_\w+|main))>:\n\s+[0-9a-f]+:\s+(\w+)", code, re.M))
        globals_ = set(re.findall(r" T ((?:sq_\w+|main))$", names, re.M))
        bad += ["sequester-%s: %s() begins with %s" % (name, f, first[f]) for f in sorted(globals_) if first.get(f, "endbr64") != "endbr64"]
        if "main" not in first:
            bad.append("sequester-%s: no main()?" % name)

# Its judgement of control flow is left out: it reads a note that the linker makes only if the C library's start files have it, too,
# and Debian 12's haven't (/bin/ls: "no, not found!"); the case above looks at the code. The worker is linked statically, which it takes
# for a library: the cases above look at it.
if shutil.which("hardening-check"):
    with tap.case("hardening-check finds nothing") as bad:
        for name in DAEMONS + ["cli"]:
            p = subprocess.run(["hardening-check", "--nocfprotection", program(name)], capture_output=True, text=True)
            if p.returncode:
                bad.append(p.stdout + p.stderr)
else:
    with tap.case("hardening-check finds nothing # SKIP hardening-check (package devscripts) isn't installed"):
        pass

tap.done()
