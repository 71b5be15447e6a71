"""How the cost grows with the panel and with the targets."""
import math
import os
import subprocess

import plot
import programs
import sets
from measure import median, table

PANELS = (5_000, 10_000, 50_000, 200_000)  # haplotypes, of one panel of 2 Mb
TARGETS = (50, 200, 1000)                  # samples, on one panel of 10,000 haplotypes x 10 Mb


def costs_of(s, chosen, rounds):
    found = {p.name: [] for p in chosen}
    for p in chosen:
        p.panel(s)
    for _ in range(rounds):
        for p in chosen:
            found[p.name].append(p.impute(s, 1, s.path("growth." + p.name)))
    return {name: median(costs) for name, costs in found.items()}


def exponent(points):
    """e of y ~ x^e between the first and the last point."""
    (x0, y0), (x1, y1) = points[0], points[-1]
    return math.log(y1 / y0) / math.log(x1 / x0)


def rows_of(points, name, targets_at):
    """One row a point (x, cost, rows of the panel): cost in all, a target, a row of the result, and x's exponent since the point before."""
    rows = []
    for i, (x, cost, n) in enumerate(points):
        since = exponent([(points[i - 1][0], points[i - 1][1].cpu), (x, cost.cpu)]) if i else None
        rows.append([name, "%d" % x, "%d" % n, "%.2f" % cost.cpu, "%.1f" % cost.wall, "%.0f" % cost.rss, "%.2f" % (1e3 * cost.cpu / targets_at(x)),
                     "%.0f" % (1e9 * cost.cpu / targets_at(x) / n), "%.2f" % since if i else None])
    return rows


def sites_of(s):
    """Rows of the panel, from its index."""
    return int(subprocess.check_output(["bcftools", "index", "-n", s.path("panel.bcf")], text=True, stderr=subprocess.DEVNULL))


def growth(chosen, most_peers, rounds):
    huge = sets.make("huge")
    by_panel = {p.name: [] for p in chosen}
    for n in PANELS:
        s = sets.subset(huge, "huge%d" % (n // 1000), n_sample=n // 2) if n < PANELS[-1] else huge
        some = [p for p in chosen if p is programs.ALL[0] or n <= most_peers]
        for name, cost in costs_of(s, some, rounds).items():
            by_panel[name].append((n, cost, sites_of(s)))
    columns = ["CPU s", "wall s", "peak MB", "CPU ms a target", "ns a target and row", "exponent since the row above"]
    table("Growth with the panel: 2 Mb, 200 targets, one thread, median of %d" % rounds, ["program", "haplotypes", "sites", *columns],
          [r for name, points in by_panel.items() for r in rows_of(points, name, lambda _: 200)])
    many = sets.make("targets")
    by_target = {p.name: [] for p in chosen}
    for n in TARGETS:
        s = sets.subset(many, "targets%d" % n, n_target=n) if n < TARGETS[-1] else many
        for p in chosen:  # one panel for all
            sets.link(p.panel(many)[0], s.path(p.panel_file))
        for name, cost in costs_of(s, chosen, rounds).items():
            by_target[name].append((n, cost, sites_of(s)))
    table("Growth with the targets: 10,000 haplotypes x 10 Mb, one thread, median of %d" % rounds, ["program", "targets", "sites", *columns],
          [r for name, points in by_target.items() for r in rows_of(points, name, lambda n: n)])
    path = os.path.join(sets.DIR, "growth.svg")
    plot.write(path, [plot.Plot("200 targets, 2 Mb", "haplotypes in the panel", "CPU seconds", {k: [(x, c.cpu) for x, c, _ in v] for k, v in by_panel.items()}),
                      plot.Plot("10,000 haplotypes, 10 Mb", "targets", "CPU seconds", {k: [(x, c.cpu) for x, c, _ in v] for k, v in by_target.items()})])
    print("\nplot: " + path)
