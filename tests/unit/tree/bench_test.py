#!/usr/bin/env python3
"""What the benchmarks of imputation and phasing compute with: accuracy against tools/score, switch errors, the simulator.

    bench_test.py REPOSITORY
"""
import gzip
import os
import random
import subprocess
import sys
import tempfile

import tap

ROOT = sys.argv[1]
DATA = os.path.join(ROOT, "tests", "data", "chr22-1kgp3-b37")
sys.path[:0] = [os.path.join(ROOT, "bench", "imputing"), os.path.join(ROOT, "bench", "phasing"), os.path.join(ROOT, "tools", "score"), os.path.join(ROOT, "bench", "simulate")]
import accuracy  # noqa: E402
import ordering  # noqa: E402
import score  # noqa: E402
import simulate  # noqa: E402
import switches  # noqa: E402

N_SAMPLE = 30


def blurred_truth(out_truth, out_imputed):
    """The first samples and every third site of the truth, and an imputation of them that is wrong in known ways: noise, missing sites, constant dosages."""
    rng = random.Random(1)
    rows = score.vcf_rows(os.path.join(DATA, "truth.vcf.gz"))
    names = next(rows)[:N_SAMPLE]
    typed = {tuple(c[i] for i in (1, 3, 4)) for c in list(score.vcf_rows(os.path.join(DATA, "target.array.phased.vcf.gz")))[1:]}
    head = "##fileformat=VCFv4.2\n##contig=<ID=22>\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"g\">\n"
    more = ("##INFO=<ID=R2,Number=1,Type=Float,Description=\"r\">\n##INFO=<ID=TYPED,Number=0,Type=Flag,Description=\"t\">\n"
            "##FORMAT=<ID=DS,Number=A,Type=Float,Description=\"d\">\n")
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t"
    truth = head + columns + "\t".join(names) + "\n"
    imputed = head + more + columns + "\t".join(reversed(names)) + "\n"  # in another order: they're matched by name
    for n, c in enumerate(rows):
        is_typed = (c[1], c[3], c[4]) in typed
        if n % 3 and not is_typed:
            continue
        truth += "\t".join(c[:9] + c[9:9 + N_SAMPLE]) + "\n"
        if n % 90 == 0:
            continue
        blur = rng.choice([0, 0.02, 0.1, 0.3])
        dosages = ["0.25" if n % 60 == 0 else "%.3f" % min(2, max(0, score.TRUE_COUNT[g] + rng.gauss(0, blur))) for g in c[9:9 + N_SAMPLE]]
        info = "R2=%.3f%s" % (max(0, 1 - blur), ";TYPED" if is_typed else "")
        imputed += "\t".join([*c[:5], ".", "PASS", info, "GT:DS"] + ["0|0:" + d for d in reversed(dosages)]) + "\n"
    for path, text in ((out_truth, truth), (out_imputed, imputed)):
        with gzip.open(path, "wt") as f:
            f.write(text)


def one_column(path, name, rows):
    """A file of one sample; rows are (pos, genotype), REF A, ALT C."""
    with open(path, "w") as f:
        f.write("##fileformat=VCFv4.2\n##contig=<ID=22>\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"g\">\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t%s\n" % name)
        f.writelines("22\t%d\t.\tA\tC\t.\t.\t.\tGT\t%s\n" % row for row in rows)


def by_hand(truth, result):
    """(pairs, switches, flips) of two lists of genotypes, as a reader would count: each heterozygote turned or not, a flip a lone turn back."""
    way = [t == r for t, r in zip(truth, result) if "|" in r and t in ("0|1", "1|0") and r in ("0|1", "1|0")]
    changes = "".join("x" if a != b else "." for a, b in zip(way, way[1:]))
    return max(0, len(way) - 1), changes.count("x"), sum(len(run) // 2 for run in changes.split("."))


with tempfile.TemporaryDirectory() as tmp:
    with tap.case("switch errors and flips are those that one counts by hand") as bad:
        rng = random.Random(3)
        for n in (0, 1, 2, 9, 60, 300):
            truth = [rng.choice(("0|1", "1|0", "0|0", "1|1")) for _ in range(n)]
            turned, result = False, []
            for g in truth:
                turned ^= rng.random() < 0.3
                result.append(rng.choice((g[::-1] if turned else g, g[::-1] if turned else g, g[::-1] if turned else g, "0/1", ".|.", "0|0", "1|0")))
            paths = [os.path.join(tmp, "switches.%d.%s.vcf" % (n, x)) for x in "tr"]
            one_column(paths[0], "S", enumerate(truth, 100))
            one_column(paths[1], "S", list(enumerate(result, 100))[1:] + [(9000, "0|1")])
            found = switches.count(*paths)
            mine = by_hand(truth[1:], result[1:])
            if (found.pairs, found.switches, found.flips) != mine or found.unphased != result[1:].count("0/1"):
                bad.append("%d sites: %s, by hand %s" % (n, vars(found), mine))
        if [switches.order_of(g) for g in ("0|1", "1|0", "10|2", "0/1", "0|0", "1/1", ".|1", "./.", "1", "0")] != [1, -1, -1, 2, 0, 0, 0, 0, 0, 0]:
            bad.append("an order is misread")

    with tap.case("calls in their true order stay the calls they were") as bad:
        rng = random.Random(4)
        for seen, true, want in (("0/1", "1|0", {"1|0"}), ("0/1", "0|1", {"0|1"}), ("0/1", "0|0", {"0|1", "1|0"}), ("0/0", "0|1", {"0|0"}), ("./.", "0|1", {".|."}), ("1", "1", {"1"})):
            got = {ordering.in_order(seen, true, rng) for _ in range(50)}
            if got != want:
                bad.append("%s with %s: %s" % (seen, true, got))

    with tap.case("the benchmark's score says the same as tools/score") as bad:
        truth, imputed, panel = os.path.join(tmp, "truth.vcf.gz"), os.path.join(tmp, "imputed.vcf.gz"), os.path.join(DATA, "ref.bcf")
        blurred_truth(truth, imputed)
        mine = accuracy.score(accuracy.Truth(truth, panel, os.path.join(DATA, "target.array.phased.vcf.gz")), imputed)
        _, bins, total = score.score(truth, imputed, panel)
        for (name, m), s in zip(mine.items(), [*bins, total]):
            theirs = {"aggR2": s.r2(), "siteR2": score.mean(s.site_r2), "claimed": score.mean(s.claimed), "present": s.sites}
            m["present"] = m["sites"] - m["missing"]
            bad += ["%s %s: %s and %s" % (name, k, m[k], v) for k, v in theirs.items() if not abs(m[k] - v) < 1e-6]
        if not (0.3 < mine["all"]["aggR2"] < 0.99 and mine["all"]["missing"] > 100):
            bad.append("the made imputation is no test: %s" % mine["all"])

    with tap.case("the simulator gives a panel, targets and truth that agree, the same for the same seed") as bad:
        digests = []
        for run in ("a", "b"):
            out = os.path.join(tmp, run, "s")
            simulate.simulate(out, 300, 20, 300_000, 5)
            digests.append([subprocess.check_output(["bcftools", "view", "-H", out + x]) for x in (".ref.bcf", ".truth.vcf.gz", ".target.phased.vcf.gz", ".target.unphased.vcf.gz")])
        if digests[0] != digests[1]:
            bad.append("two runs differ")
        panel, truth, phased, unphased = ([line.split("\t") for line in d.decode().splitlines()] for d in digests[0])
        site = {c[1]: c for c in truth}
        if not (len(panel) == len(truth) > 300 and 20 < len(phased) == len(unphased) < 80):
            bad.append("sites: %d, %d, %d, %d" % (len(panel), len(truth), len(phased), len(unphased)))
        if len(panel[0]) != 9 + 130 or len(truth[0]) != 9 + 20:
            bad.append("samples: %d, %d" % (len(panel[0]) - 9, len(truth[0]) - 9))
        bad += ["the array differs from the truth at " + c[1] for c in phased if c[9:] != site[c[1]][9:]]
        wrong = sum(sorted(g.replace("/", "|")) != sorted(t) for c in unphased for g, t in zip(c[9:], site[c[1]][9:]))
        if not 0 < wrong < 0.03 * 20 * len(unphased):
            bad.append("%d wrong or missing calls" % wrong)
        for c in panel:
            n_alt = sum(g.count("1") for g in c[9:])
            if not 3 <= n_alt <= 257 or "AC=%d;AN=260" % n_alt != c[7]:
                bad.append("%s: %s, counted %d" % (c[1], c[7], n_alt))

    with tap.case("the simulator compiles without a warning") as bad:
        flags = "-std=c17 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wvla -Wundef -Wformat=2 -Werror -D_GNU_SOURCE"
        for name in ("coalescent", "cohort"):
            p = subprocess.run([os.environ.get("CC", "cc"), *flags.split(), "-O2", "-c", "-o", os.path.join(tmp, name), os.path.join(ROOT, "bench", "simulate", name + ".c")], capture_output=True, text=True)
            if p.returncode:
                bad.append(p.stderr)
tap.done()
