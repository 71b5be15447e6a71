#!/usr/bin/env python3
"""The worker's stages, each through real descriptors: bad input, names, quality control, results that other tools read.

    stages_test.py WORKER DATA-DIRECTORY SCORE.py
"""
import gzip
import os
import random
import re
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import stage_driver as driver  # noqa: E402
import sqp as panel_files  # noqa: E402

WORKER, DATA, SCORE = sys.argv[1:4]
ONLY = sys.argv[4:]
TMP = tempfile.TemporaryDirectory()

HEAD = ("##fileformat=VCFv4.2\n##contig=<ID=22,length=51304566>\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\">\n"
        "##FILTER=<ID=q10,Description=\"low\">\n##FILTER=<ID=DUPX,Description=\"twice\">\n##INFO=<ID=NOTE,Number=1,Type=String,Description=\"free\">\n")


def columns(*names):
    return "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(names) + "\n"


def row(pos, ref, alt, *gt, chrom="22", rsid=".", filt="PASS", info=".", fmt="GT"):
    return "\t".join([chrom, str(pos), rsid, ref, alt, ".", filt, info, fmt, *gt]) + "\n"


def vcf(*rows, names=("a", "b")):
    return (HEAD + columns(*names) + "".join(rows)).encode()


GOOD = vcf(row(10, "A", "C", "0|1", "1|1", rsid="rs1"), row(20, "G", "T", "0|0", "1|0"))


def tool(*args, data=None):
    return subprocess.run(args, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stdout


def bgzip(data):
    return tool("bgzip", "-c", data=data)


def bcf(data):
    return tool("bcftools", "view", "--no-version", "-Ob", "-", data=data)


def path(name, data):
    p = os.path.join(TMP.name, name)
    with open(p, "wb") as f:
        f.write(data)
    return p


MADE = {}


def sqp(source, gmap=None):
    """The panel file of a VCF or BCF, as bytes."""
    if (source, gmap) not in MADE:
        out = panel_files.build(WORKER, path("source", source), os.path.join(TMP.name, "made.sqp"), path("map", gmap) if gmap else None)
        with open(out, "rb") as f:
            MADE[source, gmap] = f.read()
    return MADE[source, gmap]


def data_file(name):
    with open(os.path.join(DATA, "chr22-1kgp3-b37", name), "rb") as f:
        return f.read()


def equal(got, want, what):
    if got != want:
        raise AssertionError("%s: %r, expected %r" % (what, got, want))


def ingest(data, **limits):
    return driver.run(WORKER, "ingest", {"upload": data}, **limits)


# ---- ingest -------------------------------------------------------------------------------------------------------


def check_good_uploads():
    for name, data, fmt in [("vcf", GOOD, 1), ("bgzip", bgzip(GOOD), 2), ("gzip", gzip.compress(GOOD), 2), ("bcf", bcf(GOOD), 3),
                            ("two members", gzip.compress(GOOD[:200]) + gzip.compress(GOOD[200:]), 2),
                            ("crlf", GOOD.replace(b"\n", b"\r\n"), 1), ("bcf, not packed", gzip.decompress(bcf(GOOD)), 3)]:
        r = ingest(data)
        equal((r.error, r.exit), ("OK", 0), name)
        c = r.counts
        equal((c.format, c.is_phased, c.chrom, c.n_sample, c.n_variant, c.first_bp, c.last_bp), (fmt, 1, "22", 2, 2, 10, 20), name)
        equal(r.out["ids"], b"sequester-ids/v1 2\na\nb\n", name)
        text = tool("bcftools", "view", "-H", "-", data=r.out["genotypes"]).decode()
        equal(text, "22\t10\trs1\tA\tC\t.\tPASS\t.\tGT\t0|1\t1|1\n22\t20\t.\tG\tT\t.\tPASS\t.\tGT\t0|0\t1|0\n", name)


def check_bad_uploads():
    body = row(10, "A", "C", "0|1", "1|1")
    big = GOOD + b"".join(row(30 + i, "A", "C", "0|1", "0|0").encode() for i in range(40000))
    packed = bgzip(big)
    unphased = vcf(row(10, "A", "C", "0/1", "1|1"))
    cases = [
        ("empty", b"", "EEMPTY", 0),
        ("empty gzip", gzip.compress(b""), "EEMPTY", 0),
        ("text", b"hello\n" * 100, "EFORMAT", 1),
        ("rubbish", bytes(random.Random(1).randbytes(5000)), "EFORMAT", 1),
        ("packed text", bgzip(b"sample,genotype\n" * 50), "EFORMAT", 1),
        ("zip", b"PK\3\4" + bytes(100), "EGZIP", 0),
        ("xz", b"\xfd7zXZ\0" + bytes(100), "EGZIP", 0),
        ("bzip2", b"BZh91AY&SY" + bytes(100), "EGZIP", 0),
        ("bomb", gzip.compress(bytes(64 << 20)), "EBOMB", 0),
        ("bomb with a header", gzip.compress(GOOD + b"22\t30\t.\tA\tC\t.\t.\t" + b"N" * (64 << 20)), "EBOMB", None),
        ("no end block", packed[:-28], "ECUT", None),
        ("cut block", packed[:len(packed) // 2], "ECUT", None),
        ("cut gzip", gzip.compress(big)[:-2000], "ECUT", None),
        ("cut bcf", bcf(big)[:-3000], "ECUT", None),
        ("cut bcf, not packed", gzip.decompress(bcf(big))[:-7], "ECUT", None),
        ("cut text", GOOD[:-1], "ECUT", 9),
        ("cut header", GOOD[:150], "ECUT", None),
        ("header without columns", HEAD.encode(), "ECUT", 6),
        ("damaged block", packed[:200] + b"\x55\xaa" + packed[202:], "EGZIP", None),
        ("damaged gzip", gzip.compress(big)[:3000] + bytes(50) + gzip.compress(big)[3050:], "EGZIP", None),
        ("rubbish behind the end", packed + b"more rubbish behind the end", "EGZIP", None),
        ("header line", (HEAD + "##nothing\n" + columns("a") + row(10, "A", "C", "0|1")).encode(), "EHEADER", 7),
        ("second fileformat", (HEAD + "##fileformat=VCFv4.2\n" + columns("a")).encode(), "EHEADER", 7),
        ("columns with blanks", (HEAD + columns("a").replace("\t", " ") + body).encode(), "EHEADER", 7),
        ("control character in a name", vcf(body, names=("a", "b\x01")), "EHEADER", 7),
        ("empty name", vcf(body, names=("a", "")), "EHEADER", 7),
        ("no samples", (HEAD + "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n").encode(), "ENOSAMPLE", 7),
        ("no samples behind FORMAT", (HEAD + columns()[:-2] + "\n").encode(), "ENOSAMPLE", 7),
        ("duplicate sample", vcf(body, names=("a", "a")), "EDUPSAMPLE", 7),
        ("no variants", vcf(), "ENOVARIANT", 0),
        ("no variants in bcf", bcf(vcf()), "ENOVARIANT", 0),
        ("no GT", vcf(row(10, "A", "C", "0.1", "0.2", fmt="DS")), "ENOGT", 8),
        ("two chromosomes", vcf(body, row(5, "A", "C", "0|1", "0|1", chrom="21")), "EMULTICHROM", 9),
        ("unsorted", vcf(body, row(9, "A", "C", "0|1", "0|1")), "EUNSORTED", 9),
        ("unsorted bcf", bcf(vcf(body, row(9, "A", "C", "0|1", "0|1"))), "EUNSORTED", 2),
        ("too few genotypes", vcf(row(10, "A", "C", "0|1")), "ERECORD", 8),
        ("too many genotypes", vcf(row(10, "A", "C", "0|1", "0|1", "0|1")), "ERECORD", 8),
        ("few columns", vcf("22\t10\t.\tA\n"), "ERECORD", 8),
        ("position 0", vcf(row(0, "A", "C", "0|1", "0|1")), "ERECORD", 8),
        ("position too large", vcf(row(536870912, "A", "C", "0|1", "0|1")), "ERECORD", 8),
        ("position with letters", vcf(row("1e3", "A", "C", "0|1", "0|1")), "ERECORD", 8),
        ("allele that isn't there", vcf(row(10, "A", "C", "0|2", "0|1")), "ERECORD", 8),
        ("genotype of letters", vcf(row(10, "A", "C", "x|1", "0|1")), "ERECORD", 8),
        ("half a genotype", vcf(row(10, "A", "C", "0|", "0|1")), "ERECORD", 8),
        ("triploid", vcf(row(10, "A", "C", "0|1|1", "0|1")), "EPLOIDY", 8),
        ("empty REF", vcf(row(10, "", "C", "0|1", "0|1")), "ERECORD", 8),
        ("chromosome with a blank", vcf(row(10, "A", "C", "0|1", "0|1", chrom="2 2")), "ERECORD", 8),
        ("unphased is ingest's to count", unphased, "OK", None),
    ]
    for name, data, want, line in cases:
        r = ingest(data)
        equal(r.error, want, name)
        equal(r.exit, 0 if want == "OK" else 1, name)
        equal(r.stderr, b"", name)
        if line is not None and want != "OK":
            equal(r.why.line, line, name + ": line")
    equal(ingest(unphased).counts.is_phased, 0, "is_phased")
    equal(ingest(GOOD, max_samples=1).error, "ELIMIT", "max_samples")
    equal(ingest(GOOD, max_variants=1).error, "ELIMIT", "max_variants")


def check_names_stay_behind():
    names = ["PLANTED-NAME-%d" % i for i in range(3)]
    marked = HEAD + "##commandline=PLANTED-COMMAND\n##SAMPLE=<ID=PLANTED-NAME-0>\n" + columns(*names)
    marked += row(10, "A", "C", "0|1", "1|1", ".|.", rsid="PLANTED-ID", info="NOTE=PLANTED-INFO") + \
        row(20, "A", "C", "0|1:9", "1:9", "0/1:9", rsid="rs77;PLANTED", filt="q10", fmt="GT:XX")
    for data in (marked.encode(), bgzip(marked.encode())):
        r = ingest(data)
        equal(r.error, "OK", "ingest")
        raw = gzip.decompress(r.out["genotypes"])
        if b"PLANTED" in raw or b"PLANTED" in r.out["genotypes"]:
            raise AssertionError("something of the upload went through")
        for s in (b"S000001", b"S000003"):
            if s not in raw:
                raise AssertionError("no %r" % s)
        equal([x.decode() for x in r.out["ids"].split()[2:]], names, "ids")
        text = tool("bcftools", "view", "-H", "-", data=r.out["genotypes"]).decode()
        equal(text, "22\t10\t.\tA\tC\t.\tPASS\t.\tGT\t0|1\t1|1\t.|.\n22\t20\t.\tA\tC\t.\tOTHER\t.\tGT\t0|1\t1\t0/1\n", "records")


def check_confined():
    seen = {}

    def look(child):
        for _ in range(200):
            text = open("/proc/%d/status" % child.pid).read()
            seen["seccomp"], seen["nnp"] = re.search(r"Seccomp:\t(\d)", text)[1], re.search(r"NoNewPrivs:\t(\d)", text)[1]
            if seen["seccomp"] == "2":
                return
    r = driver.run(WORKER, "ingest", {"upload": bgzip(GOOD) * 1}, while_running=look)
    is_sanitized = b"__asan_init" in open(WORKER, "rb").read()
    equal((seen.get("seccomp"), seen.get("nnp"), r.error), ("0" if is_sanitized else "2", "1", "OK"), "confined")


def check_mutations_never_crash():
    """Damaged inputs end in an error code, never in a signal."""
    dice = random.Random(20)
    text = vcf(*[row(10 + i, "ACGT"[i % 4], "CGTA"[i % 4], "0|1", "1|0", rsid="rs%d" % i) for i in range(60)])
    plain_bcf = gzip.decompress(bcf(text))
    for i in range(150):
        data = bytearray([text, plain_bcf, bgzip(text)][i % 3])
        for _ in range(dice.choice([1, 1, 2, 5])):
            data[dice.randrange(len(data))] = dice.choice([0, 0xff, 0x7f, 0x80, dice.randrange(256)])
        if dice.random() < 0.3:
            del data[dice.randrange(len(data)):]
        r = ingest(bytes(data))
        if r.exit not in (0, 1) or (r.error != "OK" and r.error not in driver.ERRORS.values()):
            raise AssertionError("mutation %d: %s" % (i, r.error))


# ---- qc -----------------------------------------------------------------------------------------------------------

PANEL = vcf(*[row(p, r, a, "0|1", "1|0", "0|0", "0|1") for p, r, a in
              [(10, "A", "C"), (20, "G", "T"), (30, "A", "G"), (30, "A", "T"), (40, "C", "A"), (50, "A", "G"), (60, "C", "G"), (70, "ACG", "A"),
               (80, "T", "C"), (90, "T", "C"), (100, "G", "C"), (110, "A", "C")]], names=("p1", "p2", "p3", "p4"))
FLAT_MAP = b"pos chr cM\n1 22 0\n1000000 22 1\n"


WANTS_PHASED = 1  # SQ_ORDER_WANTS_PHASED


def no_length(data):
    """A header that doesn't say how long the chromosome is, so that a made one may be longer."""
    return data.replace(b",length=51304566", b"")


def qc(target, panel=PANEL, flags=0):
    r = ingest(target)
    equal(r.error, "OK", "ingest before qc")
    return driver.run(WORKER, "qc", {"genotypes": r.out["genotypes"], "panel": sqp(panel)}, flags=flags)


def report_of(r):
    lines = r.out["report"].decode().splitlines()
    at = lines.index("POS\tREF\tALT\tREASON")
    return {k[1:]: int(v) for k, v in (x.split("\t") for x in lines[1:at])}, [tuple(x.split("\t")) for x in lines[at + 1:]]


def check_qc_verdicts():
    g = ("0|1", "1|1")
    target = vcf(row(5, "A", "C", *g), row(10, "A", "C", *g), row(10, "A", "C", *g), row(20, "T", "G", *g), row(30, "A", "T", *g), row(30, "A", "G", *g),
                 row(40, "G", "T", *g), row(45, "A", "C", *g), row(50, "C", "T", *g), row(60, "C", "G,T", "0|1", "2|1"), row(70, "ACG", "A", *g),
                 row(75, "A", "<DEL>", *g), row(76, "A", ".", "0|0", "0|0"), row(80, "T", "C", *g, filt="q10"), row(85, "T", "C", *g, filt="DUPX"),
                 row(90, "T", "C", ".|.", "0|1"), row(100, "G", "A", *g), row(110, "A", "C", "1|1", "1|1"), row(500, "A", "C", *g))
    r = qc(target)
    equal(r.error, "OK", "qc")
    counts, listed = report_of(r)
    want = dict(samples=2, records=19, panel_haplotypes=8, panel_rows=12, in_panel=6, typed_only=3, multiallelic=1, no_alternative=1, invalid_alleles=1, filter_duplicate=1,
                filter_other=1, duplicate=1, low_call_rate=0, allele_switch=1, strand_flip=1, strand_flip_and_allele_switch=1,
                allele_mismatch=1, outside_panel=2, kept_monomorphic=1, kept_strand_ambiguous=1, kept_alt_is_common=8, list_is_cut=0,
                other_part_of_x=0, haploid_samples=0, phased=1, unphased_genotypes=0, other_phase_set_genotypes=0, half_missing_genotypes=0)
    equal(counts, want, "counts")
    equal([x for x in listed if x[0] in ("5", "20", "40", "75")],
          [("5", "A", "C", "Typed only"), ("20", "T", "G", "Allele switch"), ("40", "G", "T", "Strand flip"), ("75", "-", "-", "Invalid alleles")], "list")
    c = r.counts
    equal((c.n_sample, c.n_variant, c.n_kept, c.n_in_panel, c.n_excluded, c.n_haplotype, c.n_site), (2, 19, 9, 6, 10, 8, 12), "work_counts")
    kept = [int(x.split("\t")[1]) for x in tool("bcftools", "view", "-H", "-", data=r.out["kept"]).decode().splitlines()]
    equal(kept, [5, 10, 30, 30, 45, 70, 90, 110, 500], "kept")
    for n_sample, n_missing, want in ((9, 1, 0), (9, 8, 0), (10, 1, 0), (10, 2, 1)):  # among few samples one missing call is no rate
        gt = ["0|1"] * (n_sample - n_missing) + [".|."] * n_missing
        r = qc(vcf(*[row(p, a, b, *["0|1"] * n_sample) for p, a, b in ((10, "A", "C"), (20, "G", "T"), (30, "A", "G"))], row(90, "T", "C", *gt), names=["s%d" % i for i in range(n_sample)]))
        equal((r.error, report_of(r)[0]["low_call_rate"]), ("OK", want), "%d of %d missing" % (n_missing, n_sample))
    r = qc(vcf(row(10, "a", "c", *g), row(20, "G", "t", *g), row(30, "A", "G", *g), row(70, "acg", "a", *g), row(75, "A", "<del>", *g)))
    equal((r.error, report_of(r)[0]["in_panel"], report_of(r)[1]), ("OK", 4, [("75", "-", "-", "Invalid alleles")]), "small letters")
    equal([x.split("\t")[3:5] for x in tool("bcftools", "view", "-H", "-", data=r.out["kept"]).decode().splitlines()][::3], [["A", "C"], ["ACG", "A"]], "are written in capitals")


def check_qc_refusals():
    good = [row(p, r, a, "0|1", "0|0") for p, r, a in [(10, "A", "C"), (20, "G", "T"), (30, "A", "G"), (40, "C", "A")]]
    equal(qc(vcf(*good)).error, "OK", "good")
    r = qc(vcf(good[0], row(20, "G", "T", "0|0", "0/1"), *good[2:]), flags=WANTS_PHASED)
    equal((r.error, r.why.line, r.why.detail[:26]), ("EUNPHASED", 0, "record 2 (position 20) has"), "unphased")
    equal(report_of(r)[0]["records"], 2, "the report is there when the data isn't phased")
    equal(qc(vcf(*good), flags=WANTS_PHASED).error, "OK", "phased")
    chr_named = vcf(*good).replace(b"\n22\t", b"\nchr22\t").replace(b"ID=22,", b"ID=chr22,")
    equal(qc(chr_named).error, "EBUILD", "chr in front")
    equal(qc(vcf(*good).replace(b"\n22\t", b"\n21\t")).error, "EBUILD", "other chromosome")
    equal(qc(vcf(*good).replace(b"51304566", b"50818468")).error, "EBUILD", "length of another build")
    equal(qc(vcf(*good[:2])).error, "ENOOVERLAP", "two sites")
    far = [row(11 + i, "A", "C", "0|1", "0|0") for i in range(6)]
    r = qc(vcf(good[0], *far, *good[1:]))
    equal(r.error, "ENOOVERLAP", "most sites elsewhere")
    equal(report_of(r)[0]["typed_only"], 6, "the report is there when qc fails")
    gone = [row(p, "A", "C", ".|.", ".|.") for p in (10, 20, 30)]
    equal(qc(vcf(*gone)).error, "ECALLRATE", "missing")


def check_qc_phase_sets():
    """A sample is phased when the order of its heterozygotes is known among all of them: one set, whichever. Half a call is missing."""
    sites = [(10, "A", "C"), (20, "G", "T"), (30, "A", "G"), (40, "C", "A")]

    def of(*gts, fmt="GT:PS"):
        return vcf(*[row(*s, g, "1|1" + (":." if ":" in fmt else ""), fmt=fmt) for s, g in zip(sites, gts)])
    for name, data, phased, unphased, other in (
            ("no PS", of("0|1", "0|1", "1|0", "0|1", fmt="GT"), 1, 0, 0), ("one set", of("0|1:7", "0|1:7", "1|0:7", "0|1:7"), 1, 0, 0),
            ("words", of("0|1:PATMAT", "0|1:PATMAT", "1|0:PATMAT", "1|1:x"), 1, 0, 0), ("two sets", of("0|1:7", "0|1:7", "1|0:30", "0|1:30"), 0, 0, 2),
            ("a set beside none", of("0|1:.", "0|1", "1|0:30", "0|1"), 0, 0, 1), ("of what is no heterozygote", of("0|1:7", "1|1:9", "1|0:7", "./.:3"), 1, 0, 0),
            ("of what has no phase", of("0|1:7", "0/1:7", "1/1:9", "0|1:7"), 0, 1, 0), ("a place before PS", of("0|1:9:7", "0|1:9", "1|0:9:7", "0|1:1:7", fmt="GT:DP:PS"), 0, 0, 1)):
        for form, container in (("text", data), ("bcf", None if "words" in name else bcf(data.replace(b"##FILTER=<ID=q10", b"##FORMAT=<ID=PS,Number=1,Type=Integer,Description=\"set\">\n##FORMAT=<ID=DP,Number=1,Type=Integer,Description=\"d\">\n##FILTER=<ID=q10")))):
            if container is None:
                continue
            r = qc(container)
            c = report_of(r)[0]
            equal((r.error, r.counts.is_phased, c["phased"], c["unphased_genotypes"], c["other_phase_set_genotypes"]), ("OK", phased, phased, unphased, other), name + ", " + form)
            r = qc(container, flags=WANTS_PHASED)
            equal(r.error, "OK" if phased else "EUNPHASED", name + ", " + form)
    r = qc(vcf(*[row(*s, g, *["1|1"] * 10) for s, g in zip(sites, ("0/.", "./1", "./.", "0|1"))], names=["s%d" % i for i in range(11)]))
    c = report_of(r)[0]
    equal((r.error, c["half_missing_genotypes"], c["phased"]), ("OK", 2, 1), "half-calls")
    kept = [x.split("\t")[9] for x in tool("bcftools", "view", "-H", "-", data=r.out["kept"]).decode().splitlines()]
    equal([x.replace("|", "/") for x in kept], ["./.", "./.", "./.", "0/1"], "kept half-calls")


def check_qc_ploidy():
    """A missing call doesn't say of how many haplotypes; a sample whose number changes is refused; the parts of chromosome X are kept apart."""
    sites = [(10, "A", "C"), (20, "G", "T"), (30, "A", "G"), (40, "C", "A")]
    many = ["0|1"] * 30

    def kept(*rows, panel=PANEL):
        r = qc(no_length(vcf(*rows, names=["s%d" % i for i in range(32)])), no_length(panel))
        equal(r.error, "OK", "%r" % (r.why,))
        return [x.split("\t")[9:11] for x in tool("bcftools", "view", "-H", "-", data=r.out["kept"]).decode().splitlines()]
    for male, female in ((".", "./."), ("./.", "."), (".", "."), ("./.", "./.")):
        got = kept(row(*sites[0], male, female, *many), row(*sites[1], "1", female, *many), row(*sites[2], male, "0|0", *many), row(*sites[3], "0", "0|1", *many))
        equal([[g.replace("/", "|") for g in x] for x in got], [[".", ".|."], ["1", ".|."], [".", "0|0"], ["0", "0|1"]], "missing first: %s %s" % (male, female))
    got = kept(*[row(*s, ".", "1", *many) for s in sites])
    equal([x[0] for x in got], ["."] * 4, "never called, beside a haploid sample")
    got = kept(*[row(*s, ".", "1|1", *many) for s in sites])
    equal([x[0].replace("/", "|") for x in got], [".|."] * 4, "never called, all others diploid")
    r = qc(vcf(row(*sites[0], "0|1", "1|1"), row(*sites[1], "0|0", "1"), *[row(*s, "0|1", "1|1") for s in sites[2:]]))
    equal((r.error, r.why.line), ("EPLOIDY", 0), "changing")
    for part in ("PAR1", "record 2 (position 20)", "sample number 2", "1 allele"):
        if part not in r.why.detail:
            raise AssertionError("%r: %r" % (part, r.why.detail))
    # 22 becomes X, and positions move to a part of it
    for chrom, shift, length in (("X", 3_000_000, b"155270560"), ("chrX", 3_000_000, b"156040895"), ("X", 3_000_000, None), ("23", 3_000_000, b"155270560")):
        def moved(data, by):
            head, _, body = data.partition(b"#CHROM")
            head = head.replace(b"ID=22,length=51304566", b"ID=" + chrom.encode() + (b",length=" + length if length else b""))
            lines = [re.sub(rb"^22\t(\d+)", lambda m: b"%s\t%d" % (chrom.encode(), int(m[1]) + by), x) for x in (b"#CHROM" + body).split(b"\n")]
            return head + b"\n".join(lines)
        par2 = 155_000_000 if length != b"156040895" else 155_800_000
        inside = [row(p + shift, a, b, "0", "0|1", chrom=chrom) for p, a, b in sites]
        before, behind = row(2_000_000, "A", "C", "0|1", "0|1", chrom=chrom), row(par2, "A", "C", "0|1", "0|1", chrom=chrom)
        up = moved(vcf(before, *inside, behind), 0)
        r = qc(up, moved(PANEL, shift))
        equal(r.error, "OK", "%s: %r" % (chrom, r.why))
        c, listed = report_of(r)
        equal((c["in_panel"], c["other_part_of_x"], c["haploid_samples"], c["outside_panel"]), (4, 2, 1, 0), chrom)
        equal([x[0] for x in listed], ["2000000", str(par2)], chrom)


# ---- panel and maps -----------------------------------------------------------------------------------------------


def check_qc_several_alternatives():
    """A panel's record with several ALTs is as many rows; several records at one position are looked at together."""
    panel = vcf(row(10, "A", "C,G", "0|1", "2|0", "0|0"), row(10, "A", "AT", "0|1", "0|0", "1|0"), row(20, "G", "A", "0|1", "0|0", "0|0"), row(20, "G", "C", "0|0", "1|0", "0|0"),
                row(30, "AC", "A,ACC,T", "1|2", "3|0", "0|0"), row(40, "A", "C", "0|1", "0|0", "0|0"), names=("p", "q", "r"))
    g = ("0|1", "0|0")
    target = vcf(row(10, "A", "G", *g), row(10, "A", "C", *g), row(10, "A", "T", *g), row(10, "A", "AT", *g), row(10, "A", "C", *g), row(20, "G", "C", *g), row(20, "A", "G", *g),
                 row(30, "AC", "T", *g), row(30, "AC", "ACC", *g), row(30, "A", "AC", *g), row(30, "AC", "A,T", *g), row(40, "A", "C", *g))
    r = qc(target, panel)
    equal(r.error, "OK", "qc")
    counts, listed = report_of(r)
    equal({k: counts[k] for k in ("in_panel", "duplicate", "allele_switch", "allele_mismatch", "multiallelic", "typed_only")},
          dict(in_panel=7, duplicate=1, allele_switch=2, allele_mismatch=1, multiallelic=1, typed_only=0), "counts")
    equal([x for x in listed if x[0] == "10"], [("10", "A", "T", "Allele mismatch"), ("10", "A", "C", "Duplicate")], "list")
    impute = driver.run(WORKER, "impute", {"kept": r.out["kept"], "panel": sqp(panel)})
    equal(impute.error, "OK", "impute")
    finish = driver.run(WORKER, "finish", {"ids": b"sequester-ids/v1 2\na\nb\n", "index": impute.out["index"]})
    rows = [x.split("\t") for x in clean("bcftools", "view", "-H", path("several.vcf.gz", finish.out["header"] + impute.out["body"])).decode().splitlines()]
    equal([(x[1], x[3], x[4], x[7].split(";")[-1]) for x in rows],
          [("10", "A", "C", "TYPED"), ("10", "A", "G", "TYPED"), ("10", "A", "AT", "TYPED"), ("20", "G", "A", "IMPUTED"), ("20", "G", "C", "TYPED"), ("30", "AC", "A", "IMPUTED"),
           ("30", "AC", "ACC", "TYPED"), ("30", "AC", "T", "TYPED"), ("40", "A", "C", "TYPED")], "rows")


# ---- panel --------------------------------------------------------------------------------------------------------


def check_panels():
    good = sqp(bcf(PANEL), FLAT_MAP)
    ok = driver.run(WORKER, "panel", {"panel": good})
    equal(ok.error, "OK", "panel")
    c = ok.counts
    equal((c.n_sample, c.n_haplotype, c.n_site, c.chrom, c.first_bp, c.last_bp, c.build, c.populations), (4, 8, 12, "22", 10, 110, "", "all"), "counts")
    for name, data, word in [("empty", b"", "empty"), ("vcf", PANEL, "panel build"), ("vcf.gz", bgzip(PANEL), "panel build"), ("bcf", bcf(PANEL), "panel build"),
                             ("text", b"hello\n", "no panel file"), ("cut", good[:-1], ""), ("half", good[:len(good) // 2], ""), ("head alone", good[:16], ""), ("longer", good + b"x", "")]:
        for stage, more in (("panel", {}), ("qc", {"genotypes": ingest(GOOD).out["genotypes"]}), ("impute", {"kept": ingest(GOOD).out["genotypes"]})):
            r = driver.run(WORKER, stage, dict(more, panel=data))
            equal(r.error, "EPANEL", "%s: %s" % (stage, name))
            if word not in r.why.detail:
                raise AssertionError("%s: %r" % (name, r.why.detail))
    dice = random.Random(3)
    for i in range(60):  # every byte counts
        data = bytearray(good)
        at = dice.randrange(len(data))
        data[at] ^= 1 << dice.randrange(8)
        equal(driver.run(WORKER, "panel", {"panel": bytes(data)}).error, "EPANEL", "byte %d of %d" % (at, len(data)))


# ---- impute and finish ----------------------------------------------------------------------------------------------


def clean(*args):
    """Output of a tool that must not complain."""
    r = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    equal(r.stderr, b"", " ".join(args[:3]))
    return r.stdout


def check_small_result():
    """Missing calls, records of the target alone, haploid samples, two panel records at one position."""
    target = vcf(row(5, "A", "C", "0|1", "1", rsid="rs5"), row(10, "A", "C", "0|1", "1"), row(20, "G", "T", ".|.", "0"),
                 row(30, "A", "T", "1|0", "1"), row(45, "A", "C", ".|.", "."), row(80, "T", "C", "0|0", "0"), row(500, "A", "C", "1|1", "0"),
                 names=("Anna Ö", "Bo"))
    ids_qc_keeps = target
    r = ingest(ids_qc_keeps)
    impute = driver.run(WORKER, "impute", {"kept": r.out["genotypes"], "panel": sqp(PANEL, FLAT_MAP)})
    equal(impute.error, "OK", "impute")
    finish = driver.run(WORKER, "finish", {"ids": r.out["ids"], "index": impute.out["index"]})
    equal(finish.error, "OK", "finish")
    out = path("small.vcf.gz", finish.out["header"] + impute.out["body"])
    path("small.vcf.gz.tbi", finish.out["final_index"])
    rows = [x.split("\t") for x in clean("bcftools", "view", "-H", out).decode().splitlines()]
    equal([int(x[1]) for x in rows], [5, 10, 20, 30, 30, 40, 45, 50, 60, 70, 80, 90, 100, 110, 500], "positions")
    by = {(x[1], x[4]): x for x in rows}
    equal(clean("bcftools", "query", "-l", out).decode().split("\n")[:2], ["Anna Ö", "Bo"], "names")
    equal(by["5", "C"][7].split(";")[-1] + by["5", "C"][2] + by["5", "C"][9] + " " + by["5", "C"][10], "TYPED_ONLYrs50|1:1:0,1:0,1,0 1:1:1:0,1", "typed only")
    equal(by["10", "C"][7].split(";")[-1] + by["10", "C"][9] + " " + by["10", "C"][10], "TYPED0|1:1:0,1:0,1,0 1:1:1:0,1", "typed")
    equal((by["30", "T"][7].split(";")[-1], by["30", "G"][7].split(";")[-1]), ("TYPED", "IMPUTED"), "two at one position")
    equal(by["45", "C"][9:], [".|.:.:.,.:.,.,.", ".:.:.:.,."], "missing and typed only")
    if by["20", "T"][9].startswith(".") or not by["20", "T"][7].endswith("TYPED"):
        raise AssertionError("a missing typed call is imputed: %r" % by["20", "T"][9])
    for x in rows:
        for sample, n_hap in ((x[9], 2), (x[10], 1)):
            gt, ds, hds, gp = sample.split(":")
            if "." in gt:
                continue
            h = [float(v) for v in hds.split(",")]
            equal((len(h), round(sum(h), 3), round(sum(map(float, gp.split(","))), 3), len(gp.split(","))),
                  (n_hap, float(ds), 1.0, n_hap + 1), "sums of %r" % sample)


def check_windows():
    """60 cM in four windows, with a hole of 25 cM and records of the target alone on either side. A window is what 2 cM around it make it: with all else
    taken out of panel and target its rows are the same."""
    dice = random.Random(9)
    n_sample, n_target = 12, 3
    pos = sorted(dice.sample(range(2_000_000, 30_000_000), 260) + dice.sample(range(55_000_000, 62_000_000), 90))
    panel = [[dice.random() < dice.choice([0.1, 0.5, 0.8]) for _ in range(2 * n_sample)] for _ in pos]
    typed = set(dice.sample(range(len(pos)), 170))
    now, target = [dice.randrange(2 * n_sample) for _ in range(2 * n_target)], []
    for x in panel:
        now = [dice.randrange(2 * n_sample) if dice.random() < 0.03 else h for h in now]
        target.append([x[h] for h in now])

    def calls(site):
        return ["%d|%d" % (site[2 * i], site[2 * i + 1]) for i in range(len(site) // 2)]

    def rows_of(name, from_bp, to_bp):
        """Rows of the result from a panel and a target of this stretch."""
        some = [i for i, p in enumerate(pos) if from_bp <= p < to_bp]
        ref = vcf(*[row(pos[i], "A", "C", *calls(panel[i])) for i in some], names=["p%d" % i for i in range(n_sample)])
        lonely = [row(p, "G", "T", *["0|1"] * n_target) for p in (1000, 70_000_000)]
        up = vcf(lonely[0], *[row(pos[i], "A", "C", *calls(target[i])) for i in some if i in typed], lonely[1], names=["t%d" % i for i in range(n_target)])
        gmap = b"pos chr cM\n0 22 0\n100000000 22 100\n"
        out = os.path.join(TMP.name, name + ".vcf.gz")
        r = local("impute", "--panel", path(name + ".sqp", sqp(no_length(ref), gmap)), "--target", path(name + ".vcf", no_length(up)), "-o", out, "--timing")
        return [x.split("\t") for x in clean("bcftools", "view", "-H", out).decode().splitlines()], re.findall(r"^window   ([0-9.]+)-", r.stderr.decode(), re.M)
    rows, windows = rows_of("all", 0, 1 << 30)
    equal([int(x[1]) for x in rows], [1000] + pos + [70_000_000], "positions")
    equal(windows, ["0.0", "20.0", "40.0", "60.0"], "windows")
    for first in (0, 20, 40, 60):
        lone, _ = rows_of("lone%d" % first, (first - 2) * 1_000_000, (first + 22) * 1_000_000)
        middle = [x for x in rows if first * 1_000_000 <= int(x[1]) < (first + 20) * 1_000_000]
        equal([x for x in lone if first * 1_000_000 <= int(x[1]) < (first + 20) * 1_000_000], middle, "window from %d cM" % first)
        if len(middle) < 20:
            raise AssertionError("an empty test")


def whole_and_chunks(kept, ids, panel, cuts):
    """One piece, and the chunks between @cuts joined: files and indexes must be the same bytes. Returns the chunks' results and the file."""
    one = driver.run(WORKER, "impute", {"kept": kept, "panel": panel})
    equal(one.error, "OK", "one piece: %r" % (one.why,))
    edges = [0, *cuts, 0]
    parts = [driver.run(WORKER, "impute", {"kept": kept, "panel": panel}, from_bp=a, to_bp=b) for a, b in zip(edges, edges[1:])]
    for a, b, p in zip(edges, edges[1:], parts):
        equal(p.error, "OK", "chunk %d-%d: %r" % (a, b, p.why))
    equal(b"".join(p.out["body"] for p in parts) == one.out["body"], True, "joined bodies, cut at %r" % (cuts,))
    equal(sum(p.counts.n_site for p in parts), one.counts.n_site, "sites")
    equal(sum(p.counts.n_variant for p in parts), one.counts.n_variant, "records")
    ends = [driver.run(WORKER, "finish", {"ids": ids, "index": index}) for index in (one.out["index"], b"".join(p.out["index"] for p in parts))]
    for e in ends:
        equal(e.error, "OK", "finish: %r" % (e.why,))
    equal(ends[0].out["header"], ends[1].out["header"], "headers")
    equal(ends[0].out["final_index"] == ends[1].out["final_index"], True, "indexes")
    out = path("joined.vcf.gz", ends[1].out["header"] + b"".join(p.out["body"] for p in parts))
    path("joined.vcf.gz.tbi", ends[1].out["final_index"])
    return parts, out


def check_chunks():
    """Chunks joined are the one piece, byte for byte: lines within an indel and within one position, windows without a record or a
    typed site, records of the target alone, chunks without a window, a panel that begins in mid-chunk."""
    dice = random.Random(4)
    n_sample, n_target, line = 10, 3, 20_000_000  # without a map windows begin at k * 20 Mb
    spread = sorted(dice.sample(range(23_000_000, 41_000_000), 240) + dice.sample(range(62_000_000, 66_000_000), 40) + dice.sample(range(71_000_000, 95_000_000), 200))
    sites = [(p, "A", "C") for p in spread if abs(p % line - line / 2) < line / 2 - 10]
    sites += [(2 * line - 3, "ACGTACGTACGT" * 9000, "A"), (2 * line, "G", "T"), (2 * line, "G", "C"), (2 * line + 1, "G", "GT"),
              (3 * line - 1, "T", "A"), (3 * line, "T", "A"), (3 * line, "T", "C"), (4 * line, "C", "CA"), (4 * line, "C", "G")]
    sites.sort(key=lambda s: s[0])
    panel = [[dice.random() < dice.choice([0.05, 0.3, 0.7]) for _ in range(2 * n_sample)] for _ in sites]

    def calls(alleles):
        return ["%d|%d" % (alleles[2 * i], alleles[2 * i + 1]) for i in range(len(alleles) // 2)]
    source = no_length(vcf(*[row(p, a, b, *calls(x)) for (p, a, b), x in zip(sites, panel)], names=["p%d" % i for i in range(n_sample)]))
    ref = sqp(source)
    rows, now = [], [dice.randrange(2 * n_sample) for _ in range(2 * n_target)]
    for (p, a, b), x in zip(sites, panel):
        now = [dice.randrange(2 * n_sample) if dice.random() < 0.03 else h for h in now]
        if dice.random() < 0.5 and not 62_000_000 < p < 66_000_000 or p % line == 0:  # 60..70 Mb has no typed site
            rows.append((p, row(p, a, b, *calls([x[h] for h in now]))))
    for p in (1000, 9_999_999, 20_000_000, 39_999_999, 45_000_000, 55_000_000, 120_000_000):
        rows.append((p, row(p, "GA", "G", *["0|1"] * n_target)))
    up = ingest(no_length(vcf(*[text for _, text in sorted(rows, key=lambda x: x[0])], names=["t%d" % i for i in range(n_target)])))
    for mb in (20, 10, 5, 7, 250):
        cuts = [k * mb * 1_000_000 for k in range(23 // mb + 1, 96 // mb + 1)]
        parts, out = whole_and_chunks(up.out["genotypes"], up.out["ids"], ref, cuts)
    parts, out = whole_and_chunks(up.out["genotypes"], up.out["ids"], ref, [2 * line, 3 * line, 4 * line])
    equal([p.counts.n_site > 0 for p in parts], [True] * 4, "each chunk has sites")
    theirs = path("theirs.vcf.gz", open(out, "rb").read())
    clean("bcftools", "index", "-t", theirs)
    equal(clean("bcftools", "index", "--stats", out), clean("bcftools", "index", "--stats", theirs), "statistics of the index")
    for a in [1, 1000, 39_999_990, 40_000_000, 40_050_000, 40_107_990, 30_000_000, 45_000_000, 61_000_000, 80_000_000, 119_999_999] + dice.sample(range(1, 121_000_000), 20):
        region = "22:%d-%d" % (a, a + dice.choice([0, 20, 100_000, 9_000_000]))
        equal(clean("bcftools", "view", "-H", "-r", region, out), clean("bcftools", "view", "-H", "-r", region, theirs), region)
    gmap = b"pos chr cM\n1 22 0\n50000000 22 10\n50000001 22 35\n100000000 22 60\n"  # a jump of 25 cM between two positions
    whole_and_chunks(up.out["genotypes"], up.out["ids"], sqp(source, gmap), [10_000_000, 40_000_000, 50_000_000, 50_000_001, 90_000_000])


def check_real_data():
    """chr22: accuracy, and a result and an index that bcftools and tabix take for their own."""
    panel, target, gmap = data_file("ref.bcf"), data_file("target.array.phased.vcf.gz"), data_file("chr22.b37.gmap.gz")
    vcf_gz, tbi, by = driver.pipeline(WORKER, target, sqp(panel, gmap))
    names = tool("bcftools", "query", "-l", os.path.join(DATA, "chr22-1kgp3-b37", "target.array.phased.vcf.gz")).split()
    name_like = rb"(HG|NA)\d{5}"
    equal([n for n in names if not re.fullmatch(name_like, n)], [], "how the names look")
    for stage, port in (("ingest", "genotypes"), ("qc", "kept"), ("qc", "report"), ("impute", "body"), ("impute", "index")):
        raw = by[stage].out[port]
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        if re.search(name_like, raw):
            raise AssertionError("a sample name in %s of %s" % (port, stage))
    c = by["impute"].counts
    equal((c.n_sample, c.n_haplotype, c.n_site, c.n_variant), (200, 3600, 28463, 28463), "counts")
    if not by["impute"].progress or any(done > total or not total for done, total in by["impute"].progress):
        raise AssertionError("progress: %r" % by["impute"].progress)
    ours = path("ours.vcf.gz", vcf_gz)
    path("ours.vcf.gz.tbi", tbi)
    theirs = path("theirs.vcf.gz", vcf_gz)
    clean("bcftools", "index", "-t", theirs)
    clean("tabix", "-l", ours)
    equal(clean("bcftools", "index", "--nrecords", ours), b"28463\n", "records in the index")
    equal(clean("bcftools", "index", "--stats", ours), clean("bcftools", "index", "--stats", theirs), "statistics of the index")
    dice = random.Random(3)
    regions = ["22", "22:1-50244251", "22:50244251-50244251", "22:51244237", "22:51244238-"]
    regions += ["22:%d-%d" % (a, a + dice.choice([0, 10, 1000, 50000])) for a in (dice.randrange(50240000, 51245000) for _ in range(12))]
    for region in regions:
        equal(clean("tabix", ours, region), clean("tabix", theirs, region), region)
        equal(clean("bcftools", "view", "-H", "-r", region, ours), clean("bcftools", "view", "-H", "-r", region, theirs), region)
    typed = clean("bcftools", "query", "-i", "TYPED=1", "-f", "%POS[\t%GT]\n", ours)
    truth = clean("bcftools", "query", "-f", "%POS[\t%GT]\n", os.path.join(DATA, "chr22-1kgp3-b37", "target.array.phased.vcf.gz"))
    equal(typed, truth, "typed genotypes are kept")
    d = os.path.join(DATA, "chr22-1kgp3-b37")
    table = clean(sys.executable, SCORE, "--truth", d + "/truth.vcf.gz", "--imputed", ours, "--panel", d + "/ref.bcf", "--min-agg", "0.904",
                  "--min-site", "0.698").decode()
    print("# " + table.replace("\n", "\n# "))


def check_finish_trusts_nobody():
    r = ingest(GOOD)
    impute = driver.run(WORKER, "impute", {"kept": r.out["genotypes"], "panel": sqp(PANEL, FLAT_MAP)})
    good = {"ids": r.out["ids"], "index": impute.out["index"]}
    equal(driver.run(WORKER, "finish", good).error, "OK", "good")
    index, ids = good["index"], good["ids"]
    n_sample, body, n_meta, n_tbi = struct.unpack("<4Q", index[16:48])
    meta, tbi = index[48:48 + n_meta], index[48 + n_meta:]
    equal((n_sample, body, n_tbi), (2, len(impute.out["body"]), len(tbi)), "head of the index")

    def made(meta=meta, tbi=tbi, n=n_sample, body=body):
        return index[:16] + struct.pack("<4Q", n, body, len(meta), len(tbi)) + meta + tbi
    equal(made(), index, "the index taken apart and put together")
    equal(driver.run(WORKER, "finish", dict(good, index=index + index)).error, "OK", "two parts")
    bad = [("index", b""), ("index", b"sqindex3"), ("index", index[:-1]), ("index", index + b"x"), ("index", made(n=3)), ("index", made(meta=b"")),
           ("index", made(meta=meta + b"#CHROM\tevil\n")), ("index", made(meta=meta[:-1])), ("index", made(meta=meta.replace(b"##source", b"##so\trce"))),
           ("index", made(body=1 << 60)), ("index", made(tbi=b"\xff" + tbi[1:])),
           ("index", index + made(n=3)), ("index", index + made(meta=meta + b"##x=1\n")), ("index", index + made(tbi=tbi.replace(b"22", b"23", 1))),
           ("index", made(tbi=tbi[:-1])), ("index", made(tbi=tbi + b"\0")), ("index", index[:30]), ("index", index[:8] + b"\4" + index[9:]), ("index", index[:9] + b"\2" + index[10:]), ("index", made(tbi=b"")),
           ("ids", b""), ("ids", ids + b"c\n"), ("ids", ids[:-2]), ("ids", ids.replace(b"b", b"b\tc")),
           ("ids", ids.replace(b"b", b"")), ("ids", ids.replace(b"1 2", b"1 9999999999"))]
    for port, data in bad:
        equal(driver.run(WORKER, "finish", dict(good, **{port: data})).error, "EPROTO", "%s %r" % (port, data[:30]))
    dice = random.Random(5)
    for i in range(60):
        data = bytearray(index)
        data[dice.randrange(16, len(data))] = dice.randrange(256)
        if driver.run(WORKER, "finish", dict(good, index=bytes(data))).exit not in (0, 1):
            raise AssertionError("index mutation %d" % i)


# ---- without a server ---------------------------------------------------------------------------------------------------


def local(*args, want=0):
    r = subprocess.run([WORKER, "--local", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    equal(r.returncode, want, "%r: %r" % (args, r.stderr))
    return r


def check_local():
    d = os.path.join(DATA, "chr22-1kgp3-b37")
    panel, target = path("chr22.sqp", sqp(data_file("ref.bcf"), data_file("chr22.b37.gmap.gz"))), d + "/target.array.phased.vcf.gz"
    results = []
    for n in (1, 2, 5):
        out = os.path.join(TMP.name, "local%d.vcf.gz" % n)
        local("impute", "--panel", panel, "--target", target, "-o", out, "--threads", str(n))
        results.append((open(out, "rb").read(), open(out + ".tbi", "rb").read()))
    if results[0] != results[1] or results[0] != results[2]:
        raise AssertionError("the number of threads shows in the result")
    clean("bcftools", "view", "-H", "-r", "22:50300000-50300100", out)


def main():
    checks = [(k[6:], v) for k, v in list(globals().items()) if k.startswith("check_") and (not ONLY or k[6:] in ONLY)]
    print("1..%d" % len(checks))
    n_failed = 0
    for i, (name, check) in enumerate(checks, 1):
        try:
            check()
            print("ok %d %s" % (i, name), flush=True)
        except Exception as e:  # noqa: BLE001 - whatever it is, the test failed
            n_failed += 1
            print("not ok %d %s\n# %s: %s" % (i, name, type(e).__name__, str(e).replace("\n", "\n# ")), flush=True)
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
