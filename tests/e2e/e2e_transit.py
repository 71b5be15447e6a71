#!/usr/bin/env python3
"""Everything on the wire is TLS 1.3 (S2-14), and there is no wire but those that are configured (S2-01): a whole job with mail, webhook and syslog in a network
namespace that holds lo alone, where every packet is read as somebody who listens would. Between our own processes there are nameless socket pairs."""
import contextlib
import fcntl
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import e2e_mail  # noqa: E402
import e2e_marker  # noqa: E402
import hub  # noqa: E402

OUTGOING, ETH_P_ALL, SOL_PACKET, PACKET_STATISTICS = 4, 3, 263, 6
SYN, FIN = 2, 1


class Listener:
    """All packets of lo, once each; TCP streams put together: {(from, port, to, port): bytes}."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), 256 << 20)
        self.sock.bind(("lo", 0))
        self.sock.settimeout(.2)
        self.streams, self.next, self.others, self.gaps, self.is_over = {}, {}, [], [], False
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while not self.is_over:
            with contextlib.suppress(socket.timeout):
                frame, at = self.sock.recvfrom(1 << 17)
                if at[2] != OUTGOING:  # each passes lo twice
                    self.take(frame[14:])

    def take(self, p):
        if p[0] >> 4 == 4:
            head, proto, who = (p[0] & 15) * 4, p[9], (socket.inet_ntoa(p[12:16]), socket.inet_ntoa(p[16:20]))
            p = p[:struct.unpack("!H", p[2:4])[0] or len(p)]
        else:
            head, proto, who = 40, p[6], (socket.inet_ntop(socket.AF_INET6, p[8:24]), socket.inet_ntop(socket.AF_INET6, p[24:40]))
        p = p[head:]
        if proto != socket.IPPROTO_TCP:
            self.others.append((proto, who, p[:64]))
            return
        a, b, seq = struct.unpack("!HHI", p[:8])
        key, flags, data = (who[0], a, who[1], b), p[13], p[(p[12] >> 4) * 4:]
        if flags & SYN:
            self.streams.setdefault(key, bytearray())
            self.next[key] = (seq + 1) & 0xffffffff
        if not data:
            return
        if key not in self.next:
            self.gaps.append(key)
            return
        late = (seq - self.next[key]) & 0xffffffff
        if late >> 31:  # sent again; some of it may be new
            data, late = data[(1 << 32) - late:], 0
        if late:
            self.gaps.append(key)
        self.streams[key] += data
        self.next[key] = (self.next[key] + len(data)) & 0xffffffff

    def stop(self):
        time.sleep(.5)  # what is under way in the kernel; its queue is read to its end
        while True:
            before = sum(map(len, self.streams.values()))
            time.sleep(.5)
            if sum(map(len, self.streams.values())) == before:
                break
        self.is_over = True
        self.thread.join()
        n, dropped = struct.unpack("II", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self.sock.close()
        assert not dropped and not self.gaps, ("the listener was too slow, so it proves nothing", n, dropped, self.gaps[:3])


def tls_fault(data, is_client):
    """What in this direction of a stream isn't TLS 1.3, or None. A stream may end anywhere."""
    at, n, is_closed = 0, 0, False
    while at < len(data):
        if len(data) - at < 5:
            return None
        kind, version, size = struct.unpack("!BHH", data[at:at + 5])
        if kind not in (20, 21, 22, 23) or version not in (0x0301, 0x0303) or size > 16384 + 256:
            return "record %d is none: %r" % (n, bytes(data[at:at + 24]))
        body = data[at + 5:at + 5 + size]
        if n == 0 and (kind != 22 or not body or body[0] != (1 if is_client else 2)):
            return "it doesn't begin with a hello"
        if n == 0 and not is_client and b"\x00\x2b\x00\x02\x03\x04" not in body:
            return "the server's hello isn't of TLS 1.3"
        is_second_hello = kind == 22 and n <= 2 and not is_closed  # after a request to try again
        if n and kind == 22 and not is_second_hello:
            return "record %d is of the handshake, in clear" % n
        if kind == 21 and is_closed:
            return "record %d is an alert in clear" % n
        is_closed |= kind == 23
        at, n = at + 5 + size, n + 1
    return None


def judge(listener, ports, starttls=()):
    """What somebody who listens could read: [text]. ports: where something may be; starttls: those among them that speak SMTP first."""
    found = ["protocol %d %s: %r" % x for x in listener.others]
    for (a, a_port, b, b_port), data in sorted(listener.streams.items()):
        where = "%s:%d > %s:%d" % (a, a_port, b, b_port)
        is_client = b_port in ports
        if not is_client and a_port not in ports:
            found.append("%s: nothing is configured there: %r" % (where, bytes(data[:40])))
            continue
        if (b_port if is_client else a_port) in starttls and data:
            data, why = after_starttls(bytes(data), is_client)
            if why:
                found.append("%s: %s" % (where, why))
                continue
        fault = tls_fault(data, is_client)
        if fault:
            found.append("%s: %s" % (where, fault))
    return found


def after_starttls(data, is_client):
    """What comes behind STARTTLS; before it a mail server and its client may greet each other, and nothing more."""
    if is_client:
        m = re.match(rb"EHLO [A-Za-z0-9.\[\]:-]+\r\n(STARTTLS\r\n|$)", data)
        return (data[m.end():], None) if m else (b"", "more than a greeting before STARTTLS: %r" % data[:80])
    m = re.match(rb"220 [^\r\n]*\r\n((250[- ][^\r\n]*\r\n)+(220 [^\r\n]*\r\n|$)|$)", data)
    return (data[m.end():], None) if m else (b"", "the mail server said: %r" % data[:200])


# ---- what the processes hold ----

def sockets_of(pid):
    """{inode: description} of the sockets of a process; in its own network namespace."""
    held = set()
    with contextlib.suppress(OSError):
        for fd in os.listdir("/proc/%d/fd" % pid):
            with contextlib.suppress(OSError):
                held.update(re.findall(r"socket:\[(\d+)\]", os.readlink("/proc/%d/fd/%s" % (pid, fd))))
    found = {}
    for kind in ("tcp", "tcp6", "udp", "udp6", "udplite", "raw", "raw6", "icmp", "packet", "netlink", "unix"):
        with contextlib.suppress(OSError):
            for line in open("/proc/%d/net/%s" % (pid, kind)).read().splitlines()[1:]:
                f = line.split()
                inode = f[6] if kind == "unix" else f[8] if kind == "packet" else f[9]
                if inode in held:
                    found[inode] = (kind, f[7] if kind == "unix" and len(f) > 7 else "" if kind == "unix" else "%s %s" % (f[1], f[2]))
    return found, held - set(found)


class Watch:
    """What sockets the hub's processes hold, looked at again and again: {(name, kind, what)}; unix ones without a name are left out."""

    def __init__(self, h):
        self.h, self.seen, self.n_pair, self.is_over = h, set(), 0, False
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.is_over:
            for pid, name in e2e_marker.family(self.h.parent.pid).items():
                found, _ = sockets_of(pid)
                for kind, what in found.values():
                    if kind == "unix" and not what:
                        self.n_pair += 1
                    elif kind == "unix":
                        self.seen.add((name, kind, what))
                    else:
                        local, peer = [int(x.rsplit(":", 1)[1], 16) for x in what.split()[:2]] if kind.startswith(("tcp", "udp")) else (0, 0)
                        self.seen.add((name, kind, "to %d" % peer if name.startswith("sequester-cou") else "at %d" % local))
            time.sleep(.02)

    def stop(self):
        self.is_over = True
        self.thread.join()


def whole_way(w):
    """Upload, job, claim, download, link, erasure; with what is told of it by mail, webhook and syslog."""
    ada = w.ada
    job = ada.run_job(ada.upload()["id"], name="in transit")["id"]
    ada.claim(job)
    package = ada.package(job)
    link = ada.call("POST", "/api/v1/jobs/%s/links" % job, {}, status=201).json
    assert w.h.request("GET", link["path"]).body == package
    assert ada.cli("jobs").returncode == 0
    ada.call("DELETE", "/api/v1/jobs/" + job, status=202)
    ada.wait_job(job, ("erased",))
    hub.wait_for("a mail of the end and one of the erasure", lambda: len(w.sink.mails) >= 2, 120)
    hub.wait_for("the webhook", lambda: len(w.hook.events) >= 2, 120)
    hub.wait_for("the collector", lambda: any("job_erased" in line for line in w.log.lines), 120)
    assert all(m.is_tls for m in w.sink.mails) and not w.hook.bad and not w.log.bad
    return package


def test_everything_on_the_wire_is_tls():
    listener = Listener()
    w = e2e_mail.World(syslog="tls", hook_tls=True)
    with w:
        watch = Watch(w.h)
        package = whole_way(w)
        watch.stop()
        port, away = w.h.port, {w.sink.port: "mail", w.hook.port: "webhook", w.log.port: "syslog"}
        secrets = [w.ada.password.encode(), w.ada.token.encode(), e2e_mail.MAIL_PASSWORD.encode(), package[100:132], b"in transit", b"##fileformat"]
        sample = subprocess.run(["bcftools", "query", "-l", hub.TARGET], capture_output=True, text=True).stdout.split()[0].encode()
    listener.stop()
    found = judge(listener, {port, *away}, starttls={w.sink.port})
    assert not found, "\n".join(found[:20])
    whole = b"\0".join(bytes(x) for x in listener.streams.values())
    for secret in secrets + [sample]:
        assert len(secret) > 4 and secret not in whole, secret
    for p in (port, *away):  # each was there, and said something
        n = sum(len(x) for k, x in listener.streams.items() if p in (k[1], k[3]))
        assert n > 1000, (away.get(p, "hub"), n)
    # who holds what: one port that is ours, three that courier goes to, the operator's socket; between processes nothing that has a name
    nets = {x for x in watch.seen if x[1] != "unix"}
    assert {x[0] for x in nets if x[2] == "at %d" % port} <= {"sequester-paren", "sequester-parent", "sequester-gatew", "sequester-gateway"} and nets, nets
    allowed = {"at %d" % port} | {"to %d" % p for p in away} | {"to 0"}
    assert {x[1] for x in nets} <= {"tcp", "tcp6"} and {x[2] for x in nets} <= allowed, nets
    assert all(x[0].startswith("sequester-cou") for x in nets if x[2].startswith("to ")), nets
    named = {x[2] for x in watch.seen if x[1] == "unix"}
    locks = {(name, what) for name, kind, what in watch.seen if kind == "unix" and re.fullmatch("@sequester-sandbox-ids-[0-9]+", what)}  # bound, so that two hubs take different ids; nobody reads it
    assert named <= {w.h.admin_path} | {what for _, what in locks} and all(name.startswith("sequester-jai") for name, _ in locks), named
    assert watch.n_pair > 100, watch.n_pair
    print("# %d streams, %d bytes on the wire; sockets: %s, and nameless pairs" % (len(listener.streams), len(whole), sorted(watch.seen)), flush=True)


def test_the_listener_hears_what_is_not():
    """The judge itself: plain text, a plain answer, TLS that turns plain, TLS 1.2, UDP, a port that nobody configured, a name before STARTTLS."""
    def heard(client, answer, kind=socket.SOCK_STREAM):
        listener = Listener()
        with socket.socket(socket.AF_INET, kind) as s, socket.socket(socket.AF_INET, kind) as c:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
            if kind == socket.SOCK_DGRAM:
                c.sendto(client, ("127.0.0.1", port))
            else:
                s.listen()
                c.connect(("127.0.0.1", port))
                t, _ = s.accept()
                c.sendall(client)
                while len(t.recv(1 << 16)) == 0:
                    pass
                if answer:
                    t.sendall(answer)
                    c.recv(1 << 16)
                t.close()
        listener.stop()
        return listener, port

    def record(kind, body):
        return struct.pack("!BHH", kind, 0x0303, len(body)) + body
    hello = record(22, b"\x01" + b"h" * 40)
    good = record(22, b"\x02" + b"\x00\x2b\x00\x02\x03\x04" + b"h" * 40) + record(20, b"\x01") + record(23, b"x" * 30)
    for client, answer in ((b"GET / HTTP/1.1\r\n\r\n", None), (hello, b"HTTP/1.1 400 Bad Request\r\n\r\n"), (hello + record(23, b"x" * 40) + b"plain text here", good),
                           (hello, record(22, b"\x02" + b"h" * 60)), (hello + record(23, b"x") + record(22, b"plain"), good)):
        listener, port = heard(client, answer)
        assert judge(listener, {port}), (client, answer)
        assert judge(listener, {1}), "a port that isn't configured"
    listener, port = heard(hello + record(23, b"x" * 40), good)
    assert not judge(listener, {port}), judge(listener, {port})
    listener, port = heard(b"EHLO a.b\r\nMAIL FROM:<x@y.z>\r\n", b"220 x\r\n250 OK\r\n220 go\r\n")
    assert judge(listener, {port}, {port})
    listener, port = heard(b"<13>1 - - audit", None, socket.SOCK_DGRAM)
    assert judge(listener, {port})


def test_nothing_in_clear_can_be_configured():
    """A mail server, webhook or collector elsewhere that has no TLS is refused before anything starts; and the front port speaks nothing else."""
    with hub.Hub() as h:
        listener = Listener()
        with socket.create_connection(("127.0.0.1", h.port)) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            s.settimeout(30)
            with contextlib.suppress(OSError):
                got = s.recv(1000)
                assert not got or got[0] == 21, got  # an alert of TLS
        listener.stop()
        h.stop()
        base = open(h.ini).read()
        for line in ("smtp_url = smtp+plain://mail.example.org", "webhook_url = http://hooks.example.org/x", "syslog_url = udp://log.example.org", "syslog_url = tcp://192.0.2.1:601",
                     "public_url = http://hub.example.org"):
            with open(h.ini, "w") as f:
                f.write(base + line + "\n")
            p = subprocess.run([hub.CLI, "admin", "config", "check", h.ini], capture_output=True, text=True)
            assert p.returncode and line.split(" ")[0] in p.stdout + p.stderr, (line, p)
            p = subprocess.run([os.path.join(hub.BUILD, "sequester-parent"), "--config", h.ini], capture_output=True, text=True, timeout=300)
            assert p.returncode and line.split(" ")[0] in p.stdout + p.stderr, (line, p)
        with open(h.ini, "w") as f:
            f.write(base)


def lo_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running


if __name__ == "__main__":
    if os.geteuid() == 0 and os.environ.get("SEQUESTER_TEST_ALONE") != "lo":
        if subprocess.run(["unshare", "-n", "true"], stderr=subprocess.DEVNULL).returncode:
            print("1..0 # SKIP no network namespace can be made here")
            sys.exit(0)
        os.environ["SEQUESTER_TEST_ALONE"] = "lo"
        os.execvp("unshare", ["unshare", "-n", sys.executable, os.path.abspath(__file__)])
    if os.geteuid() == 0:
        lo_up()
        assert len(open("/proc/self/net/route").readlines()) <= 1, "there is a way out"
    hub.main([test_everything_on_the_wire_is_tls, test_the_listener_hears_what_is_not, test_nothing_in_clear_can_be_configured],
             needs_root="only root listens to what passes a network interface")
