/* The input as a file in memory, for readers that want a descriptor. One file, written anew for each input. */
#ifndef SQ_FUZZ_FILE_H
#define SQ_FUZZ_FILE_H

#include "lib/core/err.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static inline int fuzz_file(const uint8_t *p, size_t n)
{
    static int fd = -1;
    if (fd < 0)
        sq_assert((fd = memfd_create("fuzz", MFD_CLOEXEC)) >= 0);
    sq_assert(ftruncate(fd, 0) == 0 && pwrite(fd, p, n, 0) == (ssize_t)n);
    return fd;
}

#endif
