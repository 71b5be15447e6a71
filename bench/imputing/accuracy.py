"""How near imputed dosages come to the truth, by minor allele frequency of the panel.

Sites are matched by position, REF and ALT, samples by name; typed sites and sites that the panel doesn't have are left out.

    aggR2    squared correlation of minor-allele dosage and true count over all pairs of a site and a sample of the bin
    siteR2   mean of each site's own squared correlation, over sites where the truth varies (constant dosage: 0)
    conc     share of best-guess genotypes that are right;  nrd: share of wrong ones where truth or guess has the minor allele
    claimed  mean over the same sites as siteR2 of the R2 (DR2) that the program says;  corr: their correlation with each site's own

tools/score/score.py computes aggR2, siteR2 and the claimed mean without numpy; a test holds the two against each other.
"""
import os
import pickle
import subprocess

import numpy as np

BINS = (("<0.1%", 0.001), ("0.1-0.5%", 0.005), ("0.5-1%", 0.01), ("1-5%", 0.05), ("5-50%", 0.51))
GENOTYPE = {"0": 0, "1": 1}


def query(path, text, *options):
    p = subprocess.Popen(["bcftools", "query", *options, "-f", text, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1 << 20)
    yield from p.stdout
    if p.wait():
        raise RuntimeError("bcftools query failed on " + path)


def sample_names(path):
    return [x.rstrip("\n") for x in subprocess.check_output(["bcftools", "query", "-l", path], text=True).splitlines()]


def header(path):
    return subprocess.run(["bcftools", "view", "-h", path], capture_output=True, text=True, check=True).stdout


def count_of(genotype):
    """ALT alleles of a genotype's text; nan when one is missing."""
    if genotype not in GENOTYPE:
        alleles = genotype.replace("|", "/").split("/")
        GENOTYPE[genotype] = float("nan") if "." in alleles else sum(a != "0" for a in alleles)
    return GENOTYPE[genotype]


def panel_frequencies(path):
    """{(pos, ref, alt): ALT frequency} counted from the genotypes."""
    tags = subprocess.Popen(["bcftools", "+fill-tags", path, "-Ou", "--", "-t", "AC,AN"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    rows = subprocess.Popen(["bcftools", "query", "-f", "%POS\t%REF\t%ALT\t%AC\t%AN\n"], stdin=tags.stdout, stdout=subprocess.PIPE, text=True)
    tags.stdout.close()
    found = {}
    for line in rows.stdout:
        pos, ref, alt, ac, an = line.split()
        if int(an):
            found[pos, ref, alt] = int(ac) / int(an)
    if tags.wait() or rows.wait():
        raise RuntimeError("bcftools failed on " + path)
    return found


class Truth:
    """The held-out genotypes at the sites that count, in memory: as many bytes as sites times samples."""

    def __init__(self, truth, panel, typed=None):
        frequency = panel_frequencies(panel)
        typed = {tuple(line.split()) for line in query(typed, "%POS\t%REF\t%ALT\n")} if typed else set()
        self.names = sample_names(truth)
        self.row, counts, af = {}, [], []
        for line in query(truth, "%POS\t%REF\t%ALT[\t%GT]\n"):
            c = line.rstrip("\n").split("\t")
            key = c[0], c[1], c[2]
            if key in typed or key not in frequency:
                continue
            self.row[key] = len(counts)
            counts.append(np.array([count_of(g) for g in c[3:]], dtype=np.float16))
            af.append(frequency[key])
        self.count, self.af = np.array(counts), np.array(af)
        maf = np.minimum(self.af, 1 - self.af)
        self.bin = np.searchsorted(np.array([edge for _, edge in BINS]), maf, side="right")


def truth_of(s):
    """The truth of a set; read once, then kept beside it."""
    kept = s.path("truth.pickle")
    if not os.path.exists(kept):
        with open(kept + ".part", "wb") as f:
            pickle.dump(Truth(s.path("truth.vcf.gz"), s.path("panel.bcf"), s.path("target.vcf.gz")), f)
        os.rename(kept + ".part", kept)
    with open(kept, "rb") as f:
        return pickle.load(f)


def imputed_rows(path, field=None):
    """Yields (site, what the program says of its R2, texts of the samples), and what a text means."""
    head = header(path)
    field = field or next(f for f in ("DS", "HDS", "GP", "GT") if "##FORMAT=<ID=%s," % f in head)
    tag = next((t for t in ("DR2", "R2", "INFO", "RSQ") if "##INFO=<ID=%s," % t in head), None)
    for line in query(path, "%POS\t%REF\t%ALT\t" + ("%%INFO/%s" % tag if tag else ".") + "[\t%" + field + "]\n"):
        c = line.rstrip("\n").split("\t")
        try:
            claimed = float(c[3])
        except ValueError:
            claimed = float("nan")
        yield (c[0], c[1], c[2]), claimed, c[4:], field


def dosage(texts, field):
    if field == "DS":
        try:
            return np.array(texts, dtype=np.float32)
        except ValueError:
            return np.array([np.nan if t == "." else float(t) for t in texts], dtype=np.float32)
    if field == "HDS":
        return np.array([sum(float(x) for x in t.split(",")) for t in texts], dtype=np.float32)
    if field == "GP":
        return np.array([float(t.split(",")[1]) + 2 * float(t.split(",")[2]) for t in texts], dtype=np.float32)
    return np.array([count_of(t) for t in texts], dtype=np.float32)


def squared_correlation(moments):
    """Of n, sum x, sum y, sum xx, sum yy, sum xy; nan when either doesn't vary."""
    n, x, y, xx, yy, xy = (float(m) for m in moments)
    if not n:
        return float("nan")
    vx, vy = xx - x * x / n, yy - y * y / n
    return (xy - x * y / n) ** 2 / (vx * vy) if vx > 1e-9 and vy > 1e-9 else float("nan")


class Sums:
    def __init__(self):
        self.n_site = self.n_missing = self.n_right = self.n_pair = self.n_wrong_minor = self.n_minor = 0
        self.moments, self.site_r2, self.claimed = np.zeros(6), [], []

    def add(self, t, d, claimed):
        """One site: true counts and dosages of the minor allele, without missing ones."""
        m = np.array([t.size, t.sum(), d.sum(), t @ t, d @ d, t @ d])
        self.moments += m
        if t.size and t.min() != t.max():
            own = squared_correlation(m)
            self.site_r2.append(0.0 if np.isnan(own) else own)
            self.claimed.append(claimed)
        guess = np.rint(d)
        is_minor = (t != 0) | (guess != 0)
        self.n_right += int((guess == t).sum())
        self.n_pair += t.size
        self.n_minor += int(is_minor.sum())
        self.n_wrong_minor += int((is_minor & (guess != t)).sum())

    def join(self, other):
        for k in self.__dict__:
            setattr(self, k, getattr(self, k) + getattr(other, k))

    def result(self):
        own, claimed = np.array(self.site_r2), np.array(self.claimed)
        has = ~np.isnan(claimed)
        nan = float("nan")
        return {"sites": self.n_site, "missing": self.n_missing, "aggR2": squared_correlation(self.moments),
                "siteR2": float(own.mean()) if own.size else nan, "conc": self.n_right / self.n_pair if self.n_pair else nan,
                "nrd": self.n_wrong_minor / self.n_minor if self.n_minor else nan, "claimed": float(claimed[has].mean()) if has.any() else nan,
                "corr": float(np.corrcoef(own[has], claimed[has])[0, 1]) if has.sum() > 2 and own[has].std() > 0 and claimed[has].std() > 0 else nan}


def score(truth, imputed, field=None):
    """{bin: {aggR2 and so on}} with the bin "all" at the end."""
    names = sample_names(imputed)
    common = [n for n in truth.names if n in set(names)]
    true_at, imputed_at = [truth.names.index(n) for n in common], [names.index(n) for n in common]
    is_seen = np.zeros(len(truth.row), dtype=bool)
    bins = [Sums() for _ in BINS]
    for site, claimed, texts, kind in imputed_rows(imputed, field):
        row = truth.row.get(site)
        if row is None or is_seen[row]:
            continue
        is_seen[row] = True
        d, t = dosage(texts, kind)[imputed_at], truth.count[row][true_at].astype(np.float32)
        has = ~(np.isnan(d) | np.isnan(t))
        d, t = d[has].astype(float), t[has].astype(float)
        if truth.af[row] > 0.5:
            d, t = 2 - d, 2 - t
        b = bins[truth.bin[row]]
        b.add(t, d, claimed)
    total, result = Sums(), {}
    for i, (name, _) in enumerate(BINS):
        bins[i].n_site = int((truth.bin == i).sum())
        bins[i].n_missing = int(((truth.bin == i) & ~is_seen).sum())
        total.join(bins[i])
        result[name] = bins[i].result()
    result["all"] = total.result()
    return result


def main():
    import argparse
    import json
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--truth", required=True)
    p.add_argument("--imputed", required=True, nargs="+")
    p.add_argument("--panel", required=True)
    p.add_argument("--typed", help="the target: its sites don't count")
    p.add_argument("--field", help="DS, HDS, GP or GT; the first that is there")
    p.add_argument("--json", action="store_true", help="one line of JSON a file instead of a table")
    a = p.parse_args()
    truth = Truth(a.truth, a.panel, a.typed)
    for path in a.imputed:
        result = score(truth, path, a.field)
        if a.json:
            print(json.dumps({"imputed": path, "bins": result}))
            continue
        print("%s: %d samples\n%-10s %7s %7s %7s %7s %8s %7s %7s %7s" % (path, len(truth.names), "panel MAF", "sites", "missing", "aggR2", "siteR2", "conc", "nrd", "claimed", "corr"))
        for name, b in result.items():
            print("%-10s %7d %7d %7.4f %7.4f %8.5f %7.4f %7.4f %7.3f" % (name, b["sites"], b["missing"], b["aggR2"], b["siteR2"], b["conc"], b["nrd"], b["claimed"], b["corr"]))


if __name__ == "__main__":
    main()
