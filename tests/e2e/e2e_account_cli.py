#!/usr/bin/env python3
"""Accounts as people use them: the command line against a running hub. Passwords and codes by standard input and files, as scripts give them; nothing secret is
ever an argument or in the environment, and everything that is kept is a file of mode 0600."""
import os
import re
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402
import totp  # noqa: E402

NEW = "another-Otter-kettle-%s-77"


class Person:
    """Somebody at a shell of his own: HOME, session file, password."""
    def __init__(self, h, name, password=None):
        self.h, self.name, self.password = h, name, password or hub.PASSWORD % name
        self.home = os.path.join(h.dir, "home-" + name)
        os.makedirs(self.home, 0o700)
        self.env = {"PATH": os.environ["PATH"], "HOME": self.home}
        self.uri = None

    def path(self, name):
        return os.path.join(self.home, name)

    def secret(self, name, text):
        with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
            f.write(text + "\n")
        return self.path(name)

    def start(self, *args):
        return subprocess.Popen([hub.CLI, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env, cwd=self.home)

    def run(self, *args, lines=(), code=0):
        """What is printed; exit code `code`. lines: standard input, with --password-stdin."""
        args = list(args) + (["--password-stdin"] if lines else [])
        p = subprocess.run([hub.CLI, *args], input="".join(x + "\n" for x in lines), text=True, capture_output=True, timeout=120, env=self.env, cwd=self.home)
        assert p.returncode == code, (args, p.returncode, p.stdout, p.stderr)
        self.errors = p.stderr
        return p.stdout

    def json(self, *args, lines=(), code=0):
        return hub.json.loads(self.run(*args, "--json", lines=lines, code=code))

    def login(self, *more, lines=None, code=0):
        return self.run("login", "--server", "https://127.0.0.1:%d" % self.h.port, "--cacert", self.h.ca, "--name", self.name, *more, lines=[self.password] if lines is None else lines, code=code)

    def code(self):
        """A code that the hub hasn't seen: its clock moves on by one for each."""
        self.h.move_clock(30)
        return totp.code(re.search("secret=([A-Z2-7]+)", self.uri).group(1), self.h.now())

    def enrol(self):
        """An authenticator and the recovery codes, as `account totp` gives them."""
        p = self.start("account", "totp", "--name", "phone", "--password-stdin", "--secret-out", self.path("uri"), "-o", self.path("codes"))
        p.stdin.write(self.password + "\n")
        p.stdin.flush()
        hub.wait_for("the secret", lambda: os.path.exists(self.path("uri")) and open(self.path("uri")).read().endswith("\n"), 20)
        self.uri = open(self.path("uri")).read().strip()
        out, err = p.communicate(self.code() + "\n", timeout=300)
        assert p.returncode == 0, (out, err)
        assert private(self.path("uri")) and private(self.path("codes"))
        self.recovery = open(self.path("codes")).read().split()
        return out

    @property
    def session(self):
        return hub.json.load(open(self.path(".config/sequester/session.json")))


def private(path):
    return stat.S_IMODE(os.stat(path).st_mode) == 0o600


class Site:
    def __init__(self):
        self.h = hub.Hub().start()

    def person(self, name, role="user"):
        self.h.admin_ok("user-add", {"name": name, "role": role, "password": hub.PASSWORD % name})
        return Person(self.h, name)


def site():
    if not hasattr(site, "it"):
        site.it = Site()
    return site.it


def test_password_alone():
    ada = site().person("ada")
    assert ada.login().startswith("signed in as ada (user) until ")
    assert private(ada.path(".config/sequester/session.json")) and stat.S_IMODE(os.stat(ada.path(".config/sequester")).st_mode) == 0o700
    assert "role      user" in ada.run("me")
    assert ada.run("account", "factors").startswith("no second factor")
    ada.login(lines=["wrong-Horse-battery-42"], code=1)
    assert "EPASSWORD" in ada.errors and ada.password not in ada.errors
    text = open(os.path.join(hub.ROOT, "src/cli/options.def")).read()
    assert not [o for o in re.findall(r'SQ_OPT\((\w+),\s*\S+\s*"(\w+)"', text) if re.search("password|passphrase|code|token|secret", o[0]) and o[1] not in ("FILE",)], "an option takes a secret"


def test_nothing_secret_in_argv_or_environment():
    bob = site().person("bob")
    p = bob.start("login", "--server", "https://127.0.0.1:%d" % bob.h.port, "--cacert", bob.h.ca, "--name", "bob", "--password-stdin")
    time.sleep(0.5)
    seen = b"".join(open("/proc/%d/%s" % (p.pid, f), "rb").read() for f in ("cmdline", "environ"))
    out, err = p.communicate(bob.password + "\n", timeout=300)
    assert p.returncode == 0 and bob.password.encode() not in seen and bob.password not in out + err
    assert bob.session["token"] not in out + err
    # and the environment is not asked: a variable of that kind changes nothing
    bob.env["SEQUESTER_PASSWORD"] = bob.env["SEQUESTER_TOKEN"] = bob.session["token"]
    os.unlink(bob.path(".config/sequester/session.json"))
    bob.run("me", code=4)


def test_authenticator():
    s = site()
    eve = s.person("eve")
    eve.login()
    out = eve.enrol()
    assert "10 recovery codes are in" in out and len(eve.recovery) == 10 and len(set(eve.recovery)) == 10, out
    listed = eve.json("account", "factors")
    assert [f["kind"] for f in listed["data"]] == ["totp"] and listed["recovery_left"] == 10 and not listed["required"], listed
    assert "phone" in eve.run("account", "factors")
    # signing in wants a code now: password alone, a wrong one, one that was used already
    code = eve.code()
    eve.login(lines=[eve.password, code])
    assert eve.session["token"]
    for wrong in (code, "000000", "12345", eve.recovery[0][:-1] + "0"):
        eve.login(lines=[eve.password, wrong], code=1)
        assert "ECODE" in eve.errors or "EFIELD" in eve.errors, (wrong, eve.errors)
    eve.login("--code-file", eve.secret("code", eve.code()), "--password-file", eve.secret("pw", eve.password), lines=())
    # a recovery code signs in once
    eve.login(lines=[eve.password, eve.recovery[0]])
    eve.login(lines=[eve.password, eve.recovery[0]], code=1)
    assert eve.json("account", "factors")["recovery_left"] == 9
    again = eve.json("account", "recovery", lines=[eve.password, eve.code()])["recovery"]
    assert len(again) == 10 and not set(again) & set(eve.recovery)
    eve.login(lines=[eve.password, eve.recovery[1]], code=1)
    eve.login(lines=[eve.password, again[0]])
    ident = eve.json("account", "factors")["data"][0]["id"]
    eve.run("account", "factor", "remove", ident, lines=[eve.password, "000000"], code=1)
    eve.run("account", "factor", "remove", ident, lines=[eve.password, eve.code()])
    eve.login()


def half_blocks(text):
    """The dark modules that a terminal shows: {(x, y)}, with the quiet zone taken off."""
    rows = [line for line in re.sub(r"\033\[[0-9;]*m", "", text).splitlines() if line and set(line) <= set("█▀▄ ") and len(line) > 20]
    light = {(" "): (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
    return {(x - 2, 2 * y + k - 2) for y, line in enumerate(rows) for x, c in enumerate(line) for k in (0, 1) if not light[c][k]}


def test_the_qr_code_is_one():
    """What a camera sees is what another program draws for the same address."""
    s = site()
    kim = s.person("kim")
    kim.login()
    p = kim.start("account", "totp", "--password-stdin")
    out, err = p.communicate(kim.password + "\n", timeout=300)
    secret = re.search(r"^  ([A-Z2-7]{32,})$", err, re.M)
    assert p.returncode == 2 or p.returncode == 1, (p.returncode, err)  # no code came
    assert secret and "█" in err, err
    drawn = subprocess.run(["qrencode", "-t", "ASCII", "-m", "0", "-l", "L", "-8", "-o", "-", known_uri(kim, secret.group(1))], capture_output=True, text=True)
    if drawn.returncode:
        raise hub.Skip("qrencode isn't installed")
    want = {(x // 2, y) for y, line in enumerate(drawn.stdout.splitlines()) for x in range(0, len(line), 2) if line[x] == "#"}
    assert half_blocks(err) >= want and {q for q in half_blocks(err) if max(q) <= max(max(w) for w in want)} == want


def known_uri(who, secret):
    """The address as the hub makes it, with this secret in it."""
    p = who.start("account", "totp", "--password-stdin", "--secret-out", who.path("other-uri"))
    p.communicate(who.password + "\n", timeout=300)
    return re.sub(r"secret=[A-Z2-7]+", "secret=" + secret, open(who.path("other-uri")).read().strip())


def test_tokens():
    s = site()
    dan = s.person("dan")
    dan.login()
    dan.run("token", "create", "cluster", "--scopes", "read,write", "--networks", "127.0.0.0/8", "--days", "30", "-o", dan.path("cluster.token"), lines=[dan.password])
    assert private(dan.path("cluster.token"))
    token = open(dan.path("cluster.token")).read().strip()
    assert token not in dan.errors
    row = dan.json("token", "list")["data"][0]
    assert row["name"] == "cluster" and row["scopes"] == ["read", "write"] and row["networks"] == ["127.0.0.0/8"] and row["last_used"] is None, row
    assert s.h.request("GET", "/jobs", token=token).status == 200
    a = s.h.request("POST", "/api/v1/jobs/job-20260101-000000-0123456789abcdef/claim", {"password": dan.password}, token=token)
    assert a.status == 403 and a.json["code"] == "ESCOPE", a
    # the same as a session of its own
    p = Person(s.h, "dan-script", dan.password)
    p.run("login", "--server", "https://127.0.0.1:%d" % s.h.port, "--cacert", s.h.ca, "--token-file", dan.path("cluster.token"))
    assert private(p.path(".config/sequester/session.json")) and p.run("jobs") is not None
    p.run("account", "sessions", code=1)
    assert "ESCOPE" in p.errors
    dan.run("token", "create", "cluster", "-o", dan.path("cluster.token"), lines=[dan.password], code=1)  # nothing is overwritten
    dan.run("token", "create", "away", "--networks", "192.0.2.0/24", "-o", dan.path("away.token"), lines=[dan.password])
    a = s.h.request("GET", "/jobs", token=open(dan.path("away.token")).read().strip())
    assert a.status == 403 and a.json["code"] == "ENETWORK", a
    dan.run("token", "revoke", row["id"])
    p.run("jobs", code=4)
    dan.run("token", "create", "x", "--days", "9999", lines=[dan.password], code=2)
    dan.run("token", "create", "x", "--scopes", "everything", lines=[dan.password], code=1)
    dan.run("token", "create", "x", lines=["wrong-Horse-battery-42"], code=1)


def test_sessions_and_password():
    s = site()
    fay = s.person("fay")
    other = Person(s.h, "fay-laptop", fay.password)
    other.name = "fay"
    fay.login()
    other.login()
    rows = fay.json("account", "sessions")["data"]
    assert len(rows) == 2 and sum(r["current"] for r in rows) == 1 and all(r["address"] == "127.0.0.1" for r in rows), rows
    fay.run("account", "session", "revoke", next(r["id"] for r in rows if not r["current"]))
    other.run("me", code=4)
    other.login()
    assert "1 other sessions" in fay.run("account", "session", "revoke")
    fay.login()
    fay.h.move_clock(16 * 60)
    assert "other sessions" in fay.run("account", "session", "revoke", lines=[fay.password])  # asked for, because the sign-in is a while ago
    fay.run("account", "session", "revoke", lines=["wrong-Horse-battery-42"], code=1)
    assert "EPASSWORD" in fay.errors
    other.run("me", code=4)
    other.login()
    fay.run("account", "password", lines=[fay.password, "passwordpassword"], code=1)
    assert "EWEAK" in fay.errors
    fay.run("account", "password", lines=["wrong-Horse-battery-42", NEW % "fay"], code=1)
    assert "1 other sessions" in fay.run("account", "password", lines=[fay.password, NEW % "fay"])
    other.run("me", code=4)
    fay.run("me")
    other.login(code=1)
    other.password = NEW % "fay"
    other.login()
    assert fay.run("logout") == "signed out\n" and "token" not in fay.session
    fay.run("me", code=4)


def test_device_flow():
    s = site()
    gus = s.person("gus")
    gus.login()
    for verb, code in (("approve", 0), ("deny", 1)):
        box = Person(s.h, "box-" + verb)
        p = box.start("login", "--device", "--scopes", "read", "--server", "https://127.0.0.1:%d" % s.h.port, "--cacert", s.h.ca)
        shown = ""
        while "device approve" not in shown:
            line = p.stderr.readline()
            assert line, shown
            shown += line
        user_code = re.search(r"device approve (\S+)", shown).group(1)
        assert re.fullmatch(r"[A-Z]{4}-[A-Z]{4}", user_code), user_code
        if verb == "approve":
            gus.run("device", "approve", user_code, lines=["wrong-Horse-battery-42"], code=1)
            gus.run("device", "approve", user_code.lower().replace("-", " "), lines=[gus.password])
            assert "127.0.0.1" in gus.errors and "read" in gus.errors and "deny " + user_code in gus.errors, gus.errors
        else:
            gus.run("device", "deny", user_code)
        out, err = p.communicate(timeout=300)
        assert p.returncode == code, (out, err)
        gus.run("device", "approve", user_code, lines=[gus.password], code=1)  # it counted once
        if verb == "approve":
            assert private(box.path(".config/sequester/session.json")) and "signed in as gus (user)" in out, out
            assert box.session["token"] not in out + err
            assert "role      user" in box.run("me") and box.run("jobs") is not None
            box.run("cancel", "job-20260101-000000-0123456789abcdef", code=1)
            assert "ESCOPE" in box.errors
            assert "sequester-cli" in gus.run("token", "list")
        else:
            assert "said no" in err and not os.path.exists(box.path(".config/sequester/session.json"))
    gus.run("device", "approve", "ABCD-EFGH", lines=[gus.password], code=1)


def operator(h, *args, code=0):
    p = subprocess.run([hub.CLI, "admin", *args, "--run-dir", os.path.dirname(h.admin_path)], capture_output=True, text=True, timeout=120)
    assert p.returncode == code, (args, p.returncode, p.stdout, p.stderr)
    return p.stdout


def test_operator_at_the_socket():
    s = site()
    hal = s.person("hal")
    hal.login()
    hal.enrol()
    me = hal.json("me")["id"]
    assert re.search(r"^%s +user +active" % me, operator(s.h, "user", "list"), re.M) and "hal" not in operator(s.h, "user", "list")
    operator(s.h, "user", "disable", "hal")
    hal.run("me", code=4)
    hal.login(lines=[hal.password, hal.code()], code=1)
    operator(s.h, "user", "enable", "hal")
    hal.login(lines=[hal.password, hal.code()])
    operator(s.h, "role", "set", "hal", "auditor")
    hal.run("me", code=4)
    hal.login(lines=[hal.password, hal.code()])
    assert "role      auditor" in hal.run("me")
    operator(s.h, "role", "set", "hal", "emperor", code=1)
    operator(s.h, "role", "set", "hal", "user")
    operator(s.h, "factors", "reset", "hal")
    hal.login()  # by password alone
    operator(s.h, "user", "expire", "hal", "2020-01-01T00:00:00Z")
    hal.login(code=1)
    operator(s.h, "user", "expire", "hal", "never")
    hal.login()
    operator(s.h, "session", "revoke", "hal")
    hal.run("me", code=4)
    hal.login()
    operator(s.h, "session", "revoke", "--all")
    hal.run("me", code=4)
    operator(s.h, "session", "revoke", code=2)
    assert "GET /api/v1/admin/audit" in operator_free("role", "list")


def operator_free(*args):
    return subprocess.run([hub.CLI, "admin", *args], capture_output=True, text=True, check=True).stdout


def test_staff_over_https():
    """A security officer with a second factor: found by name, shown by id; what changes accounts wants the factor anew after a quarter of an hour."""
    s = site()
    sam, ivy = s.person("sam", "security"), s.person("ivy")
    sam.login()
    sam.run("admin", "user", "list", "--remote", code=1)
    assert "ENOFACTOR" in sam.errors
    sam.enrol()
    sam.login(lines=[sam.password, sam.code()])
    listed = sam.run("admin", "user", "list", "--remote")
    assert "security" in listed and "ivy" not in listed
    ivy.login()
    ident = ivy.json("me")["id"]
    assert ident in sam.run("admin", "user", "show", "ivy", "--remote") and ident in sam.run("admin", "user", "show", ident, "--remote")
    sam.run("admin", "user", "disable", "ivy", "--remote")
    ivy.run("me", code=4)
    sam.run("admin", "user", "enable", "ivy", "--remote")
    ivy.login()
    s.h.move_clock(16 * 60)
    s.h.admin_ok("clock-confirm")
    sam.run("admin", "user", "show", "ivy", "--remote")  # to look is let
    sam.run("admin", "user", "disable", "ivy", "--remote", code=2)
    assert "second factor again" in sam.errors
    before = sam.session["token"]
    sam.run("account", "prove", lines=[sam.code()])
    assert sam.session["token"] != before
    assert s.h.request("GET", "/api/v1/me", token=before).status == 401
    sam.run("admin", "role", "set", "ivy", "support", "--remote")
    ivy.login()
    assert "role      support" in ivy.run("me")
    ivy.run("admin", "user", "disable", "sam", "--remote", code=1)
    assert "EDENIED" in ivy.errors
    sam.run("admin", "session", "revoke", "--all", "--remote")
    sam.run("me", code=4)


if __name__ == "__main__":
    try:
        hub.main([test_password_alone, test_nothing_secret_in_argv_or_environment, test_authenticator, test_the_qr_code_is_one, test_tokens, test_sessions_and_password,
                  test_device_flow, test_operator_at_the_socket, test_staff_over_https])
    finally:
        if hasattr(site, "it"):
            site.it.h.__exit__(None)
