#!/usr/bin/env python3
"""Revoking an account reaches a download that is under way, and an operator's command that was cut off leaves nothing behind."""
import os
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402


def slow_download(h, path, token):
    """A TLS connection that has asked for `path` and read its head only; its receive buffer is small."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    raw.settimeout(60)
    raw.connect(("127.0.0.1", h.port))
    s = h.tls.wrap_socket(raw, server_hostname="localhost")
    s.sendall(("GET %s HTTP/1.1\r\nHost: localhost:%d\r\nAuthorization: Bearer %s\r\n\r\n" % (path, h.port, token)).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += s.recv(1024)
    assert b" 200 " in head.split(b"\r\n")[0], head
    return s, len(head.split(b"\r\n\r\n", 1)[1])


def read_to_end(s, n, total=1 << 40):
    """How many bytes come in all, until the connection ends, or `total` have come."""
    try:
        while n < total:
            got = s.recv(65536)
            if not got:
                break
            n += len(got)
    except OSError:
        pass
    return n


def test_revoked_in_mid_download():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload()["id"])["id"]
        ada.claim(job)
        total = len(ada.package(job))
        s, n = slow_download(h, "/api/v1/jobs/%s/package" % job, ada.token)
        h.admin_ok("user-revoke", {"name": "ada"})
        assert ada.call("GET", "/api/v1/me").status == 401
        n = read_to_end(s, n)
        s.close()
        assert n < total, (n, total)
        ada.login()

        def ends():
            return [e for e in ada.get("/api/v1/jobs/%s/audit?limit=100" % job)["data"] if e["event"] == "download_ended"]
        hub.wait_for("the end of the one that was cut", lambda: len(ends()) >= 2, 30)
        assert len(ends()) == 2, ends()  # and the whole one's
        assert len(ada.package(job)) == total

        # an account that may come from other networks alone: what runs to the present one stops
        s, n = slow_download(h, "/api/v1/jobs/%s/package" % job, ada.token)
        h.admin_ok("user-networks", {"name": "ada", "networks": ["192.0.2.0/24"]})
        assert ada.call("GET", "/api/v1/me").status == 403
        n = read_to_end(s, n)
        s.close()
        assert n < total, (n, total)
        h.admin_ok("user-networks", {"name": "ada", "networks": []})
        assert len(ada.package(job)) == total


def test_whatever_ends_a_token_cuts_its_download():
    """One API token, one session, signing out, another password, everybody's: what was asked for by them stops; another token's goes on."""
    with hub.Hub(settings={"rate_login": "all=100000"}) as h:
        h.panel()
        ada, bob = h.user("ada"), h.user("bob")
        job = ada.run_job(ada.upload()["id"])["id"]
        ada.claim(job)
        path, total = "/api/v1/jobs/%s/package" % job, len(ada.package(job))

        def session():
            kept, token = ada.token, ada.login()
            ada.token = kept
            return token

        def ident(token):
            return next(x["id"] for x in h.request("GET", "/api/v1/me/sessions", token=token).json["data"] if x["current"])

        def api():
            return ada.call("POST", "/api/v1/me/tokens", {"name": "x", "scopes": ["results"], "days": 1, "password": ada.password}, status=201).json
        made, other = api(), api()
        ways = [(made["token"], lambda t: ada.call("DELETE", "/api/v1/me/tokens/" + made["id"], status=200), other["token"]),
                (session(), lambda t: h.request("POST", "/api/v1/logout", token=t), other["token"]),
                (session(), lambda t: ada.call("DELETE", "/api/v1/me/sessions/" + ident(t), status=200), None),
                (session(), lambda t: ada.call("POST", "/api/v1/me/revoke", status=200), None),
                (session(), lambda t: ada.call("PUT", "/api/v1/me/password", {"old": ada.password, "password": ada.password}, status=200), None),
                (session(), lambda t: h.admin_ok("sessions-revoke"), None)]
        for i, (token, end, stays) in enumerate(ways):
            token = session() if i > 1 else token  # what went before has ended all
            s, n = slow_download(h, path, token)
            kept = slow_download(h, path, stays) if stays else None
            end(token)
            assert h.request("GET", path, token=token).status == 401, i
            n = read_to_end(s, n)
            s.close()
            assert n < total, (i, n, total)
            if kept:
                assert read_to_end(*kept, total) == total, i
                kept[0].close()
        assert bob.call("GET", "/api/v1/me").status == 401


def test_cut_off_panel_add():
    with hub.Hub() as h:
        import threading
        t = threading.Thread(target=lambda: quiet(lambda: h.admin("panel-add", {"id": "p", "name": "p", "build": "hg19"}, [hub.panel_file()])))
        t.start()
        hub.wait_for("the panel's file", lambda: h.objects(), 20)
        h.kill("registrar", signal.SIGKILL)
        t.join()
        h.wait_up()
        if not ids(h):
            hub.wait_for("no file of a panel that isn't there", lambda: not h.objects(), 20)
        h.panel()


def ids(h):
    return [p["id"] for p in h.user("bob").get("/api/v1/panels")["data"]]


def quiet(f):
    try:
        f()
    except Exception as e:  # the connection was cut, as meant
        print("# %s" % type(e).__name__)


if __name__ == "__main__":
    hub.main([test_revoked_in_mid_download, test_whatever_ends_a_token_cuts_its_download, test_cut_off_panel_add])
