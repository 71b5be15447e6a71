"""The data that the benchmark runs on: simulated sets of any size, and real ones where they are at hand."""
import gzip
import os
import random
import subprocess
import sys

from measure import say

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench", "simulate"))
import simulate  # noqa: E402

DIR = os.environ.get("SEQUESTER_BENCH_DIR", os.path.join(ROOT, "build", "bench-impute"))
REAL = os.environ.get("SEQUESTER_BENCH_DATA", os.path.join(ROOT, "..", "shared", "data", "imputation"))

#             haplotypes, targets, bp, seed
SIMULATED = {"tiny": (2400, 100, 1_000_000, 7), "sm": (10400, 200, 10_000_000, 7), "sm2": (10400, 200, 10_000_000, 11), "sl": (50400, 200, 10_000_000, 7),
             "sm3": (10400, 200, 10_000_000, 19), "cohort": (30000, 10000, 4_000_000, 7),
             "s2k": (2400, 100, 6_000_000, 21), "s600": (800, 100, 6_000_000, 22),
             "targets": (12000, 1000, 10_000_000, 7), "huge": (200400, 200, 2_000_000, 7), "huge500": (500400, 200, 2_000_000, 7)}
#         folder, map, its chromosome
REAL_SETS = {"chr22": ("chr22-1kgp3-b37", "chr22"), "par1": ("chrX-par1-b37", "chrX_par1"), "chr20": ("chr20-eur-b37", "chr20")}
#         100 samples of the real panel of chr22 become targets: which, typed at every how-manieth common site
SPLIT = {"chr22x": (4, 10), "chr22y": (9, 25)}
ACCURACY = ("sm", "sl", "chr22", "par1", "chr20")


class Set:
    """Paths of one set: panel.bcf with .csi, target.vcf.gz (phased), unphased.vcf.gz and truth.vcf.gz with index, map.plink, map.shapeit.gz."""

    def __init__(self, name):
        self.name = name
        self.dir = os.path.join(DIR, name)

    def path(self, file):
        return os.path.join(self.dir, file)


def shell(command, *args):
    """A pipeline of bash with arguments $1, $2 ...; fails when any part of it does."""
    subprocess.run(["bash", "-c", "set -euo pipefail; " + command, "-", *map(str, args)], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def whole(path, make):
    """Calls make(a name beside it) unless path is there, and renames: what bears the name is whole."""
    if not os.path.exists(path):
        part = os.path.join(os.path.dirname(path), "part." + os.path.basename(path))
        make(part)
        for suffix in (".csi", ".tbi"):
            if os.path.exists(part + suffix):
                os.rename(part + suffix, path + suffix)
        os.rename(part, path)
    return path


def make(name):
    """The set of this name, made when it isn't there yet; None when its data isn't at hand."""
    s = Set(name)
    if os.path.exists(s.path("whole")):
        return s
    os.makedirs(s.dir, exist_ok=True)
    if name in SIMULATED:
        make_simulated(s)
    elif name in SPLIT:
        if not make_split(s, *SPLIT[name]):
            return None
    elif not make_real(s):
        return None
    open(s.path("whole"), "w").close()
    return s


def make_simulated(s):
    haps, targets, length, seed = SIMULATED[s.name]
    say("simulating %s: %d haplotypes x %d bp (some minutes for the large ones)" % (s.name, haps, length))
    simulate.simulate(s.path("s"), haps, targets, length, seed)
    for ours, theirs in (("panel.bcf", "ref.bcf"), ("truth.vcf.gz", "truth.vcf.gz"), ("target.vcf.gz", "target.phased.vcf.gz"), ("unphased.vcf.gz", "target.unphased.vcf.gz")):
        os.rename(s.path("s." + theirs), s.path(ours))
        os.rename(s.path("s." + theirs + ".csi"), s.path(ours + ".csi"))
    os.rename(s.path("s.map.plink"), s.path("map.plink"))
    os.rename(s.path("s.map.shapeit.gz"), s.path("map.shapeit.gz"))


def real_folder(name):
    """(folder, folder of maps) of a real set; chr22 is in the tests' data too, with fewer samples."""
    folder, maps = os.path.join(REAL, REAL_SETS[name][0]), os.path.join(REAL, "maps")
    if not os.path.isdir(folder) and name == "chr22":
        folder = maps = os.path.join(ROOT, "tests", "data", REAL_SETS[name][0])
    return (folder, maps) if os.path.isdir(folder) else (None, None)


def make_real(s):
    folder, maps = real_folder(s.name)
    if folder is None:
        say("%s is left out: %s isn't there (SEQUESTER_BENCH_DATA names the folder of real sets)" % (s.name, REAL))
        return False
    copy_with_index(os.path.join(folder, "ref.bcf"), s.path("panel.bcf"), "-f")
    truth = os.path.join(folder, "truth.vcf.gz")
    copy_with_index(truth if os.path.exists(truth) else os.path.join(folder, "truth.unphased.vcf.gz"), s.path("truth.vcf.gz"), "-ft")
    copy_maps(s, os.path.join(maps, REAL_SETS[s.name][1] + ".b37.gmap.gz"))
    unphased(s)
    phased = os.path.join(folder, "target.array.phased.vcf.gz")
    if os.path.exists(phased):
        copy_with_index(phased, s.path("target.vcf.gz"), "-ft")
    else:  # phased once, for all tools
        shell('shapeit4 -I "$1" -H "$2" -M "$3" -R "$4" -T 1 --seed 15052011 -O "$5" && bcftools index -ft "$5"',
              s.path("unphased.vcf.gz"), s.path("panel.bcf"), s.path("map.shapeit.gz"), first_chrom(s.path("unphased.vcf.gz")), s.path("target.vcf.gz"))
    return True


def unphased(s):
    """Path of the set's targets without phase; of real sets made by earlier versions it wasn't kept. None when the set has none."""
    path = s.path("unphased.vcf.gz")
    if not os.path.exists(path):
        folder = real_folder(s.name)[0] if s.name in REAL_SETS else None
        source = os.path.join(folder, "target.array.unphased.vcf.gz") if folder else ""
        if not os.path.exists(source):
            return None
        copy_with_index(source, path, "-ft")
    return path


def eagle_map(s):
    """The set's map as Eagle wants it, made once: a rate a row, and X as 23."""
    def make(part):
        rows = [(int(r.split()[0]), r.split()[1], float(r.split()[2])) for r in gzip.open(s.path("map.shapeit.gz"), "rt").read().split("\n")[1:] if r]
        with gzip.open(part, "wt") as f:
            f.write("chr position COMBINED_rate(cM/Mb) Genetic_Map(cM)\n")
            for (pos, chrom, cm), (after, _, further) in zip(rows, rows[1:] + rows[-1:]):
                f.write("%s %d %.8f %.8f\n" % ("23" if chrom == "X" else chrom, pos, (further - cm) / max(after - pos, 1) * 1e6, cm))
    return whole(s.path("map.eagle.gz"), make)


def first_chrom(path):
    p = subprocess.Popen(["bcftools", "query", "-f", "%CHROM\\n", path], stdout=subprocess.PIPE, text=True)
    chrom = p.stdout.readline().strip()
    p.kill()
    p.wait()
    return chrom


def copy_with_index(source, target, kind):
    shell('cp "$1" "$2" && bcftools index $3 "$2"', source, target, kind)


def copy_maps(s, shapeit):
    rows = gzip.open(shapeit, "rt").read().split("\n")[1:]
    with gzip.open(s.path("map.shapeit.gz"), "wt") as f:
        f.write("pos\tchr\tcM\n" + "".join(r + "\n" for r in rows if r))
    with open(s.path("map.plink"), "w") as f:
        for pos, chrom, cm in (r.split() for r in rows if r):
            f.write("%s . %s %s\n" % (chrom, cm, pos))


def make_split(s, seed, every):
    """100 samples of the real chr22 panel become targets, typed at every tenth (25th) common site: of all ancestries, none of them in the panel."""
    folder, maps = real_folder("chr22")
    if folder is None:
        return False
    panel = os.path.join(folder, "ref.bcf")
    names = subprocess.check_output(["bcftools", "query", "-l", panel], text=True).split()
    random.Random(seed).shuffle(names)
    with open(s.path("targets.txt"), "w") as f:
        f.writelines(n + "\n" for n in sorted(names[:100]))
    shell('bcftools view --no-version -S "^$2" -Ou "$1" | bcftools view --no-version -c1 -Ob -o "$3" && bcftools index -f "$3"', panel, s.path("targets.txt"), s.path("panel.bcf"))
    shell('bcftools query -f "%CHROM\\t%POS\\n" "$3" >"$5" && bcftools view --no-version -S "$2" -T "$5" -Oz -o "$4" "$1" && bcftools index -ft "$4"',
          panel, s.path("targets.txt"), s.path("panel.bcf"), s.path("truth.vcf.gz"), s.path("sites.txt"))
    shell('bcftools +fill-tags "$1" -Ou -- -t MAF | bcftools query -i "MAF>0.05" -f "%CHROM\\t%POS\\n" | awk -v n="$5" "NR % n == int(n / 2)" >"$2" && '
          'bcftools view --no-version -T "$2" -Oz -o "$4" "$3" && bcftools index -ft "$4"', s.path("panel.bcf"), s.path("array.txt"), s.path("truth.vcf.gz"), s.path("target.vcf.gz"), every)
    copy_maps(s, os.path.join(maps, "chr22.b37.gmap.gz"))
    return True


def subset(source, name, n_sample=None, n_target=None):
    """A set like `source` with the first n_sample panel samples (sites with 3 or more of either allele stay) or the first n_target targets."""
    s = Set(name)
    if os.path.exists(s.path("whole")):
        return s
    os.makedirs(s.dir, exist_ok=True)
    names = {"panel.bcf": n_sample, "target.vcf.gz": n_target, "unphased.vcf.gz": n_target, "truth.vcf.gz": n_target}
    for file, n in names.items():
        if n is None and file != "truth.vcf.gz":
            for suffix in ("", ".csi"):
                link(source.path(file + suffix), s.path(file + suffix))
            continue
        if n is None:
            continue
        shell('bcftools query -l "$1" | head -n "$3" >"$4" || true; bcftools view --no-version -S "$4" $5 -o "$2" "$1" && bcftools index -f "$2"',
              source.path(file), s.path("all." + file) if file == "panel.bcf" else s.path(file), n, s.path("samples.txt"), "-Ob" if file == "panel.bcf" else "-Oz")
        if file == "panel.bcf":
            shell('bcftools view --no-version -c3:minor -Ob -o "$2" "$1" && bcftools index -f "$2" && rm "$1" "$1.csi"', s.path("all." + file), s.path(file))
    for file in ("map.plink", "map.shapeit.gz"):
        link(source.path(file), s.path(file))
    open(s.path("whole"), "w").close()
    return s


def link(source, target):
    if not os.path.lexists(target):
        os.symlink(os.path.abspath(source), target)
