#!/usr/bin/env python3
"""Keys that the root key wraps are replaced while the service runs: the one that signs tokens, and those of all owners. What the old keys made goes on
being good, or stops at once where that was asked; killed in the middle nothing is lost."""
import base64
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
sys.path.insert(0, os.path.join(HERE, "..", "oracle"))
import hub  # noqa: E402
import slab as slab_oracle  # noqa: E402


EBUSY = int(re.search(r"SQ_ERR\(EBUSY,\s*(\d+)", open(os.path.join(hub.ROOT, "src/lib/core/err.def")).read()).group(1))
NOTES = int(re.search(r"SQ_NOTE_MAX_FORMER (\d+)", open(os.path.join(hub.ROOT, "src/lib/audit/audit.h")).read()).group(1))


def rotate(h, *args):
    return subprocess.run([hub.CLI, "admin", "key", "rotate", *args, "--run-dir", os.path.dirname(h.admin_path)], text=True, capture_output=True, timeout=120)


def rotate_ok(h, *args):
    p = rotate(h, *args)
    assert p.returncode == 0, (args, p.stdout, p.stderr)
    return p.stdout


def kid(token):
    head = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]


def status(h, token):
    return h.request("GET", "/api/v1/me", token=token).status


def events(h, name):
    p = subprocess.run([hub.CLI, "audit", "tail", "--log", h.log_dir(), "--limit", "100000", "--json"], text=True, capture_output=True, timeout=300)
    return [x for x in json.loads(p.stdout)["data"] if x["event"] == name]


def test_token_key():
    with hub.Hub() as h:
        ada = h.user("ada")
        ada.login()
        first = ada.token
        made = ada.call("POST", "/api/v1/me/tokens", {"name": "cluster", "scopes": ["read"], "days": 30, "password": ada.password}, status=201).json
        assert "--now goes with --tokens" in rotate(h, "--now").stderr
        said = rotate_ok(h, "--tokens")
        assert made["expires"][:10] in said, (made, said)  # the API token lives longest
        assert status(h, first) == 200 and status(h, made["token"]) == 200
        ada.login()
        second = ada.token
        assert kid(second) != kid(first) == kid(made["token"])
        assert status(h, second) == 200
        h.stop()
        h.start()
        assert [status(h, t) for t in (first, made["token"], second)] == [200, 200, 200]

        # killed before the new key stands, and behind it: it is asked again, and nobody has noticed
        for fault in ("keeper.replace_kept", "keeper.replaced"):
            h.arm(fault)
            rotate(h, "--tokens")
            hub.wait_for("the fault", lambda: not h.is_armed(), 30)
            h.wait_up()
            hub.wait_for("the old tokens", lambda: [status(h, t) for t in (first, second)] == [200, 200], 30)
            ada.login()
            assert status(h, ada.token) == 200
        rotate_ok(h, "--tokens")
        assert [status(h, t) for t in (first, made["token"], second, ada.token)] == [200] * 4

        # no more than the verifiers offer
        while True:
            p = rotate(h, "--tokens")
            if p.returncode:
                break
        assert "--now" in p.stderr, p.stderr
        assert status(h, first) == 200

        # the old key has leaked
        said = rotate_ok(h, "--tokens", "--now")
        assert "ended" in said, said
        assert [status(h, t) for t in (first, made["token"], second, ada.token)] == [401] * 4
        ada.login()
        assert status(h, ada.token) == 200

        # what keeper said of its keys before a change arrives after it: it isn't believed
        rotate_ok(h, "--tokens")
        number = h.hold("registrar.learned")
        late = threading.Thread(target=status, args=(h, ada.token))
        late.start()
        hub.wait_for("it to be held", lambda: h.is_held(number), 30)
        rotate_ok(h, "--tokens", "--now")
        ada.login()
        assert status(h, ada.token) == 200
        h.release(number)
        late.join()
        assert status(h, ada.token) == 200
        told = events(h, "keys_replaced")
        assert {x["a"] for x in told} == {1} and len([x for x in told if x["result"] == "OK"]) >= 4, told
        h.verify_log()


def sealed_values(h):
    """Everything in the database that hangs on an owner's key, by column."""
    db = sqlite3.connect(os.path.join(h.state, "registrar", "registrar.db"), timeout=20)
    out = {}
    for table, key, columns in (("user", "id", ("name_sealed", "password_sealed", "mail_sealed")), ("token", "jti", ("name_sealed", "address_sealed")),
                                ("factor", "id", ("name_sealed", "secret_sealed")), ("upload", "id", ("name_sealed",)), ("job", "id", ("name_sealed",))):
        for column in columns:
            where = " AND kind <> 2" if column == "secret_sealed" else ""  # recovery codes are MACs
            for ident, value in db.execute("SELECT %s, %s FROM %s WHERE %s IS NOT NULL%s" % (key, column, table, column, where)):
                out[table, column, ident] = value
    db.close()
    return out


def tokens_without_networks(h, ada):
    """API tokens whose list of networks is empty: its text is sealed too. One made by hand, one approved for a device."""
    made = [ada.call("POST", "/api/v1/me/tokens", {"name": "cluster", "scopes": ["read"], "days": 30, "password": ada.password, "code": ada.code()}, status=201).json["token"]]
    asked = h.request("POST", "/api/v1/device/code", {"client_id": "machine", "scope": "read"}).json
    ada.call("POST", "/api/v1/device/approve", {"user_code": asked["user_code"], "password": ada.password, "code": ada.code()}, status=200)
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": asked["device_code"], "client_id": "machine"}
    return made + [h.request("POST", "/api/v1/device/token", grant).json["access_token"]]


def put_address(h, ident, value):
    db = sqlite3.connect(os.path.join(h.state, "registrar", "registrar.db"), timeout=20)
    with db:
        assert db.execute("UPDATE token SET address_sealed = ? WHERE jti = ?", (value, ident)).rowcount == 1
    db.close()


def damaged_values_are_left(h, ada):
    """A value that is no box, and one that no key opens: counted, said, and everything else is sealed anew."""
    tokens = [k for k in sealed_values(h) if k[:2] == ("token", "address_sealed")]
    good = {k: sealed_values(h)[k] for k in tokens[:2]}
    for key, bad in zip(good, (b"short", b"no box" * 8)):
        put_address(h, key[2], bad)
    before = sealed_values(h)
    said = rotate_ok(h, "--owners")
    after = sealed_values(h)
    assert "2 values could not be opened" in said, said
    assert {k for k in before if before[k] == after[k]} == set(good), (said, set(good))
    for key, value in good.items():
        put_address(h, key[2], value)


def test_owners_keys():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        codes = ada.enrol()
        job = ada.run_job(ada.upload()["id"], name="before the change")
        seen = {x["entry"]: (x["event"], x.get("address")) for x in ada.get("/api/v1/me/audit?limit=50")["data"]}
        assert len(seen) > 5
        tokens = tokens_without_networks(h, ada)
        before = sealed_values(h)
        assert [len(v) for k, v in before.items() if k[1] == "address_sealed"].count(28) == len(tokens)  # a nonce and a tag
        with open(os.path.join(h.state, "keeper", "slab"), "rb") as f:
            stolen = f.read()
        assert rotate(h, "--owners", "--tokens").returncode == 2
        said = rotate_ok(h, "--owners")
        after = sealed_values(h)
        assert set(before) == set(after) and all(before[k] != after[k] for k in before), [k for k in before if before[k] == after[k]]
        assert "%d values" % len(before) in said, (said, len(before))
        assert "could not be opened" not in said, said
        assert [status(h, t) for t in tokens] == [200, 200]
        assert sorted((t["name"], t["networks"]) for t in ada.get("/api/v1/me/tokens")["data"]) == [("cluster", []), ("machine", [])]

        # what was sealed before: name of the job, audit log, second factor, recovery code, password, result
        assert ada.get("/api/v1/jobs/" + job["id"])["name"] == "before the change"
        again = {x["entry"]: (x["event"], x.get("address")) for x in ada.get("/api/v1/me/audit?limit=100")["data"]}
        assert {k: again.get(k) for k in seen} == seen, (seen, again)
        ada.login()
        ada.claims_and_opens(job["id"])
        a = h.request("POST", "/api/v1/login", {"name": "ada", "password": ada.password, "code": codes[0]})
        assert a.status == 200, a
        assert h.request("POST", "/api/v1/login", {"name": "ada", "password": ada.password, "code": codes[0]}).status == 401

        # who has the slab as it was, and its key, opens nothing that was sealed since
        with open(os.path.join(h.base, "key")) as f:
            kek = bytes.fromhex(f.read().strip())
        with open(os.path.join(h.state, "keeper", "slab"), "rb") as f:
            now = slab_oracle.Slab(f.read(), kek)
        then = slab_oracle.Slab(stolen, kek)
        ada_id = next(ident for table, column, ident in before if table == "user" and column == "password_sealed")
        name = "user", "name_sealed", ada_id

        def opens(slab, value):
            field_key = slab_oracle.hkdf(slab.owner_key(ada_id), None, b"sequester field v1")
            try:
                return slab_oracle.open_box(field_key, b"field" + ada_id, value)
            except slab_oracle.InvalidTag:
                return None
        assert opens(then, before[name]) == opens(now, after[name]) == b"ada"
        assert opens(then, after[name]) is None and opens(now, before[name]) is None
        uploads = ada.upload()
        assert uploads["state"] == "ready", uploads

        # killed between two owners, and while the database is sealed anew: everything is readable, and the next time ends it
        for role, fault in (("keeper", "keeper.replaced"), ("keeper", "keeper.replace_kept"), ("registrar", "registrar.resealed_page")):
            h.arm(fault)
            rotate(h, "--owners")
            hub.wait_for(fault, lambda: not h.is_armed(), 30)
            h.wait_up()
            assert ada.get("/api/v1/jobs/" + job["id"])["name"] == "before the change", role
            ada.login()
        rotate_ok(h, "--owners")
        ada.login()
        damaged_values_are_left(h, ada)
        ada.login()
        second = ada.run_job(uploads["id"])
        ada.claims_and_opens(second["id"])

        # erased as ever
        ada.call("DELETE", "/api/v1/jobs/" + second["id"], status=202)
        ada.call("DELETE", "/api/v1/jobs/" + job["id"], status=202)
        h.verify_log()
        h.clean()



def audit_verify(h, *args, log=None):
    p = subprocess.run([hub.CLI, "audit", "verify", "--log", log or h.log_dir(), *args], text=True, capture_output=True, timeout=300)
    return p.returncode, p.stdout + p.stderr


def receipt_verify(path, vkey):
    p = subprocess.run([hub.CLI, "receipt", "verify", path, "--vkey", vkey], text=True, capture_output=True, timeout=300)
    return p.returncode, p.stdout + p.stderr


def test_note_key():
    """The key of the log and of receipts: whoever has the first key, or any later one, verifies everything that was signed before and since; a forger doesn't get in between."""
    with hub.Hub() as h:
        ada = h.user("ada")
        h.panel()

        def receipts(name):
            upload = ada.upload()
            ada.call("DELETE", "/api/v1/uploads/" + upload["id"], status=202)
            hub.wait_for("the erasure", lambda: ada.get("/api/v1/uploads/" + upload["id"])["state"] == "erased", 60)
            path = os.path.join(h.dir, name)
            with open(path, "w") as f:
                f.write("".join(ada.get("/api/v1/uploads/%s/receipt" % upload["id"])["receipts"]))
            return path
        keys, files, kept = [h.vkeys()], [receipts("first.txt")], []
        assert keys[0]["key_changes"] is None
        for no in range(1, 4):
            h.verify_log()
            kept.append(h.vkeys()["checkpoint"])
            if no == 2:  # killed before the new key stands, and behind it
                for fault in ("keeper.replace_kept", "keeper.replaced"):
                    h.arm(fault)
                    rotate(h, "--notes")
                    hub.wait_for("the fault", lambda: not h.is_armed(), 30)
                    h.wait_up()
            else:
                assert "verifiable" in rotate_ok(h, "--notes")
            keys.append(h.vkeys())
            assert keys[-1]["vkey"] not in [k["vkey"] for k in keys[:-1]] and keys[-1]["receipt_vkey"] != keys[-2]["receipt_vkey"]
            files.append(receipts("after-%d.txt" % no))
        h.verify_log()
        changes = keys[-1]["key_changes"]
        assert changes.count("sequester-key-change/v1") >= 3
        for k in keys:  # the log from each of them; what was kept elsewhere too
            assert audit_verify(h, "--vkey", k["vkey"])[0] == 0, k
        for n, note in enumerate(kept):
            path = os.path.join(h.dir, "kept-%d" % n)
            with open(path, "w") as f:
                f.write(note)
            for k in (keys[0], keys[-1]):
                code, said = audit_verify(h, "--vkey", k["vkey"], "--checkpoint", path)
                assert code == 0, said
        for n, k in enumerate(keys):  # receipts: alone by their own key; with the changes by any
            path = os.path.join(h.dir, "key-%d" % n)
            with open(path, "w") as f:
                f.write(k["receipt_vkey"] + "\n" + changes * (1 + n % 2))  # added once, or twice
            for m, receipt in enumerate(files):
                code, said = receipt_verify(receipt, "@" + path)
                assert code == 0, (n, m, said, open(receipt).read(), open(path).read())
                if n in (0, 3):
                    assert (receipt_verify(receipt, k["receipt_vkey"])[0] == 0) == (n == m), (n, m)
        h.stop()
        h.start()
        assert h.vkeys()["key_changes"] == changes and h.vkeys()["vkey"] == keys[-1]["vkey"]

        # the old keys are gone from the slab; their public halves are there
        with open(os.path.join(h.base, "key")) as f:
            kek = bytes.fromhex(f.read().strip())
        with open(os.path.join(h.state, "keeper", "slab"), "rb") as f:
            slab = slab_oracle.Slab(f.read(), kek)
        halves = {slab.unwrap(slab.root, slot) for (kind, _), slot in slab.slots.items() if kind == 4 and slot[1] == 4}
        assert halves == {base64.b64decode(k["vkey"].split("+", 2)[2])[1:] for k in public_keys(changes)}, halves

        # a forger who writes into the log's directory: a change that nobody signed, a changed one, one that was cut off
        h.verify_log()
        h.stop()
        path = os.path.join(h.log_dir(), "keys")
        with open(path) as f:
            good = f.read()
        for bad in ("", good.replace("entries ", "entries 1"), good[:len(good) // 2], good.replace(keys[0]["vkey"].split("+", 2)[2], keys[-1]["vkey"].split("+", 2)[2])):
            with open(path, "w") as f:
                f.write(bad)
            assert audit_verify(h, "--vkey", keys[0]["vkey"])[0] != 0, bad
        h.start()  # written anew
        h.verify_log()
        assert audit_verify(h, "--vkey", keys[0]["vkey"])[0] == 0


def test_note_keys_at_once():
    """Several at one moment: the list that is published has them all at once, not after the next start. Behind half of the numbers it is once a day."""
    with hub.Hub() as h:
        failed = []

        def four():
            for _ in range(4):
                code, answer = h.admin("key-replace", {"which": "notes"})
                if code not in (0, EBUSY):  # another one is at it
                    failed.append((code, answer))
        threads = [threading.Thread(target=four) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failed, failed
        first = h.vkeys()["key_changes"].count("sequester-key-change/v1")
        assert 1 <= first <= 16
        code, answer = h.admin("key-replace", {"which": "notes"})
        assert code == 0 and answer["number"] == first + 1 == h.vkeys()["key_changes"].count("sequester-key-change/v1"), (first, answer)
        for n in range(first + 1, NOTES // 2):
            h.admin_ok("key-replace", {"which": "notes"})
        for which in ("notes", "notes"):
            code, answer = h.admin("key-replace", {"which": which})
            assert code == EBUSY and "once a day" in answer["detail"], answer
        h.admin_ok("key-replace", {"which": "owners"})  # each has its own count
        h.move_clock(24 * 3600)
        h.admin_ok("key-replace", {"which": "notes"})
        assert h.admin("key-replace", {"which": "notes"})[0] == EBUSY
        assert h.vkeys()["key_changes"].count("sequester-key-change/v1") == NOTES // 2 + 1
        h.verify_log()


def test_a_log_that_was_put_back():
    """A checkpoint that was kept, of more entries than the log that was put back has: said as what it is, also when its key was replaced before or since."""
    with hub.Hub() as h:
        ada = h.user("ada")
        first = h.vkeys()["vkey"]

        def signed(key):
            """The newest checkpoint, once it is of all that is there now and signed by @key."""
            def one():
                v = h.vkeys()
                return v if v["checkpoint"] and v["vkey"] == key and int(v["checkpoint"].split("\n")[1]) >= h.admin_ok("status")["audit"]["entries"] - 3 else None
            return hub.wait_for("a checkpoint", one, 60)["checkpoint"]

        def keep(name, note):
            path = os.path.join(h.dir, name)
            with open(path, "w") as f:
                f.write(note)
            return path
        small = os.path.join(h.dir, "small")
        h.verify_log()
        h.stop()
        shutil.copytree(h.log_dir(), small)
        h.start()
        ada.login()
        for _ in range(30):
            ada.get("/api/v1/me")
        h.verify_log()
        late = keep("late", signed(first))
        code, said = audit_verify(h, "--vkey", first, "--checkpoint", late, log=small)  # its own key
        assert code == 5 and "truncated" in said, said
        rotate_ok(h, "--notes")
        second = h.vkeys()["vkey"]
        ada.get("/api/v1/me")
        h.verify_log()
        later = keep("later", signed(second))
        code, said = audit_verify(h, "--vkey", first, "--checkpoint", later, log=small)  # by a key that the old copy knows nothing of
        assert code == 5 and "is shorter than the checkpoint that was kept" in said and "rolled back or cut" in said, said
        assert audit_verify(h, "--vkey", first, "--checkpoint", later)[0] == 0
        code, said = audit_verify(h, "--vkey", first, "--checkpoint", keep("other", open(late).read().replace("sequester.local", "another.local", 1)))
        assert code == 2 and "isn't a checkpoint of this log" in said, said


def public_keys(changes):
    return [{"vkey": line.split(" ", 1)[1]} for line in changes.split("\n") if line.startswith("from ")]


hub.main([test_token_key, test_owners_keys, test_note_key, test_note_keys_at_once, test_a_log_that_was_put_back])
