#!/usr/bin/env python3
"""The panel file from outside: what `sequester panel ...` writes and reads, against tests/oracle/panel.py, which knows docs/formats/panel.md alone,
and against bcftools.

    panel_test.py SEQUESTER_WORKER SOURCE_ROOT [SHARED]
"""
import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile

WORKER, ROOT = [os.path.abspath(a) for a in sys.argv[1:3]]
sys.path[:0] = [os.path.join(ROOT, "tests/unit/tree"), os.path.join(ROOT, "tests/oracle")]
import panel as oracle  # noqa: E402
import tap  # noqa: E402

DATA = os.path.join(ROOT, "tests/data")
SHARED = os.path.join(sys.argv[3] if len(sys.argv) > 3 else os.path.join(ROOT, "..", "shared"), "data", "imputation")
TMP = tempfile.TemporaryDirectory()


def path(name):
    return os.path.join(TMP.name, name)


def run(*args, input=None):
    return subprocess.run([WORKER, "--local", "panel"] + [str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, input=input, timeout=1500)


def must(*args):
    r = run(*args)
    if r.returncode:
        raise AssertionError("panel %s: exit %d: %s" % (" ".join(map(str, args)), r.returncode, r.stderr.decode()))
    return r.stdout


def write(name, data):
    with open(path(name), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    return path(name)


def read(name):
    with open(path(name), "rb") as f:
        return f.read()


# ---- genotypes as text ----

def vcf(records, n_sample, chrom="22", contig=51304566, names=None):
    """@records: (pos, id, ref, [alt], [GT])"""
    head = "##fileformat=VCFv4.2\n##contig=<ID=%s%s>\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\">\n" % (
        chrom, ",length=%d" % contig if contig else "")
    names = names or ["person%d" % i for i in range(n_sample)]
    out = [head + "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"] + names)]
    for pos, name, ref, alts, gt in records:
        out.append("\t".join([chrom, str(pos), name, ref, ",".join(alts) or ".", ".", ".", ".", "GT"] + gt))
    return "\n".join(out) + "\n"


def odd_records(rng, n_sample, n_record, is_x=False, p_missing=0.01):
    """Everything that a panel may hold: several ALTs, records at one position, IDs of all forms, long alleles, missing, haploid."""
    founders = [[rng.random() < 0.4 for _ in range(n_record)] for _ in range(6)]
    parent = [rng.randrange(6) for _ in range(2 * n_sample)]
    haploid = set(i for i in range(n_sample) if is_x and rng.random() < 0.4)
    always = set(i for i in haploid if rng.random() < 0.5)
    pos, out = 1000, []
    for r in range(n_record):
        pos += rng.choice([0, 0, 1, 7, 300])
        ref = rng.choice(["A", "C", "G", "T", "A", "ACGT", "N", "A" * 700 if rng.random() < 0.05 else "TT"])
        n_alt = 250 if rng.random() < 0.005 else rng.choice([1, 1, 1, 1, 2, 3, 7])
        alts = [a for a in ["A", "C", "G", "T"] if a != ref][:n_alt] if n_alt < 4 else ["C" + "ACGT"[k % 4] * (k // 4 + 1) for k in range(n_alt)]
        if rng.random() < 0.05:
            alts = ["<DEL>"]
        form = rng.randrange(8)
        name = [".", "rs%d" % rng.randrange(1, 10 ** 9), "22:%d" % pos, "chr22:%d:%s:%s" % (pos, ref, ",".join(alts)), "esv007", "%d" % pos, "a-b;c0",
                "x%d" % 10 ** 10][form]
        gt = []
        for i in range(n_sample):
            a = []
            for h in (2 * i, 2 * i + 1):
                if rng.random() < 0.02:
                    parent[h] = rng.randrange(6)
                v = rng.randrange(1, len(alts) + 1) if founders[parent[h]][r] else 0
                a.append("." if rng.random() < p_missing else str(v))
            in_male_part = is_x and (i in always or (i in haploid and n_record // 4 <= r < 3 * n_record // 4))
            gt.append(a[0] if in_male_part else "|".join(a))
        out.append((pos, name, ref, alts, gt))
    return out


def fill_rule(bits, missing, order):
    """What stands in the missing columns of a row, from the observed ones: the page's rule."""
    out = {}
    for at, column in enumerate(order):
        if column in missing:
            near = [c for c in reversed(order[:at]) if c not in missing] or [c for c in order[at + 1:] if c not in missing]
            out[column] = bits[near[0]] if near else 0
    return out


def check_panel(bad, data, records, label):
    """The oracle's view of the panel @data against the records it was built from."""
    p = oracle.Panel(data)
    got = list(p.lines())
    wanted = [r for r in records if r[3]]
    for a, b in zip(got, wanted):
        if a != b:
            bad.append("%s: record at %d: %r, should be %r" % (label, b[0], a[1:4] + (a[4][:8],), b[1:4] + (b[4][:8],)))
            break
    if len(got) != len(wanted):
        bad.append("%s: %d records, should be %d" % (label, len(got), len(wanted)))
    for bits, missing, haploid, order in p.rows():
        for column, bit in fill_rule(bits, missing, order).items():
            if bits[column] != bit:
                bad.append("%s: a missing allele isn't filled by the rule" % label)
                return p
    return p


def export(name, *more):
    """Records of an export as text, CHROM to ALT and genotypes."""
    text = must("export", path(name), *more).decode().splitlines()
    return [line.split("\t") for line in text if not line.startswith("#")]


with tap.case("odd panels: the page's reader finds what was put in, export gives it back, whatever the container") as bad:
    for seed in range(8):
        rng = random.Random(seed)
        n_sample, is_x = rng.choice([1, 2, 5, 33, 70]), seed % 2 == 1
        records = odd_records(rng, n_sample, rng.choice([3, 64, 200, 700]), is_x, 0.3 if seed == 5 else 0.01)
        for i in range(0, len(records), 50):  # to be left out
            records.insert(i, (records[i][0], ".", "A", [], ["0|0"] * n_sample))
        text = vcf(records, n_sample, "X" if is_x else "22")
        write("odd.vcf", text)
        write("odd.vcf.gz", gzip.compress(text.encode()))
        subprocess.run(["bcftools", "view", "-Ob", "-o", path("odd.bcf"), path("odd.vcf")], check=True, stderr=subprocess.DEVNULL)
        made = {}
        for kind in ("vcf", "vcf.gz", "bcf"):
            must("build", path("odd." + kind), "-o", path(kind + ".sqp"), "-q")
            made[kind] = read(kind + ".sqp")
            must("verify", path(kind + ".sqp"), "-q")
        if len(set(made.values())) != 1:
            bad.append("seed %d: the same genotypes give other bytes from another container" % seed)
        p = check_panel(bad, made["vcf"], records, "seed %d" % seed)
        n_without = sum(not r[3] for r in records)
        if p.n_without_alt != n_without or p.n_missing != sum(g.count(".") for r in records if r[3] for g in r[4]):
            bad.append("seed %d: %d records without ALT, %d missing" % (seed, p.n_without_alt, p.n_missing))
        wanted = [["X" if is_x else "22", str(r[0]), r[1], r[2], ",".join(r[3])] + r[4] for r in records if r[3]]
        if [line[:5] + line[9:] for line in export("vcf.sqp")] != wanted:
            bad.append("seed %d: the export isn't what went in" % seed)
        for kind in ("bcf", "vcf.gz", "vcf"):
            must("export", path("vcf.sqp"), "-o", path("back." + kind))
            back = subprocess.run(["bcftools", "view", "-H", path("back." + kind)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            if back.stderr or [line.split("\t")[:5] + line.split("\t")[9:] for line in back.stdout.decode().splitlines()] != wanted:
                bad.append("seed %d: bcftools reads another .%s: %s" % (seed, kind, back.stderr.decode()))
        must("build", path("back.bcf"), "-o", path("again.sqp"), "-q")
        if oracle.Panel(read("again.sqp")).packs[0].haps != p.packs[0].haps:
            bad.append("seed %d: a panel made of the export is another one" % seed)

with tap.case("segments: the order starts anew, ploidy too; a region needs no more than its own") as bad:
    rng = random.Random(5)
    n = 70000
    males = {1, 3}
    text = [vcf([], 4, "X")]
    columns = [[rng.random() < 0.3 for _ in range(n)] for _ in range(8)]
    records = []
    for r in range(n):
        gt = [str(+columns[2 * i][r]) if i in males and r > 1000 else "%d|%d" % (columns[2 * i][r], columns[2 * i + 1][r]) for i in range(4)]
        records.append((1000 + 10 * r, ".", "A", ["G"], gt))
    write("long.vcf", vcf(records, 4, "X"))
    must("build", path("long.vcf"), "-o", path("long.sqp"), "-q")
    must("verify", path("long.sqp"), "-q")
    p = check_panel(bad, read("long.sqp"), records, "long")
    if len(p.segments) != 2:
        bad.append("%d segments" % len(p.segments))
    for from_bp, to_bp in ((1000, 1000), (1005, 1009), (699000, 701000), (650000, 660000), (1, 400000000), (656000, 656400)):
        wanted = [str(r[0]) for r in records if from_bp <= r[0] <= to_bp]
        r = run("export", path("long.sqp"), "--region", "X:%d-%d" % (from_bp, to_bp))
        got = [line.split("\t") for line in r.stdout.decode().splitlines() if not line.startswith("#")]
        if [line[1] for line in got] != wanted or (r.returncode == 0) != bool(wanted):
            bad.append("region %d-%d: %d records, should be %d" % (from_bp, to_bp, len(got), len(wanted)))
        if got and got[0][9:] != records[(int(got[0][1]) - 1000) // 10][4]:
            bad.append("region %d-%d: other genotypes" % (from_bp, to_bp))
    for region in ("22:1-2", "chrX", "23:1000-1000"):
        if (run("sites", path("long.sqp"), "--region", region).returncode == 0) != (region != "22:1-2"):
            bad.append("region %s" % region)
    for region in ("X:", "X:5-1", "X:a-b", ":1-2", "X:1-2x"):
        if run("sites", path("long.sqp"), "--region", region).returncode != 2:
            bad.append("region %s is accepted" % region)

with tap.case("a wide panel: blocks of fewer rows when there are too many patterns; 300,000 samples") as bad:
    rng = random.Random(9)
    n_sample = 40000
    rows = [rng.getrandbits(2 * n_sample) for _ in range(70)]
    with open(path("wide.vcf"), "w") as f:
        f.write(vcf([], n_sample))
        for r, bits in enumerate(rows):
            word = format(bits, "0%db" % (2 * n_sample))
            f.write("22\t%d\t.\tA\tC\t.\t.\t.\tGT\t" % (r + 1) + "\t".join([word[i] + "|" + word[i + 1] for i in range(0, 2 * n_sample, 2)]) + "\n")
    must("build", path("wide.vcf"), "-o", path("wide.sqp"), "-q")
    must("verify", path("wide.sqp"), "-q")
    info = json.loads(must("info", path("wide.sqp"), "--json"))
    if info["blocks"] < 4 or info["patterns"] > 65535 * info["blocks"]:
        bad.append("%r" % info)
    if hashlib.sha256(b"".join(line.split(b"\tGT\t")[1] for line in must("export", path("wide.sqp")).splitlines() if line[:1] != b"#")).digest() != \
            hashlib.sha256(b"".join(line.split(b"\tGT\t")[1] for line in read("wide.vcf").splitlines() if line[:1] != b"#")).digest():
        bad.append("the export differs")
    n_sample = 300000
    gt = "\t".join("0|1" if i % 3 else "1|." for i in range(n_sample))
    with open(path("many.vcf"), "w") as f:
        f.write(vcf([], n_sample))
        for r in range(3):
            f.write("22\t%d\t.\tA\tC\t.\t.\t.\tGT\t%s\n" % (r + 1, gt))
    must("build", path("many.vcf"), "-o", path("many.sqp"), "-q")
    must("verify", path("many.sqp"), "-q")
    info = json.loads(must("info", path("many.sqp"), "--json"))
    if info["haplotypes"] != 600000 or info["missing_alleles"] != 300000:
        bad.append("%r" % info)
    if [line[9:] for line in export("many.sqp")][2] != gt.split("\t"):
        bad.append("300,000 samples: the export differs")

with tap.case("one pass in bounded memory: ten times the records need no more of it") as bad:
    rng = random.Random(2)
    n_sample = 1500
    founders = [rng.getrandbits(20000) for _ in range(40)]
    parents = [rng.randrange(40) for _ in range(2 * n_sample)]
    rss = []
    for n in (2000, 20000):
        feed = subprocess.Popen(["bcftools", "view", "-Ob", "-o", path("n%d.bcf" % n)], stdin=subprocess.PIPE, text=True)
        feed.stdin.write(vcf([], n_sample))
        for r in range(n):
            w = ["%d" % (founders[p] >> r & 1) for p in parents]
            feed.stdin.write("22\t%d\t.\tA\tC\t.\t.\t.\tGT\t" % (r + 1) + "\t".join([w[i] + "|" + w[i + 1] for i in range(0, 2 * n_sample, 2)]) + "\n")
        feed.stdin.close()
        feed.wait()
        code = ("import resource,subprocess,sys; subprocess.run(sys.argv[1:], check=True); "
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        r = subprocess.run([sys.executable, "-c", code, WORKER, "--local", "panel", "build", path("n%d.bcf" % n), "-o", path("n.sqp"), "-q"],
                           stdout=subprocess.PIPE, check=True)
        rss.append(int(r.stdout))
    print("# memory: %d kB for 2,000 records, %d kB for 20,000" % tuple(rss))
    if rss[1] > rss[0] + 8192:
        bad.append("%d kB, then %d kB" % tuple(rss))

with tap.case("maps: three formats give the same panel; what matters of it is kept; a wrong one is refused") as bad:
    chr22 = os.path.join(DATA, "chr22-1kgp3-b37")
    must("build", "--input", os.path.join(chr22, "ref.bcf"), "--map", os.path.join(chr22, "chr22.b37.gmap.gz"), "--build", "GRCh37", "-o", path("c22.sqp"), "-q")
    must("verify", path("c22.sqp"), "-q")
    rows = [line.split() for line in gzip.open(os.path.join(chr22, "chr22.b37.gmap.gz"), "rt").read().splitlines()[1:]]
    whole = [(int(pos), float(cm)) for pos, _, cm in rows]
    p = oracle.Panel(read("c22.sqp"))
    first, last = p.packs[0].first_bp, p.packs[-1].last_bp
    kept = whole[max(i for i, r in enumerate(whole) if r[0] <= first):]
    kept = kept[:min([i for i, r in enumerate(kept) if r[0] >= last] or [len(kept) - 1]) + 1]
    if p.map != kept or p.origin != whole[0][1] or p.build != "GRCh37" or p.contig_bp != 51304566:
        bad.append("the map in the panel has %d rows, should have %d; origin %r" % (len(p.map), len(kept), p.origin))
    plink, eagle = [], ["chr position COMBINED_rate(cM/Mb) Genetic_Map(cM)"]
    for pos, cm in whole:
        plink.append("22 . %.6f %d" % (cm, pos))
        eagle.append("22 %d 1.0 %.6f" % (pos, cm))
    for name, text in (("plink", plink), ("eagle", eagle)):
        write(name, "\n".join(text) + "\n")
        must("build", os.path.join(chr22, "ref.bcf"), "--map", path(name), "--build", "GRCh37", "-o", path("m.sqp"), "-q")
        if read("m.sqp") != read("c22.sqp"):
            bad.append("%s: another panel" % name)
    write("other", "\n".join(["pos chr cM"] + ["%d 1 %f" % r for r in whole]) + "\n")
    write("odd cM", "\n".join(["pos chr cM"] + ["%d 22 %.17g" % (pos, cm / 3) for pos, cm in whole]) + "\n")
    r = run("build", os.path.join(chr22, "ref.bcf"), "--map", path("other"), "-o", path("no.sqp"))
    if r.returncode != 1 or b"other" not in r.stderr or os.path.exists(path("no.sqp")) or os.path.exists(path("no.sqp.part")):
        bad.append("a map of another chromosome: %d %r" % (r.returncode, r.stderr))
    must("build", os.path.join(chr22, "ref.bcf"), "--map", path("odd cM"), "-o", path("m.sqp"), "-q")
    p = oracle.Panel(read("m.sqp"))
    if p.digits != 255 or p.map != [(pos, float("%.17g" % (cm / 3))) for pos, cm in kept]:
        bad.append("cM of 17 digits come back changed")

with tap.case("populations: frequencies of each, in a table and in a VCF") as bad:
    rng = random.Random(4)
    n_sample = 40
    records = odd_records(rng, n_sample, 300, True)
    group = ["AFR" if i % 3 == 0 else "EUR" if i % 3 == 1 else None for i in range(n_sample)]
    write("pop.vcf", vcf(records, n_sample, "X"))
    write("pop.tsv", "sample\tpop\tmore\n" + "".join("person%d\t%s\tx\n" % (i, g) for i, g in enumerate(group) if g) + "stranger\tEUR\tx\n")
    must("build", path("pop.vcf"), "--populations", path("pop.tsv"), "-o", path("pop.sqp"), "-q")
    must("verify", path("pop.sqp"), "-q")

    def frequency(gt, alt, who):
        seen = [a for i, g in enumerate(gt) if who is None or group[i] == who for a in g.split("|") if a != "."]
        return seen.count(str(alt)) / len(seen) if seen else 0.0
    table = [line.split("\t") for line in must("sites", path("pop.sqp")).decode().splitlines()]
    if table[0] != ["ID", "CHROM", "POS", "REF", "ALT", "AAF_ALL", "MAF_ALL", "AAF_AFR", "MAF_AFR", "AAF_EUR", "MAF_EUR"]:
        bad.append("columns %r" % table[0])
    wanted = [(r, k) for r in records for k in range(len(r[3]))]
    if len(table) != len(wanted) + 1:
        bad.append("%d rows" % len(table))
    for line, (r, k) in zip(table[1:], wanted):
        f = [frequency(r[4], k + 1, who) for who in (None, "AFR", "EUR")]
        if line[:5] != [r[1], "X", str(r[0]), r[2], r[3][k]] or any(abs(float(line[5 + 2 * i]) - f[i]) > 1e-5 or
                                                                   abs(float(line[6 + 2 * i]) - min(f[i], 1 - f[i])) > 1e-5 for i in range(3)):
            bad.append("%r, should be %r" % (line, f))
            break
    must("sites", path("pop.sqp"), "-o", path("sites.vcf.gz"))
    back = subprocess.run(["bcftools", "query", "-f", "%ID %POS %ALT %AF %AF_EUR\n", path("sites.vcf.gz")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if back.stderr or back.stdout.decode().split("\n")[:-1] != ["%s %s %s %s %s" % (t[0], t[2], t[4], t[5], t[9]) for t in table[1:]]:
        bad.append("bcftools reads other sites: %s" % back.stderr.decode())
    for text, why in (("person0 AFR\n", "a tab"), ("person0\tA FR\n", "label"), ("nobody\tAFR\n", "none of its names"), ("person0\tA\nperson0\tB\n", "two labels"),
                      ("".join("person%d\tp%d\n" % (i, i) for i in range(n_sample)), None)):
        write("bad.tsv", text)
        r = run("build", path("pop.vcf"), "--populations", path("bad.tsv"), "-o", path("p.sqp"), "-q")
        if (r.returncode != 1 or why not in r.stderr.decode() or b"bad.tsv" not in r.stderr) if why else r.returncode:
            bad.append("%r: %d %s" % (text[:20], r.returncode, r.stderr.decode()))

with tap.case("names are kept only when asked for") as bad:
    records = odd_records(random.Random(1), 3, 10)
    write("names.vcf", vcf(records, 3, names=["Marker-Alice", "Bob Ross", "J\u00fcrgen"]))
    must("build", path("names.vcf"), "-o", path("plain.sqp"), "-q")
    must("build", path("names.vcf"), "-o", path("named.sqp"), "--keep-names", "-q")
    must("verify", path("named.sqp"), "-q")
    if oracle.Panel(read("plain.sqp")).names is not None or oracle.Panel(read("named.sqp")).names != ["Marker-Alice", "Bob Ross", "J\u00fcrgen"]:
        bad.append("names")
    head = [line for line in must("export", path("plain.sqp")).decode().splitlines() if line.startswith("#CHROM")][0].split("\t")[9:]
    if head != ["S000001", "S000002", "S000003"]:
        bad.append("export of a panel without names: %r" % head)

with tap.case("what can't be a panel is refused, with its place, and nothing is left behind") as bad:
    good = [(p, ".", "A", ["C"], ["0|1", "1|1"]) for p in (10, 20, 30)]
    cases = {
        "unphased": (vcf(good[:2] + [(30, ".", "A", ["C"], ["0|1", "0/1"])], 2), "phased"),
        "half missing": (vcf(good[:2] + [(30, ".", "A", ["C"], ["0|1", "./1"])], 2), "phased"),
        "unsorted": (vcf([good[1], good[0]], 2), "sorted"),
        "two chromosomes": (vcf(good, 2) + "21\t50\t.\tA\tC\t.\t.\t.\tGT\t0|0\t0|0\n", "chromosome"),
        "no ALT": (vcf([(10, ".", "A", [], ["0|0", "0|0"])], 2), "without an ALT"),
        "no record": (vcf([], 2), "no variants"),
        "cut": (vcf(good, 2)[:-5], "middle"),
        "three alleles": (vcf([(10, ".", "A", ["C"], ["0|1|1", "0|0"])], 2), "two alleles"),
        "no sample": (vcf(good, 2).replace("\tFORMAT\tperson0\tperson1", ""), "sample"),
        "empty": ("", "empty"),
        "noise": ("hello\n", "VCF"),
        "long ID": (vcf([(10, "x" * 70000, "A", ["C"], ["0|1", "0|0"])], 2), "65535"),
    }
    for name, (text, word) in cases.items():
        write("bad.vcf", text)
        r = run("build", path("bad.vcf"), "-o", path("bad.sqp"), "-q")
        if r.returncode != 1 or word not in r.stderr.decode() or "bad.vcf" not in r.stderr.decode():
            bad.append("%s: %d %s" % (name, r.returncode, r.stderr.decode()))
        if os.path.exists(path("bad.sqp")) or os.path.exists(path("bad.sqp.part")):
            bad.append("%s: something is left behind" % name)
    write("good.vcf", vcf(good, 2))
    packed = gzip.compress(vcf(good, 2).encode())
    write("cut.vcf.gz", packed[:-9])
    if run("build", path("cut.vcf.gz"), "-o", path("bad.sqp")).returncode != 1:
        bad.append("a cut gzip is accepted")
    for args in (["build"], ["build", path("good.vcf")], ["build", path("good.vcf"), "-o", path("good.vcf")], ["info"], ["verify", "a", "b"],
                 ["export", path("c22.sqp"), "-o", path("x.txt")], ["sites", path("c22.sqp"), "-o", path("x.bcf")], ["build", path("good.vcf"), "--bogus"]):
        if run(*args).returncode != 2:
            bad.append("panel %s: exit %d" % (" ".join(args), run(*args).returncode))
    r = run("build", path("good.vcf"), "--build", "GRCh 38", "-o", path("bad.sqp"))
    if r.returncode != 1 or os.path.exists(path("bad.sqp")):
        bad.append("a build with a blank")
    r = run("info", path("good.vcf"))
    if r.returncode != 1 or b"panel build" not in r.stderr:
        bad.append("info of a VCF: %r" % r.stderr)
    os.chdir(TMP.name)
    must("build", "good.vcf", "-o", "good.sqp", "-q")
    r = run("build", "bad.vcf", "-o", "good.sqp", "-q")
    if r.returncode == 0 or not os.path.exists("good.sqp"):
        bad.append("a failed build destroys the panel that was there")


golden = os.path.join(ROOT, "tests/golden/panel")
with tap.case("golden panels: the good ones are read as ever, each broken one is refused for its reason") as bad:
    for line in open(os.path.join(golden, "expected")):
        name, words = line.rstrip("\n").split("\t")
        file = os.path.join(golden, name + ".sqp")
        r = run("verify", file, "-q")
        if name.startswith("good"):
            text = [g[4:8] for g in ([x.split("\t") for x in must("export", file).decode().splitlines() if x[0] != "#"])]
            with open(file, "rb") as f:
                if r.returncode or len(list(oracle.Panel(f.read()).lines())) != len(text):
                    bad.append("%s: %s" % (name, r.stderr.decode()))
        elif r.returncode != 1 or words not in r.stderr.decode() or "panel can't be used" not in r.stderr.decode():
            bad.append("%s: exit %d, %s, should say %r" % (name, r.returncode, r.stderr.decode(), words))
        elif run("sites", file).returncode < 0 or run("export", file).returncode < 0 or run("info", file).returncode < 0:
            bad.append("%s: a crash" % name)


def text_of(command):
    """SHA-256 of CHROM to ALT and genotypes of what @command prints."""
    return subprocess.run(["sh", "-c", command + " | grep -v '^#' | cut -f1-5,10- | sha256sum"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


with tap.case("a build that is ended in the middle leaves nothing, none writes over what it reads, and a build of another name is refused") as bad:
    name = os.path.join(TMP.name, "ended")
    os.mkdir(name)
    source, out = os.path.join(name, "source"), os.path.join(name, "out.sqp")
    os.mkfifo(source)
    try:
        os.close(os.open(name, os.O_TMPFILE | os.O_WRONLY, 0o600))
        left = {"source"}
    except OSError:
        left = {"source", "out.sqp.part"}  # this file system knows no files without a name
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        p = subprocess.Popen([WORKER, "--local", "panel", "build", source, "-o", out], start_new_session=True, stderr=subprocess.DEVNULL,
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        with open(source, "wb", buffering=0) as f:  # more than a pipe holds: it has read of it when all is written
            f.write(vcf([(i + 1, ".", "A", ["C"], ["0|1"] * 50) for i in range(2000)], 50).encode())
            os.killpg(p.pid, sig)
            p.wait()
        if p.returncode != -sig or not set(os.listdir(name)) <= left:
            bad.append("signal %d: exit %d, %s" % (sig, p.returncode, os.listdir(name)))
    chr22 = os.path.join(DATA, "chr22-1kgp3-b37")
    must("build", os.path.join(chr22, "ref.bcf"), "-o", path("kept.sqp"), "-q")
    write("map", "pos chr cM\n1 22 0\n51304566 22 60\n")
    before = read("kept.sqp"), read("map")
    for args in (("build", os.path.join(chr22, "ref.bcf"), "--map", path("map"), "-o", path("map")), ("sites", path("kept.sqp"), "-o", path("kept.sqp"))):
        r = run(*args)
        if r.returncode != 2 or b"is read: what is written needs another name" not in r.stderr or (read("kept.sqp"), read("map")) != before:
            bad.append("%s: exit %d, %r" % (args[0], r.returncode, r.stderr))
    for name, ok in (("GRCh37", True), ("HG19", True), ("mine", True), ("GRCh38", False), ("hg38", False)):  # the header has GRCh37's length
        r = run("build", os.path.join(chr22, "ref.bcf"), "--build", name, "-o", path(name + ".sqp"), "-q")
        if r.returncode != (0 if ok else 1) or os.path.exists(path(name + ".sqp")) != ok or (not ok and b"51304566 bases: that is GRCh37, not " + name.encode() not in r.stderr):
            bad.append("--build %s: %d %r" % (name, r.returncode, r.stderr))
    for content, words in (("X\tEUR\n", "none of its names is a sample of the panel"), ("no tab\n", "(line 1, populations)")):
        write("wrong.tsv", content)
        r = run("build", os.path.join(chr22, "ref.bcf"), "--populations", path("wrong.tsv"), "-o", path("no.sqp"))
        said = r.stderr.decode()
        if r.returncode != 1 or words not in said or "the list of populations can't be used" not in said or "bcftools query -l" not in said or "route" in said:
            bad.append("populations: %d %r" % (r.returncode, said))
    for verb in ("info", "verify", "sites", "export"):
        r = run(verb, TMP.name)
        if r.returncode != 1 or b"Is a directory\n  name a file in it" not in r.stderr:
            bad.append("%s of a directory: %d %r" % (verb, r.returncode, r.stderr))
    for verb in ("sites", "export", "info"):
        r, w = os.pipe()
        os.close(r)  # nobody reads: the first write finds it out
        p = subprocess.run([WORKER, "--local", "panel", verb, path("kept.sqp")], stdout=w, stderr=subprocess.PIPE)
        os.close(w)
        if p.returncode != -signal.SIGPIPE or p.stderr:
            bad.append("%s into a closed pipe: %d %r" % (verb, p.returncode, p.stderr))
    for length in (2147483647, None):  # what bcftools writes where it knows none
        write("unknown.vcf", vcf([(7, ".", "A", ["C"], ["0|1"] * 2)], 2, contig=length) if length else vcf([(7, ".", "A", ["C"], ["0|1"] * 2)], 2).replace(",length=51304566", ""))
        must("build", path("unknown.vcf"), "-o", path("unknown.sqp"), "-q")
        if b"chromosome   22, length not known\n" not in must("info", path("unknown.sqp")) or json.loads(must("info", "--json", path("unknown.sqp")))["length_bp"]:
            bad.append("length %s: %r" % (length, must("info", path("unknown.sqp"))))
    r = run("build", os.path.join(chr22, "target.array.unphased.vcf.gz"), "-o", path("no.sqp"))
    if r.returncode != 1 or b"phase them first: sequester phase" not in r.stderr or b"phasing=" in r.stderr:
        bad.append("not phased: %d %r" % (r.returncode, r.stderr))

sets = [("tests/data/chr22-1kgp3-b37/ref.bcf", os.path.join(DATA, "chr22-1kgp3-b37/ref.bcf"), 650000)]
sets += [(name, os.path.join(SHARED, name), most) for name, most in (
    ("chr22-1kgp3-b37/ref.bcf", 650000), ("chrX-par1-b37/ref.bcf", 1900000), ("chr20-eur-b37/ref.bcf", 310000), ("hapmap2-chr20-b37/ref.bcf", 750000),
    ("synthetic-small/s.ref.bcf", None), ("chrX-nonpar-array-b37/target.array.phased.vcf.gz", None))]
for name, source, most in sets:
    if not os.path.exists(source):
        tap.skip("round trip of " + name, "the file isn't here")
        continue
    with tap.case("round trip of " + name) as bad:
        must("build", source, "-o", path("set.sqp"), "-q")
        must("verify", path("set.sqp"), "-q")
        size = os.path.getsize(path("set.sqp"))
        print("# %d bytes" % size)
        if most and size > most:
            bad.append("%d bytes" % size)
        if text_of("bcftools view '%s'" % source) != text_of("'%s' --local panel export '%s'" % (WORKER, path("set.sqp"))):
            bad.append("the export isn't what bcftools shows of the source")

tap.done()
