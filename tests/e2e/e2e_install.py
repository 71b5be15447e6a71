#!/usr/bin/env python3
"""What `meson install` puts where, as docs/install.md says; and a hub that runs from there: programs find each other, through the link in sbin too."""
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import hub  # noqa: E402


def commands():
    text = open(os.path.join(hub.ROOT, "src/cli/commands.def")).read()
    return re.findall(r'^SQ_CMD\("([^"]+)"', text, re.M)


def installed():
    """DESTDIR/usr/local of one install for all tests of this file; where users of their own can pass to."""
    if not hasattr(installed, "it"):
        installed.it = tempfile.mkdtemp(prefix="sequester-install-")
        os.chmod(installed.it, 0o755)
        p = subprocess.run(["meson", "install", "-C", hub.BUILD, "--no-rebuild", "--quiet"], env=dict(os.environ, DESTDIR=installed.it), capture_output=True, text=True)
        assert p.returncode == 0, p.stdout + p.stderr
    return os.path.join(installed.it, "usr", "local")


def files(*path):
    top = os.path.join(installed(), *path)
    return sorted(os.path.relpath(os.path.join(d, f), top) for d, _, names in os.walk(top) for f in names)


def test_the_layout():
    programs = sorted(f for f in os.listdir(hub.BUILD) if re.fullmatch(r"sequester-[a-z]+", f) and os.access(os.path.join(hub.BUILD, f), os.X_OK))
    assert files("bin") == ["sequester"], files("bin")
    assert files("libexec", "sequester") == programs, (files("libexec", "sequester"), programs)
    link = os.path.join(installed(), "sbin", "sequester-parent")
    assert os.path.islink(link) and not os.path.isabs(os.readlink(link)) and os.path.samefile(link, os.path.join(installed(), "libexec/sequester/sequester-parent"))
    pages = ["man1/sequester.1"] + ["man1/sequester-%s.1" % c.replace(" ", "-") for c in commands()] + ["man5/sequester.ini.5", "man8/sequester-parent.8"]
    assert files("share", "man") == sorted(pages), set(pages) ^ set(files("share", "man"))
    docs = files("share", "doc", "sequester")
    assert "README.md" in docs and "docs/install.md" in docs and "docs/openapi.json" in docs and "docs/formats/receipt.md" in docs, docs
    assert files("share", "bash-completion") == ["completions/sequester"]
    top = set(os.listdir(installed()))
    assert top <= {"bin", "sbin", "libexec", "share", "lib"}, top
    for path in files():  # nothing that a group or others may change
        mode = os.stat(os.path.join(installed(), path)).st_mode
        assert not mode & 0o022, path


def test_links_between_installed_pages():
    top = os.path.join(installed(), "share", "doc", "sequester")
    for page in files("share", "doc", "sequester"):
        if page.endswith(".md"):
            for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", open(os.path.join(top, page)).read()):
                inside = os.path.normpath(os.path.join(os.path.dirname(page), target))
                if "://" not in target and not inside.startswith(("src/", "tests/", "bench/", "tools/", "deploy/")):
                    assert os.path.exists(os.path.join(top, inside)), (page, target)


def test_programs_find_each_other():
    cli = os.path.join(installed(), "bin", "sequester")
    p = subprocess.run([cli, "panel", "verify", hub.panel_file()], capture_output=True, text=True)
    assert p.returncode == 0 and "haplotypes" in p.stdout, p
    here = os.path.join(installed(), "elsewhere")
    os.symlink(cli, here)  # a link from anywhere
    try:
        assert subprocess.run([here, "panel", "verify", hub.panel_file()], capture_output=True).returncode == 0
    finally:
        os.unlink(here)
    lost = os.path.join(installed(), "lost")
    subprocess.run(["cp", cli, lost], check=True)
    try:
        p = subprocess.run([lost, "panel", "verify", hub.panel_file()], capture_output=True, text=True)
        assert p.returncode == 1 and "sequester-worker" in p.stderr, p
    finally:
        os.unlink(lost)


def test_a_hub_runs_from_there():
    h = hub.Hub()
    h.programs = os.path.join(installed(), "sbin")
    with h:
        for role in hub.ROLES:
            exe = os.readlink("/proc/%d/exe" % h.pid(role))
            assert exe.startswith(os.path.join(installed(), "libexec", "sequester")), exe
        h.panel()
        ada = h.user("ada")
        ada.run_job(ada.upload()["id"], mode="qc")


if __name__ == "__main__":
    try:
        hub.main([test_the_layout, test_links_between_installed_pages, test_programs_find_each_other, test_a_hub_runs_from_there])
    finally:
        if hasattr(installed, "it"):
            subprocess.run(["rm", "-rf", installed.it])
