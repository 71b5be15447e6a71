#!/usr/bin/env python3
"""docs/controls.md has every id of the requirements once, an allowed state, and tests that exist.

    controls_test.py SOURCE_ROOT [BUILD_ROOT]

With BUILD_ROOT (a build with test hooks: all tests are registered there) the tests named are looked up in it and in tests/e2e.
"""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap

ROOT = os.path.abspath(sys.argv[1])
BUILD = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else None
STATES = ("works", "partly", "planned", "operator's duty")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


IDS = read("tests/unit/tree/requirement_ids.txt").split()
ROWS = []  # (id, promise, state, tests, note)
for line in read("docs/controls.md").splitlines():
    if re.match(r"\| S\d-", line):
        ROWS.append([cell.strip() for cell in line.strip().strip("|").split("|")])


def tests_of(row):
    return [] if row[3] == "–" else [name.strip() for name in row[3].split(",")]


with tap.case("%d rows of five cells, each id of the requirements once" % len(IDS)) as bad:
    bad += ["a row without five cells: %s" % row[0] for row in ROWS if len(row) != 5]
    have = [row[0] for row in ROWS]
    bad += ["missing: " + i for i in IDS if i not in have]
    bad += ["not a requirement: " + i for i in have if i not in IDS]
    bad += ["twice: " + i for i in sorted(set(have)) if have.count(i) > 1]

with tap.case("the list of ids is that of the requirements") as bad:
    there = os.path.join(ROOT, "..", "shared", "REQUIREMENTS.md")
    if os.path.exists(there):
        with open(there, encoding="utf-8") as f:
            wanted = re.findall(r"^\| (S\d-\w+)", f.read(), re.M)
        bad += ["missing: " + i for i in wanted if i not in IDS] + ["unknown: " + i for i in IDS if i not in wanted]
    else:
        print("# the requirements aren't beside this tree: only the copy of their ids is checked")

with tap.case("each row says a state; what works names its tests and what is partly done says what is missing") as bad:
    for row in ROWS:
        if row[2] not in STATES:
            bad.append("%s: state `%s` is none of %s" % (row[0], row[2], ", ".join(STATES)))
        elif row[2] in ("works", "partly") and not tests_of(row):
            bad.append("%s is `%s` without a test" % (row[0], row[2]))
        elif row[2] in ("planned", "operator's duty") and tests_of(row):
            bad.append("%s is `%s` and names a test" % (row[0], row[2]))
        if row[2] in ("works", "partly") and not row[4]:
            bad.append("%s: no note" % row[0])

if BUILD:
    with tap.case("every test that is named exists") as bad:
        meson = os.environ.get("MESON", "meson").split()
        out = subprocess.run(meson + ["introspect", "--tests", BUILD], check=True, capture_output=True, text=True).stdout
        known = {test["name"] for test in json.loads(out)}
        e2e = os.path.join(ROOT, "tests", "e2e")
        for name in sorted(os.listdir(e2e)) if os.path.isdir(e2e) else []:
            if name.endswith(".py"):
                known.add(name[:-3])
                known.update(re.findall(r"^def (e2e_\w+)\(", read(os.path.join("tests", "e2e", name)), re.M))
        for row in ROWS:
            bad += ["%s: there is no test `%s`" % (row[0], name) for name in tests_of(row) if name not in known]

print("# " + ", ".join("%d %s" % (sum(row[2] == state for row in ROWS), state) for state in STATES))
tap.done()
