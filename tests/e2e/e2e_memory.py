#!/usr/bin/env python3
"""A gigabyte up at once, one of four slowly, all of it through ingest, and packages down to slow readers: how much memory each process needed.

The kernel's own high-water mark of each process is read (VmHWM in /proc/PID/status), so nothing that was freed meanwhile is missed.
keeper hashes passwords in an arena of 46 MiB, one at a time (8 MiB in a build with test hooks): it is within the bound, as all else.
"""
import os
import re
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402

MIB = 1 << 20
EACH = int(os.environ.get("SQ_MEMORY_MIB", "256" if hub.SECCOMP == "2" else "32")) * MIB  # less where no bound is looked at
SAMPLES = 2000


def memory(h, role):
    text = open("/proc/%d/status" % h.pid(role)).read()
    return {k: int(re.search(k + r":\s+(\d+) kB", text).group(1)) for k in ("VmHWM", "VmRSS")}


def vcf(n_bytes):
    """Blocks of a VCF that ingest takes, `n_bytes` of it or a little more, made while it is read."""
    yield (b"##fileformat=VCFv4.2\n##contig=<ID=22>\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"g\">\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t"
           + b"\t".join(b"s%d" % i for i in range(SAMPLES)) + b"\n")
    row = b"\t.\tA\tC\t.\tPASS\t.\tGT" + b"\t0|1\t0|0\t1|1\t1|0" * (SAMPLES // 4) + b"\n"
    block, n_row = [], 0
    for made in range(0, n_bytes, len(row) + 11):
        block.append(b"22\t%d" % (16050000 + n_row))
        block.append(row)
        n_row += 1
        if n_row % 32 == 0:
            yield b"".join(block)
            block = []
    yield b"".join(block)


def upload(h, user, is_slow, out):
    s = h.tls.wrap_socket(socket.create_connection(("127.0.0.1", h.port), 300), server_hostname="localhost")
    with s:
        s.sendall(b"POST /api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=XX\r\nTransfer-Encoding: chunked\r\n"
                  b"Authorization: Bearer " + user.token.encode() + b"\r\n\r\n")

        def send(data):
            s.sendall(b"%x\r\n%s\r\n" % (len(data), data))
        send(b"--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"big.vcf\"\r\n\r\n")
        for i, block in enumerate(vcf(EACH)):
            send(block)
            if is_slow and i % 100 == 0:
                time.sleep(0.1)
        send(b"\r\n--XX--\r\n")
        s.sendall(b"0\r\n\r\n")
        s.settimeout(300)
        text = s.recv(65536)
        out.append(int(text.split()[1]))


def slow_read(h, user, job, out):
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(120)
        raw.connect(("127.0.0.1", h.port))
        with h.tls.wrap_socket(raw, server_hostname="localhost") as s:
            s.sendall(b"GET /api/v1/jobs/%s/package HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n"
                      % (job.encode(), user.token.encode()))
            n = 0
            while True:
                more = len(s.recv(16384))
                if not more:
                    break
                n += more
                time.sleep(0.01)
            out.append(n)


def gigabytes_in_bounded_memory():
    with hub.Hub() as h:
        ada = h.user("ada")
        h.panel()
        job = ada.run_job(ada.upload(hub.TARGET)["id"])["id"]
        ada.claim(job)
        size = int(ada.call("HEAD", "/api/v1/jobs/%s/package" % job).headers["Content-Length"])
        statuses, read = [], []
        t0 = time.monotonic()
        threads = [threading.Thread(target=upload, args=(h, ada, i == 0, statuses)) for i in range(4)]
        threads += [threading.Thread(target=slow_read, args=(h, ada, job, read)) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(400)
        print("# 4 x %d MiB up in %.0f s" % (EACH // MIB, time.monotonic() - t0), flush=True)
        assert statuses == [201] * 4, statuses
        assert len(read) == 4 and min(read) > size, (read, size)

        def checked():
            all_of = ada.get("/api/v1/uploads")["data"]
            return all_of if not any(u["state"] == "checking" for u in all_of) else None
        all_of = hub.wait_for("ingest of all of it", checked, 400)
        big = [u for u in all_of if (u["samples"] or 0) == SAMPLES]
        assert len(big) == 4 and all(u["state"] == "ready" for u in big), [(u["state"], u["samples"], u.get("error")) for u in all_of]
        print("# and through ingest after %.0f s" % (time.monotonic() - t0), flush=True)
        marks = {role: memory(h, role) for role in hub.ROLES}
        print("# " + ", ".join("%s %d KiB" % (r, m["VmHWM"]) for r, m in marks.items()), flush=True)
        for role, m in marks.items():
            hub.assert_memory(role + ", at most", m["VmHWM"], 61 - (38 if role == "keeper" else 0))  # 64 MB; what its arena has less in this build comes off
            hub.assert_memory(role + ", now", m["VmRSS"], 64)


if __name__ == "__main__":
    hub.main([gigabytes_in_bounded_memory])
