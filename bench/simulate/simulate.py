#!/usr/bin/env python3
"""Makes a large reference panel and array-like targets from a seed, for benchmarks: no real person's data, any size.

    bench/simulate/simulate.py --haps 10400 --targets 200 --length 10000000 --seed 7 --out DIR/NAME

    NAME.ref.bcf                   phased panel of haps - 2 * targets haplotypes
    NAME.truth.vcf.gz              the targets at all of the panel's sites, phased
    NAME.target.phased.vcf.gz      the targets at the sites of an array, true phase, no error
    NAME.target.unphased.vcf.gz    the same, unphased, with wrong and missing calls
    NAME.map.plink, NAME.map.shapeit.gz    the genetic map as PLINK (chromosome, id, cM, bp) and SHAPEIT (pos chr cM) have it

coalescent.c draws the haplotypes (SMC': Marjoram and Wall, BMC Genetics 7:16, 2006) under the European history of Tennessen et al., Science
337:64 (2012), as one population: growth of 1.95 % a generation from 204 generations ago, .307 % before, from 920 on. The map has .15 cM/Mb
and hotspots of 2 kb about every 60 kb, 1.1 cM/Mb on average. cohort.c writes the files. Needs a C compiler and libhts-dev.
"""
import argparse
import gzip
import math
import os
import random
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def compile_programs(into):
    common = [os.environ.get("CC", "cc"), "-std=c17", "-O2", "-D_GNU_SOURCE"]
    for name, libraries in (("coalescent", ["-lm"]), ("cohort", ["-lhts"])):
        subprocess.check_call([*common, "-o", os.path.join(into, name), os.path.join(HERE, name + ".c"), *libraries])


def recombination_map(rng, length):
    """[(bp, cM)] from 0 to length."""
    knots, pos, cm = [(0, 0.0)], 0, 0.0
    while pos < length:
        gap = min(int(rng.expovariate(1 / 60000)) + 1000, length - pos)
        pos, cm = pos + gap, cm + gap * 0.15e-6
        knots.append((pos, cm))
        if pos < length:
            pos, cm = pos + min(2000, length - pos), cm + rng.gammavariate(0.6, 0.1)
            knots.append((pos, cm))
    return knots


def history():
    """[(generations ago, diploid size)], piecewise constant."""
    recent = [(g, 512000 * math.exp(-0.0195 * g)) for g in range(0, 204, 12)]
    before = [(g, 9475 * math.exp(-0.00307 * (g - 204))) for g in range(204, 920, 60)]
    return recent + before + [(920, 1861), (2040, 14474), (5920, 7310)]


def write_maps(out, chrom, knots):
    with open(out + ".map.plink", "w") as f:
        f.writelines("%s . %.8f %d\n" % (chrom, cm, max(pos, 1)) for pos, cm in knots)
    with gzip.GzipFile(out + ".map.shapeit.gz", "wb", mtime=0) as f:
        f.write(("pos\tchr\tcM\n" + "".join("%d\t%s\t%.8f\n" % (max(pos, 1), chrom, cm) for pos, cm in knots)).encode())


def simulate(out, haps, targets, length, seed, chrom="20", spacing=4500, min_count=3, mutation_rate=1.25e-8, error=0.0005, missing=0.002):
    where = os.path.dirname(os.path.abspath(out))
    os.makedirs(where, exist_ok=True)
    knots = recombination_map(random.Random(seed), length)
    with tempfile.TemporaryDirectory(dir=where) as tmp:
        compile_programs(tmp)
        at = {name: os.path.join(tmp, name) for name in ("coalescent", "cohort", "map", "history", "haplotypes")}
        with open(at["map"], "w") as f:
            f.writelines("%d %.8f\n" % k for k in knots)
        with open(at["history"], "w") as f:
            f.writelines("%d %.1f\n" % e for e in history())
        with open(at["haplotypes"], "wb") as f:
            subprocess.check_call([str(x) for x in (at["coalescent"], haps, length, seed, mutation_rate, at["map"], at["history"], min_count)], stdout=f)
        subprocess.check_call([str(x) for x in (at["cohort"], at["haplotypes"], haps, targets, spacing, seed, chrom, min_count, error, missing, out, length)])
    write_maps(out, chrom, knots)
    return knots[-1][1]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True)
    p.add_argument("--haps", type=int, default=10400, help="haplotypes in all")
    p.add_argument("--targets", type=int, default=200, help="samples kept out of the panel")
    p.add_argument("--length", type=int, default=10_000_000, help="base pairs")
    p.add_argument("--seed", type=int, default=7)
    p.add_argument("--chrom", default="20")
    p.add_argument("--spacing", type=float, default=4500, help="base pairs to a site of the array")
    p.add_argument("--min-count", type=int, default=3, help="least count of either allele in the panel")
    p.add_argument("--mutation-rate", type=float, default=1.25e-8)
    p.add_argument("--error", type=float, default=0.0005, help="share of wrong calls")
    p.add_argument("--missing", type=float, default=0.002, help="share of missing calls")
    a = p.parse_args()
    print("%s.*: %.2f cM over %d bp" % (a.out, simulate(**vars(a)), a.length))


if __name__ == "__main__":
    main()
