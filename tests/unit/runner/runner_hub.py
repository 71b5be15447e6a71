"""The rest of the hub around a real sequester-runner: parent, registrar, keeper, jailer and gateway, played by this test.

The sandbox is a thread of the test that gets the worker's descriptors (the true one is tested elsewhere); keeper draws
real keys, so that what runner seals is opened by tests/oracle/vault.py, an independent reader.
"""
import hashlib
import os
import queue
import struct
import threading

import vault
import wire

ERR = {}


def read_errors(path):
    import re
    for name, no in re.findall(r"SQ_ERR\((\w+),\s*(\d+)", open(path, encoding="utf-8").read()):
        ERR[name] = int(no)


class Peer:
    """A link on which both sides ask: answers go to whoever waits, questions to `on`."""

    def __init__(self, link, on):
        self.link, self.on, self.waiting, self.next = link, on, {}, 1
        self.lock = threading.Lock()
        threading.Thread(target=self.loop, daemon=True).start()

    def loop(self):
        try:
            self.link.hello()
            while True:
                m = self.link.recv()
                if m.name in ("ok", "error_is") or m.row.name in ("stream_is",):
                    self.waiting.pop(m.call).put(m)
                else:
                    threading.Thread(target=self.on[m.name], args=(m,), daemon=True).start()
        except (wire.Down, OSError):
            pass

    def ask(self, name, **fields):
        """the answer; an error as its number"""
        with self.lock:
            call, self.next = self.next, self.next + 1
        q = self.waiting[call] = queue.Queue()
        self.link.send(name, call, **fields)
        m = q.get(timeout=300)
        return m.code if m.name == "error_is" else m


class Sandbox(threading.Thread):
    """What jailer starts: @work(control link, port descriptors, order, sandbox) returns (how, status)."""

    def __init__(self, hub, m):
        super().__init__(daemon=True)
        self.hub, self.task_id, self.files = hub, m.task_id, m.files
        self.killed = threading.Event()
        self.work = hub.work[m.stage] if isinstance(hub.work, dict) else hub.work

    def run(self):
        import socket
        sock = socket.socket(fileno=self.files[0])
        control = wire.Link(self.hub.table, sock, "worker", "runner")
        try:
            control.hello()
            how, status = self.work(control, self.files[1:], control.recv(), self)
        except (wire.Down, OSError):
            how, status = 1, 9
        control.close()
        for fd in self.files[1:]:
            try:
                os.close(fd)
            except OSError:
                pass
        self.hub.sandboxes.pop(self.task_id, None)
        try:
            self.hub.jailer.link.send("exited", task_id=self.task_id, how=how, status=status, cpu_ms=11, peak_kib=22, wall_ms=33)
        except (wire.Down, OSError):
            pass


class Hub:
    def __init__(self, root, program, directory):
        self.table = wire.Table(os.path.join(root, "src/lib/wire/messages.def"))
        read_errors(os.path.join(root, "src/lib/core/err.def"))
        self.dir = directory
        self.keys, self.n_open, self.keeper_error, self.entry_keys = {}, {}, None, {}
        self.password = b"Correct-horse7"
        self.ended, self.progress, self.end_errors = queue.Queue(), [], []
        self.sandboxes, self.n_kill, self.work = {}, 0, None
        self.child = wire.Child(self.table, program, "runner")
        self.hooks = os.path.join(directory, "hooks") # the page of core/fault.h
        with open(self.hooks, "wb") as f:
            f.write(bytes(4096))
        with open(self.hooks, "r+b") as f:
            self.child.link.send_raw(*self.table.encode("take", 0, {"name": "hooks", "file": f.fileno()}))
        links = {role: self.child.peer(role) for role in ("registrar", "keeper", "jailer", "gateway")}
        self.child.go()
        self.attach(links)
        self.child.serving()

    def attach(self, links):
        on = {
            "registrar": {"task_ended": self.on_ended, "task_progress": lambda m: self.progress.append(m)},
            "keeper": {"task_seal_key": self.on_seal_key, "task_open_key": self.on_open_key, "entry_keys": self.on_entry_keys},
            "jailer": {"start": self.on_start, "kill": self.on_kill},
            "gateway": {},
        }
        for role, link in links.items():
            setattr(self, role, Peer(link, on[role]))

    def arm(self, name, kind, code=0):
        """kind 1: the process dies there; 2: that place fails with @code"""
        with open(self.hooks, "r+b") as f:
            f.seek(16)
            f.write(name.encode().ljust(48, b"\0"))
            f.seek(8)
            f.write(struct.pack("<ii", kind, code))

    def restart(self, role):
        """that process died and parent started it again"""
        getattr(self, role).link.close()
        self.attach({role: self.child.peer(role)})

    # ---- registrar
    def on_ended(self, m):
        if self.end_errors:
            self.registrar.link.fail(m, self.end_errors.pop(0))
            return
        self.registrar.link.reply(m, "ok")
        self.ended.put(m)

    def end(self, timeout=300):
        return self.ended.get(timeout=timeout)

    # ---- keeper
    def derive(self, m, salt):
        return vault.derive(self.keys[m.object_id], salt, m.object_id + struct.pack(">I", m.part_no))

    def on_seal_key(self, m):
        if self.keeper_error is not None:
            return self.keeper.link.fail(m, self.keeper_error)
        salt = os.urandom(32)
        self.keeper.link.reply(m, "task_key_is", salt=salt, derived_key=self.derive(m, salt))

    def on_open_key(self, m):
        if self.keeper_error is not None:
            return self.keeper.link.fail(m, self.keeper_error)
        if m.part_no != vault.CLOSING_NO:
            self.n_open[m.object_id] = self.n_open.get(m.object_id, 0) + 1
        self.keeper.link.reply(m, "task_key_is", salt=m.salt, derived_key=self.derive(m, m.salt))

    def on_entry_keys(self, m):
        key = (m.task_id, m.fence, m.entry_no)
        if key in self.entry_keys:
            return self.keeper.link.fail(m, ERR["EDENIED"])
        salt = os.urandom(16)
        keys = hashlib.pbkdf2_hmac("sha1", self.password, salt, 1000, 66)
        self.entry_keys[key] = salt
        self.keeper.link.reply(m, "entry_keys_is", salt=salt, aes=keys[:32], mac=keys[32:64], verifier=keys[64:])

    # ---- jailer
    def on_start(self, m):
        s = self.sandboxes[m.task_id] = Sandbox(self, m)
        self.jailer.link.reply(m, "started")
        s.start()

    def on_kill(self, m):
        self.n_kill += 1
        s = self.sandboxes.get(m.task_id)
        if s:
            s.killed.set()
            self.jailer.link.reply(m, "ok")
        else:
            self.jailer.link.fail(m, ERR["ENOTFOUND"])

    # ---- storer
    def path(self, object_id):
        return os.path.join(self.dir, object_id.hex())

    def sealed(self, plain):
        """an object that exists: (id, sealed bytes, read-only descriptor)"""
        object_id = os.urandom(16)
        self.keys[object_id] = os.urandom(32)
        data = vault.object_seal(self.keys[object_id], object_id, plain)
        with open(self.path(object_id), "wb") as f:
            f.write(data)
        return object_id, len(data), os.open(self.path(object_id), os.O_RDONLY)

    def empty(self):
        object_id = os.urandom(16)
        self.keys[object_id] = os.urandom(32)
        return object_id, 0, os.open(self.path(object_id), os.O_RDWR | os.O_CREAT, 0o600)

    def opened(self, object_id):
        with open(self.path(object_id), "rb") as f:
            return vault.object_open(self.keys[object_id], object_id, f.read())

    # ---- tasks
    def run_task(self, stage, objects, task_id=None, fence=1, **more):
        """the answer of task_run: a message or an error's number"""
        self.task_id = task_id or os.urandom(16)
        fields = dict(task_id=self.task_id, fence=fence, stage=stage, size_class=0, objects=[o[0] for o in objects],
                      sealed_bytes=b"".join(struct.pack(">Q", o[1]) for o in objects), files=[o[2] for o in objects],
                      ports=bytes(range(len(objects))), from_bp=0, to_bp=0,
                      panel="1kgp", population="EUR", max_samples=10, max_variants=20, flags=5)
        fields.update(more)
        answer = self.registrar.ask("task_run", **fields)
        for o in objects:
            os.close(o[2])
        return answer


def sums(m):
    return [struct.unpack(">IQQ32s", m.sums[i:i + 52]) for i in range(0, len(m.sums), 52)]
