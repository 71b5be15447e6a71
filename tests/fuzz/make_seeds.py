#!/usr/bin/env python3
"""First inputs of the fuzz targets, made from the tables and the golden files: make_seeds.py DIR writes DIR/TARGET/*.

Good examples reach deeper than noise does. What a campaign found stands beside them, for good, in tests/fuzz/seeds/TARGET/.
"""
import glob
import hashlib
import os
import random
import re
import struct
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = sys.argv[1]


def put(target, name, data):
    os.makedirs(os.path.join(OUT, target), exist_ok=True)
    with open(os.path.join(OUT, target, name), "wb") as f:
        f.write(data)


def golden(path):
    with open(os.path.join(ROOT, "tests/golden", path), "rb") as f:
        return f.read()


# ---- messages ----

def messages():
    text = open(os.path.join(ROOT, "src/lib/wire/messages.def")).read()
    for m in re.finditer(r"^SQ_MSG\((\w+),\s*(\d+),\s*(\w+),\s*(\w+),[^,]*,[^,]*,(.*?)\)\s*(?:/\*.*)?$", text, re.M):
        yield m.group(1), int(m.group(2)), m.group(3), m.group(4), re.findall(r"(\w+)\(([^)]*)\)", m.group(5))


SIZE = {"U8": 1, "U16": 2, "U32": 4, "U64": 8, "STR": 4, "BLOB": 4, "IDS": 4, "FDS": 1}


def wire():
    for name, no, _, _, fields in messages():
        body, n_fd = b"", 0
        for kind, args in fields:
            if kind == "FD":
                body, n_fd = body + b"\1", n_fd + 1
            else:
                body += bytes(int(args.split(",")[1]) if kind == "BYTES" else SIZE[kind])
        put("wire", name, bytes([0, n_fd]) + struct.pack("<HHQ", no, 0, 1) + body)


OWNER, GATEWAY_OBJECT, RUNNER_OBJECT, TASK = b"owner 0000000000", b"object 000000000", b"object 111111111", b"task 00000000000"
LONG_AGO, FAR = 1800000000, 4000000000


def keeper():
    """Every request to keeper with fields that make sense, alone and one after the other."""
    said = {"object_id": RUNNER_OBJECT, "owner_id": OWNER, "task_id": TASK, "fence": 1, "expires_s": FAR, "not_after_s": FAR, "for_role": 2,
            "reads": [GATEWAY_OBJECT], "writes": [RUNNER_OBJECT], "passphrase": b"correct horse battery", "password": b"Tr0ub4dor&3", "role": b"user",
            "scope": b"jobs results", "epoch": 7, "issued_s": LONG_AGO, "batch": b"\0\5hello\0\0", "text": b"anna@example.org", "token": b"a.b.c", "address": b"anna@example.org", "kind": 2}
    by_name = {}
    for name, no, _, to, fields in messages():
        if to != "KEEPER":
            continue
        body = b""
        for kind, args in fields:
            field = args.split(",")[0].strip()
            v = said.get(field, 0 if kind[0] == "U" else b"")
            if field == "object_id" and name in ("part_key", "slot_close", "slot_extend"):
                v = GATEWAY_OBJECT
            if kind[0] == "U":
                body += v.to_bytes(int(kind[1:]) // 8, "little")
            elif kind == "BYTES":
                body += (v if v else b"").ljust(int(args.split(",")[1]), b"\0")
            elif kind == "IDS":
                body += struct.pack("<I", len(v)) + b"".join(v)
            else:
                body += struct.pack("<I", len(v)) + v
        by_name[name] = struct.pack("<HH", no, len(body)) + body
        put("keeper", name, b"\0" + by_name[name])
    order = ["keeper_state", "owner_create", "grant", "part_key", "slot_close", "task_seal_key", "task_open_key", "one_time_password", "entry_keys",
             "slot_extend", "fields_seal", "lookup", "token_sign", "checkpoint", "slot_list", "grant_end", "slot_destroy", "owner_destroy", "fields_open"]
    put("keeper", "all", b"\0" + b"".join(by_name[n] for n in order if n in by_name))
    account = ["password_hash", "password_check", "mail_seal", "token_sign", "password_check", "totp_make", "totp_check", "recovery_make", "recovery_check", "link_make", "link_open", "link_check",
               "mail_show", "fields_open", "factor_needed", "factor_forget", "passkey_challenge", "passkey_add", "passkey_check"]
    put("keeper", "account", b"\2" + b"".join(by_name[n] for n in account if n in by_name))
    for n in account[2:]:
        put("keeper", "account-" + n, b"\2" + b"".join(by_name[m] for m in ("password_hash", "password_check", "totp_make", "password_check", "recovery_make", "link_make", "link_open", n) if m in by_name))
    put("keeper", "sealed", b"\1" + by_name["keeper_state"] + by_name["unseal"] + by_name["owner_create"] + by_name["slot_destroy"])
    receipt = golden("receipt/two-objects.txt")
    put("keeper", "receipt", b"\0" + struct.pack("<HHI", 78, len(receipt) + 4, len(receipt)) + receipt)


# ---- genotypes ----

def header(n_sample, first="##fileformat=VCFv4.2"):
    return ("%s\n##contig=<ID=22,length=51304566>\n##FILTER=<ID=PASS,Description=\"All\">\n##FILTER=<ID=dup2,Description=\"d\">\n"
            "##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\">\n"
            "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t%s\n" % (first, "\t".join("NA%05d" % i for i in range(n_sample)))).encode()


def line(pos, gt, ref="A", alt="G", id=".", filter="PASS", format="GT", info="."):
    return ("22\t%d\t%s\t%s\t%s\t.\t%s\t%s\t%s\t%s\n" % (pos, id, ref, alt, filter, info, format, "\t".join(gt))).encode()


def text_file():
    return header(3) + line(16050075, ["0|1", "1|1", "0|0"], id="rs587697622") + line(16050115, ["0/1", "./.", "."], alt="G,<DEL>", filter="dup2") + \
        line(16050213, ["1", "0", "2:9"], ref="CT", alt="C,CTT", format="GT:DP", info="AF=0.5;DP=3") + line(16050319, ["0|0", "0|0", "0|0"], alt=".")


def bcf_file():
    text = header(2) + b"\0"
    out = b"BCF\2\2" + struct.pack("<I", len(text)) + text
    for pos, n_alt, gts in ((16050075, 1, (2, 5, 4, 5)), (16050115, 2, (0, 0, 6, 0x81)), (16050213, 1, (2, 3, 2, 2))):
        shared = struct.pack("<iiifII", 0, pos - 1, 1, 30.0, (n_alt + 1) << 16, 1 << 24 | 2)
        shared += b"\x57rs123" + b"\x17A" + (b"\x17G" + b"\x37TTT")[:2 if n_alt == 1 else 6] + b"\x11\x00"
        indiv = b"\x11\x02" + b"\x21" + bytes(gts)
        out += struct.pack("<II", len(shared), len(indiv)) + shared + indiv
    return out


def ingest():
    put("ingest", "text", b"\0" + text_file())
    put("ingest", "text_bgzf", b"\1" + text_file())
    put("ingest", "text_gzip", b"\2" + text_file())
    put("ingest", "cut", b"\5" + text_file())
    put("ingest", "bcf", b"\1" + bcf_file())
    put("ingest", "bcf_gzip", b"\2" + bcf_file())
    put("ingest", "crlf", b"\0" + text_file().replace(b"\n", b"\r\n"))
    put("ingest", "foreign", b"\0PK\3\4 a zip")
    put("ingest", "odd_header", b"\0" + header(2).replace(b"##contig", b"##ALT=<ID=DEL,Description=\"x, \\\"y\\\"\",IDX=7>\n##PEDIGREE=<A=b>\n##contig") +
        line(1, ["0|1", "1|0"]))
    with open(os.path.join(ROOT, "tests/data/chr22-1kgp3-b37/chr22.b37.gmap.gz"), "rb") as f:
        put("ingest", "gzip", b"\0" + f.read(400))


def stages():
    def panel(positions):
        return header(4) + b"".join(line(p, ["%d|%d" % (k >> 1 & 1, k & 1) for k in (i, i + 1, i + 2, i * 3)]) for i, p in enumerate(positions))

    target = header(2) + b"".join(line(p, ["%d|%d" % (i & 1, i >> 1 & 1), "1|0" if i % 3 else ".|."]) for i, p in enumerate(range(1000, 60000, 4000)))
    haploid = header(2) + b"".join(line(p, [str(i & 1), "1|0"]) for i, p in enumerate(range(1000, 60000, 4000)))
    some = panel(range(1000, 60000, 1000))
    maps = b"chr position COMBINED_rate(cM/Mb) Genetic_Map(cM)\n22 1 0 0\n22 30000 1 0.5\n22 70000 3 6.5\n"
    put("stages", "map", b"\0" + b"%%\n".join((target, some, maps)))
    put("stages", "no_map", b"\1" + b"%%\n".join((target, some, b"")))
    put("stages", "direct", b"\3" + b"%%\n".join((haploid, some, b"")))
    put("stages", "panel_first", b"\4" + b"%%\n".join((target, some, maps)))
    unphased = header(2) + b"".join(line(p, ["%d/%d" % (i & 1, i >> 1 & 1), ("1|0:%d" % (i // 3), "0/1:.", "./1")[i % 3]]).replace(b"\tGT\t", b"\tGT:PS\t") for i, p in enumerate(range(1000, 60000, 3000)))
    put("stages", "phased_on_the_way", b"\x10" + b"%%\n".join((unphased, some, maps)))
    put("stages", "phase_stage", b"\x20" + b"%%\n".join((unphased, some, maps.replace(b"6.5", b"99"))))
    put("stages", "phased_file", b"\x40" + b"%%\n".join((unphased, some, maps)))
    put("stages", "wide_map", b"\2" + b"%%\n".join((target, some, maps.replace(b"6.5", b"9999"))))


def finish():
    bins = struct.pack("<I", 2) + b"22" + struct.pack("<5Q", 0, 4 << 16, 9, 20000, 20001)
    bins += struct.pack("<I", 2) + struct.pack("<IIQQ", 37449, 1, 0, 1 << 16) + struct.pack("<IIQQQQ", 37450, 2, 1 << 16, 2 << 16, 3 << 16, 4 << 16)
    bins += struct.pack("<IIQQ", 0, 2, 0, 1 << 16)
    names = b"sequester-ids/v1 2\nNA00001\nNA00002\n"[:-1]
    meta = b"##fileformat=VCFv4.2\n##source=sequester\n##contig=<ID=22>\n"

    def part(kind, n_sample):
        return b"sqindex3" + struct.pack("<5Q", kind, n_sample, 1000, len(meta), len(bins)) + meta + bins
    put("finish", "two", b"\n%%\n".join((names, part(0, 2))))
    put("finish", "two_chunks", b"\n%%\n".join((names, part(0, 2) + part(0, 2))))
    put("finish", "other_count", b"\n%%\n".join((b"sequester-ids/v1 3\nNA00001\nNA00002", part(0, 2))))
    put("finish", "bcf", b"\n%%\n".join((names, part(0x100, 2))))
    put("finish", "sites", b"\n%%\n".join((b"", part(1, 0))))


def gmap():
    put("gmap", "eagle", b"\0chr position COMBINED_rate(cM/Mb) Genetic_Map(cM)\n22 16051347 8.0968 0\n22 16052618 8.1311 0.0102908\n1 5 1 1\n")
    put("gmap", "shapeit", b"\0pos chr cM\n16051347 22 0\n16052618 22 0.0102908\n16053624 22 1e1\n")
    put("gmap", "plink", b"\00022 . 0 16051347\n22 . 0.5 16052618\nchr22 rs1 0.75 16053624\n")
    with open(os.path.join(ROOT, "tests/data/chr22-1kgp3-b37/chr22.b37.gmap.gz"), "rb") as f:
        put("gmap", "packed", b"\0" + f.read())


def panel():
    for path in sorted(glob.glob(os.path.join(ROOT, "tests/golden/panel/*.sqp"))):
        put("panel", os.path.basename(path)[:-4], golden("panel/" + os.path.basename(path)))


# ---- what lies on our disks ----

def sheet():
    with open(os.path.join(ROOT, "tests/data/runs/sim-cbcl/SampleSheet.csv"), "rb") as f:
        put("sheet", "v2", b"\0" + f.read())
    put("sheet", "v1", b"\0[Header]\r\nIEMFileVersion,4\r\n[Reads]\r\n151\r\n[Settings]\r\nAdapter,CTGTCTCTTATACACATCT\r\n[Data]\r\n"
        b'Lane,Sample_ID,Sample_Name,index,index2,Sample_Project,Description\r\n1,S1,N1,ACGTACGT,TTGCAAGG,P,"a ""b"", c"\r\n2,S1,N1,ACGTACGT,TTGCAAGG,P,\r\n')
    put("sheet", "columns", b"\0[BCLConvert_Settings]\nMaskShortReads,10\n[BCLConvert_Data]\nSample_ID,Index,OverrideCycles,AdapterRead1,BarcodeMismatchesIndex1\n"
        b"A,ACGTNCGT,Y151;I8;I8;Y151,AGAT+CTGT,0\nB,CCGTACGA,R1:Y*;I1:I8;I2:N8;R2:N1Y150,,2\n")
    for i, text in enumerate((b"Y151;I8;I8;Y151", b"R2:Y151;I2:I8;R1:N1Y150;I1:I*", b"Y10U8N*;N2I6;U8;y151")):
        put("sheet", "cycles%d" % i, bytes([0x80 | 3 << 2]) + text)


def fastq_pack():
    def record(head, bases):
        return bytes([len(head) - 1, len(bases) // 4]) + head + bases
    rng = random.Random(7)
    read = bytes(rng.choice(b"ACGT") for _ in range(100))
    put("fastq_pack", "reads", b"".join(record(b"@S:1:F:1:1101:%d:1000 1:N:0:ACGT" % (1000 + 7 * i), bytes(rng.choice(b"ACGT") for _ in range(100))) for i in range(12)))
    put("fastq_pack", "same", b"".join(record(b"@a:%d b" % i, read[4 * i:] + b"G" * 40) for i in range(8)))
    put("fastq_pack", "masked", record(b"@a 1", b"ACGN" * 10) + record(b"@a 1", b"N" * 60) + record(b"@", b""))


def slab():
    b = golden("keeper/slab-v1")[:8192 + 8 * 256]
    put("slab", "golden", b"\0" + b)
    put("slab", "forged", b"\1" + b)
    put("slab", "other_key", b"\2" + b)
    put("slab", "torn", b"\0" + b[:8192 + 700])


def audit():
    k = 0
    for n in (1, 2):
        b, at = golden("audit/log/%08d.seg" % n), 16
        while at + 4 <= len(b):
            length, = struct.unpack_from("<I", b, at)
            put("audit", "entry%d" % k, b"\0" + b[at + 4:at + 4 + length])
            at, k = at + 4 + length + 32, k + 1
    for i, note in enumerate(golden("audit/checkpoints").split(b"\n\nlog.")):
        note = (b"" if i == 0 else b"log.") + note.rstrip(b"\n") + b"\n"
        put("audit", "note%d" % i, b"\1" + note)
        put("audit", "text%d" % i, b"\2" + note.split(b"\n\n")[0] + b"\n")


def audit_log():
    parts = [golden("audit/checkpoints"), golden("audit/tree"), golden("audit/log/00000001.seg"), golden("audit/log/00000002.seg")]
    whole = struct.pack("<HHH", *(len(p) for p in parts[:3])) + b"".join(parts)
    for how in (0, 1, 2, 4):
        put("audit_log", "how%d" % how, bytes([how]) + whole)
    put("audit_log", "torn", b"\0" + whole[:-40])
    put("audit_log", "no_checkpoints", b"\0" + struct.pack("<HHH", 0, 0, len(parts[2])) + parts[2] + parts[3])


def vault():
    put("vault_open", "empty", b"\0" + golden("vault/empty.sqo"))
    put("vault_open", "hello", b"\0" + golden("vault/hello.sqo"))
    # the closing part of hello.sqo in clear, as docs/formats/sealed-object.md shows it, and the part before it
    clear = bytes.fromhex("53514f3100000001000000000000000c00000000000000cc0100000000010000"
                          "000102030405060708090a0b0c0d0e0f" "177b28f633674aea287ee01e23b3ad13" "906e628355785738187894f5bc2c2f1d")
    put("vault_open", "trailer", b"\1" + clear + golden("vault/hello.sqo")[:68])
    put("unzip", "package", golden("vault/package.zip"))
    put("receipt", "two", golden("receipt/two-objects.txt"))
    put("receipt", "job", golden("receipt/job.txt"))


def config():
    rows = re.findall(r'^SQ_KEY\((\w+),\s*(\w+),\s*"([^"]*)"', open(os.path.join(ROOT, "src/lib/core/config.def")).read(), re.M)
    put("config", "all", "".join("%s = %s\n" % (name, value) for name, _, value in rows).encode())
    put("config", "odd", b"; a comment\n[section]\nlisten: [::1]:8443 ; behind\nhosts = a,\n b\nretention_days=31\nunknown = 1\nno sign\n")


# ---- strangers' requests ----

def http():
    form = (b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.vcf\"\r\n"
            b"Content-Type: text/plain\r\n\r\ntwo\r\n-\r\n--\r\n--b--\r\n")
    put("multipart", "form", b"\7" + form)
    put("multipart", "preamble", b"\1ignored\r\n" + form + b"epilogue")
    put("multipart", "quoted", b"\3--b\r\ncontent-disposition: form-data; filename=\"a\\\"b%22.gz\"; name=f\r\n\r\n\r\n--b--")
    for name, text in {"host": b"localhost:8443\nlocalhost,127.0.0.1,[2001:db8::1]", "token": b"Bearer abc.d-e_f\n",
                       "media": b"multipart/form-data; charset=\"utf-8\"; boundary=\"a b\"\napplication/json", "range": b"bytes=5-9\n", "suffix": b"bytes=-7\n",
                       "etag": b"\"a\", W/\"b\", *\n\"b\"", "json": b"{\"a\":[1,2.5,\"\\u00e9\",null,true],\"b\":{\"c\":\"d\"}}\n",
                       "twice": b"{\"a\":1,\"a\":2}\n", "deep": b"{\"a\":" + b"[" * 16 + b"]" * 16 + b"}\n", "path": b"/api/v2/jobs/0123\nGET",
                       "dots": b"/api/../v2//jobs/%2e\nHEAD", "query": b"name=a%20b&x=1\n", "file": b"..\\..\\a/b\xff\xc3\xa9.vcf.gz\n"}.items():
        put("http_rules", name, text)
    put("jwt", "raw", b"\0a.b.c")
    put("jwt", "claims", b"\1{\"aud\":\"sequester\",\"epoch\":7,\"exp\":1800003600,\"iat\":1800000000,\"iss\":\"test.example/log\","
        b"\"jti\":\"03000000000000000000000000000000\",\"role\":\"user\",\"scope\":\"jobs results\",\"sub\":\"01020000000000000000000000000000\"}")


# ---- accounts, networks ----

def accounts():
    cut = b"\n%%\n"
    words = b"stolen password one\nanother stolen one\r\n"
    hashes = b"".join(sorted(hashlib.sha1(b"word %d" % i).hexdigest().upper().encode() + b":%d\r\n" % i for i in range(20)))
    for name, list_ in (("words", words), ("hashes", hashes), ("none", b""), ("unsorted", hashes[::-1])):
        for password in (b"seven-Otters-climb-81", b"password1234", b"word 3", b"Ada.Lovelace1815!", b"\xc3\xa4\xc3\xb6\xc3\xbc" * 5, b"abcabcabcabc01.01.2001"):
            put("account", "choose-%s-%s" % (name, hashlib.sha1(password).hexdigest()[:6]), b"\0" + cut.join([password, b"ada.lovelace", b"ada@uni.example", b"hub.biocentre.example,localhost", list_]))
    for code in (b"287082", b"94287082", b"ABCD-EFGH-JKLM-NPQR-STUV-WXYZ", b"abcd efgh jklm npqr stuv wxyz"):
        put("account", "prove-" + code.decode().replace(" ", ""), b"\1" + cut.join([code, b"o'brien@sub.example.org", b"api read results net:10.0.0.0-8", b"10.0.0.0/8\n2001:db8::/32", b"10.1.2.3"]))
    rules = b"# ours\nallow 192.0.2.0/24\nallow 2001:db8:12::/48\ndeny 192.0.2.66\noperator-allow 192.0.2.128/25\nproxy 127.0.0.1 x-forwarded-for\nproxy 10.0.0.0/8 x-forwarded-for\nproxy ::1 forwarded\n"
    rate = b"address=10 token=5/h user=20 all=300"
    for name, peer, xff, forwarded in (("direct", b"192.0.2.7", b"198.51.100.7", b""), ("one", b"127.0.0.1", b"198.51.100.7", b""), ("two", b"127.0.0.1", b"198.51.100.7, 192.0.2.9, 10.2.3.4", b""),
                                       ("lines", b"127.0.0.1", b"198.51.100.7\n192.0.2.9:443\n10.2.3.4", b""), ("rfc7239", b"::1", b"", b"for=\"[2001:db8::1]:4711\";proto=https, for=192.0.2.9"),
                                       ("unknown", b"::1", b"", b"for=unknown"), ("hidden", b"::1", b"", b"for=_x;by=_y"), ("nonsense", b"127.0.0.1", b",,x, ", b"for")):
        put("networks", name, cut.join([rules, peer, xff, forwarded, rate]))
    put("networks", "wrong", cut.join([b"allow 192.0.2.1/24\n", b"2001:db8::/129", b"", b"", b"address=0"]))


# ---- passkeys ----

def passkeys():
    x, y = bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"), bytes.fromhex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")
    keys = {"es256": b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20" + x + b"\x22\x58\x20" + y, "eddsa": b"\xa4\x01\x01\x03\x27\x20\x06\x21\x58\x20" + x,
            "rs256": b"\xa4\x01\x03\x03\x39\x01\x00\x20\x59\x01\x00" + (x + y) * 4 + b"\x21\x43\x01\x00\x01"}
    for name, cose in keys.items():
        put("passkey", "new-" + name, b"\0" + b"\x45\0\0\0\1" + bytes(16) + b"\0\x10" + b"credential------" + cose)
    for kind in ("get", "create"):
        put("passkey", "client-" + kind, b"\1" + ('{"type":"webauthn.%s","challenge":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","origin":"https://hub.example.org","crossOrigin":false}' % kind).encode())
    put("passkey", "used", b"\2\5\x05\0\0\0\2" + b"\x30\x44\x02\x20" + x + b"\x02\x20" + y)


# ---- sequencing runs ----

def runs():
    import tempfile
    sys.path.insert(0, os.path.join(ROOT, "tests/support"))
    import make_interop
    import make_run
    base = "Data/Intensities/BaseCalls/L001/"

    def read(top, *names):
        out = []
        for name in names:
            with open(os.path.join(top, name), "rb") as f:
                out.append(f.read())
        return b"\n%%\n".join(out)

    with tempfile.TemporaryDirectory() as tmp:
        for no, kind in enumerate(("bcl", "bclgz", "bgzf", "cbcl")):
            for n in (7, 40):
                top = os.path.join(tmp, "%s%d" % (kind, n))
                tiles = (11101, 11102) if kind == "bgzf" else (1101, 1102)
                make_run.make(top, kind, reads=(2, 0, 0, 0), tiles=tiles, clusters=(n,), positions={"cbcl": "s", "bgzf": "lane", "bcl": "clocs"}.get(kind, "locs"), pf_only_after=1)
                names = {"bcl": ("C1.1/s_1_1101.bcl", "s_1_1101.filter"), "bclgz": ("C1.1/s_1_1101.bcl.gz", "s_1_1101.filter"),
                         "bgzf": ("0001.bcl.bgzf", "s_1.filter", "s_1.bci", "0001.bcl.bgzf.bci"), "cbcl": ("C1.1/L001_1.cbcl", "s_1_1101.filter")}[kind]
                put("run_calls", "%s%d" % (kind, n), bytes([no]) + read(os.path.join(top, base), *names))
                if kind == "bgzf":
                    put("run_calls", "walked%d" % n, bytes([no]) + read(os.path.join(top, base), *names[:3]))
                if kind == "cbcl":
                    put("run_calls", "passed%d" % n, bytes([no]) + read(os.path.join(top, base), "C2.1/L001_1.cbcl", "s_1_1101.filter"))
                where = os.path.join(top, "Data/Intensities/")
                which = {"cbcl": 0, "bclgz": 1, "bgzf": 2, "bcl": 3}[kind]
                name = {"cbcl": "s.locs", "bclgz": "L001/s_1_1101.locs", "bgzf": "L001/s_1.locs", "bcl": "L001/s_1_1101.clocs"}[kind]
                put("run_files", "positions-%s%d" % (kind, n), bytes([which]) + (read(where, name, "BaseCalls/L001/s_1.bci") if kind == "bgzf" else read(where, name)))
                put("run_files", "info-%s%d" % (kind, n), b"\5" + read(top, "RunInfo.xml"))
        put("run_files", "text", b"\4123.4 -5.67\n12\t13\r\n")
        put("run_files", "layout", b"\5" + make_interop.run_info(((5, False), (8, True)), 2, [(1, 1101), (2, 2104)]).encode())
        put("run_files", "params", b"\6<RunParameters><Setup><ApplicationName>a &amp; b</ApplicationName><Side>A</Side></Setup><RTAVersion>1.18</RTAVersion></RunParameters>")
        keys = [((lane, tile), cycle) for cycle in (1, 2, 5) for lane, tile in ((1, 1101), (2, 2104))]
        tiles = [k for k, _ in keys][:2]
        rng = random.Random(1)
        made = ([(0, make_interop.quality("QMetrics", v, keys[:2], rng)) for v in range(4, 10)] + [(1, make_interop.quality("QMetricsByLane", 6, keys, rng)), (2, make_interop.q2030(2, keys, rng))] +
                [(3, make_interop.tile(v, tiles, 2, rng)) for v in (2, 3)] + [(4, make_interop.extended(v, tiles, rng)) for v in (1, 2, 3)] +
                [(5, make_interop.extraction(v, keys, rng)) for v in (2, 3)] + [(6, make_interop.corrected(v, keys, rng)) for v in (2, 3, 4)] +
                [(7, make_interop.index(v, tiles, 2, [("S1", "P", "AC", "GT"), ("S2", "", "AA", "")], rng)) for v in (1, 2)] +
                [(8, make_interop.error(v, keys, rng)) for v in (3, 4, 5, 6)] + [(9, make_interop.phasing(v, keys, rng)) for v in (1, 2)] +
                [(10, make_interop.image(v, keys, rng)) for v in (1, 2, 3)])
        for no, w in made:
            put("interop", "%s%d" % (w.name, w.version), bytes([no]) + w.data)


# ---- phasing ----

def phase():
    """Windows of every kind: with and without sets, haploid samples, sampled phasings; a few states or many; sites far apart, close by, at one place."""
    rng = random.Random(6)
    for n in range(24):
        shape = bytes([rng.randrange(80), rng.randrange(40, 140), rng.randrange(24), n * 11 % 256, rng.randrange(256), 1 << n % 8, n % 2, rng.randrange(256)])
        block = bytes(rng.randrange(256) for _ in range((60, 300, 1200)[n % 3]))  # said over and over: haplotypes that are alike
        put("phase", "window%d" % n, shape + block)


for make in (runs, fastq_pack, wire, keeper, ingest, stages, finish, gmap, panel, phase, sheet, slab, audit, audit_log, vault, config, http, accounts, passkeys):
    make()
# regressions are replayed too; a target without one has an empty folder
for path in glob.glob(os.path.join(ROOT, "tests/fuzz/fuzz_*.c")):
    os.makedirs(os.path.join(OUT, os.path.basename(path)[5:-2]), exist_ok=True)
