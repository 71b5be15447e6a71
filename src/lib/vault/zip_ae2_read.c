#include "lib/vault/zip_ae2_read.h"

#include "lib/core/file.h"
#include "lib/vault/zip_ae2_internal.h"

#include <stdlib.h>
#include <sys/stat.h>

#define MAX_CENTRAL_BYTES (SQ_ZIP_MAX_ENTRIES * (ZIP_CENTRAL_BYTES + SQ_ZIP_MAX_NAME_BYTES + 28u + ZIP_AES_EXTRA_BYTES))
#define CHUNK_BYTES 65536u

struct found {
    char name[SQ_ZIP_MAX_NAME_BYTES + 1];
    uint64_t offset, plain_bytes; /* offset of the local record */
    uint64_t data;                /* offset of the salt */
    bool is_streamed;
};

struct sq_unzip {
    int fd;
    struct found *entries;
    size_t n_entry;
    uint8_t in[CHUNK_BYTES], out[CHUNK_BYTES];
};

static sq_err pread_exact(int fd, void *p, size_t n, uint64_t at)
{
    size_t n_read = 0;
    if (at > INT64_MAX - n)
        return sq_fail(SQ_ETAMPERED);
    sq_err err = sq_pread_full(fd, p, n, (off_t)at, &n_read);
    if (err)
        return err;
    return n_read == n ? SQ_OK : sq_fail(SQ_ETRUNCATED);
}

/* where the directory lies, from the end of the file back: no comment, so everything has its place */
struct directory {
    uint64_t at, n_bytes, n_entry;
};

static sq_err find_directory64(int fd, uint64_t end_at, struct directory *out)
{
    uint8_t r[ZIP64_END_BYTES + ZIP64_LOCATOR_BYTES];
    const uint8_t *locator = r + ZIP64_END_BYTES;
    if (end_at < sizeof r)
        return sq_fail(SQ_ETRUNCATED);
    sq_err err = pread_exact(fd, r, sizeof r, end_at - sizeof r);
    if (err)
        return err;
    if (sq_get_le32(locator) != ZIP64_LOCATOR || sq_get_le32(locator + 4) || sq_get_le32(locator + 16) != 1 ||
        sq_get_le64(locator + 8) != end_at - sizeof r || sq_get_le32(r) != ZIP64_END ||
        sq_get_le64(r + 4) != ZIP64_END_BYTES - 12 || sq_get_le16(r + 12) != ZIP_MADE_BY ||
        sq_get_le16(r + 14) != ZIP_VERSION || sq_get_le64(r + 16) || sq_get_le64(r + 24) != sq_get_le64(r + 32))
        return sq_fail(SQ_ETAMPERED);
    *out = (struct directory){.at = sq_get_le64(r + 48), .n_bytes = sq_get_le64(r + 40), .n_entry = sq_get_le64(r + 32)};
    if (out->at > end_at - sizeof r || out->n_bytes != end_at - sizeof r - out->at)
        return sq_fail(SQ_ETAMPERED);
    return SQ_OK;
}

static sq_err find_directory(int fd, struct directory *out)
{
    uint8_t end[ZIP_END_BYTES];
    struct stat st;
    if (fstat(fd, &st))
        return sq_err_errno();
    if (st.st_size < (off_t)ZIP_END_BYTES)
        return sq_fail(SQ_ETRUNCATED);
    uint64_t end_at = (uint64_t)st.st_size - ZIP_END_BYTES;
    sq_err err = pread_exact(fd, end, sizeof end, end_at);
    if (err)
        return err;
    if (sq_get_le32(end) != ZIP_END)
        return sq_fail(SQ_ETRUNCATED); /* most likely an unfinished download */
    uint32_t n_entry = sq_get_le16(end + 10), n_bytes = sq_get_le32(end + 12), at = sq_get_le32(end + 16);
    if (sq_get_le32(end + 4) || sq_get_le16(end + 8) != n_entry || sq_get_le16(end + 20))
        return sq_fail(SQ_ETAMPERED);
    if (n_bytes == ZIP_32 || at == ZIP_32) {
        if ((err = find_directory64(fd, end_at, out)))
            return err;
        if (out->n_entry != n_entry || (n_bytes != ZIP_32 && out->n_bytes != n_bytes) || (at != ZIP_32 && out->at != at))
            return sq_fail(SQ_ETAMPERED);
    } else {
        *out = (struct directory){.at = at, .n_bytes = n_bytes, .n_entry = n_entry};
        if (out->at > end_at || out->n_bytes != end_at - out->at)
            return sq_fail(SQ_ETAMPERED);
    }
    if (out->n_entry > SQ_ZIP_MAX_ENTRIES || out->n_bytes > MAX_CENTRAL_BYTES)
        return sq_fail(SQ_ELIMIT);
    return SQ_OK;
}

/* one 8-byte number of the zip64 field, if the 32-bit one says that it is there */
static bool take64(uint32_t small, const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    if (small != ZIP_32) {
        *out = small;
        return true;
    }
    if (end - *p < 8)
        return false;
    *out = sq_get_le64(*p);
    *p += 8;
    return *out >= ZIP_32; /* we write the small form whenever it fits */
}

/* extra fields of a central record: [zip64] aes, nothing else */
static bool central_extra(const uint8_t *head, const uint8_t *extra, size_t n, struct found *out)
{
    uint8_t aes[ZIP_AES_EXTRA_BYTES];
    uint32_t sealed32 = sq_get_le32(head + 20), plain32 = sq_get_le32(head + 24), offset32 = sq_get_le32(head + 42);
    uint64_t sealed;
    size_t n64 = (sealed32 == ZIP_32 ? 8u : 0) + (plain32 == ZIP_32 ? 8u : 0) + (offset32 == ZIP_32 ? 8u : 0);
    if (n != ZIP_AES_EXTRA_BYTES + (n64 ? n64 + 4 : 0))
        return false;
    const uint8_t *p = extra, *end = extra + n - ZIP_AES_EXTRA_BYTES;
    if (n64) {
        if (sq_get_le16(p) != 0x0001 || sq_get_le16(p + 2) != n64)
            return false;
        p += 4;
    }
    if (!take64(plain32, &p, end, &out->plain_bytes) || !take64(sealed32, &p, end, &sealed) ||
        !take64(offset32, &p, end, &out->offset) || p != end)
        return false;
    zip_aes_extra(aes);
    return memcmp(p, aes, sizeof aes) == 0 && out->plain_bytes <= INT64_MAX &&
           sealed == out->plain_bytes + ZIP_AE2_BYTES;
}

/* record at @p, at most @n bytes; *out_n: its length */
static sq_err central_record(const uint8_t *p, size_t n, struct found *out, size_t *out_n)
{
    if (n < ZIP_CENTRAL_BYTES || sq_get_le32(p) != ZIP_CENTRAL)
        return sq_fail(SQ_ETAMPERED);
    size_t n_name = sq_get_le16(p + 28), n_extra = sq_get_le16(p + 30);
    uint16_t flags = sq_get_le16(p + 8);
    if (sq_get_le16(p + 4) != ZIP_MADE_BY || sq_get_le16(p + 6) != ZIP_VERSION || (flags & ~ZIP_FLAG_DESCRIPTOR) != ZIP_FLAG_ENCRYPTED ||
        sq_get_le16(p + 10) != ZIP_METHOD_AES || sq_get_le32(p + 16) || sq_get_le16(p + 32) || sq_get_le32(p + 34) ||
        sq_get_le32(p + 38) != ZIP_MODE || n_name > SQ_ZIP_MAX_NAME_BYTES || n - ZIP_CENTRAL_BYTES < n_name + n_extra)
        return sq_fail(SQ_ETAMPERED);
    *out = (struct found){.is_streamed = flags & ZIP_FLAG_DESCRIPTOR};
    memcpy(out->name, p + ZIP_CENTRAL_BYTES, n_name);
    if (strlen(out->name) != n_name || !sq_zip_name_ok(out->name) ||
        !central_extra(p, p + ZIP_CENTRAL_BYTES + n_name, n_extra, out))
        return sq_fail(SQ_ETAMPERED);
    *out_n = ZIP_CENTRAL_BYTES + n_name + n_extra;
    return SQ_OK;
}

/* the local record must say what the central one says; sets e->data */
static sq_err local_record(int fd, const uint8_t *central, struct found *e)
{
    uint8_t r[ZIP_LOCAL_BYTES + SQ_ZIP_MAX_NAME_BYTES + 20 + ZIP_AES_EXTRA_BYTES], aes[ZIP_AES_EXTRA_BYTES];
    uint64_t sealed = e->plain_bytes + ZIP_AE2_BYTES;
    bool is_64 = e->is_streamed || sealed >= ZIP_32;
    size_t n_name = strlen(e->name), n_extra = ZIP_AES_EXTRA_BYTES + (is_64 ? 20 : 0);
    size_t n = ZIP_LOCAL_BYTES + n_name + n_extra;
    sq_err err = pread_exact(fd, r, n, e->offset);
    if (err)
        return err;
    const uint8_t *extra = r + ZIP_LOCAL_BYTES + n_name;
    /* version, flags, method, time, date, CRC: byte for byte those of the central record */
    if (sq_get_le32(r) != ZIP_LOCAL || memcmp(r + 4, central + 6, 14) || sq_get_le16(r + 26) != n_name ||
        sq_get_le16(r + 28) != n_extra || memcmp(r + ZIP_LOCAL_BYTES, e->name, n_name))
        return sq_fail(SQ_ETAMPERED);
    if (sq_get_le32(r + 18) != (is_64 ? ZIP_32 : (uint32_t)sealed) ||
        sq_get_le32(r + 22) != (is_64 ? ZIP_32 : (uint32_t)e->plain_bytes))
        return sq_fail(SQ_ETAMPERED);
    if (is_64) {
        uint64_t plain64 = sq_get_le64(extra + 4), sealed64 = sq_get_le64(extra + 12);
        if (sq_get_le16(extra) != 0x0001 || sq_get_le16(extra + 2) != 16 ||
            plain64 != (e->is_streamed ? 0 : e->plain_bytes) || sealed64 != (e->is_streamed ? 0 : sealed))
            return sq_fail(SQ_ETAMPERED);
        extra += 20;
    }
    zip_aes_extra(aes);
    if (memcmp(extra, aes, sizeof aes))
        return sq_fail(SQ_ETAMPERED);
    e->data = e->offset + n;
    return SQ_OK;
}

static sq_err descriptor(int fd, const struct found *e, uint64_t at)
{
    uint8_t d[24];
    sq_err err = pread_exact(fd, d, sizeof d, at);
    if (err)
        return err;
    if (sq_get_le32(d) != ZIP_DESCRIPTOR || sq_get_le32(d + 4) || sq_get_le64(d + 8) != e->plain_bytes + ZIP_AE2_BYTES ||
        sq_get_le64(d + 16) != e->plain_bytes)
        return sq_fail(SQ_ETAMPERED);
    return SQ_OK;
}

/* entries lie in the order of the directory, from 0, without gaps or overlaps, and end where the directory begins */
static sq_err read_entries(struct sq_unzip *z, const uint8_t *central, const struct directory *dir)
{
    uint64_t expected = 0;
    size_t at = 0;
    for (uint64_t i = 0; i < dir->n_entry; i++) {
        struct found *e = &z->entries[i];
        size_t n = 0;
        sq_err err = central_record(central + at, (size_t)dir->n_bytes - at, e, &n);
        if (err)
            return err;
        if (e->offset != expected)
            return sq_fail(SQ_ETAMPERED);
        if ((err = local_record(z->fd, central + at, e)))
            return err;
        expected = e->data + e->plain_bytes + ZIP_AE2_BYTES;
        if (expected > dir->at)
            return sq_fail(SQ_ETAMPERED);
        if (e->is_streamed && (err = descriptor(z->fd, e, expected)))
            return err;
        expected += e->is_streamed ? 24 : 0;
        for (uint64_t k = 0; k < i; k++)
            if (strcmp(z->entries[k].name, e->name) == 0)
                return sq_fail(SQ_ETAMPERED);
        z->n_entry++;
        at += n;
    }
    return at == dir->n_bytes && expected == dir->at ? SQ_OK : sq_fail(SQ_ETAMPERED);
}

sq_err sq_unzip_open(int fd, struct sq_unzip **out)
{
    struct directory dir = {0};
    uint8_t *central = NULL;
    sq_err err = find_directory(fd, &dir);
    if (err)
        return err;
    struct sq_unzip *z = calloc(1, sizeof *z);
    if (!z)
        return sq_fail(SQ_ENOMEM);
    z->fd = fd;
    z->entries = calloc(dir.n_entry ? (size_t)dir.n_entry : 1, sizeof *z->entries);
    central = malloc(dir.n_bytes ? (size_t)dir.n_bytes : 1);
    if (!z->entries || !central)
        err = sq_fail(SQ_ENOMEM);
    if (!err)
        err = pread_exact(fd, central, (size_t)dir.n_bytes, dir.at);
    if (!err)
        err = read_entries(z, central, &dir);
    free(central);
    if (err) {
        sq_unzip_free(z);
        return err;
    }
    *out = z;
    return SQ_OK;
}

size_t sq_unzip_n_entry(const struct sq_unzip *z)
{
    return z->n_entry;
}

struct sq_unzip_entry sq_unzip_entry(const struct sq_unzip *z, size_t i)
{
    sq_assert(i < z->n_entry);
    return (struct sq_unzip_entry){.name = z->entries[i].name, .plain_bytes = z->entries[i].plain_bytes};
}

sq_err sq_unzip_find(const struct sq_unzip *z, const char *name, size_t *out_i)
{
    for (size_t i = 0; i < z->n_entry; i++)
        if (strcmp(z->entries[i].name, name) == 0) {
            *out_i = i;
            return SQ_OK;
        }
    return sq_fail(SQ_ENOTFOUND);
}

/* the whole ciphertext through the MAC; with a sink, opened and handed on as well */
static sq_err pass(struct sq_unzip *z, const struct found *e, const struct sq_zip_keys *keys, sq_zip_sink_fn sink, void *ctx)
{
    uint8_t want[ZIP_MAC_BYTES], made[ZIP_MAC_BYTES];
    struct zip_cipher *cipher = NULL;
    uint64_t at = e->data + SQ_ZIP_SALT_BYTES + 2, left = e->plain_bytes;
    sq_err err = zip_cipher_new(keys, &cipher);
    while (left && !err) {
        size_t n = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        if ((err = pread_exact(z->fd, z->in, n, at)))
            break;
        err = sink ? zip_cipher_open(cipher, z->in, n, z->out) : zip_cipher_mac_add(cipher, z->in, n);
        if (!err && sink)
            err = sink(ctx, z->out, n);
        at += n;
        left -= n;
    }
    if (!err)
        err = pread_exact(z->fd, want, sizeof want, at);
    if (!err)
        err = zip_cipher_mac(cipher, made);
    if (!err && !sq_equal_ct(want, made, sizeof want))
        err = sq_fail(SQ_ETAMPERED);
    zip_cipher_free(cipher);
    sq_wipe(z->out, sizeof z->out);
    return err;
}

sq_err sq_unzip_extract(struct sq_unzip *z, size_t i, const void *password, size_t n_password, sq_zip_sink_fn sink,
                        void *ctx)
{
    sq_assert(i < z->n_entry);
    const struct found *e = &z->entries[i];
    uint8_t head[SQ_ZIP_SALT_BYTES + 2];
    struct sq_zip_keys keys;
    sq_err err = pread_exact(z->fd, head, sizeof head, e->data);
    if (err || (err = sq_zip_entry_keys(password, n_password, head, &keys)))
        return err;
    if (!sq_equal_ct(keys.verifier, head + SQ_ZIP_SALT_BYTES, 2))
        err = sq_fail(SQ_EPASSWORD);
    if (!err)
        err = pass(z, e, &keys, NULL, NULL);
    if (!err)
        err = pass(z, e, &keys, sink, ctx);
    sq_wipe(&keys, sizeof keys);
    return err;
}

void sq_unzip_free(struct sq_unzip *z)
{
    if (!z)
        return;
    free(z->entries);
    sq_wipe(z, sizeof *z);
    free(z);
}
