#!/usr/bin/env python3
"""Unphased uploads: the job phases them in a sandbox, and its chunks equal the one piece of `sequester impute`, byte for byte; also when
what phases is killed, and for a small cohort's whole chromosome."""
import gzip
import os
import random
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402
from results import index_of, split, unpacked  # noqa: E402

WORKER = os.path.join(hub.BUILD, "sequester-worker")
MB = 1_000_000
SETTINGS = {"chunk_mb": 10, "sandboxes": 2, "watchdog_s": 600, "jobs_per_user": 4}
SHARED = os.path.join(hub.ROOT, "..", "shared", "data", "imputation")


def vcf(samples, rows, chrom="9"):
    head = "##fileformat=VCFv4.2\n##contig=<ID=%s>\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\">\n" % chrom
    head += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(samples) + "\n"
    lines = ["\t".join([chrom, str(p), ".", a, b, ".", "PASS", ".", "GT", *gt]) for p, a, b, gt in rows]
    return gzip.compress((head + "\n".join(lines) + "\n").encode())


class Data:
    """A made chromosome, 5..68 Mb of 1 cM/Mb: four windows, one of them without a typed site in the panel; a target with haploid samples,
    missing calls, half of one, some genotypes with phase, and records of its own."""

    def __init__(self, directory, n_panel=120, n_target=12, n_site=5000):
        dice = random.Random(3)
        sites = sorted(dice.sample(range(5 * MB, 68 * MB), n_site))
        founders = [[int(dice.random() < f) for _ in range(20)] for f in (dice.choice([0.02, 0.1, 0.3, 0.6]) for _ in sites)]
        now = [dice.randrange(20) for _ in range(2 * (n_panel + n_target))]
        panel, target = [], []
        for p, x in zip(sites, founders):
            now = [dice.randrange(20) if dice.random() < 0.003 else h for h in now]
            a = [x[h] for h in now]
            panel.append((p, "A", "C", ["%d|%d" % (a[2 * i], a[2 * i + 1]) for i in range(n_panel)]))
            if dice.random() < 0.2 and not 26 * MB < p < 44 * MB:
                target.append((p, "A", "C", [self.call(i, a[2 * (n_panel + i)], a[2 * (n_panel + i) + 1], dice) for i in range(n_target)]))
        for p in (1000, 30 * MB, 45 * MB + 1, 80 * MB):  # of the target alone
            target.append((p, "GA", "G", ["0" if i == 3 else "0/1" for i in range(n_target)]))
        target.sort(key=lambda r: r[0])
        self.panel, self.target = os.path.join(directory, "panel.vcf.gz"), os.path.join(directory, "target.vcf.gz")
        with open(self.panel, "wb") as f:
            f.write(vcf(["p%d" % i for i in range(n_panel)], panel))
        with open(self.target, "wb") as f:
            f.write(vcf(["Anna-%d" % i for i in range(n_target)], target))
        self.map = os.path.join(directory, "flat.map")
        with open(self.map, "w") as f:
            f.write("pos chr cM\n0 9 0\n100000000 9 100\n")
        self.one = os.path.join(directory, "one.vcf.gz")
        impute(hub.panel_file(self.panel, self.map), self.target, self.one)
        self.n_chunk = 7

    @staticmethod
    def call(i, a, b, dice):
        if i == 3:  # one haplotype
            return "." if dice.random() < 0.02 else str(a)
        r = dice.random()
        if r < 0.02:
            return "./." if r < 0.01 else "." if r < 0.015 else "%d/." % a
        if i == 4 or (i == 5 and r < 0.3):
            return "%d|%d" % (a, b)
        return "%d/%d" % (min(a, b), max(a, b))


def impute(panel, target, out, threads=2):
    subprocess.run([WORKER, "--local", "impute", "--panel", panel, "--target", target, "-o", out, "--quiet", "--threads", str(threads), "--format", "GT,DS,HDS,GP"], check=True)


TMP = tempfile.TemporaryDirectory(prefix="sequester-phase-")
os.chmod(TMP.name, 0o755)
DATA = Data(TMP.name)


def add_panel(h, path=None, build="hg19"):
    return h.admin_ok("panel-add", {"id": "made", "name": "A made panel", "build": build, "populations": "all"}, [path or hub.panel_file(DATA.panel, DATA.map)])


def same_as_one_piece(user, job, chrom="9", one=None):
    one = one or DATA.one
    with tempfile.TemporaryDirectory() as d:
        out = unpacked(user, job, d, chrom)[0]
        header, body, n = split(out, b"made")
        one_header, one_body, one_n = split(one)
        assert header == one_header, (header, one_header)
        assert body == one_body, "the joined result isn't the one piece"
        assert index_of(out + ".tbi", n) == index_of(one + ".tbi", one_n), "the joined result's index isn't the one piece's"
        report = open(os.path.join(d, "chr%s.quality-report.txt" % chrom)).read()
    return dict(re.findall(r"^#(\w+)\t(\d+)$", report, re.M))


def stages(j):
    return [t["stage"] for t in j["tasks"]]


def tasks(user, job):
    a = user.call("GET", "/api/v1/jobs/" + job)
    return a.json["tasks"] if a.status == 200 else []  # 503: a part is just starting again


def test_equals_one_piece():
    with hub.Hub(settings=SETTINGS) as h:
        add_panel(h)
        ada = h.user("ada")
        job = ada.submit(ada.upload(DATA.target)["id"], panel="made", phasing="eagle")  # as scripts for the public services say
        seen = []

        def done():
            j = ada.get("/api/v1/jobs/" + job)
            seen.append(j["progress"]["done"])
            return j if j["state"] in ("done", "failed") else None
        j = hub.wait_for("the job", done, 300)
        assert j["state"] == "done" and j["phasing"] == "sequester", j
        assert stages(j) == ["qc", "phase"] + ["impute"] * DATA.n_chunk + ["finish"], stages(j)
        assert seen == sorted(seen) and j["progress"]["done"] == j["progress"]["total"], (seen, j["progress"])
        report = same_as_one_piece(ada, job)
        assert report["phased"] == "0" and int(report["unphased_genotypes"]) > 1000 and int(report["half_missing_genotypes"]) > 3 and report["haploid_samples"] == "1", report
        receipts = hub.wait_for("the receipts", lambda: (lambda r: r["receipts"] if len(r["receipts"]) >= 5 + DATA.n_chunk else None)(ada.get("/api/v1/jobs/%s/receipt" % job)), 60)
        kinds = [dict(line.split(None, 1) for line in r.splitlines() if " " in line)["kind"] for r in receipts]
        assert {"upload", "genotypes", "kept", "phased", "ids", "index"} <= set(kinds), kinds
        h.verify_log()


def test_killed():
    """What was phased is kept through a restart; what was killed while it phased begins anew."""
    with hub.Hub(settings=SETTINGS) as h:
        add_panel(h)
        ada = h.user("ada")
        for point in ("task.2:phase", "runner.mid_task:phase"):
            h.arm(point)
            job = ada.submit(ada.upload(DATA.target)["id"], panel="made")
            hub.wait_for("the first try to phase", lambda: any(t["stage"] == "phase" and t["tries"] > 1 for t in tasks(ada, job)), 120)
            before = hub.wait_for("a chunk", lambda: (lambda t: t if any(x["stage"] == "impute" for x in t) else None)(tasks(ada, job)), 120)
            h.kill("registrar")
            h.kill("runner")
            h.wait_up()
            j = ada.wait_job(job, seconds=300)
            assert j["state"] == "done", j
            phase = [t for t in j["tasks"] if t["stage"] == "phase"]
            assert len(phase) == 1 and phase[0]["tries"] == next(t["tries"] for t in before if t["stage"] == "phase"), (phase, before)
            same_as_one_piece(ada, job)
        h.verify_log()


def test_no_phasing():
    with hub.Hub(settings=SETTINGS) as h:
        h.panel()
        ada = h.user("ada")
        j = ada.wait_job(ada.submit(ada.upload(hub.UNPHASED)["id"], phasing="no_phasing"))
        assert j["state"] == "failed" and j["error"]["code"] == "EUNPHASED" and "record 1" in j["error"]["detail"] and "no_phasing" in j["error"]["hint"], j
        assert b"#unphased_genotypes" in ada.call("GET", "/api/v1/jobs/%s/report" % j["id"], status=200).body
        j = ada.wait_job(ada.submit(ada.upload()["id"], phasing="no_phasing"), seconds=300)
        assert j["state"] == "done" and j["phasing"] == "no_phasing" and "phase" not in stages(j), j
        j = ada.wait_job(ada.submit(ada.upload()["id"]), seconds=300)  # phased already
        assert j["state"] == "done" and "phase" not in stages(j), j
        j = ada.wait_job(ada.submit(ada.upload(hub.UNPHASED)["id"], mode="qc"))
        assert j["state"] == "done" and stages(j) == ["qc"], j
        r = ada.call("POST", "/api/v1/jobs", {"upload": ada.upload()["id"], "panel": "1kgp3-chr22", "phasing": "shapeit"}, status=400)
        assert r.json["field"] == "phasing", r


def test_small_cohort_whole_chromosome():
    folder = os.path.join(SHARED, "hapmap2-chr20-b37")
    if not os.path.isdir(folder):
        raise hub.Skip("shared/data/imputation isn't here")
    panel = hub.panel_file(os.path.join(folder, "ref.bcf"), os.path.join(SHARED, "maps", "chr20.b37.gmap.gz"))
    target = os.path.join(folder, next(f for f in os.listdir(folder) if "unphased" in f and not f.endswith(("tbi", "csi"))))
    one = os.path.join(TMP.name, "chr20.vcf.gz")
    impute(panel, target, one)
    with hub.Hub(settings=dict(SETTINGS, chunk_mb=8)) as h:
        add_panel(h, panel)
        ada = h.user("ada")
        job = ada.submit(ada.upload(target)["id"], panel="made")
        j = ada.wait_job(job, seconds=600)
        assert j["state"] == "done" and stages(j).count("impute") == 8, j
        same_as_one_piece(ada, job, "20", one)


if __name__ == "__main__":
    ONLY = sys.argv[1:]
    hub.main([t for t in (test_equals_one_piece, test_killed, test_no_phasing, test_small_cohort_whole_chromosome) if not ONLY or t.__name__ in ONLY])
