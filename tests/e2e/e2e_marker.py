#!/usr/bin/env python3
"""Nothing that a user brought lies anywhere in clear: known values are planted, the whole job runs, and everything is searched.

Searched raw, while the job runs and afterwards: the hub's directory (objects, database, write-ahead log, slab, audit log, log),
what is new below the system's directories for temporary files and cores, command lines and environments of all processes of
the hub, sandboxes too. A control shows that the search finds.
"""
import contextlib
import gzip
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402

RUN = secrets.token_hex(4)  # of this run alone: other tests' files below /tmp can't be meant
TEMPORARY = ["/tmp", "/var/tmp", "/dev/shm", "/run"]
SEALED_CAPS = ["CapInh", "CapPrm", "CapEff", "CapAmb"]


def planted_target():
    """(file, {what: marker}): a sample name, an id, an INFO text and a line of genotypes that are to be found nowhere."""
    marks = {"sample name": b"ZQsample" + RUN.encode(), "variant id": b"rsZQ" + RUN.encode(), "INFO": b"ZQI=" + RUN[::-1].encode()}
    lines = gzip.open(hub.TARGET).read().split(b"\n")
    head = next(i for i, x in enumerate(lines) if x.startswith(b"#CHROM"))
    names = lines[head].split(b"\t")
    names[12] = marks["sample name"]
    lines[head] = b"\t".join(names)
    common = max(range(head + 1, len(lines)), key=lambda i: lines[i].count(b"0|1") + lines[i].count(b"1|0"))
    fields = lines[common].split(b"\t")
    fields[2], fields[7] = marks["variant id"], marks["INFO"]
    lines[common] = b"\t".join(fields)
    marks["genotypes"] = b"\t".join(fields[9:69])  # sixty people at one site
    assert len(set(fields[9:69])) >= 3
    return b"\n".join(lines), marks


def family(root):
    """All processes below `root`, itself too: {pid: name}."""
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            stat = open("/proc/%s/stat" % pid).read()
            parents[int(pid)] = (int(stat.rpartition(")")[2].split()[1]), stat[stat.index("(") + 1:stat.rindex(")")])
    found, more = {root: parents.get(root, (0, "?"))[1]}, True
    while more:
        new = {p: n for p, (up, n) in parents.items() if up in found and p not in found}
        found.update(new)
        more = bool(new)
    return found


def search_bytes(data, marks, where):
    return ["%s in %s" % (what, where) for what, m in marks.items() if m in data]


def search_files(top, marks, since=0.0, skip=()):
    hits, n = [], 0
    for d, dirs, files in os.walk(top):
        dirs[:] = [x for x in dirs if os.path.join(d, x) not in skip and not os.path.ismount(os.path.join(d, x))]
        for f in files:
            path = os.path.join(d, f)
            with contextlib.suppress(OSError):
                s = os.lstat(path)
                if not os.path.isfile(path) or os.path.islink(path) or s.st_mtime < since or s.st_size > 1 << 28:
                    continue
                hits += search_bytes(open(path, "rb").read(), marks, path) + search_bytes(os.fsencode(path), marks, "the name of " + path)
                n += 1
    return hits, n


def search_processes(pids, marks):
    hits = []
    for pid, name in pids.items():
        for what in ("cmdline", "environ", "comm"):
            with contextlib.suppress(OSError):
                hits += search_bytes(open("/proc/%d/%s" % (pid, what), "rb").read(), marks, "%s of %s" % (what, name))
    return hits


def core_directories(pids):
    pattern = open("/proc/sys/kernel/core_pattern").read().strip()
    found = {os.path.dirname(pattern)} if pattern.startswith("/") else set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found.add(os.readlink("/proc/%d/cwd" % pid))
    return {d for d in found if os.path.isdir(d) and d != "/"}


class Watch:
    """Searches processes and, beside it, the hub's files over and over while the job runs."""
    def __init__(self, h, marks):
        self.h, self.marks, self.hits, self.seen = h, marks, [], {}
        self.rounds, self.n_file, self.is_over = 0, 0, False
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self.processes, self.files)]
        for t in self.threads:
            t.start()

    def processes(self):
        while not self.is_over:
            pids = family(self.h.parent.pid)
            self.seen.update(pids)
            self.hits += search_processes(pids, dict(self.marks))
            self.rounds += 1
            time.sleep(0.01)

    def files(self):
        while not self.is_over:
            begun = time.monotonic()
            hits, self.n_file = search_files(self.h.base, dict(self.marks))
            self.hits += hits
            time.sleep(max(0.1, 2 * (time.monotonic() - begun)))  # the hub and the other search are to come to something, too

    def has_met_a_sandbox(self):
        return any("worker" in n for n in self.seen.values())

    def end(self):
        self.is_over = True
        for t in self.threads:
            t.join()


def whole_job(h, u, data, marks):
    """Upload to confirmation, as its user does it; what becomes secret on the way is added to `marks`."""
    a = u.upload_raw(data, marks["file name"].decode())
    assert a.status == 201 and a.json["name"] == marks["file name"].decode(), a
    job = u.run_job(a.json["id"], name=marks["job name"].decode())
    assert job["name"] == marks["job name"].decode()
    password = u.claim(job["id"])
    marks["one-time password"] = password.encode()
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(__file__)), prefix=".client-") as d:  # the client's disk is not searched
        path = os.path.join(d, "p.zip")
        open(path, "wb").write(u.package(job["id"]))

        def entry(name):
            return subprocess.run(["7z", "x", "-so", "-p" + password, path, name], capture_output=True).stdout
        result = gzip.decompress(entry("chr22.dose.vcf.gz"))
        check = entry("sequester-check.txt")
    assert marks["sample name"] in result  # the name went in, through the vault, and came out: it was there to be found
    marks["check text"] = check.strip()
    u.call("POST", "/api/v1/jobs/%s/claim/confirm" % job["id"], {"check": check.decode()}, status=200)
    return job["id"]


def test_nothing_in_clear():
    start = time.time() - 1
    data, marks = planted_target()
    with hub.Hub() as h:
        h.panel()
        u = h.user("zqaccount" + RUN)
        token = u.token.split(".")
        marks.update({"account": u.name.encode(), "password": u.password.encode(), "token": u.token.encode(), "token's claims": token[1].encode(),
                      "token's signature": token[2].encode(), "file name": b"zqfile%s.vcf.gz" % RUN.encode(), "job name": b"zq heart study " + RUN.encode()})
        watch = Watch(h, marks)
        job = whole_job(h, u, data, marks)
        for _ in range(5):  # where it was too busy to come by while one worked
            if watch.has_met_a_sandbox():
                break
            u.upload_raw(data, marks["file name"].decode())
        failed = u.upload_raw(data[:len(data) // 2], marks["file name"].decode())  # an error says nothing of it either
        assert failed.status == 422, failed
        assert h.request("POST", "/api/v1/login", {"name": u.name, "password": u.password + "x"}).status == 401
        time.sleep(0.3)
        watch.end()
        assert not watch.hits, sorted(set(watch.hits))
        names = set(watch.seen.values())
        assert watch.has_met_a_sandbox() and len(names) >= 8, names  # sandboxes were among the processes
        after(h, marks, start, "while it is up")
        core(h)
        u.call("DELETE", "/api/v1/jobs/" + job, status=202)
        u.wait_job(job, ("erased",))
        after(h, marks, start, "when it is erased")
        control(h, marks)
        print("# %d markers; %d rounds over %d processes (%s), %d files" % (len(marks), watch.rounds, len(watch.seen), " ".join(sorted(names)), watch.n_file), flush=True)
        h.stop()
        after(h, marks, start, "when it has stopped")


def after(h, marks, start, when):
    hits, n = search_files(h.base, marks)
    assert n > 10 and not hits, (when, hits)
    for top in TEMPORARY:
        if os.path.isdir(top):
            hits, _ = search_files(top, marks, start, skip=("/run/user", "/run/lock"))
            assert not hits, (when, hits)


def core(h):
    pids = family(h.parent.pid)
    for d in core_directories(pids):
        assert not [f for f in os.listdir(d) if re.fullmatch(r"core(\.\d+)?", f)], d
    for pid, name in pids.items():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            limit = re.search(r"Max core file size\s+(\S+)\s+(\S+)", open("/proc/%d/limits" % pid).read())
            assert limit.groups() == ("0", "0"), (name, limit.groups())


def control(h, marks):
    """The search finds what is there: in a file below the state directory, in a command line, in an environment."""
    path = os.path.join(h.state, "planted")
    for what, m in marks.items():
        with open(path, "wb") as f:
            f.write(os.urandom(1000) + m + os.urandom(1000))
        hits, _ = search_files(h.base, marks)
        assert any(x == "%s in %s" % (what, path) for x in hits), (what, hits)
    os.unlink(path)
    p = subprocess.Popen(["sleep", "60"], env={"PLANTED": marks["password"].decode()}, stdin=subprocess.DEVNULL)
    q = subprocess.Popen(["sh", "-c", "sleep 60; : " + marks["account"].decode()], stdin=subprocess.DEVNULL)
    try:
        hub.wait_for("the control in an environment", lambda: search_processes({p.pid: "control"}, marks), 5)
        hub.wait_for("the control in a command line", lambda: search_processes({q.pid: "control"}, marks), 5)
    finally:
        for x in (p, q):
            x.kill()
            x.wait()


# ---- what the processes are (S2-15) ----

def status_of(pid):
    return dict(line.split(":\t", 1) for line in open("/proc/%d/status" % pid).read().splitlines() if ":\t" in line)


def listening(pid):
    """Local addresses of the internet sockets that `pid` holds and that take connections or datagrams."""
    inodes = set()
    for fd in os.listdir("/proc/%d/fd" % pid):
        with contextlib.suppress(OSError):
            inodes.update(re.findall(r"socket:\[(\d+)\]", os.readlink("/proc/%d/fd/%s" % (pid, fd))))
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        with contextlib.suppress(OSError):
            for line in open("/proc/%d/net/%s" % (pid, kind)).read().splitlines()[1:]:
                f = line.split()
                if f[9] in inodes and (not kind.startswith("tcp") or f[3] == "0A"):
                    address, port = f[1].split(":")
                    found.append((kind, address, int(port, 16)))
    return found


def test_the_processes_are_confined():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        ada.run_job(ada.upload()["id"])
        uids, sockets = {}, {}
        for role in hub.ROLES + ["parent"]:
            pid = h.parent.pid if role == "parent" else h.pid(role)
            s = status_of(pid)
            uid, gid = s["Uid"].split(), s["Gid"].split()
            print("# %-9s uid %-6s caps %s bounding %s seccomp %s now %.1f MiB, at most %.1f MiB, locked %s" % (
                role, uid[0], s["CapEff"], s["CapBnd"], s["Seccomp"], int(s["VmRSS"].split()[0]) / 1024, int(s["VmHWM"].split()[0]) / 1024, s.get("VmLck", "?").strip()), flush=True)
            assert s["NoNewPrivs"] == "1" or role in ("parent", "jailer"), (role, s["NoNewPrivs"])
            sockets.update({(role, *x): 1 for x in listening(pid)})
            if role in ("parent", "jailer"):
                continue
            assert s["Seccomp"] == hub.SECCOMP, (role, s["Seccomp"])
            for cap in SEALED_CAPS + ["CapBnd"]:
                assert int(s[cap], 16) == 0, (role, cap, s[cap])
            assert len(set(uid)) == len(set(gid)) == 1 and uid[0] != "0" and gid[0] != "0", (role, uid, gid)
            assert not s["Groups"].strip() or s["Groups"].split() == [gid[0]], (role, s["Groups"])
            uids[role] = uid[0]
            environ = open("/proc/%d/environ" % pid, "rb").read()
            assert len(environ) < 200, (role, environ)
            assert os.stat("/proc/%d/environ" % pid).st_uid == 0, "%s is dumpable: its own uid could trace it" % role
        assert len(set(uids.values())) == len(hub.ROLES) - 1, uids
        # one port, the front one, and only they hold it who must
        assert {x[3] for x in sockets} == {h.port} and {x[1] for x in sockets} == {"tcp"} and {x[2] for x in sockets} == {"0100007F"}, sockets
        assert {x[0] for x in sockets} <= {"gateway", "parent"}, sockets
        for role in ("gateway", "registrar", "storer", "runner", "jailer"):
            hub.assert_memory(role, int(status_of(h.pid(role))["VmHWM"].split()[0]), 64)


if __name__ == "__main__":
    hub.main([t for t in (test_nothing_in_clear, test_the_processes_are_confined,) if os.geteuid() == 0 or t is not test_the_processes_are_confined])  # an ordinary user's: e2e_user
