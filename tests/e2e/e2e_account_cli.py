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

NEW = "another-Otter-kettle-%s-77"


class Person:
    """Somebody at a shell of his own: HOME, session file, password."""
    def __init__(self, h, name, password=None):
        self.h, self.name, self.password = h, name, password or hub.PASSWORD % name
        self.home = os.path.join(h.dir, "home-" + name)
        os.makedirs(self.home, 0o700)
        self.env = {"PATH": os.environ["PATH"], "HOME": self.home}

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
        return self.run("login", "--server", "https://127.0.0.1:%d" % self.h.port, "--cacert", self.h.ca, "--name", self.name, *more, lines=lines or [self.password], code=code)

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
    ada.login(lines=["wrong-Horse-battery-42"], code=1)
    assert "EPASSWORD" in ada.errors and ada.password not in ada.errors
    text = open(os.path.join(hub.ROOT, "src/cli/options.def")).read()
    assert not [o for o in re.findall(r'SQ_OPT\((\w+),\s*\S+\s*"(\w+)"', text) if re.search("password|passphrase|code|token|secret", o[0]) and o[1] not in ("FILE",)], "an option takes a secret"


def test_nothing_secret_in_argv_or_environment():
    bob = site().person("bob")
    p = bob.start("login", "--server", "https://127.0.0.1:%d" % bob.h.port, "--cacert", bob.h.ca, "--name", "bob", "--password-stdin")
    time.sleep(0.5)
    seen = b"".join(open("/proc/%d/%s" % (p.pid, f), "rb").read() for f in ("cmdline", "environ"))
    out, err = p.communicate(bob.password + "\n", timeout=60)
    assert p.returncode == 0 and bob.password.encode() not in seen and bob.password not in out + err
    assert bob.session["token"] not in out + err
    # and the environment is not asked: a variable of that kind changes nothing
    bob.env["SEQUESTER_PASSWORD"] = bob.env["SEQUESTER_TOKEN"] = bob.session["token"]
    os.unlink(bob.path(".config/sequester/session.json"))
    bob.run("me", code=4)


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


if __name__ == "__main__":
    try:
        hub.main([test_password_alone, test_nothing_secret_in_argv_or_environment, test_tokens, test_sessions_and_password])
    finally:
        if hasattr(site, "it"):
            site.it.h.__exit__(None)
