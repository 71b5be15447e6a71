#!/usr/bin/env python3
"""An independent verifier of the audit log, written from docs/formats/audit-log.md alone.

    audit.py DIR VKEY [NOTE_FILE]

Prints one finding a line, `kind first last signed`, then a verdict line. Exit 0: verifies, 1: does not, 2: can't read.
Roots are computed by the recursion of RFC 9162 section 2.1.1 over all leaves: slow, and nothing like the C code.
Needs Python 3 and python3-cryptography (Ed25519).
"""
import base64
import binascii
import hashlib
import os
import re
import struct
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EMPTY = hashlib.sha256(b"").digest()
ZERO = bytes(32)


def leaf_hash(entry):
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def subtree(leaves, lo, hi):
    """MTH(D[lo:hi]); complete subtrees are remembered, leaves are only ever appended."""
    n = hi - lo
    if n == 0:
        return EMPTY
    if n == 1:
        return leaves[lo]
    key = (lo, hi) if n & (n - 1) == 0 else None
    if key in leaves.memo:
        return leaves.memo[key]
    k = 1
    while 2 * k < n:
        k *= 2
    h = node_hash(subtree(leaves, lo, lo + k), subtree(leaves, lo + k, hi))
    if key:
        leaves.memo[key] = h
    return h


class Leaves(list):
    def __init__(self):
        super().__init__()
        self.memo = {}


def strict_b64(text):
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not canonical base64")
    return raw


def is_name(name):
    return 0 < len(name) < 128 and all(0x21 <= ord(c) <= 0x7E and c != "+" for c in name)


def key_id(name, public):
    return hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]


class Key:
    def __init__(self, vkey):
        self.name, id_hex, rest = vkey.split("+", 2)
        raw = strict_b64(rest)
        if not is_name(self.name) or not re.fullmatch("[0-9a-f]{8}", id_hex) or len(raw) != 33 or raw[0] != 1:
            raise ValueError("bad vkey")
        self.id = bytes.fromhex(id_hex)
        if key_id(self.name, raw[1:]) != self.id:
            raise ValueError("vkey: wrong key id")
        self.public = Ed25519PublicKey.from_public_bytes(raw[1:])

    def open_checkpoint(self, note):
        """(size, root) of a signed note, as bytes; ValueError otherwise."""
        body = self.open_note(note)
        return self.head(body)

    def open_note(self, note):
        """Text of a note that this key signed; ValueError otherwise."""
        text = note.decode("utf-8")
        if any((ord(c) < 0x20 and c != "\n") or ord(c) == 0x7F for c in text) or not text.endswith("\n"):
            raise ValueError("control bytes")
        cut = text.rindex("\n\n")
        body, sigs = text[: cut + 1], text[cut + 2 :]
        if not sigs:
            raise ValueError("no signatures")
        lines = sigs[:-1].split("\n")
        n_good = 0
        if len(lines) > 32:
            raise ValueError("too many signatures")
        for line in lines:
            m = re.fullmatch("\u2014 ([^ +]+) ([A-Za-z0-9+/=]+)", line)
            raw = strict_b64(m.group(2)) if m else b""
            if len(raw) < 5:
                raise ValueError("bad signature line")
            if m.group(1) != self.name or raw[:4] != self.id:
                continue
            try:
                self.public.verify(raw[4:], body.encode())
            except InvalidSignature:
                raise ValueError("wrong signature")
            n_good += 1
        if not n_good:
            raise ValueError("not signed by the key")
        return body

    def head(self, body):
        origin, size, root, rest = body.split("\n")
        if rest or origin != self.name or not re.fullmatch("0|[1-9][0-9]{0,19}", size) or int(size) >= 1 << 64:
            raise ValueError("bad checkpoint")
        root = strict_b64(root)
        if len(root) != 32:
            raise ValueError("bad root")
        return int(size), root


def records(data):
    """Each complete record of the checkpoints file, without its closing empty line."""
    start = at = 0
    after_sig = False
    while True:
        end = data.find(b"\n", at)
        if end < 0:
            return
        line = data[at:end]
        if not line and after_sig:
            yield data[start:at]
            start = end + 1
            after_sig = False
        else:
            after_sig = line.startswith("\u2014 ".encode())
        at = end + 1


def number_of(entry):
    """Number and time of a canonical entry; None when it isn't canonical."""
    if not 96 <= len(entry) <= 8448:
        return None
    version, role, _event, _result, n_field, zero, number, time = struct.unpack_from("<BBHHBBQQ", entry)
    if version != 1 or role > 6 or n_field > 8 or zero or number == 0 or time >= 1 << 63:
        return None
    at, before = 96, 0
    for _ in range(n_field):
        if at + 20 > len(entry):
            return None
        no, n = struct.unpack_from("<HH", entry, at)
        at += 20 + n
        if no <= before or not 1 <= n <= 1024 or at > len(entry):
            return None
        if no == 100 and (n != 32 or any(entry[at - n - 16:at - n])):
            return None
        before = no
    return number if at == len(entry) else None


def popcount(n):
    return bin(n).count("1")


class Tree:
    def __init__(self, path):
        try:
            with open(path, "rb") as f:
                raw = f.read()
        except FileNotFoundError:
            raw = b""
        self.hash = [raw[i : i + 32] for i in range(0, len(raw) - 31, 32)]
        self.n_leaf = 0
        while 2 * (self.n_leaf + 1) - popcount(self.n_leaf + 1) <= len(self.hash):
            self.n_leaf += 1
        while self.n_leaf and self.leaf(self.n_leaf) == ZERO:
            self.n_leaf -= 1

    def node(self, level, index):
        m = ((index + 1) << level) - 1
        at = 2 * m - popcount(m) + level
        return self.hash[at] if at < len(self.hash) else None

    def leaf(self, number):
        return self.node(0, number - 1)


def change_of(key, note):
    """(from, to, size) of a key change that this key signed; None otherwise."""
    try:
        m = re.fullmatch(r"sequester-key-change/v1\nfrom (\S+)\nto (\S+)\nentries (0|[1-9][0-9]*)\ntime \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", key.open_note(note))
    except (ValueError, binascii.Error):
        return None
    return (m.group(1), m.group(2), int(m.group(3))) if m else None


def keys_from(path, vkey):
    """[(key, largest size that it may have signed)]: docs/formats/audit-log.md, "Keys that were replaced"."""
    try:
        with open(os.path.join(path, "keys"), "rb") as f:
            notes = list(records(f.read()))
    except FileNotFoundError:
        notes = []
    chain = [[vkey, 1 << 64]]
    while True:
        steps = [c for c in (change_of(Key(chain[-1][0]), n) for n in notes) if c and c[0] == chain[-1][0]]
        if len(steps) != 1 or steps[0][1] in [v for v, _ in chain]:
            break
        chain[-1][1] = steps[0][2]
        chain.append([steps[0][1], 1 << 64])
    newest = chain[-1][0]
    for c in (change_of(Key(newest), n) for n in notes):
        if c and c[0] != newest and c[0] not in [v for v, _ in chain]:
            chain.append([c[0], c[2]])
    return [(Key(v), size) for v, size in chain]


class Verifier:
    def __init__(self, path, vkey, kept=None):
        self.path = path
        self.keys = keys_from(path, vkey)
        self.findings = []
        self.heads = []
        self.n_checkpoint = 0
        self.signed = 0
        self.torn = 0
        self.n_entry = 0
        self.leaves = Leaves()
        self.expected = 1
        self.unsure = 0
        self.differs = 0
        self.node_differs = 0
        self.roots_over = False
        self.tree_over = False
        self.end_unreadable = False
        self.missing = set()
        self.read_checkpoints()
        if kept is not None:
            self.heads.append(self.open_checkpoint(kept))
            self.heads.sort(key=lambda h: h[0])
        self.largest = max([h[0] for h in self.heads], default=0)
        self.tree = Tree(os.path.join(path, "tree"))

    def open_checkpoint(self, note):
        for key, last_size in self.keys:
            try:
                size, root = key.open_checkpoint(note)
            except ValueError:
                continue
            if size <= last_size:
                return size, root
        raise ValueError("signed by none of the keys")

    def found(self, kind, first, last, signed=0):
        self.findings.append((kind, first, last, signed))

    def read_checkpoints(self):
        try:
            with open(os.path.join(self.path, "checkpoints"), "rb") as f:
                data = f.read()
        except FileNotFoundError:
            data = b""
        for no, note in enumerate(records(data), 1):
            try:
                size, root = self.open_checkpoint(note)
                if (self.heads and size < self.heads[-1][0]) or (size == 0 and root != EMPTY):
                    raise ValueError("order")
            except (ValueError, binascii.Error):
                self.found("checkpoint", no, no)
                continue
            self.n_checkpoint += 1
            self.heads.append((size, root))

    def be_unsure(self, number):
        self.unsure = min(self.unsure or number, number)

    def gap(self, first, last):
        self.missing.update(range(first, last + 1))
        self.be_unsure(first)

    def join(self, leaf):
        if self.unsure:
            return
        self.leaves.append(leaf)
        size = len(self.leaves)
        known = self.tree.leaf(size) if size <= self.tree.n_leaf else None
        if known is None or known == ZERO:
            self.tree_over = True
        if not self.tree_over and not self.differs:
            if known != leaf:
                self.differs = size
            elif not self.node_differs:
                level = 0
                while size >> level & 1 == 0:
                    level += 1
                for k in range(1, level + 1):
                    if self.tree.node(k, (size >> k) - 1) != subtree(self.leaves, size - (1 << k), size):
                        self.node_differs = size
        for head_size, root in self.heads:
            if head_size != size or self.roots_over:
                continue
            if subtree(self.leaves, 0, size) == root:
                self.signed = size
                bad = [x for x in (self.differs, self.node_differs) if x]
                if bad:
                    self.found("tree", min(bad), min(bad), size)
            else:
                if self.differs:
                    self.found("rewritten", self.differs, self.differs, size)
                else:
                    self.found("rewritten", self.signed + 1, size, size)
                self.roots_over = self.tree_over = True
            self.differs = self.node_differs = 0

    def segment(self, data, is_last):
        at = 16
        while at < len(data):
            cut = wrong = False
            entry = stored = b""
            if at + 4 > len(data):
                cut = True
            else:
                (n,) = struct.unpack_from("<I", data, at)
                if not 96 <= n <= 8448:
                    wrong = True
                elif at + 4 + n + 32 > len(data):
                    cut = True
                else:
                    entry, stored = data[at + 4 : at + 4 + n], data[at + 4 + n : at + 36 + n]
            is_whole = not cut and not wrong and leaf_hash(entry) == stored
            if not is_whole and is_last and self.expected > self.largest and self.expected > self.tree.n_leaf:
                self.torn = len(data) - at
                return
            if cut and is_last:
                return
            if cut or wrong:
                self.found("unreadable", self.expected, self.expected)
                self.be_unsure(self.expected)
                self.end_unreadable = is_last
                return
            at += 36 + len(entry)
            self.frame(entry, stored)

    def frame(self, entry, stored):
        leaf = leaf_hash(entry)
        number = number_of(entry)
        if leaf != stored:
            self.found("changed", self.expected, self.expected)
            known = self.tree.leaf(self.expected) if self.expected <= self.tree.n_leaf else None
            leaf = leaf if leaf == known else stored
        elif number is None:
            self.found("unreadable", self.expected, self.expected)
        else:
            self.n_entry += 1
            if number < self.expected:
                self.found("moved", number, number)
                self.missing.discard(number)
                self.be_unsure(number)
                return
            if number > self.expected:
                self.gap(self.expected, number - 1)
                self.expected = number
        self.expected += 1
        self.join(leaf)

    def run(self):
        log = os.path.join(self.path, "log")
        names = sorted(x for x in os.listdir(log) if re.fullmatch(r"[0-9]{8}\.seg", x) and int(x[:8]))
        for i, name in enumerate(names):
            is_last = i + 1 == len(names)
            with open(os.path.join(log, name), "rb") as f:
                data = f.read()
            first = struct.unpack_from("<Q", data, 8)[0] if len(data) >= 16 and data[:8] == b"SQAUDIT\x01" else 0
            if not first:
                if not is_last or len(data) > 16:
                    self.found("segment", self.expected, self.expected)
                continue
            if first < self.expected:
                self.found("segment", self.expected, self.expected)
            if first > self.expected:
                self.gap(self.expected, first - 1)
                self.expected = first
            self.segment(data, is_last)
        missing = sorted(self.missing)
        while missing:
            n = 1
            while n < len(missing) and missing[n] == missing[0] + n:
                n += 1
            self.found("dropped", missing[0], missing[n - 1])
            missing = missing[n:]
        if self.differs:
            self.found("rewritten", self.differs, self.differs)
        elif self.node_differs:
            self.found("tree", self.node_differs, self.node_differs)
        if not self.end_unreadable:
            if self.largest >= self.expected:
                self.found("truncated", self.expected, self.largest, self.largest)
            elif self.tree.n_leaf >= self.expected:
                self.found("truncated", self.expected, self.tree.n_leaf)
        return not self.findings


def main(argv):
    if len(argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 2
    kept = None
    if len(argv) == 4:
        with open(argv[3], "rb") as f:
            kept = f.read()
    v = Verifier(argv[1], argv[2], kept)
    is_good = v.run()
    for finding in v.findings[:32]:
        print(*finding)
    root = subtree(v.leaves, 0, len(v.leaves)).hex() if is_good else "-"
    print(f"{'OK' if is_good else 'BAD'} entries={v.n_entry} checkpoints={v.n_checkpoint} signed={v.signed} "
          f"torn={v.torn} root={root}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
