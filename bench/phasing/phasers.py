"""The programs that phase: how each reads a panel and unphased targets, and what it writes. Eagle 2, SHAPEIT4 and Beagle as Debian ships them."""
import os
import re
import subprocess

import programs
import sets
from measure import run

BEAGLE = programs.Beagle()


class Phaser:
    name = None
    conditions_on_targets = True

    def prepare(self, s):
        """Makes what the program wants of the set besides VCF; not part of its time."""


class Ours(Phaser):
    name = "sequester"

    def prepare(self, s):
        programs.ALL[0].panel(s)

    def phase(self, s, threads, out, log=None):
        return run([os.path.join(programs.BUILD, "sequester"), "phase", "--panel", s.path("ours.sqp"), "--target", s.path("unphased.vcf.gz"), "--threads", threads,
                    "--timing", "-o", out + ".bcf"], log=log), out + ".bcf"

    def stages(self, log):
        """From `cpu      step 0.12 s, ...` of --timing."""
        line = next((x for x in open(log) if x.startswith("cpu ")), "")
        return [[name.strip(), seconds] for name, seconds in re.findall(r"([a-z][a-z ]*?) ([0-9.]+) s", line[4:])]


class Eagle(Phaser):
    name = "Eagle 2"
    conditions_on_targets = False

    def prepare(self, s):
        sets.eagle_map(s)

    def phase(self, s, threads, out, log=None):
        return run(["bio-eagle", "--vcfRef", s.path("panel.bcf"), "--vcfTarget", s.path("unphased.vcf.gz"), "--geneticMapFile", s.path("map.eagle.gz"),
                    "--numThreads", threads, "--vcfOutFormat", "b", "--outPrefix", out], out=log), out + ".bcf"


class Shapeit4(Phaser):
    name = "SHAPEIT4"

    def phase(self, s, threads, out, log=None):
        return run(["shapeit4", "-I", s.path("unphased.vcf.gz"), "-H", s.path("panel.bcf"), "-M", s.path("map.shapeit.gz"), "-R", sets.first_chrom(s.path("unphased.vcf.gz")),
                    "-T", threads, "--seed", "15052011", "-O", out + ".bcf"], out=log), out + ".bcf"


class Beagle(Phaser):
    name = "Beagle"

    def prepare(self, s):
        BEAGLE.panel(s)

    def phase(self, s, threads, out, log=None):
        return run(["java", "-Xmx" + programs.HEAP, "-jar", BEAGLE.jar, "gt=" + s.path("unphased.vcf.gz"), "ref=" + BEAGLE.panel(s)[0], "map=" + s.path("map.plink"),
                    "impute=false", "nthreads=%d" % threads, "out=" + out], log=log), out + ".vcf.gz"


ALL = (Ours(), Eagle(), Shapeit4(), Beagle())


def versions():
    texts = [subprocess.run([os.path.join(programs.BUILD, "sequester"), "version"], capture_output=True, text=True).stdout.split("\n")[0].strip()]
    for name in ("bio-eagle", "shapeit4", "beagle", "minimac4"):
        texts.append("%s %s" % (name, subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True).stdout))
    return "; ".join(texts)
