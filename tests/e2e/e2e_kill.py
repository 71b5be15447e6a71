#!/usr/bin/env python3
"""kill -9 of each process while a job runs and while an upload comes in; the parent's death; a keeper that stays sealed.

A job that was disturbed ends as an undisturbed one: its dosages are the same, record by record. An upload that was cut
off is failed and its bytes are erased.
"""
import hashlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import disk  # noqa: E402
import hub  # noqa: E402

PASSPHRASE = "a passphrase of this test only, 47"
MARK = "----sequester-test"
EIO = 2  # err.def
N_KEPT = 1  # the panel


def patient(call, good, seconds=40):
    until = time.monotonic() + hub.PATIENCE * seconds
    while True:
        try:
            a = call()
            if a.status in good:
                return a
            assert a.status in (429, 503), a
        except (OSError, http.client.HTTPException) as e:
            a = e
        assert time.monotonic() < until, a
        time.sleep(0.1)


def get(ada, path):
    return patient(lambda: ada.call("GET", path), (200,)).json


def wait_stage(ada, job, stage):
    """Until a task of this stage runs; the sandbox may be a moment behind. False: the job was done before we came by, on a machine that is busy with other things."""
    def runs():
        j = get(ada, "/api/v1/jobs/" + job)
        assert j["state"] not in ("failed", "cancelled"), j
        return "runs" if any(t["stage"] == stage and t["state"] == "running" for t in j["tasks"]) else "over" if j["state"] == "done" else None
    is_running = hub.wait_for("stage %s" % stage, runs, 60) == "runs"
    if not is_running:
        sys.stderr.write("# stage %s was over before it was seen\n" % stage)
    return is_running


def wait_end(ada, job, seconds=90):
    def over():
        j = get(ada, "/api/v1/jobs/" + job)
        return j if j["state"] in ("done", "failed", "cancelled") else None
    return hub.wait_for("the job's end", over, seconds)


def records(ada, job):
    """SHA-256 of all records of the job's dosage file, as bcftools prints them."""
    password = ada.claim(job)
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "p.zip")
        with open(path, "wb") as f:
            f.write(ada.package(job))
        p = subprocess.run(["7z", "x", "-p" + password, "-o" + d, path], capture_output=True, text=True)
        assert p.returncode == 0, p.stdout
        q = subprocess.run(["bcftools", "query", "-f", "%CHROM\t%POS\t%REF\t%ALT\t%INFO/AF[\t%GT:%DS:%GP]\n", os.path.join(d, "chr22.dose.vcf.gz")],
                           capture_output=True)
        assert q.returncode == 0 and len(q.stdout) > 100000, q.stderr
        return hashlib.sha256(q.stdout).hexdigest()


def test_kill_mid_job():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        plain = ada.run_job(ada.upload()["id"])["id"]
        want = records(ada, plain)
        ada.call("DELETE", "/api/v1/jobs/" + plain, status=202)
        ada.wait_job(plain, ("erased",))
        for role in hub.ROLES:
            begun = time.monotonic()
            up = patient(lambda: ada.upload_raw(open(hub.TARGET, "rb").read(), "t.vcf.gz"), (201,)).json["id"]
            hub.wait_for("a ready upload", lambda: get(ada, "/api/v1/uploads/" + up)["state"] == "ready", 60)
            job = patient(lambda: ada.call("POST", "/api/v1/jobs", {"upload": up, "panel": "1kgp3-chr22"}), (201,)).json["id"]
            wait_stage(ada, job, "impute")
            h.kill(role)
            j = wait_end(ada, job)
            assert j["state"] == "done", (role, j)  # gateway has no part in it; the others' tasks are tried again
            h.wait_up()
            assert records(ada, job) == want, role
            patient(lambda: ada.call("DELETE", "/api/v1/jobs/" + job), (202,))
            ada.wait_job(job, ("erased",))
            sys.stderr.write("# mid-job %-10s %.1f s, tries %r\n" % (role, time.monotonic() - begun, [t["tries"] for t in j["tasks"]]))
        disk.settle(h, N_KEPT)


def test_what_is_counted():
    """What our own processes' end costs isn't held against the data: a task that lost runner five times may still crash once."""
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        ready = [ada.upload()["id"] for _ in range(2)]
        for crashes, state in ((1, "done"), (2, "failed")):
            held = h.hold("runner.mid_task:qc")
            job = ada.submit(ready.pop())
            for n in range(5):
                hub.wait_for("the task in runner", lambda: h.is_held(held), 60)
                if n < 4:
                    held = h.hold("runner.mid_task:qc")  # the next runner's, before there is one
                else:
                    h.arm("runner.mid_task:qc", EIO, times=crashes)
                h.kill("runner")
            hub.wait_for("%d errors" % crashes, lambda: not h.is_armed(), 60)
            j = wait_end(ada, job)
            assert j["state"] == state, j
            assert next(t["tries"] for t in j["tasks"] if t["stage"] == "qc") > 5 + crashes - (state == "failed"), j["tasks"]  # and those that found runner away
        assert j["error"]["code"] == "EIO", j


def slow_upload(h, token, data, while_open):
    """An upload that is sent in pieces; while_open() is called in its middle. The answer, or None when it was cut off."""
    head = ("--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"slow.vcf\"\r\nContent-Type: application/octet-stream\r\n\r\n" % MARK).encode()
    tail = ("\r\n--%s--\r\n" % MARK).encode()
    c = http.client.HTTPSConnection("localhost", h.port, context=h.tls, timeout=300)
    try:
        c.putrequest("POST", "/api/upload")
        c.putheader("Authorization", "Bearer " + token)
        c.putheader("Content-Type", "multipart/form-data; boundary=" + MARK)
        c.putheader("Content-Length", str(len(head) + len(data) + len(tail)))
        c.endheaders()
        c.send(head)
        step, killed = 256 << 10, False
        for at in range(0, len(data), step):
            if at >= len(data) // 2 and not killed:
                killed = True
                while_open()
            c.send(data[at:at + step])
        c.send(tail)
        r = c.getresponse()
        return hub.Answer(r.status, r.headers, r.read())
    except (OSError, http.client.HTTPException, ssl.SSLError):
        return None
    finally:
        c.close()


def test_kill_mid_upload():
    data = disk.many_samples(40)
    assert len(data) > 4 << 20
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        for role in hub.ROLES:
            begun = time.monotonic()
            before = {u["id"] for u in get(ada, "/api/v1/uploads")["data"]}

            def kill():
                hub.wait_for("the upload to be known", lambda: {u["id"] for u in get(ada, "/api/v1/uploads")["data"]} - before, 10)
                h.kill(role)
            a = slow_upload(h, ada.token, data, kill)
            h.wait_up()
            new = {u["id"] for u in get(ada, "/api/v1/uploads")["data"]} - before
            assert len(new) == 1, (role, new)
            ident = new.pop()
            if a and a.status == 201:  # a process that has no part in it, or was back in time
                hub.wait_for("a ready upload", lambda: get(ada, "/api/v1/uploads/" + ident)["state"] == "ready", 60)
                patient(lambda: ada.call("DELETE", "/api/v1/uploads/" + ident), (202,))
            else:
                assert a is None or a.status in (409, 503), (role, a)
                u = hub.wait_for("the upload to end", lambda: (lambda u: u if u["state"] == "failed" else None)(get(ada, "/api/v1/uploads/" + ident)), 30)
                assert u["error"], u
                hub.wait_for("its receipt", lambda: get(ada, "/api/v1/uploads/%s/receipt" % ident)["complete"], 30)
            assert a is None or role not in ("gateway",), role  # its connection died with it
            assert role in ("gateway", "registrar", "keeper", "storer") or (a and a.status == 201), (role, a)
            sys.stderr.write("# mid-upload %-10s %.1f s, %s\n" % (role, time.monotonic() - begun, a.status if a else "cut off"))
        disk.settle(h, N_KEPT)


def test_parent_dies():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        pids = [p for r in hub.ROLES for p in h.pids(r)]
        assert len(pids) == len(hub.ROLES)
        for _ in range(8):  # until its sandbox is there to be looked at
            job = ada.submit(ada.upload()["id"])
            wait_stage(ada, job, "impute")
            workers = hub.wait_for("the sandbox, or the job's end", lambda: disk.workers(h) or get(ada, "/api/v1/jobs/" + job)["state"] == "done" and "none", 60)
            if workers != "none":
                break
            ada.call("DELETE", "/api/v1/jobs/" + job, status=202)
            ada.wait_job(job, ("erased",))
        assert workers != "none"
        begun = time.monotonic()
        h.parent.kill()
        h.parent.wait(10)
        hub.within("all processes to end", lambda: not any(h.pids(r) for r in hub.ROLES), 5)
        hub.within("the sandbox to end", lambda: not (workers & disk.workers(h)), max(1, 6 - (time.monotonic() - begun)))
        h.start()
        assert wait_end(ada, job)["state"] == "done"  # it goes on by itself
        assert records(ada, job)
        ada.call("DELETE", "/api/v1/jobs/" + job, status=202)
        ada.wait_job(job, ("erased",))
        disk.settle(h, N_KEPT)


def test_passphrase():
    with hub.Hub(key_backend="passphrase") as h:
        def sealed():
            """Everything says 503 and ESEALED."""
            a = h.request("GET", "/healthz")
            assert a.status == 503 and a.json["state"] == "sealed", a
            a = h.request("POST", "/api/v1/login", {"name": "ada", "password": "x"})
            assert a.status == 503 and a.json["code"] == "ESEALED", a
        hub.wait_for("an answer", lambda: is_sealed(h), 30)
        sealed()
        assert h.admin("unseal", {"passphrase": "short"})[0] != 0
        hub.wait_for("unsealed", lambda: h.admin("unseal", {"passphrase": PASSPHRASE})[0] == 0, 20)  # the first one creates
        h.wait_up()
        h.panel()
        ada = h.user("ada")
        up = ada.upload()["id"]
        job = ada.run_job(up)["id"]
        second = ada.upload()["id"]
        running = ada.submit(second)
        wait_stage(ada, running, "impute")
        h.kill("keeper")
        hub.wait_for("sealed again", lambda: is_sealed(h), 20)
        sealed_by_token = ada.call("GET", "/api/v1/jobs/" + job)
        assert sealed_by_token.status == 503 and sealed_by_token.json["code"] == "ESEALED", sealed_by_token
        assert ada.call("GET", "/api/v1/jobs/%s/package" % job).status == 503
        gone = ada.call("DELETE", "/api/v1/jobs/" + job)
        assert gone.status == 503, gone  # who asks can't be known while the addresses of events can't be sealed
        code, answer = h.admin("unseal", {"passphrase": "not the passphrase at all"})
        assert code != 0 and answer["code"] in ("EPASSWORD",), (code, answer)
        assert is_sealed(h)
        hub.wait_for("unsealed", lambda: h.admin("unseal", {"passphrase": PASSPHRASE})[0] == 0, 20)  # after the back-off
        h.wait_up()
        assert records(ada, job)  # what was acknowledged is there
        j = wait_end(ada, running)
        assert j["state"] == "done" or (j["state"] == "failed" and j["error"]["code"]), j
        for ident in (job, running):
            ada.call("DELETE", "/api/v1/jobs/" + ident, status=202)
            ada.wait_job(ident, ("erased",))
        disk.settle(h, N_KEPT)


def is_sealed(h):
    try:
        a = h.request("GET", "/healthz")
        return a.status == 503 and json.loads(a.body).get("state") == "sealed"
    except (OSError, ValueError, http.client.HTTPException):
        return False


if __name__ == "__main__":
    tests = [test_what_is_counted, test_kill_mid_job, test_kill_mid_upload, test_parent_dies, test_passphrase]
    hub.main([t for t in tests if not sys.argv[1:] or t.__name__ in sys.argv[1:]])
