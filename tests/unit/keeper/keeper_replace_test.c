/* The real keeper while keys are replaced, asked by a registrar that lies: former keys are nobody's, and no owner is left out unseen. */
#include "keeper_fixture.h"

#include "daemon/keeper/slab.h"
#include "lib/core/clock.h"

static const uint8_t owner_a[16] = "owner A", owner_b[16] = "owner B", site[16] = {0}, object[16] = "of the site", factor[16] = "factor";

#define ID(x) {x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11], x[12], x[13], x[14], x[15]}
enum { TOKENS = 1, OWNERS = 3 }; /* message key_replace */

static void ok(sq_err err)
{
    assert_int_equal(err, SQ_OK);
}

static sq_err make_owner(struct fixture *f, const uint8_t *id)
{
    return reg(f, sq_msg_of(owner_create, .owner_id = ID(id)), NULL);
}

static sq_err end_owner(struct fixture *f, const uint8_t *id)
{
    return reg(f, sq_msg_of(owner_destroy, .owner_id = ID(id)), NULL);
}

static sq_err make_object(struct fixture *f, const uint8_t *id, const uint8_t *owner)
{
    return reg(f, sq_msg_of(slot_create, .object_id = ID(id), .owner_id = ID(owner), .for_role = SQ_ROLE_GATEWAY), NULL);
}

static sq_err replace(struct fixture *f, uint8_t which, uint64_t until_s, uint32_t *out_n)
{
    struct sq_msg is;
    sq_err err = reg(f, sq_msg_of(key_replace, .which = which, .until_s = until_s), &is);
    *out_n = err ? 0 : is.u.key_replaced_is.n_key;
    return err;
}

static void start(struct fixture *f)
{
    fixture_new(f);
    assert_true(keeper_start(f, "file", KEY_FILE_HEX));
    ok(make_owner(f, owner_a));
    ok(make_owner(f, owner_b));
}

static void end(struct fixture *f)
{
    assert_int_equal(keeper_stop(f, false), 0);
    fixture_done(f);
}

static int open_file(struct fixture *f)
{
    char path[80];
    snprintf(path, sizeof path, "%s/slab", f->dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* Where a former key lies: as docs/formats/key-slab.md says; and @is_guessed, as one would think who doesn't know the id of the slab. */
static void former_id(struct fixture *f, const uint8_t *owner, uint8_t number, bool is_guessed, uint8_t out[16])
{
    uint8_t text[128] = "sequester former key v1", sum[32];
    size_t n = strlen((const char *)text);
    if (!is_guessed) {
        int fd = open_file(f);
        assert_int_equal(pread(fd, text + n, 16, 24), 16);
        close(fd);
        n += 16;
    }
    text[n++] = SQ_SLAB_OWNER;
    memcpy(text + n, owner, 16);
    text[n + 16] = number;
    ok(sq_sha256_of(text, n + 17, sum));
    memcpy(out, sum, 16);
}

/* ---- former keys pass for nobody ---- */

static void no_owner(struct fixture *f, const uint8_t *id)
{
    uint8_t plain[] = {0, 1, 'x'};
    assert_int_equal(reg(f, sq_msg_of(totp_make, .owner_id = ID(id), .factor_id = ID(factor)), NULL), SQ_ENOTFOUND);
    assert_int_equal(reg(f, sq_msg_of(password_hash, .owner_id = ID(id), .password = sq_span_str("a password of mine")), NULL), SQ_ENOTFOUND);
    assert_int_equal(reg(f, sq_msg_of(fields_seal, .owner_id = ID(id), .batch = {plain, sizeof plain}), NULL), SQ_ENOTFOUND);
    assert_int_equal(reg(f, sq_msg_of(factor_needed, .owner_id = ID(id)), NULL), SQ_ENOTFOUND);
    assert_int_equal(reg(f, sq_msg_of(factor_forget, .owner_id = ID(id)), NULL), SQ_ENOTFOUND);
    assert_int_equal(reg(f, sq_msg_of(link_make, .owner_id = ID(id), .kind = 2, .expires_s = UINT32_MAX), NULL), SQ_ENOTFOUND);
    assert_int_equal(make_object(f, factor, id), SQ_EKEYGONE);
}

static void former_keys_are_no_owners(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t id[16];
    uint32_t n;
    start(&f);
    ok(make_object(&f, object, site));
    ok(replace(&f, OWNERS, 0, &n));
    assert_int_equal(n, 3);
    for (int i = 0; i < 2; i++)
        for (int is_guessed = 0; is_guessed < 2; is_guessed++) {
            former_id(&f, i ? owner_a : site, 0, is_guessed, id);
            no_owner(&f, id);
            assert_int_equal(end_owner(&f, id), is_guessed ? SQ_OK : SQ_ENOTFOUND); /* as any id that was never here; or refused */
            if (!is_guessed)
                assert_int_equal(make_owner(&f, id), SQ_EEXISTS);
        }
    ok(ask(&f, SQ_ROLE_GATEWAY, sq_msg_of(part_key, .object_id = ID(object), .part_no = 0), NULL)); /* the site's former key is there */
    former_id(&f, owner_a, 0, false, id);
    ok(end_owner(&f, owner_a));
    assert_int_equal(reg(&f, sq_msg_of(totp_make, .owner_id = ID(id), .factor_id = ID(factor)), NULL), SQ_EKEYGONE);
    end(&f);
}

/* ---- no owner is left out unseen, and none holds up the others ---- */

struct field {
    uint8_t sealed[64];
    uint32_t n;
};

static void seal_field(struct fixture *f, const uint8_t *owner, struct field *out)
{
    struct sq_msg is;
    uint8_t plain[] = {0, 1, 'x'};
    ok(reg(f, sq_msg_of(fields_seal, .owner_id = ID(owner), .batch = {plain, sizeof plain}), &is));
    out->n = is.u.fields_is.batch.n - 2;
    memcpy(out->sealed, is.u.fields_is.batch.p + 2, out->n);
}

static bool is_under_former(struct fixture *f, const uint8_t *owner, uint8_t kind, const uint8_t *sealed, uint32_t n)
{
    struct sq_msg is;
    ok(reg(f, sq_msg_of(reseal, .owner_id = ID(owner), .kind = kind, .sealed = {sealed, n}), &is));
    return is.u.sealed_is.sealed.n;
}

static void no_owner_is_left_out(void **state)
{
    (void)state;
    struct fixture f;
    struct field a, b;
    uint8_t id[16];
    uint32_t n;
    start(&f);
    former_id(&f, owner_a, 0, true, id); /* planted where it was thought to lie: in nobody's way */
    ok(make_owner(&f, id));
    ok(end_owner(&f, id));
    former_id(&f, site, 0, true, id);
    ok(make_owner(&f, id));
    ok(replace(&f, OWNERS, 0, &n));
    assert_int_equal(n, 4);

    former_id(&f, owner_a, 1, false, id); /* by somebody who reads the slab: told, and the others have another key */
    ok(make_owner(&f, id));
    ok(end_owner(&f, id));
    seal_field(&f, owner_a, &a);
    seal_field(&f, owner_b, &b);
    assert_int_equal(replace(&f, OWNERS, 0, &n), SQ_ETAMPERED);
    assert_false(is_under_former(&f, owner_a, 1, a.sealed, a.n));
    assert_true(is_under_former(&f, owner_b, 1, b.sealed, b.n));
    ok(end_owner(&f, owner_a)); /* who is gone is no error */
    ok(replace(&f, OWNERS, 0, &n));
    assert_int_equal(n, 3);

    seal_field(&f, owner_b, &b);
    f.hooks->fail_code = SQ_EIO; /* the first one's fails */
    snprintf(f.hooks->name, sizeof f.hooks->name, "keeper.replace_kept");
    f.hooks->is_armed = 2;
    assert_int_equal(replace(&f, OWNERS, 0, &n), SQ_EIO);
    assert_true(is_under_former(&f, owner_b, 1, b.sealed, b.n));
    ok(replace(&f, OWNERS, 0, &n));
    assert_int_equal(n, 3);
    end(&f);
}

/* ---- a password that is set meanwhile ---- */

static void a_password_set_meanwhile(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg q = sq_msg_of(password_hash, .owner_id = ID(owner_a), .password = sq_span_str("a password of mine")), reply;
    uint8_t sealed[512];
    start(&f);
    f.hooks->fail_code = 1; /* the hash is made, and held */
    snprintf(f.hooks->name, sizeof f.hooks->name, "keeper.hashed");
    f.hooks->is_armed = 3;
    q.call = 1000;
    ok(sq_wire_send(f.link[SQ_ROLE_REGISTRAR], SQ_ROLE_REGISTRAR, SQ_ROLE_KEEPER, &q));
    for (unsigned i = 0; i < 60000 && !f.hooks->held; i++)
        usleep(2000);
    assert_int_equal(f.hooks->held, 1);
    uint32_t n;
    ok(replace(&f, OWNERS, 0, &n));
    f.hooks->released = 1;
    ok(sq_wire_recv(f.link[SQ_ROLE_REGISTRAR], SQ_ROLE_KEEPER, SQ_ROLE_REGISTRAR, f.pkt, &reply));
    assert_int_equal(reply.no, SQ_MSG_sealed_is);
    n = reply.u.sealed_is.sealed.n;
    assert_true(n <= sizeof sealed);
    memcpy(sealed, reply.u.sealed_is.sealed.p, n);
    assert_false(is_under_former(&f, owner_a, 2, sealed, n));
    ok(reg(&f, sq_msg_of(password_check, .owner_id = ID(owner_a), .sealed = {sealed, n}, .password = sq_span_str("a password of mine")), NULL));
    end(&f);
}

/* ---- a former token key that is damaged ---- */

static uint32_t n_token_keys(struct fixture *f)
{
    struct sq_msg is;
    ok(reg(f, sq_msg_bare(keeper_state), &is));
    return is.u.keeper_state_is.token_publics.n / SQ_ES256_PUBLIC_BYTES;
}

/* One bit in the box of the @which former token key, from 0. */
static void damage_former(struct fixture *f, unsigned which)
{
    int fd = open_file(f);
    uint8_t slot[SQ_SLAB_SLOT_BYTES] = {0};
    off_t at = 2 * SQ_SLAB_BLOCK_BYTES;
    for (;; at += SQ_SLAB_SLOT_BYTES) {
        assert_int_equal(pread(fd, slot, sizeof slot, at), sizeof slot);
        if (slot[0] == SQ_SLAB_TOKEN_KEY && slot[1] == SQ_SLAB_FORMER && !which--)
            break;
    }
    slot[100] ^= 1;
    assert_int_equal(pwrite(fd, slot, sizeof slot, at), sizeof slot);
    close(fd);
}

static void a_damaged_former_key_stops_nothing(void **state)
{
    (void)state;
    struct fixture f;
    uint32_t n;
    start(&f);
    uint64_t until_s = (uint64_t)sq_clock_now_s() + 3600;
    ok(replace(&f, TOKENS, until_s, &n));
    ok(replace(&f, TOKENS, until_s, &n));
    assert_int_equal(n_token_keys(&f), 3);
    keeper_stop(&f, true);
    damage_former(&f, 0);
    assert_true(keeper_start(&f, "file", KEY_FILE_HEX));
    assert_int_equal(n_token_keys(&f), 2); /* the present one, and the other */
    ok(replace(&f, TOKENS, until_s, &n));
    assert_int_equal(n_token_keys(&f), 3);
    damage_former(&f, 1); /* one more while it runs; both are dropped all the same */
    ok(replace(&f, TOKENS, 0, &n));
    assert_int_equal(n_token_keys(&f), 1);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(former_keys_are_no_owners),
        cmocka_unit_test(no_owner_is_left_out),
        cmocka_unit_test(a_password_set_meanwhile),
        cmocka_unit_test(a_damaged_former_key_stops_nothing),
    };
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(sq_crypt_start(), SQ_OK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
