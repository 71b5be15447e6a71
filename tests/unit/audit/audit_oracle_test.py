#!/usr/bin/env python3
"""Each kind of damage is found and named, by our verifier and by the independent one, with the same words.

    audit_oracle_test.py AUDIT_TOOL ORACLE GOLDEN_DIR [--make-golden]
"""
import contextlib
import hashlib
import importlib.util
import io
import os
import shutil
import struct
import subprocess
import sys
import tempfile

tool, oracle, golden = sys.argv[1:4]
spec = importlib.util.spec_from_file_location("audit_oracle", oracle)
oracle_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracle_module)
VKEY = ""
n_test = 0
n_failed = 0


def run(*args):
    p = subprocess.run(args, capture_output=True, text=True, timeout=300)
    return p.stdout.splitlines(), p.returncode, p.stderr


def ok(name, good, *why):
    global n_test, n_failed
    n_test += 1
    n_failed += not good
    print(f"{'ok' if good else 'not ok'} {n_test} - {name}")
    if not good:
        for x in why:
            print("#", x)


def make(path, n, segment, *sizes):
    os.makedirs(path)
    out, rc, err = run(tool, "make", path, str(n), str(segment), *map(str, sizes))
    if rc:
        sys.exit(f"Bail out! can't make a log: {err}")
    return out[0]


def verdicts(path, *kept):
    a, rc, err = run(tool, "verify", path, VKEY, *kept)
    if rc:
        a = [err]
    with contextlib.redirect_stdout(io.StringIO()) as text:
        oracle_module.main([oracle, path, VKEY, *kept])
    return a, text.getvalue().splitlines()


def frames(data):
    """(start, end) of each frame of a segment"""
    out, at = [], 16
    while at < len(data):
        n = struct.unpack_from("<I", data, at)[0]
        out.append((at, at + 36 + n))
        at += 36 + n
    return out


def with_hash(entry):
    return struct.pack("<I", len(entry)) + entry + hashlib.sha256(b"\0" + entry).digest()


class Log:
    """A log as lists that a test may tear apart."""

    def __init__(self, path):
        self.path = path
        self.names = sorted(os.listdir(path + "/log"))
        self.segments = []
        for name in self.names:
            data = open(f"{path}/log/{name}", "rb").read()
            self.segments.append([data[a:b] for a, b in frames(data)])
        self.headers = [open(f"{path}/log/{name}", "rb").read(16) for name in self.names]

    def place(self, number):
        for s, seg in enumerate(self.segments):
            for f, frame in enumerate(seg):
                if struct.unpack_from("<Q", frame, 12)[0] == number:
                    return s, f

    def save(self):
        for name, header, seg in zip(self.names, self.headers, self.segments):
            with open(f"{self.path}/log/{name}", "wb") as f:
                f.write(header + b"".join(seg))


def flip(number, at):
    def damage(log):
        s, f = log.place(number)
        b = bytearray(log.segments[s][f])
        b[at] ^= 0x10
        log.segments[s][f] = bytes(b)
    return damage


def drop(*numbers):
    def damage(log):
        for n in numbers:
            s, f = log.place(n)
            del log.segments[s][f]
    return damage


def swap(a, b):
    def damage(log):
        (s, f), (t, g) = log.place(a), log.place(b)
        log.segments[s][f], log.segments[t][g] = log.segments[t][g], log.segments[s][f]
    return damage


def move_behind(a, b):
    def damage(log):
        s, f = log.place(a)
        frame = log.segments[s].pop(f)
        t, g = log.place(b)
        log.segments[t].insert(g + 1, frame)
    return damage


def repeat(a, b):
    def damage(log):
        s, f = log.place(a)
        t, g = log.place(b)
        log.segments[t].insert(g + 1, log.segments[s][f])
    return damage


def edited(frame, number=None, subject=True):
    entry = bytearray(frame[4:-32])
    if subject:
        entry[40] ^= 0xFF
    if number:
        struct.pack_into("<Q", entry, 8, number)
    return with_hash(bytes(entry))


def rewrite(number):
    """by someone who recomputes the hash beside the entry"""
    def damage(log):
        s, f = log.place(number)
        log.segments[s][f] = edited(log.segments[s][f])
    return damage


def drop_and_renumber(number):
    def damage(log):
        s, f = log.place(number)
        del log.segments[s][f]
        next_number = 1
        for k, seg in enumerate(log.segments):
            log.headers[k] = log.headers[k][:8] + struct.pack("<Q", next_number)
            for i in range(len(seg)):
                seg[i] = edited(seg[i], next_number, subject=False)
                next_number += 1
    return damage


def cut_after(number, extra=0):
    def damage(log):
        s, f = log.place(number)
        tail = log.segments[s][f + 1][:extra] if extra else b""
        log.segments[s] = log.segments[s][: f + 1] + [tail]
        for name in log.names[s + 1 :]:
            os.unlink(f"{log.path}/log/{name}")
        log.names = log.names[: s + 1]
    return damage


def rebuild_tree(path):
    """what a careful attacker does too"""
    hashes, peaks = [], []
    for seg in Log(path).segments:
        for frame in seg:
            node, level = frame[-32:], 0
            hashes.append(node)
            while peaks and peaks[-1][0] == level:
                node = hashlib.sha256(b"\1" + peaks.pop()[1] + node).digest()
                hashes.append(node)
                level += 1
            peaks.append((level, node))
    with open(path + "/tree", "wb") as f:
        f.write(b"".join(hashes))


def patch_file(path, at, flip_bit):
    with open(path, "r+b") as f:
        f.seek(at if at >= 0 else os.path.getsize(path) + at)
        where = f.tell()
        b = f.read(1)
        f.seek(where)
        f.write(bytes([b[0] ^ flip_bit]))


def segment_of(path, number):
    log = Log(path)
    s, f = log.place(number)
    return f"{path}/log/{log.names[s]}", f == 0, len(log.segments[s])


with tempfile.TemporaryDirectory() as top:
    if "--make-golden" in sys.argv:
        if os.path.exists(golden):
            sys.exit("golden files are added, never edited")
        vkey = make(golden, 12, 1500, 5, 9)
        os.unlink(golden + "/reserve")
        with open(golden + "/vkey", "w") as f:
            f.write(vkey + "\n")

    base = top + "/base"
    VKEY = make(base, 53, 4000, 10, 20, 40, 50)  # several segments; 51 to 53 are not signed

    def check(name, damage, want, tree=None, after=None, kept=()):
        path = top + "/x"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(base, path)
        if damage:
            log = Log(path)
            damage(log)
            log.save()
        if tree == "gone":
            os.unlink(path + "/tree")
        elif tree == "rebuilt":
            rebuild_tree(path)
        if after:
            after(path)
        ours, theirs = verdicts(path, *kept)
        got = [x for x in ours if not x.startswith(("OK", "BAD"))]
        good = got == want and ours[-1].startswith("BAD" if want else "OK")
        ok(name, good and ours == theirs, f"want {want}", f"ours   {ours}", f"oracle {theirs}")
        if want and kept == () and want[0].split()[0] not in ("checkpoint", "tree"):
            # and the writer doesn't go on over damage that lies in what it looks at, nor repair it away
            run(tool, "open", path)
            again, _ = verdicts(path)
            ok(name + ": opening doesn't hide it", again[: len(want)] == want, f"{again}")

    check("whole", None, [])
    check("whole, tree file lost", None, [], tree="gone")
    # flipped bytes
    check("flipped byte in the content", flip(17, 60), ["changed 17 17 0"])
    check("flipped byte in the first entry", flip(1, 50), ["changed 1 1 0"])
    check("flipped byte in the entry's number", flip(17, 12), ["changed 17 17 0"])
    check("flipped byte in the stored hash", flip(23, -5), ["changed 23 23 0"])
    check("flipped byte in a sealed field", flip(32, -40), ["changed 32 32 0"])
    check("flipped byte, not signed yet", flip(52, 60), ["changed 52 52 0"])
    check("flipped byte in the last entry", flip(53, 60), ["changed 53 53 0"])
    check("flipped byte, tree file lost", flip(17, 60), ["changed 17 17 0"], tree="gone")
    check("two flipped bytes", lambda log: (flip(3, 60)(log), flip(41, 60)(log)), ["changed 3 3 0", "changed 41 41 0"])
    # dropped
    check("dropped entry", drop(17), ["dropped 17 17 0"])
    check("dropped entries", drop(17, 18, 19, 30), ["dropped 17 19 0", "dropped 30 30 0"])
    check("dropped first entry", drop(1), ["dropped 1 1 0"])
    check("dropped, tree file made again", drop(17), ["dropped 17 17 0"], tree="rebuilt")
    check("dropped and all renumbered", drop_and_renumber(17), ["rewritten 17 17 20", "truncated 53 53 0"])
    check("dropped, renumbered, tree file made again", drop_and_renumber(17), ["rewritten 11 20 20"], tree="rebuilt")
    # moved
    check("swapped entries", swap(17, 18), ["moved 17 17 0"])
    check("moved entry", move_behind(17, 30), ["moved 17 17 0"])
    check("repeated entry", repeat(17, 17), ["moved 17 17 0"])
    check("moved across segments", move_behind(2, 45), ["moved 2 2 0"])
    # rewritten
    check("rewritten with its hash", rewrite(17), ["rewritten 17 17 20"])
    check("rewritten with hash and tree file", rewrite(17), ["rewritten 11 20 20"], tree="rebuilt")
    check("rewritten, tree file lost", rewrite(17), ["rewritten 11 20 20"], tree="gone")
    check("rewritten, not signed yet", rewrite(52), ["rewritten 52 52 0"])
    # truncated
    check("truncated below what was signed", cut_after(44), ["truncated 45 50 50"])
    check("truncated within an entry", cut_after(44, 50), ["truncated 45 50 50"])
    check("truncated, tree file made again", cut_after(44), ["truncated 45 50 50"], tree="rebuilt")
    check("truncated above what was signed", cut_after(51), ["truncated 52 53 0"])
    check("the last entry cut short", cut_after(52, 20), ["truncated 53 53 0"])
    check("truncated to nothing", cut_after(1), ["truncated 2 50 50"])

    def lose_segment(path):
        name, _, _ = segment_of(path, 25)
        os.unlink(name)

    log = Log(base)
    s, _ = log.place(25)
    first = struct.unpack_from("<Q", log.segments[s][0], 12)[0]
    last = struct.unpack_from("<Q", log.segments[s][-1], 12)[0]
    check("a segment lost", None, [f"dropped {first} {last} 0"], after=lose_segment)

    def bad_header(path):
        patch_file(segment_of(path, 25)[0], 3, 1)

    check("a segment's header flipped", None, [f"segment {first} {first} 0", f"dropped {first} {last} 0"], after=bad_header)

    def bad_length(path):
        log = Log(path)
        s, f = log.place(25)
        at = 16 + sum(len(x) for x in log.segments[s][:f])
        patch_file(f"{path}/log/{log.names[s]}", at + 3, 0x40)

    check("a length flipped", None, ["unreadable 25 25 0", f"dropped 25 {last} 0"], after=bad_length)
    # torn
    def append(path, data):
        with open(f"{path}/log/{sorted(os.listdir(path + '/log'))[-1]}", "ab") as f:
            f.write(data)

    check("a torn end is no damage", None, [], after=lambda p: append(p, b"\x90\0\0\0half an entry"))
    check("zeros at the end are no damage", None, [], after=lambda p: append(p, bytes(300)))
    # checkpoints
    notes = open(base + "/checkpoints", "rb").read()
    starts = [i for i in range(len(notes)) if notes.startswith(b"log.example/sequester\n", i)]

    def write_notes(data):
        def after(path):
            with open(path + "/checkpoints", "wb") as f:
                f.write(data)
        return after

    second = notes[starts[1] : starts[2]]
    check("a checkpoint's size changed", None, ["checkpoint 2 2 0"],
          after=write_notes(notes.replace(b"\n20\n", b"\n21\n")))
    check("a checkpoint's signature changed", None, ["checkpoint 2 2 0"],
          after=lambda p: patch_file(p + "/checkpoints", starts[2] - 20, 1))
    check("a checkpoint moved back", None, ["checkpoint 5 5 0"], after=write_notes(notes + second))
    check("a checkpoint removed is not seen without a kept one", None, [], after=write_notes(notes[: starts[3]]))
    check("no checkpoints", None, [], after=write_notes(b""))
    check("an unfinished checkpoint", None, [], after=write_notes(notes[:-30]))
    kept = top + "/kept"
    with open(kept, "wb") as f:
        f.write(notes[starts[3] : -1])
    check("a kept checkpoint", None, [], kept=(kept,))
    check("rolled back to an older state, with a kept checkpoint", cut_after(40), ["truncated 41 50 50"], tree="rebuilt",
          after=write_notes(notes[: starts[3]]), kept=(kept,))
    # tree
    check("tree file damaged in a leaf", None, ["tree 1 1 10"], after=lambda p: patch_file(p + "/tree", 5, 1))
    check("tree file damaged in a node", None, ["tree 2 2 10"], after=lambda p: patch_file(p + "/tree", 70, 1))
    check("tree file damaged and unsigned", None, ["rewritten 53 53 0"], after=lambda p: patch_file(p + "/tree", -1, 1))

    # golden bytes: what an older program wrote must be read, and written the same, for ever
    VKEY = open(golden + "/vkey").read().strip()
    new = top + "/new"
    vkey = make(new, 12, 1500, 5, 9)
    ok("golden: key", vkey == VKEY)
    for name in sorted(os.listdir(golden + "/log")):
        same = open(f"{golden}/log/{name}", "rb").read() == open(f"{new}/log/{name}", "rb").read()
        ok(f"golden: log/{name}", same)
    ok("golden: segments", sorted(os.listdir(golden + "/log")) == sorted(os.listdir(new + "/log")))
    for name in ("checkpoints", "tree"):
        ok(f"golden: {name}", open(f"{golden}/{name}", "rb").read() == open(f"{new}/{name}", "rb").read())
    ours, theirs = verdicts(golden)
    ok("golden: verifies", ours == theirs and ours[-1].startswith("OK entries=12 checkpoints=2 signed=9"), ours, theirs)

print(f"1..{n_test}")
sys.exit(1 if n_failed else 0)
