#!/usr/bin/env python3
"""The main job, end to end, through the API: upload, impute, claim, download, open, confirm, erase, receipts, audit."""
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402


def test_main_job(uid=None):
    with hub.Hub(uid=uid) as h:
        h.panel()
        ada = h.user("ada")
        up = ada.upload()
        assert up["samples"] == 200 and up["format"] == "vcf.gz" and up["variants"] == 145, up
        job = ada.run_job(up["id"], name="my first job")
        assert job["name"] == "my first job" and [x["state"] for x in job["lifecycle"]] == ["queued", "checking", "running", "sealing", "done"], job
        names = {f["name"] for f in job["files"]}
        assert names == {"chr22.dose.vcf.gz", "chr22.dose.vcf.gz.tbi", "chr22.quality-report.txt"}, names
        # the upload is gone before the job is
        assert ada.get("/api/v1/uploads/" + up["id"])["state"] == "erased"
        password = ada.claim(job["id"])
        package = ada.package(job["id"])
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "p.zip")
            open(path, "wb").write(package)
            p = subprocess.run(["7z", "x", "-p" + password, "-o" + d, path], capture_output=True, text=True)
            assert p.returncode == 0, p.stdout + p.stderr
            wrong = subprocess.run(["7z", "t", "-pWrong-Password-1234", path], capture_output=True, text=True)
            assert wrong.returncode != 0
            assert "AES-256" in subprocess.run(["7z", "l", "-slt", path], capture_output=True, text=True).stdout
            out = os.path.join(d, "chr22.dose.vcf.gz")
            n = subprocess.run(["bcftools", "query", "-l", out], capture_output=True, text=True)
            want = subprocess.run(["bcftools", "query", "-l", hub.TARGET], capture_output=True, text=True)
            assert n.stdout == want.stdout and n.stderr == "", n.stderr  # the ids are back, in order
            region = subprocess.run(["tabix", out, "22:50500000-50600000"], capture_output=True, text=True)
            assert region.returncode == 0 and region.stderr == "" and len(region.stdout) > 1000
            check = open(os.path.join(d, "sequester-check.txt")).read()
        # before the confirmation a second claim works, and makes the first password void
        again = ada.claim(job["id"])
        assert again != password
        ada.call("POST", "/api/v1/jobs/%s/claim/confirm" % job["id"], {"check": check}, status=400)
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "p.zip")
            open(path, "wb").write(ada.package(job["id"]))
            assert subprocess.run(["7z", "t", "-p" + password, path], capture_output=True).returncode != 0
            check = subprocess.run(["7z", "x", "-so", "-p" + again, path, "sequester-check.txt"], capture_output=True, text=True).stdout
        ada.call("POST", "/api/v1/jobs/%s/claim/confirm" % job["id"], {"check": check}, status=200)
        ada.call("POST", "/api/v1/jobs/%s/claim" % job["id"], {"password": ada.password}, status=410)
        assert ada.package(job["id"])  # the package itself stays until its days are over
        ada.call("DELETE", "/api/v1/jobs/" + job["id"], status=202)
        ada.wait_job(job["id"], ("erased",))
        ada.call("GET", "/api/v1/jobs/%s/package" % job["id"], status=410)
        receipts = hub.wait_for("all receipts", lambda: (lambda r: r if r["complete"] else None)(ada.get("/api/v1/jobs/%s/receipt" % job["id"])), 30)
        assert len(receipts["receipts"]) >= 8, len(receipts["receipts"])
        kinds = {line.split()[-1] for r in receipts["receipts"] for line in r.splitlines() if line.startswith("kind")}
        assert {"upload", "genotypes", "ids", "header", "body", "package"} <= kinds, kinds
        named = hashlib.sha256(job["id"].encode()).digest()[:16].hex()  # as the audit log names the job
        jobs = [line.split()[1] for r in receipts["receipts"] for line in r.splitlines() if line.startswith("job ")]
        assert jobs.count(named) >= len(jobs) - 1 and set(jobs) <= {named, "-"}, jobs  # the raw upload went before there was a job
        # no receipt tells what the data was: a mail takes them along
        plain = {hashlib.sha256(open(hub.TARGET, "rb").read()).hexdigest()}
        assert not any(d in r for d in plain for r in receipts["receipts"])
        vkey = h.vkeys()["receipt_vkey"]
        with tempfile.TemporaryDirectory() as d:
            for i, r in enumerate(receipts["receipts"]):
                f = os.path.join(d, "r%d" % i)
                open(f, "w").write(r)
                p = subprocess.run([hub.CLI, "receipt", "verify", f, "--vkey", vkey], capture_output=True, text=True)
                assert p.returncode == 0, p.stdout + p.stderr
            one_for_all(ada, job["id"], receipts, vkey, d)
        events, before = [], 0
        while before is not None:
            page = ada.get("/api/v1/jobs/%s/audit?limit=100&before=%d" % (job["id"], before))
            events += [e["event"] for e in page["data"]]
            before = page["next"]
        for e in ("job_submitted", "result_claimed", "claim_confirmed", "download_started", "job_erased"):
            assert e in events, (e, events)
        # nothing is left but the panel
        assert len(h.objects()) == 1, h.objects()
        h.verify_log()


def one_for_all(ada, job, page, vkey, d):
    """The job's own receipt: alone, with all the others, and never with others than its own."""
    def verify(*notes):
        path = os.path.join(d, "some")
        with open(path, "w") as f:
            f.write("".join(notes))
        p = subprocess.run([hub.CLI, "receipt", "verify", path, "--vkey", vkey, "--json"], capture_output=True, text=True)
        return p.returncode, json.loads(p.stdout or p.stderr)
    whole, singles = page["job_receipt"], page["receipts"]
    lines = sorted("%s %s\n" % (next(x.split()[1] for x in r.splitlines() if x.startswith("object ")), hashlib.sha256(r[:r.index("\n\n") + 1].encode()).hexdigest())
                   for r in singles)
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert "\nreceipts-sha256 %s\n" % digest in whole and "\nobjects %d\n" % len(singles) in whole, whole
    code, j = verify(whole)
    assert code == 0 and j["jobs"][0]["compared"] is False and j["jobs"][0]["objects"] == len(singles), j
    code, j = verify(whole, *reversed(singles))
    assert code == 0 and j["jobs"][0]["compared"] is True, j
    assert verify(whole, *singles[1:])[1]["jobs"][0]["compared"] is False
    assert verify(whole, *singles[1:], singles[2])[1]["jobs"][0]["compared"] is False, "one twice doesn't stand for another"
    assert verify(whole.replace("objects ", "objects 1"), *singles)[0] == 5
    # page by page
    seen, after = [], ""
    while after is not None:
        p = ada.get("/api/v1/jobs/%s/receipt?limit=3%s" % (job, after and "&after=" + after))
        assert len(p["receipts"]) <= 3 and p["count"] == len(singles) and p["job_receipt"] == whole
        seen += p["receipts"]
        after = p["next"]
    assert seen == singles
    ada.call("GET", "/api/v1/jobs/%s/receipt?limit=0" % job, status=400)
    ada.call("GET", "/api/v1/jobs/%s/receipt?after=zz" % job, status=400)


def test_qc_only():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload()["id"], mode="qconly")
        report = ada.call("GET", "/api/v1/jobs/%s/report" % job["id"], status=200)
        assert b"145" in report.body
        ada.call("POST", "/api/v1/jobs/%s/claim" % job["id"], {"password": ada.password}, status=409)


if __name__ == "__main__":
    hub.main([test_main_job, test_qc_only])
