#!/usr/bin/env python3
"""Pages that people write stay true to the tree: links resolve, names of code exist, every variable is listed.

    pages_test.py SOURCE_ROOT
"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap

ROOT = os.path.abspath(sys.argv[1])


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def under(folder, suffixes):
    for at, dirs, names in os.walk(os.path.join(ROOT, folder)):
        dirs[:] = [d for d in dirs if d != "__pycache__"]
        for name in sorted(names):
            if name.endswith(suffixes):
                yield os.path.relpath(os.path.join(at, name), ROOT)


PAGES = [p for p in sorted(os.listdir(ROOT)) if p.endswith(".md")] + list(under("docs", (".md",)))

with tap.case("links between pages lead somewhere") as bad:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", read(page)):
            if "://" not in target and not target.startswith("mailto:"):
                if not os.path.exists(os.path.join(ROOT, os.path.dirname(page), target)):
                    bad.append("%s: %s" % (page, target))

with tap.case("ARCHITECTURE.md stays within three screens, and what it names is there") as bad:
    text = read("ARCHITECTURE.md")
    if text.count("\n") > 150:
        bad.append("%d lines" % text.count("\n"))
    code = "\n".join(read(p) for p in under("src", (".c", ".h", ".def")))
    for name in sorted(set(re.findall(r"`(\w+)\(\)`", text))):
        if not re.search(r"\b%s\(" % re.escape(name), code):
            bad.append("there is no function %s()" % name)
    for path in sorted(set(re.findall(r"`((?:src|tests|docs|tools)/[\w./-]+)`", text))):
        if not os.path.exists(os.path.join(ROOT, path)):
            bad.append("there is no " + path)
    short = set(re.findall(r"`((?:lib|daemon|worker|cli)/[\w./-]+)`", text))
    bad += ["there is no src/" + p for p in sorted(short) if not os.path.exists(os.path.join(ROOT, "src", p))]

with tap.case("docs/environment.md lists every variable that is read") as bad:
    listed = set(re.findall(r"^\| `([A-Z_]+)`", read("docs/environment.md"), re.M))
    used = set()
    for path in under("src", (".c",)):
        used.update(re.findall(r'getenv\("([A-Z_]+)"\)', read(path)))
    for path in ["run"] + list(under("tools", (".sh", "check"))):
        used.update(re.findall(r"\$\{((?:SQ|SEQUESTER)_[A-Z_]+)", read(path)))
    bad += ["not listed: " + name for name in sorted(used - listed)]

with tap.case("decisions are numbered without gaps, and each says choice, alternatives, why") as bad:
    names = sorted(os.listdir(os.path.join(ROOT, "docs", "decisions")))
    for want, name in enumerate(names, 1):
        if not name.startswith("%04d-" % want):
            bad.append("%s: expected %04d-..." % (name, want))
        text = read("docs/decisions/" + name)
        bad += ["%s: no section %s" % (name, part) for part in ("Choice", "Alternatives", "Why") if "**%s" % part not in text and "## %s" % part not in text]

tap.done()
