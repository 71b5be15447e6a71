#!/usr/bin/env python3
"""breached_table.py IN OUT: breached_passwords.txt as what src/lib/identity/breached.c searches: the first eight bytes of each SHA-1, in order."""
import hashlib
import sys

with open(sys.argv[1], "rb") as f:
    words = [line for line in f.read().split(b"\n") if line and not line.startswith(b"#")]
found = sorted({int.from_bytes(hashlib.sha1(w).digest()[:8], "big") for w in words})
with open(sys.argv[2], "w", encoding="ascii") as f:
    f.write("/* made from breached_passwords.txt by tools/breached_table.py */\nstatic const uint64_t built_in[] = {\n")
    for i in range(0, len(found), 5):
        f.write("    " + " ".join("0x%016xu," % x for x in found[i : i + 5]) + "\n")
    f.write("};\n")
