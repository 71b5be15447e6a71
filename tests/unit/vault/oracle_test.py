"""C and the independent reader open what the other sealed; golden files, the page's example, Tink's published vectors.

oracle_test.py VAULT_TOOL ROOT_OF_THE_TREE
"""
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import hashes

root = Path(sys.argv[2])
sys.path.insert(0, str(root / "tests/oracle"))
sys.dont_write_bytecode = True
import vault  # noqa: E402

TOOL = sys.argv[1]
KEY, ID = bytes(range(0x20, 0x40)), bytes(range(16))
MIB = 1 << 20
n_done = 0


def ok(is_good, what):
    global n_done
    n_done += 1
    print(("ok" if is_good else "not ok"), n_done, "-", what, flush=True)
    if not is_good:
        sys.exit(1)


def pattern(n):
    return (bytes(range(251)) * (n // 251 + 1))[:n]


def c_open(path):
    done = subprocess.run([TOOL, "open", path], capture_output=True)
    return done.returncode, done.stdout


def refused(sealed):
    try:
        vault.object_open(KEY, ID, sealed)
    except vault.Refused:
        return True
    return False


def both_ways(folder):
    for n in [0, 1, 65479, 65480, 65481, 131000, 131001, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1, 33 * MIB]:
        plain, path, other = pattern(n), folder / f"c{n}", folder / f"p{n}"
        subprocess.run([TOOL, "seal", path], input=plain, check=True)
        ok(vault.object_open(KEY, ID, path.read_bytes()) == plain, f"python opens what C sealed, {n} bytes")
        other.write_bytes(vault.object_seal(KEY, ID, plain))
        ok(c_open(other) == (0, plain), f"C opens what python sealed, {n} bytes")
        path.unlink()
        other.unlink()


def golden(folder):
    made = {"empty": b"", "hello": b"hello, vault", "segment": pattern(131001)}
    digests = {"empty": "2683c9724b55b9ea300fb4bc0cdf86dac48708cc5cb83cde4e8480f195e06383", "hello": "68e535d5a22c27caaa62013a8efb10ae75f2eabd44c913ad32519554abae3ece", "segment": "290d06d2fb4affe13587481ff2645643132fa3f12f3e2f3c3141aa37edf177a9"}
    for name, plain in made.items():
        path = root / f"tests/golden/vault/{name}.sqo"
        sealed = path.read_bytes()
        ok(hashlib.sha256(sealed).hexdigest() == digests[name], f"golden {name} was not edited")
        ok(vault.object_open(KEY, ID, sealed) == plain, f"python opens golden {name}")
        ok(c_open(path) == (0, plain), f"C opens golden {name}")
    page = (root / "docs/formats/sealed-object.md").read_text().replace("\n" + " " * 22, "")
    shown = page[page.index("part 0 (68 bytes)"):page.index("with, on the way")]
    hexes = [line.split()[-1] for line in shown.splitlines() if line.startswith("  ")]
    ok("".join(hexes) == (root / "tests/golden/vault/hello.sqo").read_bytes().hex(), "the page shows hello.sqo")


def damage(folder):
    sealed = (root / "tests/golden/vault/hello.sqo").read_bytes()
    found = 0
    for at in range(len(sealed)):
        bad = bytearray(sealed)
        bad[at] ^= 1
        found += refused(bytes(bad))
    ok(found == len(sealed), "python finds every flipped byte")
    ok(all(refused(sealed[:n]) for n in range(len(sealed))), "python finds every cut")
    path = folder / "bad"
    path.write_bytes(sealed[:100] + bytes([sealed[100] ^ 1]) + sealed[101:])
    ok(c_open(path)[0] == 60, "C says ETAMPERED")
    path.write_bytes(sealed[:-1])
    ok(c_open(path)[0] in (60, 61) and c_open(path)[1] == b"", "C finds a cut and gives nothing out")


def tink():
    """AesGcmHkdfStreamingTestUtil.java of Tink (Apache-2.0), vectors 0, 2, 5 and 7"""
    short, key = bytes.fromhex("6eb56cdc726dfbe5d57f2fcdc6e9345b"), bytes.fromhex("00112233445566778899aabbccddeeff6eb56cdc726dfbe5d57f2fcdc6e9345b")
    vectors = [
        (short, b"aad", 64, hashes.SHA1, 16,
         "1893b3af5e14ab378d065addfc8484da642c0862877baea8"
         "db92d9c77406a406168478821c4298eab3e6d531277f4c1a051714faebcaefcbca7b7be05e9445ea"
         "a0bb2904153398a25084dd80ae0edcd1c3079fcea2cd3770630ee36f7539207b8ec9d754956d486b71cdf989f0ed6fba6779b63558be0a66e6"
         "68df14e1603cd2af8944844078345286d0b292e772e7190775c51a0f83e40c0b75821027e7e538e111",
         b"This is a fairly long plaintext. It is of the exact length to create three output blocks. "),
        (short, b"", 64, hashes.SHA256, 16,
         "18be78bce0cab6fd38a9041eea8ab0ffc4cf17e3c00b661d3927f5f79069f41a210fedc40b25648c", b""),
        (key, b"", 64, hashes.SHA1, 32,
         "28fae780c70a82d1256c8303a1261ac6a98cf557b4e173967a62f3c149517ba5b2431da93b3c6e90f508b34dc14bfda59bab05681c6ad3fa",
         b""),
        (key, bytes([0, 1, 2, 3]), 120, hashes.SHA1, 32,
         "28782994617714a80fa085e15051a16854522330d6d0f26c049b2192f09cdd98b2eb90c753bfff277a29e54fa4afb15d648c28477eb07f0125"
         "35c767f5fdce24ffffae318480c1d37357d6d3c511159318afa09ef38aa3f5456fd7817c5c02dd6e1a7fef174c8bd24e38b5982ac105497c01"
         "01ac5581fe5b", b"BLOCK 1.BLOCK 2.BLOCK 3.BLOCK 4.BLOCK 5.BLOCK 6.BLOCK 7.BLOCK 8."),
    ]
    for i, (k, aad, segment, algorithm, n, sealed, plain) in enumerate(vectors):
        stream = bytes.fromhex(sealed)
        ok(vault.stream_open(k, aad, stream, segment, algorithm, n) == plain, f"Tink vector, {len(plain)} bytes")
        if n == 32:  # the derived keys that test_vault.c gives to C
            derived = vault.derive(k, stream[1:33], aad, algorithm).hex()
            ok(derived in (root / "tests/unit/vault/test_vault.c").read_text(), "test_vault.c has its derived key")


with tempfile.TemporaryDirectory() as name:
    both_ways(Path(name))
    golden(Path(name))
    damage(Path(name))
tink()
print(f"1..{n_done}")
