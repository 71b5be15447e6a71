"""Tests in C that are built for 64-bit ARM too and run under qemu-aarch64-static: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user-static."""
import os
import re
import shutil
import subprocess
import tempfile

import tap

CC, QEMU = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64-static")
# those of meson.build
WARNINGS = ("-Wall -Wextra -Werror -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wvla -Wundef -Wformat=2 -Wpedantic "
            "-Wno-unused-parameter -fstack-protector-strong").split()


def can(*names):
    """False: the cases @names are skipped, for something isn't installed."""
    if CC and QEMU:
        return True
    for name in names:
        tap.skip(name, "gcc-aarch64-linux-gnu or qemu-user-static isn't installed")
    return False


def run(root, sources, flags, *args):
    """What the program of @sources (paths beneath @root) says with @args; its exit code isn't 0 too when it couldn't be built."""
    with tempfile.TemporaryDirectory() as d:
        program = os.path.join(d, "program")
        made = subprocess.run([CC, "-std=c17", "-D_GNU_SOURCE", *flags, "-static", "-I" + os.path.join(root, "src"), *(os.path.join(root, s) for s in sources),
                               "-lm", "-lpthread", "-o", program], capture_output=True, text=True)
        p = subprocess.run([QEMU, program, *args], capture_output=True, text=True, timeout=600) if not made.returncode else made
        p.said = (made.stderr + p.stdout + p.stderr)[-3000:]
        return p


def digest(text):
    found = re.search(r"digest ([0-9a-f]{16})", text)
    return found.group(1) if found else "none"


def same_as_here(root, native, sources, flags, line, names):
    """Two cases, @names: there it says @line; and its digest is that of @native."""
    if not can(*names):
        return
    there = run(root, sources, flags)
    with tap.case(names[0]) as bad:
        if there.returncode or line not in there.stdout:
            bad.append(there.said)
    with tap.case(names[1]) as bad:
        here = subprocess.run([native], capture_output=True, text=True)
        if digest(there.stdout) == "none" or digest(there.stdout) != digest(here.stdout):
            bad.append("here %s, there %s" % (digest(here.stdout), digest(there.stdout)))
