#!/usr/bin/env python3
"""Second factors: authenticator codes, recovery codes, step-up; and what the roles of staff may do with and without one."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402
import totp  # noqa: E402


def site():
    if not hasattr(site, "it"):
        site.it = hub.Hub().start()
    return site.it


def login(name, password, **more):
    return site().request("POST", "/api/v1/login", dict({"name": name, "password": password}, **more))


def test_an_authenticator_is_asked_for():
    h = site()
    ada = h.user("ada")
    assert ada.get("/api/v1/me/factors") == {"data": [], "recovery_left": 0, "required": False, "success": True}
    assert ada.call("POST", "/api/v1/me/totp", {"password": "wrong"}).status == 401
    begun = ada.call("POST", "/api/v1/me/totp", {"password": ada.password, "name": "phone"}, status=200).json
    assert len(begun["secret"]) == 32 and begun["uri"].startswith("otpauth://totp/") and "secret=" + begun["secret"] in begun["uri"], begun
    assert login("ada", ada.password).json["factor"] is False  # it doesn't count before its first code
    ada.secret, ada.last_step = begun["secret"], 0
    assert ada.call("POST", "/api/v1/me/totp/confirm", {"id": begun["id"], "code": "000000"}).status == 401
    codes = ada.call("POST", "/api/v1/me/totp/confirm", {"id": begun["id"], "code": ada.code()}, status=200).json["recovery"]
    assert len(set(codes)) == 10 and all(len(c) == 29 for c in codes), codes
    a = login("ada", ada.password)
    assert a.status == 200 and "token" not in a.json and a.json["factors"] == ["totp", "recovery"], a
    ticket = a.json["pending"]
    assert h.request("GET", "/api/v1/me", token=ticket).status == 401
    code = ada.code()
    a = h.request("POST", "/api/v1/login/factor", {"ticket": ticket, "code": code})
    assert a.status == 200 and a.json["factor"] is True, a
    assert h.request("POST", "/api/v1/login/factor", {"ticket": ticket, "code": ada.code()}).status == 401  # a ticket is good once
    assert login("ada", ada.password, code=code).status == 401  # and so is a code
    assert login("ada", ada.password, code=totp.code(ada.secret, h.now() - 90)).status == 401 and login("ada", ada.password, code=totp.code(ada.secret, h.now() + 90)).status == 401
    h.move_clock(61)  # those two were failures; now they are forgotten
    ada.login()
    row = ada.get("/api/v1/me/factors")["data"][0]
    assert row["kind"] == "totp" and row["name"] == "phone", row
    test_an_authenticator_is_asked_for.codes, test_an_authenticator_is_asked_for.ada = codes, ada


def test_recovery_codes_are_good_once():
    h, ada, codes = site(), test_an_authenticator_is_asked_for.ada, test_an_authenticator_is_asked_for.codes
    assert login("ada", ada.password, code=codes[0].upper().replace("-", " ")).status == 200
    assert login("ada", ada.password, code=codes[0]).status == 401
    assert ada.get("/api/v1/me/factors")["recovery_left"] == 9
    fresh = ada.call("POST", "/api/v1/me/recovery", {"password": ada.password, "code": ada.code()}, status=200).json["recovery"]
    assert login("ada", ada.password, code=codes[1]).status == 401 and login("ada", ada.password, code=fresh[1]).status == 200
    events = [e["event"] for e in ada.get("/api/v1/me/audit?limit=100")["data"]]
    assert events.count("recovery_used") == 2 and events.count("recovery_made") == 2 and "factor_failed" in events and "factor_added" in events, events
    h.move_clock(61)


def test_what_changes_an_account_takes_both():
    ada = test_an_authenticator_is_asked_for.ada
    made = {"name": "s", "scopes": ["read"], "days": 1, "password": ada.password}
    assert ada.call("POST", "/api/v1/me/tokens", made).status == 400  # without the code
    assert ada.call("POST", "/api/v1/me/tokens", dict(made, code="12345x")).status == 401
    ada.call("POST", "/api/v1/me/tokens", dict(made, code=ada.code()), status=201)
    assert ada.call("PUT", "/api/v1/me/password", {"old": ada.password, "password": ada.password}).status == 400
    ada.call("PUT", "/api/v1/me/password", {"old": ada.password, "password": ada.password, "code": ada.code()}, status=200)


def test_codes_cannot_be_guessed():
    """Five wrong ones end a ticket, and then the account waits."""
    h, ada = site(), test_an_authenticator_is_asked_for.ada
    good = ada.code()  # it may move the clock
    ticket = login("ada", ada.password).json["pending"]
    answers = [h.request("POST", "/api/v1/login/factor", {"ticket": ticket, "code": "%06d" % i}).status for i in range(5)]
    assert answers == [401] * 5
    assert h.request("POST", "/api/v1/login/factor", {"ticket": ticket, "code": good}).status == 401
    assert login("ada", ada.password, code=good).status == 401  # waits
    assert ada.call("POST", "/api/v1/step-up", {"code": good}).status == 401
    h.move_clock(61)
    ada.login()


def test_the_last_one_goes_for_a_user_alone():
    h, ada = site(), test_an_authenticator_is_asked_for.ada
    ident = ada.get("/api/v1/me/factors")["data"][0]["id"]
    assert ada.call("DELETE", "/api/v1/me/factors/" + ident, {"password": ada.password}).status == 400
    ada.call("DELETE", "/api/v1/me/factors/" + ident, {"password": ada.password, "code": ada.code()}, status=200)
    ada.secret = None
    assert login("ada", ada.password).json["factor"] is False and ada.get("/api/v1/me/factors")["recovery_left"] == 0
    olga = h.user("olga", "operator")
    olga.enrol()
    ident = olga.get("/api/v1/me/factors")["data"][0]["id"]
    a = olga.call("DELETE", "/api/v1/me/factors/" + ident, {"password": olga.password, "code": olga.code()})
    assert a.status == 409 and a.json["code"] == "ELAST", a


def test_a_role_without_its_factor_has_no_rights():
    h = site()
    oscar = h.user("oscar", "operator")
    a = oscar.call("GET", "/api/v1/admin/status")
    assert a.status == 403 and a.json["code"] == "ENOFACTOR", a
    oscar.enrol()
    assert oscar.get("/api/v1/admin/status")["state"] == "up"
    ident = oscar.get("/api/v1/me")["id"]
    assert oscar.get("/api/v1/admin/jobs")["data"] == []
    assert oscar.get("/api/v1/admin/users/" + ident)["role"] == "operator"
    user = oscar.call("POST", "/api/v1/admin/find", {"name": "ada"}, status=200).json
    assert user["role"] == "user" and user["state"] == "active" and "ada" not in str(user), user
    assert oscar.call("POST", "/api/v1/admin/users/%s/revoke" % user["id"], {}, status=200).json["revoked"] >= 1
    for _ in range(2):
        h.move_clock(8 * 60)
        oscar.get("/api/v1/me")
    a = oscar.call("POST", "/api/v1/admin/users/%s/revoke" % user["id"], {})
    assert a.status == 403 and a.json["code"] == "ESTEPUP", a
    old = oscar.token
    oscar.step_up()
    assert h.request("GET", "/api/v1/me", token=old).status == 401  # rotated
    oscar.call("POST", "/api/v1/admin/users/%s/revoke" % user["id"], {}, status=200)
    # an operator looks after users, not after those with more rights; roles are the security officer's
    assert oscar.call("POST", "/api/v1/admin/users/%s/revoke" % ident, {}).status == 403
    assert oscar.call("PUT", "/api/v1/admin/users/%s/role" % user["id"], {"role": "operator"}).status == 403
    test_a_role_without_its_factor_has_no_rights.it = oscar, ident, user


def test_the_security_officer_gives_roles():
    h = site()
    oscar, oscar_id, user = test_a_role_without_its_factor_has_no_rights.it
    vera = h.user("vera", "security")
    vera.enrol()
    ada = test_an_authenticator_is_asked_for.ada
    ada.login()
    assert vera.call("PUT", "/api/v1/admin/users/%s/role" % user["id"], {"role": "support"}, status=200).json["role"] == "support"
    assert ada.call("GET", "/api/v1/me").status == 401  # its sessions ended
    ada.login()
    assert ada.get("/api/v1/admin/users?limit=2")["next"]
    assert ada.call("GET", "/api/v1/admin/audit").status == 403
    vera.call("PUT", "/api/v1/admin/users/%s/role" % user["id"], {"role": "auditor"}, status=200)
    ada.login()
    page = ada.get("/api/v1/admin/audit?limit=20")
    assert len(page["data"]) == 20 and page["next"], page
    olga = vera.call("POST", "/api/v1/admin/find", {"name": "olga"}, status=200).json["id"]
    vera.call("PUT", "/api/v1/admin/users/" + olga, {"disabled": True}, status=200)
    a = vera.call("PUT", "/api/v1/admin/users/" + oscar_id, {"disabled": True})
    assert a.status == 409 and a.json["code"] == "ELAST", a
    me = vera.get("/api/v1/me")["id"]
    assert vera.call("PUT", "/api/v1/admin/users/%s/role" % me, {"role": "user"}).status == 409
    vera.call("PUT", "/api/v1/admin/users/" + user["id"], {"expires": "2026-01-01T00:00:00Z"}, status=200)
    assert login("ada", ada.password).status == 401
    vera.call("PUT", "/api/v1/admin/users/" + user["id"], {"expires": None}, status=200)
    ada.login()
    for bad in ({}, {"disabled": 1}, {"expires": "tomorrow"}, {"expires": "2026-02-31T00:00:00Z"}):
        assert vera.call("PUT", "/api/v1/admin/users/" + user["id"], bad).status == 400, bad
    oscar.get("/api/v1/me")
    assert vera.call("POST", "/api/v1/admin/users/%s/factors/reset" % oscar_id, {}, status=200).json["factors"] == 0
    assert oscar.call("GET", "/api/v1/me").status == 401
    oscar.secret = None
    oscar.login()
    assert oscar.call("GET", "/api/v1/admin/status").status == 403  # until he has one again
    vera.call("POST", "/api/v1/admin/revoke", {}, status=200)
    assert [u.call("GET", "/api/v1/me").status for u in (vera, oscar, ada)] == [401] * 3
    h.verify_log()


def test_crashes_between_keeper_and_database():
    h = site()
    for fault in ("factor.add", "factor.remove", "factor.checked", "password.change", "account.change", "token.signed"):
        name = fault.replace(".", "-")
        u = h.user(name)
        if fault == "factor.add":
            begun = u.call("POST", "/api/v1/me/totp", {"password": u.password}, status=200).json
            u.secret, u.last_step = begun["secret"], 0
            h.arm(fault)
            assert u.call("POST", "/api/v1/me/totp/confirm", {"id": begun["id"], "code": u.code()}).status == 503
            u.secret = None
        else:
            u.enrol()
            ident = u.get("/api/v1/me/factors")["data"][0]["id"]
            h.arm(fault)
            if fault == "factor.remove":
                a = u.call("DELETE", "/api/v1/me/factors/" + ident, {"password": u.password, "code": u.code()})
            elif fault == "password.change":
                a = u.call("PUT", "/api/v1/me/password", {"old": u.password, "password": "nine-Otters-climb-51", "code": u.code()})
            elif fault == "account.change":
                code, _ = quiet(lambda: h.admin("user-factors-reset", {"name": name})) or (0, None)
                a = None
            else:
                a = login(name, u.password, code=u.code())
            assert a is None or a.status == 503, (fault, a)
        assert not h.is_armed(), fault
        h.wait_up()
        u.login()  # what was acknowledged holds, and nobody is locked out
        assert u.call("GET", "/api/v1/me").status == 200, fault
    h.clean()


def quiet(f):
    try:
        return f()
    except Exception as e:  # the registrar went away, as meant
        print("# %s" % type(e).__name__)
        return None


if __name__ == "__main__":
    try:
        hub.main([test_an_authenticator_is_asked_for, test_recovery_codes_are_good_once, test_what_changes_an_account_takes_both, test_codes_cannot_be_guessed,
                  test_the_last_one_goes_for_a_user_alone, test_a_role_without_its_factor_has_no_rights, test_the_security_officer_gives_roles,
                  test_crashes_between_keeper_and_database])
    finally:
        if hasattr(site, "it"):
            site.it.__exit__(None)
