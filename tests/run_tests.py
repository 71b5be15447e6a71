#!/usr/bin/env python3
"""All tests: those that meson knows (tests/unit), then the whole service end to end (tests/e2e). Ends with one line of counts.

    ./run test                      everything
    ./run test vault e2e_main_job   only these (names of meson tests or e2e files)

When everything is run and one or two end-to-end tests fail, those are run once more, alone: what passes then is called SHAKY, with all it said the
first time. It has a race, or what it tests has one: whoever sees that word mends it. Three that fail are a failure at once; a test that is named is run once.
"""
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build-test")
E2E_SECONDS = 3600  # a test that hangs says so; each takes at most some minutes
MAX_AGAIN = 2


def count_tap(text):
    """(passed, failed, skipped) of TAP; subtests are indented and not counted twice."""
    passed = failed = skipped = 0
    for line in text.splitlines():
        if re.match(r"not ok\b", line):
            failed += 1
        elif re.match(r"ok\b.*# *SKIP", line, re.I) or re.match(r"1\.\.0", line):
            skipped += 1
        elif re.match(r"ok\b", line):
            passed += 1
    return passed, failed, skipped


def say(result, name, seconds, counts, text=""):
    print("%-8s %-28s %6.1f s  %d passed, %d failed, %d skipped" % ((result, name, seconds) + counts), flush=True)
    if result == "FAILED":
        print("\n".join("    | " + line for line in text.splitlines()[-60:]), flush=True)


def meson_tests(wanted):
    known = json.loads(subprocess.run(["meson", "introspect", "--tests", BUILD], capture_output=True, text=True, check=True).stdout)
    names = [t["name"] for t in known if not wanted or t["name"] in wanted]
    if not names:
        return []
    subprocess.run(["meson", "test", "-C", BUILD, "--no-rebuild", "--num-processes", "2", "--print-errorlogs", "--timeout-multiplier", "10"] + names,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    done = []
    for line in open(os.path.join(BUILD, "meson-logs", "testlog.json")):
        t = json.loads(line)
        text = (t.get("stdout") or "") + (t.get("stderr") or "")
        counts = count_tap(t.get("stdout") or "")
        is_bad = t["result"] not in ("OK", "SKIP", "EXPECTEDFAIL")
        if counts == (0, 0, 0):
            counts = (0, 1, 0) if is_bad else (0, 0, 1) if t["result"] == "SKIP" else (1, 0, 0)
        elif is_bad and not counts[1]:
            counts = (counts[0], 1, counts[2])  # it died before it could say so
        say("FAILED" if counts[1] else "ok", t["name"].split(" / ")[-1], t["duration"], counts, text)
        done.append((t["name"], counts))
    missing = len(names) - len(done)
    if missing > 0:
        done.append(("not run", (0, missing, 0)))
    return done


def e2e_test(path):
    name = os.path.basename(path)[:-3]
    start = time.monotonic()
    try:
        p = subprocess.run([sys.executable, path], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=E2E_SECONDS,
                           env=dict(os.environ, SEQUESTER_TEST_BUILD=BUILD))
        text, rc = p.stdout + p.stderr, p.returncode
        counts = count_tap(p.stdout)
    except subprocess.TimeoutExpired as e:
        text, rc, counts = (e.stdout or b"").decode(errors="replace") + (e.stderr or b"").decode(errors="replace") + str(e), 1, (0, 0, 0)
    if rc and not counts[1]:
        counts = (counts[0], counts[1] + 1, counts[2])
    say("FAILED" if counts[1] else "ok", name, time.monotonic() - start, counts, text)
    return name, counts


def once_more(done, files):
    """The results of @done, with those of a second run in place of one or two failures."""
    bad = [i for i, (_, counts) in enumerate(done) if counts[1]]
    if len(bad) > MAX_AGAIN:
        return done
    for i in bad:
        done[i] = e2e_test(files[i])
        if not done[i][1][1]:
            print("SHAKY    %s failed beside others and passed alone: see above, and mend it" % done[i][0], flush=True)
    return done


def production_has_no_hooks():
    """A movable clock would be a mass-erase button: no program of the production build may know it."""
    bad = []
    for name in ("parent", "gateway", "registrar", "keeper", "storer", "runner", "jailer", "courier", "worker"):
        path = os.path.join(ROOT, "build", "sequester-" + name)
        symbols = subprocess.run(["nm", path], capture_output=True, text=True).stdout
        if not symbols or re.search(r"\bsq_hooks_map\b|\bsq_stage_probe\b", symbols):
            bad.append(name)
    counts = (0, 1, 0) if bad else (1, 0, 0)
    say("FAILED" if bad else "ok", "production_has_no_hooks", 0.0, counts, "with hooks: " + " ".join(bad))
    return "production_has_no_hooks", counts


def main():
    wanted = sys.argv[1:]
    done = meson_tests(wanted)
    if not wanted:
        done.append(production_has_no_hooks())
    here = os.path.join(ROOT, "tests", "e2e")
    files = [os.path.join(here, f) for f in sorted(os.listdir(here)) if f.startswith("e2e_") and f.endswith(".py") and (not wanted or f[:-3] in wanted)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        e2e = list(pool.map(e2e_test, files))
    done += e2e if wanted else once_more(e2e, files)
    passed, failed, skipped = (sum(c[i] for _, c in done) for i in range(3))
    if not passed and not failed:
        failed = 1  # nothing ran
    print("%d passed, %d failed%s" % (passed, failed, ", %d skipped" % skipped if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
