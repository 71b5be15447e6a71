#!/usr/bin/env python3
"""`admin_sign_in = yes`: the operator's socket takes no change by the uid alone, and what it takes is told with its officer's name."""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402

ERR = open(os.path.join(hub.ROOT, "src/lib/core/err.def")).read()
CODE = {name: int(no) for name, no in re.findall(r"SQ_ERR\((\w+),\s*(\d+)", ERR)}
VERBS = dict(re.findall(r'\{"([a-z-]+)", \w+, \w+, ADMIN_BY_(\w+)\}', open(os.path.join(hub.ROOT, "src/daemon/registrar/admin.c")).read()))
READS_OR_MENDS = {"unseal", "clock-confirm", "status", "key-status", "check", "rollback-show", "rollback-accept", "mail-test", "tls-reload", "network-reload", "user-show", "user-list"}
PANELS = {"panel-add", "panel-remove"}


def officer(h, name, role, code_too=True):
    u = h.user(name, role=role)
    if code_too:
        u.enrol()
    return u


def refused(h, verb, code, args=None, session=""):
    got, answer = h.admin(verb, args, session=session)
    assert got == CODE[code], (verb, got, answer)
    return answer


def test_every_verb_has_its_officer():
    assert len(VERBS) > 20 and {v for v, who in VERBS.items() if who == "UID"} == READS_OR_MENDS, VERBS
    assert {v for v, who in VERBS.items() if who == "OPERATOR"} == PANELS, VERBS


def test_the_second_layer():
    with hub.Hub(settings={"admin_sign_in": "yes"}) as h:
        ada = h.user("ada")  # nobody could come in by a second factor yet: the uid alone makes the first accounts
        sec, op = officer(h, "sec", "security", code_too=False), h.user("op", role="operator")
        bare = sec.token
        h.admin_ok("user-revoke", {"name": "ada"})  # he has none still
        sec.enrol()
        # from now on the uid alone changes nothing, whatever is asked
        before = h.admin_ok("status")
        assert before["admin_sign_in"] is True
        for verb in sorted(set(VERBS) - READS_OR_MENDS):
            a = refused(h, verb, "EAUTH", {"name": "ada", "id": "x", "role": "security", "what": "owners"})
            assert a["field"] == "session" and "admin_sign_in" in a["detail"], a
        refused(h, "check", "EAUTH", {"mend": True})
        for verb in ("status", "key-status", "user-list", "check"):
            assert h.admin(verb)[0] == 0, verb
        assert h.admin_ok("user-show", {"name": "sec"})["role"] == "security"
        # sessions that aren't enough
        ada.login()
        api = sec.call("POST", "/api/v1/me/tokens", {"name": "t", "scopes": ["read", "write"], "days": 1, "password": sec.password, "code": sec.code()}, status=201).json["token"]
        refused(h, "user-disable", "ENOFACTOR", {"name": "ada"}, session=bare)  # from before he had one
        for session, code in ((ada.token, "EDENIED"), (op.token, "EDENIED"), (api, "ESCOPE"), (sec.token[:-3], "EAUTH"), ("x", "EAUTH"), (sec.token + " ", "EAUTH")):
            refused(h, "user-disable", code, {"name": "ada"}, session=session)
        op.enrol()
        refused(h, "user-disable", "EDENIED", {"name": "ada"}, session=op.token)  # an operator's own rules are those of --remote
        refused(h, "panel-remove", "EDENIED", {"id": "none"}, session=ada.token)
        assert h.admin("panel-remove", {"id": "none"}, session=op.token)[0] == CODE["ENOTFOUND"]
        assert h.admin("check", {"mend": True}, session=op.token)[0] == 0
        # the officer: his name stands in the log, and the uid beside it
        ident = h.admin_ok("user-show", {"name": "sec"})["id"]
        h.admin_ok("user-disable", {"name": "ada"}, session=sec.token)
        assert ada.call("GET", "/api/v1/me").status == 401
        rows = sec.get("/api/v1/admin/audit?limit=100")["data"]
        row = next(r for r in rows if r["event"] == "admin_action")
        assert row["actor"] == ident and row["b"] == os.getuid() + 1 and row["result"] == "OK" and row["role"] == "security", row
        assert any(r["event"] == "admin_action" and r["result"] == "EAUTH" and r["b"] == 0 for r in rows)
        # 15 minutes, and never longer than the session
        h.move_clock(15 * 60 + 1)
        refused(h, "user-enable", "ESTEPUP", {"name": "ada"}, session=sec.token)
        stale = sec.token
        sec.step_up()
        refused(h, "user-enable", "EAUTH", {"name": "ada"}, session=stale)  # the one before the step-up has ended
        h.admin_ok("user-enable", {"name": "ada"}, session=sec.token)
        # shutting the officers out opens nothing: killed, restarted, disabled
        h.kill("registrar")
        hub.wait_for("the hub", h.is_up, 60)
        refused(h, "user-role", "EAUTH", {"name": "ada", "role": "security"})
        h.verify_log()


def test_the_command_line():
    with hub.Hub(settings={"admin_sign_in": "yes"}) as h:
        sec = officer(h, "sec", "security")
        run_dir = os.path.dirname(h.admin_path)
        none = os.path.join(h.dir, "no-session.json")

        def admin(*args, session):
            return subprocess.run([hub.CLI, "admin", *args, "--run-dir", run_dir, "--session", session], capture_output=True, text=True)
        p = admin("session", "revoke", "sec", session=none)
        assert p.returncode == 1 and "admin_sign_in = yes" in p.stderr and "sequester login" in p.stderr, p.stderr
        path = os.path.join(h.dir, "session.json")
        with open(path, "w") as f:
            json.dump({"server": h.origin, "cacert": h.ca, "token": sec.token}, f)
        os.chmod(path, 0o600)
        p = admin("key", "rotate", session=path)
        assert p.returncode == 0, p.stdout + p.stderr
        h.move_clock(15 * 60 + 1)
        p = admin("key", "rotate", session=path)
        assert p.returncode == 1 and "sequester account prove" in p.stderr, p.stderr
        out = subprocess.run([hub.CLI, "admin", "status", "--run-dir", run_dir], capture_output=True, text=True, check=True).stdout
        assert "admin_sign_in = yes" in out, out


if __name__ == "__main__":
    hub.main([test_every_verb_has_its_officer, test_the_second_layer, test_the_command_line])
