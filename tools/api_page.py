#!/usr/bin/env python3
"""Writes the tables of docs/api.md from routes.def and schemas.def; --check only compares.

    tools/api_page.py            write
    tools/api_page.py --check    exit 1 and say so when the page is older than the tables
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import api_tables  # noqa: E402

NEEDS = {"NONE": "–", "READ": "read", "WRITE": "write", "RESULTS": "results", "SESSION": "session", "MINT": "session, with its second factor where one is required", "STEP_UP": "step-up"}
TYPES = {"count": "number, 0 and up", "integer": "number", "yesno": "true or false", "true": "true", "ms": "number, milliseconds since 1970", "hex16": "16 hex digits",
         "hex32": "32 hex digits", "hex64": "64 hex digits", "job": "id of a job", "code": "code of an error", "event": "event of the audit log",
         "time": "time, `2026-11-22T10:15:00Z`"}


def cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def routes(t):
    lines = ["| method | address | who | needs | rate | audit event | what |", "|---|---|---|---|---|---|---|"]
    for r in t.routes:
        lines.append("| %s | `%s` | %s | %s | %s | %s | %s |" % (r.method, r.path, t.who[r.who][1], NEEDS[r.needs], r.rate.lower(), r.event.replace("-", "–"), cell(r.text)))
    return "\n".join(lines)


def link(obj):
    return "[%s](#object-%s)" % (obj, obj)


def type_text(t, kind):
    base, may_miss, may_null = kind
    inner = base[base.index("(") + 1:-1] if "(" in base else ""
    text = TYPES.get(base, base)
    if base.startswith("word"):
        text = ", ".join("`%s`" % w for w in inner.split())
    elif base.startswith("state"):
        text = ", ".join("`%s`" % w for w in t.states[inner])
    elif base.startswith("one"):
        text = link(inner)
    elif base.startswith("many"):
        text = "list of " + ("texts" if inner == "text" else link(inner))
    return text + (", or null" if may_null else "") + (", may be missing" if may_miss else "")


def reference(t):
    """Each address: what it takes and gives; then the objects, field by field. Errors that every address gives aren't repeated."""
    common = set.intersection(*(set(t.derived_codes(r)) for r in t.routes))
    lines = ["Every address may also give: %s." % ", ".join("`%s`" % c for c in t.errors if c in common), "",
             "| address | takes | answers | errors of its own |", "|---|---|---|---|"]
    for r in t.routes:
        takes = [link(r.body)] if r.body else ["a form with `file`"] if r.kind == "UPLOAD" else []
        takes += ["`?%s=` %s" % (name, what[0].lower() + what[1:].rstrip(".")) for name, _, what, _ in r.query]
        answers = ["%d %s" % (status, ", ".join(link(o) for o in objs) or "bytes") for status, objs, _ in r.answers]
        if r.kind == "DOWNLOAD":
            answers += ["206 a range", "304"]
        if r.kind == "BUILTIN":
            answers.append("304")
        own = [c for c in t.derived_codes(r) if c not in common]
        if r.kind == "UPLOAD":
            own = [c for c in own if not 100 <= t.errors[c][0] < 140] + ["and those of data, 422"]
        lines.append("| %s `%s` | %s | %s | %s |" % (r.method, r.path, "; ".join(takes) or "–", "; ".join(answers), " ".join(own) or "–"))
    lines += ["", "Each answer of a success has `\"success\": true` besides."]
    for name, what in t.objects.items():
        lines += ["", "#### Object %s" % name, "", what]
        if t.fields[name]:
            lines += ["", "| field | type | what |", "|---|---|---|"]
            lines += ["| `%s` | %s | %s |" % (f, type_text(t, kind), cell(text)) for f, (kind, text, _) in t.fields[name].items()]
    return "\n".join(lines)


def main():
    t = api_tables.Tables()
    page = api_tables.read("docs", "api.md")
    new = page
    for name, table in (("routes", routes(t)), ("reference", reference(t))):
        begin, end = "<!-- %s: made by tools/api_page.py -->" % name, "<!-- end of %s -->" % name
        if new.count(begin) != 1 or new.count(end) != 1:
            sys.exit("docs/api.md: the marks of table `%s` are missing" % name)
        head, rest = new.split(begin)
        new = head + begin + "\n" + table + "\n" + end + rest.split(end)[1]
    if "--check" in sys.argv[1:]:
        if new != page:
            sys.exit("docs/api.md is older than routes.def, schemas.def or err.def. Mend: tools/api_page.py")
    else:
        with open(os.path.join(api_tables.ROOT, "docs", "api.md"), "w", encoding="utf-8") as f:
            f.write(new)


if __name__ == "__main__":
    main()
