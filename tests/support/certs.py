"""Certificates for tests, good and bad ones, by python3-cryptography."""
import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class Issued:
    def __init__(self, cert, key):
        self.cert, self.key = cert, key

    @property
    def pem(self):
        return self.cert.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self):
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    @property
    def sha256(self):
        return self.cert.fingerprint(hashes.SHA256()).hex()


def issue(name, by=None, hosts=(), days=90.0, begins=-1.0, key=None, sign=None, is_ca=False, usage=None):
    """A certificate `name` signed by `by` (None: by itself), for `hosts`, from now + begins to now + days."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    b = (x509.CertificateBuilder().subject_name(subject).issuer_name(by.cert.subject if by else subject).public_key(key.public_key())
         .serial_number(x509.random_serial_number()).not_valid_before(now + datetime.timedelta(days=begins)).not_valid_after(now + datetime.timedelta(days=days))
         .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True))
    if hosts:
        names = []
        for host in hosts:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                names.append(x509.DNSName(host))
        b = b.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if not is_ca:
        b = b.add_extension(x509.ExtendedKeyUsage([usage or ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return Issued(b.sign(by.key if by else key, sign or hashes.SHA256()), key)


def weak_rsa(bits=1024):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def strong_rsa():
    return rsa.generate_private_key(public_exponent=65537, key_size=3072)


CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SHA1 = hashes.SHA1
