#!/usr/bin/env python3
"""A captured gateway, runner or storer: the test stands in its place, holds its sockets, and sends every message of
messages.def on each of them, as its role may and as it may not (DESIGN §1, invariant 6)."""
import base64
import contextlib
import json
import os
import re
import socket
import sqlite3
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import captured  # noqa: E402
import hub  # noqa: E402
import wire  # noqa: E402

ERR = {int(no): name for name, no in re.findall(r"SQ_ERR\((\w+),\s*(\d+)", open(os.path.join(hub.ROOT, "src/lib/core/err.def")).read())}
ROUTES = [(name, int(no), method, path, who, kind) for name, no, method, path, who, _, kind in
          re.findall(r'SQ_ROUTE\((\w+),\s*(\d+),\s*(\w+),\s*"([^"]+)",\s*(\w+),\s*\w+,\s*(\w+),\s*(\w+)', open(os.path.join(hub.ROOT, "src/lib/http/routes.def")).read())]
ROUTE = {r[0]: r[1] for r in ROUTES}
NULL = os.open("/dev/null", os.O_RDWR)
CLOSING = 0xFFFFFFFF
ANSWERS = {r.reply for r in hub.WIRE.rows} - {"none"}


# ---- the corpus ----

def minimal(row):
    small = {"STR": "", "BLOB": b"", "IDS": [], "FDS": [], "FD": NULL}
    return {f: bytes(n) if kind == "BYTES" else small.get(kind, 0) for kind, f, n in row.fields}


def maximal(row):
    def big(kind, n):
        if kind in wire.NUMBERS:
            return (1 << 8 * wire.NUMBERS[kind]) - 1
        return {"STR": b"x" * (n or 0), "BLOB": b"\xff" * (n or 0), "BYTES": b"\xff" * (n or 0), "IDS": [b"\xff" * 16] * (n or 0),
                "FDS": [NULL] * (n or 0), "FD": NULL}[kind]
    return {f: big(kind, n) for kind, f, n in row.fields}


def packet(row, fields, call=7):
    return hub.WIRE.encode(row.name, call, fields)


def malformed(row):
    """(what, bytes, descriptors): none of these is a message."""
    data, fds = packet(row, minimal(row))
    yield "trailing byte", data + b"\0", fds
    yield "reserved bytes", data[:2] + b"\1" + data[3:], fds
    yield "one descriptor too many", data, fds + [NULL]
    if row.fields:
        yield "cut by one byte", data[:-1], fds
        yield "no fields", data[:12], fds
    if fds:
        yield "no descriptor", data, []
    for kind, f, n in row.fields:
        if kind in ("STR", "BLOB") and n < 60000:
            huge = dict(minimal(row), **{f: b"x" * (n + 1)})
            yield f + " too long", packet(row, huge)[0], fds
        if kind == "STR":
            yield f + " with a line feed", packet(row, dict(minimal(row), **{f: b"a\nb"}))[0], fds
            yield f + " not UTF-8", packet(row, dict(minimal(row), **{f: b"\xff\xfe"}))[0], fds
        if kind == "IDS":
            yield f + " with a count beyond its bytes", data[:-4] + struct.pack("<I", 3) if data.endswith(bytes(4)) else data[:-1], fds


def may(row, me, peer):
    return row.sender in (me, "anyone") and row.receiver in (peer, "anyone")


# ---- playing ----

class Played:
    def __init__(self, h, role):
        self.h, self.role, self.c = h, role, captured.Captured(h, role)
        h.start(wait_up=False)
        self.now = self.c.next()
        self.n_refused = 0
        hub.wait_for("the others to be up", self.is_up, 40)
        self.peers = [p for p in captured.PEERS[role]]
        others = [p for p in hub.ROLES if p != role]
        self.before = hub.wait_for("all of the others", lambda: (lambda now: now if all(now.values()) else None)({p: self.h.pids(p) for p in others}), 40)

    def is_up(self):
        with contextlib.suppress(OSError, wire.WireError, wire.Down):
            # without a storer that answers, registrar doesn't finish its recovery
            return self.h.admin("status")[1].get("state") in ("up", "waiting" if self.role == "storer" else "up")

    def again(self):
        self.now = self.c.next()
        return self.now

    def refused(self, peer, what, data, fds=()):
        """After this packet the link is cut and parent ends the process that sent it."""
        link = self.now.link(peer)
        try:
            link.send_raw(data, list(fds))
            self.cut(link, what)
        except wire.Down:
            pass
        assert self.now.is_over(10), "%s: the sender was not ended" % what
        self.again()
        self.n_refused += 1

    @staticmethod
    def cut(link, what):
        until = time.monotonic() + 10 * hub.PATIENCE
        while time.monotonic() < until:
            try:
                m = link.recv()
            except (wire.Down, OSError):
                return
            assert m.name not in ANSWERS, "%s was answered: %s" % (what, m.name)
        raise AssertionError("%s: the link was not cut" % what)

    def ask(self, peer, name, /, **fields):
        return self.now.link(peer).ask(name, **fields)

    def code(self, peer, name, /, **fields):
        m = self.ask(peer, name, **fields)
        return ERR[m.code] if m.name == "error_is" else m.name

    def others_live(self):
        now = {p: self.h.pids(p) for p in self.before}
        assert now == self.before, (self.before, now)

    def done(self):
        self.c.done()
        self.h.programs = hub.BUILD
        self.h.stop()


def play_corpus(p):
    """Every message on every link of this process."""
    me, t0 = p.role, time.monotonic()
    for peer in p.peers:
        for row in hub.WIRE.rows:
            if row.name == "hello":
                p.refused(peer, "a second hello", *packet(row, dict(table_hash=hub.WIRE.hash(), role=wire.ROLES.index(me)), 0))
            elif not may(row, me, peer):
                p.refused(peer, "%s to %s" % (row.name, peer), *packet(row, (minimal if row.no % 4 else maximal)(row)))
    p.others_live()
    print("# %s: %d messages that it may not send, %.1f s" % (me, p.n_refused, time.monotonic() - t0), flush=True)


def play_malformed(p):
    n0, t0 = p.n_refused, time.monotonic()
    for peer in p.peers:
        p.refused(peer, "no number", bytes(12))
        p.refused(peer, "an unknown number", struct.pack("<HHQ", 999, 0, 7))
        p.refused(peer, "an empty message's half", b"\x14\0")
        p.refused(peer, "70,000 bytes", b"\x14\0" + bytes(69998))
        for row in hub.WIRE.rows:
            if may(row, p.role, peer) and row.name != "hello":
                for what, data, fds in malformed(row):
                    p.refused(peer, "%s: %s" % (row.name, what), data, fds)
    p.others_live()
    print("# %s: %d malformed packets, %.1f s" % (p.role, p.n_refused - n0, time.monotonic() - t0), flush=True)


def play_allowed(p):
    """What it may send, with nothing and with too much in each field: an answer or a cut, and nobody falls over."""
    for peer in p.peers:
        for row in hub.WIRE.rows:
            if row.sender != p.role or row.receiver != peer:
                continue
            for fields in (minimal(row), maximal(row)):
                data, fds = packet(row, fields, 9 if row.reply != "none" else 0)
                if len(data) > wire.MAX_BYTES:
                    continue
                link = p.now.link(peer)
                try:
                    link.send_raw(data, fds)
                    m = link.recv() if row.reply != "none" else None
                except (wire.Down, OSError):
                    assert p.now.is_over(10), row.name
                    p.again()
                    continue
                if m and m.name == row.reply and m.name not in ("ok", "api_is"):
                    raise AssertionError("%s to %s was answered with %r" % (row.name, peer, m))
                if m and m.name == "api_is":
                    assert m.status >= 400 or row.name == "api", m
                for fd in [v for k, f, _ in (m.row.fields if m else []) if k == "FD" for v in [m.fields[f]]]:
                    os.close(fd)
        for name in ("ok", "error_is"):  # an answer to a question that nobody asked is dropped
            p.now.link(peer).send(name, 1 << 60, **({"code": 8} if name == "error_is" else {}))
    time.sleep(0.3)
    p.others_live()


def play_parent(p):
    """Parent believes nobody about a process that is trusted more, and takes no orders."""
    for row in hub.WIRE.rows:
        if row.receiver not in ("parent", "anyone") or (row.sender not in ("anyone", p.role)) or row.name == "hello":
            data, fds = packet(row, minimal(row))
            with contextlib.suppress(wire.Down):
                p.now.parent.send_raw(data, fds)
            assert p.now.is_over(10), "%s to parent" % row.name
            p.again()
    for role in ("keeper", "registrar", "jailer", "parent", "admin"):
        p.now.parent.send("bad_peer", role=wire.ROLES.index(role), message_no=1)
        assert p.now.is_over(10), "accused " + role
        p.again()
    p.others_live()


# ---- what is there to be stolen ----

class World:
    """Two users with a job each, made by a hub in order; then the hub stands still."""

    def __init__(self, h):
        self.h = h
        h.panel()
        self.ada, self.bob = h.user("ada"), h.user("bob")
        self.uploads = {u.name: u.upload()["id"] for u in (self.ada, self.bob)}
        self.jobs = {u.name: u.run_job(self.uploads[u.name], mode="qconly")["id"] for u in (self.ada, self.bob)}
        self.bob_upload = self.bob.upload()["id"]  # ready, not used yet
        self.reports = {u.name: u.call("GET", "/api/v1/jobs/%s/report" % self.jobs[u.name], status=200).body for u in (self.ada, self.bob)}
        h.verify_log()
        h.stop()

    def db(self, sql, *args):
        with contextlib.closing(sqlite3.connect(os.path.join(self.h.state, "registrar", "registrar.db"))) as db:
            return db.execute(sql, args).fetchall()

    def whole(self):
        """The real programs again: all is as it was."""
        self.h.programs = hub.BUILD
        self.h.start()
        for u in (self.ada, self.bob):
            u.login()
            assert u.call("GET", "/api/v1/jobs/%s/report" % self.jobs[u.name], status=200).body == self.reports[u.name]
            assert u.get("/api/v1/jobs/" + self.jobs[u.name])["state"] == "done"
        assert self.bob.get("/api/v1/uploads/" + self.bob_upload)["state"] == "ready"
        self.h.verify_log()


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def forged(token, other_sub):
    """Tokens that keeper never signed."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    head, claims, sig = token.split(".")
    c = json.loads(unb64(claims))
    h = json.loads(unb64(head))
    own = ec.generate_private_key(ec.SECP256R1())

    def signed(head, claims):
        text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
        r, s = decode_dss_signature(own.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return text + "." + b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    yield "", "no token"
    yield head + "." + b64(json.dumps(dict(c, sub=other_sub)).encode()) + "." + sig, "another subject"
    yield head + "." + b64(json.dumps(dict(c, exp=c["exp"] + 86400)).encode()) + "." + sig, "a later end"
    yield head + "." + b64(json.dumps(dict(c, role="operator")).encode()) + "." + sig, "another role"
    yield b64(json.dumps(dict(h, alg="none")).encode()) + "." + claims + ".", "alg none"
    yield b64(json.dumps(dict(h, alg="none")).encode()) + "." + claims + "." + sig, "alg none, signed"
    yield b64(json.dumps(dict(h, alg="HS256")).encode()) + "." + claims + "." + b64(bytes(32)), "HS256"
    yield signed(h, c), "signed with another key"
    yield signed(h, dict(c, sub=other_sub)), "another subject, signed with another key"
    yield head + "." + claims + "." + b64(bytes(64)), "r = s = 0"
    yield head + "." + claims + "." + sig[:-2], "a short signature"
    yield head + "." + claims, "no signature"
    yield token + "A", "a character more"
    yield "a.b.c", "no base64 of anything"


def api(p, route, token="", params=(), body=b"", query=""):
    m = p.ask("registrar", "api", route=ROUTE[route] if isinstance(route, str) else route, request_id=os.urandom(8), token=token, address="192.0.2.1",
              params=b"".join(x.encode() + b"\n" for x in params), query=query, body=json.dumps(body).encode() if isinstance(body, dict) else body)
    return (m.status, m.body) if m.name == "api_is" else (0, ERR[m.code].encode())


def open_upload(p, token):
    return p.ask("registrar", "upload_open", request_id=os.urandom(8), token=token, address="192.0.2.1", length_hint=100)


def rights_of_gateway(w, p):
    """With ada's live token, which passed through it, and none of bob's."""
    status, body = api(p, "login", body={"name": "ada", "password": w.ada.password})
    assert status == 200, body
    token = json.loads(body)["token"]
    ids = {"job": w.jobs["bob"], "upload": w.bob_upload}
    (bob_sub,), = w.db("SELECT owner_id FROM upload WHERE id = ?", bytes.fromhex(w.bob_upload))
    sub = json.loads(unb64(token.split(".")[1]))["sub"]
    other = bob_sub.hex() if len(sub) == 32 else b64(bob_sub)
    signed_in = [r for r in ROUTES if r[4] != "ANYONE" and r[5] == "JSON"]
    for bad, what in forged(token, other):
        for name, no, _, path, _, _ in signed_in:
            params = [w.jobs["ada"] if "/jobs/" in path else w.uploads["ada"]] if "{id}" in path else []
            status, body = api(p, no, bad, params)
            assert status == 401, (what, name, status, body)
        m = open_upload(p, bad)
        assert m.name == "error_is" and ERR[m.code] == "EAUTH", (what, m)
        for route in ("job_report", "job_package"):
            for look in (0, 2):
                code = p.code("registrar", "download_open", route=ROUTE[route], request_id=bytes(8), token=bad, address="", params=(w.jobs["ada"] + "\n").encode(),
                              has_range=look, first=0, last=0)
                assert code == "EAUTH", (what, route, code)
    assert api(p, "me", token)[0] == 200
    for name, no, _, path, who, _ in signed_in:  # what is bob's doesn't exist for ada
        if "{id}" in path:
            status, body = api(p, no, token, [ids["job"] if "/jobs/" in path else ids["upload"]], {"job_claim": {"password": w.ada.password}, "job_confirm": {"check": "x"}, "factor_rename": {"name": "x", "password": w.ada.password}}.get(name, b""))
            assert status == 404 or (status == 403 and who not in ("USER", "SIGNED_IN")), (name, status, body)
        elif name not in ("logout", "job_submit"):
            status, body = api(p, no, token)
            assert w.jobs["bob"].encode() not in body and w.bob_upload.encode() not in body, name
    status, body = api(p, "job_submit", token, body={"upload": w.bob_upload, "panel": "1kgp3-chr22"})
    assert status in (400, 404), (status, body)
    for route in ("job_report", "job_package"):
        for look in (0, 1, 2):
            code = p.code("registrar", "download_open", route=ROUTE[route], request_id=bytes(8), token=token, address="", params=(w.jobs["bob"] + "\n").encode(),
                          has_range=look, first=0, last=9)
            assert code == "ENOTFOUND", (route, code)
    status, body = api(p, "job_claim", token, [w.jobs["ada"]], {"password": "not-her-Password-1234"})  # step-up needs the password itself
    assert status in (401, 409), (status, body)
    uploads_of_gateway(w, p, token)
    tickets_of_gateway(w, p, token)
    assert api(p, "logout", token, body={})[0] == 200
    assert api(p, "me", token)[0] == 401, "a revoked token"


def uploads_of_gateway(w, p, token):
    """Keys for new parts of what it is uploading, each once; for nothing else."""
    closed = w.db("SELECT id FROM object")
    for (i,) in closed:
        for part in (0, 1, 4095, CLOSING):
            code = p.code("keeper", "part_key", object_id=i, part_no=part)
            assert code in ("EGRANT", "EKEYGONE", "ENOTFOUND"), (i.hex(), part, code)
    for i in (bytes(16), b"\xff" * 16, os.urandom(16)):
        assert p.code("keeper", "part_key", object_id=i, part_no=0) in ("ENOTFOUND", "EGRANT")
    up = open_upload(p, token)
    assert up.name == "upload_is", up
    seen = set()
    for part in (0, 1, 2, 4095):
        k = p.ask("keeper", "part_key", object_id=up.object_id, part_no=part)
        assert k.name == "part_key_is" and k.derived_key not in seen and k.salt not in seen
        seen |= {k.derived_key, k.salt}
        assert p.code("keeper", "part_key", object_id=up.object_id, part_no=part) == "EGRANT", "a part's key, twice"
    assert p.code("keeper", "part_key", object_id=up.object_id, part_no=CLOSING - 1) == "ERANGE"
    assert p.code("keeper", "part_key", object_id=up.object_id, part_no=CLOSING) == "part_key_is"
    for part in (3, 0, CLOSING):
        assert p.code("keeper", "part_key", object_id=up.object_id, part_no=part) == "EGRANT", "after the closing part"
    os.write(up.file[0], b"x" * 300)
    m = p.ask("registrar", "upload_close", request_id=bytes(8), upload_id=up.upload_id, name="x.vcf", n_part=1, plain_bytes=108, sealed_bytes=300, sha256=bytes(32))
    assert m.name in ("api_is", "error_is") and (m.name == "error_is" or m.status >= 400), m  # what it wrote is no sealed object: the sandbox never sees it
    os.close(up.file[0])
    assert p.code("keeper", "part_key", object_id=up.object_id, part_no=7) in ("EGRANT", "EKEYGONE", "ENOTFOUND")
    for i in (w.bob_upload, w.uploads["bob"]):
        m = p.ask("registrar", "upload_close", request_id=bytes(8), upload_id=bytes.fromhex(i), name="x", n_part=1, plain_bytes=1, sealed_bytes=1, sha256=bytes(32))
        assert m.name == "error_is" or m.status >= 400, m
        p.code("registrar", "upload_abort", upload_id=bytes.fromhex(i), code=102)
    up = open_upload(p, token)  # lies about the length
    os.write(up.file[0], b"y" * 100)
    m = p.ask("registrar", "upload_close", request_id=bytes(8), upload_id=up.upload_id, name="x.vcf", n_part=1, plain_bytes=1 << 50, sealed_bytes=1 << 50, sha256=bytes(32))
    assert m.name == "error_is" or m.status >= 400, m
    os.close(up.file[0])
    up = open_upload(p, token)
    assert p.code("registrar", "upload_abort", upload_id=up.upload_id, code=102) == "ok"
    assert p.code("keeper", "part_key", object_id=up.object_id, part_no=0) != "part_key_is" or hub.wait_for(
        "the key to be gone", lambda: p.code("keeper", "part_key", object_id=up.object_id, part_no=1 + len(seen)) == "EKEYGONE", 10)
    os.close(up.file[0])


def tickets_of_gateway(w, p, token):
    """A ticket is good once, and only after registrar has written the event."""
    for ticket in (bytes(16), b"\xff" * 16, os.urandom(16), *(t for (t,) in w.db("SELECT id FROM task"))):
        assert p.code("runner", "stream", ticket=ticket) == "ENOTFOUND"
        p.code("registrar", "download_end", ticket=ticket, n_sent=1, **({"is_complete": 1} if "is_complete" in hub.WIRE.by_name["download_end"].text else {}))
    m = p.ask("registrar", "download_open", route=ROUTE["job_report"], request_id=os.urandom(8), token=token, address="", params=(w.jobs["ada"] + "\n").encode(),
              has_range=0, first=0, last=0)
    assert m.name == "download_is", m
    s = p.ask("runner", "stream", ticket=m.ticket)
    with os.fdopen(s.pipe, "rb") as f:
        assert f.read() == w.reports["ada"]  # within ada's rights, and recorded
    assert p.code("runner", "stream", ticket=m.ticket) == "ENOTFOUND", "a ticket, twice"
    events = json.loads(api(p, "job_audit", token, [w.jobs["ada"]], query="limit=100")[1])["data"]
    assert sum(e["event"] == "download_started" for e in events) == 2, events


def test_captured_gateway():
    with hub.Hub() as h:
        w = World(h)
        p = Played(h, "gateway")
        rights_of_gateway(w, p)
        play_allowed(p)
        play_parent(p)
        play_corpus(p)
        play_malformed(p)
        p.done()
        w.whole()
        denied = [e for e in w.bob.get("/api/v1/me/audit?limit=100")["data"] if e["event"] == "denied"]
        assert denied, "what was asked of bob's is in bob's history"


def keys_of_runner(w, p):
    """Runner opens what a live grant of that task names, while it lives."""
    tasks = w.db("SELECT id, fence FROM task")
    objects = [i for (i,) in w.db("SELECT id FROM object")]
    for task, fence in tasks[:6] + [(bytes(16), 0), (os.urandom(16), 1)]:
        for i in objects[:8]:
            for f in {0, fence, fence + 1}:
                assert p.code("keeper", "task_open_key", task_id=task, fence=f, object_id=i, part_no=0, salt=bytes(32)) == "EGRANT"
                assert p.code("keeper", "task_seal_key", task_id=task, fence=f, object_id=i, part_no=0) == "EGRANT"
        assert p.code("keeper", "entry_keys", task_id=task, fence=fence, entry_no=0) == "EGRANT"
    registrar, got = p.now.link("registrar"), []
    t = threading.Thread(target=lambda: got.append(w.ada.call("GET", "/api/v1/jobs/%s/report" % w.jobs["ada"])), daemon=True)
    t.start()
    while True:
        m = registrar.recv()
        if m.name == "task_stream":
            break
    ask = dict(task_id=m.task_id, fence=m.fence, object_id=m.object_id)
    assert p.code("keeper", "task_open_key", part_no=0, salt=bytes(32), **ask) == "task_key_is", "that is its work"
    for wrong in (dict(ask, fence=m.fence + 1), dict(ask, fence=0), dict(ask, task_id=tasks[0][0]), *(dict(ask, object_id=i) for i in objects if i != m.object_id)):
        assert p.code("keeper", "task_open_key", part_no=0, salt=bytes(32), **wrong) == "EGRANT", wrong
    assert p.code("keeper", "task_seal_key", part_no=0, **ask) == "EGRANT"
    assert p.code("keeper", "entry_keys", task_id=m.task_id, fence=m.fence, entry_no=0) == "EGRANT"
    os.close(m.file)
    registrar.fail(m, 8)
    t.join(20)
    assert got and got[0].status == 500, got
    hub.wait_for("the grant to end", lambda: p.code("keeper", "task_open_key", part_no=0, salt=bytes(32), **ask) == "EGRANT", 10)
    for task, fence in tasks:  # work that is over stays over, whatever it says now
        p.code("registrar", "task_ended", task_id=task, fence=fence, code=0, line=0, column=0, field="", detail="", cpu_ms=0, peak_kib=0, wall_ms=0, walls=0,
               sums=struct.pack(">IQQ", 1, 1, 1) + bytes(32), counts=bytes(90))
        p.code("registrar", "task_ended", task_id=task, fence=fence, code=141, line=0, column=0, field="", detail="", cpu_ms=0, peak_kib=0, wall_ms=0, walls=0, sums=b"", counts=b"")
    assert w.ada.get("/api/v1/jobs/" + w.jobs["ada"])["state"] == "done"


def test_captured_runner():
    with hub.Hub() as h:
        w = World(h)
        p = Played(h, "runner")
        h.wait_up()
        keys_of_runner(w, p)
        play_parent(p)
        for peer in ("keeper", "jailer"):
            p.peers = [peer]
            play_corpus(p)
        p.peers = ["registrar"]
        play_malformed(p)
        p.done()
        w.whole()


def test_captured_storer():
    with hub.Hub() as h:
        w = World(h)
        p = Played(h, "storer")
        play_corpus(p)
        play_parent(p)
        p.done()
        w.whole()


if __name__ == "__main__":
    hub.main([test_captured_gateway, test_captured_runner, test_captured_storer])
