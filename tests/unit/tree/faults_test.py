#!/usr/bin/env python3
"""faults_test.py ROOT: every fault hook in the sources is armed by some test; a step that nobody tries is a step that nobody tested."""
import glob
import os
import re
import sys

root = sys.argv[1]
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap  # noqa: E402


def texts(*patterns):
    for pattern in patterns:
        for path in glob.glob(os.path.join(root, pattern), recursive=True):
            if os.path.abspath(path) != os.path.abspath(__file__):
                yield open(path, errors="replace").read()


def hooks_of(*patterns):
    return {name for text in texts(*patterns) for name in re.findall(r'sq_fault(?:_at)?\("([^"]+)"', text)}


with tap.case("every hook is armed by a test") as bad:
    hooks = hooks_of("src/**/*.c")
    named = {re.split("[:#]", name)[0] for text in texts("tests/**/*.py", "tests/**/*.c") for name in re.findall(r'"([a-z_]+\.[a-z0-9_]+(?:[:#][a-z_]+)?)"', text)}
    if len(hooks) < 40:
        bad.append("only %d hooks were found" % len(hooks))
    bad += ["armed by no test: " + name for name in sorted(hooks - named)]

with tap.case("the kill matrix holds every numbered step of the commit protocol") as bad:
    steps = {h for h in hooks_of("src/daemon/registrar/*.c", "src/lib/store/*.c") if re.match(r"(create|reveal|destroy|task|claim|job|commit)\.", h)}
    (matrix,) = texts("tests/e2e/e2e_kill_matrix.py")
    held = {re.split("[:#]", name)[0] for name in re.findall(r'\("([a-z_]+\.[a-z0-9_]+[:#a-z_]*)", (?:None|")', matrix)}
    if len(steps) < 15:
        bad.append("only %d steps were found" % len(steps))
    bad += ["not a point of the matrix: " + name for name in sorted(steps - held)]

tap.done()
