#!/usr/bin/env python3
"""Every route of routes.def x {nobody, another user, the owner, an operator}, with the owner's real objects; revocation; forged tokens.

A cell's expectation comes from the route's row alone (`who`, and whether its path names an object); the owner's cell is
what the route answers when all is well. Each refusal of a signed-in account must be in the audit log, exactly once.
"""
import base64
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402

ROW = re.compile(r'^SQ_ROUTE\((\w+),\s*(\d+),\s*(\w+),\s*"([^"]+)",\s*(\w+),\s*(\w+),\s*(\w+),\s*(\w+),', re.M)
# what the owner's cell answers where that isn't 200
OWNER_STATUS = {"token_new": 201, "upload": 201, "upload_v1": 201, "job_submit": 201, "job_link_new": 201, "upload_delete": 202, "job_cancel": 202, "job_delete": 202}
# what needs a mail, an authenticator or a ticket to go well: e2e_register.py and e2e_factors.py have those; here, what it answers without
WITHOUT = {"login_factor": 401, "register": 403, "register_confirm": 410, "password_forgot": 202, "password_reset": 410, "factors_confirm": 410, "step_up": 401, "totp_confirm": 404, "recovery_new": 409,
           "passkey_begin": 409, "me_mail_confirm": 410, "passkey_confirm": 400, "passkey_challenge": 409, "login_passkey": 409, "login_passkey_confirm": 400,
           "device_token": 400, "device_get": 404, "device_approve": 404, "device_deny": 404}
BODIES = {"login_factor": {"ticket": "0" * 32, "code": "000000"}, "register": {"mail": "eve@example.org"}, "password_forgot": {"mail": "eve@example.org"},
          "register_confirm": {"code": "0" * 64, "password": "seven-Otters-climb-81"}, "password_reset": {"code": "0" * 64, "password": "seven-Otters-climb-81"}, "factors_confirm": {"code": "0" * 64, "password": "seven-Otters-climb-81"},
          "step_up": {"code": "000000"}, "login_passkey": {}, "me_mail_confirm": {"code": "0" * 64}, "passkey_challenge": {}, "passkey_confirm": {}, "login_passkey_confirm": {"ticket": "0" * 32}, "totp_confirm": {"id": "0" * 32, "code": "000000"}, "admin_find": {"name": "owner"}, "device_code": {"client_id": "matrix"}, "device_deny": {"user_code": "BCDF-GHJK"},
          "device_token": {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": "0" * 64, "client_id": "matrix"},
          "admin_user_set": {"disabled": True},
          "admin_user_role": {"role": "user"}, "admin_user_add": {"name": "x", "mail": "x@example.org", "role": "user"}}
# its object stands in the body, so that a stranger's answer names the field instead
OBJECT_IN_BODY = {"job_submit": 400}
WHO = {name: re.findall(r"SQ_R_(\w+)", roles) for name, roles in re.findall(r"^SQ_WHO\((\w+),\s*([^\"]+)", open(os.path.join(hub.ROOT, "src/lib/http/who.def")).read(), re.M)}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def routes():
    text = open(os.path.join(hub.ROOT, "src/lib/http/routes.def")).read()
    rows = [dict(zip(("name", "no", "method", "path", "who", "needs", "rate", "kind"), m)) for m in ROW.findall(text)]
    assert len(rows) == text.count("\nSQ_ROUTE(") and len(rows) > 25, len(rows)
    return rows


class Site:
    def __init__(self):
        self.h = h = hub.Hub(settings={"jobs_per_user": 1, "rate_login": "all=100000"}).start()
        h.panel()
        self.owner, self.other, self.operator = h.user("owner"), h.user("other"), h.user("operator", "operator")
        self.ids = {u.name: u.get("/api/v1/me")["id"] for u in (self.owner, self.other, self.operator)}
        self.data = open(hub.TARGET, "rb").read()
        self.other_upload = self.other.upload()["id"]
        self.job = self.owner.run_job(self.owner.upload()["id"], name="matrix")["id"]  # done, a result in the vault
        self.upload, self.doomed = self.owner.upload()["id"], self.owner.upload()["id"]
        self.check, self.queued = "not yet", None
        self.cells = []  # (who, route row, answer)

    def events(self):
        p = subprocess.run([hub.CLI, "audit", "tail", "--log", self.h.log_dir(), "--json", "--limit", "100000"], capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
        j = hub.json.loads(p.stdout)
        return next(v for v in j.values() if isinstance(v, list))


def site():
    if not hasattr(site, "it"):
        site.it = Site()
    return site.it


def doomed_of(s, name):
    """Id of a session, an API token or a download link of the owner's."""
    if name == "link_revoke":
        return s.owner.call("POST", "/api/v1/jobs/%s/links" % s.job, {}, status=201).json["id"]
    if name in ("factor_remove", "factor_rename"):
        return s.owner.call("POST", "/api/v1/me/totp", {"password": s.owner.password}, status=200).json["id"]
    if name == "token_revoke":
        return s.owner.call("POST", "/api/v1/me/tokens", {"name": "doomed", "scopes": ["read"], "days": 1, "password": s.owner.password}, status=201).json["id"]
    kept, token = s.owner.token, s.owner.login()
    s.owner.token = kept
    return next(x["id"] for x in s.h.request("GET", "/api/v1/me/sessions", token=token).json["data"] if x["current"])


def form(data):
    return b'--x\r\nContent-Disposition: form-data; name="file"; filename="m.vcf.gz"\r\n\r\n' + data + b"\r\n--x--\r\n"


def request_of(row, s, user):
    """(path, body, headers) of a request that is in order, if the owner makes it."""
    ident = ""
    if row["name"] in ("session_revoke", "token_revoke", "link_revoke", "factor_remove", "factor_rename"):  # made for this cell alone: others end with a change of the password
        ident = doomed_of(s, row["name"])
    elif "/uploads/" in row["path"]:
        ident = s.doomed if row["name"] == "upload_delete" else s.upload
    elif "/jobs/" in row["path"]:
        ident = (s.queued or s.job) if row["name"] in ("job_cancel", "job_delete") else s.job
    elif "/device/codes/" in row["path"]:
        ident = "BCDF-GHJK"
    body, headers = BODIES.get(row["name"]), {}
    if row["name"] == "device_approve":
        body = {"user_code": "BCDF-GHJK", "password": (user or s.owner).password}
    if "/admin/users/{id}" in row["path"]:
        ident = s.ids["owner"]
    if row["name"] in ("totp_begin", "recovery_new", "factor_remove", "passkey_begin", "factor_rename"):
        body = {"password": (user or s.owner).password, **({"code": "000000"} if row["name"] == "recovery_new" else {})}
    if row["name"] == "factor_rename":
        body["name"] = "another"
    if row["kind"] == "UPLOAD":
        body, headers = form(s.data), FORM
    elif row["name"] == "login":
        body = {"name": "owner", "password": s.owner.password}
    elif row["name"] == "me_password":
        body = {"old": (user or s.owner).password, "password": (user or s.owner).password}
    elif row["name"] == "token_new":
        body = {"name": "matrix", "scopes": ["read"], "days": 1, "password": (user or s.owner).password}
    elif row["name"] == "job_submit":
        body = {"upload": s.upload, "panel": "1kgp3-chr22"}
    elif row["name"] == "job_claim":
        body = {"password": (user or s.owner).password}
    elif row["name"] == "me_mail_set":
        body = {"notify": True}
    elif row["name"] == "job_confirm":
        body = {"check": s.check}
    if "{link}" in row["path"]:
        return s.owner.call("POST", "/api/v1/jobs/%s/links" % s.job, {}, status=201).json["path"], body, headers
    return row["path"].replace("{id}", ident), body, headers


def want_of(row, who):
    good = WITHOUT.get(row["name"], OWNER_STATUS.get(row["name"], 200))
    role = {"nobody": None, "operator": "OPERATOR"}.get(who, "USER")
    if row["who"] == "ANYONE":
        return good
    if role is None:
        return 401
    if role.lower() not in WHO[row["who"]]:
        return 403
    if row["path"].startswith("/api/v1/admin/") or (who == "operator" and row["needs"] == "MINT"):
        return 403  # an operator without a second factor
    if who != "owner" and "{id}" in row["path"]:
        return 404
    return OBJECT_IN_BODY.get(row["name"], good) if who == "other" else good


def ask(s, row, who, method=None):
    user = {"owner": s.owner, "other": s.other, "operator": s.operator}.get(who)
    token = user and user.token
    if row["name"] == "logout" and user:  # a token for this cell alone
        kept, token = user.token, user.login()
        user.token = kept
    path, body, headers = request_of(row, s, user)
    a = s.h.request(method or row["method"], path, body, token=token, headers=headers)
    want = want_of(row, who)
    assert a.status == want, "%s as %s: %d wanted, but %r" % (row["name"], who, want, a)
    if a.status != WITHOUT.get(row["name"]):  # that isn't a refusal
        s.cells.append((who, row, a))
    return a


def open_check(s, password):
    with tempfile.NamedTemporaryFile(suffix=".zip") as f:
        f.write(s.owner.package(s.job))
        f.flush()
        return subprocess.run(["7z", "x", "-so", "-p" + password, f.name, "sequester-check.txt"], capture_output=True, text=True).stdout


def owner_asks(s, row):
    """The owner's cell; what it changes is seen to, so that the next rows find their objects."""
    if row["name"] == "job_submit":  # nothing may run it before it is cancelled
        s.runner = s.h.pid("runner")
        os.kill(s.runner, signal.SIGSTOP)
    if row["name"] == "job_cancel":
        threading.Timer(0.3, os.kill, (s.runner, signal.SIGCONT)).start()
    a = ask(s, row, "owner")
    if row["name"] == "job_submit":
        s.queued = a.json["id"]
    elif row["kind"] == "UPLOAD":
        s.owner.call("DELETE", "/api/v1/uploads/" + a.json["id"], status=202)
    elif row["name"] == "job_claim":
        hub.wait_for("the package", lambda: ((s.owner.get("/api/v1/jobs/" + s.job)["claim"] or {}).get("package") or {}).get("state") == "ready", 60)
        s.check = open_check(s, a.json["password"])


def test_every_route_for_everyone():
    s = site()
    for row in routes():
        for who in ("nobody", "other", "operator"):
            ask(s, row, who)
            if row["method"] == "GET":
                ask(s, row, who, "HEAD")
        owner_asks(s, row)
        if row["method"] == "GET":
            ask(s, row, "owner", "HEAD")
    print("# %d routes, %d cells" % (len(routes()), len(s.cells)), flush=True)


def test_each_refusal_is_in_the_log_once():
    s = site()
    denied = {}
    for e in s.events():
        if e["event"] == "denied":
            denied.setdefault(e["request"], []).append(e)
    n = 0
    for who, row, a in s.cells:
        found = denied.pop(a.headers["X-Request-Id"], [])
        is_refusal = who != "nobody" and a.status in (400, 403, 404)
        assert len(found) == is_refusal, (who, row["name"], a, found)
        if is_refusal:
            n += 1
            no = {30, 31} if row["kind"] == "UPLOAD" else {int(row["no"])}
            assert found[0]["actor"] == s.ids[who] and found[0]["a"] in no, (row["name"], found)
            if a.status != 403:  # and the owner can see who knocked
                assert found[0]["subject"] == s.ids["owner"], found
    assert n > 50 and not denied, (n, denied)
    seen = {e["entry"]: e for e in s.owner.get("/api/v1/me/audit?limit=100")["data"]}
    assert any(e["event"] == "denied" and e["actor"] == s.ids["other"] for e in seen.values())
    s.h.verify_log()


def test_a_strangers_object_looks_like_none():
    s = site()
    for row in routes():
        if "{id}" not in row["path"] or "/admin/" in row["path"]:
            continue
        path, body, _ = request_of(row, s, s.other)
        none = row["path"].replace("{id}", "0" * 32 if "/jobs/" not in row["path"] else "job-20260101-000000-0123456789abcdef")
        answers = [s.other.call(row["method"], p, body) for p in (path, none)]
        assert [a.status for a in answers] == [404, 404], (row["name"], answers)
        one, two = [{k: v for k, v in a.json.items() if k != "id"} for a in answers]
        names = [sorted(k for k in a.headers if k != "Date") for a in answers]
        assert one == two and names[0] == names[1], (row["name"], one, two)


def test_lists_show_only_ones_own():
    s = site()
    for path in ("/jobs", "/api/jobs", "/api/v2/jobs", "/api/v1/jobs"):
        assert s.other.get(path)["data"] == [] and s.owner.get(path)["data"], path
    assert [u["id"] for u in s.other.get("/api/v1/uploads")["data"] if u["state"] == "ready"][-1] == s.other_upload
    assert s.upload not in str(s.other.get("/api/v1/uploads")) and s.upload not in str(s.other.get("/api/v1/me/audit?limit=100"))
    # another one's job can't be made to read the owner's upload, and the owner's page marker opens nothing
    assert s.other.get("/api/v1/jobs?before=" + s.job)["data"] == []


def status_of(s, token):
    return s.h.request("GET", "/api/v1/me", token=token).status


def test_logout_ends_one_token_at_once():
    s = site()
    one, two = s.other.login(), s.other.login()
    assert (status_of(s, one), status_of(s, two)) == (200, 200)
    assert s.h.request("POST", "/api/v1/logout", token=one).status == 200
    assert (status_of(s, one), status_of(s, two)) == (401, 200)
    assert s.h.request("POST", "/api/v1/logout", token=one).status == 401


def test_revoking_ends_all_tokens_at_once():
    s = site()
    tokens = [s.other.login() for _ in range(3)]
    revoked = s.h.admin_ok("user-revoke", {"name": "other"})["tokens_revoked"]
    assert revoked >= 3 and [status_of(s, t) for t in tokens] == [401] * 3, revoked
    assert status_of(s, s.owner.token) == 200  # nobody else's
    assert status_of(s, s.other.login()) == 200  # he may sign in again
    assert s.h.request("GET", "/jobs", token=tokens[0]).status == 401
    assert s.h.request("POST", "/api/upload", form(s.data), token=tokens[0], headers=FORM).status == 401
    assert s.h.request("GET", "/api/v1/jobs/%s/report" % s.job, token=tokens[0]).status == 401


def test_disabling_ends_an_account():
    s = site()
    eve = s.h.user("eve")
    s.h.admin_ok("user-disable", {"name": "eve"})
    assert status_of(s, eve.token) == 401
    a = s.h.request("POST", "/api/v1/login", {"name": "eve", "password": eve.password})
    assert a.status == 401 and a.json["code"] == "EPASSWORD", a  # as an unknown name
    events = [e["event"] for e in s.events()][-6:]
    assert "user_disabled" in events, events


def test_guessing_waits_whoever_guesses():
    """After a few wrong passwords the right one is refused for a while; signed in to an account of one's own, another's password is no easier to guess."""
    s = site()
    for name in (None, "mallory"):
        mallory = s.h.user(name) if name else None
        victim = s.h.user("victim-of-%s" % ("a-stranger" if mallory is None else "a-user"))
        for i in range(8):
            a = s.h.request("POST", "/api/v1/login", {"name": victim.name, "password": "wrong-Horse-battery-%d" % i}, token=mallory and mallory.token)
            assert a.status == 401 and a.json["code"] == "EPASSWORD", a
        a = s.h.request("POST", "/api/v1/login", {"name": victim.name, "password": victim.password}, token=mallory and mallory.token)
        assert a.status == 401 and a.json["code"] == "EPASSWORD", (mallory and mallory.name, a)
        assert status_of(s, victim.token) == 200  # its owner works on, and may do what wants his password
        assert victim.call("PUT", "/api/v1/me/password", {"old": victim.password, "password": "four-Random-otters-41"}).status == 200
        s.h.move_clock(31 * 60)
        s.h.admin_ok("clock-confirm")
        victim.password = "four-Random-otters-41"
        assert victim.login()
        for u in (s.owner, s.other, s.operator):
            u.login()


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def signed(head, payload, key):
    r, s = utils.decode_dss_signature(key.sign(("%s.%s" % (head, payload)).encode(), ec.ECDSA(hashes.SHA256())))
    return "%s.%s.%s" % (head, payload, b64(r.to_bytes(32, "big") + s.to_bytes(32, "big")))


def test_forged_tokens():
    s = site()
    good = s.owner.login()
    head, payload, signature = good.split(".")
    claims, header = hub.json.loads(unb64(payload)), hub.json.loads(unb64(head))
    assert header["alg"] == "ES256" and header["typ"] == "JWT", header

    def packed(d):
        return b64(hub.json.dumps(d, separators=(",", ":"), sort_keys=True).encode())
    assert packed(claims) == payload and packed(header) == head  # so what follows differs in what it says only
    changed = [dict(claims, sub=s.ids["other"]), dict(claims, role="operator"), dict(claims, exp=claims["exp"] + 3600), dict(claims, epoch=claims["epoch"] + 1),
               dict(claims, jti="0" * 32), dict(claims, admin=True), {k: v for k, v in claims.items() if k != "exp"}]
    other_key = ec.generate_private_key(ec.SECP256R1())
    none, hs256 = packed(dict(header, alg="none")), packed(dict(header, alg="HS256"))
    forged = ["%s.%s.%s" % (head, packed(c), signature) for c in changed]
    forged += [signed(head, packed(c), other_key) for c in [claims] + changed]
    forged += ["%s.%s." % (none, payload), "%s.%s.%s" % (none, payload, signature), "%s.%s.%s" % (hs256, payload, signature), "%s.%s" % (head, payload)]
    forged += [good[:-4], good + "A", good + ".x", good.replace(".", "..", 1), head + "." + payload + "." + b64(b"\0" * 64), head + "=." + payload + "." + signature,
               "%s.%s.%s" % (packed(dict(header, kid="0" * 16)), payload, signature), good.swapcase()]
    for token in forged:
        a = s.h.request("GET", "/api/v1/me", token=token)
        assert a.status in (400, 401) and (a.status == 401 or a.json["code"] == "EREQUEST"), (token, a)
    assert status_of(s, good) == 200
    # two tokens in one request are no token
    both = s.h.request("GET", "/api/v1/me", token=good, headers={"X-Auth-Token": s.other.login()})
    assert both.status in (400, 401), both
    print("# %d forged tokens" % len(forged), flush=True)


def test_a_token_ends_with_its_time():
    s = site()
    token = s.owner.login()
    for _ in range(12 * 3 - 1):  # in use, it lasts its twelve hours
        s.h.move_clock(1200)
        assert status_of(s, token) == 200
    s.h.move_clock(600)
    assert status_of(s, token) == 200
    s.h.move_clock(660)
    assert status_of(s, token) == 401
    token = s.owner.login()  # idle, half an hour
    s.h.move_clock(29 * 60)
    assert status_of(s, token) == 200
    s.h.move_clock(31 * 60)
    assert status_of(s, token) == 401
    assert status_of(s, s.owner.login()) == 200


if __name__ == "__main__":
    try:
        hub.main([test_every_route_for_everyone, test_each_refusal_is_in_the_log_once, test_a_strangers_object_looks_like_none, test_lists_show_only_ones_own,
                  test_logout_ends_one_token_at_once, test_revoking_ends_all_tokens_at_once, test_disabling_ends_an_account, test_guessing_waits_whoever_guesses, test_forged_tokens,
                  test_a_token_ends_with_its_time])
    finally:
        if hasattr(site, "it"):
            site.it.h.__exit__(None)
