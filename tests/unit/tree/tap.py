"""A few lines of TAP for tests over the tree: `with tap.case(name)`, errors are collected and named one a line."""
import contextlib
import sys
import traceback

count, failed = 0, 0


@contextlib.contextmanager
def case(name):
    """Findings are appended to the list that this yields; an empty list at the end is a pass."""
    global count, failed
    findings = []
    try:
        yield findings
    except Exception:
        findings.append(traceback.format_exc())
    count += 1
    failed += bool(findings)
    print("%s %d - %s" % ("not ok" if findings else "ok", count, name))
    for finding in findings:
        print("# " + str(finding).replace("\n", "\n# "))


def skip(name, why):
    global count
    count += 1
    print("ok %d - %s # SKIP %s" % (count, name, why))


def done():
    print("1..%d" % count)
    sys.exit(1 if failed else 0)
