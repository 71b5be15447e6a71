"""Small run folders of every layout, from a seed: what instruments write, with the oddities that have been seen. Not the truth of any run.

make(folder, kind, ...) writes one; the options are those of Shape. kind: bcl, bclgz, bgzf, cbcl.
"""
import dataclasses
import gzip
import os
import random
import struct
import zlib


@dataclasses.dataclass
class Shape:
    kind: str
    reads: tuple = (12, 4, 4, 12)
    lanes: int = 1
    tiles: tuple = (1101, 1102, 2101)
    clusters: tuple = (37, 64, 0)  # of the tiles in turn: odd, whole words, none
    positions: str = "locs"        # s, locs, clocs, lane
    passed: float = 0.7
    pf_only_after: int = 5         # cbcl
    none_passes: tuple = ()        # tiles
    wide: bool = False             # cbcl: 6 bits a quality
    trailer: bool = True           # cbcl: gzip's checksum and length, and the end mark
    table: bool = True             # bgzf: a .bci beside each cycle
    version: int = 5
    listed: bool = True            # RunInfo lists the tiles
    surface_of: dict = None        # cbcl: tile -> number of its file, when not its first digit
    seed: int = 1


def put(folder, name, data):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)


def bgzf(data, step):
    """Blocks of @step bytes and the empty one; where each begins."""
    out, at = b"", []
    for i in list(range(0, len(data), step)) + [None]:
        part = data[i:i + step] if i is not None else b""
        z = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = z.compress(part) + z.flush()
        at.append(len(out))
        out += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(packed) + 25) + packed
        out += struct.pack("<II", zlib.crc32(part), len(part))
    return out, at


def run_info(s):
    out = '<?xml version="1.0"?>\n<RunInfo Version="%d"><Run Id="240305_T_0007_AX" Number="7"><Flowcell>X</Flowcell><Instrument>T1</Instrument><Date>240305</Date><Reads>' % s.version
    for i, n in enumerate(n for n in s.reads):
        if n:
            out += '<Read Number="%d" NumCycles="%d" IsIndexedRead="%s"/>' % (i + 1, n, "Y" if i in (1, 2) else "N")
    per = [int(str(t)[-2:]) for t in s.tiles]
    out += '</Reads><FlowcellLayout LaneCount="%d" SurfaceCount="2" SwathCount="1" TileCount="%d">' % (s.lanes, max(per))
    if s.listed:
        out += '<TileSet TileNamingConvention="%s"><Tiles>' % ("FourDigit" if s.tiles[0] < 10000 else "FiveDigit")
        out += "".join("<Tile>%d_%d</Tile>" % (lane + 1, t) for lane in range(s.lanes) for t in s.tiles) + "</Tiles></TileSet>"
    return out + "</FlowcellLayout></Run></RunInfo>\n"


BINS = ((0, 0), (1, 11), (2, 25), (3, 37))
WIDE_BINS = tuple((i, (i * 7) % 64) for i in range(64))


def cbcl_file(s, tiles):
    """@tiles: (tile, calls as nibbles 0..15 or, wide, bytes), and whether only those that passed are there"""
    (rows, is_pf_only) = tiles
    bins = WIDE_BINS if s.wide else BINS
    head, blocks = b"", b""
    for tile, nibbles in rows:
        raw = bytes(nibbles) if s.wide else bytes(nibbles[i] | (nibbles[i + 1] if i + 1 < len(nibbles) else 0) << 4 for i in range(0, len(nibbles), 2))
        block = b""
        if raw or not is_pf_only:
            z = zlib.compressobj(6, zlib.DEFLATED, -15)
            body = z.compress(raw) + (z.flush() if s.trailer else z.flush(zlib.Z_SYNC_FLUSH))
            block = b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + body + (struct.pack("<II", zlib.crc32(raw), len(raw)) if s.trailer else b"")
        head += struct.pack("<IIII", tile, len(nibbles), len(raw), len(block))
        blocks += block
    size = 12 + 8 * len(bins) + 4 + len(head) + 1
    return struct.pack("<HIBBI", 1, size, 2, 6 if s.wide else 2, len(bins)) + b"".join(struct.pack("<II", *b) for b in bins) + struct.pack("<I", len(rows)) + head + bytes([is_pf_only]) + blocks


def positions(s, folder, rng, n_of):
    top = "Data/Intensities/"
    def xy(n): return b"".join(struct.pack("<ff", rng.uniform(0, 2047), rng.uniform(0, 20000)) for _ in range(n))
    def locs(data): return struct.pack("<IfI", 1, 1.0, len(data) // 8) + data
    if s.positions == "s":
        put(folder, top + "s.locs", locs(xy(max(n_of.values()))))
    for lane in range(1, s.lanes + 1):
        if s.positions == "lane":
            put(folder, top + "L%03d/s_%d.locs" % (lane, lane), locs(b"".join(xy(n_of[lane, t]) for t in s.tiles)))
        for t in s.tiles:
            if s.positions == "locs":
                put(folder, top + "L%03d/s_%d_%d.locs" % (lane, lane, t), locs(xy(n_of[lane, t])))
            if s.positions == "clocs":
                left, bins = n_of[lane, t], b""
                n_bin = 0
                while left or n_bin < 90:
                    n = min(left, rng.choice((0, 0, 1, 3)))
                    bins += bytes([n]) + rng.randbytes(2 * n)
                    left -= n
                    n_bin += 1
                put(folder, top + "L%03d/s_%d_%d.clocs" % (lane, lane, t), b"\x01" + struct.pack("<I", n_bin) + bins)


def make(folder, kind, **options):
    s = Shape(kind, **options)
    rng = random.Random(s.seed)
    put(folder, "RunInfo.xml", run_info(s))
    put(folder, "RunParameters.xml", "<RunParameters><ApplicationName>made up</ApplicationName><Side>A</Side></RunParameters>")
    n_of = {(lane, t): s.clusters[i % len(s.clusters)] for lane in range(1, s.lanes + 1) for i, t in enumerate(s.tiles)}
    pf = {k: bytes(k[1] not in s.none_passes and rng.random() < s.passed for _ in range(n)) for k, n in n_of.items()}
    positions(s, folder, rng, n_of)
    base = "Data/Intensities/BaseCalls/L%03d/"
    for lane in range(1, s.lanes + 1):
        of_lane = [(lane, t) for t in s.tiles]
        if kind == "bgzf":
            put(folder, base % lane + "s_%d.bci" % lane, b"".join(struct.pack("<II", t, n_of[lane, t]) for t in s.tiles))
            put(folder, base % lane + "s_%d.filter" % lane, struct.pack("<III", 0, 3, sum(n_of[k] for k in of_lane)) + b"".join(pf[k] for k in of_lane))
        else:
            for k in of_lane:
                put(folder, base % lane + "s_%d_%d.filter" % k, struct.pack("<III", 0, 3, n_of[k]) + pf[k])
        for cycle in range(1, sum(s.reads) + 1):
            one_cycle(s, folder, rng, lane, cycle, n_of, pf)
    return s


def one_cycle(s, folder, rng, lane, cycle, n_of, pf):
    base = "Data/Intensities/BaseCalls/L%03d/" % lane
    if s.kind == "cbcl":
        files = {}
        is_pf_only = cycle > s.pf_only_after
        for t in s.tiles:
            k = lane, t
            nibbles = [rng.randrange(256 if s.wide else 16) for _ in range(n_of[k])]
            if is_pf_only:
                nibbles = [v for v, p in zip(nibbles, pf[k]) if p]
            files.setdefault((s.surface_of or {}).get(t, int(str(t)[0])), []).append((t, nibbles))
        for surface, rows in files.items():
            put(folder, base + "C%d.1/L%03d_%d.cbcl" % (cycle, lane, surface), cbcl_file(s, (rows, is_pf_only)))
        return
    calls = {t: bytes(rng.choice((0, 1, 2, 3, *range(8, 164))) for _ in range(n_of[lane, t])) for t in s.tiles}
    if s.kind == "bgzf":
        data = struct.pack("<I", sum(len(c) for c in calls.values())) + b"".join(calls.values())
        step = 29
        packed, at = bgzf(data, step)
        put(folder, base + "%04d.bcl.bgzf" % cycle, packed)
        if s.table:
            begin, places = 4, []
            for t in s.tiles:
                places.append(at[begin // step] << 16 | begin % step)
                begin += len(calls[t])
            put(folder, base + "%04d.bcl.bgzf.bci" % cycle, struct.pack("<II", 0, len(places)) + b"".join(struct.pack("<Q", p) for p in places))
        return
    for t, c in calls.items():
        data = struct.pack("<I", len(c)) + c
        put(folder, base + "C%d.1/s_%d_%d.bcl%s" % (cycle, lane, t, ".gz" if s.kind == "bclgz" else ""),
            gzip.compress(data, 6, mtime=0) if s.kind == "bclgz" else data)
