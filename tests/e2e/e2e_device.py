#!/usr/bin/env python3
"""The device authorization grant (RFC 8628) as another OAuth 2 client does it, by form and by JSON, and against it: codes that are guessed, used again, asked for too often, or of
another client. The command line's side is e2e_account_cli's."""
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Site:
    def __init__(self):
        self.h = hub.Hub(settings={"public_url": "https://hub.example.org"}).start()
        self.ada, self.eve = self.h.user("ada"), self.h.user("eve")

    def code(self, client="other-client", scope="read write"):
        a = self.h.request("POST", "/api/v1/device/code", "client_id=%s&scope=%s" % (client, scope.replace(" ", "%20")), headers=FORM)
        assert a.status == 200, a
        return a.json

    def ask(self, device_code, client="other-client", grant=GRANT):
        a = self.h.request("POST", "/api/v1/device/token", {"grant_type": grant, "device_code": device_code, "client_id": client})
        return a.json if a.status == 200 else (a.status, a.json.get("error"))

    def approve(self, user, user_code, **more):
        return user.call("POST", "/api/v1/device/approve", dict({"user_code": user_code, "password": user.password}, **more))


def site():
    if not hasattr(site, "it"):
        site.it = Site()
    return site.it


def test_the_whole_way():
    s = site()
    c = s.code()
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", c["user_code"]) and re.fullmatch("[0-9a-f]{64}", c["device_code"]), c
    assert c["verification_uri"] == "https://hub.example.org" and c["user_code"] in c["verification_uri_complete"] and c["expires_in"] == 600 and c["interval"] == 5
    assert s.ask(c["device_code"]) == (400, "authorization_pending")
    assert s.ask(c["device_code"]) == (400, "slow_down")
    shown = s.ada.get("/api/v1/device/codes/" + c["user_code"])
    assert shown["client"] == "other-client" and shown["scopes"] == ["read", "write"] and shown["address"] == "127.0.0.1", shown
    assert s.approve(s.ada, c["user_code"]).status == 200
    a = s.h.request("POST", "/api/v1/device/token", "grant_type=%s&device_code=%s&client_id=other-client" % (GRANT.replace(":", "%3A"), c["device_code"]), headers=FORM)
    assert a.status == 200 and a.json["token_type"] == "Bearer" and a.json["scope"] == "read write" and 29 * 86400 < a.json["expires_in"] <= 30 * 86400, a
    token = a.json["access_token"]
    assert s.h.request("GET", "/api/v1/me", token=token).json["name"] == "ada"
    assert s.h.request("GET", "/api/v1/me/sessions", token=token).json["code"] == "ESCOPE"
    assert [t["name"] for t in s.ada.get("/api/v1/me/tokens")["data"]] == ["other-client"]
    # both codes counted once
    assert s.ask(c["device_code"]) == (400, "expired_token")
    assert s.approve(s.eve, c["user_code"]).status == 404
    assert s.ada.call("DELETE", "/api/v1/me/tokens/" + s.ada.get("/api/v1/me/tokens")["data"][0]["id"]).status == 200
    assert s.h.request("GET", "/api/v1/me", token=token).status == 401


def test_refusals():
    s = site()
    c = s.code("deny-me")
    assert s.ada.call("POST", "/api/v1/device/deny", {"user_code": c["user_code"]}).status == 200
    assert s.ask(c["device_code"], "deny-me") == (400, "access_denied") and s.ask(c["device_code"], "deny-me") == (400, "expired_token")
    c = s.code()
    assert s.ask(c["device_code"], "another-client") == (400, "invalid_grant")
    assert s.ask("0" * 64) == (400, "expired_token") and s.ask(c["device_code"], grant="password") == (400, "unsupported_grant_type")
    assert s.approve(s.ada, c["user_code"], password="wrong-Horse-battery-42").json["code"] == "EPASSWORD"
    assert s.approve(s.ada, c["user_code"]).status == 200, "a wrong password keeps it waiting"
    assert s.approve(s.ada, c["user_code"]).status == 404 and s.approve(s.ada, "BCDF-GHJK").status == 404
    for body in ("client_id=x&scope=everything", "client_id=a%20b", "client_id=x&client_id=y", "scope=read", "client_id=", "client_id=x&scope="):
        assert s.h.request("POST", "/api/v1/device/code", body, headers=FORM).status == 400, body
    # nobody approves without a session: not a stranger, not a script
    token = s.ada.call("POST", "/api/v1/me/tokens", {"name": "x", "scopes": ["read", "write", "results"], "days": 1, "password": s.ada.password}, status=201).json["token"]
    c = s.code()
    for who, status in ((None, 401), (token, 403)):
        assert s.h.request("POST", "/api/v1/device/approve", {"user_code": c["user_code"], "password": s.ada.password}, token=who).status == status
        assert s.h.request("GET", "/api/v1/device/codes/" + c["user_code"], token=who).status == status


def test_with_a_second_factor():
    s = site()
    u = s.h.user("fac")
    u.enrol()
    c = s.code("needs-both")
    a = s.approve(u, c["user_code"])
    assert a.status in (400, 401, 403), ("the password alone doesn't do", a)
    assert s.approve(u, c["user_code"], code="000000").status == 401
    assert s.approve(u, c["user_code"], code=u.code()).status == 200
    time.sleep(0.1)
    assert "access_token" in s.ask(c["device_code"], "needs-both")


def test_it_cannot_be_flooded():
    """One address holds few places, and a newcomer elsewhere isn't kept out by it; what waits is gone with the process that holds it."""
    s = site()
    got = [s.h.request("POST", "/api/v1/device/code", {"client_id": "flood"}).status for _ in range(20)]
    assert got.count(200) >= 8 and got[-1] == 429, got
    s.h.kill("registrar")
    s.h.wait_up()
    hub.wait_for("a place again", lambda: s.h.request("POST", "/api/v1/device/code", {"client_id": "flood"}).status == 200, 60)


def test_a_restart_midway():
    """What waits ends with registrar: the machine hears expired_token, its owner 404, and nothing is left behind; beginning anew works."""
    s = site()
    s.ada.login()
    n = len(s.ada.get("/api/v1/me/tokens")["data"])
    waits, approved = s.code(), s.code()
    assert s.approve(s.ada, approved["user_code"]).status == 200
    assert len(s.ada.get("/api/v1/me/tokens")["data"]) == n, "signed when it is fetched"
    s.h.kill("registrar")
    s.h.wait_up()
    for c in (waits, approved):
        assert s.ask(c["device_code"]) == (400, "expired_token")
        assert s.approve(s.ada, c["user_code"]).status == 404 and s.ada.call("GET", "/api/v1/device/codes/" + c["user_code"]).status == 404
    assert len(s.ada.get("/api/v1/me/tokens")["data"]) == n
    again = s.code()
    assert s.approve(s.ada, again["user_code"]).status == 200
    # keeper's proof of the approval goes with keeper
    s.h.started_anew("keeper", s.h.kill("keeper"))
    hub.wait_for("the new keeper to be spoken with", lambda: s.h.is_up() and s.ada.call("GET", "/api/v1/me").status == 200, 30)
    assert s.ask(again["device_code"]) == (400, "expired_token") and s.ask(again["device_code"]) == (400, "expired_token")
    # disabled between approval and fetching
    again = s.code()
    assert s.approve(s.ada, again["user_code"]).status == 200
    s.h.admin_ok("user-disable", {"name": "ada"})
    assert s.ask(again["device_code"]) == (400, "expired_token")
    s.h.admin_ok("user-enable", {"name": "ada"})
    s.ada.login()
    n = len(s.ada.get("/api/v1/me/tokens")["data"])
    again = s.code()
    assert s.approve(s.ada, again["user_code"]).status == 200
    assert s.ask(again["device_code"])["access_token"] and len(s.ada.get("/api/v1/me/tokens")["data"]) == n + 1


if __name__ == "__main__":
    try:
        hub.main([test_the_whole_way, test_refusals, test_with_a_second_factor, test_it_cannot_be_flooded, test_a_restart_midway])
    finally:
        if hasattr(site, "it"):
            site.it.h.__exit__(None)
