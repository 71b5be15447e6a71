#!/usr/bin/env python3
"""An independent reader of the key slab, from docs/formats/key-slab.md alone.

    slab.py SLAB KEY_HEX OBJECT_HEX PART_NO SALT_HEX    prints the derived key of that part
    slab.py SLAB KEY_HEX                                lists the slots

KEY_HEX is the key file's content; with a passphrase slab `pass:THE PASSPHRASE`; with a slab locked by shares
`shares:FILE`, a file with enough of them.
"""
import ctypes
import hashlib
import hmac
import struct
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

BLOCK, SLOT = 4096, 256
OWNER, OBJECT = 1, 2


def hkdf(key, salt, info):
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(key)


def open_box(key, aad, box):
    return AESGCM(key).decrypt(box[:12], box[12:], aad)


def argon2id(password, salt, memory, passes):
    """RFC 9106 by the system's libargon2: Debian's python3-cryptography has none yet."""
    out = ctypes.create_string_buffer(32)
    hash_raw = ctypes.CDLL("libargon2.so.1").argon2id_hash_raw
    hash_raw.argtypes = [ctypes.c_uint32] * 3 + [ctypes.c_char_p, ctypes.c_size_t] * 2 + [ctypes.c_void_p, ctypes.c_size_t]
    code = hash_raw(passes, memory, 1, password, len(password), salt, len(salt), out, 32)
    if code:
        raise ValueError("argon2id: %d" % code)
    return out.raw


def read_header(block):
    if block[:16] != b"sequester-slab\n\0" or hashlib.sha256(block[:4064]).digest() != block[4064:4096]:
        return None
    version, slot_bytes = struct.unpack(">II", block[16:24])
    if version != 1 or slot_bytes != SLOT or any(block[776:4032]):
        return None
    return {
        "bytes": block, "id": block[24:40], "root_no": struct.unpack(">I", block[48:52])[0],
        "backend": struct.unpack(">I", block[52:56])[0], "kdf": struct.unpack(">II", block[56:64]), "salt": block[64:80],
        "shares": (block[80], block[81]), "root": block[600:660], "next_root": block[660:720],
        "sequence": struct.unpack(">Q", block[720:728])[0], "tree_size": struct.unpack(">Q", block[736:744])[0],
        "mac": block[4032:4064],
    }


GF_EXP = [1]
while len(GF_EXP) < 255:  # x^8 + x^4 + x^3 + x^2 + 1, generator 2
    GF_EXP.append((GF_EXP[-1] << 1) ^ (0x11D if GF_EXP[-1] & 0x80 else 0))
GF_LOG = {v: i for i, v in enumerate(GF_EXP)}


def gf_mul(a, b):
    return GF_EXP[(GF_LOG[a] + GF_LOG[b]) % 255] if a and b else 0


def join_shares(lines):
    """The KEK of enough share lines: Lagrange's interpolation at 0 over GF(2^8)."""
    points = []
    for line in lines:
        raw = bytes.fromhex(line.strip().removeprefix("sqs1-"))
        assert hashlib.sha256(raw[:50]).digest()[:4] == raw[50:]
        points.append((raw[17], raw[18:50]))
    secret = bytearray(32)
    for x, y in points:
        weight = 1
        for other, _ in points:
            if other != x:
                weight = gf_mul(weight, gf_mul(other, GF_EXP[(255 - GF_LOG[other ^ x]) % 255]))
        secret = bytearray(s ^ gf_mul(weight, b) for s, b in zip(secret, y))
    return bytes(secret)


class Slab:
    def __init__(self, data, kek):
        copies = [h for h in (read_header(data[:BLOCK]), read_header(data[BLOCK:2 * BLOCK])) if h]
        if not copies:
            raise ValueError("no whole header")
        self.header = max(copies, key=lambda h: h["sequence"])
        if isinstance(kek, str):
            kek = argon2id(kek.encode(), self.header["salt"], *self.header["kdf"])
        self.root = open_box(kek, self.header["bytes"][:600], self.header["root"])
        self.next_root = None
        if any(self.header["next_root"]):  # a rotation is under way: some slots are wrapped by the next one already
            aad = b"sequester next root v1" + self.header["bytes"][:52]
            self.next_root = open_box(hkdf(self.root, None, b"sequester wrap v1"), aad, self.header["next_root"])
        mac_key = hkdf(self.root, None, b"sequester slab header v1")
        if hmac.new(mac_key, self.header["bytes"][:4032], hashlib.sha256).digest() != self.header["mac"]:
            raise ValueError("the header was changed")
        self.slots = {}
        self.n_damaged = 0
        for at in range(2 * BLOCK, len(data) - SLOT + 1, SLOT):
            slot = data[at:at + SLOT]
            if not any(slot):
                continue
            if hashlib.sha256(slot[:224]).digest() != slot[224:]:
                self.n_damaged += 1
                continue
            kind = slot[0] if slot[0] != 6 else "tombstone"
            self.slots[kind, slot[16:32]] = slot

    def unwrap(self, parent, slot):
        aad = b"sequester slot v1" + self.header["id"] + slot[:72]
        return open_box(hkdf(parent, None, b"sequester wrap v1"), aad, slot[72:132])

    def object_key(self, object_id):
        slot = self.slots[OBJECT, object_id]
        return self.unwrap(self.owner_key(slot[32:48], slot[5]), slot)

    def owner_key(self, owner_id, number=None):
        """The present key, or the one of this number."""
        slot = self.slots[OWNER, owner_id]
        if number is not None and number != slot[5]:
            slot = self.slots[OWNER, hashlib.sha256(b"sequester former key v1" + self.header["id"] + bytes([OWNER]) + owner_id + bytes([number])).digest()[:16]]
        is_moved = struct.unpack(">I", slot[12:16])[0] == self.header["root_no"] + 1
        return self.unwrap(self.next_root if is_moved else self.root, slot)

    def part_key(self, object_id, part_no, salt):
        return hkdf(self.object_key(object_id), salt, object_id + struct.pack(">I", part_no))


def main():
    with open(sys.argv[1], "rb") as f:
        data = f.read()
    key = sys.argv[2]
    if key.startswith("shares:"):
        with open(key[7:]) as f:
            kek = join_shares(f.read().split())
    else:
        kek = key[5:] if key.startswith("pass:") else bytes.fromhex(key)
    slab = Slab(data, kek)
    if len(sys.argv) > 3:
        object_id, part_no, salt = bytes.fromhex(sys.argv[3]), int(sys.argv[4]), bytes.fromhex(sys.argv[5])
        print(slab.part_key(object_id, part_no, salt).hex())
        return
    for (kind, slot_id), slot in slab.slots.items():
        print(kind, slot_id.hex(), "owner", slot[32:48].hex(), "not_after", struct.unpack(">Q", slot[48:56])[0])


if __name__ == "__main__":
    main()
