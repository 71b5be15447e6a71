#!/usr/bin/env python3
"""docs/openapi.json against a running hub: each address, each answer of a success, and the errors that a client can bring about.

tests/support/hub.py checks every answer field by field (tests/support/contract.py); here each is brought about, and what was met is counted.
"""
import concurrent.futures
import hashlib
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import contract  # noqa: E402
import hub  # noqa: E402

SEEN = contract.CONTRACT.seen
JSON = {"Content-Type": "application/json"}


def form(data, name="data.vcf.gz"):
    return (b'--x\r\nContent-Disposition: form-data; name="file"; filename="' + name.encode() + b'"\r\n\r\n' + data + b"\r\n")


def upload(user, path, *files):
    return user.call("POST", path, b"".join(files) + b"--x--\r\n", headers={"Content-Type": "multipart/form-data; boundary=x"})


class Site:
    def __init__(self):
        self.h = hub.Hub(settings={"upload_max_mib": 2, "quota_mib": 4, "rate_login": "address=300 token=300"}).start()
        self.h.panel()
        self.ada, self.olga = self.h.user("ada"), self.h.user("olga", "operator")
        self.data = open(hub.TARGET, "rb").read()


def site():
    if not hasattr(site, "it"):
        site.it = Site()
    return site.it


ELSEWHERE = tuple("/api/v1/" + p for p in ("admin/", "register", "password/", "factors/", "login/factor", "login/passkey", "step-up", "me/totp", "me/recovery", "me/factors/", "me/passkeys", "me/mail/confirm", "device/"))


def operations():
    for path, item in contract.CONTRACT.doc["paths"].items():
        for method, op in item.items():
            yield method.upper(), path.replace("{id}", "0" * 32).replace("{link}", "0" * 64), op


def test_the_whole_way():
    s = site()
    ada = s.ada
    for path in ("/healthz", "/api/v1/server", "/api/v1/audit/checkpoint"):
        assert s.h.request("GET", path).status == 200
        assert s.h.request("HEAD", path).status == 200
    served = s.h.request("GET", "/api/openapi.json")
    assert served.body == open(os.path.join(hub.ROOT, "docs", "openapi.json"), "rb").read() and served.headers["Content-Type"] == "application/json"
    assert served.headers["ETag"] == '"%s"' % hashlib.sha256(served.body).hexdigest()
    same = s.h.request("GET", "/api/openapi.json", headers={"If-None-Match": 'W/"x", ' + served.headers["ETag"]})
    assert same.status == 304 and not same.body and same.headers["ETag"] == served.headers["ETag"]
    assert s.h.request("GET", "/api/openapi.json", headers={"If-None-Match": '"other"'}).body == served.body
    assert s.h.request("GET", "/api/openapi.json", headers={"If-Match": '"other"'}).status == 412
    head = s.h.request("HEAD", "/api/openapi.json")
    assert head.status == 200 and not head.body and int(head.headers["Content-Length"]) == len(served.body)
    for path in ("/api/v1/me", "/api/v1/panels", "/api/v1/uploads", "/api/v1/me/audit", "/api/v1/me/factors"):
        ada.get(path)
        assert ada.call("HEAD", path).status == 200
    ada.get("/api/v1/me/mail")
    ada.call("PUT", "/api/v1/me/mail", {"mail": "ada@example.org", "notify": False, "password": ada.password}, status=200)
    ada.call("PUT", "/api/v1/me/password", {"old": ada.password, "password": ada.password}, status=200)
    gone = ada.token
    ada.login()
    row = next(r for r in ada.get("/api/v1/me/sessions")["data"] if not r["current"])
    ada.call("DELETE", "/api/v1/me/sessions/" + row["id"], status=200)
    assert s.h.request("GET", "/api/v1/me", token=gone).status == 401
    ada.call("POST", "/api/v1/me/revoke", status=200)
    ada.call("POST", "/api/v1/me/tokens", {"name": "all", "scopes": ["read"], "days": 1, "networks": ["127.0.0.1"], "password": ada.password}, status=201)
    ada.call("DELETE", "/api/v1/me/tokens/" + ada.get("/api/v1/me/tokens")["data"][0]["id"], status=200)
    ids = [upload(ada, path, form(s.data)).json["id"] for path in ("/api/upload", "/api/v1/uploads")]
    both = upload(ada, "/api/v1/uploads", form(s.data), form(s.data, "second.vcf.gz"))
    assert both.status == 201 and len(both.json["uploads"]) == 2, both
    for i in [u["id"] for u in both.json["uploads"]] + ids[:1]:
        for path in ("/api/uploads/", "/api/v1/uploads/"):
            ada.get(path + i)
        ada.call("DELETE", "/api/v1/uploads/" + i, status=202)
        hub.wait_for("the receipt", lambda: ada.get("/api/v1/uploads/%s/receipt" % i)["complete"], 30)
        ada.get("/api/v1/uploads/" + i)  # as an erased one
    job = ada.submit(ids[1], name="a name of its own", population="eur")
    ada.call("DELETE", "/api/v1/uploads/" + ids[1], status=409)  # a job works on it
    ada.call("POST", "/api/v1/jobs", {"upload": ids[1], "panel": "1kgp3-chr22"}, status=409)
    ada.wait_job(job, ("done",))
    for path in ("/jobs", "/api/jobs", "/api/v2/jobs", "/api/v1/jobs"):
        assert ada.get(path + "?limit=1")["data"] and not ada.get(path + "?limit=50&before=" + job)["data"]
    ada.call("POST", "/api/v1/jobs/%s/claim/confirm" % job, {"check": "early"}, status=409)
    ada.call("GET", "/api/v1/jobs/%s/package" % job, status=404)  # not claimed yet
    ada.call("POST", "/api/v1/jobs/%s/claim" % job, {"password": "not-My-Password-1"}, status=401)
    password = ada.claim(job)
    path = "/api/v1/jobs/%s/package" % job
    whole = ada.call("GET", path, status=200)
    part = ada.call("GET", path, status=206, headers={"Range": "bytes=5-9"})
    assert part.body == whole.body[5:10] and part.headers["Content-Range"] == "bytes 5-9/%d" % len(whole.body)
    ada.call("GET", path, status=416, headers={"Range": "bytes=99999999-"})
    ada.call("GET", path, status=304, headers={"If-None-Match": whole.headers["ETag"]})
    assert ada.call("HEAD", path).status == 200
    link = ada.call("POST", "/api/v1/jobs/%s/links" % job, {"minutes": 5}, status=201).json
    assert s.h.request("GET", link["path"]).body == whole.body and s.h.request("HEAD", link["path"]).status == 200
    assert s.h.request("GET", link["path"], headers={"Range": "bytes=5-9"}).body == whole.body[5:10]
    assert s.h.request("GET", link["path"], headers={"If-None-Match": whole.headers["ETag"]}).status == 304
    assert s.h.request("GET", link["path"], headers={"Range": "bytes=99999999-"}).status == 416
    assert ada.get("/api/v1/jobs/%s/links" % job)["data"][0]["last_used"]
    ada.call("DELETE", "/api/v1/links/" + link["id"], status=200)
    assert s.h.request("GET", link["path"]).status == 410
    report = "/api/v1/jobs/%s/report" % job
    tag = ada.call("GET", report, status=200).headers["ETag"]
    ada.call("GET", report, status=206, headers={"Range": "bytes=-3"})
    ada.call("GET", report, status=416, headers={"Range": "bytes=99999999-"})
    ada.call("GET", report, status=304, headers={"If-None-Match": tag})
    with tempfile.NamedTemporaryFile(suffix=".zip") as f:
        f.write(whole.body)
        f.flush()
        check = subprocess.run(["7z", "x", "-so", "-p" + password, f.name, "sequester-check.txt"], capture_output=True, text=True).stdout
    ada.call("POST", "/api/v1/jobs/%s/claim/confirm" % job, {"check": "not it"}, status=400)
    ada.call("POST", "/api/v1/jobs/%s/claim/confirm" % job, {"check": check}, status=200)
    ada.call("POST", "/api/v1/jobs/%s/claim" % job, {"password": ada.password}, status=410)
    ada.get("/api/v1/jobs/" + job)
    assert ada.get("/api/v1/jobs/%s/audit?limit=100" % job)["data"]
    assert ada.get("/api/v1/jobs/%s/attestation" % job)["attestation"].startswith("sequester-attestation/v1\n")
    assert ada.get("/api/v1/me/audit?limit=3")["next"]
    ada.call("DELETE", "/api/v1/jobs/" + job, status=202)
    ada.wait_job(job, ("erased",))
    ada.call("GET", path, status=410)
    ada.call("GET", report, status=410)
    hub.wait_for("all receipts", lambda: ada.get("/api/v1/jobs/%s/receipt" % job)["complete"], 30)
    ada.get("/jobs")


def test_a_job_that_fails_and_one_that_is_stopped():
    s = site()
    bad = s.h.request("POST", "/api/upload", form(open(hub.UNPHASED, "rb").read()) + b"--x--\r\n", token=s.ada.token,
                      headers={"Content-Type": "multipart/form-data; boundary=x"})
    if bad.status == 201:  # taken as it is; the job says why not, or phases it
        unphased = s.ada.submit(bad.json["id"])
        s.ada.wait_job(unphased)
        s.ada.call("DELETE", "/api/v1/jobs/" + unphased, status=202)  # its result would fill the quota
        s.ada.wait_job(unphased, ("erased",))
    else:
        assert bad.status == 422, bad
        assert any(u["error"] for u in s.ada.get("/api/v1/uploads")["data"])
    a = upload(s.ada, "/api/upload", form(b"#chrom,pos\n1,2\n"))
    assert a.status == 422, a
    job = s.ada.submit(s.ada.upload()["id"])
    s.ada.call("POST", "/api/v1/jobs/%s/cancel" % job, {}, status=202)
    s.ada.call("POST", "/api/v1/jobs/%s/cancel" % job, {}, status=409)
    s.ada.get("/api/v1/jobs/" + job)


def test_errors_that_follow_from_a_row():
    """Every address: no token, a wrong token, the wrong role, an id of nobody, a body that isn't one, a method that isn't there, another host."""
    s = site()
    for method, path, op in operations():
        if op["x-role"] not in ("anyone", "signed_in", "user"):  # e2e_matrix.py asks these of everyone
            assert s.h.request(method, path).status == 401 and s.ada.call(method, path).status == 403, path
            continue
        name, is_form = op["operationId"], op["operationId"] in ("upload", "upload_v1")
        body = b"--x--\r\n" if is_form else None
        headers = {"Content-Type": "multipart/form-data; boundary=x"} if is_form else {}
        said = {int(k) for k in op["responses"]}
        if op["security"]:
            assert s.h.request(method, path, body, headers=headers).status == 401
            assert s.h.request(method, path, body, token="a.b.c", headers=headers).status == 401
        if op["x-role"] == "user":
            assert s.olga.call(method, path, body, headers=headers).status == 403
        if "404" in op["responses"] and method in ("GET", "DELETE"):
            assert s.ada.call(method, path).status == 404
        if method == "GET":
            assert s.ada.call(method, path, {}).status == 400
        elif 415 in said:
            assert s.ada.call(method, path, b"a=b", headers={"Content-Type": "text/plain"}).status == 415
        if "requestBody" in op and not is_form and method != "DELETE":
            for text, status in ((b"{", 400), (b"[]", 400), (b'{"a":1,"a":2}', 400), (b'{"x":"' + b"y" * 60000 + b'"}', 413), (b"{}", {"sessions_revoke": 200, "job_link_new": 404}.get(name, 400))):
                assert s.ada.call(method, path, text, headers=JSON).status == status, (name, text[:20])
        if is_form:
            a = s.ada.call(method, path, body, headers=headers)
            assert a.status == 400, a
            assert s.ada.call(method, path, headers=dict(headers, **{"Content-Length": str(3 << 20)})).status == 413  # by its head alone
        assert s.h.request(method, path, body, token=s.ada.token, headers=dict(headers, Host="evil.example")).status == 421
        wrong = s.ada.call(next(m for m in ("PUT", "POST", "DELETE") if m not in [n for n, p, _ in operations() if p == path]), path)
        assert wrong.status == 405 and wrong.headers["Allow"], wrong
    for path in ("/nothing/here", "/api/v1/jobs//", "/api/v1/../jobs"):
        assert s.ada.call("GET", path).status in (400, 404)
    for path in ("/api/v1/me/audit?limit=0", "/api/v1/jobs?limit=51", "/jobs?limit=x"):
        assert s.ada.call("GET", path).status == 400


def test_no_space_and_too_often():
    s = site()
    kept = [upload(s.ada, "/api/upload", form(b"#" * (1900 << 10))) for _ in range(3)]
    assert {a.status for a in kept} <= {422, 507}, kept
    if not any(a.status == 507 for a in kept):  # refused ones are erased at once: one that is kept fills the quota
        small = s.h.user("bob")
        while True:
            a = upload(small, "/api/upload", *[form(s.data, "%d.vcf.gz" % i) for i in range(16)])
            if a.status != 201:
                break
        assert a.status == 507, a

    def until_refused(_):
        for _ in range(60):
            a = s.h.request("POST", "/api/v1/login", {"name": "nobody", "password": "not-A-Password-1"})
            if a.status == 429:
                break
        return a
    with concurrent.futures.ThreadPoolExecutor(12) as many:  # at once: a slow machine checks fewer than a minute's number one after the other
        a = next((x for x in many.map(until_refused, range(12)) if x.status == 429), None)
    assert a and a.status == 429 and int(a.headers["Retry-After"]) >= 1, a
    assert s.h.request("POST", "/api/v1/logout", token=s.ada.token).status == 200


def test_sealed():
    with hub.Hub(key_backend="passphrase") as h:
        hub.wait_for("an answer", lambda: (lambda: h.request("GET", "/healthz").status == 503)() if is_listening(h) else False, 60)
        sealed = hub.wait_for("sealed", lambda: (lambda a: a if a.json.get("state") == "sealed" else None)(h.request("GET", "/healthz")), 60)
        assert sealed.status == 503 and sealed.headers["Retry-After"], sealed
        assert h.request("GET", "/api/v1/server").json["state"] == "sealed"
        a = h.request("POST", "/api/v1/login", {"name": "ada", "password": "any-Password-12"})
        assert a.status == 503, a


def is_listening(h):
    try:
        h.request("GET", "/healthz")
        return True
    except OSError:
        return False


def test_every_success_of_every_address_was_met():
    want = {(op["operationId"], int(status)) for _, _, op in operations() for status in op["responses"] if status[0] in "23"}
    met = {(name, status) for name, status, _ in SEEN}
    # what takes a mail, an authenticator or another role is met, and compared, there
    elsewhere = "".join(open(os.path.join(hub.ROOT, "tests", "e2e", name)).read() for name in ("e2e_register.py", "e2e_factors.py", "e2e_passkeys.py", "e2e_device.py", "e2e_address.py"))
    for _, path, op in operations():
        parts = [p for p in path.replace("/api/v1/", "").split("0" * 32) if p not in ("", "/")]
        if path.startswith(ELSEWHERE) and all(p.strip("/") in elsewhere for p in parts):
            want -= {w for w in want if w[0] == op["operationId"]}
    want.discard(("me_mail_set", 202))  # where mail is sent: e2e_address.py
    assert not want - met, sorted(want - met)
    pairs = {(name, code) for name, _, code in SEEN if name and code}
    codes = {code for _, code in pairs}
    print("# %d addresses, %d answers of a success, %d pairs of address and error, %d of the error codes" % (len(list(operations())), len(want), len(pairs), len(codes)), flush=True)
    assert len(pairs) > 100 and len(codes) > 15, (len(pairs), sorted(codes))


if __name__ == "__main__":
    if not contract.CONTRACT.doc:
        print("1..0 # SKIP python3-jsonschema is not installed")
        sys.exit(0)
    try:
        hub.main([test_the_whole_way, test_a_job_that_fails_and_one_that_is_stopped, test_errors_that_follow_from_a_row, test_no_space_and_too_often, test_sealed,
                  test_every_success_of_every_address_was_met])
    finally:
        if hasattr(site, "it"):
            site.it.h.__exit__(None)
