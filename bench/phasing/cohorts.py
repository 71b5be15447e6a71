"""How the cost of phasing grows with the cohort and with the panel."""
import os

import growing
import phasers
import plot
import sets
import switches
from measure import median, table

COHORTS = (1, 10, 100, 1000, 10000)        # targets, on one panel of 10,000 haplotypes x 4 Mb
PANELS = (5_000, 10_000, 50_000, 200_000)  # haplotypes, of one panel of 2 Mb, 200 targets
COLUMNS = ["CPU s", "wall s", "peak MB", "CPU ms a target", "exponent since the row above", "switch errors %"]


def costs_of(s, chosen, rounds):
    """{program: (median Cost, Switches)}"""
    found = {p.name: ([], None) for p in chosen}
    for p in chosen:
        p.prepare(s)
    for r in range(rounds):
        for p in chosen:
            prefix = s.path("growth.phased." + p.name.replace(" ", ""))
            cost, result = p.phase(s, 1, prefix, log=prefix + ".log")
            costs, wrong = found[p.name]
            costs.append(cost)
            found[p.name] = costs, wrong or switches.count(s.path("target.vcf.gz"), result)
            os.unlink(result)
    return {name: (median(costs), wrong) for name, (costs, wrong) in found.items()}


def rows_of(points, name, targets_at):
    """@points [(x, Cost, Switches)]"""
    rows = []
    for i, (x, cost, wrong) in enumerate(points):
        since = growing.exponent([(points[i - 1][0], points[i - 1][1].cpu), (x, cost.cpu)]) if i else None
        rows.append([name, "%d" % x, "%.2f" % cost.cpu, "%.1f" % cost.wall, "%.0f" % cost.rss, "%.2f" % (1e3 * cost.cpu / targets_at(x)),
                     "%.2f" % since if i else None, "%.3f" % (100 * wrong.rate)])
    return rows


def measure(sizes, most_peers, set_of, chosen, rounds):
    """{program: [(size, Cost, Switches)]}; one run is enough for what takes long."""
    points = {p.name: [] for p in chosen}
    for n in sizes:
        some = [p for p in chosen if p is phasers.ALL[0] or n <= most_peers]
        for name, (cost, wrong) in costs_of(set_of(n), some, rounds if n < sizes[-1] else 1).items():
            points[name].append((n, cost, wrong))
    return points


def cohort(n):
    many = sets.make("cohort")
    s = sets.subset(many, "cohort%d" % n, n_target=n) if n < COHORTS[-1] else many
    for file in ("ours.sqp", "beagle.bref3"):  # one panel for all
        if s is not many:
            if not os.path.exists(many.path(file)):
                for p in phasers.ALL:
                    p.prepare(many)
            sets.link(many.path(file), s.path(file))
    return s


def panel(n):
    huge = sets.make("huge")
    return sets.subset(huge, "huge%d" % (n // 1000), n_sample=n // 2) if n < PANELS[-1] else huge


def series(points, y):
    return {name: [(x, y(cost)) for x, cost, _ in of] for name, of in points.items()}


def growth(chosen, most_peers, rounds):
    by_cohort = measure(COHORTS, most_peers, cohort, chosen, rounds)
    table("Growth with the cohort: 10,000 haplotypes x 4 Mb, one thread, median of %d (the last of one)" % rounds, ["program", "targets", *COLUMNS],
          [r for name, points in by_cohort.items() for r in rows_of(points, name, lambda n: n)])
    by_panel = measure(PANELS, 50 * most_peers, panel, chosen, rounds)
    table("Growth with the panel: 2 Mb, 200 targets, one thread, median of %d (the last of one)" % rounds, ["program", "haplotypes", *COLUMNS],
          [r for name, points in by_panel.items() for r in rows_of(points, name, lambda _: 200)])
    path = os.path.join(sets.DIR, "phase_growth.svg")
    plot.write(path, [plot.Plot("10,000 haplotypes, 4 Mb", "targets", "CPU seconds", series(by_cohort, lambda c: c.cpu)),
                      plot.Plot("200 targets, 2 Mb", "haplotypes in the panel", "CPU seconds", series(by_panel, lambda c: c.cpu))])
    print("\nplot: " + path)
