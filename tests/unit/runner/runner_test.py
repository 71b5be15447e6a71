"""sequester-runner, the real program, in the middle of a hub played by runner_hub.py.

Arguments: the program, the source root, `hooks` or `no-hooks` (is it a test build?), then names of tests (all).
"""
import fcntl
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback

program, root, has_hooks, only = sys.argv[1], sys.argv[2], sys.argv[3] == "hooks", sys.argv[4:]
sys.path[:0] = [os.path.join(root, "tests/support"), os.path.join(root, "tests/oracle")]
import crypt4gh  # noqa: E402
import runner_hub as h  # noqa: E402
import sanitizer  # noqa: E402
from runner_hub import ERR, sums  # noqa: E402

PANEL, INGEST, QC, IMPUTE, FINISH = 1, 2, 3, 4, 5
COUNTS = dict(format=2, is_phased=1, chrom="chr22", n_sample=3, n_variant=4, n_kept=5, n_in_panel=6, n_excluded=7, first_bp=8,
              last_bp=9, n_haplotype=10, n_site=11, build="GRCh37", populations="all,eur")


def read_all(fd):
    data = b""
    while piece := os.read(fd, 1 << 20):
        data += piece
    return data


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]
    os.close(fd)


def code_is(m, name):
    assert m.code == ERR[name], "ended with %s, not %s" % ([k for k, v in ERR.items() if v == m.code], name)
    assert (m.code == 0) or not m.sums, "a failed task has no sums"


def good_ingest(control, ports, order, sandbox):
    """upload in, bytes turned round out, what it saw in the ids"""
    upload = read_all(ports[0])
    control.send("work_progress", done=1, total=2)
    control.send("work_counts", **COUNTS)
    write_all(ports[1], upload[::-1])
    write_all(ports[2], ("%d %s %s %d %d %d" % (order.stage, order.fields["panel"], order.population, order.max_samples,
                                               order.max_variants, order.flags)).encode())
    control.send("work_done")
    return 0, 0


def hang(control, ports, order, sandbox):
    sandbox.is_at_work = True
    sandbox.killed.wait(600)
    return 1, 9


def wait_for(what, condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited for " + what
        time.sleep(0.02)


def at_work(hub):
    """Until the last task's sandbox was started, and runner knows it: it says the stage to it, and the worker hangs."""
    wait_for("the sandbox", lambda: getattr(hub.sandboxes.get(hub.task_id), "is_at_work", False))


def ingest(hub, plain=b"some bytes", **more):
    objects = [hub.sealed(plain), hub.empty(), hub.empty()]
    answer = hub.run_task(INGEST, objects, **more)
    assert getattr(answer, "name", None) == "ok", answer
    return [o[0] for o in objects]


def test_stage_runs(hub):
    """a task of three parts: inputs open, outputs sealed, counts, usage and order come through"""
    plain = os.urandom(1 << 20) * 35
    hub.work = good_ingest
    _, genotypes, ids = ingest(hub, plain)
    m = hub.end()
    code_is(m, "OK")
    assert hub.opened(genotypes) == plain[::-1]
    assert hub.opened(ids) == b"2 1kgp EUR 10 20 5"
    sealed_bytes = os.path.getsize(hub.path(genotypes))
    assert sums(m)[0] == (3, len(plain), sealed_bytes, hashlib.sha256(plain[::-1]).digest())
    assert sums(m)[1][:2] == (1, 18) and len(sums(m)) == 2
    assert m.counts == bytes([2, 1]) + b"chr22".ljust(16, b"\0") + b"".join(i.to_bytes(8, "big") for i in range(3, 12)) + \
        b"GRCh37".ljust(32, b"\0") + b"all,eur".ljust(256, b"\0")
    assert m.cpu_ms >= 11 and m.peak_kib == 22 and m.fence == 1 and m.task_id == hub.task_id
    assert hub.progress and hub.progress[-1].total == 2


def test_empty_objects(hub):
    hub.work = good_ingest
    _, genotypes, _ = ingest(hub, b"")
    m = hub.end()
    code_is(m, "OK")
    assert hub.opened(genotypes) == b"" and sums(m)[0][:2] == (0, 0)


def test_worker_stops_reading(hub):
    def lazy(control, ports, order, sandbox):
        os.read(ports[0], 10)
        os.close(ports[0])
        control.send("work_done")
        return 0, 0
    hub.work = lazy
    ingest(hub, bytes(8 << 20))
    code_is(hub.end(), "OK")


def test_memory_is_shared_and_sealed(hub):
    """two tasks at once: one panel in memory, opened once; nobody can write it; offsets are apart"""
    seen, both = [], threading.Barrier(2)

    def work(control, ports, order, sandbox):
        kept, panel, body, index = ports
        read_all(kept)
        both.wait(300)
        data = read_all(panel)
        seals = fcntl.fcntl(panel, 1034)
        seen.append((data, seals, fcntl.fcntl(panel, fcntl.F_GETFL) & os.O_ACCMODE, os.fstat(panel).st_ino))
        for fd in (body, index):
            write_all(fd, b"x")
        control.send("work_done")
        return 0, 0
    hub.work = work
    plain = os.urandom(20 << 20)
    panel = hub.sealed(plain)
    for _ in range(2):
        hub.run_task(IMPUTE, [hub.sealed(b"kept"), (panel[0], panel[1], os.dup(panel[2])), hub.empty(), hub.empty()])
    for _ in range(2):
        m = hub.end()
        code_is(m, "OK")
        assert len(sums(m)) == 2
    for data, seals, mode, inode in seen:
        assert data == plain
        assert seals & 0xf == 0xf, "seal, shrink, grow, write"
        assert mode == os.O_RDONLY
        assert inode == seen[0][3], "one copy"
    assert hub.n_open[panel[0]] == 2, "two parts, each opened once"
    # the bytes are there, but a task without a grant doesn't get them
    hub.keeper_error = ERR["EDENIED"]
    hub.run_task(IMPUTE, [hub.sealed(b"kept"), (panel[0], panel[1], os.dup(panel[2])), hub.empty(), hub.empty()])
    code_is(hub.end(), "EDENIED")


def test_worker_says_why(hub):
    def work(control, ports, order, sandbox):
        control.send("work_failed", code=ERR["EUNSORTED"], line=77, column=2, field="POS", detail="7 after 9")
        return 0, 1
    hub.work = work
    ingest(hub)
    m = hub.end()
    code_is(m, "EUNSORTED")
    assert (m.line, m.column, m.field, m.detail) == (77, 2, "POS", "7 after 9")


def test_worker_ends_badly(hub):
    def ends(how, status, says_done):
        def work(control, ports, order, sandbox):
            if says_done:
                control.send("work_done")
            return how, status
        return work
    for how, status, says_done, code, detail in ((1, 11, False, "ECRASHED", ""), (0, 1, True, "ECRASHED", ""), (0, 0, False, "ECRASHED", ""),
                                                 (2, 9, False, "EKILLED", "memory"), (3, 9, False, "EKILLED", "longer")):
        hub.work = ends(how, status, says_done)
        ingest(hub)
        m = hub.end()
        code_is(m, code)
        assert detail in m.detail and m.peak_kib == 22, (how, m)


def test_hostile_worker(hub):
    """each ends its task, is killed, and leaves the next task unharmed"""
    def flood(c):
        for _ in range(20000):
            c.send("work_progress", done=1, total=2)

    def two_hellos(c):
        c.send("hello", table_hash=1, role=9)

    def with_descriptor(c):
        c.send_raw(c.table.encode("work_done", 0, {})[0], [0])

    def garbage(c):
        c.send_raw(b"\xff" * 40)

    def forged(c):
        c.send("task_ended", task_id=bytes(16), fence=1, code=0, line=0, column=0, field="", detail="", cpu_ms=0, peak_kib=0,
               wall_ms=0, walls=0, sums=b"", counts=b"")

    def claims(code):
        return lambda c: c.send("work_failed", code=code, line=0, column=0, field="", detail="")
    rows = [(flood, "EPROTO"), (two_hellos, "EPROTO"), (with_descriptor, "EPROTO"), (garbage, "EPROTO"), (forged, "EPROTO"),
            (lambda c: c.send("work_progress", done=3, total=2), "EPROTO"),
            (lambda c: c.send("work_progress", done=1 << 60, total=1 << 61), "EPROTO"),
            (lambda c: c.send("work_counts", **{**COUNTS, "chrom": '22"<'}), "EPROTO"),
            (lambda c: c.send("work_counts", **{**COUNTS, "build": "<b>"}), "EPROTO"), (lambda c: c.send("work_counts", **{**COUNTS, "populations": "all,\n"}), "EPROTO"),
            (lambda c: c.send("work_counts", **{**COUNTS, "format": 9}), "EPROTO"),
            (claims(ERR["EDOWN"]), "ECRASHED"), (claims(0), "ECRASHED"), (claims(60000), "EINTERNAL"), (claims(ERR["ECANCELLED"]), "ECRASHED")]
    for act, code in rows:
        def work(control, ports, order, sandbox, act=act):
            act(control)
            control.sock.recv(1) # until runner hangs up
            return 1, 9
        hub.work = work if code == "EPROTO" else lambda c, p, o, s, act=act: (act(c), (0, 1))[1]
        ingest(hub)
        code_is(hub.end(), code)
    hub.work = good_ingest
    ingest(hub)
    code_is(hub.end(), "OK")


def test_report_is_bounded(hub):
    def work(control, ports, order, sandbox):
        write_all(ports[2], b"kept")
        write_all(ports[3], bytes(sandbox.size))
        control.send("work_done")
        return 0, 0
    for size, code in ((1 << 20, "OK"), ((1 << 20) + 1, "EPROTO")):
        h.Sandbox.size = size
        hub.work = work
        hub.run_task(QC, [hub.sealed(b"g"), hub.sealed(b"p"), hub.empty(), hub.empty()])
        code_is(hub.end(), code)


def test_cancel(hub):
    hub.work = hang
    ingest(hub)
    at_work(hub)
    assert hub.registrar.ask("task_cancel", task_id=hub.task_id, fence=0).name == "ok"
    code_is(hub.end(), "ECANCELLED")
    assert hub.n_kill == 1
    assert hub.registrar.ask("task_cancel", task_id=os.urandom(16), fence=0) == ERR["ENOTFOUND"]


def test_fences(hub):
    task = os.urandom(16)
    hub.work = hang
    ingest(hub, task_id=task, fence=5)
    at_work(hub)
    for fence in (5, 4):
        assert hub.run_task(INGEST, [hub.sealed(b"x"), hub.empty(), hub.empty()], task_id=task, fence=fence) == ERR["ECONFLICT"]
    hub.work = good_ingest
    ingest(hub, task_id=task, fence=6) # ends the older one first, which then has nothing to tell
    m = hub.end()
    code_is(m, "OK")
    assert m.fence == 6 and hub.n_kill == 1 and hub.ended.empty()
    time.sleep(0.2)
    assert hub.run_task(INGEST, [hub.sealed(b"x"), hub.empty(), hub.empty()], task_id=task, fence=6) == ERR["ECONFLICT"]


def test_keeper_goes(hub):
    """between two parts: sealed, then dead"""
    def work(control, ports, order, sandbox):
        os.read(ports[0], 10)
        sandbox.hub.trouble()
        for _ in range(40):
            os.write(ports[1], bytes(1 << 20))
        control.send("work_done")
        return 0, 0
    hub.work = work

    def sealed():
        hub.keeper_error = ERR["ESEALED"]
    hub.trouble = sealed
    ingest(hub, bytes(40 << 20))
    code_is(hub.end(), "ESEALED")
    hub.keeper_error = None

    hub.trouble = lambda: hub.keeper.link.close()
    ingest(hub, bytes(40 << 20))
    code_is(hub.end(), "EDOWN")
    hub.restart("keeper")
    hub.work = good_ingest
    ingest(hub)
    code_is(hub.end(), "OK")


def test_jailer_dies(hub):
    hub.work = hang
    ingest(hub)
    at_work(hub)
    hub.restart("jailer")
    code_is(hub.end(), "EDOWN")
    hub.work = good_ingest
    ingest(hub)
    code_is(hub.end(), "OK")


def test_end_is_told_until_heard(hub):
    hub.end_errors = [ERR["EDOWN"], ERR["ELOG"]]
    hub.work = good_ingest
    ingest(hub)
    code_is(hub.end(), "OK")
    assert not hub.end_errors
    hub.work = hang
    ingest(hub)
    at_work(hub)
    hub.registrar.link.close()
    hub.sandboxes[hub.task_id].killed.set()
    time.sleep(0.5)
    hub.restart("registrar")
    code_is(hub.end(), "ECRASHED")


def test_tampered_input(hub):
    hub.work = lambda c, p, o, s: (read_all(p[0]), c.sock.recv(1), (1, 9))[2]
    object_id, n, fd = hub.sealed(bytes(20 << 20))
    with open(hub.path(object_id), "r+b") as f:
        f.seek(17 << 20)
        f.write(b"\1")
    hub.run_task(INGEST, [(object_id, n, fd), hub.empty(), hub.empty()])
    code_is(hub.end(), "ETAMPERED")


def test_registrar_is_not_believed(hub):
    """wrong counts, kinds and rights of descriptors start nothing"""
    r, w = os.pipe()
    directory = os.open(hub.dir, os.O_RDONLY)

    def bad(stage, objects, **more):
        assert hub.run_task(stage, objects, **more) == ERR["EPROTO"]
    bad(INGEST, [hub.sealed(b"x"), hub.empty()])
    bad(INGEST, [hub.sealed(b"x"), hub.empty(), hub.empty(), hub.empty()])
    bad(77, [hub.sealed(b"x"), hub.empty(), hub.empty()])
    a, b, c = hub.sealed(b"x"), hub.empty(), hub.empty()
    for objects in ([(a[0], a[1], os.dup(r)), b, c], [a, (b[0], 0, os.dup(w)), c], [a, b, (c[0], 0, os.dup(directory))],
                    [(a[0], a[1], os.dup(b[2])), b, c], [a, (b[0], 0, os.dup(a[2])), c], [a, b, (b[0], 0, os.dup(b[2]))],
                    [(a[0], 0, a[2]), b, c], [a, (b[0], 5, b[2]), c]):
        bad(INGEST, [(o[0], o[1], os.dup(o[2])) for o in objects])
    bad(INGEST, [(o[0], o[1], os.dup(o[2])) for o in (a, b, c)], sealed_bytes=bytes(16))
    assert not hub.sandboxes and hub.ended.empty()


def test_import(hub):
    plain = os.urandom(1 << 20) * 17 + b"end"
    path = os.path.join(hub.dir, "panel.bcf")
    with open(path, "wb") as f:
        f.write(plain)
    object_id, _, fd = hub.empty()
    os.pwrite(fd, b"left by an earlier try", 0)
    source = os.open(path, os.O_RDONLY)
    assert hub.registrar.ask("task_import", task_id=os.urandom(16), fence=1, object_id=object_id, source=source, file=fd).name == "ok"
    m = hub.end()
    code_is(m, "OK")
    assert hub.opened(object_id) == plain
    assert sums(m) == [(2, len(plain), os.path.getsize(hub.path(object_id)), hashlib.sha256(plain).digest())]
    assert hub.registrar.ask("task_import", task_id=os.urandom(16), fence=1, object_id=object_id, source=fd, file=fd) == ERR["EPROTO"]


def package(hub, objects, plan, check="K7pQ", package_id=None, kind=0, key=bytes(32)):
    target = hub.empty()
    answer = hub.registrar.ask(
        "task_package", task_id=os.urandom(16), fence=1, objects=[o[0] for o in objects],
        sealed_bytes=b"".join(o[1].to_bytes(8, "big") for o in objects), files=[o[2] for o in objects] + [target[2]],
        package_id=package_id or target[0], plan=plan, check=check, recipient_kind=kind, recipient=key)
    return answer, target[0]


def test_package(hub):
    """entries joined from objects, the check first, the manifest last; 7z and bsdtar open it with the password alone"""
    a, b, c = os.urandom(18 << 20), b"second", b"index"
    objects = [hub.sealed(a), hub.sealed(b), hub.sealed(c)]
    answer, package_id = package(hub, objects, b"entry chr22.dose.vcf.gz\nobject 1\nobject 0\nobject 1\nentry chr22.dose.vcf.gz.tbi\nobject 2\n")
    assert answer.name == "ok"
    m = hub.end()
    code_is(m, "OK")
    data = hub.opened(package_id)
    assert sums(m) == [(2, len(data), os.path.getsize(hub.path(package_id)), hashlib.sha256(data).digest())]
    assert sorted(k[2] for k in hub.entry_keys) == [0, 1, 2, 3]
    path, out = os.path.join(hub.dir, "p.zip"), os.path.join(hub.dir, "out")
    with open(path, "wb") as f:
        f.write(data)
    password = hub.password.decode()
    assert subprocess.run(["7z", "t", "-pwrong", path], capture_output=True).returncode != 0
    subprocess.run(["7z", "x", "-p" + password, "-o" + out, path], check=True, capture_output=True)
    entries = ["sequester-check.txt", "chr22.dose.vcf.gz", "chr22.dose.vcf.gz.tbi", "manifest.json"]
    wanted = [b"K7pQ\n", b + a + b, c]
    got = [open(os.path.join(out, e), "rb").read() for e in entries]
    assert got[:3] == wanted and sorted(os.listdir(out)) == sorted(entries)
    manifest = json.loads(got[3])
    assert manifest["format"] == "sequester-package/1"
    assert manifest["files"] == [{"name": e, "bytes": len(w), "sha256": hashlib.sha256(w).hexdigest()} for e, w in zip(entries, wanted)]
    listed = subprocess.run(["bsdtar", "-xOf", path, "--passphrase", password, "chr22.dose.vcf.gz.tbi"], check=True, capture_output=True)
    assert listed.stdout == c


def test_package_sealed_to(hub):
    """a tar for the holder of a key; keeper is asked for no password's keys; what is no key is refused"""
    a, b = os.urandom(3 << 20), b"second"
    objects = [hub.sealed(a), hub.sealed(b)]
    secret, n_keys = os.urandom(32), len(hub.entry_keys)
    public = crypt4gh.public_of(crypt4gh.X25519PrivateKey.from_private_bytes(secret))
    answer, package_id = package(hub, objects, b"entry x.vcf.gz\nobject 1\nobject 0\nentry x.txt\nobject 1\n", check="", kind=2, key=public)
    assert answer.name == "ok"
    m = hub.end()
    code_is(m, "OK")
    data = hub.opened(package_id)
    assert sums(m) == [(1, len(data), os.path.getsize(hub.path(package_id)), hashlib.sha256(data).digest())]
    with tarfile.open(fileobj=io.BytesIO(crypt4gh.open_bytes(data, secret))) as tar:
        got = {e.name: tar.extractfile(e).read() for e in tar.getmembers()}
    assert list(got) == ["x.vcf.gz", "x.txt", "manifest.json"] and got["x.vcf.gz"] == b + a and got["x.txt"] == b
    assert json.loads(got["manifest.json"])["files"] == [{"name": e, "bytes": len(got[e]), "sha256": hashlib.sha256(got[e]).hexdigest()} for e in ("x.vcf.gz", "x.txt")]
    assert len(hub.entry_keys) == n_keys
    for check, kind, key in (("K7pQ", 2, public), ("", 0, bytes(32)), ("", 3, public), ("", 255, public), ("K7pQ", 0, public)):
        answer, _ = package(hub, objects, b"entry a\nobject 0\n", check=check, kind=kind, key=key)
        assert answer == ERR["EPROTO"], (check, kind)
    for kind in (1, 2):  # a point of small order: anybody could open it
        answer, _ = package(hub, objects, b"entry a\nobject 0\n", check="", kind=kind, key=bytes(32))
        assert answer.name == "ok"
        code_is(hub.end(), "ECRYPTO")


def test_package_plans(hub):
    objects = [hub.sealed(b"x")]
    for plan in (b"", b"object 0\n", b"entry a\n", b"entry a\nobject 1\n", b"entry a\nobject 0", b"entry a\nobject 00\n", b"entry a\nobject -1\n",
                 b"entry ../a\nobject 0\n", b"entry /a\nobject 0\n", b"entry a b\nobject 0\n", b"entry \nobject 0\n", b"entry a\nobject 0\n\n",
                 b"entry a\nobject 0\nentry a\nobject 0\n", b"entry manifest.json\nobject 0\n", b"entry sequester-check.txt\nobject 0\n",
                 b"entry a\0\nobject 0\n", b"entry " + b"a" * 256 + b"\nobject 0\n", b"entry a\nobject 0\n" + b"object 0\n" * 400):
        answer, _ = package(hub, objects, plan)
        assert answer == ERR["EPROTO"], plan
    answer, _ = package(hub, objects, b"entry a\nobject 0\n", package_id=objects[0][0])
    assert answer == ERR["EPROTO"], "a package can't be its own input"


def stream(hub, o, first, n):
    ticket = os.urandom(16)
    answer = hub.registrar.ask("task_stream", task_id=os.urandom(16), fence=1, ticket=ticket, object_id=o[0], sealed_bytes=o[1],
                               first=first, n_bytes=n, file=o[2])
    assert answer.name == "ok"
    return ticket


def test_stream(hub):
    plain = os.urandom(1 << 20) * 18
    o = hub.sealed(plain)
    for first, n in ((0, len(plain)), (0, 0), (5, 1), ((16 << 20) - 7, 14), (len(plain) - 3, 3), (len(plain), 0)):
        ticket = stream(hub, o, first, n)
        assert hub.gateway.ask("stream", ticket=os.urandom(16)) == ERR["ENOTFOUND"]
        pipe = hub.gateway.ask("stream", ticket=ticket).pipe
        assert hub.gateway.ask("stream", ticket=ticket) == ERR["ENOTFOUND"], "a ticket works once"
        assert read_all(pipe) == plain[first:first + n], (first, n)
        os.close(pipe)
        m = hub.end()
        code_is(m, "OK")
        assert not m.sums and not m.counts
    for first, n in ((0, len(plain) + 1), (len(plain) + 1, 0), (2**64 - 1, 2)):
        answer = hub.registrar.ask("task_stream", task_id=os.urandom(16), fence=1, ticket=os.urandom(16), object_id=o[0], sealed_bytes=o[1],
                                   first=first, n_bytes=n, file=o[2])
        assert answer == ERR["ERANGE"], "said before the download's head is sent"


def test_stream_reader_leaves(hub):
    o = hub.sealed(bytes(30 << 20))
    pipe = hub.gateway.ask("stream", ticket=stream(hub, o, 0, 30 << 20)).pipe
    os.read(pipe, 100)
    os.close(pipe)
    code_is(hub.end(), "OK")
    hub.n_open.clear()
    stream(hub, o, 0, 30 << 20)
    time.sleep(0.3)
    assert not hub.n_open, "nothing is opened before it is fetched"


def test_many_tasks(hub):
    """64 at once, one more is refused; memory stays small"""
    hub.work = hang
    tasks = []
    for _ in range(64):
        ingest(hub)
        tasks.append(hub.task_id)
    assert hub.run_task(INGEST, [hub.sealed(b"x"), hub.empty(), hub.empty()]) == ERR["EBUSY"]
    wait_for("64 sandboxes", lambda: len(hub.sandboxes) == 64)
    with open("/proc/%d/status" % hub.child.process.pid, encoding="ascii") as f:
        rss_kib = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    print("# rss with 64 tasks: %d KiB" % rss_kib)
    sanitizer.bounded(program, "64 tasks", rss_kib, 64 << 10)
    for t in tasks:
        assert hub.registrar.ask("task_cancel", task_id=t, fence=0).name == "ok"
    for _ in tasks:
        code_is(hub.end(), "ECANCELLED")
    wait_for("descriptors to be closed", lambda: len(os.listdir("/proc/%d/fd" % hub.child.process.pid)) < 20)


def test_hook_fails(hub):
    """a failure at each named place ends the task with that code and no result"""
    hub.work = good_ingest
    for place in ("runner.mid_task", "runner.before_seal", "runner.before_ended"):
        hub.arm(place, 2, ERR["EIO"])
        _, genotypes, _ = ingest(hub, b"x")
        code_is(hub.end(), "EIO")
        if place != "runner.before_ended":
            try:
                hub.opened(genotypes)
                raise AssertionError("half a result can be opened")
            except h.vault.Refused:
                pass
    assert hub.child.stop() == 0


def dies_at(hub, place):
    hub.arm(place, 1)
    _, genotypes, _ = ingest(hub, bytes(1000))
    assert hub.child.process.wait(300) == -9
    assert hub.ended.empty()
    return genotypes


def test_hook_dies_before_seal(hub):
    hub.work = good_ingest
    genotypes = dies_at(hub, "runner.before_seal")
    try:
        hub.opened(genotypes)
        raise AssertionError("half a result can be opened")
    except h.vault.Refused:
        pass


def test_hook_dies_before_ended(hub):
    """the bytes are whole, but nobody was told: registrar starts the task again"""
    hub.work = good_ingest
    assert hub.opened(dies_at(hub, "runner.before_ended")) == bytes(1000)


def main():
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_") and (not only or n in only) and (has_hooks or not n.startswith("test_hook"))]
    print("1..%d" % len(tests))
    n_bad = 0
    for i, (name, test) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory() as directory:
            hub = h.Hub(root, program, directory)
            try:
                test(hub)
                if not name.startswith("test_hook"):
                    assert hub.child.process.poll() is None, "runner died"
                    assert hub.child.stop() == 0
                print("ok %d %s" % (i, name), flush=True)
            except Exception:
                n_bad += 1
                print("not ok %d %s" % (i, name))
                print("# " + traceback.format_exc().replace("\n", "\n# "), flush=True)
                hub.child.process.kill()
                hub.child.process.wait()
    sys.exit(1 if n_bad else 0)


main()
