"""An authenticator in software, and the browser's half of WebAuthn (level 2, sections 5.8.1 and 6): what a passkey answers to what the hub asks, and what one
that lies answers.

    key = passkey.Key()                                   # ES256; kind="EdDSA" or "RS256"
    made = key.create(options, "https://localhost:1234")  # PublicKeyCredential.toJSON() of create()
    said = key.get(options, "https://localhost:1234")     # ... of get()
"""
import base64
import hashlib
import json
import os
import struct

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

UP, UV, AT = 1, 4, 64
ALGORITHM = {"ES256": -7, "EdDSA": -8, "RS256": -257}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def cbor(v):
    """Integers, bytes and maps: all that a COSE key has."""
    def head(major, n):
        return bytes([major << 5 | n]) if n < 24 else bytes([major << 5 | 24, n]) if n < 256 else bytes([major << 5 | 25]) + struct.pack(">H", n)
    if isinstance(v, int):
        return head(0, v) if v >= 0 else head(1, -1 - v)
    if isinstance(v, bytes):
        return head(2, len(v)) + v
    return head(5, len(v)) + b"".join(cbor(k) + cbor(x) for k, x in v.items())


class Key:
    def __init__(self, kind="ES256", n_id=32, counts=True):
        self.kind, self.id, self.counter, self.counts, self.user = kind, os.urandom(n_id), 0, counts, None
        self.key = (ec.generate_private_key(ec.SECP256R1()) if kind == "ES256" else ed25519.Ed25519PrivateKey.generate() if kind == "EdDSA"
                    else rsa.generate_private_key(public_exponent=65537, key_size=2048))

    def cose(self):
        public = self.key.public_key()
        if self.kind == "ES256":
            n = public.public_numbers()
            return cbor({1: 2, 3: -7, -1: 1, -2: n.x.to_bytes(32, "big"), -3: n.y.to_bytes(32, "big")})
        if self.kind == "EdDSA":
            return cbor({1: 1, 3: -8, -1: 6, -2: public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)})
        return cbor({1: 3, 3: -257, -1: public.public_numbers().n.to_bytes(256, "big"), -2: b"\x01\x00\x01"})

    def sign(self, data):
        if self.kind == "ES256":
            return self.key.sign(data, ec.ECDSA(hashes.SHA256()))
        return self.key.sign(data) if self.kind == "EdDSA" else self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def client_data(self, kind, options, origin, more):
        return json.dumps(dict({"type": "webauthn." + kind, "challenge": options["challenge"], "origin": origin, "crossOrigin": False}, **more)).encode()

    def auth_data(self, rp_id, flags):
        self.counter += self.counts
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + struct.pack(">I", self.counter)

    def answer(self, response):
        return {"id": b64(self.id), "rawId": b64(self.id), "type": "public-key", "authenticatorAttachment": "platform", "clientExtensionResults": {}, "response": response}

    def create(self, options, origin, flags=UP | UV | AT, rp_id=None, client=None):
        """client: fields of the client's data that are to be otherwise."""
        assert {"type": "public-key", "alg": ALGORITHM[self.kind]} in options["pubKeyCredParams"] and options["attestation"] == "none", options
        self.user = unb64(options["user"]["id"])
        data = self.auth_data(rp_id or options["rp"]["id"], flags) + bytes(16) + struct.pack(">H", len(self.id)) + self.id + self.cose()
        return self.answer({"clientDataJSON": b64(self.client_data("create", options, origin, client or {})), "authenticatorData": b64(data), "transports": ["internal"],
                            "publicKeyAlgorithm": ALGORITHM[self.kind], "attestationObject": b64(b"\xa3")})

    def get(self, options, origin, flags=UP | UV, rp_id=None, client=None, user=None):
        data, said = self.auth_data(rp_id or options["rpId"], flags), self.client_data("get", options, origin, client or {})
        return self.answer({"clientDataJSON": b64(said), "authenticatorData": b64(data), "signature": b64(self.sign(data + hashlib.sha256(said).digest())),
                            "userHandle": b64(self.user if user is None else user)})
