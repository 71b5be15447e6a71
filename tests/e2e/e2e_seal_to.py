#!/usr/bin/env python3
"""Results sealed to the owner's own public key: no password, no claim, and nobody else can read them, the hub included."""
import base64
import hashlib
import io
import json
import os
import secrets
import subprocess
import sys
import tarfile
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))
import crypt4gh  # noqa: E402
import hub  # noqa: E402
from cryptography.exceptions import InvalidTag  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: E402

FILES = {"chr22.dose.vcf.gz", "chr22.dose.vcf.gz.tbi", "chr22.quality-report.txt"}


class Age:
    kind, suffix = "age", "tar.age"

    def __init__(self, directory, name="age.key"):
        self.path = os.path.join(directory, name)
        subprocess.run(["age-keygen", "-o", self.path], check=True, capture_output=True)
        self.public = subprocess.run(["age-keygen", "-y", self.path], check=True, capture_output=True, text=True).stdout.strip()
        self.secret = open(self.path).read()

    def open(self, sealed):
        p = subprocess.run(["age", "-d", "-i", self.path], input=sealed, capture_output=True)
        return p.stdout if p.returncode == 0 else None


class Crypt4gh:
    kind, suffix = "crypt4gh", "tar.c4gh"

    def __init__(self, directory, name="c4gh.pub"):
        self.secret = secrets.token_bytes(32)
        self.raw = crypt4gh.public_of(X25519PrivateKey.from_private_bytes(self.secret))
        self.bare = base64.b64encode(self.raw).decode()
        self.public = "-----BEGIN CRYPT4GH PUBLIC KEY-----\n%s\n-----END CRYPT4GH PUBLIC KEY-----\n" % self.bare

    def open(self, sealed):
        try:
            return crypt4gh.open_bytes(sealed, self.secret)
        except InvalidTag:
            return None


def unpacked(key, sealed):
    """The files of a package, each as its manifest says."""
    plain = key.open(sealed)
    assert plain is not None, "the key's holder can't open it"
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        files = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
        assert all(m.isreg() and m.mode == 0o600 for m in tar.getmembers())
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest == {"format": "sequester-package/1", "files": [{"name": n, "bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for n, b in files.items()]}
    assert set(files) == FILES, set(files)
    return files


def claimed(ada, job):
    """The files of an ordinary package."""
    password = ada.claim(job)
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "p.zip")
        open(path, "wb").write(ada.package(job))
        subprocess.run(["7z", "x", "-p" + password, "-o" + d, path], check=True, capture_output=True)
        return {n: open(os.path.join(d, n), "rb").read() for n in FILES}


def same(a, b):
    """Two runs of one upload: all but the lines that name the run itself."""
    for name in ("chr22.dose.vcf.gz", "chr22.quality-report.txt"):
        x, y = (subprocess.run(["gzip", "-cd"], input=f[name], capture_output=True, check=True).stdout if name.endswith("gz") else f[name] for f in (a, b))
        assert x == y and len(x) > 100, name


def is_left(ada, job):
    """How many objects the hub can still open for this job: the package (which it can't read) and the report."""
    receipts = ada.get("/api/v1/jobs/%s/receipt" % job)["receipts"]
    return [line.split()[-1] for r in receipts for line in r.splitlines() if line.startswith("kind")]


def events_of(user, job):
    return [e["event"] for e in user.get("/api/v1/jobs/%s/audit?limit=100" % job)["data"]]


def test_age_and_crypt4gh():
    with hub.Hub() as h, tempfile.TemporaryDirectory() as d:
        h.panel()
        ada = h.user("ada")
        plain_job = ada.run_job(ada.upload()["id"])
        assert plain_job["seal_to"] is None
        want = claimed(ada, plain_job["id"])
        ada.call("DELETE", "/api/v1/jobs/" + plain_job["id"], status=202)
        ada.wait_job(plain_job["id"], ("erased",))
        for key, wrong in ((Age(d), Age(d, "other")), (Crypt4gh(d), Crypt4gh(d))):
            before = len(h.objects())
            job = ada.run_job(ada.upload()["id"], seal_to=key.public)
            path = "/api/v1/jobs/%s/package" % job["id"]
            assert [x["state"] for x in job["lifecycle"]] == ["queued", "checking", "running", "sealing", "done"], job
            assert job["seal_to"]["kind"] == key.kind and len(job["seal_to"]["fingerprint"]) == 64, job["seal_to"]
            if key.kind == "crypt4gh":
                assert job["seal_to"]["fingerprint"] == hashlib.sha256(key.raw).hexdigest()
            assert job["claim"]["state"] == "confirmed" and job["claim"]["claims"] == 0 and job["claim"]["package"]["state"] == "ready", job["claim"]
            assert job["tasks"][-1]["stage"] == "package" and job["tasks"][-1]["state"] == "done"
            # nobody asked for a password, and nobody can
            a = ada.call("POST", "/api/v1/jobs/%s/claim" % job["id"], {"password": ada.password}, status=409)
            assert "own key" in a.json["detail"], a
            ada.call("POST", "/api/v1/jobs/%s/claim/confirm" % job["id"], {"check": "x"}, status=409)
            a = ada.call("GET", path, status=200)
            assert a.headers["Content-Disposition"].endswith('"%s.%s"' % (job["id"], key.suffix)) and a.headers["Content-Type"] == "application/octet-stream", a.headers
            part = ada.call("GET", path, status=206, headers={"Range": "bytes=7-99"})
            assert part.body == a.body[7:100]
            ada.call("GET", path, status=304, headers={"If-None-Match": a.headers["ETag"]})
            same(unpacked(key, a.body), want)
            assert wrong.open(a.body) is None
            # the hub's own copy is gone: key slots and files; report and package are what is left
            hub.wait_for("the vault copy to go", lambda: len(h.objects()) == before + 2, 30)
            assert {"upload", "genotypes", "ids", "kept", "header", "body", "final_index"} <= set(is_left(ada, job["id"])), is_left(ada, job["id"])
            assert b"145" in ada.call("GET", "/api/v1/jobs/%s/report" % job["id"], status=200).body
            names = events_of(ada, job["id"])
            assert "result_sealed_to" in names and "result_claimed" not in names and "package_built" not in names, names
            h.clean()
            ada.call("DELETE", "/api/v1/jobs/" + job["id"], status=202)
            gone = ada.wait_job(job["id"], ("erased",))
            assert gone["seal_to"] is None
            ada.call("GET", path, status=410)
        hub.wait_for("only the panel to be left", lambda: len(h.objects()) == 1, 30)
        h.verify_log()


def test_refused():
    with hub.Hub() as h, tempfile.TemporaryDirectory() as d:
        h.panel()
        ada = h.user("ada")
        age, c4gh = Age(d), Crypt4gh(d)
        up = ada.upload()["id"]
        hub.wait_for("the check", lambda: ada.get("/api/v1/uploads/" + up)["state"] == "ready", 60)

        def refused(key, why, **more):
            a = ada.call("POST", "/api/v1/jobs", dict({"upload": up, "panel": "1kgp3-chr22", "seal_to": key}, **more), status=400)
            assert a.json["field"] == "seal_to" and why in a.json["detail"], a
            return a
        private = [line for line in age.secret.splitlines() if line.startswith("AGE-SECRET")][0]
        pem = "-----BEGIN CRYPT4GH PRIVATE KEY-----\n%s\n-----END CRYPT4GH PRIVATE KEY-----\n" % base64.b64encode(secrets.token_bytes(150)).decode()
        for text in (age.secret, private, private.lower(), pem):
            a = refused(text, "private key")
            assert private.encode() not in a.body and pem.splitlines()[1].encode() not in a.body
        for text in ("", "age1", age.public[:-1], age.public + "\n" + age.public, c4gh.bare[:-4], "ssh-ed25519 AAAA", 7, ["x"], {}, "x" * 5000):
            refused(text, "public key")
        refused(base64.b64encode(bytes(32)).decode(), "sealed to")  # a point of small order
        refused(age.public, "quality control", mode="qc")
        assert private not in h.log() and pem.splitlines()[1] not in h.log()
        # a bare Crypt4GH key, and null for none, are taken
        job = ada.submit(up, seal_to=c4gh.bare)
        assert ada.get("/api/v1/jobs/" + job)["seal_to"]["kind"] == "crypt4gh"
        ada.call("DELETE", "/api/v1/jobs/" + job, status=202)
        up = ada.upload()["id"]
        assert ada.get("/api/v1/jobs/" + ada.submit(up, seal_to=None))["seal_to"] is None


def test_required():
    """`seal_to = required`: no job that would end in a zip is taken, whoever asks and however, and none is made."""
    with hub.Hub(settings={"seal_to": "required"}) as h, tempfile.TemporaryDirectory() as d:
        h.panel()
        ada = h.user("ada")
        key = Age(d)
        assert ada.get("/api/v1/server")["seal_to"] == "required"
        status = subprocess.run([hub.CLI, "admin", "status", "--run-dir", os.path.dirname(h.admin_path)], capture_output=True, text=True, check=True).stdout
        assert "sealed to keys of users' own alone (seal_to = required)" in status, status
        up = ada.upload()["id"]
        token = ada.call("POST", "/api/v1/me/tokens", {"name": "x", "scopes": ["write"], "days": 1, "password": ada.password}, status=201).json["token"]
        for more in ({}, {"seal_to": None}, {"mode": "imputation"}, {"phasing": "no_phasing"}):
            for by in (ada.token, token):
                a = h.request("POST", "/api/v1/jobs", dict({"upload": up, "panel": "1kgp3-chr22"}, **more), token=by)
                assert a.status == 400 and a.json["code"] == "ENEEDKEY" and "age-keygen" in a.json["hint"] and "--seal-to" in a.json["hint"], a
        p = ada.cli("submit", "--upload", up, "--panel", "1kgp3-chr22", check=False)
        assert p.returncode == 1 and "key of your own" in p.stderr and "age-keygen -o key.txt" in p.stderr, p.stderr
        assert ada.get("/api/v1/jobs")["data"] == []
        job = ada.run_job(up, seal_to=key.public)
        unpacked(key, ada.package(job["id"]))
        ada.call("POST", "/api/v1/jobs/%s/claim" % job["id"], {"password": ada.password}, status=409)
        # quality control alone ends in no result
        qc = ada.run_job(ada.upload()["id"], mode="qc")
        assert qc["state"] == "done" and qc["seal_to"] is None, qc
        ada.call("POST", "/api/v1/jobs/%s/claim" % qc["id"], {"password": ada.password}, status=409)
        assert "package_built" not in json.dumps(ada.get("/api/v1/me/audit?limit=100"))


FAULTS = ["seal_to.1", "seal_to.2", "seal_to.3", "seal_to.4", "runner.mid_task:package"]  # all registrar's but the last


def test_killed_at_each_step():
    """Whoever dies while it is packed: one package comes of it, which opens, and nothing else is left."""
    with hub.Hub() as h, tempfile.TemporaryDirectory() as d:
        h.panel()
        ada = h.user("ada")
        key = Age(d)
        want = None
        for fault in FAULTS:
            before = len(h.objects())
            job = ada.submit(ada.upload()["id"], seal_to=key.public)
            hits = h.fault_hits()
            h.arm(fault)
            j = hub.wait_for("job after " + fault, lambda: (lambda j: j if j["state"] in ("done", "failed") else None)(patient(ada, job)), 180)
            assert h.fault_hits() > hits, fault
            assert j["state"] == "done", (fault, j)
            files = unpacked(key, ada.package(job))
            same(files, want or files)
            want = files
            hub.wait_for("the rest to go after " + fault, lambda: len(h.objects()) == before + 2, 60)
            h.clean()
        h.verify_log()


def patient(user, job):
    """The job, whoever is being started again meanwhile."""
    def get():
        try:
            a = user.call("GET", "/api/v1/jobs/" + job)
        except OSError:
            return None
        return a.json if a.status == 200 else None
    return hub.wait_for("an answer", get, 60)


def test_cannot_be_packed():
    """Tried again a few times, then the job fails with a reason, and nothing of the result stays."""
    with hub.Hub() as h, tempfile.TemporaryDirectory() as d:
        h.panel()
        ada = h.user("ada")
        up = ada.upload()["id"]
        h.arm("seal_to.1", code=EIO, times=2)  # an error that comes again
        job = ada.submit(up, seal_to=Age(d).public)
        hub.wait_for("two tries", lambda: not h.is_armed(), 120)
        j = ada.wait_job(job)
        assert j["state"] == "failed" and j["error"]["code"] == "EIO" and j["error"]["field"] == "seal_to", j
        hub.wait_for("all to go", lambda: len(h.objects()) == 2, 60)  # panel, report
        ada.call("GET", "/api/v1/jobs/%s/package" % job, status=404)
        h.clean()


def test_cancelled_while_packed():
    with hub.Hub() as h, tempfile.TemporaryDirectory() as d:
        h.panel()
        ada = h.user("ada")
        job = ada.submit(ada.upload()["id"], seal_to=Age(d).public)
        hub.wait_for("sealing", lambda: ada.get("/api/v1/jobs/" + job)["state"] in ("sealing", "done"), 120)
        a = ada.call("POST", "/api/v1/jobs/%s/cancel" % job)
        assert a.status in (202, 409), a
        if a.status == 202:
            hub.wait_for("all to go", lambda: len(h.objects()) == 1, 60)
        h.clean()


def test_command_line():
    with hub.Hub() as h, tempfile.TemporaryDirectory() as d:
        h.panel()
        ada = h.user("ada")
        age, c4gh = Age(d), Crypt4gh(d)
        up = ada.upload()["id"]
        start = ("submit", "--upload", up, "--panel", "1kgp3-chr22", "--seal-to")
        n = h.log().count("route=job_submit")
        p = ada.cli(*start, age.path, check=False)  # the private key's own file, though a remark in it holds the public one
        assert p.returncode == 1 and "private key" in p.stderr and "AGE-SECRET" not in p.stdout + p.stderr, p.stderr
        for bad in ("age1" + "q" * 58, os.path.join(d, "none"), d, "/dev/zero", "x" * 44):
            assert ada.cli(*start, bad, check=False).returncode == 1, bad
        assert h.log().count("route=job_submit") == n  # nothing was sent
        for args, words in ((("--upload", up, "--panel", "none"), "sequester: panel is not a panel of this server: see `sequester panels`"),
                            (("--upload", "12", "--panel", "1kgp3-chr22"), "sequester: upload is not an upload of yours: see `sequester uploads`"),
                            (("--upload", up, "--panel", "1kgp3-chr22", "--population", "X"), "sequester: population is not a population of this panel")):
            p = ada.cli("submit", *args, check=False)  # what was typed wrong, and where to look
            assert p.returncode == 1 and p.stderr.startswith(words) and "hint: sequester submit --help" in p.stderr, p.stderr
        for path, words in ((os.path.join(d, "none"), "No such file"), (d, "no ordinary file")):
            p = ada.cli("upload", path, check=False)
            assert p.returncode == 1 and words in p.stderr and path in p.stderr, p.stderr
        public = os.path.join(d, "age.pub")
        open(public, "w").write("# mine\n\n" + age.public + "\n")
        job = ada.cli(*start, public).stdout.strip()
        ada.cli("status", job, "--watch")
        assert "age key" in ada.cli("status", job).stdout
        p = ada.cli("claim", job, check=False)
        assert p.returncode == 1 and "own key" in p.stderr, p.stderr
        out = os.path.join(d, "out")
        p = ada.cli("claim", job, "--download", "-o", out, "--password-out", os.path.join(d, "no"))
        package = os.path.join(out, job + ".tar.age")
        assert "age -d -i key.txt %s | tar x" % package in p.stdout and not os.path.exists(os.path.join(d, "no")), p.stdout
        subprocess.run("age -d -i %s %s | tar x -C %s" % (age.path, package, out), shell=True, check=True)  # as it says
        assert set(os.listdir(out)) == FILES | {"manifest.json", job + ".tar.age"}
        pem = os.path.join(d, "c4gh.pub")
        open(pem, "w").write(c4gh.public)
        job = ada.cli("submit", "--upload", ada.upload()["id"], "--panel", "1kgp3-chr22", "--seal-to", pem).stdout.strip()
        ada.cli("status", job, "--watch")
        path = os.path.join(d, "x.c4gh")
        assert "crypt4gh decrypt --sk key < %s | tar x" % path in ada.cli("download", job, "-o", path).stdout
        unpacked(c4gh, open(path, "rb").read())


def number_of(code):
    import re
    text = open(os.path.join(hub.ROOT, "src/lib/core/err.def")).read()
    return int(re.search(r"SQ_ERR\(%s,\s*(\d+)" % code, text).group(1))


EIO = number_of("EIO")

if __name__ == "__main__":
    hub.main([test_age_and_crypt4gh, test_refused, test_required, test_killed_at_each_step, test_cannot_be_packed, test_cancelled_while_packed, test_command_line])
