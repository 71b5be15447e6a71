"""The hub as deploy/systemd runs it: a service manager starts each process as its own user when parent connects, hands parent its
listening socket, and hears READY, WATCHDOG and STOPPING; each has its unit's SystemCallFilter (where systemd-analyze knows the groups). Here the test is the manager; parent is an ordinary user without capabilities."""
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub

UID = 61900  # parent's; role k runs as UID + k
JAILER_CAPS = "cap_sys_admin,cap_setuid,cap_setgid,cap_kill,cap_dac_override,cap_chown"
LAUNCH = """
import ctypes, os, sys
fd, uid, cwd, exe, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
os.dup2(fd, 3)
os.chdir(cwd)
if uid:
    os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
allowed, refused = sys.argv[6].split(), sys.argv[7].split()
if allowed or refused: # the unit's SystemCallFilter=, SystemCallErrorNumber=EPERM, NoNewPrivileges=
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)
    allow, eperm = 0x7fff0000, 0x00050001
    f = ctypes.c_void_p(lib.seccomp_init(eperm if allowed else allow))
    for name in allowed or refused:
        no = lib.seccomp_syscall_resolve_name(name.encode())
        if no >= 0:
            lib.seccomp_rule_add(f, allow if allowed else eperm, no, 0)
    if lib.seccomp_load(f):
        sys.exit("seccomp_load")
os.execve(exe, [name], {"SQ_LOG": os.environ.get("SQ_LOG", "info"), "LISTEN_FDS": "1", "SECRET": "x"})
"""


def group(name):
    """Names of the calls in a group of systemd's, groups within it included."""
    out = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    found = set()
    for line in (line.strip() for line in out.splitlines()[1:]):
        if line and not line.startswith("#"):
            found |= group(line) if line.startswith("@") else {line}
    return found


def unit_filter(role):
    """(allowed, refused) of the unit's SystemCallFilter= lines; both empty where systemd's groups aren't known."""
    if not shutil.which("systemd-analyze"):
        return set(), set()
    unit = os.path.join(hub.ROOT, "deploy", "systemd", "sequester-%s@.service" % role)
    allowed, refused, is_first, is_allowing = set(), set(), True, True
    for line in open(unit):
        if line.startswith("SystemCallFilter="):
            words = line.split("=", 1)[1].strip()
            is_less = words.startswith("~")
            names = set().union(*(group(w) if w.startswith("@") else {w} for w in words.lstrip("~").split()))
            if is_first:
                is_allowing, is_first = not is_less, False
            if is_allowing:
                allowed = allowed - names if is_less else allowed | names
            else:
                refused |= names
    return (allowed, set()) if is_allowing else (set(), refused)


class Manager(hub.Hub):
    """A hub whose processes are started by this test, one a connection, as `Accept=yes` does."""

    def __init__(self):
        super().__init__(settings={"start_by": "sockets"})
        run = os.path.join(self.base, "run")
        self.started, self.listeners = [], {}
        self.filters = {role: unit_filter(role) for role in hub.ROLES}
        os.chmod(self.base, 0o711)
        for d in (run, os.path.join(run, "start"), self.state):
            os.makedirs(d, exist_ok=True)
            os.chmod(d, 0o711)
        os.chown(run, UID, UID)
        os.chown(self.state, UID, UID)  # a test build keeps its hooks there
        for name in os.listdir(os.path.join(self.base, "tls")):
            os.chown(os.path.join(self.base, "tls", name), UID, UID)
        os.chmod(os.path.join(self.base, "tls"), 0o755)
        for top, _, files in os.walk(self.base):
            for f in files:
                if f.endswith((".key", ".ini", "keyfile", "root.key")) or "key" in f:
                    os.chown(os.path.join(top, f), UID, UID)
        for i, role in enumerate(hub.ROLES, 1):
            uid = 0 if role == "jailer" else UID + i
            cwd = os.path.join(self.state, role)
            os.makedirs(cwd)
            os.chmod(cwd, 0o700)
            os.chown(cwd, uid, uid)
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            path = os.path.join(run, "start", role + ".sock")
            s.bind(path)
            os.chmod(path, 0o600)
            os.chown(path, UID, UID)
            s.listen(4)
            self.listeners[role] = s
            threading.Thread(target=self._serve, args=(role, s, uid, cwd), daemon=True).start()
        self.notify_path = os.path.join(run, "notify")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.notify_path)
        os.chown(self.notify_path, UID, UID)
        self.listen = socket.socket()
        self.listen.bind(("127.0.0.1", self.port))
        self.listen.listen(64)

    def _serve(self, role, listener, uid, cwd):
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            log = open(self.log_path, "ab")
            command = [sys.executable, "-c", LAUNCH, str(c.fileno()), str(uid), cwd, os.path.join(self.programs, "sequester-" + role), "sequester-" + role,
                       *(" ".join(sorted(names)) for names in self.filters[role])]
            if role == "jailer":
                command = ["setpriv", "--bounding-set", "-all," + ",".join("+" + x[4:] for x in JAILER_CAPS.split(","))] + command
            p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[c.fileno()])
            c.close()
            log.close()
            self.started.append((role, p))

    def start(self, wait_up=True):
        log = open(self.log_path, "ab")

        def become():
            os.dup2(self.listen.fileno(), 3)
            os.setgroups([])
            os.setresgid(UID, UID, UID)
            os.setresuid(UID, UID, UID)

        # LISTEN_PID is the pid after exec: a shell sets it and becomes parent
        self.parent = subprocess.Popen(["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", os.path.join(self.programs, "sequester-parent"), "--config", self.ini],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[3], preexec_fn=become,
                                       env={"PATH": "/usr/bin:/bin", "LISTEN_FDS": "1", "NOTIFY_SOCKET": self.notify_path, "WATCHDOG_USEC": "400000"})
        log.close()
        if wait_up:
            self.wait_up()
        return self

    def stop(self, sig=signal.SIGTERM):
        if self.parent:
            self.parent.send_signal(sig)
            self.parent.wait(60)
            self.parent = None
            for _, p in self.started:
                p.wait(20)

    def hear(self, seconds=20):
        """The next thing that parent says."""
        assert select.select([self.notify], [], [], seconds)[0], "parent said nothing"
        return self.notify.recv(100).decode()

    def running(self, role):
        return [p for r, p in self.started if r == role and p.poll() is None]


def status(pid):
    return {key: value.strip() for key, _, value in (line.partition(":") for line in open("/proc/%d/status" % pid))}


def test_service_manager():
    with Manager() as h:
        said = h.hear()
        while said != "READY=1":
            assert said == "WATCHDOG=1", said
            said = h.hear()
        assert h.hear() == "WATCHDOG=1" and h.hear() == "WATCHDOG=1"  # twice without anything else going on

        # parent: no rights at all; the others: each its own user; jailer alone has capabilities
        own = status(h.parent.pid)
        assert own["Uid"].split()[0] == str(UID) and int(own["CapEff"], 16) == 0 and own["NoNewPrivs"] == "1", own
        uids = set()
        for role in hub.ROLES:
            (p,) = h.running(role)
            s = hub.wait_for("rights to be given up", lambda: (lambda s: s if int(s["CapEff"], 16) == 0 and s["Seccomp"] == hub.SECCOMP else None)(status(p.pid)), 30)
            uids.add(s["Uid"].split()[0])
            assert int(s["CapEff"], 16) == 0 and s["NoNewPrivs"] == "1" and s["Seccomp"] == hub.SECCOMP, (role, s)  # jailer's outer process, too
        assert len(uids) == len(hub.ROLES), uids

        # no filter of a unit has taken Landlock away where the kernel has it
        confined = re.findall(r"role=(\w+) event=confined .* landlock=(\d+)", h.log())
        assert {role for role, _ in confined} == set(hub.ROLES) | {"parent"}, confined
        assert len({abi for role, abi in confined if role != "parent"}) == 1 and ("parent", "0") in confined, confined

        # the whole job works
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload()["id"])
        assert job["state"] == "done"

        # one that dies is asked for again, and one that parent accuses is hung up on
        for role in ("runner", "keeper", "jailer"):
            (p,) = h.running(role)
            p.kill()
            hub.wait_for("another " + role, lambda: h.running(role)[:1] not in ([], [p]), 30)
        hub.wait_for("the hub to be ready again", lambda: h.log().count("event=ready") >= 2, 60)
        assert ada.run_job(ada.upload()["id"])["state"] == "done"

        # parent ends: all end, in order, and the manager hears of it first
        while select.select([h.notify], [], [], 0)[0]:
            h.notify.recv(100)
        h.stop()
        said = []
        while select.select([h.notify], [], [], 0)[0]:
            said.append(h.notify.recv(100).decode())
        assert "STOPPING=1" in said, said
        assert "event=stopping reason=parent_gone" not in h.log()


def test_others_socket_is_refused():
    """A socket that neither root nor parent's own user made could be anybody's: parent doesn't speak to it."""
    with Manager() as h:
        h.stop()
        path = os.path.join(h.base, "run", "start", "keeper.sock")
        h.listeners["keeper"].shutdown(socket.SHUT_RDWR)
        os.unlink(path)
        os.chmod(os.path.dirname(path), 0o777)
        p = subprocess.Popen([sys.executable, "-c", "import os,socket,sys,time\nos.setresuid(65534,65534,65534)\n"
                              "s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\ns.bind(sys.argv[1])\nos.chmod(sys.argv[1],0o666)\ns.listen(4)\n"
                              "print('up',flush=True)\nc,_=s.accept()\nprint(len(c.recv(100)),flush=True)", path], stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline() == "up\n"
        h.start(wait_up=False)
        hub.wait_for("the refusal", lambda: "what=child_start code=EDENIED" in h.log(), 20)
        assert p.stdout.readline() in ("0\n", ""), "parent said something"
        p.kill()
        p.wait()
        p.stdout.close()


if __name__ == "__main__":
    hub.main([test_service_manager, test_others_socket_is_refused], needs_root="it starts each process as its own user, as a service manager does")
