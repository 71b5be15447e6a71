"""The program as a person or script starts it; no server needed.

cli_program_test.py SEQUESTER PACKAGE_TOOL ROOT_OF_THE_TREE
"""
import base64
import hashlib
import json
import os
import pty
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

PROGRAM, PACKAGE_TOOL, root = sys.argv[1], sys.argv[2], Path(sys.argv[3])
PASSWORD = "marker-Kq7mB2-zX9rT4w"
n_done = 0
DONE, REFUSED, USAGE, UNREACHABLE, SIGNED_OUT, DAMAGED = range(6)


def ok(is_good, what):
    global n_done
    n_done += 1
    print("ok" if is_good else "not ok", n_done, "-", what, flush=True)
    if not is_good:
        sys.exit(1)


def run(*args, stdin=b"", env=None):
    return subprocess.run([PROGRAM, *map(str, args)], capture_output=True, input=stdin, env=env or ENV, timeout=300)


def names():
    """Commands, from their table."""
    text = (root / "src/cli/commands.def").read_text().split("*/", 1)[1]
    return [line.split('"')[1] for line in text.splitlines() if line.startswith("SQ_CMD(")]


def every_help():
    for name in names():
        done = run(*name.split(), "--help")
        text = done.stdout.decode()
        if run("help", *name.split()).stdout != done.stdout:
            ok(False, f"help {name} and {name} --help say the same")
        wide = [line for line in text.split("\nexample:")[0].splitlines() if len(line) > 80]
        if wide:
            ok(False, f"help of {name} fits 80 columns: {wide[0]}")
        if not (done.returncode == DONE and "\nexample:\n  sequester " + name in text and "\nexit codes:\n  0  done" in text):
            ok(False, f"help of {name}")
    ok(len(names()) > 30, f"each of {len(names())} commands has help with an example and exit codes")
    whole = run("help").stdout.decode()
    of_families = "".join(run("help", word).stdout.decode() for word in re.findall(r"^  (\w+) \.\.\. ", whole, re.M))
    ok(all((f"\n  {name} " in whole) + (f"\n  {name} " in "\n" + of_families) == 1 for name in names()), "help lists them all, large families by `help WORD`, each once")
    ok(all(len(line) <= 80 for line in whole.splitlines()), "and fits 80 columns")
    ok(run().returncode == USAGE and run("nosuch").returncode == USAGE, "no command, unknown command: exit code 2")
    page = run("help", "--markdown").stdout
    ok(page == (root / "docs/cli.md").read_bytes(), "docs/cli.md is current (sequester help --markdown > docs/cli.md)")
    examples = [line.split('"', 2)[1] for line in (root / "src/cli/commands.def").read_text().splitlines() if line.startswith('       "sequester ')]
    ok(len(examples) == len(names()), "an example for each")
    panels = [word for example in examples for word in re.findall(r"--panel (\S+\.\S+)", example)]
    ok(len(panels) > 2 and all(word.endswith(".sqp") for word in panels), f"what --panel takes is a panel file: {panels}")


def private(path, mode):
    return stat.S_IMODE(os.stat(path).st_mode) == mode


def init(folder):
    for kind in ("passphrase", "file"):
        where = folder / kind
        ok(run("init", where, "--key-backend", kind, "--hosts", "hub.example.org,127.0.0.1").returncode == DONE, f"init with {kind}")
        done = run("admin", "config", "check", where / "sequester.ini")
        ok(done.returncode == DONE and not done.stderr, "its configuration is good")
        before = {p: p.read_bytes() for p in where.rglob("*") if p.is_file()}
        ok(run("init", where).returncode == REFUSED and before == {p: p.read_bytes() for p in where.rglob("*") if p.is_file()},
           "a second init overwrites nothing")
        ok(private(where / "tls/ca.key", 0o600) and private(where / "tls/server.key", 0o600) and private(where / "sequester.ini", 0o600)
           and private(where / "tls/ca.crt", 0o644), "private keys are private, the CA is not")
    ok(private(folder / "file/key", 0o600) and len(bytes.fromhex((folder / "file/key").read_text().strip())) == 32, "key file: 32 bytes in hex")
    ok(not (folder / "passphrase/key").exists(), "no key file in passphrase mode")
    ca = x509.load_pem_x509_certificate((folder / "file/tls/ca.crt").read_bytes())
    server = x509.load_pem_x509_certificate((folder / "file/tls/server.crt").read_bytes())
    ca.public_key().verify(server.signature, server.tbs_certificate_bytes, ec.ECDSA(server.signature_hash_algorithm))
    names_of = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    ok(names_of.get_values_for_type(x509.DNSName) == ["hub.example.org"] and [str(a) for a in names_of.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"],
       "the certificate is signed by the CA for the hosts named")
    key = serialization.load_pem_private_key((folder / "file/tls/server.key").read_bytes(), None)
    ok(isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key().public_numbers() == server.public_key().public_numbers(), "and fits its key")
    ok(run("init", folder / "x", "--key-backend", "none").returncode == USAGE and run("init", folder / "x", "--hosts", "a b").returncode == USAGE,
       "wrong arguments: exit code 2")


def config(folder):
    good = (folder / "file/sequester.ini").read_text()
    bad = {"nosuch = 1\n": "unknown key", "retention_days = 31\n": "retention_days must lie in 1..30", "allow_swap = maybe\n": "must be yes or no", "password_score = 1\n": "must lie in 2..4", "peer_rsa_bits = 4096\n": "must be 2048 or 3072",
           "peer_rsa_bits = 3072\nstart_by = sockets\n": "peer_rsa_bits can't be more than 2048 with start_by = sockets",
           "state_dir = here\n": "absolute path", "tls_key = /nowhere\n": "names no file", "listen = 0.0.0.0:1\n": "wildcard", "just words\n": "expected"}
    for line, word in bad.items():
        (folder / "bad.ini").write_text(good + line)
        done = run("admin", "config", "check", folder / "bad.ini")
        if done.returncode != REFUSED or word not in done.stderr.decode():
            ok(False, f"{line!r} is refused: {done.stderr.decode()}")
    ok(True, f"{len(bad)} wrong configurations are each refused with the reason")
    for line in ("peer_rsa_bits = 3072\n", "peer_rsa_bits = 2048\nstart_by = sockets\n"):
        (folder / "good.ini").write_text(good + line)
        ok(run("admin", "config", "check", folder / "good.ini").returncode == DONE, f"{line!r} is good")
    for name, text, word in (("unsorted", "b" * 40 + "\n" + "a" * 40 + "\n", "ascending order"), ("mixed", "a" * 40 + "\nno hash\n" + "b" * 40 + "\n", "no hash near byte"), ("absent", None, "names no file")):
        if text:
            (folder / name).write_text(text)
        (folder / "bad.ini").write_text(good + f"password_list = {folder / name}\n")
        done = run("admin", "config", "check", folder / "bad.ini")
        ok(done.returncode == REFUSED and word in done.stderr.decode(), f"a list of stolen passwords that is {name} is refused with the reason")
    (folder / "words").write_text("a password a line\nanother one\n")
    (folder / "good.ini").write_text(good + f"password_list = {folder / 'words'}\npassword_score = 4\n")
    ok(run("admin", "config", "check", folder / "good.ini").returncode == DONE, "a list of words is good")
    (folder / "bad.ini").write_text("\n" + good + "nosuch = 1\n")
    n = good.count("\n") + 2
    ok(f"bad.ini:{n}: " in run("admin", "config", "check", folder / "bad.ini").stderr.decode(), "the line is named")
    found = json.loads(run("admin", "config", "check", folder / "bad.ini", "--json").stdout)
    ok(found["success"] is False and found["findings"][0]["line"] == n, "and in the JSON")
    os.chmod(folder / "file/key", 0o644)
    ok(run("admin", "config", "check", folder / "file/sequester.ini").returncode == REFUSED, "a key file that others may read is refused")
    os.chmod(folder / "file/key", 0o600)
    keys = {row["key"] for row in json.loads(run("admin", "config", "explain", "--json").stdout)["data"]}
    ok({"state_dir", "key_file", "retention_days"} <= keys, "explain lists the keys")


def signed(text, key, name):
    """A C2SP signed note, made here from its specification."""
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    vkey = f"{name}+{key_id.hex()}+{base64.b64encode(bytes([1]) + public).decode()}"
    line = f"\u2014 {name} {base64.b64encode(key_id + key.sign(text)).decode()}\n".encode()
    return text + b"\n" + line, vkey


def receipts(folder):
    text = (root / "tests/golden/receipt/two-objects.txt").read_bytes()
    note, vkey = signed(text, ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))), "hub.example/log/receipt")
    _, other = signed(text, ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)), "hub.example/log/receipt")
    path, key = folder / "receipt.txt", folder / "receipt.vkey"
    path.write_bytes(note)
    key.write_text(vkey + "\n")
    done = run("receipt", "verify", path, "--vkey", vkey)
    shown = done.stdout.decode()
    ok(done.returncode == DONE and "01010101010101010101010101010101  upload" in shown and "overwritten-verified (ext4)" in shown
       and "already-gone: There was no file any more" in shown, "a good receipt is shown")
    ok(run("receipt", "verify", path, "--vkey", f"@{key}").stdout == done.stdout, "the key from a file")
    j = json.loads(run("receipt", "verify", path, "--vkey", vkey, "--json").stdout)
    ok(j["success"] and [o["kind"] for o in j["receipts"][0]["objects"]] == ["upload", "package"], "and as JSON")
    path.write_bytes(note + note)
    ok("2 receipts: signatures good" in run("receipt", "verify", path, "--vkey", vkey).stdout.decode(), "two receipts in one file")
    for at in range(0, len(note), 17):
        path.write_bytes(note[:at] + bytes([note[at] ^ 1]) + note[at + 1:])
        if run("receipt", "verify", path, "--vkey", vkey).returncode != DAMAGED:
            ok(False, f"flipped bit at {at} is found")
    ok(True, "a flipped bit at every 17th byte is found: exit code 5")
    path.write_bytes(note + note.replace(b"passes 3", b"passes 2"))
    done = run("receipt", "verify", path, "--vkey", vkey)
    ok(done.returncode == DAMAGED and b"receipt 2" in done.stderr, "the changed one of two is named")
    path.write_bytes(note)
    ok(run("receipt", "verify", path, "--vkey", other).returncode == DAMAGED, "another key: exit code 5")
    for n in (0, 10, len(text), len(note) - 1):
        path.write_bytes(note[:n])
        if run("receipt", "verify", path, "--vkey", vkey).returncode != DAMAGED:
            ok(False, f"cut at {n} is found")
    ok(run("receipt", "verify", path, "--vkey", "nonsense").returncode == USAGE, "a malformed key: exit code 2")
    odd, _ = signed(text.replace(b"kind upload", b"sort upload"), ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))), "hub.example/log/receipt")
    path.write_bytes(odd)
    done = run("receipt", "verify", path, "--vkey", vkey)
    ok(done.returncode == DAMAGED and b"line 9" in done.stderr, "signed, but not of the form: line named")


def audit(folder):
    golden = root / "tests/golden/audit"
    key = f"@{golden / 'vkey'}"
    done = run("audit", "verify", "--log", golden, "--vkey", key)
    ok(done.returncode == DONE and b"12 entries" in done.stdout and b"verified" in done.stdout, "the golden log verifies")
    ok(len(run("audit", "tail", "--log", golden, "--limit", "3").stdout.splitlines()) == 3, "tail shows its last three entries")
    j = json.loads(run("audit", "tail", "--log", golden, "--json").stdout)
    ok(j["size"] == 12 and j["data"][-1]["entry"] == 12, "tail as JSON")
    notes = (golden / "checkpoints").read_text()
    kept = folder / "kept.txt"
    kept.write_text(notes[:notes.index("\n\n", notes.index("\u2014")) + 1])
    ok(run("audit", "verify", "--log", golden, "--vkey", key, "--checkpoint", kept).returncode == DONE, "with a kept checkpoint")
    note = kept.read_text()
    printed = "log key      %s\nreceipt key  hub/receipt+00000000+AA==\n\n" % (golden / "vkey").read_text().strip()
    for what, text in (("as audit key prints it", printed + note), ("of two days in one file", printed + note + printed + note)):
        kept.write_text(text)
        ok(run("audit", "verify", "--log", golden, "--vkey", key, "--checkpoint", kept).returncode == DONE, "with a kept checkpoint, " + what)
    other = note.replace(note.splitlines()[2], "A" * 43 + "=")
    for what, text, code, said in (("no note behind the keys", printed, USAGE, b"holds no checkpoint"), ("an empty file", "", USAGE, b"holds no checkpoint"),
                                   ("a note that was changed, behind the keys", printed + other, USAGE, b"--checkpoint isn't"), ("the last of two counts", printed + note + printed + other, USAGE, b"--checkpoint isn't")):
        kept.write_text(text)
        done = run("audit", "verify", "--log", golden, "--vkey", key, "--checkpoint", kept)
        ok(done.returncode == code and said in done.stderr, what)
    bad = folder / "bad-log"
    shutil.copytree(golden, bad)
    segment = bad / "log/00000001.seg"
    data = bytearray(segment.read_bytes())
    data[200] ^= 1
    segment.write_bytes(data)
    done = run("audit", "verify", "--log", bad, "--vkey", key)
    ok(done.returncode == DAMAGED and b"entry " in done.stdout, "a flipped bit: exit code 5, the entry is named")
    j = json.loads(run("audit", "verify", "--log", bad, "--vkey", key, "--json").stdout)
    ok(j["success"] is False and j["findings"] and j["findings"][0]["damage"], "and in the JSON")
    ok(run("audit", "verify", "--log", golden, "--vkey", "nonsense").returncode == USAGE, "a malformed key: exit code 2")
    ok(run("audit", "verify", "--log", folder / "none", "--vkey", key).returncode == REFUSED, "no log there: exit code 1")


def package(folder, name, change=None, extra=None):
    """A package as the server makes it, manifest included; @change edits the manifest, @extra adds an unlisted file."""
    where = folder / f"{name}.in"
    where.mkdir()
    files = {"sequester-check.txt": b"0123456789abcdef\n", "chr22.dose.vcf.gz": bytes(range(256)) * 700, "chr22/empty": b""}
    args, rows = [], []
    for i, (entry, data) in enumerate(files.items()):
        (where / str(i)).write_bytes(data)
        args.append(f"{entry}={where / str(i)}")
        rows.append({"name": entry, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    if extra:
        (where / "extra").write_bytes(b"x")
        args.append(f"{extra}={where / 'extra'}")
    manifest = {"format": "sequester-package/1", "files": rows}
    if change:
        change(manifest)
    (where / "manifest").write_text(json.dumps(manifest))
    args.append(f"manifest.json={where / 'manifest'}")
    subprocess.run([PACKAGE_TOOL, PASSWORD, folder / f"{name}.zip", *args], check=True)
    return folder / f"{name}.zip", files


def decrypt(folder):
    path, files = package(folder, "good")
    secret = folder / "password"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    out = folder / "out"
    done = run("decrypt", path, "-o", out, "--password-stdin", stdin=PASSWORD.encode())
    ok(done.returncode == DONE and all((out / n).read_bytes() == d for n, d in files.items()) and b"3 files match" in done.stdout, "decrypt: all files, as the manifest says")
    ok(all(private(out / n, 0o600) for n in files), "readable by their owner alone")
    done = run("decrypt", path, "-o", out, "--password-file", secret)
    ok(done.returncode == REFUSED and b"nothing is overwritten" in done.stderr, "a second time: nothing is overwritten")
    j = json.loads(run("decrypt", path, "-o", folder / "out2", "--password-file", secret, "--json").stdout)
    ok(j["success"] and len(j["files"]) == 4, "as JSON, with the password from a file")
    done = run("decrypt", path, "-o", folder / "out3", "--password-stdin", stdin=b"wrong-password\n")
    ok(done.returncode == DAMAGED and not any((folder / "out3").iterdir()), "a wrong password: exit code 5, no file")
    data = bytearray(path.read_bytes())
    data[100000] ^= 1
    (folder / "flipped.zip").write_bytes(data)
    done = run("decrypt", folder / "flipped.zip", "-o", folder / "out4", "--password-file", secret)
    ok(done.returncode == DAMAGED and not (folder / "out4/chr22.dose.vcf.gz").exists(), "a flipped bit: exit code 5, that file isn't left")
    (folder / "cut.zip").write_bytes(path.read_bytes()[:-30])
    ok(run("decrypt", folder / "cut.zip", "-o", folder / "out5", "--password-file", secret).returncode == DAMAGED, "a package cut off: exit code 5")

    def sum_changed(m):
        m["files"][1]["sha256"] = "0" * 64

    def left_out(m):
        del m["files"][2]

    def twice(m):
        m["files"][2] = m["files"][1]

    def other(m):
        m["format"] = "sequester-package/2"
    for i, change in enumerate((sum_changed, left_out, twice, other)):
        bad, _ = package(folder, change.__name__, change)
        ok(run("decrypt", bad, "-o", folder / f"bad{i}", "--password-file", secret).returncode == DAMAGED, f"manifest {change.__name__}: exit code 5")
    bad, _ = package(folder, "extra", extra="not-listed")
    ok(run("decrypt", bad, "-o", folder / "bad9", "--password-file", secret).returncode == DAMAGED, "a file that isn't in the manifest: exit code 5")


def sessions(folder):
    path = folder / "s/session.json"
    ok(run("me", "--session", path).returncode == SIGNED_OUT, "not signed in: exit code 4")
    path.parent.mkdir()
    path.write_text(json.dumps({"server": "https://127.0.0.1:9", "cacert": "", "name": "ada", "token": "marker-token"}))
    path.chmod(0o644)
    done = run("me", "--session", path)
    ok(done.returncode == SIGNED_OUT and b"chmod 600" in done.stderr, "a session file that others may read is refused")
    path.chmod(0o600)
    done = run("me", env={**ENV, "SEQUESTER_SESSION": str(path)})
    ok(done.returncode == UNREACHABLE and b"marker-token" not in done.stdout + done.stderr, "no server: exit code 3, no token in the message")
    j = json.loads(run("me", "--session", path, "--json").stdout)
    ok(j["success"] is False and j["code"] == "EDOWN", "errors as JSON")
    path.write_text("{")
    ok(run("me", "--session", path).returncode == REFUSED, "a damaged session file is named")
    ok(run("login", "--server", "http://127.0.0.1:9", "--name", "ada", "--password-stdin", stdin=b"x\n").returncode == USAGE, "no plain HTTP")
    ok(run("admin", "status", "--run-dir", folder).returncode == UNREACHABLE, "no operator's socket: exit code 3")
    ok(run("status", "../x", "--session", folder / "none").returncode == SIGNED_OUT, "nothing is asked without a token")


def no_secret_shown(folder):
    """While it signs in at a server that never answers: the password is in no command line and no environment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        p = subprocess.Popen([PROGRAM, "login", "--session", folder / "t.json", "--server", f"https://127.0.0.1:{listener.getsockname()[1]}",
                              "--name", "ada", "--password-stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
        p.stdin.write(PASSWORD.encode() + b"\n")
        p.stdin.close()
        listener.settimeout(200)
        peer, _ = listener.accept()
        hello = peer.recv(4096)
        line = Path(f"/proc/{p.pid}/cmdline").read_bytes()
        ok(b"login" in line and PASSWORD.encode() not in line, "the password isn't on the command line")
        status = Path(f"/proc/{p.pid}/environ")
        ok(not os.access(status, os.R_OK) or PASSWORD.encode() not in status.read_bytes(), "nor in the environment")
        ok(PASSWORD.encode() not in hello, "nor sent before the handshake")
        if os.geteuid():
            ok(os.stat(f"/proc/{p.pid}/mem").st_uid == 0, "its memory is closed to other processes of its user (not dumpable)")
        peer.close()
        p.stdin = None
        out, err = p.communicate(timeout=300)
        ok(p.returncode == UNREACHABLE and PASSWORD.encode() not in out + err, "broken off: exit code 3")


def on_terminal(args, typed):
    """Run with a terminal of its own; (exit code or -signal, what it showed, silent while asking, echoing after)."""
    pid, fd = pty.fork()
    if not pid:
        os.execve(PROGRAM, [PROGRAM, *map(str, args)], ENV)
    shown = b""
    while b": " not in shown:  # the prompt comes after echo was switched off, or it would be seen
        shown += os.read(fd, 1000)
    silent = not termios.tcgetattr(fd)[3] & termios.ECHO
    os.write(fd, typed)
    until = time.monotonic() + 60
    while not termios.tcgetattr(fd)[3] & termios.ECHO and time.monotonic() < until:
        time.sleep(0.02)
    echoes = bool(termios.tcgetattr(fd)[3] & termios.ECHO)
    try:
        while part := os.read(fd, 1000):
            shown += part
    except OSError:
        pass
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    return os.waitstatus_to_exitcode(status), shown, silent, echoes


def terminal(folder):
    path = folder / "good.zip"
    code, shown, silent, echoes = on_terminal(["decrypt", path, "-o", folder / "typed"], PASSWORD.encode() + b"\n")
    ok(code == DONE and silent and PASSWORD.encode() not in shown, "a password typed on a terminal isn't echoed")
    ok((folder / "typed/manifest.json").exists(), "and is used")
    code, shown, silent, echoes = on_terminal(["decrypt", path, "-o", folder / "typed2"], b"half\x03")
    ok(code == -2 and silent and echoes and b"half" not in shown, "Ctrl-C at the prompt ends the program and brings the echo back")
    done = subprocess.run([PROGRAM, "decrypt", path, "-o", folder / "typed3"], capture_output=True, stdin=subprocess.DEVNULL, env=ENV, start_new_session=True)
    ok(done.returncode == USAGE and b"--password-stdin" in done.stderr, "no terminal: the other ways are named")


with tempfile.TemporaryDirectory() as t:
    folder = Path(t)
    ENV = {"PATH": os.environ["PATH"], "HOME": t, "LC_ALL": "C"}
    every_help()
    init(folder)
    config(folder)
    receipts(folder)
    audit(folder)
    decrypt(folder)
    terminal(folder)
    sessions(folder)
    no_secret_shown(folder)
print(f"1..{n_done}")
