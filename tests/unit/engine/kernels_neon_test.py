#!/usr/bin/env python3
"""The kernels for 64-bit ARM: built with aarch64-linux-gnu-gcc, every shape run under qemu-aarch64-static, and the same bits as here.

    kernels_neon_test.py SOURCE_ROOT KERNELS_TEST

Needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static; without them its cases are skipped by name.
"""
import os
import sys

ROOT = os.path.abspath(sys.argv[1])
sys.path.insert(0, os.path.join(ROOT, "tests", "unit", "tree"))
import arm64
import tap

SOURCES = ["src/lib/engine/kernels.c", "src/lib/engine/kernels_scalar.c", "src/lib/engine/kernels_neon.c", "tests/unit/engine/kernels_test.c"]
arm64.same_as_here(ROOT, sys.argv[2], SOURCES, ["-O3", "-ffp-contract=off", *arm64.WARNINGS], "ok 6 - the same bits as scalar: neon",
                   ["every shape on 64-bit ARM", "the same bits there as here"])
tap.done()
