"""Which sanitizer a program was built with (tools/check asan, tsan): such a one needs several times the memory, so bounds of memory say
nothing, and it confines itself by everything but the list of system calls."""


def of(program):
    """"address", "thread" or None."""
    with open(program, "rb") as f:
        data = f.read()
    return "address" if b"__asan_init" in data else "thread" if b"__tsan_init" in data else None


def bounded(program, what, kib, most_kib):
    """Asserts a bound of memory, where it says something; else it says by name that it was left out."""
    if of(program):
        print("# %s: %d KiB; its bound of %d KiB is left out, for this is a build with a sanitizer" % (what, kib, most_kib), flush=True)
    else:
        assert kib < most_kib, (what, kib, most_kib)


def seccomp(program):
    """What /proc/PID/status says of a confined process: "2", a list is loaded; "0" in a build with a sanitizer."""
    return "0" if of(program) else "2"
