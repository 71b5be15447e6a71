#!/usr/bin/env python3
"""score - how accurate is an imputation? Compares dosages with held-out truth, by minor allele frequency of the panel.

    tools/score/score.py --truth TRUTH.vcf.gz --imputed RESULT.vcf.gz --panel REF.bcf [--min-agg R2] [--min-site R2]

Sites are matched by position, REF and ALT, samples by name. Only really imputed sites count: those that the result
marks TYPED or TYPED_ONLY, and those that the panel doesn't have, are left out.
    aggR2   squared correlation of minor-allele dosage (DS) and true count over all sites and samples of the bin
    siteR2  mean of each site's own squared correlation, over sites where the truth varies (constant dosage: 0)
    R2      mean of the R2 that the result claims, over the same sites
Needs Python alone. Exit code 1 when a minimum isn't reached. The panel may be VCF, VCF.gz or BCF.
"""
import argparse
import gzip
import struct
import sys

BINS = [("<0.1%", 0.001), ("0.1-0.5%", 0.005), ("0.5-1%", 0.01), ("1-5%", 0.05), ("5-50%", 0.51)]
TRUE_COUNT = {"0|0": 0.0, "0|1": 1.0, "1|0": 1.0, "1|1": 2.0, "0/0": 0.0, "0/1": 1.0, "1/0": 1.0, "1/1": 2.0, "0": 0.0, "1": 1.0}


def open_bytes(path):
    f = open(path, "rb")
    is_packed = f.read(2) == b"\x1f\x8b"
    f.seek(0)
    return gzip.open(f) if is_packed else f


def vcf_rows(path):
    """Yields the sample names, then each record's columns."""
    with open_bytes(path) as f:
        for raw in f:
            if raw.startswith(b"##"):
                continue
            columns = raw.decode("ascii", "replace").rstrip("\r\n").split("\t")
            yield columns[9:] if raw.startswith(b"#CHROM") else columns


def typed_value(data, at):
    """One typed value of BCF: (type, number of values, place of its bytes)."""
    kind, n = data[at] & 15, data[at] >> 4
    at += 1
    if n == 15:
        width = {1: "<b", 2: "<h", 3: "<i"}[data[at] & 15]
        n = struct.unpack_from(width, data, at + 1)[0]
        at += 1 + struct.calcsize(width)
    return kind, n, at


WIDTH = {0: 0, 1: 1, 2: 2, 3: 4, 5: 4, 7: 1}


def bcf_alt_counts(f):
    """Yields (pos, ref, alt, ALT count, allele count) of each biallelic record of a BCF whose GT is stored in bytes."""
    header = f.read(struct.unpack("<I", f.read(4))[0])
    keys = ["PASS"]
    for line in header.decode("ascii", "replace").split("\n"):
        if line.startswith(("##FILTER=<ID=", "##INFO=<ID=", "##FORMAT=<ID=")):
            key = line.split("ID=", 1)[1].split(",", 1)[0].split(">", 1)[0]
            if "IDX=" in line:
                place = int(line.rsplit("IDX=", 1)[1].split(">")[0].split(",")[0])
                keys += [None] * (place + 1 - len(keys))
                keys[place] = key
            elif key not in keys:
                keys.append(key)
    while True:
        head = f.read(8)
        if not head:
            return
        n_shared, n_indiv = struct.unpack("<II", head)
        data, indiv = f.read(n_shared), f.read(n_indiv)
        pos, = struct.unpack_from("<i", data, 4)
        n_allele = struct.unpack_from("<I", data, 16)[0] >> 16
        n_fmt_sample, = struct.unpack_from("<I", data, 20)
        n_sample, at, texts = n_fmt_sample & 0xffffff, 24, []
        for _ in range(1 + n_allele):
            _, n, at = typed_value(data, at)
            texts.append(data[at:at + n].decode())
            at += n
        at = 0
        for _ in range(n_fmt_sample >> 24):
            kind, _, at = typed_value(indiv, at)
            key = int.from_bytes(indiv[at:at + WIDTH[kind]], "little")
            kind, n, at = typed_value(indiv, at + WIDTH[kind])
            size = n * WIDTH[kind] * n_sample
            if keys[key] == "GT" and kind == 1 and n_allele == 2:
                gt = indiv[at:at + size]
                n_alt, n_ref = gt.count(4) + gt.count(5), gt.count(2) + gt.count(3)
                yield pos + 1, texts[1], texts[2], n_alt, n_alt + n_ref
            at += size


def panel_frequencies(path):
    with open_bytes(path) as f:
        if f.read(5) == b"BCF\2\2":
            return {(str(p), r, a): n / total for p, r, a, n, total in bcf_alt_counts(f) if total}
    rows, frequency = vcf_rows(path), {}
    next(rows)
    for c in rows:
        calls = [allele for g in c[9:] for allele in g.split(":", 1)[0].replace("/", "|").split("|") if allele != "."]
        if calls:
            frequency[c[1], c[3], c[4]] = calls.count("1") / len(calls)
    return frequency


def dosages(path, frequency):
    """{site: (dosages as texts, claimed R2)} of the imputed sites that the panel has, and the sample names."""
    rows = vcf_rows(path)
    names, sites, place = next(rows), {}, {}
    for c in rows:
        site = c[1], c[3], c[4]
        info = c[7].split(";")
        if site not in frequency or "TYPED" in info or "TYPED_ONLY" in info:
            continue
        k = place.setdefault(c[8], c[8].split(":").index("DS"))
        claimed = [float(x[3:]) for x in info if x.startswith("R2=")]
        sites[site] = ([g.split(":", k + 1)[k] for g in c[9:]], claimed[0] if claimed else None)
    return names, sites


class Sums:
    def __init__(self):
        self.n = self.st = self.sd = self.stt = self.sdd = self.std = 0.0
        self.sites, self.site_r2, self.claimed = 0, [], []

    def add(self, other):
        for name in ("n", "st", "sd", "stt", "sdd", "std", "sites"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.site_r2 += other.site_r2
        self.claimed += other.claimed

    def r2(self):
        if not self.n:
            return float("nan")
        vt, vd = self.stt - self.st ** 2 / self.n, self.sdd - self.sd ** 2 / self.n
        return (self.std - self.st * self.sd / self.n) ** 2 / (vt * vd) if vt > 1e-9 and vd > 1e-9 else float("nan")


def one_site(truth, dosage, is_flipped):
    s = Sums()
    s.sites = 1
    for t, d in zip(truth, dosage):
        if t is None or d == ".":
            continue
        d = float(d)
        if is_flipped:
            t, d = 2 - t, 2 - d
        s.n += 1
        s.st += t
        s.sd += d
        s.stt += t * t
        s.sdd += d * d
        s.std += t * d
    return s


def mean(values):
    return sum(values) / len(values) if values else float("nan")


def score(truth_path, imputed_path, panel_path):
    frequency = panel_frequencies(panel_path)
    names, sites = dosages(imputed_path, frequency)
    rows = vcf_rows(truth_path)
    truth_names = next(rows)
    common = [n for n in truth_names if n in set(names)]
    truth_at, imputed_at = [truth_names.index(n) for n in common], [names.index(n) for n in common]
    bins = [Sums() for _ in BINS]
    for c in rows:
        site = c[1], c[3], c[4]
        if site not in sites:
            continue
        texts, claimed = sites[site]
        truth = [TRUE_COUNT.get(c[9 + i].split(":", 1)[0]) for i in truth_at]
        s = one_site(truth, [texts[i] for i in imputed_at], frequency[site] > 0.5)
        if s.stt * s.n > s.st ** 2:
            r2 = s.r2()
            s.site_r2 = [0.0 if r2 != r2 else r2]
            s.claimed = [claimed] if claimed is not None else []
        maf = min(frequency[site], 1 - frequency[site])
        bins[next(i for i, b in enumerate(BINS) if maf < b[1])].add(s)
    total = Sums()
    for b in bins:
        total.add(b)
    return len(common), bins, total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("truth", "imputed", "panel"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--min-agg", type=float, default=0)
    parser.add_argument("--min-site", type=float, default=0)
    a = parser.parse_args()
    n_sample, bins, total = score(a.truth, a.imputed, a.panel)
    print(f"{n_sample} samples, {total.sites} imputed sites")
    print("aggR2: of all genotypes of a row together; siteR2: mean over its sites; R2: what the result claims of itself")
    print(f"{'panel MAF':10s} {'sites':>7s} {'aggR2':>7s} {'siteR2':>7s} {'R2':>7s}")
    for name, b in [(n, b) for (n, _), b in zip(BINS, bins)] + [("all", total)]:
        print(f"{name:10s} {b.sites:7d} " + " ".join("%7.4f" % x if x == x else "%7s" % "-" for x in (b.r2(), mean(b.site_r2), mean(b.claimed))))
    if not (total.r2() >= a.min_agg and mean(total.site_r2) >= a.min_site):
        print(f"score: below the minimum (aggR2 {a.min_agg}, siteR2 {a.min_site})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
