/* The real keeper, asked by a fake parent and fake peers: what it gives, what it refuses, whom it cuts off. */
#include "keeper_fixture.h"

#include "daemon/keeper/clock_watch.h"
#include "daemon/keeper/slab.h"
#include "lib/audit/audit.h"
#include "lib/core/clock.h"
#include "lib/identity/identity.h"

static const uint8_t owner_a[16] = "owner A", owner_b[16] = "owner B", site[16] = {0};
static const uint8_t upload[16] = "upload", output[16] = "output", others[16] = "of owner B", panel[16] = "panel";
static const uint8_t task[16] = "task", no_task[16] = "no such task";

#define ID(x) {x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11], x[12], x[13], x[14], x[15]}

static void ok(sq_err err)
{
    assert_int_equal(err, SQ_OK);
}

static uint64_t now(void)
{
    return (uint64_t)sq_clock_now_s();
}

static void make_owner(struct fixture *f, const uint8_t *id)
{
    ok(reg(f, sq_msg_of(owner_create, .owner_id = ID(id)), NULL));
}

static sq_err make_slot(struct fixture *f, const uint8_t *id, const uint8_t *owner, uint64_t not_after_s, enum sq_role role)
{
    return reg(f, sq_msg_of(slot_create, .object_id = ID(id), .owner_id = ID(owner), .not_after_s = not_after_s,
                            .for_role = (uint8_t)role), NULL);
}

static sq_err part_key(struct fixture *f, const uint8_t *id, uint32_t part_no, struct sq_msg_part_key_is *out)
{
    struct sq_msg is;
    sq_err err = ask(f, SQ_ROLE_GATEWAY, sq_msg_of(part_key, .object_id = ID(id), .part_no = part_no), &is);
    if (!err && out)
        *out = is.u.part_key_is;
    return err;
}

static sq_err seal_key(struct fixture *f, const uint8_t *task_id, uint32_t fence, const uint8_t *id, uint32_t part_no)
{
    return ask(f, SQ_ROLE_RUNNER, sq_msg_of(task_seal_key, .task_id = ID(task_id), .fence = fence, .object_id = ID(id),
                                            .part_no = part_no), NULL);
}

static sq_err open_key(struct fixture *f, const uint8_t *task_id, uint32_t fence, const uint8_t *id, uint32_t part_no,
                       const uint8_t salt[32], uint8_t out[32])
{
    struct sq_msg m = sq_msg_of(task_open_key, .task_id = ID(task_id), .fence = fence, .object_id = ID(id), .part_no = part_no);
    struct sq_msg is;
    memcpy(m.u.task_open_key.salt, salt, 32);
    sq_err err = ask(f, SQ_ROLE_RUNNER, m, &is);
    if (!err)
        memcpy(out, is.u.task_key_is.derived_key, 32);
    return err;
}

static sq_err grant(struct fixture *f, uint32_t fence, uint64_t expires_s, const uint8_t *owner, const uint8_t *reads, uint32_t n_read,
                    const uint8_t *writes, uint32_t n_write)
{
    return reg(f, sq_msg_of(grant, .task_id = ID(task), .fence = fence, .expires_s = expires_s, .owner_id = ID(owner),
                            .reads = {reads, n_read}, .writes = {writes, n_write}), NULL);
}

static void start_with_things(struct fixture *f)
{
    fixture_new(f);
    assert_true(keeper_start(f, "file", KEY_FILE_HEX));
    make_owner(f, owner_a);
    make_owner(f, owner_b);
    ok(make_slot(f, upload, owner_a, now() + 1000, SQ_ROLE_GATEWAY));
    ok(make_slot(f, output, owner_a, now() + 1000, SQ_ROLE_RUNNER));
    ok(make_slot(f, others, owner_b, now() + 1000, SQ_ROLE_RUNNER));
    ok(make_slot(f, panel, site, 0, SQ_ROLE_RUNNER));
}

/* Until so many slots are left: the timer looks each second, on a busy machine later. */
static void wait_slots(struct fixture *f, size_t n)
{
    struct sq_msg is;
    size_t left = n + 1;
    for (int i = 0; i < 600 && left != n; i++) {
        if (i)
            usleep(100000);
        ok(reg(f, sq_msg_of(slot_list, .from_slot = 0), &is));
        left = is.u.slot_list_is.slots.n / 40;
    }
    assert_int_equal(left, n);
}

static void end(struct fixture *f)
{
    assert_int_equal(keeper_stop(f, false), 0);
    fixture_done(f);
}

/* ---- objects, parts, grants ---- */

static void test_parts(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg_part_key_is a, b;
    start_with_things(&f);
    assert_int_equal(make_slot(&f, upload, owner_a, 0, SQ_ROLE_GATEWAY), SQ_EEXISTS);
    assert_int_equal(make_slot(&f, no_task, owner_a, 0, SQ_ROLE_STORER), SQ_ERANGE);
    assert_int_equal(make_slot(&f, no_task, no_task, 0, SQ_ROLE_RUNNER), SQ_EKEYGONE);
    ok(part_key(&f, upload, 0, &a));
    ok(part_key(&f, upload, 1, &b));
    assert_memory_not_equal(a.salt, b.salt, 32);
    assert_memory_not_equal(a.derived_key, b.derived_key, 32);
    assert_int_equal(part_key(&f, upload, 0, NULL), SQ_EGRANT); /* never twice */
    assert_int_equal(part_key(&f, upload, 1u << 30, NULL), SQ_ERANGE);
    assert_int_equal(part_key(&f, output, 0, NULL), SQ_EGRANT); /* runner's */
    assert_int_equal(part_key(&f, no_task, 0, NULL), SQ_ENOTFOUND);
    ok(part_key(&f, upload, UINT32_MAX, NULL));
    assert_int_equal(part_key(&f, upload, UINT32_MAX, NULL), SQ_EGRANT);
    assert_int_equal(part_key(&f, upload, 2, NULL), SQ_EGRANT); /* the closing part was the last */
    ok(reg(&f, sq_msg_of(slot_close, .object_id = ID(upload)), NULL));
    ok(reg(&f, sq_msg_of(slot_close, .object_id = ID(upload)), NULL));
    assert_int_equal(part_key(&f, upload, 3, NULL), SQ_EGRANT);
    end(&f);
}

static void test_grants(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg_part_key_is part;
    uint8_t key[32], other[32], reads[32], foreign[32];
    start_with_things(&f);
    ok(part_key(&f, upload, 0, &part));
    memcpy(reads, upload, 16);
    memcpy(reads + 16, panel, 16);
    memcpy(foreign, upload, 16);
    memcpy(foreign + 16, others, 16);
    assert_int_equal(open_key(&f, task, 1, upload, 0, part.salt, key), SQ_EGRANT); /* before */
    assert_int_equal(grant(&f, 1, now() + 60, owner_a, foreign, 2, output, 1), SQ_EGRANT);
    assert_int_equal(grant(&f, 1, now() + 60, owner_a, upload, 1, others, 1), SQ_EGRANT);
    assert_int_equal(grant(&f, 1, now() + 60, owner_a, upload, 1, upload, 1), SQ_EGRANT); /* open for gateway */
    assert_int_equal(grant(&f, 1, now() + 60, owner_a, upload, 1, panel, 1), SQ_EGRANT);  /* the site's: read only */
    assert_int_equal(grant(&f, 1, now() - 1, owner_a, upload, 1, output, 1), SQ_ERANGE);
    assert_int_equal(grant(&f, 1, now() + 60, owner_a, no_task, 1, output, 1), SQ_ENOTFOUND);
    uint64_t expires_s = now() + 60;
    ok(grant(&f, 2, expires_s, owner_a, reads, 2, output, 1));
    ok(grant(&f, 2, expires_s, owner_a, reads, 2, output, 1));
    assert_int_equal(grant(&f, 2, expires_s, owner_a, reads, 1, output, 1), SQ_EGRANT);
    assert_int_equal(grant(&f, 1, expires_s, owner_a, reads, 2, output, 1), SQ_EGRANT);
    ok(open_key(&f, task, 2, upload, 0, part.salt, key));
    assert_memory_equal(key, part.derived_key, 32);
    ok(open_key(&f, task, 2, upload, 1, part.salt, other)); /* another part: another key */
    assert_memory_not_equal(key, other, 32);
    ok(open_key(&f, task, 2, panel, 0, part.salt, other));
    assert_int_equal(open_key(&f, task, 1, upload, 0, part.salt, key), SQ_EGRANT);
    assert_int_equal(open_key(&f, task, 3, upload, 0, part.salt, key), SQ_EGRANT);
    assert_int_equal(open_key(&f, no_task, 2, upload, 0, part.salt, key), SQ_EGRANT);
    assert_int_equal(open_key(&f, task, 2, output, 0, part.salt, key), SQ_EGRANT); /* to write, not to read */
    assert_int_equal(open_key(&f, task, 2, others, 0, part.salt, key), SQ_EGRANT);
    ok(seal_key(&f, task, 2, output, 0));
    assert_int_equal(seal_key(&f, task, 2, output, 0), SQ_EGRANT);
    assert_int_equal(seal_key(&f, task, 2, upload, 7), SQ_EGRANT);
    assert_int_equal(seal_key(&f, task, 1, output, 1), SQ_EGRANT);
    ok(grant(&f, 3, expires_s, owner_a, reads, 2, output, 1)); /* a higher fence ends the lower */
    assert_int_equal(seal_key(&f, task, 2, output, 1), SQ_EGRANT);
    ok(seal_key(&f, task, 3, output, 1));
    ok(reg(&f, sq_msg_of(grant_end, .task_id = ID(task)), NULL));
    ok(reg(&f, sq_msg_of(grant_end, .task_id = ID(task)), NULL));
    assert_int_equal(seal_key(&f, task, 3, output, 2), SQ_EGRANT);
    ok(grant(&f, 4, now() + 60, owner_a, reads, 2, output, 1));
    f.hooks->clock_offset_s = 61; /* expired */
    assert_int_equal(open_key(&f, task, 4, upload, 0, part.salt, key), SQ_EGRANT);
    end(&f);
}

static sq_err destroy(struct fixture *f, const uint8_t *id, struct sq_msg_slot_destroyed_is *out)
{
    struct sq_msg is;
    sq_err err = reg(f, sq_msg_of(slot_destroy, .object_id = ID(id)), &is);
    if (!err)
        *out = is.u.slot_destroyed_is;
    return err;
}

static void test_end_of_keys(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg is;
    struct sq_msg_slot_destroyed_is a, b;
    start_with_things(&f);
    ok(destroy(&f, upload, &a));
    assert_true(a.destroyed_s > 0);
    ok(destroy(&f, upload, &b));
    assert_int_equal(a.destroyed_s, b.destroyed_s);
    assert_int_equal(a.generation, b.generation);
    assert_int_equal(part_key(&f, upload, 0, NULL), SQ_EKEYGONE);
    assert_int_equal(make_slot(&f, upload, owner_a, 0, SQ_ROLE_GATEWAY), SQ_EKEYGONE);
    ok(reg(&f, sq_msg_of(slot_list, .from_slot = 0), &is));
    assert_int_equal(is.u.slot_list_is.slots.n / 40, 3);
    assert_int_equal(is.u.slot_list_is.next_slot, 0);
    ok(reg(&f, sq_msg_of(slot_extend, .object_id = ID(output), .not_after_s = now() + 5000), NULL));
    f.hooks->clock_offset_s = 2000; /* past the end of `others`, not of `output`; the timer looks each second */
    wait_slots(&f, 2);
    assert_int_equal(reg(&f, sq_msg_of(slot_extend, .object_id = ID(others), .not_after_s = now() + 9000), NULL), SQ_EKEYGONE);
    assert_int_equal(reg(&f, sq_msg_of(owner_destroy, .owner_id = ID(site)), NULL), SQ_EDENIED);
    ok(reg(&f, sq_msg_of(owner_destroy, .owner_id = ID(owner_a)), NULL));
    assert_int_equal(reg(&f, sq_msg_of(slot_close, .object_id = ID(output)), NULL), SQ_EKEYGONE);
    end(&f);
}

static void test_package(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg is;
    char password[65];
    uint8_t keys[66];
    start_with_things(&f);
    struct sq_msg q = sq_msg_of(one_time_password, .task_id = ID(task), .fence = 1);
    assert_int_equal(reg(&f, q, NULL), SQ_EGRANT);
    ok(grant(&f, 1, now() + 60, owner_a, NULL, 0, output, 1));
    struct sq_msg e = sq_msg_of(entry_keys, .task_id = ID(task), .fence = 1, .entry_no = 0);
    assert_int_equal(ask(&f, SQ_ROLE_RUNNER, e, NULL), SQ_EGRANT); /* no password yet */
    ok(reg(&f, q, &is));
    ok(sq_span_copy(is.u.one_time_password_is.password, password, sizeof password));
    assert_int_equal(strlen(password), SQ_OTP_CHARS);
    assert_true(sq_otp_is_good(password));
    assert_int_equal(reg(&f, q, NULL), SQ_ECONFLICT); /* shown once */
    ok(ask(&f, SQ_ROLE_RUNNER, e, &is));
    ok(sq_pbkdf2_sha1(password, strlen(password), is.u.entry_keys_is.salt, 16, 1000, keys, 66));
    assert_memory_equal(is.u.entry_keys_is.aes, keys, 32);
    assert_memory_equal(is.u.entry_keys_is.mac, keys + 32, 32);
    assert_memory_equal(is.u.entry_keys_is.verifier, keys + 64, 2);
    assert_int_equal(ask(&f, SQ_ROLE_RUNNER, e, NULL), SQ_EGRANT); /* each entry once */
    e.u.entry_keys.entry_no = 1;
    ok(ask(&f, SQ_ROLE_RUNNER, e, NULL));
    e.u.entry_keys.entry_no = 100000;
    assert_int_equal(ask(&f, SQ_ROLE_RUNNER, e, NULL), SQ_ERANGE);
    e.u.entry_keys.entry_no = 2;
    ok(reg(&f, sq_msg_of(grant_end, .task_id = ID(task)), NULL));
    assert_int_equal(ask(&f, SQ_ROLE_RUNNER, e, NULL), SQ_EGRANT);
    end(&f);
}

/* ---- credentials, fields ---- */

static void test_passwords(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg is;
    uint8_t sealed[512];
    start_with_things(&f);
    ok(reg(&f, sq_msg_of(password_hash, .owner_id = ID(owner_a), .password = sq_span_str("correct one")), &is));
    uint32_t n = is.u.sealed_is.sealed.n;
    memcpy(sealed, is.u.sealed_is.sealed.p, n);
    assert_true(n <= 256);
    assert_null(memmem(sealed, n, "argon2", 6));
    struct sq_msg q = sq_msg_of(password_check, .owner_id = ID(owner_a), .sealed = {sealed, n}, .password = sq_span_str("correct one"));
    ok(reg(&f, q, &is));
    assert_int_equal(is.u.proof_is.means, 1);
    uint8_t proof[16];
    memcpy(proof, is.u.proof_is.proof, 16);
    /* another one takes a proof: his own, once */
    struct sq_msg again = sq_msg_of(password_hash, .owner_id = ID(owner_a), .password = sq_span_str("another one"));
    assert_int_equal(reg(&f, again, NULL), SQ_EPROOF);
    memcpy(again.u.password_hash.proof, proof, 16);
    again.u.password_hash.proof[0] ^= 1;
    assert_int_equal(reg(&f, again, NULL), SQ_EPROOF);
    again.u.password_hash.proof[0] ^= 1;
    ok(reg(&f, again, NULL));
    assert_int_equal(reg(&f, again, NULL), SQ_EPROOF);
    assert_int_equal(reg(&f, sq_msg_of(mail_seal, .owner_id = ID(owner_a), .address = sq_span_str("eve@example.org")), NULL), SQ_EPROOF);
    q.u.password_check.password = sq_span_str("correct onf");
    assert_int_equal(reg(&f, q, NULL), SQ_EPASSWORD);
    q.u.password_check.sealed.n = 0;
    assert_int_equal(reg(&f, q, NULL), SQ_EPASSWORD);
    q = sq_msg_of(password_check, .owner_id = ID(owner_b), .sealed = {sealed, n}, .password = sq_span_str("correct one"));
    assert_int_equal(reg(&f, q, NULL), SQ_ETAMPERED); /* another's */
    sealed[20] ^= 1;
    q = sq_msg_of(password_check, .owner_id = ID(owner_a), .sealed = {sealed, n}, .password = sq_span_str("correct one"));
    assert_int_equal(reg(&f, q, NULL), SQ_ETAMPERED);
    end(&f);
}

/* Thirty at once: one at work, six waiting, the rest told to come again; and other messages go on meanwhile. */
static void test_hash_flood(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg reply, q = sq_msg_of(password_check, .password = sq_span_str("whatever it is"));
    unsigned n_busy = 0, n_wrong = 0, n_ok = 0;
    start_with_things(&f);
    for (unsigned i = 0; i < 30; i++) {
        q.call = 1000 + i;
        ok(sq_wire_send(f.link[SQ_ROLE_REGISTRAR], SQ_ROLE_REGISTRAR, SQ_ROLE_KEEPER, &q));
    }
    struct sq_msg l = sq_msg_of(lookup, .text = sq_span_str("someone"));
    l.call = 5000;
    ok(sq_wire_send(f.link[SQ_ROLE_REGISTRAR], SQ_ROLE_REGISTRAR, SQ_ROLE_KEEPER, &l));
    for (unsigned i = 0; i < 31; i++) {
        ok(sq_wire_recv(f.link[SQ_ROLE_REGISTRAR], SQ_ROLE_KEEPER, SQ_ROLE_REGISTRAR, f.pkt, &reply));
        if (reply.no == SQ_MSG_lookup_is)
            n_ok++;
        else if (reply.u.error_is.code == SQ_EBUSY)
            n_busy++;
        else if (reply.u.error_is.code == SQ_EPASSWORD)
            n_wrong++;
    }
    assert_int_equal(n_ok, 1);
    assert_int_equal(n_busy + n_wrong, 30);
    assert_true(n_busy > 0);
    assert_true(n_wrong >= 7);
    end(&f);
}

/* A proof by the password, which the owner gets with the first of them. */
static sq_err prove(struct fixture *f, const uint8_t *owner, uint8_t proof[16])
{
    static uint8_t sealed[2][512];
    static uint32_t n[2];
    unsigned k = owner == owner_b;
    struct sq_msg is;
    sq_err err = reg(f, sq_msg_of(password_hash, .owner_id = ID(owner), .password = sq_span_str("a password")), &is);
    if (!err) {
        n[k] = is.u.sealed_is.sealed.n;
        memcpy(sealed[k], is.u.sealed_is.sealed.p, n[k]);
    }
    if (!err || err == SQ_EPROOF)
        err = reg(f, sq_msg_of(password_check, .owner_id = ID(owner), .sealed = {sealed[k], n[k]}, .password = sq_span_str("a password")), &is);
    if (!err)
        memcpy(proof, is.u.proof_is.proof, 16);
    return err;
}

static sq_err sign_token(struct fixture *f, const uint8_t *owner, char *out, size_t size)
{
    struct sq_msg is;
    uint8_t proof[16] = {0};
    sq_err err = owner == no_task ? SQ_OK : prove(f, owner, proof);
    struct sq_msg q = sq_msg_of(token_sign, .owner_id = ID(owner), .jti = {7}, .role = sq_span_str("user"),
                                .scope = sq_span_str("jobs results"), .epoch = 3, .issued_s = now(), .expires_s = now() + 100);
    if (!err && owner != no_task)
        assert_int_equal(reg(f, q, NULL), SQ_EPROOF); /* none without one */
    memcpy(q.u.token_sign.proof, proof, 16);
    if (!err)
        err = reg(f, q, &is);
    return err ? err : sq_span_copy(is.u.token_is.token, out, size);
}

static sq_err opens_field(struct fixture *f, const char *token)
{
    struct sq_msg is;
    uint8_t plain[] = {0, 1, 'x'}, sealed[64];
    ok(reg(f, sq_msg_of(fields_seal, .owner_id = ID(owner_a), .batch = {plain, sizeof plain}), &is));
    uint32_t n = is.u.fields_is.batch.n;
    memcpy(sealed, is.u.fields_is.batch.p, n);
    return reg(f, sq_msg_of(fields_open, .owner_id = ID(owner_a), .token = sq_span_str(token), .batch = {sealed, n}), &is);
}

static uint32_t n_token_keys(struct fixture *f)
{
    struct sq_msg is;
    ok(reg(f, sq_msg_bare(keeper_state), &is));
    return is.u.keeper_state_is.token_publics.n / 65;
}

static sq_err replace_tokens(struct fixture *f, uint64_t until_s, struct sq_msg *is)
{
    return reg(f, sq_msg_of(key_replace, .which = 1, .until_s = until_s), is);
}

/* Another key signs at once; the old one verifies until its end, or no more at all. */
static void test_token_key_replaced(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg is;
    char before[2049], after[2049];
    start_with_things(&f);
    ok(sign_token(&f, owner_a, before, sizeof before));
    ok(opens_field(&f, before));
    ok(replace_tokens(&f, 1, &is));
    assert_int_equal(is.u.key_replaced_is.number, 1);
    assert_true(is.u.key_replaced_is.until_s >= now() + 90); /* the token of 100 s that was signed, though registrar knew of none */
    assert_int_equal(n_token_keys(&f), 2);
    ok(sign_token(&f, owner_a, after, sizeof after));
    assert_memory_not_equal(before, after, (size_t)(strchr(before, '.') - before)); /* another kid */
    ok(opens_field(&f, before));
    ok(opens_field(&f, after));
    keeper_stop(&f, true);
    assert_true(keeper_start(&f, "file", KEY_FILE_HEX)); /* also after a restart */
    ok(opens_field(&f, before));
    ok(opens_field(&f, after));
    for (unsigned i = 2; i < SQ_JWT_MAX_KEYS; i++)
        ok(replace_tokens(&f, now() + 3600, &is));
    assert_int_equal(replace_tokens(&f, now() + 3600, &is), SQ_ECONFLICT);
    assert_int_equal(n_token_keys(&f), SQ_JWT_MAX_KEYS);
    ok(opens_field(&f, before));
    ok(replace_tokens(&f, 0, &is));
    assert_int_equal(is.u.key_replaced_is.number, SQ_JWT_MAX_KEYS);
    assert_int_equal(n_token_keys(&f), 1);
    assert_int_equal(opens_field(&f, before), SQ_EAUTH);
    assert_int_equal(opens_field(&f, after), SQ_EAUTH);
    ok(sign_token(&f, owner_a, after, sizeof after));
    ok(opens_field(&f, after));
    end(&f);
}

static void test_tokens_and_fields(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg is;
    struct sq_jwt_claims claims;
    uint8_t public_key[65], sealed[512], plain[] = {0, 3, 'a', 'b', 'c', 0, 0, 0, 2, 0xff, 0x00};
    char a[2049], b[2049];
    start_with_things(&f);
    ok(reg(&f, sq_msg_bare(keeper_state), &is));
    assert_int_equal(is.u.keeper_state_is.token_publics.n, 65);
    memcpy(public_key, is.u.keeper_state_is.token_publics.p, 65);
    ok(sign_token(&f, owner_a, a, sizeof a));
    ok(sign_token(&f, owner_b, b, sizeof b));
    assert_int_equal(sign_token(&f, no_task, b + 0, 0), SQ_ENOTFOUND);
    ok(sq_jwt_verify(public_key, ORIGIN, sq_span_str(a), (int64_t)now(), &claims));
    assert_memory_equal(claims.sub, owner_a, 16);
    assert_int_equal(claims.epoch, 3);
    assert_string_equal(claims.scope, "jobs results");

    ok(reg(&f, sq_msg_of(fields_seal, .owner_id = ID(owner_a), .batch = {plain, sizeof plain}), &is));
    uint32_t n = is.u.fields_is.batch.n;
    assert_int_equal(n, sizeof plain + 3 * SQ_BOX_EXTRA_BYTES);
    memcpy(sealed, is.u.fields_is.batch.p, n);
    struct sq_msg q = sq_msg_of(fields_open, .owner_id = ID(owner_a), .token = sq_span_str(a), .batch = {sealed, n});
    ok(reg(&f, q, &is));
    assert_int_equal(is.u.fields_is.batch.n, sizeof plain);
    assert_memory_equal(is.u.fields_is.batch.p, plain, sizeof plain);
    q.u.fields_open.token = sq_span_str(b);
    assert_int_equal(reg(&f, q, NULL), SQ_EDENIED); /* another's token */
    q.u.fields_open.token = sq_span_str("");
    assert_int_equal(reg(&f, q, NULL), SQ_EAUTH);
    q = sq_msg_of(fields_open, .owner_id = ID(owner_b), .token = sq_span_str(b), .batch = {sealed, n});
    assert_int_equal(reg(&f, q, NULL), SQ_ETAMPERED); /* another's field */
    q = sq_msg_of(fields_open, .owner_id = ID(owner_a), .token = sq_span_str(a), .batch = {sealed, n - 1});
    assert_int_equal(reg(&f, q, NULL), SQ_ERANGE);
    f.hooks->clock_offset_s = 101;
    q.u.fields_open.batch.n = n;
    assert_int_equal(reg(&f, q, NULL), SQ_EAUTH); /* expired */
    f.hooks->clock_offset_s = 0;

    uint8_t mac[32];
    ok(reg(&f, sq_msg_of(lookup, .text = sq_span_str("someone")), &is));
    memcpy(mac, is.u.lookup_is.hmac, 32);
    ok(reg(&f, sq_msg_of(lookup, .text = sq_span_str("someone")), &is));
    assert_memory_equal(mac, is.u.lookup_is.hmac, 32);
    ok(reg(&f, sq_msg_of(lookup, .text = sq_span_str("somebody")), &is));
    assert_memory_not_equal(mac, is.u.lookup_is.hmac, 32);
    end(&f);
}

/* ---- download links ---- */

static sq_err link_check(struct fixture *f, const uint8_t *owner, const uint8_t *link, const uint8_t *object, uint64_t expires_s, const uint8_t *secret)
{
    struct sq_msg q = sq_msg_of(download_link_check, .owner_id = ID(owner), .link_id = ID(link), .object_id = ID(object), .expires_s = expires_s);
    memcpy(q.u.download_link_check.secret, secret, 16);
    return reg(f, q, NULL);
}

static void test_download_links(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg is;
    char a[2049], b[2049];
    uint8_t secret[16], again[16], link[16] = {1}, other[16] = {2};
    start_with_things(&f);
    ok(sign_token(&f, owner_a, a, sizeof a));
    ok(sign_token(&f, owner_b, b, sizeof b));
    uint64_t end_s = now() + 60;
    struct sq_msg q = sq_msg_of(download_link_make, .owner_id = ID(owner_a), .token = sq_span_str(a), .link_id = ID(link), .object_id = ID(output), .expires_s = end_s);
    ok(reg(&f, q, &is));
    memcpy(secret, is.u.download_link_is.secret, 16);
    ok(reg(&f, q, &is));
    assert_memory_equal(secret, is.u.download_link_is.secret, 16); /* nothing is kept: it is made of what it is for */
    q.u.download_link_make.token = sq_span_str(b);
    assert_int_equal(reg(&f, q, NULL), SQ_EDENIED); /* another's token */
    q.u.download_link_make.token = sq_span_str("");
    assert_int_equal(reg(&f, q, NULL), SQ_EAUTH);
    q = sq_msg_of(download_link_make, .owner_id = ID(owner_b), .token = sq_span_str(b), .link_id = ID(link), .object_id = ID(output), .expires_s = end_s);
    assert_int_equal(reg(&f, q, NULL), SQ_EDENIED); /* another's object */
    q = sq_msg_of(download_link_make, .owner_id = ID(owner_a), .token = sq_span_str(a), .link_id = ID(link), .object_id = ID(output), .expires_s = now() + 86400 + 60);
    assert_int_equal(reg(&f, q, NULL), SQ_ERANGE); /* longer than a day */
    q.u.download_link_make.expires_s = now();
    assert_int_equal(reg(&f, q, NULL), SQ_ELINK);

    ok(link_check(&f, owner_a, link, output, end_s, secret));
    assert_int_equal(link_check(&f, owner_a, other, output, end_s, secret), SQ_ELINK);
    assert_int_equal(link_check(&f, owner_a, link, output, end_s + 1, secret), SQ_ELINK);
    assert_int_equal(link_check(&f, owner_b, link, output, end_s, secret), SQ_EDENIED);
    for (unsigned bit = 0; bit < 128; bit++) {
        memcpy(again, secret, 16);
        again[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(link_check(&f, owner_a, link, output, end_s, again), SQ_ELINK);
    }
    f.hooks->clock_offset_s = 61;
    assert_int_equal(link_check(&f, owner_a, link, output, end_s, secret), SQ_ELINK);
    f.hooks->clock_offset_s = 0;
    uint64_t late = now() + 2000;
    q = sq_msg_of(download_link_make, .owner_id = ID(owner_a), .token = sq_span_str(a), .link_id = ID(link), .object_id = ID(output), .expires_s = late);
    assert_int_equal(reg(&f, q, NULL), SQ_ERANGE); /* the package ends before */
    ok(destroy(&f, output, &(struct sq_msg_slot_destroyed_is){0}));
    assert_int_equal(link_check(&f, owner_a, link, output, end_s, secret), SQ_EKEYGONE);
    end(&f);
}

/* ---- notes ---- */

static sq_err checkpoint(struct fixture *f, uint64_t size, const uint8_t root[32], const uint8_t *proof, uint32_t n, struct sq_msg *is)
{
    struct sq_msg q = sq_msg_of(checkpoint, .size = size, .proof = {proof, n});
    memcpy(q.u.checkpoint.root, root, 32);
    return reg(f, q, is);
}

static void test_checkpoints(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg is;
    struct sq_note_head head;
    char vkey[SQ_VKEY_BYTES], receipt_vkey[SQ_VKEY_BYTES];
    uint8_t leaf_1[32], leaf_2[32], root_2[32], both[65] = {1};
    start_with_things(&f);
    ok(reg(&f, sq_msg_bare(keeper_state), &is));
    ok(sq_vkey_encode(ORIGIN, is.u.keeper_state_is.note_public, vkey));
    ok(sq_vkey_encode(ORIGIN "/receipt", is.u.keeper_state_is.note_public, receipt_vkey));
    ok(sq_audit_leaf_hash(sq_span_str("one"), leaf_1));
    ok(sq_audit_leaf_hash(sq_span_str("two"), leaf_2));
    memcpy(both + 1, leaf_1, 32);
    memcpy(both + 33, leaf_2, 32);
    ok(sq_sha256_of(both, 65, root_2));
    ok(checkpoint(&f, 1, leaf_1, NULL, 0, &is));
    ok(sq_note_verify(vkey, (const char *)is.u.note_is.note.p, is.u.note_is.note.n, &head));
    assert_int_equal(head.size, 1);
    ok(checkpoint(&f, 1, leaf_1, NULL, 0, &is)); /* again: the same */
    assert_int_equal(checkpoint(&f, 1, leaf_2, NULL, 0, &is), SQ_EAUDIT);
    assert_int_equal(checkpoint(&f, 2, root_2, leaf_1, 32, &is), SQ_EAUDIT);
    assert_int_equal(checkpoint(&f, 2, root_2, NULL, 0, &is), SQ_EAUDIT);
    assert_int_equal(checkpoint(&f, 2, root_2, leaf_2, 31, &is), SQ_EAUDIT);

    f.hooks->fail_code = SQ_EIO; /* remembered but not signed: the next try must still be possible */
    snprintf(f.hooks->name, sizeof f.hooks->name, "keeper.before_sign");
    f.hooks->is_armed = 2;
    assert_int_equal(checkpoint(&f, 2, root_2, leaf_2, 32, &is), SQ_EIO);
    ok(checkpoint(&f, 2, root_2, NULL, 0, &is));
    ok(sq_note_verify(vkey, (const char *)is.u.note_is.note.p, is.u.note_is.note.n, &head));
    assert_int_equal(head.size, 2);
    assert_int_equal(checkpoint(&f, 1, leaf_1, NULL, 0, &is), SQ_EROLLBACK);

    keeper_stop(&f, true); /* a killed keeper remembers */
    assert_true(keeper_start(&f, "file", KEY_FILE_HEX));
    ok(reg(&f, sq_msg_bare(keeper_state), &is));
    assert_int_equal(is.u.keeper_state_is.tree_size, 2);
    assert_memory_equal(is.u.keeper_state_is.tree_root, root_2, 32);
    assert_int_equal(checkpoint(&f, 1, leaf_1, NULL, 0, &is), SQ_EROLLBACK);

    struct sq_span text;
    ok(reg(&f, sq_msg_of(receipt_sign, .text = sq_span_str("sequester-receipt/v1\nobject 00\n")), &is));
    ok(sq_note_open(receipt_vkey, (const char *)is.u.note_is.note.p, is.u.note_is.note.n, &text));
    assert_int_not_equal(sq_note_open(vkey, (const char *)is.u.note_is.note.p, is.u.note_is.note.n, &text), SQ_OK);
    ok(reg(&f, sq_msg_of(receipt_sign, .text = sq_span_str("sequester-job-receipt/v1\nobjects 1\n")), &is));
    ok(sq_note_open(receipt_vkey, (const char *)is.u.note_is.note.p, is.u.note_is.note.n, &text));
    assert_int_equal(reg(&f, sq_msg_of(receipt_sign, .text = sq_span_str("sequester-job-receipt/v2\nobjects 1\n")), NULL), SQ_ERANGE);
    assert_int_equal(reg(&f, sq_msg_of(receipt_sign, .text = sq_span_str(ORIGIN "\n5\nAAAA\n")), NULL), SQ_ERANGE);
    end(&f);
}

/* ---- sealed, restarted, clock ---- */

static sq_err unseal(struct fixture *f, const char *passphrase)
{
    return reg(f, sq_msg_of(unseal, .passphrase = sq_span_str(passphrase)), NULL);
}

static void test_passphrase_keeper(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg is;
    struct sq_msg_slot_destroyed_is gone;
    fixture_new(&f);
    assert_true(keeper_start(&f, "passphrase", NULL));
    ok(reg(&f, sq_msg_bare(keeper_state), &is));
    assert_int_equal(is.u.keeper_state_is.is_unsealed, 0);
    assert_int_equal(reg(&f, sq_msg_of(owner_create, .owner_id = ID(owner_a)), NULL), SQ_ESEALED);
    assert_int_equal(part_key(&f, upload, 0, NULL), SQ_ESEALED);
    assert_int_equal(unseal(&f, "short"), SQ_EWEAK);
    ok(unseal(&f, "a long enough passphrase"));
    make_owner(&f, owner_a);
    ok(make_slot(&f, upload, owner_a, 0, SQ_ROLE_GATEWAY));
    keeper_stop(&f, true);

    assert_true(keeper_start(&f, "passphrase", NULL)); /* a restarted keeper stays sealed */
    assert_int_equal(part_key(&f, upload, 0, NULL), SQ_ESEALED);
    assert_int_equal(unseal(&f, "a long enough passphrasE"), SQ_EPASSWORD);
    assert_int_equal(unseal(&f, "a long enough passphrase"), SQ_EBUSY); /* not within a second of a wrong one */
    usleep(1100000);
    ok(unseal(&f, "a long enough passphrase"));
    ok(unseal(&f, "a long enough passphrase"));
    ok(part_key(&f, upload, 0, NULL));
    keeper_stop(&f, true);

    assert_true(keeper_start(&f, "passphrase", NULL)); /* destroying needs no passphrase */
    ok(destroy(&f, upload, &gone));
    assert_true(gone.destroyed_s > 0);
    ok(unseal(&f, "a long enough passphrase"));
    assert_int_equal(part_key(&f, upload, 1, NULL), SQ_EKEYGONE);
    end(&f);
}

static void test_wrong_key_file(void **state)
{
    (void)state;
    struct fixture f;
    start_with_things(&f);
    keeper_stop(&f, false);
    assert_false(keeper_start(&f, "file", "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"));
    keeper_stop(&f, true);
    assert_false(keeper_start(&f, "file", "not hex\n"));
    keeper_stop(&f, true);
    assert_false(keeper_start(&f, "file", NULL));
    keeper_stop(&f, true);
    assert_false(keeper_start(&f, "passphrase", NULL)); /* not the slab's backend */
    keeper_stop(&f, true);
    assert_true(keeper_start(&f, "file", KEY_FILE_HEX));
    end(&f);
}

static void test_clock_rule(void **state)
{
    (void)state;
    struct keeper_clock c = {0};
    assert_false(keeper_clock_jumped(1000, 1100, 100));
    assert_false(keeper_clock_jumped(1000, 1100 + 3600, 100));
    assert_true(keeper_clock_jumped(1000, 1100 + 3601, 100));
    assert_false(keeper_clock_jumped(1000, 1040, 100));
    assert_true(keeper_clock_jumped(1000, 1039, 100));
    keeper_clock_start(&c, 0);
    assert_false(keeper_clock_is_held(&c));
    keeper_clock_start(&c, keeper_clock_wall_s() - 8 * 86400); /* off for a week: not a jump */
    assert_false(keeper_clock_is_held(&c));
    keeper_clock_start(&c, keeper_clock_wall_s() + 61);
    assert_true(keeper_clock_is_held(&c));
    keeper_clock_confirm(&c);
    assert_false(keeper_clock_is_held(&c));
}

/* The header has seen a later clock than the machine now has. */
static void test_clock_went_back(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg is;
    struct sq_slab *slab;
    struct sq_key *kek;
    uint8_t bytes[32];
    char path[80];
    start_with_things(&f);
    ok(make_slot(&f, no_task, owner_a, now() + 60, SQ_ROLE_GATEWAY));
    keeper_stop(&f, false);
    snprintf(path, sizeof path, "%s/slab", f.dir);
    int fd = open(path, O_RDWR | O_DSYNC | O_CLOEXEC);
    ok(sq_hex_decode(KEY_FILE_HEX, 64, bytes, 32));
    ok(sq_key_from(bytes, &kek));
    ok(sq_slab_open(fd, &slab));
    ok(sq_slab_unseal(slab, kek));
    ok(sq_slab_set_clock(slab, (int64_t)now() + 100000, false));
    sq_slab_close(slab);
    sq_key_free(kek);
    close(fd);
    assert_true(keeper_start(&f, "file", KEY_FILE_HEX));
    ok(reg(&f, sq_msg_bare(keeper_state), &is));
    assert_int_equal(is.u.keeper_state_is.clock_held, 1);
    assert_int_equal(part_key(&f, upload, 0, NULL), SQ_ECLOCK);
    assert_int_equal(make_slot(&f, task, owner_a, 0, SQ_ROLE_GATEWAY), SQ_ECLOCK);
    f.hooks->clock_offset_s = 70;
    usleep(2200000);
    ok(reg(&f, sq_msg_of(slot_list, .from_slot = 0), &is));
    assert_int_equal(is.u.slot_list_is.slots.n / 40, 5); /* what is due isn't destroyed by a doubtful clock */
    ok(reg(&f, sq_msg_of(fields_seal, .owner_id = ID(owner_a)), NULL));
    ok(reg(&f, sq_msg_bare(clock_confirm), NULL));
    ok(part_key(&f, upload, 0, NULL));
    wait_slots(&f, 4);
    end(&f);
}

/* ---- hostile peers ---- */

static bool is_cut(struct fixture *f, enum sq_role role)
{
    struct sq_msg m;
    return sq_wire_recv(f->link[role], SQ_ROLE_KEEPER, role, f->pkt, &m) == SQ_EDOWN;
}

static void expect_bad_peer(struct fixture *f, enum sq_role role)
{
    struct sq_msg m;
    ok(sq_wire_recv(f->parent, SQ_ROLE_KEEPER, SQ_ROLE_PARENT, f->pkt, &m));
    assert_int_equal(m.no, SQ_MSG_bad_peer);
    assert_int_equal(m.u.bad_peer.role, role);
}

/* Every message of the table, as whoever may not send it: the link is cut, parent hears of it, keeper goes on. */
static void test_every_message_as_the_wrong_role(void **state)
{
    (void)state;
    struct fixture f;
    unsigned n = 0;
    start_with_things(&f);
    for (unsigned no = 1; no < SQ_MSG_MAX; no++) {
        const struct sq_msg_row *row = sq_msg_row_of(no);
        for (size_t i = 0; row && i < 3; i++) {
            bool is_allowed = (row->from == peers[i] || row->from == SQ_ROLE_ANYONE) &&
                              (row->to == SQ_ROLE_KEEPER || row->to == SQ_ROLE_ANYONE);
            if (is_allowed && no != SQ_MSG_hello)
                continue;
            struct sq_msg m = {.no = (enum sq_msg_no)no, .call = 9};
            enum sq_role from = row->from == SQ_ROLE_ANYONE ? peers[i] : row->from;
            enum sq_role to = row->to == SQ_ROLE_ANYONE ? SQ_ROLE_KEEPER : row->to;
            ok(sq_wire_send(f.link[peers[i]], from, to, &m));
            assert_true(is_cut(&f, peers[i]));
            expect_bad_peer(&f, peers[i]);
            give_peer(&f, peers[i]);
            ok(sq_wire_hello(f.link[peers[i]], peers[i], SQ_ROLE_KEEPER));
            n++;
        }
    }
    assert_true(n > 180);
    print_message("# %u messages refused\n", n);
    ok(part_key(&f, upload, 0, NULL));
    end(&f);
}

static void test_garbage(void **state)
{
    (void)state;
    struct fixture f;
    start_with_things(&f);
    const uint8_t garbage[][16] = {{0}, {40, 0, 0, 0, 1}, {40, 0, 1, 0}, {0xff, 0xff}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(send(f.link[SQ_ROLE_GATEWAY], garbage[i], 16, 0), 16);
        assert_true(is_cut(&f, SQ_ROLE_GATEWAY));
        expect_bad_peer(&f, SQ_ROLE_GATEWAY);
        give_peer(&f, SQ_ROLE_GATEWAY);
        ok(sq_wire_hello(f.link[SQ_ROLE_GATEWAY], SQ_ROLE_GATEWAY, SQ_ROLE_KEEPER));
    }
    end(&f);
}

/* ---- the independent reader ---- */

static void test_oracle(void **state)
{
    (void)state;
    struct fixture f;
    struct sq_msg_part_key_is part;
    char salt[65], id[33], want[65], have[80] = "", command[512];
    start_with_things(&f);
    ok(part_key(&f, upload, 7, &part));
    sq_hex(part.salt, 32, salt);
    sq_hex(upload, 16, id);
    sq_hex(part.derived_key, 32, want);
    snprintf(command, sizeof command, "python3 '%s' '%s/slab' %.64s %s 7 %s", getenv("SQ_SLAB_ORACLE"), f.dir, KEY_FILE_HEX, id, salt);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    assert_non_null(fgets(have, sizeof have, p));
    assert_int_equal(pclose(p), 0);
    have[64] = 0;
    assert_string_equal(have, want);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_grants),
        cmocka_unit_test(test_end_of_keys),
        cmocka_unit_test(test_package),
        cmocka_unit_test(test_download_links),
        cmocka_unit_test(test_passwords),
        cmocka_unit_test(test_hash_flood),
        cmocka_unit_test(test_tokens_and_fields),
        cmocka_unit_test(test_token_key_replaced),
        cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_passphrase_keeper),
        cmocka_unit_test(test_wrong_key_file),
        cmocka_unit_test(test_clock_rule),
        cmocka_unit_test(test_clock_went_back),
        cmocka_unit_test(test_every_message_as_the_wrong_role),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_oracle),
    };
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(sq_crypt_start(), SQ_OK);
    assert_int_equal(sq_identity_start(), SQ_OK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
