"""Result packages against 7z, bsdtar and Python's zipfile; golden bytes; with `zip64`, a package above 4 GiB (sparse).

zip_test.py ZIP_TOOL ROOT_OF_THE_TREE [zip64]
"""
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TOOL, root = sys.argv[1], Path(sys.argv[2])
PASSWORD = "Kq7-mB2_zX9.rT4w"
n_done = 0


def ok(is_good, what):
    global n_done
    n_done += 1
    print(("ok" if is_good else "not ok"), n_done, "-", what, flush=True)
    if not is_good:
        sys.exit(1)


def run(*args):
    return subprocess.run([str(a) for a in args], capture_output=True, stdin=subprocess.DEVNULL)


def pattern(n):
    return (bytes(range(251)) * (n // 251 + 1))[:n]


def trees_equal(folder, sizes):
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return found == {name: pattern(n) for name, n in sizes.items()}


def others_read(folder):
    sizes = {"check.txt": 12, "chr22/data.vcf.gz": 3000001, "empty": 0, "empty.streamed": 0, "one": 1, "block": 16,
             "batch": 16384, "more": 16385, "chunk": 65536, "chr22/data.vcf.gz.tbi": 65537}
    package = folder / "p.zip"
    streamed = {"chr22/data.vcf.gz", "empty.streamed", "more"}
    made = run(TOOL, "write", PASSWORD, package, *[f"{n}={'?' if n in streamed else ''}{s}" for n, s in sizes.items()])
    ok(made.returncode == 0, "written")
    ok(run(TOOL, "list", package).stdout.decode().split() == [w for n, s in sizes.items() for w in (n, str(s))], "our list")
    ok(all(run(TOOL, "extract", PASSWORD, package, n).stdout == pattern(s) for n, s in sizes.items()), "our extract")
    done = run(TOOL, "extract", "wrong", package, "one")
    ok(done.returncode == 43 and not done.stdout, "our reader refuses a wrong password")

    listing = run("7z", "l", "-slt", package).stdout.decode()
    ok(all(f"Path = {n}\nFolder = -\nSize = {s}\n" in listing for n, s in sizes.items()), "7z lists")
    ok(listing.count("Method = AES-256 Store") == len(sizes) and "Modified = 2026-11-22 10:00:00" in listing,
       "7z sees AES-256, stored, and the time")
    ok("Warning" not in listing and "Error" not in listing, "7z has no complaint")
    ok(run("7z", "x", f"-p{PASSWORD}", f"-o{folder / 'seven'}", package).returncode == 0
       and trees_equal(folder / "seven", sizes), "7z extracts")
    ok(run("7z", "t", "-pwrong", package).returncode != 0, "7z refuses a wrong password")
    (folder / "bsd").mkdir()
    ok(run("bsdtar", "-x", "-f", package, "-C", folder / "bsd", "--passphrase", PASSWORD).returncode == 0
       and trees_equal(folder / "bsd", sizes), "bsdtar extracts")
    ok(run("bsdtar", "-t", "-f", package).stdout.decode().split() == list(sizes), "bsdtar lists")
    with zipfile.ZipFile(package) as z:
        ok({i.filename: i.file_size for i in z.infolist()} == sizes
           and all(i.flag_bits & 1 and i.CRC == 0 and i.compress_type == 99 for i in z.infolist()), "python lists")
    data = bytearray(package.read_bytes())
    data[5000] ^= 1
    (folder / "bad.zip").write_bytes(data)
    ok(run("7z", "t", f"-p{PASSWORD}", folder / "bad.zip").returncode != 0, "7z finds a flipped byte")
    done = run(TOOL, "extract", PASSWORD, folder / "bad.zip", "chr22/data.vcf.gz")
    ok(done.returncode == 60 and not done.stdout, "so do we, and give nothing out")


def golden(folder):
    path = root / "tests/golden/vault/package.zip"
    ok(hashlib.sha256(path.read_bytes()).hexdigest() == "67b1d1818dc442c1810ff65dc9b91f29075abb2522864e272547ed511a0d5261", "golden package was not edited")
    ok(run(TOOL, "write", PASSWORD, folder / "g.zip", "check.txt=12", "chr22/data.bin=?20").returncode == 0
       and (folder / "g.zip").read_bytes() == path.read_bytes(), "the writer makes the same bytes")
    ok(run(TOOL, "extract", PASSWORD, path, "chr22/data.bin").stdout == pattern(20), "the reader opens it")
    page = (root / "docs/formats/result-package.md").read_text()
    shown = page[page.index("local record of check.txt"):].split("```")[0]
    hexes = [line[26:] for line in shown.splitlines() if line.startswith("  ")]
    ok("".join(hexes) == path.read_bytes().hex(), "the page shows its bytes")


def zip64(folder):
    n = 5 << 30
    package = folder / "large.zip"
    ok(run(TOOL, "holes", PASSWORD, package, n).returncode == 0, "5 GiB entry written, its ciphertext left out")
    ok(package.stat().st_blocks * 512 < 1 << 20, "the file is sparse")
    ok(run(TOOL, "list", package).stdout.decode() == f"large.bin {n}\nbehind.txt 1000\n", "our list")
    listing = run("7z", "l", "-slt", package).stdout.decode()
    ok(f"Size = {n}\nPacked Size = {n + 28}\n" in listing and "Error" not in listing, "7z lists")
    ok(run("7z", "x", f"-p{PASSWORD}", f"-o{folder}", package, "behind.txt").returncode == 0
       and (folder / "behind.txt").read_bytes() == pattern(1000), "7z extracts the entry behind 4 GiB")
    ok(run(TOOL, "extract", PASSWORD, package, "behind.txt").stdout == pattern(1000), "so do we")
    with zipfile.ZipFile(package) as z:
        info = z.infolist()
        ok([i.file_size for i in info] == [n, 1000] and info[1].header_offset > 1 << 32, "python lists")
    for at in range(package.stat().st_size - 22 - 76, package.stat().st_size):
        with open(package, "r+b") as f:
            f.seek(at)
            old = f.read(1)
            f.seek(at)
            f.write(bytes([old[0] ^ 1]))
            f.flush()
            is_found = run(TOOL, "list", package).returncode in (60, 61, 119)
            f.seek(at)
            f.write(old)
        if not is_found:
            ok(False, f"flip at {at} of the zip64 end records")
    ok(run(TOOL, "list", package).returncode == 0, "every flip of the zip64 end records is found")


with tempfile.TemporaryDirectory() as name:
    if sys.argv[3:] == ["zip64"]:
        zip64(Path(name))
    else:
        others_read(Path(name))
        golden(Path(name))
print(f"1..{n_done}")
