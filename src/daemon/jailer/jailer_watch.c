/*
 * Memory of a sandbox where no cgroup counts it. There it is one process (the bundle lets it make threads only), so what
 * /proc says about that one is what the sandbox holds. An input that runner handed over is runner's, in a cgroup too.
 */
#include "daemon/jailer/jailer_internal.h"

#include "lib/core/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t field_kib(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

uint64_t jail_watch_kib(pid_t pid, uint64_t input_bytes)
{
    char path[64];
    uint64_t kib = 0;
    struct sq_buf text;
    sq_buf_init(&text, 8192);
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    if (sq_file_read(AT_FDCWD, path, &text) == SQ_OK && sq_buf_add(&text, "", 1) == SQ_OK) {
        const char *status = (const char *)text.p;
        const uint64_t shared = field_kib(status, "\nRssShmem:"), input_kib = input_bytes / 1024;
        kib = field_kib(status, "\nRssAnon:") + field_kib(status, "\nVmPTE:") + (shared > input_kib ? shared - input_kib : 0);
    }
    sq_buf_done(&text);
    return kib;
}
