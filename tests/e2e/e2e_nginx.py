#!/usr/bin/env python3
"""deploy/nginx and deploy/nftables as they are delivered: nginx with ModSecurity and the Core Rule Set in front of a hub, the main job through it, attacks stopped by
it, the client's address known and not to be forged, nothing of a body on its disk or in its logs; the firewall's rules read by nft. (S2-17)"""
import contextlib
import glob
import http.client
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import e2e_register  # noqa: E402
import hub  # noqa: E402

NGINX, NFT = "/usr/sbin/nginx", "/usr/sbin/nft"
MODULE = "/usr/lib/nginx/modules/ngx_http_modsecurity_module.so"
RULES = "/usr/share/modsecurity-crs/rules"
DEPLOY = os.path.join(hub.ROOT, "deploy")
EVIL = "x' UNION SELECT password FROM user--"


class Front:
    """nginx with the files of deploy/nginx, what stands in < > replaced; the hub's port becomes nginx's, so that everything else goes through it."""

    def __init__(self, h):
        self.h, self.dir, self.port = h, os.path.join(h.dir, "nginx"), hub.free_port()
        self.hub_port = h.port
        tls = os.path.join(os.path.dirname(h.ini), "tls")
        for d in ("", "body", "proxy"):
            os.mkdir(os.path.join(self.dir, d))
        self.names = {"127.0.0.1:8443": "127.0.0.1:%d" % h.port, "443": "127.0.0.1:%d" % self.port, "hub.example.org": "localhost", "/etc/nginx/tls/hub.crt": tls + "/server.crt",
                      "/etc/nginx/tls/hub.key": tls + "/server.key", "/etc/nginx/tls/sequester-ca.crt": h.ca, "/var/log/nginx/sequester.access.log": self.path("access.log"),
                      "/var/log/nginx/sequester.error.log": self.path("error.log"), "/etc/nginx/sequester-modsecurity.conf": self.path("modsecurity.conf")}
        with open(os.path.join(DEPLOY, "nginx", "sequester.conf")) as f:
            site = re.sub(r"<([^<>\n]+)>", lambda m: self.names[m.group(1)], f.read())
        shutil.copy(os.path.join(DEPLOY, "nginx", "sequester-modsecurity.conf"), self.path("modsecurity.conf"))
        with open(self.path("site.conf"), "w") as f:
            f.write(site)
        with open(self.path("nginx.conf"), "w") as f:
            f.write("load_module %s;\npid %s;\nerror_log %s error;\ndaemon off;\nworker_processes 2;\nevents { worker_connections 256; }\nhttp {\n"
                    "client_body_temp_path %s;\nproxy_temp_path %s;\n%sinclude %s;\n}\n" % (
                        MODULE, self.path("pid"), self.path("error.log"), self.path("body"), self.path("proxy"),
                        "".join("%s_temp_path %s;\n" % (k, self.path("proxy")) for k in ("fastcgi", "uwsgi", "scgi")), self.path("site.conf")))

    def path(self, name):
        return os.path.join(self.dir, name)

    def __enter__(self):
        said = subprocess.run([NGINX, "-t", "-c", self.path("nginx.conf")], capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
        self.p = subprocess.Popen([NGINX, "-c", self.path("nginx.conf")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        hub.wait_for("nginx", lambda: not hub.is_free(self.port), 20)
        self.h.port = self.port
        return self

    def __exit__(self, *_):
        self.h.port = self.hub_port
        self.p.send_signal(signal.SIGQUIT)
        try:
            self.p.wait(20)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()

    def text(self, *names):
        out = ""
        for name in names or ("access.log", "error.log"):
            with contextlib.suppress(FileNotFoundError), open(self.path(name), errors="replace") as f:
                out += f.read()
        return out

    def left(self):
        return [p for d in ("body", "proxy") for p in glob.glob(self.path(d) + "/**", recursive=True) if os.path.isfile(p)]


@contextlib.contextmanager
def world():
    h = hub.Hub()
    rules = os.path.join(h.dir, "networks")
    with open(rules, "w") as f:
        f.write("proxy 127.0.0.1 x-forwarded-for\n")
    with open(h.ini, "a") as f:
        f.write("networks = %s\n" % rules)
    with h, Front(h) as front:
        yield h, front


def test_the_main_job_through_nginx():
    with world() as (h, front):
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload()["id"], name="through a proxy")
        password = ada.claim(job["id"])
        package = ada.package(job["id"])
        assert package[:4] == b"PK\x03\x04" and len(package) > 10000
        a = h.request("GET", "/api/v1/jobs/%s/package" % job["id"], token=ada.token, headers={"Range": "bytes=5-24"})
        assert a.status == 206 and a.body == package[5:25], a
        assert a.headers["Strict-Transport-Security"] and a.headers["Content-Security-Policy"] and "nginx/" not in str(a.headers), a.headers
        link = ada.call("POST", "/api/v1/jobs/%s/links" % job["id"], {}, status=201).json
        assert h.request("GET", link["path"]).body == package and h.request("GET", link["path"][:-1] + "x").status == 410
        p = ada.cli("jobs")
        assert job["id"] in p.stdout, p.stdout
        # nothing secret in what nginx writes
        said = front.text()
        assert "/api/v1/uploads" in said or "/api/upload" in said, said[-2000:]
        hub.wait_for("the link's number in the log", lambda: "/share/" + link["id"] in front.text(), 30)
        said = front.text()
        for secret in (ada.password, password, ada.token, link["path"][-32:], link["path"][-32:-1], "through a proxy", "HG0", "NA1"):
            assert secret not in said, secret
        assert not front.left()


def test_an_account_through_nginx():
    """Registration by mail, a forgotten password, a second factor: with passwords as people choose them, of which nginx writes nothing down."""
    w = e2e_register.World()
    rules = os.path.join(w.h.dir, "networks")
    with open(rules, "w") as f:
        f.write("proxy 127.0.0.1 x-forwarded-for\n")
    with open(w.h.ini, "a") as f:
        f.write("networks = %s\n" % rules)
    first, second = "Otters; drop 7 stones <gently> & 'quietly'", "50% of geese=goats? (yes/no) -- \\o/ #9"
    with w, Front(w.h) as front:
        assert w.post("register", {"mail": "ada@uni.example"}).status == 202
        code = w.mail(1, "Confirm your mail address")
        a = w.post("register/confirm", {"code": code, "password": first})
        assert a.status == 200, a
        assert w.post("register/confirm", {"code": code, "password": first}).status == 410
        ada = e2e_register.user(w, "ada@uni.example", first)
        ada.login()
        codes = ada.enrol()
        assert w.post("password/forgot", {"mail": "ada@uni.example"}).status == 202
        reset = hub.wait_for("the mail with the code", lambda: next((m for m in w.sink.mails if m.subject == "Choose a password"), None), 30)
        reset = re.search(r"code +([0-9a-f]{64})", reset.text).group(1)
        assert w.post("password/reset", {"code": reset, "password": second}).status == 200
        assert ada.call("GET", "/api/v1/me").status == 401  # its sessions ended
        ada.password = second
        a = w.post("login", {"name": "ada@uni.example", "password": second})
        assert a.status == 200 and "token" not in a.json, a
        a = w.post("login/factor", {"ticket": a.json["pending"], "code": codes[0]})
        assert a.status == 200 and a.json["factor"] is True, a
        ticket = w.post("login", {"name": "ada@uni.example", "password": second, "cookie": True}).json["pending"]
        a = w.h.request("POST", "/api/v1/login/factor", {"ticket": ticket, "code": codes[1], "cookie": True}, headers={"Origin": "https://localhost:%d" % w.h.port})
        assert a.status == 200 and a.headers["Set-Cookie"].startswith("__Host-sequester=") and "token" not in a.json, a
        said = front.text()
        assert "/api/v1/register/confirm" in said and "/api/v1/login" in said, said[-2000:]
        for secret in (first, second, first[:12], second[:12], code, reset, ticket, codes[0], codes[0][:9], "ada@", ada.secret):
            assert secret not in said, secret
        assert not front.left()


def test_uploads_are_handed_on_as_they_come():
    with world() as (h, front):
        ada = h.user("ada")
        head, tail = b"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"data.vcf\"\r\nContent-Type: application/octet-stream\r\n\r\n", b"\r\n--B--\r\n"
        c = http.client.HTTPSConnection("localhost", h.port, context=h.tls, timeout=300)
        c.putrequest("POST", "/api/v1/uploads")
        for k, v in (("Authorization", "Bearer " + ada.token), ("Content-Type", "multipart/form-data; boundary=B"), ("Transfer-Encoding", "chunked")):
            c.putheader(k, v)
        c.endheaders()

        def send(data):
            c.send(b"%x\r\n" % len(data) + data + b"\r\n")
        send(head)
        block, most = b"x" * (1 << 20), 0
        for _ in range(32):
            send(block)
            most = max(most, len(front.left()))
        time.sleep(.5)
        most = max(most, len(front.left()))
        assert most == 0, "nginx wrote %d files of bodies" % most
        peak = max(int(re.search(r"VmHWM:\s+(\d+)", open("/proc/%d/status" % pid).read()).group(1)) for pid in workers(front))
        hub.assert_memory("nginx", peak, 96)
        send(tail)
        c.send(b"0\r\n\r\n")
        r = c.getresponse()
        assert r.status == 422, (r.status, r.read(), front.text("error.log"), h.log()[-3000:])  # it is no VCF, and it came to who looks at that


def workers(front):
    with open("/proc/%d/task/%d/children" % (front.p.pid, front.p.pid)) as f:
        return [int(x) for x in f.read().split()]


def test_the_address_is_the_clients():
    """Whatever he says it is: in sessions, limits and the audit log stands the one that nginx saw."""
    with world() as (h, front):
        ada = h.user("ada")
        body = hub.json.dumps({"name": "ada", "password": ada.password})
        for forged in (["X-Forwarded-For: 198.51.100.7"], ["X-Forwarded-For: 198.51.100.7, 127.0.0.1"], ["Forwarded: for=198.51.100.7"], ["X-Real-IP: 198.51.100.7"],
                       ["X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 198.51.100.8"], ["X_Forwarded_For: 198.51.100.7"]):
            code, out = h.curl("--interface", "127.0.0.9", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json", *[x for f in forged for x in ("-H", f)], "-d", body,
                               "https://127.0.0.1:%d/api/v1/login" % h.port)
            assert (code, out) == (0, b"200"), (forged, out)
        seen = [s["address"] for s in ada.get("/api/v1/me/sessions")["data"]]
        assert seen.count("127.0.0.9") == 6 and not [s for s in seen if s.startswith("198.")], seen
        # past nginx, at the hub's own port, from another address than the proxy's: the header is a stranger's
        code, out = h.curl("--interface", "127.0.0.10", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/json", "-H", "X-Forwarded-For: 198.51.100.7", "-d", body,
                           "https://127.0.0.1:%d/api/v1/login" % front.hub_port)
        assert (code, out) == (0, b"200") and "127.0.0.10" in [s["address"] for s in ada.get("/api/v1/me/sessions")["data"]]
        # the rates count clients, not the proxy
        assert h.request("GET", "/healthz", headers={"Host": "evil.example"}).status == 421


def test_attacks_end_at_nginx():
    with world() as (h, front):
        ada = h.user("ada")

        def n_seen():
            return h.log().count("event=request ")
        hub.wait_for("her sign-in's line in the log", lambda: "route=login status=200" in h.log(), 20)
        before = n_seen()
        for method, path, body in (("GET", "/api/v1/jobs?name=%3Cscript%3Ealert(1)%3C/script%3E", None), ("GET", "/api/v1/jobs?state=..%2f..%2f..%2fetc%2fpasswd", None),
                                   ("POST", "/api/v1/jobs", {"upload": "x", "panel": "p", "name": EVIL}), ("POST", "/api/v1/login", {"name": EVIL, "password": "anything-at-all"}),
                                   ("TRACE", "/api/v1/jobs", None)):
            a = h.request(method, path, body, token=ada.token)
            assert a.status in (403, 405), (method, path, a)
        assert h.request("GET", "/api/v1/jobs", token=ada.token, headers={"User-Agent": "sqlmap/1.6"}).status == 403
        a = h.request("POST", "/api/v1/login", b"{" + b" " * 200000 + b"}", headers={"Content-Type": "application/json"})
        assert a.status == 413, a
        time.sleep(.3)
        assert n_seen() == before, "something came through"
        # a password may have any characters, and none of them is looked at or written down
        w = "%s; cat /etc/shadow <script>Zq81otter</script>" % EVIL
        assert h.request("POST", "/api/v1/login", {"name": "ada", "password": w}).status == 401
        ada.call("PUT", "/api/v1/me/password", {"old": ada.password, "password": w}, status=200)
        assert h.request("POST", "/api/v1/login", {"name": "ada", "password": w}).status == 200
        said = front.text()
        assert "UNION" not in said and "Zq81otter" not in said and "/etc/shadow" not in said, said[-3000:]
        assert "949110" in said and ' 403 ' in said, said[-3000:]  # which rule ended it, and that it did
        # another hub in its place, signed by nobody: nothing is handed to it
        h.stop()
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made = os.path.join(h.dir, "other")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", made + ".key", "-out", made + ".crt", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
        other.load_cert_chain(made + ".crt", made + ".key")
        got = []
        stop = stranger(front.hub_port, other, got)
        code, out = h.curl("-o", "/dev/null", "-w", "%{http_code}", "https://localhost:%d/api/v1/me" % h.port, token=ada.token)
        assert (code, out) == (0, b"502"), (code, out)
        stop()
        assert not any(got), got
        h.port = front.hub_port
        h.start()


def stranger(port, context, got):
    import socket
    import threading
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", port))
    s.listen(5)
    s.settimeout(20)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                c, _ = s.accept()
                with contextlib.suppress(OSError), context.wrap_socket(c, server_side=True) as tls:
                    got.append(tls.recv(1000))
    t = threading.Thread(target=serve, daemon=True)
    t.start()

    def stop():
        s.close()
        t.join(5)
    return stop


def test_the_firewall_makes_sense():
    if not os.path.exists(NFT):
        raise hub.Skip("nft isn't installed (nftables)")
    rules = os.path.join(DEPLOY, "nftables", "sequester.nft")
    p = subprocess.run([NFT, "-c", "-f", rules], capture_output=True, text=True)
    if "Operation not permitted" in p.stderr:
        raise hub.Skip("nft may not look at rules here: " + p.stderr.splitlines()[0])
    assert p.returncode == 0, p.stderr
    with open(rules) as f:
        text = f.read()
    assert text.count("policy drop;") == 3
    with open(os.path.join(hub.ROOT, "src/lib/wire/wire.h")) as f:
        roles = re.findall(r"SQ_ROLE_(\w+)(?: = 0)?,", f.read().split("enum sq_role {")[1].split("}")[0])
    assert "define courier = %d " % (61000 + roles.index("COURIER")) in text, roles


def needs_nginx(test):
    def wrapped():
        for path in (NGINX, MODULE, RULES):
            if not os.path.exists(path):
                raise hub.Skip("%s isn't there (nginx, libnginx-mod-http-modsecurity, modsecurity-crs)" % path)
        test()
    wrapped.__name__ = test.__name__
    return wrapped


if __name__ == "__main__":
    hub.main([needs_nginx(t) for t in (test_the_main_job_through_nginx, test_an_account_through_nginx, test_uploads_are_handed_on_as_they_come, test_the_address_is_the_clients, test_attacks_end_at_nginx)] +
             [test_the_firewall_makes_sense])
