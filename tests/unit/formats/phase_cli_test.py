#!/usr/bin/env python3
"""`sequester phase`, and `sequester impute` of what isn't phased: what is kept and what is filled, sets and order that the target brings, haploid
samples, the same bytes for any number of threads, and how it refuses.

    phase_cli_test.py WORKER DATA-DIRECTORY
"""
import gzip
import hashlib
import os
import random
import re
import subprocess
import sys
import tempfile
import traceback

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import stage_driver as driver  # noqa: E402
import sqp  # noqa: E402

WORKER, DATA = sys.argv[1], os.path.join(sys.argv[2], "chr22-1kgp3-b37")
ONLY = sys.argv[3:]
TMP = tempfile.TemporaryDirectory()
UNPHASED, PHASED = os.path.join(DATA, "target.array.unphased.vcf.gz"), os.path.join(DATA, "target.array.phased.vcf.gz")
PANEL = sqp.cached(WORKER, os.path.join(DATA, "ref.bcf"), os.path.join(DATA, "chr22.b37.gmap.gz"), "GRCh37")


def path(name, data=None):
    p = os.path.join(TMP.name, name)
    if data is not None:
        with open(p, "wb") as f:
            f.write(data)
    return p


def tool(*args):
    p = subprocess.run(args, capture_output=True, check=True)
    assert p.stderr == b"", p.stderr
    return p.stdout


def run(command, target, out, *args, panel=PANEL, want=0):
    fields = ["--format", "GT,DS,HDS,GP"] if command == "impute" else []
    cmd = [WORKER, "--local", command, "--panel", panel, "--target", target, *(["-o", path(out)] if out else []), *fields, *args]
    p = subprocess.run(cmd, capture_output=True, text=True)
    assert p.returncode == want, (cmd, p.returncode, p.stdout, p.stderr)
    return p


def records(name, *more):
    return [x.split("\t") for x in tool("bcftools", "view", "-H", *more, path(name)).decode().splitlines()]


def content(name):
    with open(path(name), "rb") as f:
        return f.read()


def vcf(samples, rows, chrom="9", fmt="GT"):
    head = "##fileformat=VCFv4.2\n##contig=<ID=%s>\n" % chrom
    for key, kind in (("GT", "String"), ("PS", "Integer")):
        head += "##FORMAT=<ID=%s,Number=1,Type=%s,Description=\"x\">\n" % (key, kind)
    head += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(samples) + "\n"
    return (head + "".join("\t".join([chrom, str(p), i, a, b, ".", "PASS", ".", fmt, *gt]) + "\n" for p, i, a, b, gt in rows)).encode()


MB = 1_000_000


class Made:
    """A made chromosome of 1 cM/Mb, 5..68 Mb: windows at 0, 20, 40, 60 cM. Its truth is known."""

    def __init__(self, n_panel=100, n_target=8, n_site=3000, chrom="9", seed=5, holes=True):
        dice = self.dice = random.Random(seed)
        self.pos = sorted(dice.sample(range(5 * MB, 68 * MB), n_site))
        founders = [[int(dice.random() < f) for _ in range(16)] for f in (dice.choice([0.1, 0.3, 0.6]) for _ in self.pos)]
        now = [dice.randrange(16) for _ in range(2 * (n_panel + n_target))]
        self.truth, panel, self.n_target, self.chrom = [], [], n_target, chrom
        for x in founders:
            now = [dice.randrange(16) if dice.random() < 0.002 else h for h in now]
            a = [x[h] for h in now]
            panel.append(["%d|%d" % (a[2 * i], a[2 * i + 1]) for i in range(n_panel)])
            self.truth.append([(a[2 * (n_panel + i)], a[2 * (n_panel + i) + 1]) for i in range(n_target)])
        self.typed = [k for k, p in enumerate(self.pos) if dice.random() < 0.3 and not (holes and 26 * MB < p < 44 * MB)]
        source = path("made%d.vcf" % seed, vcf(["p%d" % i for i in range(n_panel)], [(p, ".", "A", "C", g) for p, g in zip(self.pos, panel)], chrom))
        gmap = path("made%d.map" % seed, b"pos chr cM\n0 %s 0\n100000000 %s 100\n" % (chrom.encode(), chrom.encode()))
        self.panel = sqp.build(WORKER, source, path("made%d.sqp" % seed), gmap)

    def target(self, name, call, more=(), fmt="GT"):
        """@call(i, k, a, b) makes sample i's field at typed site number k; @more: rows besides."""
        rows = [(self.pos[k], "rs%d" % k, "A", "C", [call(i, k, *self.truth[k][i]) for i in range(self.n_target)]) for k in self.typed]
        return path(name, vcf(["t%d" % i for i in range(self.n_target)], sorted(rows + list(more), key=lambda r: r[0]), self.chrom, fmt))


def unphased(i, k, a, b):
    return "%d/%d" % (min(a, b), max(a, b))


MADE = Made()


def switches(rows, truth, i):
    """Of sample i's heterozygotes those whose order to the one before is wrong, and how many there are."""
    before, wrong, n = None, 0, 0
    for x in rows:
        t = truth.get(int(x[1]))
        if not t or t[i][0] == t[i][1]:
            continue
        gt = x[9 + i].split(":")[0]
        same = gt == "%d|%d" % t[i]
        assert same or gt == "%d|%d" % t[i][::-1], (x[1], gt, t[i])
        wrong += before is not None and same != before
        n += before is not None
        before = same
    return wrong, n


# ---- what is written ------------------------------------------------------------------------------------------------


def check_threads_and_containers():
    """The same bytes for any number of threads; VCF and BCF say the same; the index is one that bcftools takes."""
    up = MADE.target("up.vcf", unphased)
    for command in ("phase", "impute"):
        for end in (".vcf.gz", ".bcf"):
            seen = set()
            for n in (1, 2, 3):
                run(command, up, "t%d%s" % (n, end), "--threads", str(n), "-q", panel=MADE.panel)
                seen.add((content("t%d%s" % (n, end)), content("t%d%s.%s" % (n, end, "csi" if end == ".bcf" else "tbi"))))
            assert len(seen) == 1, "%s %s: the number of threads shows" % (command, end)
        query = ["bcftools", "query", "-f", "%POS %ID %REF %ALT" + ("[ %GT %PP]\n" if command == "phase" else "[ %GT %HDS]\n")]
        assert tool(*query, path("t1.vcf.gz")) == tool(*query, path("t1.bcf")), command
        for region in ("9:1-6000000", "9:39999999-41000000", "9:60000000"):
            theirs = path("theirs.vcf.gz", content("t1.vcf.gz"))
            tool("bcftools", "index", "-ft", theirs)
            assert records("t1.vcf.gz", "-r", region) == records("theirs.vcf.gz", "-r", region), region
    p = run("phase", UNPHASED, "real.vcf.gz")
    assert "200 samples, 145 variants" in p.stderr and "not phased" in p.stderr and re.search(r"phase    7584 heterozygotes at 145 sites", p.stderr), p.stderr
    assert tool("bcftools", "query", "-l", path("real.vcf.gz")) == tool("bcftools", "query", "-l", UNPHASED)


GOLDEN = "83827593625a8a44608e55a263f62733e45692f21cf59a7602ea172361e324b8"  # of check_written_down()


def check_written_down():
    """Real genotypes, 200 samples: the records, PP with them, are those whose digest is written here, so that nobody changes results without knowing it. The
    engine's own digests are in tests/unit/engine/phase_golden.c: where those hold and this one doesn't, it's the reading or the writing."""
    for n in (1, 2, 3):
        run("phase", UNPHASED, "golden.bcf", "--threads", str(n), "-q")
        found = hashlib.sha256(tool("bcftools", "view", "-H", path("golden.bcf"))).hexdigest()
        assert found == GOLDEN, "%d threads: found %s" % (n, found)


def check_nothing_lost_nothing_changed():
    """Every kept record, in order; called alleles as they came, missing ones filled, what the panel lacks as it was read."""
    dice = random.Random(8)

    def call(i, k, a, b):
        r = dice.random()
        return "./." if r < 0.02 else "%d/." % a if r < 0.03 else "." if r < 0.04 else unphased(i, k, a, b)
    own = [(1000, "rs1", "G", "T", ["0/1", "1/1", "./.", "1|0", "0/1", "0|0", "0/0", "1/0"] * 3), (30 * MB, "mine", "G", "GA", ["0/1"] * 24), (66 * MB + 1, ".", "AC", "A", ["1/."] + ["0/1"] * 23),
           (90 * MB, ".", "T", "G", ["0/1"] * 24)]
    own[0][4][10] = own[0][4][18] = "0/0"  # one of 24 missing: kept
    gone = [(10 * MB + 1, ".", "A", "C,G", ["0/1"] * 24)]
    made = Made(n_target=24, n_site=1500, seed=9)
    up = made.target("missing.vcf", call, own + gone)
    source = {int(x[1]): x for x in (y.split("\t") for y in open(up).read().splitlines() if y[0] != "#")}
    low = {pos for pos, x in source.items() if sum("." in g for g in x[9:]) > 2}
    p = run("phase", up, "full.vcf.gz", "--report", path("report.txt"), panel=made.panel)
    assert "%d left out" % (1 + len(low)) in p.stderr and "4 sites that the panel lacks" in p.stderr, p.stderr
    report = open(path("report.txt")).read()
    assert report.count("\tMultiallelic site") == 1 and report.count("\tLow call rate") == len(low)
    rows = records("full.vcf.gz")
    assert [int(x[1]) for x in rows] == sorted(set(source) - {10 * MB + 1} - low), "positions"
    n_filled = 0
    for x in rows:
        s = source[int(x[1])]
        assert x[3:5] == s[3:5] and x[2] == (s[2] if s[2].startswith("rs") else "."), (x[:5], s[:5])
        is_own = int(x[1]) in [r[0] for r in own]
        assert x[7].endswith("TYPED_ONLY" if is_own else ";TYPED"), x[7]
        assert x[8] == "GT:PP"
        for got, was in zip(x[9:], s[9:]):
            gt, pp = got.split(":")
            if is_own:
                assert (gt, pp) == ({"./.": ".|.", "1/.": ".|."}.get(was, was if "1" in was and "0" in was else was.replace("/", "|")), "."), (x[1], got, was)
                continue
            a, b = gt.split("|")
            assert a in "01" and b in "01", got
            if "." in was:
                n_filled += 1
            else:
                assert sorted((a, b)) == sorted(was.split("/")), (x[1], got, was)
            assert (pp == ".") == (a == b) and (pp == "." or 0.5 <= float(pp) <= 1), got
    assert n_filled > 50, "an empty test"
    assert re.search(r"%d missing calls filled" % n_filled, p.stderr), (n_filled, p.stderr)


def check_region():
    """A part of the result is a part of the whole."""
    up = MADE.target("up.vcf", unphased)
    for command in ("phase", "impute"):
        run(command, up, "whole.vcf.gz", panel=MADE.panel)
        whole = records("whole.vcf.gz")
        for a, b in ((1, 9 * MB), (39 * MB, 46 * MB), (59 * MB, 70 * MB)):
            run(command, up, "part.vcf.gz", "--region", "9:%d-%d" % (a, b), panel=MADE.panel)
            want = [x for x in whole if a <= int(x[1]) <= b]
            assert records("part.vcf.gz") == want and len(want) > 20, (command, a, b)
        p = run(command, up, "none.vcf.gz", "--region", "9:70000000-80000000", panel=MADE.panel, want=1)
        assert "record there" in p.stderr, p.stderr


# ---- what the target brings -------------------------------------------------------------------------------------------


def check_given_order():
    """Order that is given for the whole chromosome stays as it is, also in a sample that has it only here and there, and over holes of the panel."""
    truth = {MADE.pos[k]: MADE.truth[k] for k in MADE.typed}

    def call(i, k, a, b):
        if i < 2 or (i < 4 and k % 3):
            return "%d|%d" % (a, b)
        return unphased(i, k, a, b)
    own = [(p, ".", "G", "T", ["0|1"] * 4 + ["0/1"] * 4) for p in (1000, 35 * MB, 80 * MB)]
    run("phase", MADE.target("given.vcf", call, own), "given.vcf.gz", panel=MADE.panel)
    rows = records("given.vcf.gz")
    for x in rows:
        t = truth.get(int(x[1]))
        if not t:
            assert [g.split(":")[0] for g in x[9:]] == ["0|1"] * 4 + ["0/1"] * 4, x
            continue
        k = MADE.pos.index(int(x[1]))
        for i in range(4):
            if i < 2 or k % 3:
                assert x[9 + i].split(":")[0] == "%d|%d" % t[i], (x[1], i, x[9 + i], t[i])
    # impute: what is phased as a whole is not phased again, and --phased says the same
    up = MADE.target("phased.vcf", lambda i, k, a, b: "%d|%d" % (a, b))
    run("impute", up, "a.vcf.gz", panel=MADE.panel)
    run("impute", up, "b.vcf.gz", "--phased", panel=MADE.panel)
    assert content("a.vcf.gz") == content("b.vcf.gz") and b"phasing=" not in gzip.decompress(content("a.vcf.gz"))
    run("impute", MADE.target("up.vcf", unphased), "c.vcf.gz", panel=MADE.panel)
    assert b"##sequester_phasing=sequester, " in gzip.decompress(content("c.vcf.gz"))


def check_sets():
    """Within a phase set the order stays, whatever it is; sets are put together. Also far more sets than the engine has numbers for."""
    for name, length in (("long", 40), ("short", 3), ("many", 2)):
        turned = {}

        def call(i, k, a, b):
            if i >= 4:
                return unphased(i, k, a, b)
            block = MADE.typed.index(k) // length
            if turned.setdefault((i, block), MADE.dice.random() < 0.5):
                a, b = b, a
            return "%d|%d:%d" % (a, b, 1000 + block)
        up = MADE.target("sets.vcf", call, fmt="GT:PS")
        p = run("phase", up, "sets.vcf.gz", panel=MADE.panel)
        assert "not phased" in p.stderr or "phase   " in p.stderr
        read = {int(x[1]): x for x in (y.split("\t") for y in open(up).read().splitlines() if y[0] != "#")}
        n = 0
        for i in range(4):
            sides = {}
            for x in records("sets.vcf.gz"):
                was, ps = read[int(x[1])][9 + i].split(":")
                if was[0] == was[2]:
                    continue
                sides.setdefault(ps, []).append(x[9 + i].split(":")[0] == was)
            for s in sides.values():
                if name != "many":
                    assert len(set(s)) == 1, (name, i, s)
                n += len(s) > 1
        assert n > 4, "an empty test"
        refused = run("impute", up, "x.vcf.gz", "--phased", panel=MADE.panel, want=1)
        assert "not phased" in refused.stderr and ("second phase set" in refused.stderr or "without phase" in refused.stderr), refused.stderr


def check_haploid():
    """Chromosome X behind PAR1: males of one haplotype beside females, missing at first; a sample that changes is told what to do."""
    made = Made(n_site=1500, n_target=24, chrom="X", seed=6)

    def call(i, k, a, b):
        if i % 2:
            return "." if (k == made.typed[0] and i == 1) or made.dice.random() < 0.02 else str(a)
        return "./." if k == made.typed[0] and i < 2 else unphased(i, k, a, b)
    for more in ([], [(2 * MB, "rs1", "A", "C", ["0/1"] * 24)]):
        p = run("phase", made.target("x.vcf", call, more), "x.vcf.gz", "--report", path("report.txt"), panel=made.panel)
        rows = records("x.vcf.gz")
        assert len(made.typed) - 9 <= len(rows) <= len(made.typed) and int(rows[0][1]) == made.pos[made.typed[0]], p.stderr
        for x in rows:
            for i, g in enumerate(x[9:]):
                gt, pp = g.split(":")
                assert (gt in ("0", "1") and pp == ".") if i % 2 else re.fullmatch(r"[01]\|[01]", gt), (x[1], i, g)
        assert ("\tOther part of chromosome X" in open(path("report.txt")).read()) == bool(more)
    run("impute", path("x.vcf"), "xi.vcf.gz", panel=made.panel)
    assert all(len(x[9 + 1].split(":")[0]) == 1 and len(x[9].split(":")[0]) == 3 for x in records("xi.vcf.gz"))
    run("impute", path("x.vcf"), "xi.bcf", panel=made.panel)
    query = ["bcftools", "query", "-f", "%POS[ %GT %HDS]\n"]
    assert tool(*query, path("xi.bcf")) == tool(*query, path("xi.vcf.gz"))

    def change(i, k, a, b):
        return call(i, k, a, b) if i != 1 or made.pos[k] < 50 * MB else unphased(i, k, a, b)
    p = run("phase", made.target("change.vcf", change), "no.vcf.gz", panel=made.panel, want=1)
    assert "2 alleles, before it had 1" in p.stderr and "PAR1" in p.stderr, p.stderr


def check_edges():
    """One sample; none of its genotypes a heterozygote; a site, and a sample, that nobody called; one record in the panel's reach."""
    one = Made(n_target=1, n_site=1200, seed=7)
    truth = {one.pos[k]: one.truth[k] for k in one.typed}
    run("phase", one.target("one.vcf", unphased), "one.vcf.gz", panel=one.panel)
    wrong, n = switches(records("one.vcf.gz"), truth, 0)
    assert n > 50 and len(records("one.vcf.gz")) == len(one.typed)
    run("impute", path("one.vcf"), "onei.vcf.gz", panel=one.panel)
    p = run("phase", one.target("hom.vcf", lambda i, k, a, b: "%d/%d" % (a, a)), "hom.vcf.gz", panel=one.panel)
    assert "phase    0 heterozygotes" in p.stderr, p.stderr
    assert [x[9].split(":")[0] for x in records("hom.vcf.gz")] == ["%d|%d" % (truth[int(x[1])][0][0], truth[int(x[1])][0][0]) for x in records("hom.vcf.gz")]
    big = Made(n_target=11, n_site=900, seed=8)  # a sample without a call, and a site that is left out since nobody has one
    run("phase", big.target("nobody.vcf", lambda i, k, a, b: "./." if i == 0 or k == big.typed[5] else unphased(i, k, a, b)), "nobody.vcf.gz", panel=big.panel)
    rows = records("nobody.vcf.gz")
    assert len(rows) == len(big.typed) - 1 and all(re.fullmatch(r"[01]\|[01]", x[9].split(":")[0]) for x in rows)
    run("impute", path("nobody.vcf"), "nobodyi.vcf.gz", panel=big.panel)


def check_chunks_of_the_stream():
    """What the service does: the phase stage once, then chunks of its stream. Joined they are the one piece that impute makes of the unphased target."""
    dice = random.Random(4)

    def call(i, k, a, b):
        r = dice.random()
        return "./." if r < 0.02 else "%d|%d" % (a, b) if i == 0 else unphased(i, k, a, b)
    made = Made(n_target=12, seed=10)
    up = made.target("stream.vcf", call, [(p, ".", "G", "T", ["0/1", "0|1"] * 6) for p in (1000, 35 * MB, 80 * MB)])
    run("impute", up, "one.vcf.gz", panel=made.panel)
    with open(made.panel, "rb") as f:
        panel = f.read()
    with open(up, "rb") as f:
        ingest = driver.run(WORKER, "ingest", {"upload": f.read()})
    qc = driver.run(WORKER, "qc", {"genotypes": ingest.out["genotypes"], "panel": panel})
    assert (qc.error, qc.counts.is_phased) == ("OK", 0), qc.why
    phase = driver.run(WORKER, "phase", {"kept": qc.out["kept"], "panel": panel})
    assert phase.error == "OK" and phase.progress and phase.counts.n_in_panel == qc.counts.n_in_panel > 500, (phase.error, phase.why)
    for cuts in ([], [20 * MB, 40 * MB, 60 * MB], [10 * MB * k for k in range(1, 9)], [7 * MB, 33 * MB]):
        edges = [0, *cuts, 0]
        parts = [driver.run(WORKER, "impute", {"kept": phase.out["phased"], "panel": panel}, from_bp=a, to_bp=b) for a, b in zip(edges, edges[1:])]
        assert all(p.error == "OK" for p in parts), [(p.error, p.why) for p in parts]
        finish = driver.run(WORKER, "finish", {"ids": ingest.out["ids"], "index": b"".join(p.out["index"] for p in parts)})
        joined = finish.out["header"] + b"".join(p.out["body"] for p in parts)
        named = [x for x in gzip.decompress(content("one.vcf.gz")).split(b"\n") if not x.startswith(b"##sequester_panel=")]
        assert [x for x in gzip.decompress(joined).split(b"\n") if not x.startswith(b"##sequester_panel=")] == named, cuts
    refused = driver.run(WORKER, "impute", {"kept": qc.out["kept"], "panel": panel})
    assert refused.error == "EUNPHASED", refused.error


# ---- how right --------------------------------------------------------------------------------------------------------


def check_accuracy():
    """Against the project's phase of real people, and against the truth of the made ones, who are a mosaic of few founders as no people is."""
    run("phase", UNPHASED, "real.vcf.gz")
    truth = {}
    for x in tool("bcftools", "view", "-H", PHASED).decode().splitlines():
        x = x.split("\t")
        truth[int(x[1])] = [tuple(map(int, g.split(":")[0].split("|"))) for g in x[9:]]
    rows = records("real.vcf.gz")
    wrong, n = map(sum, zip(*(switches(rows, truth, i) for i in range(200))))
    print("# chr22: %d of %d switched, %.2f %%" % (wrong, n, 100 * wrong / n))
    assert n > 5000 and wrong < 0.05 * n
    up = MADE.target("up.vcf", unphased)
    run("phase", up, "made.vcf.gz", panel=MADE.panel)
    rows = records("made.vcf.gz")
    wrong, n = map(sum, zip(*(switches(rows, {MADE.pos[k]: MADE.truth[k] for k in MADE.typed}, i) for i in range(MADE.n_target))))
    print("# made: %d of %d switched" % (wrong, n))
    assert n > 1000 and wrong < 0.25 * n


# ---- how it refuses ---------------------------------------------------------------------------------------------------


def check_refusals():
    p = run("impute", UNPHASED, "no.vcf.gz", "--phased", want=1)
    assert UNPHASED in p.stderr and "not phased" in p.stderr and "record 1 (position 50244777)" in p.stderr and "--phased" in p.stderr and "sequester phase" in p.stderr, p.stderr
    assert not os.path.exists(path("no.vcf.gz"))
    for args, words in ((["--phased"], "is no option of `sequester phase`"), (["--format", "GT"], "is no option"), (["--region", "x:y"], "--region is written"), (["--threads", "0"], "--threads wants")):
        assert words in run("phase", UNPHASED, "no.vcf.gz", *args, want=2).stderr, args
    assert "must end in .vcf.gz or .bcf" in run("phase", UNPHASED, "no.txt", want=2).stderr
    assert "--out is needed" in run("phase", UNPHASED, None, want=2).stderr
    p = run("phase", UNPHASED, None, "--dry-run")
    assert "in panel    145 of 145" in p.stdout, p.stdout
    for name, data, words in (("garbage", b"hello\n" * 9, "not a VCF"), ("empty", b"", "empty"), ("cut", open(UNPHASED, "rb").read()[:3000], "ends in the middle")):
        p = run("phase", path(name, data), "no.vcf.gz", want=1)
        assert path(name) in p.stderr and words in p.stderr, p.stderr
    p = run("phase", UNPHASED, "no.vcf.gz", panel=UNPHASED, want=1)
    assert UNPHASED in p.stderr and "panel build" in p.stderr, p.stderr


def main():
    checks = [(k[6:], v) for k, v in list(globals().items()) if k.startswith("check_") and (not ONLY or k[6:] in ONLY)]
    print("1..%d" % len(checks))
    n_failed = 0
    for i, (name, check) in enumerate(checks, 1):
        try:
            check()
            print("ok %d %s" % (i, name), flush=True)
        except Exception:  # noqa: BLE001 - whatever it is, the test failed
            n_failed += 1
            print("not ok %d %s\n# %s" % (i, name, traceback.format_exc().replace("\n", "\n# ")), flush=True)
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
