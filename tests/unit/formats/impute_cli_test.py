#!/usr/bin/env python3
"""`sequester impute`: what it writes by which option, what it says beforehand, and how it refuses: what, where, how to mend.

    impute_cli_test.py WORKER DATA-DIRECTORY
"""
import gzip
import json
import os
import pty
import re
import select
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "support"))
import sqp  # noqa: E402

WORKER, DATA = sys.argv[1], os.path.join(sys.argv[2], "chr22-1kgp3-b37")
ONLY = sys.argv[3:]
TMP = tempfile.TemporaryDirectory()
TARGET = os.path.join(DATA, "target.array.phased.vcf.gz")
PANEL = sqp.cached(WORKER, os.path.join(DATA, "ref.bcf"), os.path.join(DATA, "chr22.b37.gmap.gz"), "GRCh37")
REGION = "22:50300000-50400000"


def path(name, data=None):
    p = os.path.join(TMP.name, name)
    if data is not None:
        with open(p, "wb") as f:
            f.write(data)
    return p


def tool(*args, data=None):
    """Its output; it must not complain."""
    p = subprocess.run(args, input=data, capture_output=True, check=True)
    assert p.stderr == b"", p.stderr
    return p.stdout


def impute(*args, want=0, out="out.vcf.gz", panel=PANEL, target=TARGET):
    cmd = [WORKER, "--local", "impute", "--panel", panel, "--target", target, *(["-o", path(out)] if out else []), *args]
    p = subprocess.run(cmd, capture_output=True, text=True)
    assert p.returncode == want, (cmd, p.returncode, p.stdout, p.stderr)
    return p


def qc(target, *args, want=0):
    p = subprocess.run([WORKER, "--local", "qc", "--panel", PANEL, "--target", target, *args], capture_output=True, text=True)
    assert p.returncode == want, (args, p.returncode, p.stdout, p.stderr)
    return p


def records(name, *more):
    return [x.split("\t") for x in tool("bcftools", "view", "-H", *more, path(name)).decode().splitlines()]


def text(name):
    with gzip.open(path(name), "rb") as f:
        return f.read()


def bgzip(data):
    return subprocess.run(["bgzip", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def info(row, key):
    found = re.search(r"(?:^|;)%s=([^;]*)" % key, row[7])
    return float(found[1]) if found else None


# ---- what is written ----

def check_fields_and_containers():
    impute("--region", REGION, "--format", "GT,DS,HDS,GP")
    all_fields = records("out.vcf.gz")
    impute("--region", REGION, out="few.vcf.gz")
    assert {x[8] for x in records("few.vcf.gz")} == {"GT:DS"}, "the default"
    assert [x[9].split(":") for x in records("few.vcf.gz")] == [x[9].split(":")[:2] for x in all_fields]
    assert all_fields and {x[8] for x in all_fields} == {"GT:DS:HDS:GP"}
    impute("--region", REGION, "--format", "GT,DS,HDS,GP", out="out.bcf")
    for a, b in zip(records("out.bcf"), all_fields):
        assert a[:7] + a[8:] == b[:7] + b[8:], (a[:9], b[:9])
        assert [round(info(a, k) - info(b, k), 5) for k in ("AF", "MAF", "AVG_CS", "R2") if info(b, k) is not None] in ([0] * 4, [0] * 3), (a[7], b[7])
    assert len(records("out.bcf")) == len(all_fields)
    assert sorted(f for f in os.listdir(TMP.name) if f.startswith("out")) == ["out.bcf", "out.bcf.csi", "out.vcf.gz", "out.vcf.gz.tbi"]
    where = all_fields[100][1]
    for name in ("out.bcf", "out.vcf.gz"):
        assert [x[1] for x in records(name, "-r", "22:%s-%s" % (where, where))] == [where], name
    impute("--region", REGION, "--csi", out="csi.vcf.gz")
    assert [x[1] for x in records("csi.vcf.gz", "-r", "22:%s-%s" % (where, where))] == [where] and not os.path.exists(path("csi.vcf.gz.tbi"))
    for fields in ("GT", "GT,DS", "GT,HDS,DS", "GT,GP", "DS", "HDS,GP"):
        impute("--region", REGION, "--format", fields, out="some.vcf.gz")
        rows = records("some.vcf.gz")
        at = ["GT:DS:HDS:GP".split(":").index(f) for f in fields.split(",")]
        assert [x[9] for x in rows] == [":".join(x[9].split(":")[i] for i in at) for x in all_fields], fields
        assert {x[8] for x in rows} == {fields.replace(",", ":")}


def check_region():
    """Rows of a region are those of the whole, text for text, whatever way it is written."""
    impute(out="whole.vcf.gz")
    whole = records("whole.vcf.gz")
    assert len(whole) == 28463
    for region, first, last in (("22:50300000-50310000", 50300000, 50310000), ("50,300,000-50,310,000", 50300000, 50310000), ("22:51200000-", 51200000, 1 << 30),
                                ("chr22:1-50250000", 1, 50250000), ("22", 0, 1 << 30), ("22:%s" % whole[5000][1], int(whole[5000][1]), int(whole[5000][1]))):
        impute("--region", region, out="part.vcf.gz")
        want = [x for x in whole if first <= int(x[1]) <= last]
        assert want and records("part.vcf.gz") == want, region


def check_files_beside():
    impute("--sites", path("sites.vcf.gz"), "--empirical", path("emp.vcf.gz"), "--region", "22:50300000-50500000")
    rows, sites, emp = records("out.vcf.gz"), records("sites.vcf.gz"), records("emp.vcf.gz")
    assert sites == [x[:8] for x in rows]
    typed = [x for x in rows if x[7].endswith("TYPED")]
    assert typed and [x[:5] for x in emp] == [x[:5] for x in typed] and {x[8] for x in emp} == {"GT:LDS"}
    assert [x[9].split(":")[0] for x in emp] == [x[9].split(":")[0] for x in typed]
    assert all(info(x, "ER2") is not None for x in typed if 0 < info(x, "AF") < 1)
    names = tool("bcftools", "query", "-l", path("out.vcf.gz"))
    assert tool("bcftools", "query", "-l", path("emp.vcf.gz")) == names and tool("bcftools", "query", "-l", path("sites.vcf.gz")) == b""
    assert all(os.path.exists(path(f + ".tbi")) for f in ("sites.vcf.gz", "emp.vcf.gz"))


def check_min_r2_and_overwriting():
    impute("--region", REGION)
    rows = records("out.vcf.gz")
    p = impute("--region", REGION, "--min-r2", "0.4", out="good.vcf.gz")
    want = [x for x in rows if x[7].endswith("TYPED") or info(x, "R2") >= 0.4]
    assert 0 < len(want) < len(rows) and records("good.vcf.gz") == want
    assert "%d below --min-r2" % (len(rows) - len(want)) in p.stderr, p.stderr
    impute("--region", REGION, "--overwrite-typed", out="over.vcf.gz")
    over = records("over.vcf.gz")
    assert [x for x in over if x[7].endswith("IMPUTED")] == [x for x in rows if x[7].endswith("IMPUTED")]
    assert any(a != b for a, b in zip(over, rows)), "typed rows show what is imputed"


def check_same_bytes():
    """Threads, memory and how a map is written don't show in the result; another map does."""
    plain = gzip.open(os.path.join(DATA, "chr22.b37.gmap.gz"), "rt").read().split("\n")[1:]
    maps = [x.split() for x in plain if x]
    written = {"shapeit": "pos chr cM\n" + "".join("%s %s %s\n" % tuple(x) for x in maps),
               "eagle": "chr position COMBINED_rate(cM/Mb) Genetic_Map(cM)\n" + "".join("%s %s 1 %s\n" % (x[1], x[0], x[2]) for x in maps),
               "plink": "".join("chr%s\t.\t%s\t%s\n" % (x[1], x[2], x[0]) for x in maps)}
    impute("--threads", "1")
    want = text("out.vcf.gz")
    for more in (["--threads", "3"], ["--memory", "16", "--threads", "2"], ["--level", "6"],
                 *[["--map", path(k, v.encode())] for k, v in written.items()], ["--map", path("packed", bgzip(written["eagle"].encode()))]):
        impute(*more, out="other.vcf.gz")
        assert text("other.vcf.gz") == want, more
    impute("--map", path("flat", b"pos chr cM\n1 22 0\n51000000 22 2\n"), out="other.vcf.gz")
    assert text("other.vcf.gz") != want, "a map of the same shape"


# ---- what it says ----

def check_dry_run():
    vcf = gzip.open(TARGET, "rt").read()
    head, body = vcf[:vcf.index("\n", vcf.index("#CHROM")) + 1], vcf[vcf.index("\n", vcf.index("#CHROM")) + 1:].splitlines()
    body[3] = body[3].replace("\t" + body[3].split("\t")[3] + "\t" + body[3].split("\t")[4] + "\t", "\t%s\t%s\t" % (body[3].split("\t")[4], body[3].split("\t")[3]), 1)
    first = body[0].split("\t")
    lonely = "\t".join([first[0], "1000", ".", "A", "C", *first[5:]])
    target = path("some.vcf.gz", bgzip((head + "\n".join([lonely, *body]) + "\n").encode()))
    p = impute("--dry-run", out=None, target=target)
    for line in ("panel       3600 haplotypes, 28463 rows, chromosome 22", "in panel    144 of 146 variants (98.6 %)", "not in it   1, of which 1 lie before or behind the panel; kept as they are",
                 "left out    1", "         1  with REF and ALT the other way round"):
        assert line in p.stdout.split("\n"), (line, p.stdout)
    assert re.search(r"^would take  about \d+ s on \d+ threads? and at most \d+ MiB of memory; the result about \d+ MiB$", p.stdout, re.M), p.stdout
    before = set(os.listdir(TMP.name))
    impute("--dry-run", out="never.vcf.gz", target=target)
    assert set(os.listdir(TMP.name)) == before, "nothing is written"
    impute("--report", path("report.tsv"), "--quiet", target=target)
    assert "Allele switch" in open(path("report.tsv")).read()
    before = set(os.listdir(TMP.name))
    q = qc(target)
    assert q.stdout == p.stdout, "qc says what --dry-run says"
    assert set(os.listdir(TMP.name)) == before, "and writes nothing"
    qc(target, "--report", path("qc.tsv"))
    assert open(path("qc.tsv")).read() == open(path("report.tsv")).read()
    said = json.loads(qc(target, "--json").stdout)
    assert (said["chromosome"], said["usable"], said["records"], said["in_panel"], said["allele_switch"], said["panel_haplotypes"]) == ("22", True, 146, 144, 1, 3600), said
    away = path("away.vcf.gz", bgzip((head + "\n".join(re.sub(r"^22\t(\d+)", lambda m: "22\t%d" % (int(m[1]) + 1), x) for x in body) + "\n").encode()))
    q = qc(away, want=1)
    assert "panel       3600 haplotypes" in q.stdout and "would take" not in q.stdout and "too few of your variants" in q.stderr, (q.stdout, q.stderr)
    assert json.loads(qc(away, "--json", want=1).stdout)["usable"] is False
    assert "--panel and --target are needed" in subprocess.run([WORKER, "--local", "qc"], capture_output=True, text=True).stderr
    assert "is no option of `sequester qc`" in qc(target, "-o", path("x.bcf"), want=2).stderr


def check_timing():
    p = impute("--timing", "--threads", "2")
    assert re.search(r"^window   [0-9.]+-[0-9.]+ cM: 145 typed of 28463 rows in \d+ clusters, scale \S+, mismatch \S+, \d+ states", p.stderr, re.M), p.stderr
    assert re.search(r"^cpu      typed .*, output .*\(format .*deflate .*write", p.stderr, re.M), p.stderr
    fixed = impute("--timing", "--scale", "123456").stderr
    assert "scale 1.235e+05" in fixed, fixed


def check_progress():
    """On a terminal a bar; elsewhere nothing but lines; quiet: nothing at all."""
    us, them = pty.openpty()
    p = subprocess.Popen([WORKER, "--local", "impute", "--panel", PANEL, "--target", TARGET, "-o", path("out.vcf.gz"), "--threads", "1"], stderr=them, stdout=them)
    os.close(them)
    seen = b""
    while True:
        if not select.select([us], [], [], 60)[0]:
            raise AssertionError("no word for a minute")
        try:
            part = os.read(us, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    assert p.wait() == 0
    os.close(us)
    assert re.search(rb"\rimpute   \[[#-]{30}\] +\d+ %", seen), seen
    said = impute().stderr
    assert "\r" not in said and said.startswith("target   200 samples, 145 variants, chromosome 22:"), said
    assert impute("--quiet").stderr == ""


# ---- how it refuses ----

def refused(words, *args, want=1, **kw):
    before = set(os.listdir(TMP.name))
    p = impute(*args, want=want, **dict({"out": "refused.vcf.gz"}, **kw))
    lines = [x for x in p.stderr.strip().split("\n") if not re.match("target  |qc  ", x)]
    for word in words:
        assert word in p.stderr, (word, p.stderr)
    assert len(lines) == 2 and lines[0].startswith("sequester: ") and lines[1].startswith("  "), p.stderr
    assert set(os.listdir(TMP.name)) == before, "a file is left"


def check_wrong_panels():
    data = open(PANEL, "rb").read()
    vcf = b"##fileformat=VCFv4.2\n"
    for name, content, word in (("empty", b"", "empty"), ("text", b"hello\n" * 9, "no panel file"), ("vcf", vcf, "sequester panel build"), ("gz", bgzip(vcf), "sequester panel build"),
                                ("bcf", open(os.path.join(DATA, "ref.bcf"), "rb").read(), "sequester panel build"), ("cut", data[:-100], ""), ("longer", data + b"\0", ""),
                                ("changed", data[:200000] + bytes([data[200000] ^ 4]) + data[200001:], "")):
        refused([path(name), "the reference panel can't be used", word, "sequester panel build"], panel=path(name, content))


def check_wrong_targets():
    vcf = gzip.open(TARGET, "rt").read()
    lines = vcf.splitlines(True)
    at = next(i for i, x in enumerate(lines) if not x.startswith("#"))

    def made(name, edit):
        new = list(lines)
        new = edit(new) or new
        return path(name, bgzip("".join(new).encode()))

    def chr_named(x):
        return [("chr" + y if not y.startswith("#") else y.replace("ID=22", "ID=chr22")) for y in x]
    fields = lines[at + 5].rstrip("\n").split("\t")
    for name, edit, words in (
            ("chr", chr_named, ["chromosome names or lengths", "chr22", "'chr' in front", "--rename-chrs"]),
            ("other", lambda x: [("21" + y[2:] if not y.startswith("#") else y.replace("ID=22", "ID=21")) for y in x], ["chromosome names or lengths", "chromosome 21, the panel of 22", "\n  take the panel of that chromosome."]),
            ("build", lambda x: [re.sub(r"##contig=<ID=22.*>", "##contig=<ID=22,length=50818468>", y) for y in x if True] if any("##contig=<ID=22" in y for y in x)
             else x[:1] + ["##contig=<ID=22,length=50818468>\n"] + x[1:], ["another build", "50818468", "51304566", "lift your data over"]),
            ("unsorted", lambda x: x[:at] + [x[at + 9]] + x[at:], ["not sorted", "line %d" % (at + 2), "bcftools sort"]),
            ("unphased", lambda x: x[:at + 5] + ["\t".join(fields[:9] + ["0/1"] + fields[10:]) + "\n"] + x[at + 6:], ["not phased", "record 6", "sequester phase"]),
            ("ploidy", lambda x: x[:at + 5] + ["\t".join(fields[:9] + ["0|1|1"] + fields[10:]) + "\n"] + x[at + 6:], ["ploidy", "line %d" % (at + 6)]),
            ("changing", lambda x: x[:at + 5] + ["\t".join(fields[:9] + ["1"] + fields[10:]) + "\n"] + x[at + 6:], ["ploidy", "males are haploid"]),
            ("elsewhere", lambda x: x[:at] + [re.sub(r"^22\t(\d+)", lambda m: "22\t%d" % (int(m[1]) + 1), y) for y in x[at:]], ["too few of your variants", "usable variants are in the panel", "sequester qc"]),
            ("nobody", lambda x: ["\t".join(y.rstrip("\n").split("\t")[:8]) + "\n" if not y.startswith("##") else y for y in x], ["no samples", "give a file with genotype columns"]),
            ("headless", lambda x: x[:at], ["no variants"])):
        refused([path(name), *words], *(["--phased"] if name == "unphased" else []), target=made(name, edit))
    unknown = made("unknown", lambda x: [re.sub(r"##contig=<ID=22.*>", "##contig=<ID=22,length=2147483647>", y) for y in x])
    impute("--dry-run", out=None, target=unknown)  # what bcftools writes where it knows no length: no other build
    data = open(TARGET, "rb").read()
    for name, content, words in (("empty", b"", ["empty"]), ("half", data[:len(data) // 2], ["ends in the middle", "copy it again"]), ("no_end", data[:-28], ["ends in the middle"]),
                                 ("zip", b"PK\3\4" + bytes(99), ["compression", "bgzip"]), ("text", b"hello\n" * 9, ["not a VCF"]), ("bits", data[:3000] + b"\x55\xaa" + data[3002:], ["compression"])):
        refused([path(name), *words], target=path(name, content))
    p = subprocess.run([WORKER, "--local", "impute", "--panel", PANEL, "--target", path("absent"), "-o", path("x.vcf.gz")], capture_output=True, text=True)
    assert p.returncode == 1 and "absent" in p.stderr and "No such file" in p.stderr, p.stderr
    for of in ("target", "panel", "map"):
        p = impute("--map" if of == "map" else "--quiet", *([TMP.name] if of == "map" else []), want=1, **({} if of == "map" else {of: TMP.name}))
        assert TMP.name + " can't be opened: Is a directory\n  name a file in it" in p.stderr and "disk" not in p.stderr, p.stderr


def check_wrong_maps():
    for name, content, words in (("bed", b"22\t50000000\t50100000\n22\t50100000\t50200000\n", ["first line fits none"]), ("tsv", b"sample\tgroup\nA\t1\n", ["first line fits none", "line 1"]),
                                 ("of_21", b"pos chr cM\n1 21 0\n40000000 21 60\n", ["of which 0 are of the panel's chromosome"]), ("one_row", b"pos chr cM\n50000000 22 0\n", ["2 are needed"]),
                                 ("falling", b"pos chr cM\n50500000 22 1\n50400000 22 2\n", ["positions must ascend", "line 3"]), ("nan", b"22 . 1 50300000\n22 . nan 50400000\n", ["not a number", "line 2"]),
                                 ("mixed", b"pos chr cM\n50300000 22 1\n22 50400000 1.2 3\n", ["SHAPEIT", "line 3"]), ("other_build", b"pos chr cM\n1 22 0\n52000000 22 60\n", ["another build"]),
                                 ("beside", b"pos chr cM\n1 22 0\n40000000 22 60\n", ["it covers 1 to 40000000, the panel 50244251 to 51244237"]), ("empty", b"", ["empty"]),
                                 ("vcf", gzip.open(TARGET, "rb").read(), ["first line fits none"])):
        refused([path(name), "genetic map", "SHAPEIT", *words], "--map", path(name, content))


def check_own_files_stay():
    """What is read is never written over, under whatever name; and no file is named twice."""
    mine = path("mine.vcf.gz", open(TARGET, "rb").read())
    os.symlink(mine, path("link.vcf.gz"))
    for args in (["-o", mine], ["-o", path("link.vcf.gz")], ["-o", os.path.join(TMP.name, ".", "mine.vcf.gz")], ["-o", path("own.vcf.gz"), "--report", mine],
                 ["-o", path("own.vcf.gz"), "--sites", mine], ["--dry-run", "--report", PANEL]):
        p = impute(*args, want=2, out=None, target=mine)
        assert "is read: what is written needs another name" in p.stderr, p.stderr
        with open(mine, "rb") as f, open(TARGET, "rb") as g:
            assert f.read() == g.read() and not os.path.exists(path("own.vcf.gz")), args
    p = impute("--sites", path("own.vcf.gz"), want=2, out="own.vcf.gz")
    assert "own.vcf.gz is named for two files" in p.stderr, p.stderr
    for end in (".tbi", ".csi"):  # the index is written, too
        for args in (["--report", path("own.vcf.gz" + end)], ["--report", os.path.join(TMP.name, ".", "own.vcf.gz" + end)], ["--report", path("own.s.vcf.gz" + end), "--sites", path("own.s.vcf.gz")]):
            p = impute(*args, want=2, out="own.vcf.gz")
            assert "%s is named for two files that are written" % end in p.stderr and not os.path.exists(path("own.vcf.gz")), p.stderr
    p = impute("--report", path("no/such/report"), want=1, out="own.vcf.gz")
    assert "no/such/report can't be written: No such file or directory" in p.stderr and not os.path.exists(path("own.vcf.gz")), p.stderr


def check_full_disk():
    """The disk of the result is full: its name is said, not the target's, and nothing is left."""
    full = path("full")
    os.mkdir(full)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", full], capture_output=True).returncode:
        print("# no tmpfs can be mounted here: not tried")
        return
    try:
        p = impute("-o", os.path.join(full, "r.vcf.gz"), want=1, out=None)
        assert "full/r.vcf.gz: the disk is full" in p.stderr and "make room" in p.stderr, p.stderr
        assert not os.listdir(full), os.listdir(full)
    finally:
        subprocess.run(["umount", full], check=True)


def check_wrong_words():
    for words, args in ((["`--foo` is no option"], ["--foo"]), (["stands alone"], ["x"]), (["--threads wants a whole number from 1 to 64"], ["--threads", "0"]), (["--threads wants a value"], ["--threads"]),
                        (["--region is written"], ["--region", "22:9-5"]), (["--region is written"], ["--region", "22:a-b"]), (["--region is written"], ["--region", ":1-2"]),
                        (["--region is written"], ["--region", "22:0-5"]), (["--region is written"], ["--region", "22:1-2-3"]), (["--region is written"], ["--region", "22:99999999999"]),
                        (["--format takes"], ["--format", "DS,GT"]), (["--format takes"], ["--format", "GT,GT"]), (["--format takes"], ["--format", "XX"]), (["wants a value"], ["--format", ""]),
                        (["--min-r2 wants a number from 0 to 1"], ["--min-r2", "1.5"]), (["--min-r2"], ["--min-r2", "nan"]), (["--scale wants"], ["--scale", "0"]), (["--states wants"], ["--states", "3"]),
                        (["--level wants"], ["--level", "13"]), (["--memory wants"], ["--memory", "x"]), (["--quiet takes no value"], ["--quiet=1"]), (["given twice"], ["--threads", "1", "--threads", "2"]),
                        (["must end in .vcf.gz or .bcf"], ["--sites", path("s.txt")]), (["all .vcf.gz or all .bcf"], ["--sites", path("s.bcf")])):
        refused([*words, "sequester impute --help"], *args, want=2)
    refused(["must end in .vcf.gz or .bcf"], want=2, out="refused.vcf")
    refused(["--out is needed"], want=2, out=None)
    refused(["--region is of chromosome 21, the target of 22"], "--region", "21:1-2", want=2)
    refused(["--region", "neither panel (positions 50244251 to 51244237) nor target has a record there"], "--region", "22:1-1000")
    p = subprocess.run([WORKER, "--local", "impute", "--panel", PANEL], capture_output=True, text=True)
    assert p.returncode == 2 and "--panel and --target are needed" in p.stderr
    p = impute("-o", path("no/such/folder.vcf.gz"), want=1, out=None)
    assert "folder.vcf.gz can't be written: No such file or directory" in p.stderr and "target" not in p.stderr, p.stderr


def main():
    checks = [(k[6:], v) for k, v in list(globals().items()) if k.startswith("check_") and (not ONLY or k[6:] in ONLY)]
    print("1..%d" % len(checks))
    n_failed = 0
    for i, (name, check) in enumerate(checks, 1):
        try:
            check()
            print("ok %d %s" % (i, name), flush=True)
        except Exception as e:  # noqa: BLE001 - whatever it is, the test failed
            n_failed += 1
            print("not ok %d %s\n# %s: %s" % (i, name, type(e).__name__, str(e).replace("\n", "\n# ")), flush=True)
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
