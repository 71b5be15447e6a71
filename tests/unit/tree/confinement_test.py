#!/usr/bin/env python3
"""docs/confinement.md says what the confine.c files say.

    confinement_test.py SOURCE_ROOT
"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap

ROOT = os.path.abspath(sys.argv[1])


def read(*path):
    return open(os.path.join(ROOT, *path)).read()


def production(text):
    """Without comments and without what test builds add."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r"#ifdef SQ_TEST_HOOKS.*?#endif\n", "", text, flags=re.S)


def rows():
    found = {}
    for line in read("docs", "confinement.md").splitlines():
        m = re.match(r"\| `(\w+)` \| (.*) \|$", line)
        if m:
            found[m.group(1)] = [c.strip() for c in m.group(2).split(" | ")]
    return found


TABLE = rows()
DAEMONS = sorted(d for d in os.listdir(os.path.join(ROOT, "src", "daemon")) if os.path.isdir(os.path.join(ROOT, "src", "daemon", d)))


def source(role):
    return read("src", "worker", "confine.c") if role == "worker" else read("src", "daemon", role, "confine.c")


with tap.case("the table has a row for each process") as bad:
    bad += ["no row: " + d for d in DAEMONS + ["worker"] if d not in TABLE]
    bad += ["no such process: " + d for d in TABLE if d not in DAEMONS + ["worker"]]

with tap.case("length of each list of system calls") as bad:
    for role in DAEMONS + ["worker"]:
        text = production(source(role))
        calls = set(re.findall(r"\bSYS_(\w+)", text)) | set(re.findall(r"SCMP_SYS\((\w+)\)", text)) - {"clone3"}
        is_deny = "SQ_CONFINE_DENY" in text
        want = ("all but %d" if is_deny else "%d") % len(calls)
        if TABLE[role][2] != want:
            bad.append("%s: %s in its confine.c, %s in the table" % (role, want, TABLE[role][2]))

with tap.case("capabilities that are kept") as bad:
    for role in DAEMONS:
        caps = set(re.findall(r"CAP\(CAP_(\w+)\)", production(source(role))))
        said = set() if TABLE[role][1] == "none" else set(TABLE[role][1].split())
        if caps != said:
            bad.append("%s: %s in its confine.c, %s in the table" % (role, " ".join(sorted(caps)), TABLE[role][1]))

with tap.case("Landlock's files and the network") as bad:
    for role in DAEMONS:
        text = production(source(role))
        flags = set(re.findall(r"SQ_CONFINE_(\w+)", text))
        files = "any" if "DENY" in flags else "own directory" if flags & {"OWN_FILES", "READ"} else "none"
        if not TABLE[role][3].startswith(files):
            bad.append("%s: files: %s by its flags, %s in the table" % (role, files, TABLE[role][3]))
        if ("NET" in flags) != ("connects" in TABLE[role][4]):
            bad.append("%s: SQ_CONFINE_NET and the table's %s" % (role, TABLE[role][4]))

tap.done()
