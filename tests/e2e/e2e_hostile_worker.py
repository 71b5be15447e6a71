#!/usr/bin/env python3
"""The program in the sandbox is the attacker's: whatever it says, writes or does, its upload or job fails with a reason, nothing
of it is left half sealed, and the hub goes on serving."""
import contextlib
import os
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402

QC, IMPUTE, FINISH = 3, 4, 5
# name: codes that its upload may end with
ALONE = {
    "exit-0": ["ECRASHED"], "exit-1": ["ECRASHED"], "abort": ["ECRASHED"], "segv": ["ECRASHED"], "done-exit-1": ["ECRASHED"], "done-segv": ["ECRASHED"],
    "garbage": ["EPROTO"], "huge-packet": ["EPROTO"], "hello-again": ["EPROTO"], "as-registrar": ["EPROTO"], "as-runner": ["EPROTO"], "trailing": ["EPROTO"],
    "descriptor": ["EPROTO"], "progress-back": ["EPROTO"], "progress-flood": ["EPROTO"], "counts-huge": ["EPROTO"], "counts-chrom": ["EPROTO"],
    "counts-format": ["EPROTO"], "failed-sealed": ["ECRASHED"], "failed-ok": ["ECRASHED"], "failed-tampered": ["ECRASHED"], "failed-control": ["EPROTO"],
    "endless": ["EBOMB"], "memory": ["EKILLED"],
}
LATER = [("exit-1", QC), ("garbage", QC), ("endless-report", QC), ("done-exit-1", IMPUTE), ("endless", FINISH), ("counts-huge", FINISH), ("exit-0", FINISH)]


def build(h):
    path = os.path.join(h.dir, "hostile-worker")
    subprocess.run([os.environ.get("CC", "cc"), "-std=c17", "-D_GNU_SOURCE", "-O1", "-static", "-Wall", "-Werror", "-DTABLE_HASH=UINT64_C(%d)" % hub.WIRE.hash(),
                    os.path.join(hub.ROOT, "tests/attack/worker.c"), "-o", path], check=True)
    return path


def live_files(h):
    return [p for p in h.objects() if "/objects/" + "0" * 32 + "/" not in p]


def unfinished(h):
    with contextlib.closing(sqlite3.connect(os.path.join(h.state, "registrar", "registrar.db"))) as db:
        return db.execute("SELECT count(*) FROM object WHERE state IN (1, 3)").fetchone()[0]


def test_hostile_worker():
    with hub.Hub() as h:
        h.panel()
        h.stop()
        with open(h.ini, "a") as f:
            f.write("worker = %s\n" % build(h))
        h.start()
        mallory, alice = h.user("mallory"), h.user("alice")
        pids = {r: h.pids(r) for r in hub.ROLES}
        for name, codes in ALONE.items():
            a = mallory.upload_raw(b"attack %s\n" % name.encode() + b"x" * 5000)
            if a.status == 201:  # not judged yet: the answer to an upload waits ten seconds
                up = a.json["id"]
                hub.wait_for(name + " to end", lambda: mallory.get("/api/v1/uploads/" + up)["state"] in ("failed", "erased"), 60)
                code = mallory.get("/api/v1/uploads/" + up)["error"]["code"]
            else:
                code = a.json["code"]
            assert code in codes, (name, a)
            alice.get("/api/v1/jobs")
            hub.wait_for("%s: nothing is left" % name, lambda: not live_files(h) and not unfinished(h), 20)
        for name, stage in LATER:
            up = mallory.upload_raw(b"attack %s only %d\n" % (name.encode(), stage))
            assert up.status == 201, up
            job = mallory.wait_job(mallory.submit(up.json["id"]))
            assert job["state"] == "failed" and not job["files"] and job["error"]["code"] in ("ECRASHED", "EPROTO", "EBOMB"), (name, stage, job)
            for path in ("package", "report") if stage == QC else ("package",):  # the report of a qc that ended stays readable
                a = mallory.call("GET", "/api/v1/jobs/%s/%s" % (job["id"], path))
                assert a.status in (404, 409, 410), (name, stage, path, a)
            assert mallory.call("POST", "/api/v1/jobs/%s/claim" % job["id"], {"password": mallory.password}).status in (404, 409, 410)
            mallory.call("DELETE", "/api/v1/jobs/" + job["id"], status=202)
            mallory.wait_job(job["id"], ("erased",))
            hub.wait_for("%s in stage %d: nothing is left" % (name, stage), lambda: not live_files(h) and not unfinished(h), 20)
        # one that lies in form gets its lies back, sealed and packed as any result, and they are its owner's alone
        job = mallory.run_job(mallory.upload_raw(b"attack lie\n").json["id"])
        assert alice.call("GET", "/api/v1/jobs/" + job["id"]).status == 404
        mallory.claim(job["id"])
        assert mallory.package(job["id"])[:2] == b"PK"
        assert {r: h.pids(r) for r in hub.ROLES} == pids, "no process of ours fell"
        # the real one again
        h.stop()
        with open(h.ini) as f:
            lines = [x for x in f if not x.startswith("worker =")]
        with open(h.ini, "w") as f:
            f.writelines(lines)
        h.start()
        alice.login()
        alice.run_job(alice.upload()["id"], mode="qconly")
        h.verify_log()


if __name__ == "__main__":
    hub.main([test_hostile_worker])
