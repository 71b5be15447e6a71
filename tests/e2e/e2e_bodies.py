#!/usr/bin/env python3
"""Every address that takes a JSON body, with bodies that are wrong in every way: registrar's real handlers behind the real gateway, with database, log and keeper.

A body begins as the example of docs/openapi.json, with real passwords, codes, ids and tokens in it, so that much of it gets past the first look; then values are exchanged, fields
taken out, added, written twice, bytes changed, cut off. What must hold: each answer is one that docs/openapi.json knows, none is a 5xx, no process dies, and nobody's account is
lost. SQ_BODIES is how many bodies (1,200), SQ_SEED what they are drawn from; a sanitizer build makes a finding of what this one survives.
"""
import copy
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import e2e_register  # noqa: E402
import hub  # noqa: E402

N_BODY, SEED = int(os.environ.get("SQ_BODIES", "1200")), int(os.environ.get("SQ_SEED", "20261122"))
OPEN = dict.fromkeys(hub.RATES, "all=1000000")
FORM = "application/x-www-form-urlencoded"
PASSKEY = {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "clientExtensionResults": {},
           "response": {"clientDataJSON": "e30", "authenticatorData": "AAAA", "signature": "MEQ", "userHandle": "AAAA", "attestationObject": "oA", "transports": ["usb"]}}
JUNK = [None, True, False, 0, -1, 1, 7, 2 ** 31, 2 ** 53, 2 ** 63 - 1, -2 ** 63, 1.5, 1e308, -0.0, "", " ", "a", "\0", "a\0b", "\u00e9" * 60, "\U0001f600", "\u202e", "a" * 65, "a" * 257, "a" * 1024,
        "a" * 1025, "a" * 40000, "0" * 32, "0" * 31, "0" * 64, "f" * 64, "G" * 64, "0" * 6, "999999", "-", "%s%n%x", "../../etc/passwd", "' OR 1=1 --", "<script>", "a@b", "a@uni.example",
        "@", "a@" + "b" * 250 + ".example", "A@UNI.EXAMPLE", "2026-02-31T00:00:00Z", "2027-01-31T00:00:00Z", "9999-12-31T23:59:59Z", "WDJB-MJHT", "BCDF-GHJK", "read", "read write results", "admin", "security", "user",
        [], [None], ["read"], ["read", "read"], ["read"] * 300, ["10.0.0.0/8"] * 17, ["10.0.0.0/8"], ["::/0", "0.0.0.0/0"], ["10.0.0.1/8"], [[]], [{}], {}, {"a": 1}, {"a": {"a": {"a": {}}}}, PASSKEY,
        dict(PASSKEY, id="", rawId=""), dict(PASSKEY, response={}), dict(PASSKEY, response=[]), dict(PASSKEY, rawId="A" * 2000), "urn:ietf:params:oauth:grant-type:device_code"]


def operations():
    with open(os.path.join(hub.ROOT, "docs", "openapi.json"), encoding="utf-8") as f:
        paths = json.load(f)["paths"]
    out = []
    for path, item in sorted(paths.items()):
        for method, op in sorted(item.items()):
            content = op.get("requestBody", {}).get("content", {}) if isinstance(op, dict) else {}
            if "application/json" in content:
                out.append((method.upper(), path, content["application/json"].get("example", {}), FORM in content))
    assert len(out) > 30, len(out)
    return out


class Crowd:
    """Who asks: nobody, a user, a user with a second factor, a security officer with a fresh one."""

    def __init__(self, w, rng):
        self.w, self.h, self.rng = w, w.h, rng
        self.users = [self.h.user("ulla"), self.h.user("tina"), self.h.user("vera", "security")]
        self.victim = self.h.user("victim").get("/api/v1/me")["id"]
        for u in self.users[1:]:
            u.enrol()
        self.h.panel()
        self.job = self.users[0].run_job(self.users[0].upload()["id"])["id"]
        self.upload, self.real = self.users[0].upload()["id"], ["0" * 32]

    def fresh(self, u):
        """Signed in, whatever the last body did to this account."""
        if u and u.call("GET", "/api/v1/me").status != 200:
            u.login()
        return u

    def truth(self, key, u):
        """What a well-behaved client would write there, or None."""
        if key in ("password", "old"):
            return u.password if u else "seven-Otters-climb-81"
        if key == "code" and u and u.secret:
            return u.code()
        if key in ("ticket", "user_code", "device_code", "id"):
            return self.rng.choice(self.real)
        return {"name": u.name if u else "nobody", "upload": self.upload, "panel": "1kgp3-chr22"}.get(key)

    def learn(self, u, body, a):
        """Ids, tickets and codes that were given, for later bodies; a password that was taken."""
        j = a.json if a.body and a.status < 300 else {}
        self.real += [j[k] for k in ("ticket", "pending", "id", "user_code", "device_code") if isinstance(j.get(k), str)]
        self.real = self.real[-40:]
        if u and a.status == 200 and isinstance(body, dict) and isinstance(body.get("old"), str):
            u.password = body["password"]
        if u and isinstance(j.get("token"), str) and "role" in j:
            u.token = j["token"]


def spoil(rng, body, is_form):
    """(the body as it was meant, its bytes, its type)"""
    body = copy.deepcopy(body)
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 3))):
        how = rng.randrange(6)
        if how < 4 and body:
            body[rng.choice(sorted(body))] = copy.deepcopy(rng.choice(JUNK))
        elif how == 4 and body:
            del body[rng.choice(sorted(body))]
        else:
            body[rng.choice(("x", "role", "password", "", "cookie", "seal_to", "__proto__", "a" * 300))] = copy.deepcopy(rng.choice(JUNK))
    if is_form and rng.random() < .5:
        return body, "&".join("%s=%s" % (k, v) for k, v in body.items()).encode("utf-8", "surrogatepass"), FORM
    raw = json.dumps(body, ensure_ascii=rng.random() < .5).encode("utf-8", "surrogatepass")
    how = rng.random()
    if how < .05:
        raw = raw[:rng.randrange(len(raw) + 1)]
    elif how < .1 and raw:
        at = rng.randrange(len(raw))
        raw = raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1:]
    elif how < .13 and len(raw) > 2:
        raw = raw[:-1] + b"," + raw[1:]  # every key twice
    elif how < .15:
        raw = b'{"a":' * 60 + b"1" + b"}" * 60
    return body, raw, "application/json" if rng.random() < .98 else rng.choice(("", "text/plain", "application/json; charset=latin1"))


def every_body():
    rng = random.Random(SEED)
    w = e2e_register.World(register="open")
    with open(w.h.ini) as f:
        lines = [x for x in f if not x.startswith("rate_")]
    with open(w.h.ini, "w") as f:
        f.writelines(lines + ["%s = %s\n" % kv for kv in OPEN.items()])
    todo, seen = operations(), {}
    with w:
        crowd, h = Crowd(w, rng), w.h
        before = {role: h.pids(role) for role in hub.ROLES}
        for n in range(N_BODY):
            method, path, example, is_form = todo[n % len(todo)]
            u = crowd.users[0] if "/jobs" in path and rng.random() < .7 else crowd.users[2] if "/admin/" in path and rng.random() < .8 else rng.choice(crowd.users + [None])
            body = {k: (crowd.truth(k, u) if rng.random() < .7 else None) or v for k, v in example.items() if rng.random() < (.2 if k == "passkey" else .95)}
            body, raw, kind = spoil(rng, body, is_form)
            ident = crowd.victim if "/admin/" in path else rng.choice((crowd.job, "job-20260101-000000-0123456789abcdef") if "/jobs/" in path else crowd.real)
            a = h.request(method, path.replace("{id}", ident), raw, token=u and crowd.fresh(u).token, headers={"Content-Type": kind} if kind else {})
            assert a.status < 500, (n, method, path, raw[:300], a)
            seen[path] = seen.get(path, set()) | {a.status}
            crowd.learn(u, body, a)
        print("# %d bodies, seed %d; answers by address: %s" % (N_BODY, SEED, "; ".join("%s %s" % (p, ",".join(map(str, sorted(s)))) for p, s in sorted(seen.items()))), flush=True)
        assert {role: h.pids(role) for role in hub.ROLES} == before
        assert all(any(s < 500 for s in got) for got in seen.values()) and sum(200 in got or 201 in got or 202 in got for got in seen.values()) >= len(seen) // 2, seen
        for u in crowd.users:
            crowd.fresh(u)
            assert u.get("/api/v1/me")["name"]
        h.verify_log()


if __name__ == "__main__":
    hub.main([every_body])
