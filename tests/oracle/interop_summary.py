"""What Illumina's own library (PyPI package `interop`) says of a run folder, in the lines of `runs_tool summary`. Exit 77: it isn't installed.

    interop_summary.py FOLDER
"""
import sys

try:
    from interop import py_interop_run_metrics, py_interop_summary
except ImportError:
    sys.exit(77)


def stat(name, v):
    return " %s.mean %.9g %s.stddev %.9g" % (name, v.mean(), name, v.stddev())


def level(name, s):
    print("level", name, *("%s %.9g" % (n, getattr(s, n)()) for n in ("yield_g", "projected_yield_g", "percent_aligned", "error_rate", "first_cycle_intensity",
                                                                      "percent_gt_q30", "percent_occupied")))


def row(number, lane, surface, s, is_lane):
    out = "row %d %d %d tile_count %d reads %.9g reads_pf %.9g yield_g %.9g projected_yield_g %.9g percent_gt_q30 %.9g" % (
        number, lane, surface, s.tile_count(), s.reads(), s.reads_pf(), s.yield_g(), s.projected_yield_g() if is_lane else 0, s.percent_gt_q30())
    for name in ("density", "percent_pf", "phasing", "prephasing", "percent_aligned", "error_rate", "error_rate_35", "error_rate_75", "error_rate_100",
                 "percent_occupied", "first_cycle_intensity", "phasing_slope", "phasing_offset", "prephasing_slope", "prephasing_offset"):
        out += stat(name, getattr(s, name)())
    if is_lane:
        cycles = s.cycle_state().error_cycle_range()
        out += " error_first %d error_last %d" % (cycles.first_cycle(), cycles.last_cycle())
    print(out)


metrics = py_interop_run_metrics.run_metrics()
metrics.read(sys.argv[1])
summary = py_interop_summary.run_summary()
py_interop_summary.summarize_run_metrics(metrics, summary)
for i in range(summary.size()):
    read = summary.at(i)
    level(str(read.read().number()), read.summary())
    for k in range(read.size()):
        lane = read.at(k)
        row(read.read().number(), lane.lane(), 0, lane, True)
        for j in range(lane.size()):
            row(read.read().number(), lane.lane(), lane.at(j).surface(), lane.at(j), False)
level("nonindex", summary.nonindex_summary())
level("total", summary.total_summary())
for lane in range(1, summary.lane_count() + 1):
    of = py_interop_summary.index_lane_summary()
    py_interop_summary.summarize_index_metrics(metrics, lane, of)
    if not of.size():
        continue
    print("index %d reads %.9g pf %.9g identified %.9g cv %.9g min %.9g max %.9g" % (
        lane, of.total_reads(), of.total_pf_reads(), of.total_fraction_mapped_reads(), of.mapped_reads_cv(), of.min_mapped_reads(), of.max_mapped_reads()))
    for k in range(of.size()):
        s = of.at(k)
        print("sample %d %s %s %s %s %.9g %d" % (lane, s.sample_id(), s.project_name(), s.index1(), s.index2(), s.fraction_mapped(), s.cluster_count()))
