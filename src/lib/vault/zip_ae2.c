#include "lib/vault/zip_ae2.h"

#include "lib/core/clock.h"
#include "lib/vault/zip_ae2_internal.h"

#include <stdlib.h>

#define OUT_BYTES 65536u

struct entry {
    char name[SQ_ZIP_MAX_NAME_BYTES + 1];
    uint64_t offset, plain_bytes;
    bool is_streamed; /* size unknown at first: bit 3 and a descriptor */
};

struct sq_zip {
    sq_zip_sink_fn sink;
    void *ctx;
    uint16_t dos_time, dos_date;
    uint64_t written; /* bytes given to the sink */
    sq_err failed;    /* first error, returned ever after */
    struct entry *entries;
    size_t n_entry, cap_entry;
    struct zip_cipher *cipher; /* of the open entry; NULL between entries */
    uint64_t promised, plain_bytes;
    uint8_t out[OUT_BYTES];
};

/* seconds since 1970 to MS-DOS date and time, which know no zone: UTC */
static sq_err set_time(struct sq_zip *z, int64_t unix_s)
{
    char text[21];
    const int64_t first = INT64_C(315532800), last = INT64_C(4354819199); /* 1980-01-01 to 2107-12-31 */
    if (unix_s < first || unix_s > last)
        return sq_fail(SQ_ERANGE);
    sq_clock_text(unix_s, text); /* "2026-11-22T10:00:00Z" */
    unsigned year = (unsigned)strtoul(text, NULL, 10), month = (unsigned)strtoul(text + 5, NULL, 10);
    unsigned day = (unsigned)strtoul(text + 8, NULL, 10), of_day = (unsigned)(unix_s % SQ_DAY_S);
    z->dos_date = (uint16_t)((year - 1980) << 9 | month << 5 | day);
    z->dos_time = (uint16_t)(of_day / 3600 << 11 | of_day / 60 % 60 << 5 | of_day % 60 / 2);
    return SQ_OK;
}

sq_err sq_zip_new(sq_zip_sink_fn sink, void *ctx, int64_t unix_s, struct sq_zip **out)
{
    struct sq_zip *z = calloc(1, sizeof *z);
    if (!z)
        return sq_fail(SQ_ENOMEM);
    z->sink = sink;
    z->ctx = ctx;
    sq_err err = set_time(z, unix_s);
    if (err) {
        sq_zip_free(z);
        return err;
    }
    *out = z;
    return SQ_OK;
}

static sq_err put(struct sq_zip *z, const void *p, size_t n)
{
    sq_err err = z->sink(z->ctx, p, n);
    if (!err)
        z->written += n;
    return err;
}

static uint32_t low32(uint64_t v)
{
    return v >= ZIP_32 ? ZIP_32 : (uint32_t)v;
}

/* the 26 bytes that local and central records share, from "version needed" to "extra length" */
static void put_common(const struct sq_zip *z, const struct entry *e, uint32_t sealed, uint32_t plain, size_t n_extra,
                       uint8_t *p)
{
    sq_put_le16(p, ZIP_VERSION);
    sq_put_le16(p + 2, (uint16_t)(ZIP_FLAG_ENCRYPTED | (e->is_streamed ? ZIP_FLAG_DESCRIPTOR : 0)));
    sq_put_le16(p + 4, ZIP_METHOD_AES);
    sq_put_le16(p + 6, z->dos_time);
    sq_put_le16(p + 8, z->dos_date);
    sq_put_le32(p + 10, 0); /* CRC: AE-2 has none, it would tell about the plaintext */
    sq_put_le32(p + 14, sealed);
    sq_put_le32(p + 18, plain);
    sq_put_le16(p + 22, (uint16_t)strlen(e->name));
    sq_put_le16(p + 24, (uint16_t)n_extra);
}

static sq_err put_local(struct sq_zip *z, const struct entry *e, const struct sq_zip_keys *keys)
{
    uint8_t head[ZIP_LOCAL_BYTES], extra[20 + ZIP_AES_EXTRA_BYTES] = {0};
    size_t n_extra = 0;
    uint64_t sealed = e->plain_bytes + ZIP_AE2_BYTES;
    bool is_64 = e->is_streamed || sealed >= ZIP_32;
    if (is_64) { /* streamed: zeros, the descriptor has the numbers, in 8 bytes because this field is there */
        sq_put_le16(extra, 0x0001);
        sq_put_le16(extra + 2, 16);
        sq_put_le64(extra + 4, e->is_streamed ? 0 : e->plain_bytes);
        sq_put_le64(extra + 12, e->is_streamed ? 0 : sealed);
        n_extra = 20;
    }
    zip_aes_extra(extra + n_extra);
    n_extra += ZIP_AES_EXTRA_BYTES;
    sq_put_le32(head, ZIP_LOCAL);
    put_common(z, e, is_64 ? ZIP_32 : (uint32_t)sealed, is_64 ? ZIP_32 : (uint32_t)e->plain_bytes, n_extra, head + 4);
    sq_err err = put(z, head, sizeof head);
    if (err || (err = put(z, e->name, strlen(e->name))) || (err = put(z, extra, n_extra)) ||
        (err = put(z, keys->salt, sizeof keys->salt)))
        return err;
    return put(z, keys->verifier, sizeof keys->verifier);
}

static sq_err entry_begin(struct sq_zip *z, const char *name, const struct sq_zip_keys *keys, uint64_t plain_bytes)
{
    if (z->cipher)
        return sq_fail(SQ_ECONFLICT);
    if (!sq_zip_name_ok(name) || (plain_bytes != SQ_ZIP_UNKNOWN_BYTES && plain_bytes > INT64_MAX))
        return sq_fail(SQ_ERANGE);
    if (z->n_entry == SQ_ZIP_MAX_ENTRIES)
        return sq_fail(SQ_ELIMIT);
    for (size_t i = 0; i < z->n_entry; i++)
        if (strcmp(z->entries[i].name, name) == 0)
            return sq_fail(SQ_EEXISTS);
    if (z->n_entry == z->cap_entry) {
        size_t cap = z->cap_entry ? 2 * z->cap_entry : 16;
        struct entry *more = realloc(z->entries, cap * sizeof *more); /* names and sizes: nothing to wipe */
        if (!more)
            return sq_fail(SQ_ENOMEM);
        z->entries = more;
        z->cap_entry = cap;
    }
    struct entry *e = &z->entries[z->n_entry];
    *e = (struct entry){.offset = z->written, .is_streamed = plain_bytes == SQ_ZIP_UNKNOWN_BYTES};
    memcpy(e->name, name, strlen(name) + 1);
    e->plain_bytes = e->is_streamed ? 0 : plain_bytes;
    z->promised = plain_bytes;
    z->plain_bytes = 0;
    sq_err err = put_local(z, e, keys);
    if (err)
        return err;
    z->n_entry++;
    return zip_cipher_new(keys, &z->cipher);
}

sq_err sq_zip_entry_begin(struct sq_zip *z, const char *name, const struct sq_zip_keys *keys, uint64_t plain_bytes)
{
    if (!z->failed)
        z->failed = entry_begin(z, name, keys, plain_bytes);
    return z->failed;
}

static sq_err entry_write(struct sq_zip *z, const uint8_t *p, size_t n)
{
    if (!z->cipher)
        return sq_fail(SQ_ECONFLICT);
    if (z->promised != SQ_ZIP_UNKNOWN_BYTES && n > z->promised - z->plain_bytes)
        return sq_fail(SQ_ERANGE);
    while (n) {
        size_t take = n < OUT_BYTES ? n : OUT_BYTES;
        sq_err err = zip_cipher_seal(z->cipher, p, take, z->out);
        if (err || (err = put(z, z->out, take)))
            return err;
        z->plain_bytes += take;
        p += take;
        n -= take;
    }
    return SQ_OK;
}

sq_err sq_zip_write(struct sq_zip *z, const void *p, size_t n)
{
    if (!z->failed)
        z->failed = entry_write(z, p, n);
    return z->failed;
}

static sq_err entry_end(struct sq_zip *z)
{
    uint8_t mac[ZIP_MAC_BYTES], descriptor[24];
    if (!z->cipher)
        return sq_fail(SQ_ECONFLICT);
    struct entry *e = &z->entries[z->n_entry - 1];
    if (!e->is_streamed && z->plain_bytes != z->promised)
        return sq_fail(SQ_ERANGE);
    e->plain_bytes = z->plain_bytes;
    sq_err err = zip_cipher_mac(z->cipher, mac);
    zip_cipher_free(z->cipher);
    z->cipher = NULL;
    if (err || (err = put(z, mac, sizeof mac)) || !e->is_streamed)
        return err;
    sq_put_le32(descriptor, ZIP_DESCRIPTOR);
    sq_put_le32(descriptor + 4, 0);
    sq_put_le64(descriptor + 8, e->plain_bytes + ZIP_AE2_BYTES);
    sq_put_le64(descriptor + 16, e->plain_bytes);
    return put(z, descriptor, sizeof descriptor);
}

sq_err sq_zip_entry_end(struct sq_zip *z)
{
    if (!z->failed)
        z->failed = entry_end(z);
    return z->failed;
}

static sq_err put_central(struct sq_zip *z, const struct entry *e)
{
    uint8_t head[ZIP_CENTRAL_BYTES] = {0}, extra[28 + ZIP_AES_EXTRA_BYTES];
    size_t n_extra = 0;
    uint64_t sealed = e->plain_bytes + ZIP_AE2_BYTES;
    /* the zip64 field holds, in this order, just those that don't fit */
    if (e->plain_bytes >= ZIP_32)
        sq_put_le64(extra + 4 + n_extra, e->plain_bytes), n_extra += 8;
    if (sealed >= ZIP_32)
        sq_put_le64(extra + 4 + n_extra, sealed), n_extra += 8;
    if (e->offset >= ZIP_32)
        sq_put_le64(extra + 4 + n_extra, e->offset), n_extra += 8;
    if (n_extra) {
        sq_put_le16(extra, 0x0001);
        sq_put_le16(extra + 2, (uint16_t)n_extra);
        n_extra += 4;
    }
    zip_aes_extra(extra + n_extra);
    n_extra += ZIP_AES_EXTRA_BYTES;
    sq_put_le32(head, ZIP_CENTRAL);
    sq_put_le16(head + 4, ZIP_MADE_BY);
    put_common(z, e, low32(sealed), low32(e->plain_bytes), n_extra, head + 6);
    sq_put_le32(head + 38, ZIP_MODE); /* 32..37: no comment, disk 0, no internal attributes */
    sq_put_le32(head + 42, low32(e->offset));
    sq_err err = put(z, head, sizeof head);
    if (err || (err = put(z, e->name, strlen(e->name))))
        return err;
    return put(z, extra, n_extra);
}

static sq_err put_end(struct sq_zip *z, uint64_t at, uint64_t n_bytes)
{
    uint8_t end64[ZIP64_END_BYTES + ZIP64_LOCATOR_BYTES] = {0}, end[ZIP_END_BYTES] = {0};
    if (at >= ZIP_32 || n_bytes >= ZIP_32) {
        uint8_t *locator = end64 + ZIP64_END_BYTES;
        sq_put_le32(end64, ZIP64_END);
        sq_put_le64(end64 + 4, ZIP64_END_BYTES - 12);
        sq_put_le16(end64 + 12, ZIP_MADE_BY);
        sq_put_le16(end64 + 14, ZIP_VERSION);
        sq_put_le64(end64 + 24, z->n_entry);
        sq_put_le64(end64 + 32, z->n_entry);
        sq_put_le64(end64 + 40, n_bytes);
        sq_put_le64(end64 + 48, at);
        sq_put_le32(locator, ZIP64_LOCATOR);
        sq_put_le64(locator + 8, at + n_bytes);
        sq_put_le32(locator + 16, 1);
        sq_err err = put(z, end64, sizeof end64);
        if (err)
            return err;
    }
    sq_put_le32(end, ZIP_END);
    sq_put_le16(end + 8, (uint16_t)z->n_entry);
    sq_put_le16(end + 10, (uint16_t)z->n_entry);
    sq_put_le32(end + 12, low32(n_bytes));
    sq_put_le32(end + 16, low32(at));
    return put(z, end, sizeof end);
}

static sq_err close_zip(struct sq_zip *z)
{
    if (z->cipher)
        return sq_fail(SQ_ECONFLICT);
    uint64_t at = z->written;
    for (size_t i = 0; i < z->n_entry; i++) {
        sq_err err = put_central(z, &z->entries[i]);
        if (err)
            return err;
    }
    return put_end(z, at, z->written - at);
}

sq_err sq_zip_close(struct sq_zip *z, uint64_t *out_bytes)
{
    if (z->failed)
        return z->failed;
    sq_err err = close_zip(z);
    z->failed = err ? err : SQ_ECONFLICT; /* nothing may follow the directory */
    if (!err && out_bytes)
        *out_bytes = z->written;
    return err;
}

void sq_zip_free(struct sq_zip *z)
{
    if (!z)
        return;
    zip_cipher_free(z->cipher);
    free(z->entries);
    sq_wipe(z, sizeof *z);
    free(z);
}
