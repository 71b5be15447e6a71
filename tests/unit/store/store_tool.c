/*
 * The store by hand, for erase_images.py:  store_tool DIR put N_BYTES MARKER | state | erase | share
 * One object, of fixed id, filled with MARKER repeated.
 */
#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const uint8_t owner[16] = {0xaa}, object[16] = {0xbb};

static sq_err put(struct sq_store *store, size_t n_bytes, const char *marker)
{
    int fd = -1, writer = -1;
    size_t n_marker = strlen(marker);
    char *block = malloc(1 << 20);
    sq_assert(block && n_marker && n_marker < 1024);
    sq_err e = sq_store_create(store, owner, object, &fd);
    if (!e)
        e = sq_store_writer(store, fd, &writer);
    for (size_t i = 0; i < 1 << 20; i++)
        block[i] = marker[i % n_marker];
    for (size_t at = 0; !e && at < n_bytes; at += 1 << 20)
        e = sq_write_all(writer, block, n_bytes - at < 1 << 20 ? n_bytes - at : 1 << 20);
    if (!e)
        e = sq_store_commit(store, owner, object, fd, n_bytes);
    sq_close(&fd);
    sq_close(&writer);
    free(block);
    return e;
}

static sq_err show_erase(struct sq_store *store)
{
    struct sq_erased how;
    int64_t begun = sq_clock_steady_ms();
    sq_err e = sq_store_erase(store, owner, object, &how);
    if (!e)
        printf("method=%s passes=%u bytes=%llu extents=%u moved=%d verified=%d filesystem=%s ms=%lld\n", sq_erase_word(how.method),
               how.n_pass, (unsigned long long)how.n_bytes, how.n_extent, how.is_moved, how.is_verified, how.filesystem,
               (long long)(sq_clock_steady_ms() - begun));
    return e;
}

int main(int argc, char **argv)
{
    sq_assert(argc >= 3);
    struct sq_store *store = NULL;
    struct sq_store_state state;
    int dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    sq_err e = dir < 0 ? SQ_EIO : sq_store_open(dir, &store);
    if (!e && !strcmp(argv[2], "put") && argc == 5)
        e = put(store, strtoull(argv[3], NULL, 10), argv[4]);
    else if (!e && !strcmp(argv[2], "erase"))
        e = show_erase(store);
    else if (!e && !(e = sq_store_state(store, &state)))
        printf("filesystem=%s real=%d free=%llu why=%s\n", state.filesystem, state.overwrite_is_real,
               (unsigned long long)state.free_bytes, state.why_not);
    sq_store_close(store);
    if (e)
        printf("error=%s\n", sq_err_name(e));
    return e != SQ_OK;
}
