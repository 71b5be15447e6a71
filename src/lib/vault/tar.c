#include "lib/vault/tar.h"

#include <stdio.h>

static void put_octal(uint8_t *at, size_t n, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%0*llo", (int)n - 1, (unsigned long long)value);
    memcpy(at, text, n); /* with its NUL */
}

static void put_size(uint8_t *at, uint64_t n_bytes)
{
    if (n_bytes < UINT64_C(1) << 33) {
        put_octal(at, 12, n_bytes);
        return;
    }
    at[0] = 0x80;
    sq_put_be64(at + 4, n_bytes);
}

sq_err sq_tar_header(const char *name, uint64_t n_bytes, int64_t unix_s, uint8_t out[SQ_TAR_BLOCK_BYTES])
{
    size_t n = strlen(name);
    uint32_t sum = 0;
    if (!n || n > 99)
        return sq_fail(SQ_ERANGE);
    memset(out, 0, SQ_TAR_BLOCK_BYTES);
    memcpy(out, name, n);
    put_octal(out + 100, 8, 0600);
    put_octal(out + 108, 8, 0);
    put_octal(out + 116, 8, 0);
    put_size(out + 124, n_bytes);
    put_octal(out + 136, 12, unix_s > 0 ? (uint64_t)unix_s : 0);
    memset(out + 148, ' ', 8);
    out[156] = '0';
    memcpy(out + 257, "ustar", 6);
    memcpy(out + 263, "00", 2);
    for (size_t i = 0; i < SQ_TAR_BLOCK_BYTES; i++)
        sum += out[i];
    put_octal(out + 148, 7, sum); /* six digits, NUL, and the blank that stands there */
    return SQ_OK;
}

size_t sq_tar_padding(uint64_t n_bytes)
{
    return (size_t)((SQ_TAR_BLOCK_BYTES - n_bytes % SQ_TAR_BLOCK_BYTES) % SQ_TAR_BLOCK_BYTES);
}
