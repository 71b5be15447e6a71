"""Results sealed to a person's public key: `age -d`, an independent Crypt4GH reader, and tar open them. Arguments: the tool, directory of crypt4gh.py."""
import base64
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, sys.argv[2])
import crypt4gh  # noqa: E402
from cryptography.exceptions import InvalidTag  # noqa: E402
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey  # noqa: E402

TOOL = sys.argv[1]
SIZES = [0, 1, 65535, 65536, 65537, 131072, 200000]
number = 0


def check(name, is_good):
    global number
    number += 1
    print(("ok" if is_good else "not ok") + " %d - %s" % (number, name), flush=True)
    if not is_good:
        sys.exit(1)


def tool(*args, data=b""):
    return subprocess.run([TOOL, *args], input=data, capture_output=True)


def kind(text):
    p = tool(text)
    return p.stdout.decode().strip()


SECRET = bytes(range(32))
PUBLIC = base64.b64encode(crypt4gh.public_of(X25519PrivateKey.from_private_bytes(SECRET))).decode()
PEM = "-----BEGIN CRYPT4GH PUBLIC KEY-----\n%s\n-----END CRYPT4GH PUBLIC KEY-----\n" % PUBLIC
AGE = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"  # of age's own documentation
has_age = shutil.which("age") is not None
print("1..%d" % (6 + len(SIZES) + (len(SIZES) + 1 if has_age else 1)))

check("a Crypt4GH key, bare and in its file", kind(PUBLIC) == "c4gh" and kind(PEM) == "c4gh")
check("an age key", kind(AGE) == "age")
check("every mistyped letter of an age key is found", all(kind(AGE[:i] + ("q" if AGE[i] != "q" else "p") + AGE[i + 1:]) == "EFIELD" for i in range(4, len(AGE))))
check("what is no public key", all(kind(x) == "EFIELD" for x in ("", "age1", "AGE-SECRET-KEY-1QQQ", PUBLIC[:-1], PUBLIC + "x", "-----BEGIN CRYPT4GH PRIVATE KEY-----\n" + PUBLIC,
                                                              "ssh-ed25519 AAAA", PEM + "x", "x" * 199, AGE + "\n" + AGE)))
check("a public key of small order is refused", tool(base64.b64encode(bytes(32)).decode(), "--raw").returncode == 1)

for n in SIZES:
    data = os.urandom(n)
    sealed = tool(PUBLIC, "--raw", data=data).stdout
    check("Crypt4GH, %d bytes" % n, crypt4gh.open_bytes(sealed, SECRET) == data)
try:
    crypt4gh.open_bytes(sealed, bytes(32 * [7]))
    check("another key opens nothing", False)
except InvalidTag:
    check("another key opens nothing", True)

if not has_age:
    number += 1
    print("ok %d - age # SKIP age isn't installed" % number)
    sys.exit(0)
with tempfile.TemporaryDirectory() as d:
    key = os.path.join(d, "key")
    subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
    public = subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True).stdout.strip()
    for n in SIZES:
        data = os.urandom(n)
        sealed = tool(public, "--raw", data=data).stdout
        p = subprocess.run(["age", "-d", "-i", key], input=sealed, capture_output=True)
        check("age, %d bytes" % n, p.returncode == 0 and p.stdout == data)
    names = []
    for n in SIZES:
        names.append(os.path.join(d, "file-%d.bin" % n))
        with open(names[-1], "wb") as f:
            f.write(os.urandom(n))
    out = os.path.join(d, "out")
    os.mkdir(out)
    tar = subprocess.run(["age", "-d", "-i", key], input=tool(public, *names).stdout, capture_output=True).stdout
    p = subprocess.run(["tar", "-x", "-C", out], input=tar, capture_output=True)
    same = all(open(x, "rb").read() == open(os.path.join(out, os.path.basename(x)), "rb").read() for x in names)
    check("a tar of them, unpacked without a word", p.returncode == 0 and p.stderr == b"" and same)
