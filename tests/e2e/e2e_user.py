#!/usr/bin/env python3
"""All of the hub as an ordinary user's: the main job, erasure, kill -9 and restart, limits that are hit, and each promise that isn't
held there named. Root becomes that user first; started by a user the test is his."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402
import e2e_hostile_worker  # noqa: E402
import e2e_main_job  # noqa: E402

UID = 65501
ALWAYS_LOST = {"uid_separation", "sandbox_ids", "sandbox_devices"}
PTRACE_ATTACH = 16


def user_hub(**more):
    return hub.Hub(uid=UID, **more)


def promises(h):
    return {p["promise"]: p for p in h.admin_ok("status")["promises"]}


def as_user(h, code, *args):
    """What a program of the hub's user prints."""
    p = subprocess.run(["/usr/bin/python3", "-c", code, *map(str, args)], capture_output=True, text=True, **h.user_is)
    assert p.returncode == 0, p.stderr
    return p.stdout.strip()


def test_main_job():
    e2e_main_job.test_main_job(UID)


def test_says_what_is_not_held():
    with user_hub() as h:
        said = promises(h)
        lost = {name for name, p in said.items() if not p["held"]}
        assert ALWAYS_LOST <= lost and "sandbox" not in lost, said
        if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):  # not cgroup v2 alone: nothing can be delegated
            assert {"sandbox_memory", "sandbox_processes", "sandbox_processors"} <= lost, said
        for name in lost:
            p = said[name]
            assert p["why"] and p["mend"] and p["text"], p
            assert "event=not_held promise=%s reason=%s" % (name, p["reason"]) in h.log(), name
        p = subprocess.run([hub.CLI, "admin", "status", "--run-dir", os.path.join(h.base, "run")], capture_output=True, text=True, **h.user_is)
        assert p.returncode == 0, p.stderr
        for name in lost:
            assert "not held   %s: " % name in p.stdout and said[name]["mend"] in p.stdout, p.stdout
        def told():
            p = subprocess.run([hub.CLI, "audit", "tail", "--log", h.log_dir(), "--limit", "100"], capture_output=True, text=True, **h.user_is)
            return p.stdout.count("promise_not_held")
        hub.wait_for("each loss in the audit log", lambda: told() == len(lost), 20)
        # a process that is started again finds the same
        h.kill("jailer")
        h.kill("registrar")
        h.wait_up()
        hub.wait_for("the same losses again", lambda: {n for n, p in promises(h).items() if not p["held"]} == lost, 20)
        hub.wait_for("and again with the new start", lambda: told() == 2 * len(lost), 20)


def test_rights():
    """All are this one user's; nobody has a right on the host; none of his other programs gets at their memory."""
    with user_hub() as h:
        uid = h.user_is.get("user", os.geteuid())
        for role in hub.ROLES:
            pid = h.pid(role) if role != "jailer" else h.outer_jailer()
            status = dict(line.split(":\t", 1) for line in open("/proc/%d/status" % pid).read().splitlines() if ":\t" in line)
            assert set(map(int, status["Uid"].split())) == {uid}, (role, status["Uid"])
            assert status["NoNewPrivs"] == "1" and status["Seccomp"] == hub.SECCOMP, (role, status)
            assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0, (role, status["CapEff"])
            assert as_user(h, "import sys\ntry:\n open('/proc/%s/mem' % sys.argv[1], 'rb')\n print('open')\nexcept PermissionError:\n print('refused')", pid) == "refused", role
            assert as_user(h, "import ctypes, sys\nc = ctypes.CDLL(None, use_errno=True)\nprint(c.ptrace(int(sys.argv[2]), int(sys.argv[1]), 0, 0))",
                           pid, PTRACE_ATTACH) == "-1", role
            assert as_user(h, "import os, sys\ntry:\n print(os.listdir('/proc/%s/fd' % sys.argv[1]))\nexcept PermissionError:\n print('refused')", pid) == "refused", role
        for name in ("state", "run"):
            assert os.stat(os.path.join(h.base, name)).st_mode & 0o777 == 0o700, name


def test_kill_and_restart():
    """kill -9 of each process, and of parent with all of them, while a job runs."""
    with user_hub() as h:
        h.panel()
        ada = h.user("ada")
        for role in hub.ROLES:
            up = ada.upload()["id"]
            job = ada.submit(up)
            h.kill(role)
            h.wait_up()
            done = hub.wait_for("the job after kill -9 of " + role, lambda: (lambda a: a.json if a.status == 200 and a.json["state"] in ("done", "failed") else None)
                                (ada.call("GET", "/api/v1/jobs/" + job)), 120)
            assert done["state"] == "done", (role, done)
        up = ada.upload()["id"]
        job = ada.submit(up)
        h.stop(9)
        h.start()
        assert ada.wait_job(job)["state"] == "done"
        ada.call("DELETE", "/api/v1/jobs/" + job, status=202)
        ada.wait_job(job, ("erased",))
        h.verify_log()


def test_limits():
    """A worker that takes all the memory it gets, and one that fills its outputs, end alone and with the right reason."""
    with user_hub() as h:
        h.panel()
        h.stop()
        with open(h.ini, "a") as f:
            f.write("worker = %s\n" % e2e_hostile_worker.build(h))
        h.start()
        mallory, alice = h.user("mallory"), h.user("alice")
        pids = {r: h.pids(r) for r in hub.ROLES}
        for name, code in (("memory", "EKILLED"), ("endless", "EBOMB"), ("segv", "ECRASHED")):
            a = mallory.upload_raw(b"attack %s\n" % name.encode() + b"x" * 5000)
            if a.status == 201:
                up = a.json["id"]
                hub.wait_for(name + " to end", lambda: mallory.get("/api/v1/uploads/" + up)["state"] in ("failed", "erased"), 60)
                error = mallory.get("/api/v1/uploads/" + up)["error"]
            else:
                error = a.json
            assert error["code"] == code, (name, error)
            if name == "memory":
                assert "memory" in json.dumps(error), error
            alice.get("/api/v1/jobs")
        assert {r: h.pids(r) for r in hub.ROLES} == pids, "no process of ours fell"


def test_two_side_by_side():
    """Two hubs of one user don't meet, and one state directory takes one hub."""
    with user_hub() as a, user_hub() as b:
        for h in (a, b):
            h.panel()
            ada = h.user("ada")
            assert ada.upload()["samples"] == 200


def test_words_for_what_is_wrong():
    """A port below 1024, and a place that isn't his: told, with how to mend it."""
    if os.geteuid() != 0:
        uid = {}
    else:
        uid = {"user": UID, "group": UID, "extra_groups": []}
    h = user_hub()
    try:
        text = open(h.ini).read()
        for change, words in ((("listen = 127.0.0.1:%d" % h.port, "listen = 127.0.0.1:443"), "1024"),
                              (("state_dir = " + h.state, "state_dir = /sys/sequester"), "state_dir")):
            with open(h.ini, "w") as f:
                f.write(text.replace(*change))
            p = subprocess.run([os.path.join(hub.BUILD, "sequester-parent"), "--config", h.ini], capture_output=True, text=True, timeout=300, **uid)
            assert p.returncode == 78 and words in p.stderr, (change, p.returncode, p.stderr)
    finally:
        h.__exit__(None)


if __name__ == "__main__":
    if os.geteuid() == 0 and not all(os.stat(d).st_mode & 1 for d in [os.path.realpath(hub.BUILD)] + [os.path.realpath(hub.BUILD + "/.." * i) for i in range(1, 9)]):
        print("1..0 # SKIP an ordinary user can't pass to this build: a directory above it is private")
    elif subprocess.run(["unshare", "-Ur", "true"], stderr=subprocess.DEVNULL, **({"user": UID, "group": UID, "extra_groups": []} if os.geteuid() == 0 else {})).returncode:
        print("1..0 # SKIP an ordinary user may make no user namespace here")
    else:
        hub.main([test_main_job, test_says_what_is_not_held, test_rights, test_kill_and_restart, test_limits, test_two_side_by_side, test_words_for_what_is_wrong])
