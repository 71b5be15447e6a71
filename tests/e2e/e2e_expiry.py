#!/usr/bin/env python3
"""What must end, ends: results after their days, uploads that nobody used, tokens; by keeper alone when all others are
stopped; and at once what an owner cancels or deletes while it runs."""
import os
import re
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import disk  # noqa: E402
import hub  # noqa: E402
import rows  # noqa: E402

DAY = 86400
N_PANEL = 1  # the panel stays


def receipts(ada, path):
    return hub.wait_for("all receipts", lambda: (lambda r: r["receipts"] if r["complete"] else None)(ada.get(path + "/receipt")), 30)


def wait_running(ada, job, h):
    """Until the imputation's sandbox is at work."""
    hub.wait_for("impute", lambda: any(t["stage"] == "impute" and t["state"] == "running" for t in ada.get("/api/v1/jobs/" + job)["tasks"]), 90)
    return hub.wait_for("its sandbox", lambda: disk.workers(h), 10)


def test_retention():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        done = ada.run_job(ada.upload()["id"])["id"]
        ada.claim(done)
        checked = ada.run_job(ada.upload()["id"], mode="qc")["id"]
        cancelled = ada.submit(ada.upload()["id"])
        ada.call("POST", "/api/v1/jobs/%s/cancel" % cancelled, status=202)
        failed = failing_job(ada)
        before = disk.slots(h)
        h.move_clock(7 * DAY - 1800)  # not yet
        time.sleep(2.5)
        ada.login()
        assert ada.package(done) and ada.get("/api/v1/jobs/" + checked)["state"] == "done"
        h.move_clock(1801)
        ada.login()
        for job in (done, checked, cancelled, failed):
            ada.wait_job(job, ("erased",), 30)
            ada.call("GET", "/api/v1/jobs/%s/package" % job, status=410)
            ada.call("POST", "/api/v1/jobs/%s/claim" % job, {"password": ada.password}, status=410)
        assert ada.call("GET", "/api/v1/jobs/%s/package" % done).json["code"] == "EGONE"
        assert ada.call("GET", "/api/v1/jobs/%s/report" % done).status == 410
        assert len(receipts(ada, "/api/v1/jobs/" + done)) >= 8
        events = [e["event"] for e in ada.get("/api/v1/jobs/%s/audit?limit=100" % done)["data"]]
        assert "expired" in events and "job_erased" in events, events
        disk.settle(h, N_PANEL)
        assert len(before) > len(disk.slots(h)) == N_PANEL


def failing_job(ada):
    """A job that fails for its data's sake: every position lies beside those of the panel."""
    out = []
    for line in disk.many_samples(1).decode().splitlines():
        if not line.startswith("#"):
            cols = line.split("\t")
            cols[1:3] = [str(int(cols[1]) + 1), "."]
            line = "\t".join(cols)
        out.append(line)
    a = ada.upload_raw(("\n".join(out) + "\n").encode(), "beside.vcf")
    assert a.status == 201, a
    job = ada.wait_job(ada.submit(a.json["id"]))
    assert job["state"] == "failed" and job["error"]["code"] == "ENOOVERLAP", job
    return job["id"]


def test_unused_upload():
    with hub.Hub(settings={"upload_hours": "2"}) as h:
        ada = h.user("ada")
        up = ada.upload()["id"]
        hub.wait_for("the raw upload to be erased", lambda: len(h.objects()) == 2, 30)
        h.move_clock(2 * 3600 - 600)
        ada.login()  # half an hour without a request ended the session
        time.sleep(2.5)
        assert ada.get("/api/v1/uploads/" + up)["state"] == "ready"
        h.move_clock(601)
        hub.wait_for("the upload to end", lambda: ada.get("/api/v1/uploads/" + up)["state"] == "erased", 20)
        assert len(receipts(ada, "/api/v1/uploads/" + up)) == 3
        ada.call("POST", "/api/v1/jobs", {"upload": up, "panel": "1kgp3-chr22"}, status=400)
        disk.settle(h, 0)


def all_gone(h, ada, what, jobs=(), uploads=()):
    """The days are over: whatever it was in the middle of, it is erased, with receipts, and only the panel is left."""
    h.move_clock(8 * DAY)
    ada.login()
    for job in jobs:
        j = ada.wait_job(job, ("erased",), 40)
        assert not j["files"] or j["state"] == "erased", (what, j)
        hub.wait_for("the job's receipts", lambda: ada.get("/api/v1/jobs/%s/receipt" % job)["complete"], 30)
    for up in uploads:
        hub.wait_for("%s: the upload to be erased" % what, lambda: ada.get("/api/v1/uploads/" + up)["state"] in ("erased", "failed"), 40)
    hub.wait_for("%s: nothing but the panel" % what, lambda: disk.slots(h) == h.panel_slots and len(h.objects()) == N_PANEL, 30)
    sys.stderr.write("# %s\n" % what)


def test_every_state():
    """S3-17: a job and an upload in each of their states when the last day comes, held there in the middle of a step."""
    data = open(hub.TARGET, "rb").read()
    with hub.Hub(settings={"jobs_per_user": 1, "chunk_mb": 20}) as h:
        h.panel()
        h.panel_slots = disk.slots(h)
        ada = h.user("ada")

        def upload():
            return ada.upload()["id"]

        def state(job):
            return ada.get("/api/v1/jobs/" + job)["state"]

        # uploads: while the bytes come in, while the sandbox reads them, ready, refused
        held = h.hold("create.3")
        over = []
        t = threading.Thread(target=lambda: over.append(ada.upload_raw(data, "t.vcf.gz").status))
        t.start()
        hub.wait_for("an upload that is being closed", lambda: h.is_held(held), 30)
        receiving = [u["id"] for u in ada.get("/api/v1/uploads")["data"] if u["state"] == "receiving"]
        assert len(receiving) == 1
        all_gone(h, ada, "receiving", uploads=receiving)
        h.release(held)
        t.join(30)
        assert over and over[0] in (404, 409, 410), over
        held = h.hold("runner.mid_task:ingest")
        checking = ada.upload_raw(data, "t.vcf.gz").json["id"]  # answers after ten seconds: it is held
        assert ada.get("/api/v1/uploads/" + checking)["state"] == "checking"
        all_gone(h, ada, "checking", uploads=[checking])
        h.release(held)
        all_gone(h, ada, "ready", uploads=[upload()])
        assert ada.upload_raw(b"no genotypes at all\n" * 100, "x.vcf").status == 422
        all_gone(h, ada, "refused", uploads=[u["id"] for u in ada.get("/api/v1/uploads")["data"] if u["state"] == "failed"])

        # jobs: waiting behind another one, and in each stage
        for stage, is_state in (("qc", "checking"), ("impute", "running"), ("finish", "sealing")):
            ups = [upload(), upload()]
            held = h.hold("runner.mid_task:" + stage)
            job = ada.submit(ups[0])
            waiting = ada.submit(ups[1])
            hub.wait_for("stage %s" % stage, lambda: h.is_held(held), 60)
            assert (state(job), state(waiting)) == (is_state, "queued")
            all_gone(h, ada, "%s, and one queued behind it" % is_state, jobs=[job, waiting])
            h.release(held)
            hub.wait_for("its sandbox to be gone", lambda: not disk.workers(h), 20)
        # ended: done, done with a package, refused, cancelled, damaged
        done = ada.run_job(upload())["id"]
        claimed = ada.run_job(upload())["id"]
        ada.claim(claimed)
        failed = failing_job(ada)
        cancelled = ada.submit(upload())
        ada.call("POST", "/api/v1/jobs/%s/cancel" % cancelled, status=202)
        damaged = ada.run_job(upload())["id"]
        disk.settle(h)
        before = set(h.objects())
        newest = max(before, key=os.path.getmtime)
        os.truncate(newest, os.path.getsize(newest) - 1)
        code, a = h.check("--mend")
        assert code == 1 and "damaged" in [f["code"] for f in a["findings"]], a
        assert [state(j) for j in (done, claimed, failed, cancelled, damaged)] == ["done", "done", "failed", "cancelled", "done"]
        all_gone(h, ada, "done, claimed, failed, cancelled, damaged", jobs=[done, claimed, failed, cancelled, damaged])
        disk.settle(h, N_PANEL)
        h.clean()


def test_token_expiry():
    with hub.Hub(settings={"token_hours": "3"}) as h:
        ada = h.user("ada")
        ada.get("/api/v1/me")
        for _ in range(8):
            h.move_clock(1300)
            ada.get("/api/v1/me")
        h.move_clock(100)
        ada.get("/api/v1/me")
        h.move_clock(301)
        a = ada.call("GET", "/api/v1/me")
        assert a.status == 401 and a.json["code"] == "EAUTH", a
        assert ada.upload_raw(b"x").status == 401
        ada.login()
        ada.get("/api/v1/me")


def stopped_hub(h, ada, kill_registrar):
    """Registrar and storer stand still; the days go by; keeper destroys the keys by itself."""
    job = ada.run_job(ada.upload()["id"])["id"]
    ada.claim(job)
    hub.wait_for("what ended with the job to be erased", lambda: h.admin_ok("status")["objects_erasing"] == 0, 20)
    time.sleep(0.5)
    doomed = disk.slots(h) - h.panel_slots
    assert len(doomed) >= 4, doomed
    pids = [h.pid("registrar"), h.pid("storer")]
    n_log = len(h.log())
    try:
        for p in pids:
            os.kill(p, signal.SIGSTOP)
        h.move_clock(7 * DAY + 1)
        hub.wait_for("keeper to destroy the keys", lambda: disk.slots(h) == h.panel_slots, 15)
        hub.wait_for("keeper to have said so", lambda: doomed <= set(re.findall(
            r"role=keeper event=slot_destroyed object=([0-9a-f]{32}) reason=expired", h.log()[n_log:])), 15)
        assert len(h.objects()) > N_PANEL  # nobody else did anything
        if kill_registrar:
            os.kill(pids[0], signal.SIGKILL)
    finally:
        for p in pids:
            try:
                os.kill(p, signal.SIGCONT)
            except ProcessLookupError:
                pass
    h.wait_up()
    ada.login()
    ada.wait_job(job, ("erased",), 30)
    assert len(receipts(ada, "/api/v1/jobs/" + job)) >= 8
    assert "event=object_damaged" not in h.log()  # expired is not damaged
    disk.settle(h, N_PANEL)


def test_keeper_alone():
    with hub.Hub() as h:
        h.panel()
        h.panel_slots = disk.slots(h)
        ada = h.user("ada")
        stopped_hub(h, ada, False)
        stopped_hub(h, ada, True)


def test_delete_and_cancel_while_running():
    data = disk.many_samples(4)
    with hub.Hub() as h:
        h.panel()
        panel = disk.slots(h)
        ada = h.user("ada")
        for verb, path, state in (("DELETE", "", "erased"), ("POST", "/cancel", "cancelled")):
            a = ada.upload_raw(data, "many.vcf")
            assert a.status == 201, a
            hub.wait_for("a ready upload", lambda: ada.get("/api/v1/uploads/" + a.json["id"])["state"] == "ready", 60)
            job = ada.submit(a.json["id"])
            sandbox = wait_running(ada, job, h)
            begun = time.monotonic()
            ada.call(verb, "/api/v1/jobs/%s%s" % (job, path), status=202)
            assert disk.slots(h) == panel  # the keys are gone before the answer
            hub.within("the sandbox to end", lambda: not (sandbox & disk.workers(h)), 5)
            sys.stderr.write("# %s: sandbox gone after %.2f s\n" % (state, time.monotonic() - begun))
            ada.wait_job(job, (state,), 30)
            assert len(receipts(ada, "/api/v1/jobs/" + job)) >= 3
            ada.call("GET", "/api/v1/jobs/%s/package" % job, status=404 if state == "cancelled" else 410)
            disk.settle(h, N_PANEL)
        # nothing of it hinders the next
        assert ada.run_job(ada.upload()["id"])["state"] == "done"


def test_inputs_last_as_long_as_their_job():
    """An upload is kept for a day, a job for seven: one that works for longer, and one that waits behind it, still have what they read."""
    with hub.Hub(settings={"jobs_per_user": 1}) as h:
        h.panel()
        ada = h.user("ada")
        unused, *ups = [ada.upload()["id"] for _ in range(3)]
        held = h.hold("runner.mid_task:qc")
        works, waits = [ada.submit(up) for up in ups]
        hub.wait_for("the first to work", lambda: h.is_held(held), 30)

        def extended():  # event 68: object_extended
            return sum(e[2] == 68 for e in rows.log_entries(os.path.join(h.log_dir(), "log")).values())
        hub.wait_for("its inputs, and those of the one that waits, to get longer", lambda: extended() >= 4, 20)
        pid = h.pid("runner")
        os.kill(pid, signal.SIGSTOP)  # as long as a day
        h.move_clock(DAY + 60)
        h.admin("clock-confirm")
        ada.login()
        hub.wait_for("the unused upload to go", lambda: ada.get("/api/v1/uploads/" + unused)["state"] == "erased", 30)
        assert [ada.get("/api/v1/jobs/" + j)["state"] for j in (works, waits)] == ["checking", "queued"]
        os.kill(pid, signal.SIGCONT)
        h.release(held)
        for job in (works, waits):
            j = ada.wait_job(job, ("done",))
            assert j["lifecycle"][0]["limit_s"] == 7 * DAY, j["lifecycle"]
        assert extended() == 4  # ids and genotypes of each, once; the raw uploads had gone


if __name__ == "__main__":
    tests = [test_inputs_last_as_long_as_their_job, test_retention, test_every_state, test_unused_upload, test_token_expiry, test_keeper_alone, test_delete_and_cancel_while_running]
    hub.main([t for t in tests if not sys.argv[1:] or t.__name__ in sys.argv[1:]])
