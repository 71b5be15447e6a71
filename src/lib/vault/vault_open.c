#include "lib/vault/vault_open.h"

#include "lib/core/file.h"
#include "lib/vault/vault_open_internal.h"

#include <stdlib.h>
#include <sys/stat.h>

#define NO_PART SQ_VAULT_CLOSING_PART
#define NO_SEGMENT UINT32_MAX

struct sq_vault_opener {
    uint8_t object_id[SQ_VAULT_ID_BYTES];
    int fd;
    sq_vault_open_key_fn key;
    void *ctx;
    struct sq_vault_sum sum;

    struct sq_sha256 *sha; /* of bytes 0..hashed, as long as they are read in order */
    uint64_t hashed;
    bool is_verified;

    uint32_t part_no; /* whose key is in gcm; NO_PART: none */
    struct sq_gcm *gcm;
    uint8_t prefix[VAULT_PREFIX_BYTES];
    uint32_t segment; /* which is in buf; NO_SEGMENT: none */
    size_t n_buf;
    uint8_t buf[SQ_VAULT_SEGMENT_BYTES];
};

sq_err vault_stream_open(const uint8_t derived[SQ_KEY_BYTES], uint32_t segment_bytes, const uint8_t *in, size_t n,
                         uint8_t *out, size_t *out_n)
{
    if (n < SQ_VAULT_HEADER_BYTES + SQ_GCM_TAG_BYTES || in[0] != SQ_VAULT_HEADER_BYTES)
        return sq_fail(SQ_ETAMPERED);
    struct sq_gcm *gcm = NULL;
    uint8_t nonce[SQ_GCM_NONCE_BYTES];
    size_t n_made = 0;
    sq_err err = sq_gcm_new(derived, &gcm);
    size_t end = 0; /* of the segment, in the stream */
    for (uint32_t i = 0; end < n && !err; i++) {
        size_t at = i == 0 ? SQ_VAULT_HEADER_BYTES : end;
        end = n - end < segment_bytes ? n : end + segment_bytes;
        vault_nonce(in + 1 + SQ_VAULT_SALT_BYTES, i, end == n, nonce);
        err = sq_gcm_open(gcm, nonce, NULL, 0, in + at, end - at, out + n_made);
        if (!err)
            n_made += end - at - SQ_GCM_TAG_BYTES;
    }
    sq_gcm_free(gcm);
    if (err)
        sq_wipe(out, n_made);
    else
        *out_n = n_made;
    return err;
}

/* bytes that must be there: fewer mean that the file was cut */
static sq_err pread_exact(int fd, void *p, size_t n, uint64_t at)
{
    size_t n_read = 0;
    if (at > INT64_MAX - n)
        return sq_fail(SQ_ERANGE);
    sq_err err = sq_pread_full(fd, p, n, (off_t)at, &n_read);
    if (err)
        return err;
    return n_read == n ? SQ_OK : sq_fail(SQ_ETRUNCATED);
}

/* number of parts and bytes of plaintext, from the file's length alone; not every length can be one of a closed object */
static sq_err shape_of(uint64_t sealed_bytes, struct sq_vault_sum *out)
{
    if (sealed_bytes < SQ_VAULT_CLOSING_BYTES)
        return sq_fail(SQ_ETRUNCATED);
    uint64_t body = sealed_bytes - SQ_VAULT_CLOSING_BYTES;
    uint64_t full = body / SQ_VAULT_PART_SEALED_BYTES, rest = body % SQ_VAULT_PART_SEALED_BYTES, plain = 0;
    if (full >= SQ_VAULT_CLOSING_PART - 1)
        return sq_fail(SQ_ETAMPERED);
    if (rest) {
        uint64_t n_segment = (rest + SQ_VAULT_SEGMENT_BYTES - 1) / SQ_VAULT_SEGMENT_BYTES;
        uint64_t extra = SQ_VAULT_HEADER_BYTES + SQ_GCM_TAG_BYTES * n_segment;
        if (rest <= extra || vault_part_sealed(rest - extra) != rest)
            return sq_fail(SQ_ETRUNCATED);
        plain = rest - extra;
    }
    *out = (struct sq_vault_sum){.n_part = (uint32_t)(full + (rest ? 1 : 0)),
                                 .plain_bytes = full * SQ_VAULT_PART_BYTES + plain,
                                 .sealed_bytes = sealed_bytes};
    return SQ_OK;
}

/* the trailer against what the length says */
static sq_err trailer_check(const uint8_t *t, const uint8_t *object_id, struct sq_vault_sum *sum)
{
    if (memcmp(t, VAULT_VERSION, 4) || sq_get_be32(t + 24) != SQ_VAULT_PART_BYTES ||
        sq_get_be32(t + 28) != SQ_VAULT_SEGMENT_BYTES || memcmp(t + 32, object_id, SQ_VAULT_ID_BYTES))
        return sq_fail(SQ_ETAMPERED);
    if (sq_get_be64(t + 16) > sum->sealed_bytes) /* parts are missing before the closing part */
        return sq_fail(SQ_ETRUNCATED);
    if (sq_get_be32(t + 4) != sum->n_part || sq_get_be64(t + 8) != sum->plain_bytes ||
        sq_get_be64(t + 16) != sum->sealed_bytes)
        return sq_fail(SQ_ETAMPERED);
    memcpy(sum->sha256, t + 48, SQ_SHA256_BYTES);
    return SQ_OK;
}

static sq_err closing_read(struct sq_vault_opener *o)
{
    uint8_t sealed[SQ_VAULT_CLOSING_BYTES], trailer[SQ_VAULT_CLOSING_BYTES];
    struct sq_key *derived = NULL;
    size_t n = 0;
    sq_err err = pread_exact(o->fd, sealed, sizeof sealed, o->sum.sealed_bytes - sizeof sealed);
    if (err)
        return err;
    if (sealed[0] != SQ_VAULT_HEADER_BYTES)
        return sq_fail(SQ_ETAMPERED);
    if ((err = o->key(o->ctx, SQ_VAULT_CLOSING_PART, sealed + 1, &derived)))
        return err;
    err = vault_stream_open(sq_key_bytes(derived), SQ_VAULT_SEGMENT_BYTES, sealed, sizeof sealed, trailer, &n);
    sq_key_free(derived);
    if (err)
        return err;
    sq_assert(n == SQ_VAULT_TRAILER_BYTES);
    return trailer_check(trailer, o->object_id, &o->sum);
}

sq_err sq_vault_opener_new(const uint8_t object_id[SQ_VAULT_ID_BYTES], int fd, uint64_t sealed_bytes,
                           sq_vault_open_key_fn key, void *ctx, struct sq_vault_opener **out)
{
    struct stat st;
    if (fstat(fd, &st))
        return sq_err_errno();
    if (st.st_size < 0 || (uint64_t)st.st_size < sealed_bytes)
        return sq_fail(SQ_ETRUNCATED);
    if ((uint64_t)st.st_size > sealed_bytes)
        return sq_fail(SQ_ETAMPERED);
    struct sq_vault_opener *o = calloc(1, sizeof *o);
    if (!o)
        return sq_fail(SQ_ENOMEM);
    memcpy(o->object_id, object_id, SQ_VAULT_ID_BYTES);
    o->fd = fd;
    o->key = key;
    o->ctx = ctx;
    o->part_no = NO_PART;
    o->segment = NO_SEGMENT;
    sq_err err = shape_of(sealed_bytes, &o->sum);
    if (!err)
        err = closing_read(o);
    if (!err)
        err = sq_sha256_new(&o->sha);
    if (!err && o->sum.plain_bytes == 0)
        err = sq_vault_verify(o);
    if (err) {
        sq_vault_opener_free(o);
        return err;
    }
    *out = o;
    return SQ_OK;
}

uint64_t sq_vault_opener_plain_bytes(const struct sq_vault_opener *o)
{
    return o->sum.plain_bytes;
}

const struct sq_vault_sum *sq_vault_opener_sum(const struct sq_vault_opener *o)
{
    return &o->sum;
}

static sq_err part_load(struct sq_vault_opener *o, uint32_t part_no)
{
    uint8_t header[SQ_VAULT_HEADER_BYTES];
    struct sq_key *derived = NULL;
    sq_gcm_free(o->gcm);
    o->gcm = NULL;
    o->part_no = NO_PART;
    o->segment = NO_SEGMENT;
    sq_err err = pread_exact(o->fd, header, sizeof header, part_no * SQ_VAULT_PART_SEALED_BYTES);
    if (err)
        return err;
    if (header[0] != SQ_VAULT_HEADER_BYTES)
        return sq_fail(SQ_ETAMPERED);
    if ((err = o->key(o->ctx, part_no, header + 1, &derived)))
        return err;
    err = sq_gcm_new(sq_key_bytes(derived), &o->gcm);
    sq_key_free(derived);
    if (err)
        return err;
    memcpy(o->prefix, header + 1 + SQ_VAULT_SALT_BYTES, VAULT_PREFIX_BYTES);
    o->part_no = part_no;
    return SQ_OK;
}

/* segment @i of the part in hand, opened in place in buf */
static sq_err segment_load(struct sq_vault_opener *o, uint32_t i)
{
    uint64_t left = o->sum.plain_bytes - o->part_no * SQ_VAULT_PART_BYTES;
    uint64_t part_plain = left < SQ_VAULT_PART_BYTES ? left : SQ_VAULT_PART_BYTES;
    uint64_t part_sealed = vault_part_sealed(part_plain);
    uint64_t from = i == 0 ? SQ_VAULT_HEADER_BYTES : (uint64_t)i * SQ_VAULT_SEGMENT_BYTES;
    uint64_t to = (uint64_t)(i + 1) * SQ_VAULT_SEGMENT_BYTES;
    bool is_last = to >= part_sealed;
    if (is_last)
        to = part_sealed;
    size_t n = (size_t)(to - from);
    uint8_t nonce[SQ_GCM_NONCE_BYTES];
    o->segment = NO_SEGMENT;
    sq_err err = pread_exact(o->fd, o->buf, n, o->part_no * SQ_VAULT_PART_SEALED_BYTES + from);
    if (err)
        return err;
    vault_nonce(o->prefix, i, is_last, nonce);
    if ((err = sq_gcm_open(o->gcm, nonce, NULL, 0, o->buf, n, o->buf)))
        return err;
    o->segment = i;
    o->n_buf = n - SQ_GCM_TAG_BYTES;
    return SQ_OK;
}

/* the segment with plaintext byte @offset into buf; *out_at: where in buf it lies */
static sq_err seek(struct sq_vault_opener *o, uint64_t offset, size_t *out_at)
{
    const uint64_t first = SQ_VAULT_SEGMENT_BYTES - SQ_VAULT_HEADER_BYTES - SQ_GCM_TAG_BYTES;
    const uint64_t other = SQ_VAULT_SEGMENT_BYTES - SQ_GCM_TAG_BYTES;
    uint32_t part_no = (uint32_t)(offset / SQ_VAULT_PART_BYTES);
    uint64_t q = offset % SQ_VAULT_PART_BYTES;
    uint32_t segment = q < first ? 0 : (uint32_t)(1 + (q - first) / other);
    sq_err err = SQ_OK;
    if (part_no != o->part_no)
        err = part_load(o, part_no);
    if (!err && segment != o->segment)
        err = segment_load(o, segment);
    if (!err)
        *out_at = (size_t)(q < first ? q : (q - first) % other);
    return err;
}

void sq_vault_opener_tags_only(struct sq_vault_opener *o)
{
    o->is_verified = true;
}

/* hash what continues the bytes read in order so far; compare at the end */
static sq_err hash_on(struct sq_vault_opener *o, uint64_t offset, const uint8_t *p, size_t n)
{
    uint8_t sha[SQ_SHA256_BYTES];
    if (o->is_verified || offset > o->hashed || offset + n < o->hashed)
        return SQ_OK;
    size_t skip = (size_t)(o->hashed - offset);
    sq_err err = sq_sha256_add(o->sha, p + skip, n - skip);
    if (err)
        return err;
    o->hashed = offset + n;
    if (o->hashed < o->sum.plain_bytes)
        return SQ_OK;
    if ((err = sq_sha256_end(o->sha, sha)))
        return err;
    if (memcmp(sha, o->sum.sha256, sizeof sha)) {
        o->hashed = 0; /* the hash began anew: the next reader in order finds it again */
        return sq_fail(SQ_ETAMPERED);
    }
    o->is_verified = true;
    return SQ_OK;
}

sq_err sq_vault_read(struct sq_vault_opener *o, uint64_t offset, void *out, size_t n, size_t *out_n)
{
    uint8_t *p = out;
    size_t done = 0, at = 0;
    sq_err err = SQ_OK;
    if (offset >= o->sum.plain_bytes)
        n = 0;
    else if (n > o->sum.plain_bytes - offset)
        n = (size_t)(o->sum.plain_bytes - offset);
    while (done < n && !err) {
        if ((err = seek(o, offset + done, &at)))
            break;
        size_t take = o->n_buf - at < n - done ? o->n_buf - at : n - done;
        memcpy(p + done, o->buf + at, take);
        err = hash_on(o, offset + done, p + done, take);
        done += take;
    }
    if (err) {
        if (done)
            sq_wipe(p, done);
        return err;
    }
    *out_n = n;
    return SQ_OK;
}

sq_err sq_vault_verify(struct sq_vault_opener *o)
{
    size_t at = 0;
    sq_err err = SQ_OK;
    if (o->sum.plain_bytes == 0)
        return hash_on(o, 0, o->buf, 0);
    while (!o->is_verified && !err)
        if (!(err = seek(o, o->hashed, &at)))
            err = hash_on(o, o->hashed, o->buf + at, o->n_buf - at);
    return err;
}

void sq_vault_opener_free(struct sq_vault_opener *o)
{
    if (!o)
        return;
    sq_gcm_free(o->gcm);
    sq_sha256_free(o->sha);
    sq_wipe(o, sizeof *o);
    free(o);
}
