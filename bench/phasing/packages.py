"""The packages that the benchmarks of phasing need, installed where they are missing."""
import subprocess
import sys

PACKAGES = ("bio-eagle", "shapeit4", "beagle", "minimac4", "bcftools", "python3-numpy", "libhts-dev", "time")


def install():
    missing = [p for p in PACKAGES if "ok installed" not in subprocess.run(["dpkg-query", "-W", "-f", "${Status}", p], capture_output=True, text=True).stdout]
    if missing:
        print("installing: " + " ".join(missing), file=sys.stderr)
        subprocess.check_call(["apt-get", "install", "-y", "--no-install-recommends", *missing], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
