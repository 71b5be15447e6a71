/*
 * Keys in slots of 32 bytes. An arena is four pages between two inaccessible ones:
 *
 *     [guard] [page page page page] [guard]        512 keys; all four pages locked and left out of core dumps
 *
 * An overrun from outside ends in a guard page; the list of what is taken lies elsewhere, on the heap's side.
 * A struct sq_key is its slot: the pointer itself is the handle, so a key costs nothing more.
 */
#include "lib/crypt/crypt_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES 4096u /* x86-64 and arm64 as Debian builds them; checked at the first arena */
#define ARENA_BYTES (4 * PAGE_BYTES)
#define ARENA_SLOTS (ARENA_BYTES / SQ_KEY_BYTES)
#define MAX_ARENAS 64 /* 1 MiB locked, 32,768 keys */
#define SECRET_MAX_BYTES (1u << 20)

struct sq_key {
    uint8_t bytes[SQ_KEY_BYTES];
};

struct arena {
    uint8_t *slots; /* NULL: not made yet */
    unsigned n_taken;
    uint64_t taken[ARENA_SLOTS / 64];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct arena arenas[MAX_ARENAS];

/* n bytes (whole pages) between two guard pages */
static sq_err guarded_map(size_t n, uint8_t **out)
{
    sq_assert(sysconf(_SC_PAGESIZE) == PAGE_BYTES);
    uint8_t *p = mmap(NULL, n + 2 * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return sq_fail(SQ_ENOMEM);
    uint8_t *middle = p + PAGE_BYTES;
    if (mprotect(middle, n, PROT_READ | PROT_WRITE) || madvise(middle, n, MADV_DONTDUMP) || mlock(middle, n)) {
        munmap(p, n + 2 * PAGE_BYTES);
        return sq_fail(SQ_ENOMEM);
    }
    *out = middle;
    return SQ_OK;
}

static void guarded_unmap(uint8_t *middle, size_t n)
{
    sq_wipe(middle, n);
    munmap(middle - PAGE_BYTES, n + 2 * PAGE_BYTES); /* unlocks too */
}

static uint8_t *take_slot(struct arena *a)
{
    for (unsigned w = 0; w < ARENA_SLOTS / 64; w++) {
        if (a->taken[w] == UINT64_MAX)
            continue;
        unsigned bit = (unsigned)__builtin_ctzll(~a->taken[w]);
        a->taken[w] |= UINT64_C(1) << bit;
        a->n_taken++;
        return a->slots + (size_t)(w * 64 + bit) * SQ_KEY_BYTES;
    }
    return NULL;
}

sq_err crypt_key_slot(uint8_t **out_slot, struct sq_key **out_key)
{
    sq_err err = SQ_OK;
    uint8_t *slot = NULL;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < MAX_ARENAS && !slot && !err; i++) {
        if (!arenas[i].slots)
            err = guarded_map(ARENA_BYTES, &arenas[i].slots);
        if (!err)
            slot = take_slot(&arenas[i]);
    }
    pthread_mutex_unlock(&lock);
    if (err)
        return err;
    if (!slot)
        return sq_fail(SQ_ENOMEM);
    *out_slot = slot;
    *out_key = (struct sq_key *)slot;
    return SQ_OK;
}

sq_err sq_key_new(struct sq_key **out_key)
{
    uint8_t *slot;
    struct sq_key *key;
    sq_err err = crypt_key_slot(&slot, &key);
    if (err)
        return err;
    if ((err = sq_random(slot, SQ_KEY_BYTES))) {
        sq_key_free(key);
        return err;
    }
    *out_key = key;
    return SQ_OK;
}

sq_err sq_key_from(const uint8_t bytes[SQ_KEY_BYTES], struct sq_key **out_key)
{
    uint8_t *slot;
    struct sq_key *key;
    sq_err err = crypt_key_slot(&slot, &key);
    if (err)
        return err;
    memcpy(slot, bytes, SQ_KEY_BYTES);
    *out_key = key;
    return SQ_OK;
}

const uint8_t *sq_key_bytes(const struct sq_key *key)
{
    sq_assert(key);
    return key->bytes;
}

void sq_key_free(struct sq_key *key)
{
    if (!key)
        return;
    sq_wipe(key->bytes, SQ_KEY_BYTES);
    bool is_found = false;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < MAX_ARENAS && arenas[i].slots && !is_found; i++) {
        uintptr_t at = (uintptr_t)key - (uintptr_t)arenas[i].slots; /* wraps when below: then it is too large */
        if (at >= ARENA_BYTES)
            continue;
        unsigned slot = (unsigned)(at / SQ_KEY_BYTES);
        uint64_t bit = UINT64_C(1) << (slot % 64);
        sq_assert(at % SQ_KEY_BYTES == 0 && (arenas[i].taken[slot / 64] & bit)); /* else a double free */
        arenas[i].taken[slot / 64] &= ~bit;
        arenas[i].n_taken--;
        is_found = true;
    }
    pthread_mutex_unlock(&lock);
    sq_assert(is_found);
}

/* ---- secrets of other sizes: a mapping each, the bytes pushed against the upper guard page ---- */

static size_t whole_pages(size_t n)
{
    return (n + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static size_t padded(size_t n)
{
    return n ? (n + 15) / 16 * 16 : 16;
}

sq_err sq_secret_new(size_t n, uint8_t **out_p)
{
    if (n > SECRET_MAX_BYTES)
        return sq_fail(SQ_ERANGE);
    uint8_t *middle;
    sq_err err = guarded_map(whole_pages(padded(n)), &middle);
    if (err)
        return err;
    *out_p = middle + whole_pages(padded(n)) - padded(n);
    return SQ_OK;
}

void sq_secret_free(uint8_t *p, size_t n)
{
    if (!p)
        return;
    size_t bytes = whole_pages(padded(n));
    uint8_t *middle = p + padded(n) - bytes;
    sq_assert((uintptr_t)middle % PAGE_BYTES == 0); /* else @n isn't the size that it was made with */
    guarded_unmap(middle, bytes);
}
