"""The real gateway among fakes: this test plays parent, registrar, keeper and runner on the wire, and clients by TLS."""
import datetime
import hashlib
import ipaddress
import json
import os
import socket
import ssl
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
sys.path[:0] = [os.path.join(ROOT, "tests", "support"), os.path.join(ROOT, "tests", "oracle")]
import sanitizer  # noqa: E402
import vault  # noqa: E402
import wire  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402

TOKEN = "good.token-1_x"
GET_TIMEOUT = 120


def err_numbers():
    """name -> number, from err.def"""
    import re
    text = open(os.path.join(ROOT, "src", "lib", "core", "err.def")).read()
    return {m[0]: int(m[1]) for m in re.findall(r"^SQ_ERR\((\w+),\s*(\d+),", text, re.M)}


ERR = err_numbers()


def certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime(2020, 1, 1)
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now).not_valid_after(datetime.datetime(2060, 1, 1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName("imputationserver.com"),
                                                        x509.DNSName("api.imputationserver.com"),
                                                        x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256()))
    paths = os.path.join(folder, "tls.crt"), os.path.join(folder, "tls.key")
    with open(paths[0], "wb") as f:
        f.write(cert.public_bytes(serialization.Encoding.PEM))
    with open(paths[1], "wb") as f:
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return paths


class World:
    def __init__(self, program, folder=None, networks=None, **settings):
        self.settings = settings
        self.folder = folder or tempfile.mkdtemp(prefix="gateway-")
        self.table = wire.Table(os.path.join(ROOT, "src", "lib", "wire", "messages.def"))
        self.cert, key = certificate(self.folder)
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(128)
        self.port = self.listener.getsockname()[1]
        self.log_path = os.path.join(self.folder, "log")
        self.log = open(self.log_path, "wb")
        self.program = program = os.path.abspath(program)
        self.child = wire.Child(self.table, program, "gateway", stderr=self.log, cwd=self.folder)
        self.child.take("listen", self.listener.fileno())
        self.listener.close()
        for name, path in (("tls_cert", self.cert), ("tls_key", key)):
            with open(path, "rb") as f:
                self.child.take(name, f.fileno())
        if networks is not None:
            with self.file_of(networks) as f:
                self.child.take("networks", f.fileno())
        for k, v in dict({"hosts": "localhost,127.0.0.1,imputationserver.com,api.imputationserver.com", "upload_max_mib": 1024,
                          "max_connections": 64, "rsa_bits": 3072, "max_connections_per_ip": 48, "rate_connect": "address=12000", "rate_read": "address=6000 token=6000",
                          "rate_write": "address=1200 token=1200", "rate_bulk": "address=600 token=600", "rate_login": "address=100 token=100"}, **settings).items():
            self.child.setting(k, v)
        self.links = {r: self.child.peer(r) for r in ("registrar", "keeper", "runner")}
        self.child.go()
        for link in self.links.values():
            link.hello()
        self.lock = threading.Lock()
        self.asked = []          # every message that came, in order
        self.uploads = {}        # upload id -> dict
        self.keys = {}           # object id -> key
        self.answer_api = None   # override: f(m) -> fields of api_is, or an error name
        self.answer_open = None  # override: f(m) -> error name or None
        self.answer_part = None  # override for part_key
        self.store_file = None   # override: f() -> descriptor for the next upload
        self.content = bytes(range(256)) * 4096   # 1 MiB for downloads
        self.pipe_writer = None  # override: f(fd, data)
        self.max_bytes = 1 << 40
        self.used_bytes, self.quota_bytes, self.free_bytes, self.has_room = 0, 1 << 40, 1 << 40, True
        wire.serve(self.links["registrar"], {n: self.on for n in ("api", "upload_open", "upload_close", "upload_abort",
                                                                  "download_open", "download_end", "refused")})
        wire.serve(self.links["keeper"], {"part_key": self.on})
        wire.serve(self.links["runner"], {"stream": self.on})
        self.child.serving()

    @staticmethod
    def file_of(text):
        f = tempfile.TemporaryFile()
        f.write(text.encode())
        f.seek(0)
        return f

    def networks(self, text):
        """Other rules of networks; what gateway says of them."""
        with self.file_of(text) as f:
            self.child.link.send("net_files", file=[f.fileno()])
            m = self.child.link.recv()
        assert m.name == "net_taken", m
        return m

    # ---- the fakes ----
    def on(self, link, m):
        with self.lock:
            self.asked.append(m)
        getattr(self, "on_" + m.name)(link, m)

    def on_api(self, link, m):
        is_ = {"status": 200, "location": "", "retry_after_s": 0, "body": b'{"success":true}', "session": "", "session_s": 0, "user_quota": 0, "user_window_s": 0, "user_left": 0, "user_full_s": 0}
        if self.answer_api:
            got = self.answer_api(m)
            if isinstance(got, str):
                return link.fail(m, ERR[got])
            is_.update(got)
        link.reply(m, "api_is", **is_)

    def on_upload_open(self, link, m):
        error = self.answer_open(m) if self.answer_open else None
        if not error and m.token != TOKEN:
            error = "EAUTH"
        if error:
            return link.fail(m, ERR[error])
        room = {"max_bytes": self.max_bytes, "used_bytes": self.used_bytes, "quota_bytes": self.quota_bytes, "free_bytes": self.free_bytes}
        if not self.has_room:
            return link.reply(m, "upload_is", upload_id=bytes(16), object_id=bytes(16), file=[], **room)
        fd = self.store_file() if self.store_file else os.open(self.folder, os.O_TMPFILE | os.O_RDWR)
        u = {"id": os.urandom(16), "object": os.urandom(16), "fd": fd, "state": "opened"}
        with self.lock:
            self.uploads[u["id"]] = u
            self.keys[u["object"]] = os.urandom(32)
        link.reply(m, "upload_is", upload_id=u["id"], object_id=u["object"], file=[fd], **room)

    def on_part_key(self, link, m):
        error = self.answer_part(m) if self.answer_part else None
        if error:
            return link.fail(m, ERR[error])
        salt = os.urandom(32)
        aad = m.object_id + m.part_no.to_bytes(4, "big")
        link.reply(m, "part_key_is", salt=salt, derived_key=vault.derive(self.keys[m.object_id], salt, aad))

    def on_upload_close(self, link, m):
        u = self.uploads[m.upload_id]
        u.update(state="closed", close=m)
        body = {"success": True, "id": m.upload_id.hex(), "name": m.fields["name"], "size": m.plain_bytes, "sha256": m.sha256.hex()}
        link.reply(m, "api_is", status=201, location="/api/uploads/" + m.upload_id.hex(), retry_after_s=0,
                   body=json.dumps(body).encode())

    def on_upload_abort(self, link, m):
        u = self.uploads[m.upload_id]
        u.update(state="aborted", code=m.code)
        link.reply(m, "ok")

    def on_download_open(self, link, m):
        n = len(self.content)
        if m.token != TOKEN:
            return link.fail(m, ERR["EAUTH"])
        first, last = 0, n - 1
        if m.has_range == 1:
            first, last = m.first, m.last
            if first == 2**64 - 1:
                first, last = max(0, n - last), n - 1
                if m.last == 0:
                    first = n
            last = min(last, n - 1)
            if first >= n:
                return link.fail(m, ERR["ERANGEHDR"])
        ticket = os.urandom(16) if m.has_range != 2 else bytes(16)
        self.ticket = (ticket, first, last - first + 1)
        link.reply(m, "download_is", ticket=ticket, name="chr22 \"x\".zip", content_type="application/zip", total_bytes=n, first=first,
                   n_bytes=last - first + 1 if m.has_range != 2 else 0, etag=hashlib.sha256(self.content).digest())

    def on_stream(self, link, m):
        ticket, first, n = self.ticket
        assert m.ticket == ticket
        r, w = os.pipe()
        link.reply(m, "stream_is", pipe=r)
        os.close(r)
        data = memoryview(self.content)[first:first + n]
        try:
            if self.pipe_writer:
                self.pipe_writer(w, data)
            else:
                at = 0
                while at < len(data):
                    at += os.write(w, data[at:at + 65536])
        except BrokenPipeError:
            pass
        os.close(w)

    def on_download_end(self, link, m):
        link.reply(m, "ok")

    def on_refused(self, link, m):
        pass

    # ---- what the tests look at ----
    def messages(self, name):
        with self.lock:
            return [m for m in self.asked if m.name == name]

    def clear(self):
        with self.lock:
            self.asked.clear()

    def wait(self, condition, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.02)
        return False

    def plaintext(self, u):
        n = os.fstat(u["fd"]).st_size
        return vault.object_open(self.keys[u["object"]], u["object"], os.pread(u["fd"], n, 0))

    def forget(self):
        with self.lock:
            for u in self.uploads.values():
                os.close(u["fd"])
            self.uploads.clear()

    def rss_kib(self, field="VmHWM"):
        for line in open("/proc/%d/status" % self.child.process.pid):
            if line.startswith(field + ":"):
                return int(line.split()[1])

    def is_alive(self):
        return self.child.process.poll() is None

    # ---- clients ----
    def tls(self, timeout=GET_TIMEOUT, **context):
        c = ssl.create_default_context(cafile=self.cert)
        for k, v in context.items():
            setattr(c, k, v)
        s = socket.create_connection(("127.0.0.1", self.port), timeout)
        try:
            return c.wrap_socket(s, server_hostname="localhost")
        except BaseException:
            s.close()
            raise

    def raw(self, data, timeout=GET_TIMEOUT):
        """Send bytes, read to the end or to the end of one answer."""
        with self.tls(timeout) as s:
            try:
                s.sendall(data)
            except OSError:
                pass  # refused before it had everything; its answer may be here all the same
            try:
                return read_answer(s, is_head=data.startswith(b"HEAD"))
            except OSError:
                return None

    def get(self, path, method="GET", headers=(), body=None, token=TOKEN, host="localhost"):
        lines = ["%s %s HTTP/1.1" % (method, path), "Host: %s" % host]
        if token:
            lines.append("Authorization: Bearer " + token)
        if body is not None and not any(h.lower().startswith(("content-length:", "transfer-encoding:")) for h in headers):
            lines.append("Content-Length: %d" % len(body))
        lines += headers
        return self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))

    def post(self, path, obj, **k):
        body = obj if isinstance(obj, bytes) else json.dumps(obj).encode()
        return self.get(path, "POST", ["Content-Type: application/json"], body, **k)

    def stop(self):
        code = self.child.stop()
        for link in self.links.values():
            link.close()
        self.log.close()
        return code


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return "%s %r %r" % (self.status, self.headers, self.body[:300])


def read_answer(s, is_head=False):
    """One answer; None when the connection ended without one."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = s.recv(65536)
        except (ssl.SSLError, ConnectionError):
            more = b""
        if not more:
            return None
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        k, v = line.split(":", 1)
        headers.setdefault(k.lower(), v.strip())
    status = int(lines[0].split()[1])
    if status == 100:
        rest = Rest(s, body)
        return read_answer(rest, is_head)
    n = int(headers.get("content-length", 0))
    body = bytearray(body)
    while len(body) < n and not is_head and status != 304:
        try:
            more = s.recv(1 << 20)
        except (ssl.SSLError, ConnectionError):
            more = b""
        if not more:
            break
        body += more
    return Answer(status, headers, bytes(body))


class Rest:
    def __init__(self, s, first):
        self.s, self.first = s, first

    def recv(self, n):
        if self.first:
            first, self.first = self.first, b""
            return first
        return self.s.recv(n)


def run(tests, world):
    """TAP over functions of one argument."""
    print("1..%d" % len(tests))
    failed = 0
    for i, t in enumerate(tests, 1):
        try:
            t(world)
            if not world.is_alive():
                raise AssertionError("the gateway died: " + repr(world.child.process.poll()))
            print("ok %d - %s" % (i, t.__name__), flush=True)
        except BaseException as e:  # noqa: B902
            failed += 1
            import traceback
            print("not ok %d - %s" % (i, t.__name__))
            for line in traceback.format_exception(type(e), e, e.__traceback__)[-3:]:
                for part in line.rstrip().split("\n"):
                    print("# " + part, flush=True)
            if not world.is_alive():
                break
        finally:
            for hook in ("answer_api", "answer_open", "answer_part", "store_file", "pipe_writer"):
                setattr(world, hook, None)
            world.max_bytes = world.quota_bytes = world.free_bytes = 1 << 40
            world.used_bytes, world.has_room = 0, True
            world.clear()
            world.forget()
    if failed or not world.is_alive():
        print("# log of the gateway:")
        for line in open(world.log_path, errors="replace").read().split("\n")[-30:]:
            print("# " + line)
    return failed
