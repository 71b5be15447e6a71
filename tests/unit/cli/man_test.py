"""Manual pages and the completion, as `meson install` puts them in place: complete, without a warning of mandoc or groff, and bash completes with them.

man_test.py SEQUESTER ROOT_OF_THE_TREE
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(sys.argv[2], "tests", "unit", "tree"))
import tap

PROGRAM, ROOT = sys.argv[1], sys.argv[2]


def table(path, macro):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return [line.split('"')[1] for line in f.read().split("*/", 1)[1].splitlines() if line.startswith(macro)]


COMMANDS = table("src/cli/commands.def", "SQ_CMD(")
PAGES = COMMANDS + ["sequester", "sequester.ini", "sequester-parent"]


def page(name):
    p = subprocess.run([PROGRAM, "help", "--man", *name.split()], capture_output=True, text=True)
    assert p.returncode == 0, (name, p.stderr)
    return p.stdout


def rendered(text):
    return subprocess.run(["mandoc", "-T", "ascii", "-O", "width=100"], input=text, capture_output=True, text=True).stdout


if not shutil.which("mandoc") or not shutil.which("man"):
    print("1..0 # SKIP mandoc or man-db is not installed")
    sys.exit(0)

with tap.case("mandoc and groff find nothing to warn of in any page") as bad:
    for name in PAGES:
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning"], input=page(name), capture_output=True, text=True)
        if lint.returncode or lint.stdout or lint.stderr:
            bad.append("%s: %s" % (name, lint.stdout + lint.stderr))
        with tempfile.NamedTemporaryFile("w", suffix=".1") as f:
            f.write(page(name))
            f.flush()
            p = subprocess.run(["man", "--warnings", "-l", f.name], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=dict(os.environ, MANWIDTH="80", LC_ALL="C.UTF-8"))
        if p.returncode or p.stderr or len(p.stdout) < 400:
            bad.append("%s: man says %d %s" % (name, p.returncode, p.stderr))

with tap.case("each has the sections that people look for, and what the tables say stands in them") as bad:
    for name in COMMANDS:
        text = re.sub(r".\x08", "", rendered(page(name)))
        for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"):
            if not re.search("^%s$" % section, text, re.M):
                bad.append("%s: no %s" % (name, section))
        help_text = subprocess.run([PROGRAM, *name.split(), "--help"], capture_output=True, text=True).stdout
        for option in re.findall(r"^  (?:-\w, |    )(--[a-z-]+)", help_text, re.M):
            if option not in text:
                bad.append("%s: no %s" % (name, option))
        example = help_text.split("example:\n  ")[1].splitlines()[0]
        if "".join(example.split()) not in "".join(text.split()):
            bad.append("%s: not its example" % name)
        if "`" in text or re.search(r"\\\(|\\-", text):
            bad.append("%s: signs of troff in the text" % name)
    text = re.sub(r".\x08", "", rendered(page("sequester")))
    bad += ["sequester(1) doesn't name " + n for n in COMMANDS if "sequester-%s(1)" % n.replace(" ", "-") not in text]
    keys = re.findall(r"^SQ_KEY\((\w+),", open(os.path.join(ROOT, "src/lib/core/config.def")).read(), re.M)
    text = re.sub(r".\x08", "", rendered(page("sequester.ini")))
    bad += ["sequester.ini(5) doesn't name " + k for k in keys if not re.search(r"^\s+%s \((text|path|number|word|yes or no|URL|mail address|rates)[,)]" % k, text, re.M)]

with tap.case("pages that they refer to are there") as bad:
    known = {"sequester-" + n.replace(" ", "-") for n in COMMANDS} | {"sequester", "sequester.ini", "sequester-parent"}
    for name in PAGES:
        text = re.sub(r".\x08", "", rendered(page(name)))
        bad += ["%s: %s" % (name, n) for n in re.findall(r"\b(sequester[a-z.-]*)\(\d\)", text) if n not in known]

with tap.case("a page that isn't there: exit code 2") as bad:
    if subprocess.run([PROGRAM, "help", "--man", "nosuch"], capture_output=True).returncode != 2:
        bad.append("another code")

with tap.case("bash takes the completion, and completes commands, their second words and options") as bad:
    script = subprocess.run([PROGRAM, "help", "--bash"], capture_output=True, text=True, check=True).stdout

    def complete(*words):
        code = script + "\nCOMP_WORDS=(%s); COMP_CWORD=%d; _sequester; printf '%%s\\n' \"${COMPREPLY[@]}\"\n" % (
            " ".join("'%s'" % w for w in words), len(words) - 1)
        p = subprocess.run(["bash", "-c", code], capture_output=True, text=True, cwd=os.path.join(ROOT, "docs"))
        if p.returncode or p.stderr:
            bad.append("%s: %s" % (words, p.stderr))
        return set(p.stdout.split())
    for words, want in ((("sequester", "up"), {"upload", "uploads"}), (("sequester", "admin", "u"), {"unseal", "user"}), (("sequester", "admin", "user", ""), {"add", "revoke", "disable"}),
                        (("sequester", "claim", "JOB", "--pass"), {"--password-out", "--password-file", "--password-stdin"}),
                        (("sequester", "receipt", "verify", "--vk"), {"--vkey"}), (("sequester", "decrypt", "--password-file", "inst"), {"install.md"}),
                        (("sequester", "impute", "--th"), {"--threads"})):
        got = complete(*words)
        if not want <= got or (words[-1].startswith("--") and got != want):
            bad.append("%s: %s" % (" ".join(words), sorted(got)))

tap.done()
