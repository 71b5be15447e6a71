#!/usr/bin/env python3
"""A full disk: uploads are refused with 507 and clear words, what was acknowledged stays, the hub stays up, jobs wait, and
erasing goes on, by the reserves of database and log. On one disk for everything, and on a disk of its own for each part."""
import contextlib
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import disk  # noqa: E402
import hub  # noqa: E402

DATA = open(hub.TARGET, "rb").read()


@contextlib.contextmanager
def small(mib, *parts):
    """A hub with small disks of its own: [(part of the state directory, MiB)]."""
    h = hub.Hub()
    images = []
    try:
        os.makedirs(h.state, exist_ok=True)
        os.chmod(h.state, 0o711)
        for part in parts:
            images.append(disk.Image(os.path.join(h.state, part) if part else h.state, mib, 61003 if part.endswith("log") else 0))
        with h:
            yield h, images
    finally:
        for i in reversed(images):
            i.done()


def object_states(h, job):
    import sqlite3
    with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % os.path.join(h.state, "registrar", "registrar.db"), uri=True)) as db:
        (state,) = db.execute("SELECT state FROM job WHERE id = ?", (job,)).fetchone()
        left = db.execute("SELECT count(*) FROM object o JOIN task_object t ON t.object_id = o.id JOIN task k ON k.id = t.task_id"
                          " WHERE k.job_id = ? AND o.state != 4 AND o.kind < 12", (job,)).fetchone()[0]
    return state, left


def erased(h, job, seconds=60):
    hub.wait_for("the job to be erased on a full disk", lambda: object_states(h, job) == (9, 0), seconds)


def refuses_and_erases(h, image, ada, gone, kept):
    """What holds on a full disk, whichever; afterwards there is room again."""
    pids = {r: h.pids(r) for r in hub.ROLES}
    image.fill()
    for n in range(6):
        a = ada.upload_raw(DATA, "target.vcf.gz")
        if a.status == 201 and n < 3:
            continue  # its entries still fitted into the last block
        assert a.status in (507, 503), a
        assert a.json["code"] in ("EFULL", "ELOG"), a
        assert a.json["hint"], a
        assert a.json["code"] != "EFULL" or "the server's disk is full" in a.json["detail"] and "your quota" in a.json["detail"], a
    assert h.request("GET", "/healthz").status == 200
    ada.call("DELETE", "/api/v1/jobs/" + gone, status=202)
    erased(h, gone)
    assert {r: h.pids(r) for r in hub.ROLES} == pids, "a process died of a full disk"
    image.empty()
    hub.wait_for("the hub to find that there is room", lambda: ada.call("GET", "/api/v1/jobs/" + kept).status == 200, 30)
    assert ada.get("/api/v1/jobs/" + kept)["state"] == "done"
    receipts = ada.get("/api/v1/jobs/%s/receipt" % gone)
    assert receipts["complete"] and receipts["receipts"], receipts
    up = ada.upload()
    disk.settle(h)
    h.clean()
    return up


def one_disk_for_everything():
    with small(320, "") as (h, (image,)):
        h.panel()
        ada = h.user("ada")
        jobs = [ada.run_job(ada.upload()["id"])["id"] for _ in range(2)]
        disk.settle(h)
        up = refuses_and_erases(h, image, ada, jobs[0], jobs[1])

        # a job in work waits, and goes on when there is room
        job = ada.submit(up["id"])
        hub.wait_for("the job to run", lambda: ada.get("/api/v1/jobs/" + job)["state"] != "queued", 30)
        image.fill()
        time.sleep(8)
        assert object_states(h, job)[0] in (2, 3, 4, 5), object_states(h, job)  # at work, or it was quicker than the filler
        image.empty()
        hub.wait_for("room", lambda: ada.call("GET", "/api/v1/jobs/" + job).status == 200, 30)
        assert ada.wait_job(job)["state"] == "done"

        # a start on a full disk erases too
        image.fill()
        h.kill("registrar")
        hub.wait_for("registrar", lambda: h.pids("registrar"), 20)
        hub.wait_for("the service to be up on a full disk", lambda: h.admin_ok("status")["state"] == "up", 40)
        hub.wait_for("deleting on a full disk after a start", lambda: ada.call("DELETE", "/api/v1/jobs/" + jobs[1]).status in (202, 409), 30)
        erased(h, jobs[1])
        image.empty()
        hub.wait_for("room", lambda: ada.call("GET", "/api/v1/jobs/" + job).status == 200, 30)
        password = ada.claim(job)
        assert password and len(ada.package(job)) > 1000
        disk.settle(h)
        h.clean()


def of_its_own(part, mib):
    def test():
        with small(mib, part) as (h, (image,)):
            h.panel()
            ada = h.user("ada")
            jobs = [ada.run_job(ada.upload()["id"])["id"] for _ in range(2)]
            disk.settle(h)
            if part == "keeper":  # the slab is written in place: only a longer one is refused
                image.fill()
                ada.call("DELETE", "/api/v1/jobs/" + jobs[0], status=202)
                erased(h, jobs[0])
                image.empty()
            else:
                refuses_and_erases(h, image, ada, jobs[0], jobs[1])
            disk.settle(h)
            h.clean()
    test.__name__ = "full_disk_under_" + part.replace("/", "_")
    return test


def quota_is_507_and_nothing_stays():
    with hub.Hub(settings={"quota_mib": 1}) as h:
        h.panel()
        ada = h.user("ada")
        a = ada.upload_raw(disk.many_samples(12), "big.vcf")
        assert a.status == 507 and a.json["code"] == "EFULL" and "quota" in a.json["message"], a
        numbers = [int(x) for x in re.findall(r"\d+", a.json["detail"])]
        assert numbers[:2] == [1048576, 0] and numbers[2] > 1048576 and "erase jobs and uploads" in a.json["detail"], a
        ada.upload()
        used = ada.get("/api/v1/me")["bytes"]
        assert used
        # without a length it is found on the way, and is the same answer
        big = disk.many_samples(12)
        parts = [b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"big.vcf\"\r\n\r\n"] + [big[i:i + 65536] for i in range(0, len(big), 65536)] + [b"\r\n--b--\r\n"]
        a = ada.call("POST", "/api/upload", iter(parts), headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert a.status == 507 and a.json["code"] == "EFULL", a
        numbers = [int(x) for x in re.findall(r"\d+", a.json["detail"])]
        assert numbers[:2] == [1048576, used] and numbers[2] > 1048576 - used, a
        hub.wait_for("the broken one to be gone", lambda: ada.get("/api/v1/me")["bytes"] == used, 20)
        tail = subprocess.run([hub.CLI, "audit", "tail", "--log", h.log_dir(), "--limit", "60"], capture_output=True, text=True).stdout
        assert tail.count("upload_failed") == 1, tail
        me = ada.get("/api/v1/me")
        assert "1048576" in str(me), me
        disk.settle(h)
        h.clean()


if __name__ == "__main__":
    if os.geteuid() == 0 and subprocess.run(["losetup", "-f"], capture_output=True).returncode:
        print("1..0 # SKIP needs loop devices")
        sys.exit(0)
    hub.main([one_disk_for_everything, of_its_own("registrar", 160), of_its_own("registrar/log", 120), of_its_own("storer", 100), of_its_own("keeper", 16),
              quota_is_507_and_nothing_stays])
