"""The independent reader opens the golden slab, and finds what was changed. Arguments: directory of slab.py, golden slab."""
import sys

sys.path.insert(0, sys.argv[1])
from cryptography.exceptions import InvalidTag  # noqa: E402
from slab import OBJECT, SLOT, Slab  # noqa: E402

KEK = bytes(range(32))
OBJECT_ID = b"golden object".ljust(16, b"\0")
SALT = bytes([1, 2, 3]).ljust(32, b"\0")
WANT = "519ef48eac46788649e806bc744235bc8f0a4c162dc1d03b935590b40225e43f"

with open(sys.argv[2], "rb") as f:
    data = f.read()

number = 0


def check(name, is_good):
    global number
    number += 1
    print(f"{'ok' if is_good else 'not ok'} {number} - {name}")
    if not is_good:
        sys.exit(1)


def fails(error, act):
    try:
        act()
    except error:
        return True
    return False


print("1..6")
slab = Slab(data, KEK)
check("derived key", slab.part_key(OBJECT_ID, 5, SALT).hex() == WANT)
check("tree size", slab.header["tree_size"] == 42)
dead = slab.slots["tombstone", b"golden dead".ljust(16, b"\0")]
check("a tombstone has no key", not any(dead[72:224]))
check("wrong key file", fails(InvalidTag, lambda: Slab(data, bytes(32))))
at = data.index(slab.slots[OBJECT, OBJECT_ID])
broken = bytearray(data)
broken[at + 50] ^= 1
check("a flipped bit is damage", Slab(bytes(broken), KEK).n_damaged == 1)
check("a torn header leaves the other", Slab(bytes(4096) + data[4096:], KEK).header["tree_size"] in (0, 42) and len(data) % SLOT == 0)
