"""Runs a program and says what it cost; tables of what was measured."""
import os
import statistics
import subprocess
import sys
import tempfile


class Cost:
    """User + system CPU seconds of a program and its children, wall seconds, peak resident MB (10^6 bytes)."""

    def __init__(self, cpu, wall, rss):
        self.cpu, self.wall, self.rss = cpu, wall, rss


def run(argv, out=None, log=None):
    """Runs argv to its end; stdout goes to the file `out`. Leaves this program with the text of the error when it fails.

    GNU time stands between: the peak of a process is at least that of the one that forked it, and Python is large.
    """
    with tempfile.TemporaryDirectory() as tmp:
        cost, err = os.path.join(tmp, "cost"), log or os.path.join(tmp, "err")
        with open(out or os.devnull, "wb") as stdout, open(err, "wb") as stderr:
            code = subprocess.call(["/usr/bin/time", "-q", "-f", "%U %S %e %M", "-o", cost, *map(str, argv)],
                                   stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
        if code:
            raise Failed("%s\nfailed with exit code %d:\n%s" % (" ".join(map(str, argv)), code, open(err, errors="replace").read()[-2000:]))
        user, system, wall, peak = (float(x) for x in open(cost).read().split())
        return Cost(user + system, wall, peak * 1024 / 1e6)


class Failed(Exception):
    pass


def median(costs):
    """The median of each column on its own."""
    return Cost(*(statistics.median(getattr(c, k) for c in costs) for k in ("cpu", "wall", "rss")))


def table(title, columns, rows):
    """Prints a Markdown table; None is an empty field."""
    print("\n%s\n" % title if title else "")
    texts = [["" if x is None else x if isinstance(x, str) else "%g" % x for x in row] for row in [columns, *rows]]
    widths = [max(len(row[i]) for row in texts) for i in range(len(columns))]
    for n, row in enumerate(texts):
        print("| " + " | ".join(x.ljust(w) if i == 0 else x.rjust(w) for i, (x, w) in enumerate(zip(row, widths))) + " |")
        if n == 0:
            print("|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|")
    sys.stdout.flush()


def say(text):
    print(text, file=sys.stderr, flush=True)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown processor")
    flags = next((line.split() for line in open("/proc/cpuinfo") if line.startswith("flags")), [])
    wide = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    load = open("/proc/loadavg").read().split()[0]
    return "%d x %s (%s), Linux %s, load %s" % (os.cpu_count(), model, wide, os.uname().release, load)
