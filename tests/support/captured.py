"""A hub in which one process is captured: parent starts a program of ours in its place, and the test holds its sockets.

    c = captured.Captured(h, "gateway")       # h: a stopped hub.Hub; the others are the real programs
    h.start(wait_up=False)
    now = c.next()                            # as parent started it: now.links["keeper"].ask("part_key", ...)
    now = c.next()                            # after parent ended it and started it anew
"""
import array
import contextlib
import os
import shutil
import socket
import subprocess
import threading

import hub
import wire

PROGRAMS = ["parent", "gateway", "registrar", "keeper", "storer", "runner", "jailer", "courier", "worker"]
PEERS = {"gateway": ["registrar", "keeper", "runner"], "runner": ["registrar", "keeper", "jailer", "gateway"], "storer": ["registrar"],
         "registrar": ["gateway", "keeper", "storer", "runner", "courier"], "courier": ["registrar", "keeper"]}


class Taken:
    """One life of the captured process."""

    def __init__(self, role, sock):
        self.role, self.taken, self.settings, self.links = role, {}, {}, {}
        sock.settimeout(20 * hub.PATIENCE)
        self.parent = wire.Link(hub.WIRE, sock, role, "parent")
        self.parent.hello()
        while True:
            m = self.parent.recv()
            if m.name == "go":
                break
            self.given(m)
        self.parent.send("serving", address="")
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def given(self, m):
        if m.name == "take":
            self.taken[m.fields["name"]] = m.file
        elif m.name == "setting":
            self.settings[m.key] = m.value
        elif m.name == "peer":
            s = socket.socket(fileno=m.socket)
            s.settimeout(20)
            link = wire.Link(hub.WIRE, s, self.role, wire.ROLES[m.role])
            with contextlib.suppress(wire.Down, OSError):
                link.hello()
                self.links[wire.ROLES[m.role]] = link

    def read(self):
        """Links that come later, because their peer was started later."""
        with contextlib.suppress(wire.Down, wire.WireError, OSError):
            while True:
                try:
                    self.given(self.parent.recv())
                except TimeoutError:
                    pass

    def link(self, peer):
        return hub.wait_for("a link to %s" % peer, lambda: self.links.get(peer), 20)

    def is_over(self, seconds=10):
        """True once parent has ended this life: its end of the socket is closed."""
        self.reader.join(seconds * hub.PATIENCE)
        return not self.reader.is_alive()

    def close(self):
        for fd in self.taken.values():
            os.close(fd)
        self.taken = {}
        for link in list(self.links.values()) + [self.parent]:
            link.close()


class Captured:
    def __init__(self, h, role):
        self.role = role
        programs = os.path.join(h.dir, "captured-" + role)
        os.mkdir(programs, 0o755)
        at = os.path.join(h.dir, "attacker-" + role)
        for p in PROGRAMS:
            if p != role:
                shutil.copy2(os.path.join(hub.BUILD, "sequester-" + p), programs)
        subprocess.run([os.environ.get("CC", "cc"), "-std=c17", "-D_GNU_SOURCE", "-O1", "-Wall", "-Werror", "-DATTACKER=\"%s\"" % at,
                        os.path.join(hub.ROOT, "tests/attack/captured.c"), "-o", os.path.join(programs, "sequester-" + role)], check=True)
        self.door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.door.bind(at)
        os.chmod(at, 0o777)
        self.door.listen(8)
        self.door.settimeout(30 * hub.PATIENCE)
        h.programs, self.now = programs, None

    def next(self):
        if self.now:
            self.now.close()
        s, _ = self.door.accept()
        fds = array.array("i")
        _, control, _, _ = s.recvmsg(1, socket.CMSG_SPACE(4))
        fds.frombytes(control[0][2])
        s.close()
        self.now = Taken(self.role, socket.socket(fileno=fds[0]))
        return self.now

    def done(self):
        self.door.close()
        if self.now:
            self.now.close()
