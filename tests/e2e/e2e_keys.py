#!/usr/bin/env python3
"""The root key: rotated while data lies under it, killed midway, its passphrase changed, split among people, kept in a key
file, in a real PKCS#11 token behind `p11-kit server`, and in a TPM behind the same. What was sealed before is read after each step."""
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
sys.path.insert(0, os.path.join(HERE, "..", "oracle"))
import hub  # noqa: E402
import slab as slab_oracle  # noqa: E402

FIRST, SECOND = "first passphrase of the test", "second passphrase of the test"
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
TPM_MODULE = "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so"


def slab_bytes(h):
    with open(os.path.join(h.state, "keeper", "slab"), "rb") as f:
        return f.read()


def operator(h, *args, lines=()):
    return subprocess.run([hub.CLI, "admin", *args, "--run-dir", os.path.join(h.base, "run")] + (["--password-stdin"] if lines else []),
                          input="".join(x + "\n" for x in lines), text=True, capture_output=True, timeout=120)


def operator_ok(h, *args, lines=()):
    p = operator(h, *args, lines=lines)
    assert p.returncode == 0, (args, p.stdout, p.stderr)
    return p.stdout


def operator_soon(h, *args, lines):
    """After a wrong secret the next is looked at only later."""
    hub.wait_for(" ".join(args), lambda: operator(h, *args, lines=lines).returncode == 0, 30)


def restart(h, up=False):
    h.stop()
    h.start(wait_up=up)
    if not up:
        hub.wait_for("the operator's socket", lambda: operator(h, "key", "status").returncode == 0, 60)


def key(h):
    return h.admin_ok("key-status")


def set_config(h, **settings):
    with open(h.ini) as f:
        lines = [x for x in f if x.split("=")[0].strip() not in settings]
    with open(h.ini, "w") as f:
        f.writelines(lines)
        for k, v in settings.items():
            f.write("%s = %s\n" % (k, v))


def still_there(ada, job):
    """A result that was sealed long ago: claimed and downloaded."""
    ada.login()
    ada.claims_and_opens(job["id"])


def test_rotate_passphrase_split():
    with hub.Hub(key_backend="passphrase") as h:
        hub.wait_for("the operator's socket", lambda: operator(h, "key", "status").returncode == 0, 60)
        assert key(h)["locked_by"] == "none"
        operator_ok(h, "unseal", "--new", lines=[FIRST])
        h.wait_up()
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload()["id"])

        # a new root key under the same passphrase, which must be known
        old = slab_bytes(h)
        assert operator(h, "key", "rotate", lines=["not the passphrase at all"]).returncode == 1
        operator_soon(h, "key", "rotate", lines=[FIRST])
        assert key(h)["root_key"] == 2
        still_there(ada, job)
        new = slab_bytes(h)
        assert old[600:660] not in new and old[4696:4756] not in new
        root = slab_oracle.Slab(old, FIRST)
        mixed = slab_oracle.Slab(new, FIRST)
        mixed.root = root.root  # who had got hold of the old root key
        for (kind, ident), slot in mixed.slots.items():
            if kind == slab_oracle.OWNER:
                try:
                    mixed.unwrap(root.root, slot)
                    raise AssertionError("the old root key opens an owner's key")
                except slab_oracle.InvalidTag:
                    pass

        # killed in the middle: nothing is lost, the next unsealing finishes it
        h.arm("keeper.rekey_moved")
        operator(h, "key", "rotate", lines=[FIRST])
        hub.wait_for("keeper to be back, sealed", lambda: h.admin_ok("status")["key_service"] == "sealed", 30)
        assert any(slab_oracle.read_header(slab_bytes(h)[at:at + 4096])["next_root"].strip(b"\0") for at in (0, 4096))
        operator_ok(h, "unseal", lines=[FIRST])
        h.wait_up()
        assert key(h)["root_key"] == 3 and not key(h)["rotation_under_way"]
        still_there(ada, job)

        # another passphrase
        assert operator(h, "key", "passphrase", lines=[FIRST, "short"]).returncode == 1
        operator_ok(h, "key", "passphrase", lines=[FIRST, SECOND])
        restart(h)
        assert operator(h, "unseal", lines=[FIRST]).returncode == 1
        operator_soon(h, "unseal", lines=[SECOND])
        h.wait_up()
        still_there(ada, job)

        # several people
        shares = os.path.join(h.dir, "shares")
        operator_ok(h, "key", "split", "--shares", "5", "--threshold", "3", "--out", shares, lines=[SECOND])
        files = sorted(os.listdir(shares))
        assert len(files) == 5 and all(os.stat(os.path.join(shares, f)).st_mode & 0o777 == 0o600 for f in files)
        lines = [open(os.path.join(shares, f)).read().strip() for f in files]
        restart(h)
        state = key(h)
        assert state["locked_by"] == "shares" and (state["shares"], state["threshold"]) == (5, 3)
        assert operator(h, "unseal", lines=[SECOND]).returncode == 1
        operator_ok(h, "unseal", lines=[lines[4]])
        assert operator(h, "unseal", lines=[lines[4]]).returncode == 1  # the same again is none more
        mistyped = lines[0][:-10] + ("0" if lines[0][-10] != "0" else "1") + lines[0][-9:]
        assert operator(h, "unseal", lines=[mistyped]).returncode == 1
        operator_ok(h, "unseal", lines=[lines[1]])
        assert key(h)["shares_given"] == 2 and h.admin_ok("status")["key_service"] == "sealed"
        operator_ok(h, "unseal", lines=[lines[2]])
        h.wait_up()
        still_there(ada, job)
        reader = slab_oracle.Slab(slab_bytes(h), slab_oracle.join_shares([lines[0], lines[3], lines[4]]))  # another implementation
        assert reader.owner_key(bytes(16))
        assert operator(h, "key", "rotate").returncode == 1  # nobody has the key that the shares give

        # and back
        operator_ok(h, "key", "passphrase", lines=[FIRST])
        restart(h)
        operator_ok(h, "unseal", lines=[FIRST])
        h.wait_up()
        still_there(ada, job)
        h.verify_log()
        for secret in lines + [FIRST, SECOND]:  # nowhere on the disk, nowhere in the log
            found = subprocess.run(["grep", "-rlaF", secret, h.state, h.log_path], capture_output=True, text=True).stdout
            assert not found, found


@contextlib.contextmanager
def token(d):
    """A SoftHSM token behind p11-kit server, as its own process."""
    conf = os.path.join(d, "softhsm2.conf")
    os.mkdir(os.path.join(d, "tokens"))
    with open(conf, "w") as f:
        f.write("directories.tokendir = %s/tokens\n" % d)
    env = dict(os.environ, SOFTHSM2_CONF=conf)
    tool = ["pkcs11-tool", "--module", SOFTHSM, "--token-label", "sequester", "--login", "--pin", "4711"]
    subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", "sequester", "--so-pin", "12345678", "--pin", "4711"], env=env, check=True, capture_output=True)
    subprocess.run(tool + ["--keypairgen", "--key-type", "rsa:3072", "--label", "sequester", "--id", "01"], env=env, check=True, capture_output=True)
    sock = os.path.join(d, "p11.sock")
    server = subprocess.Popen(["p11-kit", "server", "--foreground", "--provider", SOFTHSM, "-n", sock, "pkcs11:"], env=env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        hub.wait_for("p11-kit server", lambda: os.path.exists(sock), 10)
        os.chmod(sock, 0o666)
        yield sock
    finally:
        server.kill()
        server.wait()


def ready(h, d):
    """A panel, a user with a job that is done, and a PIN's file."""
    os.chmod(d, 0o755)
    h.panel()
    ada = h.user("ada")
    job = ada.run_job(ada.upload()["id"])
    pin = os.path.join(d, "pin")
    with open(pin, "w") as f:
        f.write("4711\n")
    os.chmod(pin, 0o600)
    return ada, job, pin


def test_file_and_token():
    if not all(shutil.which(p) for p in ("softhsm2-util", "pkcs11-tool", "p11-kit")) or not os.path.exists(SOFTHSM):
        raise hub.Skip("softhsm2, opensc or p11-kit isn't installed")
    with hub.Hub() as h, tempfile.TemporaryDirectory() as d:
        assert key(h)["locked_by"] == "file"
        ada, job, pin = ready(h, d)
        h.admin_ok("key-rotate")
        assert key(h)["root_key"] == 2
        restart(h, up=True)
        still_there(ada, job)
        with token(d) as sock:
            set_config(h, key_backend="pkcs11", pkcs11_server=sock, pkcs11_pin_file=pin)
            restart(h, up=True)  # the key file opens it once more, then the token does
            assert key(h)["locked_by"] == "pkcs11" and key(h)["root_key"] == 3
            os.rename(os.path.join(h.base, "key"), os.path.join(d, "old-key"))
            set_config(h, key_file="")
            restart(h, up=True)
            still_there(ada, job)
            h.admin_ok("key-rotate")
            restart(h, up=True)
            still_there(ada, job)
            with open(pin, "w") as f:
                f.write("0000\n")
            h.stop()
            h.start(wait_up=False)
            hub.wait_for("a refusal", lambda: "what=pkcs11_login code=EPASSWORD" in h.log(), 30)
            h.stop()
            with open(pin, "w") as f:
                f.write("4711\n")
        h.start(wait_up=False)  # without the token nothing opens
        hub.wait_for("a refusal", lambda: "what=pkcs11_token_not_found" in h.log(), 30)
        assert not h.is_up()


@contextlib.contextmanager
def tpm_token(d):
    """A TPM 2.0 (swtpm) behind its resource manager, as the kernel's /dev/tpmrm0 is one, with an RSA key made in it, behind p11-kit server."""
    state, store, bus, tpm, sock = (os.path.join(d, name) for name in ("state", "store", "bus", "tpm", "p11.sock"))
    os.mkdir(state)
    os.mkdir(store)
    env = dict(os.environ, DBUS_SESSION_BUS_ADDRESS="unix:path=" + bus, TPM2_PKCS11_STORE=store, TPM2_PKCS11_TCTI="tabrmd:bus_type=session",
               TPM2TOOLS_TCTI="tabrmd:bus_type=session")
    started = []

    def start(what, *args):
        started.append(subprocess.Popen(args, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return hub.wait_for(args[0], what, 30)

    def ptool(*args):
        p = subprocess.run(["tpm2_ptool", *args, "--path", store], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
    try:
        start(lambda: os.path.exists(bus), "dbus-daemon", "--session", "--nofork", "--address=unix:path=" + bus)
        start(lambda: os.path.exists(tpm), "swtpm", "socket", "--tpm2", "--tpmstate", "dir=" + state, "--server", "type=unixio,path=" + tpm,
              "--ctrl", "type=unixio,path=%s.ctrl" % tpm, "--flags", "not-need-init,startup-clear")
        start(lambda: subprocess.run(["tpm2_getrandom", "--hex", "8"], env=env, capture_output=True).returncode == 0,
              "tpm2-abrmd", "--session", "--allow-root", "--tcti=swtpm:path=" + tpm)
        ptool("init")
        ptool("addtoken", "--pid", "1", "--label", "sequester", "--sopin", "12345678", "--userpin", "4711")
        ptool("addkey", "--algorithm", "rsa2048", "--label", "sequester", "--key-label", "sequester", "--userpin", "4711")
        start(lambda: os.path.exists(sock), "p11-kit", "server", "--foreground", "--provider", TPM_MODULE, "-n", sock, "pkcs11:")
        os.chmod(sock, 0o666)
        yield sock
    finally:
        for p in reversed(started):
            p.kill()
            p.wait()


def test_tpm():
    """The root key is opened by a key that never leaves the TPM; a copy of everything but the TPM's state opens nothing."""
    missing = [p for p in ("swtpm", "tpm2-abrmd", "tpm2_ptool", "tpm2_getrandom", "dbus-daemon", "p11-kit") if not shutil.which(p)]
    if missing or not os.path.exists(TPM_MODULE):
        raise hub.Skip("not installed: " + ", ".join(missing or [TPM_MODULE]))
    with hub.Hub() as h, tempfile.TemporaryDirectory() as d:
        ada, job, pin = ready(h, d)
        with tpm_token(d) as sock:
            set_config(h, key_backend="pkcs11", pkcs11_server=sock, pkcs11_pin_file=pin)
            h.stop()
            h.start(wait_up=False)
            hub.wait_for("a refusal", lambda: "what=pkcs11_key_is_weak_see_rsa_bits code=ECONFIG" in h.log(), 30)
            set_config(h, rsa_bits="2048")
            restart(h, up=True)
            assert key(h)["locked_by"] == "pkcs11" and key(h)["root_key"] == 2
            os.unlink(os.path.join(h.base, "key"))
            set_config(h, key_file="")
            restart(h, up=True)
            still_there(ada, job)
            h.admin_ok("key-rotate")
            restart(h, up=True)
            still_there(ada, job)
            h.stop()
        shutil.rmtree(os.path.join(d, "state"))
        shutil.rmtree(os.path.join(d, "store"))
        os.unlink(os.path.join(d, "p11.sock"))
        os.unlink(os.path.join(d, "tpm"))
        with tpm_token(d):  # another TPM with a token and a key of the same names
            h.start(wait_up=False)
            hub.wait_for("a refusal", lambda: "what=pkcs11" in h.log() or "EPASSWORD" in h.log(), 30)
            assert not h.is_up()


def test_dead_token_of_another_lock():
    """A token that is configured and dead, and on which nothing hangs: a hub locked by a passphrase starts all the same."""
    with hub.Hub(key_backend="passphrase") as h:
        pin = os.path.join(h.base, "pin")
        with open(pin, "w") as f:
            f.write("4711\n")
        os.chmod(pin, 0o600)
        set_config(h, pkcs11_server=os.path.join(h.base, "no-such.sock"), pkcs11_pin_file=pin)
        restart(h)
        operator_ok(h, "unseal", "--new", lines=[FIRST])
        h.wait_up()
        restart(h)
        operator_ok(h, "unseal", lines=[FIRST])
        h.wait_up()
        assert key(h)["locked_by"] == "passphrase" and "pkcs11_" not in h.log(), h.log()[-2000:]


hub.main([test_rotate_passphrase_split, test_file_and_token, test_tpm, test_dead_token_of_another_lock])
