#!/usr/bin/env python3
"""The kernels of runs and demux for 64-bit ARM: built with aarch64-linux-gnu-gcc, every length run under qemu-aarch64-static, and the same bytes as here.

    run_kernels_neon_test.py SOURCE_ROOT RUN_KERNELS_TEST

Needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static; without them its cases are skipped by name.
"""
import os
import sys

ROOT = os.path.abspath(sys.argv[1])
sys.path.insert(0, os.path.join(ROOT, "tests", "unit", "tree"))
import arm64
import tap

FILES = ("runs/call_kernels", "runs/call_kernels_neon", "demux/demux_kernels", "demux/demux_kernels_neon", "demux/fastq_pack", "demux/deflate_codes", "core/err")
SOURCES = ["src/lib/%s.c" % name for name in FILES] + ["tests/unit/demux/run_kernels_test.c"]
arm64.same_as_here(ROOT, sys.argv[2], SOURCES, ["-O2", *arm64.WARNINGS], "ok 2 - kernels of runs and their results: neon",
                   ["every length on 64-bit ARM", "the same bytes there as here"])
tap.done()
