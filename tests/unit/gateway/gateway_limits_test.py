"""How often, from where, through which proxy: the real gateway with limits of its own, among fakes."""
import contextlib
import os
import re
import socket
import ssl
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from gateway_world import TOKEN, World, read_answer  # noqa: E402

ROOMY = {"rate_connect": "address=100000", "rate_read": "address=100000", "rate_write": "address=100000", "rate_login": "address=100000", "rate_bulk": "address=100000"}


@contextlib.contextmanager
def world(rules=None, **settings):
    w = World(sys.argv[1], networks=rules, **{**ROOMY, **settings})
    try:
        yield w
    finally:
        if w.is_alive():
            assert w.stop() == 0
        else:
            w.child.process.wait()


def ask(w, path="/healthz", method="GET", headers=(), source="127.0.0.1", body=b"", host="localhost", context=None):
    """From an address of 127.0.0.0/8; None: the connection ended without an answer."""
    try:
        with connect(w, source) as s:
            lines = ["%s %s HTTP/1.1" % (method, path), "Host: " + host, *headers] + (["Content-Length: %d" % len(body)] if body else [])
            s.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            return read_answer(s, is_head=method == "HEAD")
    except OSError:
        return None


def connect(w, source):
    s = socket.socket()
    s.settimeout(120)
    s.bind((source, 0))
    try:
        s.connect(("127.0.0.1", w.port))
        return ssl.create_default_context(cafile=w.cert).wrap_socket(s, server_hostname="localhost")
    except OSError:
        s.close()
        raise


def login(w, source="127.0.0.1", headers=()):
    return ask(w, "/api/v1/login", "POST", ["Content-Type: application/json", *headers], source, b"{}")


def left(a):
    """{name: (quota, window, left, full)} of the two headers, which must speak of the same limits"""
    policy = re.findall(r'"([a-z-]+)";q=(\d+);w=(\d+)(?:, |$)', a.headers["ratelimit-policy"])
    said = re.findall(r'"([a-z-]+)";r=(\d+);t=(\d+)(?:, |$)', a.headers["ratelimit"])
    assert [p[0] for p in policy] == [s[0] for s in said] and policy, a
    assert ", ".join('"%s";q=%s;w=%s' % p for p in policy) == a.headers["ratelimit-policy"], a
    return {p[0]: tuple(map(int, p[1:] + s[1:])) for p, s in zip(policy, said)}


def wait_for_second():
    """Refusals are told once a second in test builds."""
    time.sleep(2.2)


# ---- how often ----

def at_the_limit_plus_one():
    """Matrix: each class has its own bucket, of an address and of a token; n are served, n + 1 is not; two clients don't feel each other."""
    with world(rate_read="address=7/h token=5/h", rate_write="address=6/h token=4/h", rate_login="address=3/h token=9", rate_bulk="address=4/h token=2/h") as w:
        auth = ["Authorization: Bearer " + TOKEN]
        classes = {"read": ("GET", "/jobs", 7, 5), "write": ("POST", "/api/v1/jobs/a/cancel", 6, 4), "bulk": ("HEAD", "/api/v1/jobs/a/report", 4, 2)}
        for i, (name, (method, path, of_address, of_token)) in enumerate(classes.items()):
            mine, others = "127.0.1.%d" % i, "127.0.2.%d" % i
            for k in range(of_token):
                a = ask(w, path, method, auth, mine)
                assert a.status == 200, (name, k, a)
                got = left(a)
                assert got[name + "-address"][:3] == (of_address, 3600, of_address - k - 1) and got[name + "-token"][:3] == (of_token, 3600, of_token - k - 1), (name, k, got)
                assert 1 <= got[name + "-token"][3] <= 3600, got
            a = ask(w, path, method, auth, mine)
            assert a.status == 429 and 1 <= int(a.headers["retry-after"]) <= 3600 // of_token + 1, (name, a)
            assert left(a)[name + "-token"][2] == 0 and left(a)[name + "-address"][2] == of_address - of_token, a  # and took nothing from the address
            assert ask(w, path, method, auth, others).status == 429, name  # the token's own bucket, wherever it comes from
            assert ask(w, path, method, ["Authorization: Bearer other-%s" % name], others).status in (200, 401), name
            for k in range(of_address - of_token):
                a = ask(w, path, method, ["X-Auth-Token: " + "t%d" % k], mine)
                assert a.status in (200, 401), (name, k, a)
            a = ask(w, path, method, ["X-Auth-Token: fresh"], mine)
            assert a.status == 429 and left(a)[name + "-address"][2] == 0, (name, a)
        for k in range(3):
            assert login(w, "127.0.3.1").status == 200
        a = login(w, "127.0.3.1")
        assert a.status == 429 and 1100 <= int(a.headers["retry-after"]) <= 1200, a  # an hour's three
        assert left(a)["login-address"][:3] == (3, 3600, 0), a
        assert ask(w, source="127.0.3.1").status == 200 and login(w, "127.0.3.2").status == 200


def nonsense_is_counted():
    """What makes no sense, is for another host, or asks for what isn't there: each is paid for as reading."""
    with world(rate_read="address=10/h") as w:
        for i, (path, headers, host) in enumerate([("/nowhere", (), "localhost"), ("/healthz", (), "evil.example"), ("//x", (), "localhost"), ("/healthz", ["Authorization: Basic x"], "localhost"),
                                                   ("/healthz", ["X:  two"], "localhost"), ("/healthz", ["Cookie: a=b", "Cookie: a=b"], "localhost")]):
            got = [ask(w, path, "GET", headers, "127.0.4.%d" % i, host=host) for _ in range(12)]
            assert [a.status for a in got[:10]].count(429) == 0 and [a.status for a in got[10:]] == [429, 429], (path, headers, [a.status for a in got])
        w.wait(lambda: sum(m.n for m in w.messages("refused")) >= 6 * 12)
        wait_for_second()
        assert sum(m.n for m in w.messages("refused")) == 6 * 12, [(m.address, m.n) for m in w.messages("refused")]


def waits_as_long_as_it_says():
    with world(rate_read="address=6") as w:
        while True:
            a = ask(w)
            if a.status == 429:
                break
        wait = int(a.headers["retry-after"])
        assert 1 <= wait <= 10, a
        time.sleep(wait)
        assert ask(w).status == 200
        assert ask(w).status == 429


def all_together_and_known_callers():
    """Strangers from many addresses use up three quarters of what all may do; the rest is for those whose token was accepted."""
    with world(rate_read="address=100 all=40/h", rate_login="address=100 all=20/h") as w:
        assert ask(w, "/jobs", headers=["Authorization: Bearer " + TOKEN], source="127.0.5.1").status == 200
        assert "read-all" not in left(ask(w, source="127.0.5.2"))  # how busy the house is isn't told
        got = [ask(w, source="127.0.6.%d" % i).status for i in range(40)]
        assert got == [200] * 28 + [429] * 12, got
        a = ask(w, source="127.0.6.200")
        assert a.status == 429 and left(a)["read-address"][2] == 100 and int(a.headers["retry-after"]) <= 90, a
        assert ask(w, "/jobs", headers=["Authorization: Bearer garbage"], source="127.0.6.201").status == 429  # any token isn't one that was accepted
        assert ask(w, "/jobs", headers=["Authorization: Bearer " + TOKEN], source="127.0.6.202").status == 200  # the token is known, wherever it comes from
        assert ask(w, source="127.0.5.1").status == 200  # the address is
        got = [ask(w, source="127.0.5.1").status for _ in range(12)]
        assert got == [200] * 8 + [429] * 4, got
        got = [login(w, "127.0.7.%d" % i).status for i in range(20)]
        assert got == [200] * 15 + [429] * 5, got
        assert login(w, "127.0.5.1").status == 200
        w.answer_api = lambda m: "EAUTH"
        assert ask(w, "/jobs", headers=["Authorization: Bearer refused"], source="127.0.8.1").status in (401, 429)
        w.answer_api = None
        assert ask(w, source="127.0.8.1").status == 429  # a token that was refused makes nobody known


def few_logins_of_strangers_at_once():
    """Four passwords of strangers are being checked; the fifth is told to come back, a known caller is served."""
    with world() as w:
        assert ask(w, "/jobs", headers=["Authorization: Bearer " + TOKEN], source="127.0.5.1").status == 200
        gate, inside = threading.Event(), threading.Semaphore(0)

        def slow(m):
            inside.release()
            gate.wait(300)
            return {}
        w.answer_api = slow
        got = []
        threads = [threading.Thread(target=lambda i=i: got.append(login(w, "127.0.9.%d" % i).status)) for i in range(4)]
        for t in threads:
            t.start()
        for _ in range(4):
            assert inside.acquire(timeout=120)
        a = login(w, "127.0.9.99")
        assert a.status == 429 and a.headers["retry-after"] == "2", a
        known = threading.Thread(target=lambda: got.append(login(w, "127.0.5.1").status))
        known.start()
        assert inside.acquire(timeout=120)
        gate.set()
        for t in [*threads, known]:
            t.join(120)
        assert got == [200] * 5, got
        w.answer_api = None
        assert login(w, "127.0.9.99").status == 200


def many_addresses_take_no_memory():
    """20,000 addresses through a proxy, each with a token of its own, so 40,000 buckets where 32,768 have room: the table stays as large as it was, and the last is counted as the first."""
    with world("proxy 127.0.0.0/8 x-forwarded-for", rate_read="address=3/h token=3/h") as w:
        for _ in range(4):
            a = ask(w, headers=["X-Forwarded-For: 198.51.100.1"])
        assert a.status == 429, a
        before = w.rss_kib("VmRSS")
        with connect(w, "127.0.0.1") as s:
            for i in range(200):
                s.sendall(b"".join(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 2001:db8:%x:%x::1\r\nX-Auth-Token: t%d-%d\r\n\r\n" % (i, k, i, k) for k in range(100)))
                n = 0
                text = b""
                while n < 100:
                    text += s.recv(1 << 20)
                    n = text.count(b"HTTP/1.1 404")
                    assert b"HTTP/1.1 429" not in text and b"HTTP/1.1 5" not in text, text[-500:]
        grown = w.rss_kib("VmRSS") - before
        assert grown < 2048, grown
        assert ask(w, headers=["X-Forwarded-For: 198.51.100.1"]).status == 429  # an empty bucket isn't the first to be forgotten
        got = [ask(w, headers=["X-Forwarded-For: 2001:db8:ffff:ffff::%d" % i]).status for i in range(5)]
        assert got == [200, 200, 200, 429, 429], got  # and one network is one client


def counts_outlive_the_process():
    """What was used up is used up after a crash too; what came back meanwhile has come back."""
    with world(rate_read="address=40", rate_login="address=2/h", rate_write="address=9 all=40/h") as w:
        login(w), login(w)
        assert login(w).status == 429
        while ask(w).status == 200:
            pass
        w.child.process.kill()
        w.child.process.wait()
        path = os.path.join(w.folder, "limits")
        assert os.stat(path).st_mode & 0o777 == 0o600
        text = open(path, "rb").read()
        assert b"127.0.0.1" not in text and TOKEN.encode() not in text and bytes([127, 0, 0, 1]) not in text[64:]
        time.sleep(1.5)
        with contextlib.closing(Again(w)) as again:
            a = login(again.w)
            assert a.status == 429 and int(a.headers["retry-after"]) <= 1800, a
            got = [ask(again.w).status for _ in range(20)]
            assert got[0] == 200 and 429 in got, got  # 40 a minute: one or more came back
        size = os.path.getsize(path)
        open(path, "r+b").truncate(100)  # another version's, or cut off
        with contextlib.closing(Again(w)) as again:
            assert login(again.w).status == 200 and os.path.getsize(path) == size
        os.unlink(path)
        os.symlink("/dev/null", path)
        with contextlib.closing(Again(w)) as again:  # nowhere to keep them: counted all the same
            assert [login(again.w).status for _ in range(3)] == [200, 200, 429]
            assert b"event=limits_unkept" in open(again.w.log_path, "rb").read()


class Again:
    """Another gateway in the directory of the first."""

    def __init__(self, w):
        self.w = World(w.program, folder=w.folder, networks=None, **w.settings)

    def close(self):
        self.w.stop()


# ---- from where ----

def lists_of_networks():
    with world("allow 127.0.0.0/24\nallow 127.0.1.0/24\ndeny 127.0.1.66 # one of them\n") as w:
        assert ask(w, source="127.0.0.1").status == 200 and ask(w, source="127.0.1.65").status == 200
        for source in ("127.0.1.66", "127.0.2.1", "127.1.0.1"):
            assert ask(w, source=source) is None, source
            assert ask(w, source=source, headers=["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Real-IP: 127.0.0.1", "Client-IP: 127.0.0.1", "True-Client-IP: 127.0.0.1"]) is None
        wait_for_second()
        assert {m.address: m.n for m in w.messages("refused")} == {"127.0.1.66": 2, "127.0.2.1": 2, "127.1.0.1": 2}, w.messages("refused")
        # other rules, taken up while it works; one connection is open meanwhile
        with connect(w, "127.0.1.65") as s:
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_answer(s).status == 200
            m = w.networks("deny 127.0.1.0/24\nproxy 127.0.9.9 forwarded\n")
            assert (m.code, m.n_rule, m.line) == (0, 2, 0), m
            s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            a = read_answer(s)
            assert a.status == 403 and a.json["code"] == "ENETWORK", a
        assert ask(w, source="127.0.1.65") is None and ask(w, source="127.0.2.1").status == 200
        for text, line in (("allow 127.0.0.1\npermit 127.0.0.2\n", 2), ("allow 127.0.0.1/8", 1), ("\n\nproxy 127.0.0.1\n", 3), ("x" * 300000, 0)):
            m = w.networks(text)
            assert m.code and m.line == line and m.fields["why"], m
        assert ask(w, source="127.0.1.65") is None and ask(w, source="127.0.2.1").status == 200  # the old rules stay
        m = w.networks("")
        assert (m.code, m.n_rule) == (0, 0) and ask(w, source="127.0.1.65").status == 200, m


def proxies():
    """Whom a proxy of ours names is the client: in limits, in rules, and for registrar. Whom anybody else names is nobody."""
    rules = "proxy 127.0.0.1 x-forwarded-for\nproxy 127.0.0.2 forwarded\ndeny 198.51.100.66\ndeny 2001:db8:66::/48\n"
    with world(rules, rate_login="address=2/h", max_connections_per_ip=2) as w:
        def seen(headers, source="127.0.0.1"):
            w.clear()
            a = ask(w, headers=headers, source=source)
            return a.status if a is None or a.status != 200 else w.messages("api")[-1].address
        assert seen(()) == "127.0.0.1"
        assert seen(["X-Forwarded-For: 198.51.100.7"]) == "198.51.100.7"
        assert seen(["X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 198.51.100.7"]) == "198.51.100.7"
        assert seen(["X-Forwarded-For: 1.2.3.4, 198.51.100.7, 127.0.0.1"]) == "198.51.100.7"
        assert seen(["Forwarded: for=1.2.3.4", "X-Forwarded-For: 2001:db8::7"]) == "2001:db8::7"
        assert seen(["Forwarded: for=\"[2001:db8::7]:99\";proto=https", "X-Forwarded-For: 1.2.3.4"], "127.0.0.2") == "2001:db8::7"
        assert seen(["X-Forwarded-For: 1.2.3.4", "Forwarded: for=1.2.3.4"], "127.0.0.3") == "127.0.0.3"  # a stranger
        assert seen(["X-Forwarded-For: 198.51.100.66, 1.2.3.4"]) == "1.2.3.4"
        assert seen(["X-Forwarded-For: 1.2.3.4, 198.51.100.66"]) == 403
        assert seen(["X-Forwarded-For: 2001:db8:66:1::1"]) == 403
        assert seen(["X-Forwarded-For: 127.0.0.1, nonsense"]) == 400
        for address in ("198.51.100.1", "198.51.100.2"):
            got = [login(w, headers=["X-Forwarded-For: 9.9.9.%d, %s" % (k, address)]).status for k in range(3)]
            assert got == [200, 200, 429], (address, got)  # what the client writes on the left makes it no other
        assert login(w, "127.0.0.3", ["X-Forwarded-For: 198.51.100.3"]).status == 200
        assert login(w, "127.0.0.3", ["X-Forwarded-For: 198.51.100.4"]).status == 200
        assert login(w, "127.0.0.3", ["X-Forwarded-For: 198.51.100.5"]).status == 429
        held = [connect(w, "127.0.0.1") for _ in range(6)]  # a proxy holds as many connections as it needs
        assert ask(w).status == 200
        for s in held:
            s.close()
        wait_for_second()
        assert [m.n for m in w.messages("refused") if m.address == "127.0.0.1"] == [1], w.messages("refused")  # what made no sense alone is the proxy's


def main():
    tests = [at_the_limit_plus_one, nonsense_is_counted, waits_as_long_as_it_says, all_together_and_known_callers, few_logins_of_strangers_at_once, many_addresses_take_no_memory,
             counts_outlive_the_process, lists_of_networks, proxies]
    if len(sys.argv) > 2:
        tests = [t for t in tests if t.__name__ in sys.argv[2:]]
    print("1..%d" % len(tests))
    failed = 0
    for i, t in enumerate(tests, 1):
        try:
            t()
            print("ok %d - %s" % (i, t.__name__), flush=True)
        except BaseException:  # noqa: B902
            failed += 1
            print("not ok %d - %s" % (i, t.__name__))
            print("# " + traceback.format_exc()[-1500:].replace("\n", "\n# "), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
