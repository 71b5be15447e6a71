#!/usr/bin/env python3
"""The rights that the running processes have are those that docs/sandbox.md lists: users, capabilities, no_new_privs, seccomp."""
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402

# numbers of linux/capability.h
CAPS = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7, "SETPCAP": 8, "SYS_ADMIN": 21, "SETFCAP": 31}


def documented():
    """{first cell of the table: set of capabilities as a number}."""
    text = open(os.path.join(hub.ROOT, "docs", "sandbox.md")).read()
    table = text[text.index("## Rights on the host"):].split("\n## ", 2)[0]
    rows = re.findall(r"^\| (.+?) \| ([A-Z_ ]+|none) \|$", table, re.M)
    return {name: sum(1 << CAPS[c] for c in caps.split() if c != "none") for name, caps in rows}


def status(pid):
    return dict(line.split(":\t", 1) for line in open("/proc/%d/status" % pid).read().splitlines() if ":\t" in line)


def child_of(pid):
    for p in filter(str.isdigit, os.listdir("/proc")):
        try:
            if int(open("/proc/%s/stat" % p).read().rpartition(")")[2].split()[1]) == pid:
                return int(p)
        except OSError:
            pass
    raise AssertionError("process %d has no child" % pid)


def assert_caps(pid, expected, who):
    s = status(pid)
    for kind in ("CapEff", "CapPrm"):
        assert int(s[kind], 16) == expected, (who, kind, s[kind], "%x" % expected)
    for kind in ("CapInh", "CapAmb"):
        assert int(s[kind], 16) == 0, (who, kind, s[kind])
    # the outer jailer can't cut its bounding set; without a permitted one, and with no_new_privs, nothing can be had of it
    bound = expected | documented()["`jailer`, the inner one, with runc"] if who == "jailer" else expected
    assert int(s["CapBnd"], 16) & ~bound == 0 or who.startswith("user"), (who, "CapBnd", s["CapBnd"])
    assert s["NoNewPrivs"] == "1", who


def check(runtime):
    said, uids = documented(), {}
    with hub.Hub(settings={"runtime": runtime}) as h:
        assert_caps(h.parent.pid, said["`parent` as root, once everything is opened"], "parent")
        for role in hub.ROLES:
            pid = h.pid(role) if role != "jailer" else h.outer_jailer()
            s = status(pid)
            assert s["NoNewPrivs"] == "1" and s["Seccomp"] == hub.SECCOMP, (role, s)
            assert_caps(pid, 0, role)
            if role != "jailer":
                uids[role] = set(map(int, s["Uid"].split()))
                assert s["Groups"].strip() == "", (role, s["Groups"])
        inner = child_of(h.pid("jailer"))
        s = status(inner)
        assert s["NoNewPrivs"] == "1" and s["Seccomp"] == hub.SECCOMP, s
        assert_caps(inner, said["`jailer`, the inner one, with " + runtime], "jailer")
        alone = [next(iter(u)) for u in uids.values() if len(u) == 1]
        assert len(set(alone)) == len(uids) and 0 not in alone, uids  # each a user of its own


def test_crun():
    if not shutil.which("crun"):
        print("# crun isn't installed")
        return
    check("crun")


def test_runc():
    if not shutil.which("runc"):
        print("# runc isn't installed")
        return
    check("runc")


def test_ordinary_user():
    said = documented()
    with hub.Hub(uid=65502) as h:
        for who, pid in [("user parent", h.parent.pid)] + [("user " + r, h.pid(r) if r != "jailer" else h.outer_jailer()) for r in hub.ROLES]:
            assert_caps(pid, said["every other process, sandboxes too; `parent` of an ordinary user"], who)
        inner = child_of(h.pid("jailer"))
        runtime = "crun" if os.path.exists("/usr/bin/crun") or os.path.exists("/usr/local/bin/crun") else "runc"
        assert_caps(inner, said["`jailer`, the inner one, of an ordinary user, in its own user namespace, with " + runtime], "user jailer")
        mine, its = os.stat("/proc/self/ns/user"), os.stat("/proc/%d/ns/user" % inner)
        assert mine.st_ino != its.st_ino  # these rights are over nothing of the host


if __name__ == "__main__":
    hub.main([test_crun, test_runc, test_ordinary_user], needs_root="it compares users and capabilities with root's hub")
