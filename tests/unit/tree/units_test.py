#!/usr/bin/env python3
"""deploy/systemd: made from its table, understood by systemd, and closed as far as it says.

    units_test.py SOURCE_ROOT

Needs systemd-analyze (package systemd; none of it has to run); without it those cases are skipped by name.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap

ROOT = os.path.abspath(sys.argv[1])
UNITS = os.path.join(ROOT, "deploy", "systemd")
MOST = {"sequester-jailer@.service": 4.0}  # starting containers takes SYS_ADMIN, namespaces and cgroups; all others:
MOST_OF_ALL = 1.1
ANALYZE = shutil.which("systemd-analyze")


def services():
    return sorted(os.path.basename(p) for p in glob.glob(os.path.join(UNITS, "*.service")))


with tap.case("units are what tools/systemd_units.py makes, one for each daemon") as bad:
    p = subprocess.run([sys.executable, os.path.join(ROOT, "tools", "systemd_units.py"), "--check"], capture_output=True, text=True)
    if p.returncode:
        bad.append(p.stdout + p.stderr)
    daemons = {d for d in os.listdir(os.path.join(ROOT, "src", "daemon")) if os.path.isdir(os.path.join(ROOT, "src", "daemon", d))}
    bad += ["no unit for sequester-" + d for d in sorted(daemons - {"parent"}) if "sequester-%s@.service" % d not in services()]

if not ANALYZE:
    with tap.case("exposure of each unit (systemd-analyze security) # SKIP systemd-analyze isn't installed") as bad:
        pass
    with tap.case("systemd understands each unit (systemd-analyze verify) # SKIP systemd-analyze isn't installed") as bad:
        pass
else:
    with tap.case("exposure of each unit: at most %.1f, jailer's %.1f" % (MOST_OF_ALL, MOST["sequester-jailer@.service"])) as bad:
        for name in services():
            out = subprocess.run([ANALYZE, "security", "--offline=yes", "--no-pager", os.path.join(UNITS, name)], capture_output=True, text=True)
            found = re.search(r"exposure level for \S+: ([\d.]+)", out.stdout)
            if not found:
                bad.append("%s: no answer: %s" % (name, out.stderr[-300:]))
                continue
            print("# %-30s %s" % (name, found.group(1)))
            if float(found.group(1)) > MOST.get(name, MOST_OF_ALL):
                bad.append("%s: %s, more than %.1f" % (name, found.group(1), MOST.get(name, MOST_OF_ALL)))

    with tap.case("systemd understands each unit") as bad, tempfile.TemporaryDirectory() as d:
        # the programs aren't installed here: the copies name one that is
        for path in glob.glob(os.path.join(UNITS, "*.service")) + glob.glob(os.path.join(UNITS, "*.socket")):
            text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", open(path).read(), flags=re.M)
            with open(os.path.join(d, os.path.basename(path)), "w") as f:
                f.write(re.sub(r"^Documentation=.*\n", "", text, flags=re.M))
        units = sorted(os.listdir(d))
        out = subprocess.run([ANALYZE, "verify", "--man=no"] + [os.path.join(d, u) for u in units], capture_output=True, text=True)
        # what is said of other units of this machine isn't about ours
        bad += [line for line in (out.stdout + out.stderr).splitlines() if "sequester" in line]

tap.done()
