/* A run folder in memory for the fuzz targets of lib/runs: paths that end in a certain way have the input's bytes. */
#ifndef SQ_FUZZ_RUN_H
#define SQ_FUZZ_RUN_H

#include "fuzz_file.h"
#include "lib/runs/runs.h"

#define FUZZ_RUN_FILES 6

struct fuzz_run {
    const char *end[FUZZ_RUN_FILES]; /* of a path; NULL: the file isn't there */
    struct sq_span bytes[FUZZ_RUN_FILES];
};

static inline sq_err fuzz_run_open(void *ctx, const char *path, int *out_fd)
{
    const struct fuzz_run *run = ctx;
    for (unsigned i = 0; i < FUZZ_RUN_FILES; i++) {
        size_t n = strlen(path), k = run->end[i] ? strlen(run->end[i]) : 0;
        if (!k || k > n || strcmp(path + n - k, run->end[i]))
            continue;
        int fd = fuzz_file_of(i, run->bytes[i].p, run->bytes[i].n);
        *out_fd = dup(fd);
        return *out_fd < 0 ? SQ_EIO : SQ_OK;
    }
    return SQ_ENOTFOUND;
}

static inline struct sq_span fuzz_text(const char *s)
{
    return sq_span_str(s);
}

#endif
