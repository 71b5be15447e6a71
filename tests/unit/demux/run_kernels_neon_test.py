#!/usr/bin/env python3
"""The kernels of runs and demux for 64-bit ARM: built with aarch64-linux-gnu-gcc, every length run under qemu-aarch64-static, and the same bytes as here.

    run_kernels_neon_test.py SOURCE_ROOT RUN_KERNELS_TEST

Needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static; without them its cases are skipped by name.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT, NATIVE = os.path.abspath(sys.argv[1]), sys.argv[2]
sys.path.insert(0, os.path.join(ROOT, "tests", "unit", "tree"))
import tap

CC, QEMU = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64-static")
FILES = ("runs/call_kernels", "runs/call_kernels_neon", "demux/demux_kernels", "demux/demux_kernels_neon", "demux/fastq_pack", "demux/deflate_codes", "core/err")
SOURCES = [os.path.join(ROOT, "src", "lib", name + ".c") for name in FILES]
# those of meson.build
FLAGS = ("-std=c17 -O2 -D_GNU_SOURCE -Wall -Wextra -Werror -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual "
         "-Wvla -Wundef -Wformat=2 -Wpedantic -Wno-unused-parameter -fstack-protector-strong").split()
NAMES = ["every length on 64-bit ARM", "the same bytes there as here"]


def digest(text):
    found = re.search(r"digest ([0-9a-f]{16})", text)
    return found.group(1) if found else "none"


if not CC or not QEMU:
    for name in NAMES:
        with tap.case(name + " # SKIP gcc-aarch64-linux-gnu or qemu-user-static isn't installed") as bad:
            pass
else:
    with tempfile.TemporaryDirectory() as d:
        program = os.path.join(d, "run_kernels_test")
        made = subprocess.run([CC] + FLAGS + ["-static", "-I" + os.path.join(ROOT, "src")] + SOURCES +
                              [os.path.join(ROOT, "tests", "unit", "demux", "run_kernels_test.c"), "-lpthread", "-o", program], capture_output=True, text=True)
        there = subprocess.run([QEMU, program], capture_output=True, text=True, timeout=600) if not made.returncode else made
        with tap.case(NAMES[0]) as bad:
            if there.returncode or "ok 2 - kernels of runs and their results: neon" not in there.stdout:
                bad.append((made.stderr + there.stdout + there.stderr)[-3000:])
        with tap.case(NAMES[1]) as bad:
            here = subprocess.run([NATIVE], capture_output=True, text=True)
            if digest(there.stdout) == "none" or digest(there.stdout) != digest(here.stdout):
                bad.append("here %s, there %s" % (digest(here.stdout), digest(there.stdout)))
tap.done()
