#!/usr/bin/env python3
"""Erasing, seen from below: file systems in image files, searched byte by byte before and after.

Usage: erase_images.py STORE_TOOL. Needs root, loop devices and the mkfs programs; what is missing is skipped by name.
"""
import ctypes
import mmap
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

TOOL = os.path.abspath(sys.argv[1])
MARKER = b"MARKER-" + bytes(random.choice(b"abcdefghijklmnop") for _ in range(24))
OBJECT = "objects/aa" + "0" * 30 + "/bb" + "0" * 30
os.environ["PATH"] += ":/usr/sbin:/sbin"
results = []


class Skip(Exception):
    pass


def sh(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def tool(where, *args):
    return sh(TOOL, where, *args)


class Image:
    def __init__(self, top, kind, mib, options="", mkfs=()):
        program = "mkfs." + kind
        if not shutil.which(program):
            raise Skip(f"{program} is not installed")
        self.file, self.where = os.path.join(top, "image"), os.path.join(top, "mount")
        self.options = "loop" + ("," + options if options else "")
        if os.path.exists(self.file):
            os.unlink(self.file)
        os.makedirs(self.where, exist_ok=True)
        with open(self.file, "wb") as f:
            f.truncate(mib << 20)
        sh(program, "-q", *mkfs, self.file)

    def __enter__(self):
        done = subprocess.run(["mount", "-o", self.options, self.file, self.where], capture_output=True, text=True)
        if done.returncode:
            raise Skip("mount: " + done.stderr.strip())
        return self

    def __exit__(self, *_):
        sh("umount", self.where)

    def count(self):
        """How often the marker stands in the image. Call it when not mounted."""
        with open(self.file, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
            n, at = 0, m.find(MARKER)
            while at >= 0:
                n, at = n + 1, m.find(MARKER, at + len(MARKER))
            return n


def round_trip(image, n_bytes=8 << 20):
    """Write the marker, look, erase, look. Returns (found before, what erase said, found after)."""
    with image:
        tool(image.where, "put", str(n_bytes), MARKER.decode())
    before = image.count()
    with image:
        said = tool(image.where, "erase").strip()
        assert not os.path.exists(os.path.join(image.where, OBJECT)), "the file is still there"
    return before, said, image.count()


def agree(said, after):
    """The receipt's claim against the raw image: `overwritten-verified` means that nothing is left, and only that claim does."""
    claimed = "method=overwritten-verified" in said
    assert not (claimed and after), f"the receipt says overwritten, {after} markers are left: {said}"
    return claimed


def ext4_unlink_alone(top):
    """The search itself: a file that is only unlinked leaves all of its markers, so a search that finds none means something."""
    image = Image(top, "ext4", 64)
    with image:
        tool(image.where, "put", str(4 << 20), MARKER.decode())
    before = image.count()
    with image:
        os.unlink(os.path.join(image.where, OBJECT))
    after = image.count()
    assert before > 50000 and after > before * 9 // 10, (before, after)


PUNCH = ctypes.CDLL(None, use_errno=True).fallocate  # many thousand times: no program for each
PUNCH.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def fragmented(image, n_bytes):
    """Every second 16 KiB of the image is taken: the object lies in many places."""
    step = 16384
    with image:
        with open(image.where + "/comb", "wb") as f:
            try:
                while True:
                    f.write(b"\xcc" * step)
            except OSError:
                pass
        os.sync()
        with open(image.where + "/comb", "r+b") as f:
            for at in range(0, os.fstat(f.fileno()).st_size, 2 * step):
                assert PUNCH(f.fileno(), 3, at, step) == 0, "FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE"
        os.sync()
        tool(image.where, "put", str(n_bytes), MARKER.decode())
    before = image.count()
    with image:
        said = tool(image.where, "erase").strip()
    after = image.count()
    extents = int(re.search(r"extents=(\d+)", said).group(1))
    assert before > 100000 and extents > 100, (before, said)
    assert agree(said, after), said
    print(f"# {extents} extents")


def ext4_fragmented(top):
    fragmented(Image(top, "ext4", 64, mkfs=("-m", "0")), 12 << 20)


def xfs_fragmented(top):
    fragmented(Image(top, "xfs", 320), 80 << 20)


def changed(image, change):
    """Someone changes the object's file behind our back before it is erased."""
    with image:
        tool(image.where, "put", str(4 << 20), MARKER.decode())
        change(os.path.join(image.where, OBJECT))
        os.sync()
    before = image.count()
    with image:
        said = tool(image.where, "erase").strip()
    after = image.count()
    agree(said, after)
    return before, said, after


def ext4_sparse(top):
    """Holes are filled by the overwriting, so extents differ and the receipt promises less than was done."""
    def punch(path):
        for at in range(65536, 3 << 20, 262144):
            sh("fallocate", "--punch-hole", "--offset", str(at), "--length", "65536", path)
        with open(path, "r+b") as f:
            f.truncate(32 << 20)
            f.seek(24 << 20)
            f.write(MARKER * 10000)
    before, said, after = changed(Image(top, "ext4", 96), punch)
    assert before > 50000 and "method=overwritten-extents-moved" in said, said
    print(f"# {after} markers left: those of the holes' old blocks, which the file had given back")


def ext4_extended(top):
    """Longer than it was sealed, and with blocks reserved behind its end: all of it goes."""
    def extend(path):
        with open(path, "ab") as f:
            f.write(MARKER * 40000)
        sh("fallocate", "--keep-size", "--offset", str(8 << 20), "--length", str(1 << 20), path)
    before, said, after = changed(Image(top, "ext4", 96), extend)
    assert before > 100000 and after == 0, (before, said, after)


def ext4_being_extended(top):
    """Someone goes on writing into the file while it is erased: the receipt may not say that all was overwritten."""
    n_claimed = n_left = 0
    for is_once in (False, True):  # new blocks, one after the other; a few bytes more in the last block, whose place stays
        image = Image(top, "ext4", 128)
        with image:
            tool(image.where, "put", str((48 << 20) + 100), MARKER.decode())
            with open(os.path.join(image.where, OBJECT), "ab", buffering=0) as f:
                eraser = subprocess.Popen([TOOL, image.where, "erase"], stdout=subprocess.PIPE, text=True)
                if is_once:
                    time.sleep(0.03)
                while eraser.poll() is None:
                    f.write(MARKER * (60 if is_once else 200))
                    os.fdatasync(f.fileno())
                    if is_once:
                        break
                said = eraser.communicate()[0]
        after = image.count()
        n_claimed += agree(said, after)
        n_left += after
        assert "method=" in said or "error=EERASE" in said, said
    print(f"# {n_left} markers left, {n_claimed} of 2 claimed to be overwritten")


def ext4(top):
    before, said, after = round_trip(Image(top, "ext4", 64))
    assert before > 100000, before
    assert "method=overwritten-verified passes=3" in said and "moved=0 verified=1 filesystem=ext4 " in said, said
    assert after == 0, f"{after} markers left"


def ext4_data_journal(top):
    before, said, after = round_trip(Image(top, "ext4", 64, "data=journal"))
    assert before > 100000 and "method=crypto-only" in said and "data=journal" in said, said
    assert not agree(said, after)
    print(f"# ext4 data=journal: {after} markers left, as the receipt says")


def ext4_journaled_directory(top):
    image = Image(top, "ext4", 64)
    with image:
        os.mkdir(image.where + "/objects", 0o700)
        try:
            sh("chattr", "+j", image.where + "/objects")
        except RuntimeError:
            raise Skip("chattr +j isn't allowed here (CAP_SYS_RESOURCE)")
        tool(image.where, "put", "1000000", MARKER.decode())
        assert "real=0" in tool(image.where, "state")
        assert "method=crypto-only" in tool(image.where, "erase")


def ext4_full(top):
    image = Image(top, "ext4", 32, mkfs=("-m", "0"))
    with image:
        tool(image.where, "put", str(4 << 20), MARKER.decode())
        with open(image.where + "/filler", "wb", buffering=0) as f:
            for size in (1 << 20, 1 << 10, 1):
                try:
                    while True:
                        f.write(b"\xee" * size)
                except OSError:
                    pass
        assert re.search(r"free=0 ", tool(image.where, "state")), "the image should be full"
        said = tool(image.where, "erase")
        assert "method=overwritten-verified passes=3" in said, said
    assert image.count() == 0


def xfs(top):
    before, said, after = round_trip(Image(top, "xfs", 320))
    assert before > 100000
    assert "method=overwritten-verified passes=3" in said and "filesystem=xfs " in said, said
    assert after == 0, f"{after} markers left"


def xfs_shared_blocks(top):
    """A second file shares the blocks: overwriting writes elsewhere, and that is noticed."""
    image = Image(top, "xfs", 320)
    with image:
        tool(image.where, "put", str(4 << 20), MARKER.decode())
        sh("cp", "--reflink=always", os.path.join(image.where, OBJECT), image.where + "/copy")
        said = tool(image.where, "erase")
        assert "method=overwritten-extents-moved" in said and "moved=1" in said, said
    assert image.count() > 0, "the copy's blocks should still hold the marker"


def btrfs(top):
    before, said, after = round_trip(Image(top, "btrfs", 192))
    assert before > 100000
    assert "method=overwritten-extents-moved" in said and "moved=1" in said and "filesystem=btrfs" in said, said
    print(f"# btrfs: {after} markers left, as the receipt says")


def tmpfs(top):
    where = os.path.join(top, "tmpfs")
    os.makedirs(where)
    sh("mount", "-t", "tmpfs", "-o", "size=4m", "none", where)
    try:
        tool(where, "put", str(2 << 20), MARKER.decode())
        said = tool(where, "erase")
        assert "method=crypto-only passes=3" in said and "extents=0" in said, said
    finally:
        sh("umount", where)


CASES = [ext4_unlink_alone, ext4, ext4_fragmented, ext4_sparse, ext4_extended, ext4_being_extended, ext4_data_journal, ext4_journaled_directory, ext4_full,
         xfs, xfs_fragmented, xfs_shared_blocks, btrfs, tmpfs]
print(f"1..{len(CASES)}")
for number, case in enumerate(CASES, 1):
    top = tempfile.mkdtemp(prefix="erase-images-")
    try:
        if os.geteuid() != 0:
            raise Skip("needs root to mount")
        case(top)
        print(f"ok {number} {case.__name__}")
    except Skip as why:
        print(f"ok {number} {case.__name__} # SKIP {why}")
    except (AssertionError, RuntimeError) as e:
        print(f"not ok {number} {case.__name__}: {e}")
        results.append(case.__name__)
    finally:
        shutil.rmtree(top, ignore_errors=True)
sys.exit(bool(results))
