"""Messages between the processes, from Python: made from src/lib/wire/messages.def, as src/lib/wire/wire.h describes it.

    import wire
    table = wire.Table("src/lib/wire/messages.def")
    link = wire.Link(table, sock, me="registrar", peer="gateway")
    link.hello()
    m = link.recv()                        # m.name, m.call, m.fields ("fd" fields are descriptors, yours to close)
    link.reply(m, "api_is", status=200, location="", retry_after_s=0, body=b"{}")
    r = link.ask("part_key", object_id=bytes(16), part_no=0)      # one question at a time, its reply

`Child` starts one of our daemons as parent does: descriptor 3, hello, then what the test hands out, then `go`.
It checks nothing that a test might want to break: any role may send any message here.
"""
import array
import os
import re
import socket
import subprocess
import threading

ROLES = ["anyone", "parent", "gateway", "registrar", "keeper", "storer", "runner", "jailer", "courier", "worker", "admin"]
WHENS = ["HELLO", "ANY", "UNSEALED"]
NUMBERS = {"U8": 1, "U16": 2, "U32": 4, "U64": 8}
MAX_BYTES = 65536


class Down(Exception):
    """The other end is gone."""


class WireError(Exception):
    """What came does not fit the table."""


class Row:
    def __init__(self, name, no, sender, receiver, when, reply, fields):
        self.name, self.no, self.sender, self.receiver, self.when, self.reply = name, no, sender, receiver, when, reply
        self.text = fields
        self.fields = [(kind, args.split(",")[0].strip(), int(args.split(",")[1]) if "," in args else None)
                       for kind, args in re.findall(r"(\w+)\(([^)]*)\)", fields)]


class Table:
    def __init__(self, path):
        text = re.sub(r"/\*.*?\*/", " ", open(path, encoding="utf-8").read(), flags=re.S)
        self.rows = []
        at = 0
        while True:
            at = text.find("SQ_MSG(", at)
            if at < 0:
                break
            depth, end = 1, at + len("SQ_MSG(")
            start = end
            while depth:
                depth += {"(": 1, ")": -1}.get(text[end], 0)
                end += 1
            parts = [" ".join(p.split()) for p in text[start:end - 1].split(",", 6)]
            name, no, sender, receiver, when, reply, fields = parts
            self.rows.append(Row(name, int(no), sender.lower(), receiver.lower(), when, reply, fields))
            at = end
        self.by_name = {r.name: r for r in self.rows}
        self.by_no = {r.no: r for r in self.rows}

    def hash(self):
        """FNV-1a over the whole table, as sq_msg_table_hash."""
        h = 0xcbf29ce484222325
        for r in self.rows:
            reply = 0 if r.reply == "none" else self.by_name[r.reply].no
            numbers = "%d %d %d %d %d" % (r.no, ROLES.index(r.sender), ROLES.index(r.receiver), WHENS.index(r.when), reply)
            for s in (r.name, numbers, r.text):
                for b in s.encode() + b"\0":
                    h = (h ^ b) * 0x100000001b3 & 0xffffffffffffffff
        return h

    def encode(self, name, call, fields):
        row = self.by_name[name]
        out, fds = bytearray(), []
        out += row.no.to_bytes(2, "little") + b"\0\0" + call.to_bytes(8, "little")
        left = dict(fields)
        for kind, field, limit in row.fields:
            nothing = bytes(limit) if kind == "BYTES" else 0 if kind in NUMBERS else b"" if kind in ("STR", "BLOB") else ()
            v = left.pop(field, nothing)  # what isn't named is zero or empty
            if kind in NUMBERS:
                out += int(v).to_bytes(NUMBERS[kind], "little")
            elif kind == "BYTES":
                out += v
            elif kind in ("STR", "BLOB"):
                v = v.encode() if isinstance(v, str) else v
                out += len(v).to_bytes(4, "little") + v
            elif kind == "IDS":
                out += len(v).to_bytes(4, "little") + b"".join(v)
            else:
                v = [v] if kind == "FD" else list(v)
                out += bytes([len(v)])
                fds += v
        if left:
            raise WireError("%s has no field %s" % (name, ", ".join(left)))
        return bytes(out), fds

    def decode(self, data, fds):
        row = self.by_no.get(int.from_bytes(data[:2], "little"))
        if not row or data[2:4] != b"\0\0":
            raise WireError("unknown message")
        call, at, fields, fds = int.from_bytes(data[4:12], "little"), 12, {}, list(fds)

        def take(n):
            nonlocal at
            if at + n > len(data):
                raise WireError("%s is too short" % row.name)
            at += n
            return data[at - n:at]

        for kind, field, limit in row.fields:
            if kind in NUMBERS:
                fields[field] = int.from_bytes(take(NUMBERS[kind]), "little")
            elif kind == "BYTES":
                fields[field] = take(limit)
            elif kind in ("STR", "BLOB"):
                n = int.from_bytes(take(4), "little")
                if n > limit:
                    raise WireError("%s.%s is too long: %d" % (row.name, field, n))
                v = take(n)
                fields[field] = v.decode() if kind == "STR" else v
            elif kind == "IDS":
                n = int.from_bytes(take(4), "little")
                if n > limit:
                    raise WireError("%s.%s has too many ids: %d" % (row.name, field, n))
                fields[field] = [take(16) for _ in range(n)]
            else:
                n = take(1)[0]
                if n > (limit or 1) or n > len(fds) or (kind == "FD" and n != 1):
                    raise WireError("%s.%s: wrong number of descriptors" % (row.name, field))
                got, fds = fds[:n], fds[n:]
                fields[field] = got[0] if kind == "FD" else got
        if at != len(data) or fds:
            raise WireError("%s: %d bytes and %d descriptors are left over" % (row.name, len(data) - at, len(fds)))
        return Message(row, call, fields)


class Message:
    def __init__(self, row, call, fields):
        self.row, self.name, self.call, self.fields = row, row.name, call, fields

    def __getattr__(self, field):
        try:
            return self.fields[field]
        except KeyError:
            raise AttributeError(field) from None

    def __repr__(self):
        return "%s(call=%d, %r)" % (self.name, self.call, self.fields)


class Link:
    def __init__(self, table, sock, me, peer):
        self.table, self.sock, self.me, self.peer = table, sock, me, peer
        self.next_call = 1
        self.sending = threading.Lock()

    def send(self, name, call=0, /, **fields):
        data, fds = self.table.encode(name, call, fields)
        self.send_raw(data, fds)

    def send_raw(self, data, fds=()):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            with self.sending:
                self.sock.sendmsg([data], control, socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Down() from e

    def recv(self):
        fds = array.array("i")
        try:
            data, control, flags, _ = self.sock.recvmsg(MAX_BYTES, socket.CMSG_SPACE(16 * fds.itemsize))
        except ConnectionResetError as e:
            raise Down() from e
        if not data:
            raise Down()
        for level, kind, raw in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(raw[:len(raw) - len(raw) % fds.itemsize])
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise WireError("a packet was cut")
        return self.table.decode(data, fds)

    def hello(self):
        self.send("hello", table_hash=self.table.hash(), role=ROLES.index(self.me))
        m = self.recv()
        if m.name != "hello" or m.table_hash != self.table.hash() or m.role != ROLES.index(self.peer):
            raise WireError("wrong hello: %r" % m)

    def reply(self, question, name, /, **fields):
        self.send(name, question.call, **fields)

    def fail(self, question, code):
        self.send("error_is", question.call, code=code)

    def ask(self, name, /, **fields):
        call, self.next_call = self.next_call, self.next_call + 1
        self.send(name, call, **fields)
        while True:
            m = self.recv()
            if m.call == call:
                return m

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR) # wakes a thread that waits in recv
        except OSError:
            pass
        self.sock.close()


class Child:
    """One of our daemons, started as parent starts it."""

    def __init__(self, table, program, role, **popen):
        self.table, self.role = table, role
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fd = theirs.fileno()
        os.set_inheritable(fd, True)

        def to_three():
            if fd != 3:
                os.dup2(fd, 3, inheritable=True)

        self.process = subprocess.Popen([program], preexec_fn=to_three, close_fds=False, **popen)
        theirs.close()
        self.link = Link(table, ours, "parent", role)
        self.link.hello()

    def take(self, name, fd):
        self.link.send("take", name=name, file=fd)

    def setting(self, key, value):
        self.link.send("setting", key=key, value=str(value))

    def peer(self, role):
        """A link to the child whose other end we hold and play @role on; say hello() on it after go()."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.link.send("peer", role=ROLES.index(role), socket=theirs.fileno())
        theirs.close()
        return Link(self.table, ours, role, self.role)

    def go(self):
        self.link.send("go")

    def serving(self):
        m = self.link.recv()
        if m.name != "serving":
            raise WireError("expected serving, got %r" % m)
        return m.address

    def stop(self, wait_s=10):
        try:
            self.link.send("stop")
        except Down:
            pass
        try:
            return self.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def serve(link, handlers):
    """Answer on a thread: handlers[name](link, message), until the link goes down. Returns the thread."""
    def loop():
        try:
            while True:
                m = link.recv()
                h = handlers.get(m.name)
                if h:
                    threading.Thread(target=h, args=(link, m), daemon=True).start()
                elif m.call:
                    link.fail(m, 8)
        except (Down, OSError):
            pass
    t = threading.Thread(target=loop, daemon=True)
    t.start()
    return t
