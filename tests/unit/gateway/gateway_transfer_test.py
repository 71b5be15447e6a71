"""Uploads and downloads through the real gateway: the documented curl line, forms, aborts, full disks, back-pressure, ranges."""
import hashlib
import os
import random
import resource
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from gateway_world import TOKEN, World, ERR, read_answer, run  # noqa: E402
import sanitizer  # noqa: E402
import vault  # noqa: E402
from gateway_http_test import SECURITY, error  # noqa: E402

B = "XbOuNdArY7"


def form(*fields, boundary=B):
    """fields: (name, file name or None, bytes)"""
    out = b""
    for name, file_name, data in fields:
        out += ("--%s\r\nContent-Disposition: form-data; name=\"%s\"" % (boundary, name)).encode()
        if file_name is not None:
            out += b"; filename=\"" + file_name.encode() + b"\"\r\nContent-Type: application/octet-stream"
        out += b"\r\n\r\n" + data + b"\r\n"
    return out + ("--%s--\r\n" % boundary).encode()


def upload(w, body, headers=(), **k):
    return w.get("/api/upload", "POST", ["Content-Type: multipart/form-data; boundary=" + B] + list(headers), body, **k)


def closed(w):
    return [u for u in w.uploads.values() if u["state"] == "closed"]


def all_settled(w):
    return w.wait(lambda: all(u["state"] != "opened" for u in w.uploads.values()))


def forget(w):
    w.forget()


def curl(w, *args, data=None):
    return subprocess.run(["curl", "-sS", "--max-time", "100", "--cacert", w.cert, *args], input=data, capture_output=True)


def documented_curl_line(w):
    """curl -X POST $B/api/upload -H "Authorization: Bearer $T" -F "file=@data.vcf" --tlsv1.3, host and all"""
    path = os.path.join(w.folder, "data.vcf")
    data = random.Random(1).randbytes(3_000_000)
    with open(path, "wb") as f:
        f.write(data)
    host = "imputationserver.com:%d" % w.port
    r = curl(w, "-i", "--resolve", "imputationserver.com:%d:127.0.0.1" % w.port, "-X", "POST", "https://%s/api/upload" % host,
             "-H", "Authorization: Bearer " + TOKEN, "-F", "file=@" + path, "--tlsv1.3")
    assert r.returncode == 0 and b"HTTP/1.1 201" in r.stdout, r
    assert b"HTTP/1.1 100" in r.stdout  # curl waits for it with bodies of a megabyte
    m, = w.messages("upload_open")
    assert m.token == TOKEN and m.address == "127.0.0.1" and m.length_hint > 3_000_000, m
    c = w.messages("upload_close")[0]
    assert c.fields["name"] == "data.vcf" and c.plain_bytes == len(data) and c.sha256 == hashlib.sha256(data).digest(), c
    assert ("location: /api/uploads/" + c.upload_id.hex()).encode() in r.stdout.lower()
    u, = closed(w)
    assert c.sealed_bytes == os.fstat(u["fd"]).st_size
    assert w.plaintext(u) == data
    forget(w)


def curl_chunked(w):
    path = os.path.join(w.folder, "data.vcf")
    r = curl(w, "-X", "POST", "https://localhost:%d/api/v1/uploads" % w.port, "-H", "Authorization: Bearer " + TOKEN,
             "-H", "Transfer-Encoding: chunked", "-F", "file=@" + path, "--tlsv1.3")
    assert r.returncode == 0 and b'"success": true' in r.stdout, r
    assert w.messages("upload_open")[0].length_hint == 0
    assert w.plaintext(closed(w)[0]) == open(path, "rb").read()
    forget(w)


def sizes(w):
    """Around the cuts of segments, with delimiters' beginnings inside, in small and odd pieces."""
    rng = random.Random(2)
    for n in (0, 1, 65479, 65480, 65481, 131000, 131072):
        data = bytearray(rng.randbytes(n))
        for i in range(0, max(0, n - 40), 5000):
            piece = b"\r\n--" + B.encode()[:i // 5000 % 9]
            data[i:i + len(piece)] = piece
        a = upload(w, form(("file", "x.vcf", bytes(data))))
        assert a.status == 201 and a.json["size"] == n, (n, a)
        assert w.plaintext(closed(w)[0]) == bytes(data), n
        forget(w)


def byte_by_byte(w):
    data = b"\r\n--\r\n\r\n--XbOuNdArY\r\n--Xb\r\n-" * 3
    body = form(("note", None, b"hello"), ("file", "y.vcf", data))
    with w.tls() as s:
        s.sendall(("POST /api/upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: multipart/form-data; "
                   "boundary=\"%s\"\r\nTransfer-Encoding: chunked\r\n\r\n" % (TOKEN, B)).encode())
        for b in body:
            s.sendall(b"1\r\n" + bytes([b]) + b"\r\n")
        s.sendall(b"0\r\n\r\n")
        assert read_answer(s).status == 201
    assert w.plaintext(closed(w)[0]) == data
    forget(w)


def names(w):
    for sent, kept in (("data.vcf", "data.vcf"), ("/etc/passwd", "passwd"), ("C:\\\\Users\\\\x\\\\d.vcf", "d.vcf"), ("..", "upload"),
                       ("a/", "upload"), ("ü\u202e.vcf", "ü\u202e.vcf"), ("a\tb\x7f.vcf", "a_b_.vcf"), ("x" * 300, "x" * 255),
                       ('q\\"q', 'q"q')):
        a = upload(w, form(("file", sent, b"x")))
        assert a.status == 201 and w.messages("upload_close")[-1].fields["name"] == kept, (sent, a, w.messages("upload_close")[-1])
    a = upload(w, form(("file", "NAME", b"x")).replace(b"NAME", b"a\xff\xc0\xafb"))
    assert w.messages("upload_close")[-1].fields["name"] == "a___b", w.messages("upload_close")[-1]
    forget(w)


def several_files(w):
    a = upload(w, form(("file", "a.vcf", b"A" * 10), ("x", None, b"y"), ("file", "b.vcf", b"B" * 70000)))
    assert a.status == 201 and a.json["success"] is True, a
    assert [u["name"] for u in a.json["uploads"]] == ["a.vcf", "b.vcf"], a
    assert sorted(w.plaintext(u)[:1] for u in closed(w)) == [b"A", b"B"]
    forget(w)
    a = upload(w, form(*[("file", "%d.vcf" % i, b"x") for i in range(17)]))
    error(a, 400, "EREQUEST")
    assert all_settled(w) and not closed(w)
    forget(w)


def bad_forms(w):
    good = form(("file", "a.vcf", b"data"))
    for body, code in ((form(("data", "a.vcf", b"x")), "EFIELD"), (form(("file", None, b"x")), "EFIELD"),
                       (form(("file", "", b"x")), "EFIELD"), (form(("x", None, b"y")), "EFIELD"), (form(), "EFIELD"),
                       (good[:-4], "EREQUEST"), (good[:-8], "EREQUEST"), (b"", "EREQUEST"), (b"hello", "EREQUEST"),
                       (good.replace(B.encode(), b"other"), "EREQUEST"),
                       (b"--" + B.encode() + b"\r\n\r\ndata\r\n--" + B.encode() + b"--\r\n", "EREQUEST"),
                       (b"--" + B.encode() + b"\r\nA: " + b"x" * 5000 + b"\r\n\r\n", "EREQUEST"),
                       (b"--" + B.encode() + b"x\r\n", "EREQUEST"),
                       (form(*[("x%d" % i, None, b"") for i in range(65)]), "EREQUEST")):
        a = upload(w, body)
        error(a, 400, code)
        assert a.json["detail"], a
    error(upload(w, good.replace(b"octet-stream", b"octet-stream\r\nContent-Transfer-Encoding: base64")), 415, "EMEDIA")
    error(upload(w, form(("x", None, b"y" * 70000), ("file", "a", b"x"))), 413, "ETOOBIG")
    assert all_settled(w) and not closed(w), w.uploads
    assert all(u["state"] == "aborted" for u in w.uploads.values())
    forget(w)
    for t in ("application/json", "multipart/mixed; boundary=x", "text/plain"):
        error(w.get("/api/upload", "POST", ["Content-Type: " + t], b"{}"), 415, "EMEDIA")
    for t in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 71):
        error(w.get("/api/upload", "POST", ["Content-Type: " + t], b"{}"), 400, "EREQUEST")
    assert not w.uploads


def refused_before_the_body(w):
    """401, 403 and 507 come before 100-continue: curl sends nothing of its 3 MB."""
    path = os.path.join(w.folder, "data.vcf")
    for token, code, status in (("bad", "EAUTH", 401), (TOKEN, "EFULL", 507), (TOKEN, "EDENIED", 403), (TOKEN, "ESEALED", 503)):
        w.answer_open = lambda m: code
        r = curl(w, "-w", "\n%{http_code} %{size_upload}", "-X", "POST", "https://localhost:%d/api/upload" % w.port,
                 "-H", "Authorization: Bearer " + token, "-F", "file=@" + path)
        text, numbers = r.stdout.decode().rsplit("\n", 1)
        assert numbers == "%d 0" % status and '"code":"%s"' % code in text, r
    assert not w.uploads


def no_room(w):
    """507 says whose limit it is and how far: at the head when the length is known, on the way when it isn't."""
    w.max_bytes, w.quota_bytes, w.used_bytes = 100_000, 300_000, 200_000
    a = upload(w, form(("file", "a.vcf", bytes(100_001))))
    error(a, 507, "EFULL")
    assert "your quota is 300000 bytes, 200000 of them are used, and this upload needs at least 1000" in a.json["detail"], a.json
    assert upload(w, form(("file", "a.vcf", bytes(100_000)))).status == 201
    assert [u["state"] for u in w.uploads.values()].count("closed") == 1
    assert ERR["EFULL"] in [u.get("code") for u in w.uploads.values()]
    forget(w)
    w.has_room = False
    a = upload(w, form(("file", "a.vcf", bytes(70_000))))
    error(a, 507, "EFULL")
    w.free_bytes = 4096
    a = upload(w, form(("file", "a.vcf", bytes(70_000))))
    error(a, 507, "EFULL")
    assert "the server's disk is full: 4096 bytes are free" in a.json["detail"] and "(200000 of 300000 bytes used)" in a.json["detail"], a.json
    assert not w.uploads
    forget(w)


def too_big(w):
    with w.tls() as s:  # over upload_max_mib = 1024: refused by Content-Length alone
        s.sendall(("POST /api/upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: multipart/form-data; "
                   "boundary=b\r\nContent-Length: 2000000000\r\n\r\n" % TOKEN).encode())
        error(read_answer(s), 413, "ETOOBIG")
    assert not w.messages("upload_open")
    forget(w)


def client_goes_away(w):
    for cut in (0.0, 0.5, 0.999):
        body = form(("file", "a.vcf", bytes(2_000_000)))
        s = w.tls()
        s.sendall(("POST /api/upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: multipart/form-data; "
                   "boundary=%s\r\nContent-Length: %d\r\n\r\n" % (TOKEN, B, len(body))).encode())
        s.sendall(body[:int(len(body) * cut)])
        assert w.wait(lambda: w.uploads)
        s.close()
        assert all_settled(w), cut
        u, = w.uploads.values()
        assert u["state"] == "aborted" and u["code"] == ERR["ECANCELLED"], u
        forget(w)


def keeper_seals_in_the_middle(w):
    w.answer_part = lambda m: "ESEALED" if m.part_no == 1 else None
    a = upload(w, form(("file", "a.vcf", bytes(17 << 20))))
    error(a, 503, "ESEALED")
    assert all_settled(w) and not closed(w)
    forget(w)


def disk_full(w):
    """A file that can't take more than 1 MB answers 507, and the upload is aborted with it."""
    def small():
        fd = os.open("/dev/full", os.O_RDWR)
        return fd
    w.store_file = small
    error(upload(w, form(("file", "a.vcf", bytes(200_000)))), 507, "EFULL")
    assert all_settled(w)
    assert next(iter(w.uploads.values()))["code"] == ERR["EFULL"]
    forget(w)


def part_keys_are_asked_once(w):
    """Two parts and the closing one: three keys, of that object alone."""
    assert upload(w, form(("file", "a.vcf", bytes((16 << 20) + 1)))).status == 201
    assert [m.part_no for m in w.messages("part_key")] == [0, 1, 0xffffffff]
    forget(w)


def big_upload_in_bounded_memory(w):
    n, chunk = 300 << 20, bytes(1 << 20)
    before = w.rss_kib()
    head = ("--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"big.vcf\"\r\n\r\n" % B).encode()
    tail = ("\r\n--%s--\r\n" % B).encode()
    t0 = time.monotonic()
    with w.tls(60) as s:
        s.sendall(("POST /api/upload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: multipart/form-data; "
                   "boundary=%s\r\nContent-Length: %d\r\n\r\n" % (TOKEN, B, len(head) + n + len(tail))).encode() + head)
        for _ in range(n // len(chunk)):
            s.sendall(chunk)
        s.sendall(tail)
        assert read_answer(s).status == 201
    seconds = time.monotonic() - t0
    peak = w.rss_kib()
    print("# 300 MiB up in %.1f s (%.0f MB/s); memory %d -> %d KiB" % (seconds, n / 1e6 / seconds, before, peak))
    sanitizer.bounded(w.program, "300 MiB up", peak, 64 << 10)
    c = w.messages("upload_close")[0]
    assert c.plain_bytes == n and c.n_part == 19, c
    forget(w)


# ---- downloads ----
PATH = "/api/v1/jobs/j1/package"


def whole_file(w):
    a = w.get(PATH)
    assert a.status == 200 and a.body == w.content, a
    h = a.headers
    assert h["etag"] == '"%s"' % hashlib.sha256(w.content).hexdigest() and h["accept-ranges"] == "bytes", h
    assert h["content-disposition"] == 'attachment; filename="chr22__x_.zip"' and h["content-type"] == "application/zip", h
    assert SECURITY <= set(h) and "content-range" not in h
    m, = w.messages("download_open")
    assert (m.route, m.params, m.has_range, m.token) == (50, b"j1\n", 0, TOKEN), m
    assert w.wait(lambda: w.messages("download_end"))
    assert w.messages("download_end")[0].n_sent == len(w.content)


def ranges(w):
    n = len(w.content)
    for text, first, last in (("bytes=0-0", 0, 0), ("bytes=100-199", 100, 199), ("bytes=5-", 5, n - 1), ("bytes=-7", n - 7, n - 1),
                              ("bytes=%d-" % (n - 1), n - 1, n - 1), ("bytes=10-99999999999999999999999", 10, n - 1),
                              ("bytes=-99999999999999999999999", 0, n - 1), ("BYTES = 1 - 2 ", 1, 2)):
        a = w.get(PATH, headers=["Range: " + text])
        assert a.status == 206 and a.body == w.content[first:last + 1], (text, a)
        assert a.headers["content-range"] == "bytes %d-%d/%d" % (first, last, n), (text, a)
    for text in ("bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "items=0-1", "bytes=0-1,5-6", "bytes=0-1x", "0-1", "bytes=0--1"):
        a = w.get(PATH, headers=["Range: " + text])
        assert a.status == 200 and a.body == w.content, (text, a)
    for text in ("bytes=%d-" % n, "bytes=-0", "bytes=99999999999999999999-", "bytes=18446744073709551615-"):
        a = w.get(PATH, headers=["Range: " + text])
        error(a, 416, "ERANGEHDR")
        assert a.headers["content-range"] == "bytes */%d" % n, a


def conditions(w):
    tag = '"%s"' % hashlib.sha256(w.content).hexdigest()
    for text in (tag, "*", '"a", ' + tag, "W/" + tag):
        a = w.get(PATH, headers=["If-None-Match: " + text])
        assert a.status == 304 and a.body == b"" and a.headers["etag"] == tag, (text, a)
    assert not [m for m in w.messages("download_open") if m.has_range != 2]  # nothing was revealed
    assert w.get(PATH, headers=["If-None-Match: \"a\", \"b"]).status == 200
    a = w.get(PATH, headers=["Range: bytes=0-3", "If-Range: " + tag])
    assert a.status == 206 and a.body == w.content[:4], a
    for text in ('"other"', "W/" + tag, "Sun, 22 Nov 2026 00:00:00 GMT"):
        a = w.get(PATH, headers=["Range: bytes=0-3", "If-Range: " + text])
        assert a.status == 200 and a.body == w.content, (text, a)


def head_of_a_download(w):
    w.clear()
    a = w.get(PATH, "HEAD", headers=["Range: bytes=0-3"])
    assert a.status == 200 and a.body == b"" and int(a.headers["content-length"]) == len(w.content), a
    assert a.headers["accept-ranges"] == "bytes" and a.headers["etag"]
    assert [m.has_range for m in w.messages("download_open")] == [2] and not w.messages("stream")
    time.sleep(0.3)
    assert bytes(16) not in [m.ticket for m in w.messages("download_end")]  # that of the test before may still come


def errors_of_downloads(w):
    error(w.get(PATH, token="bad"), 401, "EAUTH")
    old, w.on_stream = w.on_stream, lambda link, m: link.fail(m, ERR["EKEYGONE"])
    error(w.get(PATH), 410, "EKEYGONE")
    w.on_stream = old
    assert w.wait(lambda: w.messages("download_end")) and w.messages("download_end")[0].n_sent == 0


def stream_ends_early(w):
    """Runner dies in the middle: the client sees a cut, not a short file that looks whole."""
    w.pipe_writer = lambda fd, data: os.write(fd, data[:70000])
    a = w.get(PATH)
    assert a.status == 200 and len(a.body) <= 70000 < int(a.headers["content-length"]), a
    assert w.wait(lambda: w.messages("download_end"))
    assert w.messages("download_end")[0].n_sent <= 70000


def empty_file(w):
    old, w.content = w.content, b""
    a = w.get(PATH)
    assert a.status == 200 and a.body == b"" and not w.messages("stream"), a
    w.content = old


def curl_resumes(w):
    part = os.path.join(w.folder, "part.zip")
    with open(part, "wb") as f:
        f.write(w.content[:123456])
    r = curl(w, "-C", "-", "-o", part, "-H", "Authorization: Bearer " + TOKEN, "https://localhost:%d%s" % (w.port, PATH))
    assert r.returncode == 0 and open(part, "rb").read() == w.content, r


def slow_reader(w):
    """A client that doesn't read holds the source back; memory stays; then it gets every byte."""
    old, w.content = w.content, random.Random(3).randbytes(64 << 20)
    written = [0]

    def writer(fd, data):
        at = 0
        while at < len(data):
            at += os.write(fd, data[at:at + 65536])
            written[0] = at
    w.pipe_writer = writer
    with w.tls(30) as s:
        s.sendall(("GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n" % (PATH, TOKEN)).encode())
        seen = [0]

        def stands():
            """Not a byte more since the last look, a second ago."""
            seen.append(written[0])
            time.sleep(1)
            return 0 < seen[-1] == written[0]
        assert w.wait(stands, 12) and written[0] < 32 << 20, (seen, written)
        held = written[0]
        a = read_answer(s)
        assert a.body == w.content
    print("# source stood at %d KiB of 65536 KiB while the client slept; peak memory %d KiB" % (held >> 10, w.rss_kib()))
    sanitizer.bounded(w.program, "a slow reader", w.rss_kib(), 64 << 10)
    w.content = old


def reader_goes_away(w):
    old, w.content = w.content, bytes(64 << 20)
    s = w.tls()
    s.sendall(("GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n" % (PATH, TOKEN)).encode())
    s.recv(100)
    s.close()
    assert w.wait(lambda: w.messages("download_end"))
    assert w.messages("download_end")[0].n_sent < 64 << 20
    w.content = old


def many_at_once(w):
    """16 uploads and 16 downloads at once, each right."""
    bad = []

    def up(i):
        data = random.Random(i).randbytes(700_000)
        a = upload(w, form(("file", "%d.vcf" % i, data)))
        if a is None or a.status != 201 or a.json["sha256"] != hashlib.sha256(data).hexdigest():
            bad.append(a)
    threads = [threading.Thread(target=up, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not bad, bad
    assert len(closed(w)) == 16
    forget(w)


def no_descriptor_is_left(w):
    """After all this gateway holds what it began with, and a few seconds' worth of nothing."""
    count = lambda: len(os.listdir("/proc/%d/fd" % w.child.process.pid))  # noqa: E731
    assert w.wait(lambda: count() < 20), count()


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    w = World(sys.argv[1])
    tests = [documented_curl_line, curl_chunked, sizes, byte_by_byte, names, several_files, bad_forms, refused_before_the_body, no_room, too_big,
             client_goes_away, keeper_seals_in_the_middle, disk_full, part_keys_are_asked_once, big_upload_in_bounded_memory,
             whole_file, ranges, conditions, head_of_a_download, errors_of_downloads, stream_ends_early, empty_file, curl_resumes,
             slow_reader, reader_goes_away, many_at_once, no_descriptor_is_left]
    if len(sys.argv) > 2:
        tests = [t for t in tests if t.__name__ in sys.argv[2:]]
    failed = run(tests, w)
    code = w.stop() if w.is_alive() else -1
    sys.exit(1 if failed or code else 0)


if __name__ == "__main__":
    main()
