#!/usr/bin/env python3
"""docs/cryptography.md is the inventory of what the sources use: algorithms, libraries and who may include them, labels of derived keys, TLS.

    crypto_test.py SOURCE_ROOT
"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap

ROOT = os.path.abspath(sys.argv[1])
# Headers of everything that does cryptography: a new library of that kind belongs into this list and onto the page
LIBRARY = re.compile(r'#\s*include\s*[<"]((?:openssl/|gnutls/|argon2\.h|libgfshare\.h|p11-kit/|curl/|liboath/|fido|sodium|nettle/|gcrypt|mbedtls/|wolfssl/|crypt\.h|tss2/|libcryptsetup)[^>"]*)')


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


NOISE = ("src/lib/store/store_erase.c",)  # seeds what erased blocks are overwritten with: it needn't be secret

PAGE = read("docs/cryptography.md")
SOURCES = {}
for at, _, names in os.walk(os.path.join(ROOT, "src")):
    for n in names:
        if n.endswith((".c", ".h", ".def")):
            path = os.path.relpath(os.path.join(at, n), ROOT)
            SOURCES[path] = read(path)
ALL = "\n".join(SOURCES.values())


def table(heading):
    part = PAGE.split("## " + heading + "\n", 1)[1].split("\n## ", 1)[0]
    return [[c.strip() for c in line.strip().strip("|").split("|")] for line in part.splitlines() if line.startswith("| `") or re.match(r"\| [A-Za-z]+.*\| `", line)]


def used():
    """What the sources ask the libraries for, by name."""
    found = set()
    for text in SOURCES.values():
        if "openssl/" in text or "crypt_internal.h" in text:
            found.update(re.findall(r'EVP_\w+_fetch\([^,]+, "([^"]+)"', text))
            found.update(n for n in re.findall(r'"(SHA\d+|MD5|ED25519|ED448|X25519|X448|P-\d+|secp\w+|ML-\w+|DES\S*|RC4|SM\d)"', text))
            found.update(re.findall(r"\bEVP_(?:aes|des|rc4|camellia|aria|sm4|bf)\w*", text))
        found.update(re.findall(r"\bCKM_RSA_\w+|\bCKM_EC\w+|\bCKM_AES\w+", text))
        found.update("Argon2_" + kind for kind in re.findall(r"\bArgon2_(id|i|d)\b", text))
        found.update("gfshare" for _ in re.findall(r"\bgfshare_ctx_init", text))
    return found


with tap.case("every algorithm of the sources stands on the page, and no other") as bad:
    listed = {row[0].strip("`") for row in table("Algorithms")}
    found = used()
    bad += ["not on the page: " + a for a in sorted(found - listed)] + ["not in the sources: " + a for a in sorted(listed - found)]
    if len(found) < 12:
        bad.append("the search finds only %s" % sorted(found))

with tap.case("every cryptographic library stands on the page with the rooms that include it") as bad:
    rooms = {}
    for path, text in SOURCES.items():
        for header in LIBRARY.findall(text):
            name = "fido" if header.startswith("fido") else header.split("/")[0] + "/" if "/" in header else header  # <fido.h> and <fido/...>
            rooms.setdefault(name, set()).add(os.path.dirname(path))
    listed = {row[1].strip("`"): set(re.findall(r"`([^`]+)`", row[2])) for row in table("Libraries")}
    for name in sorted(set(rooms) | set(listed)):
        if rooms.get(name) != listed.get(name):
            bad.append("%s: included by %s, the page says %s" % (name, sorted(rooms.get(name, ())), sorted(listed.get(name, ()))))

with tap.case("every label of a derived key stands on the page, and no other") as bad:
    there = set(re.findall(r'"(sequester [a-z ]+ v\d+)"', ALL))
    listed = set(re.findall(r'`"(sequester [a-z ]+ v\d+)"`', PAGE))
    bad += ["not on the page: " + x for x in sorted(there - listed)] + ["not in the sources: " + x for x in sorted(listed - there)]

with tap.case("what TLS offers is what the page says") as bad:
    text = "".join(re.findall(r'"([^"]*)"', re.search(r"priorities\[\] =(.*?);", SOURCES["src/lib/http/http_server.c"], re.S).group(1)))
    if "`%s`" % text not in PAGE:
        bad.append("the sources say " + text)

with tap.case("random numbers come from one place") as bad:
    for path, text in SOURCES.items():
        if re.search(r"\b(?:rand|random|rand_r|drand48|lrand48|srand|srandom)\(", text):
            bad.append(path + " calls a generator that can be guessed")
        if re.search(r"\bRAND_\w*bytes|\bgetrandom\(|\bgetentropy\(|arc4random|/dev/u?random\"", text) and not path.startswith("src/lib/crypt/") and path not in NOISE:
            bad.append(path + " draws random numbers by itself")

tap.done()
