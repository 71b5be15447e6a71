#!/usr/bin/env python3
"""The commands of docs/auditor.md, docs/api.md and docs/accounts.md against a running hub: each `$ ` line of a console block is run, and prints what stands below it.
Where `# for example` stands behind it, what is printed differs from hub to hub: it must succeed and print something.

    tests/e2e/e2e_docs.py            compare; numbers, ids and times may differ
    tests/e2e/e2e_docs.py --write    write what is printed into the pages
"""
import json
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402

PAGES = ["docs/api.md", "docs/auditor.md", "docs/accounts.md"]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.M | re.S)


def normal(text):
    """What may differ from run to run is masked."""
    text = re.sub(r"eyJ[\w.-]+", "TOKEN", text)
    text = re.sub(r"\+[0-9a-f]{8}\+[A-Za-z0-9+/=]+", "+KEY", text)
    text = re.sub(r"job-[\d-]+-[0-9a-f]{16}", "JOB", text)
    text = re.sub(r"\b[0-9a-f]{16,}\b", "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    text = re.sub(r"[A-Za-z0-9+/]{40,}=*", "BASE64", text)
    text = re.sub(r"127\.0\.0\.1:\d+|/tmp/[\w./-]+", "PLACE", text)
    return re.sub(r"\d+", "#", text).strip()


def steps(block):
    """[(command, [lines below it])]"""
    found = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and line.startswith("> "):
            found[-1] = (found[-1][0] + "\n" + line[2:], found[-1][1])
        elif found:
            found[-1][1].append(line)
    return found


class Shell:
    """One bash for a page, so that variables stay."""
    def __init__(self, cwd, env):
        self.p = subprocess.Popen(["bash", "-o", "pipefail"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, env=env)

    def run(self, command):
        self.p.stdin.write(command + "\necho \"--end $?\"\n")
        self.p.stdin.flush()
        lines = []
        for line in self.p.stdout:
            m = re.match(r"(.*)--end (\d+)$", line)
            if m:
                return "".join(lines) + m.group(1), int(m.group(2))
            lines.append(line)
        raise AssertionError("the shell ended: " + "".join(lines))

    def done(self):
        self.p.stdin.close()
        self.p.wait(30)


class Site:
    def __init__(self):
        self.h = h = hub.Hub().start()
        h.panel()
        self.ada = h.user("ada")
        self.dir = tempfile.mkdtemp(prefix="sequester-docs-", dir=h.dir)
        gone = self.ada.run_job(self.ada.upload()["id"], mode="qc")["id"]  # one that is erased, with receipts
        self.ada.cli("delete", gone, "--wait")
        self.ada.cli("receipt", gone, "-o", os.path.join(self.dir, "receipt.txt"))
        h.verify_log()
        for name, kind in (("data.vcf", "v"),):
            subprocess.run(["bcftools", "view", "-O" + kind, "-o", os.path.join(self.dir, name), hub.TARGET], check=True, stderr=subprocess.DEVNULL)
        with open(os.path.join(self.dir, "login.json"), "w") as f:
            json.dump({"name": "ada", "password": self.ada.password}, f)
        with open(os.path.join(self.dir, "again.json"), "w") as f:
            json.dump({"password": self.ada.password}, f)
        with open(os.open(os.path.join(self.dir, "login.password"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write(self.ada.password + "\n")
        with open(os.path.join(self.dir, ".curlrc"), "w") as f:
            f.write("cacert = %s\n" % h.ca)
        home = os.path.join(self.dir, "home")
        os.mkdir(home)
        self.env = dict(os.environ, PATH=hub.BUILD + ":" + os.environ["PATH"], HOME=home, CURL_HOME=self.dir, URL="https://127.0.0.1:%d" % h.port, B="https://127.0.0.1:%d" % h.port,
                        CA=h.ca, LOG=h.log_dir(), STATE=h.state, SOURCE=hub.ROOT, TARGET=hub.TARGET, PARENT=str(h.parent.pid), LC_ALL="C.UTF-8")


def site():
    if not hasattr(site, "it"):
        site.it = Site()
    return site.it


def run_page(path, is_writing):
    s = site()
    full = os.path.join(hub.ROOT, path)
    text = open(full, encoding="utf-8").read()
    shell, wrong, n = Shell(s.dir, s.env), [], 0

    def one(m):
        nonlocal n
        out = []
        for command, want in steps(m.group(1)):
            n += 1
            got, code = shell.run(command)
            is_example = command.endswith("# for example")
            got = re.sub(r"eyJ[\w.-]{20,}", "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9...", got)
            if is_example and (code or not got):
                wrong.append("$ %s\n--- exit %d\n%s" % (command, code, got))
            elif not is_writing and not is_example and normal(got) != normal("\n".join(want)):
                wrong.append("$ %s\n--- the page says\n%s\n--- it prints\n%s" % (command, "\n".join(want), got))
            out.append("$ " + command.replace("\n", "\n> ") + "\n" + (got.rstrip("\n") + "\n" if got.strip() else ""))
        return "```console\n" + "".join(out) + "```"
    new = BLOCK.sub(one, text)
    shell.done()
    assert n, path + " has no console block"
    if is_writing:
        open(full, "w", encoding="utf-8").write(new)
    assert not wrong, "\n\n".join(wrong)
    print("# %s: %d commands" % (path, n), flush=True)


def test_api_page():
    run_page("docs/api.md", "--write" in sys.argv)


def test_auditor_page():
    s = site()
    s.ada.upload()  # there is something sealed
    s.h.verify_log()
    run_page("docs/auditor.md", "--write" in sys.argv)


def test_accounts_page():
    run_page("docs/accounts.md", "--write" in sys.argv)


if __name__ == "__main__":
    try:
        hub.main([test_auditor_page, test_api_page, test_accounts_page])
    finally:
        if hasattr(site, "it"):
            site.it.h.__exit__(None)
