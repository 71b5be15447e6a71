"""A whole hub for a test: a private instance of the test build in a directory of its own, started as an operator would.

    with hub.Hub() as h:
        ada = h.user("ada")                     # an account and its token
        h.panel()                               # the panel of tests/data
        up = ada.upload(hub.TARGET)             # dicts, as the API answers them
        job = ada.run_job(up["id"])             # submit and wait

As root, or as an ordinary user: then, or with Hub(uid=N), all of the hub is that user's. Everything is real: the daemons, TLS,
crun, the disk.
"""
import contextlib
import http.client
import json
import mmap
import os
import random
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SEQUESTER_TEST_BUILD", os.path.join(ROOT, "build-test"))
CLI = os.path.join(BUILD, "sequester")
DATA = os.path.join(ROOT, "tests", "data", "chr22-1kgp3-b37")
TARGET = os.path.join(DATA, "target.array.phased.vcf.gz")
UNPHASED = os.path.join(DATA, "target.array.unphased.vcf.gz")
REF = os.path.join(DATA, "ref.bcf")
MAP = os.path.join(DATA, "chr22.b37.gmap.gz")
PASSWORD = "correct-Horse-battery-42-%s"
# tests ask faster than people: ten times what config.def says
RATES = {"rate_connect": "address=12000 all=120000", "rate_read": "address=6000 token=6000 user=12000 all=300000", "rate_write": "address=1200 token=1200 user=2400 all=60000",
         "rate_bulk": "address=600 token=600 user=1200 all=30000", "rate_login": "address=100 token=100 user=200 all=3000", "rate_mail": "address=50/h token=50/h user=50/h all=3000/h"}
REAL_RATES = dict.fromkeys(RATES)  # settings=: those of config.def
ROLES = ["gateway", "registrar", "keeper", "storer", "runner", "jailer", "courier"]
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import contract  # noqa: E402
import rows  # noqa: E402
import sanitizer  # noqa: E402
import sqp  # noqa: E402
import totp  # noqa: E402
import wire  # noqa: E402

REGISTRAR = os.path.join(BUILD, "sequester-registrar")
SECCOMP = sanitizer.seccomp(REGISTRAR)  # in /proc/PID/status, of every process of ours
WIRE = wire.Table(os.path.join(ROOT, "src/lib/wire/messages.def"))


def panel_file(source=REF, gmap=MAP, build_name="GRCh37"):
    """The path of the panel of tests/data, or of another one: made once."""
    return sqp.cached(os.path.join(BUILD, "sequester-worker"), source, gmap, build_name)


KEPT = []  # one lock for each port that this process was given


def free_port():
    """A port that is this process's as long as it lives, also while nobody listens there: below those that the kernel gives to outgoing connections, and kept from
    other tests by a name that only one may have."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        end = int(f.read().split()[0])
    ports = list(range(10240, end if end > 12000 else 60000))
    random.shuffle(ports)
    for port in ports:
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):
            lock.bind("\0sequester-test-port-%d" % port)
            if is_free(port):
                KEPT.append(lock)
                return port
        lock.close()
    raise AssertionError("no port is free")


def is_free(port):
    """May a server listen there? Not while a process that was killed is still being taken apart: its program is gone before its sockets."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return True
        return False


PATIENCE = 4  # a machine that is this much slower, or this busy, is no failure; who doesn't wait in vain pays nothing for it


def wait_for(what, condition, seconds=30.0):
    """The value of condition() once it is true; an AssertionError that names `what` after PATIENCE times `seconds`, which a quiet machine needs."""
    until = time.monotonic() + PATIENCE * seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < until, "waited %g s for: %s" % (PATIENCE * seconds, what)
        time.sleep(0.05)


def crowded(seconds):
    """A bound that is itself the promise, as long as nobody else wants the processors: longer by as much as they are asked for more than they have."""
    return seconds * max(1.0, os.getloadavg()[0] / os.cpu_count())


def within(what, condition, seconds):
    """wait_for with a bound that is a promise."""
    return wait_for(what, condition, crowded(seconds) / PATIENCE)


def program_of(pid):
    """The name of its program; its own user isn't told, for it isn't dumpable, and gets the name that it was started by."""
    try:
        return os.path.basename(os.readlink("/proc/%s/exe" % pid))
    except PermissionError:
        return open("/proc/%s/cmdline" % pid).read().split("\0")[0]


def tracer():
    """SEQUESTER_TEST_TRACE=DIR: strace below every process of the hub, one file a thread (tools/calls reads them)."""
    where = os.environ.get("SEQUESTER_TEST_TRACE")
    if not where:
        return []
    return ["strace", "-D", "-ff", "-qq", "-s", "24", "-o", os.path.join(tempfile.mkdtemp(dir=where), "t")]


def assert_memory(what, kib, most_mib):
    """what: the process. In a build with a sanitizer it is only said."""
    sanitizer.bounded(REGISTRAR, what, kib, most_mib << 10)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return "<%d %s>" % (self.status, self.body[:300])


class Hub:
    def __init__(self, key_backend="file", settings=None, keep=False, uid=None):
        self.dir = tempfile.mkdtemp(prefix="sequester-test-")
        os.chmod(self.dir, 0o755)
        self.user_is = {}
        if uid is not None and os.geteuid() == 0:  # the hub becomes this ordinary user's; the test stays root
            os.chown(self.dir, uid, uid)
            self.user_is = {"user": uid, "group": uid, "extra_groups": []}
        self.key_backend, self.keep, self.parent, self.n_hold = key_backend, keep, None, 0
        self.sessions = set()  # one of each start
        self.rows_may_differ = False  # a test that edits the database, or puts an old one back, says so
        self.programs = BUILD  # tests/support/captured.py puts another directory here
        self.port = free_port()
        self.origin = "https://localhost:%d" % self.port  # as a browser says it; in settings: {origin}
        subprocess.run([CLI, "init", os.path.join(self.dir, "hub"), "--listen", "127.0.0.1:%d" % self.port,
                        "--hosts", "localhost,127.0.0.1,imputationserver.com,api.imputationserver.com",
                        "--key-backend", key_backend], check=True, stdout=subprocess.DEVNULL, **self.user_is)
        self.base = os.path.join(self.dir, "hub")
        self.ini, self.state = os.path.join(self.base, "sequester.ini"), os.path.join(self.base, "state")
        self.ca = os.path.join(self.base, "tls", "ca.crt")
        self.admin_path = os.path.join(self.base, "run", "admin.sock")
        self.log_path = os.path.join(self.base, "log")
        with open(self.ini, "a") as f:
            for k, v in {**RATES, **(settings or {})}.items():
                if v is not None:
                    f.write("%s = %s\n" % (k, str(v).replace("{origin}", self.origin)))
        self.tls = ssl.create_default_context(cafile=self.ca)

    # ---- life ----
    def start(self, wait_up=True):
        wait_for("port %d to be free" % self.port, lambda: is_free(self.port), 60)
        n_ready = self.log().count("role=parent event=ready")
        log = open(self.log_path, "ab")
        self.parent = subprocess.Popen([*tracer(), os.path.join(self.programs, "sequester-parent"), "--config", self.ini], stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log, start_new_session=True, **self.user_is)
        log.close()
        self.sessions.add(self.parent.pid)
        if wait_up:
            self.wait_up()
            wait_for("all processes to serve", lambda: self.log().count("role=parent event=ready") > n_ready, 60)  # jailer and courier have no part in its being up
        return self

    def is_up(self):
        try:
            return self.request("GET", "/healthz").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def wait_up(self, seconds=60):
        wait_for("the hub to be up", self.is_up, seconds)

    def stop(self, sig=signal.SIGTERM):
        if self.parent:
            self.parent.send_signal(sig)
            self.parent.wait(30 * PATIENCE)
            self.parent = None
            wait_for("all processes to end", lambda: not any(self.pids(r) for r in ROLES), 20)

    def __enter__(self):
        return self.start(wait_up=self.key_backend == "file")

    def __exit__(self, kind, *_):
        with contextlib.suppress(Exception):
            self.stop()
        found = self.sanitizer_reports()
        differs = "" if kind or self.rows_may_differ or self.parent else rows.difference(self.state)
        if kind:
            sys.stderr.write("---- the hub's log, last lines ----\n%s\n" % self.log()[-6000:])
        if not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)
        assert not found or kind, "a sanitizer found: " + found
        assert not differs, "rows of the database that stand in no entry: " + differs

    def sanitizer_reports(self):
        """What ASan, UBSan or TSan (tools/check asan, tsan) wrote into the log, or ""."""
        text = self.log()
        at = re.search(r"^.*(?:(?:ERROR|WARNING): \w+Sanitizer|: runtime error: )", text, re.M)
        if at:
            keep = os.path.join(BUILD, "sanitizer-%d.log" % os.getpid())
            open(keep, "a").write(text)
        return text[at.start():at.start() + 4000] if at else ""

    def log(self):
        return open(self.log_path, errors="replace").read() if os.path.exists(self.log_path) else ""

    def pids(self, role):
        """Process ids of `role` in this hub: children of its parent, newest last. A number may have come round to another hub's process."""
        found = []
        for line in re.findall(r"event=child_started child=%s pid=(\d+)" % role, self.log()):
            with contextlib.suppress(OSError):
                state, _, _, session = open("/proc/%s/stat" % line).read().rsplit(")", 1)[1].split()[:4]
                is_ours = not self.sessions or int(session) in self.sessions
                if state != "Z" and is_ours and int(line) not in found and program_of(line).startswith("sequester-" + role):
                    found.append(int(line))
        return found

    def pid(self, role):
        """Of the process of this role; of the one that is being started when there is none."""
        return wait_for("a process of %s" % role, lambda: self.pids(role), 30)[-1]

    def outer_jailer(self):
        """jailer's outer process, once it has given up its rights: the inner one serves perhaps before."""
        pid = self.pid("jailer")
        wait_for("jailer's outer process to have no rights", lambda: re.search(r"^CapEff:\s+0+$", open("/proc/%d/status" % pid).read(), re.M) and
                 re.search(r"^Seccomp:\s+%s$" % SECCOMP, open("/proc/%d/status" % pid).read(), re.M), 30)
        return pid

    def started_anew(self, role, pid, seconds=30):
        """Waits until another process than `pid` is the newest of this role. Between the two there may be none, at any moment."""
        wait_for("%s to be started anew" % role, lambda: self.pids(role)[-1:] not in ([], [pid]), seconds)

    def kill(self, role, sig=signal.SIGKILL):
        """kill -9 the process of this role; the parent starts another."""
        pid = self.pid(role)
        os.kill(pid, sig)
        wait_for("%s to be gone" % role, lambda: pid not in self.pids(role), 10)
        return pid

    # ---- hooks of the test build: the clock, one armed fault (src/lib/core/fault.h) ----
    def _hooks(self):
        f = os.open(os.path.join(self.state, "hooks"), os.O_RDWR)
        try:
            return mmap.mmap(f, 4096)
        finally:
            os.close(f)

    def move_clock(self, seconds):
        with contextlib.closing(self._hooks()) as m:
            (now,) = struct.unpack_from("<q", m, 0)
            struct.pack_into("<q", m, 0, now + int(seconds))

    def now(self):
        """The hub's clock."""
        with contextlib.closing(self._hooks()) as m:
            return time.time() + struct.unpack_from("<q", m, 0)[0]

    def arm(self, name, code=None, times=1):
        """The next process that comes to fault `name` dies there (or gets error number `code`); so do the next ones, `times` in all.

        What must happen again at once is armed once: a second arm() after the first was hit may be too late.
        """
        with contextlib.closing(self._hooks()) as m:
            struct.pack_into("<i", m, 8, 0)
            struct.pack_into("<i", m, 88, times - 1)
            m[16:64] = name.encode().ljust(48, b"\0")
            struct.pack_into("<i", m, 12, code or 0)
            struct.pack_into("<i", m, 8, 2 if code else 1)

    def is_armed(self):
        """Nobody came to what was armed last."""
        with contextlib.closing(self._hooks()) as m:
            return struct.unpack_from("<i", m, 8)[0] != 0

    def hold(self, name):
        """The next thread that comes to fault `name` (or `name:stage`) waits there until it is released. Returns the wait's number."""
        self.n_hold += 1
        with contextlib.closing(self._hooks()) as m:
            struct.pack_into("<i", m, 8, 0)
            struct.pack_into("<i", m, 88, 0)
            m[16:64] = name.encode().ljust(48, b"\0")
            struct.pack_into("<i", m, 12, self.n_hold)
            struct.pack_into("<i", m, 8, 3)
        return self.n_hold

    def is_held(self, number):
        with contextlib.closing(self._hooks()) as m:
            return struct.unpack_from("<i", m, 72)[0] >= number

    def release(self, number):
        """This wait and all before it are over."""
        with contextlib.closing(self._hooks()) as m:
            struct.pack_into("<i", m, 76, number)

    def n_count(self):
        """Password hashes so far."""
        with contextlib.closing(self._hooks()) as m:
            return struct.unpack_from("<Q", m, 80)[0]

    def fault_hits(self):
        with contextlib.closing(self._hooks()) as m:
            return struct.unpack_from("<Q", m, 64)[0]

    # ---- the operator ----
    def admin(self, verb, args=None, files=(), session=""):
        """(code name number, answer) of `sequester admin VERB`."""
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(120)
        s.connect(self.admin_path)
        link = wire.Link(WIRE, s, me="admin", peer="registrar")
        link.hello()
        fds = [os.open(p, os.O_RDONLY) for p in files]
        try:
            link.send("admin", verb=verb, args=json.dumps(args or {}).encode(), session=session, files=fds)
            m = link.recv()
        finally:
            for fd in fds:
                os.close(fd)
            s.close()
        return m.fields["code"], json.loads(m.fields["body"])

    def admin_ok(self, verb, args=None, files=(), session=""):
        code, answer = self.admin(verb, args, files, session)
        assert code == 0, (verb, code, answer)
        return answer

    def check(self, *more, seconds=300):
        """(exit code, answer) of `sequester admin check`: 0 clean, 1 findings, 2 it couldn't be checked."""
        p = subprocess.run([CLI, "admin", "check", "--run-dir", os.path.dirname(self.admin_path), "--json", *more], capture_output=True, text=True, timeout=seconds)
        return p.returncode, json.loads(p.stdout) if p.stdout.startswith("{") else p.stderr

    def clean(self):
        """Database, keys, files and log agree: the judge of everything that was killed, filled or cut off."""
        code, answer = self.check()
        assert code == 0 and answer["clean"], (code, answer)
        return answer

    def user(self, name, role="user"):
        self.admin_ok("user-add", {"name": name, "role": role, "password": PASSWORD % name})
        return User(self, name)

    def panel(self, ident="1kgp3-chr22"):
        return self.admin_ok("panel-add", {"id": ident, "name": "1000 Genomes phase 3, chr22", "build": "hg19", "populations": "all,eur"}, [panel_file()])

    # ---- HTTPS ----
    def request(self, method, path, body=None, token=None, headers=None, timeout=120):
        c = http.client.HTTPSConnection("localhost", self.port, context=self.tls, timeout=timeout)
        try:
            h = dict(headers or {})
            if token:
                h.setdefault("Authorization", "Bearer " + token)
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
                h.setdefault("Content-Type", "application/json")
            try:
                c.request(method, path, body=body, headers=h)
            except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                if not isinstance(c.sock, ssl.SSLSocket):
                    raise  # there was no handshake
                # else it has answered before the body was all there, as with 413 and 507
            r = c.getresponse()
            a = Answer(r.status, r.headers, r.read())
        finally:
            c.close()
        contract.CONTRACT.check(method, path, a.status, a.headers, a.body)
        return a

    def curl(self, *args, token=None):
        """curl with this hub's CA; the documented host names lead here. Returns (exit code, stdout bytes)."""
        cmd = ["curl", "-sS", "--cacert", self.ca]
        for host in ("imputationserver.com", "api.imputationserver.com"):
            cmd += ["--connect-to", "%s:443:127.0.0.1:%d" % (host, self.port)]
        if token:
            cmd += ["-H", "Authorization: Bearer " + token]
        p = subprocess.run(cmd + list(args), capture_output=True, timeout=120)
        return p.returncode, p.stdout

    # ---- what lies on the disk ----
    def vkeys(self):
        return self.request("GET", "/api/v1/audit/checkpoint").json

    def log_dir(self):
        return os.path.join(self.state, "registrar", "log")

    def objects(self):
        """Paths of all sealed files."""
        top = os.path.join(self.state, "storer", "objects")
        return sorted(os.path.join(d, f) for d, _, files in os.walk(top) for f in files)

    def verify_log(self):
        """Both verifiers: ours and the independent one. Waits until everything is signed."""
        def signed():
            s = self.admin_ok("status")
            return s["audit"]["signed"] >= s["audit"]["entries"] - 2
        wait_for("a checkpoint", signed, 20)
        vkey = self.vkeys()["vkey"]
        ours = subprocess.run([CLI, "audit", "verify", "--log", self.log_dir(), "--vkey", vkey], capture_output=True, text=True)
        other = subprocess.run([sys.executable, os.path.join(ROOT, "tests/oracle/audit.py"), self.log_dir(), vkey], capture_output=True, text=True)
        assert ours.returncode == 0, ours.stdout + ours.stderr
        assert other.returncode == 0, other.stdout + other.stderr


class User:
    def __init__(self, h, name):
        self.hub, self.name, self.password = h, name, PASSWORD % name
        self.token = self.secret = None
        self.login()

    def login(self):
        body = {"name": self.name, "password": self.password}
        if self.secret:
            body["code"] = self.code()
        a = self.hub.request("POST", "/api/v1/login", body)
        assert a.status == 200, a
        self.token = a.json["token"]
        return self.token

    # ---- the second factor: codes are good once, so that each is of a later step than the one before ----
    def enrol(self):
        """Adds an authenticator, signs in again with it; the recovery codes."""
        begun = self.call("POST", "/api/v1/me/totp", {"password": self.password}, status=200).json
        self.secret, self.last_step = begun["secret"], 0
        codes = self.call("POST", "/api/v1/me/totp/confirm", {"id": begun["id"], "code": self.code()}, status=200).json["recovery"]
        self.login()
        return codes

    def code(self):
        """A code that is good and wasn't used: of the step before, of this one or of the next; when all three are used, the clock moves on."""
        now, into = divmod(self.hub.now(), totp.STEP_S)
        now = int(now)
        step = max(now - (into < totp.STEP_S / 2), self.last_step + 1)  # the one before is good until this step ends: not long enough when it is nearly over
        if step > now + 1:
            self.hub.move_clock((step - now) * totp.STEP_S)
        self.last_step = step
        return totp.code(self.secret, step * totp.STEP_S)

    def step_up(self):
        self.token = self.call("POST", "/api/v1/step-up", {"code": self.code()}, status=200).json["token"]
        return self.token

    def call(self, method, path, body=None, status=None, **kw):
        a = self.hub.request(method, path, body, token=self.token, **kw)
        if status is not None:
            assert a.status == status, (method, path, a)
        return a

    def get(self, path, status=200):
        return self.call("GET", path, status=status).json

    def upload_raw(self, data, name="data.vcf"):
        """Answer of POST /api/upload for these bytes."""
        mark = "----sequester-test"
        body = ("--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%s\"\r\nContent-Type: application/octet-stream\r\n\r\n"
                % (mark, name)).encode() + data + ("\r\n--%s--\r\n" % mark).encode()
        return self.call("POST", "/api/upload", body, headers={"Content-Type": "multipart/form-data; boundary=" + mark})

    def upload(self, path=TARGET):
        a = self.upload_raw(open(path, "rb").read(), os.path.basename(path))
        assert a.status == 201, a
        if a.json["state"] != "checking":
            return a.json
        return wait_for("what was uploaded to be checked", lambda: (lambda u: u if u["state"] != "checking" else None)(self.get("/api/v1/uploads/" + a.json["id"])), 60)

    def submit(self, upload, panel="1kgp3-chr22", **more):
        a = self.call("POST", "/api/v1/jobs", dict({"upload": upload, "panel": panel}, **more), status=201)
        return a.json["id"]

    def wait_job(self, job, states=("done", "failed", "cancelled", "erased"), seconds=120):
        return wait_for("job %s" % "/".join(states), lambda: (lambda j: j if j["state"] in states else None)(self.get("/api/v1/jobs/" + job)), seconds)

    def run_job(self, upload, **more):
        j = self.wait_job(self.submit(upload, **more))
        assert j["state"] == "done", j
        return j

    def claim(self, job):
        """The one-time password, once the package is ready."""
        body = {"password": self.password, **({"code": self.code()} if self.secret else {})}
        password = self.call("POST", "/api/v1/jobs/%s/claim" % job, body, status=200).json["password"]
        wait_for("the package", lambda: ((self.get("/api/v1/jobs/" + job)["claim"] or {}).get("package") or {}).get("state") == "ready", 60)
        return password

    def package(self, job):
        return self.call("GET", "/api/v1/jobs/%s/package" % job, status=200).body

    def claims_and_opens(self, job):
        with tempfile.TemporaryDirectory() as d:
            path, password = os.path.join(d, "p.zip"), self.claim(job)
            with open(path, "wb") as f:
                f.write(self.package(job))
            assert subprocess.run(["7z", "t", "-p" + password, path], capture_output=True).returncode == 0

    def cli(self, *args, password=None, check=True):
        """`sequester ARGS` as this user, with a session file of his own."""
        session = os.path.join(self.hub.dir, "session-%s.json" % self.name)
        if not os.path.exists(session):
            p = subprocess.run([CLI, "login", "--server", "https://127.0.0.1:%d" % self.hub.port, "--cacert", self.hub.ca, "--name", self.name, "--password-stdin",
                                "--session", session], input=self.password + "\n", text=True, capture_output=True)
            assert p.returncode == 0, p.stdout + p.stderr
        p = subprocess.run([CLI, *args, "--session", session], input=password, text=True, capture_output=True, timeout=300)
        if check:
            assert p.returncode == 0, p.stdout + p.stderr
        return p


class Skip(Exception):
    """Raised by a test that can't run here; the text says why."""


def main(tests, needs_root=None):
    """Run test functions; TAP on standard output. needs_root: why an ordinary user can't run them."""
    if os.geteuid() != 0 and needs_root:
        print("1..0 # SKIP needs root: " + needs_root)
        return
    if os.geteuid() != 0 and subprocess.run(["unshare", "-Ur", "true"], stderr=subprocess.DEVNULL).returncode:
        print("1..0 # SKIP needs root: an ordinary user may make no user namespace here")
        return
    print("1..%d" % len(tests), flush=True)
    failed = 0
    for i, t in enumerate(tests, 1):
        try:
            t()
            print("ok %d - %s" % (i, t.__name__), flush=True)
        except Skip as why:
            print("ok %d - %s # SKIP %s" % (i, t.__name__, why), flush=True)
        except Exception:  # a test that broke in any way has failed
            import traceback
            traceback.print_exc()
            failed += 1
            print("not ok %d - %s" % (i, t.__name__), flush=True)
    sys.exit(1 if failed else 0)
