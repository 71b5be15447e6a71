#!/usr/bin/env python3
"""Writes docs/protocol.md from src/lib/wire/messages.def; --check only compares.

    tools/protocol_page.py            write
    tools/protocol_page.py --check    exit 1 and say so when the page is older than the list
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIST = "src/lib/wire/messages.def"
PAGE = "docs/protocol.md"

HEAD = """# Messages between our processes

<!-- made by tools/protocol_page.py from src/lib/wire/messages.def: change that, then run it -->

Struct, encoder, decoder, trace name and the right to send all come from one list, `src/lib/wire/messages.def`; this page too.

**Carrier**: an `AF_UNIX` `SOCK_SEQPACKET` socket that parent made, one message a packet, descriptors by `SCM_RIGHTS`. Who has no row below for a pair
of processes has no socket between them either (`links` in `src/daemon/parent/children.c`). The sandboxed worker has a socket pair with runner; the
operator's command line connects to `run_dir/admin.sock`, and the kernel says which uid it is.

**Packet**, little-endian: u16 number, u16 0, u64 call, then the fields in order. `call` is 0 for a message that wants no reply; a reply carries the call
number of its request. At most 65,536 bytes and 16 descriptors.

| field | bytes |
|---|---|
| u8, u16, u32, u64 | little-endian |
| N bytes | exactly N |
| text ≤ N | u32 length, then UTF-8 without control characters |
| blob ≤ N | u32 length, then any bytes |
| ids ≤ N | u32 count, then 16 bytes each |
| descriptor, descriptors ≤ N | u8 count; the descriptors in the ancillary data |

**First** each end sends `hello` with a hash of the whole list; other lists end the start. **Both ends check** sender, receiver, moment, every
maximum, and that nothing is left over. A message that breaks this ends the process that sent it: the receiver tells parent (`bad_peer`). The
handler is `on_NAME()` in the receiver's folder and checks its arguments again, as if the sender were hostile.

`when`: *hello* only first; *any* after it; *unsealed* while keeper holds its root key, else `ESEALED`. Any request may be answered by
`error_is` instead of its reply.
"""

TAIL = """
## The plan of a package

`task_package.plan` is text, one line each, LF-ended: `entry NAME` begins an entry of the package, and each `object INDEX` after it appends the
plaintext of `objects[INDEX]`. Every object is used exactly once; an entry has at least one. Names are those that the zip writer allows, none twice.
Runner puts the entry with the check text in front and the manifest at the end: [result-package](formats/result-package.md).

```
entry chr22.dose.vcf.gz
object 0
object 1
entry chr22.dose.vcf.gz.tbi
object 2
```
"""

NAMES = {"U8": "u8", "U16": "u16", "U32": "u32", "U64": "u64"}


def field(kind, args):
    name, _, most = args.partition(",")
    name, most = name.strip(), most.strip()
    shape = {"BYTES": most + " bytes", "STR": "text ≤ " + most, "BLOB": "blob ≤ " + most, "IDS": "ids ≤ " + most,
             "FD": "descriptor", "FDS": "descriptors ≤ " + most}.get(kind) or NAMES[kind]
    return "`%s` %s" % (name, shape)


def fields(text):
    found = re.findall(r"(\w+)\(([^)]*)\)", text)
    return ", ".join(field(kind, args) for kind, args in found) or "–"


def page():
    with open(os.path.join(ROOT, LIST), encoding="utf-8") as f:
        text = f.read()
    body = text[text.index("*/") + 2:]
    out = [HEAD]
    is_table, notes = False, []
    pos, n = 0, 0
    row = re.compile(r"SQ_MSG\((\w+),\s*(\d+),\s*(\w+),\s*(\w+),\s*(\w+),\s*(\w+),[ \t]*([^\n]*?)\)[ \t]*(?:/\*([^\n]*?)\*/)?[ \t]*(?:\n|$)")
    section = re.compile(r"/\* -{4,} ([^\n]+?) -{4,} \*/")
    comment = re.compile(r"/\*(.*?)\*/", re.S)
    while pos < len(body):
        m = section.match(body, pos)
        if m:
            out.append("## %s\n" % (m.group(1)[0].upper() + m.group(1)[1:]))
            is_table = False
        else:
            m = comment.match(body, pos)
            if m:
                words = " ".join(line.strip().lstrip("*").strip() for line in m.group(1).strip().splitlines())
                notes.append(words[0].upper() + words[1:])
            else:
                m = row.match(body, pos)
                if m:
                    name, no, sender, to, when, reply, what, note = m.groups()
                    if not is_table or notes:
                        if notes:
                            out.append("\n".join(notes) + "\n" if not is_table else "\n" + "\n".join(notes) + "\n")
                        out.append("| no | message | from | to | when | reply | fields |\n|---|---|---|---|---|---|---|")
                        is_table, notes = True, []
                    told, note = fields(what), (note or "").strip()
                    told = note if note and told == "–" else told + (" (%s)" % note if note else "")
                    out.append("| %s | `%s` | %s | %s | %s | %s | %s |" % (no, name, sender.lower(), to.lower(), when.lower(),
                               "`%s`" % reply if reply != "none" else "–", told.replace("|", "\\|")))
                    n += 1
                elif body[pos] == "\n":
                    if is_table and body[pos:pos + 2] == "\n\n":
                        is_table = False
                    pos += 1
                    if body[pos:pos + 4] == "/* -":
                        out.append("")
                    continue
                else:
                    sys.exit("%s: text that this script can't read: %.60r" % (LIST, body[pos:]))
        pos = m.end()
    if n != len(re.findall(r"^SQ_MSG\(", text, re.M)):
        sys.exit("%s: a row was lost" % LIST)
    return "\n".join(out).rstrip() + "\n" + TAIL


def main():
    new = page()
    path = os.path.join(ROOT, PAGE)
    if "--check" in sys.argv[1:]:
        old = open(path, encoding="utf-8").read() if os.path.exists(path) else ""
        if new != old:
            sys.exit("%s is older than %s. Mend: tools/protocol_page.py" % (PAGE, LIST))
    else:
        with open(path, "w", encoding="utf-8") as f:
            f.write(new)


if __name__ == "__main__":
    main()
