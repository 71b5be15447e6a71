#include "lib/identity/totp.h"

#include <liboath/oath.h>

#define RECOVERY_CHARS 24

static const char recovery_alphabet[] = "abcdefghijkmnpqrstuvwxyz23456789"; /* no l, o, 0, 1 */

sq_err sq_totp_check(const uint8_t *secret, size_t n_secret, int64_t now_s, unsigned n_beside, uint64_t after, const char *code, uint64_t *out_step)
{
    if (strlen(code) != SQ_TOTP_DIGITS || strspn(code, "0123456789") != SQ_TOTP_DIGITS || now_s < SQ_TOTP_STEP_S || n_beside > 1)
        return sq_fail(SQ_ECODE);
    if (n_secret != SQ_TOTP_SHA1_BYTES && n_secret != SQ_TOTP_SHA256_BYTES)
        return sq_fail(SQ_ECRYPTO);
    int hash = n_secret == SQ_TOTP_SHA256_BYTES ? OATH_TOTP_HMAC_SHA256 : 0;
    uint64_t now = (uint64_t)now_s / SQ_TOTP_STEP_S, found = 0;
    bool is_found = false;
    for (uint64_t step = now - n_beside; step <= now + n_beside; step++) {
        char want[SQ_TOTP_DIGITS + 1];
        int rc = oath_totp_generate2((const char *)secret, n_secret, (time_t)(step * SQ_TOTP_STEP_S), SQ_TOTP_STEP_S, 0, SQ_TOTP_DIGITS, hash, want);
        if (rc != OATH_OK)
            return sq_fail(SQ_ECRYPTO);
        if (sq_equal_ct(want, code, SQ_TOTP_DIGITS) && step > after) {
            found = step;
            is_found = true;
        }
        sq_wipe(want, sizeof want);
    }
    if (!is_found)
        return sq_fail(SQ_ECODE);
    *out_step = found;
    return SQ_OK;
}

/* liboath's own allocates and doesn't wipe */
void sq_totp_base32(const uint8_t *secret, size_t n, char out[SQ_TOTP_BASE32_BYTES])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    sq_assert(n <= SQ_TOTP_SECRET_MAX);
    size_t n_char = 0;
    for (size_t bit = 0; bit < 8 * n; bit += 5) {
        size_t at = bit / 8, shift = bit % 8;
        unsigned two = (unsigned)secret[at] << 8 | (at + 1 < n ? secret[at + 1] : 0U);
        out[n_char++] = alphabet[two >> (11 - shift) & 31];
    }
    out[n_char] = 0;
}

sq_err sq_recovery_make(char out[SQ_RECOVERY_CODE_BYTES])
{
    uint8_t random[RECOVERY_CHARS];
    sq_err err = sq_random(random, sizeof random);
    if (err)
        return err;
    size_t n = 0;
    for (size_t i = 0; i < RECOVERY_CHARS; i++) {
        if (i && i % 4 == 0)
            out[n++] = '-';
        out[n++] = recovery_alphabet[random[i] & 31];
    }
    out[n] = 0;
    sq_wipe(random, sizeof random);
    return SQ_OK;
}

sq_err sq_recovery_hash(const struct sq_key *key, const uint8_t owner[SQ_RECOVERY_OWNER_BYTES], const char *code, uint8_t out[SQ_SHA256_BYTES])
{
    char text[SQ_RECOVERY_OWNER_BYTES + RECOVERY_CHARS], *plain = text + SQ_RECOVERY_OWNER_BYTES;
    size_t n = 0;
    for (const char *p = code; *p; p++) {
        char c = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
        if (c == '-' || c == ' ')
            continue;
        if (n >= RECOVERY_CHARS || !strchr(recovery_alphabet, c))
            return sq_fail(SQ_ECODE);
        plain[n++] = c;
    }
    if (n != RECOVERY_CHARS)
        return sq_fail(SQ_ECODE);
    memcpy(text, owner, SQ_RECOVERY_OWNER_BYTES);
    sq_err err = sq_hmac_sha256(key, text, sizeof text, out);
    sq_wipe(text, sizeof text);
    return err;
}
