#!/usr/bin/env python3
"""Every route of routes.def x everybody who can ask: nobody; the five roles, in a session with its second factor, of 16 minutes ago, and without one; API
tokens of each scope; a disabled account, an expired one, a session that was idle too long, one that is over. Against the daemons.

A cell's expectation comes from the route's row (`who`, `needs`) and who.def alone. What a route answers to who may ask is what its method and path
say: 200 for what is looked at, 404 for an object that isn't, and for a change, which is asked for with a body that says nothing, 400. So nothing is changed by asking, and
each cell shows that the door was open or closed, not what is behind it: e2e_matrix has that. Each refusal of an account must be in the audit log, once.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hub  # noqa: E402
import e2e_matrix  # noqa: E402

ROLES = ("user", "operator", "security", "auditor", "support")
NEED_FACTOR = ("operator", "security")
SCOPES = ("read", "write", "results")
OBJECT = {"jobs": "job-20260101-000000-0123456789abcdef"}  # any other id is 32 hex digits
# the answer of an open door where the rule above doesn't say it
OPEN = {"health": 200, "server": 200, "checkpoint": 200, "openapi": 200, "link_download": 410, "job_link_new": 404, "upload": 400, "upload_v1": 400,
        "passkey_challenge": 409, "login_passkey": 409,  # a server without public_url has none
        "job_claim": 400, "factor_rename": 400, "job_confirm": 400, "admin_user_role": 400,  # look at the body before they look for the object
        "logout": 200, "sessions_revoke": 200}  # change something with an empty body: asked by an account of the cell's own
KEEP_OUT = {"admin_revoke"}  # an empty body ends everybody's sessions: only those ask who may not


def groups():
    """{name of who.def: the roles in it}"""
    text = open(os.path.join(hub.ROOT, "src/lib/http/who.def")).read()
    return {name: set(re.findall(r"SQ_R_(\w+)", roles)) for name, roles in re.findall(r"^SQ_WHO\((\w+),\s*([^,]+),", text, re.M)}


class Asker:
    """Somebody who asks: role, what he holds, and when it was got. token() is fresh where a cell spends it."""
    def __init__(self, name, role, token, kind="session", factor=None, scopes=()):
        self.name, self.role, self.token, self.kind, self.factor, self.scopes = name, role, token, kind, factor, scopes
        self.ident = None


class Site:
    def __init__(self):
        rates = {"rate_" + kind: "all=1000000" for kind in ("read", "write", "bulk", "login", "mail", "connect")}  # a thousand questions, and none is held back
        self.h = h = hub.Hub(settings=rates).start()
        self.cells = []
        old = {role: h.user("old-" + role, role) for role in NEED_FACTOR}
        for u in old.values():
            u.enrol()
        h.move_clock(16 * 60)  # their factor isn't fresh any more
        h.admin_ok("clock-confirm")
        self.people = {role: h.user(role, role) for role in ROLES}
        for role in NEED_FACTOR:
            self.people[role].enrol()
        bare = {role: h.user("bare-" + role, role) for role in NEED_FACTOR}
        disabled, expired, over = h.user("disabled"), h.user("expired"), h.user("over")
        h.admin_ok("user-disable", {"name": "disabled"})
        h.admin_ok("user-expire", {"name": "expired", "expires": "2020-01-01T00:00:00Z"})
        over_token = over.token
        assert h.request("POST", "/api/v1/logout", token=over_token).status == 200
        api = {}
        for scope in SCOPES:
            a = self.people["user"].call("POST", "/api/v1/me/tokens", {"name": scope, "scopes": [scope], "days": 1, "password": self.people["user"].password}, status=201)
            api[scope] = a.json["token"]
        self.askers = [Asker("nobody", None, None)]
        self.askers += [Asker(role, role, u.token, factor="fresh" if role in NEED_FACTOR else None) for role, u in self.people.items()]
        self.askers += [Asker("%s, factor of 16 minutes ago" % role, role, u.token, factor="old") for role, u in old.items()]
        self.askers += [Asker("%s without a factor" % role, role, u.token) for role, u in bare.items()]
        self.askers += [Asker("API token to %s" % scope, "user", t, "api", scopes=(scope,)) for scope, t in api.items()]
        self.askers += [Asker("a disabled account", None, disabled.token), Asker("an expired account", None, expired.token), Asker("a session that is over", None, over_token),
                        Asker("an unknown token", None, "x.y.z")]
        for a in self.askers:
            if a.role:
                a.ident = h.request("GET", "/api/v1/me", token=a.token if a.kind == "session" else self.people["user"].token).json["id"]


def site():
    if not hasattr(site, "it"):
        site.it = Site()
    return site.it


def routes():
    text = open(os.path.join(hub.ROOT, "src/lib/http/routes.def")).read()
    rows = [dict(zip(("name", "no", "method", "path", "who", "needs", "rate", "kind"), m)) for m in
            re.findall(r'^SQ_ROUTE\((\w+),\s*(\d+),\s*(\w+),\s*"([^"]+)",\s*(\w+),\s*(\w+),\s*(\w+),\s*(\w+),', text, re.M)]
    assert len(rows) == text.count("\nSQ_ROUTE("), len(rows)
    return rows


def opened(row):
    if row["name"] in OPEN:
        return OPEN[row["name"]]
    if "{id}" in row["path"]:
        return 404 if row["method"] == "GET" or row["name"] not in e2e_matrix.OBJECT_IN_BODY else 400
    return 200 if row["method"] == "GET" else 400


def want_of(row, a, who):
    """(status, code or None)"""
    if row["who"] == "ANYONE":
        return opened(row), None
    if not a.role:
        return 401, "EAUTH"
    if a.role not in who[row["who"]]:
        return 403, "EDENIED"
    if row["needs"] in ("SESSION", "MINT", "STEP_UP") and a.kind != "session":
        return 403, "ESCOPE"
    if row["needs"] in ("READ", "WRITE", "RESULTS") and a.kind == "api" and row["needs"].lower() not in a.scopes:
        return 403, "ESCOPE"
    if a.role in NEED_FACTOR and (row["who"] != "SIGNED_IN" or row["needs"] == "MINT") and not a.factor:
        return 403, "ENOFACTOR"
    if a.role in NEED_FACTOR and row["needs"] == "STEP_UP" and a.factor != "fresh":
        return 403, "ESTEPUP"
    return opened(row), None


def ask(s, row, a):
    path = row["path"].replace("{id}", OBJECT["jobs"] if "/jobs/" in row["path"] else "0" * 31 + "1").replace("{link}", "0" * 64)
    body, headers = (None, {}) if row["method"] == "GET" else ({}, {})
    if row["kind"] == "UPLOAD":
        body, headers = b"--x--\r\n", e2e_matrix.FORM
    return s.h.request(row["method"], path, body, token=a.token, headers=headers)


def test_every_route_for_every_role():
    s, who, n = site(), groups(), 0
    wrong = []
    for row in routes():
        for a in s.askers:
            want = want_of(row, a, who)
            is_open = want[1] is None and row["who"] != "ANYONE"
            if is_open and row["name"] in KEEP_OUT:
                continue
            asker = a
            if is_open and row["name"] in ("logout", "sessions_revoke"):  # an account for this cell alone
                if a.kind != "session":
                    continue
                u = s.h.user("throwaway-%d" % n, a.role)
                if a.factor:
                    u.enrol()
                asker = Asker(a.name, a.role, u.token, factor=a.factor)
                asker.ident = u.get("/api/v1/me")["id"]
            got = ask(s, row, asker)
            n += 1
            if got.status != want[0] or (want[1] and got.json["code"] != want[1]):
                wrong.append("%s as %s: %s wanted, got %r" % (row["name"], a.name, want, got))
            s.cells.append((asker, row, got))
    print("# %d routes, %d askers, %d cells" % (len(routes()), len(s.askers), n), flush=True)
    assert not wrong, "%d cells:\n%s" % (len(wrong), "\n".join(wrong[:60]))


def test_each_refusal_is_in_the_log_once():
    s = site()
    p = subprocess.run([hub.CLI, "audit", "tail", "--log", s.h.log_dir(), "--json", "--limit", "1000000"], capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    denied, counted = {}, 0
    for e in next(v for v in hub.json.loads(p.stdout).values() if isinstance(v, list)):
        if e["event"] == "denied":
            denied.setdefault(e["request"], []).append(e)
        counted += e["a"] if e["event"] == "failures_counted" else 0
    n = n_nobody = 0
    for a, row, got in s.cells:
        found = denied.pop(got.headers["X-Request-Id"], [])
        assert len(found) == (got.status == 403), (a.name, row["name"], got, found)
        if got.status == 403:
            n += 1
            assert found[0]["actor"] == a.ident and found[0]["a"] in ({int(row["no"])} | ({30, 31} if row["kind"] == "UPLOAD" else set())), (a.name, row["name"], found)
        n_nobody += got.status == 401
    assert n > 200 and n_nobody > 100, (n, n_nobody)
    hub.wait_for("those of nobody to be counted", lambda: counted_now(s) >= n_nobody, 20)
    print("# %d refusals of accounts, an entry each; %d of nobody, counted" % (n, n_nobody), flush=True)
    s.h.verify_log()


def counted_now(s):
    p = subprocess.run([hub.CLI, "audit", "tail", "--log", s.h.log_dir(), "--json", "--limit", "1000000"], capture_output=True, text=True)
    return sum(e["a"] for e in next(v for v in hub.json.loads(p.stdout).values() if isinstance(v, list)) if e["event"] == "failures_counted")


def test_no_role_reaches_data_of_others():
    """By the table itself: whatever gives genotypes, results or base calls, or what they are called, is for users alone, and there for their owner."""
    who = groups()
    for row in routes():
        if re.search(r"/uploads|/upload$|/jobs", row["path"]) and not row["path"].startswith("/api/v1/admin/"):
            assert who[row["who"]] == {"user"}, row
        if row["path"].startswith("/api/v1/admin/"):
            assert "user" not in who[row["who"]] and row["kind"] == "JSON" and row["needs"] in ("SESSION", "STEP_UP"), row
            if row["method"] not in ("GET",) and row["name"] != "admin_find":
                assert row["needs"] == "STEP_UP" and who[row["who"]] <= {"operator", "security"}, row
    assert who["SIGNED_IN"] == set(ROLES) and not who["ANYONE"]


def test_an_idle_session_ends():
    s = site()
    u = s.people["user"]
    u.login()
    for _ in range(3):  # used within half an hour it goes on
        s.h.move_clock(25 * 60)
        s.h.admin_ok("clock-confirm")
        assert s.h.request("GET", "/api/v1/me", token=u.token).status == 200
    s.h.move_clock(31 * 60)
    s.h.admin_ok("clock-confirm")
    a = s.h.request("GET", "/api/v1/me", token=u.token)
    assert a.status == 401 and a.json["code"] == "EAUTH", a


if __name__ == "__main__":
    try:
        hub.main([test_every_route_for_every_role, test_each_refusal_is_in_the_log_once, test_no_role_reaches_data_of_others, test_an_idle_session_ends])
    finally:
        if hasattr(site, "it"):
            site.it.h.__exit__(None)
