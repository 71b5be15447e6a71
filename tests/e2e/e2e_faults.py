#!/usr/bin/env python3
"""Every numbered step of the commit protocol (DESIGN 2a), and the steps inside keeper, storer, runner and the log: a process
dies exactly there, and afterwards nothing acknowledged is lost and nothing is half visible.

One hub serves many faults, as an operator's would. After each: the named fault was hit, the process that died came back,
the owner's work can be repeated and ends well, what was acknowledged is there. After each group: no file without a row, no
row without its file or key, and both verifiers accept the audit log.

Arguments: names of faults, to try only these.
"""
import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import disk  # noqa: E402
import hub  # noqa: E402

DATA = open(hub.TARGET, "rb").read()
AGAIN_S = 40
EIO = 2  # err.def


def patiently(what, call, good, seconds=AGAIN_S):
    """Repeats call() until its answer has a status of `good`; a connection that broke counts as a 503."""
    until = time.monotonic() + hub.PATIENCE * seconds
    last = None
    while True:
        try:
            last = call()
            if last.status in good:
                return last
            assert last.status in (429, 503), (what, last)
        except (OSError, http.client.HTTPException) as e:
            last = e
        assert time.monotonic() < until, ("never answered well", what, last)
        time.sleep(0.1)


class Site:
    """One hub, one owner, and what he was told is done."""

    def __init__(self, h):
        self.h = h
        h.panel()
        self.ada = h.user("ada")
        self.kept = []   # uploads that were acknowledged with 201 and not erased since
        self.ended = []  # jobs that were acknowledged

    # ---- the operations, each repeated until it goes through; each returns once its effects are whole ----
    def upload(self):
        a = patiently("upload", lambda: self.ada.upload_raw(DATA, "target.vcf.gz"), (201,))
        ident = a.json["id"]
        self.wait_upload(ident, ("ready",))
        self.kept.append(ident)
        return ident

    def get(self, path):
        return patiently(path, lambda: self.ada.call("GET", path), (200,)).json

    def wait_upload(self, ident, states):
        return hub.wait_for("upload %s" % "/".join(states), lambda: self.get("/api/v1/uploads/" + ident)["state"] in states, AGAIN_S)

    def wait_job(self, ident, states):
        def over():
            j = self.get("/api/v1/jobs/" + ident)
            assert j["state"] in states or j["state"] not in ("failed", "cancelled", "erased"), j
            return j if j["state"] in states else None
        return hub.wait_for("job %s" % "/".join(states), over, 60)

    def job(self, **more):
        """A job from a ready upload to its end, or to the end of the upload's use when it is repeated."""
        up = self.kept.pop() if self.kept else self.upload_only()
        body = dict({"upload": up, "panel": "1kgp3-chr22"}, **more)
        a = patiently("submit", lambda: self.ada.call("POST", "/api/v1/jobs", body), (201, 409))
        if a.status == 409:  # it was done before the answer was lost
            ident = next(j["id"] for j in self.get("/api/v1/jobs")["data"] if j["state"] not in ("erased", "erasing") and j["id"] not in self.ended)
        else:
            ident = a.json["id"]
        self.wait_job(ident, ("done",))
        self.ended.append(ident)
        return ident

    def upload_only(self):
        self.upload()
        return self.kept.pop()

    def claim(self, job):
        """A claim whose package opens with the password that was shown."""
        until = time.monotonic() + 60 * hub.PATIENCE
        while True:
            a = patiently("claim", lambda: self.ada.call("POST", "/api/v1/jobs/%s/claim" % job, {"password": self.ada.password}), (200, 409))
            password = a.json.get("password") if a.status == 200 else None

            def packed():
                c = self.get("/api/v1/jobs/" + job)["claim"] or {}
                state = (c.get("package") or {}).get("state", "gone")
                return state if state != "building" else None
            if password and hub.wait_for("the package", packed, 40) == "ready":
                break
            assert time.monotonic() < until, "no claim ends in a package"
        with tempfile.NamedTemporaryFile(suffix=".zip") as f:
            f.write(self.download(job))
            f.flush()
            p = subprocess.run(["7z", "t", "-p" + password, f.name], capture_output=True, text=True)
            assert p.returncode == 0, p.stdout[-500:]

    def download(self, job):
        a = patiently("download", lambda: self.ada.call("GET", "/api/v1/jobs/%s/package" % job), (200,))
        assert len(a.body) == int(a.headers["Content-Length"])
        return a.body

    def delete(self, job):
        patiently("delete", lambda: self.ada.call("DELETE", "/api/v1/jobs/" + job), (202,))
        self.wait_job(job, ("erased",))
        a = patiently("package", lambda: self.ada.call("GET", "/api/v1/jobs/%s/package" % job), (404, 410))
        assert a.status in (404, 410)
        hub.wait_for("all receipts", lambda: self.get("/api/v1/jobs/%s/receipt" % job)["complete"], 30)

    def delete_upload(self):
        ident = self.kept.pop() if self.kept else self.upload_only()
        patiently("delete upload", lambda: self.ada.call("DELETE", "/api/v1/uploads/" + ident), (202,))
        self.wait_upload(ident, ("erased",))

    # ---- one fault ----
    def fault(self, name, operation, code=None):
        before, deaths = self.h.fault_hits(), self.h.log().count("event=child_ended")
        self.h.arm(name, code)
        begun = time.monotonic()
        result = operation()
        hub.wait_for("fault %s to be hit" % name, lambda: self.h.fault_hits() > before, 20)
        if not code:
            hub.wait_for("the death at %s to be seen" % name, lambda: self.h.log().count("event=child_ended") > deaths, 10)
        hub.wait_for("all processes", lambda: all(self.h.pids(r) for r in hub.ROLES), 20)
        patiently("health", lambda: self.h.request("GET", "/healthz"), (200,))
        sys.stderr.write("# %-22s %.1f s\n" % (name, time.monotonic() - begun))
        return result

    # ---- what must hold whatever died ----
    def whole(self):
        """What was acknowledged is there; rows, files and keys name the same objects; nothing is damaged; the log verifies."""
        for up in self.kept:
            assert self.get("/api/v1/uploads/" + up)["state"] == "ready", up
        disk.settle(self.h)


# fault, and the operation that comes to it
REGISTRAR = [
    ("commit.before_commit", "upload"), ("commit.before_log", "upload"), ("commit.after_log", "upload"), ("db.commit", "upload"),
    ("create.1", "upload"), ("create.2", "upload"), ("create.3", "upload"),
    ("destroy.2", "delete_upload"), ("destroy.3", "delete_upload"), ("destroy.4", "delete_upload"),
    ("commit.before_commit", "delete_upload"), ("commit.before_log", "delete_upload"), ("commit.after_log", "delete_upload"),
    ("job.begin", "job"), ("task.1", "job"), ("task.2", "job"), ("task.3", "job"), ("keep_until.1", "job"),
    ("commit.before_log", "job"), ("commit.after_log", "job"),
]
CLAIM = [("claim.1", "claim"), ("claim.2", "claim"), ("claim.3", "claim"), ("commit.before_log", "claim"), ("commit.after_log", "claim"),
         ("runner.mid_task", "claim"), ("runner.before_seal", "claim"), ("runner.before_ended", "claim"),
         ("reveal.1", "download"), ("runner.mid_stream", "download"), ("commit.before_log", "download"), ("commit.after_log", "download"),
         ("destroy.3", "delete"), ("destroy.4", "delete"), ("commit.before_log", "delete")]
STORER = [
    ("create.3a", "upload"), ("create.3b", "upload"), ("store.sync", "upload"),
    ("store.overwrite", "delete_upload"), ("store.verify", "delete_upload"), ("destroy.4a", "delete_upload"), ("store.unlink", "delete_upload"),
    ("destroy.4b", "delete_upload"),
]
KEEPER = [
    ("keeper.slot_write", "upload"), ("keeper.slot_written", "upload"), ("keeper.before_sign", "upload"),
    ("keeper.header_write", "upload"), ("keeper.header_written", "upload"),
    ("keeper.destroy_half", "delete_upload"), ("keeper.read_back", "delete_upload"),
    ("keeper.slot_write", "job"), ("keeper.slot_written", "job"),
]
LOG = [("audit.write", "upload"), ("audit.sync", "upload"), ("audit.tree", "upload"), ("audit.checkpoint", "upload"),
       ("audit.write", "delete_upload"), ("audit.sync", "job")]
RUNNER = [("vault.write", "upload"), ("runner.mid_task", "job"), ("runner.before_seal", "job"), ("runner.before_ended", "job")]
ONLY = sys.argv[1:]


def chosen(faults):
    return [f for f in faults if not ONLY or f[0] in ONLY]


def run(faults, code=None):
    faults = chosen(faults)
    if not faults:
        return
    with hub.Hub() as h:
        site = Site(h)
        job = None
        for name, operation in faults:
            if operation in ("claim", "download", "delete") and job is None:
                job = site.job()
                if operation != "claim":
                    site.claim(job)
            if operation in ("claim", "download", "delete"):
                site.fault(name, lambda: getattr(site, operation)(job), code)
            elif operation == "job":
                site.delete(site.fault(name, site.job, code))
            elif operation == "delete_upload":
                site.kept or site.upload()
                site.fault(name, site.delete_upload, code)
            else:
                site.fault(name, getattr(site, operation), code)
            if operation == "delete":
                job = None
        site.whole()


def test_registrar_dies():
    run(REGISTRAR)


def test_claim_and_download():
    run(CLAIM)


def test_storer_dies():
    run(STORER)


def test_keeper_dies():
    run(KEEPER)


def test_log_dies():
    run(LOG)


def test_runner_and_gateway_die():
    run(RUNNER)


def test_first_start():
    """Faults of the very first start: the slab grows, the reserves of log and database are made. The hub comes up all the same."""
    for name in ("keeper.grow", "audit.reserve", "db.reserve"):
        if ONLY and name not in ONLY:
            continue
        with contextlib.ExitStack() as stack:
            h = hub.Hub()
            os.makedirs(h.state, mode=0o755, exist_ok=True)
            with open(os.path.join(h.state, "hooks"), "wb") as f:
                f.truncate(4096)
            h.arm(name)
            stack.enter_context(h)
            assert h.fault_hits() == 1, name
            site = Site(h)
            site.upload()
            site.whole()


if __name__ == "__main__":
    hub.main([test_registrar_dies, test_claim_and_download, test_storer_dies, test_keeper_dies, test_log_dies,
              test_runner_and_gateway_die, test_first_start])
