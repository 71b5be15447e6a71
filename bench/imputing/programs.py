"""The programs that are compared: how each reads a panel, how each imputes. All write GT, DS and HDS where they can, compressed."""
import os
import re
import subprocess

from measure import Failed, run, say
from sets import ROOT, shell

BUILD = os.environ.get("SEQUESTER_BENCH_BUILD", os.path.join(ROOT, "build"))
FORMAT = ("GT", "DS", "HDS")
HEAP = os.environ.get("SEQUESTER_BENCH_HEAP", "8g")


class Program:
    name = None
    least_threads, most_threads = 1, 64

    def stages(self, log):
        """Rows of (stage, CPU seconds) that the program told, if it did."""
        return []

    def panel(self, s):
        """Converts the set's panel, once; returns (path of the panel for impute(), Cost or None when it was there already)."""
        path, cost = s.path(self.panel_file), None
        if not os.path.exists(path):
            cost = self.convert(s, path + ".part")
            os.rename(path + ".part", path)
        return path, cost


class Ours(Program):
    name, panel_file = "sequester", "ours.sqp"

    def convert(self, s, path):
        return run([os.path.join(BUILD, "sequester"), "panel", "build", s.path("panel.bcf"), "--map", s.path("map.shapeit.gz"), "--out", path, "--quiet"])

    def impute(self, s, threads, out, log=None, options=(), target=None):
        return run([os.path.join(BUILD, "sequester"), "impute", "--panel", self.panel(s)[0], "--target", target or s.path("target.vcf.gz"), "--threads", threads,
                    "--format", ",".join(FORMAT), "--timing", "-o", out + ".vcf.gz", *options], log=log)

    def stages(self, log):
        """From `cpu      step 0.12 s, ... (format 0.01 s, ...)` of --timing."""
        line = next((x for x in open(log) if x.startswith("cpu ")), "")
        return [[name.strip(), seconds] for name, seconds in re.findall(r"([a-z][a-z ]*?) ([0-9.]+) s", line[4:])]

    def scales(self, log):
        """The recombination scale of each window."""
        return [float(x) for line in open(log) if line.startswith("window ") for x in re.findall(r"scale ([0-9.e+]+)", line)]


class Minimac4(Program):
    name, panel_file = "minimac4", "minimac4.msav"

    def convert(self, s, path):
        return run(["minimac4", "--compress-reference", s.path("panel.bcf")], out=path)

    def impute(self, s, threads, out, log=None, target=None):
        # it wants PLINK's map: with others it fails or, in later versions, goes on without
        return run(["minimac4", self.panel(s)[0], target or s.path("target.vcf.gz"), "-m", s.path("map.plink"), "-f", ",".join(FORMAT), "-t", threads, "-O", "vcf.gz",
                    "-o", out + ".vcf.gz"], log=log)


class Beagle(Program):
    name, panel_file = "Beagle", "beagle.bref3"
    jar = "/usr/share/beagle/beagle.jar"

    def panel(self, s):
        """bref3, which can't hold alleles above 65,535 bases: such a panel stays a VCF."""
        vcf = s.path("panel.vcf.gz")
        if os.path.exists(vcf):
            return vcf, None
        try:
            return super().panel(s)
        except Failed:
            say("bref3 can't read the panel of %s; Beagle gets it as VCF" % s.name)
            os.rename(s.path("panel.part.vcf.gz"), vcf)
            return vcf, None

    def convert(self, s, path):
        vcf = s.path("panel.part.vcf.gz")
        shell('bcftools view --no-version -Oz1 -o "$2" "$1"', s.path("panel.bcf"), vcf)  # bref3 reads no BCF; this isn't counted
        cost = run(["bref3", vcf], out=path)
        os.unlink(vcf)
        return cost

    def impute(self, s, threads, out, log=None, target=None):
        return run(["java", "-Xmx" + HEAP, "-jar", self.jar, "gt=" + (target or s.path("target.vcf.gz")), "ref=" + self.panel(s)[0], "map=" + s.path("map.plink"),
                    "nthreads=%d" % threads, "out=" + out], log=log)


ALL = (Ours(), Minimac4(), Beagle())
PEERS = ALL[1:]


def versions():
    """One line: what was compared."""
    texts = [subprocess.run([os.path.join(BUILD, "sequester"), "version"], capture_output=True, text=True).stdout.split("\n")[0].strip()]
    for name in ("minimac4", "beagle"):
        texts.append("%s %s" % (name, subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True).stdout))
    return "; ".join(texts)
