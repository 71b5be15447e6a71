#!/usr/bin/env python3
"""Download links: signed, short, revocable. Whoever has one gets the encrypted package, and nothing else, until it ends; nobody makes one but the owner."""
import contextlib
import glob
import http.client
import os
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hub  # noqa: E402
import e2e_revoke  # noqa: E402

PATH = "/share/"


class Site:
    def __init__(self):
        self.h = hub.Hub(settings={"rate_login": "all=100000"}).start()
        self.h.panel()
        self.ada, self.bob = self.h.user("ada"), self.h.user("bob")
        self.job = self.ada.run_job(self.ada.upload()["id"])["id"]

    def link(self, user=None, job=None, **body):
        return (user or self.ada).call("POST", "/api/v1/jobs/%s/links" % (job or self.job), body, status=201).json

    def listed(self, link):
        """Its row in the owner's list, whose order tells nothing of links made in the same second."""
        return next(x for x in self.ada.get("/api/v1/jobs/%s/links" % self.job)["data"] if x["id"] == link["id"])

    def status(self, link):
        a = self.h.request("GET", link["path"] if isinstance(link, dict) else link)
        return a.status, (a.json or {}).get("code") if a.status != 200 else None

    def events(self, job=None):
        return self.ada.get("/api/v1/jobs/%s/audit?limit=100" % (job or self.job))["data"]


OVER = (410, "ELINK")


def site():
    if not hasattr(site, "it"):
        site.it = Site()
    return site.it


def test_none_without_a_package():
    s = site()
    a = s.ada.call("POST", "/api/v1/jobs/%s/links" % s.job, {}, status=409)
    assert "claim" in a.json["detail"], a
    assert s.ada.get("/api/v1/jobs/%s/links" % s.job)["data"] == []
    s.password = s.ada.claim(s.job)
    s.package = s.ada.package(s.job)


def test_the_package_and_nothing_else():
    s = site()
    link = s.link(minutes=5)
    assert len(link["path"]) == len(PATH) + 64 and link["path"][len(PATH):][:32] == link["id"] and link["url"] is None, link
    a = s.h.request("GET", link["path"])
    assert a.status == 200 and a.body == s.package, a
    for name, want in (("Content-Type", "application/zip"), ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"), ("Accept-Ranges", "bytes")):
        assert want in (a.headers[name] or ""), (name, a.headers[name])
    assert 'filename="%s.zip"' % s.job in a.headers["Content-Disposition"], a.headers["Content-Disposition"]
    part = s.h.request("GET", link["path"], headers={"Range": "bytes=7-"})
    assert part.status == 206 and part.body == s.package[7:]
    # signed in as somebody else, or with what is no token at all, one gets the same: it is the link that lets him
    assert s.bob.call("GET", link["path"]).body == s.package and s.h.request("GET", link["path"], token="x.y.z").body == s.package
    assert s.bob.call("GET", "/api/v1/jobs/%s/package" % s.job).status == 404
    for token in (link["path"][len(PATH):], link["path"][len(PATH) + 32:], link["id"]):
        assert s.h.request("GET", "/api/v1/me", token=token).status == 401
    assert s.h.request("GET", link["path"] + "/report").status == 404
    for method in ("POST", "PUT", "DELETE"):
        assert s.h.request(method, link["path"]).status == 405, method


def test_each_use_is_in_the_owners_log():
    s = site()
    last = s.events()[0]["entry"]
    link = s.link()
    assert s.listed(link)["last_used"] is None
    assert s.h.request("HEAD", link["path"]).status == 200  # reveals nothing
    assert s.h.request("GET", link["path"]).status == 200
    new = hub.wait_for("its end", lambda: (lambda e: e if "download_ended" in [x["event"] for x in e] else None)([x for x in s.events() if x["entry"] > last]), 30)[::-1]
    assert [e["event"] for e in new if e["event"] not in ("view", "list")] == ["download_link_made", "download_link_used", "download_ended"], new
    made, used, ended = [e for e in new if e["event"] not in ("view", "list")]
    me = s.ada.get("/api/v1/me")["id"]
    assert made["actor"] == me and made["a"] == 3600 and not used.get("actor") and used["role"] == "nobody", (made, used)
    assert used["b"] == len(s.package) and ended["a"] == len(s.package) and ended["b"] == 1, (used, ended)
    row = s.listed(link)
    assert row["id"] == link["id"] and row["last_used"] and sorted(row) == ["created", "expires", "id", "last_used"], row
    assert s.bob.call("GET", "/api/v1/jobs/%s/links" % s.job).status == 404


def test_a_link_is_written_nowhere():
    s = site()
    secrets = [s.link()["path"][len(PATH) + 32:] for _ in range(3)]
    for secret in secrets:
        where = subprocess.run(["grep", "-rlaiF", "-e", secret, s.h.dir], capture_output=True, text=True).stdout
        assert not where, where
        raw = bytes.fromhex(secret)
        for name in glob.glob(s.h.dir + "/**/*", recursive=True):
            with contextlib.suppress(OSError):  # a directory, a socket; files of the database come and go
                with open(name, "rb") as f:
                    assert raw not in f.read(), name
        for pid in [p for role in hub.ROLES for p in s.h.pids(role)]:
            assert secret.encode() not in open("/proc/%d/cmdline" % pid, "rb").read()


def test_no_other_link_is_good():
    """Every digit counts; what is another's or unknown, ended or never there, looks alike."""
    s = site()
    link = s.link()
    text, answers = link["path"][len(PATH):], set()
    other = s.link()["path"][len(PATH):]
    wrong = [text[:i] + "0123456789abcdef"[(int(text[i], 16) + 1) % 16] + text[i + 1:] for i in range(64)]
    wrong += [text[:32] + other[32:], other[:32] + text[32:], "0" * 64, "f" * 64, text[:63], text[:32], text[32:], link["id"], "x" * 64]
    for w in wrong:
        a = s.h.request("GET", PATH + w)
        body = {k: v for k, v in a.json.items() if k != "id"}
        answers.add((a.status, str(sorted(body.items()))))
        assert (a.status, a.json["code"]) == OVER, (w, a)
        assert s.h.request("HEAD", PATH + w).status == 410
    assert len(answers) == 1, answers
    assert s.h.request("GET", PATH + text + "0").status == 404  # longer than any id
    assert s.status(link)[0] == 200
    # a session's number, an API token's
    api = s.ada.call("POST", "/api/v1/me/tokens", {"name": "x", "scopes": ["results"], "days": 1, "password": s.ada.password}, status=201).json
    session = next(x["id"] for x in s.ada.get("/api/v1/me/sessions")["data"] if x["current"])
    for ident in (api["id"], session):
        assert s.status(PATH + ident + text[32:]) == OVER
        assert s.ada.call("DELETE", "/api/v1/links/" + ident).status == 404
    # scripts make none, strangers neither
    a = s.h.request("POST", "/api/v1/jobs/%s/links" % s.job, {}, token=api["token"])
    assert a.status == 403 and a.json["code"] == "ESCOPE", a
    assert s.bob.call("POST", "/api/v1/jobs/%s/links" % s.job, {}).status == 404
    assert s.h.request("POST", "/api/v1/jobs/%s/links" % s.job, {}).status == 401
    for minutes in (0, -1, 1441, "5", 5.5, None, True, 1 << 40):
        a = s.ada.call("POST", "/api/v1/jobs/%s/links" % s.job, {"minutes": minutes}, status=400)
        assert a.json["code"] == "EFIELD" and a.json["field"] == "minutes", a


def test_it_ends():
    s = site()
    link, short = s.link(minutes=90), s.link(minutes=10)
    for seconds in (300, 310):
        assert s.status(short)[0] == 200
        s.h.move_clock(seconds)
        s.h.admin_ok("clock-confirm")
    assert s.status(short) == OVER and s.status(link)[0] == 200
    assert short["id"] not in [x["id"] for x in s.ada.get("/api/v1/jobs/%s/links" % s.job)["data"]]


def test_revoked_at_once():
    s = site()
    one, two = s.link(), s.link()
    assert s.bob.call("DELETE", "/api/v1/links/" + one["id"]).status == 404 and s.status(one)[0] == 200
    raw, n = e2e_revoke.slow_download(s.h, one["path"], "none")
    s.ada.call("DELETE", "/api/v1/links/" + one["id"], status=200)
    assert s.status(one) == OVER and s.status(two)[0] == 200
    n = e2e_revoke.read_to_end(raw, n)
    raw.close()
    assert n < len(s.package), (n, len(s.package))  # what was on its way was cut
    assert s.ada.call("DELETE", "/api/v1/links/" + one["id"]).status == 404
    events = s.ada.get("/api/v1/me/audit?limit=100")["data"]
    assert any(e["event"] == "download_link_revoked" for e in events) and any(e["event"] == "denied" and e["actor"] == s.bob.get("/api/v1/me")["id"] for e in events)
    raw, n = e2e_revoke.slow_download(s.h, two["path"], "none")
    p = s.ada.cli("link", "revoke", two["id"])
    assert p.stdout == "revoked\n" and s.status(two) == OVER
    assert e2e_revoke.read_to_end(raw, n) < len(s.package)
    raw.close()


def test_what_else_ends_it():
    """A session that is ended by hand, another password, all tokens, a disabled account; signing out does not."""
    s = site()
    link = s.link()
    kept, other = s.ada.token, s.ada.login()
    s.ada.token = kept
    assert s.h.request("POST", "/api/v1/logout", token=other).status == 200 and s.status(link)[0] == 200
    other = s.ada.login()
    ident = next(x["id"] for x in s.ada.get("/api/v1/me/sessions")["data"] if x["current"])
    s.ada.token = kept
    s.ada.call("DELETE", "/api/v1/me/sessions/" + ident, {"password": s.ada.password}, status=200)
    assert s.status(link) == OVER
    link = s.link()
    s.ada.call("POST", "/api/v1/me/revoke", {"password": s.ada.password}, status=200)
    assert s.status(link) == OVER
    link = s.link()
    s.ada.call("PUT", "/api/v1/me/password", {"old": s.ada.password, "password": "nine-Quiet-otters-47"}, status=200)
    s.ada.password = "nine-Quiet-otters-47"
    assert s.status(link) == OVER
    link = s.link()
    s.h.admin_ok("user-revoke", {"name": "ada"})
    assert s.status(link) == OVER
    s.ada.login()
    link = s.link()
    s.h.admin_ok("user-disable", {"name": "ada"})
    assert s.status(link) == OVER
    s.h.admin_ok("user-enable", {"name": "ada"})
    s.ada.login()
    assert s.status(link) == OVER  # for good


def test_from_where_its_owner_may_not_be():
    """An account that is bound to networks: its links lead nowhere from others, and the answer is that to an unknown link."""
    s = site()
    link = s.link(minutes=5)

    def from_address(address):
        c = http.client.HTTPSConnection("localhost", s.h.port, context=s.h.tls, timeout=60, source_address=(address, 0))
        try:
            c.request("GET", link["path"])
            a = c.getresponse()
            a.read()
            return a.status
        finally:
            c.close()
    assert from_address("127.0.0.1") == 200 and from_address("127.0.0.9") == 200
    s.h.admin_ok("user-networks", {"name": "ada", "networks": ["127.0.0.9/32"]})
    assert from_address("127.0.0.1") == 410 and from_address("127.0.0.9") == 200
    s.h.admin_ok("user-networks", {"name": "ada", "networks": []})
    assert from_address("127.0.0.1") == 200


def test_the_command():
    s = site()
    os.unlink(os.path.join(s.h.dir, "session-ada.json"))
    p = s.ada.cli("link", s.job, "--minutes", "3")
    url = p.stdout.strip()
    assert url.startswith("https://127.0.0.1:%d%s" % (s.h.port, PATH)) and "shown this once" in p.stderr and url not in p.stderr, (p.stdout, p.stderr)
    assert s.h.curl(url) == (0, s.package)
    assert url[-64:-32] in s.ada.cli("link", "list", s.job).stdout
    assert s.ada.cli("link", s.job, "--minutes", "1441", check=False).returncode == 2


def test_a_written_row_is_no_link():
    """Who can write the database makes no link good: another end, another package, another's number."""
    s = site()
    second = s.ada.run_job(s.ada.upload()["id"])["id"]
    s.ada.claim(second)
    links = [s.link(minutes=5) for _ in range(3)] + [s.link(job=second)]
    s.h.stop()
    db = sqlite3.connect(os.path.join(s.h.state, "registrar", "registrar.db"))
    ids = [bytes.fromhex(x["id"]) for x in links]
    (package,), = db.execute("SELECT object_id FROM token WHERE jti = ?", (ids[3],)).fetchall()
    for sql, args in (("UPDATE token SET expires_s = expires_s + 60 WHERE jti = ?", (ids[0],)), ("UPDATE token SET object_id = ? WHERE jti = ?", (package, ids[1]))):
        assert db.execute(sql, args).rowcount == 1
    db.commit()
    db.close()
    s.h.rows_may_differ = True
    s.h.start()
    s.h.wait_up()
    s.ada.login()
    assert s.status(links[0]) == OVER and s.status(links[1]) == OVER
    assert s.status(links[2])[0] == 200 and s.h.request("GET", links[3]["path"]).body == s.ada.package(second)


def test_it_goes_with_its_package():
    s = site()
    link = s.link()
    s.ada.claim(s.job)  # another package takes its place
    assert s.status(link) == OVER and s.ada.get("/api/v1/jobs/%s/links" % s.job)["data"] == []
    link = s.link()
    assert s.status(link)[0] == 200
    s.ada.call("DELETE", "/api/v1/jobs/" + s.job, status=202)
    assert s.status(link)[0] == 410
    s.ada.wait_job(s.job, ("erased",))
    assert s.status(link)[0] == 410
    assert s.ada.call("POST", "/api/v1/jobs/%s/links" % s.job, {}).status == 410
    s.h.clean()
    s.h.verify_log()


def test_it_never_outlives_its_package():
    s = site()
    job = s.ada.run_job(s.ada.upload()["id"])["id"]
    s.h.move_clock(7 * 86400 - 1800)  # half an hour before the result goes
    s.h.admin_ok("clock-confirm")
    s.ada.login()
    s.ada.claim(job)
    link = s.link(job=job, minutes=1440)
    ends = s.ada.get("/api/v1/jobs/" + job)["expires"]
    assert link["expires"] <= ends, (link, ends)


if __name__ == "__main__":
    try:
        hub.main([test_none_without_a_package, test_the_package_and_nothing_else, test_each_use_is_in_the_owners_log, test_a_link_is_written_nowhere, test_no_other_link_is_good,
                  test_it_ends, test_revoked_at_once, test_what_else_ends_it, test_from_where_its_owner_may_not_be, test_the_command, test_a_written_row_is_no_link, test_it_goes_with_its_package,
                  test_it_never_outlives_its_package])
    finally:
        if hasattr(site, "it"):
            site.it.h.__exit__(None)
