#!/usr/bin/env python3
"""The readers of lib/runs against an independent one (tests/oracle/run_reader.py), on runs made here and on real ones.

    runs_test.py RUNS_TOOL SOURCE_ROOT [SHARED]
"""
import gzip
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

TOOL, ROOT = sys.argv[1:3]
sys.path[:0] = [os.path.join(ROOT, "tests/unit/tree"), os.path.join(ROOT, "tests/oracle"), os.path.join(ROOT, "tests/support")]
import make_run  # noqa: E402
import run_reader  # noqa: E402
import tap  # noqa: E402

SHARED = os.path.join(sys.argv[3] if len(sys.argv) > 3 else os.path.join(ROOT, "..", "shared"), "data", "runs")
TMP = tempfile.TemporaryDirectory()


def tool(verb, folder, kernel=None):
    env = dict(os.environ, **({"SQ_KERNEL": kernel} if kernel else {}))
    out = subprocess.run([TOOL, verb, folder], stdout=subprocess.PIPE, env=env, timeout=120)
    if out.returncode not in (0, 1):
        raise AssertionError("%s %s: exit %d" % (verb, folder, out.returncode))
    return out.stdout.decode().splitlines()


def folder(name):
    return os.path.join(TMP.name, name)


def first_difference(a, b):
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return "line %d: %r, should be %r" % (i + 1, x[:160], y[:160])
    return "%d lines, should be %d" % (len(a), len(b)) if len(a) != len(b) else None


def against_oracle(bad, path, kernel=None, is_empty=False):
    want = [" ".join(str(v) for v in r) for r in run_reader.Run(path).reads()]
    problem = first_difference(tool("reads", path, kernel), want)
    if problem:
        bad.append("%s: %s" % (path, problem))
    if bool(want) == is_empty:
        bad.append("%s: no reads at all" % path)
    return want


MADE = {
    "bcl": dict(kind="bcl"),
    "bcl_clocs": dict(kind="bcl", positions="clocs", lanes=2, clusters=(130, 1, 64)),
    "bclgz": dict(kind="bclgz", listed=False, tiles=(1101, 1102, 2101, 2102)),
    "bgzf": dict(kind="bgzf", tiles=(11101, 21101, 11102), positions="lane", clusters=(37, 64, 51)),
    "bgzf_no_table": dict(kind="bgzf", tiles=(11101, 21101, 11102, 11103), positions="lane", table=False, clusters=(37, 0, 83, 0)),
    "bgzf_empty": dict(kind="bgzf", tiles=(11101, 21101, 11102, 11103), positions="lane", clusters=(25, 0, 29, 0)),
    "cbcl": dict(kind="cbcl", positions="s", lanes=2),
    "cbcl_no_trailer": dict(kind="cbcl", positions="s", trailer=False, clusters=(1001, 7, 128)),
    "cbcl_wide": dict(kind="cbcl", positions="s", wide=True),
    "cbcl_none_passes": dict(kind="cbcl", positions="s", none_passes=(1102,)),
    "cbcl_other_surface": dict(kind="cbcl", positions="s", tiles=(1101, 1102), surface_of={1101: 1, 1102: 2}),
}

for name, options in MADE.items():
    with tap.case("made here, equal to the oracle: %s" % name) as bad:
        make_run.make(folder(name), **options)
        for kernel in ("scalar", "avx2", None):
            against_oracle(bad, folder(name), kernel)
        bad += tool("check", folder(name))

with tap.case("a file packed or unpacked later is found") as bad:
    shutil.copytree(folder("bcl"), folder("mixed"))
    for top, _, names in os.walk(folder("mixed")):
        for n in names:
            if n.endswith(".bcl") and "/C7.1" in top:
                with open(os.path.join(top, n), "rb") as f, gzip.open(os.path.join(top, n + ".gz"), "wb") as to:
                    to.write(f.read())
                os.unlink(os.path.join(top, n))
    against_oracle(bad, folder("mixed"))

with tap.case("several gzip members in a file are one") as bad:
    shutil.copytree(folder("bclgz"), folder("members"))
    path = os.path.join(folder("members"), "Data/Intensities/BaseCalls/L001/C3.1/s_1_1102.bcl.gz")
    with open(path, "rb") as f:
        data = gzip.decompress(f.read())
    with open(path, "wb") as f:
        f.write(gzip.compress(data[:20]) + gzip.compress(data[20:]))
    if tool("reads", folder("members")) != tool("reads", folder("bclgz")):
        bad.append("the calls differ")


# ---- damage: the right file, lane, tile, cycle ----

def damaged(bad, base, what, change, expect, n_most=1, state=None):
    """@change takes the folder; @expect: a pattern for the first line of `check`."""
    path = folder("damaged")
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(folder(base), path, copy_function=os.link)
    change(path)
    lines = tool("check", path)
    errors = [line for line in lines if not line.startswith("state")]
    if len(errors) < 1 or not re.search(expect, errors[0]):
        bad.append("%s, %s: expected %s, got %s" % (base, what, expect, errors[:2]))
    if len(errors) > n_most:
        bad.append("%s, %s: %d errors: %s" % (base, what, len(errors), errors[:4]))
    if state and not any(re.search(state, line) for line in lines):
        bad.append("%s, %s: no %s in %s" % (base, what, state, lines[-2:]))


def rewrite(name, change):
    def do(path):
        p = os.path.join(path, "Data/Intensities/BaseCalls/L001", name)
        with open(p, "rb") as f:
            data = bytearray(f.read())
        data = change(data)
        os.unlink(p)  # the folder is made of links to the files of another
        with open(p, "wb") as f:
            f.write(data)
    return do


def remove(name):
    return lambda path: os.unlink(os.path.join(path, "Data/Intensities/BaseCalls/L001", name))


def cut(n):
    return lambda d: d[:-n]


def add(more):
    return lambda d: d + more


def flip(at, x=0x40):
    def do(d):
        d[at] ^= x
        return d
    return do


with tap.case("damage in bcl is told with file, lane, tile, cycle, byte") as bad:
    name = "C9.1/s_1_1102.bcl"
    place = r" Data/Intensities/BaseCalls/L001/C9.1/s_1_1102.bcl, lane 1, tile 1102, cycle 9"
    damaged(bad, "bcl", "short", rewrite(name, cut(3)), "^ERUNCUT" + place + ", byte 65: ", state="lane 1 cycle 9 partial")
    damaged(bad, "bcl", "long", rewrite(name, add(b"x")), "^ERUNFILE" + place + ", byte 68: ")
    damaged(bad, "bcl", "empty", rewrite(name, lambda d: b""), "^ERUNCUT" + place + ", byte 0: ", state="lane 1 cycle 9 partial")
    damaged(bad, "bcl", "count", rewrite(name, flip(0, 1)), "^ERUNCUT" + place)
    damaged(bad, "bcl", "impossible count", rewrite(name, flip(3, 0x80)), "^ERUNFILE" + place + ", byte 0: it says")
    damaged(bad, "bcl", "missing", remove(name), "^ERUNMISSING" + place + ": ", state="lane 1 cycle 9 absent")
    damaged(bad, "bcl", "count isn't the filter's", rewrite(name, lambda d: b"\x3f\0\0\0" + d[5:]), "^ERUNFILE" + place + ".*filter has 64")

with tap.case("damage in bcl.gz is told with file, lane, tile, cycle, byte") as bad:
    name = "C9.1/s_1_1102.bcl.gz"
    place = r" Data/Intensities/BaseCalls/L001/C9.1/s_1_1102.bcl.gz, lane 1, tile 1102, cycle 9"
    damaged(bad, "bclgz", "trailer cut", rewrite(name, cut(3)), "^ERUNCUT" + place + ", byte ", state="lane 1 cycle 9 partial")
    damaged(bad, "bclgz", "cut", rewrite(name, cut(30)), "^ERUNCUT" + place + ", byte ", state="lane 1 cycle 9 partial")
    damaged(bad, "bclgz", "cut within the head", rewrite(name, lambda d: d[:7]), "^ERUNCUT" + place, state="lane 1 cycle 9 partial")
    damaged(bad, "bclgz", "checksum", rewrite(name, flip(-7)), "^ERUNFILE" + place + ", byte .*checksum")
    damaged(bad, "bclgz", "not packed", rewrite(name, lambda d: b"hello, this is text and no gzip"), "^ERUNFILE" + place + ", byte 0: no gzip")
    damaged(bad, "bclgz", "trailing", rewrite(name, add(b"trailing!")), "^ERUNFILE" + place)
    damaged(bad, "bclgz", "missing", remove(name), "^ERUNMISSING" + place, state="lane 1 cycle 9 absent")
    damaged(bad, "bclgz", "longer than it says", rewrite(name, lambda d: gzip.compress(gzip.decompress(bytes(d)) + b"more")), "^ERUNFILE" + place)

with tap.case("damage in bgzf is told with file, lane, cycle, byte") as bad:
    place = r" Data/Intensities/BaseCalls/L001/0009.bcl.bgzf, lane 1, tile \d+, cycle 9"
    damaged(bad, "bgzf", "cut", rewrite("0009.bcl.bgzf", cut(60)), "^ERUNCUT" + place + ", byte ", state="lane 1 cycle 9 partial")
    damaged(bad, "bgzf_no_table", "cut", rewrite("0009.bcl.bgzf", cut(60)), "^ERUNCUT" + place + ", byte ", n_most=5, state="lane 1 cycle 9 partial")
    damaged(bad, "bgzf", "a block", rewrite("0009.bcl.bgzf", flip(70 + 22)), "^ERUNFILE" + place + ", byte ", n_most=2)
    damaged(bad, "bgzf", "count", rewrite("s_1.bci", flip(4, 1)), "^ERUNFILE .*s_1.filter.*tile index", n_most=500)
    damaged(bad, "bgzf", "table", rewrite("0009.bcl.bgzf.bci", flip(16, 1)), r"^ERUNFILE .*0009.bcl.bgzf, lane 1, tile \d+, cycle 9", n_most=3)
    damaged(bad, "bgzf", "table cut", rewrite("0009.bcl.bgzf.bci", cut(4)), r"^ERUNCUT .*0009.bcl.bgzf.bci, lane 1, cycle 9", n_most=3)
    damaged(bad, "bgzf", "missing", remove("0009.bcl.bgzf"), "^ERUNMISSING" + place, n_most=3, state="lane 1 cycle 9 absent")

with tap.case("damage in CBCL is told with file, lane, tile, cycle, byte") as bad:
    name = "C9.1/L001_1.cbcl"
    place = r" Data/Intensities/BaseCalls/L001/C9.1/L001_1.cbcl, lane 1, tile %s, cycle 9"
    damaged(bad, "cbcl", "last block cut", rewrite(name, cut(4)), "^ERUNCUT" + place % 1102 + ", byte ", state="lane 1 cycle 9 partial")
    damaged(bad, "cbcl", "head cut", rewrite(name, lambda d: d[:50]), "^ERUNCUT" + place % 1101 + ", byte 50", n_most=2, state="lane 1 cycle 9 partial")
    damaged(bad, "cbcl", "empty", rewrite(name, lambda d: b""), "^ERUNCUT" + place % 1101, n_most=2, state="lane 1 cycle 9 partial")
    damaged(bad, "cbcl", "a block", rewrite(name, flip(-16)), "^ERUNFILE" + place % 1102 + ", byte ")
    damaged(bad, "cbcl", "checksum", rewrite(name, flip(-7)), "^ERUNFILE" + place % 1102 + ", byte .*checksum")
    damaged(bad, "cbcl", "version", rewrite(name, flip(0, 2)), "^ERUNFILE" + place % 1101 + ", byte 0: version 3", n_most=2, state="ERUNFILE")
    damaged(bad, "cbcl", "bits", rewrite(name, flip(7, 1)), "^ERUNFILE" + place % 1101 + ", byte 6: 2 bits a base and 3 a quality", n_most=2, state="ERUNFILE")
    damaged(bad, "cbcl", "other bits", rewrite(name, flip(7, 4)), "^ERUNFILE" + place % 1101, n_most=2)
    damaged(bad, "cbcl", "tile twice", rewrite(name, lambda d: d[:64] + d[48:52] + d[68:]), "^ERUNFILE.*C9.1/L001_1.cbcl, lane 1, cycle 9, byte 48: tile 1101 is there twice", n_most=2, state="ERUNFILE")
    damaged(bad, "cbcl", "raw size", rewrite(name, flip(48 + 16 + 8, 1)), "^ERUNFILE" + place % 1102 + ".*are right")
    damaged(bad, "cbcl", "clusters", rewrite(name, flip(48 + 4, 2)), "^ERUNFILE" + place % 1101)
    damaged(bad, "cbcl", "tile is absent", rewrite(name, flip(48, 64)), "^ERUNMISSING" + place % 1101 + ".*doesn't have this one")
    damaged(bad, "cbcl", "packed size is a bomb", rewrite(name, lambda d: d[:48 + 4] + b"\xfe\xff\xff\x0f\xff\xff\xff\x07" + d[60:]), "^ERUNFILE" + place % 1101)
    damaged(bad, "cbcl", "a bin without quality", rewrite(name, lambda d: d[:8] + b"\x04\0\0\0" + d[12:36] + b"\x07\0\0\0" + d[40:]), "^ERUNFILE" + place % 1101, n_most=2, state="ERUNFILE")
    damaged(bad, "cbcl", "missing", remove(name), "^ERUNMISSING" + place % 1101, n_most=2, state="lane 1 cycle 9 absent")

with tap.case("damage in filters is told with file, lane, tile, byte") as bad:
    place = r" Data/Intensities/BaseCalls/L001/s_1_1102.filter, lane 1, tile 1102"
    damaged(bad, "bcl", "short", rewrite("s_1_1102.filter", cut(1)), "^ERUNCUT" + place + ", byte 75")
    damaged(bad, "bcl", "long", rewrite("s_1_1102.filter", add(b"1")), "^ERUNFILE" + place + ", byte 76")
    damaged(bad, "bcl", "version", rewrite("s_1_1102.filter", flip(4, 1)), "^ERUNFILE" + place + ", byte 4: version 2")
    damaged(bad, "bcl", "missing", remove("s_1_1102.filter"), "^ERUNMISSING" + place)

with tap.case("a link in a run folder isn't followed") as bad:
    def linked(path):
        p = os.path.join(path, "Data/Intensities/BaseCalls/L001/C9.1/s_1_1102.bcl")
        os.rename(p, os.path.join(TMP.name, "elsewhere.bcl"))
        os.symlink(os.path.join(TMP.name, "elsewhere.bcl"), p)
    damaged(bad, "bcl", "link", linked, r"^EIO .*s_1_1102.bcl, lane 1, tile 1102, cycle 9: .*links", state="EIO")

with tap.case("any byte changed or cut off: an error or other calls, never a crash") as bad:
    rng = random.Random(5)
    for base, name in (("bcl", "C9.1/s_1_1102.bcl"), ("bclgz", "C9.1/s_1_1102.bcl.gz"), ("bgzf", "0009.bcl.bgzf"), ("bgzf", "0009.bcl.bgzf.bci"), ("bgzf", "s_1.bci"),
                       ("cbcl", "C9.1/L001_1.cbcl"), ("cbcl_no_trailer", "C2.1/L001_1.cbcl")):
        for _ in range(25):
            path = folder("damaged")
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(folder(base), path, copy_function=os.link)
            rewrite(name, lambda d: flip(rng.randrange(len(d)), 1 << rng.randrange(8))(d) if rng.random() < 0.7 else d[:rng.randrange(len(d))])(path)
            tool("check", path)


# ---- RunInfo ----

def info(text):
    path = folder("info")
    shutil.rmtree(path, ignore_errors=True)
    make_run.put(path, "RunInfo.xml", text)
    return tool("info", path)


with tap.case("RunInfo: what can't be understood is refused with its line") as bad:
    read = '<Reads><Read Number="1" NumCycles="10" IsIndexedRead="N"/></Reads>'
    for text, want in (
            ("", "ERUNCUT"), ("<RunInfo>\n<Run>" + read, "ERUNCUT RunInfo.xml: line 2: it ends"), ("no xml", "ERUNINFO RunInfo.xml: line 1: this isn't XML"),
            ("<RunInfo><Run/></RunInfo>", "ERUNINFO RunInfo.xml: there is no Read"), ("<RunInfo>" + read + "</RunInfo>", "ERUNINFO RunInfo.xml: there is no Run"),
            ('<!DOCTYPE a [<!ENTITY x "y">]><RunInfo><Run Id="&x;">' + read + "</Run></RunInfo>", "ERUNINFO .*line 1: a document type"),
            ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><RunInfo/>', "ERUNINFO .*a document type"),
            ("<a>" * 100, "ERUNINFO .*more than 64"), ('<RunInfo><Run>' + read.replace('"10"', '"ten"') + "</Run></RunInfo>", "ERUNINFO .*NumCycles isn't"),
            ('<RunInfo><Run>' + read.replace('"10"', '"99999"') + "</Run></RunInfo>", "ERUNINFO .*NumCycles isn't a whole number of at most 4000"),
            ('<RunInfo><Run>' + read + read + "</Run></RunInfo>", "ERUNINFO .*read 1 is there twice"),
            ('<RunInfo><Run>' + read + "<Tiles><Tile>1_1101</Tile><Tile>1101</Tile></Tiles></Run></RunInfo>", "ERUNINFO .*lane_tile"),
            ('<RunInfo><Run>' + read + "<Tiles><Tile>99_1101</Tile></Tiles></Run></RunInfo>", "ERUNINFO .*lane of at most 16")):
        got = info(text)
        if not got or not re.search("^" + want, got[0]):
            bad.append("%r: %s, should be %s" % (text[:60], got, want))
    os.unlink(os.path.join(folder("info"), "RunInfo.xml"))
    if not tool("info", folder("info"))[0].startswith("ERUNMISSING RunInfo.xml"):
        bad.append("a folder without RunInfo.xml")

with tap.case("RunInfo: orders, dates, layouts, texts") as bad:
    for date, want in (("130318", "2013-03-18"), ("4/7/2017 2:41:18 PM", "2017-04-07T14:41:18"), ("12/31/2020 12:00:01 AM", "2020-12-31T00:00:01"),
                       ("2024-03-05T09:00:00Z", "2024-03-05T09:00:00Z"), ("yesterday", ""), ("139918", ""), ("", "")):
        got = info('<RunInfo Version="6"><Run Id=" a\tb " Number="3"><Date>%s</Date><Reads><Read IsIndexedRead="Y" IsReverseComplement="Y" NumCycles="8" Number="2"/>'
                   '<Read NumCycles="30" Number="1"/><Read NumCycles="0" Number="3"/></Reads><FlowcellLayout LaneCount="2" SurfaceCount="2" SwathCount="2" TileCount="1"/></Run>'
                   "<Flowcell> F\nX </Flowcell></RunInfo>" % date)
        if got[:3] != ["version 6 id  a b  number 3 flowcell F X instrument  date " + want, "read 1 first 1 cycles 30 index 0 rc 0", "read 2 first 31 cycles 8 index 1 rc 1"]:
            bad.append(got[:3])
        if got[4:] != ["lane %d: 1101/1 1201/1 2101/2 2201/2" % lane for lane in (1, 2)]:
            bad.append(got[4:])
    got = info('<RunInfo><Run><Reads><Read NumCycles="9"/></Reads></Run><Tile>2_1101</Tile><Tile>1_2102</Tile><Tile>2_1101</Tile><Tile>1_1101</Tile></RunInfo>')
    if got[3:] != ["lane 1: 2102/2 1101/1", "lane 2: 1101/1"]:
        bad.append(got)

# ---- real runs, and simulated ones with their truth ----

def fastq(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt") as f:
        lines = f.read().split("\n")
    return list(zip(lines[0::4], lines[1::4], lines[3::4]))


def missing(what):
    path = os.path.join(SHARED, what)
    if not os.path.isdir(path):
        print("# skipped: %s isn't here" % os.path.join("shared/data/runs", what))
        return None
    return path


for name in ("bcl", "bclgz", "bgzf", "cbcl", "cbcl_umi_i5rc", "bcl_v1_bylane_clocs"):
    with tap.case("simulated/%s: oracle, and the bases of its truth" % name) as bad:
        path = missing("simulated/" + name)
        if path:
            rows = against_oracle(bad, path)
            bad += tool("check", path)
            run = run_reader.Run(path)
            cuts, at = [], 0
            for r in run.root.iter("Read"):
                n = int(r.get("NumCycles"))
                cuts += [(at, at + n)] if r.get("IsIndexedRead") == "N" else []
                at += n
            want, got = {}, {}
            for f in sorted(os.listdir(path + ".truth-fastq")):
                no = int(re.search(r"_R(\d)_", f).group(1))
                for head, seq, qual in fastq(os.path.join(path + ".truth-fastq", f)):
                    where = tuple(int(v) for v in head.split(" ")[0].split(":")[3:7])
                    want.setdefault(where, {})[no] = (seq, qual)
            for row in rows:
                lane, tile, _, x, y, seq, qual = row.split(" ")
                got[int(lane), int(tile), int(x), int(y)] = {i + 1: (seq[a:b], qual[a:b]) for i, (a, b) in enumerate(cuts)}
            if got != want:
                bad.append("%d clusters, %d in the truth, %d differ" % (len(got), len(want), sum(got.get(k) != v for k, v in want.items())))

with tap.case("simulated/cbcl_aborted: 40 of 88 cycles") as bad:
    path = missing("simulated/cbcl_aborted")
    lines = tool("check", path) if path else []
    if path and (len([x for x in lines if x.startswith("ERUNMISSING")]) != 96 or lines[-48:] != ["state lane 1 cycle %d absent" % c for c in range(41, 89)]):
        bad.append(lines[:3] + lines[-3:])

for name in ("25T8B25T", "25T8B8B25T", "151T8B8B151T_cbcl"):
    with tap.case("picard/%s: oracle, and the reads picard has" % name) as bad:
        path = missing("picard/" + name)
        if path:
            rows = against_oracle(bad, path, is_empty=name == "25T8B8B25T")  # none of its clusters passed
            bad += tool("check", path)
            lengths = [int(n) for n in re.findall(r"\d+(?=[TB])", name)]
            got = {}
            for row in rows:
                lane, tile, _, x, y, seq, qual = row.split(" ")
                got[lane, tile, x, y] = (seq[:lengths[0]], seq[-lengths[-1]:], qual[:lengths[0]], qual[-lengths[-1]:])
            n = 0
            for f in sorted(os.listdir(os.path.join(path, "fastq"))):
                part = re.search(r"\.([12])\.fastq", f)
                if not part or f.startswith("multilane"):
                    continue
                for head, seq, qual in fastq(os.path.join(path, "fastq", f)):
                    if ":Y:" in head or head.count(":") < 6:  # picard keeps those that didn't pass; a file has names of another kind
                        continue
                    lane, tile, x, y = head.split(" ")[0].split("/")[0].split(":")[3:7]
                    mine = got.get((lane, tile, x, y))
                    if mine is None: # picard rounds positions in float
                        near = [(lane, tile, str(int(x) + dx), str(int(y) + dy)) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
                        mine = next((got[k] for k in near if k in got), None)
                    k = int(part.group(1)) - 1
                    # a base beside quality 0 is N here; picard keeps it with quality '!' or 2
                    same = mine and all(a == b or (a == "N" and q in "!#\"") for a, b, q in zip(mine[k], seq, qual))
                    n += 1
                    if not same:
                        bad.append("%s %s: %s, should be %s" % (f, head, mine and mine[k], seq))
            if not n and rows:
                bad.append("nothing was compared")

with tap.case("bambi/160916_miseq: oracle, and what bambi reads") as bad:
    path = missing("bambi/160916_miseq_0966_FC")
    if path:
        rows = against_oracle(bad, path)
        got = {}
        for row in rows:
            lane, tile, _, x, y, seq, qual = row.split(" ")
            got[lane, tile, x, y] = (seq, qual)
        n = 0
        for lane in ("1", "2"):
            with gzip.open(os.path.join(path, "expected/bambi_i2b.L00%s.tsv.gz" % lane), "rt") as f:
                for line in f:
                    head, flag, seq, qual = line.rstrip("\n").split("\t")[:4]
                    _, l, tile, x, y = head.split(":")
                    mine = got.get((l, tile, x, y), ("", ""))
                    part = slice(0, 16) if flag == "77" or int(flag) & 64 else slice(16, 32)
                    n += 1
                    if mine[0][part] != seq or any(a != b for a, b, c in zip(mine[1][part], qual, seq) if c != "N"):
                        bad.append("%s %s: %s %s, should be %s %s" % (head, flag, mine[0][part], mine[1][part], seq, qual))
        if n < 100:
            bad.append("only %d reads compared" % n)

with tap.case("bambi/160919_nextseq: oracle, and an independent decode") as bad:
    path = missing("bambi/160919_nextseq_6230_FC")
    if path:
        rows = against_oracle(bad, path)
        got = []
        for row in rows:
            lane, tile, _, x, y, seq, qual = row.split(" ")
            got.append("\t".join(("%s:%s:%s:%s" % (lane, tile, x, y), seq[:16], qual[:16], seq[16:], qual[16:])))
        with gzip.open(os.path.join(path, "expected/decode.L001.tsv.gz"), "rt") as f:
            problem = first_difference(sorted(got), sorted(f.read().splitlines()))
        if problem:
            bad.append(problem)

tap.done()
