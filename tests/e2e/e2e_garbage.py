#!/usr/bin/env python3
"""One upload of each kind of garbage: refused with its own code, line and hint; nothing of it stays, and the hub serves on."""
import gzip
import io
import lzma
import os
import random
import re
import struct
import subprocess
import sys
import time
import zipfile
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402

ERR = {m[0]: (int(m[1]), m[2], m[3]) for m in
       re.findall(r'^SQ_ERR\((\w+),\s*\d+,\s*(\d+), "([^"]*)", "([^"]*)"\)', open(os.path.join(hub.ROOT, "src/lib/core/err.def")).read(), re.M)}
MARK = "ZQMARK7"  # stands in every file below as sample name and id, and must be nowhere in a log
HEAD = "##fileformat=VCFv4.2\n##contig=<ID=22,length=51304566>\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\">\n"
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
NAMES = ("\tFORMAT\t%s-1\t%s-2\n" % (MARK, MARK))


def record(pos, gt="0|1\t1|0", chrom="22", fmt="GT", ref="A", alt="C", info="."):
    return "%s\t%s\t%s\t%s\t%s\t.\tPASS\t%s\t%s\t%s\n" % (chrom, pos, MARK, ref, alt, info, fmt, gt)


def vcf(*records, head=HEAD, columns=COLUMNS + NAMES):
    return (head + columns + "".join(records)).encode()


GOOD = vcf(record(100), record(200), record(300))
N_HEAD = GOOD[:GOOD.index(b"\n22\t")].count(b"\n") + 1  # lines before the first record


def bgzf_block(raw):
    c = zlib.compressobj(6, zlib.DEFLATED, -15)
    z = c.compress(raw) + c.flush()
    return b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(z) + 25) + z + struct.pack("<II", zlib.crc32(raw), len(raw))


BGZF_END = bgzf_block(b"")


def bgzf(data):
    return b"".join(bgzf_block(data[i:i + 65280]) for i in range(0, len(data), 65280)) + BGZF_END


def gzip_bomb(first, byte, n_mib):
    """`first`, then n_mib MiB of one byte, without ever having them here: one flushed piece, repeated."""
    c = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = c.compress(first) + c.flush(zlib.Z_FULL_FLUSH)
    piece = c.compress(byte * (16 << 20)) + c.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + start + piece * (n_mib // 16)


def zipped(data):
    f = io.BytesIO()
    with zipfile.ZipFile(f, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("data.vcf", data)
    return f.getvalue()


def bcf(data, uncompressed=False):
    return subprocess.run(["bcftools", "view", "-O" + ("u" if uncompressed else "b"), "-"], input=data, capture_output=True, check=True).stdout


def broken(data, at):
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1:]


def garbage():
    """(what it is, its bytes, code, line or None)"""
    noise = random.Random(7).randbytes(100000)
    long_bgzf = bgzf(vcf(*[record(100 + i) for i in range(5000)]))
    block = bgzf_block(b"A" * 65280)
    at = N_HEAD + 1  # line of the first record
    return [
        ("empty file", b"", "EEMPTY", None),
        ("gzip of nothing", gzip.compress(b""), "EEMPTY", None),
        ("bgzip cut in a block", long_bgzf[:len(long_bgzf) * 2 // 3], "ECUT", None),
        ("bgzip without its end block", long_bgzf[:-len(BGZF_END)], "ECUT", None),
        ("gzip cut off", gzip.compress(GOOD * 3)[:-12], "ECUT", None),
        ("text cut in a line", GOOD[:-9], "ECUT", at + 2),
        ("cut in the header", HEAD.encode(), "ECUT", None),
        ("bcf cut off", bcf(GOOD, uncompressed=True)[:-5], "ECUT", None),
        ("damaged bgzip block", broken(long_bgzf, 3000), "EGZIP", None),
        ("damaged gzip", broken(gzip.compress(GOOD), 60), "EGZIP", None),
        ("rubbish behind gzip", gzip.compress(GOOD) + b"rubbish", "EGZIP", None),
        ("zip archive", zipped(GOOD), "EGZIP", None),
        ("xz", lzma.compress(GOOD), "EGZIP", None),
        ("random bytes", b"\x01" + noise, "EFORMAT", 1),
        ("gzip of random bytes", gzip.compress(noise), "EFORMAT", 1),
        ("csv", b"sample,rsid\n%s,1\n" % MARK.encode(), "EFORMAT", 1),
        ("html", b"<!doctype html><title>%s</title>\n" % MARK.encode(), "EFORMAT", 1),
        ("1 GiB of zeros as gzip", gzip_bomb(b"", b"\0", 1024), "EBOMB", None),
        ("1 GiB line behind a header, gzip", gzip_bomb(GOOD, b"A", 1024), "EBOMB", None),
        ("300 MiB line behind a header, bgzip", bgzf_block(GOOD) + block * 4800 + BGZF_END, "EBOMB", None),
        ("header without #CHROM", HEAD.encode() + record(100).encode(), "EHEADER", None),
        ("spaces for tabs in #CHROM", vcf(record(100), columns=(COLUMNS + NAMES).replace("\t", " ")), "EHEADER", N_HEAD),
        ("no samples", vcf(columns=COLUMNS + "\n"), "ENOSAMPLE", N_HEAD),
        ("FORMAT without samples", vcf(columns=COLUMNS + "\tFORMAT\n"), "ENOSAMPLE", N_HEAD),
        ("two samples of one name", vcf(record(100), columns=COLUMNS + "\tFORMAT\t%s\t%s\n" % (MARK, MARK)), "EDUPSAMPLE", N_HEAD),
        ("too many samples", vcf(record(100, "0|1\t" * 250 + "0|1"), columns=COLUMNS + "\tFORMAT\t" + "\t".join("%s%d" % (MARK, i) for i in range(251)) + "\n"), "ELIMIT", N_HEAD),
        ("too many variants", vcf(*[record(100 + i) for i in range(5001)]), "ELIMIT", at + 5000),
        ("header only", vcf(), "ENOVARIANT", None),
        ("unsorted", vcf(record(100), record(300), record(200)), "EUNSORTED", at + 2),
        ("unsorted bcf", bcf(vcf(record(100), record(300), record(200))), "EUNSORTED", None),
        ("two chromosomes", vcf(record(100), record(100, chrom="21"), head=HEAD.replace("##FORMAT", "##contig=<ID=21>\n##FORMAT")), "EMULTICHROM", at + 2),
        ("no GT", vcf(record(100, "3\t4", fmt="DP")), "ENOGT", at),
        ("GT not first", vcf(record(100, "3:0|1\t4:0|1", fmt="DP:GT")), "ENOGT", at),
        ("a genotype that is none", vcf(record(100), record(200, "0|x\t0|1")), "ERECORD", at + 1),
        ("an allele that isn't there", vcf(record(100, "0|7\t0|1")), "ERECORD", at),
        ("a genotype too few", vcf(record(100), record(200, "0|1")), "ERECORD", at + 1),
        ("a genotype too many", vcf(record(100, "0|1\t0|1\t0|1")), "ERECORD", at),
        ("three alleles in a genotype", vcf(record(100, "0|1|1\t0|1")), "EPLOIDY", at),
        ("a position that is none", vcf(record("12x")), "ERECORD", at),
        ("a position of minus one", vcf(record("-1")), "ERECORD", at),
        ("an empty REF", vcf(record(100, ref="")), "ERECORD", at),
        ("an empty line", vcf(record(100), "\n", record(200)), "ERECORD", at + 1),
        ("a chromosome name that is a path", vcf(record(100, chrom="../../" + MARK)), "ERECORD", at),
    ]


def site():
    if not hasattr(site, "it"):
        h = hub.Hub(settings={"max_samples": 250, "max_variants": 5000}).start()
        h.panel()
        site.it = h, h.user("ada"), len(h.objects())
    return site.it


def only_panel_left(h, n):
    hub.wait_for("the object to be erased", lambda: len(h.objects()) == n, 20)


def refuse(h, ada, what, data, code, line):
    for _ in range(3):
        start = time.monotonic()
        a = ada.upload_raw(data, "garbage.vcf.gz")
        took = time.monotonic() - start
        if a.status != 201 or a.json["state"] != "checking":
            break
        hub.wait_for("what took longer than an answer may", lambda: ada.get("/api/v1/uploads/" + a.json["id"])["state"] != "checking", 60)  # a very busy machine: once more
    status, text, hint = ERR[code]
    assert a.status == status, (what, code, a)
    j = a.json
    assert (j["success"], j["code"], j["message"], j["hint"]) == (False, code, text, hint), (what, j)
    assert (j.get("field") or j.get("detail")) and MARK not in str(j), (what, j)
    if line:
        assert j.get("line") == line, (what, line, j)
    assert took < hub.crowded(10), (what, took)
    up = ada.get("/api/v1/uploads")["data"][0]
    assert up["state"] == "failed" and up["error"]["code"] == code and up["error"].get("line") == j.get("line"), (what, up)
    assert up["samples"] is None and up["variants"] is None, up
    a = ada.call("POST", "/api/v1/jobs", {"upload": up["id"], "panel": "1kgp3-chr22"})
    assert a.status == 409, a  # and no job can be made of it
    return took


def test_garbage():
    h, ada, n = site()
    wrong, slowest = [], (0, "")
    cases = garbage()
    for what, data, code, line in cases:
        try:
            slowest = max(slowest, (refuse(h, ada, what, data, code, line), what))
            assert h.is_up()
        except AssertionError as e:
            wrong.append(e)
    print("# %d kinds of garbage; the slowest took %.2f s (%s)" % (len(cases), *slowest), flush=True)
    assert not wrong, "\n".join(map(str, wrong))
    only_panel_left(h, n)


def test_what_looks_odd_but_is_well():
    h, ada, n = site()
    for what, data in (("plain", GOOD), ("gzip", gzip.compress(GOOD)), ("bgzip", bgzf(GOOD)), ("bcf", bcf(GOOD)), ("uncompressed bcf", bcf(GOOD, True)),
                       ("CR LF", GOOD.replace(b"\n", b"\r\n")), ("fields that nobody declared", vcf(record(100, "0|1:7:x\t0|1:8:y", fmt="GT:DP:ZZ", info="QQ=1;" + MARK))),
                       ("missing calls", vcf(record(100, ".|.\t0|1"))), ("two at one position", vcf(record(100), record(100, alt="G")))):
        a = ada.upload_raw(data, "fine.vcf")
        assert a.status == 201 and a.json["samples"] == 2, (what, a)
        ada.call("DELETE", "/api/v1/uploads/" + a.json["id"], status=202)
    only_panel_left(h, n)


def target(edit):
    lines = gzip.open(hub.TARGET, "rt").read().splitlines(keepends=True)
    return bgzf("".join(edit(x) for x in lines).encode())


def shifted(line):
    f = line.split("\t", 2)
    return line if line[0] == "#" else "\t".join([f[0], str(int(f[1]) + 7), f[2]])


def test_jobs_that_cannot_be_done():
    h, ada, n = site()
    chr22 = target(lambda x: x.replace("##contig=<ID=22", "##contig=<ID=chr22") if x[0] == "#" else "chr" + x)
    chr21 = target(lambda x: x.replace("##contig=<ID=22", "##contig=<ID=21") if x[0] == "#" else "21" + x[2:])
    cases = [("unphased", open(hub.UNPHASED, "rb").read(), "EUNPHASED"), ("chr in front", chr22, "EBUILD"), ("another chromosome", chr21, "EBUILD"),
             ("no position of the panel", target(shifted), "ENOOVERLAP"),
             ("hardly any genotype", target(lambda x: x if x[0] == "#" else re.sub(r"[01]\|[01]", ".|.", x, count=150)), "ECALLRATE")]
    n_report = 0
    for what, data, code in cases:
        a = ada.upload_raw(data, "target.vcf.gz")
        assert a.status == 201, (what, a)
        j = ada.wait_job(ada.submit(a.json["id"], phasing="no_phasing"))
        assert j["state"] == "failed" and j["error"]["code"] == code and j["error"]["hint"] == ERR[code][2] and j["error"].get("detail"), (what, j)
        assert MARK not in str(j["error"]) and [x["state"] for x in j["lifecycle"]][-1] == "failed", j
        assert ada.get("/api/v1/uploads/" + a.json["id"])["state"] == "erased"
        report = ada.call("GET", "/api/v1/jobs/%s/report" % j["id"])
        print("# %s: %s, report %d" % (what, j["error"]["detail"], report.status), flush=True)
        if code in ("EUNPHASED", "ENOOVERLAP", "ECALLRATE"):  # the owner sees what was wrong with which site
            assert report.status == 200 and report.body.startswith(b"#sequester-qc/v1\n"), (what, report)
        n_report += report.status == 200
        ada.call("POST", "/api/v1/jobs/%s/claim" % j["id"], {"password": ada.password}, status=409)
    only_panel_left(h, n + n_report)
    for j in ada.get("/api/v1/jobs")["data"]:
        ada.call("DELETE", "/api/v1/jobs/" + j["id"], status=202)
    only_panel_left(h, n)


def test_nothing_of_it_is_in_a_log():
    h, ada, _ = site()
    assert MARK not in h.log()
    found = subprocess.run(["grep", "-rlaF", MARK, h.base], capture_output=True, text=True).stdout
    assert not found, found
    assert "child_ended" not in h.log(), "a process died"
    for role, most_mib in (("gateway", 64), ("registrar", 64), ("runner", 64), ("storer", 64)):
        peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/%d/status" % h.pid(role)).read()).group(1))
        print("# %s: at most %.1f MiB" % (role, peak / 1024), flush=True)
        hub.assert_memory(role, peak, most_mib)
    ada.run_job(ada.upload()["id"])  # and good work is still done
    h.verify_log()


if __name__ == "__main__":
    try:
        hub.main([test_garbage, test_what_looks_odd_but_is_well, test_jobs_that_cannot_be_done, test_nothing_of_it_is_in_a_log])
    finally:
        if hasattr(site, "it"):
            site.it[0].__exit__(None)
