#!/usr/bin/env python3
"""docs/asvs.md has every requirement of its chapters of OWASP ASVS 5.0.0 once, with its level, an allowed state, and tests that exist.

    asvs_test.py SOURCE_ROOT [BUILD_ROOT]

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
STATES = ("met", "by setting", "partly", "not met", "n/a")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


LEVELS = dict(line.split() for line in read("tests/unit/tree/asvs_ids.txt").splitlines())
ROWS, SECTION_OF = [], {}  # (id, level, requirement, state, tests, note)
section = None
for line in read("docs/asvs.md").splitlines():
    if line.startswith("### "):
        section = line.split()[1]
    if re.match(r"\| V\d", line):
        ROWS.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        SECTION_OF[ROWS[-1][0]] = section


def tests_of(row):
    return [] if row[4] == "–" else [name.strip() for name in row[4].split(",")]


with tap.case("%d rows of six cells, each requirement once, with its level, in its section" % len(LEVELS)) as bad:
    bad += ["a row without six cells: %s" % row[0] for row in ROWS if len(row) != 6]
    have = [row[0] for row in ROWS]
    bad += ["missing: " + i for i in LEVELS if i not in have]
    bad += ["twice: " + i for i in sorted(set(have)) if have.count(i) > 1]
    for row in ROWS:
        if row[0] not in LEVELS:
            bad.append("not a requirement: " + row[0])
        elif row[1] != LEVELS[row[0]]:
            bad.append("%s is of level %s" % (row[0], LEVELS[row[0]]))
        if SECTION_OF[row[0]] != row[0].rsplit(".", 1)[0]:
            bad.append("%s stands in section %s" % (row[0], SECTION_OF[row[0]]))

with tap.case("each row says a state; what is met names its tests, what is met by a setting, or partly, or doesn't apply says why") as bad:
    for row in ROWS:
        if row[3] not in STATES:
            bad.append("%s: state `%s` is none of %s" % (row[0], row[3], ", ".join(STATES)))
        elif (row[3] in ("met", "by setting", "partly")) != bool(tests_of(row)):
            bad.append("%s is `%s` and names %s" % (row[0], row[3], row[4]))
        elif row[3] in ("by setting", "partly", "n/a") and not row[5]:
            bad.append("%s is `%s` without a note" % (row[0], row[3]))

with tap.case("what is said in sum is the sum of the rows") as bad:
    for level in "123":
        n = {state: sum(row[1] == level and row[3] == state for row in ROWS) for state in STATES}
        line = "| %s | %s |" % (level, " | ".join(str(n[state]) for state in STATES))
        if line not in read("docs/asvs.md"):
            bad.append("the table of sums wants the line: " + line)

if BUILD:
    with tap.case("every test that is named exists") as bad:
        meson = os.environ.get("MESON", "meson").split()
        out = subprocess.run(meson + ["introspect", "--tests", BUILD], check=True, capture_output=True, text=True).stdout
        known = {test["name"] for test in json.loads(out)}
        for name in os.listdir(os.path.join(ROOT, "tests", "e2e")):
            if name.endswith(".py"):
                known.add(name[:-3])
        for row in ROWS:
            bad += ["%s: there is no test `%s`" % (row[0], name) for name in tests_of(row) if name not in known]

tap.done()
