"""The CA and server certificate of lib/crypt, judged by others: python-cryptography, `openssl verify`, a TLS 1.3 handshake."""
import hashlib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

n_done = 0


def ok(is_good, what):
    global n_done
    n_done += 1
    print(("ok" if is_good else "not ok"), n_done, "-", what, flush=True)
    if not is_good:
        sys.exit(1)


def handshake(folder, name, trusted):
    """the client's protocol version, or None when it refused"""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        try:
            conn, _ = listening.accept()
            with server.wrap_socket(conn, server_side=True) as tls:
                tls.recv(1)
        except (ssl.SSLError, OSError):
            pass

    thread = threading.Thread(target=serve)
    thread.start()
    client = ssl.create_default_context(cafile=trusted)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        with socket.create_connection(listening.getsockname(), timeout=120) as raw:
            with client.wrap_socket(raw, server_hostname=name) as tls:
                version = tls.version()
                tls.send(b"x")
                return version
    except ssl.SSLError:
        return None
    finally:
        thread.join()
        listening.close()


def main(program):
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as other_name:
        folder, other = Path(name), Path(other_name)
        printed = subprocess.run([program, folder, "hub.example,localhost,127.0.0.1,::1"], check=True,
                                 capture_output=True, text=True).stdout.split()
        subprocess.run([program, other, "hub.example"], check=True, capture_output=True)
        ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        cert = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / "server.key").read_bytes(), None)

        ca.public_key().verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
        ca.public_key().verify(ca.signature, ca.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
        ok(key.public_key().public_numbers() == cert.public_key().public_numbers() and isinstance(key.curve, ec.SECP256R1), "P-256, signed by the CA")
        basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
        ok(basic.critical and basic.value.ca and basic.value.path_length == 0, "CA:TRUE, pathlen 0, critical")
        usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
        ok(usage.critical and usage.value.key_cert_sign and not usage.value.digital_signature, "CA signs certificates only")
        san = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        ok(san.get_values_for_type(x509.DNSName) == ["hub.example", "localhost"]
           and [str(a) for a in san.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"], "names and addresses")
        eku = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        ok(list(eku) == [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH], "serverAuth only")
        aki = cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        ski = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        ok(aki.key_identifier == ski.digest, "authority key id is the CA's")
        ok(ca.serial_number.bit_length() > 100 and ca.serial_number != cert.serial_number, "random serials")
        der = ssl.PEM_cert_to_DER_cert((folder / "server.pem").read_text())
        ok(printed[0] == hashlib.sha256(der).hexdigest(), "fingerprint")
        ok(abs(int(printed[1]) - time.time() - 397 * 86400 + 3601) < 600, "last day")  # it began an hour ago

        verify = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"]
        ok(subprocess.run([*verify, folder / "ca.pem", "-verify_hostname", "hub.example", folder / "server.pem"],
                          capture_output=True).returncode == 0, "openssl verify accepts")
        ok(subprocess.run([*verify, other / "ca.pem", folder / "server.pem"], capture_output=True).returncode != 0,
           "openssl verify refuses another CA of the same name")
        ok(handshake(folder, "localhost", folder / "ca.pem") == "TLSv1.3", "TLS 1.3 handshake")
        ok(handshake(folder, "127.0.0.1", folder / "ca.pem") == "TLSv1.3", "handshake by address")
        ok(handshake(folder, "evil.example", folder / "ca.pem") is None, "another name refused")
        ok(handshake(folder, "localhost", other / "ca.pem") is None, "another CA refused")
        for hosts in ["", "a b/c", "x,email:evil@example", "-a", "*", "a" * 300]:
            ok(subprocess.run([program, other, hosts], capture_output=True).returncode == 1, f"hosts refused: {hosts[:24]!r}")
    print(f"1..{n_done}")


main(sys.argv[1])
