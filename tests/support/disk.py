"""What a hub has on its disk, read beside the running processes: rows, files, key slots. And larger targets to upload."""
import contextlib
import os
import re
import shutil
import sqlite3
import subprocess

import hub

SLOT_BYTES, FIRST_SLOT, OBJECT = 256, 8192, 2  # docs/formats/key-slab.md


def state_names():
    text = open(os.path.join(hub.ROOT, "src/lib/db/states.def")).read()
    return {int(n): w for w, n in re.findall(r"SQ_STATE\(object_state, (\w+), (\d+)\)", text)}


def rows(h):
    """{object id: state} of the database."""
    names = state_names()
    db = sqlite3.connect("file:%s?mode=ro" % os.path.join(h.state, "registrar", "registrar.db"), uri=True)
    try:
        return {i.hex(): names[s] for i, s in db.execute("SELECT id, state FROM object")}
    finally:
        db.close()


def slots(h):
    """Ids of the objects whose key is in the slab."""
    slab = open(os.path.join(h.state, "keeper", "slab"), "rb").read()
    return {slab[at + 16:at + 32].hex() for at in range(FIRST_SLOT, len(slab) - SLOT_BYTES + 1, SLOT_BYTES) if slab[at] == OBJECT}


def files(h):
    return {os.path.basename(f) for f in h.objects()}


def settle(h, n_live=None, seconds=30):
    """Waits until rows, files and keys name the same objects, all live; says what is too many or too few. Then the log verifies."""
    def is_settled():
        r = rows(h)
        live = {i for i, s in r.items() if s == "live"}
        left = {i for i, s in r.items() if s not in ("live", "erased")}
        return not left and files(h) == live == slots(h) and n_live in (None, len(live))
    try:
        hub.wait_for("rows, files and keys to agree", is_settled, seconds)
    except AssertionError:
        r = rows(h)
        live = {i for i, s in r.items() if s == "live"}
        raise AssertionError("not settled: %d live; others %r; files without row %r, rows without file %r; keys without row %r, rows without key %r" % (
            len(live), {i: s for i, s in r.items() if s not in ("live", "erased")}, files(h) - live, live - files(h), slots(h) - live, live - slots(h))) from None
    status = h.admin_ok("status")
    assert status["objects_damaged"] == 0 and status["objects_erasing"] == 0, status
    h.verify_log()


def many_samples(times):
    """The target as plain text, its samples repeated under names of their own: for work that takes a while."""
    text = subprocess.run(["bcftools", "view", hub.TARGET], capture_output=True, check=True, text=True).stdout.splitlines()
    out = []
    for line in text:
        if not line.startswith("##"):
            cols = line.split("\t")
            line = "\t".join(cols[:9] + [c + ("-%d" % n if line[0] == "#" else "") for n in range(times) for c in cols[9:]])
        out.append(line)
    return ("\n".join(out) + "\n").encode()


def workers(h):
    """Process ids of the sandboxed programs of this hub."""
    found, jailers = set(), set(h.pids("jailer"))
    for p in os.listdir("/proc"):
        try:
            if p.isdigit() and "worker" in open("/proc/%s/comm" % p).read() and ancestors(p) & jailers:
                found.add(int(p))
        except OSError:
            pass
    return found


def ancestors(pid):
    found = set()
    while pid not in ("0", "1"):
        pid = open("/proc/%s/stat" % pid).read().rsplit(")", 1)[1].split()[1]
        found.add(int(pid))
    return found


class Image:
    """A small ext4 file system of its own, mounted over a directory of a hub that isn't started yet."""

    def __init__(self, where, mib, uid=0):
        self.where, self.file = where, where.rstrip("/") + ".image"
        os.makedirs(where, exist_ok=True)
        st = os.stat(where)
        with open(self.file, "wb") as f:
            f.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-N", "2000", self.file], check=True)
        held = where.rstrip("/") + ".before"
        shutil.copytree(where, held, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "loop", self.file, where], check=True)
        shutil.rmtree(os.path.join(where, "lost+found"))
        for name in os.listdir(held):
            shutil.move(os.path.join(held, name), where)
        shutil.rmtree(held)
        os.chown(where, uid or st.st_uid, uid or st.st_gid)
        os.chmod(where, st.st_mode & 0o7777)

    def fill(self):
        """Until not a byte more goes in; None of it is anyone's reserve."""
        fd = os.open(os.path.join(self.where, "filler"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        os.write(fd, b"\xee" * size)
                        if size == 1 << 20:
                            os.fsync(fd)
        finally:
            os.fsync(fd)
            os.close(fd)
        return self

    def empty(self):
        os.unlink(os.path.join(self.where, "filler"))
        os.sync()

    def done(self):
        subprocess.run(["umount", "-l", self.where], check=False)
        with contextlib.suppress(OSError):
            os.unlink(self.file)
