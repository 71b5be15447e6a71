/*
 * Overwriting, and finding out whether it was one. Order and reasons: docs/erasure.md.
 *
 * The cache stands between us and the disk twice: a pass is only a pass once fdatasync has returned, and reading back
 * means O_DIRECT (else the cache would be compared with itself). Extents before and after tell a file system that
 * writes elsewhere: blocks that moved were not overwritten, whatever a read shows.
 */
#include "lib/store/store_internal.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES (1u << 20)
#define ALIGN_BYTES 4096u
#define EXTENTS_A_CALL 128

/* ---- extents ---- */
struct extents {
    bool is_known;     /* the file system told us */
    bool is_plain;     /* all lie at a place of their own: not shared, encoded, inline or unwritten */
    uint32_t n;        /* runs, adjoining ones joined */
    uint64_t hash;     /* over (logical, physical, length) of the runs */
    uint64_t logical, physical, length; /* the run being joined */
};

static void hash_run(struct extents *x)
{
    const uint64_t v[3] = {x->logical, x->physical, x->length};
    for (size_t i = 0; i < 3; i++)
        for (unsigned shift = 0; shift < 64; shift += 8)
            x->hash = (x->hash ^ (v[i] >> shift & 0xff)) * 0x100000001b3ULL; /* FNV-1a: no enemy here, only chance */
    x->n++;
}

static void add_extent(struct extents *x, const struct fiemap_extent *f)
{
    if (f->fe_flags & (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_NOT_ALIGNED |
                       FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL | FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_SHARED))
        x->is_plain = false;
    if (x->length && f->fe_logical == x->logical + x->length && f->fe_physical == x->physical + x->length) {
        x->length += f->fe_length;
        return;
    }
    if (x->length)
        hash_run(x);
    x->logical = f->fe_logical;
    x->physical = f->fe_physical;
    x->length = f->fe_length;
}

static void extents_of(int fd, struct extents *x)
{
    *x = (struct extents){.is_plain = true, .hash = 0xcbf29ce484222325ULL};
    struct fiemap *m = calloc(1, sizeof *m + EXTENTS_A_CALL * sizeof(struct fiemap_extent));
    if (!m)
        return;
    uint64_t at = 0;
    for (bool is_last = false; !is_last;) {
        memset(m, 0, sizeof *m);
        m->fm_start = at;
        m->fm_length = FIEMAP_MAX_OFFSET - at;
        m->fm_flags = FIEMAP_FLAG_SYNC;
        m->fm_extent_count = EXTENTS_A_CALL;
        if (ioctl(fd, FS_IOC_FIEMAP, m) < 0)
            goto out; /* EOPNOTSUPP: not known */
        if (!m->fm_mapped_extents)
            break;
        for (uint32_t i = 0; i < m->fm_mapped_extents; i++) {
            const struct fiemap_extent *f = &m->fm_extents[i];
            add_extent(x, f);
            at = f->fe_logical + f->fe_length;
            is_last = f->fe_flags & FIEMAP_EXTENT_LAST;
        }
    }
    if (x->length)
        hash_run(x);
    x->is_known = true;
out:
    free(m);
}

/* ---- passes ---- */
/*
 * Bytes that no drive can compress or share. They needn't be secret, so a generator seeded by the kernel once a file
 * does: xoshiro256++ (Blackman and Vigna 2019), ten times as fast as getrandom.
 */
struct noise {
    uint64_t s[4];
};

static sq_err noise_seed(struct noise *x)
{
    ssize_t r;
    do
        r = getrandom(x->s, sizeof x->s, 0); /* so few bytes come whole */
    while (r < 0 && errno == EINTR);
    return r == (ssize_t)sizeof x->s ? SQ_OK : sq_fail(SQ_ESYS);
}

static uint64_t rotate(uint64_t v, unsigned k)
{
    return v << k | v >> (64 - k);
}

static void noise_fill(struct noise *x, uint8_t *p, size_t n)
{
    uint64_t *s = x->s;
    for (size_t at = 0; at < n; at += 8) {
        uint64_t v = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = rotate(s[3], 45);
        memcpy(p + at, &v, 8);
    }
}

static sq_err one_pass(int fd, uint64_t n_bytes, unsigned pass, uint8_t *block)
{
    struct noise noise;
    sq_err e = noise_seed(&noise);
    if (e)
        return e;
    memset(block, pass == 1 ? 0xff : 0x00, BLOCK_BYTES);
    for (uint64_t at = 0; at < n_bytes; at += BLOCK_BYTES) {
        size_t n = n_bytes - at < BLOCK_BYTES ? (size_t)(n_bytes - at) : BLOCK_BYTES;
        if (pass == 0)
            noise_fill(&noise, block, BLOCK_BYTES);
        e = sq_pwrite_all(fd, block, n, (off_t)at);
        if (e)
            return e;
    }
    e = sq_fault("store.overwrite");
    if (e)
        return e;
    while (fdatasync(fd) < 0)
        if (errno != EINTR)
            return sq_fail(sq_err_errno());
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* the cache is for those who read */
    return SQ_OK;
}

/* The last pass, read from the disk. O_DIRECT where it exists; else the cache was dropped just now, which is a wish. */
static sq_err read_back(const struct sq_store *s, int fd, uint64_t n_bytes, uint8_t *block)
{
    sq_err e = sq_fault("store.verify");
    if (e)
        return e;
    int direct = -1;
    if (sq_store_reopen(s, fd, O_RDONLY | O_DIRECT, &direct) != SQ_OK)
        e = sq_store_reopen(s, fd, O_RDONLY, &direct);
    for (uint64_t at = 0; !e && at < n_bytes; at += BLOCK_BYTES) {
        size_t want = n_bytes - at < BLOCK_BYTES ? (size_t)(n_bytes - at) : BLOCK_BYTES, got = 0;
        memset(block, 0xa5, BLOCK_BYTES);
        while (!e && got < want) { /* whole blocks asked, so that offsets stay aligned; the end of the file cuts the last */
            ssize_t r = pread(direct, block + got, BLOCK_BYTES - got, (off_t)(at + got));
            if (r > 0)
                got += (size_t)r;
            else if (r == 0 || errno != EINTR)
                e = sq_fail(SQ_EIO);
        }
        if (!e && (block[0] || memcmp(block, block + 1, want - 1) != 0)) /* all bytes equal the first, which is 0 */
            e = sq_fail(SQ_EERASE);
    }
    sq_close(&direct);
    return e;
}

static sq_err all_passes(const struct sq_store *s, int fd, uint64_t n_bytes, struct sq_erased *how)
{
    uint8_t *block = aligned_alloc(ALIGN_BYTES, BLOCK_BYTES);
    if (!block)
        return sq_fail(SQ_ENOMEM);
    sq_err e = SQ_OK;
    for (unsigned pass = 0; !e && pass < SQ_ERASE_PASSES; pass++) {
        e = one_pass(fd, n_bytes, pass, block);
        if (!e)
            how->n_pass++;
    }
    if (!e)
        e = read_back(s, fd, n_bytes, block);
    how->is_verified = !e;
    free(block);
    return e;
}

sq_err sq_store_overwrite(const struct sq_store *s, int fd, struct sq_erased *out)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return sq_fail(SQ_EERASE);
    struct sq_erased how = {.n_bytes = (uint64_t)st.st_size};
    memcpy(how.filesystem, s->mount.filesystem, sizeof how.filesystem);
    struct extents before, after;
    extents_of(fd, &before);
    how.n_extent = before.n;
    bool is_real = s->mount.overwrite_is_real && before.is_known && before.is_plain;
    if (how.n_bytes == 0 || (is_real && before.n == 0)) {
        how.method = SQ_ERASE_already_gone; /* an empty file, or one whose blocks an interrupted erasure freed */
        how.is_verified = true;
        *out = how;
        return SQ_OK;
    }
    sq_err e = all_passes(s, fd, how.n_bytes, &how);
    /* Where new bytes go elsewhere, a full disk can refuse them. The key is what was destroyed there; the file still goes. */
    if (e && (is_real || e == SQ_ENOMEM))
        return sq_fail(SQ_EERASE);
    extents_of(fd, &after);
    struct stat now; /* a file that grew meanwhile, be it within its last block, has bytes that no pass covered */
    bool is_as_long = fstat(fd, &now) == 0 && now.st_size == st.st_size;
    how.is_moved = before.is_known && (!after.is_known || before.n != after.n || before.hash != after.hash || !is_as_long);
    if (is_real && !how.is_moved && after.is_plain)
        how.method = SQ_ERASE_overwritten_verified;
    else if (how.is_moved && how.n_pass == SQ_ERASE_PASSES)
        how.method = SQ_ERASE_overwritten_extents_moved;
    else
        how.method = SQ_ERASE_crypto_only;
    *out = how;
    return SQ_OK;
}

void sq_store_release_blocks(int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_size > 0)
        (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st.st_size); /* discards where mounted so */
    if (ftruncate(fd, 0) < 0)
        return; /* the file has no name any more: its blocks go when the last reader does */
}
