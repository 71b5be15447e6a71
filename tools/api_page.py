#!/usr/bin/env python3
"""Writes the tables of docs/api.md from src/lib/http/routes.def and src/lib/core/err.def; --check only compares.

    tools/api_page.py            write
    tools/api_page.py --check    exit 1 and say so when the page is older than the tables
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WHO = {"ANYONE": "anyone", "USER": "user", "OPERATOR": "operator", "SIGNED_IN": "user, operator"}


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


def routes():
    row = re.compile(r'^SQ_ROUTE\((\w+),\s*(\d+),\s*(\w+),\s*"([^"]*)",\s*(\w+),\s*(\w+),\s*(\w+),\s*"([^"]*)",\s*"([^"]*)"\)', re.M)
    text = read("src", "lib", "http", "routes.def")
    found = row.findall(text)
    if len(found) != len(re.findall(r"^SQ_ROUTE\(", text, re.M)):
        sys.exit("routes.def: a line that this script can't read")
    lines = ["| method | address | who | rate | audit event | what |", "|---|---|---|---|---|---|"]
    for _, _, method, path, who, rate, _, event, text in found:
        lines.append("| %s | `%s` | %s | %s | %s | %s |" % (method, path, WHO[who], rate.lower(), event.replace("-", "–"),
                                                         text.replace("|", "\\|")))
    return "\n".join(lines)


def errors():
    row = re.compile(r'^SQ_ERR\((\w+),\s*(\d+),\s*(\d+),\s*"([^"]*)",\s*"([^"]*)"\)', re.M)
    text = read("src", "lib", "core", "err.def")
    found = row.findall(text)
    if len(found) != len(re.findall(r"^SQ_ERR\(", text, re.M)):
        sys.exit("err.def: a line that this script can't read")
    lines = ["| code | status | what is wrong | how to mend it |", "|---|---|---|---|"]
    for name, no, status, text, hint in found:
        if no != "0":
            lines.append("| `%s` | %s | %s | %s |" % (name, status, text.replace("|", "\\|"), hint.replace("|", "\\|")))
    return "\n".join(lines)


def main():
    page = read("docs", "api.md")
    new = page
    for name, table in (("routes", routes()), ("errors", errors())):
        begin, end = "<!-- %s: made by tools/api_page.py -->" % name, "<!-- end of %s -->" % name
        if new.count(begin) != 1 or new.count(end) != 1:
            sys.exit("docs/api.md: the marks of table `%s` are missing" % name)
        head, rest = new.split(begin)
        new = head + begin + "\n" + table + "\n" + end + rest.split(end)[1]
    if "--check" in sys.argv[1:]:
        if new != page:
            sys.exit("docs/api.md is older than routes.def or err.def. Mend: tools/api_page.py")
    else:
        with open(os.path.join(ROOT, "docs", "api.md"), "w", encoding="utf-8") as f:
            f.write(new)


if __name__ == "__main__":
    main()
