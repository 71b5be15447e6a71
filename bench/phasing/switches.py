"""Switch errors: where a result goes over to the other haplotype.

Counted are pairs of neighbouring genotypes of a sample that are heterozygous and phased in the truth and in the result; so a wrong or missing call is
never counted, for there one of the two isn't heterozygous. Sites are matched by position, REF and ALT, samples by name.

    switch error rate    pairs whose order differs from the truth's, of all pairs
    flip                 two switches one after the other: a single heterozygote the wrong way round
    long                 switches that are in no flip
"""
import numpy as np

import accuracy


class Switches:
    """Counts of one result, or of several put together."""

    def __init__(self, pairs=0, switches=0, flips=0, unphased=0):
        self.pairs, self.switches, self.flips, self.unphased = pairs, switches, flips, unphased

    def __add__(self, other):
        return Switches(self.pairs + other.pairs, self.switches + other.switches, self.flips + other.flips, self.unphased + other.unphased)

    @property
    def rate(self):
        return self.switches / self.pairs if self.pairs else float("nan")

    @property
    def long_rate(self):
        return (self.switches - 2 * self.flips) / self.pairs if self.pairs else float("nan")


def order_of(genotype):
    """1 for 0|1, -1 for 1|0, 2 for a heterozygote without phase, 0 for what doesn't count."""
    first, sep, second = genotype.partition("|")
    if sep:
        return 0 if first == second or "." in genotype else 1 if int(first) < int(second) else -1
    first, sep, second = genotype.partition("/")
    return 2 if sep and first != second and "." not in genotype else 0


def orders(line, n):
    """int8 [n] of a row of genotypes, each with a tab behind it."""
    raw = np.frombuffer(line.encode(), dtype=np.uint8)
    if raw.size == 4 * n:
        raw = raw.reshape(n, 4)
        has = (raw[:, 0] != raw[:, 2]) & (raw[:, 0] != 46) & (raw[:, 2] != 46)
        return np.where(has, np.where(raw[:, 1] == 47, 2, np.where(raw[:, 0] < raw[:, 2], 1, -1)), 0).astype(np.int8)
    return np.array([order_of(g) for g in line.split("\t")[:n]], dtype=np.int8)


def read(path):
    """({(pos, ref, alt): int8 [sample]}, sample names)"""
    names, rows = accuracy.sample_names(path), {}
    for line in accuracy.query(path, "%POS\t%REF\t%ALT\t[%GT\t]\n"):
        pos, ref, alt, genotypes = line.rstrip("\n").split("\t", 3)
        rows[pos, ref, alt] = orders(genotypes, len(names))
    return rows, names


def flips_of(is_switch):
    """How many times two switches stand together: half of each run of them, rounded down."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_switch, [False])).astype(np.int8)))
    return int(((edges[1::2] - edges[::2]) // 2).sum())


def count(truth, result):
    """Switches of the file `result` against the file `truth`."""
    true_rows, true_names = read(truth)
    rows, names = read(result)
    at = {name: i for i, name in enumerate(names)}
    common = [name for name in true_names if name in at]
    t_at, r_at = [true_names.index(n) for n in common], [at[n] for n in common]
    found = Switches()
    keys = [k for k in true_rows if k in rows]
    if not keys or not common:
        return found
    t = np.array([true_rows[k][t_at] for k in keys])
    r = np.array([rows[k][r_at] for k in keys])
    found.unphased = int((r == 2).sum())
    way = np.where((np.abs(t) == 1) & (np.abs(r) == 1), t * r, 0)
    for j in range(len(common)):
        w = way[:, j]
        w = w[w != 0]
        is_switch = w[1:] != w[:-1]
        found.pairs += is_switch.size
        found.switches += int(is_switch.sum())
        found.flips += flips_of(is_switch)
    return found
