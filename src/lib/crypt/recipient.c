#include "lib/crypt/recipient.h"

#include <string.h>
#include <strings.h>

/* ---- Bech32, BIP 173 ---- */

static uint32_t polymod(uint32_t c, uint8_t v)
{
    static const uint32_t generator[5] = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3};
    uint32_t top = c >> 25;
    c = (c & 0x1ffffff) << 5 ^ v;
    for (int i = 0; i < 5; i++)
        c ^= top >> i & 1 ? generator[i] : 0;
    return c;
}

/* `age1` and 52 characters of the key, 6 of the checksum */
static sq_err parse_age(const char *text, size_t n, uint8_t out[32])
{
    static const char letters[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    static const uint8_t human[] = {3, 3, 3, 0, 1, 7, 5}; /* "age", high bits, 0, low bits */
    uint32_t sum = 1, bits = 0;
    unsigned n_bit = 0;
    size_t n_out = 0;
    if (n != 62)
        return sq_fail(SQ_EFIELD);
    for (size_t i = 0; i < sizeof human; i++)
        sum = polymod(sum, human[i]);
    for (size_t i = 4; i < n; i++) {
        const char *at = text[i] ? strchr(letters, text[i]) : NULL;
        if (!at)
            return sq_fail(SQ_EFIELD);
        uint8_t v = (uint8_t)(at - letters);
        sum = polymod(sum, v);
        if (i >= n - 6)
            continue;
        bits = bits << 5 | v;
        n_bit += 5;
        if (n_bit >= 8) {
            n_bit -= 8;
            if (n_out == 32)
                return sq_fail(SQ_EFIELD);
            out[n_out++] = (uint8_t)(bits >> n_bit);
        }
        bits &= (1u << n_bit) - 1;
    }
    return sum == 1 && n_out == 32 && !bits ? SQ_OK : sq_fail(SQ_EFIELD);
}

/* ---- Crypt4GH ---- */

static sq_err parse_base64_key(const char *text, size_t n, uint8_t out[32])
{
    struct sq_buf b;
    if (n != 44)
        return sq_fail(SQ_EFIELD);
    sq_buf_init(&b, 64);
    sq_err err = sq_base64_decode(text, n, false, &b);
    if (!err && b.n == 32)
        memcpy(out, b.p, 32);
    else
        err = sq_fail(SQ_EFIELD);
    sq_buf_done(&b);
    return err;
}

static bool skip(const char **p, const char *what)
{
    size_t n = strlen(what);
    while (**p == '\n' || **p == '\r' || **p == ' ')
        (*p)++;
    if (strncmp(*p, what, n))
        return false;
    *p += n;
    return true;
}

sq_err sq_recipient_parse(struct sq_span text, struct sq_recipient *out)
{
    char copy[SQ_RECIPIENT_MAX_BYTES + 1];
    const char *p = copy;
    *out = (struct sq_recipient){.kind = SQ_RECIPIENT_NONE};
    if (sq_span_copy(text, copy, sizeof copy))
        return sq_fail(SQ_EFIELD);
    skip(&p, "");
    if (!strncmp(p, "age1", 4)) {
        size_t n = strcspn(p, " \r\n");
        const char *rest = p + n;
        out->kind = SQ_RECIPIENT_AGE;
        skip(&rest, "");
        return *rest ? sq_fail(SQ_EFIELD) : parse_age(p, n, out->x25519); /* a second key would get nothing */
    }
    skip(&p, "-----BEGIN CRYPT4GH PUBLIC KEY-----");
    skip(&p, "");
    size_t n = strcspn(p, " \r\n");
    out->kind = SQ_RECIPIENT_CRYPT4GH;
    sq_err err = parse_base64_key(p, n, out->x25519);
    p += n;
    skip(&p, "-----END CRYPT4GH PUBLIC KEY-----");
    skip(&p, "");
    return !err && *p ? sq_fail(SQ_EFIELD) : err;
}

bool sq_recipient_is_private(struct sq_span text)
{
    static const char *const marks[] = {"AGE-SECRET-KEY-", "PRIVATE KEY"};
    for (size_t m = 0; m < sizeof marks / sizeof marks[0]; m++) {
        size_t n = strlen(marks[m]);
        for (size_t i = 0; i + n <= text.n; i++)
            if (!strncasecmp((const char *)text.p + i, marks[m], n))
                return true;
    }
    return false;
}

const char *sq_recipient_suffix(enum sq_recipient_kind kind)
{
    return kind == SQ_RECIPIENT_AGE ? "age" : kind == SQ_RECIPIENT_CRYPT4GH ? "c4gh" : "";
}
