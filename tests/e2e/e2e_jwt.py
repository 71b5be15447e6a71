#!/usr/bin/env python3
"""Tokens that must be refused, sent to a running hub. Three sources: the corpus of tests/attack/jwt, which npm's jose made with another site's key;
tokens that this test signs with the hub's own key, taken from its slab with its key file, each with one defect; and, where node and jose can be had,
all of jose's attacks made with the hub's own key. All get the same answer, and all are counted in the audit log.
"""
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "oracle"))
import hub  # noqa: E402
import slab  # noqa: E402

JWT = os.path.join(hub.ROOT, "tests", "attack", "jwt")
TOKEN_KEY = 3  # of a slot
ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551


def b64(raw):
    return base64.urlsafe_b64encode(raw if isinstance(raw, bytes) else raw.encode()).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def compact(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


class Site:
    def __init__(self):
        self.h = h = hub.Hub().start()
        self.ada, self.eve = h.user("ada"), h.user("eve")
        with open(os.path.join(h.state, "keeper", "slab"), "rb") as f:
            data = f.read()
        it = slab.Slab(data, bytes.fromhex(open(os.path.join(h.base, "key")).read().strip()))
        (signing,) = [s for (kind, _), s in it.slots.items() if kind == TOKEN_KEY]
        self.key = ec.derive_private_key(int.from_bytes(it.unwrap(it.root, signing), "big"), ec.SECP256R1())
        self.head, self.payload, self.signature = self.ada.token.split(".")
        self.header, self.claims = json.loads(unb64(self.head)), json.loads(unb64(self.payload))
        self.n_refused = 0

    def sign(self, header, payload, key=None):
        """Header and claims as text or as values; of the two signatures the lower one, which alone is taken."""
        text = "%s.%s" % tuple(b64(x if isinstance(x, (str, bytes)) else compact(x)) for x in (header, payload))
        r, s = utils.decode_dss_signature((key or self.key).sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return text + "." + b64(r.to_bytes(32, "big") + min(s, ORDER - s).to_bytes(32, "big"))

    def status(self, token, path="/api/v1/me"):
        return self.h.request("GET", path, token=token).status

    def refused(self, name, token):
        """One answer for all of them; what can't be a token at all by its length or letters isn't looked at."""
        a = self.h.request("GET", "/api/v1/me", token=token)
        if len(token) > 8000:
            assert a.status == 431, (name, a)
        elif len(token) > 2048 or not re.fullmatch(r"[\w.~+/=-]*", token, re.A):
            assert a.status == 400 and a.json["code"] == "EREQUEST", (name, token[:100], a)
        else:
            assert a.status == 401 and {k: v for k, v in a.json.items() if k != "id"} == self.usual, (name, token[:100], a)
            self.n_refused += 1

    @property
    def usual(self):
        if not hasattr(self, "answer"):
            a = self.h.request("GET", "/api/v1/me", token="x.y.z")
            assert a.status == 401 and a.json["code"] == "EAUTH", a
            self.n_refused += 1
            self.answer = {k: v for k, v in a.json.items() if k != "id"}
        return self.answer


def site():
    if not hasattr(site, "it"):
        site.it = Site()
    return site.it


def strange(s):
    """Well-made, and signed by the right key: only the rows of the database say no."""
    eve = json.loads(unb64(s.eve.token.split(".")[1]))
    return {"jti that nobody has": {"jti": "0" * 31 + "1"}, "another account's jti": {"jti": eve["jti"]}, "another account": {"sub": eve["sub"]}, "an account that isn't": {"sub": "0" * 31 + "1"},
            "the site itself": {"sub": "0" * 32}, "another epoch": {"epoch": s.claims["epoch"] + 1}}


def test_our_spelling_is_taken():
    """So that what follows is refused for its one defect: this test can make tokens that the hub takes."""
    s = site()
    assert s.status(s.ada.token) == 200
    assert s.status(s.sign(s.header, s.claims)) == 200
    assert compact(s.header) == unb64(s.head).decode() and compact(s.claims) == unb64(s.payload).decode()


def test_signed_by_the_right_key():
    s = site()
    c, now = s.claims, s.claims["iat"]
    claims = [dict(c, **more) for more in (
        {"iat": now - 7200, "exp": now - 3600}, {"iat": now + 3600, "exp": now + 7200}, {"nbf": now + 3600}, {"nbf": now - 10}, {"exp": now + 10 * 365 * 86400}, {"exp": str(c["exp"])}, {"exp": -1},
        {"aud": "another"}, {"aud": ["sequester"]}, {"iss": "attacker.example"}, {"iss": c["iss"] + ".attacker.example"}, {"role": ["operator"]}, {"scope": "a" * 1500}, {"admin": True}, {"epoch": str(c["epoch"])})]
    claims += [{k: v for k, v in c.items() if k != gone} for gone in c] + [dict(c, **more) for more in strange(s).values()]
    body = compact(c)
    texts = [body[:-1] + ',"sub":"%s"}' % ("0" * 32), '{"exp":%d,%s' % (now + 99999, body[1:]), body[:-1] + ',"role":"operator"}', json.dumps(c), "[%s]" % body, "{}", "", body + " ", '"x"']
    headers = [dict(s.header, **more) for more in (
        {"alg": "none"}, {"alg": "HS256"}, {"alg": "ES384"}, {"kid": "../../dev/null"}, {"kid": "x' OR 1=1 --"}, {"jku": "https://attacker.example/k"}, {"x5u": "https://attacker.example/k"},
        {"jwk": {"kty": "EC"}}, {"crit": ["exp"]}, {"crit": ["x"], "x": 1}, {"typ": "at+jwt"}, {"cty": "JWT"}, {"b64": False, "crit": ["b64"]}, {"zip": "DEF"})]
    headers += ['{"alg":"none",%s' % compact(s.header)[1:], compact(s.header)[:-1] + ',"alg":"none"}', json.dumps(s.header)]
    for x in claims + texts:
        s.refused(x, s.sign(s.header, x))
    for x in headers:
        s.refused(x, s.sign(x, c))
        s.refused(x, s.sign(x, c, ec.generate_private_key(ec.SECP256R1())))
    r, low = unb64(s.signature)[:32], int.from_bytes(unb64(s.signature)[32:], "big")
    public = s.key.public_key()
    secrets = [public.public_bytes(e, f) for e, f in ((serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
                                                       (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
                                                       (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint))]
    for secret in secrets:  # key confusion: HMAC under what everybody may know
        text = b64(compact(dict(s.header, alg="HS256"))) + "." + s.payload
        mac = hmac.HMAC(secret, hashes.SHA256())
        mac.update(text.encode())
        s.refused("HS256", text + "." + b64(mac.finalize()))
    for name, token in {"the other signature": "%s.%s.%s" % (s.head, s.payload, b64(r + (ORDER - low).to_bytes(32, "big"))), "zeros": "%s.%s.%s" % (s.head, s.payload, b64(bytes(64))),
                        "a key of their own": s.sign(s.header, c, ec.generate_private_key(ec.SECP256R1())), "padded": s.ada.token + "==", "a dot more": s.ada.token + ".",
                        "none": "%s.%s." % (b64(compact(dict(s.header, alg="none"))), s.payload)}.items():
        s.refused(name, token)
    for n in range(1, len(s.ada.token), 13):
        s.refused("cut", s.ada.token[:n])
    assert s.status(s.ada.token) == 200


def test_corpus_of_another_site():
    s = site()
    with open(os.path.join(JWT, "corpus.json")) as f:
        corpus = json.load(f)
    for a in corpus["attacks"] + [{"name": "in order, there", "token": t} for t in corpus["good"]]:
        if a["token"]:
            s.refused(a["name"], a["token"])
    print("# %d tokens of %s" % (len(corpus["attacks"]), corpus["made_with"]), flush=True)


def node_modules(where):
    """A directory with jose, or a Skip that says why not."""
    if not shutil.which("node"):
        raise hub.Skip("node isn't installed")
    version = json.load(open(os.path.join(JWT, "package.json")))["dependencies"]["jose"]
    for name in ("attacks.mjs", "package.json", "package-lock.json"):
        shutil.copy(os.path.join(JWT, name), where)
    at = os.path.join(JWT, "node_modules", "jose")
    if os.path.isdir(at):
        os.makedirs(os.path.join(where, "node_modules"))
        shutil.copytree(at, os.path.join(where, "node_modules", "jose"))
        return
    if not shutil.which("npm"):
        raise hub.Skip("npm isn't installed, and jose isn't beside the test")
    p = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=where, capture_output=True, text=True, timeout=120)
    if p.returncode:
        raise hub.Skip("npm can't get jose %s" % version)


def test_joses_attacks_with_our_own_key():
    s = site()
    with tempfile.TemporaryDirectory() as where:
        node_modules(where)
        n = s.key.private_numbers()
        jwk = {"kty": "EC", "crv": "P-256", **{k: b64(v.to_bytes(32, "big")) for k, v in (("x", n.public_numbers.x), ("y", n.public_numbers.y), ("d", n.private_value))}}
        # of a session that is alive: jose's clock is the moment of that sign-in
        question = {"jwk": jwk, "claims": s.claims, "now": s.claims["iat"], "strange": strange(s)}
        p = subprocess.run(["node", "attacks.mjs"], cwd=where, input=json.dumps(question), capture_output=True, text=True, timeout=120)
        assert p.returncode == 0, p.stderr
    made = json.loads(p.stdout)
    assert [s.status(t) for t in made["good"]] == [200] * len(made["good"])
    late = {"claims: expires now"}  # by a second, which may not be over yet
    for a in made["attacks"]:
        if a["token"] and a["name"] not in late:
            s.refused(a["name"], a["token"])
    assert len(made["attacks"]) > 190 and any(a["name"].startswith("rows: ") for a in made["attacks"])
    print("# %d tokens of %s, signed with this hub's key where an attack can be" % (len(made["attacks"]), made["made_with"]), flush=True)


def test_other_places_bring_no_token():
    s = site()
    t = s.ada.token
    for path in ("/api/v1/me?access_token=" + t, "/api/v1/me?token=" + t, "/api/v1/me?Authorization=Bearer%20" + t):
        a = s.h.request("GET", path)
        assert (a.status, a.json["code"]) in ((400, "EREQUEST"), (401, "EAUTH")), a
    for headers in ({"Authorization": "Basic " + b64("ada:" + s.ada.password)}, {"Authorization": t}, {"Authorization": "Bearer"}, {"Authorization": "Bearer %s %s" % (t, t)},
                    {"Cookie": "token=" + t}, {"Cookie": "Authorization=" + t}, {"X-Api-Key": t}, {"Authorization": "Bearer " + t, "X-Auth-Token": s.eve.token}):
        a = s.h.request("GET", "/api/v1/me", headers=headers)
        assert (a.status, a.json["code"]) in ((400, "EREQUEST"), (401, "EAUTH")), (headers, a)


def test_replay_after_the_end():
    s = site()
    for end in ("logout", "revoke", "disable"):
        u = s.h.user("replay-" + end)
        tokens = [u.token, u.login()]
        body = json.loads(unb64(tokens[0].split(".")[1]))
        again = s.sign(s.header, dict(body, iat=body["iat"] - 1))  # a fresh signature under a row that is dead
        assert [s.status(t) for t in tokens + [again]] == [200] * 3
        if end == "logout":
            for t in tokens:
                assert s.h.request("POST", "/api/v1/logout", token=t).status == 200
        else:
            s.h.admin_ok("user-" + end, {"name": u.name})
        for t in tokens + [again]:
            s.refused("replay after " + end, t)
    assert s.status(s.ada.token) == 200


def test_all_of_it_is_in_the_audit_log():
    s = site()

    def counted():
        p = subprocess.run([hub.CLI, "audit", "tail", "--log", s.h.log_dir(), "--json", "--limit", "100000"], capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
        entries = next(v for v in json.loads(p.stdout).values() if isinstance(v, list))
        return sum(e["a"] for e in entries if e["event"] == "failures_counted")
    hub.wait_for("every refusal to be counted", lambda: counted() >= s.n_refused, 20)
    print("# %d refusals, %d counted in the audit log" % (s.n_refused, counted()), flush=True)
    assert s.n_refused > 300  # some fifty more where jose is
    s.h.verify_log()


if __name__ == "__main__":
    try:
        hub.main([test_our_spelling_is_taken, test_signed_by_the_right_key, test_corpus_of_another_site, test_joses_attacks_with_our_own_key, test_other_places_bring_no_token,
                  test_replay_after_the_end, test_all_of_it_is_in_the_audit_log])
    finally:
        if hasattr(site, "it"):
            site.it.h.__exit__(None)
