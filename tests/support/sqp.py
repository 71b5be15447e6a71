"""Panel files (.sqp) for tests: made by the program itself of a VCF or BCF, once for each content and program."""
import hashlib
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def build(worker, source, out, gmap=None, build_name=None, populations=None):
    """@source, @gmap, @populations: paths. An AssertionError says what the program said."""
    cmd = [worker, "--local", "panel", "build", source, "--out", out, "--quiet"]
    cmd += ["--map", gmap] if gmap else []
    cmd += ["--build", build_name] if build_name else []
    cmd += ["--populations", populations] if populations else []
    p = subprocess.run(cmd, capture_output=True, text=True)
    assert p.returncode == 0, (cmd, p.stderr)
    return out


def cached(worker, source, gmap=None, build_name=None, populations=None):
    """The path of the panel, in a folder beside the program."""
    key = hashlib.sha256()
    for path in (worker, source, gmap, populations):
        if path:
            s = os.stat(path)
            key.update(("%s %d %d\n" % (os.path.abspath(path), s.st_size, s.st_mtime_ns)).encode())
    key.update(repr(build_name).encode())
    folder = os.path.join(os.path.dirname(os.path.realpath(worker)), "test-panels")
    os.makedirs(folder, exist_ok=True)
    out = os.path.join(folder, key.hexdigest()[:24] + ".sqp")
    if not os.path.exists(out):
        build(worker, source, "%s.%d" % (out, os.getpid()), gmap, build_name, populations)
        os.rename("%s.%d" % (out, os.getpid()), out)
    return out
