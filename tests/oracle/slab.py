#!/usr/bin/env python3
"""An independent reader of the key slab, from docs/formats/key-slab.md alone.

    slab.py SLAB KEY_HEX OBJECT_HEX PART_NO SALT_HEX    prints the derived key of that part
    slab.py SLAB KEY_HEX                                lists the slots

KEY_HEX is the key file's content, or with a passphrase slab `pass:THE PASSPHRASE`.
"""
import hashlib
import hmac
import struct
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

BLOCK, SLOT = 4096, 256
OWNER, OBJECT = 1, 2


def hkdf(key, salt, info):
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(key)


def open_box(key, aad, box):
    return AESGCM(key).decrypt(box[:12], box[12:], aad)


def read_header(block):
    if block[:16] != b"sequester-slab\n\0" or hashlib.sha256(block[:224]).digest() != block[224:256]:
        return None
    version, slot_bytes = struct.unpack(">II", block[16:24])
    if version != 1 or slot_bytes != SLOT or any(block[256:]):
        return None
    return {
        "bytes": block, "id": block[24:40], "backend": struct.unpack(">I", block[40:44])[0],
        "kdf": struct.unpack(">II", block[44:52]), "salt": block[52:68], "root": block[76:136],
        "sequence": struct.unpack(">Q", block[136:144])[0], "tree_size": struct.unpack(">Q", block[152:160])[0],
        "mac": block[192:224],
    }


class Slab:
    def __init__(self, data, kek):
        copies = [h for h in (read_header(data[:BLOCK]), read_header(data[BLOCK:2 * BLOCK])) if h]
        if not copies:
            raise ValueError("no whole header")
        self.header = max(copies, key=lambda h: h["sequence"])
        if isinstance(kek, str):
            from argon2.low_level import Type, hash_secret_raw  # python3-argon2, only for passphrase slabs
            memory, passes = self.header["kdf"]
            kek = hash_secret_raw(kek.encode(), self.header["salt"], passes, memory, 1, 32, Type.ID)
        self.root = open_box(kek, self.header["bytes"][:76], self.header["root"])
        mac_key = hkdf(self.root, None, b"sequester slab header v1")
        if hmac.new(mac_key, self.header["bytes"][:192], hashlib.sha256).digest() != self.header["mac"]:
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
        owner = self.unwrap(self.root, self.slots[OWNER, slot[32:48]])
        return self.unwrap(owner, slot)

    def part_key(self, object_id, part_no, salt):
        return hkdf(self.object_key(object_id), salt, object_id + struct.pack(">I", part_no))


def main():
    with open(sys.argv[1], "rb") as f:
        data = f.read()
    key = sys.argv[2]
    slab = Slab(data, key[5:] if key.startswith("pass:") else bytes.fromhex(key))
    if len(sys.argv) > 3:
        object_id, part_no, salt = bytes.fromhex(sys.argv[3]), int(sys.argv[4]), bytes.fromhex(sys.argv[5])
        print(slab.part_key(object_id, part_no, salt).hex())
        return
    for (kind, slot_id), slot in slab.slots.items():
        print(kind, slot_id.hex(), "owner", slot[32:48].hex(), "not_after", struct.unpack(">Q", slot[48:56])[0])


if __name__ == "__main__":
    main()
