#!/usr/bin/env python3
"""TLS: what is spoken and what isn't, certificates checked, replaced and about to end, and `sequester` as a client that trusts nobody else."""
import http.client
import json
import os
import re
import secrets
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import certs  # noqa: E402
import hub  # noqa: E402

HOSTS = ["localhost", "127.0.0.1", "imputationserver.com", "api.imputationserver.com"]
CA = certs.issue("a CA of the test", is_ca=True, days=3650)


def write(h, chain, key):
    """Certificate and key into the files that sequester.ini names, as an ACME client would: new files that take the place of the old."""
    for name, data in (("server.crt", chain), ("server.key", key)):
        path = os.path.join(h.base, "tls", name)
        with open(path + ".new", "wb", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
            f.write(data)
        if h.user_is:
            os.chown(path + ".new", h.user_is["user"], h.user_is["group"])
        os.replace(path + ".new", path)


def names_of_files(h):
    text = open(h.ini).read()
    return [re.search(r"^%s\s*=\s*(\S+)" % k, text, re.M).group(1) for k in ("tls_certificate", "tls_key")]


def served(h):
    """SHA-256 of the certificate that a new connection is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", h.port), 30) as s, context.wrap_socket(s, server_hostname="localhost") as t:
        return __import__("hashlib").sha256(t.getpeercert(True)).hexdigest()


def admin(h, *args):
    p = subprocess.run([hub.CLI, "admin", "tls", *args, "--json"], capture_output=True, text=True, timeout=120)
    return p.returncode, json.loads(p.stdout) if p.stdout.startswith("{") else p.stderr


def reload(h):
    return admin(h, "reload", "--run-dir", os.path.dirname(h.admin_path))


class Shared:
    hub = None


def shared():
    if not Shared.hub:
        Shared.hub = hub.Hub().__enter__()
    return Shared.hub


# ---- certificates ----

def files_are_checked():
    """Each finding of x509_findings.def is found where it is, and nothing is found in a good pair."""
    h = shared()
    wanted = set(re.findall(r"^SQ_FINDING\((\w+)", open(os.path.join(hub.ROOT, "src/lib/crypt/x509_findings.def")).read(), re.M))
    met = set()
    kept = [open(p, "rb").read() for p in names_of_files(h)]
    good, between = certs.issue("hub", CA, HOSTS), certs.issue("between", CA, is_ca=True)
    below, weak = certs.issue("hub", between, HOSTS), certs.issue("hub", CA, HOSTS, key=certs.weak_rsa())
    ca_path, port = os.path.join(h.dir, "ca.pem"), "https://127.0.0.1:%d" % h.port
    open(ca_path, "wb").write(CA.pem)

    def findings(chain, key, *more, server="https://127.0.0.1:1"):
        write(h, chain, key)
        code, j = admin(h, "check", h.ini, "--server", server, *more)
        found = [f["code"] for c in j["certificates"] for f in c.get("findings", [])]
        assert code == (1 if found else 0), (code, j)
        for c in j["certificates"]:
            for f in c.get("findings", []):
                assert f["message"] and f["remedy"], f
        met.update(found)
        return found
    try:
        assert findings(good.pem, good.key_pem, "--cacert", ca_path) == []
        assert findings(below.pem + between.pem + CA.pem, below.key_pem, "--cacert", ca_path) == []
        rsa = certs.issue("hub", CA, HOSTS, key=certs.strong_rsa())
        assert findings(rsa.pem, rsa.key_pem) == []
        assert findings(b"nonsense", good.key_pem) == ["no_certificate"]
        assert findings(good.pem, b"nonsense") == ["no_key"]
        assert findings(good.pem, below.key_pem) == ["other_key"]
        for change, code in [({"days": -0.5}, "expired"), ({"begins": 2.0}, "not_yet"), ({"days": 20.0}, "ends_soon"), ({"usage": certs.CLIENT_AUTH}, "not_for_servers"),
                             ({"hosts": ["other.example"]}, "no_name"), ({"hosts": HOSTS[:2]}, "name_missing"), ({"sign": certs.SHA1()}, "weak_signature")]:
            one = certs.issue("hub", CA, **{"hosts": HOSTS, **change})
            assert findings(one.pem, one.key_pem) == [code], code
        assert findings(weak.pem, weak.key_pem) == ["weak_key"]
        medium = certs.issue("hub", CA, HOSTS, key=certs.weak_rsa(2048))
        assert findings(medium.pem, medium.key_pem) == ["weak_key"]
        issuer = certs.issue("between", CA, is_ca=True, key=certs.weak_rsa(2048))
        under = certs.issue("hub", issuer, HOSTS)
        assert findings(under.pem + issuer.pem, under.key_pem) == ["weak_issuer"]
        with open(h.ini) as f:
            ini = f.read()
        with open(h.ini, "a") as f:
            f.write("rsa_bits = 2048\n")
        assert findings(medium.pem, medium.key_pem) == [] and findings(under.pem + issuer.pem, under.key_pem) == []
        with open(h.ini, "w") as f:
            f.write(ini)
        assert findings(below.pem + CA.pem, below.key_pem) == ["broken_chain"]
        assert findings(below.pem, below.key_pem, "--cacert", ca_path) == ["not_trusted"]
        alone = certs.issue("hub", None, HOSTS)
        assert findings(alone.pem, alone.key_pem) == ["self_signed"]
        assert findings(good.pem, good.key_pem, server=port) == ["other_served"]
        # as it is served: by its own CA, and nothing to say
        for path, data in zip(names_of_files(h), kept):
            open(path, "wb").write(data)
        code, j = admin(h, "check", h.ini, "--cacert", h.ca)
        assert code == 0 and [c["where"] for c in j["certificates"]] == ["files", "server"] and j["certificates"][1]["sha256"] == served(h), j
    finally:
        for path, data in zip(names_of_files(h), kept):
            open(path, "wb").write(data)
    assert met == wanted, wanted ^ met


def new_certificates_are_taken():
    """Reload: new connections get the new one, open ones go on, bad ones are refused and the old stays, also in the next gateway."""
    with hub.Hub() as h:
        first, ada = served(h), h.user("ada")
        one, two = certs.issue("hub", CA, HOSTS), certs.issue("hub", CA, HOSTS, key=certs.strong_rsa())
        old = http.client.HTTPSConnection("localhost", h.port, context=h.tls, timeout=300)
        old.request("GET", "/healthz")
        assert old.getresponse().read() is not None
        # an upload that runs while the certificate changes
        data, mark = b"##fileformat=VCFv4.2\n" + b"#" * 300000, b"XX"
        body = b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.vcf\"\r\n\r\n" + data + b"\r\n--XX--\r\n"
        up = h.tls.wrap_socket(socket.create_connection(("127.0.0.1", h.port), 60), server_hostname="localhost")
        up.sendall(b"POST /api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=XX\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n"
                   % (len(body), ada.token.encode()) + body[:100000])
        write(h, one.pem + CA.pem, one.key_pem)
        code, j = reload(h)
        assert code == 0 and j["taken"] and j["certificate"]["sha256"] == one.sha256 and j["certificate"]["state"] == "good", j
        assert served(h) == one.sha256 != first
        up.sendall(body[100000:])
        assert b"HTTP/1.1 422" in up.recv(65536)  # it is no genotypes: it came whole and was looked at
        up.close()
        old.request("GET", "/healthz")
        assert old.getresponse().status == 200  # still the same connection, under the old certificate
        old.close()
        for chain, key, code in [(b"nonsense", one.key_pem, "no_certificate"), (one.pem, two.key_pem, "other_key"), (one.pem, b"nonsense", "no_key"), (b"", b"", None)] + [
                (bad.pem, bad.key_pem, name) for bad, name in [(certs.issue("hub", CA, HOSTS, days=-0.1), "expired"), (certs.issue("hub", CA, ["other.example"]), "no_name"),
                                                               (certs.issue("hub", CA, HOSTS, key=certs.weak_rsa()), "weak_key")]]:
            write(h, chain, key)
            rc, j = reload(h)
            assert rc == 1 and not j["taken"] and (code is None or code in [f["code"] for f in j["findings"]]), (code, j)
            assert served(h) == one.sha256, code
        os.chmod(names_of_files(h)[1], 0o644)
        assert reload(h)[0] == 1 and served(h) == one.sha256  # a key that others may read
        # the files are bad now, and gateway dies: the next one starts with what was taken last
        h.kill("gateway")
        h.tls = ssl.create_default_context(cadata=CA.pem.decode())
        h.wait_up()
        assert served(h) == one.sha256
        write(h, two.pem, two.key_pem)
        assert reload(h)[0] == 0 and served(h) == two.sha256
        h.wait_up()
        for _ in range(20):
            assert reload(h)[0] == 0
        assert h.admin_ok("status")["certificate"]["sha256"] == two.sha256
        h.clean()


def a_weak_key_takes_a_word():
    """RSA with 2048 bits: 112 bits of security. Refused at a reload and at a start, unless `rsa_bits` says so."""
    with hub.Hub() as h:
        ok = [open(p, "rb").read() for p in names_of_files(h)]
        one = certs.issue("hub", CA, HOSTS, key=certs.weak_rsa(2048))
        write(h, one.pem, one.key_pem)
        rc, j = reload(h)
        assert rc == 1 and [f["code"] for f in j["findings"]] == ["weak_key"], j
        h.stop()
        h.start(wait_up=False)
        hub.wait_for("a refusal", lambda: "what=tls_key_is_weak_see_rsa_bits code=ECONFIG" in h.log(), 30)
        assert not h.is_up()
        h.stop()
        with open(h.ini, "a") as f:
            f.write("rsa_bits = 2048\n")
        h.tls = ssl.create_default_context(cadata=CA.pem.decode())
        h.start()
        assert served(h) == one.sha256
        write(h, *ok)
        h.tls = ssl.create_default_context(cafile=h.ca)
        assert reload(h)[0] == 0
        h.wait_up()


def the_end_is_told():
    """21, 7 and 1 days before the end, and at it: one line in the log and one entry in the audit log each, also across restarts."""
    h = hub.Hub()
    one = certs.issue("hub", CA, HOSTS, days=22.5)
    write(h, one.pem, one.key_pem)
    h.tls = ssl.create_default_context(cadata=CA.pem.decode())
    with h:
        def told():
            return [int(x) for x in re.findall(r"event=certificate_ends days=(\d+)", h.log())]

        def state():
            return h.admin_ok("status")["certificate"]["state"]
        hub.wait_for("the certificate to be known", lambda: state() != "unknown", 30)
        time.sleep(2.5)
        assert told() == [] and state() == "good"
        for days, want in [(2, [21]), (14, [21, 7]), (6, [21, 7, 1]), (2, [21, 7, 1, 0])]:
            h.move_clock(days * 86400)
            hub.wait_for("the alarm %s" % want, lambda: told() == want, 30)
            assert state() == ("expired" if want[-1] == 0 else "ends_soon")
            h.kill("registrar")
            h.wait_up()
            hub.wait_for("registrar to know it again", lambda: state() != "unknown", 30)
            time.sleep(2.5)
            assert told() == want, told()
        # a new one ends the alarm
        two = certs.issue("hub", CA, HOSTS, days=900)
        write(h, two.pem, two.key_pem)
        assert reload(h)[0] == 0 and state() == "good"
        log = b"".join(open(os.path.join(d, f), "rb").read() for d, _, files in os.walk(h.log_dir()) for f in files)
        assert len(re.findall(rb"\x01[\x00-\x03]" + struct.pack("<HH", 147, 0), log)) == 4  # version, role, event certificate_ends, result
        p = subprocess.run([hub.CLI, "admin", "status", "--run-dir", os.path.dirname(h.admin_path)], capture_output=True, text=True)
        assert "certificate  good, ends" in p.stdout, p.stdout


# ---- what is spoken ----

def client(h, *args, text=b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"):
    p = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % h.port, "-servername", "localhost", "-CAfile", h.ca, *args], input=text,
                       capture_output=True, timeout=300)
    return p.stdout + p.stderr


def old_versions_are_refused():
    h = shared()
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        try:
            with socket.create_connection(("127.0.0.1", h.port), 30) as s, context.wrap_socket(s, server_hostname="localhost"):
                raise AssertionError("spoke %s" % version)
        except (ssl.SSLError, ConnectionError):
            pass
    with socket.create_connection(("127.0.0.1", h.port), 30) as s, h.tls.wrap_socket(s, server_hostname="localhost") as t:
        assert t.version() == "TLSv1.3" and t.cipher()[0] in ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"), t.cipher()
    for group, name in (("X25519", b"X25519"), ("P-256", b"ECDH, prime256v1")):
        assert b"Server Temp Key: " + name in client(h, "-tls1_3", "-groups", group), group
    for group in ("P-384", "P-521", "X448", "ffdhe2048"):
        assert b"HTTP/1.1" not in client(h, "-tls1_3", "-groups", group), group


def hello(extensions):
    """A ClientHello of TLS 1.3 with these extensions, as one record."""
    ext = b"".join(struct.pack(">HH", no, len(data)) + data for no, data in extensions)
    body = b"\x03\x03" + secrets.token_bytes(32) + b"\x20" + secrets.token_bytes(32) + b"\x00\x04\x13\x02\x13\x03" + b"\x01\x00" + struct.pack(">H", len(ext)) + ext
    return b"\x16\x03\x01" + struct.pack(">H", len(body) + 4) + b"\x01" + struct.pack(">I", len(body))[1:] + body


def first_record(h, data):
    """(type of the record, its first byte, its second): (22, 2, _) is a ServerHello, (21, 2, n) an alert. None: the end."""
    with socket.create_connection(("127.0.0.1", h.port), 30) as s:
        s.sendall(data)
        got = b""
        while len(got) < 7:
            more = s.recv(4096)
            if not more:
                return None
            got += more
        return got[0], got[5], got[6]


def keys_are_always_exchanged():
    """A pre-shared key without (EC)DHE is refused; one with it isn't taken, and the certificate is shown."""
    h = shared()
    versions, groups, signatures = (43, b"\x02\x03\x04"), (10, b"\x00\x02\x00\x17"), (13, b"\x00\x06\x04\x03\x08\x04\x08\x05")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    share = (51, struct.pack(">HHH", len(point) + 4, 0x17, len(point)) + point)
    identity = struct.pack(">HH", 7, 3) + b"any" + b"\x00\x00\x00\x00"
    psk = (41, identity[:2] + identity[2:] + struct.pack(">HB", 49, 48) + secrets.token_bytes(48))
    modes = {"ke": (45, b"\x01\x00"), "dhe_ke": (45, b"\x01\x01")}
    early = (42, b"")
    got = {name: first_record(h, hello(list(x))) for name, x in {
        "plain": (versions, groups, signatures, share), "psk_ke alone": (versions, modes["ke"], psk), "psk_ke, with groups, no share": (versions, groups, modes["ke"], psk),
        "psk_dhe_ke": (versions, groups, signatures, share, modes["dhe_ke"], psk), "early data": (versions, groups, signatures, share, modes["dhe_ke"], early, psk)}.items()}
    assert got["plain"][:2] == (22, 2), got  # the crafted hello itself is good
    for refused in ("psk_ke alone", "psk_ke, with groups, no share"):
        assert got[refused] is None or got[refused][0] == 21, (refused, got)
    for name in ("psk_dhe_ke", "early data"):
        assert got[name] is None or got[name][0] == 21 or got[name][:2] == (22, 2), (name, got)
    p = client(h, "-tls1_3", "-psk", "00112233445566778899aabbccddeeff", "-psk_identity", "any", "-allow_no_dhe_kex", "-ign_eof")
    assert b"BEGIN CERTIFICATE" in p and b"Server Temp Key: X25519" in p and b"Reused" not in p, p[-1500:]


def nothing_is_sent_early_or_resumed():
    """No ticket is given, so there is no ticket key to rotate; a session of another server, with early data, is a new handshake and the early request isn't served."""
    h = shared()
    d = tempfile.mkdtemp(prefix="sequester-test-")
    other = certs.issue("localhost", CA, ["localhost"])
    cert, key, session, early = (os.path.join(d, x) for x in ("c.pem", "k.pem", "session", "early"))
    open(cert, "wb").write(other.pem)
    open(key, "wb").write(other.key_pem)
    open(early, "wb").write(b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n")
    port = hub.free_port()
    s = subprocess.Popen(["openssl", "s_server", "-accept", "127.0.0.1:%d" % port, "-cert", cert, "-key", key, "-early_data", "-tls1_3", "-max_early_data", "16384", "-quiet"],
                         stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        hub.wait_for("the other server", lambda: not socket.socket().connect_ex(("127.0.0.1", port)), 20)
        for _ in range(5):
            subprocess.run("(sleep 1; echo Q) | openssl s_client -connect 127.0.0.1:%d -servername localhost -tls1_3 -sess_out %s" % (port, session), shell=True, capture_output=True, timeout=300)
            if os.path.exists(session):
                break
    finally:
        s.kill()
        s.wait()
    assert b"Max Early Data: 16384" in subprocess.run(["openssl", "sess_id", "-in", session, "-noout", "-text"], capture_output=True).stdout
    p = client(h, "-tls1_3", "-sess_in", session, "-early_data", early, "-ign_eof")
    shutil.rmtree(d)
    assert b"Early data was rejected" in p and b"Reused, TLS" not in p and b"New, TLSv1.3" in p, p[-1500:]
    assert p.count(b"HTTP/1.1 ") <= 1, p[-1500:]  # the early request never was
    ours = client(h, "-tls1_3", "-ign_eof", "-sess_out", "/dev/null")
    assert b"New Session Ticket" not in ours and b"HTTP/1.1 200" in ours, ours[-1500:]
    with socket.create_connection(("127.0.0.1", h.port), 30) as raw, h.tls.wrap_socket(raw, server_hostname="localhost") as t:
        t.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert t.recv(4096).startswith(b"HTTP/1.1 200") and not (t.session and t.session.has_ticket), t.session


def typed(h, *steps):
    """What `openssl s_client` says to somebody who types each answer when he sees the text before it."""
    with tempfile.TemporaryFile() as out:
        p = subprocess.Popen(["openssl", "s_client", "-connect", "127.0.0.1:%d" % h.port, "-servername", "localhost", "-CAfile", h.ca], stdin=subprocess.PIPE, stdout=out, stderr=out)

        def seen():
            return os.pread(out.fileno(), 1 << 20, 0)
        try:
            for text, answer in steps:
                hub.wait_for(text.decode(), lambda: text in seen(), 30)
                if answer:
                    p.stdin.write(answer)
                    p.stdin.flush()
            return seen()
        finally:
            p.kill()
            p.wait()
            p.stdin.close()


def nothing_is_renegotiated():
    """TLS 1.3 has no renegotiation; a key update is taken, and the connection goes on."""
    h = shared()
    text = typed(h, (b"Verify return code", b"R\n"), (b"wrong ssl version", b""))
    assert b"Secure Renegotiation IS NOT supported" in text, text[-1500:]
    typed(h, (b"Verify return code", b"K\n"), (b"KEYUPDATE", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"), (b"HTTP/1.1 200", b""))


def only_http_1_1_is_agreed():
    h = shared()
    for offered, wanted in ((["h2", "http/1.1"], ["http/1.1"]), (["http/1.1"], ["http/1.1"]), (["h2"], [None]), (["nonsense"], [None])):
        context = ssl.create_default_context(cafile=h.ca)
        context.set_alpn_protocols(offered)
        try:
            with socket.create_connection(("127.0.0.1", h.port), 30) as s, context.wrap_socket(s, server_hostname="localhost") as t:
                assert t.selected_alpn_protocol() in wanted, (offered, t.selected_alpn_protocol())
        except ssl.SSLError as e:  # RFC 7301: no_application_protocol
            assert wanted == [None], (offered, e)


# ---- sequester as a client ----

class Server:
    """A TLS server with a certificate of ours that answers one thing, and keeps what it was sent."""

    def __init__(self, issued, answer, chain=b""):
        self.d = tempfile.mkdtemp(prefix="sequester-test-")
        paths = [os.path.join(self.d, x) for x in ("c.pem", "k.pem")]
        open(paths[0], "wb").write(issued.pem + chain)
        open(paths[1], "wb").write(issued.key_pem)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*paths)
        self.listen = socket.create_server(("127.0.0.1", 0))
        self.url, self.answer, self.got = "https://localhost:%d" % self.listen.getsockname()[1], answer, []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                s, _ = self.listen.accept()
            except OSError:
                return
            try:
                s.settimeout(60)
                with self.context.wrap_socket(s, server_side=True) as t:
                    text = b""
                    while b"\r\n\r\n" not in text:
                        more = t.recv(65536)
                        if not more:
                            break
                        text += more
                    if text:
                        self.got.append(text)
                        answer = self.answer(len(self.got))
                        if answer:
                            t.sendall(answer)
                            t.unwrap()
            except OSError:
                pass

    def close(self):
        self.listen.close()
        shutil.rmtree(self.d)


def as_client(server, ca, *args, password=None):
    d = tempfile.mkdtemp(prefix="sequester-test-")
    session = os.path.join(d, "session.json")
    with open(session, "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        json.dump({"server": server, "cacert": ca, "name": "ada", "role": "user", "token": "MarkerToken" + "A" * 40, "expires": "2099-01-01T00:00:00Z"}, f)
    try:
        return subprocess.run([hub.CLI, *args, "--session", session], capture_output=True, text=True, timeout=120)
    finally:
        shutil.rmtree(d)


def json_answer(status, body, *headers):
    return ("HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n%s" % (status, len(body), "".join(x + "\r\n" for x in headers), body)).encode()


ME = json_answer("200 OK", json.dumps({"id": "0" * 32, "name": "ada", "role": "user", "used_bytes": 0, "quota_bytes": 1, "session_expires": "2099-01-01T00:00:00Z"}))


def bad_servers_are_refused():
    """Expired, of another host, self-signed, of another CA: refused before a token is sent, each with its own sentence."""
    d = tempfile.mkdtemp(prefix="sequester-test-")
    ca = os.path.join(d, "ca.pem")
    open(ca, "wb").write(CA.pem)
    other = certs.issue("another CA", is_ca=True)
    for issued, text in [(certs.issue("x", CA, ["localhost"], days=-0.5), "has expired"), (certs.issue("x", CA, ["localhost"], begins=1.0), "isn't valid yet"),
                         (certs.issue("x", CA, ["other.example"]), "is for other hosts, not for localhost"), (certs.issue("x", None, ["localhost"]), "signed by itself"),
                         (certs.issue("x", other, ["localhost"]), "isn't signed by the CA of --cacert")]:
        s = Server(issued, lambda n: ME)
        p = as_client(s.url, ca, "me")
        s.close()
        assert p.returncode == 3 and text in p.stderr and not s.got and "MarkerToken" not in p.stdout + p.stderr, (text, p)
    s = Server(certs.issue("x", CA, ["localhost"]), lambda n: ME)
    p = as_client(s.url, ca, "me")
    assert p.returncode == 0 and len(s.got) == 1 and b"MarkerToken" in s.got[0], p
    # the system's CAs don't know it
    p = as_client(s.url, "", "me")
    assert p.returncode == 3 and "isn't signed by a CA that this machine trusts" in p.stderr and len(s.got) == 1, p
    s.close()
    shutil.rmtree(d)


def the_token_stays_with_its_server():
    """A redirect isn't followed, and what is lost is asked again only where asking changes nothing."""
    d = tempfile.mkdtemp(prefix="sequester-test-")
    ca = os.path.join(d, "ca.pem")
    open(ca, "wb").write(CA.pem)
    good = certs.issue("x", CA, ["localhost"])
    elsewhere = Server(good, lambda n: ME)
    for status in ("301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"):
        s = Server(good, lambda n: json_answer(status, "{}", "Location: %s/api/v1/me" % elsewhere.url))
        p = as_client(s.url, ca, "me")
        s.close()
        assert p.returncode == 1 and len(s.got) == 1 and not elsewhere.got, (status, p)
    elsewhere.close()
    s = Server(good, lambda n: None if n < 3 else ME)  # cut twice, then it answers
    p = as_client(s.url, ca, "me")
    s.close()
    assert p.returncode == 0 and len(s.got) == 3, (p, len(s.got))
    s = Server(good, lambda n: None)
    p = as_client(s.url, ca, "cancel", "job-20261122-101500-3f9a1c0d5e7b2846")
    s.close()
    assert p.returncode == 3 and len(s.got) == 1, (p, len(s.got))  # a change: made or not, it isn't asked twice
    shutil.rmtree(d)


def a_cut_download_goes_on():
    """The gateway is killed in the middle of a download: `sequester download` goes on behind the bytes that it has, and the file is whole."""
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload(hub.TARGET)["id"])["id"]
        ada.claim(job)
        whole = ada.package(job)
        # a server between them that cuts: the first answer ends in the middle, as when its process is killed
        ada.cli("me")
        out = os.path.join(h.dir, "package.zip")
        cut = threading.Event()
        relay = Relay(h.port, 20000, lambda: (h.kill("gateway"), cut.set()))
        session = os.path.join(h.dir, "session-ada.json")
        j = json.load(open(session))
        j["server"] = "https://127.0.0.1:%d" % relay.port
        json.dump(j, open(session, "w"))
        p = subprocess.run([hub.CLI, "download", job, "-o", out, "--session", session], capture_output=True, text=True, timeout=120)
        relay.close()
        assert cut.is_set() and p.returncode == 0, (cut.is_set(), p)
        assert open(out, "rb").read() == whole and not [x for x in os.listdir(h.dir) if ".part" in x], os.listdir(h.dir)
        log = [x for x in ada.get("/api/v1/jobs/%s/audit" % job)["data"] if x["event"] == "download_started"]
        asked = [(x.get("a"), x.get("b")) for x in log]
        assert len(log) >= 3, asked  # the whole one, the cut one, and the rest


class Relay:
    """Passes bytes on; when `n` have come from the server, it calls `then` (once) before it passes on more."""

    def __init__(self, to, n, then):
        self.listen = socket.create_server(("127.0.0.1", 0))
        self.port, self.to, self.n, self.then = self.listen.getsockname()[1], to, n, then
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                a, _ = self.listen.accept()
            except OSError:
                return
            try:
                b = socket.create_connection(("127.0.0.1", self.to), 60)
            except OSError:
                a.close()
                continue
            threading.Thread(target=self.copy, args=(a, b, False), daemon=True).start()
            threading.Thread(target=self.copy, args=(b, a, True), daemon=True).start()

    def copy(self, a, b, is_answer):
        try:
            while True:
                data = a.recv(4096)
                if not data:
                    break
                b.sendall(data)
                if is_answer and self.n > 0:
                    self.n -= len(data)
                    if self.n <= 0:
                        self.then()
                        break
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listen.close()


# ---- the tools that others attack with ----

def open_connections(h):
    """Connections to the hub, as the kernel lists them."""
    n = 0
    for line in open("/proc/net/tcp").read().splitlines()[1:]:
        f = line.split()
        n += f[1].endswith(":%04X" % h.port) and f[3] == "01"
    return n


def slowhttptest_leaves_nothing():
    """Slow heads, bodies, ranges and readers by slowhttptest: a good client is served meanwhile, and after the deadlines none is left."""
    if not shutil.which("slowhttptest"):
        raise hub.Skip("slowhttptest isn't installed")
    h = shared()
    for mode in ("-H", "-B", "-R", "-X"):
        p = subprocess.Popen(["slowhttptest", mode, "-c", "60", "-r", "60", "-i", "3", "-l", "16", "-u", "https://localhost:%d/healthz" % h.port, "-v", "0"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        waits = []
        try:
            while p.poll() is None:
                t0 = time.monotonic()
                assert h.request("GET", "/healthz").status == 200, mode
                waits.append(time.monotonic() - t0)
                time.sleep(0.5)
        finally:
            p.kill()
            p.wait()
        assert len(waits) > 1 and sorted(waits)[len(waits) // 2] < 5, (mode, waits)
        hub.wait_for("no connection to be left after %s" % mode, lambda: open_connections(h) == 0, 90)


TESTS = [files_are_checked, new_certificates_are_taken, a_weak_key_takes_a_word, the_end_is_told, old_versions_are_refused, keys_are_always_exchanged, nothing_is_sent_early_or_resumed,
         nothing_is_renegotiated, only_http_1_1_is_agreed, bad_servers_are_refused, the_token_stays_with_its_server, a_cut_download_goes_on, slowhttptest_leaves_nothing]

if __name__ == "__main__":
    try:
        hub.main([t for t in TESTS if len(sys.argv) < 2 or t.__name__ in sys.argv[1:]])
    finally:
        if Shared.hub:
            Shared.hub.__exit__(None, None, None)
