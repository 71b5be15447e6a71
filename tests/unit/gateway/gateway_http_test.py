"""What a stranger may send, and what comes back: TLS, heads, hosts, paths, methods, JSON, limits of size, rate and time."""
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from gateway_world import TOKEN, World, read_answer, run  # noqa: E402
import sanitizer  # noqa: E402

SECURITY = {"strict-transport-security", "content-security-policy", "x-content-type-options", "referrer-policy", "cache-control",
            "cross-origin-resource-policy", "cross-origin-opener-policy", "cross-origin-embedder-policy", "permissions-policy", "x-frame-options", "x-request-id"}


def error(a, status, code):
    assert a is not None, "no answer"
    assert a.status == status, a
    j = a.json
    assert j["success"] is False and j["code"] == code and j["message"] and j["hint"] is not None, a
    assert j["id"] == a.headers["x-request-id"], a
    assert SECURITY <= set(a.headers), a


def tls_1_3_only(w):
    with w.tls() as s:
        assert s.version() == "TLSv1.3", s.version()
        assert s.cipher()[0] in ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"), s.cipher()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_1):
        try:
            w.tls(minimum_version=version, maximum_version=version)
        except (ssl.SSLError, ConnectionError, OSError):
            continue
        raise AssertionError("%s was accepted" % version)


def plain_http_is_refused(w):
    s = socket.create_connection(("127.0.0.1", w.port), 5)
    s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got = s.recv(100)
    assert not got.startswith(b"HTTP"), got


def a_request_goes_to_registrar(w):
    w.answer_api = lambda m: {"status": 201, "location": "/api/v1/jobs/x", "body": b'{"success":true,"id":"x"}'}
    a = w.post("/api/v1/jobs?dry=1", b' { "panel" : "p\\u00e9" , "n" : [1, 2.5] } ')
    assert a.status == 201 and a.headers["location"] == "/api/v1/jobs/x" and a.json["id"] == "x", a
    assert a.headers["content-type"] == "application/json" and SECURITY <= set(a.headers), a
    m, = w.messages("api")
    assert (m.route, m.token, m.address, m.query, m.params) == (40, TOKEN, "127.0.0.1", "dry=1", b""), m
    assert m.body == '{"panel":"pé","n":[1,2.5]}'.encode(), m.body
    assert m.request_id.hex() == a.headers["x-request-id"]


def path_variables_are_passed(w):
    a = w.get("/api/v1/jobs/job-7A/claim/confirm", "POST", ["Content-Type: application/json"], b'{"check":"x"}')
    assert a.status == 200
    assert w.messages("api")[0].params == b"job-7A\n"


def x_auth_token_works(w):
    assert w.get("/jobs", token=None, headers=["X-Auth-Token: " + TOKEN]).status == 200
    assert w.messages("api")[0].token == TOKEN


def head_is_get_without_body(w):
    a = w.get("/api/v1/server", "HEAD", token=None)
    assert a.status == 200 and a.body == b"" and int(a.headers["content-length"]) == 16, a


def no_token_is_401_without_asking(w):
    a = w.get("/jobs", token=None)
    error(a, 401, "EAUTH")
    assert a.headers["www-authenticate"] == "Bearer"
    assert not w.messages("api")


HOST = "localhost"
COOKIE = "Cookie: __Host-sequester=" + TOKEN
OWN = "Origin: https://" + HOST


def security_headers(w):
    """On every answer that is ours, whatever its status; their values by the word."""
    answers = [w.get("/healthz"), w.get("/jobs", token=None), w.get("/nowhere"), w.get("/healthz", host="evil.example"), w.get("//"), w.get("/jobs", "PUT", body=b"{}"), w.get("/api/v1/openapi.json", token=None),
               w.post("/api/v1/login", b"{", token=None), w.get("/healthz", headers=["X:  a"]), w.get("/api/v1/jobs/a/report"), w.get("/api/v1/jobs/a/report", "HEAD"), w.get("/healthz", "HEAD"),
               w.get("/api/v1/jobs/a/report", headers=["Range: bytes=99999999-"]), w.get("/healthz", headers=["Expect: 200"])]
    w.answer_api = lambda m: "EINTERNAL"
    answers.append(w.get("/jobs"))
    assert {a.status for a in answers} >= {200, 400, 401, 404, 405, 416, 417, 421, 500}, [a.status for a in answers]
    for a in answers:
        h = a.headers
        assert SECURITY <= set(h), a
        assert h["content-security-policy"] == "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox", a
        assert h["strict-transport-security"] == "max-age=63072000; includeSubDomains" and h["x-content-type-options"] == "nosniff" and h["x-frame-options"] == "DENY", a
        assert h["cross-origin-opener-policy"] == h["cross-origin-resource-policy"] == "same-origin" and h["cross-origin-embedder-policy"] == "require-corp", a
        assert h["cache-control"] == "no-store" and h["referrer-policy"] == "no-referrer" and "camera=()" in h["permissions-policy"], a
        assert not {"server", "x-powered-by", "access-control-allow-origin"} & set(h), a


def cookies(w):
    """A session's cookie stands for a token, and says so; made by registrar alone, and bound as tightly as a browser knows."""
    w.clear()
    assert w.get("/jobs", token=None, headers=[COOKIE]).status == 200
    m, = w.messages("api")
    assert (m.token, m.via) == (TOKEN, 2), m
    assert w.get("/jobs").status == 200 and w.messages("api")[-1].via == 1
    w.get("/healthz", token=None)
    assert (w.messages("api")[-1].via, w.messages("api")[-1].token) == (0, "")
    for bad in ([COOKIE, COOKIE], [COOKIE + "; __Host-sequester=other"], ["Cookie: a=b; __Host-sequester=x; c=d; __Host-sequester=x"], [COOKIE, "Authorization: Bearer " + TOKEN], [COOKIE, "X-Auth-Token: " + TOKEN]):
        w.clear()
        error(w.get("/jobs", token=None, headers=bad), 400, "EREQUEST")
        assert not w.messages("api")
    for none in ("Cookie: a=b", "Cookie: sequester=" + TOKEN, "Cookie: __host-sequester=" + TOKEN, "Cookie: __Host-sequester=", "Cookie: __Host-sequester=a b\"c", "Cookie: __Host-sequester=" + "x" * 3000):
        error(w.get("/jobs", token=None, headers=[none]), 401, "EAUTH")
    w.answer_api = lambda m: {"session": "new.session-1_x", "session_s": 43200}
    a = w.post("/api/v1/login", {}, token=None)
    assert a.headers["set-cookie"] == "__Host-sequester=new.session-1_x; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=43200", a
    w.answer_api = lambda m: {"session": "-", "session_s": 0}
    a = w.get("/api/v1/logout", "POST", [COOKIE, OWN], token=None)
    assert a.headers["set-cookie"] == "__Host-sequester=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0", a
    w.answer_api = None
    assert "set-cookie" not in w.get("/jobs", token=None, headers=[COOKIE]).headers
    for evil in ("a; Domain=evil.example", "a, b", "a=b", "a b"):
        w.answer_api = lambda m: {"session": evil, "session_s": 1}
        a = w.post("/api/v1/login", {}, token=None)
        error(a, 500, "EPROTO")
        assert "set-cookie" not in a.headers, a


def requests_of_other_sites(w):
    """What a page of another site can make a browser send changes nothing; programs, which send a token in a header, notice nothing."""
    site = "Sec-Fetch-Site: "
    refused = [[COOKIE, "Origin: https://evil.example"], [COOKIE, "Origin: null"], [COOKIE, "Origin: http://localhost"], [COOKIE, "Origin: https://localhost:1"], [COOKIE], [COOKIE, OWN, site + "cross-site"],
               [COOKIE, OWN, site + "same-site"], [COOKIE, site + "none"], [COOKIE, site + "same-origin", "Origin: https://evil.example"], [COOKIE, "Referer: https://localhost/"]]
    for headers in refused:
        for method, path in (("POST", "/api/v1/logout"), ("DELETE", "/api/v1/jobs/x"), ("POST", "/api/v1/jobs/x/cancel"), ("PUT", "/api/v1/me/mail"), ("POST", "/api/upload")):
            w.clear()
            error(w.get(path, method, headers, token=None), 403, "ECROSSSITE")
            assert not w.messages("api") and not w.messages("upload_open")
    for headers in ([COOKIE, OWN], [COOKIE, site + "same-origin"], [COOKIE, OWN, site + "same-origin"]):
        assert w.get("/api/v1/logout", "POST", headers, token=None).status == 200, headers
    error(w.get("/jobs", token=None, headers=[COOKIE, site + "cross-site"]), 403, "ECROSSSITE")  # nor does it read
    assert w.get("/jobs", token=None, headers=[COOKIE, site + "same-origin"]).status == 200
    j = "Content-Type: application/json"
    for headers in (["Origin: https://evil.example"], [site + "cross-site"]):
        error(w.get("/api/v1/login", "POST", [j, *headers], b"{}", token=None), 403, "ECROSSSITE")  # nobody is signed in as somebody else
        assert w.get("/api/v1/logout", "POST", headers).status == 200
    assert w.get("/api/v1/login", "POST", [j, OWN, site + "same-origin"], b"{}", token=None).status == 200
    assert w.get("/api/v1/login", "POST", [j, "Origin: https://localhost:%d" % w.port], b"{}", token=None, host="localhost:%d" % w.port).status == 200
    for method in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):  # what a form can send without asking first
        error(w.get("/api/v1/login", "POST", ["Content-Type: " + method], b"{}", token=None), 415, "EMEDIA")
    error(w.get("/jobs", "OPTIONS", ["Origin: https://evil.example", "Access-Control-Request-Method: GET"], token=None), 405, "EMETHOD")


def methods_mean_what_they_say(w):
    """No header and no parameter makes another method, path or host of a request."""
    for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        w.clear()
        assert w.get("/api/v1/jobs/x", headers=[header + ": DELETE"]).status == 200
        m, = w.messages("api")
        assert m.route == 45, m  # job_get
        error(w.get("/api/v1/jobs/x", "POST", [header + ": DELETE"]), 405, "EMETHOD")
    w.clear()
    assert w.get("/api/v1/jobs/x?_method=DELETE").status == 200 and w.messages("api")[0].route == 45
    for header in ("X-Original-URL: /api/v1/me", "X-Rewrite-URL: /api/v1/me", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "X-Forwarded-Prefix: /x", "X-Host: evil.example"):
        w.clear()
        assert w.get("/healthz", headers=[header], token=None).status == 200 and w.messages("api")[0].route == 1, header


def encoded_bodies(w):
    for encoding in ("gzip", "deflate", "br", "identity"):
        error(w.get("/api/v1/login", "POST", ["Content-Type: application/json", "Content-Encoding: " + encoding], b"{}", token=None), 415, "EMEDIA")
    for charset in ("utf-16", "iso-8859-1", "utf-7"):
        error(w.get("/api/v1/login", "POST", ["Content-Type: application/json; charset=" + charset], b"{}", token=None), 415, "EMEDIA")


def two_tokens_are_refused(w):
    error(w.get("/jobs", headers=["X-Auth-Token: b"]), 400, "EREQUEST")
    error(w.get("/jobs", headers=["Authorization: Bearer b"]), 400, "EREQUEST")
    error(w.get("/jobs", token=None, headers=["Authorization: Basic YTpi"]), 400, "EREQUEST")
    error(w.get("/jobs", token="a b"), 400, "EREQUEST")
    error(w.get("/jobs", token="x" * 2049), 400, "EREQUEST")
    assert not w.messages("api")


def content_type_on_get_is_ignored(w):
    assert w.get("/jobs", headers=["Content-Type: application/json"]).status == 200
    assert w.get("/jobs", headers=["Content-Type: text/plain"]).status == 200


def unknown_addresses_and_methods(w):
    error(w.get("/nowhere"), 404, "ENOTFOUND")
    a = w.get("/api/v1/jobs/x", "PUT", body=b"{}")
    error(a, 405, "EMETHOD")
    assert a.headers["allow"] == "GET, HEAD, DELETE", a
    error(w.get("/jobs", "OPTIONS"), 405, "EMETHOD")
    error(w.get("/jobs", "TRACE"), 405, "EMETHOD")
    error(w.get("/api/upload", "GET"), 405, "EMETHOD")


def path_tricks(w):
    for path in ("//jobs", "/./jobs", "/api/../jobs", "/jobs/", "/%6aobs", "/jobs%00", "/jobs%2e", "/api\\jobs", "/jobs;a=b",
                 "https://localhost/jobs", "*", "/jobs?a#b", "/jobs?<x>", "/jobs%c0%af", "/jobs%2f..", "/api/%2e%2e/jobs"):
        error(w.get(path), 400, "EREQUEST")
    for path in ("/" + "a" * 600, "/jobs?" + "a" * 1025):
        error(w.get(path), 414, "ETARGET")
    assert not w.messages("api")
    assert w.get("/jobs?before=a&limit=50").status == 200
    assert w.messages("api")[0].query == "before=a&limit=50"


def hosts(w):
    assert w.get("/healthz", host="localhost:%d" % w.port).status == 200
    assert w.get("/healthz", host="LOCALHOST").status == 200
    for host in ("evil.example", "localhost.evil.example", "localhost@evil", "localhost:80x", "127.0.0.2", "[::1]"):
        error(w.get("/healthz", host=host), 421, "EMISDIRECTED")
    error(w.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n"), 400, "EREQUEST")
    a = w.raw(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert a is None or a.status == 400, a
    error(w.raw(b"GET /healthz HTTP/1.0\r\n\r\n"), 400, "EREQUEST")


def smuggling(w):
    """Nothing that two readers could cut differently is acted on, and the connection ends with it."""
    head = b"POST /api/v1/logout HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\nContent-Type: application/json\r\n"
    second = b"GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t\r\n\r\n"
    for extra in (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                  b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
                  b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
                  b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
                  b"Content-Length: +0\r\n\r\n", b"Content-Length: 0x0\r\n\r\n", b"Content-Length: -1\r\n\r\n",
                  b"Content-Length: 0, 0\r\n\r\n",
                  b"Content-Length: 99999999999999999999999\r\n\r\n",
                  b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                  b"Transfer-Encoding: identity\r\n\r\n",
                  b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
                  b"Content-Length : 0\r\n\r\n", b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"):
        w.clear()
        with w.tls(5) as s:
            s.sendall(head + extra + second)
            a = read_answer(s)
            assert a is None or a.status in (400, 413), (extra, a)
            more = read_answer(s)
            assert more is None, (extra, more)
        assert not w.messages("api"), extra
    for chunk in (b"ffffffffffffffffff\r\n", b"-1\r\n", b"5x\r\nhello\r\n0\r\n\r\n"):
        w.clear()
        with w.tls(5) as s:
            s.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + second)
            a = read_answer(s)
            assert a is None or a.status in (400, 413), (chunk, a)
        assert not w.messages("api"), chunk


def large_heads(w):
    for extra in (["A: " + "x" * 9000], ["A%d: x" % i for i in range(80)], ["A: " + "x" * 200000]):
        lines = ["GET /healthz HTTP/1.1", "Host: localhost"] + extra
        a = w.raw("\r\n".join(lines).encode() + b"\r\n\r\n")
        assert a is None or a.status in (400, 413, 414, 431), a
    a = w.raw(b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert a is None or a.status in (400, 413, 414, 431), a
    assert not w.messages("api")


def bad_json(w):
    deep = b'{"a":' + b"[" * 17 + b"]" * 17 + b"}"
    for body in (b"{", b"[]", b'"x"', b"1", b'{"a":1,"a":2}', b'{"a":1}x', b"{'a':1}", b'{"a":"\\u0000"}', b"\xff\xfe", deep,
                 b'{"a":' + b"[" * 20000, b'{"a":NaN}', b'{"a":"\xff"}'):
        error(w.post("/api/v1/login", body, token=None), 400, "EJSON")
    assert not w.messages("api")
    assert w.post("/api/v1/login", b'{"a":"[[[[[[[[[[[[[[[[[[[[[["}', token=None).status == 200


def media_types(w):
    for t in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", "multipart/form-data; boundary=a"):
        error(w.get("/api/v1/login", "POST", ["Content-Type: " + t], b"{}", token=None), 415, "EMEDIA")
    error(w.get("/api/v1/login", "POST", body=b"{}", token=None), 415, "EMEDIA")
    assert w.get("/api/v1/login", "POST", ["Content-Type: Application/JSON; charset=utf-8"], b"{}", token=None).status == 200
    assert w.get("/api/v1/logout", "POST", body=b"").status == 200  # no body: no type needed
    assert w.get("/api/v1/jobs/x", "DELETE").status == 200


def body_sizes(w):
    big = json.dumps({"a": "x" * 49000}).encode()
    assert len(big) < 49152 and w.post("/api/v1/login", big, token=None).status == 200
    assert len(w.messages("api")[0].body) > 49000
    error(w.post("/api/v1/login", {"a": "x" * 49152}, token=None), 413, "ETOOBIG")
    chunked = b"".join(b"1000\r\n" + b"x" * 4096 + b"\r\n" for _ in range(20)) + b"0\r\n\r\n"
    error(w.get("/api/v1/login", "POST", ["Content-Type: application/json", "Transfer-Encoding: chunked"], chunked, token=None),
          413, "ETOOBIG")
    error(w.get("/jobs", body=b"{}"), 400, "EREQUEST")
    grows = b'{"a":[' + b",".join([b"1e15"] * 8000) + b"]}"  # 1e15 is longer written out
    error(w.post("/api/v1/login", grows, token=None), 413, "ETOOBIG")


def expect_continue(w):
    with w.tls() as s:
        s.sendall(b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
                  b"Expect: 100-continue\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 100"), "no 100"
        s.sendall(b"{}")
        assert read_answer(s).status == 200
    error(w.get("/api/v1/login", "POST", ["Content-Type: application/json", "Expect: 200-ok"], b"{}", token=None), 417, "EEXPECT")


def keep_alive(w):
    with w.tls() as s:
        for _ in range(5):
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_answer(s).status == 200
        s.sendall(b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
        error(read_answer(s), 415, "EMEDIA")  # refused at its head, read to its end
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_answer(s).status == 200


def registrars_errors(w):
    w.answer_api = lambda m: "ESEALED"
    a = w.get("/jobs")
    error(a, 503, "ESEALED")
    assert a.headers["retry-after"] == "5" and "unseal" in a.json["hint"]
    w.answer_api = lambda m: {"status": 429, "retry_after_s": 17, "body": b'{"success":false,"code":"EBUSY"}'}
    a = w.get("/jobs")
    assert a.status == 429 and a.headers["retry-after"] == "17" and a.json["code"] == "EBUSY", a
    w.answer_api = lambda m: {"status": 401, "body": b"{}"}
    assert w.get("/jobs").headers["www-authenticate"] == "Bearer"
    w.answer_api = lambda m: {"status": 7, "body": b"{}"}
    error(w.get("/jobs"), 500, "EPROTO")


def requests_line_of_the_page(w):
    """requests.get(".../jobs", headers={Authorization, Content-Type}), as its library writes it."""
    import http.client
    c = http.client.HTTPSConnection("localhost", w.port, context=ssl.create_default_context(cafile=w.cert), timeout=10)
    c.request("GET", "/jobs", headers={"Authorization": "Bearer " + TOKEN, "Content-Type": "application/json",
                                       "Accept-Encoding": "gzip, deflate", "Accept": "*/*", "Connection": "keep-alive"})
    r = c.getresponse()
    assert r.status == 200 and json.loads(r.read()) == {"success": True}


def slow_heads_are_cut(w):
    """A byte a second keeps no connection: 12 of them are gone after the 10 s deadline, whatever phase they drip in."""
    t0 = time.monotonic()
    ends = []

    def drip(kind):
        try:
            s = socket.create_connection(("127.0.0.1", w.port), 30) if kind == "tls" else w.tls(30)
            text = {"tls": b"\x16\x03\x01\x02\x00" + b"\x01" * 100, "line": b"GET /healthz-" + b"a" * 100,
                    "head": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 100}[kind]
            if kind == "head":
                s.sendall(text[:50])
                text = text[50:]
            s.settimeout(0.5)
            for b in text:
                s.send(bytes([b]))
                try:
                    if not s.recv(100):
                        break
                except (socket.timeout, ssl.SSLWantReadError):
                    pass
        except OSError:
            pass
        ends.append(time.monotonic() - t0)
    threads = [threading.Thread(target=drip, args=(k,)) for k in ("tls", "line", "head") * 4]
    for t in threads:
        t.start()
    assert w.get("/healthz").status == 200  # meanwhile others are served
    for t in threads:
        t.join(120)
    assert len(ends) == 12 and max(ends) < 45 and min(ends) > 8, sorted(ends)  # all that they have to say would take 50 s
    assert w.get("/healthz").status == 200


def limits_of_one_address(w):
    """48 connections of one address; the next gets 503, and it is served again when one ends."""
    for last in (False, False, True):
        held, t0 = [], time.monotonic()
        try:
            for _ in range(48):
                held.append(w.tls())
            with w.tls() as s:
                s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                a = read_answer(s)
        finally:
            for s in held:
                s.close()
        if last or time.monotonic() - t0 < 9:
            break  # else the first of those that say nothing may have been ended before the last came
    error(a, 503, "ECROWDED")
    assert a.headers["retry-after"] and a.headers["connection"].lower() == "close", a

    def served():
        try:
            return w.get("/healthz").status == 200
        except OSError:
            return False
    assert w.wait(served)


def refusals_are_counted(w):
    def told():
        return sum(m.n for m in w.messages("refused") if m.address == "127.0.0.77")
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", w.port), source_address=("127.0.0.77", 0)) as raw, ssl.create_default_context(cafile=w.cert).wrap_socket(raw, server_hostname="localhost") as s:
            s.sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_answer(s).status == 404
    assert w.wait(lambda: told() >= 3)
    time.sleep(1.2)
    assert told() == 3, w.messages("refused")


def rate_limit(w):
    """Test builds: 100 logins a minute of one address."""
    with w.tls() as s:
        got = []
        for _ in range(5000):
            if got.count(429) > 5:
                break
            s.sendall(b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
            a = read_answer(s)
            got.append(a.status)
            if a.status == 429:
                error(a, 429, "EBUSY")
                assert 1 <= int(a.headers["retry-after"]) <= 60, a
        assert got.count(429) >= 1 and set(got) == {200, 429}, got
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_answer(s).status == 200  # another class has its own bucket


def log_says_nothing_of_requests(w):
    w.get("/jobs?name=Marker_In_Query", token="MarkerToken", headers=["User-Agent: Marker-Agent"])
    w.post("/api/v1/jobs/MarkerJob/claim", {"password": "MarkerPassword"})
    w.wait(lambda: all(x in open(w.log_path, "rb").read() for x in (b"route=jobs_root", b"route=job_claim")))
    log = open(w.log_path, "rb").read()
    assert b"event=request" in log and b"route=jobs_root" in log, log[-500:]
    for marker in (b"Marker", b"/jobs", b"127.0.0.1"):
        assert marker not in log, marker


def peer_restart(w):
    """Registrar is away: 503 with Retry-After. It comes back: served."""
    old = w.links["registrar"]
    old.close()
    a = w.get("/jobs")
    error(a, 503, "EDOWN")
    assert a.headers["retry-after"]
    import wire
    w.links["registrar"] = link = w.child.peer("registrar")
    link.hello()
    wire.serve(link, {n: w.on for n in ("api", "refused")})
    assert w.wait(lambda: w.get("/jobs").status == 200)


def confined(w):
    status = open("/proc/%d/status" % w.child.process.pid).read()
    assert "Seccomp:\t" + sanitizer.seccomp(w.program) in status and "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status, status


def links_no_opener(w):
    """The program seals and can't open: it has no vault_open code."""
    names = subprocess.run(["nm", sys.argv[1]], capture_output=True, text=True).stdout
    assert "sq_vault_seal" in names and "vault_open" not in names and "sq_vault_derive" not in names
    assert "sqlite3" not in names and "hts_" not in names


def main():
    w = World(sys.argv[1])
    tests = [tls_1_3_only, plain_http_is_refused, a_request_goes_to_registrar, path_variables_are_passed, x_auth_token_works, security_headers, cookies, requests_of_other_sites, methods_mean_what_they_say, encoded_bodies,
             head_is_get_without_body, no_token_is_401_without_asking, two_tokens_are_refused, content_type_on_get_is_ignored,
             unknown_addresses_and_methods, path_tricks, hosts, smuggling, large_heads, bad_json, media_types, body_sizes,
             expect_continue, keep_alive, registrars_errors, requests_line_of_the_page, refusals_are_counted,
             limits_of_one_address, log_says_nothing_of_requests, confined, links_no_opener, slow_heads_are_cut, rate_limit,
             peer_restart]
    if len(sys.argv) > 2:
        tests = [t for t in tests if t.__name__ in sys.argv[2:]]
    failed = run(tests, w)
    code = w.stop() if w.is_alive() else -1
    sys.exit(1 if failed or code else 0)


if __name__ == "__main__":
    main()
