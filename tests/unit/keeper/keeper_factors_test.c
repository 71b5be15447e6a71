/* The real keeper, asked as a registrar that lies would: challenges and answers of passkeys, and second factors that it is to forget. */
#include "keeper_fixture.h"
#include "lib/core/clock.h"
#include "lib/identity/identity.h"

#define SITE "https://hub.example.org"
#define HOST "hub.example.org"
#define ID(p) {(p)[0], (p)[1], (p)[2], (p)[3], (p)[4], (p)[5], (p)[6], (p)[7], (p)[8], (p)[9], (p)[10], (p)[11], (p)[12], (p)[13], (p)[14], (p)[15]}
enum { TO_ADD = 1, TO_PROVE = 2, TO_SIGN_IN = 3 };

static const uint8_t ada[16] = "ada-------------", bob[16] = "bob-------------", factor[16] = "factor----------", session[16] = "session---------", other[16] = "another---------", none[16];

static void ok(sq_err err)
{
    assert_int_equal(err, SQ_OK);
}

static void start(struct fixture *f, const char *public_url, const char *smtp_url)
{
    fixture_new(f);
    f->more[0] = (struct fixture_setting){"public_url", public_url};
    f->more[1] = (struct fixture_setting){"smtp_url", smtp_url};
    assert_true(keeper_start(f, "file", KEY_FILE_HEX));
    ok(reg(f, sq_msg_of(owner_create, .owner_id = ID(ada)), NULL));
    ok(reg(f, sq_msg_of(owner_create, .owner_id = ID(bob)), NULL));
}

static void end(struct fixture *f)
{
    assert_int_equal(keeper_stop(f, false), 0);
    fixture_done(f);
}

struct password {
    uint8_t sealed[512];
    uint32_t n;
};

static void set_password(struct fixture *f, const uint8_t *owner, struct password *p)
{
    struct sq_msg is;
    ok(reg(f, sq_msg_of(password_hash, .owner_id = ID(owner), .password = sq_span_str("correct one")), &is));
    p->n = (uint32_t)is.u.sealed_is.sealed.n;
    memcpy(p->sealed, is.u.sealed_is.sealed.p, p->n);
}

static void prove(struct fixture *f, const uint8_t *owner, const struct password *p, uint8_t out[16])
{
    struct sq_msg is;
    ok(reg(f, sq_msg_of(password_check, .owner_id = ID(owner), .sealed = {p->sealed, p->n}, .password = sq_span_str("correct one")), &is));
    memcpy(out, is.u.proof_is.proof, 16);
}

/* ---- an authenticator: ES256 ---- */

struct passkey {
    struct sq_key *scalar;
    uint8_t point[65];
    uint32_t counter;
    uint8_t sealed[512];
    uint32_t n_sealed;
};

static size_t auth_data(const struct passkey *k, const char *host, uint8_t flags, bool is_new, uint8_t *out)
{
    size_t n = 37;
    ok(sq_sha256_of(host, strlen(host), out));
    out[32] = flags;
    sq_put_be32(out + 33, k->counter);
    if (!is_new)
        return n;
    memset(out + n, 0, 16);
    memcpy(out + n + 16, "\0\x10" "credential------", 18);
    n += 34;
    memcpy(out + n, "\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20", 10);
    memcpy(out + n + 10, k->point + 1, 32);
    memcpy(out + n + 42, "\x22\x58\x20", 3);
    memcpy(out + n + 45, k->point + 33, 32);
    return n + 77;
}

static size_t client_data(const char *type, const uint8_t challenge[32], const char *origin, char *out, size_t size)
{
    struct sq_buf b;
    sq_buf_init(&b, 100);
    ok(sq_base64(challenge, 32, true, &b));
    int n = snprintf(out, size, "{\"type\":\"webauthn.%s\",\"challenge\":\"%s\",\"origin\":\"%s\"}", type, (const char *)b.p, origin);
    sq_buf_done(&b);
    return (size_t)n;
}

/* one number of an ECDSA signature, as ASN.1 has it */
static size_t put_integer(const uint8_t p[32], uint8_t *out)
{
    size_t skip = 0;
    while (skip < 31 && !p[skip])
        skip++;
    size_t n = 32 - skip, pad = p[skip] >> 7;
    out[0] = 2;
    out[1] = (uint8_t)(n + pad);
    out[2] = 0;
    memcpy(out + 2 + pad, p + skip, n);
    return 2 + pad + n;
}

static size_t sign(const struct passkey *k, const uint8_t *auth, size_t n_auth, const char *client, size_t n_client, uint8_t *out)
{
    uint8_t both[4096], sig[64];
    memcpy(both, auth, n_auth);
    ok(sq_sha256_of(client, n_client, both + n_auth));
    ok(sq_es256_sign(k->scalar, both, n_auth + 32, sig));
    size_t n = put_integer(sig, out + 2);
    n += put_integer(sig + 32, out + 2 + n);
    out[0] = 0x30;
    out[1] = (uint8_t)n;
    return n + 2;
}

static sq_err challenge(struct fixture *f, const uint8_t *owner, const uint8_t *context, uint8_t purpose, const uint8_t *proof, uint8_t out[32])
{
    struct sq_msg is;
    sq_err err = reg(f, sq_msg_of(passkey_challenge, .owner_id = ID(owner), .context = ID(context), .purpose = purpose, .proof = ID(proof)), &is);
    if (!err)
        memcpy(out, is.u.challenge_is.challenge, 32);
    return err;
}

static sq_err add_to(struct fixture *f, struct passkey *k, const uint8_t *owner, const uint8_t *context, struct sq_span client, struct sq_span auth)
{
    struct sq_msg is;
    sq_err err = reg(f, sq_msg_of(passkey_add, .owner_id = ID(owner), .factor_id = ID(factor), .context = ID(context), .client_data = client, .auth_data = auth), &is);
    if (!err) {
        k->n_sealed = (uint32_t)is.u.passkey_is.sealed.n;
        memcpy(k->sealed, is.u.passkey_is.sealed.p, k->n_sealed);
        assert_int_equal(is.u.passkey_is.credential.n, 16);
        assert_int_equal(is.u.passkey_is.counter, k->counter);
    }
    return err;
}

struct saying { /* what an answer to a challenge says; zeros: as it should be */
    const char *host, *origin, *type;
    const uint8_t *owner, *factor, *context;
    uint8_t flags, asked_purpose, said_purpose;
    uint64_t counter_before;
    bool is_forged, is_twice;
};

static sq_err answer(struct fixture *f, struct passkey *k, struct saying s, uint8_t out_proof[16], uint8_t *out_means)
{
    uint8_t c[32], auth[200], sig[80];
    char client[400];
    const uint8_t *owner = s.owner ? s.owner : ada, *which = s.factor ? s.factor : factor, *context = s.context ? s.context : session;
    uint8_t asked = s.asked_purpose ? s.asked_purpose : TO_PROVE, said = s.said_purpose ? s.said_purpose : asked;
    struct sq_msg is;
    ok(challenge(f, asked == TO_SIGN_IN ? none : ada, session, asked, none, c));
    k->counter++;
    size_t n_auth = auth_data(k, s.host ? s.host : HOST, s.flags ? s.flags : 5, false, auth);
    size_t n_client = client_data(s.type ? s.type : "get", c, s.origin ? s.origin : SITE, client, sizeof client), n_sig = sign(k, auth, n_auth, client, n_client, sig);
    if (s.is_forged)
        sig[n_sig - 1] ^= 1;
    sq_err err = SQ_OK;
    for (int i = 0; i <= (int)s.is_twice; i++)
        err = reg(f, sq_msg_of(passkey_check, .owner_id = ID(owner), .factor_id = ID(which), .context = ID(context), .purpose = said, .sealed = {k->sealed, k->n_sealed}, .counter = s.counter_before,
                               .client_data = sq_span_of(client, n_client), .auth_data = sq_span_of(auth, n_auth), .signature = sq_span_of(sig, n_sig)), &is);
    if (!err && out_proof)
        memcpy(out_proof, is.u.factor_is.proof, 16);
    if (!err && out_means)
        *out_means = is.u.factor_is.means;
    return err;
}

static void new_passkey(struct fixture *f, struct passkey *k, const uint8_t *proof)
{
    uint8_t c[32], auth[400];
    char client[400];
    *k = (struct passkey){.counter = 5};
    ok(sq_es256_new(&k->scalar));
    ok(sq_es256_public(k->scalar, k->point));
    ok(challenge(f, ada, session, TO_ADD, proof, c));
    size_t n = client_data("create", c, SITE, client, sizeof client);
    ok(add_to(f, k, ada, session, sq_span_of(client, n), sq_span_of(auth, auth_data(k, HOST, 0x45, true, auth))));
}

static sq_err sign_in(struct fixture *f, const uint8_t *proof)
{
    uint64_t now = (uint64_t)sq_clock_now_s();
    return reg(f, sq_msg_of(token_sign, .owner_id = ID(ada), .proof = ID(proof), .jti = ID(other), .role = sq_span_str("user"), .scope = sq_span_str("session"), .epoch = 1, .issued_s = now,
                            .expires_s = now + 3600), NULL);
}

static void passkeys_are_judged(void **state)
{
    (void)state;
    struct fixture f;
    struct password p;
    struct passkey k;
    uint8_t proof[16], means = 0, c[32];
    start(&f, SITE "/", "");
    set_password(&f, ada, &p);
    assert_int_equal(challenge(&f, ada, session, TO_ADD, none, c), SQ_EPROOF); /* a new one takes the password */
    assert_int_equal(challenge(&f, ada, session, 0, none, c), SQ_ERANGE);
    assert_int_equal(challenge(&f, ada, session, 4, none, c), SQ_ERANGE);
    assert_int_equal(challenge(&f, ada, session, TO_SIGN_IN, none, c), SQ_ERANGE);
    assert_int_equal(challenge(&f, none, session, TO_PROVE, none, c), SQ_ERANGE);
    prove(&f, ada, &p, proof);
    new_passkey(&f, &k, proof);
    assert_null(memmem(k.sealed, k.n_sealed, k.point + 1, 32));
    ok(answer(&f, &k, (struct saying){.counter_before = 5}, proof, &means));
    assert_int_equal(means, 4);
    assert_int_equal(sign_in(&f, proof), SQ_EPROOF); /* a second factor alone signs nothing */
    ok(answer(&f, &k, (struct saying){.asked_purpose = TO_SIGN_IN}, proof, &means));
    assert_int_equal(means, 12);
    ok(sign_in(&f, proof));
    assert_int_equal(sign_in(&f, proof), SQ_EPROOF); /* once */
    static const struct saying bad[] = {{.host = "evil.example"}, {.origin = "https://evil.example"}, {.origin = "http://" HOST}, {.type = "create"}, {.owner = bob}, {.context = other}, {.flags = 4},
                                        {.is_forged = true}, {.is_twice = true}, {.said_purpose = TO_SIGN_IN}, {.asked_purpose = TO_SIGN_IN, .said_purpose = TO_PROVE},
                                        {.asked_purpose = TO_SIGN_IN, .flags = 1}, {.asked_purpose = TO_SIGN_IN, .context = other}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(answer(&f, &k, bad[i], NULL, NULL), SQ_EPASSKEY);
    assert_int_equal(answer(&f, &k, (struct saying){.factor = other}, NULL, NULL), SQ_ETAMPERED); /* another one's key under this name */
    assert_int_equal(answer(&f, &k, (struct saying){.asked_purpose = TO_PROVE, .said_purpose = TO_ADD}, NULL, NULL), SQ_ERANGE);
    ok(answer(&f, &k, (struct saying){.flags = 1}, NULL, NULL)); /* behind the password nobody need be verified */
    /* backwards: by what registrar remembers, and by what keeper does when registrar forgot */
    assert_int_equal(answer(&f, &k, (struct saying){.counter_before = 1000}, NULL, NULL), SQ_ECLONED);
    k.counter = 3;
    assert_int_equal(answer(&f, &k, (struct saying){.counter_before = 0}, NULL, NULL), SQ_ECLONED);
    sq_key_free(k.scalar);
    end(&f);
}

static void garbage_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct password p;
    struct passkey k;
    uint8_t proof[16], c[32], auth[4096], sig[1024];
    char client[400];
    start(&f, SITE, "");
    set_password(&f, ada, &p);
    prove(&f, ada, &p, proof);
    new_passkey(&f, &k, proof);
    unsigned seed = 1;
    for (unsigned i = 0; i < 100; i++) {
        prove(&f, ada, &p, proof);
        ok(challenge(&f, ada, session, TO_ADD, proof, c));
        size_t n = client_data("create", c, SITE, client, sizeof client), n_auth = auth_data(&k, HOST, 0x45, true, auth);
        switch (i % 4) {
        case 0: n_auth = (size_t)rand_r(&seed) % n_auth; break; /* cut */
        case 1:                                                 /* COSE and lengths of it at random */
            for (size_t at = 53; at < sizeof auth; at++)
                auth[at] = (uint8_t)rand_r(&seed);
            n_auth = 60 + (size_t)rand_r(&seed) % (sizeof auth - 60);
            break;
        case 2: auth[71 + (size_t)rand_r(&seed) % 9] ^= (uint8_t)(1U << (rand_r(&seed) % 8)); break; /* a bit of the key's head */
        default: n = (size_t)rand_r(&seed) % n; break;                                                /* what the browser says, cut */
        }
        sq_err err = add_to(&f, &k, ada, session, sq_span_of(client, n), sq_span_of(auth, n_auth));
        assert_true(err == SQ_EPASSKEY);
        for (size_t at = 0; at < sizeof sig; at++)
            sig[at] = (uint8_t)rand_r(&seed);
        ok(challenge(&f, ada, session, TO_PROVE, none, c));
        n = client_data("get", c, SITE, client, sizeof client);
        n_auth = auth_data(&k, HOST, 5, false, auth);
        err = reg(&f, sq_msg_of(passkey_check, .owner_id = ID(ada), .factor_id = ID(factor), .context = ID(session), .purpose = TO_PROVE, .sealed = {k.sealed, k.n_sealed}, .client_data = sq_span_of(client, n),
                                .auth_data = sq_span_of(auth, i % 2 ? n_auth : (size_t)rand_r(&seed) % 1024), .signature = sq_span_of(sig, (size_t)rand_r(&seed) % sizeof sig)), NULL);
        assert_true(err == SQ_EPASSKEY);
    }
    ok(answer(&f, &k, (struct saying){.counter_before = 0}, NULL, NULL)); /* it still works */
    sq_key_free(k.scalar);
    end(&f);
}

static void no_site_no_passkeys(void **state)
{
    (void)state;
    static const char *const urls[] = {"", "http://hub.example.org", "https://127.0.0.1:8443"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct fixture f;
        uint8_t c[32];
        start(&f, urls[i], "");
        assert_int_equal(challenge(&f, none, session, TO_SIGN_IN, none, c), SQ_ECONFIG);
        assert_int_equal(challenge(&f, ada, session, TO_ADD, none, c), SQ_ECONFIG);
        end(&f);
    }
}

/* Challenges that anybody may ask for crowd out none of those of an owner. */
static void strangers_crowd_out_nobody(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t c[32], mine[32], auth[400];
    char client[400];
    struct passkey k = {.counter = 1};
    start(&f, SITE, "");
    ok(sq_es256_new(&k.scalar));
    ok(sq_es256_public(k.scalar, k.point));
    ok(challenge(&f, ada, session, TO_ADD, none, mine));
    for (unsigned i = 0; i < 1500; i++)
        ok(challenge(&f, none, session, TO_SIGN_IN, none, c));
    size_t n = client_data("create", mine, SITE, client, sizeof client);
    ok(add_to(&f, &k, ada, session, sq_span_of(client, n), sq_span_of(auth, auth_data(&k, HOST, 0x45, true, auth))));
    assert_int_equal(add_to(&f, &k, ada, session, sq_span_of(client, n), sq_span_of(auth, auth_data(&k, HOST, 0x45, true, auth))), SQ_EPASSKEY);
    sq_key_free(k.scalar);
    end(&f);
}

static sq_err forget(struct fixture *f, const uint8_t *proof, const uint8_t *link)
{
    return reg(f, sq_msg_of(factor_forget, .owner_id = ID(ada), .proof = ID(proof), .link_proof = ID(link)), NULL);
}

static void need(struct fixture *f)
{
    ok(reg(f, sq_msg_of(factor_needed, .owner_id = ID(ada)), NULL));
    ok(reg(f, sq_msg_of(factor_needed, .owner_id = ID(ada)), NULL));
}

static void a_factor_is_forgotten_on_a_proof(void **state)
{
    (void)state;
    for (int mails = 0; mails < 2; mails++) {
        struct fixture f;
        struct password p, q;
        struct passkey k;
        uint8_t proof[16], both[16], hers[16];
        start(&f, SITE, mails ? "smtp://mail.example.org" : "");
        set_password(&f, ada, &p);
        set_password(&f, bob, &q);
        prove(&f, ada, &p, proof);
        new_passkey(&f, &k, proof);
        prove(&f, ada, &p, proof);
        ok(sign_in(&f, proof));
        need(&f);
        prove(&f, ada, &p, proof);
        assert_int_equal(sign_in(&f, proof), SQ_EPROOF); /* the password alone isn't enough any more */
        prove(&f, ada, &p, proof);
        assert_int_equal(forget(&f, proof, none), SQ_EPROOF); /* nor to forget it */
        ok(answer(&f, &k, (struct saying){.flags = 5}, both, NULL));
        assert_int_equal(forget(&f, both, none), SQ_EPROOF); /* nor the factor without the password */
        prove(&f, bob, &q, hers);
        assert_int_equal(forget(&f, hers, none), SQ_EPROOF);
        prove(&f, ada, &p, proof);
        assert_int_equal(forget(&f, proof, proof), SQ_EPROOF);
        memset(both, 7, sizeof both);
        assert_int_equal(forget(&f, both, none), SQ_EPROOF);
        /* registrar's word: where nothing is mailed */
        assert_int_equal(forget(&f, none, none), mails ? SQ_EPROOF : SQ_OK);
        need(&f);
        prove(&f, ada, &p, proof);
        assert_int_equal(sign_in(&f, proof), SQ_EPROOF);
        /* a mailed code of another kind proves nothing here: its secret is courier's to know, and registrar has none to guess */
        struct sq_msg is;
        ok(reg(&f, sq_msg_of(link_make, .owner_id = ID(ada), .link_id = ID(other), .kind = 3, .expires_s = (uint64_t)sq_clock_now_s() + 600), &is));
        uint8_t sealed[128];
        size_t n = is.u.sealed_is.sealed.n;
        memcpy(sealed, is.u.sealed_is.sealed.p, n);
        assert_int_equal(reg(&f, sq_msg_of(link_check, .owner_id = ID(ada), .link_id = ID(other), .kind = 3, .expires_s = (uint64_t)sq_clock_now_s() + 600, .sealed = {sealed, (uint32_t)n}, .secret = ID(none)), NULL), SQ_ELINK);
        sq_key_free(k.scalar);
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(passkeys_are_judged), cmocka_unit_test(garbage_is_refused), cmocka_unit_test(no_site_no_passkeys),
                                       cmocka_unit_test(strangers_crowd_out_nobody), cmocka_unit_test(a_factor_is_forgotten_on_a_proof)};
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(sq_crypt_start(), SQ_OK);
    assert_int_equal(sq_identity_start(), SQ_OK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
