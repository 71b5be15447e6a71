#!/usr/bin/env python3
"""Sessions, API tokens, passwords: against a running hub."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402


def site():
    if not hasattr(site, "it"):
        site.it = hub.Hub().start()
    return site.it


def status_of(token, path="/api/v1/me", **kw):
    return site().request("GET", path, token=token, **kw).status


def test_a_session_by_cookie_is_not_in_the_body():
    h = site()
    h.user("ada")
    a = h.request("POST", "/api/v1/login", {"name": "ada", "password": hub.PASSWORD % "ada", "cookie": True})
    assert a.status == 200 and "token" not in a.json and a.json["factor"] is False, a


def test_sessions_are_listed_and_ended():
    h = site()
    bob = h.user("bob")
    one, two = bob.token, bob.login()
    rows = h.request("GET", "/api/v1/me/sessions", token=two).json["data"]
    assert len(rows) == 2 and [r["current"] for r in rows].count(True) == 1 and all(r["address"] == "127.0.0.1" for r in rows), rows
    other = next(r["id"] for r in rows if not r["current"])
    assert status_of(one) == 200
    assert h.request("DELETE", "/api/v1/me/sessions/" + other, token=two).status == 200
    assert (status_of(one), status_of(two)) == (401, 200)
    assert h.request("DELETE", "/api/v1/me/sessions/" + other, token=two).status == 404
    three, four = bob.login(), bob.login()
    assert h.request("POST", "/api/v1/me/revoke", {}, token=four).json["revoked"] == 2
    assert [status_of(t) for t in (two, three, four)] == [401, 401, 200]
    # a session of some time ago ends the others only with the password, itself without
    five = bob.login()
    h.move_clock(16 * 60)
    six = bob.login()
    rows = {r["id"]: r["current"] for r in h.request("GET", "/api/v1/me/sessions", token=five).json["data"]}
    mine = next(i for i, is_it in rows.items() if is_it)
    for method, path in [("POST", "/api/v1/me/revoke")] + [("DELETE", "/api/v1/me/sessions/" + i) for i in rows if i != mine]:
        for body, status, code in (({}, 403, "EREAUTH"), ({"code": "123456"}, 403, "EREAUTH"), ({"password": "wrong-Horse-battery-42"}, 401, "EPASSWORD")):
            a = h.request(method, path, body, token=five)
            assert (a.status, a.json["code"]) == (status, code), (method, path, body, a)
    assert [status_of(t) for t in (four, five, six)] == [200] * 3
    assert h.request("POST", "/api/v1/me/revoke", {"password": bob.password}, token=five).json["revoked"] == 2
    assert [status_of(t) for t in (four, five, six)] == [401, 200, 401]
    assert h.request("DELETE", "/api/v1/me/sessions/" + mine, token=five).status == 200 and status_of(five) == 401


def test_an_api_token_does_what_it_is_for():
    h = site()
    eve = h.user("eve")

    def make(**more):
        return eve.call("POST", "/api/v1/me/tokens", dict({"name": "script", "scopes": ["read"], "days": 3, "password": eve.password}, **more))
    made = make()
    assert made.status == 201, made
    token = made.json["token"]
    assert status_of(token) == 200 and status_of(token, "/jobs") == 200
    assert h.request("GET", "/jobs", headers={"X-Auth-Token": token}).status == 200
    for method, path, body in (("POST", "/api/v1/jobs", {"upload": "0" * 32, "panel": "p"}), ("GET", "/api/v1/me/tokens", None), ("GET", "/api/v1/me/sessions", None),
                               ("PUT", "/api/v1/me/password", {"old": eve.password, "password": "four-Random-otters-41"}),
                               ("POST", "/api/v1/me/tokens", {"name": "x", "scopes": ["read"], "days": 1, "password": eve.password})):
        a = h.request(method, path, body, token=token)
        assert a.status == 403 and a.json["code"] == "ESCOPE", (path, a)
    writes = make(scopes=["read", "write"]).json["token"]
    assert h.request("POST", "/api/v1/jobs", {"upload": "0" * 32, "panel": "p"}, token=writes).status == 400  # no such upload: it came through
    rows = eve.get("/api/v1/me/tokens")["data"]
    assert len(rows) == 2 and all(r["name"] == "script" and r["networks"] == [] for r in rows) and sorted(len(r["scopes"]) for r in rows) == [1, 2], rows
    here, away = make(networks=["127.0.0.0/8", "2001:db8::/32"]).json["token"], make(networks=["192.0.2.0/24"]).json["token"]
    assert status_of(here) == 200
    a = h.request("GET", "/api/v1/me", token=away)
    assert a.status == 403 and a.json["code"] == "ENETWORK", a
    assert any(e["event"] == "denied" and e["result"] == "ENETWORK" for e in eve.get("/api/v1/me/audit?limit=20")["data"])
    for bad in ({"networks": ["127.0.0.1/8"]}, {"networks": ["x"]}, {"networks": ["10.0.0.0/33"]}, {"networks": ["10.0.0.0/8"] * 5}, {"networks": "10.0.0.0/8"}, {"scopes": []},
                {"scopes": ["all"]}, {"scopes": "read"}, {"days": 0}, {"days": 366}, {"days": "3"}, {"name": ""}, {"name": "x" * 101}, {"password": None}):
        assert make(**bad).status == 400, bad
    assert make(password="not this one").status == 401
    ident = made.json["id"]
    assert eve.call("DELETE", "/api/v1/me/tokens/" + ident).status == 200
    assert status_of(token) == 401
    h.move_clock(3 * 86400 + 1)
    h.admin_ok("clock-confirm")
    assert status_of(here) == 401  # its days are over


def test_a_password_is_changed_with_the_old_one():
    h = site()
    dan = h.user("dan")
    other = dan.login()
    script = dan.call("POST", "/api/v1/me/tokens", {"name": "s", "scopes": ["read"], "days": 3, "password": dan.password}, status=201).json["token"]
    new = "eleven-Otters-climb-51"
    for body, status in (({"old": "wrong", "password": new}, 401), ({"old": dan.password, "password": "password1234"}, 422), ({"old": dan.password, "password": "dan"}, 422),
                         ({"password": new}, 400), ({"old": dan.password}, 400)):
        assert dan.call("PUT", "/api/v1/me/password", body).status == status, body
    dan.token = other
    assert dan.call("PUT", "/api/v1/me/password", {"old": dan.password, "password": new}, status=200).json["revoked"] == 2
    assert status_of(other) == 200 and status_of(script) == 401
    old, dan.password = dan.password, new
    assert h.request("POST", "/api/v1/login", {"name": "dan", "password": old}).status == 401
    assert status_of(dan.login()) == 200
    events = [e["event"] for e in dan.get("/api/v1/me/audit?limit=50")["data"]]
    assert "password_changed" in events and "tokens_revoked" in events, events


def test_strangers_failures_do_not_keep_the_owner_out():
    """127.0.0.1 is where fay is at home; a stranger at 127.0.0.2 fails until he waits. Then fay still signs in, and from elsewhere she waits."""
    h = site()
    fay = h.user("fay")

    def login(source, password):
        code, out = h.curl("--interface", source, "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json", "-d",
                           hub.json.dumps({"name": "fay", "password": password}), "https://127.0.0.1:%d/api/v1/login" % h.port)
        assert code == 0, out
        return int(out)
    assert [login("127.0.0.2", "wrong") for _ in range(6)] == [401] * 6
    assert login("127.0.0.2", fay.password) == 401 and login("127.0.0.3", fay.password) == 401  # they wait
    assert login("127.0.0.1", fay.password) == 200
    h.move_clock(61)
    assert login("127.0.0.3", fay.password) == 200
    # at home one's own failures count, too
    assert [login("127.0.0.1", "wrong") for _ in range(5)] == [401] * 5
    assert login("127.0.0.1", fay.password) == 401
    h.move_clock(61)
    assert login("127.0.0.1", fay.password) == 200


if __name__ == "__main__":
    try:
        hub.main([test_a_session_by_cookie_is_not_in_the_body, test_sessions_are_listed_and_ended, test_an_api_token_does_what_it_is_for,
                  test_a_password_is_changed_with_the_old_one, test_strangers_failures_do_not_keep_the_owner_out])
    finally:
        if hasattr(site, "it"):
            site.it.__exit__(None)
