#!/usr/bin/env python3
"""Writes docs/errors.md, docs/config.md and docs/promises.md from the tables of src/lib/core; --check only compares.

    tools/core_pages.py            write
    tools/core_pages.py --check    exit 1 and say so when a page is older than its list
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

ERRORS = """# Errors

<!-- made by tools/core_pages.py from src/lib/core/err.def: change that, then run it -->

Everything that can fail in Sequester fails with one of these codes: in the API's answers (`code`), in the command line's messages, in
the log (`code=`), and between the processes (`number`). Numbers and names are never reused. Texts carry no names, genotypes or secrets.

What people did wrong comes with the place where one is known (`line`, `column`, `field`, `detail`). Where the hint says "under this id", the
operator finds the cause in the log: `grep id=ID`. In a test build `SQ_TRACE=err` prints the file and line where an error was born.
"""

CONFIG = """# Configuration

<!-- made by tools/core_pages.py from src/lib/core/config.def: change that, then run it -->

One file, `key = value` a line, `;` begins a comment. An unknown key, a wrong type, a value out of its range stops the start with a message that
names the line. `sequester init DIR` writes a first file, `sequester admin config check FILE` checks one with the files it names, and
`sequester admin config explain` prints this table.

Parent reads the file and sends each process the keys that it needs, nothing else (column *for*). A change takes effect when the service is started again.
"""

PROMISES = """# Promises that depend on the machine

<!-- made by tools/core_pages.py from src/lib/core/promises.def: change that, then run it -->

What the service promises of the machine that it runs on, and what keeps a promise from being held there. The service starts all the same,
except without encrypted swap (`allow_swap`), and says so: each loss is a line `event=not_held promise=... reason=...` in the log at start, and
`sequester admin status` shows all promises, held or not, with the reason and how to have them. Nothing is silently done in a weaker way: where
no sandbox can be started, nothing is parsed.

| promise | what it says | how it is probed |
|---|---|---|"""

GROUPS = {"requests": "Requests", "sealed objects": "Sealed objects", "audit log": "Audit log", "our own machinery": "Our own machinery",
          "outside data: genotypes": "Genotypes from outside", "work": "Work"}


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def cell(text):
    return text.replace("|", "\\|")


def lost(path, text, macro, n):
    if n != len(re.findall(r"^%s\(" % macro, text, re.M)):
        sys.exit("%s: a line that this script can't read" % path)


def errors():
    path = "src/lib/core/err.def"
    text = read(path)
    row = re.compile(r'SQ_ERR\((\w+),\s*(\d+),\s*(\d+),\s*"([^"]*)",\s*"([^"]*)"\)$')
    out, n = [ERRORS], 0
    for line in text[text.index("*/") + 2:].splitlines():
        group, found = re.match(r"/\* (.+?) \*/$", line), row.match(line)
        if group:
            name = group.group(1)
            out.append("\n## %s\n\n| number | code | HTTP | what is wrong | how to mend it |\n|---|---|---|---|---|" %
                       GROUPS.get(name, name[0].upper() + name[1:]))
        elif found:
            name, no, status, what, hint = found.groups()
            n += 1
            if no != "0":
                out.append("| %s | `%s` | %s | %s | %s |" % (no, name, status, cell(what), cell(hint)))
    lost(path, text, "SQ_ERR", n)
    return "\n".join(out) + "\n"


def config():
    path = "src/lib/core/config.def"
    text = read(path)
    found = re.findall(r'^SQ_KEY\((\w+),\s*(\w+),\s*"([^"]*)",\s*"([^"]*)",\s*"([^"]*)"\)', text, re.M)
    lost(path, text, "SQ_KEY", len(found))
    out = [CONFIG, "| key | type | default | for | what |\n|---|---|---|---|---|"]
    kinds = {"TEXT": "text", "PATH": "path", "NUMBER": "number", "YESNO": "yes or no", "URL": "URL", "MAIL": "mail address", "WORD": "word", "RATES": "rates"}
    for name, kind, default, who, what in found:
        out.append("| `%s` | %s | %s | %s | %s |" % (name, kinds[kind], "`%s`" % cell(default) if default else "–", who.replace(" ", ", "), cell(what)))
    return "\n".join(out) + "\n"


def promises():
    path = "src/lib/core/promises.def"
    text = read(path)
    said = re.findall(r'^SQ_PROMISE\((\w+),\s*"([^"]*)",\s*"([^"]*)"\)$', text, re.M)
    losses = re.findall(r'^SQ_LOSS\((\w+),\s*(\w+),\s*"([^"]*)",\s*"([^"]*)"\)$', text, re.M)
    lost(path, text, "SQ_PROMISE", len(said))
    lost(path, text, "SQ_LOSS", len(losses))
    out = [PROMISES] + ["| `%s` | %s | %s |" % (name, cell(what), cell(probe)) for name, what, probe in said]
    out.append("\n## Not held, why, and how to have it\n\n| promise | reason | why it isn't held | how to have it |\n|---|---|---|---|")
    out += ["| `%s` | `%s` | %s | %s |" % (promise, name, cell(why), cell(mend)) for name, promise, why, mend in losses]
    return "\n".join(out) + "\n"


def main():
    is_check = "--check" in sys.argv[1:]
    for page, new, source in (("docs/errors.md", errors(), "err.def"), ("docs/config.md", config(), "config.def"),
                              ("docs/promises.md", promises(), "promises.def")):
        path = os.path.join(ROOT, page)
        if is_check:
            if not os.path.exists(path) or read(page) != new:
                sys.exit("%s is older than %s. Mend: tools/core_pages.py" % (page, source))
        else:
            with open(path, "w", encoding="utf-8") as f:
                f.write(new)


if __name__ == "__main__":
    main()
