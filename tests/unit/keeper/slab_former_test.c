/* Keys that are replaced in the slab: what hangs on former ones, their ends, and a crash at each durable step. */
#include "slab_fixture.h"

static void former_of(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, uint8_t number, uint8_t out[32])
{
    struct sq_key *key = NULL;
    struct sq_slab_slot slot;
    ok(sq_slab_former(slab, type, id, number, NOW, &slot, &key));
    assert_int_equal(slot.number, number);
    memcpy(out, sq_key_bytes(key), 32);
    sq_key_free(key);
}

static sq_err try_former(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, uint8_t number, int64_t now_s)
{
    struct sq_key *key = NULL;
    sq_err err = sq_slab_former(slab, type, id, number, now_s, NULL, &key);
    sq_key_free(key);
    return err;
}

static sq_err replace(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, uint64_t not_after_s, bool is_dropped)
{
    uint8_t number;
    return sq_slab_replace(slab, &(struct sq_slab_replacing){.type = type, .id = id, .not_after_s = not_after_s, .is_dropped = is_dropped}, NOW, &number);
}

/* An owner's former keys open what hangs on them, until the owner goes; nothing of them is left then. */
static void test_owner_replaced(void **state)
{
    (void)state;
    int fd = new_file();
    uint8_t obj_before[32], key_before[32], key_after[32], got[32];
    uint32_t n, next;
    uint8_t ids[8 * SQ_SLAB_LISTED_BYTES];
    struct sq_slab *slab = with_things(fd);
    ok(sq_slab_mark(slab, owner_a, SQ_SLAB_HAS_PASSWORD, true, NOW));
    key_of(slab, SQ_SLAB_OBJECT, obj_1, obj_before);
    key_of(slab, SQ_SLAB_OWNER, owner_a, key_before);
    ok(replace(slab, SQ_SLAB_OWNER, owner_a, 0, false));
    ok(sq_slab_add(slab, SQ_SLAB_OBJECT, obj_2, owner_a, 0, 2, NOW));
    ok(replace(slab, SQ_SLAB_OWNER, owner_a, 0, false));
    sq_slab_close(slab);
    slab = open_slab(fd);
    key_of(slab, SQ_SLAB_OWNER, owner_a, key_after);
    assert_memory_not_equal(key_before, key_after, 32);
    former_of(slab, SQ_SLAB_OWNER, owner_a, 0, got);
    assert_memory_equal(got, key_before, 32);
    assert_int_equal(try_former(slab, SQ_SLAB_OWNER, owner_a, 2, NOW), SQ_ENOTFOUND);
    key_of(slab, SQ_SLAB_OBJECT, obj_1, got);
    assert_memory_equal(got, obj_before, 32);
    ok(sq_slab_extend(slab, obj_1, NOW + 500, NOW)); /* wrapped anew, under the key that it had */
    key_of(slab, SQ_SLAB_OBJECT, obj_1, got);
    assert_memory_equal(got, obj_before, 32);
    ok(try_key(slab, obj_2, NOW));
    struct sq_slab_slot slot;
    ok(sq_slab_look(slab, SQ_SLAB_OWNER, owner_a, NOW, &slot));
    assert_int_equal(slot.for_role, SQ_SLAB_HAS_PASSWORD); /* what keeper knows of him stays */
    assert_int_equal(slot.number, 2);
    ok(sq_slab_list(slab, SQ_SLAB_OWNER, 0, ids, 8, &n, &next));
    assert_int_equal(n, 2); /* the site and he: no former key passes for an account */
    struct sq_key *kek;
    uint32_t root_no;
    ok(sq_key_from(kek_bytes, &kek));
    ok(sq_slab_rekey(slab, &(struct sq_slab_lock){.backend = SQ_SLAB_FILE, .kek = kek}, &root_no, &n)); /* former ones hang on the root key too */
    sq_key_free(kek);
    assert_int_equal(n, FIRST_FREE + 3);
    key_of(slab, SQ_SLAB_OBJECT, obj_1, got);
    assert_memory_equal(got, obj_before, 32);
    uint64_t when;
    uint32_t generation;
    ok(sq_slab_destroy(slab, SQ_SLAB_OWNER, owner_a, NOW, &when, &generation));
    assert_int_equal(try_key(slab, obj_1, NOW), SQ_EKEYGONE);
    for (uint8_t no = 0; no < 2; no++)
        assert_int_equal(try_former(slab, SQ_SLAB_OWNER, owner_a, no, NOW), SQ_EKEYGONE);
    uint8_t at[SQ_SLAB_SLOT_BYTES];
    for (uint32_t i = FIRST_FREE; i < FIRST_FREE + 5; i++) { /* owner, obj_1, former 0, obj_2, former 1 */
        assert_int_equal(pread(fd, at, sizeof at, SLOT_AT(i)), sizeof at);
        ok(sq_slab_slot_decode(at, &slot));
        assert_int_equal(slot.type == SQ_SLAB_OBJECT, i == FIRST_FREE + 1 || i == FIRST_FREE + 3); /* all others are tombstones */
        assert_true(slot.type == SQ_SLAB_OBJECT || slot.type == SQ_SLAB_TOMBSTONE);
    }
    sq_slab_close(slab);
    close(fd);
}

/* A former token key ends by itself, or at once with all before it. */
static void test_signing_key_replaced(void **state)
{
    (void)state;
    int fd = new_file();
    uint8_t before[32], got[32];
    uint32_t n;
    const uint8_t *site = sq_slab_site_owner;
    struct sq_slab *slab = open_slab(fd);
    key_of(slab, SQ_SLAB_TOKEN_KEY, site, before);
    ok(replace(slab, SQ_SLAB_TOKEN_KEY, site, NOW + 50, false));
    ok(replace(slab, SQ_SLAB_TOKEN_KEY, site, NOW + 90, false));
    former_of(slab, SQ_SLAB_TOKEN_KEY, site, 0, got);
    assert_memory_equal(got, before, 32);
    assert_int_equal(try_former(slab, SQ_SLAB_TOKEN_KEY, site, 0, NOW + 50), SQ_EKEYGONE);
    ok(sq_slab_expire(slab, NOW + 60, NULL, NULL, &n));
    assert_int_equal(n, 1);
    ok(try_former(slab, SQ_SLAB_TOKEN_KEY, site, 1, NOW + 60));
    ok(replace(slab, SQ_SLAB_TOKEN_KEY, site, 0, true));
    for (uint8_t no = 0; no < 3; no++)
        assert_int_equal(try_former(slab, SQ_SLAB_TOKEN_KEY, site, no, NOW), no < 2 ? SQ_EKEYGONE : SQ_ENOTFOUND);
    /* of a note key the public half stays */
    const uint8_t public_half[32] = "public";
    const uint8_t sig[SQ_ED25519_SIG_BYTES] = "signed";
    struct sq_key *kept;
    struct sq_slab_slot slot;
    uint8_t number;
    ok(sq_key_from(public_half, &kept));
    ok(sq_slab_replace(slab, &(struct sq_slab_replacing){.type = SQ_SLAB_NOTE_KEY, .id = site, .kept = kept, .sig = sig, .note = {7}}, NOW, &number));
    sq_key_free(kept);
    sq_slab_close(slab);
    slab = open_slab(fd);
    ok(sq_slab_former(slab, SQ_SLAB_NOTE_KEY, site, 0, NOW, &slot, NULL));
    assert_memory_equal(slot.sig, sig, sizeof sig);
    assert_int_equal(slot.owner[0], 7);
    former_of(slab, SQ_SLAB_NOTE_KEY, site, 0, got);
    assert_memory_equal(got, public_half, 32);
    /* none is kept any more after so many, but one that leaked can always be dropped */
    for (ok(sq_slab_look(slab, SQ_SLAB_TOKEN_KEY, site, NOW, &slot)); slot.number < SQ_SLAB_MAX_NUMBER; slot.number++)
        ok(replace(slab, SQ_SLAB_TOKEN_KEY, site, NOW + 9, !(slot.number % 16)));
    ok(try_former(slab, SQ_SLAB_TOKEN_KEY, site, SQ_SLAB_MAX_NUMBER - 1, NOW));
    assert_int_equal(replace(slab, SQ_SLAB_TOKEN_KEY, site, NOW + 9, false), SQ_EFULL);
    for (int i = 0; i < 2; i++) {
        key_of(slab, SQ_SLAB_TOKEN_KEY, site, before);
        ok(replace(slab, SQ_SLAB_TOKEN_KEY, site, 0, true));
        key_of(slab, SQ_SLAB_TOKEN_KEY, site, got);
        assert_memory_not_equal(got, before, 32);
        for (unsigned no = 0; no < SQ_SLAB_MAX_NUMBER; no++)
            assert_true(try_former(slab, SQ_SLAB_TOKEN_KEY, site, (uint8_t)no, NOW) != SQ_OK); /* gone, or never kept */
    }
    ok(sq_slab_look(slab, SQ_SLAB_TOKEN_KEY, site, NOW, &slot));
    assert_int_equal(slot.number, SQ_SLAB_MAX_NUMBER);
    sq_slab_close(slab);
    close(fd);
}

static void act_replace(struct sq_slab *slab)
{
    ok(replace(slab, SQ_SLAB_OWNER, owner_a, 0, false));
}
static void act_replace_token(struct sq_slab *slab)
{
    ok(replace(slab, SQ_SLAB_TOKEN_KEY, sq_slab_site_owner, NOW + 50, false));
}

/* Killed at any step: the old key or the new one is the key, and what hangs on either is readable. The next try goes through. */
static void test_crash_in_replace(void **state)
{
    (void)state;
    const char *const at[] = {"keeper.slot_write", "keeper.slot_written", "keeper.replace_kept", "keeper.replaced"};
    for (size_t i = 0; i < 4; i++) {
        int fd = new_file();
        uint8_t before[32], object[32], got[32];
        uint32_t n;
        struct sq_slab *slab = with_things(fd);
        key_of(slab, SQ_SLAB_OWNER, owner_a, before);
        key_of(slab, SQ_SLAB_OBJECT, obj_1, object);
        sq_slab_close(slab);
        assert_true(dies(act_replace, fd, at[i]));
        assert_true(dies(act_replace_token, fd, at[i]));
        slab = open_slab(fd);
        assert_int_equal(sq_slab_n_damaged(slab), 0);
        key_of(slab, SQ_SLAB_OWNER, owner_a, got);
        assert_int_equal(memcmp(got, before, 32) == 0, i < 3);
        key_of(slab, SQ_SLAB_OBJECT, obj_1, got);
        assert_memory_equal(got, object, 32);
        ok(sq_slab_expire(slab, NOW + 60, NULL, NULL, &n)); /* what was begun of the token key ends; another try all the same */
        act_replace(slab);
        act_replace_token(slab);
        former_of(slab, SQ_SLAB_OWNER, owner_a, 0, got);
        assert_memory_equal(got, before, 32);
        key_of(slab, SQ_SLAB_OBJECT, obj_1, got);
        assert_memory_equal(got, object, 32);
        sq_slab_close(slab);
        close(fd);
    }
}

int main(void)
{
    ok(sq_crypt_start());
    hooks_make();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_owner_replaced),
        cmocka_unit_test(test_signing_key_replaced),
        cmocka_unit_test(test_crash_in_replace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
