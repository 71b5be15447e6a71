"""Targets for the ways of bench/end-to-end: genotypes alone, and the calls of the unphased file in their true order."""
import random
import subprocess

import sets
from sets import shell


def index(path):
    shell('bcftools index -f "$1"', path)


def genotypes_alone(phased, out):
    """GT and nothing else of a phased file, so that nothing of its uncertainty goes further; returns `out`."""
    shell('bcftools annotate --no-version -x INFO,^FORMAT/GT -Oz1 -o "$2" "$1" && bcftools index -f "$2"', phased, out)
    return out


def rows(path):
    p = subprocess.Popen(["bcftools", "view", "--no-version", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    yield from p.stdout
    if p.wait():
        raise RuntimeError("bcftools view failed on " + path)


def in_order(seen, true, rng):
    """The call `seen` (0/1) with the order of `true` (1|0); a wrong heterozygote in either order."""
    if "." in seen:
        return ".|."
    first, _, second = seen.partition("/")
    if first == second or not second:
        return seen.replace("/", "|")
    has = true.partition("|")
    return true if {has[0], has[2]} == {first, second} else rng.choice((first + "|" + second, second + "|" + first))


def truly(s):
    """Path of the set's unphased targets with the phase of the truth, made once."""
    def make(part):
        rng, true, names = random.Random(5), {}, None
        for line in rows(s.path("target.vcf.gz")):
            c = line.rstrip("\n").split("\t")
            if line.startswith("#CHROM"):
                names = c[9:]
            elif line[0] != "#":
                true[c[1], c[3], c[4]] = c[9:]
        with open(part + ".vcf", "w") as f:
            for line in rows(sets.unphased(s)):
                c = line.rstrip("\n").split("\t")
                if line.startswith("#CHROM") and c[9:] != names:
                    raise RuntimeError(s.name + ": the phased and the unphased targets have other samples")
                if line[0] == "#":
                    f.write(line)
                elif (c[1], c[3], c[4]) in true:
                    f.write("\t".join(c[:8] + ["GT"] + [in_order(g.split(":")[0], t, rng) for g, t in zip(c[9:], true[c[1], c[3], c[4]])]) + "\n")
        shell('bcftools view --no-version -Oz -o "$2" "$1" && bcftools index -f "$2" && rm "$1"', part + ".vcf", part)
    return sets.whole(s.path("truly.vcf.gz"), make)
