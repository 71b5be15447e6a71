"""What imputation would cost without its model: the same panel read, the same rows written (bench/impute_floor.c)."""
import os

import numpy as np

import accuracy
import programs
from measure import run


def dosages_of(result, path):
    """HDS of a result as thousandths, 16 bits each, row after row."""
    with open(path + ".part", "wb") as f:
        for line in accuracy.query(result, "[%HDS,]\n"):
            f.write(np.rint(np.array(line.rstrip(",\n").split(","), dtype=np.float32) * 1000).astype(np.uint16).tobytes())
    os.rename(path + ".part", path)


def floor(s, result, rounds):
    """(medians by step {name: CPU seconds}, bytes written)."""
    dosages, out, log = s.path("floor.dosages"), s.path("floor.rows.gz"), s.path("floor.log")
    dosages_of(result, dosages)
    steps = {}
    for _ in range(rounds):
        run([os.path.join(programs.BUILD, "bench", "impute_floor"), programs.ALL[0].panel(s)[0], s.path("target.vcf.gz"), s.path("map.shapeit.gz"), dosages,
             ",".join(programs.FORMAT), out], out=log)
        for line in open(log):
            name, value = line.split()
            steps.setdefault(name, []).append(float(value))
    size = os.path.getsize(out)
    os.unlink(out)
    os.unlink(dosages)
    return {name: float(np.median(values)) for name, values in steps.items()}, size
