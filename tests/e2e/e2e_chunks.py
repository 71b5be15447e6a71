#!/usr/bin/env python3
"""A job in many chunks equals the one piece, byte for byte; whatever dies or hangs on the way, and however late its answer comes."""
import gzip
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402
from results import index_of, split, unpacked  # noqa: E402

WORKER = os.path.join(hub.BUILD, "sequester-worker")
MB, CHUNK_MB = 1_000_000, 10
SETTINGS = {"chunk_mb": CHUNK_MB, "sandboxes": 2, "watchdog_s": 600, "jobs_per_user": 4}


def vcf(samples, rows, chrom="9"):
    head = "##fileformat=VCFv4.2\n##contig=<ID=%s>\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\">\n" % chrom
    head += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(samples) + "\n"
    lines = ["\t".join([chrom, str(p), ".", a, b, ".", "PASS", ".", "GT", *gt]) for p, a, b, gt in rows]
    return gzip.compress((head + "\n".join(lines) + "\n").encode())


def calls(alleles):
    return ["%d|%d" % (alleles[2 * i], alleles[2 * i + 1]) for i in range(len(alleles) // 2)]


class Data:
    """A made chromosome: 5..78 Mb of 1 cM/Mb, so windows begin every 10 Mb. Indels over the cuts, several records at one position,
    a stretch without a panel and one without typed sites."""

    def __init__(self, directory, n_panel=150, n_target=30, n_site=6000):
        dice = random.Random(2)
        bp = set(dice.sample(range(5 * MB, 33 * MB), n_site // 2) + dice.sample(range(52 * MB, 78 * MB), n_site // 2))
        cuts = [20 * MB, 30 * MB, 60 * MB, 70 * MB]
        sites = [(p, "A", "C") for p in bp if min(abs(p - c) for c in cuts) > 40]
        for c in cuts:
            sites += [(c - 2, "ACGTACGT" * 2500, "A"), (c - 1, "T", "A"), (c, "G", "A"), (c, "G", "GA"), (c, "G", "C"), (c + 1, "T", "C")]
        sites.sort(key=lambda s: s[0])
        typed = {p for p, a, _ in sites if (dice.random() < 0.12 and not 60 * MB < p < 66 * MB) or (p in cuts)}
        founders = [[dice.random() < f for _ in range(24)] for f in (dice.choice([0.02, 0.1, 0.3, 0.6]) for _ in sites)]
        now = [dice.randrange(24) for _ in range(2 * (n_panel + n_target))]
        panel, target = [], []
        for (p, a, b), x in zip(sites, founders):
            now = [dice.randrange(24) if dice.random() < 0.004 else h for h in now]
            alleles = [x[h] for h in now]
            panel.append((p, a, b, calls(alleles[:2 * n_panel])))
            if p in typed:
                target.append((p, a, b, calls(alleles[2 * n_panel:])))
        for p in (1000, 10 * MB, 19_999_999, 20 * MB - 1, 45 * MB, 60 * MB + 7, 90 * MB):  # of the target alone
            target.append((p, "GA", "G", ["0|1"] * n_target))
        target.sort(key=lambda r: r[0])
        self.names = ["Anna-%d" % i for i in range(n_target)]
        self.panel, self.target = os.path.join(directory, "panel.vcf.gz"), os.path.join(directory, "target.vcf.gz")
        with open(self.panel, "wb") as f:
            f.write(vcf(["p%d" % i for i in range(n_panel)], panel))
        with open(self.target, "wb") as f:
            f.write(vcf(self.names, target))
        self.map = os.path.join(directory, "flat.map")
        with open(self.map, "w") as f:
            f.write("pos chr cM\n0 9 0\n100000000 9 100\n")
        self.one = os.path.join(directory, "one.vcf.gz")
        subprocess.run([WORKER, "--local", "impute", "--panel", hub.panel_file(self.panel, self.map), "--target", self.target, "-o", self.one, "--quiet", "--format", "GT,DS,HDS,GP"], check=True)
        self.n_chunk = 8  # 5..78 Mb in chunks of 10 Mb


TMP = tempfile.TemporaryDirectory(prefix="sequester-chunks-")
os.chmod(TMP.name, 0o755)
DATA = Data(TMP.name)


def add_panel(h):
    return h.admin_ok("panel-add", {"id": "made", "name": "A made panel", "build": "hg19", "populations": "all"}, [hub.panel_file(DATA.panel, DATA.map)])


def same_files(path):
    header, body, n = split(path, b"made")
    one_header, one_body, one_n = split(DATA.one)
    assert header == one_header, (header, one_header)
    assert body == one_body, "the joined result isn't the one piece"
    assert index_of(path + ".tbi", n) == index_of(DATA.one + ".tbi", one_n), "the joined result's index isn't the one piece's"


def same_as_one_piece(user, job):
    with tempfile.TemporaryDirectory() as d:
        same_files(unpacked(user, job, d, "9")[0])


def impute_tasks(user, job):
    return [t for t in user.get("/api/v1/jobs/" + job)["tasks"] if t["stage"] == "impute"]


def wait_tasks(user, job, what, condition, seconds=60):
    return hub.wait_for(what, lambda: (lambda t: t if condition(t) else None)(impute_tasks(user, job)), seconds)


def events(user, path):
    """Audit entries of @path, oldest first."""
    found, before = [], 0
    while before is not None:
        page = user.get("%s?limit=100&before=%d" % (path, before))
        found += page["data"]
        before = page["next"]
    return found[::-1]


def test_equals_one_piece():
    with hub.Hub(settings=SETTINGS) as h:
        add_panel(h)
        ada = h.user("ada")
        seen = set()
        job = ada.submit(ada.upload(DATA.target)["id"], panel="made")

        def done():
            j = ada.get("/api/v1/jobs/" + job)
            seen.add(j["progress"]["done"])
            return j if j["state"] in ("done", "failed") else None
        j = hub.wait_for("the job", done, 300)
        assert j["state"] == "done", j
        assert j["progress"]["done"] == j["progress"]["total"] > 0 and sorted(seen) == list(sorted(seen)), (seen, j["progress"])
        chunks = [t for t in j["tasks"] if t["stage"] == "impute"]
        assert [t["chunk"] for t in chunks] == list(range(DATA.n_chunk)), chunks
        assert all(t["state"] == "done" and t["tries"] == 1 for t in chunks), chunks
        assert [(t.get("from_bp"), t.get("to_bp")) for t in chunks[:2]] == [(None, 10 * MB), (10 * MB, 20 * MB)] and "to_bp" not in chunks[-1], chunks
        with tempfile.TemporaryDirectory() as d:
            out, package = unpacked(ada, job, d, "9")
            same_files(out)
            assert next(f["bytes"] for f in j["files"] if f["name"].endswith(".vcf.gz")) == os.path.getsize(out)
            names = subprocess.run(["bcftools", "query", "-l", out], capture_output=True, text=True)
            assert names.stdout.split() == DATA.names and names.stderr == ""
            theirs = os.path.join(d, "theirs.vcf.gz")
            os.link(out, theirs)
            subprocess.run(["bcftools", "index", "-t", theirs], check=True)
            dice = random.Random(1)
            at = [1, 1000, 20 * MB - 3, 20 * MB - 1, 20 * MB, 20 * MB + 100, 30 * MB, 45 * MB, 60 * MB + 15000, 70 * MB, 90 * MB]
            for a in at + dice.sample(range(1, 91 * MB), 20):
                region = "9:%d-%d" % (a, a + dice.choice([0, 10, 30000, 5 * MB]))
                ours, other = [subprocess.run(["bcftools", "view", "-H", "-r", region, f], capture_output=True) for f in (out, theirs)]
                assert ours.stdout == other.stdout and ours.stderr == b"", region
            # Range over the joins of the parts in the package
            whole = open(package, "rb").read()
            for _ in range(8):
                a = dice.randrange(len(whole))
                b = min(a + dice.choice([0, 1000, 1 << 20]), len(whole) - 1)
                r = ada.call("GET", "/api/v1/jobs/%s/package" % job, status=206, headers={"Range": "bytes=%d-%d" % (a, b)})
                assert r.body == whole[a:b + 1]
        # S2-04: the raw upload was gone before the first chunk began, the normalised data when sealing began and before `finish` was done
        text = hub.wait_for("the receipts", lambda: (lambda r: r["receipts"] if len(r["receipts"]) >= 4 + DATA.n_chunk else None)(ada.get("/api/v1/jobs/%s/receipt" % job)), 60)
        kind = {}
        for r in text:
            fields = dict(line.split(None, 1) for line in r.splitlines() if " " in line)
            kind[fields["object"]] = fields["kind"]
        assert {"upload", "genotypes", "kept", "ids", "index"} <= set(kind.values()), kind
        ev = events(ada, "/api/v1/me/audit")
        gone = {kind.get(e["object"]): i for i, e in enumerate(ev) if e["event"] == "erase_started"}
        state = {e["b"]: i for i, e in enumerate(ev) if e["event"] == "job_state"}  # states.def: 3 running, 4 sealing, 5 done
        ends = [i for i, e in enumerate(ev) if e["event"] == "task_ended" and state[3] < i]
        assert len(ends) == DATA.n_chunk + 1, ends
        assert gone["upload"] < state[3], (gone, state)
        for k in ("genotypes", "kept"):
            assert ends[-3] < gone[k] < ends[-1] and gone[k] < state[5], (k, gone, state, ends)
        assert gone["ids"] > ends[-2] and gone["index"] > ends[-2], (gone, ends)
        h.verify_log()


def test_dies_between_and_in_chunks():
    with hub.Hub(settings=SETTINGS) as h:
        add_panel(h)
        ada = h.user("ada")
        job = ada.submit(ada.upload(DATA.target)["id"], panel="made")
        for i, role in enumerate(("runner", "registrar", "keeper", "jailer", "storer", "hub")):
            before = wait_tasks(ada, job, "a chunk after %s" % role, lambda t: sum(x["state"] == "done" for x in t) > i or all(x["state"] == "done" for x in t), 120)
            done = [t["chunk"] for t in before if t["state"] == "done"]
            if role == "hub":
                h.stop(signal.SIGKILL)
                h.start()
            else:
                h.kill(role)
                h.wait_up()
            after = hub.wait_for("the job to be readable", lambda: impute_tasks(ada, job), 60)
            for t in after:
                if t["chunk"] in done:
                    assert t["state"] == "done" and t["tries"] == next(b["tries"] for b in before if b["chunk"] == t["chunk"]), ("a finished chunk ran again", role, t)
        j = ada.wait_job(job, seconds=300)
        assert j["state"] == "done", j
        same_as_one_piece(ada, job)
        h.verify_log()


def workers(h):
    """Pids of the programs in this hub's sandboxes: what its jailer's children came to."""
    found, mine = [], set(h.pids("jailer"))
    while True:
        more = set()
        for p in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/stat" % p) as f:
                    name, rest = f.read().rsplit(")", 1)
            except OSError:
                continue
            if int(rest.split()[1]) in mine and int(p) not in mine:
                more.add(int(p))
                if name.endswith("(worker"):
                    found.append(int(p))
        if not more:
            return found
        mine |= more


def stop_one(pids):
    for p in pids:
        try:
            os.kill(p, signal.SIGSTOP)
            return True
        except ProcessLookupError:  # its work is done: the next one
            pass
    return False


def test_watchdog():
    with hub.Hub(settings=dict(SETTINGS, watchdog_s=15, sandboxes=1)) as h:
        add_panel(h)
        ada = h.user("ada")
        job = ada.submit(ada.upload(DATA.target)["id"], panel="made")
        # a worker that hangs
        wait_tasks(ada, job, "a running chunk", lambda t: any(x["state"] == "running" for x in t))
        hub.wait_for("its worker", lambda: stop_one(workers(h)), 30)
        wait_tasks(ada, job, "another try of the silent chunk", lambda t: any(x["tries"] > 1 for x in t), 180)
        assert h.pid("runner") == h.pids("runner")[0], "one silent worker is no reason to end the runner"
        # a runner that hangs as a whole: also every end it would have told is lost
        before = h.pid("runner")
        wait_tasks(ada, job, "chunks left", lambda t: sum(x["state"] == "done" for x in t) >= 2)
        assert ada.get("/api/v1/jobs/" + job)["state"] == "running"
        os.kill(before, signal.SIGSTOP)
        h.started_anew("runner", before, 240)
        j = ada.wait_job(job, seconds=300)
        assert j["state"] == "done", j
        assert "event=task_stalled" in h.log()
        same_as_one_piece(ada, job)
        h.verify_log()


def test_fair():
    """Another user's small job doesn't wait behind all chunks of a large one."""
    with hub.Hub(settings=dict(SETTINGS, sandboxes=1)) as h:
        add_panel(h)
        h.panel()
        ada, bob = h.user("ada"), h.user("bob")
        small = bob.upload()["id"]
        job = ada.submit(ada.upload(DATA.target)["id"], panel="made")
        wait_tasks(ada, job, "chunks", lambda t: len(t) == DATA.n_chunk)
        j = bob.wait_job(bob.submit(small), seconds=300)
        assert j["state"] == "done", j
        left = [t for t in impute_tasks(ada, job) if t["state"] != "done"]
        assert left, "the small job waited for the whole large one"
        assert ada.wait_job(job, seconds=300)["state"] == "done"


def test_erased_while_chunks_run():
    with hub.Hub(settings=SETTINGS) as h:
        add_panel(h)
        ada = h.user("ada")
        job = ada.submit(ada.upload(DATA.target)["id"], panel="made")
        wait_tasks(ada, job, "a chunk done, one running", lambda t: any(x["state"] == "done" for x in t) and any(x["state"] == "running" for x in t))
        ada.call("DELETE", "/api/v1/jobs/" + job, status=202)
        ada.wait_job(job, ("erased",))
        hub.wait_for("only the panel to be left", lambda: len(h.objects()) == 1, 60)
        r = hub.wait_for("all receipts", lambda: (lambda x: x if x["complete"] else None)(ada.get("/api/v1/jobs/%s/receipt" % job)), 60)
        assert len(r["receipts"]) > 4
        h.verify_log()


def test_late():
    """More than 24 hours under way: an alarm in log and audit, once."""
    with hub.Hub(settings=dict(SETTINGS, sandboxes=1)) as h:
        add_panel(h)
        ada = h.user("ada")
        job = ada.submit(ada.upload(DATA.target)["id"], panel="made")
        wait_tasks(ada, job, "chunks", lambda t: len(t) == DATA.n_chunk)
        assert ada.get("/api/v1/jobs/" + job)["late"] is None
        pid = h.pid("runner")
        os.kill(pid, signal.SIGSTOP)  # nothing goes on
        h.move_clock(24 * 3600 + 60)
        hub.wait_for("the alarm", lambda: "event=job_late" in h.log(), 30)
        time.sleep(2)
        assert h.log().count("event=job_late") == 1
        ada.login()  # a token doesn't live that long
        j = ada.get("/api/v1/jobs/" + job)
        assert j["late"] and {x["state"]: x["limit_s"] for x in j["lifecycle"]}["running"] == 86400, j
        assert [e["event"] for e in events(ada, "/api/v1/jobs/%s/audit" % job)].count("job_late") == 1
        os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    ONLY = sys.argv[1:]
    hub.main([t for t in (test_equals_one_piece, test_dies_between_and_in_chunks, test_watchdog, test_fair, test_erased_while_chunks_run, test_late)
              if not ONLY or t.__name__ in ONLY])
