#!/usr/bin/env python3
"""Accounts that people make for themselves, and passwords that they have forgotten: mails with codes, and answers that tell nobody anything."""
import contextlib
import hashlib
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402
import outside  # noqa: E402

MAIL_PASSWORD = "mail-Password-1"
GOOD = "seven-Otters-climb-81"


class World:
    def __init__(self, rates=None, **settings):
        self.h = hub.Hub(settings=rates)
        self.ca = outside.Authority(os.path.join(self.h.dir, "outside"))
        self.sink = outside.Sink(self.ca.pair("good"), "hub", MAIL_PASSWORD)
        secret = os.path.join(self.h.dir, "smtp.password")
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write(MAIL_PASSWORD + "\n")
        ini = dict({"smtp_url": "smtp://localhost:%d" % self.sink.port, "smtp_user": "hub", "smtp_password_file": secret, "mail_from": "hub@example.org",
                    "public_url": "https://hub.example.org", "outbound_ca": self.ca.ca, "register": "domains", "register_domains": "uni.example, example.org"}, **settings)
        with open(self.h.ini, "a") as f:
            f.writelines("%s = %s\n" % x for x in ini.items())

    def __enter__(self):
        self.h.__enter__()
        return self

    def __exit__(self, *a):
        self.h.__exit__(*a)
        self.sink.down()

    def post(self, path, body):
        return self.h.request("POST", "/api/v1/" + path, body)

    def mail(self, n, subject):
        """The n-th mail: its code."""
        m = hub.wait_for("mail %d" % n, lambda: self.sink.mails[n - 1] if len(self.sink.mails) >= n else None, 30)
        assert m.subject == subject, (m.subject, subject)
        found = re.search(r"code +([0-9a-f]{64})", m.text)
        return found and found.group(1)

    def move(self, u, address):
        """Another address for @u: asked for, and confirmed by the code that was mailed there."""
        u.call("PUT", "/api/v1/me/mail", {"mail": address, "password": u.password}, status=202)
        m = hub.wait_for("the code", lambda: next((m for m in reversed(self.sink.mails) if m.to == [address] and m.subject == "Confirm your new mail address"), None), 30)
        u.call("POST", "/api/v1/me/mail/confirm", {"code": re.search(r"code +([0-9a-f]{64})", m.text).group(1)}, status=200)

    def rows(self, sql):
        with contextlib.closing(sqlite3.connect(os.path.join(self.h.state, "registrar", "registrar.db"), timeout=10)) as db:
            return db.execute(sql).fetchall()


def user(w, name, password):
    u = hub.User.__new__(hub.User)
    u.hub, u.name, u.password, u.token, u.secret = w.h, name, password, None, None
    return u


def test_from_a_mail_address_to_an_account():
    with World() as w:
        for bad in ("ada@elsewhere.example", "ada@notuni.example"):
            a = w.post("register", {"mail": bad})
            assert a.status == 403 and a.json["code"] == "ECLOSED", a
        assert w.post("register", {"mail": "not an address"}).status == 400
        w.h.arm("link.made")  # nothing was kept: one asks again
        assert w.post("register", {"mail": "ada@med.uni.example"}).status == 202
        hub.wait_for("the fault", lambda: not w.h.is_armed(), 20)
        w.h.wait_up()
        assert not w.rows("SELECT id FROM user")
        first = w.post("register", {"mail": "Ada@med.uni.example"})
        assert first.status == 202, first
        code = w.mail(1, "Confirm your mail address")
        assert w.sink.mails[0].to == ["ada@med.uni.example"]
        assert w.rows("SELECT pending FROM user") == [(1,)] and code[32:] not in str(w.rows("SELECT hex(sealed) FROM link"))
        assert w.post("login", {"name": "ada@med.uni.example", "password": GOOD}).status == 401
        # asked again: the first code is void, and who asked for it hasn't chosen a password
        assert w.post("register", {"mail": "ADA@med.uni.example"}).status == 202
        second = w.mail(2, "Confirm your mail address")
        assert len(w.rows("SELECT id FROM user")) == 1
        for body, status in (({"code": code, "password": GOOD}, 410), ({"code": second, "password": "password1234"}, 422), ({"code": second[:-1] + ("0" if second[-1] != "0" else "1"), "password": GOOD}, 410),
                             ({"code": "zz", "password": GOOD}, 410), ({"code": second}, 400)):
            assert w.post("register/confirm", body).status == status, body
        assert w.post("password/reset", {"code": second, "password": GOOD}).status == 410  # of another kind
        assert w.post("register/confirm", {"code": second, "password": GOOD}).status == 200
        assert w.post("register/confirm", {"code": second, "password": GOOD}).status == 410
        ada = user(w, "ada@med.uni.example", GOOD)
        ada.login()
        assert ada.get("/api/v1/me")["role"] == "user" and ada.get("/api/v1/me/mail")["mail"] == "ada@med.uni.example"
        # there is one: the same answer, another mail
        again = w.post("register", {"mail": "ada@MED.uni.example"})
        assert (again.status, again.json) == (first.status, first.json), again
        assert w.mail(3, "You have an account already") is None
        assert len(w.rows("SELECT id FROM user")) == 1
        w.h.verify_log()


def test_a_forgotten_password():
    with World() as w:
        w.h.admin_ok("user-add", {"name": "bob", "role": "user", "password": hub.PASSWORD % "bob", "mail": "bob@example.org"})
        bob = hub.User(w.h, "bob")
        script = bob.call("POST", "/api/v1/me/tokens", {"name": "s", "scopes": ["read"], "days": 3, "password": bob.password}, status=201).json["token"]
        assert w.mail(1, "An API token was made for your account") is None
        known, unknown = w.post("password/forgot", {"mail": "bob@example.org"}), w.post("password/forgot", {"mail": "nobody@example.org"})
        assert known.status == unknown.status == 202 and known.json == unknown.json, (known, unknown)
        code = w.mail(2, "Choose a password")
        assert w.h.request("GET", "/api/v1/me", token=script).status == 200
        w.h.arm("password.reset")
        assert w.post("password/reset", {"code": code, "password": GOOD}).status == 503
        w.h.wait_up()
        assert w.post("login", {"name": "bob", "password": bob.password}).status == 200  # it wasn't changed
        assert w.post("password/reset", {"code": code, "password": GOOD}).status == 200
        assert w.post("password/reset", {"code": code, "password": GOOD}).status == 410
        assert w.h.request("GET", "/api/v1/me", token=script).status == 401 and bob.call("GET", "/api/v1/me").status == 401
        assert w.post("login", {"name": "bob", "password": bob.password}).status == 401
        bob.password = GOOD
        bob.login()
        assert w.mail(3, "Your password was changed") is None
        bob.name = "bob@example.org"  # one signs in with either
        bob.login()
        # an hour
        assert w.post("password/forgot", {"mail": "bob@example.org"}).status == 202
        code = w.mail(4, "Choose a password")
        w.h.move_clock(3601)
        assert w.post("password/reset", {"code": code, "password": "another-Otter-climbs-9"}).status == 410
        # second factors stay
        bob.login()
        bob.enrol()
        hub.wait_for("a mail", lambda: len(w.sink.mails) >= 5, 20)
        w.post("password/forgot", {"mail": "bob@example.org"})
        code = w.mail(6, "Choose a password")
        assert w.post("password/reset", {"code": code, "password": "another-Otter-climbs-9"}).status == 200
        bob.password = "another-Otter-climbs-9"
        assert "pending" in w.post("login", {"name": "bob", "password": bob.password}).json
        bob.login()
        w.h.clean()


def test_an_account_that_nobody_confirms_goes():
    with World(register="open") as w:
        assert w.post("register", {"mail": "eve@anywhere.example"}).status == 202
        w.mail(1, "Confirm your mail address")
        w.h.arm("account.forget")
        w.h.move_clock(86400 + 60)
        with contextlib.suppress(AssertionError):
            w.h.admin_ok("clock-confirm")
        hub.wait_for("the fault", lambda: not w.h.is_armed(), 90)
        w.h.wait_up()
        hub.wait_for("the account to go", lambda: not w.rows("SELECT id FROM user"), 90)
        w.h.clean()


def test_invited_by_the_security_officer():
    with World(register="off") as w:
        a = w.post("register", {"mail": "ada@uni.example"})
        assert a.status == 403 and a.json["code"] == "ECLOSED", a
        vera = w.h.user("vera", "security")
        vera.enrol()
        a = vera.call("POST", "/api/v1/admin/users", {"name": "carl", "mail": "carl@example.org", "role": "auditor"}, status=201)
        assert a.json["state"] == "pending" and a.headers["Location"].endswith(a.json["id"]), a
        assert vera.call("POST", "/api/v1/admin/users", {"name": "other", "mail": "CARL@example.org", "role": "user"}).status == 409
        code = w.mail(1, "Choose a password")
        assert w.post("password/reset", {"code": code, "password": GOOD}).status == 200
        carl = user(w, "carl", GOOD)
        carl.login()
        assert carl.get("/api/v1/admin/audit?limit=5")["data"]
        vera.step_up()
        oscar = w.h.user("oscar", "operator")
        oscar.enrol()
        assert oscar.call("POST", "/api/v1/admin/users", {"name": "x", "mail": "x@example.org", "role": "operator"}).status == 403
        oscar.call("POST", "/api/v1/admin/users", {"name": "x", "mail": "x@example.org", "role": "user"}, status=201)


def test_unknown_names_cost_as_much_as_known_ones():
    """Each sign-in is one Argon2, whatever is wrong with it: counted."""
    with World() as w:
        w.h.user("known")
        w.h.admin_ok("user-add", {"name": "off", "role": "user", "password": hub.PASSWORD % "off"})
        w.h.admin_ok("user-disable", {"name": "off"})
        for name, password in (("known", "wrong"), ("nobody", "wrong"), ("off", hub.PASSWORD % "off"), ("off", "wrong"), ("known", hub.PASSWORD % "known")):
            before = w.h.n_count()
            w.post("login", {"name": name, "password": password})
            assert w.h.n_count() == before + 1, (name, password)
        for _ in range(6):
            w.post("login", {"name": "known", "password": "wrong"})
        before = w.h.n_count()
        assert w.post("login", {"name": "known", "password": "wrong"}).status == 401  # also while it waits
        assert w.h.n_count() == before + 1
        for path in ("register", "password/forgot"):
            for mail in ("known@uni.example", "nobody@uni.example"):
                before = w.h.n_count()
                assert w.post(path, {"mail": mail}).status == 202
                time.sleep(0.5)
                assert w.h.n_count() == before


STOLEN = "Zither-Mangrove-62-quokka"


def test_what_a_password_must_be():
    """One rule, whichever way a password is chosen; the answer says why and how to mend it, and never what it was."""
    with tempfile.NamedTemporaryFile("w") as stolen:
        stolen.writelines(sorted("%s:%d\r\n" % (hashlib.sha1(p.encode()).hexdigest().upper(), n) for n, p in enumerate([STOLEN] + ["other %d" % i for i in range(2000)])))
        stolen.flush()
        with World(password_list=stolen.name, hosts="localhost,127.0.0.1,hub.biocentre.example") as w:
            kim = w.h.user("kimberley.strasser")
            w.h.admin_ok("user-add", {"name": "lia", "role": "user", "password": hub.PASSWORD % "lia", "mail": "grumbach@uni.example"})
            assert w.post("register", {"mail": "olga.ruprecht@uni.example"}).status == 202
            confirm = w.mail(1, "Confirm your mail address")
            assert w.post("password/forgot", {"mail": "grumbach@uni.example"}).status == 202
            reset = w.mail(2, "Choose a password")
            bad = [("short", "has 5 characters, and 12 are the least"), ("password1234", "stolen"), ("1Qaz2wsX3edc4Rfv", "stolen"), (STOLEN, "stolen"), ("Summer2024Winter", "1 of 4, 3 needed"),
                   ("Biocentre-2031", "this site's"), ("Genotypes-2031", "words of its trade"), ("x" * 1025, None)]
            ways = {"change": (lambda p: kim.call("PUT", "/api/v1/me/password", {"old": kim.password, "password": p}), "Kimberley-Strasser-2031"),
                    "register": (lambda p: w.post("register/confirm", {"code": confirm, "password": p}), "Ruprecht-1.2.1987"),
                    "reset": (lambda p: w.post("password/reset", {"code": reset, "password": p}), "Grumbach-1.2.1987")}
            for way, (call, own) in ways.items():
                for password, says in bad + [(own, "your name")]:
                    a = call(password)
                    assert a.status == (422 if says else 400) and a.json["code"] == ("EWEAK" if says else "EFIELD"), (way, password, a)
                    assert not says or (a.json["field"] == "password" and says in a.json["detail"]), (way, password, a)
                    assert password not in str(a.body), (way, a)
            for password, says in bad[:-1] + [("Mirabella.Quist-1", "your name")]:
                code, answer = w.h.admin("user-add", {"name": "mirabella.quist", "role": "user", "password": password})
                assert code == 44 and says in answer["detail"], (password, code, answer)
            for way, (call, own) in ways.items():
                assert call("%s Zither mangrove quokka 62" % way).status == 200, way
            assert not [p for p, _ in bad[1:] if p in w.h.log()]


def test_a_list_that_makes_no_sense_stops_the_start():
    with tempfile.NamedTemporaryFile("w") as unsorted:
        unsorted.write("b" * 40 + "\n" + "a" * 40 + "\n")
        unsorted.flush()
        h = hub.Hub()
        with open(h.ini, "a") as f:
            f.write("password_list = %s\n" % unsorted.name)
        p = subprocess.run([os.path.join(hub.BUILD, "sequester-parent"), "--config", h.ini], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        assert p.returncode == 78 and "what=password_list code=ECONFIG" in p.stderr, (p.returncode, p.stderr[-2000:])
        p = subprocess.run([hub.CLI, "admin", "config", "check", h.ini], capture_output=True, text=True, timeout=300)
        assert p.returncode == 1 and "ascending order" in p.stderr, p
        with open(h.ini, "a") as f:
            f.write("password_list = %s/none\n" % h.dir)
        p = subprocess.run([os.path.join(hub.BUILD, "sequester-parent"), "--config", h.ini], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        assert p.returncode == 78, (p.returncode, p.stderr[-2000:])


def lost_factors_are_confirmed():
    """A security officer takes them away; that counts when its owner has confirmed it, with the mailed code and his password. keeper asks for both itself."""
    with World() as w:
        h = w.h
        ada, vera = h.user("ada"), h.user("vera", "security")
        w.move(ada, "ada@example.org")
        ada.enrol()
        vera.enrol()
        ident = ada.get("/api/v1/me")["id"]

        def newest(subject):
            m = hub.wait_for("a mail: " + subject, lambda: next((m for m in reversed(w.sink.mails) if m.subject == subject), None), 30)
            return re.search(r"code +([0-9a-f]{64})", m.text).group(1)
        subject = "Your second factors were taken away: confirm it"
        assert vera.call("POST", "/api/v1/admin/users/%s/factors/reset" % ident, {}, status=200).json["factors"] == 0
        code = newest(subject)
        assert ada.call("GET", "/api/v1/me").status == 401
        a = w.post("login", {"name": "ada", "password": ada.password})
        assert a.status == 403 and a.json["code"] == "ERESET", a
        assert w.post("login", {"name": "ada", "password": "wrong"}).status == 401
        h.clean()  # waiting for its owner is no disagreement
        for bad in ("0" * 64, code[:32] + "0" * 32, "0" * 32 + code[32:], code[:-2], code + "00"):
            assert w.post("factors/confirm", {"code": bad, "password": ada.password}).status in (400, 410), bad
        assert w.post("factors/confirm", {"code": code, "password": "wrong"}).json["code"] == "EPASSWORD"
        assert w.post("password/reset", {"code": code, "password": GOOD}).status == 410, "it sets no password"
        assert w.post("login", {"name": "ada", "password": ada.password}).json["code"] == "ERESET"
        # a code for a new password doesn't open it either, and doesn't void this one
        assert w.post("password/forgot", {"mail": "ada@example.org"}).status == 202
        reset = newest("Choose a password")
        assert w.post("factors/confirm", {"code": reset, "password": ada.password}).status == 410
        assert w.post("password/reset", {"code": reset, "password": GOOD}).status == 200
        ada.password = GOOD
        assert w.post("login", {"name": "ada", "password": GOOD}).json["code"] == "ERESET"
        h.arm("factors.forgotten")
        assert w.post("factors/confirm", {"code": code, "password": GOOD}).status == 503
        h.wait_up()
        assert w.post("factors/confirm", {"code": code, "password": GOOD}).status == 200  # cut off: again
        assert w.post("factors/confirm", {"code": code, "password": GOOD}).status == 410
        ada.secret = None
        ada.login()
        ada.enrol()
        assert "factors_forgotten" in [e["event"] for e in ada.get("/api/v1/me/audit?limit=50")["data"]]
        # by the command line; an old code ends with a newer one
        h.admin_ok("user-factors-reset", {"name": "ada"})
        first = newest(subject)
        h.admin_ok("user-factors-reset", {"name": "ada"})
        second = hub.wait_for("another code", lambda: (lambda c: c if c != first else None)(newest(subject)), 30)
        assert w.post("factors/confirm", {"code": first, "password": GOOD}).status == 410
        files = []
        for name, text in (("code", second), ("password", GOOD)):
            path = os.path.join(h.dir, "confirm." + name)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
                f.write(text + "\n")
            files += ["--%s-file" % name, path]
        p = hub.subprocess.run([hub.CLI, "account", "factors", "confirm", "--server", "https://localhost:%d" % h.port, "--cacert", h.ca, "--session", os.path.join(h.dir, "none.json"), *files],
                               capture_output=True, text=True)
        assert p.returncode == 0 and "confirmed" in p.stdout, p
        ada.secret = None
        ada.login()
        # who has no address can't confirm anything
        h.user("bob").enrol()
        assert h.admin("user-factors-reset", {"name": "bob"})[0] != 0
        h.clean()
        h.verify_log()


if __name__ == "__main__":
    hub.main([test_what_a_password_must_be, test_a_list_that_makes_no_sense_stops_the_start, test_from_a_mail_address_to_an_account, test_a_forgotten_password, test_an_account_that_nobody_confirms_goes, test_invited_by_the_security_officer,
              test_unknown_names_cost_as_much_as_known_ones, lost_factors_are_confirmed])
