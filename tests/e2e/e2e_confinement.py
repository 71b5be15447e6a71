"""What docs/confinement.md says of each process, looked up in a running hub; what others can't open; and what a crash leaves behind."""
import os
import re
import resource
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub

CAP = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8, "SYS_ADMIN": 21, "SETFCAP": 31}
OTHER_USER = 65534


def documented():
    rows = {}
    for line in open(os.path.join(hub.ROOT, "docs", "confinement.md")):
        m = re.match(r"\| `(\w+)` \| (.*) \|$", line)
        if m:
            rows[m.group(1)] = [c.strip() for c in m.group(2).split(" | ")]
    return rows


def status(pid):
    return {key: value.strip() for key, _, value in (line.partition(":") for line in open("/proc/%d/status" % pid))}


def children(pid):
    return [int(p) for p in open("/proc/%d/task/%d/children" % (pid, pid)).read().split()]


def limit_of_core(pid):
    return [line.split() for line in open("/proc/%d/limits" % pid) if line.startswith("Max core file size")][0][4:6]


def test_rights_are_those_of_the_page():
    rows = documented()
    with hub.Hub() as h:
        pids = {"parent": h.parent.pid, **{role: h.pid(role) for role in hub.ROLES}}
        (inner,) = children(pids["jailer"])
        outer = status(h.outer_jailer())
        assert int(outer["CapEff"], 16) == 0 and outer["Seccomp"] == hub.SECCOMP, outer
        pids["jailer"] = inner
        is_runc = not os.path.exists("/usr/bin/crun")
        uids = set()
        for role, pid in pids.items():
            s, caps = status(pid), set() if rows[role][1] == "none" else set(rows[role][1].split())
            if role == "jailer":
                caps -= {"SETFCAP"} | (set() if is_runc else {"CHOWN"})
            mask = sum(1 << CAP[c] for c in caps)
            for which in ("CapEff", "CapPrm"):
                assert int(s[which], 16) == mask, (role, which, s[which], "%x" % mask)
            bound = mask | (1 << CAP["CHOWN"] if role == "jailer" else 0)  # which runtime it uses is found out when the bound stands
            assert int(s["CapBnd"], 16) == bound, (role, s["CapBnd"], "%x" % bound)
            assert int(s["CapInh"], 16) == int(s["CapAmb"], 16) == 0, (role, s)
            assert s["NoNewPrivs"] == "1" and s["Seccomp"] == hub.SECCOMP, (role, s)
            assert limit_of_core(pid) == ["0", "0"], (role, limit_of_core(pid))
            if role not in ("parent", "jailer"):
                uids.add(s["Uid"])
                assert s["Uid"].split()[0] != "0" and s["Groups"] == "", (role, s)
        assert len(uids) == len(hub.ROLES) - 1, uids


def as_user(uid, code, *args):
    p = subprocess.run([sys.executable, "-c", "import os,sys\nos.setgroups([])\nos.setresgid(%d,%d,%d)\nos.setresuid(%d,%d,%d)\n%s" % ((uid,) * 6 + (code,)), *args],
                       capture_output=True, text=True)
    return p.stdout.strip()


TRY = """
for path in sys.argv[1:]:
    try:
        os.close(os.open(path, os.O_RDONLY)); print(path)
    except PermissionError:
        pass
"""


def test_each_directory_is_its_owners_alone():
    """Another user, and each other daemon's user, is refused database, log, slab and objects; modes are 0600 and 0700."""
    with hub.Hub() as h:
        h.panel()
        files = {}
        for role in ("registrar", "keeper", "storer"):
            top = os.path.join(h.state, role)
            assert os.stat(top).st_mode & 0o7777 == 0o700, top
            files[role] = [os.path.join(d, f) for d, _, names in os.walk(top) for f in names]
            assert files[role]
            for path in files[role]:
                assert os.stat(path).st_mode & 0o077 == 0, path
        assert any(p.endswith("registrar.db") for p in files["registrar"])
        users = {role: int(status(h.pid(role))["Uid"].split()[0]) for role in hub.ROLES if role != "jailer"}
        for owner, paths in files.items():
            for uid in [OTHER_USER] + [u for role, u in users.items() if role != owner]:
                assert as_user(uid, TRY, *paths) == "", (owner, uid)
            assert as_user(users[owner], TRY, *paths).count("\n") + 1 == len(paths), owner  # the test can see it when it is otherwise


def test_a_crash_leaves_no_core():
    """Even where whoever starts the hub allows dumps: each process sets its limit to 0 and isn't dumpable."""
    if hub.SECCOMP == "0":
        raise hub.Skip("a sanitizer takes the signal and calls it a finding")
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        with hub.Hub() as h:
            for role in ("gateway", "registrar", "keeper", "storer", "runner", "jailer"):
                pid = h.pid(role)
                os.kill(pid, signal.SIGSEGV)
                h.started_anew(role, pid)
            hub.wait_for("the hub to serve again", lambda: h.is_up() and all(h.pids(r) for r in hub.ROLES), 60)
            ended = re.findall(r"event=child_ended child=(\w+) pid=\d+ status=-11", h.log())
            assert set(ended) >= {"gateway", "registrar", "keeper", "storer", "runner", "jailer"}, ended
            cores = [os.path.join(d, f) for d, _, names in os.walk(h.dir) for f in names if re.match(r"core(\.|$)|.*\.core$", f)]
            assert not cores, cores
            h.parent.send_signal(signal.SIGSEGV)
            assert h.parent.wait(20) == -signal.SIGSEGV
            h.parent = None
            assert not os.path.exists("core")
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def test_directories_come_and_go():
    """An owner's directory goes with his last object, while the next one, that hasn't a name yet, was made in it: Landlock has to let
    storer name it in the directory that comes then. Three owners at once upload and delete; all must be well."""
    vcf = "##fileformat=VCFv4.2\n##contig=<ID=22>\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"G\">\n" \
          "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tA\tB\n22\t16050075\t.\tA\tG\t.\t.\t.\tGT\t0/1\t0/0\n"
    wrong = []

    def run(user):
        for _ in range(12):
            a = user.upload_raw(vcf.encode())
            if a.status != 201:
                wrong.append(a)
            else:
                user.call("DELETE", "/api/v1/uploads/" + a.json["id"], status=202)

    with hub.Hub() as h:
        threads = [threading.Thread(target=run, args=(h.user("user%d" % i),)) for i in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not wrong, (len(wrong), wrong[0])
        assert "role=parent event=confined" in h.log() and not re.search(r"role=parent event=confined .* landlock=[1-9]", h.log())


if __name__ == "__main__":
    hub.main([test_directories_come_and_go, test_rights_are_those_of_the_page, test_each_directory_is_its_owners_alone, test_a_crash_leaves_no_core], needs_root="it compares users and capabilities with root's hub")
