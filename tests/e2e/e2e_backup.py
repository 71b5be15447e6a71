#!/usr/bin/env python3
"""A backup without the key slab brings back nothing that was erased since: `storer` and `registrar` are put back as they were, the slab is the
present one. What was kept is whole; what was erased opens for nobody, and its file goes when its owner says so again. And without any slab
nothing of the backup opens at all."""
import gzip
import os
import secrets
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import disk  # noqa: E402
import hub  # noqa: E402

DIRECTORIES = ("storer", "registrar")


def with_name(mark):
    lines = gzip.open(hub.TARGET).read().split(b"\n")
    head = next(i for i, x in enumerate(lines) if x.startswith(b"#CHROM"))
    names = lines[head].split(b"\t")
    names[12] = mark
    lines[head] = b"\t".join(names)
    return b"\n".join(lines)


def content(path):
    """b"" of what has gone: the hub is at work meanwhile."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return b""


def found(h, *marks):
    """Files below the hub's directory, the backup there with them, that hold one of these in clear."""
    hits = []
    for d, _, files in os.walk(h.dir):
        for name in files:
            path = os.path.join(d, name)
            if os.path.isfile(path) and not os.path.islink(path):
                data = content(path)
                hits += ["%s in %s" % (m, path) for m in marks if m in data]
    return hits


def copy(h, to):
    os.mkdir(to)
    for name in DIRECTORIES:
        subprocess.run(["cp", "-a", os.path.join(h.state, name), to], check=True)


def put_back(h, copied):
    for name in DIRECTORIES:
        subprocess.run(["rm", "-rf", os.path.join(h.state, name)], check=True)
        subprocess.run(["cp", "-a", os.path.join(copied, name), h.state], check=True)


def accepted(h, choice):
    hub.wait_for("rollback", lambda: "what=rollback" in h.log(), 30)
    hub.wait_for("the operator's socket", lambda: h.admin("status")[1].get("state") == "rollback", 10)
    h.admin_ok("rollback-accept", {"choice": choice, "confirm": "I accept what was lost"})
    h.wait_up()
    hub.wait_for("recovery", lambda: h.admin_ok("status")["state"] == "up", 30)


def what_was_erased_stays_erased():
    for choice in ("keep", "erase"):
        mark = b"ZQsample" + secrets.token_hex(6).encode()
        with hub.Hub() as h:
            h.rows_may_differ = True  # the log is one of the past
            h.panel()
            ada = h.user("ada")
            kept = ada.run_job(ada.upload()["id"])["id"]
            upload = ada.upload_raw(with_name(mark)).json["id"]
            gone = ada.run_job(upload)["id"]
            disk.settle(h)
            h.stop()
            backup = os.path.join(h.dir, "backup")
            copy(h, backup)
            h.start()
            files = len(h.objects())
            ada.call("DELETE", "/api/v1/jobs/" + gone, status=202)
            ada.wait_job(gone, ("erased",))
            disk.settle(h)
            h.stop()
            assert len(h.objects()) < files and not found(h, mark)
            put_back(h, backup)
            assert len(h.objects()) == files, "the sealed bytes are there again"
            h.start(wait_up=False)
            accepted(h, choice)
            ada.login()
            # nobody gets anything of it: neither a password nor the rest of a chain
            a = ada.call("POST", "/api/v1/jobs/%s/claim" % gone, {})
            assert a.status >= 400, a
            code, checked = h.check("--contents", "--mend")
            assert code == 1 and {"damaged"} <= {f["code"] for f in checked["findings"]}, checked
            assert ada.get("/api/v1/jobs/" + gone)["damaged"] >= 1
            assert not found(h, mark)
            ada.call("DELETE", "/api/v1/jobs/" + gone, status=202)
            ada.wait_job(gone, ("erased",))
            ada.claim(kept)  # what wasn't erased is whole
            assert len(ada.package(kept)) > 1000
            disk.settle(h)
            assert not found(h, mark)
            h.verify_log()


def without_the_slab_nothing_opens():
    """Somebody has the backup alone, and the configuration and key file with it: with a new slab the service knows no key of it."""
    with hub.Hub() as h:
        h.rows_may_differ = True
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload()["id"])["id"]
        disk.settle(h)
        h.stop()
        subprocess.run(["rm", "-rf", os.path.join(h.state, "keeper", "slab")], check=True)
        h.start(wait_up=False)
        h.wait_up()
        hub.wait_for("recovery", lambda: "reason=no_key" in h.log(), 30)
        a = h.request("POST", "/api/v1/jobs/%s/claim" % job, token=ada.token)
        assert a.status >= 400, a
        code, checked = h.check("--contents")
        assert code == 1 and checked["opened"]["objects"] == 0, checked


if __name__ == "__main__":
    hub.main([what_was_erased_stays_erased, without_the_slab_nothing_opens])
