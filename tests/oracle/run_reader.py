"""A slow, obvious reader of run folders, written from the byte tables alone: what lib/runs says is held against it.

reads(folder) gives (lane, tile, cluster, x, y, bases, qualities) of each cluster that passed; calls(...) the calls of one cycle of one tile as
(base, quality) bytes, quality 0 being N.
"""
import gzip
import math
import os
import struct
import xml.etree.ElementTree as xml
import zlib


def slurp(path):
    with open(path, "rb") as f:
        return f.read()


class Run:
    def __init__(self, folder):
        self.folder = folder
        self.root = xml.parse(os.path.join(folder, "RunInfo.xml")).getroot()
        self.cycles = sum(int(r.get("NumCycles")) for r in self.root.iter("Read"))
        self.base = os.path.join(folder, "Data/Intensities/BaseCalls")
        self.tiles = [tuple(int(n) for n in t.text.split("_")) for t in self.root.iter("Tile")]
        if not self.tiles:
            layout = next(self.root.iter("FlowcellLayout"))
            count = [int(layout.get(k)) for k in ("SurfaceCount", "SwathCount", "TileCount")]
            lanes = [int(d[1:]) for d in sorted(os.listdir(self.base)) if d[0] == "L"]
            self.tiles = [(lane, 1000 * s + 100 * w + t) for lane in lanes for s in range(1, count[0] + 1) for w in range(1, count[1] + 1)
                          for t in range(1, count[2] + 1)]
        self.index = {}
        for lane in {lane for lane, _ in self.tiles}:
            path = self.path("L%03d/s_%d.bci" % (lane, lane))
            if os.path.exists(path):
                at, rows = 0, []
                for tile, n in struct.iter_unpack("<II", slurp(path)):
                    rows.append((tile, at, n))
                    at += n
                self.index[lane] = rows
        if self.index:
            self.tiles = [(lane, tile) for lane in sorted(self.index) for tile, _, _ in self.index[lane]]

    def path(self, name):
        return os.path.join(self.base, name)

    def of_lane(self, lane, tile):
        return next((at, n) for t, at, n in self.index[lane] if t == tile)

    def calls(self, lane, tile, cycle):
        """(calls, only those that passed)"""
        for end in ("", ".gz"):
            path = self.path("L%03d/C%d.1/s_%d_%d.bcl%s" % (lane, cycle, lane, tile, end))
            if os.path.exists(path):
                data = gzip.decompress(slurp(path)) if end else slurp(path)
                n = struct.unpack_from("<I", data)[0]
                assert len(data) == 4 + n
                return bytes(b if b >> 2 else 0 for b in data[4:]), False
        path = self.path("L%03d/%04d.bcl.bgzf" % (lane, cycle))
        if os.path.exists(path):
            data = gzip.decompress(slurp(path))
            at, n = self.of_lane(lane, tile)
            return bytes(b if b >> 2 else 0 for b in data[4 + at:4 + at + n]), False
        for surface in range(1, 4):
            path = self.path("L%03d/C%d.1/L%03d_%d.cbcl" % (lane, cycle, lane, surface))
            found = self.of_cbcl(path, tile) if os.path.exists(path) else None
            if found:
                return found
        raise FileNotFoundError("lane %d tile %d cycle %d" % (lane, tile, cycle))

    @staticmethod
    def of_cbcl(path, tile):
        data = slurp(path)
        version, head, bits_base, bits_q, n_bin = struct.unpack_from("<HIBBI", data)
        assert (version, bits_base) == (1, 2) and bits_q in (2, 6)
        bins = dict(struct.unpack_from("<II", data, 12 + 8 * i) for i in range(n_bin))
        at = 12 + 8 * n_bin
        n_tile = struct.unpack_from("<I", data, at)[0]
        rows = [struct.unpack_from("<IIII", data, at + 4 + 16 * i) for i in range(n_tile)]
        flag = data[at + 4 + 16 * n_tile]
        start = head
        for number, n, raw, packed in rows:
            if number == tile:
                if not raw:
                    return b"", bool(flag)
                block = zlib.decompressobj(-15).decompress(data[start + 10:start + packed], raw)
                assert len(block) == raw == ((n + 1) // 2 if bits_q == 2 else n)
                nibbles = [x for b in block for x in (b & 15, b >> 4)][:n] if bits_q == 2 else block
                return bytes(bins[x >> 2] << 2 | x & 3 if bins[x >> 2] else 0 for x in nibbles), bool(flag)
            start += packed
        return None

    def passed(self, lane, tile):
        if lane in self.index:
            at, n = self.of_lane(lane, tile)
            return [b & 1 for b in slurp(self.path("L%03d/s_%d.filter" % (lane, lane)))[12 + at:12 + at + n]]
        return [b & 1 for b in slurp(self.path("L%03d/s_%d_%d.filter" % (lane, lane, tile)))[12:]]

    def positions(self, lane, tile):
        top = os.path.join(self.folder, "Data/Intensities")
        for name, at in (("s.locs", 0), ("L%03d/s_%d_%d.locs" % (lane, lane, tile), 0), ("L%03d/s_%d.locs" % (lane, lane), 1)):
            path = os.path.join(top, name)
            if os.path.exists(path):
                skip, n = self.of_lane(lane, tile) if at else (0, None)
                data = slurp(path)[12 + 8 * skip:]
                return [tuple(math.floor(10 * v + 1000.5) for v in xy) for xy in struct.iter_unpack("<ff", data if n is None else data[:8 * n])]
        data = slurp(os.path.join(top, "L%03d/s_%d_%d.clocs" % (lane, lane, tile)))
        at, out = 5, []
        for b in range(struct.unpack_from("<I", data, 1)[0]):
            n = data[at]
            for i in range(n):
                dx, dy = data[at + 1 + 2 * i:at + 3 + 2 * i]
                out.append((250 * (b % 82) + dx + 1000, 250 * (b // 82) + dy + 1000))
            at += 1 + 2 * n
        return out

    def reads(self, cycles=None):
        for lane, tile in self.tiles:
            passed, xy = self.passed(lane, tile), self.positions(lane, tile)
            keep = [i for i, p in enumerate(passed) if p]
            rows = []
            for cycle in range(1, (cycles or self.cycles) + 1):
                got, is_pf_only = self.calls(lane, tile, cycle)
                rows.append(got if is_pf_only else bytes(got[i] for i in keep))
                assert len(rows[-1]) == len(keep), (lane, tile, cycle)
            for k, i in enumerate(keep):
                one = [r[k] for r in rows]
                yield (lane, tile, i, *xy[i], "".join("ACGT"[c & 3] if c else "N" for c in one), "".join(chr(33 + (c >> 2)) if c else "#" for c in one))
