/* Tokens. Input: 0 a token | 1 claims, signed here with the right key first: the parser stands behind the signature.
 * What is accepted must be what sq_jwt_make writes. */
#include "lib/identity/jwt.h"

#include <stdio.h>

#define ORIGIN "test.example/log"
#define NOW INT64_C(1800000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sq_key *scalar;
static uint8_t public_key[SQ_ES256_PUBLIC_BYTES];
static char header[64];

static void start(void)
{
    static const uint8_t bytes[SQ_KEY_BYTES] = {1, 2, 3};
    char kid[17];
    sq_assert(sq_crypt_start() == SQ_OK && sq_key_from(bytes, &scalar) == SQ_OK);
    sq_assert(sq_es256_public(scalar, public_key) == SQ_OK && sq_jwt_kid(public_key, kid) == SQ_OK);
    sq_assert(snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", kid) < (int)sizeof header);
}

static sq_err part(struct sq_buf *b, const char *before, const void *p, size_t n)
{
    sq_err err = sq_buf_add(b, before, strlen(before));
    return err ? err : sq_base64(p, n, true, b);
}

static void forge(const uint8_t *claims, size_t n, struct sq_buf *b)
{
    uint8_t sig[SQ_ES256_SIG_BYTES];
    sq_assert(!part(b, "", header, strlen(header)) && !part(b, ".", claims, n));
    sq_assert(!sq_es256_sign(scalar, b->p, b->n, sig) && !part(b, ".", sig, sizeof sig));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sq_jwt_claims c;
    struct sq_buf b, again;
    if (!scalar)
        start();
    if (size == 0)
        return 0;
    sq_buf_init(&b, 0);
    sq_buf_init(&again, 0);
    if (data[0] & 1)
        forge(data + 1, size - 1, &b);
    else
        sq_assert(!sq_buf_add(&b, data + 1, size - 1));
    if (!sq_jwt_verify(public_key, ORIGIN, sq_span_of(b.p, b.n), NOW, &c)) {
        /* header and claims the same; the signature has a random part */
        sq_assert(sq_jwt_make(scalar, ORIGIN, &c, &again) == SQ_OK && again.n == b.n);
        const uint8_t *dot = memrchr(again.p, '.', again.n);
        sq_assert(dot && memcmp(again.p, b.p, (size_t)(dot - again.p)) == 0);
    }
    sq_buf_done(&b);
    sq_buf_done(&again);
    return 0;
}
