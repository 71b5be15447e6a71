"""The world outside a hub, for tests: a CA with good and bad certificates, a mail server, a webhook's receiver, a syslog collector."""
import asyncio
import base64
import datetime
import email
import email.policy
import hashlib
import hmac
import http.server
import ipaddress
import json
import os
import socket
import ssl
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

import hub

DAY = datetime.timedelta(days=1)


class Authority:
    """A CA of the test's own in `folder`; ca.pem there. pair(...) gives the path of a certificate with its key."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "outside " + os.path.basename(folder))])
        now = datetime.datetime.utcnow()
        self.cert = (x509.CertificateBuilder().subject_name(self.name).issuer_name(self.name).public_key(self.key.public_key()).serial_number(x509.random_serial_number())
                     .not_valid_before(now - 900 * DAY).not_valid_after(now + 900 * DAY).add_extension(x509.BasicConstraints(True, 0), True)
                     .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
                     .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False).sign(self.key, hashes.SHA256()))
        self.ca = os.path.join(folder, "ca.pem")
        with open(self.ca, "wb") as f:
            f.write(self.cert.public_bytes(serialization.Encoding.PEM))

    def pair(self, what, hosts=("localhost", "127.0.0.1"), days=(-10, 10), self_signed=False, rsa_bits=0):
        key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(ipaddress.ip_address(h)) if h[0].isdigit() else x509.DNSName(h) for h in hosts]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        now = datetime.datetime.utcnow()
        cert = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject if self_signed else self.name).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(now + days[0] * DAY).not_valid_after(now + days[1] * DAY)
                .add_extension(x509.SubjectAlternativeName(names), False).add_extension(x509.BasicConstraints(False, None), True)
                .sign(key if self_signed else self.key, hashes.SHA256()))
        path = os.path.join(self.folder, what + ".pem")
        with open(path, "wb") as f:
            f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
            f.write(cert.public_bytes(serialization.Encoding.PEM))
        return path


def tls_of(path):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(path)
    return ctx


class Sink:
    """A mail server. mode: ok, hang, reject4, reject5 (answers to RCPT), down."""

    def __init__(self, pair, user=None, password=None):
        self.port, self.user, self.password = hub.free_port(), user, password
        self.mails, self.commands, self.mode, self.controller = [], [], "ok", None
        self.up(pair)

    def up(self, pair, starttls=True):
        self.down()
        tls = tls_of(pair) if pair else None
        more = {}
        if self.user:
            more = dict(authenticator=self.authenticate, auth_exclude_mechanism=["LOGIN"], auth_required=True, auth_require_tls=True)
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port, tls_context=tls if starttls else None, require_starttls=bool(tls and starttls), **more)
        self.controller.start()

    def down(self):
        if self.controller:
            self.controller.stop()
        self.controller = None

    def authenticate(self, server, session, envelope, mechanism, data):
        ok = (data.login, data.password) == (self.user.encode(), self.password.encode()) if data else False
        self.commands.append("AUTH %s %s" % (mechanism, ok))
        return AuthResult(success=ok, handled=ok)

    async def handle_MAIL(self, server, session, envelope, address, options):
        self.commands.append("MAIL")
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        self.commands.append("RCPT")
        if self.mode == "hang":
            await asyncio.sleep(600)
        if self.mode == "reject4":
            return "451 4.3.0 <%s>: try again later" % address
        if self.mode == "reject5":
            return "550 5.1.1 <%s>: no such user here" % address
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(Mail(envelope, session))
        return "250 2.0.0 OK queued as %d" % len(self.mails)


class Mail:
    def __init__(self, envelope, session):
        self.to, self.sender, self.raw, self.is_tls = envelope.rcpt_tos, envelope.mail_from, envelope.content, session.ssl is not None
        self.m = email.message_from_bytes(self.raw, policy=email.policy.SMTP)
        self.ident, self.subject = self.m["Message-ID"], self.m["Subject"]

    @property
    def text(self):
        part = next(iter(self.m.iter_parts())) if self.m.is_multipart() else self.m
        return part.get_content()

    @property
    def receipts(self):
        for part in self.m.iter_attachments():
            assert part.get_filename() == "receipts.txt" and part.get_content_type() == "text/plain", part
            return part.get_payload(decode=True)
        return None


class Receiver:
    """A webhook's receiver that checks signatures as the Standard Webhooks libraries do. answer: the status it gives; redirect: a Location."""

    def __init__(self, secret, pair=None):
        self.secret, self.answer, self.redirect, self.events, self.bad, self.n = secret, 200, None, [], [], 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                outer.take(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if pair:
            self.server.socket = tls_of(pair).wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, q):
        body = q.rfile.read(int(q.headers["Content-Length"]))
        self.n += 1
        text = b"%s.%s.%s" % (q.headers["webhook-id"].encode(), q.headers["webhook-timestamp"].encode(), body)
        key = base64.b64decode(self.secret[len("whsec_"):])
        want = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        if not hmac.compare_digest(want, q.headers["webhook-signature"]):
            self.bad.append(body)
        elif self.answer == 200 and not self.redirect:
            self.events.append((q.headers["webhook-id"], json.loads(body)))
        q.send_response(302 if self.redirect else self.answer)
        if self.redirect:
            q.send_header("Location", self.redirect)
        q.send_header("Content-Length", "0")
        q.end_headers()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Collector:
    """A syslog collector: udp, tcp or tls; lines as they came, octet counts taken off."""

    def __init__(self, kind, pair=None, port=0):
        self.kind, self.lines, self.bad, self.is_up, self.peers = kind, [], [], True, []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", port))
        self.port = self.sock.getsockname()[1]
        self.tls = tls_of(pair) if pair else None
        if kind != "udp":
            self.sock.listen(8)
        threading.Thread(target=self.udp if kind == "udp" else self.accept, daemon=True).start()

    def udp(self):
        while self.is_up:
            try:
                self.lines.append(self.sock.recv(65536).decode())
            except OSError:
                return

    def accept(self):
        while self.is_up:
            try:
                s, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.stream, args=(s,), daemon=True).start()

    def stream(self, s):
        try:
            if self.tls:
                s = self.tls.wrap_socket(s, server_side=True)
        except (OSError, ssl.SSLError) as e:
            self.bad.append(str(e))
            return
        self.peers.append(s)
        data = b""
        try:
            while True:
                more = s.recv(65536)
                if not more:
                    return
                data += more
                while b" " in data:
                    n, rest = data.split(b" ", 1)
                    if len(rest) < int(n):
                        break
                    self.lines.append(rest[:int(n)].decode())
                    data = rest[int(n):]
        except (OSError, ssl.SSLError):
            return

    def stop(self):
        self.is_up = False
        for s in self.peers:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def entries(self):
        """Numbers of the audit entries received, in order."""
        return [json.loads(line[line.index("{"):])["entry"] for line in self.lines]


