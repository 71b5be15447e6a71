#include "lib/vault/seal_to_internal.h"

#include <stdlib.h>

sq_err sq_seal_to_new(const struct sq_recipient *to, sq_seal_to_sink_fn sink, void *ctx, struct sq_seal_to **out)
{
    struct sq_seal_to *s = calloc(1, sizeof *s);
    if (!s)
        return sq_fail(SQ_ENOMEM);
    *s = (struct sq_seal_to){.sink = sink, .ctx = ctx, .kind = to->kind};
    sq_err err = sq_secret_new(CHUNK_BYTES, &s->plain);
    if (!err)
        err = to->kind == SQ_RECIPIENT_AGE ? seal_to_begin_age(s, to->x25519)
              : to->kind == SQ_RECIPIENT_CRYPT4GH ? seal_to_begin_c4gh(s, to->x25519) : sq_fail(SQ_ERANGE);
    if (err)
        sq_seal_to_free(s);
    else
        *out = s;
    return err;
}

static sq_err put_chunk(struct sq_seal_to *s, bool is_last)
{
    size_t n = 0;
    sq_err err = s->kind == SQ_RECIPIENT_AGE ? seal_to_chunk_age(s, is_last, &n) : seal_to_chunk_c4gh(s, &n);
    if (!err)
        err = s->sink(s->ctx, s->sealed, n);
    s->n_chunk++;
    s->n_plain = 0;
    return err;
}

/* A full chunk waits until more comes: whether it is the last one must be known. */
static sq_err add(struct sq_seal_to *s, const uint8_t *p, size_t n)
{
    while (n) {
        if (s->n_plain == CHUNK_BYTES) {
            sq_err err = put_chunk(s, false);
            if (err)
                return err;
        }
        size_t take = n < CHUNK_BYTES - s->n_plain ? n : CHUNK_BYTES - s->n_plain;
        memcpy(s->plain + s->n_plain, p, take);
        s->n_plain += take;
        p += take;
        n -= take;
    }
    return SQ_OK;
}

sq_err sq_seal_to_write(struct sq_seal_to *s, const void *p, size_t n)
{
    if (!s->failed)
        s->failed = add(s, p, n);
    return s->failed;
}

sq_err sq_seal_to_close(struct sq_seal_to *s)
{
    if (s->failed)
        return s->failed;
    sq_err err = s->kind == SQ_RECIPIENT_AGE || s->n_plain ? put_chunk(s, true) : SQ_OK; /* age has a last chunk, even an empty one */
    s->failed = err ? err : SQ_ECONFLICT;
    return err;
}

void sq_seal_to_free(struct sq_seal_to *s)
{
    if (!s)
        return;
    sq_chacha_free(s->cipher);
    sq_secret_free(s->plain, CHUNK_BYTES);
    free(s);
}
