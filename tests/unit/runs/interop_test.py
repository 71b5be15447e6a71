#!/usr/bin/env python3
"""InterOp metrics of every version against what was written; the tables of `run summary` against Illumina's own library.

    interop_test.py RUNS_TOOL SEQUESTER SOURCE_ROOT [SHARED]

The library is the PyPI package `interop`: in this Python, or in the one that INTEROP_PYTHON names. What it says of the sets that are made here is
kept in tests/golden/interop/summaries.txt.gz, which serves without it (INTEROP_WRITE=1 writes that file anew); cases of other sets are then skipped by name.
"""
import csv
import glob
import gzip
import json
import math
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import types

TOOL, SEQUESTER, ROOT = sys.argv[1:4]
sys.path[:0] = [os.path.join(ROOT, "tests/unit/tree"), os.path.join(ROOT, "tests/support")]
import make_interop as made  # noqa: E402
import tap  # noqa: E402

SHARED = os.path.join(sys.argv[4] if len(sys.argv) > 4 else os.path.join(ROOT, "..", "shared"), "data", "runs")
PYTHON = os.environ.get("INTEROP_PYTHON", sys.executable)
TMP = tempfile.TemporaryDirectory()


def run(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)


def tool(verb, folder):
    out = run(TOOL, verb, folder)
    if out.returncode not in (0, 1):
        raise AssertionError("%s %s: exit %d" % (verb, folder, out.returncode))
    return out.stdout.decode().splitlines()


def folder(name):
    path = os.path.join(TMP.name, name)
    if not os.path.isdir(path):
        os.makedirs(path)
        with open(os.path.join(path, "RunInfo.xml"), "w") as f:
            f.write(made.run_info(((5, False),), 2, [(1, 1101), (2, 2104)]))
    return path


OLD = [((lane, tile), cycle) for cycle in (1, 2, 5) for lane, tile in ((1, 1101), (2, 2104))]
WIDE = [((lane, tile), cycle) for cycle in (1, 2, 5) for lane, tile in ((1, 1101), (8, 223104))]
SAMPLES = [("S1", "P", "ACGT", "TTTT"), ("S2", "", "AAAA", ""), ("S" * 300, "Q", "CCCC", "GGGG")]
VERSIONS = (
    [(lambda v, r: made.quality("QMetrics", v, WIDE if v >= 7 else OLD, r), v) for v in (4, 5, 6, 7, 8, 9)] +
    [(lambda v, r: made.quality("QMetricsByLane", v, WIDE if v >= 7 else OLD, r), v) for v in (4, 5, 6, 7, 8, 9)] +
    [(lambda v, r: made.q2030(v, OLD, r), v) for v in (2, 3, 4, 5, 6)] +
    [(lambda v, r: made.tile(v, [k for k, _ in (WIDE if v == 3 else OLD)][:2], 3, r), v) for v in (2, 3)] +
    [(lambda v, r: made.extended(v, [k for k, _ in (WIDE if v > 1 else OLD)][:2], r), v) for v in (1, 2, 3)] +
    [(lambda v, r: made.extraction(v, WIDE if v == 3 else OLD, r), v) for v in (2, 3)] +
    [(lambda v, r: made.corrected(v, WIDE if v == 4 else OLD, r), v) for v in (2, 3, 4)] +
    [(lambda v, r: made.index(v, [k for k, _ in (WIDE if v == 2 else OLD)][:2], 2, SAMPLES, r, "+" if v == 2 else "-"), v) for v in (1, 2)] +
    [(lambda v, r: made.error(v, WIDE if v > 3 else OLD, r), v) for v in (3, 4, 5, 6)] +
    [(lambda v, r: made.phasing(v, WIDE if v == 2 else OLD, r), v) for v in (1, 2)] +
    [(lambda v, r: made.image(v, WIDE if v == 3 else OLD, r), v) for v in (1, 2, 3)])

with tap.case("every version of every file: the records are what was written") as bad:
    path = folder("versions")
    for make, version in VERSIONS:
        w = make(version, random.Random(version))
        made.put(path, w)
        want = [line.replace("S" * 300, "S" * 255) for line in w.lines] + ["%s end: %d records, 0 bytes left" % (w.name, len(w.lines))]
        got = tool("interop", path)
        if got != want:
            k = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
            bad.append("%s %d: %r, should be %r" % (w.name, version, got[k:k + 1], want[k:k + 1]))
        os.unlink(os.path.join(path, "InterOp", w.name + "Out.bin"))

with tap.case("a file that grows: whole records only, at every length") as bad:
    path = folder("growing")
    for make, version in VERSIONS:
        w = make(version, random.Random(version))
        lines = [line.replace("S" * 300, "S" * 255) for line in w.lines]
        step = max(1, len(w.data) // 40)
        before = -1
        for n in list(range(0, len(w.data), step)) + [len(w.data)]:
            with open(os.path.join(path, "InterOp", w.name + "Out.bin") if os.path.isdir(os.path.join(path, "InterOp")) else os.makedirs(os.path.join(path, "InterOp")) or
                      os.path.join(path, "InterOp", w.name + "Out.bin"), "wb") as f:
                f.write(w.data[:n])
            got = tool("interop", path)
            if got and got[0].startswith("ERUNCUT") and before < 1:
                continue  # not even its head is there
            m = re.match(r".* end: (\d+) records, (\d+) bytes left", got[-1])
            if not m or got[:-1] != lines[:int(m.group(1))] or int(m.group(1)) < before:
                bad.append("%s %d at %d bytes: %s" % (w.name, version, n, got[-1:]))
            before = int(m.group(1)) if m else before
        if before != len(lines):
            bad.append("%s %d: %d of %d records" % (w.name, version, before, len(lines)))
        os.unlink(os.path.join(path, "InterOp", w.name + "Out.bin"))

with tap.case("files of each cycle serve where the whole one isn't there yet") as bad:
    path = folder("cycles")
    whole = made.quality("QMetrics", 7, WIDE, random.Random(3))
    head = len(whole.data) - 6 * 24
    for k, cycle in enumerate((1, 2, 5)):
        top = os.path.join(path, "InterOp", "C%d.1" % cycle)
        os.makedirs(top)
        with open(os.path.join(top, "QMetricsOut.bin"), "wb") as f:
            f.write(whole.data[:head] + whole.data[head + 48 * k:head + 48 * k + 48])
    got = tool("interop", path)
    if got != whole.lines + ["QMetrics end: 6 records, 0 bytes left"]:
        bad.append(got[:3])

with tap.case("impossible heads are refused") as bad:
    path = folder("bad")
    os.makedirs(os.path.join(path, "InterOp"))
    for name, data, want in (("QMetrics", b"\x03\x20", "version 3 isn't known"), ("QMetrics", b"\x04\x07", "records of 7 bytes; of version 4 they have 206"), ("QMetrics", b"", "empty"),
                             ("QMetrics", b"\x07\xff\x01\xff" + bytes(3 * 255), "records of 255 bytes"), ("QMetrics", b"\x07\x10\x01\x04abc", "ends within its head"),
                             ("ExtractionMetrics", b"\x03\x10\xff" + bytes(99), "version 3 isn't known"), ("TileMetrics", b"\x03\x0f\0\0", "within its head"),
                             ("ErrorMetrics", b"\x06\x10\xff\xff\xff\xff" + bytes(50), "within its head")):
        with open(os.path.join(path, "InterOp", name + "Out.bin"), "wb") as f:
            f.write(data)
        got = tool("interop", path)
        if not got or not re.match(r"ERUN(FILE|CUT) InterOp/%sOut.bin, byte \d+: " % name, got[0]) or want not in got[0]:
            bad.append("%s %r: %s" % (name, data[:8], got))
        os.unlink(os.path.join(path, "InterOp", name + "Out.bin"))


# ---- the tables ----

def parse(lines):
    out = {}
    for line in lines:
        w = line.split(" ")
        n = {"level": 2, "row": 4, "index": 2, "sample": 6}.get(w[0])
        if w[0] == "sample":
            out[tuple(w[:6])] = {"percent": float(w[6]), "clusters": float(w[7])}
        elif n:
            out[tuple(w[:n])] = {w[i]: float(w[i + 1]) for i in range(n, len(w) - 1, 2)}
        else:
            out[line] = {}
    return out


# digits behind the point of Illumina's tables; whole counts, which the library adds up in 32-bit floats, by their size
DIGITS = {"yield_g": 2, "projected_yield_g": 2, "percent_aligned": 2, "error_rate": 2, "first_cycle_intensity": 0, "percent_gt_q30": 2, "percent_occupied": 2, "density": 0, "percent_pf": 2,
          "phasing": 3, "prephasing": 3, "phasing_slope": 3, "phasing_offset": 3, "prephasing_slope": 3, "prephasing_offset": 3, "error_rate_35": 2, "error_rate_75": 2, "error_rate_100": 2, "tile_count": 0, "error_first": 0, "error_last": 0, "identified": 4, "cv": 4,
          "min": 4, "max": 4, "percent": 4}


def same(name, ours, theirs):
    if math.isnan(ours) or math.isnan(theirs):
        return math.isnan(ours) and math.isnan(theirs)
    name = name.split(".")[0]
    if name not in DIGITS:
        return abs(ours - theirs) <= 2e-6 * max(abs(ours), abs(theirs))
    theirs = theirs / 1000 if name == "density" else theirs
    # the same when printed; a value at the edge between two digits may fall to either side, for theirs has 24 bits
    return abs(ours - theirs) <= 4e-6 * abs(ours) + 1e-9 or "%.*f" % (DIGITS[name], ours) == "%.*f" % (DIGITS[name], theirs) or (
        name in ("identified", "cv", "min", "max", "percent") and abs(ours - theirs) < 0.6e-4) or (
        name.endswith(("_slope", "_offset")) and abs(ours - theirs) < 1e-5)


GOLDEN_PATH = os.path.join(ROOT, "tests/golden/interop/summaries.txt.gz")
GOLDEN = {}
if os.path.exists(GOLDEN_PATH):
    with gzip.open(GOLDEN_PATH, "rt") as f:
        for part in f.read().split("== ")[1:]:
            GOLDEN[part[:part.index("\n")]] = part[part.index("\n") + 1:]


def compare(bad, path, golden=None):
    theirs = run(PYTHON, os.path.join(ROOT, "tests/oracle/interop_summary.py"), path)
    if theirs.returncode == 77 and golden in GOLDEN:
        said = GOLDEN[golden]
    elif theirs.returncode == 77:
        print("# skipped: the PyPI package interop isn't here (INTEROP_PYTHON)")
        return
    elif theirs.returncode:
        bad.append("%s: the library: %s" % (path, theirs.stderr.decode().splitlines()[-2:]))
        return
    else:
        said = theirs.stdout.decode()
        if golden and os.environ.get("INTEROP_WRITE"):
            GOLDEN[golden] = said
        if golden and GOLDEN.get(golden) != said:
            bad.append("%s: the library says something else than tests/golden/interop has" % golden)
    ours, theirs = parse(tool("summary", path)), parse(said.splitlines())
    if not theirs:
        bad.append("%s: the library says nothing" % path)
    for key, values in theirs.items():
        for name, v in values.items():
            if name == "projected_yield_g" and key[0] == "row" and key[3] != "0":
                continue  # not shown of a surface
            x = ours.get(key, {}).get(name)
            if x is None or not same(name, x, v):
                bad.append("%s %s %s: %s, should be %s" % (os.path.basename(path), " ".join(key), name, x, v))
    bad += ["%s: %s is too much" % (os.path.basename(path), " ".join(k)) for k in ours if k not in theirs]


SETS = {"old": dict(seed=1, new=False), "new": dict(seed=2, new=True), "part": dict(seed=3, new=False, cycles=50), "begun": dict(seed=6, new=True, cycles=4),
        "no_tile": dict(seed=7, new=True, cycles=20, empty=("TileMetrics", "IndexMetrics")),
        "no_tile_old": dict(seed=12, new=False, cycles=20, empty=("TileMetrics", "IndexMetrics")), "little_phasing": dict(seed=8, new=True, cycles=24), "phasing_begins": dict(seed=9, new=True, cycles=25), "old_phasing": dict(seed=10, new=False, phases=True),
        "no_phasing": dict(seed=11, new=True, phases=False), "one_surface": dict(seed=4, new=True, lanes=3, surfaces=1, per_lane=3), "no_quality": dict(seed=5, new=False, empty=("QMetrics", "ErrorMetrics"))}
for name, options in SETS.items():
    with tap.case("run summary equals Illumina's library: made here, %s" % name) as bad:
        path = os.path.join(TMP.name, "set_" + name)
        made.make(path, **options)
        compare(bad, path, name)

with tap.case("index metrics that demux writes: each sample's reads that passed, as Illumina's library reads them") as bad:
    run_path, out = os.path.join(ROOT, "tests/data/runs/sim-cbcl"), os.path.join(TMP.name, "demux")
    path = os.path.join(TMP.name, "demux_run")
    os.makedirs(path)
    shutil.copy(os.path.join(run_path, "RunInfo.xml"), path)
    w = made.Writer("TileMetrics", 3)
    w.head(15, struct.pack("<f", 1))
    for name in sorted(glob.glob(os.path.join(run_path, "Data/Intensities/BaseCalls/L00*/*.filter"))):
        lane, number = (int(v) for v in re.search(r"s_(\d+)_(\d+)\.filter", name).groups())
        with open(name, "rb") as f:
            passed = f.read()[12:]
        w.add((lane, number), b"t" + struct.pack("<ff", len(passed), sum(b & 1 for b in passed)), "", True)
    made.put(path, w)
    done = run(SEQUESTER, "demux", run_path, "-o", out, "-q")
    if done.returncode:
        bad.append(done.stderr.decode())
    with open(os.path.join(out, "Reports/IndexMetricsOut.bin"), "rb") as f:
        made.put(path, types.SimpleNamespace(name="IndexMetrics", data=f.read()))
    compare(bad, path, "demux")
    with open(os.path.join(out, "Reports/Demultiplex_Stats.csv")) as f:
        want = {(r["Lane"], r["SampleID"], r["Sample_Project"], r["Index"].replace("-", " ")): 2 * int(r["# Reads"]) for r in csv.DictReader(f) if r["SampleID"] != "Undetermined"}
    got = {(w[1], w[2], w[3], w[4] + " " + w[5]): int(w[7]) for w in (line.split() for line in tool("summary", path)) if w[0] == "sample"}
    if got != want or not sum(want.values()):  # of each of the two reads
        bad.append("%s, should be %s" % (got, want))

if os.environ.get("INTEROP_WRITE"):
    os.makedirs(os.path.dirname(GOLDEN_PATH), exist_ok=True)
    with open(GOLDEN_PATH, "wb") as f, gzip.GzipFile("", "wb", 9, f, 0) as z:
        z.write("".join("== %s\n%s" % (name, GOLDEN[name]) for name in [*SETS, "demux"]).encode())


def missing(what):
    path = os.path.join(SHARED, what)
    if not os.path.isdir(path):
        print("# skipped: %s isn't here" % os.path.join("shared/data/runs", what))
        return None
    return path


for name in ("simulated/bcl", "simulated/cbcl", "simulated/cbcl_aborted", "simulated/bcl_v1_bylane_clocs", "checkqc/230825_M04034_0043_000000000-L6NVV"):
    with tap.case("run summary equals Illumina's library: %s" % name) as bad:
        path = missing(name)
        if path:
            compare(bad, path)

for name in ("130318_SL-HBB_0226_BFCC1WYMACXX", "130321_SL-MAK_0035_FC000000000-A306B", "130401_SL-HAC_0022_BH07PBADXX", "A67HY", "H7BATADXX"):
    with tap.case("run summary equals Illumina's library: picard/lane_metrics/%s" % name) as bad:
        path = missing("picard/lane_metrics/" + name)
        if path:  # the library wants a layout and the names of channels, which these runs' RunInfo lacks
            copy = os.path.join(TMP.name, "lm_" + name)
            shutil.copytree(path, copy, copy_function=shutil.copy)
            subprocess.run(["chmod", "-R", "u+w", copy], check=True)
            with open(os.path.join(path, "RunInfo.xml")) as f:
                text = f.read()
            text = text.replace("</Run>", '<FlowcellLayout LaneCount="8" SurfaceCount="2" SwathCount="4" TileCount="24"/><ImageChannels><Name>A</Name><Name>C</Name>'
                                "<Name>G</Name><Name>T</Name></ImageChannels></Run>")
            if "<Flowcell>" not in text:
                text = text.replace("<Run>", '<Run Id="x" Number="1"><Flowcell>F</Flowcell><Instrument>I</Instrument><Date>130318</Date>')
            with open(os.path.join(copy, "RunInfo.xml"), "w") as f:
                f.write(text)
            compare(bad, copy)

with tap.case("run summary prints what Illumina's program printed of the MiSeq run") as bad:
    path = missing("checkqc/230825_M04034_0043_000000000-L6NVV")
    if path:
        out = run(SEQUESTER, "run", "summary", path)
        got = [re.split(r"\s{2,}|(?<=[0-9a-z]) (?=\()", line.strip()) for line in out.stdout.decode().splitlines()]
        numbers = [re.findall(r"-?\d+\.\d+|\bnan\b|\d+", line.split(")", 1)[-1] if line.startswith("Read") else line) for line in out.stdout.decode().splitlines()]
        with open(os.path.join(path, "expected/interop_summary.txt")) as f:
            want = [line for line in f.read().splitlines() if re.match(r"(Read \d( \(I\))?|Non-indexed|Total) +,|\d+ +,", line)]
        rows = [line for line in out.stdout.decode().splitlines() if re.match(r"(Read \d( \(I\))? +[\dn]|Non-indexed|Total +[\dn]|\d+ +(-|\d) +\d+ +\d+ \+/-)", line)]
        if len(want) != len(rows) or not rows:
            bad.append("%d lines, should be %d" % (len(rows), len(want)))
        for mine, theirs in zip(rows, want):
            cells = [c.strip() for c in theirs.split(",")]
            wanted = sorted(re.findall(r"nan|[\d.]+", " ".join(cells)))  # Illumina's order is another
            have = sorted(re.findall(r"nan|[\d.]+", mine))
            if have != wanted:
                bad.append("%s | should be | %s" % (mine, theirs))
        with open(os.path.join(path, "expected/interop_index_summary.txt")) as f:
            for line in f:
                m = re.match(r" (\d+) +(\S+) +(\S+) +([ACGT]+) +([ACGT]+) +([\d.]+)", line)
                if m and not re.search(r"^%s +%s +%s +%s +%s +%s$" % tuple(re.escape(g) for g in m.groups()), out.stdout.decode(), re.M):
                    bad.append("missing: " + line.strip())
        told = json.loads(run(SEQUESTER, "run", "summary", path, "--json").stdout)
        if abs(told["total"]["yield_g"] - 6.58477625) > 1e-6 or told["total"]["percent_occupied"] is not None or len(told["indexing_qc"][0]["samples"]) != 12:
            bad.append(told["total"])

tap.done()
