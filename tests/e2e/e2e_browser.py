#!/usr/bin/env python3
"""What a real browser (Debian's Chromium) lets other sites do to somebody who is signed in: frames, forged requests, planted cookies, scripts in names; and
passkeys, with its virtual authenticator. Skips by name where Chromium, its driver or selenium aren't installed.
"""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import browser  # noqa: E402
import hub  # noqa: E402

COOKIE = "__Host-sequester"
XSS = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>.vcf"


class Place:
    def __init__(self):
        browser.need()
        self.h = hub.Hub().start()
        self.ada, self.eve = self.h.user("ada"), self.h.user("eve")
        self.other = browser.Site(self.h)
        self.b = browser.Browser(self.h)

    def done(self):
        self.b.__exit__()
        self.other.__exit__()
        self.h.__exit__(None)

    def sign_in(self, user):
        """In the browser, by cookie."""
        self.b.go("/healthz")
        status, answer = self.b.ask("POST", "/api/v1/login", {"name": user.name, "password": user.password, "cookie": True})
        assert status == 200 and "token" not in answer, answer
        return self.b.cookies()[COOKIE]["value"]

    def whoami(self):
        self.b.go("/healthz")
        status, answer = self.b.ask("GET", "/api/v1/me")
        return answer.get("name") if status == 200 else status


def place():
    if not hasattr(place, "it"):
        place.it = Place()
    return place.it


def test_the_cookie_is_out_of_reach():
    p = place()
    token = p.sign_in(p.ada)
    c = p.b.cookies()[COOKIE]
    assert c["secure"] and c["httpOnly"] and c["sameSite"] == "Strict" and c["path"] == "/" and c["domain"] == "localhost", c
    assert p.b.run("done(document.cookie)") == "" and p.whoami() == "ada"
    assert p.b.run("done(JSON.stringify([Object.keys(localStorage), Object.keys(sessionStorage)]))") == "[[],[]]"
    # it is the cookie that signs in, and nothing else of the browser
    p.b.cdp("Network.clearBrowserCookies")
    assert p.whoami() == 401
    assert p.h.request("GET", "/api/v1/me", headers={"Cookie": "%s=%s" % (COOKIE, token)}).json["name"] == "ada"


def test_signing_out_clears_it():
    p = place()
    token = p.sign_in(p.ada)
    assert p.b.ask("POST", "/api/v1/logout", {})[0] == 200
    assert COOKIE not in p.b.cookies() and p.whoami() == 401
    assert p.h.request("GET", "/api/v1/me", headers={"Cookie": "%s=%s" % (COOKIE, token)}).status == 401


def test_session_fixation():
    """A session that somebody planted before isn't the one that its owner gets by signing in, and nobody is signed in by what was planted for long."""
    p = place()
    for host in ("localhost", "127.0.0.1"):  # cookies don't know ports: a neighbour on this host can plant them
        for planted in (p.eve.login(), "nonsense", "a.b.c"):
            p.b.cdp("Network.clearBrowserCookies")
            p.b.go(p.other.url(host))
            p.b.run("document.cookie = arguments[0] + '; Secure; Path=/'; done(1)", "%s=%s" % (COOKIE, planted))
            assert (COOKIE in p.b.cookies()) == True, p.b.cookies()
            if host == "localhost":
                assert p.whoami() == ("eve" if planted.count(".") == 2 and len(planted) > 10 else 401)
            mine = p.sign_in(p.ada)
            assert mine != planted and p.whoami() == "ada"
            got = [c for c in p.b.cdp("Network.getAllCookies")["cookies"] if c["name"] == COOKIE and c["domain"] == "localhost"]
            assert [c["value"] for c in got] == [mine] and got[0]["httpOnly"], got
            a = p.h.request("GET", "/api/v1/me", token=planted)
            assert a.status == 401 or a.json["name"] == "eve", a
    # and each sign-in is another session: the one before is of no use to who saw it
    first = p.sign_in(p.ada)
    second = p.sign_in(p.ada)
    assert first != second
    assert p.h.request("GET", "/api/v1/me", headers={"Cookie": "%s=%s" % (COOKIE, first)}).status == 401, "signing in ends the session that the cookie named before"


FORM = """
const [url, type, fields] = arguments;
const f = document.createElement('form');
f.method = 'POST'; f.action = url; f.enctype = type;
for (const [name, value] of Object.entries(fields)) { const i = document.createElement('input'); i.name = name; i.value = value; f.append(i); }
document.body.append(f);
done(1); f.submit();
"""
SEND = """
const [kind, method, url, body] = arguments;
if (kind == 'beacon') { done(navigator.sendBeacon(url, new Blob([body], {type: 'text/plain'}))); return; }
const headers = kind == 'json' ? {'Content-Type': 'application/json'} : kind == 'custom' ? {'X-Auth-Token': 'x.y.z'} : {};
fetch(url, {method, body: method == 'GET' ? undefined : body, headers, mode: kind == 'no-cors' ? 'no-cors' : 'cors', credentials: 'include'})
  .then(r => done(r.type + ' ' + r.status), e => done('refused'));
"""


def test_forged_requests():
    """From another site, and from another origin of the same site, to which even SameSite=Strict gives the cookie."""
    p = place()
    p.sign_in(p.ada)
    keep = p.ada.login()  # a second session of hers: the forged requests want it gone
    base = "https://localhost:%d" % p.h.port
    n = 0
    for host in ("127.0.0.1", "localhost"):
        for path, fields in (("/api/v1/me/revoke", {}), ("/api/v1/logout", {}), ("/api/v1/me/password", {"old": p.ada.password, "password": "another-Horse-battery-77"}),
                             ("/api/v1/jobs", {"upload": "0" * 32}), ("/api/upload", {"file": "x"}), ("/api/v1/login", {"name": "eve", "password": p.eve.password, "cookie": "true"})):
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
                p.b.go(p.other.url(host))
                p.b.run(FORM, base + path, kind, fields or {"{}": ""})
                text = hub.wait_for("the form's answer", lambda: (lambda t: t if "elsewhere" not in t else "")(p.b.d.page_source), 20)
                assert "ECROSSSITE" in text or (path == "/api/v1/me/password" and "EMETHOD" in text), (host, path, kind, text)
                n += 1
            p.b.go(p.other.url(host))
            body = hub.json.dumps(fields)
            for kind, method in (("no-cors", "POST"), ("json", "POST"), ("json", "PUT"), ("json", "DELETE"), ("custom", "POST"), ("beacon", "POST"), ("cors", "GET")):
                said = p.b.run(SEND, kind, method, base + path, body)
                assert said in (("opaque 0", "refused") if kind == "no-cors" else (True, False) if kind == "beacon" else ("refused",)), (kind, method, said)
                n += 1
        # nothing changes by following a link either
        for path in ("/api/v1/logout", "/api/v1/me/revoke"):
            p.b.go(p.other.url(host))
            p.b.run("const a = document.createElement('a'); a.href = arguments[0]; document.body.append(a); done(1); a.click();", base + path)
            text = hub.wait_for("the link's answer", lambda: (lambda t: t if "elsewhere" not in t else "")(p.b.d.page_source), 20)
            assert "EMETHOD" in text, text
            n += 1
    assert p.whoami() == "ada", "still signed in"
    assert p.h.request("GET", "/api/v1/me", token=keep).status == 200, "and so is her other session"
    assert p.h.request("POST", "/api/v1/login", {"name": "ada", "password": p.ada.password}).status == 200, "with the same password"
    # the same requests from the hub's own origin are no forgery
    p.b.go("/healthz")
    assert p.b.ask("POST", "/api/v1/me/revoke", {})[0] == 200
    assert p.h.request("GET", "/api/v1/me", token=keep).status == 401
    print("# %d forged requests" % n, flush=True)


def test_nothing_is_read_from_elsewhere():
    p = place()
    p.sign_in(p.ada)
    base = "https://localhost:%d" % p.h.port
    for host in ("127.0.0.1", "localhost"):
        for path in ("/api/v1/me", "/api/v1/jobs", "/api/v1/me/audit", "/healthz"):
            p.b.go(p.other.url(host))
            assert p.b.run(SEND, "cors", "GET", base + path, None) == "refused"
            p.b.said()
            for tag, attribute in (("script", "src"), ("img", "src"), ("link", "href"), ("video", "src")):
                loaded = p.b.run("const e = document.createElement(arguments[0]); e.onload = e.onloadeddata = () => done(true); e.onerror = () => done(false);"
                                 "if (arguments[0] == 'link') e.rel = 'stylesheet'; e[arguments[1]] = arguments[2]; document.body.append(e);", tag, attribute, base + path)
                assert loaded is False, (host, path, tag)
        # a window that it opens isn't a handle on what is shown in it
        p.b.go(p.other.url(host))
        assert p.b.run("const w = window.open(arguments[0]); setTimeout(() => { let it = 'none'; try { it = w.document.body.textContent } catch (e) { it = 'refused' }; done(it); }, 1500)",
                       base + "/api/v1/me") in ("refused", "none", "")
        for extra in p.b.d.window_handles[1:]:
            p.b.d.switch_to.window(extra)
            p.b.d.close()
        p.b.d.switch_to.window(p.b.d.window_handles[0])


def test_no_page_of_ours_is_framed():
    p = place()
    p.sign_in(p.ada)
    base = "https://localhost:%d" % p.h.port
    p.other.pages["/inner"] = "<!doctype html><title>inner</title>inner"
    for host in ("127.0.0.1", "localhost"):
        n_told = 0
        for tag, attribute in (("iframe", "src"), ("object", "data"), ("embed", "src")):
            for path in ("/healthz", "/api/v1/me", "/nosuch", "/api/v1/server"):
                p.b.go(p.other.url(host))
                p.b.said()
                p.b.run("const e = document.createElement(arguments[0]); e[arguments[1]] = arguments[2]; document.body.append(e); done(1)", tag, attribute, base + path)
                said, until = "", time.monotonic() + (2 if tag == "object" else 60)  # of an object that it hasn't begun to show it says nothing
                while "frame-ancestors" not in said and "ERR_BLOCKED_BY_RESPONSE" not in said and time.monotonic() < until:
                    time.sleep(.05)
                    said += p.b.said()
                assert "frame-ancestors" in said or "ERR_BLOCKED_BY_RESPONSE" in said or p.b.run("done(window.length)") == 0, (host, tag, path, said)
                n_told += "frame-ancestors" in said
        assert n_told >= 8, "the browser names the directive"
        p.b.go(p.other.url(host))
        p.b.said()
        p.b.run("const e = document.createElement('iframe'); e.src = arguments[0]; e.onload = () => done(1); document.body.append(e)", p.other.url(host, "/inner"))
        assert "frame-ancestors" not in p.b.said() and p.b.run("done(window.length)") == 1, "a page that may be framed is"


def test_a_script_in_a_name_does_nothing():
    p = place()
    p.sign_in(p.ada)
    p.ada.login()
    a = p.ada.upload_raw(open(hub.TARGET, "rb").read(), XSS.replace('"', "'"))
    assert a.status == 201, a
    p.b.cdp("Network.clearBrowserCookies")
    p.sign_in(p.ada)
    p.b.strict()
    for path in ("/api/v1/uploads", "/api/v1/uploads/" + a.json["id"], "/api/v1/me/audit", "/nosuch?" + "%3Cscript%3Edocument.title='owned'%3C/script%3E"):
        p.b.go(path)
        assert p.b.d.title != "owned" and p.b.d.execute_script("return document.contentType") == "application/json", (path, p.b.d.page_source[:300])
        # also where the page's own scripts would be let: CSP lets none, and no request to anywhere
        assert p.b.run("fetch('/healthz').then(() => done('asked'), () => done('refused'))") == "refused"
    p.b.cdp("Page.setBypassCSP", enabled=True)


if __name__ == "__main__":
    try:
        hub.main([test_the_cookie_is_out_of_reach, test_signing_out_clears_it, test_session_fixation, test_forged_requests, test_nothing_is_read_from_elsewhere,
                  test_no_page_of_ours_is_framed, test_a_script_in_a_name_does_nothing])
    finally:
        if hasattr(place, "it"):
            place.it.done()
