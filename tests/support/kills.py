"""Owners whose hub is killed under them: each keeps account of what was acknowledged, and afterwards all of it must be true.

    o = kills.Owner(h, "ada")
    job = o.whole_job()            # every request is repeated until it goes through
    ...                            # kill -9 anything meanwhile
    kills.settled(h, [o, ...])     # nothing acknowledged is lost or unaudited; admin check, both verifiers
"""
import collections
import hashlib
import http.client
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

import disk
import hub

DATA = open(hub.TARGET, "rb").read()
PANEL = "1kgp3-chr22"
VICTIMS = hub.ROLES + ["parent"]
PATIENCE_S = 600  # of a test that goes wrong: each kill throws work back, and a busy machine is slow to do it again
OVER = ("failed", "cancelled", "erased")


def route_events():
    """[(method, pattern, event)] of routes.def: what a success of each route leaves in the log."""
    text = open(os.path.join(hub.ROOT, "src/lib/http/routes.def")).read()
    rows = re.findall(r'SQ_ROUTE\(\w+,\s*\d+,\s*(\w+),\s*"([^"]+)",\s*\w+,\s*\w+,\s*\w+,\s*\w+,\s*"([^"]+)"', text)
    return [(m, re.compile(re.sub(r"\{id\}", "[A-Za-z0-9-]+", p) + r"(\?.*)?$"), e) for m, p, e in rows]


ROUTES = route_events()


def event_of(method, path):
    return next(e for m, p, e in ROUTES if m == method and p.match(path))


class NotNow(Exception):
    """The answer was no answer: the connection broke, or 429 or 503 came."""


class Owner:
    def __init__(self, h, name):
        self.h, self.user, self.name = h, h.user(name), name
        self.lock = threading.Lock()
        self.acked = collections.Counter()  # event: successes that were answered, whole
        self.at = []                        # (event, audit id of its object): what must be in the log
        self.uploads, self.jobs = {}, {}    # id: what the owner knows of it: live, erased
        self.n_retried = 0

    # ---- requests ----
    def once(self, method, path, body=None, token=None):
        try:
            a = self.user.upload_raw(*body) if method == "UPLOAD" else self.h.request(method, path, body, token=token or self.user.token)
        except (OSError, http.client.HTTPException) as e:
            raise NotNow(repr(e)) from None
        if a.status in (429, 503):
            raise NotNow(repr(a))
        if a.status < 300 and (a.headers.get("Content-Length") is None or len(a.body) == int(a.headers["Content-Length"])):
            with self.lock:
                self.acked[event_of("POST" if method == "UPLOAD" else method, path)] += 1
        return a

    def call(self, method, path, body=None, good=(200,), seconds=PATIENCE_S):
        """Repeated until the answer is one of `good`."""
        until = time.monotonic() + seconds
        while True:
            try:
                a = self.once(method, path, body)
                assert a.status in good, (method, path, a)
                return a
            except NotNow as e:
                self.n_retried += 1
                assert time.monotonic() < until, ("never answered well", method, path, e)
                time.sleep(0.1)

    def get(self, path):
        return self.call("GET", path).json

    def saw(self, event, ident):
        with self.lock:
            self.at.append((event, ident))

    # ---- the life of a sample ----
    def upload(self):
        """A ready upload. One that was cut off is failed, with a reason, and gone; then it is sent again."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                a = self.once("UPLOAD", "/api/upload", (DATA, "target.vcf.gz"))
                assert a.status in (201, 409), a  # 409: it had been given up when its last bytes came
                if a.status == 201:
                    ident = a.json["id"]
                    self.uploads[ident] = "live"
                    self.saw("upload_closed", ident)
                    return self.wait_upload(ident)
            except NotNow as e:
                assert time.monotonic() < until, e
            self.n_retried += 1
            time.sleep(0.1)

    def wait_upload(self, ident):
        def ready():
            u = self.get("/api/v1/uploads/" + ident)
            assert u["state"] in ("checking", "ready"), ("an acknowledged upload", u)
            return u["state"] == "ready"
        hub.wait_for("a ready upload", ready, PATIENCE_S)
        return ident

    def submit(self, upload):
        a = self.call("POST", "/api/v1/jobs", {"upload": upload, "panel": PANEL}, (201, 409))
        if a.status == 409:  # it was done, and the answer was lost
            ident = next(j["id"] for j in self.get("/api/v1/jobs")["data"] if j["upload"] == upload)
        else:
            ident = a.json["id"]
        self.saw("job_submitted", hashlib.sha256(ident.encode()).digest()[:16].hex())
        self.jobs[ident] = "live"
        return ident

    def job(self, ident):
        return self.get("/api/v1/jobs/" + ident)

    def wait_job(self, ident, states, seconds=PATIENCE_S):
        def there():
            j = self.job(ident)
            assert j["state"] in states or j["state"] not in OVER, ("a job that nobody asked to end", j)
            return j if j["state"] in states else None
        return hub.wait_for("job %s" % "/".join(states), there, seconds)

    def claim(self, ident):
        """(password, package's bytes, its digests): claimed again when the package, or the answer with its password, was lost."""
        until = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < until, "no claim ends in a package"
            a = self.call("POST", "/api/v1/jobs/%s/claim" % ident, {"password": self.user.password}, (200, 409))
            if a.status == 200:
                self.saw("result_claimed", hashlib.sha256(ident.encode()).digest()[:16].hex())
                if self.packed(ident):
                    return a.json["password"]
            self.n_retried += 1
            time.sleep(0.2)

    def packed(self, ident):
        def state():
            c = self.job(ident)["claim"] or {}
            s = (c.get("package") or {}).get("state", "gone")
            return s if s != "building" else None
        return hub.wait_for("the package", state, PATIENCE_S) == "ready"

    def download(self, ident):
        a = self.call("GET", "/api/v1/jobs/%s/package" % ident)
        self.saw("download_started", hashlib.sha256(ident.encode()).digest()[:16].hex())
        return a.body

    def confirm(self, ident, check):
        self.call("POST", "/api/v1/jobs/%s/claim/confirm" % ident, {"check": check})
        self.saw("claim_confirmed", hashlib.sha256(ident.encode()).digest()[:16].hex())

    def erase(self, ident):
        self.call("DELETE", "/api/v1/jobs/" + ident, good=(202,))
        self.jobs[ident] = "erased"
        self.saw("job_erased", hashlib.sha256(ident.encode()).digest()[:16].hex())

    def erased(self, ident):
        self.wait_job(ident, ("erased",))
        hub.wait_for("all receipts", lambda: self.get("/api/v1/jobs/%s/receipt" % ident)["complete"], PATIENCE_S)

    def erase_upload(self, ident):
        self.call("DELETE", "/api/v1/uploads/" + ident, good=(202,))
        self.uploads[ident] = "erased"
        self.saw("upload_erased", ident)

    def whole_job(self, confirms=True):
        """From the upload to the receipts; returns the digest of the result."""
        ident = self.submit(self.upload())
        self.wait_job(ident, ("done",))
        password = self.claim(ident)
        digest, check = opened(password, self.download(ident))
        if confirms:
            self.confirm(ident, check)
        self.erase(ident)
        self.erased(ident)
        return digest

    # ---- what must be true afterwards ----
    def events(self):
        """All audit entries about this owner."""
        found, before = [], 0
        while before is not None:
            page = self.get("/api/v1/me/audit?limit=100&before=%d" % before)
            found += page["data"]
            before = page["next"]
        return found

    def account(self):
        """Nothing that was acknowledged is lost or missing in the log."""
        with self.lock:
            acked, at = collections.Counter(self.acked), collections.Counter(self.at)
        log = self.events()
        n = collections.Counter(e["event"] for e in log)
        few = {e: (k, n[e]) for e, k in acked.items() if n[e] < k and e not in ("-", "erase_started")}
        assert not few, ("acknowledged more often than in the log", few)
        n_at = collections.Counter((e["event"], e.get("object")) for e in log)
        assert not at - n_at, ("acknowledged, but not in the log", at - n_at)
        n_over = n["download_ended"] + n["reveal_ended"]
        assert n["download_started"] + n["download_link_used"] == n_over, ("reveals without an end", n["download_started"], n_over)
        for ident, state in self.uploads.items():
            u = self.get("/api/v1/uploads/" + ident)
            assert u["state"] == "erased" or (state == "live" and u["state"] == "ready"), (state, u)
            if u["state"] == "erased":
                assert self.get("/api/v1/uploads/%s/receipt" % ident)["complete"], u
        known = {u["id"]: u for u in self.get("/api/v1/uploads")["data"]}
        for ident, u in known.items():
            assert ident in self.uploads or u["state"] in ("failed", "erased", "ready"), ("cut off, and not ended", u)
            assert u["state"] != "failed" or u["error"], u
        for ident, state in self.jobs.items():
            j = self.job(ident)
            assert (j["state"] == "erased") == (state == "erased") and j["state"] in ("done", "erased"), (state, j)
            assert not j["damaged"], j


def opened(password, package):
    """(digest of the result's files, text of the check entry) of a package."""
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "p.zip")
        with open(path, "wb") as f:
            f.write(package)
        p = subprocess.run(["7z", "x", "-p" + password, "-o" + d, path], capture_output=True, text=True)
        assert p.returncode == 0, p.stdout[-1000:] + p.stderr
        digest = hashlib.sha256()
        for name in ("chr22.dose.vcf.gz", "chr22.dose.vcf.gz.tbi"):
            with open(os.path.join(d, name), "rb") as f:
                digest.update(hashlib.sha256(f.read()).digest())
        with open(os.path.join(d, "sequester-check.txt")) as f:
            return digest.hexdigest(), f.read()


# ---- the killing ----
def kill(h, victim):
    """kill -9 of the process, or of the parent, after which the operator starts the hub again. False: it was down already."""
    if victim != "parent":
        pids = h.pids(victim)
        if not pids:
            return False
        try:
            os.kill(pids[-1], signal.SIGKILL)
        except ProcessLookupError:
            return False
        hub.wait_for("%s to be gone" % victim, lambda: pids[-1] not in h.pids(victim), 20)
        return True
    h.parent.kill()
    h.parent.wait(20)
    return True


def start_again(h):
    hub.wait_for("all processes to end with their parent", lambda: not any(h.pids(r) for r in hub.ROLES), 30)
    h.start(wait_up=False)


def wait_up(h, seconds=60):
    """Every process is there and the hub answers."""
    hub.wait_for("all processes", lambda: all(h.pids(r) for r in hub.ROLES), seconds)
    h.wait_up(seconds)


def checked(h, seconds=60):
    """`admin check` is clean; what is being recovered or erased just now is given its time."""
    last = [None]

    def clean():
        try:
            last[:] = [h.check(seconds=60)]
        except (OSError, ValueError, subprocess.TimeoutExpired) as e:
            last[:] = [(2, repr(e))]
        return last[0][0] == 0
    try:
        hub.wait_for("a clean check", clean, seconds)
    except AssertionError:
        raise AssertionError("admin check: %r" % (last[0],)) from None


def settled(h, owners):
    wait_up(h)
    for o in owners:
        o.account()
    disk.settle(h, seconds=90)
    h.clean()
