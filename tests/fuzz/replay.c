/*
 * A target without libFuzzer: runs every file named, and every file of every directory named, through
 * LLVMFuzzerTestOneInput once, then each cut in half and with one byte changed, so that the targets' own checks run with either
 * compiler in `./run test`. A finding is an abort or a sanitizer's report. TAP.
 */
#include "lib/core/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned n_file, n_run;

/* in memory of exactly its length: sanitizers and valgrind see a read behind it */
static void one(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    sq_assert(copy);
    if (n)
        memcpy(copy, p, n);
    sq_assert(LLVMFuzzerTestOneInput(copy, n) == 0);
    free(copy);
    n_run++;
}

static void file(int dir, const char *name)
{
    struct sq_buf b;
    sq_buf_init(&b, (size_t)64 << 20);
    sq_assert(sq_file_read(dir, name, &b) == SQ_OK);
    n_file++;
    one(b.p, b.n);
    if (b.n && b.n <= 65536 && !getenv("SQ_REPLAY_ONLY")) {
        size_t at = (n_file * 2654435761U) % b.n; /* another place in each file, the same in each run */
        one(b.p, b.n / 2);
        b.p[at] ^= 0x21;
        one(b.p, b.n);
    }
    sq_buf_done(&b);
}

static int visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static void path(const char *name)
{
    struct stat st;
    sq_assert(stat(name, &st) == 0);
    if (!S_ISDIR(st.st_mode)) {
        file(AT_FDCWD, name);
        return;
    }
    struct dirent **list;
    int dir = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n = scandir(name, &list, visible, alphasort);
    sq_assert(dir >= 0 && n >= 0);
    for (int i = 0; i < n; i++) {
        file(dir, list[i]->d_name);
        free(list[i]);
    }
    free(list);
    sq_close(&dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        path(argv[i]);
    one(NULL, 0);
    printf("%sok 1 - %u seeds, %u runs\n1..1\n", n_file ? "" : "not ", n_file, n_run);
    return n_file ? 0 : 1;
}
