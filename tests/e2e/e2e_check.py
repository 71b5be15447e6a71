#!/usr/bin/env python3
"""`sequester admin check` judges: clean beside a busy service; each disagreement between database, keys, files and log that
is made by hand is found and named; `--mend` mends what it says it mends, and loses nothing."""
import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import disk  # noqa: E402
import hub  # noqa: E402
import passkey  # noqa: E402


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
            t.join(600)
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


def an_erased_job_keeps_counts_alone():
    """S2-05: what a person supplied goes from its row, from the database file and from the write-ahead log. S3-61: nobody else
    may open the database. S3-62: every change of an object has its event."""
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        up = ada.upload()
        with database(h) as db:
            sealed = [r[0] for r in db.execute("SELECT name_sealed FROM upload")]
        job = ada.run_job(up["id"], name="a name that says too much", population="eur")
        with database(h) as db:
            sealed += [r[0] for r in db.execute("SELECT name_sealed FROM job")]
            assert len(sealed) == 2 and all(sealed), sealed
        where = os.path.join(h.state, "registrar")
        held = b"".join(open(os.path.join(where, f), "rb").read() for f in os.listdir(where) if f.startswith("registrar.db"))
        assert sealed[1] in held
        ada.call("DELETE", "/api/v1/jobs/" + job["id"], status=202)
        ada.wait_job(job["id"], ("erased",))
        disk.settle(h)
        with database(h) as db:
            row = db.execute("SELECT name_sealed, population, why_field, why_detail, check_sha256, samples FROM job WHERE id = ?", (job["id"],)).fetchone()
            assert row[:5] == (None, "", "", "", None) and row[5] > 0, row
            assert db.execute("SELECT name_sealed FROM upload WHERE name_sealed IS NOT NULL").fetchall() == []
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        held = b"".join(open(os.path.join(d, f), "rb").read() for d, _, fs in os.walk(h.state) for f in fs)
        assert not any(s in held for s in sealed), "a sealed name outlived its job"
        with database(h) as db:
            erased = [r[0].hex() for r in db.execute("SELECT id FROM object WHERE state = 4")]
        names = {f for _, _, fs in os.walk(h.state) for f in fs}
        assert erased and not names & set(erased)
        code = ("import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
                "for p in %r:\n"
                "    try: os.open(p, os.O_RDONLY); raise SystemExit('opened ' + p)\n"
                "    except PermissionError: pass\n" % [os.path.join(where, f) for f in ("registrar.db", "registrar.db-wal", "log", "registrar.reserve")])
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0
        for uid in (h_uid for h_uid in range(61001, 61009) if h_uid != 61003):  # nor may our own other processes
            assert subprocess.run([sys.executable, "-c", code.replace("65534", str(uid))]).returncode == 0, uid
        h.clean()


def erasing_that_fails_is_an_alarm():
    """S3-19: an erasure that fails has a flag, an event once, an alarm each time, and is tried again, ever more rarely."""
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload()["id"])
        disk.settle(h)
        ident, path = path_of(h, 6)
        immutable = subprocess.run(["chattr", "+i", path], capture_output=True).returncode == 0
        if not immutable:  # a file system without the flag: the same by a mount
            subprocess.run(["mount", "--bind", path, path], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        try:
            ada.call("DELETE", "/api/v1/jobs/" + job["id"], status=202)
            hub.wait_for("the alarm", lambda: h.log().count("event=erase_failed object=" + ident) >= 2, 30)
            assert h.admin_ok("status")["erase_failed"] == 1
            j = ada.get("/api/v1/jobs/" + job["id"])
            assert j["state"] == "erasing" and j["erase_failed"] == 1, j
            code, a = h.check()
            assert code == 1 and codes(a) == ["erase_failing"] and a["findings"][0]["id"] == ident, a
            assert ident not in disk.slots(h), "the key goes first"
            with database(h) as db:
                (n, retry) = db.execute("SELECT erase_failures, erase_retry_s FROM object WHERE id = ?", (bytes.fromhex(ident),)).fetchone()
            assert n >= 2 and retry > 0, (n, retry)
        finally:
            subprocess.run(["chattr", "-i", path] if immutable else ["umount", path])
        code, a = h.check("--mend")
        disk.settle(h)
        ada.wait_job(job["id"], ("erased",))
        assert h.admin_ok("status")["erase_failed"] == 0
        tail = subprocess.run([hub.CLI, "audit", "tail", "--log", h.log_dir(), "--limit", "400"], capture_output=True, text=True).stdout
        assert sum(1 for line in tail.splitlines() if "erase_failed" in line) == 1, tail
        # the same by a fault in the overwriting
        job = ada.run_job(ada.upload()["id"])
        h.arm("store.overwrite", 2)
        ada.call("DELETE", "/api/v1/jobs/" + job["id"], status=202)
        ada.wait_job(job["id"], ("erased",))
        disk.settle(h)
        h.clean()


def rollback_is_the_operators_word():
    """An old registrar directory is put back: nothing is served or swept until the operator says how to go on."""
    for choice in ("keep", "erase"):
        with hub.Hub() as h:
            h.panel()
            ada = h.user("ada")
            old = ada.run_job(ada.upload()["id"])["id"]
            disk.settle(h)
            h.stop()
            where, copy = os.path.join(h.state, "registrar"), os.path.join(h.dir, "copy")
            subprocess.run(["cp", "-a", where, copy], check=True)
            h.start()
            ada.upload()
            disk.settle(h)
            h.stop()
            subprocess.run(["rm", "-rf", where], check=True)
            subprocess.run(["cp", "-a", copy, where], check=True)
            h.start(wait_up=False)
            hub.wait_for("rollback", lambda: "what=rollback" in h.log(), 30)
            hub.wait_for("the operator's socket", lambda: h.admin("status")[1].get("state") == "rollback", 10)
            run = ["--run-dir", os.path.dirname(h.admin_path)]
            p = subprocess.run([hub.CLI, "admin", "rollback", "show", *run], capture_output=True, text=True)
            assert p.returncode == 0 and "accept --keep --confirm" in p.stdout, p
            files = len(h.objects())
            assert h.admin_ok("rollback-show")["files_unknown"] == 2
            code, a = h.check()
            assert code == 1 and "log_behind" in codes(a), a
            p = subprocess.run([hub.CLI, "admin", "rollback", "accept", "--" + choice, "--confirm", "yes", *run], capture_output=True, text=True)
            assert p.returncode == 1 and "I accept what was lost" in p.stderr, p
            assert len(h.objects()) == files
            p = subprocess.run([hub.CLI, "admin", "rollback", "accept", "--" + choice, "--confirm", "I accept what was lost", *run], capture_output=True, text=True)
            assert p.returncode == 0, p
            h.wait_up()
            hub.wait_for("recovery", lambda: h.admin_ok("status")["state"] == "up", 30)
            if choice == "keep":
                h.stop()
                h.start()
                assert len(h.objects()) == files, "kept over a start too"
                code, a = h.check()
                assert code == 1 and codes(a) == ["file_without_row"] * 2 + ["slot_without_row"] * 2, a
                code, a = h.check("--mend")
                assert code == 0 and a["mended"] == 4, a
            assert len(h.objects()) == files - 2
            ada.claim(old)
            assert len(ada.package(old)) > 1000
            disk.settle(h)  # the log verifies, too
            h.clean()


def contents_are_what_was_sealed():
    """A file of the right length with other bytes: --contents finds it, nothing less does; the others are whole. --mend marks it."""
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload()["id"])
        disk.settle(h)
        code, a = h.check("--contents")
        assert code == 0 and a["opened"]["objects"] == a["objects"]["live"] >= 4, a
        assert a["opened"]["bytes"] == a["live_bytes"] == sum(os.path.getsize(p) for p in h.objects()), a
        tail = subprocess.run([hub.CLI, "audit", "tail", "--log", h.log_dir(), "--limit", "20"], capture_output=True, text=True).stdout
        assert "contents_checked" in tail, tail
        assert h.log().count("role=runner event=task_ended") and h.log().count(" stage=verify code=OK") == a["opened"]["objects"], h.log()[-2000:]
        for kind, at in ((6, 0.5), (12, 0.1)):  # the result's body; the panel, which is the service's own
            ident, path = path_of(h, kind)
            with open(path, "r+b", buffering=0) as f:
                f.seek(int(os.path.getsize(path) * at))
                byte = f.read(1)
                f.seek(-1, os.SEEK_CUR)
                f.write(bytes([byte[0] ^ 1]))
                h.clean()
                code, a = h.check("--contents")
                assert code == 1 and codes(a) == ["content_differs"] and a["findings"][0]["id"] == ident, a
                f.seek(-1, os.SEEK_CUR)
                f.write(byte)
        h.clean()
        # a row that says another digest: each tag is right, and it isn't what was there
        with database(h) as db:
            (sha,) = db.execute("SELECT sha256 FROM object WHERE id = ?", (bytes.fromhex(ident),)).fetchone()
            db.execute("UPDATE object SET sha256 = ? WHERE id = ?", (b"\x11" * 32, bytes.fromhex(ident)))
            code, a = h.check("--contents")
            assert code == 1 and codes(a) == ["content_differs"], a
            db.execute("UPDATE object SET sha256 = ? WHERE id = ?", (sha, bytes.fromhex(ident)))
        # it is mended as everything that nobody can read is: said to its owner
        ident, path = path_of(h, 6)
        with open(path, "r+b") as f:
            f.seek(-200, os.SEEK_END)
            f.write(b"\0" * 8)
        code, a = h.check("--contents", "--mend")
        assert code == 1 and a["mended"] == 1 and "damaged" in codes(a), a
        assert ada.get("/api/v1/jobs/" + job["id"])["damaged"] == 1
        ada.call("DELETE", "/api/v1/jobs/" + job["id"], status=202)
        ada.wait_job(job["id"], ("erased",))
        disk.settle(h)
        assert h.check("--contents")[0] == 0


@contextlib.contextmanager
def deadlines_held(h, user):
    """The registrar's thread of the deadlines waits for keeper's signature, which waits for us."""
    held = h.hold("keeper.before_sign")
    user.get("/api/v1/me")  # an entry to sign, whatever was signed before
    hub.wait_for("a checkpoint to be asked for", lambda: h.is_held(held), 30)
    try:
        yield
    finally:
        h.release(held)


def what_no_deadline_mended():
    """What the clock mends within a second when all is well is mended by --mend when it isn't: objects past their deadline, and
    ones that were begun and never closed. And entries that are committed but not in the log."""
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        up, other = ada.upload()["id"], ada.upload()["id"]
        disk.settle(h)
        h.clean()
        now = int(time.time())
        with database(h) as db:
            (ident,) = db.execute("SELECT genotypes_object_id FROM upload WHERE id = ?", (bytes.fromhex(up),)).fetchone()
            with deadlines_held(h, ada):
                db.execute("UPDATE object SET not_after_s = ? WHERE id = ?", (now - 600, ident))
                code, a = h.check()
                assert code == 1 and codes(a) == ["overdue"] and a["findings"][0]["id"] == ident.hex(), a
            ada.call("POST", "/api/v1/jobs", {"upload": other, "panel": "no-such-panel"})  # something to sign
            hub.wait_for("the clock to do it", lambda: disk.rows(h)[ident.hex()] == "erased", 30)
            (ident,) = db.execute("SELECT ids_object_id FROM upload WHERE id = ?", (bytes.fromhex(up),)).fetchone()
            with deadlines_held(h, ada):
                db.execute("UPDATE object SET not_after_s = ? WHERE id = ?", (now - 600, ident))
                code, a = h.check("--mend")
                assert a["mended"] == 1, a
                assert disk.rows(h)[ident.hex()] in ("erasing", "erased"), disk.rows(h)
            ada.call("DELETE", "/api/v1/uploads/" + up, status=202)
            disk.settle(h)
            h.clean()
            # an upload that is half there
            held = h.hold("create.3")
            over = threading.Event()
            t = threading.Thread(target=lambda: (ada.upload_raw(open(hub.TARGET, "rb").read(), "slow.vcf.gz"), over.set()))
            t.start()
            hub.wait_for("an open object", lambda: h.is_held(held), 30)
            (ident,) = [i for i, s in disk.rows(h).items() if s == "opening"]
            with deadlines_held(h, ada):
                db.execute("UPDATE object SET opening_expires_s = ? WHERE id = ?", (now - 600, bytes.fromhex(ident)))
                code, a = h.check()
                assert code == 1 and codes(a) == ["opening_stale"] and a["findings"][0]["id"] == ident, a
                code, a = h.check("--mend")
                assert a["mended"] == 1, a
                hub.wait_for("it to be gone", lambda: disk.rows(h)[ident] == "erased", 20)
            t.join(60)  # what came last was released, and with it all before
            assert over.is_set()
            disk.settle(h)
            h.clean()
            # in the outbox, and in the log already: a crash, or a full disk, between the two
            for how in ([], ["--mend"]):
                ada.call("POST", "/api/v1/jobs", {"upload": other, "panel": "no-such-panel"})  # something to sign
                with deadlines_held(h, ada):
                    (last,) = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
                    db.execute("INSERT INTO outbox (no, entry) VALUES (?, ?)", (last, b"\1" * 96))
                    code, a = h.check(*how)
                    assert (code == 0 and a["mended"] == 1) if how else (code == 1 and codes(a) == ["outbox_left"]), a
            assert db.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
        h.verify_log()
        h.clean()


def a_crash_before_the_last_day_is_written():
    """A job is over and keeper has the day on which its keys end, but the rows not yet: the next start, or --mend, makes them agree."""
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        for dies in (False, True):
            up = ada.upload()["id"]
            h.arm("keep_until.1", None if dies else 2)
            job = ada.submit(up)
            hub.wait_for("the step", lambda: not h.is_armed(), 20)
            h.wait_up()
            hub.wait_for("recovery", lambda: h.admin("status")[1].get("state") == "up", 30)
            assert ada.wait_job(job)["state"] == "done"
            if not dies:
                code, a = h.check()
                assert code == 1 and set(codes(a)) == {"slot_deadline"}, a
                code, a = h.check("--mend")
                assert a["mended"] >= 2, a
            h.clean()
            with database(h) as db:
                until = db.execute("SELECT DISTINCT o.not_after_s, j.expires_s FROM object o JOIN result_part p ON p.object_id = o.id JOIN job j ON j.id = p.job_id"
                                   " WHERE j.id = ?", (job,)).fetchall()
            assert len(until) == 1 and until[0][0] == until[0][1], until


def slots_that_cannot_be_read():
    """A damaged slot of the key slab is named, and what hung on it is damaged; nothing else is, and a person decides."""
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload()["id"])["id"]
        other = ada.run_job(ada.upload()["id"])["id"]
        disk.settle(h)
        ident, _ = path_of(h, 6)
        h.stop()
        path = os.path.join(h.state, "keeper", "slab")
        slab = open(path, "rb").read()
        at = next(n for n in range(disk.FIRST_SLOT, len(slab), disk.SLOT_BYTES) if slab[n] == disk.OBJECT and slab[n + 16:n + 32].hex() == ident)
        with open(path, "r+b") as f:
            f.seek(at + 100)
            f.write(bytes([slab[at + 100] ^ 0xff]))
        h.start()
        code, a = h.check()
        assert code == 1 and set(codes(a)) == {"damaged", "slots_damaged", "result_lost"}, a
        assert next(f["found"] for f in a["findings"] if f["code"] == "slots_damaged") == 1
        assert [f["id"] for f in a["findings"] if f["code"] == "damaged"] == [ident]
        code, a = h.check("--mend")
        assert code == 1 and a["mended"] == 0, a
        ada.login()
        hurt = next(j for j in (job, other) if ada.get("/api/v1/jobs/" + j)["damaged"])
        whole = job if hurt == other else other
        ada.call("DELETE", "/api/v1/jobs/" + hurt, status=202)
        ada.wait_job(hurt, ("erased",))
        code, a = h.check()
        assert codes(a) in ([], ["slots_damaged"]), a
        ada.claim(whole)
        assert len(ada.package(whole)) > 1000


def rollback_of_one_alone():
    """Only the database, or only the audit log, is put back: found, decided, and what can't be made whole again is named."""
    for what in ("database", "log"):
        with hub.Hub() as h:
            h.rows_may_differ = True
            h.panel()
            ada = h.user("ada")
            old = ada.run_job(ada.upload()["id"])["id"]
            gone = ada.upload()["id"]
            disk.settle(h)
            h.stop()
            where, copy = os.path.join(h.state, "registrar"), os.path.join(h.dir, "copy")
            subprocess.run(["cp", "-a", where, copy], check=True)
            h.start()
            ada.call("DELETE", "/api/v1/uploads/" + gone, status=202)
            newer = ada.upload()["id"]
            disk.settle(h)
            h.stop()
            for name in os.listdir(where):
                if (name == "log") == (what == "log"):
                    subprocess.run(["rm", "-rf", os.path.join(where, name)], check=True)
            for name in os.listdir(copy):
                if (name == "log") == (what == "log"):
                    subprocess.run(["cp", "-a", os.path.join(copy, name), where], check=True)
            h.start(wait_up=False)
            hub.wait_for("rollback", lambda: "what=rollback" in h.log(), 30)
            hub.wait_for("the operator's socket", lambda: h.admin("status")[1].get("state") == "rollback", 10)
            assert h.request("GET", "/api/v1/jobs", token=ada.token).status == 503
            a = h.admin_ok("rollback-show")
            if what == "database":
                assert a["log_entries"] > a["database_entry"] and a["files_unknown"] == a["keys_unknown"] == 2 and a["objects_gone"] == 2, a
            else:
                assert a["log_entries"] < a["database_entry"] and a["log_entries"] < a["signed"] and not a["files_unknown"] and not a["objects_gone"], a
            h.admin_ok("rollback-accept", {"choice": "erase", "confirm": "I accept what was lost"})
            h.wait_up()
            hub.wait_for("recovery", lambda: h.admin_ok("status")["state"] == "up", 30)
            ada.login()
            code, a = h.check("--mend")
            found = set(codes(a))
            sys.stderr.write("# %s: %s\n" % (what, sorted(found)))
            if what == "database":  # what was erased since is known to the log alone: its owner sees it damaged, and erases it
                assert code == 1 and found == {"damaged", "event_too_much"}, a
                ada.call("DELETE", "/api/v1/uploads/" + gone, status=202)
                ada.call("GET", "/api/v1/uploads/" + newer, status=404)
                disk.settle(h)
                h.clean()
            else:  # the database knows more than the log: each object without its entries is named, and stays so
                assert code == 1 and found == {"event_missing"}, a
                assert ada.get("/api/v1/uploads/" + newer)["state"] == "ready"
                ada.call("DELETE", "/api/v1/uploads/" + newer, status=202)
            ada.claim(old)
            assert len(ada.package(old)) > 1000
            disk.settle(h)  # the log verifies, too


def what_rows_left_is_mended():
    """Rows that contradict each other: named; --mend erases what nothing needs, and leaves alone what a person must decide."""
    with hub.Hub() as h:
        h.rows_may_differ = True  # rows are taken out below
        h.panel()
        ada = h.user("ada")
        jobs = [ada.run_job(ada.upload()["id"])["id"] for _ in range(3)]
        up = ada.upload()["id"]
        disk.settle(h)
        h.clean()
        with database(h) as db:
            # an open task of a job that has ended
            db.execute("UPDATE task SET state = 2 WHERE job_id = ? AND stage = (SELECT max(stage) FROM task WHERE job_id = ? AND stage < 200)", (jobs[0], jobs[0]))
            code, a = h.check()
            assert code == 1 and codes(a) == ["task_stale"], a
            code, a = h.check("--mend")
            assert code == 0 and a["mended"] == 1, a
            assert db.execute("SELECT count(*) FROM task WHERE state IN (1, 2)").fetchone() == (0,)
            # an object that no row names
            ident = db.execute("SELECT o.id FROM object o JOIN result_part p ON p.object_id = o.id WHERE p.job_id = ? AND o.kind = 6", (jobs[0],)).fetchone()[0]
            for table in ("task_object", "result_part"):
                db.execute("DELETE FROM %s WHERE object_id = ?" % table, (ident,))
            code, a = h.check()
            assert code == 1 and codes(a) == ["object_unnamed"] and a["findings"][0]["id"] == ident.hex(), a
            code, a = h.check("--mend")
            assert a["mended"] == 1, a
            disk.settle(h)
            h.clean()
            assert ident.hex() not in {os.path.basename(p) for p in h.objects()}
            # a job and an upload that say erased, and are not
            db.execute("UPDATE job SET state = 9 WHERE id = ?", (jobs[1],))
            code, a = h.check()
            assert code == 1 and set(codes(a)) == {"job_data_left"}, a
            db.execute("UPDATE upload SET state = 5 WHERE id = ?", (bytes.fromhex(up),))
            code, a = h.check("--mend")
            assert a["mended"] >= 6, a
            disk.settle(h)
            h.clean()
            # another owner: a person decides
            ident = db.execute("SELECT o.id FROM object o JOIN result_part p ON p.object_id = o.id WHERE p.job_id = ? AND o.kind = 6", (jobs[2],)).fetchone()[0]
            (owner,) = db.execute("SELECT owner_id FROM object WHERE id = ?", (ident,)).fetchone()
            db.execute("UPDATE object SET owner_id = ? WHERE id = ?", (b"\x77" * 16, ident))
            code, a = h.check("--mend")
            assert code == 1 and codes(a) == ["file_owner", "slot_owner"] and a["mended"] == 0, a
            db.execute("UPDATE object SET owner_id = ? WHERE id = ?", (owner, ident))
        h.clean()
        # entries of the log that can't be read
        log = max((os.path.join(d, f) for d, _, fs in os.walk(h.log_dir()) for f in fs if f.endswith(".seg")), key=os.path.getsize)
        with open(log, "r+b") as f:
            at = len(f.read().rstrip(b"\0")) // 2  # room is made ahead
            f.seek(at)
            kept = f.read(400)
            f.seek(at)
            f.write(b"\xff" * 400)
            f.flush()
            code, a = h.check("--mend")
            f.seek(at)
            f.write(kept)
        assert code == 1 and "log_damaged" in codes(a) and a["mended"] == 0, a
        h.clean()
        ada.claim(jobs[2])
        assert len(ada.package(jobs[2])) > 1000


def accounts_are_compared():
    """Accounts, second factors, sessions and tokens: database, keeper and log."""
    with hub.Hub(settings={"smtp_url": "smtp+plain://127.0.0.1:9", "mail_from": "hub@example.org", "public_url": "{origin}"}) as h:
        h.rows_may_differ = True
        ada, bob, olga = h.user("ada"), h.user("bob"), h.user("olga", "operator")
        bob.enrol()
        olga.enrol()
        key = passkey.Key()
        made = key.create(ada.call("POST", "/api/v1/me/passkeys", {"password": ada.password}, status=200).json["options"], h.origin)
        ada.call("POST", "/api/v1/me/passkeys/confirm", {"passkey": made}, status=200)
        ada.call("POST", "/api/v1/logout")
        h.clean()
        # cut off between the database and keeper: a factor that keeper would sign without
        eve = h.user("eve")
        begun = eve.call("POST", "/api/v1/me/totp", {"password": eve.password}, status=200).json
        eve.secret, eve.last_step = begun["secret"], 0
        h.arm("factor.mark")
        assert eve.call("POST", "/api/v1/me/totp/confirm", {"id": begun["id"], "code": eve.code()}).status == 503
        h.wait_up()
        code, a = h.check()
        assert code == 1 and codes(a) == ["factor_unmarked"], a
        code, a = h.check("--mend")
        assert code == 0 and a["mended"] == 1, a
        eve.login()
        # cut off between keeper and the database: a key that nothing names
        h.arm("link.made")
        assert olga.call("POST", "/api/v1/admin/users", {"name": "new@example.org", "mail": "new@example.org", "role": "user"}).status == 503
        h.wait_up()
        code, a = h.check()
        assert code == 1 and codes(a) == ["owner_without_row"], a
        code, a = h.check("--mend")
        assert code == 0 and a["mended"] == 1, a
        olga.call("POST", "/api/v1/admin/users", {"name": "new@example.org", "mail": "new@example.org", "role": "user"}, status=201)
        h.clean()

        def one(sql, args=()):
            return db.execute(sql, args).fetchone()[0]

        def finds(*want):
            code, a = h.check()
            assert code == 1 and codes(a) == sorted(want), (want, a)
            return a

        with database(h) as db:
            ids = {u.name: bytes.fromhex(u.get("/api/v1/me")["id"]) for u in (bob, eve, olga)}
            ids["ada"] = one("SELECT user_id FROM factor WHERE kind = 3")
            # a password that keeper never made
            fresh = one("SELECT id FROM user WHERE pending = 1")
            db.execute("UPDATE user SET password_sealed = x'0102' WHERE id = ?", (fresh,))
            assert finds("password_unmarked")["findings"][0]["id"] == fresh.hex()
            db.execute("UPDATE user SET password_sealed = NULL WHERE id = ?", (fresh,))
            # a live session of a disabled account
            db.execute("UPDATE user SET disabled = 1 WHERE id = ?", (ids["bob"],))
            n = one("SELECT count(*) FROM token WHERE user_id = ? AND revoked_s IS NULL", (ids["bob"],))
            finds(*["token_of_disabled"] * n)
            code, a = h.check("--mend")
            assert code == 0 and a["mended"] == n and not one("SELECT count(*) FROM token WHERE user_id = ? AND revoked_s IS NULL", (ids["bob"],)), a
            db.execute("UPDATE user SET disabled = 0 WHERE id = ?", (ids["bob"],))
            # a second factor that went from the database alone; its recovery codes stand by themselves then
            db.execute("CREATE TEMP TABLE kept AS SELECT * FROM factor WHERE user_id = ? AND kind = 1", (ids["bob"],))
            db.execute("DELETE FROM factor WHERE user_id = ? AND kind = 1", (ids["bob"],))
            finds("factor_lost", *["recovery_alone"] * 10)
            assert h.request("POST", "/api/v1/login", {"name": "bob", "password": bob.password}).json["code"] == "ERESET", "keeper signs nothing on the password alone"
            code, a = h.check("--mend")
            assert code == 1 and codes(a) == ["factor_lost"] and a["mended"] == 10, a
            db.execute("INSERT INTO factor SELECT * FROM kept")
            h.clean()
            bob.login()
            # rows that make no sense, and rows that the log doesn't know
            (ident,) = db.execute("SELECT id FROM factor WHERE user_id = ? AND kind = 3", (ids["ada"],)).fetchone()
            name = one("SELECT credential FROM factor WHERE id = ?", (ident,))
            db.execute("UPDATE factor SET credential = NULL WHERE id = ?", (ident,))
            assert finds("passkey_broken")["findings"][0]["id"] == ident.hex()
            code, a = h.check("--mend")
            assert code == 1 and a["mended"] == 0, a
            db.execute("UPDATE factor SET credential = ? WHERE id = ?", (name, ident))
            for table, key_of, change in (("token", "jti", "jti = randomblob(16)"), ("factor", "id", "id = randomblob(16), credential = randomblob(20)")):
                db.execute("CREATE TEMP TABLE forged_%s AS SELECT * FROM %s WHERE %s = ?" % (table, table, key_of), (ident if table == "factor" else one("SELECT jti FROM token WHERE revoked_s IS NULL"),))
                db.execute("UPDATE forged_%s SET %s" % (table, change))
                db.execute("INSERT INTO %s SELECT * FROM forged_%s" % (table, table))
                forged = one("SELECT %s FROM forged_%s" % (key_of, table))
                assert finds("account_untold")["findings"][0]["id"] == forged.hex()
                db.execute("DELETE FROM %s WHERE %s = ?" % (table, key_of), (forged,))
            h.clean()
            # an account that nobody made: no key, no entry
            db.execute("CREATE TEMP TABLE ghost AS SELECT * FROM user WHERE id = ?", (ids["ada"],))
            db.execute("UPDATE ghost SET id = randomblob(16), name_hmac = randomblob(32), mail_hmac = NULL")
            db.execute("INSERT INTO user SELECT * FROM ghost")
            ghost = one("SELECT id FROM ghost")
            assert {f["id"] for f in finds("account_untold", "row_without_owner")["findings"]} == {ghost.hex()}
            code, a = h.check("--mend")
            assert code == 1 and codes(a) == ["account_untold"] and a["mended"] == 1 and one("SELECT disabled FROM user WHERE id = ?", (ghost,)) == 1, a
            db.execute("DELETE FROM user WHERE id = ?", (ghost,))
            h.clean()
            # an account that the database forgot: what it owns is still under its key, so nothing is destroyed
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("DELETE FROM user WHERE id = ?", (ids["eve"],))
            assert finds("owner_unknown")["findings"][0]["id"] == ids["eve"].hex()
            code, a = h.check("--mend")
            assert code == 1 and codes(a) == ["owner_unknown"] and a["mended"] == 0, a


if __name__ == "__main__":
    hub.main([t for t in (accounts_are_compared, rollback_of_one_alone, a_crash_before_the_last_day_is_written, what_no_deadline_mended, slots_that_cannot_be_read, contents_are_what_was_sealed, what_rows_left_is_mended, rollback_is_the_operators_word, an_erased_job_keeps_counts_alone, erasing_that_fails_is_an_alarm, clean_beside_a_busy_service, each_disagreement_is_named_and_mended)
              if not sys.argv[1:] or t.__name__ in sys.argv[1:]])
