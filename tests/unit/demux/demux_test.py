#!/usr/bin/env python3
"""`sequester-worker --local demux` on whole run folders: every simulated set and every golden one must come out byte for byte.

    demux_test.py WORKER TESTS_DATA SHARED_DATA

Sets of SHARED_DATA (run folders that may not be copied, see their README) are skipped by name where they aren't there.
"""
import glob
import gzip
import json
import os
import re
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tree"))
import tap

WORKER, DATA, SHARED = sys.argv[1:4]
TEMP = tempfile.TemporaryDirectory(prefix="demux.")


def demux(run, *options, env=None, ok=True):
    out = tempfile.mkdtemp(dir=TEMP.name)
    os.rmdir(out)
    p = subprocess.run([WORKER, "--local", "demux", run, "-o", out, *options], capture_output=True, text=True, env=env)
    if ok and p.returncode:
        raise RuntimeError("exit %d: %s" % (p.returncode, p.stderr))
    return out, p


def text_of(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as f:
        return f.read()


def fastq(folder):
    return {os.path.basename(p): text_of(p) for p in glob.glob(os.path.join(folder, "**", "*.fastq.gz"), recursive=True)}


def raw(folder):
    return {os.path.relpath(p, folder): open(p, "rb").read() for p in glob.glob(os.path.join(folder, "**", "*.fastq.gz"), recursive=True)}


def compare(bad, want, got, what=""):
    for name in sorted(set(want) | set(got)):
        if want.get(name, b"") != got.get(name, b""):
            bad.append("%s%s differs: %d bytes wanted, %d there" % (what, name, len(want.get(name, b"")), len(got.get(name, b""))))


SIMULATED = os.path.join(SHARED, "simulated")
SETS = [("the run in tests/data", os.path.join(DATA, "runs/sim-cbcl"), os.path.join(DATA, "runs/sim-cbcl.truth"))]
SETS += [("simulated run " + n, os.path.join(SIMULATED, n), os.path.join(SIMULATED, n + ".truth-fastq")) for n in ("bcl", "bclgz", "bgzf", "cbcl", "cbcl_umi_i5rc", "bcl_v1_bylane_clocs")]
for name, run, truth in SETS:
    if not os.path.isdir(run):
        tap.skip(name, "shared/data/runs isn't here")
        continue
    with tap.case("%s comes out as it was made, whatever the threads, kernels and memory" % name) as bad:
        out, _ = demux(run, "--keep-adapters", "--threads", "1")
        compare(bad, fastq(truth), fastq(out))
        first = raw(out)
        for options, env in ((["--threads", "4"], None), (["--threads", "3", "--memory", "64"], None), ([], dict(os.environ, SQ_KERNEL="scalar"))):
            again, _ = demux(run, "--keep-adapters", *options, env=env)
            compare(bad, first, raw(again), "%s: " % options)

# ---- golden sets of other programs: read by read, for their names of runs and of indexes differ


def reads(data, prefix=""):
    """(lane:tile:x:y, flag) -> (bases, qualities) of FASTQ text"""
    lines = data.decode().split("\n")
    found = {}
    for i in range(0, len(lines) - 3, 4):
        name, rest = lines[i].split(" ") if " " in lines[i] else (lines[i], ":N")
        found[":".join(name.split(":")[3:]), rest.split(":")[1]] = lines[i + 1], lines[i + 3]
    return found


def sheet_with(run, setting):
    text = open(os.path.join(run, "SampleSheet.csv")).read()
    path = os.path.join(TEMP.name, "sheet.csv")
    with open(path, "w") as f:
        f.write("[BCLConvert_Settings]\n%s\n[BCLConvert_Data]\n%s" % (setting, text[text.index("[Data]") + 7:]))
    return path


PICARD = os.path.join(SHARED, "picard")
GOLDEN = [("25T8B25T", "fastq", "", {"1": "R1", "2": "R2", "barcode_1": "I1"}),
          ("25T8B25T", "fastq_with_4M", "OverrideCycles,Y25;I8;U4Y21", {"1": "R1", "2": "R2"}),
          ("25T8B25T", "fastq_with_4M4M", "OverrideCycles,Y25;I8;U8Y17", {"1": "R1", "2": "R2"}),
          ("25T8B8B25T", "fastq", "", {"1": "R1", "2": "R2", "barcode_1": "I1", "barcode_2": "I2"})]
for set_name, folder, setting, kinds in GOLDEN:
    run = os.path.join(PICARD, set_name)
    if not os.path.isdir(run):
        tap.skip("golden %s %s" % (set_name, folder), "shared/data/runs isn't here")
        continue
    with tap.case("golden %s, %s: each sample's reads, with those that failed the filter" % (set_name, folder)) as bad:
        options = ["--sample-sheet", sheet_with(run, setting)] if setting else []
        out, _ = demux(run, "--concatenated", "--index-reads", "--keep-failed", "--lanes", "1", *options)
        got = fastq(out)
        n = 0
        for path in sorted(glob.glob(os.path.join(run, folder, "*.fastq"))):
            barcode, kind = os.path.basename(path)[:-6].split(".", 1)
            if kind not in kinds or barcode.strip("ACGTN"):  # the others are of other programs' options
                continue
            want = reads(text_of(path))
            if barcode == "N" and os.path.exists(path.replace("/N.", "/GAACGAT..")):  # a barcode with N, which the sheet doesn't have
                want.update(reads(text_of(path.replace("/N.", "/GAACGAT.."))))
            mine = [k for k in got if k.startswith("Undetermined" if barcode.strip("N") == "" else "SA_" + barcode) and kinds[kind] in k]
            found = reads(got[mine[0]]) if mine else {}
            if setting:  # its names carry no UMI
                found = {(":".join(k[0].split(":")[:4]), k[1]): v for k, v in found.items()}
            n += len(want)
            for key, (bases, quality) in want.items():  # picard's EAMSS filter makes some ends Q2, which isn't demultiplexing
                if key in found and quality.endswith("#"):
                    kept = len(quality.rstrip("#"))
                    want[key] = bases, quality[:kept] + found[key][1][kept:]
            if want != found:
                bad.append("%s: %d reads wanted, %d there, %d the same" % (os.path.basename(path), len(want), len(found), len(set(want.items()) & set(found.items()))))
        if n < 100:
            bad.append("only %d reads were compared" % n)

run = os.path.join(PICARD, "151T8B8B151T_cbcl")
if os.path.isdir(run):
    with tap.case("golden 151T8B8B151T_cbcl: every read, with N where the stored quality is 0") as bad:
        out, _ = demux(run, "--no-sample-sheet")
        for kind, no in (("R1", "1"), ("R2", "2")):
            found = reads(fastq(out)["Undetermined_S0_L001_%s_001.fastq.gz" % kind])
            want = {}
            for path in glob.glob(os.path.join(run, "fastq", "*.%s.fastq" % no)):
                for key, (bases, quality) in reads(text_of(path)).items():
                    masked = [(("N", "#") if q in "!#" else (b, q)) for b, q in zip(bases, quality)]
                    want[key] = "".join(b for b, _ in masked), "".join(q for _, q in masked)
            if want != found or len(want) != 50:
                bad.append("%s: %d reads wanted, %d there, %d the same" % (kind, len(want), len(found), len(set(want.items()) & set(found.items()))))
else:
    tap.skip("golden 151T8B8B151T_cbcl", "shared/data/runs isn't here")

run = os.path.join(SHARED, "bambi/160916_miseq_0966_FC")
if os.path.isdir(run):
    with tap.case("golden 160916_miseq_0966_FC: every read of both lanes") as bad:
        out, _ = demux(run, "--no-sample-sheet")
        for lane in (1, 2):
            rows = [line.split("\t") for line in text_of(os.path.join(run, "expected/bambi_i2b.L%03d.tsv.gz" % lane)).decode().splitlines()]
            for kind, flag in (("R1", "77"), ("R2", "141")):
                want = {(r[0].split(":", 1)[1], "N"): (r[2], r[3]) for r in rows if r[1] == flag}
                found = reads(fastq(out)["Undetermined_S0_L%03d_%s_001.fastq.gz" % (lane, kind)])
                if want != found or len(want) < 900:
                    bad.append("lane %d %s: %d reads wanted, %d there, %d the same" % (lane, kind, len(want), len(found), len(set(want.items()) & set(found.items()))))
else:
    tap.skip("golden 160916_miseq_0966_FC", "shared/data/runs isn't here")

run = os.path.join(SHARED, "bambi/160919_nextseq_6230_FC")
if os.path.isdir(run):
    with tap.case("golden 160919_nextseq_6230_FC: one file a lane and cycle") as bad:
        out, _ = demux(run, "--no-sample-sheet")
        rows = [line.split("\t") for line in text_of(os.path.join(run, "expected/decode.L001.tsv.gz")).decode().splitlines()]
        for kind, at in (("R1", 1), ("R2", 3)):
            want = {(r[0], "N"): (r[at], r[at + 1]) for r in rows}
            found = reads(fastq(out)["Undetermined_S0_L001_%s_001.fastq.gz" % kind])
            if want != found:
                bad.append("%s: %d reads wanted, %d there, %d the same" % (kind, len(want), len(found), len(set(want.items()) & set(found.items()))))
else:
    tap.skip("golden 160919_nextseq_6230_FC", "shared/data/runs isn't here")

# ---- reports, options

RUN = os.path.join(DATA, "runs/sim-cbcl")
TRUTH = fastq(os.path.join(DATA, "runs/sim-cbcl.truth"))

with tap.case("reports agree with each other and with the reads") as bad:
    out, _ = demux(RUN, "--keep-adapters")
    got = fastq(out)
    j = json.load(open(os.path.join(out, "Reports/demux.json")))
    stats = [r.split(",") for r in open(os.path.join(out, "Reports/Demultiplex_Stats.csv")).read().splitlines()[1:]]
    quality = [r.split(",") for r in open(os.path.join(out, "Reports/Quality_Metrics.csv")).read().splitlines()[1:]]
    for row in stats:
        name = [k for k in got if k.startswith(row[1] + "_") and "L00%s_R1" % row[0] in k][0]
        if got[name].count(b"\n") // 4 != int(row[4]):
            bad.append("Demultiplex_Stats: %s" % row)
    for row in quality:
        name = [k for k in got if k.startswith(row[1] + "_") and "L00%s_R%s" % (row[0], row[5]) in k][0]
        q = [c - 33 for line in got[name].split(b"\n")[3::4] for c in line]
        if [len(q), sum(c >= 30 for c in q), sum(q)] != [int(v) for v in row[6:9]]:
            bad.append("Quality_Metrics: %s" % row)
    for lane in j["lanes"]:
        if sum(s["reads"] for s in lane["samples"]) != lane["clusters_pf"] or sum(u["reads"] for u in lane["unknown"]) != lane["samples"][-1]["reads"]:
            bad.append("demux.json, lane %d" % lane["lane"])
        for c, cycle in enumerate(lane["cycles"][:24]):
            q = [line[c] - 33 for k in got if "L00%d_R1" % lane["lane"] in k for line in got[k].split(b"\n")[3::4] if line]
            if cycle["quality_sum"] != sum(q) or cycle["q30"] != sum(v >= 30 for v in q):
                bad.append("demux.json, lane %d, cycle %d" % (lane["lane"], c + 1))
    page = open(os.path.join(out, "Reports/report.html")).read()
    if "<script" in page or "http" in page.replace("http-equiv", "") or page.count("<svg") != 5:
        bad.append("report.html has a script, an address, or not all pictures")



def index_records(path):
    """{(lane, tile, read, sample, index, project): reads} of IndexMetricsOut.bin"""
    data, at, found = open(path, "rb").read(), 1, {}

    def text():
        nonlocal at
        n = struct.unpack_from("<H", data, at)[0]
        at += 2 + n
        return data[at - n:at].decode()
    while at < len(data):
        key = struct.unpack_from("<HHH" if data[0] == 1 else "<HIH", data, at)
        at += 6 if data[0] == 1 else 8
        index = text()
        n = struct.unpack_from("<I" if data[0] == 1 else "<Q", data, at)[0]
        at += 4 if data[0] == 1 else 8
        found[key + (text(), index, text())] = n
    return found


for name in ("bcl", "bgzf", "cbcl_umi_i5rc", "bcl_v1_bylane_clocs"):
    run = os.path.join(SIMULATED, name)
    if not os.path.isdir(run):
        tap.skip("index metrics of %s" % name, "shared/data/runs isn't here")
        continue
    with tap.case("index metrics of %s: each sample's reads that passed, in each tile, as they were made" % name) as bad:
        made = {k[:2] + k[3:]: n for k, n in index_records(os.path.join(run, "InterOp/IndexMetricsOut.bin")).items()}
        for options in ([], ["--threads", "1"]) + (() if name.startswith("cbcl") else (["--keep-failed"],)):
            out, _ = demux(run, *options)
            got = index_records(os.path.join(out, "Reports/IndexMetricsOut.bin"))
            for read in {k[2] for k in got}:
                if {k[:2] + k[3:]: n for k, n in got.items() if k[2] == read} != made:
                    bad.append("%s, read %d" % (options, read))
            if {k[2] for k in got} != ({1} if "v1" in name else {1, 2}):
                bad.append("reads: %s" % {k[2] for k in got})

with tap.case("--keep-failed of a run that keeps no calls of such clusters: says so, and blames no file") as bad:
    out, p = demux(RUN, "--keep-failed", "--mask-missing", ok=False)
    if p.returncode != 1 or "holds no calls of clusters that failed the filter" not in p.stderr or "leave it away" not in p.stderr or "damaged" in p.stderr:
        bad.append(p.stderr)

with tap.case("lanes in one file, project folders, tiles, index reads") as bad:
    out, _ = demux(RUN, "--keep-adapters", "--no-lane-splitting")
    compare(bad, {k.replace("_L001", ""): v + TRUTH[k.replace("L001", "L002")] for k, v in TRUTH.items() if "_L001" in k}, fastq(out), "joined: ")
    out, _ = demux(RUN, "--keep-adapters", "--project-folders", "--index-reads")
    if not os.path.exists(os.path.join(out, "Project1/S001_S1_L001_R1_001.fastq.gz")):
        bad.append("no project folder")
    index = fastq(out)["S001_S1_L001_I2_001.fastq.gz"].decode().split("\n")
    comp = dict(zip("ACGTN", "TGCAN"))
    if any("".join(comp[b] for b in reversed(index[i + 1])) != index[i].split("+")[1] for i in range(0, len(index) - 3, 4)):
        bad.append("index 2 isn't the reverse complement of the header's")
    out, _ = demux(RUN, "--keep-adapters", "--tiles", "1_1102")
    want = {k: b"".join(b"\n".join(lines[i:i + 4]) + b"\n" for lines in [v.split(b"\n")] for i in range(0, len(lines) - 3, 4) if b":1102:" in lines[i])
            for k, v in TRUTH.items() if "_L001" in k}
    compare(bad, want, {k: v for k, v in fastq(out).items() if "_L001" in k}, "one tile: ")

with tap.case("adapters are cut, and masked, as the rule says") as bad:
    A = b"AGATCGGAAGAGCACACGTCTGAACTCCAGTCA"

    def slow(seq, stringency=0.9):
        for at in range(len(seq)):
            same = other = 0
            for a, b in zip(A, seq[at:]):
                if b == ord("N"):
                    continue
                same, other = same + (a == b), other + (a != b)
                if other > 1 and other > same:
                    break
            else:
                if same >= 1 and same / (same + other) >= stringency:
                    return at
        return len(seq)

    out, _ = demux(RUN)
    n_cut = 0
    for k, v in fastq(out).items():
        if "_R1_" not in k or k.startswith("Undetermined"):
            continue
        want, got = TRUTH[k].split(b"\n"), v.split(b"\n")
        for i in range(0, len(want) - 3, 4):
            seq, quality = want[i + 1], want[i + 3]
            at = slow(seq)
            if at < len(seq):  # shorter than 35 can't be trimmed: masked, and wholly below 22
                at = 0 if at < 22 else at
                n_cut += 1
            seq, quality = seq[:at] + b"N" * (len(seq) - at), quality[:at] + b"#" * (len(seq) - at)
            if [seq, quality] != [got[i + 1], got[i + 3]]:
                bad.append("%s: %s became %s, not %s" % (k, want[i + 1], got[i + 1], seq))
    if n_cut < 20:
        bad.append("only %d reads had an adapter" % n_cut)

with tap.case("no other user may write what comes out, whatever the umask says") as bad:
    before = os.umask(0o022)
    out, _ = demux(RUN)
    os.umask(before)
    bad += [x for x in [out] + [os.path.join(at, n) for at, dirs, names in os.walk(out) for n in dirs + names] if os.stat(x).st_mode & 0o022]

with tap.case("a wrong i5 is recognized and named") as bad:
    out, p = demux(RUN, "--i5", "as-read")
    if "--i5 reverse-complement" not in p.stderr:
        bad.append(p.stderr)

with tap.case("a sheet of another run is remarked on") as bad:
    sheet = os.path.join(TEMP.name, "other.csv")
    text = open(os.path.join(RUN, "SampleSheet.csv")).read()
    for old, new in zip(("CTTGTC", "TCCAAG", "AGACAA", "ATCGTT"), ("GGGGGG", "CCCCCC", "GCGCGC", "CGCGCG")):
        text = text.replace(old, new)
    with open(sheet, "w") as f:
        f.write(text)
    out, p = demux(RUN, "--sample-sheet", sheet)
    if "is this the sheet of this run" not in p.stderr or "is this the sheet of this run" not in json.load(open(os.path.join(out, "Reports/demux.json")))["hint"]:
        bad.append(p.stderr)
    out, p = demux(RUN)
    if "note:" in p.stderr:
        bad.append("a good run: " + p.stderr)

if not os.path.isdir(os.path.join(SIMULATED, "bcl")):
    tap.skip("a run without a cluster that passed is remarked on", "shared/data/runs isn't here")
else:
    with tap.case("a run without a cluster that passed is remarked on") as bad:
        run = tempfile.mkdtemp(dir=TEMP.name)
        shutil.copytree(os.path.join(SIMULATED, "bcl"), run, dirs_exist_ok=True)
        for path in glob.glob(os.path.join(run, "Data/Intensities/BaseCalls/L*/*.filter")):
            os.chmod(path, 0o644)
            head = open(path, "rb").read()[:12]
            with open(path, "wb") as f:
                f.write(head + b"\0" * struct.unpack("<I", head[8:])[0])
        out, p = demux(run)
        if "no cluster passed the filter" not in p.stderr or "--keep-failed" not in p.stderr:
            bad.append(p.stderr)

with tap.case("one wrong index is one problem") as bad:
    sheet = os.path.join(TEMP.name, "wrong.csv")
    with open(sheet, "w") as f:
        f.write(open(os.path.join(RUN, "SampleSheet.csv")).read().replace("CTTGTC", "CTXGTC"))
    out, p = demux(RUN, "--sample-sheet", sheet, ok=False)
    if p.returncode != 1 or "line 24: Index 1 holds something else than bases" not in p.stderr or "1 problem\n" not in p.stderr:
        bad.append("exit %d: %s" % (p.returncode, p.stderr))

with tap.case("sheets that can't be are refused with line and remedy, and nothing is written") as bad:
    sheet = os.path.join(TEMP.name, "wrong.csv")
    text = open(os.path.join(RUN, "SampleSheet.csv")).read()
    rows = text[text.index("[BCLConvert_Data]"):].splitlines()
    for change, word in ((lambda t: t.replace(rows[3], rows[3].split(",")[0] + "," + ",".join(rows[2].split(",")[1:])), "same barcodes"),
                         (lambda t: t.replace("OverrideCycles,Y24", "OverrideCycles,Y23"), "23 cycles"),
                         (lambda t: t.replace("OverrideCycles", "OverideCycles"), "isn't known"),
                         (lambda t: t.replace(rows[2].split(",")[2] + ",", rows[2].split(",")[2][:-1] + ","), "5 bases")):
        with open(sheet, "w") as f:
            f.write(change(text))
        out, p = demux(RUN, "--sample-sheet", sheet, ok=False)
        if p.returncode != 1 or word not in p.stderr or "line " not in p.stderr or os.path.exists(out):
            bad.append("%s: exit %d: %s" % (word, p.returncode, p.stderr))

# ---- damage, stops


def copy_of(run):
    to = tempfile.mkdtemp(dir=TEMP.name)
    shutil.copytree(run, to, dirs_exist_ok=True)
    return to


with tap.case("a damaged file is named with cycle and tile; --mask-missing makes its calls N") as bad:
    run = copy_of(RUN)
    path = os.path.join(run, "Data/Intensities/BaseCalls/L001/C5.1/L001_1.cbcl")
    os.chmod(path, 0o644)
    with open(path, "r+b") as f:
        f.truncate(os.path.getsize(path) - 20)
    os.remove(os.path.join(run, "Data/Intensities/BaseCalls/L002/C7.1/L002_1.cbcl"))
    out, p = demux(run, "--keep-adapters", ok=False)
    if p.returncode != 1 or "C5.1/L001_1.cbcl" not in p.stderr or "tile 1102" not in p.stderr or "cycle 5" not in p.stderr or fastq(out):
        bad.append("exit %d: %s" % (p.returncode, p.stderr))
    p = subprocess.run([WORKER, "--local", "demux", run, "-o", out, "--keep-adapters", "--mask-missing"], capture_output=True, text=True)  # it goes on there
    if "C5.1/L001_1.cbcl" not in p.stderr or "C7.1/L002_1.cbcl" not in p.stderr:
        bad.append(p.stderr)
    want = {}
    for k, v in TRUTH.items():
        lines = v.split(b"\n")
        for i in range(0, len(lines) - 3, 4):
            at = 4 if b":1:1102:" in lines[i] else 6 if b":FCXX:2:" in lines[i].replace(b"SIM", b"") else -1
            if at >= 0 and "_R1_" in k:
                lines[i + 1] = lines[i + 1][:at] + b"N" + lines[i + 1][at + 1:]
                lines[i + 3] = lines[i + 3][:at] + b"#" + lines[i + 3][at + 1:]
        want[k] = b"\n".join(lines)
    compare(bad, want, fastq(out))

run = os.path.join(SIMULATED, "cbcl_aborted")
if os.path.isdir(run):
    with tap.case("a run that was aborted gives what it has, with --mask-missing") as bad:
        out, p = demux(run, ok=False)
        if p.returncode != 1 or "cycle 41" not in p.stderr:
            bad.append("exit %d: %s" % (p.returncode, p.stderr))
        out, p = demux(run, "--mask-missing")
        got, truth = fastq(out), json.load(open(run + ".truth.json"))
        first, second = (got["Undetermined_S0_L001_%s_001.fastq.gz" % k].split(b"\n")[1::4] for k in ("R1", "R2"))
        if len(first) != truth["totals"]["pf"] or any(s.count(b"N") > 9 for s in first) or any(s.strip(b"N") for s in second):
            bad.append("%d reads of %d, or bases where none were called" % (len(first), truth["totals"]["pf"]))
else:
    tap.skip("a run that was aborted", "shared/data/runs isn't here")

for name, run, truth in SETS:
    if not os.path.exists(run + ".truth.json"):
        continue
    with tap.case("%s: as many reads for each sample and lane as were made" % name) as bad:
        out, _ = demux(run)
        j, truth = json.load(open(os.path.join(out, "Reports/demux.json"))), json.load(open(run + ".truth.json"))
        got = sorted((lane["lane"], s["number"], s["reads"]) for lane in j["lanes"] for s in lane["samples"] if s["reads"])
        want = sorted((r["lane"], r["sample_number"], r["pf_reads"]) for r in truth["demultiplex"])
        if got != want or [j["clusters"], j["clusters_pf"]] != [truth["totals"]["clusters"], truth["totals"]["pf"]]:
            bad.append("%s, not %s" % (got, want))

FIRST, _ = demux(RUN)
BYTES = raw(FIRST)

with tap.case("a folder with finished results isn't taken for an empty one") as bad:  # stops and kills: demux_stops_test.py
    out = FIRST
    p = subprocess.run([WORKER, "--local", "demux", RUN, "-o", out], capture_output=True, text=True)
    if p.returncode != 1 or "isn't empty" not in p.stderr or raw(out) != BYTES:
        bad.append("finished results were taken for an empty folder: " + p.stderr)


def fed(out, n_tile, cycle):
    """has the store of each tile a whole record of @cycle?"""
    files = glob.glob(os.path.join(out, ".sequester/calls/*"))
    n = 0
    for path in files:
        data, at = open(path, "rb").read(), 0
        while at + 32 <= len(data):
            no, calls = struct.unpack_from("<II", data, at + 4)
            n += no == cycle - 1
            at += 32 + (calls if data[at + 12] == 2 else (calls + 1) // 2)
    return n >= n_tile


with tap.case("a run that is still growing, killed at every cycle, ends with the same bytes") as bad:
    run, out = tempfile.mkdtemp(dir=TEMP.name), os.path.join(TEMP.name, "followed")
    base = "Data/Intensities/BaseCalls"
    for name in ("RunInfo.xml", "RunParameters.xml", "SampleSheet.csv"):
        shutil.copy(os.path.join(RUN, name), run)
    os.makedirs(os.path.join(run, base))
    shutil.copy(os.path.join(RUN, "Data/Intensities/s.locs"), os.path.join(run, "Data/Intensities"))
    n_cycle = len(glob.glob(os.path.join(RUN, base, "L001/C*.1")))
    command = [WORKER, "--local", "demux", run, "-o", out, "-q", "--follow"]
    rng = random.Random(8)
    for c in range(1, n_cycle + 1):
        for lane in ("L001", "L002"):
            os.makedirs(os.path.join(run, base, lane, "C%d.1" % c))
            for path in glob.glob(os.path.join(RUN, base, lane, "C%d.1/*" % c)):
                to = os.path.join(run, os.path.relpath(path, RUN))
                data = open(path, "rb").read()
                with open(to, "wb") as f:
                    f.write(data[:len(data) // 2])
                if c % 7 == 0 and lane == "L001":  # it meets a file that is half written
                    p = subprocess.Popen(command, stdin=subprocess.DEVNULL)
                    time.sleep(0.05)
                    p.kill()
                    p.wait()
                with open(to, "wb") as f:
                    f.write(data)
            if c == 26:
                for path in glob.glob(os.path.join(RUN, base, lane, "*.filter")):
                    shutil.copy(path, os.path.join(run, base, lane))
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        end = time.monotonic() + (rng.random() * 0.02 if c % 3 == 0 and c < n_cycle else 200)
        while time.monotonic() < end and p.poll() is None and not fed(out, 4, c):
            time.sleep(0.005)
        if c % 3 and c < n_cycle and not fed(out, 4, c):
            bad.append("cycle %d wasn't taken in" % c)
            break
        if c < n_cycle:
            p.kill()
            p.wait()
    for name in ("RTAComplete.txt", "CopyComplete.txt"):
        shutil.copy(os.path.join(RUN, name), run)
    try:
        if p.wait(300):
            bad.append("exit %d" % p.returncode)
    except subprocess.TimeoutExpired:
        p.kill()
        bad.append("it doesn't end")
    compare(bad, BYTES, raw(out))

with tap.case("what is said of a folder that is none, of lanes and of tiles") as bad:
    empty = tempfile.mkdtemp(dir=TEMP.name)
    for run, options, words in ((empty, [], ("has no RunInfo.xml", "is this the folder of a run?")), (os.path.join(DATA, "runs/sim-cbcl"), ["--lanes", "7"], ("--lanes: no tile is left", "run check")),
                                (os.path.join(DATA, "runs/sim-cbcl"), ["--tiles", "x"], ("--tiles: numbers with commas", "1101,2_21*"))):
        _, p = demux(run, *options, ok=False)
        if p.returncode != 1 or not all(w in p.stderr for w in words) or "route" in p.stderr:
            bad.append("%s: exit %d: %s" % (options, p.returncode, p.stderr))

with tap.case("the examples of docs/formats/sample-sheet.md are sheets: nothing is said of them but that this run has other cycles") as bad:
    with open(os.path.join(DATA, "../../docs/formats/sample-sheet.md"), encoding="utf-8") as f:
        examples = re.findall(r"^```\n(.*?)^```", f.read(), re.M | re.S)
    for text, words in zip(examples, ("OverrideCycles doesn't fit the run. The part for read 1 has 151 cycles", "Index 2 of the sheet has 8 bases, the run has 6 cycles")):
        sheet = os.path.join(TEMP.name, "example.csv")
        with open(sheet, "w") as f:
            f.write(text)
        _, p = demux(os.path.join(DATA, "runs/sim-cbcl"), "--sample-sheet", sheet, ok=False)
        said = [x for x in p.stderr.splitlines() if "sample sheet, " in x]
        if p.returncode != 1 or not said or not all(words in x for x in said) or "note:" in p.stderr:
            bad.append("%d %s" % (p.returncode, p.stderr))
    if len(examples) != 2:
        bad.append("%d examples" % len(examples))

with tap.case("a sheet that is a directory is called one; what is wrong with a line of the settings is said once") as bad:
    run = os.path.join(DATA, "runs/sim-cbcl")
    _, p = demux(run, "--sample-sheet", TEMP.name, ok=False)
    if p.returncode != 1 or TEMP.name + " can't be opened: Is a directory" not in p.stderr or "disk" in p.stderr:
        bad.append("directory: %d %r" % (p.returncode, p.stderr))
    with open(os.path.join(run, "SampleSheet.csv")) as f:
        text = f.read().replace("OverrideCycles,Y24", "OverrideCycles,Y23")
    sheet = os.path.join(TEMP.name, "once.csv")
    with open(sheet, "w") as f:
        f.write(text)
    _, p = demux(run, "--sample-sheet", sheet, ok=False)
    if p.returncode != 1 or p.stderr.count("23 cycles") != 1 or "is wrong: 1 problem\n" not in p.stderr:
        bad.append("once: %d %r" % (p.returncode, p.stderr))

tap.done()
