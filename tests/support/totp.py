"""Codes of an authenticator, RFC 6238 (SHA-1 or SHA-256, 30 s, 6 digits), by themselves: the tests' judge of the service's."""
import base64
import hmac
import struct

STEP_S = 30


def code(secret, unix_s, digits=6, digest=None):
    """secret: base32, as the service shows it. For the time unix_s. Its hash: of 32 bytes SHA-256, else SHA-1."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    mac = hmac.new(key, struct.pack(">Q", int(unix_s) // STEP_S), digest or ("sha256" if len(key) == 32 else "sha1")).digest()
    at = mac[-1] & 15
    return "%0*d" % (digits, (struct.unpack(">I", mac[at:at + 4])[0] & 0x7fffffff) % 10 ** digits)
