#!/usr/bin/env python3
"""phase_golden.c for 64-bit ARM: built with aarch64-linux-gnu-gcc and run under qemu-aarch64-static, the digest written down there comes out too.

    phase_golden_neon_test.py SOURCE_ROOT

Needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static; without them its case is skipped by name.
"""
import os
import sys

ROOT = os.path.abspath(sys.argv[1])
sys.path.insert(0, os.path.join(ROOT, "tests", "unit", "tree"))
import arm64
import tap

ENGINE = ("crew", "sweep", "typed", "phase", "phase_lines", "phase_order", "phase_pairs", "phase_pool", "phase_rows", "kernels", "kernels_scalar", "kernels_neon")
SOURCES = ["src/lib/engine/%s.c" % name for name in ENGINE] + ["src/lib/core/err.c", "tests/unit/engine/phase_golden.c", "tests/unit/engine/memory_panel.c"]
NAME = "phasing on 64-bit ARM gives what it gives here"

if arm64.can(NAME):
    with tap.case(NAME) as bad:
        there = arm64.run(ROOT, SOURCES, ["-O3", "-ffp-contract=off", "-Wno-psabi", "-Wl,--wrap=sq_kernels"], "neon", "3")
        if there.returncode or "ok 2 - the result written down: many samples, neon, 3 threads\n" not in there.stdout:
            bad.append(there.said)
tap.done()
