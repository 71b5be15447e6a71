/* Sealed objects. Input: 0 a whole object | 1 the plaintext of its closing part (80 bytes), then the parts before it: the closing
 * part is sealed here with the right key, as its arithmetic stands behind a tag that can't be guessed.
 * Key and id are those of docs/formats/sealed-object.md, so the golden files open. */
#include "fuzz_file.h"
#include "lib/vault/vault_internal.h"
#include "lib/vault/vault_open.h"
#include "vault_keys.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct test_keeper keeper;

static void closing(const uint8_t trailer[SQ_VAULT_TRAILER_BYTES], uint8_t out[SQ_VAULT_CLOSING_BYTES])
{
    uint8_t nonce[SQ_GCM_NONCE_BYTES];
    struct sq_key *derived = NULL;
    struct sq_gcm *gcm = NULL;
    memset(out, 0, SQ_VAULT_HEADER_BYTES); /* salt and nonce prefix: zeros */
    out[0] = SQ_VAULT_HEADER_BYTES;
    vault_nonce(out + 1 + SQ_VAULT_SALT_BYTES, 0, true, nonce);
    sq_assert(!sq_vault_derive(keeper.object_key, out + 1, keeper.object_id, SQ_VAULT_CLOSING_PART, &derived));
    sq_assert(!sq_gcm_new(sq_key_bytes(derived), &gcm));
    sq_assert(!sq_gcm_seal(gcm, nonce, NULL, 0, trailer, SQ_VAULT_TRAILER_BYTES, out + SQ_VAULT_HEADER_BYTES));
    sq_gcm_free(gcm);
    sq_key_free(derived);
}

static void open_object(const uint8_t *p, size_t n)
{
    static uint8_t out[70000];
    struct sq_vault_opener *o = NULL;
    size_t got = 0;
    if (!sq_vault_opener_new(keeper.object_id, fuzz_file(p, n), n, test_key_open, &keeper, &o)) {
        uint64_t plain = sq_vault_opener_plain_bytes(o);
        sq_assert(plain <= n && sq_vault_opener_sum(o)->plain_bytes == plain);
        if (!sq_vault_read(o, plain / 2, out, sizeof out, &got))
            sq_assert(got <= plain - plain / 2);
        if (!sq_vault_read(o, plain, out, 1, &got))
            sq_assert(got == 0);
        (void)!sq_vault_verify(o);
    }
    sq_vault_opener_free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!keeper.object_key)
        sq_assert(!sq_crypt_start() && !test_keeper_init(&keeper));
    if (size < 1)
        return 0;
    if (!(data[0] & 1)) {
        open_object(data + 1, size - 1);
        return 0;
    }
    if (size < 1 + SQ_VAULT_TRAILER_BYTES)
        return 0;
    size_t n_part = size - 1 - SQ_VAULT_TRAILER_BYTES;
    uint8_t *object = malloc(n_part + SQ_VAULT_CLOSING_BYTES);
    sq_assert(object);
    memcpy(object, data + 1 + SQ_VAULT_TRAILER_BYTES, n_part);
    closing(data + 1, object + n_part);
    open_object(object, n_part + SQ_VAULT_CLOSING_BYTES);
    free(object);
    return 0;
}
