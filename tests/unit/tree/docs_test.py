#!/usr/bin/env python3
"""What the pages tell people to type or to look at exists: commands and their options, keys of the configuration, tests, files, parts of pages.

    docs_test.py SOURCE_ROOT
"""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tap

ROOT = os.path.abspath(sys.argv[1])
BUILD = sys.argv[2] if len(sys.argv) > 2 else None


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


PAGES = [p for p in sorted(os.listdir(ROOT)) if p.endswith(".md")]
for at, _, names in os.walk(os.path.join(ROOT, "docs")):
    PAGES += [os.path.relpath(os.path.join(at, n), ROOT) for n in sorted(names) if n.endswith(".md")]

OPTIONS = {n: n.replace("_", "-") for n in re.findall(r"^SQ_OPT\((\w+),", read("src/cli/options.def"), re.M)}
LOCAL = {o.replace("_", "-") for o in re.findall(r"^SQ_LOCAL_OPT\((\w+),", read("src/lib/jobs/local_options.def"), re.M)}
COMMANDS = {}
for name, handler, opts in re.findall(r'^SQ_CMD\("([^"]+)", (\w+), "[^"]*", \d+, \d+, "([^"]*)"', read("src/cli/commands.def"), re.M):
    COMMANDS[name] = {OPTIONS[o] for o in opts.split()} | {"help", "json"} | (LOCAL if handler == "cmd_local" else set())
KEYS = set(re.findall(r"^SQ_KEY\((\w+),", read("src/lib/core/config.def"), re.M))


def blocks(page):
    """Lines of code blocks, without comments; then `inline code`."""
    text = read(page)
    lines = []
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S):
        lines += re.sub(r"\\\n\s*", " ", block).splitlines()
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return lines, re.findall(r"`([^`\n]+)`", text)


def command_of(words):
    for n in (3, 2, 1):
        if " ".join(words[:n]) in COMMANDS:
            return " ".join(words[:n])
    return None


with tap.case("parts of pages that links name are there") as bad:
    def anchors(path):
        text = re.sub(r"^```.*?^```", "", read(path), flags=re.M | re.S)
        return {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.M)}
    for page in PAGES:
        for target, part in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", read(page)):
            path = os.path.normpath(os.path.join(os.path.dirname(page), target)) if target else page
            if "://" not in target and path.endswith(".md") and part not in anchors(path):
                bad.append("%s: %s#%s" % (page, target, part))

with tap.case("every `sequester` command in a page is one, with options that it has") as bad:
    n = 0
    for page in PAGES:
        if page.startswith("docs/formats"):
            continue
        lines, inline = blocks(page)
        for text in lines + inline:
            for call in re.findall(r"(?:^|[\s|;&(])sequester ((?:[a-z]+ ?)+)([^|;&#]*)", re.sub(r"(^|\s)#.*", "", text)):
                words = call[0].split()
                name = command_of(words)
                if name is None and command_of(["admin"] + words) is None and not any(c.startswith(" ".join(words) + " ") for c in COMMANDS):
                    bad.append("%s: sequester %s" % (page, call[0]))
                elif name:
                    n += 1
                    bad += ["%s: sequester %s has no --%s" % (page, name, o) for o in re.findall(r"(?:^|\s)--([a-z][a-z-]*)", call[1]) if o not in COMMANDS[name]]
    if n < 100:
        bad.append("only %d commands were found" % n)

with tap.case("every `sequester` command that programs and scripts tell people to type is one, with options that it has") as bad:
    n = 0
    for at, _, names in [(ROOT, [], ["run"]), *os.walk(os.path.join(ROOT, "src")), *os.walk(os.path.join(ROOT, "tools")), *os.walk(os.path.join(ROOT, "deploy"))]:
        for path in (os.path.relpath(os.path.join(at, x), ROOT) for x in names if x.endswith((".c", ".h", ".def", ".sh", ".service")) or x == "run"):
            text = re.sub(r"\\\n\s*", " ", read(path))
            if path.endswith((".c", ".h", ".def")):  # strings, joined as the compiler does
                text = "\n".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', re.sub(r'"\s*\n\s*"', "", text))).replace("\\n", "\n")
            for mark, words, rest in re.findall(r"(?:^|[\s|;&(/]|(`))sequester ((?:[a-z]+ ?)+)(.*?)(?=[|;&#`]|\. |$)", text, re.M):
                name = command_of(words.split())
                n += 1
                if name:
                    bad += ["%s: sequester %s has no --%s" % (path, name, o) for o in re.findall(r"(?:^|\s)--([a-z][a-z-]*)", rest) if o not in COMMANDS[name]]
                elif mark and command_of(["admin"] + words.split()) is None and not any(c.startswith(words.strip() + " ") for c in COMMANDS):
                    bad.append("%s: sequester %s" % (path, words))
    if n < 150:
        bad.append("only %d commands were found" % n)

with tap.case("what commands without a server say of an error is not about a server, its operator or its users") as bad:
    def sources(*dirs):
        for d in dirs:
            for at, _, names in os.walk(os.path.join(ROOT, d)):
                yield from (os.path.relpath(os.path.join(at, x), ROOT) for x in names if x.endswith((".c", ".h")))
    errors = {n: (text, hint) for n, text, hint in re.findall(r'^SQ_ERR\((\w+),[^"]*"([^"]*)", "([^"]*)"\)', read("src/lib/core/err.def"), re.M)}
    local = re.findall(r'^SQ_LOCAL_HINT\((\w+), "([^"]*)", "([^"]*)", "([^"]+)"\)', read("src/worker/local_hints.def"), re.M)
    named = set()
    for path in [*sources("src/worker", "src/lib/panel", "src/lib/formats", "src/lib/engine", "src/lib/demux", "src/lib/runs"), "src/lib/core/file.c", "src/lib/core/buf.c", "src/lib/wire/wire.c"]:
        named |= set(re.findall(r"\bSQ_(E[A-Z]+)\b", read(path))) & set(errors)
    if len(named) < 40 or len(local) < 30:
        bad.append("only %d codes, %d hints were found" % (len(named), len(local)))
    own = {n for n, field, _, _ in local if not field}
    said = [(n, text or errors[n][0], hint) for n, _, text, hint in local] + [(n, *errors[n]) for n in sorted(named - own)]
    server = r"\b(operator|service|server|upload\w*|route|account|quota is|your quota or|jobs?|body|api|parameter|phasing=\w+|how missing calls)\b"
    bad += ["%s: %s / %s" % row for row in said if re.search(server, row[1] + " " + row[2], re.I)]

with tap.case("docs/formats/sample-sheet.md has the settings and limits of the sheet's tables, and no others") as bad:
    page, header = read("docs/formats/sample-sheet.md"), "".join(read("src/lib/demux/" + h) for h in ("sample_sheet.h", "sheet_internal.h", "override_cycles.h"))
    part = {t: body for t, body in re.findall(r"^## (.*)\n((?:(?!^## ).*\n)*)", page, re.M)}
    taken, _, rest = part["Settings"].partition("**Refused**")
    refused, _, ignored = rest.partition("**Passed over**")
    said = {(n, o, s) for n, o, s in re.findall(r"^\| `(\w+)` \| `([\w-]+)` \|.*\| (all|run) \|$", taken, re.M)}
    made = {(n, o, "all" if s == "ANY" else "run") for n, o, s in re.findall(r"^SQ_SHEET_SETTING\((\w+), ([\w-]+),.*, (ANY|RUN)\)", read("src/lib/demux/sheet_settings.def"), re.M)}
    bad += ["setting: %s %s %s" % x for x in sorted(said ^ made)]
    ranges = dict(re.findall(r"^SQ_SHEET_SETTING\((\w+), [\w-]+, COUNT, [^,]+, (\d+, \d+),", read("src/lib/demux/sheet_settings.def"), re.M))
    bad += ["values of " + n for n, r in ranges.items() if not re.search(r"^\| `%s` \| [^|]+ \| %s \|" % (n, r.replace(", ", " to ")), taken, re.M)]
    said = {(n, tuple(re.findall(r"`(\w+)`", v))) for names, v in re.findall(r"^\| (`.*`) \| ?(.*)\|$", refused, re.M) for n in re.findall(r"`(\w+)`", names)}
    made = {(n, tuple(v.split("|")) if v else ()) for n, v in re.findall(r'^SQ_SHEET_REFUSED\((\w+), "([^"]*)"', read("src/lib/demux/sheet_refused.def"), re.M)}
    bad += ["refused: %s %s" % x for x in sorted(said ^ made)]
    bad += ["passed over: " + x for x in sorted(set(re.findall(r"`(\w+)`", ignored)) - {"custom_"} ^ set(re.findall(r"^SQ_SHEET_IGNORED\((\w+)\)", read("src/lib/demux/sheet_ignored.def"), re.M)))]
    names = set(re.findall(r"`(S\w+_MAX_\w+)`", page))
    for name in sorted(names):
        m = re.search(r"#define %s (?:\((\d+)U << (\d+)\)|(\d+)U)" % name, header)
        n = m and (int(m[1]) << int(m[2]) if m[1] else int(m[3]))
        at = page.index("`%s`" % name)
        if not n or not re.search(r"\b%d\b" % n, page[page.rindex("\n", 0, page.rindex("\n", 0, at)):page.index("\n", at)]):
            bad.append("limit %s: %s" % (name, n))
    if len(names) < 9 or not made:
        bad.append("only %d limits were found" % len(names))

with tap.case("every `./run` command is one") as bad:
    known = set(re.search(r"^(build \|.*?)\)", read("run"), re.M).group(1).replace(" ", "").split("|")) | {"help"}
    for page in PAGES:
        for text in sum(map(list, blocks(page)), []):
            bad += ["%s: ./run %s" % (page, c) for c in re.findall(r"\./run ([a-z]+)", text) if c not in known]

with tap.case("keys of the configuration that pages set exist") as bad:
    n = 0
    for page in PAGES:
        if page.startswith("docs/formats"):
            continue
        lines, inline = blocks(page)
        for text in inline + [x for x in lines if re.match(r"[a-z_]+ = \S+$", x)]:
            m = re.match(r"([a-z][a-z_]+) = \S+", text)
            if m and m.group(1) != "key":
                n += 1
                if m.group(1) not in KEYS:
                    bad.append("%s: %s" % (page, text))
    if n < 3:
        bad.append("only %d settings were found" % n)

with tap.case("tests that pages name exist") as bad:
    known = {f[:-3] for f in os.listdir(os.path.join(ROOT, "tests", "e2e"))}
    for page in PAGES:
        bad += ["%s: %s" % (page, t) for t in set(re.findall(r"`(e2e_\w+)`", read(page))) if t not in known]
    if BUILD:  # the last column of the threat model, the test column of the auditor's page
        p = subprocess.run([os.environ.get("MESON", "meson"), "introspect", "--tests", BUILD], capture_output=True, text=True)
        known |= {t["name"] for t in json.loads(p.stdout)}
        for page in ("docs/threat-model.md", "docs/auditor.md"):
            for row in re.findall(r"^\|.*\|$", read(page), re.M):
                if row.count("|") >= 5:
                    bad += ["%s: %s" % (page, t) for t in re.findall(r"`([a-z0-9_]+)`", row.split("|")[-2]) if t not in known]

with tap.case("files that pages name are there") as bad:
    for page in PAGES:
        if page == "docs/controls.md":
            continue  # it also names what is planned
        for path in set(re.findall(r"`((?:src|tests|docs|tools|bench|deploy)/[\w./-]*\w)`", read(page))):
            if not os.path.exists(os.path.join(ROOT, path)) and not re.search("N[A-Z]{3}", path):
                bad.append("%s: %s" % (page, path))

with tap.case("errors and HTTP codes that pages name are those of err.def") as bad:
    status = dict((n, s) for n, _, s in re.findall(r"^SQ_ERR\((\w+),\s*(\d+),\s*(\d+)", read("src/lib/core/err.def"), re.M))
    for page in PAGES:
        for s, code in re.findall(r"\b([45]\d\d) `(E[A-Z]+)`", read(page)):
            if status.get(code) != s:
                bad.append("%s: %s %s" % (page, s, code))

tap.done()
