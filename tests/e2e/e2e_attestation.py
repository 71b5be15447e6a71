#!/usr/bin/env python3
"""What a job was worked on with and in: every stage says its walls, the program's digest is right, the signature holds, a change is found."""
import hashlib
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402

WALLS = {"own_processes", "no_network", "read_only_root", "no_host_files", "no_new_rights", "call_filter", "no_capabilities"}


def test_every_stage_is_walled_in():
    with hub.Hub() as h:
        h.panel()
        ada = h.user("ada")
        job = ada.run_job(ada.upload()["id"])["id"]
        for t in ada.get("/api/v1/jobs/" + job)["tasks"]:
            assert t["stage"] == "package" or set(t["isolation"]) == WALLS, t
        note = ada.get("/api/v1/jobs/%s/attestation" % job)["attestation"]
        text = note.split("\n\n")[0].splitlines()
        assert text[0] == "sequester-attestation/v1" and text[1] == "job " + job, note
        assert [x.split()[1] for x in text if x.startswith("task ")] == ["ingest", "qc", "impute", "finish"], note
        with open(os.path.join(hub.BUILD, "sequester-worker"), "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        assert [x for x in text if x.startswith("program ")] == ["program " + digest] * 4, note
        assert [set(x.split()[1:]) for x in text if x.startswith("held")] == [WALLS] * 4 and "not-held" not in note, note
        vkey = h.vkeys()["receipt_vkey"]
        path = os.path.join(h.dir, "attestation.txt")
        p = ada.cli("attestation", job, "-o", path)
        verify = lambda: subprocess.run([hub.CLI, "attestation", "verify", path, "--vkey", vkey], capture_output=True, text=True)  # noqa: E731
        p = verify()
        assert p.returncode == 0 and "every wall was there" in p.stdout and digest in p.stdout, p
        with open(path) as f:
            good = f.read()
        with open(path, "w") as f:
            f.write(good.replace(digest, "0" * 64, 1))
        assert verify().returncode == 5
        # a receipt isn't an attestation, though the key is the same
        ada.call("DELETE", "/api/v1/jobs/" + job, status=202)
        ada.wait_job(job, ("erased",))
        receipts = ada.get("/api/v1/jobs/%s/receipt" % job)["receipts"]
        with open(path, "w") as f:
            f.write(receipts[0])
        p = verify()
        assert p.returncode == 5 and "no attestation" in p.stderr, p
        assert ada.call("GET", "/api/v1/jobs/%s/attestation" % job).status in (200, 410)
        eve = h.user("eve")
        assert eve.call("GET", "/api/v1/jobs/%s/attestation" % job).status == 404


hub.main([test_every_stage_is_walled_in])
