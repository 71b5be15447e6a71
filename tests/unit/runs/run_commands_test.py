#!/usr/bin/env python3
"""sequester run check and run summary on whole, damaged, growing and hostile folders.

    run_commands_test.py SEQUESTER RUNS_FOLDERS SOURCE_ROOT
"""
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

SEQUESTER, FOLDERS, ROOT = sys.argv[1:4]
sys.path[:0] = [os.path.join(ROOT, "tests/unit/tree"), os.path.join(ROOT, "tests/support")]
import make_interop  # noqa: E402
import make_run  # noqa: E402
import tap  # noqa: E402

TMP = tempfile.TemporaryDirectory()
BASE = "Data/Intensities/BaseCalls/L001/"


def run(*argv):
    out = subprocess.run([SEQUESTER, "run", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=300)
    return out.returncode, out.stdout.decode(), out.stderr.decode()


def made(name, kind, marks=("RTAComplete.txt", "CopyComplete.txt"), **options):
    path = os.path.join(TMP.name, name)
    make_run.make(path, kind, **options)
    for m in marks:
        make_run.put(path, m, "")
    return path


def check(path, *options):
    code, out, err = run("check", path, "--json", *options)
    if code not in (0, 1) or err:
        raise AssertionError("exit %d: %s" % (code, err))
    return code, json.loads(out)


KINDS = {"bcl": dict(positions="locs"), "bclgz": dict(positions="clocs", lanes=2), "bgzf": dict(tiles=(11101, 21101, 11102), positions="lane", clusters=(37, 64, 51)), "cbcl": dict(positions="s", lanes=2)}

with tap.case("a whole run: exit code 0, no finding, quick or not, one thread or several") as bad:
    for kind, options in KINDS.items():
        path = made("whole_" + kind, kind, **options)
        for more in ((), ("--quick",), ("--threads", "1"), ("--threads", "7")):
            code, told = check(path, *more)
            if code or not told["is_whole"] or told["findings"] or told["state"] != "complete" or told["cycles_there"] != 32:
                bad.append("%s %s: %d %s" % (kind, more, code, told))
            if told["calls"] != {"bclgz": "bcl.gz"}.get(kind, kind) or (not more and not told["calls_read"]):
                bad.append("%s: %s" % (kind, told["calls"]))
        code, out, err = run("check", path)
        if code or "whole      nothing is missing" not in out or err:
            bad.append("%s: %d %r %r" % (kind, code, out, err))
        code, out, err = run("check", path, "--quiet")
        if code or out or err:
            bad.append("%s quiet: %d %r %r" % (kind, code, out, err))


def damaged(bad, name, kind, change, want, quick=True):
    """@want: fields of the only finding that is an error"""
    path = made(name, kind, **KINDS[kind])
    change(path)
    for more in ((), ("--quick",)) if quick else ((),):
        code, told = check(path, *more)
        errors = [f for f in told["findings"] if f["severity"] == "error"]
        if code != 1 or told["is_whole"] or len(errors) != 1 or any(errors[0].get(k) != v for k, v in want.items()):
            bad.append("%s %s: %d %s, should be %s" % (name, more, code, errors, want))


def edit(name, change):
    def do(path):
        with open(os.path.join(path, name), "r+b") as f:
            data = change(bytearray(f.read()))
            f.seek(0)
            f.truncate()
            f.write(data)
    return do


with tap.case("each kind of damage is one finding, with its place") as bad:
    damaged(bad, "short", "bcl", edit(BASE + "C9.1/s_1_1102.bcl", lambda d: d[:-3]), {"code": "ERUNCUT", "file": BASE + "C9.1/s_1_1102.bcl", "lane": 1, "tile": 1102, "cycle": 9, "byte": 65})
    damaged(bad, "gone", "bclgz", lambda p: os.unlink(os.path.join(p, BASE + "C9.1/s_1_1102.bcl.gz")), {"code": "ERUNMISSING", "lane": 1, "tile": 1102, "cycle": 9})
    damaged(bad, "cycle", "bclgz", lambda p: shutil.rmtree(os.path.join(p, BASE + "C9.1")), {"code": "ERUNMISSING", "lane": 1, "cycle": 9})
    damaged(bad, "cycles", "cbcl", lambda p: [shutil.rmtree(os.path.join(p, BASE + "C%d.1" % c)) for c in range(20, 33)], {"code": "ERUNMISSING", "cycle": 20, "last_cycle": 32, "lane": 1})
    damaged(bad, "surface", "cbcl", lambda p: os.unlink(os.path.join(p, BASE + "C9.1/L001_1.cbcl")), {"code": "ERUNMISSING", "file": BASE + "C9.1/L001_1.cbcl", "cycle": 9, "tiles": 2})
    damaged(bad, "head", "cbcl", edit(BASE + "C9.1/L001_1.cbcl", lambda d: b"\7" + d[1:]), {"code": "ERUNFILE", "byte": 0, "cycle": 9, "tiles": 2})
    damaged(bad, "packed", "cbcl", edit(BASE + "C9.1/L001_1.cbcl", lambda d: d[:-7] + b"\x55" + d[-6:]), {"code": "ERUNFILE", "tile": 1102, "cycle": 9}, quick=False)
    damaged(bad, "block", "bgzf", edit(BASE + "0009.bcl.bgzf", lambda d: d[:-60]), {"code": "ERUNCUT", "file": BASE + "0009.bcl.bgzf", "cycle": 9})
    damaged(bad, "filter", "bcl", edit(BASE + "s_1_1101.filter", lambda d: d[:-1]), {"code": "ERUNCUT", "file": BASE + "s_1_1101.filter", "tile": 1101, "lane": 1})
    damaged(bad, "positions", "bcl", edit("Data/Intensities/L001/s_1_1101.locs", lambda d: d[:8] + struct.pack("<I", 36) + d[12:-8]), {"code": "ERUNFILE", "tile": 1101})
    damaged(bad, "s_locs", "cbcl", edit("Data/Intensities/s.locs", lambda d: d[:20]), {"code": "ERUNCUT", "file": "Data/Intensities/s.locs"})
    damaged(bad, "no_calls", "bcl", lambda p: [shutil.rmtree(os.path.join(p, BASE + "C%d.1" % c)) for c in range(1, 33)], {"code": "ERUNMISSING", "file": "Data/Intensities/BaseCalls"})

with tap.case("what is no error: marks, strangers, metrics that end early") as bad:
    path = made("remarks", "bcl", marks=())
    make_run.put(path, BASE + "s_1_2222.filter", b"")
    make_run.put(path, BASE + "C77.1/s_1_1101.bcl", b"")
    w = make_interop.q2030(2, [((1, 1101), 1)], __import__("random").Random(1))
    make_run.put(path, "InterOp/QMetrics2030Out.bin", w.data[:-9])
    make_run.put(path, "InterOp/ErrorMetricsOut.bin", b"\x63\x10abc")
    code, told = check(path)
    texts = [f["text"] for f in told["findings"]]
    for want in ("no mark of an end", "tile that RunInfo.xml doesn't have", "folder of a cycle that RunInfo.xml", "version 99 isn't known"):
        if not any(want in t for t in texts):
            bad.append("no %r in %s" % (want, texts))
    if code or not told["is_whole"] or told["state"] != "not_finished" or any(f["severity"] == "error" for f in told["findings"]):
        bad.append("%d %s" % (code, told))
    make_run.put(path, "CopyComplete.txt", b"")
    if not any("it ends within a record" in f["text"] for f in check(path)[1]["findings"]):
        bad.append("metrics that end early in a complete run")

with tap.case("the sample sheet is held against the run, with the fix") as bad:
    path = made("sheet", "bcl")
    make_run.put(path, "SampleSheet.csv", "[Header]\nFileFormatVersion,2\n[BCLConvert_Data]\nLane,Sample_ID,Index,Index2\n1,A,ACGT,ACGT\n1,B,ACGT,ACGT\n1,C,ACGTACGTAC,ACGT\n")
    code, told = check(path)
    problems = told["sample_sheet"]["problems"]
    if code != 1 or told["is_whole"] or not problems or not all(p["what"] and p["fix"] for p in problems) or told["findings"]:
        bad.append("%d %s" % (code, told))
    out = run("check", path)[1]
    if "error      SampleSheet.csv, line" not in out or "mend the sample sheet" not in out:
        bad.append(out)

with tap.case("a run that grows: what isn't there yet is one finding, filters aren't missed before cycle 26") as bad:
    path = made("grows", "bcl", marks=())
    for c in range(21, 33):
        shutil.rmtree(os.path.join(path, BASE + "C%d.1" % c))
    for t in (1101, 1102, 2101):
        os.unlink(os.path.join(path, BASE + "s_1_%d.filter" % t))
    code, told = check(path)
    errors = [f for f in told["findings"] if f["severity"] == "error"]
    if code != 1 or len(errors) != 1 or errors[0]["cycle"] != 21 or errors[0]["last_cycle"] != 32 or told["cycles_there"] != 20:
        bad.append(told)

with tap.case("misuse and folders that are none") as bad:
    for argv, code, want in ((("check",), 2, "RUNDIR is missing"), (("check", "a", "b"), 2, "one too many"), (("summary", "x", "--quick"), 2, "no option"),
                             (("check", os.path.join(TMP.name, "nowhere")), 1, "No such file"), (("summary", TMP.name), 1, "is this the folder of a run"),
                             (("check", SEQUESTER), 1, "Not a directory"), (("check", path, "--threads", "0"), 2, "whole number")):
        got = run(*argv)
        if got[0] != code or want not in got[2]:
            bad.append("%s: %s" % (argv, got))
    code, out, err = run("summary", path)
    if code != 1 or "neither this nor InterOp/QMetricsOut.bin" not in err:
        bad.append("no metrics: %d %s" % (code, err))
    for verb in ("check", "summary"):
        code, out, err = run(verb, TMP.name)
        if code != 1 or out or "has no RunInfo.xml: is this the folder of a run?\n  give the folder" not in err or "missing calls" in err:
            bad.append("%s of a folder without a run: %d %r %r" % (verb, code, out, err))

with tap.case("names from files can't steer a terminal, links lead nowhere, pipes don't hang") as bad:
    path = made("hostile", "bcl")
    info = os.path.join(path, "RunInfo.xml")
    with open(info) as f:
        text = f.read()
    with open(info, "w") as f:
        f.write(text.replace('Id="240305_T_0007_AX"', 'Id="a&#10;b&#9;\x7f%s%n"'))
    samples = [("x\x1b[31m\n", "p\r", "AC", "GT")]
    make_run.put(path, "InterOp/IndexMetricsOut.bin", make_interop.index(1, [(1, 1101)], 2, samples, __import__("random").Random(2)).data)
    make_run.put(path, "InterOp/TileMetricsOut.bin", make_interop.tile(2, [(1, 1101)], 2, __import__("random").Random(2)).data)
    for verb in ("check", "summary"):
        code, out, err = run(verb, path)
        if code or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", out) or "a" not in out:
            bad.append("%s: %d %r %r" % (verb, code, out[:200], err))
    sheet = os.path.join(path, "SampleSheet.csv")
    if os.path.exists(sheet):
        os.unlink(sheet)
    os.mkdir(sheet)
    code, out, err = run("check", path)
    if code != 1 or out or err != "sequester: SampleSheet.csv can't be opened: Is a directory\n  name a file in it\n":
        bad.append("a directory for a sheet: %d %r %r" % (code, out, err))
    os.rmdir(sheet)
    for name in (BASE + "C9.1/s_1_1102.bcl", "SampleSheet.csv"):
        at = os.path.join(path, name)
        if os.path.exists(at):
            os.unlink(at)
        os.mkfifo(at)
        code, out, err = run("check", path)
        if code != 1 or "nothing is missing" in out:
            bad.append("a pipe at %s: %d %s %s" % (name, code, out[-300:], err))
        os.unlink(at)
        os.symlink("/etc/passwd", at)
        code, out, err = run("check", path)
        if code != 1 or "root:" in out + err:
            bad.append("a link at %s: %d %s %s" % (name, code, out[-300:], err))
        os.unlink(at)

with tap.case("what is printed may go to a device or a terminal") as bad:
    path = made("whole_device", "bcl")
    for words in (("check", path), ("check", path, "--json"), ("summary", path)):
        want = run(*words)[0]
        with open("/dev/null", "wb") as null:
            code = subprocess.run([SEQUESTER, "run", *words], stdout=null, stderr=subprocess.PIPE, timeout=300)
        if code.returncode != want:
            bad.append("%s > /dev/null: exit %d, %d is right: %s" % (words[0], code.returncode, want, code.stderr.decode()))
        ours, theirs = os.openpty()
        code = subprocess.run([SEQUESTER, "run", *words], stdout=theirs, stderr=subprocess.PIPE, timeout=300)
        os.close(theirs)
        os.close(ours)
        if code.returncode != want:
            bad.append("%s on a terminal: exit %d, %d is right: %s" % (words[0], code.returncode, want, code.stderr.decode()))

with tap.case("the walls around what reads a folder") as bad:
    inside, outside = os.path.join(TMP.name, "inside"), os.path.join(TMP.name, "outside")
    for d in (inside, outside):
        os.makedirs(os.path.join(d, "sub"))
        make_run.put(d, "sub/file", b"hello")
    want = {"read inside": "yes", "list inside": "yes", "read outside": "no", "list outside": "no", "write inside": "no", "make inside": "no", "socket": "killed", "exec": "killed", "fork": "killed"}
    for mode in ("read", "write"):
        got = dict(line.split(": ") for line in subprocess.run([FOLDERS, mode, inside, outside], stdout=subprocess.PIPE, timeout=300).stdout.decode().splitlines())
        if "skipped" in got:
            print("# skipped: " + got["skipped"])
            break
        expect = dict(want, **({"write inside": "yes", "make inside": "yes"} if mode == "write" else {}))
        if got != expect:
            bad.append("%s: %s" % (mode, {k: (got.get(k), v) for k, v in expect.items() if got.get(k) != v}))

tap.done()
