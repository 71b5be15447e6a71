/* What a browser hands over of a passkey. Input: how | bytes. how 0: authenticator data of a new one, behind the site's hash; 1: the client's data; 2: n_auth (u8) | authenticator data,
 * behind the site's hash | signature, against a key that was taken from the seeds' own. What is taken packs and unpacks to the same; nothing verifies, for nobody here holds the private half. */
#include "lib/identity/identity.h"
#include "lib/identity/passkey.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sq_passkey_site site;
static uint8_t sum[SQ_SHA256_BYTES];
static struct sq_passkey known;

static void start(void)
{
    static const uint8_t seed[SQ_KEY_BYTES] = {9};
    struct sq_key *scalar;
    uint8_t point[SQ_ES256_PUBLIC_BYTES];
    sq_assert(!sq_crypt_start() && !sq_identity_start() && !sq_passkey_site("https://hub.example.org", &site) && !sq_sha256_of(site.rp_id, 15, sum));
    sq_assert(!sq_key_from(seed, &scalar) && !sq_es256_public(scalar, point));
    known = (struct sq_passkey){.algorithm = SQ_PASSKEY_ES256, .n_public = 64};
    memcpy(known.public_key, point + 1, 64);
    sq_key_free(scalar);
}

static void take(const uint8_t *p, size_t n)
{
    uint8_t auth[4096], packed[SQ_PASSKEY_PACKED_MAX_BYTES];
    struct sq_passkey one, again;
    size_t keep = n > sizeof auth - sizeof sum ? sizeof auth - sizeof sum : n;
    memcpy(auth, sum, sizeof sum);
    memcpy(auth + sizeof sum, p, keep);
    if (sq_passkey_take(&site, sq_span_of(auth, sizeof sum + keep), &one))
        return;
    size_t n_packed = sq_passkey_pack(&one, packed);
    sq_assert(one.n_id && one.n_public && !sq_passkey_unpack(packed, n_packed, &again));
    sq_assert(again.algorithm == one.algorithm && again.n_public == one.n_public && !memcmp(again.public_key, one.public_key, one.n_public));
}

static void check(const uint8_t *p, size_t n)
{
    uint8_t auth[SQ_SHA256_BYTES + 255];
    uint32_t counter = 0;
    size_t n_auth = n ? p[0] : 0;
    if (n < 1 + n_auth)
        return;
    memcpy(auth, sum, sizeof sum);
    memcpy(auth + sizeof sum, p + 1, n_auth);
    sq_assert(sq_passkey_check(&site, &known, sq_span_str("{}"), sq_span_of(auth, sizeof sum + n_auth), sq_span_of(p + 1 + n_auth, n - 1 - n_auth), n & 1, &counter) == SQ_EPASSKEY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t challenge[SQ_PASSKEY_CHALLENGE_BYTES];
    if (!*site.rp_id)
        start();
    if (!size)
        return 0;
    if (data[0] % 3 == 0) {
        take(data + 1, size - 1);
    } else if (data[0] % 3 == 1) {
        struct sq_span said = sq_span_of(data + 1, size - 1);
        sq_err ours = sq_passkey_client(&site, "webauthn.get", said), theirs = sq_passkey_client(&site, "webauthn.create", said), any = sq_passkey_answers(said, challenge);
        sq_assert((!ours + !theirs) < 2 && (!any || any == SQ_EPASSKEY));
    } else {
        check(data + 1, size - 1);
    }
    return 0;
}
