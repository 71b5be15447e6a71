#!/usr/bin/env python3
"""An independent reader of Crypt4GH files, from the GA4GH File Encryption Standard alone.

    crypt4gh.py SECRET_KEY_HEX < sealed > plain
"""
import hashlib
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SEGMENT = 65536


def public_of(secret):
    return secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def open_bytes(sealed, secret_bytes):
    secret = X25519PrivateKey.from_private_bytes(secret_bytes)
    magic, version, n_packet = struct.unpack("<8sII", sealed[:16])
    if magic != b"crypt4gh" or version != 1:
        raise ValueError("not Crypt4GH 1")
    at, data_key = 16, None
    for _ in range(n_packet):
        length, method = struct.unpack("<II", sealed[at:at + 8])
        if method != 0:
            raise ValueError("another header method")
        writer, nonce, box = sealed[at + 8:at + 40], sealed[at + 40:at + 52], sealed[at + 52:at + length]
        shared = secret.exchange(X25519PublicKey.from_public_bytes(writer))
        key = hashlib.blake2b(shared + public_of(secret) + writer, digest_size=64).digest()[:32]
        packet = ChaCha20Poly1305(key).decrypt(nonce, box, None)
        kind, data_method = struct.unpack("<II", packet[:8])
        if (kind, data_method) == (0, 0):
            data_key = packet[8:40]
        at += length
    plain, cipher = b"", ChaCha20Poly1305(data_key)
    while at < len(sealed):
        segment = sealed[at:at + SEGMENT + 28]
        plain += cipher.decrypt(segment[:12], segment[12:], None)
        at += len(segment)
    return plain


if __name__ == "__main__":
    sys.stdout.buffer.write(open_bytes(sys.stdin.buffer.read(), bytes.fromhex(sys.argv[1])))
