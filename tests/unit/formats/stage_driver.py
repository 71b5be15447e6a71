"""Plays the runner for one stage of sequester-worker, through real pipes, sealed memory and the real messages."""
import os
import re
import signal
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "support"))
import wire  # noqa: E402

import fcntl  # noqa: E402

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
TABLE = wire.Table(os.path.join(ROOT, "src/lib/wire/messages.def"))


def read_stages():
    text = re.sub(r"/\*.*?\*/", " ", open(os.path.join(ROOT, "src/lib/jobs/stages.def"), encoding="utf-8").read(), flags=re.S)
    stages = {}
    for name, no, ports in re.findall(r"SQ_STAGE\(\s*(\w+),\s*(\d+),(?:[^,]*,){4}(.*)\)", text):
        stages[name] = int(no), re.findall(r"PORT\((\w+), (\w+), (\w+)\)", ports)
    return stages


def read_errors():
    text = open(os.path.join(ROOT, "src/lib/core/err.def"), encoding="utf-8").read()
    return {int(no): name for name, no in re.findall(r"^SQ_ERR\((\w+),\s*(\d+),", text, flags=re.M)}


STAGES, ERRORS = read_stages(), read_errors()


class Result:
    def __init__(self):
        self.error, self.why, self.counts, self.out, self.progress, self.exit = None, None, None, {}, [], None


def memory(data):
    fd = os.memfd_create("port", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.write(fd, data) if len(data) < 1 << 20 else os.sendfile(fd, _file_of(data), 0, len(data))
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd


def _file_of(data):
    fd = os.memfd_create("source", os.MFD_CLOEXEC)
    at = 0
    while at < len(data):
        at += os.write(fd, data[at:at + (1 << 24)])
    return fd


def high(fd):
    new = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200)
    os.close(fd)
    return new


def pump_in(fd, data):
    try:
        at = 0
        while at < len(data):
            at += os.write(fd, data[at:at + 65536])
    except BrokenPipeError:
        pass
    finally:
        os.close(fd)


def pump_out(fd, into, name):
    parts = []
    while True:
        part = os.read(fd, 1 << 20)
        if not part:
            break
        parts.append(part)
    os.close(fd)
    into[name] = b"".join(parts)


def run(worker, stage, inputs, max_samples=0, max_variants=0, flags=0, while_running=None, from_bp=0, to_bp=0):
    """@inputs: bytes by port name. A missing OUT is collected in the result's `out`."""
    no, ports = STAGES[stage]
    result, theirs, threads = Result(), [], []
    for name, direction, kind in ports:
        if kind == "MEMORY":
            theirs.append(high(memory(inputs[name])))
            continue
        r, w = os.pipe()
        r, w = high(r), high(w)
        theirs.append(r if direction == "IN" else w)
        if direction == "IN":
            threads.append(threading.Thread(target=pump_in, args=(w, inputs[name]), daemon=True))
        else:
            threads.append(threading.Thread(target=pump_out, args=(r, result.out, name), daemon=True))
    ours, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control_fd = high(os.dup(control.fileno()))

    def to_places():
        os.dup2(control_fd, 3)
        for i, fd in enumerate(theirs):
            os.dup2(fd, 4 + i)
        os.closerange(4 + len(theirs), 1024)

    child = subprocess.Popen([worker], preexec_fn=to_places, close_fds=False, env={}, stderr=subprocess.PIPE)
    control.close()
    for fd in theirs + [control_fd]:
        os.close(fd)
    for t in threads:
        t.start()
    link = wire.Link(TABLE, ours, "runner", "worker")
    try:
        link.hello()
        link.send("work_order", stage=no, panel="panel", population="", max_samples=max_samples, max_variants=max_variants, flags=flags,
                  from_bp=from_bp, to_bp=to_bp)
        if while_running:
            while_running(child)
        while True:
            m = link.recv()
            if m.name == "work_progress":
                result.progress.append((m.done, m.total))
            elif m.name == "work_counts":
                result.counts = m
            elif m.name == "work_failed":
                result.error, result.why = ERRORS[m.code], m
            elif m.name == "work_done":
                result.error = "OK"
    except wire.Down:
        pass
    result.stderr = child.stderr.read()
    child.stderr.close()
    result.exit = child.wait(60)
    for t in threads:
        t.join(60)
    ours.close()
    if result.exit < 0:
        result.error = signal.Signals(-result.exit).name
    return result


def pipeline(worker, upload, panel):
    """All stages; returns (joined result, index, results by stage)."""
    by = {"ingest": run(worker, "ingest", {"upload": upload})}
    if by["ingest"].error == "OK":
        by["qc"] = run(worker, "qc", {"genotypes": by["ingest"].out["genotypes"], "panel": panel})
    if by.get("qc") and by["qc"].error == "OK":
        by["impute"] = run(worker, "impute", {"kept": by["qc"].out["kept"], "panel": panel})
    if by.get("impute") and by["impute"].error == "OK":
        by["finish"] = run(worker, "finish", {"ids": by["ingest"].out["ids"], "index": by["impute"].out["index"]})
    last = list(by.values())[-1]
    if last.error != "OK" or "finish" not in by:
        raise AssertionError("%s failed: %s %r" % (list(by)[-1], last.error, last.why))
    return by["finish"].out["header"] + by["impute"].out["body"], by["finish"].out["final_index"], by
