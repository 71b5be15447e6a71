#!/usr/bin/env python3
"""`sequester admin check` judges: clean beside a busy service; each disagreement between database, keys, files and log that
is made by hand is found and named; `--mend` mends what it says it mends, and loses nothing."""
import contextlib
import os
import sqlite3
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import disk  # noqa: E402
import hub  # noqa: E402


def database(h):
    return contextlib.closing(sqlite3.connect(os.path.join(h.state, "registrar", "registrar.db"), timeout=20, isolation_level=None))


def codes(answer):
    return sorted(f["code"] for f in answer["findings"])


def path_of(h, kind):
    with database(h) as db:
        ident, owner = db.execute("SELECT lower(hex(id)), lower(hex(owner_id)) FROM object WHERE state = 2 AND kind = ?", (kind,)).fetchone()
    return ident, os.path.join(h.state, "storer", "objects", owner, ident)


def clean_beside_a_busy_service():
    """No false alarm while uploads, jobs, claims and erasures go on."""
    with hub.Hub(settings={"jobs_per_user": 4}) as h:
        h.panel()
        users = [h.user("busy%d" % i) for i in range(2)]
        over = threading.Event()
        broken, rounds = [], [0]

        def work(u):
            try:
                while not over.is_set():
                    job = u.run_job(u.upload()["id"])
                    u.claim(job["id"])
                    u.call("DELETE", "/api/v1/jobs/" + job["id"], status=202)
                    u.call("DELETE", "/api/v1/uploads/" + u.upload()["id"], status=202)
                    rounds[0] += 1
            except Exception as e:
                broken.append(e)
        threads = [threading.Thread(target=work, args=(u,)) for u in users]
        for t in threads:
            t.start()
        for _ in range(12):
            h.clean()
        over.set()
        for t in threads:
            t.join(120)
        assert not broken, broken
        assert rounds[0], "nothing went on"
        sys.stderr.write("# %d rounds beside 12 checks\n" % rounds[0])
        disk.settle(h)
        h.clean()


def each_disagreement_is_named_and_mended():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload()["id"])
        other = ada.run_job(ada.upload()["id"])
        disk.settle(h)
        a = h.clean()
        assert a["objects"]["live"] == a["keys"] == a["files"], a

        # a file nobody knows, under an owner of its own
        stray = os.path.join(h.state, "storer", "objects", "ab" * 16)
        os.mkdir(stray, 0o700)
        with open(os.path.join(stray, "cd" * 16), "wb") as f:
            f.write(b"left over" * 1000)
        for p in (stray, os.path.join(stray, "cd" * 16)):
            st = os.stat(os.path.join(h.state, "storer"))
            os.chown(p, st.st_uid, st.st_gid)
        code, a = h.check()
        assert code == 1 and codes(a) == ["file_without_row"] and a["findings"][0]["id"] == "cd" * 16, a
        assert os.path.exists(os.path.join(stray, "cd" * 16)), "without --mend nothing is touched"
        text = subprocess.run([hub.CLI, "admin", "check", "--run-dir", os.path.dirname(h.admin_path)], capture_output=True, text=True)
        assert text.returncode == 1 and "file_without_row" in text.stdout and "--mend:" in text.stdout, text
        code, a = h.check("--mend")
        assert code == 0 and a["mended"] == 1 and not os.path.exists(os.path.join(stray, "cd" * 16)), a

        # a result's file is shorter: damaged, the job says so, the event is there once; the other job is untouched
        ident, path = path_of(h, 6)
        os.truncate(path, os.path.getsize(path) - 1)
        code, a = h.check()
        assert code == 1 and codes(a) == ["length_differs"] and a["findings"][0]["id"] == ident, a
        code, a = h.check("--mend")
        assert code == 1 and a["mended"] == 1 and "damaged" in codes(a), a
        hurt = next(j for j in (job, other) if ada.get("/api/v1/jobs/" + j["id"])["damaged"])
        whole = next(j for j in (job, other) if j is not hurt)
        assert ada.get("/api/v1/jobs/" + whole["id"])["damaged"] == 0
        assert h.admin_ok("status")["objects_damaged"] == 1
        assert "event=object_damaged object=%s" % ident in h.log()
        h.check("--mend")
        tail = subprocess.run([hub.CLI, "audit", "tail", "--log", h.log_dir(), "--limit", "400"], capture_output=True, text=True).stdout
        assert sum(1 for line in tail.splitlines() if " damaged" in line and ident[:8] in line) == 1, tail
        ada.call("DELETE", "/api/v1/jobs/" + hurt["id"], status=202)
        ada.wait_job(hurt["id"], ("erased",))
        disk.settle(h)
        h.clean()

        # a file is gone
        ident, path = path_of(h, 6)
        os.rename(path, path + ".away")
        code, a = h.check()
        assert code == 1 and codes(a) == ["row_without_file"], a
        os.rename(path + ".away", path)
        h.clean()

        # rows that lie: no live object without its events, no deadline that keeper doesn't know, no receipt less
        with database(h) as db:
            (before,) = db.execute("SELECT not_after_s FROM object WHERE id = ?", (bytes.fromhex(ident),)).fetchone()
            db.execute("UPDATE object SET not_after_s = not_after_s + 86400 WHERE id = ?", (bytes.fromhex(ident),))
            code, a = h.check()
            assert code == 1 and codes(a) == ["slot_deadline"], a
            code, a = h.check("--mend")
            assert code == 0 and a["mended"] == 1, a
            (now,) = db.execute("SELECT not_after_s FROM object WHERE id = ?", (bytes.fromhex(ident),)).fetchone()
            assert now == before, "the earlier of the two counts"
            db.execute("UPDATE object SET state = 4 WHERE id = ?", (bytes.fromhex(ident),))
            code, a = h.check()
            assert code == 1 and codes(a) == ["event_missing", "file_without_row", "receipt_missing", "result_lost", "slot_without_row"], a
            db.execute("UPDATE object SET state = 2 WHERE id = ?", (bytes.fromhex(ident),))
            gone = db.execute("SELECT id FROM object WHERE state = 4 LIMIT 1").fetchone()[0]
            db.execute("UPDATE object SET state = 2 WHERE id = ?", (gone,))
            code, a = h.check()
            assert code == 1 and {"event_too_much", "row_without_slot"} <= set(codes(a)), a
            db.execute("UPDATE object SET state = 4 WHERE id = ?", (gone,))
            db.execute("INSERT INTO object (id, owner_id, kind, state, created_s, not_after_s, plain_bytes, sealed_bytes) VALUES (?, ?, 5, 4, 1, 2, 0, 0)",
                       (b"\x55" * 16, b"\x66" * 16))
            code, a = h.check()
            assert code == 1 and codes(a) == ["event_missing", "receipt_missing"], a
            db.execute("DELETE FROM object WHERE id = ?", (b"\x55" * 16,))
            db.execute("UPDATE job SET state = 3 WHERE id = ?", (whole["id"],))
            code, a = h.check()
            assert code == 1 and codes(a) == ["job_idle"] and a["findings"][0]["job"] == whole["id"], a
            db.execute("UPDATE job SET state = 5 WHERE id = ?", (whole["id"],))
        h.clean()
        # the result that none of this hurt is still whole
        ada.claim(whole["id"])
        assert len(ada.package(whole["id"])) > 1000
    # nobody there: it could not be checked
    p = subprocess.run([hub.CLI, "admin", "check", "--run-dir", "/nonexistent"], capture_output=True, text=True)
    assert p.returncode == 2, p


if __name__ == "__main__":
    hub.main([clean_beside_a_busy_service, each_disagreement_is_named_and_mended])
