#!/usr/bin/env python3
"""builtin.py IN OUT: a file as C bytes `openapi_json` and its strong ETag `openapi_etag`, the SHA-256 of it, as every other ETag here."""
import hashlib
import sys

with open(sys.argv[1], "rb") as f:
    data = f.read()
with open(sys.argv[2], "w", encoding="ascii") as f:  # numbers: a standard compiler may refuse long string literals
    f.write("/* made from docs/openapi.json */\nstatic const char openapi_etag[] = \"\\\"%s\\\"\";\nstatic const unsigned char openapi_json[] = {\n"
            % hashlib.sha256(data).hexdigest())
    for i in range(0, len(data), 32):
        f.write(",".join(str(b) for b in data[i:i + 32]) + ",\n")
    f.write("};\n")
