"""Second reader (and writer) of sealed objects, made from docs/formats/sealed-object.md alone. Slow and obvious.

As a program: vault.py open KEY_HEX ID_HEX FILE > plaintext
"""
import hashlib
import os
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

S = 65536
PART_PLAIN = 16 << 20
PART_SEALED = 16781368
CLOSING = 136
CLOSING_NO = 0xFFFFFFFF


class Refused(Exception):
    """the object is not what was closed"""


def derive(key, salt, aad, algorithm=hashes.SHA256, n=32):
    return HKDF(algorithm=algorithm(), length=n, salt=salt, info=aad).derive(key)


def stream_open(key, aad, stream, segment=S, algorithm=hashes.SHA256, n_derived=32):
    """any Tink AES-GCM-HKDF stream"""
    n_header = 1 + n_derived + 7
    if len(stream) < n_header + 16 or stream[0] != n_header:
        raise Refused("header")
    salt, prefix = stream[1:1 + n_derived], stream[1 + n_derived:n_header]
    cipher = AESGCM(derive(key, salt, aad, algorithm, n_derived))
    cuts = list(range(segment, len(stream), segment))
    pieces = [stream[a:b] for a, b in zip([n_header, *cuts], [*cuts, len(stream)])]
    plain = b""
    for i, piece in enumerate(pieces):
        nonce = prefix + struct.pack(">IB", i, i == len(pieces) - 1)
        try:
            plain += cipher.decrypt(nonce, piece, b"")
        except InvalidTag:
            raise Refused(f"tag of segment {i}") from None
    return plain


def stream_seal(key, aad, plain, salt=None, prefix=None):
    salt, prefix = salt or os.urandom(32), prefix or os.urandom(7)
    cipher = AESGCM(derive(key, salt, aad))
    pieces = [plain[:S - 56]]
    pieces += [plain[at:at + S - 16] for at in range(S - 56, len(plain), S - 16)]
    out = b"\x28" + salt + prefix
    for i, piece in enumerate(pieces):
        out += cipher.encrypt(prefix + struct.pack(">IB", i, i == len(pieces) - 1), piece, b"")
    return out


def object_seal(key, object_id, plain, salt_of=lambda n: None, prefix_of=lambda n: None):
    parts = [plain[at:at + PART_PLAIN] for at in range(0, len(plain), PART_PLAIN)]

    def part(number, data):
        return stream_seal(key, object_id + struct.pack(">I", number), data, salt_of(number), prefix_of(number))

    out = b"".join(part(i, data) for i, data in enumerate(parts))
    trailer = (b"SQO1" + struct.pack(">IQQII", len(parts), len(plain), len(out) + CLOSING, PART_PLAIN, S) + object_id
               + hashlib.sha256(plain).digest())
    return out + part(CLOSING_NO, trailer)


def object_open(key, object_id, sealed):
    if len(sealed) < CLOSING:
        raise Refused("truncated")
    trailer = stream_open(key, object_id + struct.pack(">I", CLOSING_NO), sealed[-CLOSING:])
    magic, n, plain_len, sealed_len, part_plain, segment, named, digest = struct.unpack(">4sIQQII16s32s", trailer)
    if (magic, sealed_len, part_plain, segment, named) != (b"SQO1", len(sealed), PART_PLAIN, S, object_id):
        raise Refused("trailer")
    body = sealed[:-CLOSING]
    parts = [body[at:at + PART_SEALED] for at in range(0, len(body), PART_SEALED)]
    if len(parts) != n:
        raise Refused("number of parts")
    plain = b"".join(stream_open(key, object_id + struct.pack(">I", i), p) for i, p in enumerate(parts))
    if len(plain) != plain_len or hashlib.sha256(plain).digest() != digest:
        raise Refused("length or digest")
    return plain


if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[1] != "open":
        sys.exit(__doc__)
    with open(sys.argv[4], "rb") as f:
        sys.stdout.buffer.write(object_open(bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3]), f.read()))
