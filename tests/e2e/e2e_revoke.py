#!/usr/bin/env python3
"""Revoking an account reaches a download that is under way, and an operator's command that was cut off leaves nothing behind."""
import os
import signal
import socket
import sys
import time

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


def read_to_end(s, n):
    try:
        while True:
            got = s.recv(65536)
            if not got:
                return n
            n += len(got)
    except OSError:
        return n


def test_revoked_in_mid_download():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload()["id"])["id"]
        ada.claim(job)
        total = len(ada.package(job))
        s, n = slow_download(h, "/api/v1/jobs/%s/package" % job, ada.token)
        time.sleep(0.5)
        h.admin_ok("user-revoke", {"name": "ada"})
        assert ada.call("GET", "/api/v1/me").status == 401
        time.sleep(1)
        n = read_to_end(s, n)
        s.close()
        assert n < total, (n, total)
        ada.login()
        events = ada.get("/api/v1/jobs/%s/audit?limit=100" % job)["data"]
        ends = [e for e in events if e["event"] == "download_ended"]
        assert len(ends) == 2, events  # the whole one, and the one that was cut
        assert len(ada.package(job)) == total


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
    hub.main([test_revoked_in_mid_download, test_cut_off_panel_add])
