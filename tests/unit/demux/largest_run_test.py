#!/usr/bin/env python3
"""A run of the largest instrument's shape (8 lanes x 2 surfaces x 392 tiles), its files sparse: demux, run check count beyond 32 bits.

    largest_run_test.py WORKER SOURCE_ROOT

900 of the 6,272 tiles have 5,000,001 clusters, more than 2^32 together; blocks of calls lie behind 6 GB of holes; in one tile of the last lane
100,003 clusters pass, its last ones.
"""
import csv
import glob
import gzip
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile

WORKER, ROOT = sys.argv[1:3]
sys.path.insert(0, os.path.join(ROOT, "tests/unit/tree"))
import tap  # noqa: E402

LANES, CYCLES, CLUSTERS, PASSED = 8, 24, 5_000_001, 100_003
TILES = [1000 * surface + 100 * swath + tile for surface in (1, 2) for swath in range(1, 5) for tile in range(1, 99)]
LARGE = 900
TMP = tempfile.TemporaryDirectory(prefix="largest-run.")
RUN = os.path.join(TMP.name, "run")
n_of = {}


def put(name, data, size=0):
    path = os.path.join(RUN, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
        if size:
            f.truncate(size)


def cbcl(tiles, block):
    """All blocks are holes of 16 MB that no call is in, but the last one."""
    rows = [(t, 0, 0, 16 << 20) for t in tiles[:-1]] + [(tiles[-1], PASSED if block else 0, (PASSED + 1) // 2 if block else 0, len(block))]
    size = 12 + 8 * 4 + 4 + 16 * len(rows) + 1
    head = struct.pack("<HIBBI", 1, size, 2, 2, 4) + struct.pack("<8I", 0, 0, 1, 12, 2, 24, 3, 40) + struct.pack("<I", len(rows)) + b"".join(struct.pack("<4I", *r) for r in rows) + b"\1"
    return head, size + sum(r[3] for r in rows)


def make():
    listed = "".join("<Tile>%d_%d</Tile>" % (lane, t) for lane in range(1, LANES + 1) for t in TILES)
    put("RunInfo.xml", ('<RunInfo Version="6"><Run Id="240305_LH00001_0001_A22BBBBLT3" Number="1"><Flowcell>22BBBBLT3</Flowcell><Instrument>LH00001</Instrument><Date>2024-03-05T09:00:00Z</Date><Reads>'
                        '<Read Number="1" NumCycles="8" IsIndexedRead="N"/><Read Number="2" NumCycles="4" IsIndexedRead="Y"/><Read Number="3" NumCycles="4" IsIndexedRead="Y"/>'
                        '<Read Number="4" NumCycles="8" IsIndexedRead="N"/></Reads><FlowcellLayout LaneCount="8" SurfaceCount="2" SwathCount="4" TileCount="98"><TileSet TileNamingConvention="FourDigit">'
                        '<Tiles>%s</Tiles></TileSet></FlowcellLayout></Run></RunInfo>' % listed).encode())
    put("SampleSheet.csv", b"[Header]\nFileFormatVersion,2\n[BCLConvert_Data]\nSample_ID,Index,Index2\nA,AAAA,AAAA\nB,CCCC,GGGG\n")
    for name in ("RTAComplete.txt", "CopyComplete.txt"):
        put(name, b"")
    put("Data/Intensities/s.locs", struct.pack("<IfI", 1, 1.0, CLUSTERS), 12 + 8 * CLUSTERS)
    nibbles = b"\xcc" * ((PASSED + 1) // 2)  # A of quality 40
    block = gzip.compress(nibbles, 1, mtime=0)
    first = {}
    for lane in range(1, LANES + 1):
        base = "Data/Intensities/BaseCalls/L%03d/" % lane
        for i, t in enumerate(TILES):
            n = n_of[lane, t] = CLUSTERS if len(n_of) >= LANES * len(TILES) - LARGE else 1
            path = base + "s_%d_%d.filter" % (lane, t)
            if n not in first:
                put(path, struct.pack("<III", 0, 3, n), 12 + n)
                first[n] = path
            elif (lane, t) == (LANES, TILES[-1]):
                put(path, struct.pack("<III", 0, 3, n) + bytes(n - PASSED) + b"\1" * PASSED)
            else:
                os.makedirs(os.path.join(RUN, base), exist_ok=True)
                os.link(os.path.join(RUN, first[n]), os.path.join(RUN, path))  # one file's pages are read again and again
        for c in range(1, CYCLES + 1):
            for surface in (1, 2):
                head, size = cbcl(TILES[(surface - 1) * 392:surface * 392], block if (lane, surface) == (LANES, 2) else b"")
                put(base + "C%d.1/L%03d_%d.cbcl" % (c, lane, surface), head, size)
                if (lane, surface) == (LANES, 2):
                    with open(os.path.join(RUN, base, "C%d.1/L%03d_%d.cbcl" % (c, lane, surface)), "r+b") as f:
                        f.seek(size - len(block))
                        f.write(block)


def worker(*argv):
    p = subprocess.run([WORKER, "--local", *argv], capture_output=True, text=True)
    return p.returncode, p.stdout, p.stderr


make()
TOTAL = sum(n_of.values())
assert TOTAL > 1 << 32
with tap.case("demux counts and writes all of it, in the memory it was given") as bad:
    out = os.path.join(TMP.name, "out")
    code, _, err = worker("demux", RUN, "-o", out, "--threads", "2", "--memory", "256", "-q")
    if code:
        bad.append("exit %d: %s" % (code, err))
    else:
        told = json.load(open(os.path.join(out, "Reports/demux.json")))
        if (told["clusters"], told["clusters_pf"]) != (TOTAL, PASSED):
            bad.append("%s clusters, %s passed; %d and %d are right" % (told["clusters"], told["clusters_pf"], TOTAL, PASSED))
        for kind, no in (("R1", 1), ("R2", 2)):
            text = gzip.open(os.path.join(out, "A_S1_L008_%s_001.fastq.gz" % kind), "rt").read().split("\n")
            head = "@LH00001:1:22BBBBLT3:8:%d:1000:1000 %d:N:0:AAAA+AAAA" % (TILES[-1], no)
            if len(text) != 4 * PASSED + 1 or text[:4] != [head, "AAAAAAAA", "+", "IIIIIIII"] or text[-5:] != [head, "AAAAAAAA", "+", "IIIIIIII", ""]:
                bad.append("%s: %d lines, %s .. %s" % (kind, len(text), text[:4], text[-5:]))
        rows = list(csv.DictReader(open(os.path.join(out, "Reports/Demultiplex_Stats.csv"))))
        if sum(int(r["# Reads"]) for r in rows) != PASSED or [r for r in rows if int(r["# Reads"]) and (r["Lane"], r["SampleID"]) != ("8", "A")]:
            bad.append("Demultiplex_Stats: %s" % [r for r in rows if int(r["# Reads"])])
        if len(glob.glob(os.path.join(out, "*.fastq.gz"))) != LANES * 3 * 2:
            bad.append("%d files" % len(glob.glob(os.path.join(out, "*.fastq.gz"))))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    if peak > 320 and not os.environ.get("SQ_SANITIZED"):
        bad.append("%d MiB at its peak" % peak)

with tap.case("run check finds it whole") as bad:
    code, text, err = worker("run", "check", RUN, "--json")
    told = json.loads(text) if text else {}
    if code or told.get("clusters") != TOTAL or told.get("clusters_pf") != PASSED or not told.get("is_whole"):
        bad.append("exit %d: %s %s" % (code, {k: v for k, v in told.items() if k != "findings"}, err))
        bad.append(str(told.get("findings"))[:1000])

with tap.case("a block cut behind 6 GB of holes is told with its place") as bad:
    path = os.path.join(RUN, "Data/Intensities/BaseCalls/L008/C24.1/L008_2.cbcl")
    size = os.path.getsize(path)
    os.truncate(path, size - 5)
    code, text, err = worker("run", "check", RUN, "--json", "--quick")
    found = [f for f in json.loads(text)["findings"] if f["lane"] == 8 and f["cycle"] == 24] if text else []
    if code != 1 or size < 6 << 30 or not found or found[0].get("byte") != size - 5:
        bad.append("exit %d, %d bytes: %s %s" % (code, size, found, err))
    code, _, err = worker("demux", RUN, "-o", os.path.join(TMP.name, "out2"), "--lanes", "8", "--tiles", "2498", "-q")
    if code != 1 or "lane 8, tile 2498, cycle 24, byte %d" % (size - 5) not in err:
        bad.append("exit %d: %s" % (code, err))
tap.done()
