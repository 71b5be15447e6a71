#!/usr/bin/env python3
"""The documented lines, word for word, against a running hub; every error as JSON; TLS 1.3 and nothing older."""
import hashlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402

# The two examples of the documentation. Nothing in them may have to be changed.
CURL_LINE = 'curl -X POST https://imputationserver.com/api/upload -H "Authorization: Bearer $T" -F "file=@data.vcf" --tlsv1.3'
REQUESTS_LINES = """
import requests
response = requests.get("https://api.imputationserver.com/jobs", headers={"Authorization": "Bearer " + JWT, "Content-Type": "application/json"})
"""
UPLOAD_KEYS = ("success", "id", "name", "size", "sha256", "format", "samples", "variants", "expires")
JOB_KEYS = {"id": str, "name": str, "application": str, "state": int, "positionInQueue": int, "submittedOn": int, "startTime": int, "endTime": int,
            "outputParams": list}


class Site:
    """One hub for all tests of this file: its users, and a directory with the three kinds of data."""
    def __init__(self):
        self.h = hub.Hub(settings={"upload_max_mib": 2, "quota_mib": 2}).start()
        self.h.panel()
        self.ada, self.root = self.h.user("ada"), self.h.user("olga", "operator")
        self.dir = os.path.join(self.h.dir, "client")
        os.mkdir(self.dir)
        for name, kind in (("data.vcf", "v"), ("data.vcf.gz", "z"), ("data.bcf", "b")):
            subprocess.run(["bcftools", "view", "-O" + kind, "-o", self.path(name), hub.TARGET], check=True, stderr=subprocess.DEVNULL)
        with open(self.path(".curlrc"), "w") as f:  # what a real site has in its trust store and its DNS
            f.write("silent\nshow-error\ncacert = %s\n" % self.h.ca)
            for host in ("imputationserver.com", "api.imputationserver.com"):
                f.write("connect-to = %s:443:127.0.0.1:%d\n" % (host, self.h.port))

    def path(self, name):
        return os.path.join(self.dir, name)

    def shell(self, line, token):
        p = subprocess.run(["bash", "-c", line], cwd=self.dir, capture_output=True, text=True, timeout=300,
                           env=dict(os.environ, CURL_HOME=self.dir, HOME=self.dir, T=token))
        assert p.returncode == 0 and p.stdout, (line, p)
        head, _, body = p.stdout.rpartition("\n\n")
        return head, hub.json.loads(body)

    def https(self, host, method, path, headers):
        """As a client that resolved `host` to this hub."""
        c = http.client.HTTPSConnection(host, 443, context=self.h.tls, timeout=300)
        c._create_connection = lambda address, *a, **k: socket.create_connection(("127.0.0.1", self.h.port), 30)
        c.request(method, path, headers=headers)
        r = c.getresponse()
        a = hub.Answer(r.status, r.headers, r.read())
        c.close()
        return a


def site():
    if not hasattr(site, "it"):
        site.it = Site()
    return site.it


def is_error(a, status, code, *headers):
    assert a.status == status, (status, code, a)
    assert a.headers["Content-Type"] == "application/json", a.headers["Content-Type"]
    j = a.json
    assert j["success"] is False and j["code"] == code and j["message"] and isinstance(j["hint"], str), j
    assert re.fullmatch("[0-9a-f]{16}", j["id"]) and a.headers["X-Request-Id"] == j["id"], (j, a.headers["X-Request-Id"])
    for name in headers:
        assert a.headers[name], (name, a.headers.items())


def curl_error(args, status, code):
    rc, out = site().h.curl("-i", *args)
    assert rc == 0, (rc, out)
    head, _, body = out.rpartition(b"\r\n\r\n")
    got = int(re.findall(rb"HTTP/1.1 (\d+)", head)[-1])
    j = hub.json.loads(body)
    assert got == status and j["success"] is False and j["code"] == code and j["message"], (args, out)


def test_documented_curl_line():
    s = site()
    for more in ("", " -H 'Transfer-Encoding: chunked'", " -H 'Expect: 100-continue'", " -H Expect:"):
        head, j = s.shell(CURL_LINE + " -i" + more, s.ada.token)
        assert re.findall(r"HTTP/1.1 (\d+)", head)[-1] == "201", head
        assert all(k in j for k in UPLOAD_KEYS), j
        data = open(s.path("data.vcf"), "rb").read()
        want = {"success": True, "name": "data.vcf", "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "format": "vcf", "samples": 200, "variants": 145}
        assert all(j[k] == v for k, v in want.items()), j
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", j["expires"]), j
        where = re.search(r"(?im)^Location: (\S+)", head).group(1)
        assert where == "/api/uploads/" + j["id"]
        assert s.ada.get(where)["state"] == "ready"
        s.ada.call("DELETE", "/api/v1/uploads/" + j["id"], status=202)


def test_documented_curl_line_as_it_stands():
    s = site()
    p = subprocess.run(["bash", "-c", CURL_LINE], cwd=s.dir, capture_output=True, text=True, timeout=300, env=dict(os.environ, CURL_HOME=s.dir, HOME=s.dir, T=s.ada.token))
    j = hub.json.loads(p.stdout)
    assert p.returncode == 0 and p.stderr == "" and j["success"] is True, p
    s.ada.call("DELETE", "/api/v1/uploads/" + j["id"], status=202)


def test_three_formats():
    s = site()
    for name, kind in (("data.vcf", "vcf"), ("data.vcf.gz", "vcf.gz"), ("data.bcf", "bcf")):
        _, j = s.shell(CURL_LINE.replace("data.vcf", name), s.ada.token)
        assert (j["format"], j["samples"], j["variants"], j["name"]) == (kind, 200, 145, name), j
        s.ada.call("DELETE", "/api/v1/uploads/" + j["id"], status=202)


def test_several_files_in_one_form():
    s = site()
    _, j = s.shell(CURL_LINE.replace('-F "file=@data.vcf"', '-F "file=@data.vcf.gz" -F "note=both" -F "file=@data.bcf"'), s.ada.token)
    assert j["success"] is True and [u["name"] for u in j["uploads"]] == ["data.vcf.gz", "data.bcf"], j
    for u in j["uploads"]:
        assert all(k in u for k in UPLOAD_KEYS), u
        s.ada.call("DELETE", "/api/v1/uploads/" + u["id"], status=202)


def test_documented_jobs():
    s = site()
    ids = []
    for _ in range(2):
        ids.append(s.ada.run_job(s.ada.upload()["id"], mode="qconly", name="listed")["id"])
        made = int(s.h.now())
        hub.wait_for("another second, by which the next one is the newer", lambda: int(s.h.now()) > made, 5)
    headers = {"Authorization": "Bearer " + s.ada.token, "Content-Type": "application/json"}
    for host, path in (("api.imputationserver.com", "/jobs"), ("imputationserver.com", "/api/jobs"), ("imputationserver.com", "/api/v2/jobs")):
        a = s.https(host, "GET", path, headers)
        assert a.status == 200 and a.headers["Content-Type"] == "application/json", a
        j = a.json
        assert isinstance(j["data"], list) and (j["count"], j["page"]) == (2, 1) and j["pageSize"] >= 2, j
        assert [d["id"] for d in j["data"]] == ids[::-1], j  # newest first
        for d in j["data"]:
            for key, kind in JOB_KEYS.items():
                assert type(d[key]) is kind, (key, d.get(key))
            assert d["state"] == 4 and d["name"] == "listed"
            assert 1e12 < d["submittedOn"] <= d["startTime"] <= d["endTime"] < 1e13, d  # milliseconds
        is_error(s.https(host, "GET", path, {"Content-Type": "application/json"}), 401, "EAUTH", "WWW-Authenticate")
    # the other client's header, and one's own API
    assert s.h.request("GET", "/api/v2/jobs", headers={"X-Auth-Token": s.ada.token}).json["count"] == 2
    assert {d["state"] for d in s.ada.get("/api/v1/jobs")["data"]} == {"done"}
    page = s.ada.get("/api/v1/jobs?limit=1")
    assert len(page["data"]) == 1 and s.ada.get("/api/v1/jobs?limit=1&before=" + page["next"])["data"][0]["id"] == ids[0]


def test_documented_requests_lines():
    s = site()
    if subprocess.run([sys.executable, "-c", "import requests"], capture_output=True).returncode:
        print("# python3-requests is not installed: its lines are not run", flush=True)
        return
    resolver = ("import os, socket, urllib3.util.connection as c\n"
                "c.create_connection = lambda address, *a, **k: socket.create_connection(('127.0.0.1', int(os.environ['PORT'])))\n")
    p = subprocess.run([sys.executable, "-c", resolver + "JWT = os.environ['T']\n" + REQUESTS_LINES + "print(response.status_code, len(response.json()['data']))"],
                       capture_output=True, text=True, env=dict(os.environ, REQUESTS_CA_BUNDLE=s.h.ca, T=s.ada.token, PORT=str(s.h.port)))
    assert p.stdout.strip() == "200 2", p


def test_errors_are_json():
    s = site()
    is_error(s.h.request("POST", "/api/upload", b"x"), 401, "EAUTH", "WWW-Authenticate")
    is_error(s.h.request("GET", "/jobs", token="not.a.token"), 401, "EAUTH", "WWW-Authenticate")
    is_error(s.h.request("POST", "/api/v1/login", {"name": "nobody-of-this-name", "password": "wrong-Password-1"}), 401, "EPASSWORD", "WWW-Authenticate")
    is_error(s.root.call("GET", "/jobs"), 403, "EDENIED")
    is_error(s.root.upload_raw(b"x"), 403, "EDENIED")
    is_error(s.ada.call("GET", "/nothing/here"), 404, "ENOTFOUND")
    is_error(s.ada.call("GET", "/api/v1/jobs/job-20260101-000000-0000000000000000"), 404, "ENOTFOUND")
    is_error(s.ada.call("GET", "/api/uploads/" + "0" * 32), 404, "ENOTFOUND")
    a = s.ada.call("GET", "/api/upload")
    is_error(a, 405, "EMETHOD", "Allow")
    assert a.headers["Allow"] == "POST", a.headers["Allow"]
    is_error(s.ada.call("POST", "/jobs", {}), 405, "EMETHOD", "Allow")
    is_error(s.ada.call("POST", "/api/upload", {"file": "x"}), 415, "EMEDIA")
    is_error(s.ada.call("POST", "/api/v1/jobs", b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"}), 415, "EMEDIA")
    is_error(s.ada.call("POST", "/api/v1/jobs", b"{", headers={"Content-Type": "application/json"}), 400, "EJSON")
    is_error(s.ada.call("POST", "/api/v1/jobs", b'{"panel":"a","panel":"b"}', headers={"Content-Type": "application/json"}), 400, "EJSON")
    is_error(s.ada.call("POST", "/api/v1/jobs", {}), 400, "EFIELD")
    is_error(s.ada.call("POST", "/api/v1/jobs", b'{"x":"' + b"y" * 60000 + b'"}', headers={"Content-Type": "application/json"}), 413, "ETOOBIG")
    is_error(s.h.request("GET", "/jobs", token=s.ada.token, headers={"Host": "evil.example"}), 421, "EMISDIRECTED")
    a = s.ada.upload_raw(b"chrom,pos,ref,alt\n22,1,A,C\n", "table.csv")
    is_error(a, 422, "EFORMAT")


def test_errors_of_uploads_with_curl():
    s = site()
    big, most = s.path("big.vcf"), s.path("most.vcf")
    open(big, "wb").write(b"#" * (3 << 20))
    open(most, "wb").write(b"#" * ((2 << 20) - 4096))
    url = "https://imputationserver.com/api/upload"
    auth = ["-H", "Authorization: Bearer " + s.ada.token]
    curl_error([*auth, "-F", "file=@" + big, url], 413, "ETOOBIG")  # by its Content-Length
    fresh = ["-H", "Authorization: Bearer " + s.h.user("fresh").token]  # with all of his quota, which is more than a file may have
    curl_error([*fresh, "-H", "Transfer-Encoding: chunked", "-F", "file=@" + big, url], 413, "ETOOBIG")  # when it is too much
    curl_error([*auth, "-F", "data=@" + s.path("data.vcf"), url], 400, "EFIELD")  # the field is named file
    curl_error([*auth, "-F", "file=x", url], 400, "EFIELD")
    kept = s.ada.upload()
    curl_error([*auth, "-F", "file=@" + most, url], 507, "EFULL")  # the quota
    s.ada.call("DELETE", "/api/v1/uploads/" + kept["id"], status=202)


def test_too_many_wrong_passwords():
    s = site()
    bob = s.h.user("bob")

    def attempt(password):
        return s.h.request("POST", "/api/v1/login", {"name": "bob", "password": password})
    for _ in range(5):
        is_error(attempt("wrong-Password-1"), 401, "EPASSWORD", "WWW-Authenticate")
    is_error(attempt(bob.password), 401, "EPASSWORD")  # the account waits, and doesn't say so to strangers
    assert bob.get("/jobs")["data"] == []  # who is signed in goes on
    s.h.move_clock(120)
    assert attempt(bob.password).status == 200


def test_too_many_requests():
    s = site()
    for _ in range(200):
        a = s.h.request("POST", "/api/v1/login", {})
        if a.status == 429:
            break
        is_error(a, 400, "EFIELD")
    is_error(a, 429, "EBUSY", "Retry-After")
    assert int(a.headers["Retry-After"]) >= 1
    assert s.ada.call("GET", "/jobs").status == 200  # another kind of request, another bucket


def test_only_tls_1_3():
    s = site()

    def handshake(*how):
        return subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % s.h.port, "-servername", "localhost", "-CAfile", s.h.ca, "-verify_return_error", *how],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    good = handshake("-tls1_3")
    assert good.returncode == 0 and "Protocol  : TLSv1.3" in good.stdout + good.stderr or "TLSv1.3, Cipher is" in good.stdout, good
    for old in ("-tls1_2", "-tls1_1", "-tls1"):
        p = handshake(old, "-cipher", "ALL:@SECLEVEL=0")
        assert p.returncode != 0 and "Cipher is (NONE)" in p.stdout, (old, p)
    rc, _ = s.h.curl("--tls-max", "1.2", "https://imputationserver.com/healthz")
    assert rc == 35, rc
    assert s.h.curl("--tlsv1.3", "https://imputationserver.com/healthz")[0] == 0


def test_slow_ingest_answers_after_ten_seconds():
    s = site()
    runner = s.h.pid("runner")
    os.kill(runner, signal.SIGSTOP)  # no sandbox can start: the file lies sealed and waits
    try:
        a = s.ada.upload_raw(open(hub.TARGET, "rb").read(), "slow.vcf.gz")
    finally:
        os.kill(runner, signal.SIGCONT)
    assert a.status == 201, a
    j = a.json
    assert j["state"] == "checking" and j["samples"] is None and j["variants"] is None and j["format"] is None, j
    assert all(k in j for k in UPLOAD_KEYS) and j["size"] == os.path.getsize(hub.TARGET), j
    ready = hub.wait_for("ingest", lambda: (lambda u: u if u["state"] != "checking" else None)(s.ada.get("/api/uploads/" + j["id"])), 30)
    assert (ready["state"], ready["samples"], ready["variants"], ready["format"]) == ("ready", 200, 145, "vcf.gz"), ready


if __name__ == "__main__":
    tests = [test_documented_curl_line, test_documented_curl_line_as_it_stands, test_three_formats, test_several_files_in_one_form, test_documented_jobs,
             test_documented_requests_lines, test_errors_are_json, test_errors_of_uploads_with_curl, test_too_many_wrong_passwords, test_only_tls_1_3,
             test_slow_ingest_answers_after_ten_seconds, test_too_many_requests]
    try:
        hub.main(tests)
    finally:
        if hasattr(site, "it"):
            site.it.h.__exit__(None)
