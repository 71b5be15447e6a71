/* The input as files in memory, for readers that want a descriptor. A few of them, written anew for each input. */
#ifndef SQ_FUZZ_FILE_H
#define SQ_FUZZ_FILE_H

#include "lib/core/buf.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FUZZ_FILES 10

/* File number @no, holding @n bytes of @p, standing at its beginning. */
static inline int fuzz_file_of(unsigned no, const void *p, size_t n)
{
    static int fd[FUZZ_FILES];
    sq_assert(no < FUZZ_FILES);
    if (!fd[no])
        sq_assert((fd[no] = memfd_create("fuzz", MFD_CLOEXEC)) > 0);
    sq_assert(ftruncate(fd[no], 0) == 0 && lseek(fd[no], 0, SEEK_SET) == 0);
    sq_assert(n == 0 || pwrite(fd[no], p, n, 0) == (ssize_t)n);
    return fd[no];
}

static inline int fuzz_file(const uint8_t *p, size_t n)
{
    return fuzz_file_of(0, p, n);
}

/* @s as a string; freed by the caller. */
static inline char *fuzz_string(struct sq_span s)
{
    char *t = malloc((size_t)s.n + 1);
    sq_assert(t);
    if (s.n)
        memcpy(t, s.p, s.n);
    t[s.n] = 0;
    return t;
}

/* All of @fd, from its beginning; freed by the caller. */
static inline uint8_t *fuzz_content(int fd, size_t *out_n)
{
    struct stat st;
    sq_assert(fstat(fd, &st) == 0);
    uint8_t *p = malloc((size_t)st.st_size + 1);
    sq_assert(p && pread(fd, p, (size_t)st.st_size, 0) == (ssize_t)st.st_size);
    *out_n = (size_t)st.st_size;
    return p;
}

/* The piece of *rest before the line "%%", which is taken out of *rest; the last piece is what is left. */
static inline struct sq_span fuzz_piece(struct sq_span *rest)
{
    static const char line[] = "\n%%\n";
    const uint8_t *at = rest->n ? memmem(rest->p, rest->n, line, sizeof line - 1) : NULL;
    struct sq_span piece = *rest;
    if (at) {
        piece = sq_span_of(rest->p, (size_t)(at - rest->p) + 1);
        *rest = sq_span_of(at + sizeof line - 1, rest->n - piece.n - (sizeof line - 2));
    } else {
        *rest = sq_span_of(rest->p, 0);
    }
    return piece;
}

/* The same for files that are no text: without the line feed before "%%". */
static inline struct sq_span fuzz_bytes(struct sq_span *rest)
{
    size_t before = rest->n;
    struct sq_span piece = fuzz_piece(rest);
    return piece.n < before ? sq_span_of(piece.p, piece.n - 1) : piece;
}

#endif
