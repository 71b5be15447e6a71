#!/usr/bin/env python3
"""A job of 40 chunks, from upload to receipts: every object has the job's exact deadline, the package holds all parts, and after
the deadline each object has its receipt, page by page, bound by the one of the job."""
import contextlib
import gzip
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402

MB, N_CHUNK = 1_000_000, 40


def vcf(path, prefix, n_sample, rows):
    head = "##fileformat=VCFv4.2\n##contig=<ID=9>\n##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\">\n"
    head += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join("%s%d" % (prefix, i) for i in range(n_sample)) + "\n"
    with gzip.open(path, "wt") as f:
        f.write(head)
        for p, alleles in rows:
            f.write("9\t%d\t.\tA\tC\t.\tPASS\t.\tGT\t%s\n" % (p, "\t".join("%d|%d" % (alleles[2 * i], alleles[2 * i + 1]) for i in range(n_sample))))


def data(d, n_panel=40, n_target=10):
    dice = random.Random(5)
    bp = sorted(dice.sample(range(5 * MB + 1, (5 + N_CHUNK) * MB), 1200) + [5 * MB + 1, (5 + N_CHUNK) * MB - 1])
    founders = [[dice.random() < f for _ in range(12)] for f in (dice.choice([0.1, 0.3, 0.6]) for _ in bp)]
    now = [dice.randrange(12) for _ in range(2 * (n_panel + n_target))]
    panel, target = [], []
    for p, x in zip(bp, founders):
        now = [dice.randrange(12) if dice.random() < 0.004 else h for h in now]
        panel.append((p, [x[h] for h in now[:2 * n_panel]]))
        if dice.random() < 0.4:
            target.append((p, [x[h] for h in now[2 * n_panel:]]))
    paths = [os.path.join(d, n) for n in ("panel.vcf.gz", "target.vcf.gz", "flat.map")]
    vcf(paths[0], "p", n_panel, panel)
    vcf(paths[1], "t", n_target, target)
    with open(paths[2], "w") as f:
        f.write("pos chr cM\n0 9 0\n100000000 9 100\n")
    return paths, len(bp)


def rows_of(h, sql, *args):
    with contextlib.closing(sqlite3.connect(os.path.join(h.state, "registrar", "registrar.db"), timeout=20)) as db:
        return db.execute(sql, args).fetchall()


OF_JOB = " FROM object WHERE kind <> 12 AND id IN (SELECT object_id FROM task_object WHERE task_id IN (SELECT id FROM task WHERE job_id = ?))"


def test_forty_chunks():
    with tempfile.TemporaryDirectory() as d, hub.Hub(settings={"chunk_mb": 1, "sandboxes": 2}) as h:
        (panel, target, gmap), n_site = data(d)
        h.admin_ok("panel-add", {"id": "made", "name": "A made panel", "build": "hg19", "populations": "all"}, [hub.panel_file(panel, gmap)])
        ada = h.user("ada")
        job = ada.submit(ada.upload(target)["id"], panel="made")
        j = ada.wait_job(job, seconds=500)
        assert j["state"] == "done", j
        assert sum(t["stage"] == "impute" for t in j["tasks"]) == N_CHUNK, len(j["tasks"])
        # every object that is kept has the job's own deadline, in the database and in keeper
        ((expires,),) = rows_of(h, "SELECT expires_s FROM job WHERE id = ?", job)

        def kept():
            return [k for (k,) in rows_of(h, "SELECT not_after_s" + OF_JOB + " AND state = 2", job)]
        hub.wait_for("the deadlines", lambda: set(kept()) == {expires}, 30)  # keeper is told right after the job is done
        assert len(kept()) >= N_CHUNK + 3, kept()
        h.clean()
        # claim, package, download
        password = ada.claim(job)
        path = os.path.join(d, "p.zip")
        with open(path, "wb") as f:
            f.write(ada.package(job))
        p = subprocess.run(["7z", "x", "-y", "-p" + password, "-o" + d, path], capture_output=True, text=True)
        assert p.returncode == 0, p.stdout + p.stderr
        with gzip.open(os.path.join(d, "chr9.dose.vcf.gz"), "rt") as f:
            assert sum(not line.startswith("#") for line in f) == n_site
        ((expires,),) = rows_of(h, "SELECT expires_s FROM job WHERE id = ?", job)
        assert set(kept()) == {expires}
        # at its deadline everything goes at once
        h.move_clock(7 * 86400 + 60)
        ada.login()
        ada.wait_job(job, ("erased",), 120)
        hub.wait_for("only the panel to be left", lambda: len(h.objects()) == 1, 60)
        first = ada.get("/api/v1/jobs/%s/receipt" % job)
        ((n_all,),) = rows_of(h, "SELECT count(*)" + OF_JOB, job)
        assert first["complete"] and first["next"] and first["count"] in (n_all, n_all + 1) and n_all >= 2 * N_CHUNK + 5, (first["count"], n_all)
        out = os.path.join(d, "receipts.txt")
        ada.cli("receipt", job, "-o", out)
        p = subprocess.run([hub.CLI, "receipt", "verify", out, "--vkey", h.vkeys()["receipt_vkey"], "--json"], capture_output=True, text=True)
        assert p.returncode == 0, p.stdout + p.stderr
        found = json.loads(p.stdout)
        assert len(found["receipts"]) == first["count"] == found["jobs"][0]["objects"] and found["jobs"][0]["compared"], found["jobs"]
        assert len({o["object"] for r in found["receipts"] for o in r["objects"]}) == first["count"]
        h.clean()
        h.verify_log()


if __name__ == "__main__":
    hub.main([test_forty_chunks])
