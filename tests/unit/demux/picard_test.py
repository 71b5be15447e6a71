#!/usr/bin/env python3
"""`demux --concatenated` and `run check` beside picard's IlluminaBasecallsToFastq and CheckIlluminaDirectory (Debian: picard-tools, libcommons-lang-java), run here and now.

    picard_test.py WORKER TESTS_DATA SHARED_DATA
"""
import csv
import glob
import gzip
import io
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tree"))
import tap  # noqa: E402

WORKER, DATA, SHARED = sys.argv[1:4]
JARS = ["/usr/share/java/picard.jar", "/usr/share/java/commons-lang.jar"]
TEMP = tempfile.TemporaryDirectory(prefix="demux-picard.")
SIMULATED = os.path.join(SHARED, "simulated")
SETS = [("the run in tests/data", os.path.join(DATA, "runs/sim-cbcl"), "24T6B4S6B20T", (1, 2), True)]
SETS += [("simulated run " + n, os.path.join(SIMULATED, n), "36T8B8B36T", (1,), False) for n in ("bcl", "bclgz", "cbcl")]


def picard(tool, *options):
    return subprocess.run(["java", "-Xmx1g", "-cp", ":".join(JARS), "picard.cmdline.PicardCommandLine", tool, *options, "QUIET=true", "VERBOSITY=ERROR"],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=240)


if not shutil.which("java") or not all(os.path.exists(j) for j in JARS):
    for name, *_ in SETS:
        tap.skip("%s: the reads that picard gives each sample" % name, "picard-tools and libcommons-lang-java aren't here")
    tap.skip("run check finds what CheckIlluminaDirectory finds", "picard-tools and libcommons-lang-java aren't here")
    tap.done()


def rows_of(run):
    text = open(os.path.join(run, "SampleSheet.csv")).read()
    return list(csv.DictReader(io.StringIO(text[text.index("[BCLConvert_Data]"):].split("\n", 1)[1])))


def turned(text):
    return text[::-1].translate(str.maketrans("ACGT", "TGCA"))


def reads(text):
    """{lane:tile:x:y: (bases, qualities)}; a call that isn't one is N and # for both"""
    lines, found = text.split("\n"), {}
    for i in range(0, len(lines) - 3, 4):
        quality = "".join("#" if b == "N" else q for b, q in zip(lines[i + 1], lines[i + 3]))
        found[":".join(lines[i].split(" ")[0].split(":")[3:7])] = lines[i + 1], quality
    return found


for name, run, structure, lanes, is_turned in SETS:
    if not os.path.isdir(run):
        tap.skip("%s: the reads that picard gives each sample" % name, "shared/data/runs isn't here")
        continue
    with tap.case("%s: the reads that picard gives each sample" % name) as bad:
        out = tempfile.mkdtemp(dir=TEMP.name)
        p = subprocess.run([WORKER, "--local", "demux", run, "-o", os.path.join(out, "ours"), "-q", "--concatenated", "--keep-adapters"], capture_output=True, text=True)
        if p.returncode:
            bad.append(p.stderr)
        for lane in lanes:
            there = os.path.join(out, "L%d" % lane)
            os.makedirs(there)
            rows = [r for r in rows_of(run) if not r.get("Lane") or r["Lane"] == str(lane)]
            with open(os.path.join(there, "params"), "w") as f:
                f.write("OUTPUT_PREFIX\tBARCODE_1\tBARCODE_2\n%s/Undetermined\tN\tN\n" % there)
                f.writelines("%s/%s\t%s\t%s\n" % (there, r["Sample_ID"], r["Index"], turned(r["Index2"]) if is_turned else r["Index2"]) for r in rows)
            p = picard("IlluminaBasecallsToFastq", "B=" + os.path.join(run, "Data/Intensities/BaseCalls"), "L=%d" % lane, "RS=" + structure, "MULTIPLEX_PARAMS=%s/params" % there,
                       "MATCH_BARCODES_INLINE=true", "METRICS_FILE=%s/metrics" % there, "RUN_BARCODE=7", "MACHINE_NAME=M", "FLOWCELL_BARCODE=F", "READ_NAME_FORMAT=CASAVA_1_8",
                       "NUM_PROCESSORS=1", "COMPRESS_OUTPUTS=false", "SORT=false", "APPLY_EAMSS_FILTER=false", "INCLUDE_NON_PF_READS=false", "TMP_DIR=" + there)
            if p.returncode:
                bad.append("picard: " + p.stderr[-800:])
                continue
            n = 0
            for sample in [r["Sample_ID"] for r in rows] + ["Undetermined"]:
                for read in (1, 2):
                    want = reads(open(os.path.join(there, "%s.%d.fastq" % (sample, read))).read())
                    (mine,) = glob.glob(os.path.join(out, "ours", "%s_S*_L%03d_R%d_001.fastq.gz" % (sample, lane, read)))
                    got = reads(gzip.open(mine, "rt").read())
                    n += len(want)
                    if want != got:
                        bad.append("lane %d, %s, read %d: %d reads wanted, %d there, %d the same" % (lane, sample, read, len(want), len(got), len(set(want.items()) & set(got.items()))))
            if n < 100:
                bad.append("only %d reads were compared" % n)
            print("# lane %d: %d reads" % (lane, n))

with tap.case("run check finds what CheckIlluminaDirectory finds, and more") as bad:
    def verdicts(run):
        ours = subprocess.run([WORKER, "--local", "run", "check", run, "-q"], capture_output=True, text=True).returncode
        theirs = [picard("CheckIlluminaDirectory", "B=" + os.path.join(run, "Data/Intensities/BaseCalls"), "RS=24T6B4S6B20T", "L=1", "L=2",
                         "DATA_TYPES=BaseCalls", "DATA_TYPES=PF", "DATA_TYPES=Position").returncode]
        return ours != 0, any(theirs)

    def damage(what):
        run = tempfile.mkdtemp(dir=TEMP.name)
        shutil.copytree(SETS[0][1], run, dirs_exist_ok=True)
        base = os.path.join(run, "Data/Intensities/BaseCalls/L001")
        if what == "a cycle":
            shutil.rmtree(os.path.join(base, "C5.1"))
        elif what == "a filter":
            os.remove(os.path.join(base, "s_1_1102.filter"))
        elif what == "positions":
            os.remove(os.path.join(run, "Data/Intensities/s.locs"))
        elif what == "half a file":
            path = os.path.join(base, "C7.1/L001_1.cbcl")
            os.chmod(path, 0o644)
            os.truncate(path, os.path.getsize(path) // 2)
        return run

    if verdicts(SETS[0][1]) != (False, False):
        bad.append("the whole run: %s" % (verdicts(SETS[0][1]),))
    for what in ("a cycle", "a filter", "positions", "half a file"):
        ours, theirs = verdicts(damage(what))
        print("# without %s: ours %s, picard %s" % (what, *("finds it" if v else "doesn't" for v in (ours, theirs))))
        if not ours:
            bad.append("run check doesn't miss " + what)

tap.done()
