#include "lib/identity/identity.h"

#include <jansson.h>
#include <stdlib.h>

/* ---- JSON memory: tokens and passwords pass through it, so a block remembers its size and is wiped ---- */

union block {
    size_t n;
    max_align_t align;
};

static void *wiping_malloc(size_t n)
{
    if (n > SIZE_MAX - sizeof(union block))
        return NULL;
    union block *b = malloc(sizeof *b + n);
    if (!b)
        return NULL;
    b->n = n;
    return b + 1;
}

static void wiping_free(void *p)
{
    if (!p)
        return;
    union block *b = (union block *)p - 1;
    sq_wipe(p, b->n);
    free(b);
}

sq_err sq_identity_start(void)
{
    size_t seed;
    sq_err err = sq_random(&seed, sizeof seed);
    if (err)
        return err;
    json_set_alloc_funcs(wiping_malloc, wiping_free);
    json_object_seed(seed | 1); /* 0 would mean: read /dev/urandom */
    return SQ_OK;
}

/* ---- accounts ---- */

const char *sq_account_state_name(enum sq_account_state state)
{
    switch (state) {
    case SQ_ACCOUNT_ACTIVE:
        return "active";
    case SQ_ACCOUNT_DISABLED:
        return "disabled";
    case SQ_ACCOUNT_DELETED:
        return "deleted";
    }
    return "unknown";
}

bool sq_account_may_sign_in(enum sq_account_state state)
{
    return state == SQ_ACCOUNT_ACTIVE;
}

uint32_t sq_account_wait_s(uint32_t n_failure)
{
    if (n_failure < 5)
        return 0;
    uint32_t wait_s = 60;
    for (uint32_t i = 5; i < n_failure && wait_s < 1800; i++)
        wait_s *= 2;
    return wait_s < 1800 ? wait_s : 1800;
}
