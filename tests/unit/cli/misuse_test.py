"""Each command with --help, without arguments, with too many, with an option that isn't there, with files that aren't there: a finished text and the documented exit code.

misuse_test.py SEQUESTER ROOT_OF_THE_TREE
"""
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(sys.argv[2], "tests", "unit", "tree"))
import tap

PROGRAM, ROOT = os.path.abspath(sys.argv[1]), sys.argv[2]
ROW = re.compile(r'^SQ_CMD\("([^"]+)", (\w+), "[^"]*", (\d+), (\d+), "([^"]*)", "([^"]*)"', re.M)
with open(os.path.join(ROOT, "src/cli/commands.def"), encoding="utf-8") as f:
    COMMANDS = ROW.findall(f.read())
HOME = tempfile.mkdtemp()
ENV = {"PATH": os.environ["PATH"], "HOME": HOME, "LC_ALL": "C.UTF-8"}
NO_WRITE = os.path.join(HOME, "nothing", "here")


def run(*args):
    p = subprocess.run([PROGRAM, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=ENV, cwd=HOME, timeout=300)
    p.command = "sequester " + " ".join(args)
    return p


def finished(p):
    """What is wrong with how the program spoke, or None."""
    err = p.stderr.strip()
    if p.returncode < 0 or p.returncode > 5:
        return "%s: exit %d" % (p.command, p.returncode)
    if p.returncode and not err.startswith(("sequester: ", "usage: ")):
        return "%s: exit %d without a message: %r" % (p.command, p.returncode, err)
    if re.search(r"\(null\)|%[sdz]|SQ_E|\bE[A-Z]{4,}\b|  \S+:\s*$", err):
        return "%s: not finished: %r" % (p.command, err)
    return None


def documented(name, p, exits):
    return None if str(p.returncode) in exits.split() else "%s: exit %d isn't among %s" % (p.command, p.returncode, exits)


with tap.case("--help, before and behind other words: 0, on standard output, nothing on standard error") as bad:
    for name, _, _, _, _, _ in COMMANDS:
        for args in ((*name.split(), "--help"), ("--help", *name.split()), (*name.split(), "x", "y", "--help")):
            p = run(*args)
            if p.returncode or p.stderr or not p.stdout.startswith("usage: sequester " + name):
                bad.append("%s: %d %s" % (p.command, p.returncode, p.stderr))

with tap.case("a slip in a command's name gets the right one; what is far from all gets none") as bad:
    for args, want in ((("imput",), "do you mean sequester impute?"), (("uplaod", "x.vcf.gz"), "do you mean sequester upload?"), (("panel", "buld", "x"), "do you mean sequester panel build?"),
                       (("admin", "user", "ad", "ada"), "do you mean sequester admin user add?"), (("help", "demuks"), "do you mean sequester help demux?"), (("frobnicate",), None),
                       (("x",), None), (("help", "frobnicate"), None), (("é" * 200, "y" * 200, "z" * 200), None)):
        p = run(*args)
        if p.returncode != 2 or "there is no command" not in p.stderr or (want not in p.stderr if want else "do you mean" in p.stderr):
            bad.append("%s: %d %s" % (p.command, p.returncode, p.stderr))

with tap.case("without arguments: a documented code; 2 where something is missing") as bad:
    for name, handler, least, _, _, exits in COMMANDS:
        if name == "init":
            continue
        p = run(*name.split())
        bad += [x for x in (finished(p), documented(name, p, exits)) if x]
        if int(least) and handler != "cmd_local" and p.returncode != 2:
            bad.append("%s: exit %d" % (p.command, p.returncode))

with tap.case("too many arguments, an unknown option, an option of another command, a value missing: 2, and where the help is") as bad:
    for name, handler, _, most, opts, _ in COMMANDS:
        cases = [name.split() + ["--no-such-option"], name.split() + ["--no-such-option=secret"]]
        if handler != "cmd_local":
            cases += [name.split() + ["x"] * (int(most) + 1)]
            if "vkey" not in opts:
                cases += [name.split() + ["--vkey", "x"]]
            if "run_dir" in opts:
                cases += [name.split() + ["--run-dir"]]
        for args in cases:
            p = run(*args)
            if p.returncode != 2 or "help" not in p.stderr and "usage" not in p.stderr or "secret" in p.stdout + p.stderr:
                bad.append("%s: %d %r" % (p.command, p.returncode, p.stderr))
            bad += [x for x in (finished(p),) if x]

with tap.case("garbage as arguments: a documented code and a finished text") as bad:
    for name, handler, least, most, opts, exits in COMMANDS:
        if name in ("init", "help"):
            continue
        for word in ("", "x" * 5000, "../../etc/passwd", "\x1b[31m", "--", "%p%n", NO_WRITE):
            more = ["--run-dir", NO_WRITE] if "run_dir" in opts else ["--session", os.path.join(HOME, "session.json")] if "session" in opts else []
            p = run(*name.split(), *more, *([word] * max(int(least), min(int(most), 1))))
            bad += [x for x in (finished(p), documented(name, p, exits)) if x]
            if "\x1b" in p.stdout + p.stderr:
                bad.append("%s: a control character came back" % name)

with tap.case("words that are no command") as bad:
    for words, want in (((), 2), (("nosuch",), 2), (("admin",), 2), (("admin", "user"), 2), (("admin", "nosuch"), 2), (("audit",), 2), (("--help",), 0), (("help", "admin"), 0),
                        (("help", "nosuch"), 2), (("help", "admin", "user"), 0)):
        p = run(*words)
        if p.returncode != want:
            bad.append("%s: %d" % (p.command, p.returncode))
        bad += [x for x in (finished(p),) if x]
    if "another word" not in run("admin", "user").stderr:
        bad.append("admin user: " + run("admin", "user").stderr)

tap.done()
