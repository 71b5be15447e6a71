#!/usr/bin/env python3
"""phase_golden.c for 64-bit ARM: built with aarch64-linux-gnu-gcc and run under qemu-aarch64-static, the digest written down there comes out too.

    phase_golden_neon_test.py SOURCE_ROOT

Needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static; without them its case is skipped by name.
"""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(sys.argv[1])
sys.path.insert(0, os.path.join(ROOT, "tests", "unit", "tree"))
import tap

CC, QEMU = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64-static")
ENGINE = ("crew", "sweep", "typed", "phase", "phase_lines", "phase_order", "phase_pairs", "phase_pool", "phase_rows", "kernels", "kernels_scalar", "kernels_neon")
# those of meson.build
FLAGS = "-std=c17 -O3 -ffp-contract=off -D_GNU_SOURCE -Wno-psabi -Wl,--wrap=sq_kernels".split()
NAME = "phasing on 64-bit ARM gives what it gives here"

if not CC or not QEMU:
    tap.skip(NAME, "gcc-aarch64-linux-gnu or qemu-user-static isn't installed")
else:
    sources = [os.path.join(ROOT, "src", "lib", "engine", name + ".c") for name in ENGINE] + [os.path.join(ROOT, "src", "lib", "core", "err.c")]
    sources += [os.path.join(ROOT, "tests", "unit", "engine", name + ".c") for name in ("phase_golden", "memory_panel")]
    with tempfile.TemporaryDirectory() as d, tap.case(NAME) as bad:
        program = os.path.join(d, "phase_golden")
        made = subprocess.run([CC] + FLAGS + ["-static", "-I" + os.path.join(ROOT, "src"), *sources, "-lm", "-o", program], capture_output=True, text=True)
        there = subprocess.run([QEMU, program, "neon", "3"], capture_output=True, text=True, timeout=600) if not made.returncode else made
        if there.returncode or "ok 1 - the result written down: neon, 3 threads\n" not in there.stdout:
            bad.append((made.stderr + there.stdout + there.stderr)[-3000:])
tap.done()
