"""Chromium, driven by Debian's chromedriver and selenium: what a real browser does with the hub, and lets other sites do to it.

    with browser.Browser(h) as b:
        b.go("/healthz")                          # a page of the hub's origin
        b.ask("POST", "/api/v1/login", {...})     # fetch() there: (status, body as JSON or text)
        b.passkeys()                              # a virtual authenticator from now on
    with browser.Site(h) as s:                    # another site, https://127.0.0.1:PORT and https://localhost:PORT
        b.go(s.url("127.0.0.1"))

The hub's certificate is trusted by its key, as a CA that was installed would be: nothing else of the checks is turned off. Of its policies one is: CSP would
keep the test's own scripts on the hub's pages from asking anything, for it has no scripts; b.strict() turns it on again.
"""
import base64
import hashlib
import http.server
import os
import shutil
import ssl
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import serialization

import hub

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
ASK = """
const [method, path, body, headers, done] = arguments;
fetch(path, {method, body: body === null ? undefined : body, headers, credentials: 'include', redirect: 'manual', cache: 'no-store'})
  .then(async r => done([r.status, await r.text(), Object.fromEntries(r.headers)]), e => done([0, String(e), {}]));
"""


def need():
    """Raises the Skip that says what isn't there."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        raise hub.Skip("python3-selenium isn't installed")
    for path in (CHROMIUM, DRIVER):
        if not os.path.exists(path):
            raise hub.Skip("%s isn't installed" % os.path.basename(path))


class Browser:
    def __init__(self, h):
        need()
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
        self.h = h
        self.home = os.path.join(h.dir, "chromium-%d" % time.monotonic_ns())
        with open(os.path.join(h.base, "tls", "server.crt"), "rb") as f:
            key = x509.load_pem_x509_certificate(f.read()).public_key()
        spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        o = webdriver.ChromeOptions()
        o.binary_location = CHROMIUM
        for a in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--no-first-run", "--disable-background-networking",
                  "--disable-component-update", "--disable-sync", "--user-data-dir=" + self.home, "--ignore-certificate-errors-spki-list=" + base64.b64encode(hashlib.sha256(spki).digest()).decode()):
            o.add_argument(a)
        o.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.d = webdriver.Chrome(service=Service(DRIVER), options=o)
        self.d.set_script_timeout(60)
        self.cdp("Page.setBypassCSP", enabled=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.d.quit()
        shutil.rmtree(self.home, ignore_errors=True)

    def cdp(self, command, **args):
        return self.d.execute_cdp_cmd(command, args)

    def strict(self):
        self.cdp("Page.setBypassCSP", enabled=False)

    def go(self, path):
        self.d.get(path if "://" in path else "https://localhost:%d%s" % (self.h.port, path))

    def run(self, script, *args):
        """The value that the script hands to done()."""
        return self.d.execute_async_script("const done = arguments[arguments.length - 1];\n" + script, *args)

    def ask(self, method, path, body=None, headers=None):
        """fetch() from the page that is open, with cookies: (status, JSON or text); status 0: the browser didn't let it, or its answer be read."""
        h = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = hub.json.dumps(body)
            h.setdefault("Content-Type", "application/json")
        status, text, self.headers = self.d.execute_async_script(ASK, method, path, body, h)
        try:
            return status, hub.json.loads(text)
        except ValueError:
            return status, text

    def cookies(self):
        """All of them, those that no script can read too."""
        return {c["name"]: c for c in self.cdp("Network.getAllCookies")["cookies"]}

    def said(self):
        """What the console says since the last time: refusals of the browser's own."""
        return "\n".join(e["message"] for e in self.d.get_log("browser"))

    def passkeys(self):
        """A platform authenticator with its user present and verified: WebAuthn works from now on."""
        self.cdp("WebAuthn.enable", enableUI=False)
        self.authenticator = self.cdp("WebAuthn.addVirtualAuthenticator", options={
            "protocol": "ctap2", "ctap2Version": "ctap2_1", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True, "isUserVerified": True,
            "automaticPresenceSimulation": True})["authenticatorId"]

    def keys(self):
        return self.cdp("WebAuthn.getCredentials", authenticatorId=self.authenticator)["credentials"]


class Site:
    """A web site of somebody else's: by https://127.0.0.1 another site, by https://localhost another origin of the same site. Its pages are what is put into
    `pages`; it has the hub's certificate, so that both are as trusted."""
    def __init__(self, h):
        self.pages = {"/": "<!doctype html><title>elsewhere</title><p>elsewhere"}
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = site.pages.get(self.path.split("?")[0], "").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(os.path.join(h.base, "tls", "server.crt"), os.path.join(h.base, "tls", "server.key"))
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, host, path="/"):
        return "https://%s:%d%s" % (host, self.port, path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
