#!/usr/bin/env python3
"""A program links only what it needs: looks into the binaries that were built.

    binaries_test.py BUILD_ROOT
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap

BUILD = os.path.abspath(sys.argv[1])
DAEMONS = ["parent", "gateway", "registrar", "keeper", "storer", "runner", "jailer"]


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
    if not any(s.startswith("sq_impute") or s.startswith("sq_hmm") for s in symbols("worker")):
        bad.append("no engine: is this the right file?")

with tap.case("only registrar links SQLite, only gateway links TLS and HTTP") as bad:
    for name in DAEMONS:
        libs = needed(name)
        for lib, owner in (("libsqlite3", "registrar"), ("libmicrohttpd", "gateway"), ("libgnutls", "gateway")):
            if (lib in libs) != (name == owner):
                bad.append("sequester-%s %s %s" % (name, "links" if lib in libs else "doesn't link", lib))

with tap.case("parent and jailer link no cryptography at all") as bad:
    for name in ("parent", "jailer"):
        bad += ["sequester-%s links %s" % (name, lib) for lib in needed(name) if lib.startswith(("libcrypto", "libssl", "libargon2"))]

with tap.case("genotype formats are read in the worker alone") as bad:
    for name in DAEMONS:
        bad += wrong(name, r"^(bcf|vcf|hts|bgzf|tbx)_|^sq_genotypes|^sq_impute|^sq_hmm")
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

tap.done()
