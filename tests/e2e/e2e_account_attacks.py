#!/usr/bin/env python3
"""Accounts, attacked: doing without a required second factor, guessing codes with the password at hand, and what was begun before a new password or the end of a session and is finished after it."""
import base64
import http.client
import json
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import e2e_register  # noqa: E402
import hub  # noqa: E402
import totp  # noqa: E402

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
NEXT = "nine-Otters-climb-51"
USERS = ("/api/v1/jobs", "/api/v1/uploads", "/jobs")


def site():
    if not hasattr(site, "it"):
        site.it = hub.Hub().start()
    return site.it


def stranger(h, method, path, body, address="127.0.0.77"):
    """From an address that no account was ever used from."""
    c = http.client.HTTPSConnection("localhost", h.port, context=h.tls, timeout=300, source_address=(address, 0))
    try:
        c.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        a = c.getresponse()
        return hub.Answer(a.status, dict(a.getheaders()), a.read())
    finally:
        c.close()


def set_config(h, **settings):
    h.stop()
    with open(h.ini) as f:
        lines = [x for x in f if x.split("=")[0].strip() not in settings]
    with open(h.ini, "w") as f:
        f.writelines(lines + ["%s = %s\n" % kv for kv in settings.items()])
    h.start()


def device_code(h, scope="read write results"):
    return h.request("POST", "/api/v1/device/code", {"client_id": "machine", "scope": scope}).json


def device_ask(h, code):
    return h.request("POST", "/api/v1/device/token", {"grant_type": GRANT, "device_code": code["device_code"], "client_id": "machine"})


def refused(a, code="ENOFACTOR"):
    assert a.status == 403 and a.json["code"] == code, a


def required_is_required():
    """`second_factor = required`: by a password alone nobody does anything, and nobody makes a token that does."""
    with hub.Hub() as h:
        ada, bob = h.user("ada"), h.user("bob")
        early = ada.call("POST", "/api/v1/me/tokens", {"name": "early", "scopes": ["read", "write", "results"], "days": 9, "password": ada.password}, status=201).json["token"]
        assert all(h.request("GET", p, token=early).status == 200 for p in USERS)
        set_config(h, second_factor="required")
        ada.login()
        for token in (ada.token, early):
            for path in USERS:
                refused(h.request("GET", path, token=token))
            refused(h.request("POST", "/api/v1/jobs", {"upload": "0" * 32, "panel": "x"}, token=token))
            assert h.request("POST", "/api/v1/uploads", "--X--\r\n", token=token, headers={"Content-Type": "multipart/form-data; boundary=X"}).status == 403
        refused(ada.call("POST", "/api/v1/me/tokens", {"name": "s", "scopes": ["read", "write", "results"], "days": 9, "password": ada.password}))
        code = device_code(h)
        refused(ada.call("POST", "/api/v1/device/approve", {"user_code": code["user_code"], "password": ada.password}))
        assert device_ask(h, code).json["error"] == "authorization_pending"
        # with one, all of it goes, also for tokens; and it stays
        ada.enrol()
        assert all(ada.call("GET", p).status == 200 for p in USERS)
        late = ada.call("POST", "/api/v1/me/tokens", {"name": "late", "scopes": ["read"], "days": 9, "password": ada.password, "code": ada.code()}, status=201).json["token"]
        assert ada.call("POST", "/api/v1/device/approve", {"user_code": code["user_code"], "password": ada.password, "code": ada.code()}).status == 200
        h.move_clock(5)
        by_device = device_ask(h, code).json["access_token"]
        assert all(h.request("GET", p, token=t).status == 200 for p in USERS for t in (late, by_device))
        refused(h.request("GET", "/jobs", token=early))
        ident = ada.get("/api/v1/me/factors")["data"][0]["id"]
        refused_last = ada.call("DELETE", "/api/v1/me/factors/" + ident, {"password": ada.password, "code": ada.code()})
        assert refused_last.status == 409 and refused_last.json["code"] == "ELAST", refused_last
        bob.login()
        refused(bob.call("GET", "/jobs"))
        # a session from before the factor was added doesn't grow one
        old = bob.token
        bob.enrol()
        refused(h.request("GET", "/jobs", token=old))


def a_code_is_good_for_its_own_30_seconds():
    with hub.Hub(settings={"totp_beside": 0}) as h:
        ada = h.user("ada")
        begun = ada.call("POST", "/api/v1/me/totp", {"password": ada.password}, status=200).json
        h.move_clock(totp.STEP_S + 1 - h.now() % totp.STEP_S)  # to the begin of a step: it lasts until all are asked
        for beside in (-1, 1):
            assert ada.call("POST", "/api/v1/me/totp/confirm", {"id": begun["id"], "code": totp.code(begun["secret"], h.now() + beside * totp.STEP_S)}).status == 401
        ada.call("POST", "/api/v1/me/totp/confirm", {"id": begun["id"], "code": totp.code(begun["secret"], h.now())}, status=200)


def codes_by_sha256():
    """`totp_hash = sha256`: authenticators that are added then are of it, and stay so whatever the setting says later; those from before go on too."""
    with hub.Hub() as h:
        ada, bob = h.user("ada"), h.user("bob")
        ada.enrol()
        set_config(h, totp_hash="sha256")
        ada.login()
        bob.login()
        begun = bob.call("POST", "/api/v1/me/totp", {"password": bob.password}, status=200).json
        key = base64.b32decode(begun["secret"] + "====")
        assert len(key) == 32 and "algorithm=SHA256" in begun["uri"] and "secret=" + begun["secret"] + "&" in begun["uri"], begun
        sha1 = totp.code(begun["secret"], h.now(), digest="sha1")
        if sha1 != totp.code(begun["secret"], h.now()):
            assert bob.call("POST", "/api/v1/me/totp/confirm", {"id": begun["id"], "code": sha1}).status == 401
        bob.secret, bob.last_step = begun["secret"], 0
        bob.call("POST", "/api/v1/me/totp/confirm", {"id": begun["id"], "code": bob.code()}, status=200)
        bob.login()
        subprocess.run([hub.CLI, "admin", "key", "rotate", "--owners", "--run-dir", os.path.dirname(h.admin_path)], check=True, capture_output=True)
        set_config(h, totp_hash="sha1")
        for u, kind in ((bob, 52), (ada, 32)):
            u.login()
            assert len(u.secret) == kind
        assert len(ada.call("POST", "/api/v1/me/totp", {"password": ada.password, "code": ada.code()}, status=200).json["secret"]) == 32
        h.clean()


def codes_are_not_guessed_between_passwords():
    """Who has the password shows it between guesses of the code: that takes back none of the failures."""
    h = site()
    ada = h.user("cora")
    ada.enrol()
    looked_at = 0
    for _ in range(4):
        a = stranger(h, "POST", "/api/v1/login", {"name": "cora", "password": ada.password})
        for _ in range(4 if a.status == 200 else 0):
            looked_at += stranger(h, "POST", "/api/v1/login/factor", {"ticket": a.json["pending"], "code": "000000"}).status == 401
    assert stranger(h, "POST", "/api/v1/login", {"name": "cora", "password": ada.password}).status == 401  # the account waits for strangers
    log = [e["event"] for e in ada.get("/api/v1/me/audit?limit=100")["data"]]
    assert log.count("factor_failed") <= 6 and looked_at <= 8, (log.count("factor_failed"), looked_at)
    ada.login()  # not where its owner is at home
    h.move_clock(3600)
    a = stranger(h, "POST", "/api/v1/login", {"name": "cora", "password": ada.password, "code": ada.code()})
    assert a.status == 200, a  # a whole sign-in forgets them
    for _ in range(4):
        assert stranger(h, "POST", "/api/v1/login", {"name": "cora", "password": "wrong"}, "127.0.0.78").status == 401
    assert stranger(h, "POST", "/api/v1/login", {"name": "cora", "password": ada.password, "code": ada.code()}, "127.0.0.78").status == 200


def a_stolen_session_guesses_no_password():
    h = site()
    ada = h.user("fran")
    owner, thief = ada.token, ada.login()

    def confirm(token, password):
        return h.request("PUT", "/api/v1/me/password", {"old": password, "password": NEXT}, token=token)
    for k in range(5):
        assert confirm(thief, "Wrong-password-%d" % k).status == 401
    h.kill("registrar")  # it isn't forgotten by a process that ends
    hub.wait_for("the hub", h.is_up, 60)
    assert confirm(thief, ada.password).status == 401  # it isn't looked at
    assert confirm(owner, ada.password).status == 200  # not so in the owner's own session
    ada.password = NEXT
    token = ada.login()
    for k in range(5):
        assert confirm(token, "Wrong-password-%d" % k).status == 401
    h.move_clock(61)
    assert confirm(token, ada.password).status == 200


def a_code_in_the_old_mailbox_is_void():
    """Who changes his address because somebody reads the old one: the code that was mailed there before sets no password."""
    with e2e_register.World() as w:
        w.h.admin_ok("user-add", {"name": "gina", "role": "user", "password": hub.PASSWORD % "gina", "mail": "gina@example.org"})
        gina = hub.User(w.h, "gina")
        assert w.post("password/forgot", {"mail": "gina@example.org"}).status == 202
        code = w.mail(1, "Choose a password")
        w.move(gina, "gina@uni.example")
        assert w.post("password/reset", {"code": code, "password": NEXT}).status == 410
        gina.login()


def a_new_password_ends_what_waits():
    h = site()
    ada = h.user("dora")
    ada.enrol()
    waits = h.request("POST", "/api/v1/login", {"name": "dora", "password": ada.password}).json["pending"]
    code = device_code(h)
    assert ada.call("POST", "/api/v1/device/approve", {"user_code": code["user_code"], "password": ada.password, "code": ada.code()}).status == 200
    ada.call("PUT", "/api/v1/me/password", {"old": ada.password, "password": NEXT, "code": ada.code()}, status=200)
    a = h.request("POST", "/api/v1/login/factor", {"ticket": waits, "code": ada.code()})
    assert a.status == 401 and "token" not in a.json, a
    a = device_ask(h, code)
    assert a.status == 400 and a.json["error"] == "expired_token", a
    assert ada.get("/api/v1/me/tokens")["data"] == []


def held(h, what, ask, between):
    """`ask` is answered after `between` was done while it stood at fault point `what`."""
    number, got = h.hold(what), []
    t = threading.Thread(target=lambda: got.append(ask()))
    t.start()
    hub.wait_for("it to be held", lambda: h.is_held(number), 30)
    between()
    h.release(number)
    t.join(60)
    return got[0]


def nothing_comes_after_its_end():
    """A token that was signed before what it rests on ended, and stored after it: not one of them is given out."""
    h = site()
    ada = h.user("edna")
    ada.enrol()
    owner = ada.token

    def another():
        return h.request("POST", "/api/v1/login", {"name": "edna", "password": ada.password, "code": ada.code()})

    def end_others():
        assert h.request("POST", "/api/v1/me/revoke", {"password": ada.password, "code": ada.code()}, token=owner).status == 200

    def new_password():
        nonlocal owner
        new = NEXT if ada.password != NEXT else "seven-Geese-walk-83"
        assert h.request("PUT", "/api/v1/me/password", {"old": ada.password, "password": new, "code": ada.code()}, token=owner).status == 200
        ada.password = new

    thief = another().json["token"]
    code = ada.code()
    a = held(h, "token.signed", lambda: h.request("POST", "/api/v1/step-up", {"code": code}, token=thief), end_others)
    assert a.status == 403 and a.json["code"] == "EPROOF", a
    thief = another().json["token"]
    made = {"name": "t", "scopes": ["read"], "days": 9, "password": ada.password, "code": ada.code()}
    a = held(h, "token.signed", lambda: h.request("POST", "/api/v1/me/tokens", made, token=thief), end_others)
    assert a.status == 403 and a.json["code"] == "EPROOF", a
    asked = {"name": "edna", "password": ada.password, "code": ada.code()}
    a = held(h, "token.signed", lambda: h.request("POST", "/api/v1/login", asked), new_password)
    assert a.status == 401 and "token" not in a.json, a
    made = {"name": "t", "scopes": ["read"], "days": 9, "password": ada.password, "code": ada.code()}
    a = held(h, "token.signed", lambda: h.request("POST", "/api/v1/me/tokens", made, token=owner), new_password)
    assert a.status == 403 and a.json["code"] == "EPROOF", a
    assert [s["current"] for s in h.request("GET", "/api/v1/me/sessions", token=owner).json["data"]] == [True]
    assert h.request("GET", "/api/v1/me/tokens", token=owner).json["data"] == []
    asked = {"name": "edna", "password": ada.password, "code": ada.code()}
    a = held(h, "token.signed", lambda: h.request("POST", "/api/v1/login", asked), lambda: h.admin_ok("user-disable", {"name": "edna"}))
    assert a.status == 401 and "token" not in a.json, a
    h.admin_ok("user-enable", {"name": "edna"})


if __name__ == "__main__":
    try:
        hub.main([required_is_required, a_code_is_good_for_its_own_30_seconds, codes_by_sha256, codes_are_not_guessed_between_passwords, a_stolen_session_guesses_no_password, a_code_in_the_old_mailbox_is_void, a_new_password_ends_what_waits, nothing_comes_after_its_end])
    finally:
        if hasattr(site, "it"):
            site.it.__exit__(None)
