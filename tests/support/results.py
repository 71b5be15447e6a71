"""The result of a job beside that of `sequester impute`: what is in the package, and what must be equal of both."""
import gzip
import os
import struct
import subprocess
import zlib


def unpacked(user, job, directory, chrom):
    """The result's files, out of the package: the VCF with its index beside it, and the package."""
    password = user.claim(job)
    path = os.path.join(directory, "p.zip")
    with open(path, "wb") as f:
        f.write(user.package(job))
    p = subprocess.run(["7z", "x", "-y", "-p" + password, "-o" + directory, path], capture_output=True, text=True)
    assert p.returncode == 0, p.stdout + p.stderr
    return os.path.join(directory, "chr%s.dose.vcf.gz" % chrom), path


def split(path, panel=None):
    """A result's header lines, but for the panel's name (of a command its file, of a job its id: @panel); and its body as it is packed."""
    with open(path, "rb") as f:
        raw = f.read()
    at, header = 0, b""
    while at < len(raw):
        size = struct.unpack_from("<H", raw, at + 16)[0] + 1
        text = zlib.decompress(raw[at + 18:at + size - 8], -15)
        if header.endswith(b"\n") and not text.startswith(b"#"):
            break
        header += text
        at += size
    names = [x for x in header.split(b"\n") if x.startswith(b"##sequester_panel=")]
    assert len(names) == 1 and (not panel or names[0] == b"##sequester_panel=" + panel), names
    return [x for x in header.split(b"\n") if x not in names], raw[at:], at


def index_of(path, header_bytes):
    """An index with its offsets counted from the body's start."""
    with gzip.open(path) as f:
        raw = bytearray(f.read())

    def move(at):
        v = struct.unpack_from("<Q", raw, at)[0]
        struct.pack_into("<Q", raw, at, v - (header_bytes << 16) if v >= header_bytes << 16 else v)
    at = 36 + struct.unpack_from("<i", raw, 32)[0]
    for _ in range(struct.unpack_from("<i", raw, 4)[0]):
        n_bin, at = struct.unpack_from("<i", raw, at)[0], at + 4
        for _ in range(n_bin):
            no, n = struct.unpack_from("<Ii", raw, at)
            for i in range(2 if no == 37450 else 2 * n):  # the second pair of the pseudo-bin are counts
                move(at + 8 + 8 * i)
            at += 8 + 16 * n
        n_line, at = struct.unpack_from("<i", raw, at)[0], at + 4
        for i in range(n_line):
            move(at + 8 * i)
        at += 8 * n_line
    return bytes(raw)
