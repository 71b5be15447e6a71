"""Panel files (.sqp), read from docs/formats/panel.md alone: slow, obvious, no line shared with src.

Panel(bytes) checks frames and lengths and gives records, genotypes as they were in the VCF, and haplotypes as the engine sees them.
For tests that break files on purpose, a Panel can be changed piece by piece and written again (`bytes_again`). Frames are packed and unpacked
by the zstd program.
"""
import binascii
import struct
import subprocess
import tempfile

MAGIC = b"\x89SQP\r\n\x1a\n"
BASES = "ACGT"


class Bad(Exception):
    pass


def want(ok, what):
    if not ok:
        raise Bad(what)


def unzstd(frame):
    r = subprocess.run(["zstd", "-dcq"], input=frame, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    want(r.returncode == 0, "zstd: " + r.stderr.decode())
    return r.stdout


def zstd(raw):
    """A frame with content size and checksum, which the program writes for files."""
    with tempfile.NamedTemporaryFile() as f:
        f.write(raw)
        f.flush()
        return subprocess.run(["zstd", "-9cq", "--check", f.name], stdout=subprocess.PIPE, check=True).stdout


class Column:
    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, n):
        want(self.at + n <= len(self.data), "a column ends early")
        self.at += n
        return self.data[self.at - n:self.at]

    def varint(self):
        v = shift = 0
        while True:
            b = self.bytes(1)[0]
            v |= (b & 127) << shift
            shift += 7
            if b < 128:
                want(b or shift == 7, "a varint isn't in its shortest form")
                return v

    def string(self):
        return self.bytes(self.varint())

    def end(self):
        want(self.at == len(self.data), "something is left over")


def varint(v):
    out = bytearray()
    while v >= 128:
        out.append(v & 127 | 128)
        v >>= 7
    out.append(v)
    return bytes(out)


def string(b):
    return varint(len(b)) + b


SITES = ("position", "alleles", "text", "an", "ac", "id_kind", "id_text")
HAPS = ("patterns", "classes", "lengths", "special")


class Pack:
    """One pack: what the directory says of it, and its columns, unpacked."""


def columns(raw, n_block, names):
    c = Column(raw)
    rows = list(c.bytes(n_block))
    length = [c.varint() for _ in names]
    out = {name: c.bytes(n) for name, n in zip(names, length)}
    c.end()
    return rows, out


def columns_again(rows, cols, names):
    return bytes(rows) + b"".join(varint(len(cols[n])) for n in names) + b"".join(cols[n] for n in names)


class Panel:
    def __init__(self, data):
        want(data[:8] == MAGIC and data[8:16] == struct.pack("<II", 1, 0), "header")
        foot = data[-32:]
        at, packed, n, size, crc = struct.unpack("<QIIQI", foot[:28])
        want(foot[28:] == b"SQPE" and size == len(data) and crc == binascii.crc32(foot[:24]) and at + packed + 32 == size, "footer")
        raw = unzstd(data[at:at + packed])
        want(len(raw) == n, "length of the directory")
        self.packs = []
        self.read_directory(Column(raw), data, at)

    # ---- directory ----

    def read_directory(self, c, data, end):
        self.chrom, self.build = c.string().decode(), c.string().decode()
        (self.contig_bp, self.n_sample, self.n_record, self.n_row, self.n_block, n_pack, n_segment, self.n_missing, self.n_without_alt,
         self.n_pattern, self.n_run, self.n_haploid) = [c.varint() for _ in range(12)]
        self.n_col = 2 * self.n_sample
        self.flags = c.bytes(1)[0]
        bits = c.bytes((self.n_sample + 7) // 8) if self.flags & 8 else bytes((self.n_sample + 7) // 8)
        self.haploid = [bits[i // 8] >> i % 8 & 1 for i in range(self.n_sample)]
        self.labels = [c.string().decode() for _ in range(c.varint())] if self.flags & 4 else []
        self.population = list(c.bytes(self.n_sample)) if self.flags & 4 else [0] * self.n_sample
        self.segments = [c.varint() for _ in range(n_segment)]
        place, last = 16, 0
        for _ in range(n_pack):
            p = Pack()
            p.n_block, p.n_record, p.n_row = c.varint(), c.varint(), c.varint()
            p.first_bp = last + c.varint()
            last = p.last_bp = p.first_bp + c.varint()
            for which, names in (("sites", SITES), ("haps", HAPS)):
                packed, n, check = c.varint(), c.varint(), c.bytes(4)
                frame = data[place:place + packed]
                place += packed
                want(frame[-4:] == check, "checksum of a frame")
                raw = unzstd(frame)
                want(len(raw) == n, "length of a frame")
                rows, cols = columns(raw, p.n_block, names)
                want(which == "sites" or rows == p.rows, "both frames have the same rows")
                p.rows = rows
                setattr(p, which, cols)
            want(sum(p.rows) == p.n_row, "rows of a pack")
            self.packs.append(p)
        self.map = self.read_map(c) if self.flags & 1 else None
        self.names = None
        if self.flags & 2:
            packed, n, check = c.varint(), c.varint(), c.bytes(4)
            raw = Column(unzstd(data[place:place + packed]))
            place += packed
            self.names = [raw.string().decode() for _ in range(self.n_sample)]
            raw.end()
        c.end()
        want(place == end, "frames lie end to end")

    def read_map(self, c):
        n, self.origin, digits = c.varint(), struct.unpack("<d", c.bytes(8))[0], c.bytes(1)[0]
        self.digits = digits
        pos, cm = [], []
        for i in range(n):
            pos.append((pos[-1] if i else 0) + c.varint())
        if digits == 255:
            return list(zip(pos, [struct.unpack("<d", c.bytes(8))[0] for _ in range(n)]))
        for i in range(n):
            v = c.varint()
            cm.append(cm[-1] + v if i else (-(v + 1) // 2 if v & 1 else v // 2))
        return list(zip(pos, [v / 10 ** digits for v in cm]))

    # ---- records ----

    def records(self):
        """(pos, id, ref, [alt], an, [ac]) of each record, in order."""
        for p in self.packs:
            c = {name: Column(p.sites[name]) for name in SITES}
            pos = p.first_bp
            for _ in range(p.n_record):
                pos += c["position"].varint()
                kind = c["alleles"].bytes(1)[0]
                if kind < 16:
                    ref, alts = BASES[kind // 4], [BASES[kind % 4]]
                else:
                    ref = c["text"].string().decode()
                    alts = [c["text"].string().decode() for _ in range(1 if kind == 16 else c["text"].varint())]
                an = self.n_col - c["an"].varint()
                ac = [c["ac"].varint() for _ in alts]
                kind = c["id_kind"].bytes(1)[0]
                prefix = c["id_text"].string().decode() if kind else ""
                name = [".", prefix, prefix + str(pos), "%s%d:%s:%s" % (prefix, pos, ref, ",".join(alts)), prefix][kind]
                if kind == 1:
                    name += str(c["id_text"].varint())
                yield pos, name, ref, alts, an, ac
            want(pos == p.last_bp, "last position of a pack")
            for column in c.values():
                column.end()

    # ---- haplotypes ----

    def rows(self):
        """(bits of all columns as the engine has them, set of missing columns, set of haploid samples, order at the block's start) of each row."""
        pack = iter(self.packs)
        for n_pack in self.segments:
            order, haploid = list(range(self.n_col)), set()
            for _ in range(n_pack):
                p = next(pack)
                c = {name: Column(p.haps[name]) for name in HAPS}
                for n_row in p.rows:
                    patterns = self.read_patterns(c["patterns"], n_row)
                    classes = [c["classes"].varint() for _ in range(c["classes"].varint())]
                    of_place = [k for k in classes for _ in range(c["lengths"].varint() + 1)]
                    want(len(of_place) == self.n_col, "runs make up the columns")
                    pattern_of = {column: patterns[k] for column, k in zip(order, of_place)}
                    changes, missing = self.read_special(c["special"], n_row)
                    for r in range(n_row):
                        for s in changes[r]:
                            haploid ^= {s}
                        yield [pattern_of[i] >> r & 1 for i in range(self.n_col)], missing[r], set(haploid), order
                    order = [column for _, column in sorted(zip(of_place, order), key=lambda x: x[0])]
                for column in c.values():
                    column.end()

    @staticmethod
    def read_patterns(c, n_row):
        out = []
        for _ in range(c.varint()):
            x = bit = 0
            for _ in range(c.varint()):
                bit += c.varint()
                x |= 1 << bit
            out.append(x)
        want(out == sorted(set(out)) and out[-1] < 1 << n_row, "patterns ascend")
        return out

    @staticmethod
    def read_special(c, n_row):
        changes, missing = [set() for _ in range(n_row)], [set() for _ in range(n_row)]
        row = 0
        for _ in range(c.varint()):
            row += c.varint()
            changes[row].add(c.varint())
        row = end = 0
        for _ in range(c.varint()):
            by, first = c.varint(), c.varint()
            end = first if by else end + first
            row += by
            n = c.varint()
            missing[row].update(range(end, end + n))
            end += n
        return changes, missing

    def lines(self):
        """Records as VCF has them: (pos, id, ref, alts, [GT])."""
        rows = self.rows()
        for pos, name, ref, alts, an, ac in self.records():
            allele = [0] * self.n_col
            for k in range(len(alts)):
                bits, missing, haploid, _ = next(rows)
                for i, b in enumerate(bits):
                    if b:
                        allele[i] = k + 1
            word = ["." if i in missing else str(a) for i, a in enumerate(allele)]
            gt = [word[2 * s] if s in haploid else word[2 * s] + "|" + word[2 * s + 1] for s in range(self.n_sample)]
            seen = [a for g in gt for a in g.split("|") if a != "."]
            want(an == len(seen) and ac == [seen.count(str(k + 1)) for k in range(len(alts))], "AC and AN")
            yield pos, name, ref, alts, gt

    # ---- written again, right or wrong ----

    def bytes_again(self, version=1, frames=None, directory=None, footer=None):
        body, entries, last = b"", b"", 0
        for i, p in enumerate(self.packs):
            entries += varint(p.n_block) + varint(p.n_record) + varint(p.n_row) + varint(p.first_bp - last) + varint(p.last_bp - p.first_bp)
            last = p.last_bp
            for which, names in (("sites", SITES), ("haps", HAPS)):
                raw = columns_again(getattr(p, which + "_rows", p.rows), getattr(p, which), names) + getattr(p, which + "_more", b"")
                frame = zstd(raw)
                entries += varint(len(frame)) + varint(len(raw)) + frame[-4:]
                body += frame
        names = b""
        if self.names is not None:
            raw = b"".join(string(n.encode()) for n in self.names)
            frame = zstd(raw)
            body += frame
            names = varint(len(frame)) + varint(len(raw)) + frame[-4:]
        raw = string(self.chrom.encode()) + string(self.build.encode())
        raw += b"".join(varint(v) for v in (self.contig_bp, self.n_sample, self.n_record, self.n_row, self.n_block, len(self.packs), len(self.segments),
                                            self.n_missing, self.n_without_alt, self.n_pattern, self.n_run, self.n_haploid))
        raw += bytes([self.flags])
        if self.flags & 8:
            bits = bytearray((len(self.haploid) + 7) // 8)
            for i, h in enumerate(self.haploid):
                bits[i // 8] |= h << i % 8
            raw += bytes(bits)
        if self.flags & 4:
            raw += varint(len(self.labels)) + b"".join(string(n.encode()) for n in self.labels) + bytes(self.population)
        raw += b"".join(varint(n) for n in self.segments) + entries + self.map_again() + names
        if directory:
            raw = directory(raw)
        frame = zstd(raw)
        head = MAGIC + struct.pack("<II", version, 0)
        foot = struct.pack("<QIIQ", 16 + len(body), len(frame), len(raw), 16 + len(body) + len(frame) + 32)
        foot += struct.pack("<I", binascii.crc32(foot)) + b"SQPE"
        return head + body + frame + (footer(foot) if footer else foot)

    def map_again(self):
        if not self.flags & 1:
            return b""
        out = varint(len(self.map)) + struct.pack("<d", self.origin) + bytes([self.digits])
        last = 0
        for pos, _ in self.map:
            out += varint(pos - last)
            last = pos
        if self.digits == 255:
            return out + b"".join(struct.pack("<d", cm) for _, cm in self.map)
        last = None
        for _, cm in self.map:
            v = round(cm * 10 ** self.digits)
            out += varint(v - last) if last is not None else varint(-2 * v - 1 if v < 0 else 2 * v)
            last = v
        return out
