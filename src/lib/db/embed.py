#!/usr/bin/env python3
"""embed.py IN OUT: a text file as a C string constant `sq_db_schema_sql`, for schema.sql."""
import sys

with open(sys.argv[1], encoding="ascii") as f:
    lines = [x.split("--")[0].rstrip() for x in f.read().splitlines()]
data = "\n".join(x for x in lines if x).encode("ascii") + b"\n\0"
with open(sys.argv[2], "w", encoding="ascii") as f: # numbers: a standard compiler may refuse long string literals
    f.write("/* made from schema.sql */\nstatic const char sq_db_schema_sql[] = {\n")
    for i in range(0, len(data), 24):
        f.write("    " + ", ".join(str(b) for b in data[i : i + 24]) + ",\n")
    f.write("};\n")
