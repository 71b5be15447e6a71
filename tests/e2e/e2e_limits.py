#!/usr/bin/env python3
"""Limits of an account, rules of networks and proxies against the whole hub: what registrar counts, what the audit log says, what a reload does."""
import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402


def an_account_is_counted_with_all_its_tokens():
    with hub.Hub(settings={"rate_read": "address=1000 token=1000 user=12/h"}) as h:
        ada, bob = h.user("ada"), h.user("bob")
        for k in range(12):
            a = (ada.call("GET", "/jobs") if k % 2 else h.request("GET", "/jobs", token=ada.token, headers={"X-Token": "x"}))
            assert a.status == 200 and '"read-user";q=12;w=3600' in a.headers["RateLimit-Policy"] and '"read-user";r=%d;' % (11 - k) in a.headers["RateLimit"], (k, dict(a.headers))
            if k == 5:
                ada.login()  # another token: the same account
        a = ada.call("GET", "/jobs")
        assert a.status == 429 and a.json["code"] == "EBUSY" and 200 < int(a.headers["Retry-After"]) <= 300, a
        assert bob.call("GET", "/jobs").status == 200  # two accounts don't feel each other
        # neither the end of registrar nor a restart of the service is a fresh start; the time that passed is given its due
        h.kill("registrar")
        h.wait_up()
        assert ada.call("GET", "/jobs").status == 429
        h.stop()
        h.start()
        assert ada.call("GET", "/jobs").status == 429 and bob.call("GET", "/jobs").status == 200
        time.sleep(1.2)  # the stamp of the last request; then five minutes on the wall are one request more
        h.stop()
        h.move_clock(301)
        h.start()
        h.admin_ok("clock-confirm")
        assert ada.call("GET", "/jobs").status == 200 and ada.call("GET", "/jobs").status == 429
        assert ada.call("POST", "/api/v1/logout").status == 200  # nor two classes


def rules_of_networks():
    rules = None
    with hub.Hub(settings={}) as h:
        h.stop()
        rules = os.path.join(h.dir, "networks")
        with open(h.ini, "a") as f:
            f.write("networks = %s\n" % rules)

        def write(text):
            with open(rules, "w") as f:
                f.write(text)
            os.chmod(rules, 0o644)

        def reload():
            p = subprocess.run([hub.CLI, "admin", "network", "reload", "--run-dir", os.path.dirname(h.admin_path)], capture_output=True, text=True, timeout=300)
            return p.returncode, p.stdout

        # a file that makes no sense stops the start, and says where
        write("allow 127.0.0.1\npermit all\n")
        p = subprocess.run([os.path.join(hub.BUILD, "sequester-parent"), "--config", h.ini], capture_output=True, text=True, timeout=300)
        assert p.returncode == 78 and rules + ":2: " in p.stderr, (p.returncode, p.stderr)
        p = subprocess.run([hub.CLI, "admin", "config", "check", h.ini], capture_output=True, text=True, timeout=300)
        assert p.returncode and "line 2" in p.stderr, (p.returncode, p.stderr)
        write("proxy 127.0.0.1 x-forwarded-for\ndeny 198.51.100.66\n")
        h.start()
        ada = h.user("ada")
        assert ada.call("GET", "/jobs", headers={"X-Forwarded-For": "1.2.3.4, 198.51.100.7"}).status == 200
        a = ada.call("GET", "/jobs", headers={"X-Forwarded-For": "198.51.100.66"})
        assert a.status == 403 and a.json["code"] == "ENETWORK", a
        a = h.request("POST", "/api/v1/login", {"name": "ada", "password": ada.password}, headers={"X-Forwarded-For": "1.2.3.4, 198.51.100.8"})
        assert a.status == 200, a
        seen = {s["address"] for s in ada.get("/api/v1/me/sessions")["data"]}  # what registrar and the audit log have as the client's
        assert seen == {"127.0.0.1", "198.51.100.8"}, seen
        write("proxy 127.0.0.1 x-forwarded-for\ndeny 198.51.100.7\n")
        assert ada.call("GET", "/jobs", headers={"X-Forwarded-For": "198.51.100.66"}).status == 403  # not before it is told
        assert reload() == (0, "taken: 2 rules\n")
        assert ada.call("GET", "/jobs", headers={"X-Forwarded-For": "198.51.100.66"}).status == 200
        assert ada.call("GET", "/jobs", headers={"X-Forwarded-For": "198.51.100.7"}).status == 403
        write("deny 198.51.100.7\nproxy 127.0.0.1\n")
        code, text = reload()
        assert code == 1 and "line 2" in text, (code, text)
        assert ada.call("GET", "/jobs", headers={"X-Forwarded-For": "198.51.100.7"}).status == 403
        h.kill("gateway")  # another one starts with the rules that were taken last
        h.wait_up()
        assert ada.call("GET", "/jobs", headers={"X-Forwarded-For": "198.51.100.7"}).status == 403
        h.clean()


def operators_come_from_their_networks():
    """Every address of the API that is for staff alone, from routes.def: 403 from elsewhere, whoever asks; everything else goes on from there."""
    with open(os.path.join(hub.ROOT, "src/lib/http/routes.def")) as f:
        routes = re.findall(r'SQ_ROUTE\(\w+,\s*\d+,\s*(\w+),\s*"([^"]+)",\s*(\w+),', f.read())
    staff = [(m, p.replace("{id}", "0" * 32)) for m, p, who in routes if who not in ("ANYONE", "SIGNED_IN", "USER")]
    assert len(staff) >= 10, staff
    with hub.Hub() as h:
        h.stop()
        rules = os.path.join(h.dir, "networks")
        with open(h.ini, "a") as f:
            f.write("networks = %s\n" % rules)
        with open(rules, "w") as f:
            f.write("proxy 127.0.0.1 x-forwarded-for\noperator-allow 198.51.100.0/24\noperator-allow 2001:db8:12::/48\noperator-deny 198.51.100.9\n")
        h.start()
        vera, ada = h.user("vera", "security"), h.user("ada")
        vera.enrol()
        home, away = {"X-Forwarded-For": "198.51.100.7"}, ({"X-Forwarded-For": "203.0.113.5"}, {"X-Forwarded-For": "198.51.100.9"}, {"X-Forwarded-For": "198.51.100.7, 203.0.113.5"}, {},
                                                           {"X-Forwarded-For": "2001:db8:13::1"})
        assert vera.call("GET", "/api/v1/admin/users", headers=home).status == 200
        assert vera.call("GET", "/api/v1/admin/users", headers={"X-Forwarded-For": "2001:db8:12::7"}).status == 200
        for method, path in staff:
            for headers in away if path.endswith("/admin/users") else away[:1]:
                for who in (vera, ada, None):
                    body = None if method in ("GET", "DELETE", "HEAD") else {}
                    a = h.request(method, path, body, token=who and who.token, headers=headers)
                    assert a.status == 403 and (method == "HEAD" or a.json["code"] == "ENETWORK"), (method, path, headers, a)
        assert ada.call("GET", "/api/v1/admin/users", headers=home).status == 403 and ada.call("GET", "/api/v1/admin/users", headers=home).json["code"] == "EDENIED"
        for headers in away:  # her own account isn't a matter of the operators' networks
            assert vera.call("GET", "/api/v1/me", headers=headers).status == 200 and ada.call("GET", "/jobs", headers=headers).status == 200
        # the operator's own socket needs no network
        assert h.admin_ok("user-show", {"name": "ada"})["role"] == "user"


def an_account_comes_from_its_networks():
    """A list of one account: 127.0.0.1 is let in and 127.0.0.2 isn't, whatever its headers say; sign-in, sessions, API tokens; over the API and at the socket."""
    with hub.Hub() as h:
        ada, bob, vera = h.user("ada"), h.user("bob"), h.user("vera", "security")
        vera.enrol()
        made = ada.call("POST", "/api/v1/me/tokens", {"name": "cluster", "scopes": ["read"], "days": 3, "password": ada.password}, status=201).json["token"]

        def cli(*args):
            p = subprocess.run([hub.CLI, "admin", "user", *args, "--json", "--run-dir", os.path.dirname(h.admin_path)], capture_output=True, text=True, timeout=300)
            return p.returncode, json.loads(p.stdout) if p.stdout.startswith("{") else p.stderr

        def asked(source, path, *more, token=None):
            """(status, code) of a request that really comes from @source."""
            rc, out = h.curl("--interface", source, "-w", "\n%{http_code}", *more, "https://127.0.0.1:%d%s" % (h.port, path), token=token)
            assert rc == 0, (rc, out)
            body, status = out.decode().rsplit("\n", 1)
            return int(status), json.loads(body).get("code") if body.startswith("{") else None

        def sign_in(source, name, password):
            return asked(source, "/api/v1/login", "-H", "Content-Type: application/json", "-d", json.dumps({"name": name, "password": password}))
        assert asked("127.0.0.2", "/jobs", token=ada.token) == (200, None)
        for bad in ("127.0.0.1/8", "x", "10.0.0.0/33", ",".join(["10.0.0.0/8"] * 17)):
            code, said = cli("networks", "ada", bad)
            assert code == 1, (bad, said)
        code, said = cli("networks", "ada", "127.0.0.1,2001:db8::/32")
        assert code == 0 and said["networks"] == ["127.0.0.1/32", "2001:db8::/32"], said
        spoofs = (), ("-H", "X-Forwarded-For: 127.0.0.1"), ("-H", "Forwarded: for=127.0.0.1"), ("-H", "X-Real-IP: 127.0.0.1")
        for token in (ada.token, made):
            assert asked("127.0.0.1", "/jobs", token=token) == (200, None)
            for spoof in spoofs:
                assert asked("127.0.0.2", "/jobs", *spoof, token=token) == (403, "ENETWORK"), spoof
        assert sign_in("127.0.0.1", "ada", ada.password) == (200, None)
        assert sign_in("127.0.0.2", "ada", ada.password) == (403, "ENETWORK")
        wrong, nobody = sign_in("127.0.0.2", "ada", "not her password"), sign_in("127.0.0.2", "nobody", "not her password")
        assert wrong == nobody and wrong[0] == 401, (wrong, nobody)  # only she gets to know it
        assert asked("127.0.0.2", "/jobs", token=bob.token) == (200, None)
        refused = [e for e in ada.get("/api/v1/me/audit?limit=50")["data"] if e["result"] == "ENETWORK"]
        assert len(refused) == 9 and all(e["event"] == "denied" for e in refused), refused

        # a security officer over the API; an operator may change users alone; the list is shown
        one = "/api/v1/admin/users/" + vera.call("POST", "/api/v1/admin/find", {"name": "ada"}, status=200).json["id"]
        for bad in (["127.0.0.1/8"], ["x"], "127.0.0.2", [1], ["127.0.0.2"] * 17, [None]):
            assert vera.call("PUT", one, {"networks": bad}).status == 400, bad
        assert vera.call("PUT", one, {"networks": ["127.0.0.2/32"]}, status=200).json["networks"] == ["127.0.0.2/32"]
        assert ada.call("PUT", one, {"networks": []}).status == 403
        assert asked("127.0.0.2", "/jobs", token=made) == (200, None) and asked("127.0.0.1", "/jobs", token=made) == (403, "ENETWORK")
        h.kill("registrar")
        h.wait_up()
        assert asked("127.0.0.1", "/jobs", token=made) == (403, "ENETWORK")
        assert vera.get(one)["networks"] == ["127.0.0.2/32"]
        vera.call("PUT", one, {"networks": ["127.0.0.2", "2001:db8::/32"]}, status=200)

        # behind a proxy that is trusted, the address that it says
        h.stop()
        with open(os.path.join(h.dir, "networks"), "w") as f:
            f.write("proxy 127.0.0.1 x-forwarded-for\n")
        with open(h.ini, "a") as f:
            f.write("networks = %s\n" % os.path.join(h.dir, "networks"))
        h.start()
        for said, status in (("2001:db8:7::1", 200), ("2001:db9::1", 403), ("2001:db8::1, 198.51.100.7", 403), ("127.0.0.2", 200)):
            assert h.request("GET", "/jobs", token=made, headers={"X-Forwarded-For": said}).status == status, said
        assert cli("networks", "ada", "any")[1]["networks"] == []
        assert h.request("GET", "/jobs", token=made).status == 200
        h.clean()


def main():
    tests = [an_account_is_counted_with_all_its_tokens, rules_of_networks, operators_come_from_their_networks, an_account_comes_from_its_networks]
    hub.main(tests)


if __name__ == "__main__":
    main()
