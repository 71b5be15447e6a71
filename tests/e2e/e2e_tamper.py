#!/usr/bin/env python3
"""Whoever holds the disk changes what lies on it: every read of a changed object ends in a clean error and is recorded, a
changed audit log is found and named by two verifiers, and a registrar put back to an older state sweeps nothing."""
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402
import sqp  # noqa: E402

SEGMENT, FULL_PART, CLOSING = 65536, 16781368, 136  # docs/formats/sealed-object.md
REPORT, BODY, FINAL_HEADER, INDEX, PACKAGE, PANEL = 5, 6, 9, 10, 11, 12  # kinds in the object table
DAMAGED = 5


# ---- what lies on the disk ----

def rows(h, kind=None):
    """(id, owner, kind, state, path) of every object that isn't erased."""
    with contextlib.closing(sqlite3.connect(os.path.join(h.state, "registrar", "registrar.db"))) as db:
        found = db.execute("SELECT lower(hex(id)), lower(hex(owner_id)), kind, state FROM object WHERE state != 4").fetchall()
    top = os.path.join(h.state, "storer", "objects")
    return [(i, o, k, s, os.path.join(top, o, i)) for i, o, k, s in found if kind in (None, k)]


def path_of(h, kind, owner):
    (row,) = [r for r in rows(h, kind) if r[1] == owner]
    return row[4]


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    """In place: owner and mode stay."""
    with open(path, "r+b") as f:
        f.write(data)
        f.truncate(len(data))
        os.fsync(f.fileno())


def flip(data, at, bit=1):
    at %= len(data)
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1:]


@contextlib.contextmanager
def changed(*files):
    """files: (path, new content); the old content comes back."""
    before = [(p, read(p)) for p, _ in files]
    for p, data in files:
        assert data != read(p), "nothing was changed"
        write(p, data)
    try:
        yield
    finally:
        for p, data in before:
            write(p, data)


# ---- reads ----

def get(user, path, headers=None):
    """(status, bytes, whole, code): whole means that the client was told so."""
    h = user.hub
    c = http.client.HTTPSConnection("localhost", h.port, context=h.tls, timeout=300)
    try:
        c.request("GET", path, headers=dict({"Authorization": "Bearer " + user.token}, **(headers or {})))
        r = c.getresponse()
        try:
            body = r.read()
        except http.client.IncompleteRead as e:
            return r.status, e.partial, False, None
        except OSError:
            return r.status, b"", False, None
        return r.status, body, True, json.loads(body)["code"] if r.status >= 400 else None
    finally:
        c.close()


def refused(user, path, right, what, headers=None):
    """The read fails, and what came before it failed is right. Returns how it failed."""
    status, body, whole, code = get(user, path, headers)
    if status in (200, 206):
        assert not whole, "%s: a whole answer of %d bytes, %s" % (what, len(body), "right" if body == right else "WRONG")
        assert right.startswith(body), "%s: wrong bytes were delivered" % what
        return "cut"
    assert status == 500 and code in ("ETAMPERED", "ETRUNCATED"), (what, status, code, body[:300])
    return code


def damages(user, job):
    events = []
    before = ""
    while True:
        page = user.get("/api/v1/jobs/%s/audit?limit=100%s" % (job, before))
        events += page["data"]
        if not page.get("next") or len(page["data"]) < 100:
            return [e for e in events if e["event"] == "damaged"]
        before = "&before=%d" % page["next"]


def one_file(data):
    """Ways to change one sealed file: (name, content)."""
    last = len(data) - CLOSING
    yield "first byte", flip(data, 0)
    yield "salt", flip(data, 5)
    yield "nonce prefix", flip(data, 35, 0x80)
    yield "first segment", flip(data, 60)
    yield "middle", flip(data, last // 2, 0x10)
    yield "last segment", flip(data, last - 20)
    yield "last tag", flip(data, last - 1)
    yield "closing part, header byte", flip(data, last)
    yield "closing part, counts", flip(data, last + 48)
    yield "closing part, tag", flip(data, -1)
    yield "closing part dropped", data[:last]
    yield "data part dropped", data[last:]
    yield "one byte less", data[:-1]
    yield "one byte more", data + b"\0"
    yield "another closing part behind", data + data[last:]
    yield "empty", b""
    yield "zeros", bytes(len(data))
    if last > 3 * SEGMENT:
        yield "two segments swapped", data[:SEGMENT] + data[2 * SEGMENT:3 * SEGMENT] + data[SEGMENT:2 * SEGMENT] + data[3 * SEGMENT:]
        yield "a segment dropped", data[:SEGMENT] + data[2 * SEGMENT:]
        yield "a segment doubled", data[:2 * SEGMENT] + data[SEGMENT:]
        yield "cut in the middle, closing part kept", data[:last // 2] + data[last:]


def test_objects():
    with hub.Hub() as h:
        h.panel()
        ada, bob = h.user("ada"), h.user("bob")
        job = ada.run_job(ada.upload()["id"])["id"]
        owner = path_of_owner(h)
        bobs = bob.run_job(bob.upload()["id"], mode="qconly")["id"]
        ada.claim(job)
        package_path, report_path = path_of(h, PACKAGE, owner), path_of(h, REPORT, owner)
        other = [r[4] for r in rows(h, REPORT) if r[1] != owner]
        assert len(other) == 1
        n = 0
        for what, url, path in (("package", "/api/v1/jobs/%s/package" % job, package_path), ("report", "/api/v1/jobs/%s/report" % job, report_path)):
            right = ada.call("GET", url, status=200).body
            data = read(path)
            for name, bad in one_file(data):
                with changed((path, bad)):
                    refused(ada, url, right, "%s, %s" % (what, name))
                    n += 1
            assert get(ada, url) == (200, right, True, None), "%s is whole again" % what
        n += ranges(ada, "/api/v1/jobs/%s/package" % job, package_path)
        # an object in another's place: of the same owner, of another owner, another of the same length
        url, data = "/api/v1/jobs/%s/report" % job, read(report_path)
        right = ada.call("GET", url, status=200).body
        for name, bad in (("the package's file", read(package_path)), ("another owner's report", read(other[0])),
                          ("another owner's, cut to length", read(other[0])[:len(data)].ljust(len(data), b"x")),
                          ("its closing part from another object", data[:-CLOSING] + read(package_path)[-CLOSING:])):
            with changed((report_path, bad)):
                refused(ada, url, right, name)
                n += 1
        bob_right = bob.call("GET", "/api/v1/jobs/%s/report" % bobs, status=200).body
        with changed((report_path, read(other[0])), (other[0], data)):
            refused(ada, url, right, "two owners' reports swapped")
            refused(bob, "/api/v1/jobs/%s/report" % bobs, bob_right, "two owners' reports swapped, the other")
            n += 1
        os.rename(report_path, report_path + ".away")
        refused(ada, url, right, "no file")
        os.rename(report_path + ".away", report_path)
        n += 1
        hub.wait_for("every damage in the history", lambda: len(damages(ada, job)) >= n, 10)
        assert h.log().count("event=object_damaged") >= n, h.log().count("event=object_damaged")
        bodies(h, ada, job, owner)
        print("# %d changed reads" % n)
        h.verify_log()


def path_of_owner(h):
    (owner,) = {r[1] for r in rows(h, REPORT)}
    return owner


def ranges(ada, url, path):
    """Damage in one segment: ranges elsewhere are right, ranges that touch it fail."""
    right = ada.call("GET", url, status=200).body
    data = read(path)
    k = len(data) // SEGMENT // 2
    with changed((path, flip(data, k * SEGMENT + 100))):
        first = (SEGMENT - 56) + (k - 1) * (SEGMENT - 16)
        for a, b in ((0, 999), (first - 1000, first - 1), (first + SEGMENT - 16, first + SEGMENT + 1000)):
            status, body, whole, _ = get(ada, url, {"Range": "bytes=%d-%d" % (a, b)})
            assert (status, whole) == (206, True) and body == right[a:b + 1], (a, b, status, whole)
        for a, b in ((first, first), (first - 10, first + 10), (first + SEGMENT - 17, first + SEGMENT)):
            refused(ada, url, right[a:b + 1], "range %d-%d" % (a, b), {"Range": "bytes=%d-%d" % (a, b)})
    return 3


def bodies(h, ada, job, owner):
    """A damaged result can't be packed; whole again, it can."""
    for kind, where in ((BODY, 5 * SEGMENT + 7), (BODY, -1), (FINAL_HEADER, 50), (INDEX, -CLOSING - 1)):
        path = path_of(h, kind, owner)
        seen = len(damages(ada, job))
        with changed((path, flip(read(path), where))):
            a = ada.call("POST", "/api/v1/jobs/%s/claim" % job, {"password": ada.password})
            assert a.status in (200, 500), a
            hub.wait_for("the claim to fail", lambda: ada.get("/api/v1/jobs/" + job)["claim"]["state"] == "none", 30)
            a = ada.call("GET", "/api/v1/jobs/%s/package" % job)
            assert a.status in (404, 409, 410), a
            hub.wait_for("the damage in the history", lambda: len(damages(ada, job)) > seen, 10)
    password = ada.claim(job)
    with tempfile.TemporaryDirectory() as d:
        zip_path = os.path.join(d, "p.zip")
        with open(zip_path, "wb") as f:
            f.write(ada.package(job))
        p = subprocess.run(["7z", "t", "-p" + password, zip_path], capture_output=True, text=True)
        assert p.returncode == 0, p.stdout


def large_panel(d):
    """What nothing packs well: alleles of a million random bases, before the rows that the target has."""
    text = subprocess.run(["bcftools", "view", "-T", hub.TARGET, hub.REF], check=True, capture_output=True).stdout
    head, columns, body = text.partition(b"#CHROM")
    columns, _, body = (columns + body).partition(b"\n")
    of_four = bytes(b"ACGT"[i & 3] for i in range(256))
    calls = b"\t".join([b"0|1"] * (columns.count(b"\t") - 8))
    source = os.path.join(d, "panel.vcf")
    with open(source, "wb") as f:
        f.write(head + columns + b"\n")
        for i in range(210):
            f.write(b"22\t%d\t.\t%s\tA\t.\tPASS\t.\tGT\t%s\n" % (1000 + i, os.urandom(1_000_000).translate(of_four), calls))
        f.write(body)
    return sqp.build(os.path.join(hub.BUILD, "sequester-worker"), source, os.path.join(d, "panel.sqp"), hub.MAP)


def test_parts():
    """An object of several parts: parts swapped, doubled, dropped. The panel is one: no job can use it, none is half done."""
    with hub.Hub() as h, tempfile.TemporaryDirectory() as d:
        h.admin_ok("panel-add", {"id": "big", "name": "of several parts", "build": "hg19"}, [large_panel(d)])
        ada = h.user("ada")
        up = ada.upload()["id"]
        ((_, _, _, _, path),) = rows(h, PANEL)
        data = read(path)
        assert len(data) > 3 * FULL_PART, len(data)
        part = [data[i * FULL_PART:(i + 1) * FULL_PART] for i in range(3)]
        rest = data[3 * FULL_PART:]
        for name, bad in (("two parts swapped", part[1] + part[0] + part[2] + rest), ("a part dropped", part[0] + part[2] + rest),
                          ("a part doubled", part[0] + part[0] + part[2] + rest), ("the last part dropped", data[:-CLOSING])):
            with changed((path, bad)):
                h.kill("runner")  # it keeps an opened panel in memory for the next job
                job = ada.wait_job(ada.submit(up, panel="big"))
                assert job["state"] == "failed" and job["error"]["code"] in ("ETAMPERED", "ETRUNCATED"), (name, job)
                assert not job["files"], job
            up = ada.upload()["id"]
        assert not [r for r in rows(h) if r[2] in (REPORT, BODY, FINAL_HEADER, INDEX) and r[3] == 2], rows(h)
        assert ada.wait_job(ada.submit(up, panel="big"))["state"] == "done"
        h.verify_log()


# ---- the audit log ----

def frames(data):
    """(start, end) of each frame of a segment."""
    found, at = [], 16
    while at < len(data):
        (n,) = struct.unpack_from("<I", data, at)
        found.append((at, at + 4 + n + 32))
        at += 36 + n
    return found


def verdicts(log, vkey, kept=None):
    """(exit code, findings) of ours and of the independent verifier."""
    ours = subprocess.run([hub.CLI, "audit", "verify", "--log", log, "--vkey", vkey] + (["--checkpoint", kept] if kept else []),
                          capture_output=True, text=True)
    other = subprocess.run([sys.executable, os.path.join(hub.ROOT, "tests/oracle/audit.py"), log, vkey] + ([kept] if kept else []),
                           capture_output=True, text=True)
    return (ours.returncode, ours.stdout + ours.stderr), (other.returncode, other.stdout)


def re_leaf(frame, at, bit=1):
    """A frame whose entry was changed at @at and whose hash was made anew."""
    entry = flip(frame[4:-32], at, bit)
    return frame[:4] + entry + hashlib.sha256(b"\0" + entry).digest()


def tree_place(number):
    return 32 * (2 * (number - 1) - bin(number - 1).count("1"))


def test_audit_log():
    with hub.Hub() as h:
        ada = h.user("ada")
        for _ in range(6):
            ada.login()
        h.verify_log()
        vkey = h.vkeys()["vkey"]
        early = read(os.path.join(h.log_dir(), "checkpoints"))
        for _ in range(6):
            ada.login()
        h.verify_log()
        h.stop()
        log = os.path.join(h.dir, "copy")
        seg, checkpoints, tree = (os.path.join(log, x) for x in ("log/00000001.seg", "checkpoints", "tree"))

        def fresh():
            shutil.rmtree(log, ignore_errors=True)
            shutil.copytree(h.log_dir(), log)

        fresh()
        (a, text), (b, other) = verdicts(log, vkey)
        assert a == b == 0, (text, other)
        data, notes = read(seg), read(checkpoints)
        f = frames(data)
        n = len(f)
        cut = lambda i: data[f[i][0]:f[i][1]]  # noqa: E731
        k = n // 2  # frame k is entry k + 1
        kept = os.path.join(h.dir, "kept")
        note = notes.strip(b"\n").split(b"\n\n")
        with open(kept, "wb") as out:  # the last note: text, empty line, signature
            out.write(b"\n\n".join(note[-2:]) + b"\n")
        last_size = int(note[-2].split(b"\n")[1])

        def found(kind, first, with_kept=False):
            (a, text), (b, other) = verdicts(log, vkey, kept if with_kept else None)
            assert a not in (0, 2) and b == 1, (kind, a, b, text, other)
            assert any(line.split()[:2] == [kind, str(first)] for line in other.splitlines()), (kind, first, other)
            assert kind in text and str(first) in text, (kind, first, text)

        cases = [
            ("changed", k + 1, data[:f[k][0] + 30] + bytes([data[f[k][0] + 30] ^ 4]) + data[f[k][0] + 31:]),
            ("dropped", k + 1, data[:f[k][0]] + data[f[k][1]:]),
            ("dropped", 1, data[:16] + data[f[0][1]:]),
            ("moved", k + 1, data[:f[k][0]] + cut(k + 1) + cut(k) + data[f[k + 1][1]:]),
            ("rewritten", k + 1, data[:f[k][0]] + re_leaf(cut(k), 80) + data[f[k][1]:]),
            ("truncated", last_size - 3, data[:f[last_size - 4][0]]),
            ("truncated", last_size, data[:f[last_size - 1][0] + 40]),
            ("segment", 1, b"x" + data[1:]),
        ]
        for kind, first, bad in cases:
            fresh()
            write(seg, bad)
            found(kind, first)
        # a rewritten entry whose leaf in the tree file was rewritten too: the signed root says so
        fresh()
        bad = re_leaf(cut(k), 80)
        write(seg, data[:f[k][0]] + bad + data[f[k][1]:])
        t, at = read(tree), tree_place(k + 1)
        assert t[at:at + 32] == cut(k)[-32:]
        write(tree, t[:at] + bad[-32:] + t[at + 32:])
        (a, text), (b, other) = verdicts(log, vkey)
        assert a not in (0, 2) and b == 1 and "rewritten" in text and "rewritten" in other, (text, other)
        # checkpoints: one changed is named; the last ones gone and the tail gone with them is found by the tree file, and with that gone by a kept note
        fresh()
        write(checkpoints, notes.replace(b"\n%d\n" % last_size, b"\n%d\n" % (last_size - 1)))
        found("checkpoint", notes.count(b"\n%d\n" % last_size) and 1 + [int(x.split(b"\n")[1]) for x in note[0::2]].index(last_size))
        fresh()
        write(checkpoints, early)
        size = max(int(x.split(b"\n")[1]) for x in early.strip(b"\n").split(b"\n\n")[0::2])
        write(seg, data[:f[size][0]])
        found("truncated", size + 1)
        write(tree, read(tree)[:tree_place(size + 1)])
        assert [v[0] for v in verdicts(log, vkey)] == [0, 0], "an older state of everything looks whole by itself"
        found("truncated", size + 1, with_kept=True)
        # the middle notes gone: what is signed later still covers everything
        fresh()
        write(checkpoints, b"\n\n".join(note[:2]) + b"\n\n" + b"\n\n".join(note[-2:]) + b"\n\n")
        assert [v[0] for v in verdicts(log, vkey)] == [0, 0], verdicts(log, vkey)
        assert verdicts(h.log_dir(), vkey)[0][0] == 0, "the log itself is as it was"


# ---- an older registrar ----

def disk(h):
    return {p: hashlib.sha256(read(p)).digest() for p in h.objects()}


def test_rollback():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        h.verify_log()
        h.stop()
        registrar, older, newer = (os.path.join(h.state, "registrar"), os.path.join(h.dir, "older"), os.path.join(h.dir, "newer"))
        subprocess.run(["cp", "-a", registrar, older], check=True)
        h.start()
        job = ada.run_job(ada.upload()["id"], mode="qconly")["id"]
        report = ada.call("GET", "/api/v1/jobs/%s/report" % job, status=200).body
        h.verify_log()
        h.stop()
        before = disk(h)
        slab = read(os.path.join(h.state, "keeper", "slab"))[8192:]
        assert len(before) == 2, before
        os.rename(registrar, newer)
        subprocess.run(["cp", "-a", older, registrar], check=True)
        for _ in range(2):  # a second start decides nothing either
            n = h.log().count("what=rollback")
            h.start(wait_up=False)
            hub.wait_for("the rollback to be found", lambda: h.log().count("what=rollback") > n, 30)
            hub.wait_for("the operator's socket", lambda: h.admin("status")[1].get("state") == "rollback", 10)
            a = h.request("GET", "/api/v1/jobs/%s" % job, token=ada.token)
            assert a.status == 503 and a.json["code"] in ("EROLLBACK", "EDOWN"), a
            a = h.request("POST", "/api/v1/login", {"name": "ada", "password": ada.password})
            assert a.status == 503, a
            code, answer = h.admin("user-add", {"name": "eve", "role": "user", "password": "correct-Horse-battery-42-eve"})
            assert code != 0, answer
            h.stop()
            assert disk(h) == before, "nothing was swept"
            assert read(os.path.join(h.state, "keeper", "slab"))[8192:] == slab, "no key was destroyed"
        shutil.rmtree(registrar)
        os.rename(newer, registrar)
        h.start()
        ada.login()
        assert ada.call("GET", "/api/v1/jobs/%s/report" % job, status=200).body == report
        h.verify_log()


# ---- the slab, and files that are gone ----

def test_slab_and_files():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        jobs = [ada.run_job(ada.upload()["id"], mode="qconly")["id"] for _ in range(3)]
        urls = ["/api/v1/jobs/%s/report" % j for j in jobs]
        right = [ada.call("GET", u, status=200).body for u in urls]
        with contextlib.closing(sqlite3.connect(os.path.join(h.state, "registrar", "registrar.db"))) as db:
            ids = [db.execute("SELECT report_object_id FROM job WHERE id = ?", (j,)).fetchone()[0] for j in jobs]
        slab = os.path.join(h.state, "keeper", "slab")
        for copy in (0, 4096):
            h.stop()
            write(slab, flip(read(slab), copy + 100))
            h.start()
            ada.login()
            assert [ada.call("GET", u, status=200).body for u in urls] == right
        h.stop()
        data = read(slab)
        slot = [at for at in range(8192, len(data), 256) if data[at] == 2 and data[at + 16:at + 32] == ids[0]]
        assert len(slot) == 1, slot
        write(slab, flip(data, slot[0] + 100))
        gone = [r[4] for r in rows(h) if bytes.fromhex(r[0]) == ids[1]][0]
        os.remove(gone)
        h.start()
        ada.login()
        states = {bytes.fromhex(r[0]): r[3] for r in rows(h)}
        assert [states[i] for i in ids] == [DAMAGED, DAMAGED, 2], states
        for i in (0, 1):
            refused(ada, urls[i], right[i], "a damaged object")
            assert any(ids[i].hex() in line for line in h.log().splitlines() if "event=object_damaged" in line)
        assert ada.call("GET", urls[2], status=200).body == right[2]
        assert h.admin_ok("status")["objects_damaged"] == 2
        # a damaged object can still be erased, with its receipt
        ada.call("DELETE", "/api/v1/jobs/" + jobs[0], status=202)
        ada.wait_job(jobs[0], ("erased",))
        ada.call("DELETE", "/api/v1/jobs/" + jobs[1], status=202)
        ada.wait_job(jobs[1], ("erased",))
        h.verify_log()
        # both copies of the header: keeper refuses, and nobody sweeps
        h.stop()
        before, data = disk(h), read(slab)
        write(slab, flip(flip(data, 100), 4196))
        h.start(wait_up=False)
        hub.wait_for("keeper to refuse", lambda: h.log().count("event=child_ended child=keeper") > 4, 30)
        assert not h.is_up() or h.request("GET", urls[2], token=ada.token).status == 503
        h.stop()
        assert disk(h) == before and len(read(slab)) == len(data)
        write(slab, data)
        h.start()
        ada.login()
        assert ada.call("GET", urls[2], status=200).body == right[2]


if __name__ == "__main__":
    hub.main([test_objects, test_parts, test_audit_log, test_rollback, test_slab_and_files])
