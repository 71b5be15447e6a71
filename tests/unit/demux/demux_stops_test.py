#!/usr/bin/env python3
"""`sequester-worker --local demux` stopped: killed at each step and at any moment, a full disk, damaged input; and what is written while the run goes on.

    demux_stops_test.py WORKER TESTS_DATA SHARED_DATA

Steps are those of demux_step(), of test builds: SQ_DIE_AT=n dies at the n-th, some half done; SQ_STEP_MS slows each down, so that kills by the clock fall between them.
"""
import ctypes
import glob
import gzip
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tree"))
import tap  # noqa: E402

WORKER, DATA, SHARED = sys.argv[1:4]
# in memory when it can be: each checkpoint waits for the disk
TEMP = tempfile.TemporaryDirectory(prefix="demux-stops.", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
RUN = os.path.join(DATA, "runs/sim-cbcl")
BASE = "Data/Intensities/BaseCalls"
N_CYCLE = len(glob.glob(os.path.join(RUN, BASE, "L001/C*.1")))
READ_1, INDEXES = 24, 40  # cycles at which read 1 and the index reads end


def command(run, out, *options):
    return [WORKER, "--local", "demux", run, "-o", out, "-q", "--threads", "2", *options]


def demux(run, out, *options, **env):
    return subprocess.run(command(run, out, *options), capture_output=True, text=True, stdin=subprocess.DEVNULL, env=dict(os.environ, **env), timeout=60)


def everything(folder):
    """each file's bytes; of tables, too: they must be the same, whatever happened"""
    return {os.path.relpath(p, folder): open(p, "rb").read() for p in glob.glob(os.path.join(folder, "**", "*"), recursive=True) if os.path.isfile(p)}


def compare(bad, want, got, what=""):
    for name in sorted(set(want) | set(got)):
        if want.get(name) != got.get(name):
            bad.append("%s%s differs: %s bytes wanted, %s there" % (what, name, len(want[name]) if name in want else "no", len(got[name]) if name in got else "no"))


def fresh(name):
    path = os.path.join(TEMP.name, name)
    if os.path.islink(path):
        os.remove(path)
    shutil.rmtree(path, ignore_errors=True)
    return path


OUT = fresh("whole")
assert demux(RUN, OUT).returncode == 0
BYTES = everything(OUT)


def half_names(out, early=False):
    """files under their final name that aren't whole; reports may be those of an early pass"""
    return [n for n, data in everything(out).items() if not n.endswith(".part") and not n.startswith(".sequester") and not n.startswith("Reports/") and data != BYTES.get(n)]


with tap.case("killed at each of its steps, half way through a write too, the same command goes on and ends with the same bytes") as bad:
    n = 0
    while not bad:
        n += 1
        out = fresh("step")
        p = demux(RUN, out, SQ_DIE_AT=str(n), SQ_CHECKPOINT_MS="-1")
        if p.returncode == 0:
            break
        bad += ["step %d: %s under its name isn't whole" % (n, name) for name in half_names(out)]
        if os.path.exists(os.path.join(out, ".sequester")):
            p = demux(RUN, out, SQ_CHECKPOINT_MS="-1")
            if p.returncode:
                bad.append("step %d: exit %d: %s" % (n, p.returncode, p.stderr))
        compare(bad, BYTES, everything(out), "step %d: " % n)
    if n < 60:
        bad.append("only %d steps" % n)
    print("# %d steps" % n)


def until_done(bad, run, out, rng, options=(), most=200):
    """kills by the clock until it ends by itself; how many there were"""
    n_kill = 0
    for i in range(most):
        p = subprocess.Popen(command(run, out, *options), env=dict(os.environ, SQ_CHECKPOINT_MS="-1", SQ_STEP_MS="1"), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            p.wait(0.01 + rng.random() * (0.04 + 0.01 * i))
        except subprocess.TimeoutExpired:
            p.kill()
            n_kill += 1
        text = p.stderr.read().decode()
        p.stderr.close()
        if p.wait() == 0 or ("isn't empty" in text and not os.path.exists(os.path.join(out, ".sequester"))):
            return n_kill
        if p.returncode > 0:
            bad.append("exit %d: %s" % (p.returncode, text))
            return n_kill
        bad += ["%s under its name isn't whole" % name for name in half_names(out)]
    bad.append("it never ended")
    return n_kill


with tap.case("killed at any moment, again and again, it ends with the same bytes") as bad:
    rng = random.Random(9)
    n_kill = 0
    for turn in range(5):
        out = fresh("random")
        n_kill += until_done(bad, RUN, out, rng)
        compare(bad, BYTES, everything(out), "turn %d: " % turn)
    if n_kill < 15:
        bad.append("only %d kills" % n_kill)
    print("# %d kills" % n_kill)

# ---- a run that goes on


def grow(run, cycles, filters=True, done=False):
    """@run holds the cycles up to @cycles"""
    os.makedirs(os.path.join(run, BASE), exist_ok=True)
    for name in ("RunInfo.xml", "RunParameters.xml", "SampleSheet.csv"):
        shutil.copy(os.path.join(RUN, name), run)
    shutil.copy(os.path.join(RUN, "Data/Intensities/s.locs"), os.path.join(run, "Data/Intensities"))
    for lane in ("L001", "L002"):
        for c in range(1, cycles + 1):
            to = os.path.join(run, BASE, lane, "C%d.1" % c)
            if not os.path.isdir(to):
                shutil.copytree(os.path.join(RUN, BASE, lane, "C%d.1" % c), to)
        for path in glob.glob(os.path.join(RUN, BASE, lane, "*.filter")) if filters else ():
            shutil.copy(path, os.path.join(run, BASE, lane))
    if done:
        for name in ("RTAComplete.txt", "CopyComplete.txt"):
            shutil.copy(os.path.join(RUN, name), run)
    return run


def wait_for(check, p, seconds=200):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not check() and p.poll() is None:
        time.sleep(0.01)
    return check()


def is_first(name):
    return name.endswith("_R1_001.fastq.gz")


FIRST = {n: b for n, b in BYTES.items() if is_first(n)}


def first_is_there(out):
    return {n: b for n, b in everything(out).items() if is_first(n)} == FIRST


with tap.case("read 1 is written when the indexes are in, with reports; read 2 at the end; the bytes are those of a later run") as bad:
    run, out = grow(fresh("live"), INDEXES - 1), fresh("live.out")
    p = subprocess.Popen(command(run, out, "--follow"), stdin=subprocess.DEVNULL)
    time.sleep(1)
    if any(is_first(n) for n in everything(out)):
        bad.append("read 1 was there before the last index cycle")
    grow(run, INDEXES)
    start = time.monotonic()
    if not wait_for(lambda: first_is_there(out) and os.path.exists(os.path.join(out, "Reports/report.html")), p):
        bad.append("read 1 doesn't come after the last index cycle")
    print("# read 1 came after %.1f s" % (time.monotonic() - start))
    got = everything(out)
    if any(n.endswith("_R2_001.fastq.gz") for n in got):
        bad.append("read 2 is there already")
    for name in ("Demultiplex_Stats.csv", "Top_Unknown_Barcodes.csv", "Index_Hopping_Counts.csv", "IndexMetricsOut.bin"):
        compare(bad, {name: BYTES["Reports/" + name]}, {name: got.get("Reports/" + name)}, "early: ")
    j = json.loads(got["Reports/demux.json"])
    if j["is_complete"] or [bool(c["called"]) for c in j["lanes"][0]["cycles"]] != [c < INDEXES for c in range(N_CYCLE)] or "The run goes on" not in got["Reports/report.html"].decode():
        bad.append("reports say that all is there")
    grow(run, N_CYCLE, done=True)
    if p.wait(300):
        bad.append("exit %d" % p.returncode)
    compare(bad, BYTES, everything(out))

with tap.case("filters or positions that come late: read 1 waits for them, nothing is masked meanwhile") as bad:
    for late in ("filter", "locs"):
        run, out = grow(fresh("late"), INDEXES + 2, filters=late != "filter"), fresh("late.out")
        if late == "locs":
            os.remove(os.path.join(run, "Data/Intensities/s.locs"))
        p = subprocess.Popen(command(run, out, "--follow", "--mask-missing"), stdin=subprocess.DEVNULL)
        time.sleep(1.5)
        if any(is_first(n) for n in everything(out)) or p.poll() is not None:
            bad.append("%s: read 1 didn't wait" % late)
        grow(run, INDEXES + 3)
        if not wait_for(lambda: first_is_there(out), p):
            bad.append("%s: read 1 doesn't come" % late)
        grow(run, N_CYCLE, done=True)
        if p.wait(300):
            bad.append("%s: exit %d" % (late, p.returncode))
        compare(bad, BYTES, everything(out), late + ": ")

with tap.case("killed at each step of the early pass, then followed on or run at once, it ends with the same bytes") as bad:
    part, whole = grow(fresh("part"), INDEXES + 2), grow(fresh("all"), N_CYCLE, done=True)
    n = 0
    while not bad:
        n += 1
        out, run = fresh("early"), fresh("run")
        os.symlink(part, run)  # a folder that has grown when it is opened again
        p = subprocess.Popen(command(run, out, "--follow"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             env=dict(os.environ, SQ_CHECKPOINT_MS="-1", SQ_DIE_AT=str(n)))
        is_last = wait_for(lambda: os.path.exists(os.path.join(out, ".sequester/state")) and struct.unpack_from("<Q", open(os.path.join(out, ".sequester/state"), "rb").read(), 32)[0] == 2, p)
        p.kill()
        is_last = p.wait() < 0 and is_last  # it didn't die by itself
        bad += ["step %d: %s under its name isn't whole" % (n, name) for name in half_names(out)]
        os.remove(run)
        os.symlink(whole, run)
        p = demux(run, out, *(["--follow"] if n % 2 else []), SQ_CHECKPOINT_MS="-1")
        if p.returncode:
            bad.append("step %d: exit %d: %s" % (n, p.returncode, p.stderr))
        compare(bad, BYTES, everything(out), "step %d: " % n)
        if is_last:
            break
    if n < 30:
        bad.append("only %d steps" % n)
    print("# %d steps" % n)

with tap.case("a UMI of read 2 stands in the name of read 1: then nothing is written early, and all comes at the end") as bad:
    text = open(os.path.join(RUN, "SampleSheet.csv")).read()
    line = [row for row in text.splitlines() if row.startswith("OverrideCycles,")][0]
    run, out, late = grow(fresh("umi"), INDEXES + 2), fresh("umi.out"), fresh("umi.late")
    with open(os.path.join(run, "SampleSheet.csv"), "w") as f:
        parts = line.split(",")[1].split(";")
        f.write(text.replace(line, "OverrideCycles," + ";".join(parts[:-1] + ["U4Y%d" % (N_CYCLE - INDEXES - 4)])))
    sheet = shutil.copy(os.path.join(run, "SampleSheet.csv"), os.path.join(TEMP.name, "umi.csv"))
    p = subprocess.Popen(command(run, out, "--follow", "--sample-sheet", sheet), stdin=subprocess.DEVNULL)
    time.sleep(1.5)
    if any(is_first(n) for n in everything(out)):
        bad.append("read 1 was written without the UMI of read 2")
    grow(run, N_CYCLE, done=True)
    if p.wait(300):
        bad.append("exit %d" % p.returncode)
    if demux(RUN, late, "--sample-sheet", sheet).returncode:
        bad.append("at once: it fails")
    compare(bad, everything(late), everything(out))

# ---- a full disk


def mount(source, target, kind, flags, data):
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.mount(source, target.encode(), kind, flags, data.encode()) == 0


def on_small_disk(out, kib, *options):
    return subprocess.run(command(RUN, out, *options), capture_output=True, text=True, stdin=subprocess.DEVNULL, env=dict(os.environ, SQ_CHECKPOINT_MS="-1"), timeout=60)


disk = os.path.join(TEMP.name, "disk")
os.makedirs(disk)
if os.getuid() or not mount(b"none", disk, b"tmpfs", 0, "size=64k"):
    tap.skip("a full disk ends the work with a clear sentence; with room again it goes on", "mounting isn't allowed here")
else:
    with tap.case("a full disk ends the work with a clear sentence; with room again it goes on") as bad:
        try:
            out, n_full = os.path.join(disk, "out"), 0
            for kib in list(range(64, 400, 16)) + [20000]:
                if not mount(b"none", disk, b"tmpfs", 32, "size=%dk" % kib):  # MS_REMOUNT
                    bad.append("can't be made larger")
                p = on_small_disk(out, kib)
                if p.returncode == 0:
                    break
                n_full += 1
                if p.returncode != 1 or "the disk is full" not in p.stderr or "store" in p.stderr:
                    bad.append("%d KiB: exit %d: %s" % (kib, p.returncode, p.stderr))
                bad += ["%d KiB: %s under its name isn't whole" % (kib, name) for name in half_names(out)]
            if n_full < 3:
                bad.append("it was full only %d times" % n_full)
            compare(bad, BYTES, everything(out))
            print("# full %d times" % n_full)
        finally:
            subprocess.run(["umount", disk], check=False)

# ---- garbage

with tap.case("damaged runs: an error that names a file, or reads; never anything else") as bad:
    rng = random.Random(11)
    names = [n for n in everything(RUN) if not n.endswith(".txt")]
    n_error = 0
    for turn in range(50):
        run, out = fresh("garbage"), fresh("garbage.out")
        shutil.copytree(RUN, run)
        hit = rng.sample(names, rng.choice((1, 1, 1, 3)))
        for name in hit:
            path = os.path.join(run, name)
            os.chmod(path, 0o644)
            data = bytearray(open(path, "rb").read())
            for _ in range(rng.choice((1, 4, 40))):
                how = rng.randrange(4)
                at = rng.randrange(len(data) + 1)
                if how == 0:
                    data[at:at + 1] = bytes([rng.randrange(256)])
                elif how == 1:
                    data = data[:at]
                elif how == 2:
                    data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
                else:
                    data[at:at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80"))
            with open(path, "wb") as f:
                f.write(data)
        for options in ([], ["--mask-missing"]):
            p = demux(run, out, *options)
            if p.returncode not in (0, 1) or "signal" in p.stderr or (p.returncode and not p.stderr.strip()):
                bad.append("turn %d, %s %s: exit %d: %s" % (turn, hit, options, p.returncode, p.stderr))
            if not options and p.returncode:
                n_error += 1
                if not any(os.path.basename(n) in p.stderr or "sheet" in p.stderr or os.path.basename(n).split(".")[0] in p.stderr or ("filter" in n and "the tile's filter has" in p.stderr) for n in hit):
                    bad.append("turn %d: %s is named nowhere: %s" % (turn, hit, p.stderr))
        for verb in ("check", "summary"):
            p = subprocess.run([WORKER, "--local", "run", verb, run], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=60)
            if p.returncode not in (0, 1) or "signal" in p.stderr:
                bad.append("turn %d, %s, %s: exit %d: %s" % (turn, hit, verb, p.returncode, p.stderr))
    if n_error < 30:
        bad.append("only %d errors" % n_error)
    print("# %d of 50 had an error" % n_error)

tap.done()
