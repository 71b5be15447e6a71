#!/usr/bin/env python3
"""`sequester-worker --local demux` on whole run folders: every simulated set and every golden one must come out byte for byte.

    demux_test.py WORKER TESTS_DATA SHARED_DATA

Sets of SHARED_DATA (run folders that may not be copied, see their README) are skipped by name where they aren't there.
"""
import glob
import gzip
import json
import os
import subprocess
import sys
import tempfile

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

tap.done()
