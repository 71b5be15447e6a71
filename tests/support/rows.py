"""The database against the audit log: rows inserted less rows deleted, over all entries and what isn't told yet, are the rows that there are.

So no row comes or goes without standing in the log, wherever anything was killed: change and entry are in one transaction, both or none. hub.py asks
after every end-to-end test; one that edits the database or puts an old one back says `hub.rows_may_differ = True`.
"""
import contextlib
import os
import re
import sqlite3
import struct

OF_THE_LOG = ("outbox", "audit_ref")
ROWS_FIELD = 100


def rows_of(entry):
    """(read, inserted, changed, deleted) of an entry's bytes; docs/formats/audit-log.md."""
    at = 96
    for _ in range(entry[6]):
        no, n = struct.unpack_from("<HH", entry, at)
        if no == ROWS_FIELD:
            return struct.unpack_from("<4Q", entry, at + 20)
        at += 20 + n
    return 0, 0, 0, 0


def log_entries(log_dir):
    """{number: bytes}; an entry that a crash cut off at the end isn't one."""
    entries = {}
    for name in sorted(os.listdir(log_dir)):
        if not re.match(r"\d{8}\.seg$", name):
            continue
        data, at = open(os.path.join(log_dir, name), "rb").read(), 16
        while at + 4 <= len(data):
            (n,) = struct.unpack_from("<I", data, at)
            if not 96 <= n <= 8448 or at + 4 + n + 32 > len(data):
                break
            entry = data[at + 4:at + 4 + n]
            entries[struct.unpack_from("<Q", entry, 8)[0]] = entry
            at += 4 + n + 32
    return entries


def of_state(state):
    """(entries' rows by number, rows not told yet, tables and their rows) of a hub that has stopped; `state` is its state directory."""
    base = os.path.join(state, "registrar")
    entries = log_entries(os.path.join(base, "log", "log"))
    with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % os.path.join(base, "registrar.db"), uri=True)) as db:
        for no, entry in db.execute("SELECT no, entry FROM outbox"):
            entries.setdefault(no, entry)
        told = db.execute("SELECT value FROM meta WHERE key = 'rows_untold'").fetchone()
        names = [n for (n,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]
        tables = {n: db.execute("SELECT count(*) FROM %s" % n).fetchone()[0] for n in names if n not in OF_THE_LOG}
        tables["meta"] -= told is not None  # this row itself isn't counted
    return {no: rows_of(e) for no, e in entries.items()}, struct.unpack("<6Q", told[0])[2:] if told else (0, 0, 0, 0), tables


def difference(state):
    """What is wrong, or ""."""
    if not os.path.exists(os.path.join(state, "registrar", "registrar.db")):
        return ""
    entries, untold, tables = of_state(state)
    sums = [sum(r[i] for r in entries.values()) + untold[i] for i in range(4)]
    there = sum(tables.values())
    if sums[1] - sums[3] == there:
        return ""
    return "%d rows, but the log tells of %d inserted and %d deleted (%d more): %r" % (there, sums[1], sums[3], there - (sums[1] - sums[3]), tables)
