#!/usr/bin/env python3
"""The layout is the architecture: src/LAYERS against what the files include, and a few habits of the tree.

    layers_test.py SOURCE_ROOT
"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap

ROOT = os.path.abspath(sys.argv[1])
MOST_LINES = 1200
REFERENCE = ("LICENSE", "docs/cli.md", "docs/api.md",  # pages made from the tables are as long as those
             "src/lib/identity/breached_passwords.txt")  # data

# Headers of the C library and of the kernel: any room may use them. All others must stand in LAYERS.
SYSTEM_PREFIX = ("linux/", "sys/", "net/", "netinet/", "arpa/", "asm/")
SYSTEM = set("""arm_neon.h ctype.h dirent.h errno.h fcntl.h float.h fnmatch.h getopt.h grp.h immintrin.h inttypes.h libgen.h limits.h locale.h malloc.h
math.h netdb.h poll.h pthread.h pwd.h sched.h setjmp.h signal.h spawn.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h
nss.h stdio.h stdlib.h stdnoreturn.h string.h strings.h termios.h time.h unistd.h""".split())

# Names that may stand more than once. main.c and confine.c: each program has its own, STYLE's rule. events.def: the events
# of the operator's log (core) and those of the audit log (audit). config.c: the table of keys (core), the file (parent).
TWICE = {"main.c", "confine.c", "meson.build", "events.def", "config.c"}

SKIP_DIRS = {".git", "__pycache__"}
TEXT = (".c", ".h", ".def", ".py", ".sh", ".sql", ".build", ".txt", ".md", ".in")
DATA = ("tests/data/", "tests/golden/", "tests/fuzz/seeds/")


def files():
    for folder, dirs, names in os.walk(ROOT):
        dirs[:] = [d for d in dirs if d not in SKIP_DIRS and not (folder == ROOT and d.startswith("build"))]
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), ROOT)


def is_text(path):
    name = os.path.basename(path)
    return not path.startswith(DATA) and (name.endswith(TEXT) or "." not in name)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def read_layers():
    """room -> (rooms it may include, foreign prefixes), in the order of the file."""
    layers = {}
    for line in read("src/LAYERS").splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        room, _, rest = line.partition(":")
        ours, _, foreign = rest.partition("|")
        layers[room.strip()] = ([w for w in ours.split() if w != "-"], foreign.split())
    return layers


def room_of(path):
    parts = path.split("/")
    return "/".join(parts[:2] if parts[1] in ("worker", "cli", "web") else parts[:3])


ALL = sorted(files())
SOURCES = [p for p in ALL if p.startswith("src/") and p.endswith((".c", ".h", ".def"))]
LAYERS = read_layers()


def includes(path):
    for no, line in enumerate(read(path).splitlines(), 1):
        m = re.match(r'\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', line)
        if m:
            yield no, m.group(1), m.group(2)


with tap.case("LAYERS: a library includes only rooms above it, a program only libraries") as bad:
    seen = []
    for room, (ours, _) in LAYERS.items():
        for other in ours:
            if other not in LAYERS:
                bad.append("%s: there is no room %s" % (room, other))
            elif not other.startswith("src/lib/"):
                bad.append("%s may not include %s: only libraries are included" % (room, other))
            elif other not in seen:
                bad.append("%s: %s doesn't stand above it" % (room, other))
        seen.append(room)
    if LAYERS["src/lib/core"][0] or LAYERS["src/lib/engine"][0] != ["src/lib/core"]:
        bad.append("core includes nothing of ours, engine includes core alone")

with tap.case("LAYERS: what has one owner has one owner") as bad:
    for prefix, owners in {"openssl/": {"src/lib/crypt"}, "argon2": {"src/lib/crypt"}, "sqlite3": {"src/lib/db"},
                           "htslib/": {"src/lib/formats", "src/worker"}, "microhttpd": {"src/lib/http"}}.items():
        found = {room for room, (_, foreign) in LAYERS.items() if prefix in foreign}
        if found != owners:
            bad.append("%s: %s, expected %s" % (prefix, sorted(found), sorted(owners)))
    sealed_off = {"src/worker": ["src/lib/crypt", "src/lib/http", "src/lib/db", "src/lib/vault", "src/lib/store"],
                  "src/daemon/gateway": ["src/lib/db", "src/lib/store", "src/lib/formats", "src/lib/identity"],
                  "src/daemon/keeper": ["src/lib/http", "src/lib/db", "src/lib/store", "src/lib/formats"],
                  "src/daemon/storer": ["src/lib/vault", "src/lib/db", "src/lib/http", "src/lib/formats"],
                  "src/daemon/runner": ["src/lib/formats", "src/lib/engine", "src/lib/db", "src/lib/http", "src/lib/store"],
                  "src/daemon/jailer": ["src/lib/crypt", "src/lib/vault", "src/lib/formats", "src/lib/http", "src/lib/db"],
                  "src/daemon/parent": ["src/lib/crypt", "src/lib/vault", "src/lib/formats", "src/lib/http", "src/lib/db"],
                  "src/daemon/registrar": ["src/lib/vault", "src/lib/formats", "src/lib/engine"],
                  "src/daemon/courier": ["src/lib/vault", "src/lib/formats", "src/lib/db", "src/lib/store", "src/lib/audit", "src/lib/identity", "src/lib/http"]}
    for room, never in sealed_off.items():
        bad += ["%s may never include %s" % (room, other) for other in never if other in LAYERS[room][0]]

with tap.case("includes are those of LAYERS, spelled from src/") as bad:
    for path in SOURCES:
        room = room_of(path)
        if room not in LAYERS:
            bad.append("%s: room %s doesn't stand in src/LAYERS" % (path, room))
            continue
        ours, foreign = LAYERS[room]
        for no, mine, other in includes(path):
            where = "%s:%d: " % (path, no)
            if mine:
                generated = not os.path.exists(os.path.join(ROOT, "src", mine))
                if generated and (room, mine) in (("src/lib/db", "schema.h"), ("src/daemon/gateway", "openapi_json.h"), ("src/lib/identity", "breached_table.h")):
                    continue  # made from schema.sql, docs/openapi.json and breached_passwords.txt in these rooms
                if generated:
                    bad.append(where + '"%s" is not spelled from src/ (or not there)' % mine)
                    continue
                target = room_of("src/" + mine)
                if target != room and target not in ours:
                    bad.append(where + "%s may not include %s" % (room, target))
                if target != room and mine.endswith("_internal.h"):
                    bad.append(where + "%s never leaves its room" % mine)
            elif not (other in SYSTEM or other.startswith(SYSTEM_PREFIX) or other.startswith(tuple(foreign) or ("\0",))):
                bad.append(where + "<%s> is not listed for %s" % (other, room))

with tap.case("file names are unique in src/") as bad:
    by_name = {}
    for path in ALL:
        if path.startswith("src/") and os.path.basename(path) not in TWICE:
            by_name.setdefault(os.path.basename(path), []).append(path)
    bad += [" and ".join(paths) for paths in by_name.values() if len(paths) > 1]

with tap.case("no file above %d lines" % MOST_LINES) as bad:
    for path in ALL:
        if is_text(path) and path not in REFERENCE:
            n = read(path).count("\n")
            if n > MOST_LINES:
                bad.append("%s: %d lines" % (path, n))

with tap.case("nothing is left for later, nothing points to somebody's machine") as bad:
    later = re.compile(r"\b(TODO|FIXME|HACK|XXX|[Ss]tub(?:s|bed)?)\b")
    # a path into a home or working directory; addresses of the API and of web pages have something in front
    local = re.compile(r"(?<![\w.:/}-])/(?:home|work|Users|root)/[\w.]")
    for path in ALL:
        if not is_text(path) or path == os.path.join("tests", "unit", "tree", "layers_test.py"):
            continue
        for no, line in enumerate(read(path).splitlines(), 1):
            for pattern in (later, local):
                m = pattern.search(line)
                if m:
                    bad.append("%s:%d: %s" % (path, no, m.group(0)))

with tap.case("every header has an include guard named after its path") as bad:
    for path in SOURCES:
        if not path.endswith(".h"):
            continue
        guards = re.findall(r"^#ifndef (SQ_\w+_H)\n#define (SQ_\w+_H)$", read(path), re.M)
        if not guards or guards[0][0] != guards[0][1]:
            bad.append(path + ": no guard")

tap.done()
