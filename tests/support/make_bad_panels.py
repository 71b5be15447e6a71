#!/usr/bin/env python3
"""Golden panel files: two good ones, and one for each thing that can be wrong in a file whose checksums are right.

    make_bad_panels.py SEQUESTER_WORKER DIR      writes DIR/*.sqp and DIR/expected, which says what must be said of each

Made once for tests/golden/panel and kept; run again into another folder when the format changes. With --stored DIR the same files with frames that
aren't packed, which builds for fuzzing read: seeds/panel.
"""
import copy
import os
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))
import panel as oracle  # noqa: E402
from panel import string, varint  # noqa: E402

VCF = """##fileformat=VCFv4.2
##contig=<ID=X,length=155270560>
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb\tc\td\te
X\t100\trs1\tA\tC\t.\t.\t.\tGT\t0|1\t1\t0|0\t1|.\t0
X\t100\tX:100:AT:A,G\tAT\tA,G\t.\t.\t.\tGT\t2|1\t0\t0|2\t.|.\t1
X\t250\t.\tG\tT\t.\t.\t.\tGT\t0|1\t1|0\t0|0\t1|1\t0
X\t300\tname\tG\tGTTTTTTTT\t.\t.\t.\tGT\t0|1\t1|0\t1|0\t1|1\t.
"""
MAP = "pos chr cM\n50 X -0.25\n100 X 0.5\n200 X 0.75\n300 X 1.5\n500 X 2\n"
POPULATIONS = "a\tAFR\nb\tEUR\nc\tAFR\nd\tEUR\n"


def good_panels(worker):
    with tempfile.TemporaryDirectory() as tmp:
        def path(name):
            return os.path.join(tmp, name)
        for name, text in (("v", VCF), ("m", MAP), ("p", POPULATIONS)):
            with open(path(name), "w") as f:
                f.write(text)
        rows = ["X\t%d\t.\tA\tC\t.\t.\t.\tGT\t%d|%d\t%d|%d" % (10 * r + 10, r % 3 == 0, r % 2, r % 5 == 1, r % 7 == 1) for r in range(150)]
        with open(path("w"), "w") as f:
            f.write("\n".join(VCF.splitlines()[:2] + ["#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb"] + rows) + "\n")
        build = [worker, "--local", "panel", "build", "-q", "-o", path("o")]
        subprocess.run(build + [path("v"), "--map", path("m"), "--populations", path("p"), "--keep-names", "--build", "GRCh37"], check=True)
        full = open(path("o"), "rb").read()
        subprocess.run(build + [path("w")], check=True)
        return full, open(path("o"), "rb").read()


def replace(column, at, new, n=1):
    return column[:at] + bytes(new) + column[at + n:]


def bad_panels(full, plain):
    """(name, words of the message, bytes)"""
    def changed(name, words, change, which=full, **more):
        p = oracle.Panel(which)
        change(p, p.packs[0])
        return name, words, p.bytes_again(**more)

    def site(name, words, column, at, new, n=1):
        return changed("sites-" + name, words, lambda p, k: k.sites.update({column: replace(k.sites[column], at, new, n)}))

    def hap(name, words, column, at, new, n=1, which=plain):
        return changed("haps-" + name, words, lambda p, k: k.haps.update({column: replace(k.haps[column], at, new, n)}), which)

    def field(name, words, **fields):
        return changed("directory-" + name, words, lambda p, k: [setattr(p, f, v) for f, v in fields.items()])

    def flip(name, words, data, at, by=1):
        return name, words, data[:at] + bytes([data[at] ^ by]) + data[at + 1:]

    yield "header-other", "isn't a panel file", b"\x89PNG\r\n\x1a\n" + full[8:]
    yield changed("header-version", "version 2", lambda p, k: None, version=2)
    yield flip("header-reserved", "header and footer", full, 12)
    yield flip("footer-offset", "its end is damaged", full, len(full) - 32)
    yield flip("footer-mark", "its end is damaged", full, len(full) - 1)
    yield changed("footer-length", "don't fit", lambda p, k: None, footer=lambda f: rechecked(f[:16] + struct.pack("<Q", 1000) + f[24:]))
    yield changed("footer-directory", "don't fit", lambda p, k: None, footer=lambda f: rechecked(struct.pack("<Q", 17) + f[8:]))
    yield flip("frame-sites", "the sites from here on are damaged", plain, 30)
    yield flip("frame-directory", "the directory is damaged", full, len(full) - 60)
    yield field("chromosome", "first numbers", chrom="")
    yield field("chromosome-letters", "first numbers", chrom="X\t1")
    yield field("samples-none", "first numbers", n_sample=0)
    yield field("samples-many", "first numbers", n_sample=4194305)
    yield field("rows-few", "first numbers", n_row=3)
    yield field("rows-wrong", "the list of packs", n_row=6)
    yield field("blocks-wrong", "the list of packs", n_block=2)
    yield field("flags", "first numbers", flags=31)
    yield field("segments-none", "first numbers", segments=[])
    yield field("segments-empty", "segments don't", segments=[0])
    yield field("segments-more", "segments don't", segments=[2])
    yield field("haploid-none", "haploid samples", haploid=[0] * 5)
    yield field("haploid-other", "it says", haploid=[1, 0, 0, 0, 1], n_haploid=2)
    yield field("haploid-spare", "haploid samples", haploid=[0, 0, 0, 0, 1, 0, 1])
    yield field("labels-none", "populations", labels=[])
    yield field("labels-twice", "populations", labels=["AFR", "AFR"])
    yield field("labels-letters", "populations", labels=["AF R", "EUR"])
    yield field("population", "populations", population=[0, 1, 3, 0, 0])
    yield field("missing-sum", "its sums", n_missing=3)
    yield field("run-sum", "its sums", n_run=3)
    yield field("pattern-sum", "its sums", n_pattern=3)
    yield field("haploid-sum", "its sums", n_haploid=4)
    yield changed("directory-position", "the list of packs", lambda p, k: setattr(k, "first_bp", 0))
    yield changed("directory-position-end", "sites don't end", lambda p, k: setattr(k, "last_bp", 301))
    yield changed("directory-records", "more records", lambda p, k: [setattr(k, "n_record", 3), setattr(p, "n_record", 3)])
    yield changed("directory-more", "left over", lambda p, k: None, directory=lambda d: d + b"\0")
    yield changed("directory-less", "the place of the names", lambda p, k: None, directory=lambda d: d[:-1])
    yield field("map-one-row", "map", map=[(100, 1.0)])
    yield field("map-falls", "map", map=[(100, 1.0), (200, 1.5), (300, 1.25)], digits=255)
    yield field("map-nan", "map", map=[(100, 1.0), (200, float("nan"))], digits=255)
    yield field("map-positions", "map", map=[(100, 1.0), (100, 1.5)])
    yield field("map-digits", "map", digits=13)
    yield field("map-origin", "map", origin=float("inf"))
    yield field("names-few", "name", names=["a", "b", "c", "", "e"])
    yield field("names-more", "name", names=["a", "b", "c", "d\x07", "e"])
    yield changed("sites-rows-none", "columns don't", lambda p, k: setattr(k, "sites_rows", [0]))
    yield changed("sites-rows-other", "columns don't", lambda p, k: setattr(k, "haps_rows", [4]))
    yield changed("sites-rows-many", "columns don't", lambda p, k: setattr(k, "sites_rows", [65]))
    yield changed("sites-more", "columns don't", lambda p, k: setattr(k, "sites_more", b"\0"))
    yield site("position-far", "a position", "position", 3, [100])
    yield site("position-long-form", "a position", "position", 1, [128, 0])
    yield site("position-short", "a position", "position", 3, [])
    yield site("alleles-kind", "an allele", "alleles", 0, [18])
    yield site("alleles-same", "an allele", "alleles", 0, [5])
    yield site("alleles-letters", "an allele", "text", 1, [9])
    yield site("alleles-comma", "an allele", "text", 1, [44])
    yield site("alleles-empty", "an allele", "text", 0, [0], 3)
    yield site("alleles-count", "an allele", "text", 3, [1])
    yield site("alleles-long", "an allele", "text", 0, varint(1 << 21))
    yield site("an-large", "alleles of a record", "an", 0, [11])
    yield site("an-other", "it says", "an", 2, [3])
    yield site("ac-large", "carriers of a row", "ac", 0, [10])
    yield site("ac-other", "carriers, the haplotypes", "ac", 0, [1])
    yield site("id-kind", "an ID", "id_kind", 0, [5])
    yield site("id-letters", "an ID", "id_text", 1, [9])
    yield site("id-number", "an ID", "id_text", 3, varint(1000000000))
    yield site("id-empty", "an ID", "id_text", 6, [0], 5)
    yield changed("sites-text-more", "don't end", lambda p, k: k.sites.update(text=k.sites["text"] + b"\0"))
    yield hap("patterns-none", "patterns", "patterns", 0, [0])
    yield hap("patterns-many", "patterns", "patterns", 0, varint(65536))
    yield hap("patterns-count", "patterns", "patterns", 1, [65])
    yield hap("patterns-bit", "patterns", "patterns", 2, [64])
    yield hap("patterns-same-bit", "patterns", "patterns", 3, [0])
    yield changed("haps-patterns-order", "patterns", lambda p, k: k.haps.update(patterns=swapped(k.haps["patterns"])), plain)
    yield hap("classes-large", "runs", "classes", 1, [9])
    yield hap("classes-repeated", "runs", "classes", 2, first_class(plain))
    yield hap("runs-few", "runs", "classes", 0, [3])
    yield hap("runs-many", "runs", "classes", 0, [5])
    yield hap("lengths-long", "runs", "lengths", 0, [4])
    yield changed("haps-lengths-more", "don't end", lambda p, k: k.haps.update(lengths=k.haps["lengths"] + b"\0"), plain)
    yield changed("haps-more", "columns don't", lambda p, k: setattr(k, "haps_more", b"\0"), plain)
    yield changed("special-changes-many", "haploid and missing", lambda p, k: special(k, varint(1000)))
    yield changed("special-change-row", "haploid and missing", lambda p, k: special(k, bytes([1, 5, 1, 0])))
    yield changed("special-change-sample", "haploid and missing", lambda p, k: special(k, bytes([1, 0, 5, 0])))
    yield changed("special-change-twice", "haploid and missing", lambda p, k: special(k, bytes([2, 0, 1, 0, 1, 0])))
    yield changed("special-missing-many", "haploid and missing", lambda p, k: special(k, bytes([0]) + varint(1000)))
    yield changed("special-missing-row", "haploid and missing", lambda p, k: special(k, bytes([0, 1, 5, 1, 1])))
    yield changed("special-missing-column", "haploid and missing", lambda p, k: special(k, bytes([0, 1, 0, 9, 2])))
    yield changed("special-missing-none", "haploid and missing", lambda p, k: special(k, bytes([0, 1, 0, 3, 0])))
    yield changed("special-missing-touches", "haploid and missing", lambda p, k: special(k, bytes([0, 2, 0, 3, 1, 0, 0, 1])))
    yield changed("special-none", "it says", lambda p, k: special(k, bytes([0, 0])))
    yield changed("special-more", "don't end", lambda p, k: k.haps.update(special=k.haps["special"] + b"\0"))
    # sample b is haploid in the first three rows: said of sample a, whose two columns differ there, numbers may fit, the columns don't
    yield changed("ploidy-other", "", lambda p, k: special(k, replace(k.haps["special"], 2, [0])))


def special(pack, data):
    pack.haps["special"] = data


def rechecked(foot):
    import binascii
    return foot[:24] + struct.pack("<I", binascii.crc32(foot[:24])) + foot[28:]


def first_class(data):
    """The class of the first run again, for the second."""
    return [oracle.Panel(data).packs[0].haps["classes"][1]]


def swapped(column):
    """The first two patterns of a block in the other order."""
    c = oracle.Column(column)
    n = c.varint()
    start, parts = c.at, []
    for _ in range(2):
        at = c.at
        for _ in range(c.varint()):
            c.varint()
        parts.append(column[at:c.at])
    return varint(n) + parts[1] + parts[0] + column[c.at:]


def write_all(worker, folder):
    full, plain = good_panels(worker)
    expected = []
    for name, words, data in [("good-full", "", full), ("good-plain", "", plain)] + list(bad_panels(full, plain)):
        with open(os.path.join(folder, name + ".sqp"), "wb") as f:
            f.write(data)
        expected.append("%s\t%s\n" % (name, words))
    with open(os.path.join(folder, "expected"), "w") as f:
        f.writelines(expected)


def write_stored(worker, folder):
    full, plain = good_panels(worker)
    panels = [oracle.Panel(full), oracle.Panel(plain)]
    oracle.zstd = lambda raw: raw
    for name, p in zip(("full", "plain"), panels):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(p.bytes_again())


if __name__ == "__main__":
    if sys.argv[1] == "--stored":
        write_stored(sys.argv[2], sys.argv[3])
    else:
        write_all(sys.argv[1], sys.argv[2])
