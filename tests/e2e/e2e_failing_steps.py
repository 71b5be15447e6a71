#!/usr/bin/env python3
"""The steps of e2e_faults.py once more: each fails with an error in place of a death, so no restart clears anything up.

Arguments: names of faults, to try only these.
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import e2e_faults as steps  # noqa: E402
import hub  # noqa: E402


def test_registrar_fails():
    steps.run(steps.REGISTRAR, steps.EIO)


def test_claim_and_download_fail():
    steps.run(steps.CLAIM, steps.EIO)


def test_storer_fails():
    steps.run(steps.STORER, steps.EIO)


def test_keeper_fails():
    steps.run(steps.KEEPER, steps.EIO)


def test_log_fails():
    """A failed sync leaves the log's end unknown: registrar starts anew and writes that end again."""
    steps.run(steps.LOG, steps.EIO)


def test_runner_and_gateway_fail():
    steps.run(steps.RUNNER, steps.EIO)


if __name__ == "__main__":
    hub.main([test_registrar_fails, test_claim_and_download_fail, test_storer_fails, test_keeper_fails, test_log_fails, test_runner_and_gateway_fail])
