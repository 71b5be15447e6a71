#!/usr/bin/env python3
"""The kill matrix: each process is killed in each state of a job, and while another is held at each step of the commit protocol
(DESIGN 2a). The job goes on and ends as an undisturbed one.

One life of a sample passes all points, and at each of them another process is killed; eight lives, each shifted by one, make every pair.
A point is held by a fault hook (core/fault.h) until its victim is dead, so the pairs don't depend on luck. After each kill: all
processes come back, `admin check` is clean. After each life: the digests of the result are those of an undisturbed run, the receipts are
complete. After all: nothing that was acknowledged is lost or missing in the log, both verifiers accept it.

    e2e_kill_matrix.py [all | LIFE ...]    all: also each step with each process, not only two of them; LIFE: these of 0..7
"""
import os
import socket
import ssl
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402
import kills  # noqa: E402

WHOLE = "all" in sys.argv[1:] or os.environ.get("SEQUESTER_KILLS") == "all"
ONLY = [int(a) for a in sys.argv[1:] if a.isdigit()]
SETTINGS = {"chunk_mb": 1, "sandboxes": 1, "jobs_per_user": 4}  # the panel's megabase is cut at 51 Mb: two chunks

# (what is held, name of the state, or None for a step): in the order in which a life passes them. `-`: nothing moves, nothing is held
POINTS = [
    ("create.1", None), ("create.2", None), ("-receiving", "upload receiving"), ("create.3a", None), ("create.3b", None), ("create.3", None),
    ("commit.before_commit", None), ("commit.before_log", None), ("commit.after_log", None),
    ("task.1:ingest", None), ("task.2:ingest", None), ("runner.mid_task:ingest", "ingest"), ("task.3:ingest", None),
    ("job.begin", "queued"),
    ("task.1:qc", None), ("runner.mid_task:qc", "checking"), ("task.3:qc", None),
    ("runner.mid_task:impute", "running, in a chunk"), ("task.3:impute", "running, between chunks"), ("task.2:impute", None),
    ("runner.mid_task:finish", "sealing"), ("task.3:finish", None),
    ("-done", "done"),
    ("claim.1", None), ("claim.2", None), ("runner.mid_task:package", "packaging"), ("claim.3", None), ("-claimed", "claimed"),
    ("reveal.1", None), ("runner.mid_stream", "downloading"),
    ("commit.after_log#confirm", "confirming"),
    ("destroy.2", None), ("destroy.3", None), ("destroy.4a", "erasing"), ("destroy.4b", None), ("destroy.4", None),
    ("-erased", "erased"),
]
# storer, held here, keeps `admin check` waiting: it isn't asked while the next point may already be held
BLOCKS = ("create.3a", "create.3b", "destroy.4a", "destroy.4b")


def victim_of(life, at):
    """Which process life number `life` loses at point `at`; None: none. States: all eight lives; steps: two of them."""
    if not WHOLE and POINTS[at][1] is None and (life + at) % 4:
        return None
    return kills.VICTIMS[(life + 3 * at) % len(kills.VICTIMS)]


class Life:
    def __init__(self, h, owner, number, want):
        self.h, self.owner, self.number, self.want = h, owner, number, want
        self.wait, self.at = None, None  # the hold that is armed, and for which point
        self.kills, self.says = 0, []

    # ---- points ----
    def arm(self, first, last):
        """Arms the first point from `first` to before `last` at which this life loses a process."""
        names = [p[0] for p in POINTS]
        for at in range(names.index(first), names.index(last) if last else len(POINTS)):
            if victim_of(self.number, at) and names[at][0] != "-":
                self.at, self.wait = at, self.h.hold(names[at].split("#")[0])
                return True
        self.at = self.wait = None
        return False

    def lose(self, at, wait=None):
        """The victim of point `at` dies; then what was held goes on."""
        name, victim = POINTS[at][0], victim_of(self.number, at)
        begun = time.monotonic()
        try:
            assert kills.kill(self.h, victim), "%s wasn't there" % victim
            if wait:
                self.h.release(wait)
            if victim == "parent":
                kills.start_again(self.h)
            kills.wait_up(self.h)
            if not (self.at is not None and POINTS[self.at][0] in BLOCKS and self.wait != wait):
                kills.checked(self.h)
        except Exception as e:
            raise AssertionError("life %d at %s, %s killed: %s" % (self.number, name, victim, e)) from e
        finally:
            if wait:
                self.h.release(wait)
        self.kills += 1
        sys.stderr.write("# %d %-26s %-9s %.1f s\n" % (self.number, name, victim, time.monotonic() - begun))

    def rest(self, name):
        """A point where nothing moves."""
        at = [p[0] for p in POINTS].index(name)
        if victim_of(self.number, at):
            self.lose(at)

    def during(self, first, last, what):
        """Does what() and loses processes at all points from `first` to before `last`, each held until its victim is dead."""
        names = [p[0] for p in POINTS]
        end = names.index(last) if last else len(POINTS)
        result, broken, others = [], [], []
        is_armed = self.arm(first, last)

        def work():
            try:
                result.append(what())
            except BaseException as e:
                broken.append(e)
        t = threading.Thread(target=work, daemon=True)
        t.start()
        while is_armed:
            at, wait = self.at, self.wait
            try:
                hub.wait_for("point %s in life %d" % (names[at], self.number), lambda: self.h.is_held(wait) or broken or not t.is_alive(), 120)
            except AssertionError:
                self.h.release(wait)
                raise
            if broken:
                self.h.release(wait)
                break
            if not self.h.is_held(wait):  # passed while the kill before it was looked after, or before it was armed: once more
                t = threading.Thread(target=work, daemon=True)
                t.start()
                continue
            later = [i for i in range(at + 1, end) if victim_of(self.number, i)]
            is_early = bool(later) and not names[later[0]].startswith("commit.")  # before the job moves on to it
            is_armed = is_early and self.arm(names[at + 1], last)
            self.lose(at, wait)
            if later and not is_early:  # every request comes to it, and nothing is answered while it is held
                is_armed = self.arm(names[at + 1], last)
                others.append(threading.Thread(target=self.owner.get, args=("/api/v1/uploads",), daemon=True))
                others[-1].start()
        for o in [t] + others:
            o.join(240)
        assert not t.is_alive(), "it doesn't end: %s" % first
        if broken:
            raise AssertionError("life %d after %s: %r" % (self.number, first, broken[0])) from broken[0]
        return result[-1]

    # ---- what happens in between ----
    def receiving(self):
        """An upload in pieces, cut off in its middle by a kill: 201, or it is failed with a reason."""
        at = [p[0] for p in POINTS].index("-receiving")
        if not victim_of(self.number, at):
            return
        o = self.owner
        before = {u["id"] for u in o.get("/api/v1/uploads")["data"]}
        mark = "----sequester-test"
        head = ("--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"slow.vcf.gz\"\r\n\r\n" % mark).encode()
        tail = ("\r\n--%s--\r\n" % mark).encode()
        n = len(head) + len(kills.DATA) + len(tail)
        answer = b""
        with socket.create_connection(("localhost", self.h.port), 60) as raw:
            try:
                with self.h.tls.wrap_socket(raw, server_hostname="localhost") as s:
                    s.sendall(("POST /api/upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: multipart/form-data; boundary=%s\r\n"
                               "Content-Length: %d\r\nConnection: close\r\n\r\n" % (o.user.token, mark, n)).encode() + head + kills.DATA[:4000])
                    hub.wait_for("the upload to be known", lambda: {u["id"] for u in o.get("/api/v1/uploads")["data"]} - before, 30)
                    self.lose(at)
                    s.sendall(kills.DATA[4000:] + tail)
                    while True:
                        more = s.recv(65536)
                        if not more:
                            break
                        answer += more
            except (OSError, ssl.SSLError):
                pass
        (new,) = {u["id"] for u in o.get("/api/v1/uploads")["data"]} - before
        if answer.startswith(b"HTTP/1.1 201"):
            o.uploads[new] = "live"
            o.saw("upload_closed", new)
            o.wait_upload(new)
            o.erase_upload(new)
        else:
            u = hub.wait_for("the upload to end", lambda: (lambda u: u if u["state"] == "failed" else None)(o.get("/api/v1/uploads/" + new)), 60)
            assert u["error"], u
            hub.wait_for("its receipt", lambda: o.get("/api/v1/uploads/%s/receipt" % new)["complete"], 60)

    def live(self):
        o = self.owner
        self.during("create.1", "-receiving", o.upload)
        self.receiving()
        up = self.during("create.3a", "task.1:ingest", o.upload)
        if any(victim_of(self.number, i) for i, p in enumerate(POINTS) if p[0].endswith(":ingest")):
            up = self.during("task.1:ingest", "job.begin", o.upload)
        job = [None]

        def work():
            job[0] = o.submit(up)
            return o.wait_job(job[0], ("done",))
        j = self.during("job.begin", "-done", work)
        job = job[0]
        tries = {"%s%s" % (t["stage"], t.get("chunk", "")): t["tries"] for t in j["tasks"]}
        self.rest("-done")
        password = self.during("claim.1", "-claimed", lambda: o.claim(job))
        self.rest("-claimed")
        package = self.during("reveal.1", "commit.after_log#confirm", lambda: o.download(job))
        digest, check = kills.opened(password, package)
        assert digest == self.want, "life %d: the result isn't that of an undisturbed run" % self.number
        self.during("commit.after_log#confirm", "destroy.2", lambda: o.confirm(job, check))

        def erase():
            o.erase(job)
            o.erased(job)
        self.during("destroy.2", "-erased", erase)
        self.rest("-erased")
        o.erased(job)
        sys.stderr.write("# life %d: %d kills, tries %r, %d requests repeated\n" % (self.number, self.kills, tries, o.n_retried))


def some_lives(numbers, broken):
    """One hub for these lives, one after another."""
    try:
        with hub.Hub(settings=SETTINGS) as h:
            h.panel()
            calm = kills.Owner(h, "calm")
            want = calm.whole_job()
            owners = [calm]
            for n in numbers:
                owner = kills.Owner(h, "life%d" % n)
                owners.append(owner)
                Life(h, owner, n, want).live()
                kills.checked(h)
            kills.settled(h, owners)
    except BaseException:
        broken.append(traceback.format_exc())


def test_matrix():
    """Two hubs at once, four lives each."""
    numbers = [n for n in range(8) if not ONLY or n in ONLY]
    broken = []
    threads = [threading.Thread(target=some_lives, args=(numbers[k::2], broken)) for k in range(2) if numbers[k::2]]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not broken, "\n".join(broken)


def test_every_pair():
    """The lives together kill each process in each state; `all`: and at each step."""
    for at, (name, state) in enumerate(POINTS):
        hit = [victim_of(n, at) for n in range(8) if victim_of(n, at)]
        assert len(set(hit)) == (8 if state or WHOLE else 2) == len(hit), (name, hit)


if __name__ == "__main__":
    hub.main([test_every_pair, test_matrix])
