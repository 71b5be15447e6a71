"""InterOp files of every documented version, from a seed, and the records they hold as runs_tool prints them.

make(folder, tiles, reads, new) writes a set as old (MiSeq: tile numbers of 16 bits) or new instruments do; files(...) single ones by version.
"""
import os
import random
import struct

BINS = ((1, 11, 9), (12, 24, 20), (25, 34, 31), (35, 50, 40))


def f32(v):
    return struct.unpack("<f", struct.pack("<f", v))[0]


def g(v):
    return "%.6g" % f32(v)


class Writer:
    """One file: .data, and .lines that runs_tool interop prints of it."""

    def __init__(self, name, version):
        self.name, self.version, self.data, self.lines = name, version, bytes([version]), []

    def head(self, size, more=b"", size_bytes=1):
        self.data += size.to_bytes(size_bytes, "little") + more

    def add(self, key, body, text, wide, cycle=None, read=0):
        lane, tile = key
        self.data += struct.pack("<HI" if wide else "<HH", lane, tile) + (struct.pack("<H", cycle) if cycle else b"") + body
        self.lines.append("%s %d: %d %d %d %d%s" % (self.name, self.version, lane, tile, cycle or 0, read, text))


def quality(name, version, keys, rng, base=None):
    w = Writer(name, version)
    wide, n = version >= 7, 50 if version <= 5 else 4
    bins = b""
    if version >= 7:
        bins = bytes([1, 4]) + b"".join(bytes(b) for b in BINS)
    elif version >= 5:
        bins = bytes([1, 4]) + b"".join(bytes(b[i] for b in BINS) for i in range(3))
    w.head((8 if wide else 6) + 4 * n, bins, 2 if version == 9 else 1)
    for key, cycle in keys:
        if version == 4:
            counts = [rng.randrange(30000) for _ in range(50)]
            shown = [(i + 1, c) for i, c in enumerate(counts)]
        else:
            four = [rng.randrange(300000) for _ in BINS]
            shown = [(b[2], c) for b, c in zip(BINS, four)]
            counts = four
            if version == 5:
                counts = [0] * 50
                for value, c in shown:
                    counts[value - 1] = c
        w.add(key, struct.pack("<%dI" % len(counts), *counts), "".join(" %d:%d" % s for s in shown), wide, cycle)
    return w


def tile(version, tiles, n_read, rng, missing=()):
    w = Writer("TileMetrics", version)
    if version == 2:
        w.head(10)
        for key in tiles:
            n = rng.randrange(200000, 900000)
            pf = int(n * rng.uniform(0.5, 0.95))
            rows = [(100, n * 1.7), (101, pf * 1.7), (102, n), (103, pf)]
            for r in range(n_read):
                if (key, r) not in missing and rng.random() < 0.2:
                    rows += [(200 + 2 * r, 0), (201 + 2 * r, 0)]
                elif (key, r) not in missing:
                    rows += [(200 + 2 * r, rng.uniform(0.0001, 0.003)), (201 + 2 * r, rng.uniform(0.0001, 0.003)), (300 + r, rng.uniform(0.1, 20))]
            for code, v in rows:
                w.add(key, struct.pack("<Hf", code, v), " %d %s 0 0 0" % (code, g(v)), False)
        return w
    w.head(15, struct.pack("<f", 2.5))
    for key in tiles:
        n = rng.randrange(200000, 900000)
        pf = int(n * rng.uniform(0.5, 0.95))
        w.add(key, b"t" + struct.pack("<ff", n, pf), " 116 0 %s %s 0" % (g(n), g(pf)), True)
        for r in range(n_read):
            v = rng.uniform(0.1, 20)
            if (key, r) not in missing:
                w.add(key, b"r" + struct.pack("<If", r + 1, v), " 114 0 0 0 %s" % g(v), True, read=r + 1)
    return w


def extended(version, tiles, rng):
    w = Writer("ExtendedTileMetrics", version)
    w.head({1: 8, 2: 10, 3: 18}[version])
    for key in tiles:
        v = rng.randrange(500000, 900000)
        w.add(key, struct.pack("<f", v) + (struct.pack("<ff", 1, 2) if version == 3 else b""), " " + g(v), version > 1)
    return w


def extraction(version, keys, rng):
    w = Writer("ExtractionMetrics", version)
    n = 4 if version == 2 else 2
    w.head(38 if version == 2 else 8 + 6 * n, b"" if version == 2 else bytes([n]))
    for key, cycle in keys:
        focus, peak = [rng.uniform(1, 3) for _ in range(n)], [rng.randrange(50, 3000) for _ in range(n)]
        w.add(key, struct.pack("<%df%dH" % (n, n), *focus, *peak) + (struct.pack("<Q", 637 << 50) if version == 2 else b""),
              "".join(" %s/%d" % (g(f), p) for f, p in zip(focus, peak)), version == 3, cycle)
    return w


def corrected(version, keys, rng):
    w = Writer("CorrectedIntMetrics", version)
    w.head({2: 48, 3: 34, 4: 28}[version])
    for key, cycle in keys:
        mean, cor, called, calls, sn = rng.randrange(900), [rng.randrange(900) for _ in range(4)], [rng.randrange(900) for _ in range(4)], [rng.randrange(90000) for _ in range(5)], rng.uniform(1, 20)
        body = struct.pack("<5I", *calls)
        if version == 3:
            body = struct.pack("<4H", *called) + body
        if version == 2:
            body = struct.pack("<H4H4H", mean, *cor, *called) + body + struct.pack("<f", sn)
        else:
            mean, cor, sn = 0, [0] * 4, 0
        if version == 4:
            called = [0] * 4
        w.add(key, body, "".join(" %d" % c for c in calls) + " %d %s" % (mean, g(sn)) + "".join(" %d/%d" % p for p in zip(called, cor)), version == 4, cycle)
    return w


def error(version, keys, rng):
    w = Writer("ErrorMetrics", version)
    n = 3
    w.head({3: 30, 4: 12, 5: 16, 6: 12 + 4 * n}[version], struct.pack("<HH", n, 5) + b"ACGTA" * n if version == 6 else b"")
    for key, cycle in keys:
        rate, adapter = rng.uniform(0.01, 3), rng.uniform(0, 1)
        body = struct.pack("<f", rate) + {3: struct.pack("<5I", 9, 4, 3, 2, 1), 4: b"", 5: struct.pack("<f", adapter), 6: struct.pack("<3f", 1, 2, 3)}[version]
        w.add(key, body, " %s %s" % (g(rate), g(adapter) if version == 5 else "0"), version >= 4, cycle)
    return w


def phasing(version, keys, rng):
    w = Writer("EmpiricalPhasingMetrics", version)
    w.head({1: 14, 2: 16}[version])
    for key, cycle in keys:
        a, b = rng.uniform(0, 0.002), rng.uniform(0, 0.002)
        w.add(key, struct.pack("<ff", a, b), " %s %s" % (g(a), g(b)), version == 2, cycle)
    return w


def weights(version, tiles, reads, cycles, rng):
    """Phasing as it grows along each read, a line of its own for each tile with some noise; a tile or two without, some records missing."""
    w = Writer("EmpiricalPhasingMetrics", version)
    w.head({1: 14, 2: 16}[version])
    lines = {(t, r): [(rng.uniform(-0.02, 0.2), rng.uniform(-0.5, 2)) for _ in range(2)] for t in tiles for r in range(len(reads))}
    without = set(rng.sample(tiles, len(tiles) // 4))
    at = 0
    for r, (n, _) in enumerate(reads):
        for cycle in range(at + 1, min(at + n, cycles) + 1):
            for t in tiles:
                if t not in without and rng.random() < 0.98:
                    v = [s * (cycle - at) + o + rng.gauss(0, 0.05) for s, o in lines[t, r]]
                    w.add(t, struct.pack("<ff", *v), "".join(" " + g(x) for x in v), version == 2, cycle)
        at += n
    return w


def image(version, keys, rng):
    w = Writer("ImageMetrics", version)
    n = 1 if version == 1 else 2
    w.head({1: 12, 2: 6 + 4 * n, 3: 8 + 4 * n}[version], b"" if version == 1 else bytes([n]))
    for key, cycle in keys:
        low, high = [rng.randrange(500) for _ in range(n)], [rng.randrange(500, 5000) for _ in range(n)]
        body = (struct.pack("<H", 2) if version == 1 else b"") + struct.pack("<%dH" % (2 * n), *low, *high)
        w.add(key, body, "".join(" %d/%d" % p for p in zip(low, high)), version == 3, cycle, 3 if version == 1 else 0)
    return w


def index(version, tiles, read, samples, rng, wide_join="-"):
    w = Writer("IndexMetrics", version)
    for key in tiles:
        for sample, project, i7, i5 in samples:
            n, name = rng.randrange(100, 90000), i7 + (wide_join + i5 if i5 else "")
            text = b"".join(struct.pack("<H", len(s)) + s.encode() for s in (sample, project))
            w.data += struct.pack("<HIH" if version == 2 else "<HHH", *key, read) + struct.pack("<H", len(name)) + name.encode()
            w.data += struct.pack("<Q" if version == 2 else "<I", n) + text
            w.lines.append("IndexMetrics %d: %d %d 0 %d %s %d %s %s" % (version, *key, read, name, n, sample, project))
    return w


def q2030(version, keys, rng):
    w = Writer("QMetrics2030", version)
    w.head(22)
    for key, cycle in keys:
        v = [rng.randrange(90000) for _ in range(4)]
        w.add(key, struct.pack("<4I", *v), "".join(" %d" % x for x in v), False, cycle)
    return w


def put(folder, w, name=None):
    os.makedirs(os.path.join(folder, "InterOp"), exist_ok=True)
    with open(os.path.join(folder, "InterOp", (name or w.name) + "Out.bin"), "wb") as f:
        f.write(w.data)


def run_info(reads, lanes, tiles, surfaces=2):
    out = '<?xml version="1.0"?>\n<RunInfo Version="4"><Run Id="r" Number="1"><Flowcell>F</Flowcell><Instrument>I</Instrument><Date>240305</Date><Reads>'
    out += "".join('<Read Number="%d" NumCycles="%d" IsIndexedRead="%s"/>' % (i + 1, n, "Y" if is_index else "N") for i, (n, is_index) in enumerate(reads))
    out += '</Reads><FlowcellLayout LaneCount="%d" SurfaceCount="%d" SwathCount="1" TileCount="%d"><TileSet TileNamingConvention="FourDigit"><Tiles>' % (lanes, surfaces, len(tiles))
    out += "".join("<Tile>%d_%d</Tile>" % t for t in tiles)
    return out + "</Tiles></TileSet></FlowcellLayout><ImageChannels><Name>Red</Name><Name>Green</Name></ImageChannels></Run></RunInfo>\n"


def make(folder, seed, new, reads=((12, False), (8, True), (8, True), (110, False)), lanes=2, per_lane=4, cycles=None, surfaces=2, empty=(), phases=None):
    """A set for the tables: @cycles of the run are done (all). @phases: with phasing metrics (as instruments of that age have them)."""
    rng = random.Random(seed)
    os.makedirs(folder, exist_ok=True)
    tiles = [(lane, s * 1000 + 101 + k) for lane in range(1, lanes + 1) for s in range(1, surfaces + 1) for k in range(per_lane // surfaces)]
    with open(os.path.join(folder, "RunInfo.xml"), "w") as f:
        f.write(run_info(reads, lanes, tiles, surfaces))
    total = sum(n for n, _ in reads)
    keys = [(t, c) for c in range(1, (cycles or total) + 1) for t in tiles]
    missing = {(t, r) for t in tiles for r in range(len(reads)) if rng.random() < 0.15}
    not_index = []
    at = 0
    for n, is_index in reads:
        not_index += [] if is_index else range(at + 1, at + n + 1)
        at += n
    errors = [(t, c) for t, c in keys if c in not_index and rng.random() < 0.97]
    samples = [("S%d" % i, "P%d" % (i % 2), "ACGT"[i % 4] * 6, "TGCA"[i // 4 % 4] * 6) for i in range(6)]
    written = [
        tile(3 if new else 2, tiles, len(reads), rng, missing), quality("QMetrics", 7 if new else 4, keys, rng), error(5 if new else 3, errors, rng),
        extraction(3 if new else 2, keys, rng), index(2 if new else 1, tiles, 2, samples, rng)]
    if new:
        written.append(extended(3, tiles, rng))
        written.append(corrected(4, keys, rng))
    else:
        written.append(corrected(2, keys, rng))
    if new if phases is None else phases:
        written.append(weights(2 if new else 1, tiles, reads, cycles or total, rng))
    for w in written:
        if w.name not in empty:
            put(folder, w)
    return written
