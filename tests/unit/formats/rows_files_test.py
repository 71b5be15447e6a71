#!/usr/bin/env python3
"""Files of the output path in the hands of bcftools, tabix and plink2: read without a word of warning, and found again by their indexes.

    rows_files_test.py ROWS_FILES
"""
import gzip
import os
import random
import struct
import subprocess
import sys
import tempfile

MAKE = sys.argv[1]
TMP = tempfile.TemporaryDirectory()
SETS = {"plain": ("22", ".vcf.gz", 37), "plain_csi": ("22", ".vcf.gz", 37), "binary": ("22", ".bcf", 37), "male": ("X", ".vcf.gz", 23), "male_binary": ("X", ".bcf", 23),
        "one": ("chr1", ".vcf.gz", 1), "far": ("3B", ".vcf.gz", 5), "far_binary": ("3B", ".bcf", 5)}


def path(name):
    return os.path.join(TMP.name, name)


def clean(*args):
    """stdout of a tool that had nothing to complain about"""
    p = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if p.returncode or p.stderr:
        raise AssertionError("%r: exit %d, %s" % (args, p.returncode, p.stderr.decode()[-500:]))
    return p.stdout.decode()


def equal(got, want, what):
    if got != want:
        raise AssertionError("%s: %r, not %r" % (what, str(got)[:200], str(want)[:200]))


def rows(name):
    """(position, end, kind)"""
    out = []
    for line in open(path(name + ".txt")):
        pos, n, kind = line.split()
        out.append((int(pos), int(pos) + int(n) - 1, kind))
    return out


def files(name):
    """(path, rows that it must have, samples)"""
    _, end, n_sample = SETS[name]
    every = rows(name)
    return ((path(name + end), every, n_sample), (path(name + ".sites" + end), every, 0), (path(name + ".empirical" + end), [r for r in every if r[2] == "empirical"], n_sample))


def check_bcftools_reads_all():
    for name in SETS:
        for f, want, n_sample in files(name):
            got = [int(x) for x in clean("bcftools", "query", "-f", "%POS\n", f).split()]
            equal(got, [r[0] for r in want], f)
            equal(len(clean("bcftools", "query", "-l", f).split()), n_sample, f + ": samples")
            # (of a BCF --nrecords warns that a .csi has no names, whoever wrote it)
            equal(int(clean("bcftools", "index", "--stats", f).split()[2]), len(want), f + ": the index counts")
            header = clean("bcftools", "view", "-h", "--no-version", f)
            equal([line for line in header.splitlines() if line.startswith("##contig")][0].split(",")[0].rstrip(">"), "##contig=<ID=" + SETS[name][0], f)


def check_indexes_find_every_row():
    dice = random.Random(3)
    for name in SETS:
        chrom = SETS[name][0]
        for f, want, _ in files(name):
            last = max(r[1] for r in want)
            regions = [(1, last), (last, last), (want[0][0], want[0][0])]
            for width in (1, 50, 5000, 300000, 40000000):
                for _ in range(4):
                    at = dice.choice(want)[0] - dice.randrange(width)
                    regions.append((max(at, 1), max(at, 1) + width - 1))
            for a, b in regions:
                expect = [r[0] for r in want if r[0] <= b and r[1] >= a]
                got = clean("bcftools", "query", "-r", "%s:%d-%d" % (chrom, a, b), "-f", "%POS\n", f).split()
                equal([int(x) for x in got], expect, "%s %d-%d" % (f, a, b))
                if f.endswith("gz"):
                    got = [int(line.split("\t")[1]) for line in clean("tabix", f, "%s:%d-%d" % (chrom, a, b)).splitlines()]
                    equal(got, expect, "tabix %s %d-%d" % (f, a, b))


def chunks_of(data):
    """(level from below, number in it): (loffset, [(begin, end)...]) of an unpacked .csi of one chromosome. Depths differ: htslib looks at the contig's length."""
    depth, n_aux = struct.unpack("<ii", data[8:16])
    first = [(8 ** level - 1) // 7 for level in range(depth + 2)]
    at = 16 + n_aux
    n_ref, n_bin = struct.unpack("<ii", data[at:at + 8])
    equal(n_ref, 1, "chromosomes in the index")
    at += 8
    bins = {}
    for _ in range(n_bin):
        no, loff, n = struct.unpack("<IQi", data[at:at + 16])
        if no < first[-1]:  # the last one holds counts
            level = max(k for k in range(depth + 1) if first[k] <= no)
            bins[depth - level, no - first[level]] = (loff, [struct.unpack("<QQ", data[at + 16 + 16 * k:at + 32 + 16 * k]) for k in range(n)])
        at += 16 + 16 * n
    return bins


def check_indexes_say_what_htslibs_say():
    """Where htslib's own .csi has the same bin, ours has the reader begin no later."""
    for name in ("plain_csi", "binary", "far", "far_binary"):
        f = path(name + SETS[name][1])
        own = path("own.csi")
        clean("bcftools", "index", "-f", "-c", "-o", own, f)
        ours, theirs = (chunks_of(gzip.open(x).read()) for x in (f + ".csi", own))
        n_same = 0
        for key, (loff, chunks) in ours.items():
            if key in theirs:
                n_same += 1
                if loff > theirs[key][0] or chunks[0][0] < loff:
                    raise AssertionError("%s: bin %r begins at %d, htslib says %d" % (f, key, loff, theirs[key][0]))
        if n_same < 20:
            raise AssertionError("%s: only %d bins in common" % (f, n_same))


def check_vcf_and_bcf_are_the_same():
    for a, b in (("plain_csi", "binary"), ("male", "male_binary"), ("far", "far_binary")):
        for (fa, _, _), (fb, _, _) in zip(files(a), files(b)):
            # numbers of INFO may be rounded apart in the sixth digit: test_rows compares them
            args = ["view"] if "empirical" in fa else ["annotate", "-x", "INFO/AF,INFO/MAF,INFO/AVG_CS,INFO/R2,INFO/ER2"]
            one, two = (clean("bcftools", *args, "--no-version", "-Ov", f) for f in (fa, fb))
            equal([line for line in two.splitlines() if line[0] != "#"], [line for line in one.splitlines() if line[0] != "#"], fb)


def check_header_has_no_name_where_it_must_not():
    for name in SETS:
        for t, (f, _, n_sample) in enumerate(files(name)):
            last = clean("bcftools", "view", "-h", "--no-version", f).splitlines()[-1].split("\t")
            equal(last[8:], (["FORMAT"] + ["P%04d" % i for i in range(n_sample)]) if n_sample else [], f)


def check_blocks_are_bgzf():
    for name in SETS:
        for f, _, _ in files(name):
            data = open(f, "rb").read()
            at = 0
            while at < len(data):
                equal(data[at:at + 4] + data[at + 12:at + 14], b"\x1f\x8b\x08\x04BC", "a block of %s at %d" % (f, at))
                at += int.from_bytes(data[at + 16:at + 18], "little") + 1
            equal(data[-28:].hex(), "1f8b08040000000000ff0600424302001b0003000000000000000000", "the end of " + f)
            if f.endswith("gz"):
                equal(gzip.open(f).read(17), b"##fileformat=VCFv", f)


def check_plink2_reads_dosages():
    for name, kind in (("plain", "--vcf"), ("plain_csi", "--vcf"), ("binary", "--bcf"), ("one", "--vcf")):
        f = path(name + SETS[name][1])
        for dosage in ("DS", "HDS"):
            out = path("plink")
            p = subprocess.run(["plink2", kind, f, "dosage=" + dosage, "--freq", "--out", out, "--allow-extra-chr", "--threads", "1", "--memory", "640"],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if p.returncode or "arning" in p.stdout or "rror" in p.stdout:
                raise AssertionError("plink2 %s %s: %s" % (f, dosage, p.stdout[-600:]))
            got = {}
            for line in open(out + ".afreq"):
                part = line.split()
                if part[0] != "#CHROM":
                    got.setdefault((part[1], part[2], part[3]), []).append(float(part[4]) if part[4] != "nan" else None)
            n = 0
            for line in clean("bcftools", "query", "-f", "%ID %REF %ALT %AF %TYPED_ONLY\n", f).splitlines():
                rsid, ref, alt, af, typed_only = line.split()
                if typed_only == ".":
                    if not any(x is not None and abs(x - float(af)) < 2e-4 for x in got[rsid, ref, alt]):
                        raise AssertionError("%s %s: plink2 says %r, AF is %s" % (f, rsid, got[rsid, ref, alt], af))
                    n += 1
            if n < 1000:
                raise AssertionError("%s: only %d rows were compared" % (f, n))


CHECKS = [check_bcftools_reads_all, check_indexes_find_every_row, check_vcf_and_bcf_are_the_same, check_header_has_no_name_where_it_must_not, check_blocks_are_bgzf,
          check_indexes_say_what_htslibs_say, check_plink2_reads_dosages]


def main():
    subprocess.run([MAKE, TMP.name], check=True)
    print("1..%d" % len(CHECKS))
    bad = 0
    for i, check in enumerate(CHECKS):
        try:
            check()
            print("ok %d - %s" % (i + 1, check.__name__), flush=True)
        except Exception as e:  # noqa: BLE001 - whatever it is, the test says so
            bad += 1
            print("not ok %d - %s\n# %s" % (i + 1, check.__name__, str(e).replace("\n", "\n# ")), flush=True)
    return bad > 0


sys.exit(main())
