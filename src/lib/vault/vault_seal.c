#include "lib/vault/vault_seal.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"
#include "lib/vault/vault_internal.h"

#include <stdlib.h>

#define ROOM (SQ_VAULT_SEGMENT_BYTES - SQ_GCM_TAG_BYTES) /* header and plaintext in a segment */

struct sq_vault_sealer {
    uint8_t object_id[SQ_VAULT_ID_BYTES];
    int fd;
    sq_vault_key_fn key;
    void *ctx;
    struct sq_sha256 *sha;
    struct sq_vault_sum sum;
    sq_err failed; /* first error, returned ever after */

    struct sq_gcm *gcm; /* of the open part; NULL between parts */
    uint8_t prefix[VAULT_PREFIX_BYTES];
    uint64_t part_plain; /* plaintext bytes in the open part */
    uint32_t segment;    /* number of the segment in buf */
    size_t fill;         /* bytes in buf: [header] plaintext */
    uint8_t buf[SQ_VAULT_SEGMENT_BYTES];
};

sq_err sq_vault_sealer_new(const uint8_t object_id[SQ_VAULT_ID_BYTES], int fd, sq_vault_key_fn key, void *ctx,
                           struct sq_vault_sealer **out)
{
    struct sq_vault_sealer *s = calloc(1, sizeof *s);
    if (!s)
        return sq_fail(SQ_ENOMEM);
    memcpy(s->object_id, object_id, SQ_VAULT_ID_BYTES);
    s->fd = fd;
    s->key = key;
    s->ctx = ctx;
    sq_err err = sq_sha256_new(&s->sha);
    if (err) {
        sq_vault_sealer_free(s);
        return err;
    }
    *out = s;
    return SQ_OK;
}

static sq_err part_begin(struct sq_vault_sealer *s, uint32_t part_no)
{
    struct sq_key *derived = NULL;
    s->buf[0] = SQ_VAULT_HEADER_BYTES;
    sq_err err = s->key(s->ctx, part_no, s->buf + 1, &derived);
    if (err)
        return err;
    if (!(err = sq_random(s->prefix, VAULT_PREFIX_BYTES)))
        err = sq_gcm_new(sq_key_bytes(derived), &s->gcm);
    sq_key_free(derived);
    memcpy(s->buf + 1 + SQ_VAULT_SALT_BYTES, s->prefix, VAULT_PREFIX_BYTES);
    s->part_plain = 0;
    s->segment = 0;
    s->fill = SQ_VAULT_HEADER_BYTES;
    return err;
}

/* seal what is in buf, in place, and write it */
static sq_err segment_end(struct sq_vault_sealer *s, bool is_last)
{
    uint8_t nonce[SQ_GCM_NONCE_BYTES];
    size_t at = s->segment == 0 ? SQ_VAULT_HEADER_BYTES : 0;
    vault_nonce(s->prefix, s->segment, is_last, nonce);
    sq_err err = sq_gcm_seal(s->gcm, nonce, NULL, 0, s->buf + at, s->fill - at, s->buf + at);
    if (err || (err = sq_fault("vault.write")) || (err = sq_write_all(s->fd, s->buf, s->fill + SQ_GCM_TAG_BYTES)))
        return err;
    s->sum.sealed_bytes += s->fill + SQ_GCM_TAG_BYTES;
    s->segment++;
    s->fill = 0;
    return SQ_OK;
}

static sq_err part_end(struct sq_vault_sealer *s)
{
    sq_err err = segment_end(s, true);
    sq_gcm_free(s->gcm);
    s->gcm = NULL;
    return err;
}

/* add at most what the open part's present segment takes. A full segment waits for the next byte: only then is it known
 * not to be the last one. */
static sq_err part_add(struct sq_vault_sealer *s, const uint8_t *p, size_t n, size_t *out_taken)
{
    sq_err err;
    if (s->fill == ROOM && (err = segment_end(s, false)))
        return err;
    size_t take = ROOM - s->fill;
    if (take > n)
        take = n;
    if (take > SQ_VAULT_PART_BYTES - s->part_plain)
        take = (size_t)(SQ_VAULT_PART_BYTES - s->part_plain);
    memcpy(s->buf + s->fill, p, take);
    s->fill += take;
    s->part_plain += take;
    *out_taken = take;
    return SQ_OK;
}

static sq_err seal(struct sq_vault_sealer *s, const uint8_t *p, size_t n)
{
    sq_err err = sq_sha256_add(s->sha, p, n);
    while (n && !err) {
        size_t taken = 0;
        if (!s->gcm) {
            if (s->sum.n_part == SQ_VAULT_CLOSING_PART - 1)
                return sq_fail(SQ_ETOOBIG);
            if ((err = part_begin(s, s->sum.n_part)))
                break;
            s->sum.n_part++;
        }
        if ((err = part_add(s, p, n, &taken)))
            break;
        p += taken;
        n -= taken;
        s->sum.plain_bytes += taken;
        if (s->part_plain == SQ_VAULT_PART_BYTES)
            err = part_end(s);
    }
    return err;
}

sq_err sq_vault_seal(struct sq_vault_sealer *s, const void *p, size_t n)
{
    if (!s->failed)
        s->failed = seal(s, p, n);
    return s->failed;
}

/* docs/formats/sealed-object.md, "The closing part" */
static void trailer_bytes(const struct sq_vault_sealer *s, uint8_t out[SQ_VAULT_TRAILER_BYTES])
{
    memcpy(out, VAULT_VERSION, 4);
    sq_put_be32(out + 4, s->sum.n_part);
    sq_put_be64(out + 8, s->sum.plain_bytes);
    sq_put_be64(out + 16, s->sum.sealed_bytes + SQ_VAULT_CLOSING_BYTES);
    sq_put_be32(out + 24, (uint32_t)SQ_VAULT_PART_BYTES);
    sq_put_be32(out + 28, SQ_VAULT_SEGMENT_BYTES);
    memcpy(out + 32, s->object_id, SQ_VAULT_ID_BYTES);
    memcpy(out + 48, s->sum.sha256, SQ_SHA256_BYTES);
}

static sq_err close_object(struct sq_vault_sealer *s)
{
    uint8_t trailer[SQ_VAULT_TRAILER_BYTES];
    size_t taken = 0;
    sq_err err = s->gcm ? part_end(s) : SQ_OK;
    if (err || (err = sq_sha256_end(s->sha, s->sum.sha256)))
        return err;
    trailer_bytes(s, trailer);
    if ((err = part_begin(s, SQ_VAULT_CLOSING_PART)) || (err = part_add(s, trailer, sizeof trailer, &taken)))
        return err;
    return part_end(s);
}

sq_err sq_vault_seal_close(struct sq_vault_sealer *s, struct sq_vault_sum *out_sum)
{
    if (s->failed)
        return s->failed;
    sq_err err = close_object(s);
    s->failed = err ? err : SQ_ECONFLICT; /* nothing may follow a closing part */
    if (err)
        return err;
    sq_assert(s->sum.sealed_bytes == sq_vault_sealed_bytes(s->sum.plain_bytes));
    *out_sum = s->sum;
    return SQ_OK;
}

void sq_vault_sealer_free(struct sq_vault_sealer *s)
{
    if (!s)
        return;
    sq_gcm_free(s->gcm);
    sq_sha256_free(s->sha);
    sq_wipe(s, sizeof *s);
    free(s);
}
