#!/usr/bin/env python3
"""Keys that the root key wraps are replaced while the service runs: the one that signs tokens. What the old key made goes on
being good, or stops at once where that was asked; killed in the middle nothing is lost."""
import base64
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import hub  # noqa: E402


def rotate(h, *args):
    return subprocess.run([hub.CLI, "admin", "key", "rotate", *args, "--run-dir", os.path.dirname(h.admin_path)], text=True, capture_output=True, timeout=120)


def rotate_ok(h, *args):
    p = rotate(h, *args)
    assert p.returncode == 0, (args, p.stdout, p.stderr)
    return p.stdout


def kid(token):
    head = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]


def status(h, token):
    return h.request("GET", "/api/v1/me", token=token).status


def events(h, name):
    p = subprocess.run([hub.CLI, "audit", "tail", "--log", h.log_dir(), "--limit", "100000", "--json"], text=True, capture_output=True, timeout=60)
    return [x for x in json.loads(p.stdout)["data"] if x["event"] == name]


def test_token_key():
    with hub.Hub() as h:
        ada = h.user("ada")
        ada.login()
        first = ada.token
        made = ada.call("POST", "/api/v1/me/tokens", {"name": "cluster", "scopes": ["read"], "days": 30, "password": ada.password}, status=201).json
        assert "--now goes with --tokens" in rotate(h, "--now").stderr
        said = rotate_ok(h, "--tokens")
        assert made["expires"][:10] in said, (made, said)  # the API token lives longest
        assert status(h, first) == 200 and status(h, made["token"]) == 200
        ada.login()
        second = ada.token
        assert kid(second) != kid(first) == kid(made["token"])
        assert status(h, second) == 200
        h.stop()
        h.start()
        assert [status(h, t) for t in (first, made["token"], second)] == [200, 200, 200]

        # killed before the new key stands, and behind it: it is asked again, and nobody has noticed
        for fault in ("keeper.replace_kept", "keeper.replaced"):
            h.arm(fault)
            rotate(h, "--tokens")
            hub.wait_for("the fault", lambda: not h.is_armed(), 30)
            h.wait_up()
            hub.wait_for("the old tokens", lambda: [status(h, t) for t in (first, second)] == [200, 200], 30)
            ada.login()
            assert status(h, ada.token) == 200
        rotate_ok(h, "--tokens")
        assert [status(h, t) for t in (first, made["token"], second, ada.token)] == [200] * 4

        # no more than the verifiers offer
        while True:
            p = rotate(h, "--tokens")
            if p.returncode:
                break
        assert "--now" in p.stderr, p.stderr
        assert status(h, first) == 200

        # the old key has leaked
        said = rotate_ok(h, "--tokens", "--now")
        assert "ended" in said, said
        assert [status(h, t) for t in (first, made["token"], second, ada.token)] == [401] * 4
        ada.login()
        assert status(h, ada.token) == 200
        told = events(h, "keys_replaced")
        assert {x["a"] for x in told} == {1} and len([x for x in told if x["result"] == "OK"]) >= 4, told
        h.verify_log()


hub.main([test_token_key])
