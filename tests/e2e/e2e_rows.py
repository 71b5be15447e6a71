#!/usr/bin/env python3
"""Operations on the database stand in the audit log: class of statement, who, how many rows, in the same transaction (S3-62).

tests/support/rows.py compares database and log after every test of the whole hub; here each class is brought about and looked at in its entry, what the
service does for itself is told about, and a crash between any two steps of the commit leaves both or none.
"""
import contextlib
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402
import rows  # noqa: E402


def entries_of(user, event, path="/api/v1/me/audit?limit=100"):
    return [e for e in user.get(path)["data"] if e["event"] == event]


def agrees(h):
    """The hub stops, database and log are compared, it starts again."""
    h.stop()
    found = rows.difference(h.state)
    assert not found, found
    before = rows.of_state(h.state)
    h.start()
    return before


def test_each_class_in_the_entry_of_who_did_it():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        ids = [ada.upload()["id"] for _ in range(3)]
        assert len(ada.get("/api/v1/uploads")["data"]) == 3
        listed = entries_of(ada, "list")[0]
        assert listed["role"] == "user" and listed["a"] == 3, listed
        assert listed["rows"]["read"] >= 3 + 2 and not any(listed["rows"][k] for k in ("inserted", "changed", "deleted")), listed  # and token and account
        seen = entries_of(ada, "view")[0]["rows"]
        assert seen["read"] >= 2, seen
        opened = entries_of(ada, "upload_opened")[0]
        job = ada.submit(ids[0], name="one")
        submitted = entries_of(ada, "job_submitted")[0]
        assert submitted["role"] == "user" and submitted["rows"]["inserted"] >= 2, submitted  # the job and its first time
        ada.wait_job(job, ("done",))
        ada.call("DELETE", "/api/v1/uploads/" + ids[1], status=202)
        mine = ada.get("/api/v1/me/audit?limit=100")["data"]
        asked = [e for e in mine if e["event"] == "erase_started" and e["role"] == "user"][0]["request"]
        erased = [e["rows"] for e in mine if e.get("request") == asked and "rows" in e]  # of one transaction the last entry tells
        assert len(erased) == 1 and erased[0]["changed"] >= 2 and not erased[0]["deleted"], (asked, mine)
        assert opened["rows"]["inserted"] >= 1, opened
        h.move_clock(3 * 86400)
        h.admin("clock-confirm")
        hub.wait_for("old rows to go", lambda: any(r[3] for r in at_work(h).values()), 60)
        told, _, tables = agrees(h)
        assert sum(r[3] for r in told.values()) > 0 and tables["user"] == 1 and tables["job"] == 1


def at_work(h):
    """Rows of the entries of a hub that runs: those that are in the log."""
    return {no: rows.rows_of(e) for no, e in rows.log_entries(os.path.join(h.log_dir(), "log")).items()}


def test_the_service_tells_of_itself():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        job = ada.submit(ada.upload()["id"])
        ada.wait_job(job, ("done",))
        _, untold, _ = agrees(h)
        h.move_clock(120)
        ada.login()
        ada.wait_job(ada.submit(ada.upload()["id"]), ("done",))  # its progress and its tasks
        entries, after, _ = agrees(h)
        assert sum(untold) > 0 or sum(after) > 0 or any(sum(r) for r in entries.values())
        log = h.admin_ok("status")["audit"]["entries"]
        assert log >= len(entries)


def test_both_or_none():
    """Killed in the group: before the commit, between commit and log, after the log, and while it waits for neither."""
    with hub.Hub() as h:
        ada = h.user("ada")
        for fault in ("commit.before_commit", "db.commit", "commit.before_log", "commit.after_log"):
            for how in range(3):
                h.arm(fault)
                with contextlib.suppress(OSError, AssertionError, hub.http.client.HTTPException):
                    if how == 0:
                        ada.login()
                    elif how == 1:
                        ada.upload()
                    else:
                        ada.call("PUT", "/api/v1/me/mail", {"notify": False})
                h.wait_up()
                ada.login()
        agrees(h)


def test_a_row_that_nobody_told_of_is_found():
    """The comparison can fail: a row put in, and one taken out, behind the service's back."""
    with hub.Hub() as h:
        h.user("ada")
        h.stop()
        assert not rows.difference(h.state)
        path = os.path.join(h.state, "registrar", "registrar.db")
        for change in ("DELETE FROM token", "INSERT INTO meta (key, value) VALUES ('x', x'00'), ('y', x'00')"):
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute(change)
                db.commit()
            assert rows.difference(h.state), change
            h.rows_may_differ = True


if __name__ == "__main__":
    hub.main([test_each_class_in_the_entry_of_who_did_it, test_the_service_tells_of_itself, test_both_or_none, test_a_row_that_nobody_told_of_is_found])
